//! What is wrong now, as each dimension finds it in what it has stored.
//!
//! Alerts are a function of what is stored, not of messages passed along: a dimension commits its
//! state, then every [`Source`] is asked again what is wrong. So nothing is lost between a state and
//! its alert, whatever is killed when, and an alert ends when nothing calls for it any more.

use std::collections::BTreeSet;

use jiff::Timestamp;
use maintenant_api::alerts::Severity;
use rusqlite::Connection;
use serde_json::{Map, Value};

/// Whose trouble it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Entity {
    /// The contract's word: `container`, `endpoint`, `heartbeat`, `certificate`, `host`, `runtime`.
    pub kind: &'static str,
    /// 0 where there is only one.
    pub id: i64,
}

/// Something wrong, for as long as its source keeps finding it. At most one of a source, type and
/// entity is found at a time.
#[derive(Debug, Clone, PartialEq)]
pub struct Signal {
    /// The contract's word: `container`, `endpoint`, `heartbeat`, `certificate`, `resource`, ...
    pub source: &'static str,
    /// Such as `container_down`.
    pub alert_type: &'static str,
    pub entity: Entity,
    /// As its owner calls it. Foreign text.
    pub entity_name: String,
    pub severity: Severity,
    /// One sentence. It stays the same while nothing worth telling changes: a new one is stored.
    pub message: String,
    /// What else is known, and `since`, which the engine adds. Foreign text is bounded.
    pub details: Map<String, Value>,
    /// When the trouble began.
    pub since: Timestamp,
    /// From then on it is an alert. Before, it only explains others.
    pub due: Timestamp,
    /// While something is wrong with this entity, due or not, that is the reason: no alert of its
    /// own is opened, and it is named in the other one.
    pub explained_by: Option<Entity>,
    /// Names of the only channels to tell; empty tells all that are routed to.
    pub channels: Vec<String>,
}

/// What a source finds at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Findings {
    pub signals: Vec<Signal>,
    /// Entities of which nothing is known at present: their alerts stay as they are.
    pub unknown: BTreeSet<Entity>,
}

/// A dimension that finds what is wrong.
pub trait Source: Send + Sync {
    /// The `source` of its signals.
    fn name(&self) -> &'static str;

    /// Everything that is wrong now. Decided by a pure function of what is read.
    fn find(&self, db: &Connection, now: Timestamp) -> rusqlite::Result<Findings>;

    /// Whether it is still watched. What ends because its subject was removed did not recover.
    fn exists(&self, db: &Connection, entity: &Entity) -> rusqlite::Result<bool>;
}
