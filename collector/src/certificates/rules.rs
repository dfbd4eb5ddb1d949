//! What is wrong with certificates, as the newest check found it.
//!
//! | type | when | severity |
//! |---|---|---|
//! | `expired`, `not_yet_valid` | a certificate of the path has ended, or has not begun | critical |
//! | `hostname_mismatch` | none of its names is the one asked for | critical |
//! | `chain_invalid` | clients do not accept its path | critical |
//! | `revoked` | its issuer took it back | critical |
//! | `expiring` | a threshold is crossed | info, warning, critical: see `model` |
//! | `unreachable` | two checks in a row saw no certificate | warning |
//!
//! Of several it is the one to mend first. Of a server out of reach, what was last found still counts:
//! `unreachable` stands beside it. A certificate that an endpoint brought is unreachable because of
//! that endpoint, if something is wrong with it.

use jiff::{SignedDuration, Timestamp};
use maintenant_api::alerts::Severity;
use maintenant_api::certificates::{CertificateSource, Verdict};
use maintenant_serve::logging::foreign;
use rusqlite::Connection;
use serde_json::{Map, Value, json};

use super::model::{Monitor, UNREACHABLE_AFTER, effective, severity};
use super::sql::{self, Check};
use super::thresholds;
use super::verdict::Finding;
use crate::signals::{Entity, Findings, Signal, Source};
use crate::wording::{details, quoted};

pub struct Rules;

impl Source for Rules {
    fn name(&self) -> &'static str {
        "certificate"
    }

    fn find(&self, db: &Connection, now: Timestamp) -> rusqlite::Result<Findings> {
        let mut findings = Findings::default();
        for (monitor, newest) in sql::list_troubled(db)? {
            let Some(newest) = newest else {
                findings.unknown.insert(entity(monitor.id));
                continue;
            };
            if newest.finding.facts.is_some() {
                findings.signals.extend(of_certificate(&monitor, &newest, now));
                continue;
            }
            let (seen, first_missed) = sql::last_seen(db, monitor.id)?;
            findings.signals.extend(seen.and_then(|seen| of_certificate(&monitor, &seen, now)));
            findings.signals.extend(out_of_reach(&monitor, &newest, first_missed));
        }
        Ok(findings)
    }

    fn exists(&self, db: &Connection, entity: &Entity) -> rusqlite::Result<bool> {
        sql::find(db, entity.id).map(|monitor| monitor.is_some())
    }
}

fn entity(id: i64) -> Entity {
    Entity { kind: "certificate", id }
}

fn server(monitor: &Monitor) -> String {
    let (host, port) = (&monitor.target.host, monitor.target.port);
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// What is wrong with the certificate that a check saw, at the time of that check: it may have been
/// renewed since.
pub fn of_certificate(monitor: &Monitor, seen: &Check, now: Timestamp) -> Option<Signal> {
    let (finding, at) = (&seen.finding, seen.checked_at);
    let server = server(monitor);
    let name = quoted(&server);
    let since = monitor.state.status_since;
    let critical =
        |alert_type, since, message: String| (alert_type, Severity::Critical, since, message);
    let (alert_type, severity, since, message) = match finding.verdict {
        Verdict::Ok => expiring(monitor, finding, at, &name)?,
        Verdict::Expired => {
            let end = finding.path_not_after.unwrap_or(since);
            critical("expired", end, format!("The certificate of {name} ended on {}", date(end)))
        }
        Verdict::NotYetValid => {
            let message = format!("The certificate of {name} is not valid yet");
            critical("not_yet_valid", since, message)
        }
        Verdict::NameMismatch | Verdict::CommonNameOnly => {
            let message = format!("The certificate of {name} does not name that server");
            critical("hostname_mismatch", since, message)
        }
        Verdict::Revoked => {
            critical("revoked", since, format!("The certificate of {name} was revoked"))
        }
        verdict => {
            let why = words(verdict);
            critical("chain_invalid", since, format!("The certificate of {name} {why}"))
        }
    };
    Some(Signal {
        source: "certificate",
        alert_type,
        entity: entity(monitor.id),
        entity_name: server,
        severity,
        message,
        details: facts(monitor, seen, now),
        since,
        due: since,
        explained_by: None,
        channels: Vec::new(),
    })
}

fn expiring(
    monitor: &Monitor,
    finding: &Finding,
    at: Timestamp,
    name: &str,
) -> Option<(&'static str, Severity, Timestamp, String)> {
    let end = finding.path_not_after?;
    let thresholds = effective(monitor, finding);
    let crossed = thresholds::crossed(&thresholds, end.duration_since(at))?;
    let first = SignedDuration::from_millis(thresholds.first()?.left);
    // A certificate may have been that old when it was first seen.
    let since = end.checked_sub(first).unwrap_or(at).max(monitor.created_at);
    let message = format!("The certificate of {name} ends on {}", date(end));
    Some(("expiring", severity(finding, crossed, at), since, message))
}

/// Nothing was seen of a certificate for too many checks, since `first_missed`.
pub fn out_of_reach(
    monitor: &Monitor,
    newest: &Check,
    first_missed: Option<Timestamp>,
) -> Option<Signal> {
    if monitor.state.alerts.missed < UNREACHABLE_AFTER {
        return None;
    }
    let server = server(monitor);
    let brought = monitor.endpoint_id.filter(|_| monitor.source == CertificateSource::Auto);
    let why = words(newest.finding.verdict);
    Some(Signal {
        source: "certificate",
        alert_type: "unreachable",
        entity: entity(monitor.id),
        message: format!("No certificate is seen of {}, which {why}", quoted(&server)),
        entity_name: server,
        severity: Severity::Warning,
        details: facts(monitor, newest, newest.checked_at),
        since: first_missed.unwrap_or(monitor.state.status_since),
        due: newest.checked_at,
        explained_by: brought.map(|id| Entity { kind: "endpoint", id }),
        channels: Vec::new(),
    })
}

fn words(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::SelfSigned => "is issued by itself and trusted by nobody",
        Verdict::IncompleteChain => "comes without an intermediate certificate",
        Verdict::UntrustedRoot => "leads to a root that is not trusted",
        Verdict::Unreachable => "cannot be reached",
        Verdict::NoTls => "does not speak TLS",
        Verdict::ProtocolTooOld => "offers nothing newer than TLS 1.1",
        _ => "is not acceptable to clients",
    }
}

fn date(moment: Timestamp) -> String {
    moment.strftime("%Y-%m-%d").to_string()
}

fn facts(monitor: &Monitor, check: &Check, now: Timestamp) -> Map<String, Value> {
    let finding = &check.finding;
    let certificate = finding.facts.as_ref();
    let end = finding.path_not_after;
    let error = finding.error.as_ref().or(finding.chain_error.as_ref());
    details([
        ("hostname", json!(monitor.target.host)),
        ("port", json!(monitor.target.port)),
        ("verdict", json!(finding.verdict)),
        ("error", json!(error.map(|error| foreign(error)))),
        ("hint", json!(finding.hint)),
        ("subject_cn", json!(certificate.map(|facts| foreign(&facts.subject_cn)))),
        ("issuer_cn", json!(certificate.map(|facts| foreign(&facts.issuer_cn)))),
        ("not_after", json!(end)),
        ("days_remaining", json!(end.map(|end| thresholds::days_left(end, now)))),
        ("checked_at", json!(check.checked_at)),
    ])
}
