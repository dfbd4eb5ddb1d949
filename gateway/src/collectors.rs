//! The collectors this gateway knows, and asking several of them at once.
//!
//! One that does not answer is named in the tool's answer rather than missing from it; only when
//! none answers does the tool fail.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use maintenant_serve::settings::Secret;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::time::{Instant, timeout_at};

use crate::collector::{ClientError, Collector, TlsFiles};
use crate::config::CollectorSettings;
use crate::error::{ToolError, explain, nearest};
use crate::tools::counted;
use crate::untrusted::{self, quoted};

/// What has not answered by then is named as late: a little longer than any one call takes.
pub const DEADLINE: Duration = Duration::from_secs(12);
/// Sources named in one answer; more are counted.
pub const NAMED: usize = 10;
const LENGTH_OF_AN_ERROR: usize = 400;

/// A set of collectors; cheap to clone.
#[derive(Debug, Clone)]
pub struct Collectors(Arc<[Arc<Collector>]>);

// Its doc comment would stand in every tool's schema: how a collector took part in an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Source {
    pub name: String,
    pub ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What each of the asked collectors said, in their configured order.
#[derive(Debug)]
pub struct Answers<T>(pub Vec<(Arc<Collector>, Result<T, ClientError>)>);

impl Collectors {
    /// Prepares a client for each; connects to none.
    pub fn new(mut settings: CollectorSettings) -> anyhow::Result<Self> {
        let collectors = std::mem::take(&mut settings.collectors)
            .into_iter()
            .map(|(name, target)| Collector::new(name, target, &settings).map(Arc::new))
            .collect::<anyhow::Result<_>>()?;
        Ok(Self(collectors))
    }

    pub fn all(&self) -> &[Arc<Collector>] {
        &self.0
    }

    /// All, asked for what is true now: nothing of their answers is kept.
    pub(crate) fn live(&self) -> Vec<Arc<Collector>> {
        self.0.iter().map(|collector| Arc::new(collector.live())).collect()
    }

    /// Several collectors: answers have to say which one an item comes from.
    pub fn several(&self) -> bool {
        self.0.len() > 1
    }

    /// The one called `name`, or all.
    pub fn choose(&self, name: Option<&str>) -> Result<Vec<Arc<Collector>>, ToolError> {
        let Some(name) = name else { return Ok(self.0.to_vec()) };
        if let Some(collector) = self.0.iter().find(|collector| collector.name == name) {
            return Ok(vec![collector.clone()]);
        }
        let known: Vec<&str> = self.0.iter().map(|collector| collector.name.as_str()).collect();
        let nearest = nearest(name, known.iter().copied())
            .first()
            .map(|name| format!(" Did you mean `{name}`?"))
            .unwrap_or_default();
        Err(ToolError::new(format!(
            "No collector is called {}; this gateway asks: {}.{nearest}",
            quoted(name),
            known.join(", ")
        )))
    }

    /// The one whose item is to be changed, by an id that `list` shows.
    pub fn only(&self, name: Option<&str>, list: &str) -> Result<Arc<Collector>, ToolError> {
        self.one(name, "ids repeat among the collectors", &format!("the one that {list} shows"))
    }

    /// The one where something is to be made; there is no telling which is meant.
    pub fn where_to(&self, name: Option<&str>) -> Result<Arc<Collector>, ToolError> {
        self.one(name, "each of the collectors has a status page", "the one that is meant")
    }

    fn one(&self, name: Option<&str>, why: &str, which: &str) -> Result<Arc<Collector>, ToolError> {
        let collectors = self.choose(name)?;
        if let [collector] = collectors.as_slice() {
            return Ok(collector.clone());
        }
        let names: Vec<String> =
            collectors.iter().map(|collector| collector.name.clone()).collect();
        Err(ToolError::new(format!(
            "`collector` is missing: {why} ({}). Repeat the call with {which}; nothing was changed.",
            names_of(&names)
        )))
    }

    /// Token, trust and identity of all calls from now on.
    pub fn set_credentials(&self, token: Option<&Secret>, files: &TlsFiles) {
        for collector in &*self.0 {
            collector.set_credentials(token.cloned(), files.clone());
        }
    }

    pub fn warn_of_tokens_in_the_clear(&self) {
        for collector in self.0.iter().filter(|collector| collector.sends_token_in_the_clear()) {
            tracing::warn!(
                "the token for collector {} travels over plain http; use https or a unix socket",
                collector.name
            );
        }
    }
}

/// Asks all `collectors` the same at once: how many there are is the operator's decision.
pub async fn ask<T, F>(
    collectors: Vec<Arc<Collector>>,
    question: impl Fn(Arc<Collector>) -> F,
) -> Answers<T>
where
    F: Future<Output = Result<T, ClientError>>,
{
    ask_until(Instant::now() + DEADLINE, collectors, question).await
}

/// The same, with what several questions of one call have left of their time.
pub async fn ask_until<T, F>(
    end: Instant,
    collectors: Vec<Arc<Collector>>,
    question: impl Fn(Arc<Collector>) -> F,
) -> Answers<T>
where
    F: Future<Output = Result<T, ClientError>>,
{
    let calls = collectors.into_iter().map(|collector| {
        let call = question(collector.clone());
        async move { (collector, timeout_at(end, call).await.unwrap_or(Err(ClientError::Timeout))) }
    });
    Answers(join_all(calls).await)
}

