//! The audit log: who called what, and how it went. One JSON line for each call, to a sink of its
//! own.
//!
//! Lines wait in a bounded queue for one writer. A call that only reads goes on when its line is
//! lost, which is counted and logged; a call that changes something is refused unless a line that
//! announces it has been written.

use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;
use tokio::fs::File;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::metrics::Metrics;
use super::settings::AuditSink;

/// Lines that wait for the writer.
const QUEUE: usize = 1024;
/// Bytes of lines that wait for the writer.
const QUEUE_BYTES: usize = 2 * 1024 * 1024;
/// Lines that refused strangers may fill; the rest is for callers.
const FOR_STRANGERS: usize = QUEUE / 2;
/// Lines written at once.
const BATCH: usize = 128;
/// A change waits no longer than this for its line.
const WRITTEN_WITHIN: Duration = Duration::from_secs(2);

/// Takes lines; cheap to clone. By `default` it takes none.
#[derive(Debug, Clone, Default)]
pub struct Audit(Option<Arc<Queue>>);

#[derive(Debug)]
struct Queue {
    entries: mpsc::Sender<Entry>,
    state: Arc<State>,
}

/// What queue and writer both know.
#[derive(Debug)]
struct State {
    metrics: Metrics,
    failing: AtomicBool,
    /// Bytes of the lines in the queue.
    waiting: AtomicUsize,
}

#[derive(Debug)]
enum Entry {
    /// A line with its end, and who waits for it to be written.
    Line(Vec<u8>, Option<oneshot::Sender<()>>),
    Reopen,
}

/// Writes lines.
pub(super) struct Writer {
    entries: mpsc::Receiver<Entry>,
    sink: Sink,
    state: Arc<State>,
    /// A line may stand half written; what follows begins on a new one.
    torn: bool,
}

enum Sink {
    Stderr(tokio::io::Stderr),
    File(Arc<Path>, File),
}

impl Audit {
    /// Opens the sink.
    pub(super) fn open(sink: &AuditSink, metrics: Metrics) -> anyhow::Result<(Self, Writer)> {
        let sink = match sink {
            AuditSink::Stderr => Sink::Stderr(tokio::io::stderr()),
            AuditSink::File(path) => Sink::File(path.as_path().into(), File::from_std(open(path)?)),
        };
        let (sender, entries) = mpsc::channel(QUEUE);
        let state = Arc::new(State {
            metrics,
            failing: AtomicBool::new(false),
            waiting: AtomicUsize::new(0),
        });
        let writer = Writer { entries, sink, state: state.clone(), torn: false };
        Ok((Self(Some(Arc::new(Queue { entries: sender, state }))), writer))
    }

    pub(super) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Hands over a line about something that has happened.
    pub(super) fn line(&self, line: &Value) {
        if let Some(queue) = &self.0 {
            queue.hand_over(line, None);
        }
    }

    /// The same for requests of strangers, who must not fill the queue.
    pub(super) fn stranger(&self, line: &Value) {
        let Some(queue) = &self.0 else { return };
        let waiting = queue.state.waiting.load(Ordering::Relaxed);
        if queue.entries.capacity() > FOR_STRANGERS && waiting < QUEUE_BYTES / 2 {
            self.line(line);
        } else {
            queue.state.metrics.audit_failed(1);
        }
    }

    /// Writes a line about a change that is to come. It must not be made when this fails.
    pub(super) async fn announce(&self, line: &Value) -> bool {
        let Some(queue) = &self.0 else { return true };
        let (done, written) = oneshot::channel();
        queue.hand_over(line, Some(done))
            && matches!(tokio::time::timeout(WRITTEN_WITHIN, written).await, Ok(Ok(())))
    }

    /// Opens the file anew, after it was moved away. If that fails, the old one goes on.
    pub(super) fn reopen(&self) {
        if let Some(queue) = &self.0
            && queue.entries.try_send(Entry::Reopen).is_err()
        {
            tracing::error!("the audit log is not reopened: its queue is full");
        }
    }
}

