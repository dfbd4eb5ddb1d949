//! The job on a real database, with sources that find what a test says.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use maintenant_api::alerts::{Alert, AlertStatus, Severity, Silence, SilenceInput};
use rusqlite::Connection;
use serde_json::{Value, json};
use tokio::sync::broadcast::Receiver;

use super::super::sql::Filter;
use super::super::watch::{Watch, pause_after};
use super::super::{silences, sql, start};
use super::{CONTAINER, ENDPOINT, at, signal};
use crate::containers::inventory::Inventory;
use crate::http::events::{Event, EventBus};
use crate::net::Net;
use crate::net::guard::Guard;
use crate::net::tls::Trust;
use crate::problems::Problems;
use crate::runtime::{Runtime, RuntimeState};
use crate::signals::{Entity, Findings, Signal, Source};
use crate::spine::Spine;
use crate::store::{Store, Writer};
use crate::tasks::Supervisor;

/// What a source finds; clones share it.
#[derive(Clone, Default)]
struct Script(Arc<Mutex<Lines>>);

#[derive(Default)]
struct Lines {
    findings: Findings,
    removed: BTreeSet<Entity>,
    fault: Option<&'static str>,
    asked: usize,
}

struct Scripted(&'static str, Script);

impl Source for Scripted {
    fn name(&self) -> &'static str {
        self.0
    }

    fn find(&self, _db: &Connection, _now: Timestamp) -> rusqlite::Result<Findings> {
        let mut lines = self.1.0.lock().unwrap();
        lines.asked += 1;
        let (fault, findings) = (lines.fault, lines.findings.clone());
        drop(lines);
        assert_ne!(fault, Some("panic"), "on purpose");
        if fault.is_some() { Err(rusqlite::Error::InvalidQuery) } else { Ok(findings) }
    }

    fn exists(&self, _db: &Connection, entity: &Entity) -> rusqlite::Result<bool> {
        Ok(!self.1.0.lock().unwrap().removed.contains(entity))
    }
}

impl Script {
    fn set(&self, signals: &[Signal]) {
        self.0.lock().unwrap().findings.signals = signals.to_vec();
    }

    fn edit(&self, edit: impl FnOnce(&mut Lines)) {
        edit(&mut self.0.lock().unwrap());
    }
}

pub(super) struct World {
    pub(super) spine: Spine,
    endpoints: Script,
    containers: Script,
    watch: Watch,
    told: Receiver<Arc<Event>>,
    _writer: Writer,
    folder: tempfile::TempDir,
}

pub(super) fn spine_of(store: &Store) -> Spine {
    let events = EventBus::new(at(0));
    Spine {
        store: store.clone(),
        events: events.clone(),
        runtime: RuntimeState::new(Runtime::new("docker", at(0))),
        inventory: tokio::sync::watch::channel(Inventory::default()).1,
        net: Net::new(Guard::default(), Trust::of(rustls::RootCertStore::empty()).unwrap()),
        problems: Problems::new(events),
    }
}

impl World {
    pub(super) fn new() -> Self {
        Self::open(tempfile::tempdir().unwrap(), Script::default(), Script::default())
    }

    fn open(folder: tempfile::TempDir, endpoints: Script, containers: Script) -> Self {
        let (store, writer) = Store::open(&folder.path().join("m.db")).unwrap();
        let spine = spine_of(&store);
        let told = spine.events.subscribe(None).receiver;
        let watch = Watch::new(&spine, sources(&endpoints, &containers));
        Self { spine, endpoints, containers, watch, told, _writer: writer, folder }
    }

    /// Another process on the same database.
    fn restart(self) -> Self {
        let Self { folder, endpoints, containers, .. } = self;
        Self::open(folder, endpoints, containers)
    }

    async fn look(&mut self, seconds: i64) -> String {
        self.watch.look(at(seconds)).await.unwrap();
        self.told()
            .iter()
            .map(|(name, data)| format!("{name} {}", data["id"]))
            .collect::<Vec<_>>()
            .join(", ")
    }

