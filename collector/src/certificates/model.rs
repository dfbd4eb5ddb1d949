//! A watched server, and what the outcome of a check changes. No I/O and no clock.

use jiff::{SignedDuration, Timestamp};
use maintenant_api::alerts::Severity;
use maintenant_api::certificates::{CertificateSource, CertificateStatus, Verdict};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::probe::Target;
use super::thresholds::{self, Threshold};
use super::verdict::Finding;

pub const DEFAULT_INTERVAL: i64 = 43_200;
/// First pause after a check that found fault; it doubles up to the interval.
const RETRY: i64 = 300;
/// Failures to reach a server, in a row, that raise an alert: one lost packet is none.
pub(super) const UNREACHABLE_AFTER: u32 = 2;
/// Issuers whose clients renew by themselves, so that a warning is less pressing.
const AUTOMATIC: [&str; 4] = ["Let's Encrypt", "ZeroSSL", "Buypass", "Google Trust Services"];

/// A watched server. Stored as one row.
#[derive(Debug, Clone, PartialEq)]
pub struct Monitor {
    pub id: i64,
    pub target: Target,
    pub source: CertificateSource,
    pub endpoint_id: Option<i64>,
    /// Docker's id of the container whose label names it; may be empty.
    pub external_id: String,
    pub interval_seconds: i64,
    /// Days, in falling order.
    pub thresholds: Vec<i64>,
    pub created_at: Timestamp,
    /// Counts the changes of what is checked, so that a check of before is not taken for one of now.
    pub revision: i64,
    pub state: State,
}

/// What checks have changed.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    pub status: CertificateStatus,
    pub status_since: Timestamp,
    pub last_check_at: Option<Timestamp>,
    pub next_check_at: Timestamp,
    pub last_error: Option<String>,
    /// Checks in a row that found fault.
    pub failures: u32,
    pub alerts: Alerts,
}

/// What has been told and has not ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Alerts {
    /// Checks in a row that saw no certificate.
    pub missed: u32,
    pub unreachable: bool,
    pub chain_invalid: bool,
    pub hostname_mismatch: bool,
    pub expired: bool,
    /// The lowest threshold told: milliseconds left, and days as told.
    pub expiring: Option<(i64, i64)>,
    /// The end of the path that `expired` and `expiring` are about.
    pub about: Option<Timestamp>,
}

