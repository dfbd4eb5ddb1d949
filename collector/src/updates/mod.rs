//! Updates: newer images for what runs.
//!
//! `reference`, `tags`, `policy`, `model`, `commands` decide and are pure; `registry`, `inspect`, `look`
//! and `scan` act.

pub mod commands;
pub mod credentials;
pub mod inspect;
pub mod look;
pub mod model;
pub mod policy;
pub mod reference;
pub mod registry;
pub mod routes;
pub mod rules;
pub mod scan;
pub mod sql;
pub mod tags;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tokio::sync::{mpsc, watch};

use crate::docker::Docker;
use crate::http::events::EventBus;
use crate::spine::Spine;
use crate::store::{Store, StoreError};
use crate::tasks::{Backoff, Supervisor};
use scan::{FIRST, Scanner};

/// After a scan that failed as a whole, for want of Docker.
const RETRY: SignedDuration = SignedDuration::from_mins(10);

/// How updates are looked for.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// From one scan to the next; `None` scans on demand only.
    pub interval: Option<Duration>,
    /// Docker's `config.json`.
    pub docker_config: Option<PathBuf>,
}

/// What the routes work with; clones share it.
#[derive(Clone)]
pub struct Updates(pub(in crate::updates) Arc<Inner>);

pub(in crate::updates) struct Inner {
    store: Store,
    events: EventBus,
    interval: Option<Duration>,
    next: Mutex<Option<Timestamp>>,
    is_running: Arc<AtomicBool>,
    requests: mpsc::Sender<Begun>,
}

/// A scan that was begun. No other begins while this is held.
pub(in crate::updates) struct Begun {
    id: i64,
    turn: Turn,
}

/// The right to scan, given back when it is dropped, whoever holds it then.
struct Turn(Arc<AtomicBool>);

impl Turn {
    fn take(is_running: &Arc<AtomicBool>) -> Option<Self> {
        (!is_running.swap(true, Ordering::AcqRel)).then(|| Self(is_running.clone()))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Inner {
    /// Begins a scan, and says as which; `None` while one is under way. Once the scan is written, it is
    /// told and made, whatever becomes of the caller.
    async fn begin(&self, now: Timestamp) -> Result<Option<i64>, StoreError> {
        let Some(turn) = Turn::take(&self.is_running) else { return Ok(None) };
        let (events, requests) = (self.events.clone(), self.requests.clone());
        let begun = move |id: &i64| {
            events.publish("update.scan_started", &json!({"scan_id": id, "started_at": now}));
            // There is room for the only one.
            let _ = requests.try_send(Begun { id: *id, turn });
        };
        self.store.write_then(move |tx| sql::begin_scan(tx, now), begun).await.map(Some)
    }

    /// Plans the next scan. Up to a twentieth of the interval is added, another one each time, so that
    /// machines that started together part.
    fn plan(&self, now: Timestamp) {
        let next = self.interval.and_then(|interval| {
            let share = u32::try_from(now.as_millisecond().rem_euclid(1000)).unwrap_or_default();
            let pause = interval.saturating_add(interval / 20 * share / 1000);
            now.checked_add(SignedDuration::try_from(pause).ok()?).ok()
        });
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = next;
    }

    /// Plans the next scan after one that failed as a whole.
    fn retry(&self, now: Timestamp) {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let soon = now.saturating_add(RETRY).unwrap_or(now);
        *next = next.map(|next| next.min(soon));
    }

    fn next(&self) -> Option<Timestamp> {
        *self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts the job of this dimension. A scan that was made not long ago is not made again.
pub async fn start(
    spine: &Spine,
    supervisor: &mut Supervisor,
    docker: watch::Receiver<Option<Docker>>,
    settings: Settings,
    now: Timestamp,
) -> anyhow::Result<Updates> {
    let last = spine
        .store
        .write(move |tx| {
            sql::end_orphans(tx, now)?;
            sql::last_completed(tx)
        })
        .await?;
    let (sender, requests) = mpsc::channel(1);
    let inner = Arc::new(Inner {
        store: spine.store.clone(),
        events: spine.events.clone(),
        interval: settings.interval,
        next: Mutex::default(),
        is_running: Arc::default(),
        requests: sender,
    });
    if let Some(last) = last.filter(|last| *last <= now) {
        inner.plan(last);
    }
    if settings.interval.is_some() {
        let first = now.saturating_add(FIRST).unwrap_or(now);
        let mut next = inner.next.lock().unwrap_or_else(PoisonError::into_inner);
        *next = Some(next.map_or(first, |next| next.max(first)));
    }
    let scanner =
        Scanner::new(spine.clone(), docker, inner.clone(), requests, settings.docker_config);
    supervisor.follow(Backoff::new(Duration::from_secs(1), Duration::from_secs(30)), scanner);
    Ok(Updates(inner))
}

#[cfg(test)]
mod tests;
