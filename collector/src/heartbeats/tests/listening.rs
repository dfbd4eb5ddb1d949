//! What nobody listened to: restarts, a machine that slept, a clock that was moved.

use std::time::Duration;

use super::super::changes::Listening;
use super::super::clients::Limits;
use super::super::routes::Heartbeats;
use super::super::watch::Watch;
use super::super::{Settings, open};
use super::*;
use crate::http::events::EventBus;
use crate::store::{Store, Writer};

#[test]
fn a_deadline_that_passed_while_nobody_listened_is_judged_after_one_grace() {
    let mut world = check(&every_ten_minutes(), &[(0.0, "success", "up")]);
    sql::interrupt_spans(&world.db, at(5.0), at(100.0)).unwrap();
    world.listening_since = at(100.0);
    world.act(101.9, "sweep");
    assert_eq!(world.state(101.9), "up:late");
    world.act(102.0, "sweep");
    assert_eq!(world.state(102.0), "down:missed!");
    assert_eq!(world.heartbeat().status_since, at(12.0), "dated back to the deadline");
    assert_eq!(world.spans(110.0), "0..5:up 100..110:down", "and unknown while nobody listened");
}

#[test]
fn a_ping_that_could_not_be_delivered_arrives_in_time() {
    let mut world = check(&every_ten_minutes(), &[(0.0, "success", "up")]);
    sql::interrupt_spans(&world.db, at(5.0), at(100.0)).unwrap();
    world.listening_since = at(100.0);
    world.act(101.0, "success");
    world.act(103.0, "sweep");
    assert_eq!(world.take_told(), "new>up@0");
    assert_eq!(world.spans(110.0), "0..5:up 100..110:up");
}

#[test]
fn the_pause_before_a_verdict_is_bounded() {
    let hold =
        |seconds: i64| super::super::model::hold(SignedDuration::from_secs(seconds)).as_secs();
    assert_eq!([hold(0), hold(60), hold(86_400)], [30, 60, 600]);
}

#[test]
fn a_deadline_after_the_restart_is_not_delayed_beyond_the_pause() {
    let mut world = check(&every_ten_minutes(), &[(0.0, "success", "up")]);
    world.listening_since = at(11.5);
    world.act(12.5, "sweep");
    assert_eq!(world.state(12.5), "up:late", "clients get a moment to come back");
    world.act(13.5, "sweep");
    assert_eq!(world.state(13.5), "down:missed!");
    assert_eq!(world.heartbeat().status_since, at(12.0));
}

#[test]
fn down_stays_down_over_a_restart() {
    let mut world = check(&every_ten_minutes(), &[(0.0, "fail", "down:failed!")]);
    sql::interrupt_spans(&world.db, at(5.0), at(50.0)).unwrap();
    sql::interrupt_spans(&world.db, at(60.0), at(70.0)).unwrap();
    world.act(80.0, "success");
    assert_eq!(world.spans(90.0), "0..5:down 50..60:down 70..80:down 80..90:up");
}

#[test]
fn a_clock_that_is_set_back_makes_no_negative_time() {
    let mut world = check(
        &every_ten_minutes(),
        &[
            (50.0, "0", "up"),
            (60.0, "start", "started"),
            (30.0, "success", "up"),
            (31.0, "fail", "down:failed!"),
        ],
    );
    assert_eq!(world.runs()[1..], ["60..60 success", "?..31 failure"]);
    world.act(32.0, "success");
    assert_eq!(world.heartbeat().deadline().unwrap().at, at(44.0));
    let spans = sql::spans(&world.db, world.id, at(-1000.0), at(100.0)).unwrap();
    assert!(spans.iter().all(|span| span.from <= span.to), "{spans:?}");
    assert!(spans.windows(2).all(|pair| pair[0].to <= pair[1].from), "{spans:?}");
}

/// A store with one heartbeat that was pinged at minute 0, and what serves it from `since` on.
struct Served {
    store: Store,
    events: EventBus,
    _writer: Writer,
    _folder: tempfile::TempDir,
}

impl Served {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (store, writer) = Store::open(&folder.path().join("m.db")).unwrap();
        Self { store, events: EventBus::new(at(0.0)), _writer: writer, _folder: folder }
    }

    async fn open(&self, minutes: f64) -> (Heartbeats, Watch) {
        let settings = Settings::default();
        let opened = open(&self.store, &self.events, settings, Limits::default(), at(minutes));
        let heartbeats = opened.await.unwrap();
        (heartbeats.clone(), Watch::new(heartbeats))
    }

    async fn pinged(&self) {
        let work = |tx: &Connection| {
            let (name, timing) = input::create(&every_ten_minutes(), at(0.0)).unwrap();
            let id = sql::insert(tx, &Heartbeat::new(name, timing, at(0.0)))?;
            let ping = Received {
                signal: Signal::Success,
                source_ip: "192.0.2.1".into(),
                http_method: "GET",
                payload: None,
                run_id: None,
                at: at(0.0),
            };
            changes::receive(tx, id, &ping, at(0.0)).map(drop)
        };
        self.store.write(work).await.unwrap();
    }

    async fn state(&self) -> (HeartbeatStatus, Timestamp) {
        let found = self.store.read(|db| sql::find(db, 1)).await.unwrap().unwrap();
        (found.status, found.status_since)
    }

    async fn spans(&self, minutes: f64) -> Vec<(f64, f64, bool)> {
        let read = move |db: &Connection| sql::spans(db, 1, at(-100.0), at(minutes));
        let spans = self.store.read(read).await.unwrap();
        spans.iter().map(|span| (minute(span.from), minute(span.to), span.is_up)).collect()
    }
}