/// An event for those who listen.
pub type Event = (&'static str, Value);

/// The thresholds that count for the certificate found.
pub(super) fn effective(monitor: &Monitor, finding: &Finding) -> Vec<Threshold> {
    finding.facts.as_ref().map_or_else(Vec::new, |facts| {
        // The last second belongs to its life.
        let life = facts.not_after.duration_since(facts.not_before);
        thresholds::effective(&monitor.thresholds, life + SignedDuration::from_secs(1))
    })
}

/// What a check changes, and what is to be told about it.
pub fn decide(monitor: &Monitor, finding: &Finding, now: Timestamp) -> (State, Vec<Event>) {
    let thresholds = effective(monitor, finding);
    let end = finding.path_not_after;
    let crossed = end.and_then(|end| thresholds::crossed(&thresholds, end.duration_since(now)));
    let status = match finding.verdict {
        Verdict::Ok if crossed.is_some() => CertificateStatus::Expiring,
        Verdict::Ok => CertificateStatus::Valid,
        Verdict::Expired => CertificateStatus::Expired,
        _ => CertificateStatus::Error,
    };
    let before = &monitor.state;
    let failures =
        if finding.verdict == Verdict::Ok { 0 } else { before.failures.saturating_add(1) };
    let begin = finding.path_not_before.filter(|begin| *begin > now);
    let threshold = end.and_then(|end| thresholds::next(&thresholds, end, now));
    let next_change = begin.into_iter().chain(threshold).min();
    let mut events =
        vec![("certificate.check_completed", completed(monitor, finding, status, now))];
    let mut status_since = before.status_since;
    if status != before.status {
        status_since = now;
        let data = json!({
            "monitor_id": monitor.id,
            "hostname": monitor.target.host,
            "port": monitor.target.port,
            "previous_status": before.status,
            "new_status": status,
            "verdict": finding.verdict,
            "timestamp": now,
        });
        events.push(("certificate.status_changed", data));
    }
    let mut alerts = before.alerts.clone();
    let mut teller = Teller { monitor, finding, now, events };
    // Nothing was learnt about the certificate.
    let is_out_of_reach = finding.facts.is_none();
    alerts.missed = if is_out_of_reach { alerts.missed.saturating_add(1) } else { 0 };
    teller.turn(&mut alerts.unreachable, alerts.missed >= UNREACHABLE_AFTER, "unreachable");
    // Of a server out of reach nothing is known that would begin or end another alert.
    if !is_out_of_reach {
        let chain_invalid = finding.chain_valid == Some(false) || finding.is_refused;
        teller.turn(&mut alerts.chain_invalid, chain_invalid, "chain_invalid");
        let mismatch = finding.hostname_match == Some(false);
        teller.turn(&mut alerts.hostname_mismatch, mismatch, "hostname_mismatch");
        teller.expiry(&mut alerts, crossed);
    }
    let state = State {
        status,
        status_since,
        last_check_at: Some(now),
        next_check_at: next_check(monitor, failures, next_change, now),
        last_error: finding.error.clone(),
        failures,
        alerts,
    };
    (state, teller.events)
}

/// After the interval, less up to a tenth so that monitors made together part; sooner after a fault,
/// and when the certificate begins or a threshold is due.
fn next_check(
    monitor: &Monitor,
    failures: u32,
    next_change: Option<Timestamp>,
    now: Timestamp,
) -> Timestamp {
    let interval = monitor.interval_seconds;
    let spread = (interval / 10).max(1);
    let phase = monitor.id.wrapping_mul(0x9E37_79B9).rem_euclid(spread);
    let pause = match failures.checked_sub(1) {
        None => interval - phase,
        Some(doublings) => RETRY.saturating_mul(1 << doublings.min(20)).min(interval - phase),
    };
    let next = now.saturating_add(SignedDuration::from_secs(pause)).unwrap_or(Timestamp::MAX);
    next_change.map_or(next, |change| change.min(next))
}

fn days_left(finding: &Finding, now: Timestamp) -> Option<i64> {
    finding.path_not_after.map(|end| thresholds::days_left(end, now))
}

/// Its issuer's clients renew by themselves.
fn is_automatic(finding: &Finding) -> bool {
    let issuer = finding.facts.as_ref().map_or("", |facts| facts.issuer_org.as_str());
    AUTOMATIC.iter().any(|known| issuer.contains(known))
}

/// How severe it is that a threshold is crossed.
pub(super) fn severity(finding: &Finding, crossed: Threshold, now: Timestamp) -> Severity {
    let days = days_left(finding, now).unwrap_or_default();
    let (critical, warning) = if is_automatic(finding) { (3, 7) } else { (7, 14) };
    let life = finding
        .facts
        .as_ref()
        .map_or(i64::MAX, |facts| thresholds::days_left(facts.not_after, facts.not_before));
    match days {
        // Days by themselves say little about a life of days.
        _ if life <= 3 * critical && crossed.is_last_tenth => Severity::Critical,
        _ if life <= 3 * critical => Severity::Warning,
        days if days <= critical => Severity::Critical,
        days if days <= warning => Severity::Warning,
        _ => Severity::Info,
    }
}

fn completed(
    monitor: &Monitor,
    finding: &Finding,
    status: CertificateStatus,
    now: Timestamp,
) -> Value {
    let mut data = json!({
        "monitor_id": monitor.id,
        "hostname": monitor.target.host,
        "status": status,
        "checked_at": now,
        "verdict": finding.verdict,
    });
    if let (Some(facts), Some(object)) = (&finding.facts, data.as_object_mut()) {
        object.insert("subject_cn".into(), json!(facts.subject_cn));
        object.insert("issuer_cn".into(), json!(facts.issuer_cn));
        object.insert("not_after".into(), json!(facts.not_after));
        object.insert("days_remaining".into(), json!(days_left(finding, now)));
        object.insert("chain_valid".into(), json!(finding.chain_valid));
        object.insert("hostname_match".into(), json!(finding.hostname_match));
    }
    data
}

/// Says once that something began, and once that it ended.
struct Teller<'a> {
    monitor: &'a Monitor,
    finding: &'a Finding,
    now: Timestamp,
    events: Vec<Event>,
}

