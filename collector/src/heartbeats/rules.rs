//! What is wrong with heartbeats: of each at most one thing, as its stored state says.
//!
//! | type | when | severity |
//! |---|---|---|
//! | `deadline_missed` | no ping by the deadline, or a run that did not end in time | critical |
//! | `failed` | the last run said that it failed | critical |
//! | `late` | a ping is expected, and within its grace | warning |
//! | `never_pinged` | the first ping did not come by its deadline | warning |
//!
//! Of one that is paused nothing is expected.

use jiff::Timestamp;
use maintenant_api::alerts::Severity;
use maintenant_api::heartbeats::{HeartbeatProblem, HeartbeatStatus};
use rusqlite::Connection;
use serde_json::json;

use super::model::{Heartbeat, hold};
use super::routes::Heartbeats;
use super::sql;
use crate::signals::{Entity, Findings, Signal, Source};
use crate::wording::{details, quoted};

pub struct Rules {
    pub heartbeats: Heartbeats,
}

impl Source for Rules {
    fn name(&self) -> &'static str {
        "heartbeat"
    }

    fn find(&self, db: &Connection, now: Timestamp) -> rusqlite::Result<Findings> {
        let listening_since = self.heartbeats.0.listening().since_at(now);
        let mut signals = Vec::new();
        for (heartbeat, down_from) in sql::list_troubled(db, now)? {
            signals.extend(judge(&heartbeat, down_from, listening_since, now));
        }
        Ok(Findings { signals, ..Findings::default() })
    }

    fn exists(&self, db: &Connection, entity: &Entity) -> rusqlite::Result<bool> {
        db.prepare_cached(
            "SELECT 1 FROM heartbeats
             WHERE id = ?1 AND deleted_at IS NULL AND status <> 'paused'",
        )?
        .exists([entity.id])
    }
}

/// What is wrong with a heartbeat. `down_from` is since when its time counts as down without a gap.
pub fn judge(
    heartbeat: &Heartbeat,
    down_from: Option<Timestamp>,
    listening_since: Timestamp,
    now: Timestamp,
) -> Option<Signal> {
    let problem = heartbeat.problem_at(now)?;
    let name = quoted(&heartbeat.name);
    // A run that began after the deadline was missed moves `status_since`.
    let down = down_from.map_or(heartbeat.status_since, |from| from.min(heartbeat.status_since));
    let (critical, warning) = (Severity::Critical, Severity::Warning);
    let (alert_type, severity, since, message) = match problem {
        HeartbeatProblem::Missed => {
            ("deadline_missed", critical, down, format!("Heartbeat {name} missed its deadline"))
        }
        HeartbeatProblem::RunsTooLong => {
            let message = format!("A run of heartbeat {name} did not end in time");
            ("deadline_missed", critical, down, message)
        }
        HeartbeatProblem::Failed => {
            ("failed", critical, down, format!("The last run of heartbeat {name} failed"))
        }
        HeartbeatProblem::Late => {
            ("late", warning, heartbeat.expected_at?, format!("Heartbeat {name} is late"))
        }
        HeartbeatProblem::NeverPinged => {
            let since = heartbeat.regular_deadline()?;
            ("never_pinged", warning, since, format!("Heartbeat {name} was never pinged"))
        }
        HeartbeatProblem::Other => return None,
    };
    // A ping that could not be delivered to us is not late: it gets the pause that deadlines get.
    let due = match problem {
        HeartbeatProblem::Late if since < listening_since => {
            listening_since.saturating_add(hold(heartbeat.timing.grace)).unwrap_or(since)
        }
        _ => since,
    };
    Some(Signal {
        source: "heartbeat",
        alert_type,
        entity: Entity { kind: "heartbeat", id: heartbeat.id },
        entity_name: heartbeat.name.clone(),
        severity,
        message,
        details: details([
            ("problem", json!(problem)),
            ("expected_at", json!(heartbeat.expected_at)),
            ("grace_seconds", json!(heartbeat.timing.grace.as_secs())),
            ("last_ping_at", json!(heartbeat.last_ping_at)),
            ("run_started_at", json!(heartbeat.current_run_started_at)),
            ("last_exit_code", json!(heartbeat.last_exit_code)),
            ("last_duration_ms", json!(heartbeat.last_duration_ms)),
            ("consecutive_failures", json!(heartbeat.consecutive_failures)),
            ("is_running", json!(heartbeat.status == HeartbeatStatus::Started)),
        ]),
        since,
        due,
        explained_by: None,
        channels: Vec::new(),
    })
}
