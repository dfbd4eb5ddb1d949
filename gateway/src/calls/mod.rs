//! What is known and kept of calls: how many there may be, which tools there are, who made them,
//! how long they took.
//!
//! [`Calls`] is a handle that everything shares; [`Work`] is what has to run beside it.

pub mod audit;
pub mod choice;
pub mod limits;
pub mod metrics;
pub mod settings;
pub mod upstream;

mod call;
mod listening;
mod masked;
mod telemetry;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use serde_json::json;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::auth::Refusal;
use audit::Audit;
pub(crate) use call::{Asked, Outcome};
pub use call::{Call, Who};
use limits::Limits;
use metrics::Metrics;
use settings::CallSettings;
use telemetry::Telemetry;

/// What is left of audit and traces at the end has this long to be written.
const FLUSH_WITHIN: Duration = Duration::from_secs(5);

/// Limits, audit, metrics and traces; cheap to clone. By `default` calls are counted and not
/// limited, and nobody is told.
#[derive(Debug, Clone, Default)]
pub struct Calls(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limits: Limits,
    audit: Audit,
    metrics: Metrics,
    telemetry: Option<Telemetry>,
    number: AtomicU64,
    /// Calls and listeners that have not written their last line.
    running: TaskTracker,
}

/// Writes and sends what [`Calls`] hand over.
#[derive(Default)]
pub struct Work {
    audit: Option<audit::Writer>,
    spans: Option<telemetry::Sender>,
    running: TaskTracker,
}

impl Default for Inner {
    fn default() -> Self {
        let (limits, number) = (Limits::new(0), AtomicU64::new(1));
        let (audit, metrics) = (Audit::default(), Metrics::default());
        Self { limits, audit, metrics, telemetry: None, number, running: TaskTracker::new() }
    }
}

impl Calls {
    /// Opens the sinks. `work` has to run for anything to reach them.
    pub fn new(settings: &CallSettings, metrics: Metrics) -> anyhow::Result<(Self, Work)> {
        let audit = settings.audit.as_ref().map(|sink| Audit::open(sink, metrics.clone()));
        let (audit, writer) = audit.transpose()?.unzip();
        let traces = settings.traces.as_ref().map(|url| Telemetry::new(url, metrics.clone()));
        let (telemetry, sender) = traces.transpose()?.unzip();
        let calls = Self(Arc::new(Inner {
            limits: Limits::new(settings.rate),
            audit: audit.unwrap_or_default(),
            metrics,
            telemetry,
            ..Inner::default()
        }));
        let running = calls.0.running.clone();
        Ok((calls, Work { audit: writer, spans: sender, running }))
    }

    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    pub fn audit(&self) -> &Audit {
        &self.0.audit
    }

    /// Notes how a reload went, and opens the audit file anew: it may have been moved away.
    pub fn reloaded(&self, result: &anyhow::Result<()>) {
        self.0.metrics.reloaded(result.is_ok());
        // Before it is told: calls after that are in the new file.
        self.0.audit.reopen();
        match result {
            Ok(()) => tracing::info!("settings reloaded"),
            Err(error) => tracing::error!("nothing is reloaded, the old settings stay: {error:#}"),
        }
    }

    /// Counts and writes down a request that the door did not let in, and which tool it asked for,
    /// as far as that is known.
    pub fn refused(&self, refusal: &Refusal, who: &Who<'_>, tool: Option<&str>) {
        self.0.metrics.auth_refused(refusal);
        if self.0.audit.is_on() {
            let mut line = who.line(maintenant_serve::clock::now());
            if let Some(tool) = tool {
                line.insert("name".to_owned(), json!(masked::name(tool)));
            }
            line.insert("result".to_owned(), json!("refused"));
            line.insert("reason".to_owned(), json!(format!("auth: {}", metrics::kind(refusal))));
            self.0.audit.stranger(&line.into());
        }
    }
}

impl Work {
    /// Runs until `ended`, then waits for the calls that are being cut, and writes and sends what
    /// is left, for a bounded time.
    pub async fn run(self, ended: CancellationToken) {
        let over = CancellationToken::new();
        let last = async {
            ended.cancelled().await;
            self.running.close();
            self.running.wait().await;
            over.cancel();
        };
        let write = async {
            if let Some(writer) = self.audit {
                writer.run(over.clone()).await;
            }
        };
        let send = async {
            if let Some(sender) = self.spans {
                sender.run(over.clone()).await;
            }
        };
        let late = async {
            ended.cancelled().await;
            tokio::time::sleep(FLUSH_WITHIN).await;
        };
        tokio::select! {
            _ = async { tokio::join!(write, send, last) } => {}
            () = late => tracing::warn!("stopping: audit or traces were not written in time"),
        }
    }
}

/// As it stands in audit lines.
fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
