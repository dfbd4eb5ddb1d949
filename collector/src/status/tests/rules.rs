//! What a status follows from, and what a day comes to.

use maintenant_api::alerts::Severity;
use maintenant_api::status::ComponentStatus;

use super::super::model::{
    DAY_MS, Day, day, derive, effective, seed, severity, split, summary, urgency, with_alarm,
};
use super::super::monitors::PastDay;
use super::super::subscribers;
use super::{at, status};

#[test]
fn a_component_is_what_its_monitors_are() {
    fn check(monitors: &str, expected: &str) {
        let known = |word| (word != "gone").then(|| status(word));
        let derived = derive(monitors.split_whitespace().map(known));
        assert_eq!(derived.as_str(), expected, "{monitors}");
    }
    check("", "unknown");
    check("unknown unknown", "unknown");
    check("operational", "operational");
    check("operational unknown", "operational");
    check("major_outage", "major_outage");
    check("major_outage major_outage", "major_outage");
    check("major_outage unknown", "major_outage");
    check("major_outage operational", "partial_outage");
    check("major_outage degraded", "partial_outage");
    check("partial_outage degraded", "partial_outage");
    check("degraded operational", "degraded");
    check("operational gone", "unknown");
    check("gone", "unknown");
    check("degraded gone", "degraded");
    check("major_outage operational gone", "partial_outage");
}

#[test]
fn an_alert_makes_a_monitor_degraded_at_least() {
    fn check(known: &str, alarm: Option<Severity>, expected: &str) {
        assert_eq!(with_alarm(status(known), alarm).as_str(), expected, "{known} {alarm:?}");
    }
    check("operational", None, "operational");
    check("operational", Some(Severity::Info), "operational");
    check("operational", Some(Severity::Warning), "degraded");
    check("operational", Some(Severity::Critical), "degraded");
    check("unknown", Some(Severity::Critical), "unknown");
    check("unknown", None, "unknown");
    check("major_outage", Some(Severity::Warning), "major_outage");
}

#[test]
fn maintenance_comes_before_what_a_user_set_and_that_before_the_monitors() {
    fn check(derived: &str, set: &str, is_maintained: bool, expected: &str) {
        let set = ComponentStatus::parse(set);
        assert_eq!(effective(status(derived), set, is_maintained).as_str(), expected);
    }
    check("major_outage", "", false, "major_outage");
    check("major_outage", "operational", false, "operational");
    check("major_outage", "operational", true, "under_maintenance");
    check("operational", "", true, "under_maintenance");
    check("unknown", "", false, "unknown");
}

#[test]
fn the_page_is_as_its_worst_component() {
    let of = |components: &str| summary(components.split_whitespace().map(status));
    let check = |components, expected| assert_eq!(of(components).0.as_str(), expected);
    check("", "unknown");
    check("unknown operational", "operational");
    check("operational degraded", "degraded");
    check("degraded partial_outage", "partial_outage");
    check("partial_outage under_maintenance", "under_maintenance");
    check("under_maintenance major_outage", "major_outage");
    assert!(urgency(ComponentStatus::Unknown) < urgency(ComponentStatus::Operational));
    check("unknown unknown operational", "unknown");
    check("unknown unknown unknown degraded", "degraded");
    assert_ne!(of("operational").1, of("operational unknown").1);
    assert_ne!(of("unknown").1, of("unknown unknown operational").1);
}

#[test]
fn an_incident_is_as_severe_as_the_outage() {
    let of = |word| severity(status(word)).as_str();
    assert_eq!(
        [of("degraded"), of("partial_outage"), of("major_outage")],
        ["minor", "major", "critical"]
    );
}

/// A day by minutes, such as `operational=60 degraded=3`.
fn minutes(text: &str) -> Day {
    let mut day = Day::default();
    for (word, minutes) in text.split_whitespace().filter_map(|part| part.split_once('=')) {
        day.add(status(word), minutes.parse::<i64>().unwrap() * 60_000);
    }
    day
}