impl Teller<'_> {
    fn turn(&mut self, was: &mut bool, is: bool, alert_type: &str) {
        match (*was, is) {
            (false, true) => self.alert(alert_type, "critical", None),
            (true, false) => self.recovery(alert_type),
            _ => {}
        }
        *was = is;
    }

    /// A later end is a renewal: it ends what was told about the earlier one, and thresholds count
    /// anew from the first.
    fn expiry(&mut self, alerts: &mut Alerts, crossed: Option<Threshold>) {
        let end = self.finding.path_not_after;
        let renewed = alerts.about.is_some() && end > alerts.about;
        let expired = end.is_some_and(|end| self.now > end);
        if alerts.expiring.is_some() && (renewed || (crossed.is_none() && !expired)) {
            alerts.expiring = None;
            self.recovery("expiring");
        }
        if alerts.expired && (renewed || !expired) {
            alerts.expired = false;
            self.recovery("expired");
        }
        alerts.about = end;
        self.turn(&mut alerts.expired, expired, "expired");
        let Some(crossed) = crossed.filter(|_| !expired) else { return };
        match alerts.expiring {
            Some((left, _)) if left < crossed.left => {}
            Some((left, _)) if left == crossed.left => return,
            _ => {
                let severity = severity(self.finding, crossed, self.now);
                self.alert("expiring", severity.as_str(), Some(crossed));
            }
        }
        alerts.expiring = Some((crossed.left, crossed.days));
    }

    fn common(&self) -> Value {
        json!({
            "monitor_id": self.monitor.id,
            "hostname": self.monitor.target.host,
            "port": self.monitor.target.port,
            "verdict": self.finding.verdict,
            "timestamp": self.now,
        })
    }

    fn alert(&mut self, alert_type: &str, severity: &str, crossed: Option<Threshold>) {
        let mut data = self.common();
        let finding = self.finding;
        let error = finding.chain_error.as_ref().or(finding.error.as_ref());
        let more = match (alert_type, crossed) {
            ("chain_invalid", _) => json!({ "chain_error": error }),
            ("expired", _) => json!({
                "not_after": finding.path_not_after,
                "days_remaining": days_left(finding, self.now),
            }),
            (_, Some(crossed)) => json!({
                "threshold_days": crossed.days,
                "days_remaining": days_left(finding, self.now),
                "not_after": finding.path_not_after,
                "issuer_org": finding.facts.as_ref().map_or("", |facts| &facts.issuer_org),
                "auto_renewable": is_automatic(finding),
            }),
            _ => json!({ "error": finding.error }),
        };
        extend(&mut data, json!({ "alert_type": alert_type, "severity": severity }));
        extend(&mut data, more);
        self.events.push(("certificate.alert", data));
    }

    fn recovery(&mut self, previous: &str) {
        let mut data = self.common();
        extend(
            &mut data,
            json!({
                "previous_alert_type": previous,
                "new_not_after": self.finding.path_not_after,
                "days_remaining": days_left(self.finding, self.now),
            }),
        );
        self.events.push(("certificate.recovery", data));
    }
}

fn extend(data: &mut Value, more: Value) {
    if let (Some(data), Value::Object(more)) = (data.as_object_mut(), more) {
        data.extend(more);
    }
}