/// Why a collector failed, for its entry in `sources`.
pub fn error_of_source(name: &str, error: &ClientError) -> String {
    untrusted::text(&explain(name, error), LENGTH_OF_AN_ERROR)
}

/// At most [`NAMED`] sources, those in trouble first when there are more, and a sentence for the
/// rest.
pub fn fewest<S>(mut sources: Vec<S>, is_well: impl Fn(&S) -> bool) -> (Vec<S>, Option<String>) {
    if sources.len() <= NAMED {
        return (sources, None);
    }
    sources.sort_by_key(&is_well);
    let rest = sources.split_off(NAMED);
    let failing = rest.iter().filter(|source| !is_well(source)).count();
    let rest = counted(rest.len(), "collector");
    (sources, Some(format!("{rest}{NOT_LISTED}{failing}{IN_TROUBLE}")))
}

const NOT_LISTED: &str = " not listed in sources, ";
const IN_TROUBLE: &str = " of them in trouble.";

/// How many of the sources that are not listed are in trouble, read from the sentence of [`fewest`]
/// in a hint: an answer has no other place for it.
pub fn unlisted_in_trouble(hint: &str) -> usize {
    let told = |hint: &str| {
        let (_, rest) = hint.split_once(NOT_LISTED)?;
        rest.split_once(IN_TROUBLE)?.0.parse().ok()
    };
    told(hint).unwrap_or_default()
}

/// Names in a sentence; many are counted.
pub fn names_of(names: &[String]) -> String {
    let shown: Vec<&str> = names.iter().take(NAMED).map(String::as_str).collect();
    match names.len().saturating_sub(shown.len()) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

impl<T> Answers<T> {
    /// What each asked collector did, and a sentence when there are too many to list; nothing when
    /// there is a single one and it answered.
    pub fn sources(&self) -> (Option<Vec<Source>>, Option<String>) {
        let sources: Vec<Source> = self
            .0
            .iter()
            .map(|(collector, answer)| Source {
                name: collector.name.clone(),
                ok: answer.is_ok(),
                error: answer.as_ref().err().map(|error| error_of_source(&collector.name, error)),
            })
            .collect();
        let plain = sources.len() == 1 && sources.iter().all(|source| source.ok);
        if plain {
            return (None, None);
        }
        let (sources, rest) = fewest(sources, |source| source.ok);
        (Some(sources), rest)
    }

    /// The answers that came, or why none did.
    pub fn successes(self) -> Result<Vec<(Arc<Collector>, T)>, ToolError> {
        let mut successes = Vec::new();
        let mut failures = Vec::new();
        for (collector, answer) in self.0 {
            match answer {
                Ok(answer) => successes.push((collector, answer)),
                Err(error) => failures.push(error_of_source(&collector.name, &error)),
            }
        }
        if successes.is_empty() && !failures.is_empty() {
            let more = failures.len().saturating_sub(NAMED);
            failures.truncate(NAMED);
            if more > 0 {
                failures.push(format!("{more} more failed."));
            }
            return Err(ToolError::new(failures.join(" ")));
        }
        Ok(successes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Target;

    fn fleet(size: usize) -> Vec<Arc<Collector>> {
        let target = |n| (format!("host-{n}"), Target::Unix("/nowhere".into()));
        let collectors = (0..size).map(target).collect();
        let settings = CollectorSettings { collectors, ..CollectorSettings::default() };
        Collectors::new(settings).unwrap().all().to_vec()
    }

    #[tokio::test(start_paused = true)]
    async fn all_are_asked_at_once_and_the_late_are_named() {
        let started = Instant::now();
        let answers = ask(fleet(50), |collector| async move {
            let seconds = if collector.name == "host-7" { 60 } else { 11 };
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            Ok(())
        })
        .await;
        assert_eq!(started.elapsed(), DEADLINE);
        let late: Vec<&str> = answers
            .0
            .iter()
            .filter(|(_, answer)| matches!(answer, Err(ClientError::Timeout)))
            .map(|(collector, _)| collector.name.as_str())
            .collect();
        assert_eq!(late, ["host-7"]);
    }

    #[tokio::test]
    async fn of_a_large_fleet_few_are_named_and_the_rest_is_counted() {
        let answers = ask(fleet(40), |collector| async move {
            let message = "x".repeat(5000);
            let refused = ClientError::Refused { status: 500, code: String::new(), message };
            if collector.name == "host-0" { Ok(()) } else { Err(refused) }
        })
        .await;
        let (sources, rest) = answers.sources();
        let sources = sources.unwrap();
        assert_eq!((sources.len(), sources[0].name.as_str()), (10, "host-1"));
        assert!(sources.iter().all(|source| source.error.as_ref().unwrap().len() < 450));
        assert_eq!(
            rest.as_deref(),
            Some("30 collectors not listed in sources, 29 of them in trouble.")
        );
        let hint = format!("Something else. {} And more.", rest.unwrap());
        assert_eq!((unlisted_in_trouble(&hint), unlisted_in_trouble("Something else.")), (29, 0));
        let none = ask(fleet(40), |_| async { Err::<(), _>(ClientError::Timeout) }).await;
        let error = none.successes().unwrap_err().to_string();
        assert!(error.ends_with("30 more failed.") && error.len() < 2500, "{error}");
    }
}
