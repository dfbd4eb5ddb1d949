//! Single decisions, at chosen times.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use maintenant_api::alerts::{AlertStatus, Severity};
use serde_json::{Value, json};

use super::super::engine::{Decision, Found, What, Withheld, decide};
use super::super::model::{Ending, OpenAlert, add_opening, hold_down, to_event};
use super::super::mutes::Mute;
use super::{CONTAINER, ENDPOINT, at, signal};
use crate::notify::outbox::Event;
use crate::signals::{Entity, Signal};

/// What is open, and what was found at each moment.
#[derive(Default)]
struct World {
    open: Vec<OpenAlert>,
    found: Found,
    mutes: Vec<Mute>,
    withheld: Withheld,
    openings: BTreeMap<i64, Vec<Timestamp>>,
    ids: i64,
}

impl World {
    /// Decides at so many seconds; says what changed, such as `2 opened fired`.
    fn at(&mut self, seconds: i64) -> String {
        let Decision { changes, withheld, .. } =
            decide(&self.open, &self.found, &self.mutes, &self.withheld, at(seconds));
        self.withheld = withheld;
        let mut told = Vec::new();
        for change in changes {
            let mut after = change.after;
            let entity = after.alert.entity_id;
            let what = match &change.what {
                What::Opened => "opened",
                What::Turned => "turned",
                What::Noted => "noted",
                What::Ended(Ending::Recovered, _) => "recovered",
                What::Ended(Ending::Replaced(_), _) => "replaced",
                What::Ended(_, _) => "ended",
            };
            let tells = match change.tells {
                Some(Event::Fired) => " fired",
                Some(Event::Resolved) => " resolved",
                None => "",
            };
            told.push(format!("{entity} {what}{tells}"));
            self.open.retain(|open| open.key() != after.key());
            if matches!(change.what, What::Ended(..)) {
                self.openings.insert(entity, after.course.openings);
                continue;
            }
            if change.what == What::Opened {
                self.ids += 1;
                after.alert.id = self.ids;
                let before = self.openings.get(&entity).map_or(&[][..], Vec::as_slice);
                after.course.openings = add_opening(before, at(seconds));
            }
            self.open.push(after);
        }
        told.sort();
        told.join(", ")
    }

    fn details(&self, entity: i64) -> Value {
        let open = self.open.iter().find(|open| open.alert.entity_id == entity).unwrap();
        serde_json::from_str(&open.alert.details).unwrap()
    }
}

/// Trouble of the endpoint with this number, explained by that one.
fn explained(id: i64, by: i64) -> Signal {
    let entity = Entity { kind: "endpoint", id };
    let explained_by = (by != 0).then_some(Entity { kind: "endpoint", id: by });
    Signal { explained_by, ..signal(&entity, at(0)) }
}

/// Which of these troubles open an alert.
fn check_opened(troubles: &[(i64, i64)], opened: &[i64]) {
    let signals = troubles.iter().map(|(id, by)| explained(*id, *by)).collect();
    let mut world = World { found: Found { signals, ..Found::default() }, ..World::default() };
    world.at(0);
    let found: Vec<_> = world.open.iter().map(|open| open.alert.entity_id).collect();
    assert_eq!(found, opened, "{troubles:?}");
}

#[test]
fn what_is_explained_opens_nothing_and_circles_and_long_chains_open_something() {
    check_opened(&[(1, 0), (2, 0)], &[1, 2]);
    check_opened(&[(1, 0), (2, 1)], &[1]);
    check_opened(&[(2, 1)], &[2]);
    check_opened(&[(1, 0), (2, 1), (3, 2), (4, 3)], &[1]);
    check_opened(&[(1, 0), (2, 1), (3, 2), (4, 3), (5, 4)], &[1, 5]);
    check_opened(&[(1, 1)], &[1]);
    check_opened(&[(1, 2), (2, 1)], &[1]);
    check_opened(&[(1, 3), (2, 1), (3, 2)], &[1]);
    check_opened(&[(1, 2), (2, 1), (3, 2)], &[1]);
    check_opened(&[(1, 2), (2, 3), (3, 4), (4, 5), (5, 1)], &[1, 2, 3, 4, 5]);
}

