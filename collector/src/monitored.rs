//! What the status page reads of the dimensions: the states of monitors, their alerts, their past.

use std::collections::BTreeMap;

use jiff::Timestamp;
use maintenant_api::alerts::AlertStatus;
use maintenant_api::certificates::CertificateStatus;
use maintenant_api::containers::{Health, State};
use maintenant_api::endpoints::{Endpoint, EndpointStatus};
use maintenant_api::heartbeats::HeartbeatStatus;
use maintenant_api::monitors::AlertState;
use maintenant_api::status::ComponentStatus;
use rusqlite::Connection;

use crate::containers::model::Container;
use crate::containers::rules::is_down;
use crate::endpoints::history::History;
use crate::endpoints::model::{OpenSpan, SpanState};
use crate::runtime::RuntimeState;
use crate::status::model::{DAY_MS, day};
use crate::status::monitors::{Alarm, Kind, Monitor, PastDay, Ref, Watched};
use crate::uptime::Span;
use crate::{alerts, certificates, containers, endpoints, heartbeats};

/// Sources whose alerts mean that a service is affected; an update that is due does not.
const SOURCES: [&str; 5] = ["container", "endpoint", "heartbeat", "certificate", "resource"];

/// The dimensions of this process.
pub struct Monitored {
    pub runtime: RuntimeState,
}

impl Watched for Monitored {
    fn monitors(&self, db: &Connection, kind: Kind) -> rusqlite::Result<Vec<Monitor>> {
        Ok(match kind {
            Kind::Container => {
                let is_heard = self.runtime.get().connected;
                let list = containers::sql::list_watched(db)?.into_iter();
                list.map(|container| Monitor {
                    id: container.id,
                    status: of_container(&container, is_heard),
                    name: container.facts.name,
                })
                .collect()
            }
            Kind::Endpoint => {
                let list = endpoints::sql::list(db, false)?.into_iter();
                let one = |endpoint: Endpoint| {
                    let span = if is_unconfirmed(&endpoint) {
                        endpoints::sql::find_state(db, endpoint.id)?.span
                    } else {
                        None
                    };
                    Ok(Monitor {
                        id: endpoint.id,
                        status: of_endpoint(&endpoint, span),
                        name: if endpoint.name.is_empty() {
                            endpoint.target
                        } else {
                            endpoint.name
                        },
                    })
                };
                list.map(one).collect::<rusqlite::Result<_>>()?
            }
            Kind::Heartbeat => {
                let list = heartbeats::sql::list(db)?.into_iter();
                list.map(|heartbeat| Monitor {
                    id: heartbeat.id,
                    status: of_heartbeat(heartbeat.status, heartbeat.is_up()),
                    name: heartbeat.name,
                })
                .collect()
            }
            Kind::Certificate => {
                let list = certificates::sql::list(db, None, None)?.into_iter();
                list.map(|(monitor, _)| Monitor {
                    id: monitor.id,
                    status: of_certificate(monitor.state.status),
                    name: format!("{}:{}", monitor.target.host, monitor.target.port),
                })
                .collect()
            }
        })
    }

    fn alarms(&self, db: &Connection) -> rusqlite::Result<Vec<Alarm>> {
        let open = alerts::sql::list_open(db)?.into_iter().map(|open| open.alert);
        let affecting = open.filter(|alert| SOURCES.contains(&alert.source.as_str()));
        Ok(affecting
            .filter_map(|alert| {
                Some(Alarm {
                    alert_id: alert.id,
                    of: (Kind::parse(&alert.entity_type)?, alert.entity_id),
                    severity: alert.severity,
                    is_active: alert.status == AlertStatus::Active,
                })
            })
            .collect())
    }

    fn past(
        &self,
        db: &Connection,
        (kind, id): Ref,
        count: i64,
        now: Timestamp,
    ) -> rusqlite::Result<Vec<PastDay>> {
        let from = Timestamp::from_millisecond((day(now) - count + 1) * DAY_MS).unwrap_or(now);
        match kind {
            Kind::Container => {
                let runtime = self.runtime.get();
                let until =
                    if runtime.connected { now } else { runtime.observed_until.unwrap_or(from) };
                Ok(by_day(&containers::sql::spans(db, id, from, until)?, from))
            }
            Kind::Heartbeat => Ok(by_day(&heartbeats::sql::spans(db, id, from, now)?, from)),
            Kind::Endpoint => {
                let history = History::new(db, now)?;
                let one = |day: i64| {
                    let sums = history.between(
                        id,
                        (day * DAY_MS, now.as_millisecond().min((day + 1) * DAY_MS)),
                    )?;
                    Ok(PastDay { day, up_ms: sums.up, down_ms: sums.down })
                };
                (day(from)..=day(now)).map(one).collect()
            }
            // Only what was found is kept of certificates, not for how long it held.
            Kind::Certificate => Ok(Vec::new()),
        }
    }
}

