//! Whole answers of tools, kept for as long as the answers of collectors that they were made of.
//!
//! To mask, cut and write an answer costs more than to read what a collector said. Where it follows
//! from that, the arguments and what the caller may see, and not from the clock, it stays the same
//! as long as all of that is kept: until the oldest part is too old, or a collector's answers are
//! forgotten for a change or another token. What was asked anew, failed or came late is not kept.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use rmcp::model::{CallToolRequestParams, CallToolResult};
use serde::Deserialize;
use serde::de::IgnoredAny;
use tokio::time::Instant;

use crate::budget;
use crate::caller::Caller;
use crate::splice::{self, Finished};

/// Answers kept; none is larger than a few [`budget::CAP`].
const MOST: usize = 64;
const LONGEST_QUESTION: usize = 1024;
/// Of more parts an answer is not kept.
const PARTS: usize = 64;

/// Tools that tell no age, no length of time up to now and nothing else that goes on by itself.
const TIMELESS: [&str; 6] = [
    "get_container",
    "get_resources",
    "get_top_consumers",
    "get_updates",
    "list_containers",
    "list_endpoints",
];

tokio::task_local! {
    /// What the answer under way is made of; `None`: of something that is not kept.
    static MADE_OF: RefCell<Option<Vec<Part>>>;
}

/// An answer of a collector, as far as it is kept.
pub(crate) trait Source: Send + Sync {
    /// It is still what somebody who asks now would be told.
    fn holds(&self, part: &Part) -> bool;

    /// It was used once more.
    fn used(&self);
}

/// What an answer was made of.
#[derive(Clone)]
pub(crate) struct Part {
    pub(crate) source: Arc<dyn Source>,
    /// How often the source had forgotten everything.
    pub(crate) generation: u64,
    /// When it was asked for.
    pub(crate) asked: Instant,
}

/// A part that was asked for. Dropped before it came, the answer is not kept.
pub(crate) struct Awaited(bool);

/// Runs a tool. The parts of its answer, if all of them are kept.
pub(crate) async fn watched<F: Future>(call: F) -> (F::Output, Option<Vec<Part>>) {
    let call = async {
        let answer = call.await;
        (answer, MADE_OF.with(RefCell::take))
    };
    MADE_OF.scope(RefCell::new(Some(Vec::new())), call).await
}

/// The answer under way is made of something that is not kept.
pub(crate) fn spoil() {
    let _ = MADE_OF.try_with(|parts| parts.replace(None));
}

impl Awaited {
    pub(crate) fn new() -> Self {
        Self(true)
    }

    pub(crate) fn came(mut self, part: impl FnOnce() -> Part) {
        self.0 = false;
        let _ = MADE_OF.try_with(|parts| {
            let mut parts = parts.borrow_mut();
            parts.take_if(|parts| parts.len() >= PARTS);
            if let Some(parts) = &mut *parts {
                parts.push(part());
            }
        });
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        if self.0 {
            spoil();
        }
    }
}

/// What was asked, by somebody who may see this much. `None`: its answer is not kept.
pub(crate) fn question(request: &CallToolRequestParams, caller: Option<&Caller>) -> Option<String> {
    if !TIMELESS.contains(&&*request.name) {
        return None;
    }
    let scopes = caller.and_then(|caller| caller.scopes.as_ref());
    let arguments = serde_json::to_string(&request.arguments).ok()?;
    let question = format!("{} {scopes:?} {arguments}", request.name);
    Some(question).filter(|question| question.len() <= LONGEST_QUESTION)
}

/// Answers by their question.
#[derive(Default)]
pub(crate) struct Kept(Mutex<HashMap<String, Arc<Answer>>>);

struct Answer {
    finished: Finished,
    parts: Vec<Part>,
}

impl Answer {
    fn holds(&self) -> bool {
        self.parts.iter().all(|part| part.source.holds(part))
    }

    /// When the oldest part was asked for.
    fn asked(&self) -> Option<Instant> {
        self.parts.iter().map(|part| part.asked).min()
    }
}

impl Kept {
    /// The answer, which says from when it is.
    pub(crate) fn find(&self, question: &str) -> Option<CallToolResult> {
        let answer = self.answers().get(question).cloned()?;
        if !answer.holds() {
            return None;
        }
        answer.parts.iter().for_each(|part| part.source.used());
        answer.finished.clone().told().ok()
    }

    /// Keeps what a tool answered, if it may be.
    pub(crate) fn keep(
        &self,
        question: String,
        result: &CallToolResult,
        parts: Vec<Part>,
        now: Timestamp,
    ) {
        let Some(finished) = dated(result, &parts, now) else { return };
        let mut answers = self.answers();
        if answers.len() >= MOST {
            answers.retain(|_, answer| answer.holds());
        }
        if answers.len() >= MOST {
            let oldest = answers.iter().min_by_key(|(_, answer)| answer.asked());
            let oldest = oldest.map(|(question, _)| question.clone());
            oldest.and_then(|question| answers.remove(&question));
        }
        answers.insert(question, Arc::new(Answer { finished, parts }));
    }