#[test]
fn what_is_affected_is_named_up_to_a_limit_and_counted() {
    let mut signals = vec![explained(1, 0)];
    signals.extend((2..=31).map(|id| explained(id, 1)));
    let mut world = World { found: Found { signals, ..Found::default() }, ..World::default() };
    assert_eq!(world.at(0), "1 opened fired");
    let details = world.details(1);
    assert_eq!(details["affected_count"], 30);
    assert_eq!(details["affected"].as_array().unwrap().len(), 20);
    let named = json!({
        "entity_type": "endpoint", "entity_id": 2, "name": "endpoint 2",
        "alert_type": "consecutive_failure", "since": "2026-01-01T00:00:00Z",
    });
    assert_eq!(details["affected"][0], named);
    world.found.signals.truncate(2);
    assert_eq!(world.at(10), "1 noted");
    assert_eq!(world.details(1)["affected_count"], 1);
}

#[test]
fn one_outage_is_one_alert_also_while_its_explanation_begins_and_ends() {
    let mut world = World::default();
    let down = Signal { due: at(30), ..signal(&CONTAINER, at(0)) };
    let failing = Signal { explained_by: Some(CONTAINER), ..signal(&ENDPOINT, at(5)) };
    world.found.signals = vec![failing.clone(), down];
    assert_eq!(world.at(10), "");
    assert_eq!(world.at(30), "1 opened fired");
    assert_eq!(world.details(1)["affected"][0]["entity_id"], 2);
    // The container runs again; the endpoint was not checked since.
    world.found.signals = vec![failing.clone()];
    assert_eq!(world.at(100), "1 recovered resolved");
    assert_eq!(world.at(130), "");
    world.found.signals.clear();
    assert_eq!(world.at(140), "");
    // Another time it goes on.
    world.found.signals = vec![failing.clone(), signal(&CONTAINER, at(200))];
    assert_eq!(world.at(200), "1 opened fired");
    world.found.signals = vec![failing];
    assert_eq!(world.at(250), "1 recovered resolved");
    assert_eq!(world.at(309), "");
    assert_eq!(world.at(310), "2 opened fired");
}

#[test]
fn what_others_find_of_an_entity_explains_nothing() {
    let failing = Signal { explained_by: Some(CONTAINER), ..signal(&ENDPOINT, at(0)) };
    let busy = Signal { source: "resource", ..signal(&CONTAINER, at(0)) };
    let signals = vec![failing, busy];
    let mut world = World { found: Found { signals, ..Found::default() }, ..World::default() };
    assert_eq!(world.at(0), "1 opened fired, 2 opened fired");
}

#[test]
fn an_alert_explains_while_nothing_is_known_of_its_entity() {
    let mut world = World::default();
    world.found.signals = vec![signal(&CONTAINER, at(0))];
    assert_eq!(world.at(0), "1 opened fired");
    world.found.signals =
        vec![Signal { explained_by: Some(CONTAINER), ..signal(&ENDPOINT, at(5)) }];
    world.found.unknown.insert(("container", CONTAINER));
    assert_eq!(world.at(10), "");
    world.found.unknown.clear();
    assert_eq!(world.at(20), "1 recovered resolved");
    assert_eq!(world.at(80), "2 opened fired");
}

#[test]
fn an_alert_that_is_open_is_listed_in_what_explains_it_and_ends_by_itself() {
    let mut world = World::default();
    let failing = Signal { explained_by: Some(CONTAINER), ..signal(&ENDPOINT, at(0)) };
    world.found.signals = vec![failing];
    assert_eq!(world.at(0), "2 opened fired");
    world.found.signals.push(signal(&CONTAINER, at(10)));
    assert_eq!(world.at(10), "1 opened fired");
    assert_eq!(world.details(1)["affected_count"], 1);
    world.found.signals.remove(0);
    assert_eq!(world.at(20), "1 noted, 2 recovered resolved");
}

#[test]
fn nothing_changes_while_nothing_is_known_but_a_silence_holds() {
    let mut world = World::default();
    world.found.signals = vec![signal(&ENDPOINT, at(0))];
    assert_eq!(world.at(0), "2 opened fired");
    world.found.unknown.insert(("endpoint", ENDPOINT));
    let worse = Signal { severity: Severity::Critical, ..signal(&ENDPOINT, at(0)) };
    world.found.signals = vec![worse, explained(7, 0)];
    world.found.failed.insert("endpoint");
    assert_eq!(world.at(10), "");
    world.found.signals.clear();
    assert_eq!(world.at(20), "");
    world.mutes = vec![Mute { until: at(40), ..Mute::default() }];
    assert_eq!(world.at(30), "2 turned");
    assert_eq!(world.at(50), "");
    assert_eq!(world.open[0].alert.status, AlertStatus::Silenced);
    world.found = Found::default();
    assert_eq!(world.at(60), "2 recovered resolved");
}

