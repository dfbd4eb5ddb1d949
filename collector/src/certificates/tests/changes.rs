use jiff::Timestamp;
use maintenant_api::certificates::{CertificateSource, CertificateStatus, Verdict};

use super::pki::{day, hours};
use crate::certificates::facts::Facts;
use crate::certificates::model::{Alerts, Monitor, State, decide};
use crate::certificates::probe::Target;
use crate::certificates::thresholds;
use crate::certificates::verdict::Finding;

pub(super) fn monitor() -> Monitor {
    Monitor {
        id: 1,
        target: Target {
            host: "lab.test".to_owned(),
            port: 443,
            server_name: None,
            starttls: None,
            ca_certificates: None,
        },
        source: CertificateSource::Standalone,
        endpoint_id: None,
        external_id: String::new(),
        interval_seconds: 43_200,
        thresholds: thresholds::DEFAULT.into(),
        created_at: day(0),
        revision: 0,
        state: State {
            status: CertificateStatus::Unknown,
            status_since: day(0),
            last_check_at: None,
            next_check_at: day(0),
            last_error: None,
            failures: 0,
            alerts: Alerts::default(),
        },
    }
}

/// What is found of a certificate that lives from `begin` to `end`.
pub(super) fn found(verdict: Verdict, begin: Timestamp, end: Timestamp) -> Finding {
    let facts = Facts {
        subject_cn: "lab.test".to_owned(),
        not_before: begin,
        not_after: end,
        ..Facts::default()
    };
    let error = (verdict != Verdict::Ok).then(|| "something is wrong".to_owned());
    Finding {
        facts: Some(facts),
        error,
        chain_valid: Some(!matches!(verdict, Verdict::SelfSigned | Verdict::UntrustedRoot)),
        hostname_match: Some(verdict != Verdict::NameMismatch),
        is_refused: matches!(
            verdict,
            Verdict::Unacceptable | Verdict::Revoked | Verdict::NotYetValid
        ),
        path_not_before: Some(begin),
        path_not_after: Some(end),
        ..Finding::without_chain(verdict, String::new(), "")
    }
}

/// A monitor whose life is played check by check.
struct Play {
    monitor: Monitor,
}

impl Play {
    fn new() -> Self {
        Self { monitor: monitor() }
    }

    /// One check; what is alerted and recovered, as `alert_type[:days]` with `-` before what ended.
    fn check(&mut self, finding: &Finding, now: Timestamp) -> String {
        let (state, events) = decide(&self.monitor, finding, now);
        self.monitor.state = state;
        let told = events.iter().filter_map(|(name, data)| {
            let text = |key: &str| data[key].as_str().unwrap_or_default().to_owned();
            match *name {
                "certificate.alert" => Some(match data["threshold_days"].as_i64() {
                    Some(days) => format!("{}:{days}", text("alert_type")),
                    None => text("alert_type"),
                }),
                "certificate.recovery" => Some(format!("-{}", text("previous_alert_type"))),
                _ => None,
            }
        });
        told.collect::<Vec<_>>().join(" ")
    }

    /// As seen so many days before the end of a year.
    fn days_left(&mut self, days: i64) -> String {
        self.check(&found(Verdict::Ok, day(-265), day(100)), day(100 - days))
    }
}

#[test]
fn each_threshold_is_told_once() {
    let mut play = Play::new();
    assert_eq!(play.days_left(60), "");
    assert_eq!(play.monitor.state.status, CertificateStatus::Valid);
    assert_eq!(play.days_left(30), "expiring:30");
    assert_eq!(play.monitor.state.status, CertificateStatus::Expiring);
    assert_eq!(play.days_left(29), "");
    assert_eq!(play.days_left(14), "expiring:14");
    assert_eq!(play.days_left(2), "expiring:3", "the lowest alone");
    assert_eq!(play.days_left(1), "expiring:1");
    assert_eq!(play.days_left(0), "");
    assert_eq!(play.days_left(-1), "expired");
}