    fn answers(&self) -> MutexGuard<'_, HashMap<String, Arc<Answer>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The answer as it is told later: it says when its oldest part was asked for.
fn dated(result: &CallToolResult, parts: &[Part], now: Timestamp) -> Option<Finished> {
    let oldest = parts.iter().map(|part| part.asked).min()?;
    if result.is_error == Some(true) {
        return None;
    }
    let mut text = splice::answer_of(result)?;
    if !is_dated(&text) {
        budget::date(&mut text, now.checked_sub(oldest.elapsed()).ok()?);
    }
    (text.len() <= budget::CAP).then(|| Finished::new(&text).ok()).flatten()
}

/// It says already from when it is: an answer's last member.
fn is_dated(answer: &str) -> bool {
    #[derive(Deserialize)]
    struct Dated {
        as_of: Option<IgnoredAny>,
    }
    serde_json::from_str::<Dated>(answer).is_ok_and(|answer| answer.as_of.is_some())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use rmcp::model::ContentBlock;
    use serde_json::json;

    use super::*;
    use crate::caller::{AdmittedBy, Scope};

    /// Kept for two seconds; forgets when told to.
    #[derive(Default)]
    struct Script {
        generation: AtomicUsize,
        uses: AtomicUsize,
    }

    impl Source for Script {
        fn holds(&self, part: &Part) -> bool {
            part.generation == self.generation.load(Ordering::Relaxed) as u64
                && part.asked.elapsed() < Duration::from_secs(2)
        }

        fn used(&self) {
            self.uses.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn now() -> Timestamp {
        "2026-05-05T10:00:00Z".parse().unwrap()
    }

    fn part(source: &Arc<Script>, age: u64) -> Part {
        let asked = Instant::now() - Duration::from_secs(age);
        Part { source: source.clone(), generation: 0, asked }
    }

    fn result() -> CallToolResult {
        let mut result = CallToolResult::success(vec![ContentBlock::text(r#"{"a":1}"#)]);
        result.structured_content = Some(json!({"a": 1}));
        result
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_kept_as_long_as_its_oldest_part_and_says_from_when_that_is() {
        tokio::time::advance(Duration::from_mins(1)).await;
        let (kept, source) = (Kept::default(), Arc::<Script>::default());
        kept.keep("q".to_owned(), &result(), vec![part(&source, 0), part(&source, 1)], now());
        let found = kept.find("q").unwrap();
        assert_eq!(
            found.content[0].as_text().unwrap().text,
            r#"{"a":1,"as_of":"2026-05-05T09:59:59Z"}"#
        );
        let structure = found.structured_content.unwrap();
        assert_eq!(structure, json!({"a": 1, "as_of": "2026-05-05T09:59:59Z"}));
        assert_eq!(source.uses.load(Ordering::Relaxed), 2);
        assert!(kept.find("another").is_none());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(kept.find("q").is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_collector_forgot_is_forgotten_here() {
        let (kept, source) = (Kept::default(), Arc::<Script>::default());
        kept.keep("q".to_owned(), &result(), vec![part(&source, 0)], now());
        assert!(kept.find("q").is_some());
        source.generation.store(1, Ordering::Relaxed);
        assert!(kept.find("q").is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_was_made_of_kept_parts_that_all_came_is_kept() {
        let source = Arc::<Script>::default();
        let came = || Awaited::new().came(|| part(&source, 0));
        let made_of =
            async |make: &dyn Fn()| watched(async { make() }).await.1.map(|all| all.len());
        assert_eq!(made_of(&|| {}).await, Some(0));
        assert_eq!(made_of(&|| (0..2).for_each(|_| came())).await, Some(2));
        assert_eq!(made_of(&|| (0..=PARTS).for_each(|_| came())).await, None);
        let failed = || {
            came();
            drop(Awaited::new());
            came();
        };
        assert_eq!(made_of(&failed).await, None);
        assert_eq!(made_of(&spoil).await, None);
        let kept = Kept::default();
        kept.keep("of nothing".to_owned(), &result(), Vec::new(), now());
        let mut error = result();
        error.is_error = Some(true);
        kept.keep("an error".to_owned(), &error, vec![part(&source, 0)], now());
        assert!(kept.answers().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn few_are_kept_and_the_oldest_goes_first() {
        tokio::time::advance(Duration::from_mins(1)).await;
        let (kept, source) = (Kept::default(), Arc::<Script>::default());
        kept.keep("old".to_owned(), &result(), vec![part(&source, 1)], now());
        for n in 0..MOST {
            kept.keep(n.to_string(), &result(), vec![part(&source, 0)], now());
        }
        assert_eq!(kept.answers().len(), MOST);
        assert!(kept.find("old").is_none() && kept.find("0").is_some());
    }

    #[test]
    fn a_question_is_of_one_tool_its_arguments_and_what_the_caller_may_see() {
        let ask = |tool: &'static str, limit: u64, scopes: Option<&[Scope]>| {
            let arguments = json!({"limit": limit}).as_object().unwrap().clone();
            let caller = Caller {
                admitted_by: AdmittedBy::Token,
                issuer: None,
                subject: None,
                email: None,
                client: None,
                scopes: scopes.map(<[Scope]>::to_vec),
                expires_at: None,
            };
            question(&CallToolRequestParams::new(tool).with_arguments(arguments), Some(&caller))
        };
        let all = [
            ask("list_containers", 1, None),
            ask("list_containers", 2, None),
            ask("get_container", 1, None),
            ask("list_containers", 1, Some(&[Scope::MonitorRead])),
            ask("list_containers", 1, Some(&[Scope::MonitorRead, Scope::LogsRead])),
        ];
        let distinct: std::collections::HashSet<_> = all.iter().flatten().collect();
        assert_eq!(distinct.len(), all.len());
        let nobody = CallToolRequestParams::new("list_containers");
        assert!(question(&nobody, None).is_some());
        // It tells how long alerts have lasted by now; logs are always read anew.
        for tool in ["list_alerts", "get_container_logs", "pause_monitor"] {
            assert_eq!(ask(tool, 1, None), None, "{tool}");
        }
        let long = json!({"name": "x".repeat(2000)}).as_object().unwrap().clone();
        assert_eq!(question(&nobody.with_arguments(long), None), None);
    }
}