#[test]
fn a_worse_alert_is_told_again_and_a_better_one_keeps_its_severity() {
    let mut world = World::default();
    world.found.signals = vec![signal(&ENDPOINT, at(0))];
    assert_eq!(world.at(0), "2 opened fired");
    world.open[0].alert.acknowledged_by = Some("ada".into());
    world.open[0].alert.acknowledged_at = Some(at(3));
    world.found.signals[0].message = "it answers 503".into();
    assert_eq!(world.at(5), "2 noted");
    world.found.signals[0].severity = Severity::Critical;
    assert_eq!(world.at(10), "2 turned fired");
    let alert = &world.open[0].alert;
    assert_eq!((alert.acknowledged_at, alert.escalated_at), (None, Some(at(10))));
    assert_eq!(alert.acknowledged_by, None);
    assert_eq!(
        world.details(2)["acknowledged_before"],
        json!({"by": "ada", "at": "2026-01-01T00:00:03Z"})
    );
    world.found.signals[0].severity = Severity::Info;
    assert_eq!(world.at(20), "");
    assert_eq!(world.open[0].alert.severity, Severity::Critical);
}

/// An alert is silenced from 10 to 100 s, and is or is not there at each moment.
fn check_silence(moments: &[(i64, bool, &str)]) {
    let mut world = World::default();
    for (seconds, is_there, expected) in moments {
        world.mutes = vec![Mute { until: at(100), ..Mute::default() }];
        world.mutes.retain(|_| *seconds >= 10);
        world.found.signals = vec![signal(&ENDPOINT, at(0))];
        world.found.signals.retain(|_| *is_there);
        assert_eq!(world.at(*seconds), *expected, "{seconds} s");
    }
}

#[test]
fn a_silence_keeps_openings_quiet_and_ends_only_of_what_nobody_was_told() {
    check_silence(&[(20, true, "2 opened"), (100, true, "2 turned fired"), (110, true, "")]);
    check_silence(&[(20, true, "2 opened"), (50, false, "2 recovered"), (100, false, "")]);
    check_silence(&[(0, true, "2 opened fired"), (20, true, "2 turned")]);
    check_silence(&[(0, true, "2 opened fired"), (20, false, "2 recovered resolved")]);
    check_silence(&[
        (0, true, "2 opened fired"),
        (20, true, "2 turned"),
        (30, false, "2 recovered resolved"),
    ]);
    check_silence(&[
        (0, true, "2 opened fired"),
        (20, true, "2 turned"),
        (120, true, "2 turned fired"),
        (130, false, "2 recovered resolved"),
    ]);
}

/// Trouble of the container of this type, due after so many seconds.
fn of_container(alert_type: &'static str, due: i64) -> Signal {
    Signal { alert_type, due: at(due), ..signal(&CONTAINER, at(0)) }
}

#[test]
fn another_type_of_trouble_takes_the_place_of_the_first_without_a_recovery() {
    let mut world = World::default();
    world.found.signals = vec![of_container("health_unhealthy", 0)];
    assert_eq!(world.at(0), "1 opened fired");
    // It died: that is not told yet, and it did not recover.
    world.found.signals = vec![of_container("container_down", 30)];
    assert_eq!(world.at(10), "");
    assert_eq!(world.at(30), "1 opened fired, 1 replaced resolved");
    assert_eq!(world.open[0].alert.alert_type, "container_down");
    world.found.signals.clear();
    assert_eq!(world.at(40), "1 recovered resolved");
    // It is well again before the other is due.
    let mut world = World::default();
    world.found.signals = vec![of_container("health_unhealthy", 0)];
    assert_eq!(world.at(50), "1 opened fired");
    world.found.signals = vec![of_container("container_down", 90)];
    assert_eq!(world.at(60), "");
    world.found.signals.clear();
    assert_eq!(world.at(70), "1 recovered resolved");
}

