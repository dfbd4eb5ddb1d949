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

/// Before the first line the server may have to ask its engine; some send no head before it.
pub(crate) const FIRST_LINE: Duration = Duration::from_secs(3);
const SILENCE: Duration = Duration::from_millis(400);
const AT_MOST: Duration = Duration::from_secs(8);
/// However many are asked for.
const SERVED_AT_MOST: usize = 500;
const DEFAULT_LINES: usize = 100;
/// A line of the stream; a longer one ends the reading.
const LONGEST: usize = 1 << 20;

/// How the server says that a container which does not run has no more lines.
const STOPPED: &str = "container stopped";

#[derive(Deserialize)]
struct LogLine {
    #[serde(default)]
    line: String,
    #[serde(default)]
    timestamp: String,
}

#[derive(Deserialize)]
struct LogError {
    #[serde(default)]
    error: String,
}

/// Lines, and how far a live stream was read for them.
#[derive(Debug)]
pub struct Logs {
    pub answer: ContainerLogs,
    /// `None`: the server itself searched its log.
    pub read: Option<Read>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Read {
    /// Lines that came, those outside of the wanted span included.
    pub seen: usize,
    /// Older lines of the span may lie before all that the server shows.
    pub is_tail: bool,
    /// Reading ended before the lines did.
    pub is_cut: bool,
}

/// How many lines to ask for: the stream knows no span, so for one all there are.
pub fn lines(query: &LogQuery) -> usize {
    if query.since.is_some() || query.until.is_some() {
        return SERVED_AT_MOST;
    }
    let wanted = query.lines.as_deref().and_then(|lines| lines.parse().ok());
    wanted.unwrap_or(DEFAULT_LINES).min(SERVED_AT_MOST)
}

/// Reads lines until there are as many as asked for, a silence, or the end. `None`: there came
/// none, and the server did not say that the log is empty.
pub async fn read(id: i64, response: Response, query: &LogQuery, end: Instant) -> Option<Logs> {
    let wanted = lines(query);
    let window = Window::new(query);
    let end = end.min(Instant::now() + AT_MOST);
    let mut chunks = response.bytes_stream();
    let mut events = Events::default();
    let mut lines = Vec::new();
    let mut seen = 0_usize;
    let (mut is_complete, mut is_cut, mut is_before) = (false, false, false);
    'reading: while seen < wanted {
        let patience = if seen == 0 { FIRST_LINE } else { SILENCE };
        let next = timeout_at(end, timeout(patience, chunks.next())).await;
        let chunk = match next {
            Ok(Ok(Some(Ok(chunk)))) => chunk,
            // Silence, or an orderly end.
            Ok(Err(_) | Ok(None)) => break,
            Err(_) | Ok(Ok(Some(Err(_)))) => {
                is_cut = true;
                break;
            }
        };
        for event in events.feed(&chunk) {
            let line = match event {
                Event::Line(line) => line,
                Event::End(cause) => {
                    is_complete = cause == STOPPED;
                    is_cut = !is_complete;
                    break 'reading;
                }
            };
            if seen >= wanted {
                break 'reading;
            }
            seen = seen.saturating_add(1);
            is_before |= window.is_after(&line.timestamp);
            if window.holds(&line.timestamp) {
                let time = query.timestamps.is_some().then(|| format!("{} ", line.timestamp));
                lines.push(format!("{}{}", time.unwrap_or_default(), line.line));
            }
        }
        if events.rest.len() > LONGEST {
            is_cut = true;
            break;
        }
    }
    let is_tail = seen >= wanted && !is_before;
    let answer = ContainerLogs {
        container_id: id,
        container_name: String::new(),
        total_lines: i64::try_from(lines.len()).unwrap_or_default(),
        truncated: is_tail,
        lines,
    };
    (seen > 0 || is_complete).then_some(Logs { answer, read: Some(Read { seen, is_tail, is_cut }) })
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

    /// The whole of it lies later.
    fn is_after(&self, timestamp: &str) -> bool {
        let timestamp = timestamp.parse::<Timestamp>().ok();
        timestamp.zip(self.since).is_some_and(|(timestamp, since)| timestamp < since)
    }

    fn holds(&self, timestamp: &str) -> bool {
        let Ok(timestamp) = timestamp.parse::<Timestamp>() else { return true };
        self.since.is_none_or(|since| timestamp >= since)
            && self.until.is_none_or(|until| timestamp <= until)
    }
}

enum Event {
    Line(LogLine),
    /// The server says that nothing more comes, and why.
    End(String),
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
                    "container.log_error" => {
                        let error = serde_json::from_str::<LogError>(data).ok();
                        events.push(Event::End(error.map_or_else(String::new, |end| end.error)));
                    }
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
                      event: other\ndata: x\n\nevent: container.log_error\ndata: {\"error\":\"end\"}\n\n";
        for size in [1, 7, 1000] {
            let mut events = Events::default();
            let read: Vec<Event> =
                stream.as_bytes().chunks(size).flat_map(|chunk| events.feed(chunk)).collect();
            let lines: Vec<&str> = read
                .iter()
                .map(|event| match event {
                    Event::Line(line) => line.line.as_str(),
                    Event::End(cause) => cause,
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

    #[tokio::test(start_paused = true)]
    async fn reading_ends_with_what_came_when_the_time_of_the_call_is_over() {
        let line = "event: container.log_line\ndata: {\"line\":\"one\"}\n\n";
        let lines = futures_util::stream::iter(0..100).then(move |_| async move {
            tokio::time::sleep(Duration::from_millis(300)).await;
            Ok::<_, std::io::Error>(line)
        });
        let body = reqwest::Body::wrap_stream(lines);
        let started = Instant::now();
        let end = started + Duration::from_secs(1);
        let logs = read(1, http::Response::new(body).into(), &LogQuery::default(), end).await;
        let logs = logs.unwrap();
        assert_eq!((logs.answer.lines.len(), started.elapsed().as_secs()), (3, 1));
        assert_eq!(logs.read, Some(Read { seen: 3, is_tail: false, is_cut: true }));
    }
}
