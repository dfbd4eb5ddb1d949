//! What the status page reads of the dimensions: the states of monitors, their alerts, their past.

use std::collections::BTreeMap;

use jiff::Timestamp;
use maintenant_api::alerts::AlertStatus;
use maintenant_api::certificates::CertificateStatus;
use maintenant_api::containers::{Health, State};
use maintenant_api::endpoints::EndpointStatus;
use maintenant_api::heartbeats::HeartbeatStatus;
use maintenant_api::status::ComponentStatus;
use rusqlite::Connection;

use crate::endpoints::history::History;
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
                    status: of_container(container.state, container.health, is_heard),
                    name: container.facts.name,
                })
                .collect()
            }
            Kind::Endpoint => {
                let list = endpoints::sql::list(db, false)?.into_iter();
                list.map(|endpoint| Monitor {
                    id: endpoint.id,
                    status: of_endpoint(endpoint.status),
                    name: if endpoint.name.is_empty() { endpoint.target } else { endpoint.name },
                })
                .collect()
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

/// Running is operational, unless unhealthy; so is a job that ended as it should. Of a container that
/// was never started, and while the runtime is not heard, nothing is known.
fn of_container(state: State, health: Option<Health>, is_heard: bool) -> ComponentStatus {
    match state {
        _ if !is_heard => ComponentStatus::Unknown,
        State::Running if health == Some(Health::Unhealthy) => ComponentStatus::Degraded,
        State::Running | State::Completed => ComponentStatus::Operational,
        State::Paused | State::Restarting | State::Exited | State::Dead => {
            ComponentStatus::MajorOutage
        }
        State::Created | State::Unknown => ComponentStatus::Unknown,
    }
}

fn of_endpoint(status: EndpointStatus) -> ComponentStatus {
    match status {
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
    use super::*;

    fn check(known: ComponentStatus, expected: &str) {
        assert_eq!(known.as_str(), expected);
    }

    #[test]
    fn a_container_that_does_not_run_is_out_and_one_not_heard_of_unknown() {
        use Health::{Healthy, Starting, Unhealthy};
        check(of_container(State::Running, None, true), "operational");
        check(of_container(State::Running, Some(Healthy), true), "operational");
        check(of_container(State::Running, Some(Starting), true), "operational");
        check(of_container(State::Running, Some(Unhealthy), true), "degraded");
        check(of_container(State::Completed, None, true), "operational");
        check(of_container(State::Exited, None, true), "major_outage");
        check(of_container(State::Restarting, None, true), "major_outage");
        check(of_container(State::Paused, None, true), "major_outage");
        check(of_container(State::Dead, None, true), "major_outage");
        check(of_container(State::Created, None, true), "unknown");
        check(of_container(State::Running, None, false), "unknown");
        check(of_container(State::Exited, None, false), "unknown");
    }

    #[test]
    fn an_endpoint_nobody_has_checked_is_unknown() {
        check(of_endpoint(EndpointStatus::Up), "operational");
        check(of_endpoint(EndpointStatus::Down), "major_outage");
        check(of_endpoint(EndpointStatus::Unknown), "unknown");
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
