//! The job that turns changes of state into messages to subscriptions. It listens to what is told to
//! clients of the event stream; alerts come by their own way, with their transaction.

use std::sync::Arc;

use maintenant_serve::clock;
use serde_json::{Map, Value};
use tokio::sync::Notify;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use super::routes::Notifications;
use super::{outbox, sql, write_at_last};
use crate::http::events::Event;
use crate::store::Store;
use crate::tasks::Job;
use crate::wording::shown;

/// Events stored in one transaction.
const BATCH: usize = 500;
/// Each with the kind of its entity, and where in its data that one's id is.
const EVENTS: [(&str, &str, &str); 4] = [
    ("container.state_changed", "container", "id"),
    ("endpoint.status_changed", "endpoint", "endpoint_id"),
    ("heartbeat.status_changed", "heartbeat", "heartbeat_id"),
    ("certificate.status_changed", "certificate", "monitor_id"),
];

pub struct States {
    store: Store,
    /// Kept by itself: what is told while the job pauses after a failure waits in it.
    heard: broadcast::Receiver<Arc<Event>>,
    bell: Arc<Notify>,
}

/// A change of state: event, entity, data.
type Change = (&'static str, String, Map<String, Value>);

impl States {
    pub fn new(notifications: &Notifications, heard: broadcast::Receiver<Arc<Event>>) -> Self {
        let inner = &notifications.0;
        Self { store: inner.store.clone(), heard, bell: inner.bell.clone() }
    }

    async fn store(&self, changes: Vec<Change>) -> anyhow::Result<()> {
        // Most have no subscriptions, and nothing is written. What cannot be read is left to the write.
        if let Ok(webhooks) = self.store.read(sql::webhooks).await {
            let is_wanted =
                |change: &Change| webhooks.iter().any(|webhook| webhook.wants(change.0));
            if !changes.iter().any(is_wanted) {
                return Ok(());
            }
        }
        let now = clock::now();
        let write = move |tx: &rusqlite::Connection| {
            for (event, entity, data) in &changes {
                outbox::publish(tx, event, entity, data, now)?;
            }
            Ok(())
        };
        write_at_last(&self.store, write).await?;
        self.bell.notify_one();
        Ok(())
    }
}

impl Job for States {
    const NAME: &'static str = "webhook_events";

    async fn run(&mut self, _now: jiff::Timestamp) -> anyhow::Result<()> {
        loop {
            let mut changes: Vec<Change> = match self.heard.recv().await {
                Ok(event) => read(&event).into_iter().collect(),
                Err(RecvError::Lagged(missed)) => {
                    tracing::warn!(missed, "events came too fast for the webhooks");
                    continue;
                }
                Err(RecvError::Closed) => return Ok(()),
            };
            while changes.len() < BATCH {
                match self.heard.try_recv() {
                    Ok(event) => changes.extend(read(&event)),
                    // It is reported by the next wait.
                    Err(TryRecvError::Lagged(_) | TryRecvError::Empty | TryRecvError::Closed) => {
                        break;
                    }
                }
            }
            if !changes.is_empty() {
                self.store(changes).await?;
            }
        }
    }
}

/// What subscriptions are told of an event; most are not for them.
fn read(event: &Event) -> Option<Change> {
    let (name, kind, id) = EVENTS.into_iter().find(|(name, ..)| *name == event.name)?;
    let mut data: Map<String, Value> = serde_json::from_str(&event.data).ok()?;
    // An address that is checked may hold secrets.
    if let Some(Value::String(target)) = data.get_mut("target") {
        *target = shown(target);
    }
    let entity = format!("{kind}/{}", data.get(id)?);
    Some((name, entity, data))
}