#[test]
fn what_can_stand_beside_other_trouble_recovers() {
    let check = |source, first, second, ends: &str| {
        let of = |alert_type| Signal { source, ..of_container(alert_type, 0) };
        let mut world = World::default();
        world.found.signals = vec![of(first)];
        assert_eq!(world.at(0), "1 opened fired");
        world.found.signals = vec![of(second)];
        assert_eq!(world.at(10), format!("1 opened fired, 1 {ends} resolved"), "{first} {second}");
    };
    check("heartbeat", "late", "deadline_missed", "replaced");
    check("certificate", "expiring", "expired", "replaced");
    check("certificate", "unreachable", "expired", "recovered");
    check("certificate", "expired", "unreachable", "recovered");
    check("resource", "cpu_threshold", "memory_threshold", "recovered");
}

#[test]
fn what_is_over_explains_nothing_while_its_end_is_held_back() {
    let mut world = World::default();
    for seconds in 0..5 {
        world.found.signals = vec![signal(&CONTAINER, at(seconds))];
        world.found.signals.retain(|_| seconds % 2 == 0);
        world.at(seconds);
    }
    world.found.signals =
        vec![Signal { explained_by: Some(CONTAINER), ..signal(&ENDPOINT, at(5)) }];
    assert_eq!(world.at(10), "1 noted, 2 opened fired");
}

#[test]
fn what_is_explained_is_named_before_it_is_due_and_counts_unless_muted() {
    let failing = Signal {
        explained_by: Some(CONTAINER),
        severity: Severity::Critical,
        due: at(60),
        ..signal(&ENDPOINT, at(0))
    };
    let mut world = World::default();
    world.found.signals = vec![failing, signal(&CONTAINER, at(0))];
    let of_endpoints = Some("endpoint".to_owned());
    world.mutes = vec![Mute { entity_type: of_endpoints, until: at(50), ..Mute::default() }];
    assert_eq!(world.at(10), "1 opened fired");
    assert_eq!(world.details(1)["affected_count"], 1);
    assert_eq!(world.open[0].alert.severity, Severity::Warning);
    assert_eq!(world.at(50), "1 turned fired");
    assert_eq!(world.open[0].alert.severity, Severity::Critical);
}

#[test]
fn a_clock_that_was_set_back_puts_no_opening_off() {
    let mut world = World::default();
    let due = |since: i64| Signal { due: at(since + 600), ..signal(&ENDPOINT, at(since)) };
    world.found.signals = vec![due(60)];
    assert_eq!(world.at(0), "");
    world.found.signals = vec![due(61)];
    assert_eq!(world.at(0), "2 opened fired");
}

/// Whether a mute with this source, kind and id covers an alert of endpoint 2.
fn check_cover(mute: (Option<&str>, Option<&str>, Option<i64>), is_covered: bool) {
    let mut world = World::default();
    world.found.signals = vec![signal(&ENDPOINT, at(0))];
    let (source, entity_type, entity_id) = mute;
    let text = |text: Option<&str>| text.map(str::to_owned);
    let (source, entity_type) = (text(source), text(entity_type));
    world.mutes = vec![Mute { source, entity_type, entity_id, until: at(1) }];
    assert_eq!(world.at(0) == "2 opened", is_covered, "{mute:?}");
}

#[test]
fn a_mute_covers_what_fits_all_it_names() {
    check_cover((None, None, None), true);
    check_cover((Some("endpoint"), None, None), true);
    check_cover((Some("container"), None, None), false);
    check_cover((None, Some("endpoint"), None), true);
    check_cover((None, Some("container"), None), false);
    check_cover((None, Some("endpoint"), Some(2)), true);
    check_cover((None, Some("endpoint"), Some(1)), false);
    check_cover((Some("container"), Some("endpoint"), Some(2)), false);
}

#[test]
fn what_flaps_is_told_once_and_ends_when_it_has_been_quiet() {
    let mut world = World::default();
    let there = |world: &mut World, seconds: i64, is_there: bool| {
        world.found.signals = vec![signal(&ENDPOINT, at(seconds))];
        world.found.signals.retain(|_| is_there);
        world.at(seconds)
    };
    for (seconds, is_there, expected) in [
        (0, true, "2 opened fired"),
        (10, false, "2 recovered resolved"),
        (20, true, "2 opened fired"),
        (30, false, "2 recovered resolved"),
        (40, true, "2 opened fired"),
        // From the third on an end is held back for a minute, then for two.
        (50, false, "2 noted"),
        (109, false, ""),
        (109, true, "2 noted"),
        (120, false, "2 noted"),
        (239, false, ""),
    ] {
        assert_eq!(there(&mut world, seconds, is_there), expected, "{seconds} s");
    }
    let details = world.details(2);
    assert_eq!((&details["flapping"], &details["flaps"]), (&json!(true), &json!(1)));
    assert_eq!(details["since"], "2026-01-01T00:00:40Z");
    assert_eq!(there(&mut world, 240, false), "2 recovered resolved");
}

