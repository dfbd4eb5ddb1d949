//! Whether the container runtime is being heard, since when, and what it refuses.

use std::time::Duration;

use jiff::Timestamp;
use maintenant_api::health::{Degraded, RuntimeStatus};
use tokio::sync::watch;

/// The name of the runtime when nothing is watched.
pub const NOTHING: &str = "none";
const FIRST_WORD: Duration = Duration::from_secs(2);

/// The connection to the runtime as others see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runtime {
    /// `docker`, or `none` when nothing is watched.
    pub name: &'static str,
    pub connected: bool,
    pub since: Timestamp,
    pub error: Option<String>,
    pub api_version: Option<String>,
    /// Up to here the stored states are known to hold.
    pub observed_until: Option<Timestamp>,
    pub last_resync_at: Option<Timestamp>,
    pub degraded: Vec<Degraded>,
}

impl Runtime {
    /// Before the first answer.
    pub fn new(name: &'static str, now: Timestamp) -> Self {
        Self {
            name,
            connected: false,
            since: now,
            error: None,
            api_version: None,
            observed_until: None,
            last_resync_at: None,
            degraded: Vec::new(),
        }
    }

    pub fn to_wire(&self, now: Timestamp) -> RuntimeStatus {
        let api_version = self
            .api_version
            .iter()
            .map(|version| ("api_version".to_owned(), serde_json::Value::String(version.clone())));
        RuntimeStatus {
            runtime: self.name.to_owned(),
            context: self.name.to_owned(),
            connected: self.connected,
            label: "Containers".to_owned(),
            detected_at: Some(now),
            metadata: api_version.collect(),
            since: Some(self.since),
            error: self.error.clone(),
            last_resync_at: self.last_resync_at,
            degraded: self.degraded.clone(),
        }
    }
}

/// The writing end; the watch of the runtime holds it.
#[derive(Debug, Clone)]
pub struct RuntimeState(watch::Sender<Runtime>);

impl RuntimeState {
    pub fn new(runtime: Runtime) -> Self {
        Self(watch::Sender::new(runtime))
    }

    pub fn get(&self) -> Runtime {
        self.0.borrow().clone()
    }

    /// Waits, not for long, until the runtime has been heard or has failed for the first time: who
    /// asks in the first moments of a process would otherwise be told that nothing is known.
    pub async fn first_word(&self) {
        let mut runtime = self.subscribe();
        let known = runtime.wait_for(|runtime| {
            runtime.name == NOTHING || runtime.connected || runtime.error.is_some()
        });
        let _ = tokio::time::timeout(FIRST_WORD, known).await;
    }

    pub fn subscribe(&self) -> watch::Receiver<Runtime> {
        self.0.subscribe()
    }

    pub fn connected(&self, api_version: Option<&str>, now: Timestamp) {
        self.0.send_modify(|runtime| {
            if !runtime.connected {
                runtime.since = now;
            }
            runtime.connected = true;
            runtime.error = None;
            runtime.api_version = api_version.map(str::to_owned);
            runtime.observed_until = Some(now);
            runtime.last_resync_at = Some(now);
        });
    }

    pub fn lost(&self, error: String, now: Timestamp) {
        self.0.send_modify(|runtime| {
            if runtime.connected {
                runtime.since = now;
            }
            runtime.connected = false;
            runtime.error = Some(error);
        });
    }

    pub fn observed(&self, now: Timestamp) {
        self.0.send_modify(|runtime| runtime.observed_until = Some(now));
    }

    /// Sets or clears what is known of one feature's refused call.
    pub fn set_degraded(&self, feature: &str, refused: Option<(&str, String)>) {
        self.0.send_if_modified(|runtime| {
            let before = runtime.degraded.clone();
            runtime.degraded.retain(|degraded| degraded.feature != feature);
            if let Some((call, error)) = refused {
                let call = call.to_owned();
                runtime.degraded.push(Degraded { feature: feature.to_owned(), call, error });
            }
            runtime.degraded != before
        });
    }
}
