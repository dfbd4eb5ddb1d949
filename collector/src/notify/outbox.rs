//! Messages still to be delivered, written together with what they tell.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use maintenant_api::alerts::Alert;
use maintenant_serve::logging::foreign;
use rusqlite::Connection;
use serde_json::{Map, Value};

use super::routing::{Routed, route};
use super::{snapshot, sql};

/// Names that lead to no channel and were logged; more are not.
const LOGGED: usize = 100;

/// What a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// Opened, escalated, or still there when a silence ended.
    Fired,
    Resolved,
}

impl Event {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fired => "alert.fired",
            Self::Resolved => "alert.resolved",
        }
    }
}

/// Something to tell.
#[derive(Debug, Clone)]
pub struct Notice {
    pub event: Event,
    /// As it is at this moment; later changes do not touch the message.
    pub alert: Alert,
    /// Names of the only channels to tell; empty tells all that are routed to.
    pub channels: Vec<String>,
}

/// Where messages go to: one queue each.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lane {
    Channel(i64),
    Webhook(String),
}

impl std::fmt::Display for Lane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Channel(id) => write!(f, "channel/{id}"),
            Self::Webhook(id) => write!(f, "webhook/{id}"),
        }
    }
}

impl Lane {
    /// As written in the database.
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once('/')? {
            ("channel", id) => id.parse().ok().map(Self::Channel),
            ("webhook", id) => Some(Self::Webhook(id.to_owned())),
            _ => None,
        }
    }
}

/// Writes one message per channel and subscription that wants it, in the transaction of the alert
/// itself. Says how many.
///
/// That an alert ended is told to the channels that were told that it began, or are still to be told,
/// whatever their rules are by now: its severity is another then.
pub fn enqueue(tx: &Connection, notice: &Notice, now: Timestamp) -> rusqlite::Result<usize> {
    let Notice { event, alert, .. } = notice;
    let channels = sql::channels(tx)?;
    let entity = format!("{}/{}", alert.entity_type, alert.entity_id);
    let told = match event {
        Event::Fired => {
            let routed = route(&channels, &alert.source, alert.severity, &notice.channels);
            let Routed { channels, unheard } = routed;
            for name in &unheard {
                log_unheard(name);
            }
            channels
        }
        Event::Resolved => sql::take_told(tx, &alert.source, &alert.alert_type, &entity)?,
    };
    let map = snapshot::alert_map(alert);
    let payload = snapshot::of_channel(event.as_str(), &map, now);
    let mut written = 0;
    for channel in channels.iter().filter(|one| one.enabled && told.contains(&one.id)) {
        let lane = Lane::Channel(channel.id);
        let message = sql::Message {
            lane: &lane,
            target: &channel.name,
            entity: &entity,
            event: event.as_str(),
            payload: &payload,
        };
        sql::insert_message(tx, &message, now)?;
        written += 1;
    }
    Ok(written + publish(tx, event.as_str(), &entity, &map, now)?)
}

/// Writes one message per subscription to this event.
pub fn publish(
    tx: &Connection,
    event: &str,
    entity: &str,
    data: &Map<String, Value>,
    now: Timestamp,
) -> rusqlite::Result<usize> {
    let webhooks = sql::webhooks(tx)?;
    let mut payload = None;
    let mut written = 0;
    for webhook in webhooks.into_iter().filter(|webhook| webhook.wants(event)) {
        let lane = Lane::Webhook(webhook.id);
        let payload = payload.get_or_insert_with(|| snapshot::of_webhook(event, data, now));
        let message = sql::Message { lane: &lane, target: &webhook.name, entity, event, payload };
        sql::insert_message(tx, &message, now)?;
        written += 1;
    }
    Ok(written)
}

/// Once per name.
fn log_unheard(name: &str) {
    static KNOWN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if known.len() < LOGGED && known.insert(name.to_owned()) {
        let name = foreign(name);
        tracing::warn!("`{name}` leads to no channel that is on: its alerts go to all routed to");
    }
}