/// Known time of each day from `from` on.
fn by_day(spans: &[Span], from: Timestamp) -> Vec<PastDay> {
    let mut days: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
    for span in spans {
        let (mut at, end) = (span.from.max(from).as_millisecond(), span.to.as_millisecond());
        while at < end {
            let day = at.div_euclid(DAY_MS);
            let until = end.min((day + 1) * DAY_MS);
            let known = days.entry(day).or_default();
            *(if span.is_up { &mut known.0 } else { &mut known.1 }) += until - at;
            at = until;
        }
    }
    days.into_iter().map(|(day, (up_ms, down_ms))| PastDay { day, up_ms, down_ms }).collect()
}

/// Running is operational, unless unhealthy; so is a job that ended by itself as it should. What is an
/// outage to its alerts is one here, and so is a pause. Of a container that was never started, and while
/// the runtime is not heard, nothing is known.
fn of_container(container: &Container, is_heard: bool) -> ComponentStatus {
    match container.state {
        _ if !is_heard => ComponentStatus::Unknown,
        _ if is_down(container) => ComponentStatus::MajorOutage,
        State::Running if container.health == Some(Health::Unhealthy) => ComponentStatus::Degraded,
        State::Running | State::Completed => ComponentStatus::Operational,
        State::Paused | State::Restarting | State::Exited | State::Dead => {
            ComponentStatus::MajorOutage
        }
        State::Created | State::Unknown => ComponentStatus::Unknown,
    }
}

/// Whether its last checks failed, fewer of them than its threshold. One whose container is stopped
/// needs no confirmation, and no failure is counted.
fn is_unconfirmed(endpoint: &Endpoint) -> bool {
    endpoint.status == EndpointStatus::Down
        && endpoint.alert_state == AlertState::Normal
        && endpoint.consecutive_failures > 0
}

/// Until a failure is confirmed an endpoint is what its open `span` says, as its uptime counts it.
fn of_endpoint(endpoint: &Endpoint, span: Option<OpenSpan>) -> ComponentStatus {
    match endpoint.status {
        EndpointStatus::Down if is_unconfirmed(endpoint) => match span.map(|span| span.state) {
            Some(SpanState::Up) => ComponentStatus::Operational,
            Some(SpanState::Down | SpanState::StillDown) => ComponentStatus::MajorOutage,
            None => ComponentStatus::Unknown,
        },
        EndpointStatus::Up => ComponentStatus::Operational,
        EndpointStatus::Down => ComponentStatus::MajorOutage,
        EndpointStatus::Unknown => ComponentStatus::Unknown,
    }
}

/// Down is out; one whose last run failed is degraded; of a new or paused one nothing is known.
fn of_heartbeat(status: HeartbeatStatus, is_up: Option<bool>) -> ComponentStatus {
    match (status, is_up) {
        (_, None) => ComponentStatus::Unknown,
        (HeartbeatStatus::Down, _) => ComponentStatus::MajorOutage,
        (_, Some(true)) => ComponentStatus::Operational,
        (_, Some(false)) => ComponentStatus::Degraded,
    }
}

