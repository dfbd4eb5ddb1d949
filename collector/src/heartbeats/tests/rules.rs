//! What is wrong with a heartbeat, by its stored state. Times are minutes after its creation.

use maintenant_api::alerts::Severity;

use super::super::clients::Limits;
use super::super::rules::{Rules, judge};
use super::super::{Settings, open};
use super::*;
use crate::http::events::EventBus;
use crate::signals::{Entity, Source};
use crate::store::Store;

impl World {
    /// `type severity since due`.
    fn trouble(&self, minutes: f64) -> String {
        let troubled = sql::list_troubled(&self.db, at(minutes)).unwrap();
        let found = troubled.iter().find_map(|(heartbeat, down_from)| {
            judge(heartbeat, *down_from, self.listening_since, at(minutes))
        });
        let Some(signal) = found else { return "-".to_owned() };
        let severity = signal.severity.as_str();
        let (since, due) = (minute(signal.since), minute(signal.due));
        format!("{} {severity} {since} {due}", signal.alert_type)
    }
}

/// Plays actions, each at its minute, and says what is wrong at the last of them.
fn check(input: &HeartbeatInput, actions: &[(f64, &str)], minutes: f64, expected: &str) {
    let mut world = World::new(input);
    for (minutes, action) in actions {
        world.act(*minutes, action);
    }
    assert_eq!(world.trouble(minutes), expected, "at {minutes} after {actions:?}");
}

#[test]
fn a_heartbeat_is_late_then_missed() {
    let pinged = [(1.0, "success")];
    check(&every_ten_minutes(), &pinged, 11.0, "-");
    check(&every_ten_minutes(), &pinged, 11.1, "late warning 11 11");
    let swept = [(1.0, "success"), (13.0, "sweep")];
    check(&every_ten_minutes(), &swept, 13.0, "deadline_missed critical 13 13");
    check(
        &every_ten_minutes(),
        &[(1.0, "success"), (40.0, "sweep")],
        40.0,
        "deadline_missed critical 13 13",
    );
    let back = [(1.0, "success"), (13.0, "sweep"), (14.0, "success")];
    check(&every_ten_minutes(), &back, 14.0, "-");
    let paused = [(1.0, "success"), (13.0, "sweep"), (14.0, "pause")];
    check(&every_ten_minutes(), &paused, 99.0, "-");
}

#[test]
fn a_heartbeat_that_is_tried_again_is_down_since_its_deadline() {
    let again = [(1.0, "success"), (13.0, "sweep"), (20.0, "start")];
    check(&every_ten_minutes(), &again, 21.0, "deadline_missed critical 13 13");
    let ended = [(1.0, "success"), (13.0, "sweep"), (20.0, "start"), (21.0, "success")];
    check(&every_ten_minutes(), &ended, 21.0, "-");
}

#[test]
fn a_failed_run_is_no_missed_deadline() {
    check(&every_ten_minutes(), &[(1.0, "fail")], 2.0, "failed critical 1 1");
    check(&every_ten_minutes(), &[(1.0, "3"), (5.0, "7")], 6.0, "failed critical 1 1");
    check(&every_ten_minutes(), &[(1.0, "3"), (5.0, "0")], 6.0, "-");
    check(&every_ten_minutes(), &[(1.0, "3"), (5.0, "start")], 6.0, "failed critical 1 1");
}

#[test]
fn a_run_that_does_not_end_misses_its_own_deadline() {
    let limited = HeartbeatInput { max_runtime_seconds: Some(60), ..every_ten_minutes() };
    let swept = [(0.0, "success"), (1.0, "start"), (2.0, "sweep")];
    check(&limited, &swept, 2.0, "deadline_missed critical 2 2");
}

#[test]
fn a_heartbeat_that_was_never_pinged_is_told_as_that() {
    check(&every_ten_minutes(), &[], 10.0, "-");
    check(&every_ten_minutes(), &[], 10.1, "late warning 10 10");
    check(&every_ten_minutes(), &[(12.0, "sweep")], 12.0, "never_pinged warning 12 12");
}

#[test]
fn what_could_not_be_heard_is_not_late_at_once() {
    let mut world = World::new(&every_ten_minutes());
    world.act(0.0, "success");
    world.listening_since = at(10.5);
    assert_eq!(world.trouble(10.5), "late warning 10 12.5", "pings get one grace to arrive");
    world.listening_since = at(10.0);
    assert_eq!(world.trouble(10.5), "late warning 10 10");
}

#[tokio::test]
async fn what_is_stored_is_judged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.db");
    let (store, _) = Store::open(&path).unwrap();
    let limits = Limits::default();
    let bus = EventBus::new(at(0.0));
    let heartbeats = open(&store, &bus, Settings::default(), limits, at(0.0)).await.unwrap();
    let add = |name: &'static str, change: fn(&mut Heartbeat)| {
        store.write(move |tx| {
            let (_, timing) = input::create(&every_ten_minutes(), at(0.0)).unwrap();
            let mut new = Heartbeat::new(name.to_owned(), timing, at(0.0));
            change(&mut new);
            sql::insert(tx, &new)
        })
    };
    let failed = add("nightly\nbackup", |new| {
        new.receive(Signal::ExitCode(3), records_of_none(), at(1.0));
    });
    let failed = failed.await.unwrap();
    let paused = add("paused", |new| drop(new.pause(at(1.0)))).await.unwrap();
    let deleted = add("deleted", |new| {
        new.receive(Signal::Fail, records_of_none(), at(1.0));
        new.deleted_at = Some(at(2.0));
    });
    let deleted = deleted.await.unwrap();
    let rules = Rules { heartbeats };
    let found = store.read(move |db| {
        let entity = |id| Entity { kind: "heartbeat", id };
        let exist = [failed, paused, deleted].map(|id| rules.exists(db, &entity(id)).unwrap());
        Ok((rules.find(db, at(0.2))?.signals, exist))
    });
    let (signals, exist) = found.await.unwrap();
    let [signal] = signals.as_slice() else { panic!("{signals:?}") };
    assert_eq!(signal.message, "The last run of heartbeat `nightly\\nbackup` failed");
    assert_eq!((signal.entity.id, signal.severity), (failed, Severity::Critical));
    assert_eq!(signal.details["last_exit_code"], 3);
    assert_eq!(exist, [true, false, false]);
}

fn records_of_none() -> super::super::model::Runs {
    super::super::model::Runs::default()
}
