//! The decision as tables and over all interleavings; the job and the routes on real SQLite.

mod deciding;
mod interleavings;
mod routes;
mod watching;

use jiff::{SignedDuration, Timestamp};
use maintenant_api::alerts::Severity;
use serde_json::Map;

use crate::signals::{Entity, Signal};

/// 2026-01-01T00:00:00Z and so many seconds.
fn at(seconds: i64) -> Timestamp {
    let begin: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    begin + SignedDuration::from_secs(seconds)
}

const ENDPOINT: Entity = Entity { kind: "endpoint", id: 2 };
const CONTAINER: Entity = Entity { kind: "container", id: 1 };

/// Trouble that is due as soon as it begins.
fn signal(entity: &Entity, since: Timestamp) -> Signal {
    let (source, alert_type) = match entity.kind {
        "container" => ("container", "container_down"),
        _ => ("endpoint", "consecutive_failure"),
    };
    Signal {
        source,
        alert_type,
        entity: entity.clone(),
        entity_name: format!("{} {}", entity.kind, entity.id),
        severity: Severity::Warning,
        message: "it does not answer".into(),
        details: Map::new(),
        since,
        due: since,
        explained_by: None,
        channels: Vec::new(),
    }
}
