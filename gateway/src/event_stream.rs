//! A collector's stream of events, read for what it changes.
//!
//! Our collector keeps its stream alive with comments, so that silence means it is dead. Other
//! servers send nothing before the first event, not even a head, keep no quiet stream alive and
//! drop events without a word: there, and wherever no stream can be read, active alerts are asked
//! for again and again, and compared.

use std::convert::Infallible;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use maintenant_api::alerts::AlertQuery;
use maintenant_serve::logging::foreign;
use reqwest::Response;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::collector::Collector;

/// Between two questions for active alerts, where no stream is known to live.
pub const POLL: Duration = Duration::from_secs(30);
/// Of a stream that is kept alive every 15 seconds: three of them missed.
const SILENCE: Duration = Duration::from_secs(50);
const SHORTEST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Of a line only this much is kept: names of events are shorter, and data are not read.
const BEGINNING: usize = 80;

const SILENT: u64 = 0;

/// How often each resource has changed since somebody listens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Changes {
    pub alerts: u64,
    pub overview: u64,
}

/// What an event changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Concern {
    /// Alerts, and with them the overview.
    Alerts,
    Overview,
}

/// Follows `collector` for ever and counts in `changes` what changes; where its stream is not known
/// to live, its alerts are asked for after each `poll`.
pub async fn follow(
    collector: Arc<Collector>,
    changes: &watch::Sender<Changes>,
    poll: Duration,
) -> Infallible {
    let following =
        Following { collector, changes, is_alive: AtomicBool::new(false), known: Mutex::new(None) };
    tokio::select! {
        never = following.stream() => never,
        never = following.poll(poll) => never,
    }
}

struct Following<'a> {
    collector: Arc<Collector>,
    changes: &'a watch::Sender<Changes>,
    /// The stream is open, and silence would tell that it is not.
    is_alive: AtomicBool,
    /// Digests of active alerts and of endpoints as last asked for; [`SILENT`], where there was no
    /// answer.
    known: Mutex<Option<(u64, u64)>>,
}

impl Following<'_> {
    async fn stream(&self) -> Infallible {
        let mut pause = SHORTEST_PAUSE;
        let mut was_open = false;
        loop {
            let began = Instant::now();
            let error = match self.collector.events().await {
                Ok(response) => {
                    if was_open {
                        // What happened in between was not heard.
                        self.changed(Concern::Alerts);
                    }
                    was_open = true;
                    self.read(response).await;
                    // Its silence shows in the answers.
                    self.changed(Concern::Alerts);
                    "it ended".to_owned()
                }
                Err(error) => foreign(&error.to_string()),
            };
            let name = &self.collector.name;
            tracing::debug!(collector = name, "no stream of events for {pause:?}: {error}");
            sleep(pause).await;
            pause = if began.elapsed() > LONGEST_PAUSE {
                SHORTEST_PAUSE
            } else {
                pause.saturating_mul(2).min(LONGEST_PAUSE)
            };
        }
    }

    /// Until its end, or until it is silent for too long.
    async fn read(&self, response: Response) {
        // What changed before it was open.
        self.compare().await;
        let mut chunks = response.bytes_stream();
        let mut lines = Lines::default();
        loop {
            let next = chunks.next();
            let chunk = if self.is_alive.load(Ordering::Relaxed) {
                timeout(SILENCE, next).await.ok().flatten()
            } else {
                next.await
            };
            let Some(Ok(chunk)) = chunk else { break };
            lines.feed(&chunk, |line| {
                if line.starts_with(':') {
                    self.is_alive.store(true, Ordering::Relaxed);
                } else if let Some(name) = line.strip_prefix("event:")
                    && let Some(concern) = concern(name.trim())
                {
                    self.changed(concern);
                }
            });
        }
        self.is_alive.store(false, Ordering::Relaxed);
    }

    async fn poll(&self, every: Duration) -> Infallible {
        loop {
            if !self.is_alive.load(Ordering::Relaxed) {
                self.compare().await;
            }
            sleep(every).await;
        }
    }

    /// Asks for the active alerts and for endpoints, of which other servers' streams tell nothing;
    /// others than before are a change, and so are the first: who listens may have read earlier.
    async fn compare(&self) {
        let active = AlertQuery {
            status: Some("active".to_owned()),
            limit: Some("200".to_owned()),
            ..AlertQuery::default()
        };
        let live = self.collector.live();
        let (page, endpoints) = tokio::join!(live.alerts(&active), live.endpoints());
        let alerts = page.map_or(SILENT, |page| {
            let mut hasher = DefaultHasher::new();
            for alert in &page.alerts {
                let severity = alert.severity.as_str();
                (alert.id, severity, alert.acknowledged_at, &alert.message).hash(&mut hasher);
            }
            hasher.finish()
        });
        let endpoints = endpoints.map_or(SILENT, |endpoints| {
            let mut hasher = DefaultHasher::new();
            for endpoint in &endpoints {
                (endpoint.id, &endpoint.status, &endpoint.alert_state).hash(&mut hasher);
            }
            hasher.finish()
        });
        let now = (alerts, endpoints);
        let before = self.known.lock().unwrap_or_else(PoisonError::into_inner).replace(now);
        if before.is_none_or(|before| before.0 != now.0) {
            self.changed(Concern::Alerts);
        } else if before != Some(now) {
            self.changed(Concern::Overview);
        }
    }

    fn changed(&self, concern: Concern) {
        // Who listens reads at once.
        self.collector.forget();
        self.changes.send_modify(|changes| {
            changes.overview = changes.overview.wrapping_add(1);
            if concern == Concern::Alerts {
                changes.alerts = changes.alerts.wrapping_add(1);
            }
        });
    }
}

