//! What is wrong with an endpoint, by what is known of it; then from the tables.

use std::sync::Arc;
use std::time::Duration;

use maintenant_api::alerts::Severity;
use maintenant_api::containers::{ExitReason, State as ContainerState};
use maintenant_api::endpoints::EndpointStatus;
use maintenant_api::monitors::AlertState;
use rusqlite::Connection;
use tokio::sync::watch;
use tokio::time::Instant;

use super::super::code::Coded;
use super::super::model::{Policy, State};
use super::super::rules::{Judgement, Known, Rules, judge};
use super::super::sql::{self, Write};
use super::watching::container;
use super::*;
use crate::containers::inventory::Inventory;
use crate::containers::model::{Container, Exit};
use crate::signals::{Entity, Source};
use crate::store::Store;

fn rules(containers: &[Container]) -> Rules {
    let containers = containers.iter().cloned().map(Arc::new).collect();
    Rules { inventory: watch::channel(Inventory::new(containers)).1 }
}

fn alerting() -> Known {
    Known {
        id: 5,
        container_id: 0,
        name: "shop".to_owned(),
        target: "https://user:hunter2@shop.test:8443/cart?token=hunter2#x".to_owned(),
        failure_threshold: 3,
        status: EndpointStatus::Down,
        alert: AlertState::Alerting,
        since: Some(at(30)),
        failures: 4,
        failing_since: Some(at(30)),
        down_from: Some(at(10)),
        last_check_at: Some(at(60)),
        holds_until: Some(at(120)),
        last: Some(failure(FailureCause::Connect, "refused")),
    }
}

/// Its container stopped at 50, and it was well before.
fn stopped() -> Known {
    Known {
        container_id: 7,
        alert: AlertState::Normal,
        since: Some(at(50)),
        failures: 0,
        failing_since: None,
        holds_until: None,
        last: Some(failure(FailureCause::ContainerStopped, "its container `web` is stopped")),
        ..alerting()
    }
}

fn check(known: &Known, expected: &str) {
    let told = match judge(known, at(100)) {
        Judgement::Fine => "fine".to_owned(),
        Judgement::Unknown => "unknown".to_owned(),
        Judgement::Wrong(signal) => {
            let is_stop = known.alert == AlertState::Normal;
            let after = if is_stop { 60 } else { 0 };
            assert_eq!(signal.due.duration_since(signal.since).as_secs(), after);
            let severity = if is_stop { Severity::Warning } else { Severity::Critical };
            assert_eq!(signal.severity, severity);
            let by = signal.explained_by.map(|by| format!(" by {} {}", by.kind, by.id));
            let since = signal.since.as_second();
            format!("{} since {since}{}", signal.message, by.unwrap_or_default())
        }
    };
    assert_eq!(told, expected, "{known:?}");
}

#[test]
fn an_endpoint_is_judged_by_its_thresholds() {
    check(&alerting(), "Endpoint `shop` is down: the connection fails since 10");
    let container_id = 7;
    let of_container = Known { container_id, ..alerting() };
    check(&of_container, "Endpoint `shop` is down: the connection fails since 10 by container 7");
    check(&Known { alert: AlertState::Normal, ..alerting() }, "fine");
    let status = EndpointStatus::Up;
    let last = Some(success(20));
    let recovering = Known { status, last, failing_since: None, ..alerting() };
    check(&recovering, "Endpoint `shop` is down since 10");
    check(&Known { alert: AlertState::Normal, ..recovering }, "fine");
    check(&Known { status: EndpointStatus::Unknown, ..alerting() }, "unknown");
    check(
        &Known { down_from: None, ..alerting() },
        "Endpoint `shop` is down: the connection fails since 30",
    );
}

#[test]
fn an_endpoint_is_down_while_its_container_is_stopped() {
    let text = "Endpoint `shop` is down: its container is stopped since 50 by container 7";
    check(&stopped(), text);
    check(&Known { holds_until: Some(at(200)), ..stopped() }, "unknown");
    let before = Known { alert: AlertState::Alerting, ..stopped() };
    check(&before, "Endpoint `shop` is down: its container is stopped since 10 by container 7");
}