#[test]
fn a_renewal_ends_what_was_told_and_thresholds_count_anew() {
    let mut play = Play::new();
    assert_eq!(play.days_left(5), "expiring:7");
    let renewed = found(Verdict::Ok, day(90), day(90 + 365));
    assert_eq!(play.check(&renewed, day(96)), "-expiring");
    assert_eq!(play.monitor.state.alerts.expiring, None);
    // One that stays below the old threshold does not silence the next.
    let mut play = Play::new();
    assert_eq!(play.days_left(1), "expiring:1");
    let renewed = |now| (found(Verdict::Ok, day(-255), day(110)), day(now));
    let (finding, now) = renewed(99);
    assert_eq!(play.check(&finding, now), "-expiring expiring:14");
    let (finding, now) = renewed(103);
    assert_eq!(play.check(&finding, now), "expiring:7");
    let mut play = Play::new();
    assert_eq!(play.check(&found(Verdict::Expired, day(-265), day(100)), day(101)), "expired");
    assert_eq!(play.monitor.state.status, CertificateStatus::Expired);
    assert_eq!(play.check(&found(Verdict::Ok, day(101), day(400)), day(102)), "-expired");
}

#[test]
fn a_short_life_is_measured_by_itself() {
    let mut play = Play::new();
    let six_days = |left_hours| (found(Verdict::Ok, day(0), day(6)), day(6) - hours(left_hours));
    let mut check = |left| {
        let (finding, now) = six_days(left);
        play.check(&finding, now)
    };
    assert_eq!([check(140), check(49), check(47), check(5)], ["", "", "expiring:1", ""]);
    let mut play = Play::new();
    let two_days = |left_hours| (found(Verdict::Ok, day(0), day(2)), day(2) - hours(left_hours));
    let mut check = |left| {
        let (finding, now) = two_days(left);
        play.check(&finding, now)
    };
    assert_eq!([check(17), check(15), check(5), check(4)], ["", "expiring:0", "", "expiring:0"]);
}

#[test]
fn every_alert_recovers_when_its_cause_ends() {
    let (begin, end) = (day(-1), day(364));
    let good = found(Verdict::Ok, begin, end);
    for (verdict, alert) in [
        (Verdict::SelfSigned, "chain_invalid"),
        (Verdict::UntrustedRoot, "chain_invalid"),
        (Verdict::Revoked, "chain_invalid"),
        (Verdict::Unacceptable, "chain_invalid"),
        (Verdict::NotYetValid, "chain_invalid"),
        (Verdict::NameMismatch, "hostname_mismatch"),
    ] {
        let mut play = Play::new();
        let bad = found(verdict, begin, end);
        assert_eq!(play.check(&bad, day(1)), alert);
        assert_eq!(play.monitor.state.status, CertificateStatus::Error);
        assert_eq!(play.check(&bad, day(2)), "");
        assert_eq!(play.check(&good, day(3)), format!("-{alert}"));
        assert_eq!(play.monitor.state.last_error, None);
    }
}

#[test]
fn a_worse_verdict_ends_no_alert_about_the_rest() {
    let (begin, end) = (day(-1), day(364));
    let mut play = Play::new();
    assert_eq!(play.check(&found(Verdict::Revoked, begin, end), day(1)), "chain_invalid");
    let both = Finding { is_refused: true, ..found(Verdict::NameMismatch, begin, end) };
    assert_eq!(play.check(&both, day(2)), "hostname_mismatch");
    let name = found(Verdict::NameMismatch, begin, end);
    assert_eq!(play.check(&name, day(3)), "-chain_invalid");
}

#[test]
fn what_has_not_begun_is_looked_at_when_it_does() {
    let mut play = Play::new();
    let begin = day(1) + hours(2);
    let early = found(Verdict::NotYetValid, begin, day(364));
    // So often that the next check would come later.
    for _ in 0..9 {
        play.check(&early, day(1));
    }
    assert_eq!(play.monitor.state.next_check_at, begin);
    play.check(&found(Verdict::Ok, begin, day(364)), begin);
    assert!(play.monitor.state.next_check_at > begin);
}