/// Samples, pings and checks that change nothing are most of what is sent.
fn concern(event: &str) -> Option<Concern> {
    let (kind, what) = event.split_once('.')?;
    match (kind, what) {
        ("alert" | "silence", _) | ("stream", "gap") => Some(Concern::Alerts),
        ("container", "log_line" | "log_error" | "log_backlog")
        | ("heartbeat", "ping_received")
        | ("certificate", "check_completed")
        | ("update", "scan_started") => None,
        ("container" | "endpoint" | "heartbeat" | "certificate" | "update" | "runtime", _) => {
            Some(Concern::Overview)
        }
        _ => None,
    }
}

/// Cuts a stream into lines, of which only the beginnings are kept.
#[derive(Default)]
struct Lines {
    line: Vec<u8>,
}

impl Lines {
    fn feed(&mut self, chunk: &[u8], mut heard: impl FnMut(&str)) {
        for part in chunk.split_inclusive(|byte| matches!(byte, b'\n' | b'\r')) {
            let (text, ends) = match part.split_last() {
                Some((b'\n' | b'\r', text)) => (text, true),
                _ => (part, false),
            };
            let room = BEGINNING.saturating_sub(self.line.len());
            self.line.extend(text.iter().take(room));
            if ends {
                if let Ok(line) = std::str::from_utf8(&self.line) {
                    heard(line);
                }
                self.line.clear();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_heard_however_the_stream_is_cut_and_none_is_kept_whole() {
        let long = "x".repeat(10_000);
        let stream = format!(": ping\n\nevent: alert.fired\r\ndata: {long}\r\n\r\nevent: b\n\n");
        for size in [1, 7, 100_000] {
            let (mut lines, mut heard) = (Lines::default(), Vec::new());
            for chunk in stream.as_bytes().chunks(size) {
                lines.feed(chunk, |line| heard.push(line.to_owned()));
                assert!(lines.line.len() <= BEGINNING);
            }
            heard.retain(|line| !line.is_empty());
            let data = format!("data: {}", "x".repeat(BEGINNING - 6));
            assert_eq!(heard, [": ping", "event: alert.fired", &data, "event: b"], "by {size}");
        }
    }

    #[test]
    fn events_concern_what_they_change() {
        let check = |concern_: Option<Concern>, events: &[&str]| {
            for event in events {
                assert_eq!(concern(event), concern_, "{event}");
            }
        };
        let alerts = [
            "alert.fired",
            "alert.resolved",
            "alert.acknowledged",
            "silence.created",
            "stream.gap",
        ];
        check(Some(Concern::Alerts), &alerts);
        let overview = ["container.state_changed", "endpoint.status_changed", "update.detected"];
        check(Some(Concern::Overview), &overview);
        let nothing = ["resource.snapshot", "heartbeat.ping_received", "channel.created", "x", ""];
        check(None, &nothing);
    }
}