    fn told(&mut self) -> Vec<(&'static str, Value)> {
        let told = std::iter::from_fn(|| self.told.try_recv().ok());
        told.map(|event| (event.name, serde_json::from_str(&event.data).unwrap())).collect()
    }

    /// Newest first.
    async fn alerts(&self) -> Vec<Alert> {
        let list = |db: &Connection| sql::list(db, &Filter::default(), 100);
        self.spine.store.read(list).await.unwrap()
    }

    async fn silence(&self, seconds: i64, from: i64) -> i64 {
        let input = SilenceInput { duration_seconds: Some(seconds), ..SilenceInput::default() };
        let silence: Silence = silences::parse(input, at(from)).unwrap();
        let work = move |tx: &Connection| silences::insert(tx, &silence);
        self.spine.store.write(work).await.unwrap().unwrap()
    }
}

fn sources(endpoints: &Script, containers: &Script) -> Vec<Box<dyn Source>> {
    vec![
        Box::new(Scripted("endpoint", endpoints.clone())),
        Box::new(Scripted("container", containers.clone())),
    ]
}

fn failing() -> Signal {
    let mut signal = signal(&ENDPOINT, at(0));
    signal.details.insert("status".into(), json!(503));
    signal
}

#[tokio::test]
async fn an_alert_ends_with_a_second_one_that_says_so() {
    let mut world = World::new();
    world.endpoints.set(&[failing()]);
    assert_eq!(world.look(3).await, "alert.fired 1");
    assert_eq!(world.look(4).await, "");
    world.endpoints.set(&[]);
    world.watch.look(at(63)).await.unwrap();
    let (name, told) = world.told().remove(0);
    assert_eq!(name, "alert.resolved");
    let alerts = world.alerts().await;
    let [recovery, alert] = &alerts[..] else { panic!("{alerts:?}") };
    assert_eq!((alert.id, alert.status), (1, AlertStatus::Resolved));
    assert_eq!((alert.resolved_by_id, alert.resolved_at), (Some(2), Some(at(63))));
    assert_eq!((recovery.id, recovery.status), (2, AlertStatus::Resolved));
    assert_eq!((recovery.severity, recovery.resolved_at), (Severity::Info, None));
    let said = "endpoint `endpoint 2` recovered: consecutive failure lasted 1 min 3 s";
    assert_eq!(recovery.message, said);
    assert_eq!(recovery.details, r#"{"alert_id":1,"since":"2026-01-01T00:00:00Z"}"#);
    let details = json!({"status": 503, "since": "2026-01-01T00:00:00Z", "resolution": said});
    assert_eq!(serde_json::from_str::<Value>(&alert.details).unwrap(), details);
    assert_eq!(told["details"], details);
    assert_eq!(told["message"], "it does not answer");
    assert_eq!(told["resolved_by_id"], 2);
    assert_eq!(told["resolved_at"], "2026-01-01T00:01:03Z");
}

#[tokio::test]
async fn a_restart_opens_nothing_twice_and_loses_no_end() {
    let mut world = World::new();
    world.endpoints.set(&[failing()]);
    assert_eq!(world.look(1).await, "alert.fired 1");
    let mut world = world.restart();
    assert_eq!(world.look(2).await, "");
    world.endpoints.set(&[]);
    let mut world = world.restart();
    assert_eq!(world.look(3).await, "alert.resolved 1");
    assert_eq!(world.restart().look(4).await, "");
}

#[tokio::test]
async fn flaps_are_remembered_across_a_restart() {
    let mut world = World::new();
    for round in 0..3 {
        world.endpoints.set(&[failing()]);
        world = world.restart();
        assert_eq!(world.look(round * 10).await, format!("alert.fired {}", round * 2 + 1));
        world.endpoints.set(&[]);
        world = world.restart();
        let ended = world.look(round * 10 + 5).await;
        assert_eq!(ended.is_empty(), round == 2, "{ended}");
    }
    world = world.restart();
    assert_eq!(world.look(84).await, "");
    assert_eq!(world.look(85).await, "alert.resolved 5");
}

#[tokio::test]
async fn what_was_removed_or_is_watched_no_more_ends_without_a_second_one() {
    let mut world = World::new();
    world.endpoints.set(&[failing()]);
    world.containers.set(&[signal(&CONTAINER, at(0))]);
    assert_eq!(world.look(1).await, "alert.fired 1, alert.fired 2");
    world.endpoints.set(&[]);
    world.endpoints.edit(|lines| lines.removed = [ENDPOINT].into());
    assert_eq!(world.look(2).await, "alert.resolved 1");
    world.watch = Watch::new(&world.spine, Vec::new());
    assert_eq!(world.look(3).await, "alert.resolved 2");
    let alerts = world.alerts().await;
    assert_eq!(alerts.len(), 2);
    for (alert, said) in alerts.iter().zip(["is not watched any more", "was removed"]) {
        assert_eq!(alert.resolved_by_id, None);
        assert!(alert.details.contains(said), "{}", alert.details);
    }
}

#[tokio::test]
async fn what_is_replaced_by_other_trouble_ends_without_a_second_one() {
    let mut world = World::new();
    world.containers.set(&[signal(&CONTAINER, at(0))]);
    assert_eq!(world.look(1).await, "alert.fired 1");
    world.containers.set(&[Signal { alert_type: "oom_killed", ..signal(&CONTAINER, at(5)) }]);
    assert_eq!(world.look(6).await, "alert.resolved 1, alert.fired 2");
    let alerts = world.alerts().await;
    assert_eq!((alerts.len(), alerts[1].resolved_by_id), (2, None));
    assert!(alerts[1].details.contains("is now: oom killed"), "{}", alerts[1].details);
}

#[tokio::test]
async fn what_was_explained_before_a_start_has_its_time_to_end() {
    let mut world = World::new();
    world.endpoints.set(&[Signal { explained_by: Some(CONTAINER), ..failing() }]);
    assert_eq!(world.look(100).await, "");
    assert_eq!(world.look(159).await, "");
    assert_eq!(world.look(160).await, "alert.fired 1");
    // What is open stays so.
    assert_eq!(world.restart().look(161).await, "");
}

#[tokio::test]
async fn what_is_only_noted_is_written_every_few_seconds_or_with_what_is_told() {
    let mut world = World::new();
    let says = |text: &str| Signal { message: text.to_owned(), ..failing() };
    let check = async |world: &mut World, seconds: i64, told: &str, written: &str| {
        world.endpoints.set(&[says(told)]);
        world.look(seconds).await;
        let alerts = world.alerts().await;
        assert_eq!(alerts.last().unwrap().message, written, "{seconds} s");
    };
    check(&mut world, 0, "a", "a").await;
    check(&mut world, 1, "b", "a").await;
    check(&mut world, 4, "c", "a").await;
    check(&mut world, 5, "c", "c").await;
    check(&mut world, 6, "d", "c").await;
    world.containers.set(&[signal(&CONTAINER, at(7))]);
    check(&mut world, 7, "e", "e").await;
    check(&mut world, -60, "f", "f").await;
}

#[test]
fn looks_that_take_long_are_fewer() {
    for (took, pause) in [(0, 200), (50, 200), (51, 204), (1_000, 4_000)] {
        let millis = Duration::from_millis;
        assert_eq!(pause_after(millis(took)), millis(pause));
    }
}

#[tokio::test]
async fn a_source_that_fails_keeps_its_alerts_and_the_others_go_on() {
    for fault in ["error", "panic"] {
        let mut world = World::new();
        world.endpoints.set(&[failing()]);
        assert_eq!(world.look(1).await, "alert.fired 1");
        world.endpoints.edit(|lines| lines.fault = Some(fault));
        world.containers.set(&[signal(&CONTAINER, at(0))]);
        assert_eq!(world.look(2).await, "alert.fired 2");
        world.endpoints.edit(|lines| lines.fault = None);
        world.endpoints.set(&[]);
        assert_eq!(world.look(3).await, "alert.resolved 1");
    }
}

#[tokio::test]
async fn a_source_finds_nothing_of_another() {
    let mut world = World::new();
    world.endpoints.set(&[failing(), signal(&CONTAINER, at(0))]);
    assert_eq!(world.look(1).await, "");
    world.endpoints.set(&[signal(&Entity { kind: "planet", id: 1 }, at(0))]);
    assert_eq!(world.look(2).await, "");
}

#[tokio::test]
async fn what_a_silence_kept_quiet_is_told_at_its_end() {
    let mut world = World::new();
    let id = world.silence(60, 0).await;
    world.endpoints.set(&[failing()]);
    assert_eq!(world.look(1).await, "alert.silenced 1");
    let next = world.watch.look(at(2)).await.unwrap();
    assert_eq!(next, Some(at(60)));
    assert_eq!(world.look(59).await, "");
    world.spine.store.write(move |tx| silences::cancel(tx, id, at(59))).await.unwrap();
    assert_eq!(world.look(59).await, "alert.fired 1");
    assert_eq!(world.alerts().await[0].status, AlertStatus::Active);
    world.silence(60, 60).await;
    assert_eq!(world.look(61).await, "alert.silenced 1");
    assert_eq!(world.look(120).await, "alert.fired 1");
}

#[tokio::test]
async fn a_look_that_changes_nothing_writes_nothing() {
    let mut world = World::new();
    world.endpoints.set(&[failing()]);
    world.look(1).await;
    let changes = |tx: &Connection| Ok(tx.total_changes());
    let before = world.spine.store.write(changes).await.unwrap();
    for seconds in 2..20 {
        world.look(seconds).await;
    }
    assert_eq!(world.spine.store.write(changes).await.unwrap(), before);
}

#[tokio::test]
async fn open_alerts_are_never_deleted_and_ended_ones_after_their_time() {
    let mut world = World::new();
    world.endpoints.set(&[failing()]);
    world.containers.set(&[signal(&CONTAINER, at(0))]);
    world.look(1).await;
    world.endpoints.set(&[]);
    world.look(2).await;
    let delete = |before: i64| move |tx: &Connection| sql::delete_old(tx, before, 10);
    let store = world.spine.store.clone();
    assert_eq!(store.write(delete(at(2).as_millisecond())).await.unwrap(), 0);
    assert_eq!(store.write(delete(at(3).as_millisecond())).await.unwrap(), 2);
    assert_eq!(world.alerts().await.len(), 1);
    let id = world.silence(60, 0).await;
    let old = |tx: &Connection| silences::delete_old(tx, at(61).as_millisecond(), 10);
    assert_eq!((id, store.write(old).await.unwrap()), (1, 1));
}

/// Waits until so many looks were taken.
async fn asked(script: &Script, at_least: usize) -> usize {
    for _ in 0..10_000 {
        let asked = script.0.lock().unwrap().asked;
        if asked >= at_least {
            return asked;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not asked {at_least} times");
}

#[tokio::test(start_paused = true)]
async fn the_job_looks_at_events_and_every_few_seconds_and_once_for_a_burst() {
    let world = World::new();
    let mut supervisor = Supervisor::default();
    let alerts = start(&world.spine, &mut supervisor, sources(&world.endpoints, &world.containers));
    let first = asked(&world.endpoints, 1).await;
    let began = tokio::time::Instant::now();
    for _ in 0..1_000 {
        alerts.events.publish("endpoint.status_changed", &json!({}));
    }
    let burst = asked(&world.endpoints, first + 1).await;
    assert!(burst <= first + 2, "{first} looks, then {burst}");
    assert!(began.elapsed() < Duration::from_secs(2));
    let calm = tokio::time::Instant::now();
    alerts.events.publish("alert.fired", &json!({}));
    alerts.events.publish("resource.snapshot", &json!({}));
    asked(&world.endpoints, burst + 2).await;
    assert!(calm.elapsed() > Duration::from_secs(3), "{:?}", calm.elapsed());
    let calm = tokio::time::Instant::now();
    let before = asked(&world.endpoints, 0).await;
    world.spine.runtime.connected(None, at(1));
    asked(&world.endpoints, before + 1).await;
    assert!(calm.elapsed() < Duration::from_secs(2), "{:?}", calm.elapsed());
    supervisor.stop(Duration::from_secs(1)).await;
}
