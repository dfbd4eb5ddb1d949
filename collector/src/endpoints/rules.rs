//! What is wrong with endpoints: `consecutive_failure`, critical, while so many failures in a row have
//! raised it and not enough successes ended it; and, as a warning and a minute later, while its
//! container is stopped. Trouble of the container that declares an endpoint explains it. Of one whose
//! container did its job, or was never seen running, nothing is known.
//!
//! The outage began with its first failed check, or with the stop of the container.

use jiff::Timestamp;
use maintenant_api::alerts::Severity;
use maintenant_api::endpoints::{EndpointStatus, FailureCause};
use maintenant_api::monitors::AlertState;
use maintenant_serve::logging::foreign;
use rusqlite::{Connection, Row};
use serde_json::json;

use super::code::Coded;
use super::probe::Outcome;
use super::sql::time;
use crate::alerts::engine::GRACE;
use crate::containers::inventory::InventoryReader;
use crate::containers::rules::rests_well;
use crate::signals::{Entity, Findings, Signal, Source};
use crate::wording::{details, quoted, shown};

pub struct Rules {
    /// Labels of a container hold for its endpoints too.
    pub inventory: InventoryReader,
}

/// What is known of an endpoint that is not simply up.
#[derive(Debug, Clone)]
pub struct Known {
    pub id: i64,
    /// 0: no container declares it.
    pub container_id: i64,
    pub name: String,
    pub target: String,
    pub failure_threshold: i64,
    pub status: EndpointStatus,
    pub alert: AlertState,
    pub since: Option<Timestamp>,
    pub failures: i64,
    pub failing_since: Option<Timestamp>,
    /// When the newest confirmed outage began.
    pub down_from: Option<Timestamp>,
    pub last_check_at: Option<Timestamp>,
    /// `None` with a known status: it is not checked, because its container is stopped.
    pub holds_until: Option<Timestamp>,
    pub last: Option<Outcome>,
}

/// What that means.
#[derive(Debug, PartialEq)]
pub enum Judgement {
    Fine,
    Unknown,
    Wrong(Box<Signal>),
}

impl Source for Rules {
    fn name(&self) -> &'static str {
        "endpoint"
    }

    fn find(&self, db: &Connection, now: Timestamp) -> rusqlite::Result<Findings> {
        let inventory = self.inventory.borrow().clone();
        let mut findings = Findings::default();
        let mut statement = db.prepare_cached(
            "SELECT e.id, e.container_id, e.name, e.target,
                 json_extract(e.config, '$.failure_threshold') AS failure_threshold,
                 s.status, s.alert_state, s.since, s.failures, s.failing_since, s.last_check_at,
                 s.holds_until, s.outcome, s.phases, s.error,
                 (SELECT from_at FROM endpoint_spans WHERE endpoint_id = e.id AND state = 1
                  ORDER BY from_at DESC LIMIT 1) AS down_from
             FROM endpoint_states AS s CROSS JOIN endpoints AS e ON e.id = s.endpoint_id
             WHERE (s.alert_state = 'alerting' OR s.status <> 'up') AND e.active",
        )?;
        for known in statement.query_map([], known)? {
            let known = known?;
            let container = inventory.find(known.container_id);
            let is_resting = container.is_some_and(|container| rests_well(container));
            match judge(&known, now) {
                Judgement::Fine => {}
                Judgement::Wrong(_) if is_resting && is_by_container(&known) => {
                    findings.unknown.insert(entity(known.id));
                }
                Judgement::Unknown => {
                    findings.unknown.insert(entity(known.id));
                }
                Judgement::Wrong(mut signal) => {
                    if let Some(container) = container {
                        let labels = &container.facts.labels;
                        signal.severity = labels.severity().unwrap_or(signal.severity);
                        signal.channels = labels.channels();
                    }
                    findings.signals.push(*signal);
                }
            }
        }
        Ok(findings)
    }

    fn exists(&self, db: &Connection, entity: &Entity) -> rusqlite::Result<bool> {
        db.prepare_cached("SELECT 1 FROM endpoints WHERE id = ?1 AND active")?.exists([entity.id])
    }
}

fn entity(id: i64) -> Entity {
    Entity { kind: "endpoint", id }
}