#[test]
fn a_day_has_the_colour_of_its_worst_that_lasted() {
    fn check(text: &str, expected: &str) {
        assert_eq!(minutes(text).shade().as_str(), expected, "{text}");
    }
    check("", "unknown");
    check("operational=1440", "operational");
    check("operational=5", "operational");
    check("operational=1430 degraded=10", "degraded");
    check("operational=1430 partial_outage=10", "partial_outage");
    check("operational=1430 major_outage=10", "partial_outage");
    check("operational=1300 major_outage=140", "major_outage");
    check("under_maintenance=60", "under_maintenance");
    check("operational=1380 under_maintenance=60", "under_maintenance");
    check("operational=1380 under_maintenance=50 degraded=10", "degraded");
    let short = Day { major_outage: 59_999, ..minutes("operational=60") };
    assert_eq!(short.shade().as_str(), "operational", "less than a minute is not noticed");
    let all = |partial_outage, major_outage| Day { partial_outage, major_outage, ..Day::default() };
    assert_eq!(all(0, 50_000).shade().as_str(), "major_outage", "unless there is nothing else");
    assert_eq!(all(50_000, 0).shade().as_str(), "partial_outage");
}

#[test]
fn uptime_leaves_out_maintenance_and_what_is_unknown() {
    fn check(text: &str, percent: Option<f64>, coverage: f64) {
        let uptime = minutes(text).uptime(100 * 60_000);
        assert_eq!((uptime.percent, uptime.coverage), (percent, coverage), "{text}");
    }
    check("", None, 0.0);
    check("operational=100", Some(100.0), 100.0);
    check("operational=50", Some(100.0), 50.0);
    check("operational=45 degraded=5", Some(100.0), 50.0);
    check("operational=45 partial_outage=5", Some(90.0), 50.0);
    check("operational=40 under_maintenance=10", Some(100.0), 50.0);
    check("under_maintenance=100", None, 100.0);
    check("operational=2 major_outage=1", Some(66.66), 3.0);
}

#[test]
fn time_falls_on_its_days_and_gaps_on_none() {
    assert_eq!(split(at(10), at(15)), [(day(at(0)), 5_000)]);
    let parts = split(at(86_395), at(86_402));
    assert_eq!(parts, [(day(at(0)), 5_000), (day(at(0)) + 1, 2_000)]);
    assert_eq!(split(at(15), at(10)), [], "a clock that was set back");
    assert_eq!(split(at(0), at(3_600)), [], "a machine that slept");
}

#[test]
fn the_past_of_monitors_becomes_that_of_their_component() {
    let past = |up, down| vec![PastDay { day: 7, up_ms: up, down_ms: down }];
    let alone = seed(&[past(DAY_MS - 10, 10)]);
    assert_eq!(alone[&7], Day { operational: DAY_MS - 10, major_outage: 10, ..Day::default() });
    let both = seed(&[past(DAY_MS, 0), past(0, 10)]);
    assert_eq!(both[&7], Day { operational: DAY_MS / 2, partial_outage: 5, ..Day::default() });
    assert!(seed(&[]).is_empty());
    // What nothing is known of takes nothing from what is known, on any day.
    let with_unknown = seed(&[past(DAY_MS - 10, 10), vec![], past(0, 0)]);
    assert_eq!(with_unknown, alone);
    let later = vec![PastDay { day: 8, up_ms: DAY_MS, down_ms: 0 }];
    let joined = seed(&[past(DAY_MS - 10, 10), later]);
    assert_eq!((joined[&7], joined[&8].operational), (alone[&7], DAY_MS));
}

#[test]
fn addresses_are_read_and_masked() {
    fn check(given: &str, expected: Option<&str>) {
        assert_eq!(subscribers::parse(given).ok().as_deref(), expected, "{given}");
    }
    check(" Ada@Example.org ", Some("ada@example.org"));
    for wrong in [
        "",
        "ada",
        "ada@",
        "@example.org",
        "ada@localhost",
        "a@b.c\r\nBcc: d@e.f",
        "Ada <ada@example.org>",
        "ada@example.org, bob@example.org",
    ] {
        check(wrong, None);
    }
    check(&format!("{}@example.org", "a".repeat(300)), None);
    assert_eq!(subscribers::masked("ada@example.org"), "a***@example.org");
}
