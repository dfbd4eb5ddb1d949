//! What is wrong with the runtime: `runtime_unreachable`, critical, when it is not heard for
//! [`PATIENCE`]. Of containers nothing is known meanwhile.

use jiff::{SignedDuration, Timestamp};
use maintenant_api::alerts::Severity;
use maintenant_serve::logging::foreign;
use rusqlite::Connection;
use serde_json::json;

use crate::alerts::engine::is_due;
use crate::runtime::{NOTHING, Runtime, RuntimeState};
use crate::signals::{Entity, Findings, Signal, Source};
use crate::wording::details;

/// An engine that is updated or restarted is back within this time.
const PATIENCE: SignedDuration = SignedDuration::from_mins(1);
const ENTITY: Entity = Entity { kind: "runtime", id: 0 };

pub struct Rules {
    pub runtime: RuntimeState,
}

impl Source for Rules {
    fn name(&self) -> &'static str {
        "runtime"
    }

    fn find(&self, _db: &Connection, now: Timestamp) -> rusqlite::Result<Findings> {
        Ok(judge(&self.runtime.get(), now))
    }

    fn exists(&self, _db: &Connection, entity: &Entity) -> rusqlite::Result<bool> {
        Ok(*entity == ENTITY && self.runtime.get().name != NOTHING)
    }
}

/// What is wrong with the runtime. Before it is due, nothing is known: after our own start an alert of
/// before may still hold.
fn judge(runtime: &Runtime, now: Timestamp) -> Findings {
    let mut findings = Findings::default();
    if runtime.name == NOTHING || runtime.connected {
        return findings;
    }
    let due = runtime.since.saturating_add(PATIENCE).unwrap_or(Timestamp::MAX);
    let signal = Signal {
        source: "runtime",
        alert_type: "runtime_unreachable",
        entity: ENTITY,
        entity_name: runtime.name.to_owned(),
        severity: Severity::Critical,
        message: "Docker cannot be reached, so the state of containers is unknown".to_owned(),
        details: details([
            ("error", json!(runtime.error.as_deref().map(foreign))),
            ("last_heard_at", json!(runtime.observed_until)),
        ]),
        since: runtime.since,
        due,
        explained_by: None,
        channels: Vec::new(),
    };
    if !is_due(&signal, now) {
        findings.unknown.insert(ENTITY);
    }
    findings.signals.push(signal);
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// So many seconds after the runtime was lost, or after the start where it never was heard.
    fn check(runtime: &RuntimeState, second: i64, is_due: Option<bool>) {
        let findings = judge(&runtime.get(), at(second));
        let found = findings.signals.first().map(|signal| signal.due <= at(second));
        assert_eq!(found, is_due, "after {second} s");
        assert_eq!(findings.unknown.contains(&ENTITY), is_due == Some(false), "{second}");
    }

    #[test]
    fn a_runtime_that_was_never_heard_is_an_alert_after_a_minute() {
        let runtime = RuntimeState::new(Runtime::new("docker", at(0)));
        check(&runtime, 59, Some(false));
        check(&runtime, 60, Some(true));
        runtime.lost("Docker cannot be reached: connection refused".to_owned(), at(61));
        check(&runtime, 62, Some(true));
        runtime.connected(None, at(63));
        check(&runtime, 63, None);
    }

    #[test]
    fn a_runtime_that_was_lost_is_an_alert_a_minute_later() {
        let runtime = RuntimeState::new(Runtime::new("docker", at(0)));
        runtime.connected(None, at(1));
        check(&runtime, 90, None);
        runtime.lost("Docker does not answer".to_owned(), at(100));
        runtime.lost("connection refused".to_owned(), at(130));
        check(&runtime, 159, Some(false));
        check(&runtime, 160, Some(true));
        let findings = judge(&runtime.get(), at(160));
        let [signal] = findings.signals.as_slice() else { panic!("{findings:?}") };
        assert_eq!(
            (signal.since, &signal.details["error"]),
            (at(100), &json!("connection refused"))
        );
        assert!(!signal.message.contains("refused"), "it does not change with every attempt");
    }

    #[test]
    fn a_clock_that_was_set_back_puts_nothing_off() {
        let runtime = RuntimeState::new(Runtime::new("docker", at(10_000)));
        assert_eq!(judge(&runtime.get(), at(9_950)).unknown, [ENTITY].into());
        let findings = judge(&runtime.get(), at(5_000));
        assert!(findings.unknown.is_empty() && is_due(&findings.signals[0], at(5_000)));
    }

    #[test]
    fn nothing_is_expected_where_nothing_is_watched() {
        let runtime = RuntimeState::new(Runtime::new(NOTHING, at(0)));
        check(&runtime, 1_000, None);
        let db = Connection::open_in_memory().unwrap();
        assert!(!Rules { runtime }.exists(&db, &ENTITY).unwrap());
    }
}
