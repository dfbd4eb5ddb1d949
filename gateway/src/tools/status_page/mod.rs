//! The public status page: announcing incidents and maintenance, and what they have in common.
//!
//! All is checked before anything is written, by `dry_run` and by the real call alike: other
//! servers keep half of an announcement that names a component they do not have.

mod components;
mod incidents;
mod maintenance;

use maintenant_serve::settings::is_loopback;
use reqwest::Url;
use rmcp::handler::server::tool::ToolRouter;

use crate::collector::{ClientError, Collector};
use crate::error::{ToolError, explain_change};
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
    written("message", given, MESSAGE, &['\n', '\t'])
}

/// A text as it is sent: trimmed, with the line ends that servers count once.
fn written(argument: &str, given: &str, most: usize, but: &[char]) -> Result<String, ToolError> {
    let text = given.trim().replace("\r\n", "\n");
    let count = text.chars().count();
    let fault = if count == 0 {
        "it is empty; say what is to be published".to_owned()
    } else if count > most {
        format!("it has {count} characters; at most {most} are published")
    } else if text.chars().any(|c| c.is_control() && !but.contains(&c)) {
        let lines = if but.is_empty() { "one line of plain text" } else { "plain text" };
        format!("it has control characters; give {lines}")
    } else {
        return Ok(text);
    };
    Err(ToolError::bad_argument(argument, &fault))
}

/// Why an announcement was not made, or that nobody knows whether it was.
fn refused(collector: &Collector, error: &ClientError) -> ToolError {
    let page = format!("the status page, {},", collector.status_page());
    ToolError::new(explain_change(&collector.name, error, &page))
}

/// What became of it, `done` such as `published`, or what a dry run says would.
fn outcome(what: &str, done: &str, is_dry_run: bool, is_hidden: bool) -> String {
    let begin = if is_dry_run {
        "Dry run, nothing was changed. All is well; without dry_run this would be".to_owned()
    } else {
        format!("{what} is")
    };
    if is_hidden {
        format!(
            "{begin} stored, but all its components are hidden: the page does not show it and \
             nobody is told."
        )
    } else {
        format!("{begin} {done}.")
    }
}

/// Where it is read: as the server says, or where we know its page to be, and its place on it.
fn link(collector: &Collector, said: Option<&str>) -> String {
    let is_address = |said: &&str| ["http://", "https://", "/"].iter().any(|s| said.starts_with(s));
    let Some(said) = said.filter(is_address) else { return collector.status_page() };
    let (page, place) = said.split_once('#').unwrap_or((said, ""));
    // A server that was not told its own address says localhost, which is another machine here.
    let host = Url::parse(page).ok().and_then(|page| page.host_str().map(str::to_owned));
    let is_usable = host.is_some_and(|host| !is_loopback(&host) || collector.is_at_loopback());
    let page = if is_usable { untrusted::address(page) } else { collector.status_page() };
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

    #[test]
    fn a_link_leads_to_a_page_and_a_place_on_it() {
        let at = |target: Target, said: Option<&str>, expected: &str| {
            let settings = CollectorSettings::default();
            let collector = Collector::new("prod".to_owned(), target, &settings).unwrap();
            assert_eq!(link(&collector, said), expected, "{said:?}");
        };
        let check = |said: Option<&str>, expected: &str| {
            let url = "http://prod.example.org:8081/m/".parse().unwrap();
            at(Target::Http(url), said, expected);
        };
        let own = "http://prod.example.org:8081/m/status/";
        check(None, own);
        check(Some(""), own);
        check(Some("javascript:alert(1)"), own);
        check(Some("https://s.example.org/#incident-5"), "https://s.example.org/#incident-5");
        check(Some("https://a:b@s.example.org/x?key=y"), "https://s.example.org/x?key=[redacted]");
        check(Some("https://s.example.org/#a b"), "https://s.example.org/");
        // Nowhere but on the server's own machine.
        let place = "http://prod.example.org:8081/m/status/#incident-5";
        for said in ["http://localhost:8080", "http://127.0.0.1", "https://[::1]:8080", "", "//"] {
            check(Some(&format!("{said}/status/#incident-5")), place);
        }
        let local = "http://localhost:8080/status/#incident-5";
        at(Target::Http("http://127.0.0.1:8080".parse().unwrap()), Some(local), local);
        at(Target::Http("http://collector:8081".parse().unwrap()), Some(local), local);
        at(Target::Unix("/run/m.sock".into()), Some(local), "/status/#incident-5");
        let public = "https://s.example.org/status/#incident-5";
        at(Target::Unix("/run/m.sock".into()), Some(public), public);
    }

    #[test]
    fn lines_end_in_one_way_and_count_once() {
        let check = |given: &str, expected: Result<&str, &str>| match (message(given), expected) {
            (Ok(text), Ok(expected)) => assert_eq!(text, expected),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
            (got, expected) => panic!("{given:?}: {got:?}, expected {expected:?}"),
        };
        check(" a\r\n\tb\nc\r\n", Ok("a\n\tb\nc"));
        check("a\rb", Err("control characters"));
        check("a\r\r\nb", Err("control characters"));
        let lines = |end: &str| format!("{}x", format!("x{end}").repeat(2499));
        check(&lines("\r\n"), Ok(&lines("\n")));
        let long = "x\r\n".repeat(2500) + "xx";
        check(&long, Err("it has 5002 characters"));
        assert!(title("a\r\nb").is_err());
    }
}
