//! Updates that are alerts: available, held by nobody, and not excluded by the label `alert_on`.
//!
//! | type | when | severity |
//! |---|---|---|
//! | `update_available` | the newest check that succeeded found one | by risk: major critical, else info |

use jiff::Timestamp;
use maintenant_api::alerts::Severity;
use rusqlite::{Connection, OptionalExtension};
use serde_json::json;

use super::model::Status;
use super::policy::AlertOn;
use super::sql::{self, Stored};
use crate::signals::{Entity, Findings, Signal, Source};
use crate::wording::{details, quoted};

pub struct Rules;

impl Source for Rules {
    fn name(&self) -> &'static str {
        "update"
    }

    fn find(&self, db: &Connection, _now: Timestamp) -> rusqlite::Result<Findings> {
        let signals = sql::list(db)?.iter().filter_map(signal).collect();
        Ok(Findings { signals, ..Findings::default() })
    }

    fn exists(&self, db: &Connection, entity: &Entity) -> rusqlite::Result<bool> {
        let sql = "SELECT 1 FROM containers WHERE id = ?1 AND archived_at IS NULL";
        Ok(db.prepare_cached(sql)?.query_row([entity.id], |_| Ok(())).optional()?.is_some())
    }
}

pub fn signal(stored: &Stored) -> Option<Signal> {
    let check = &stored.check;
    let kind = check.verdict.update_type.filter(|_| check.verdict.status == Status::Available)?;
    let severity = kind.severity();
    let is_wanted = match stored.settings.alert_on {
        AlertOn::All => true,
        AlertOn::Critical => severity == Severity::Critical,
        AlertOn::None => false,
    };
    if !is_wanted || stored.pin.is_some() {
        return None;
    }
    let name = quoted(&stored.container_name);
    let image = quoted(&check.image);
    let message = if check.verdict.latest_tag == check.current_tag {
        format!("A new image of {image} is available for container {name}")
    } else {
        let tag = quoted(&check.verdict.latest_tag);
        format!("{tag} is available for container {name}, which runs {image}")
    };
    let channels = stored.channels.split(',').filter(|name| !name.is_empty());
    Some(Signal {
        source: "update",
        alert_type: "update_available",
        entity: Entity { kind: "container", id: stored.container_id },
        entity_name: stored.container_name.clone(),
        severity,
        message,
        details: details([
            ("image", json!(check.image)),
            ("current_tag", json!(check.current_tag)),
            ("latest_tag", json!(check.verdict.latest_tag)),
            ("update_type", json!(kind.as_str())),
            ("risk_score", json!(kind.risk())),
            ("why", json!(check.verdict.why)),
        ]),
        since: check.detected_at,
        due: check.detected_at,
        explained_by: None,
        channels: channels.map(str::to_owned).collect(),
    })
}