fn known(row: &Row<'_>) -> rusqlite::Result<Known> {
    let text = |column: &str| row.get::<_, String>(column);
    let last = match row.get::<_, Option<i64>>("outcome")? {
        Some(outcome) => {
            let phases = row.get::<_, Option<Vec<u8>>>("phases")?.unwrap_or_default();
            Some(Coded { outcome, phases }.check(row.get("error")?))
        }
        None => None,
    };
    Ok(Known {
        id: row.get("id")?,
        container_id: row.get("container_id")?,
        name: text("name")?,
        target: text("target")?,
        failure_threshold: row.get::<_, Option<i64>>("failure_threshold")?.unwrap_or_default(),
        status: EndpointStatus::parse(&text("status")?).unwrap_or(EndpointStatus::Unknown),
        alert: AlertState::parse(&text("alert_state")?).unwrap_or_default(),
        since: time(row, "since")?,
        failures: row.get("failures")?,
        failing_since: time(row, "failing_since")?,
        down_from: time(row, "down_from")?,
        last_check_at: time(row, "last_check_at")?,
        holds_until: time(row, "holds_until")?,
        last,
    })
}

/// It is down because its container is stopped.
fn is_by_container(known: &Known) -> bool {
    let failure = known.last.as_ref().and_then(|last| last.failure.as_ref());
    known.status == EndpointStatus::Down
        && failure.is_some_and(|failure| failure.cause == FailureCause::ContainerStopped)
}

/// What is known of an endpoint, judged.
pub fn judge(known: &Known, now: Timestamp) -> Judgement {
    let failure = known.last.as_ref().and_then(|last| last.failure.as_ref());
    let cause = failure.map(|failure| failure.cause);
    let by_container = is_by_container(known);
    let since = match known.status {
        EndpointStatus::Unknown => return Judgement::Unknown,
        // Its container runs again, and nobody has looked since.
        _ if by_container && known.holds_until.is_some() => return Judgement::Unknown,
        _ if known.alert == AlertState::Alerting => {
            known.down_from.into_iter().chain(known.failing_since).min().or(known.since)
        }
        _ if by_container => known.since,
        _ => return Judgement::Fine,
    };
    let since = since.or(known.last_check_at).unwrap_or(now);
    // The stop of a container is told by its own alert, as severe as it is. One that is made anew is
    // gone for a moment.
    let (severity, due) = match known.alert {
        AlertState::Alerting => (Severity::Critical, since),
        AlertState::Normal => (Severity::Warning, since.saturating_add(GRACE).unwrap_or(since)),
    };
    let target = shown(&known.target);
    let name = if known.name.is_empty() { target.clone() } else { known.name.clone() };
    // The last check of one that recovers succeeded.
    let why = cause.map(|cause| format!(": {}", words(cause))).unwrap_or_default();
    Judgement::Wrong(Box::new(Signal {
        source: "endpoint",
        alert_type: "consecutive_failure",
        entity: entity(known.id),
        message: format!("Endpoint {} is down{why}", quoted(&name)),
        entity_name: name,
        severity,
        details: details([
            ("target", json!(target)),
            ("cause", json!(cause)),
            ("last_error", json!(failure.map(|failure| foreign(&failure.error)))),
            ("http_status", json!(known.last.as_ref().and_then(|last| last.http_status))),
            ("consecutive_failures", json!(known.failures)),
            ("failure_threshold", json!(known.failure_threshold)),
            ("last_check_at", json!(known.last_check_at)),
        ]),
        since,
        due,
        explained_by: (known.container_id != 0)
            .then_some(Entity { kind: "container", id: known.container_id }),
        channels: Vec::new(),
    }))
}

fn words(cause: FailureCause) -> &'static str {
    match cause {
        FailureCause::Dns => "its name is not resolved",
        FailureCause::Connect => "the connection fails",
        FailureCause::Tls => "the TLS handshake fails",
        FailureCause::FirstByte => "no answer begins",
        FailureCause::Body => "the answer does not end",
        FailureCause::Status => "the HTTP status is not the expected one",
        FailureCause::Condition => "the answer is not the expected one",
        FailureCause::Redirect => "a redirect cannot be followed",
        FailureCause::Refused => "its address is never probed",
        FailureCause::ContainerStopped => "its container is stopped",
        FailureCause::Other => "the check fails",
    }
}
