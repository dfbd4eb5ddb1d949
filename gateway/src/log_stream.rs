//! Logs of a server whose `/logs` route never works, as with maintenant 1.2: the beginning of its
//! live stream is the same lines.
//!
//! The stream marks no end of what is already written, so a short silence counts as one.

use std::time::Duration;

use futures_util::StreamExt;
use jiff::Timestamp;
use maintenant_api::containers::{ContainerLogs, LogQuery};
use reqwest::Response;
use serde::Deserialize;
use tokio::time::{Instant, timeout, timeout_at};

/// Before the first line the server may have to ask its engine.
const FIRST_LINE: Duration = Duration::from_secs(3);
const SILENCE: Duration = Duration::from_millis(400);
const AT_MOST: Duration = Duration::from_secs(8);
/// However many are asked for.
const SERVED_AT_MOST: usize = 500;
/// A line of the stream; a longer one ends the reading.
const LONGEST: usize = 1 << 20;

#[derive(Deserialize)]
struct LogLine {
    #[serde(default)]
    line: String,
    #[serde(default)]
    timestamp: String,
}

/// Reads lines until there are as many as asked for, a silence, or the end.
pub async fn read(id: i64, response: Response, query: &LogQuery) -> ContainerLogs {
    let wanted = query.lines.as_deref().and_then(|lines| lines.parse().ok()).unwrap_or(100);
    let window = Window::new(query);
    let end = Instant::now() + AT_MOST;
    let mut chunks = response.bytes_stream();
    let mut events = Events::default();
    let mut lines = Vec::new();
    let mut seen = 0_usize;
    'reading: while seen < wanted {
        let patience = if seen == 0 { FIRST_LINE } else { SILENCE };
        let next = timeout_at(end, timeout(patience, chunks.next())).await;
        let Ok(Ok(Some(Ok(chunk)))) = next else { break };
        for event in events.feed(&chunk) {
            let Event::Line(line) = event else { break 'reading };
            if seen >= wanted {
                break 'reading;
            }
            seen = seen.saturating_add(1);
            if window.holds(&line.timestamp) {
                let time = query.timestamps.is_some().then(|| format!("{} ", line.timestamp));
                lines.push(format!("{}{}", time.unwrap_or_default(), line.line));
            }
        }
        if events.rest.len() > LONGEST {
            break;
        }
    }
    ContainerLogs {
        container_id: id,
        container_name: String::new(),
        total_lines: i64::try_from(lines.len()).unwrap_or_default(),
        truncated: seen >= wanted.min(SERVED_AT_MOST),
        lines,
    }
}

/// The stream knows neither `since` nor `until`.
struct Window {
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

impl Window {
    fn new(query: &LogQuery) -> Self {
        let moment = |text: &Option<String>| text.as_deref().and_then(|text| text.parse().ok());
        Self { since: moment(&query.since), until: moment(&query.until) }
    }

    fn holds(&self, timestamp: &str) -> bool {
        let Ok(timestamp) = timestamp.parse::<Timestamp>() else { return true };
        self.since.is_none_or(|since| timestamp >= since)
            && self.until.is_none_or(|until| timestamp <= until)
    }
}

enum Event {
    Line(LogLine),
    /// The server says that nothing more comes.
    End,
}

/// Server-sent events, as far as this stream uses them.
#[derive(Default)]
struct Events {
    rest: Vec<u8>,
    name: String,
}

impl Events {
    fn feed(&mut self, chunk: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        self.rest.extend_from_slice(chunk);
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches(['\r', '\n']);
            if let Some(name) = line.strip_prefix("event:") {
                name.trim().clone_into(&mut self.name);
            } else if let Some(data) = line.strip_prefix("data:") {
                match self.name.as_str() {
                    "container.log_line" => {
                        events.extend(serde_json::from_str(data).ok().map(Event::Line));
                    }
                    "container.log_error" => events.push(Event::End),
                    _ => {}
                }
            }
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_however_the_stream_is_cut() {
        let stream = ": ping\n\nevent: container.log_line\ndata: {\"line\":\"one\"}\n\n\
                      event: container.log_line\r\ndata: {\"line\":\"two\"}\r\n\r\n\
                      event: other\ndata: x\n\nevent: container.log_error\ndata: {}\n\n";
        for size in [1, 7, 1000] {
            let mut events = Events::default();
            let read: Vec<Event> =
                stream.as_bytes().chunks(size).flat_map(|chunk| events.feed(chunk)).collect();
            let lines: Vec<&str> = read
                .iter()
                .map(|event| match event {
                    Event::Line(line) => line.line.as_str(),
                    Event::End => "end",
                })
                .collect();
            assert_eq!(lines, ["one", "two", "end"], "in pieces of {size}");
        }
    }

    #[test]
    fn the_window_is_kept_by_timestamps() {
        let query = LogQuery {
            since: Some("2026-05-05T10:00:00Z".to_owned()),
            until: Some("2026-05-05T11:00:00Z".to_owned()),
            ..LogQuery::default()
        };
        let window = Window::new(&query);
        assert!(window.holds("2026-05-05T10:30:00.5+00:00") && window.holds("no time"));
        assert!(!window.holds("2026-05-05T09:59:59Z") && !window.holds("2026-05-05T11:00:01Z"));
    }
}
