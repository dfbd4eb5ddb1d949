//! What alerts and time call for.

use maintenant_api::alerts::Severity;
use maintenant_api::status::{ComponentInput, IncidentSeverity, MonitorInput};

use super::super::components::{Component, Standing};
use super::super::incidents::{Auto, decide};
use super::super::maintenance::{Step, Window, step};
use super::super::monitors::Alarm;
use super::{at, endpoint, status};

/// A component with these alerts, each active or not, of which these were told.
fn standing(derived: &str, alarms: &[(i64, bool)], told: &[i64]) -> Standing {
    let input = ComponentInput {
        display_name: Some("Web shop".into()),
        monitors: Some(vec![MonitorInput { monitor_type: "endpoint".into(), id: 1 }]),
        auto_incident: Some(true),
        ..ComponentInput::default()
    };
    let alarm = |(alert_id, is_active): &(i64, bool)| Alarm {
        alert_id: *alert_id,
        of: endpoint(1),
        severity: Severity::Critical,
        is_active: *is_active,
    };
    Standing {
        component: Component::parse(input, at(0)).unwrap(),
        monitors: Vec::new(),
        derived: status(derived),
        effective: status(derived),
        is_maintained: false,
        alarms: alarms.iter().map(alarm).collect(),
        told: told.iter().copied().collect(),
    }
}

const MINOR: IncidentSeverity = IncidentSeverity::Minor;
const CRITICAL: IncidentSeverity = IncidentSeverity::Critical;

#[test]
fn an_alert_opens_one_incident() {
    let seen = standing("major_outage", &[(5, true)], &[]);
    assert_eq!(decide(&seen, None), Some(Auto::Open { severity: CRITICAL, alert: 5 }));
    let told = standing("major_outage", &[(5, true)], &[5]);
    assert_eq!(decide(&told, Some((1, CRITICAL))), None, "it lasts");
    assert_eq!(decide(&told, None), None, "what a user closed stays closed");
    assert_eq!(decide(&standing("operational", &[], &[]), None), None);
}

#[test]
fn an_alert_that_is_kept_quiet_opens_none() {
    assert_eq!(decide(&standing("major_outage", &[(5, false)], &[]), None), None);
    let mut seen = standing("major_outage", &[(5, true)], &[]);
    seen.is_maintained = true;
    assert_eq!(decide(&seen, None), None, "before the alert is muted");
    let mut seen = standing("major_outage", &[(5, true)], &[]);
    seen.component.auto_incident = false;
    assert_eq!(decide(&seen, None), None);
}

#[test]
fn an_incident_follows_its_alerts_to_the_end() {
    let seen = standing("major_outage", &[(5, true), (6, true)], &[5]);
    let more = Auto::More { incident: 1, alert: 6 };
    assert_eq!(decide(&seen, Some((1, CRITICAL))), Some(more));
    let worse = |alert| Some(Auto::Worse { incident: 1, severity: CRITICAL, alert });
    assert_eq!(decide(&seen, Some((1, MINOR))), worse(Some(6)));
    let seen = standing("major_outage", &[(5, true), (6, true)], &[5, 6]);
    assert_eq!(decide(&seen, Some((1, MINOR))), worse(None));
    let better = standing("degraded", &[(5, true)], &[5]);
    assert_eq!(decide(&better, Some((1, CRITICAL))), None, "it is not told to be less");
    let over = standing("operational", &[], &[5]);
    assert_eq!(decide(&over, Some((1, CRITICAL))), Some(Auto::Over { incident: 1 }));
}

#[test]
fn silence_holds_an_incident_open_only_for_what_was_told() {
    let muted = standing("major_outage", &[(5, false)], &[5]);
    assert_eq!(decide(&muted, Some((1, CRITICAL))), None, "silence is no end");
    let untold = standing("major_outage", &[(5, false)], &[6]);
    assert_eq!(decide(&untold, Some((1, CRITICAL))), Some(Auto::Over { incident: 1 }));
    let heard = standing("major_outage", &[(5, true)], &[6]);
    assert_eq!(decide(&heard, None), Some(Auto::Open { severity: CRITICAL, alert: 5 }));
}

/// A window from 100 to 200 at a second, of which these were announced.
fn check(now: i64, announced: &str, expected: (Option<Step>, Option<i64>)) {
    let window = Window {
        id: 1,
        title: "Upgrade".into(),
        description: String::new(),
        starts_at: at(100),
        ends_at: at(200),
        incident_id: None,
        started_at: announced.contains("start").then(|| at(100)),
        ended_at: announced.contains("end").then(|| at(200)),
        components: Vec::new(),
        public: None,
        created_at: at(0),
        updated_at: at(0),
    };
    let (what, next) = expected;
    assert_eq!(step(&window, at(now)), (what, next.map(at)), "at {now} after {announced}");
}

#[test]
fn a_window_begins_and_ends_once_whenever_it_is_looked_at() {
    check(99, "", (None, Some(100)));
    check(100, "", (Some(Step::Start), Some(200)));
    check(199, "", (Some(Step::Start), Some(200)));
    check(100, "start", (None, Some(200)));
    check(200, "start", (Some(Step::End), None));
    check(900, "start", (Some(Step::End), None));
    check(200, "", (Some(Step::Miss), None));
    check(900, "start end", (None, None));
    check(50, "start", (None, Some(200)));
}