fn of_certificate(status: CertificateStatus) -> ComponentStatus {
    match status {
        CertificateStatus::Valid => ComponentStatus::Operational,
        CertificateStatus::Expiring => ComponentStatus::Degraded,
        CertificateStatus::Expired | CertificateStatus::Error => ComponentStatus::MajorOutage,
        CertificateStatus::Unknown => ComponentStatus::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use maintenant_api::containers::ExitReason;

    use super::*;
    use crate::containers::labels::Labels;
    use crate::containers::model::{Exit, Facts, RestartPolicy, Seen, adopt};
    use crate::endpoints::model::Policy;

    fn check(known: ComponentStatus, expected: &str) {
        assert_eq!(known.as_str(), expected);
    }

    fn container(state: State, health: Option<Health>, exit: Option<ExitReason>) -> Container {
        let seen = Seen {
            external_id: "x".to_owned(),
            created_at: None,
            facts: Facts {
                name: "web".to_owned(),
                image: "busybox:1".to_owned(),
                labels: Labels::default(),
                has_health_check: false,
                restart_policy: RestartPolicy::No,
                stop_signal: 15,
                restart_count: 0,
                error_detail: String::new(),
                exposure: None,
            },
            state,
            health,
            exit_code: None,
            oom_killed: false,
            started_at: None,
            finished_at: None,
        };
        let ended = |reason| Exit { code: 0, signal: None, oom_killed: false, reason };
        Container { exit: exit.map(ended), ..adopt(1, &seen, Timestamp::UNIX_EPOCH) }
    }

    #[test]
    fn a_container_that_does_not_run_is_out_and_one_not_heard_of_unknown() {
        use ExitReason::{CannotStart, Completed, Error, Requested};
        use Health::{Healthy, Starting, Unhealthy};
        let check = |state, health, exit, is_heard, expected| {
            check(of_container(&container(state, health, exit), is_heard), expected);
        };
        check(State::Running, None, None, true, "operational");
        check(State::Running, None, Some(Error), true, "operational");
        check(State::Running, Some(Healthy), None, true, "operational");
        check(State::Running, Some(Starting), None, true, "operational");
        check(State::Running, Some(Unhealthy), None, true, "degraded");
        check(State::Completed, None, None, true, "operational");
        check(State::Completed, None, Some(Completed), true, "operational");
        check(State::Completed, None, Some(Requested), true, "major_outage");
        check(State::Exited, None, Some(Error), true, "major_outage");
        check(State::Restarting, None, None, true, "major_outage");
        check(State::Paused, None, None, true, "major_outage");
        check(State::Dead, None, None, true, "major_outage");
        check(State::Created, None, None, true, "unknown");
        check(State::Created, None, Some(CannotStart), true, "major_outage");
        check(State::Running, None, None, false, "unknown");
        check(State::Exited, None, Some(Error), false, "unknown");
        check(State::Completed, None, Some(Requested), false, "unknown");
    }

    /// What the page shows after these checks, such as `++-`; `!` stops its container.
    fn after(checks: &str) -> ComponentStatus {
        let policy = Policy {
            interval: Duration::from_secs(30),
            timeout: Duration::from_secs(10),
            failure_threshold: 3,
            recovery_threshold: 2,
        };
        let mut state = endpoints::model::State::default();
        for (second, check) in (0..).zip(checks.chars()) {
            let at = Timestamp::from_second(1_000_000 + 30 * second).unwrap();
            match check {
                '!' => drop(state.stopped(at, at)),
                check => drop(state.after_check(check == '+', at, &policy)),
            }
        }
        let endpoint = serde_json::json!({
            "id": 1, "endpoint_type": "tcp", "target": "db:5432", "source": "standalone",
            "status": state.status, "alert_state": state.alert,
            "consecutive_failures": state.failures,
            "first_seen_at": "2026-01-01T00:00:00Z", "last_seen_at": "2026-01-01T00:00:00Z",
        });
        of_endpoint(&serde_json::from_value(endpoint).unwrap(), state.span)
    }

    #[test]
    fn an_endpoint_is_out_once_its_failure_is_confirmed_and_unknown_until_it_is_checked() {
        check(after(""), "unknown");
        check(after("+"), "operational");
        check(after("+-"), "operational");
        check(after("+--"), "operational");
        check(after("+---"), "major_outage");
        check(after("+----"), "major_outage");
        check(after("+---+"), "operational");
        check(after("+---+-"), "major_outage");
        check(after("+---++-"), "operational");
        check(after("--"), "unknown");
        check(after("---"), "major_outage");
        check(after("+!"), "major_outage");
        check(after("+-!"), "major_outage");
        check(after("!-"), "major_outage");
    }

    #[test]
    fn a_heartbeat_whose_last_run_failed_is_degraded() {
        check(of_heartbeat(HeartbeatStatus::Up, Some(true)), "operational");
        check(of_heartbeat(HeartbeatStatus::Started, Some(true)), "operational");
        check(of_heartbeat(HeartbeatStatus::Up, Some(false)), "degraded");
        check(of_heartbeat(HeartbeatStatus::Down, Some(false)), "major_outage");
        check(of_heartbeat(HeartbeatStatus::New, None), "unknown");
        check(of_heartbeat(HeartbeatStatus::Paused, None), "unknown");
    }

    #[test]
    fn a_certificate_that_expires_soon_is_degraded() {
        check(of_certificate(CertificateStatus::Valid), "operational");
        check(of_certificate(CertificateStatus::Expiring), "degraded");
        check(of_certificate(CertificateStatus::Expired), "major_outage");
        check(of_certificate(CertificateStatus::Error), "major_outage");
        check(of_certificate(CertificateStatus::Unknown), "unknown");
    }

    #[test]
    fn spans_fall_on_their_days() {
        let at = |ms| Timestamp::from_millisecond(ms).unwrap();
        let spans = [
            Span { from: at(0), to: at(DAY_MS + 10), is_up: true },
            Span { from: at(DAY_MS + 10), to: at(DAY_MS + 15), is_up: false },
        ];
        let days = by_day(&spans, at(DAY_MS - 7));
        let day = |day, up_ms, down_ms| PastDay { day, up_ms, down_ms };
        assert_eq!(days, [day(0, 7, 0), day(1, 10, 5)]);
    }
}