#[test]
fn an_alert_tells_no_secret_of_a_target() {
    let Judgement::Wrong(signal) = judge(&alerting(), at(100)) else { panic!() };
    assert_eq!(signal.details["target"], "https://shop.test:8443/cart?…");
    assert!(!format!("{signal:?}").contains("hunter2"));
    let details = ["cause", "last_error", "failure_threshold", "consecutive_failures"];
    let told = details.map(|key| signal.details[key].to_string()).join(" ");
    assert_eq!(told, r#""connect" "refused" 3 4"#);
    let unnamed = Known { name: String::new(), ..alerting() };
    let Judgement::Wrong(signal) = judge(&unnamed, at(100)) else { panic!() };
    assert_eq!(signal.entity_name, "https://shop.test:8443/cart?…");
    for (target, shown) in [
        ("db.test:5432", "db.test:5432"),
        ("http://a@b@c/x@y", "http://c/x@y"),
        ("http://u:p/w@c", "http://u:p/w@c"),
    ] {
        let known = Known { target: target.to_owned(), ..alerting() };
        let Judgement::Wrong(signal) = judge(&known, at(100)) else { panic!() };
        assert_eq!(signal.details["target"], shown);
    }
}

fn open() -> (tempfile::TempDir, Store, Connection) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.db");
    let (store, _) = Store::open(&path).unwrap();
    let db = Connection::open(&path).unwrap();
    (folder, store, db)
}

/// Declares an endpoint and stores what the job does, a check every 10 seconds.
fn live(tx: &Connection, label_key: &str, checks: &str) -> rusqlite::Result<i64> {
    let policy = Policy {
        interval: Duration::from_secs(10),
        timeout: Duration::from_secs(5),
        failure_threshold: 3,
        recovery_threshold: 2,
    };
    let id = sql::declare(tx, &declaration(label_key), at(0))?;
    let mut state = State::default();
    for (second, sign) in (0_i64..).step_by(10).zip(checks.chars()) {
        let outcome = match sign {
            '+' => success(20),
            _ => failure(FailureCause::Dns, "no such name"),
        };
        let (_, step) = state.after_check(sign == '+', at(second), &policy);
        let mut writes: Vec<_> =
            step.spans.into_iter().map(|span| Write::Span { id, span }).collect();
        let error = outcome.failure.as_ref().map(|failure| failure.error.clone());
        writes.push(Write::State { id, state, last: Some((Coded::of(&outcome), error)) });
        sql::save(tx, &writes, at(second))?;
    }
    Ok(id)
}

async fn play(store: &Store, checks: &'static str) -> i64 {
    store.write(move |tx| live(tx, "a", checks)).await.unwrap()
}

/// Since when each endpoint of that life is down.
async fn stored(checks: &'static str) -> Vec<i64> {
    let (_folder, store, db) = open();
    play(&store, checks).await;
    let found = rules(&[]).find(&db, at(1_000)).unwrap();
    assert!(found.unknown.is_empty());
    found.signals.iter().map(|signal| signal.since.as_second()).collect()
}

#[tokio::test]
async fn an_outage_began_with_its_first_failed_check() {
    assert_eq!(stored("+++").await, [0; 0]);
    assert_eq!(stored("+--").await, [0; 0]);
    assert_eq!(stored("+---").await, [10]);
    assert_eq!(stored("+---+").await, [10]);
    assert_eq!(stored("+---++").await, [0; 0]);
    assert_eq!(stored("---++---").await, [50]);
}

#[tokio::test]
async fn what_is_declared_no_more_is_no_trouble() {
    let (_folder, store, db) = open();
    let id = play(&store, "---").await;
    let entity = Entity { kind: "endpoint", id };
    let signals = rules(&[]).find(&db, at(100)).unwrap().signals;
    assert_eq!(signals[0].details["failure_threshold"], 3);
    assert_eq!(signals[0].details["last_error"], "no such name");
    assert!(rules(&[]).exists(&db, &entity).unwrap());
    store.write(move |tx| sql::deactivate(tx, id, at(40))).await.unwrap();
    assert_eq!(rules(&[]).find(&db, at(100)).unwrap().signals, []);
    assert!(!rules(&[]).exists(&db, &entity).unwrap());
}

