//! Logs: always on stderr, because stdout may carry a protocol.

use std::fmt;
use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing_subscriber::EnvFilter;

/// How a log line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Text,
    Json,
}

/// `text`, `json`, or nothing said: text for a terminal, JSON for a collector of logs.
pub fn format(text: Option<&str>) -> Result<Format, String> {
    match text {
        Some("text") => Ok(Format::Text),
        Some("json") => Ok(Format::Json),
        None | Some("") => {
            Ok(if std::io::stderr().is_terminal() { Format::Text } else { Format::Json })
        }
        Some(other) => Err(format!("`{other}` is no log format; use text or json")),
    }
}

/// A level (`error` to `trace`), or directives such as `info,maintenant_collector=debug`.
///
/// Libraries stay at `warn` unless they are named: at `info` rmcp writes three lines a request,
/// at `debug` it writes arguments and results.
pub fn filter(text: &str) -> Result<EnvFilter, String> {
    let quiet = "rmcp=warn,rmcp::service=off,hyper=warn,h2=warn,bollard=warn,reqwest=warn";
    let fault = |error| format!("`{text}` is no log level ({error}); use error, warn, info, debug");
    EnvFilter::try_new(format!("{quiet},{text}")).map_err(|error| fault(error.to_string()))
}

/// Installs the logger. A second call in one process, as in tests, keeps the first.
pub fn init(filter: EnvFilter, format: Format) {
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let _ = match format {
        Format::Text => builder.try_init(),
        Format::Json => builder.json().flatten_event(true).try_init(),
    };
}

/// Foreign text fit for a log line: control and direction characters escaped, length bounded.
pub fn foreign(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(256));
    for c in text.chars().take(256) {
        match c {
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => out.extend(c.escape_unicode()),
            c if c.is_control() => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}

/// How often the same may be said.
const SELDOM: Duration = Duration::from_mins(1);

/// For a line that strangers cause: says it once a minute, and then how often it was left unsaid.
#[derive(Debug, Default)]
pub struct Seldom(Mutex<Option<(Instant, u64)>>);

/// As the end of a sentence: how often it was left unsaid since it was said last.
#[derive(Debug, PartialEq, Eq)]
pub struct Unsaid(u64);

impl Seldom {
    /// Notes one more occurrence; something if it is to be said.
    pub fn say(&self, now: Instant) -> Option<Unsaid> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *last {
            Some((said, unsaid)) if now.duration_since(*said) < SELDOM => {
                *unsaid += 1;
                None
            }
            _ => Some(Unsaid(last.replace((now, 0)).map_or(0, |(_, unsaid)| unsaid))),
        }
    }
}

impl fmt::Display for Unsaid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            count => write!(f, " (and {count} more times since this was said last)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_said_seldom_is_said_once_a_minute_with_a_count() {
        let seldom = Seldom::default();
        let say = || seldom.say(Instant::now()).map(|unsaid| unsaid.to_string());
        assert_eq!(say().as_deref(), Some(""));
        for _ in 0..1000 {
            assert_eq!(say(), None);
        }
        tokio::time::advance(SELDOM).await;
        assert_eq!(say().as_deref(), Some(" (and 1000 more times since this was said last)"));
        assert_eq!(say(), None);
        tokio::time::advance(2 * SELDOM).await;
        assert_eq!(say().as_deref(), Some(" (and 1 more times since this was said last)"));
    }

    #[test]
    fn foreign_text_cannot_forge_a_line() {
        assert_eq!(
            foreign("web\n2026 ERROR \u{202e}x\u{1b}[2J"),
            "web\\n2026 ERROR \\u{202e}x\\u{1b}[2J"
        );
        assert_eq!(foreign(&"x".repeat(1000)).len(), 256);
    }

    #[test]
    fn levels_and_formats_are_checked() {
        assert!(filter("debug").is_ok() && filter("info,maintenant_gateway=trace").is_ok());
        assert!(filter("loud=very=much").is_err());
        assert_eq!(format(Some("json")), Ok(Format::Json));
        assert!(format(Some("xml")).unwrap_err().contains("text or json"));
    }
}