impl Queue {
    /// Whether there was room for it.
    fn hand_over(&self, line: &Value, done: Option<oneshot::Sender<()>>) -> bool {
        let text = text(line);
        let bytes = text.len();
        let waiting = self.state.waiting.fetch_add(bytes, Ordering::Relaxed);
        let fault = if waiting.saturating_add(bytes) > QUEUE_BYTES {
            "its queue is full"
        } else {
            match self.entries.try_send(Entry::Line(text, done)) {
                Ok(()) => return true,
                Err(TrySendError::Full(_)) => "its queue is full",
                Err(TrySendError::Closed(_)) => "it is closed",
            }
        };
        self.state.waiting.fetch_sub(bytes, Ordering::Relaxed);
        self.state.lost(1, fault);
        false
    }
}

fn text(line: &Value) -> Vec<u8> {
    let mut text = line.to_string().into_bytes();
    text.push(b'\n');
    text
}

fn open(path: &Path) -> anyhow::Result<std::fs::File> {
    let mut options = std::fs::OpenOptions::new();
    options
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("MAINTENANT_MCP_AUDIT: cannot open {}", path.display()))
}

impl State {
    /// Said once until lines are written again; counted always.
    fn lost(&self, lines: usize, why: &str) {
        self.metrics.audit_failed(lines);
        if !self.failing.swap(true, Ordering::Relaxed) {
            tracing::error!(
                "the audit log cannot be written: {why}; tools that change something are refused \
                 until it can"
            );
        }
    }

    fn written(&self) {
        if self.failing.swap(false, Ordering::Relaxed) {
            tracing::info!("the audit log is written again");
        }
    }
}

impl Writer {
    /// Writes until `ended`, then what is left.
    pub(super) async fn run(mut self, ended: CancellationToken) {
        let mut batch = Vec::new();
        loop {
            if ended.is_cancelled() {
                self.entries.close();
            }
            tokio::select! {
                received = self.entries.recv_many(&mut batch, BATCH) => {
                    if received == 0 {
                        return;
                    }
                }
                () = ended.cancelled(), if !self.entries.is_closed() => continue,
            }
            let (mut lines, mut waiting, mut count) = (Vec::new(), Vec::new(), 0_usize);
            for entry in batch.drain(..) {
                match entry {
                    Entry::Line(line, done) => {
                        self.state.waiting.fetch_sub(line.len(), Ordering::Relaxed);
                        lines.extend(line);
                        waiting.extend(done);
                        count = count.saturating_add(1);
                    }
                    Entry::Reopen => {
                        self.write(&mut lines, &mut waiting, std::mem::take(&mut count)).await;
                        self.reopen();
                    }
                }
            }
            self.write(&mut lines, &mut waiting, count).await;
        }
    }

    async fn write(
        &mut self,
        lines: &mut Vec<u8>,
        waiting: &mut Vec<oneshot::Sender<()>>,
        count: usize,
    ) {
        if count == 0 {
            return;
        }
        if self.torn {
            lines.insert(0, b'\n');
        }
        let written = self.sink.write(lines).await;
        self.torn = written.is_err();
        match written {
            Ok(()) => {
                self.state.written();
                for done in waiting.drain(..) {
                    let _ = done.send(());
                }
            }
            Err(error) => self.state.lost(count, &error.to_string()),
        }
        lines.clear();
        waiting.clear();
    }

    fn reopen(&mut self) {
        let Sink::File(path, file) = &mut self.sink else { return };
        match open(path) {
            Ok(opened) => {
                *file = File::from_std(opened);
                self.torn = false;
            }
            Err(error) => {
                tracing::error!("the audit log is not reopened, the old file goes on: {error:#}");
            }
        }
    }
}