#[test]
fn an_end_is_not_held_back_once_removed_or_when_the_clock_was_set_back() {
    let flapping = || {
        let mut world = World::default();
        for seconds in 0..5 {
            world.found.signals = vec![signal(&ENDPOINT, at(seconds))];
            world.found.signals.retain(|_| seconds % 2 == 0);
            world.at(seconds);
        }
        world.found.signals.clear();
        assert_eq!(world.at(10), "2 noted");
        world
    };
    let mut world = flapping();
    world.found.gone.insert(world.open[0].alert.id, Ending::Removed);
    assert_eq!(world.at(11), "2 ended resolved");
    assert_eq!(flapping().at(-3600), "2 recovered resolved");
}

#[test]
fn holds_double_up_to_half_an_hour_and_forget_after_an_hour() {
    let minutes = |openings: i64| {
        let openings: Vec<_> = (0..openings).map(at).collect();
        hold_down(&openings, at(60)).as_mins()
    };
    let found: Vec<_> = (0..12).map(minutes).collect();
    assert_eq!(found, [0, 0, 0, 1, 2, 4, 8, 16, 30, 30, 30, 30]);
    let openings: Vec<_> = (0..8).map(at).collect();
    assert_eq!(hold_down(&openings, at(3602)), SignedDuration::from_mins(4));
    assert_eq!(hold_down(&openings, at(3700)), SignedDuration::ZERO);
    assert_eq!(add_opening(&openings, at(3603)).len(), 5);
    // What is ahead of a clock that was set back does not count.
    assert_eq!(add_opening(&openings, at(-5)), [at(-5)]);
}

/// What is said of an end after so many seconds.
fn check_sentence(ending: Ending, seconds: i64, expected: &str) {
    let mut world = World::default();
    world.found.signals = vec![signal(&CONTAINER, at(0))];
    world.at(0);
    let sentence = ending.sentence(&world.open[0].alert, SignedDuration::from_secs(seconds));
    assert_eq!(sentence, expected);
}

#[test]
fn an_end_says_what_ended_and_how_long_it_lasted() {
    let text =
        |lasted| format!("container `container 1` recovered: container down lasted {lasted}");
    for (seconds, lasted) in [
        (-5, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (725, "12 min 5 s"),
        (3_605, "1 h"),
        (7_500, "2 h 5 min"),
        (180_000, "2 d 2 h"),
    ] {
        check_sentence(Ending::Recovered, seconds, &text(lasted));
    }
    let removed =
        "container `container 1` was removed or is not watched any more: container down lasted 1 s";
    check_sentence(Ending::Removed, 1, removed);
    let replaced = "container `container 1` is now: restart loop; container down lasted 2 s";
    check_sentence(Ending::Replaced("restart_loop"), 2, replaced);
}

#[test]
fn in_events_details_are_an_object_and_what_is_not_known_is_left_out() {
    let mut world = World::default();
    world.found.signals = vec![signal(&ENDPOINT, at(0))];
    world.at(0);
    let mut alert = world.open.remove(0).alert;
    let expected = json!({
        "id": 1, "source": "endpoint", "alert_type": "consecutive_failure",
        "severity": "warning", "status": "active", "message": "it does not answer",
        "entity_type": "endpoint", "entity_id": 2, "entity_name": "endpoint 2",
        "details": { "since": "2026-01-01T00:00:00Z" },
        "fired_at": "2026-01-01T00:00:00Z", "created_at": "2026-01-01T00:00:00Z",
    });
    assert_eq!(to_event(&alert), expected);
    alert.details = "{}".into();
    assert!(to_event(&alert).get("details").is_none());
}

#[test]
fn it_says_when_time_alone_changes_something() {
    let mut world = World::default();
    world.found.signals = vec![Signal { due: at(50), ..signal(&ENDPOINT, at(0)) }];
    world.mutes = vec![Mute { until: at(70), ..Mute::default() }];
    let next = |world: &World, seconds| {
        decide(&world.open, &world.found, &world.mutes, &world.withheld, at(seconds)).next
    };
    assert_eq!(next(&world, 0), Some(at(50)));
    world.at(50);
    assert_eq!(next(&world, 50), Some(at(70)));
    assert_eq!(next(&world, 70), None);
}