#[tokio::test]
async fn labels_of_its_container_say_how_severe_it_is_and_whom_to_tell() {
    let (_folder, store, db) = open();
    let id = play(&store, "---").await;
    let adopt = "UPDATE endpoints SET container_id = 7 WHERE id = ?1";
    store.write(move |tx| tx.execute(adopt, [id])).await.unwrap();
    let told = |labels: &[(&str, &str)]| {
        let container = container(7, ContainerState::Running, labels);
        let signal = rules(&[container]).find(&db, at(100)).unwrap().signals.remove(0);
        (signal.severity, signal.channels)
    };
    assert_eq!(told(&[]), (Severity::Critical, vec![]));
    let labels = [("maintenant.alert.severity", "info"), ("maintenant.alert.channels", "ops, dev")];
    assert_eq!(told(&labels), (Severity::Info, vec!["ops".to_owned(), "dev".to_owned()]));
}

#[tokio::test]
async fn nothing_is_missed_of_a_container_that_rests_as_it_may() {
    let (_folder, store, db) = open();
    let id = play(&store, "+").await;
    let stop = move |tx: &Connection| {
        tx.execute("UPDATE endpoints SET container_id = 7 WHERE id = ?1", [id])?;
        let mut state = sql::find_state(tx, id)?;
        (state.status, state.since) = (EndpointStatus::Down, Some(at(50)));
        let outcome = failure(FailureCause::ContainerStopped, "its container is stopped");
        let error = outcome.failure.as_ref().map(|failure| failure.error.clone());
        let last = Some((Coded::of(&outcome), error));
        sql::save(tx, &[Write::State { id, state, last }], at(50))?;
        tx.execute("UPDATE endpoint_states SET holds_until = NULL", [])
    };
    store.write(stop).await.unwrap();
    let told = |state: ContainerState, reason: ExitReason, first_seen: i64| {
        let mut container = container(7, state, &[]);
        container.exit = Some(Exit { code: 0, reason, signal: None, oom_killed: false });
        container.first_seen_at = at(first_seen);
        container.last_state_change_at = at(50);
        let found = rules(&[container]).find(&db, at(100)).unwrap();
        let is_unknown = found.unknown.contains(&Entity { kind: "endpoint", id });
        assert_eq!(found.signals.is_empty(), is_unknown);
        found.signals.first().map(|signal| signal.severity.as_str())
    };
    let (requested, well) = (ExitReason::Requested, ExitReason::Completed);
    assert_eq!(told(ContainerState::Exited, ExitReason::Error, 0), Some("warning"));
    assert_eq!(told(ContainerState::Completed, requested, 0), Some("warning"));
    assert_eq!(told(ContainerState::Completed, well, 0), None);
    assert_eq!(told(ContainerState::Exited, ExitReason::Error, 50), None, "never seen running");
    assert_eq!(told(ContainerState::Created, well, 0), None);
    assert_eq!(told(ContainerState::Running, well, 0), Some("warning"));
}

#[tokio::test]
async fn an_endpoint_of_which_nothing_is_known_keeps_its_alert() {
    let (_folder, store, db) = open();
    let id = play(&store, "---").await;
    let forget = move |tx: &Connection| {
        let mut state = sql::find_state(tx, id)?;
        state.forget(at(50));
        sql::save(tx, &[Write::State { id, state, last: None }], at(50))
    };
    store.write(forget).await.unwrap();
    let found = rules(&[]).find(&db, at(100)).unwrap();
    assert_eq!((found.signals, found.unknown), (vec![], [Entity { kind: "endpoint", id }].into()));
}

#[tokio::test]
async fn many_endpoints_are_judged_each_for_itself() {
    let (_folder, store, db) = open();
    let work = |tx: &Connection| {
        (0..1_000).try_for_each(|number| {
            let checks = if number % 20 == 0 { "+---" } else { "++++" };
            live(tx, &format!("a{number}"), checks).map(drop)
        })
    };
    store.write(work).await.unwrap();
    rules(&[]).find(&db, at(100)).unwrap();
    let began = Instant::now();
    let found = rules(&[]).find(&db, at(100)).unwrap();
    println!("1,000 endpoints, 50 of them down: {:?}", began.elapsed());
    assert_eq!(found.signals.len(), 50);
}
