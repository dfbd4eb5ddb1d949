//! The public status page: announcing incidents and maintenance, and what they have in common.
//!
//! All is checked before anything is written, by `dry_run` and by the real call alike: other
//! servers keep half of an announcement that names a component they do not have.

mod components;
mod incidents;
mod maintenance;

use rmcp::handler::server::tool::ToolRouter;

use crate::collector::{ClientError, Collector};
use crate::collectors::DEADLINE;
use crate::error::{ToolError, explain, explain_change};
use crate::server::Gateway;
use crate::untrusted;

/// Longest title and message, in characters.
const TITLE: usize = 200;
const MESSAGE: usize = 5000;
const LENGTH_OF_A_PLACE: usize = 64;
/// Of a message that is told back.
const SHOWN: usize = 300;

impl Gateway {
    pub(in crate::tools) fn status_page() -> ToolRouter<Self> {
        Self::incidents() + Self::maintenance()
    }
}

impl Gateway {
    /// Said only where there are several.
    fn name_of(&self, collector: &Collector) -> Option<String> {
        self.collectors().several().then(|| collector.name.clone())
    }
}

/// One line.
fn title(given: &str) -> Result<String, ToolError> {
    written("title", given, TITLE, &[])
}

/// Any number of lines.
fn message(given: &str) -> Result<String, ToolError> {
    written("message", given, MESSAGE, &['\n', '\t', '\r'])
}

/// A text as it is sent: trimmed, and as servers take it.
fn written(argument: &str, given: &str, most: usize, but: &[char]) -> Result<String, ToolError> {
    let text = given.trim();
    let count = text.chars().count();
    let fault = if count == 0 {
        "it is empty; say what is to be published".to_owned()
    } else if count > most {
        format!("it has {count} characters; at most {most} are published")
    } else if text.chars().any(|c| c.is_control() && !but.contains(&c)) {
        let lines = if but.is_empty() { "one line of plain text" } else { "plain text" };
        format!("it has control characters; give {lines}")
    } else {
        return Ok(text.to_owned());
    };
    Err(ToolError::bad_argument(argument, &fault))
}

/// Refuses collectors of the community edition. A server that has no editions is not
/// second-guessed.
async fn require_extended_edition(collector: &Collector) -> Result<(), ToolError> {
    match collector.edition().await {
        Ok(edition) if edition.edition == "community" => {
            Err(ToolError::needs_extended_edition(&collector.name, &edition))
        }
        Ok(_) | Err(ClientError::RouteMissing | ClientError::NotFound { .. }) => Ok(()),
        Err(error) => Err(ToolError::from_client(&collector.name, &error)),
    }
}

/// What is asked before a change shares one span of time, so that the change itself is never what a
/// call gives up on without saying so.
async fn before_a_change<T>(
    collector: &Collector,
    questions: impl Future<Output = Result<T, ToolError>>,
) -> Result<T, ToolError> {
    tokio::time::timeout(DEADLINE, questions).await.unwrap_or_else(|_| {
        let why = explain(&collector.name, &ClientError::Timeout);
        Err(ToolError::new(format!("{why} Nothing was changed.")))
    })
}

/// Why an announcement was not made, or that nobody knows whether it was.
fn refused(collector: &Collector, error: &ClientError) -> ToolError {
    let page = format!("the status page, {},", collector.status_page());
    ToolError::new(explain_change(&collector.name, error, &page))
}

/// How a call that changes nothing begins what it says.
const DRY_RUN: &str = "Dry run, nothing was changed. All is well; without dry_run this would be";

/// Where it is read: as the server says, with its place on the page, or its status page.
fn link(collector: &Collector, said: Option<&str>) -> String {
    let is_address = |said: &&str| ["http://", "https://", "/"].iter().any(|s| said.starts_with(s));
    let Some(said) = said.filter(is_address) else { return collector.status_page() };
    let (page, place) = said.split_once('#').unwrap_or((said, ""));
    let page = untrusted::address(page);
    let is_plain = place.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    if place.is_empty() || place.len() > LENGTH_OF_A_PLACE || !is_plain {
        return page;
    }
    format!("{page}#{place}")
}

/// Words of an announcement as they are told back.
fn shown(raw: &str) -> String {
    untrusted::text(raw, SHOWN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{CollectorSettings, Target};

    #[tokio::test(start_paused = true)]
    async fn questions_before_a_change_end_in_time_for_it() {
        let target = Target::Unix("/nowhere".into());
        let settings = CollectorSettings::default();
        let collector = Collector::new("prod".to_owned(), target, &settings).unwrap();
        let started = tokio::time::Instant::now();
        let error = before_a_change::<()>(&collector, std::future::pending()).await.unwrap_err();
        assert_eq!(started.elapsed(), DEADLINE);
        let error = error.to_string();
        assert!(error.contains("did not answer in time") && error.contains("Nothing was changed"));
    }

    #[test]
    fn a_link_leads_to_a_page_and_a_place_on_it() {
        let check = |said: Option<&str>, expected: &str| {
            let target = Target::Http("http://prod.example.org:8081/m/".parse().unwrap());
            let settings = CollectorSettings::default();
            let collector = Collector::new("prod".to_owned(), target, &settings).unwrap();
            assert_eq!(link(&collector, said), expected, "{said:?}");
        };
        let own = "http://prod.example.org:8081/m/status/";
        check(None, own);
        check(Some(""), own);
        check(Some("javascript:alert(1)"), own);
        check(Some("https://s.example.org/#incident-5"), "https://s.example.org/#incident-5");
        check(Some("https://a:b@s.example.org/x?key=y"), "https://s.example.org/x?key=[redacted]");
        check(Some("https://s.example.org/#a b"), "https://s.example.org/");
        check(Some("/status/#incident-5"), "/status/#incident-5");
    }
}