#[test]
fn a_server_out_of_reach_is_told_when_it_is_confirmed_and_ends_nothing() {
    let mut play = Play::new();
    let away = Finding::without_chain(Verdict::Unreachable, "connection refused".into(), "");
    let bad = found(Verdict::NameMismatch, day(-1), day(364));
    assert_eq!(play.check(&bad, day(0)), "hostname_mismatch");
    assert_eq!(play.check(&found(Verdict::Ok, day(-1), day(364)), day(0)), "-hostname_mismatch");
    assert_eq!(play.check(&away, day(1)), "");
    assert_eq!(play.monitor.state.status, CertificateStatus::Error);
    assert_eq!(play.check(&away, day(2)), "unreachable");
    assert_eq!(play.check(&away, day(3)), "");
    assert_eq!(play.check(&bad, day(4)), "-unreachable hostname_mismatch");
    assert_eq!(play.check(&away, day(5)), "", "a fault of another kind is no miss");
    assert_eq!(play.check(&away, day(6)), "unreachable");
}

#[test]
fn a_changed_status_is_told_with_both() {
    let (state, events) = decide(&monitor(), &found(Verdict::Ok, day(-1), day(364)), day(1));
    let names: Vec<_> = events.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["certificate.check_completed", "certificate.status_changed"]);
    let data = &events[1].1;
    assert_eq!(
        (&data["previous_status"], &data["new_status"]),
        (&"unknown".into(), &"valid".into())
    );
    assert_eq!(state.status_since, day(1));
    assert_eq!(events[0].1["days_remaining"], 363);
    let again = Monitor { state, ..monitor() };
    let (state, events) = decide(&again, &found(Verdict::Ok, day(-1), day(364)), day(2));
    assert_eq!(events.len(), 1);
    assert_eq!(state.status_since, day(1));
}

#[test]
fn a_fault_is_looked_at_again_soon_and_then_less_often() {
    let mut monitor = monitor();
    let bad = found(Verdict::UntrustedRoot, day(-1), day(364));
    let pause = |state: &State, now: Timestamp| state.next_check_at.duration_since(now).as_secs();
    let mut pauses = Vec::new();
    for _ in 0..10 {
        monitor.state = decide(&monitor, &bad, day(1)).0;
        pauses.push(pause(&monitor.state, day(1)));
    }
    assert_eq!(pauses[..7], [300, 600, 1200, 2400, 4800, 9600, 19200]);
    assert!((38_880..=43_200).contains(&pauses[9]), "{pauses:?}");
    let state = decide(&monitor, &found(Verdict::Ok, day(-1), day(364)), day(1)).0;
    assert_eq!((state.failures, pause(&state, day(1))), (0, pauses[9]));
    // A threshold in between is not slept through.
    monitor.interval_seconds = 604_800;
    let state = decide(&monitor, &found(Verdict::Ok, day(-1), day(364)), day(331)).0;
    assert_eq!(pause(&state, day(331)), 2 * 86_400);
}

#[test]
fn pressing_is_what_nobody_renews_by_itself() {
    let severity = |organisation: &str, days: i64| {
        let mut finding = found(Verdict::Ok, day(-265), day(100));
        finding.facts.as_mut().unwrap().issuer_org = organisation.to_owned();
        let (_, events) = decide(&monitor(), &finding, day(100 - days));
        let (_, data) = events.into_iter().find(|(name, _)| *name == "certificate.alert").unwrap();
        (data["severity"].as_str().unwrap().to_owned(), data["auto_renewable"].as_bool().unwrap())
    };
    assert_eq!(severity("DigiCert Inc", 30), ("info".to_owned(), false));
    assert_eq!(severity("DigiCert Inc", 14), ("warning".to_owned(), false));
    assert_eq!(severity("DigiCert Inc", 7), ("critical".to_owned(), false));
    assert_eq!(severity("Let's Encrypt", 14), ("info".to_owned(), true));
    assert_eq!(severity("Let's Encrypt", 7), ("warning".to_owned(), true));
    assert_eq!(severity("Let's Encrypt", 3), ("critical".to_owned(), true));
}