impl Sink {
    async fn write(&mut self, lines: &[u8]) -> std::io::Result<()> {
        match self {
            Self::Stderr(stderr) => {
                stderr.write_all(lines).await?;
                stderr.flush().await
            }
            Self::File(_, file) => {
                file.write_all(lines).await?;
                file.flush().await
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn failures(metrics: &Metrics) -> String {
        let text = metrics.text(jiff::Timestamp::UNIX_EPOCH);
        let line =
            text.lines().find_map(|line| line.strip_prefix("maintenant_audit_failures_total "));
        line.unwrap().to_owned()
    }

    #[tokio::test]
    async fn a_full_disk_refuses_changes_and_counts_the_rest() {
        let metrics = Metrics::default();
        let full = AuditSink::File("/dev/full".into());
        let (audit, writer) = Audit::open(&full, metrics.clone()).unwrap();
        let ended = CancellationToken::new();
        let work = async {
            assert!(!audit.announce(&json!({"tool": "pause_monitor"})).await);
            audit.line(&json!({"tool": "list_alerts"}));
            ended.cancel();
        };
        tokio::join!(writer.run(ended.clone()), work);
        assert_eq!(failures(&metrics), "2");
    }

    #[tokio::test(start_paused = true)]
    async fn a_sink_that_hangs_fills_the_queue_and_holds_nobody_up() {
        let metrics = Metrics::default();
        let null = AuditSink::File("/dev/null".into());
        let (audit, _writer) = Audit::open(&null, metrics.clone()).unwrap();
        for _ in 0..QUEUE + 7 {
            audit.line(&json!({}));
        }
        assert_eq!(failures(&metrics), "7");
        assert!(!audit.announce(&json!({})).await);
    }

    #[tokio::test]
    async fn long_lines_fill_the_queue_before_the_memory_until_they_are_written() {
        let metrics = Metrics::default();
        let null = AuditSink::File("/dev/null".into());
        let (audit, writer) = Audit::open(&null, metrics.clone()).unwrap();
        let long = json!("x".repeat(QUEUE_BYTES / 4));
        for _ in 0..5 {
            audit.line(&long);
        }
        assert_eq!(failures(&metrics), "2");
        let ended = CancellationToken::new();
        let state = writer.state.clone();
        ended.cancel();
        writer.run(ended).await;
        assert_eq!(state.waiting.load(Ordering::Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn strangers_leave_room_for_callers() {
        let metrics = Metrics::default();
        let null = AuditSink::File("/dev/null".into());
        let (audit, _writer) = Audit::open(&null, metrics.clone()).unwrap();
        for _ in 0..2 * QUEUE {
            audit.stranger(&json!({}));
        }
        let before = failures(&metrics);
        for _ in 0..FOR_STRANGERS {
            audit.line(&json!({}));
        }
        assert_eq!(failures(&metrics), before);
    }

    #[tokio::test]
    async fn what_waits_is_written_at_the_end_and_a_moved_file_is_made_anew() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (file, moved) = (folder.path().join("audit"), folder.path().join("audit.1"));
        let (audit, writer) =
            Audit::open(&AuditSink::File(file.clone()), Metrics::default()).unwrap();
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        audit.line(&json!({"n": 1}));
        std::fs::rename(&file, &moved).unwrap();
        audit.reopen();
        audit.line(&json!({"n": 2}));
        let ended = CancellationToken::new();
        ended.cancel();
        writer.run(ended).await;
        assert_eq!(std::fs::read_to_string(&moved).unwrap(), "{\"n\":1}\n");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "{\"n\":2}\n");
    }

    #[test]
    fn a_file_that_cannot_be_opened_stops_the_start() {
        let sink = AuditSink::File("/nowhere/audit".into());
        let error = Audit::open(&sink, Metrics::default()).err().unwrap();
        assert!(format!("{error:#}").contains("MAINTENANT_MCP_AUDIT"), "{error:#}");
    }
}