#[tokio::test]
async fn a_restart_makes_no_storm_and_its_gap_is_unknown() {
    let served = Served::new();
    let (_, mut watch) = served.open(0.0).await;
    served.pinged().await;
    assert_eq!(watch.look(at(0.5)).await.unwrap(), Some(at(12.0)));
    drop(watch);
    // The mark of minute 0 is the last sign of life: it is written every ten seconds of real time.
    let (_, mut watch) = served.open(60.0).await;
    let mut told = served.events.subscribe(None).receiver;
    watch.look(at(60.5)).await.unwrap();
    assert_eq!(served.state().await.0, HeartbeatStatus::Up);
    assert!(told.try_recv().is_err());
    watch.look(at(61.4)).await.unwrap();
    watch.look(at(62.0)).await.unwrap();
    assert_eq!(served.state().await, (HeartbeatStatus::Down, at(12.0)));
    assert_eq!(served.spans(70.0).await.last(), Some(&(60.0, 70.0, false)));
    assert_eq!(told.try_recv().unwrap().name, "heartbeat.status_changed");
    assert_eq!(told.try_recv().unwrap().name, "heartbeat.alert");
}

#[tokio::test]
async fn a_machine_that_slept_is_like_a_restart() {
    let served = Served::new();
    let (heartbeats, mut watch) = served.open(0.0).await;
    served.pinged().await;
    watch.look(at(0.5)).await.unwrap();
    watch.look(at(60.0)).await.unwrap();
    assert_eq!(heartbeats.0.listening().since, at(60.0));
    assert_eq!(served.state().await.0, HeartbeatStatus::Up);
    for second in [20.0, 60.0, 100.0, 119.0] {
        watch.look(at(60.0 + second / 60.0)).await.unwrap();
        assert_eq!(served.state().await.0, HeartbeatStatus::Up, "{second} s after it woke");
    }
    watch.look(at(62.0)).await.unwrap();
    assert_eq!(served.state().await, (HeartbeatStatus::Down, at(12.0)));
    assert_eq!(served.spans(70.0).await, [(0.0, 0.5, true), (60.0, 70.0, false)]);
}

#[test]
fn a_ping_before_the_watch_has_noticed_the_sleep_is_not_judged_either() {
    let listening = Listening { since: at(0.0), until: at(5.0) };
    assert_eq!(listening.since_at(at(5.9)), at(0.0));
    assert_eq!(listening.since_at(at(7.0)), at(7.0));
}

#[test]
fn a_clock_that_is_set_back_is_no_sleep_and_does_not_put_off_verdicts() {
    let listening = Listening { since: at(60.0), until: at(65.0) };
    assert!(!listening.is_interrupted(at(1.0)));
    assert!(listening.is_set_back(at(1.0)) && !listening.is_set_back(at(64.5)));
    assert_eq!(listening.since_at(at(1.0)), at(1.0), "not 60, which is still to come");
    assert_eq!(listening.since_at(at(65.5)), at(60.0));
}

#[tokio::test]
async fn what_was_counted_from_a_moment_to_come_is_counted_from_now() {
    let served = Served::new();
    let (_, mut watch) = served.open(-100.0).await;
    served.pinged().await;
    watch.look(at(0.5)).await.unwrap();
    watch.look(at(-60.0)).await.unwrap();
    for minute in -59..-47 {
        watch.look(at(f64::from(minute) - 0.25)).await.unwrap();
        assert_eq!(served.state().await.0, HeartbeatStatus::Up, "{minute}");
    }
    watch.look(at(-48.0)).await.unwrap();
    assert_eq!(served.state().await, (HeartbeatStatus::Down, at(-48.0)));

    let restarted = Served::new();
    let (_, mut watch) = restarted.open(0.0).await;
    restarted.pinged().await;
    watch.look(at(0.5)).await.unwrap();
    let (_, mut watch) = restarted.open(-60.0).await;
    watch.look(at(-59.5)).await.unwrap();
    let read = |db: &Connection| sql::find(db, 1);
    let found = restarted.store.read(read).await.unwrap().unwrap();
    assert_eq!(found.expected_at, Some(at(-50.0)));
}

#[tokio::test]
async fn many_deadlines_are_one_commit_and_the_job_goes_on() {
    let served = Served::new();
    let (_, mut watch) = served.open(0.0).await;
    for _ in 0..200 {
        served.pinged().await;
    }
    for minute in 0..25 {
        watch.look(at(f64::from(minute) * 0.5)).await.unwrap();
    }
    let down = |db: &Connection| {
        db.query_row("SELECT count(*) FROM heartbeats WHERE status = 'down'", [], |row| {
            row.get::<_, i64>(0)
        })
    };
    assert_eq!(served.store.read(down).await.unwrap(), 200);
    assert_eq!(watch.look(at(12.5)).await.unwrap(), None);
    tokio::time::timeout(Duration::from_mins(1), served.store.write(|_| Ok(())))
        .await
        .unwrap()
        .unwrap();
}
