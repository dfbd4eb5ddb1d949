//! The watch against a fake engine.

use std::time::Duration;

use jiff::SignedDuration;
use maintenant_api::containers::ExitReason;
use serde_json::json;
use tokio::task::JoinSet;

use super::fake_docker::{FakeDocker, event_at};
use super::*;
use crate::containers::inventory::Inventory;
use crate::containers::sql;
use crate::containers::watch::{Periods, Watch, Watched};
use crate::docker::Host;
use crate::http::events::EventBus;
use crate::runtime::{Runtime, RuntimeState};
use crate::store::Store;
use crate::tasks::{Backoff, Supervisor};

const SHORT: Duration = Duration::from_millis(50);
const LONG: Duration = Duration::from_mins(10);
/// Bound on waiting for something that must happen.
const BOUND: Duration = Duration::from_mins(1);

struct Setting {
    docker: FakeDocker,
    store: Store,
    runtime: RuntimeState,
    watched: Watched,
    supervisor: Supervisor,
    _engine: JoinSet<()>,
    _folder: tempfile::TempDir,
}

/// A watch of a fake engine, with what `prepare` puts there before it starts.
async fn watch(periods: Periods, prepare: impl FnOnce(&FakeDocker)) -> Setting {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("docker.sock");
    let (docker, engine) = FakeDocker::serve(&socket);
    let host = Host::Unix(socket.to_str().unwrap().to_owned());
    prepare(&docker);
    let (store, _) = Store::open(&folder.path().join("m.db")).unwrap();
    let now = maintenant_serve::clock::now();
    let runtime = RuntimeState::new(Runtime::new("docker", now));
    let (watch, watched) =
        Watch::new(host, periods, store.clone(), EventBus::new(now), runtime.clone())
            .await
            .unwrap();
    let mut supervisor = Supervisor::default();
    supervisor.follow(Backoff::new(SHORT, SHORT), watch);
    Setting { docker, store, runtime, watched, supervisor, _engine: engine, _folder: folder }
}

fn quiet() -> Periods {
    Periods { ping: SHORT, resync: LONG, poll: LONG }
}

impl Setting {
    async fn until(&self, what: &str, condition: impl FnMut(&Inventory) -> bool) -> Inventory {
        let mut inventory = self.watched.inventory.clone();
        let found = tokio::time::timeout(BOUND, inventory.wait_for(condition));
        found.await.unwrap_or_else(|_| panic!("never: {what}")).unwrap().clone()
    }

    async fn until_runtime(&self, what: &str, condition: impl FnMut(&Runtime) -> bool) -> Runtime {
        let mut runtime = self.runtime.subscribe();
        let found = tokio::time::timeout(BOUND, runtime.wait_for(condition));
        found.await.unwrap_or_else(|_| panic!("never: {what}")).unwrap().clone()
    }

    /// Container states, by name.
    async fn until_states(&self, expected: &str) {
        let mut last = String::new();
        let mut inventory = self.watched.inventory.clone();
        let matches = inventory.wait_for(|inventory| {
            last = states(inventory);
            last == expected
        });
        let seen = tokio::time::timeout(BOUND, matches).await.is_ok();
        assert!(seen, "expected `{expected}`, last seen `{last}`");
    }

    /// Connected, and heard: a list may be answered before events are asked for.
    async fn connected(&self) {
        self.until_runtime("connected", |runtime| runtime.connected).await;
        let heard = tokio::time::timeout(BOUND, self.docker.heard()).await;
        heard.expect("nobody asked for events");
    }

    /// Waits until paths that end so were called as often.
    async fn until_calls(&self, path: &str, count: usize) {
        let called = async {
            while self.docker.calls(path) < count {
                tokio::task::yield_now().await;
            }
        };
        let called = tokio::time::timeout(BOUND, called).await;
        called.unwrap_or_else(|_| panic!("{path} was not called {count} times"));
    }

    async fn transitions(&self, id: i64) -> Vec<maintenant_api::containers::Transition> {
        let all = move |db: &rusqlite::Connection| {
            sql::transitions(db, id, Timestamp::MIN, Timestamp::MAX, 100, 0)
        };
        self.store.read(all).await.unwrap().0
    }
}

fn states(inventory: &Inventory) -> String {
    let parts: Vec<_> = inventory
        .containers
        .iter()
        .map(|container| format!("{}={}", container.facts.name, container.state.as_str()))
        .collect();
    parts.join(" ")
}

#[tokio::test]
async fn the_list_is_inspected_and_events_follow() {
    let setting = watch(quiet(), |docker| docker.put("a1", "web", "running")).await;
    setting.until_states("web=running").await;
    setting.connected().await;
    setting.docker.end("a1", 3);
    setting.until_states("web=exited").await;
    setting.supervisor.stop(SHORT).await;
}

#[tokio::test]
async fn a_container_gone_before_it_could_be_inspected_is_recorded_from_its_events() {
    // No ping that comes too late ends the session: no list tells what its events did.
    let setting = watch(Periods { ping: LONG, ..quiet() }, |_| {}).await;
    setting.connected().await;
    let attributes = json!({"name": "job", "image": "busybox:1", "maintenant.group": "batch"});
    setting.docker.event("create", "b1", &attributes);
    setting.docker.event("start", "b1", &attributes);
    setting.docker.event("die", "b1", &json!({"name": "job", "exitCode": "9"}));
    let inventory = setting.until("ended", |inventory| states(inventory) == "job=exited").await;
    let job = &inventory.containers[0];
    assert_eq!(job.facts.labels.custom_group, "batch");
    setting.docker.event("destroy", "b1", &json!({"name": "job"}));
    setting.until("archived", |inventory| inventory.containers.is_empty()).await;
    let words: Vec<_> =
        setting.transitions(job.id).await.iter().map(|t| t.new_state.as_str()).collect();
    assert_eq!(words, ["exited", "running"]);
}

#[tokio::test]
async fn an_event_stream_cut_in_mid_word_is_reopened_and_nothing_is_missed() {
    let setting = watch(quiet(), |docker| docker.put("a1", "web", "running")).await;
    setting.until_states("web=running").await;
    setting.connected().await;
    setting.docker.send(r#"{"Action":"di"#);
    setting.docker.put("a1", "web", "paused");
    setting.docker.put("b1", "db", "running");
    setting.docker.cut_events();
    setting.until_states("db=running web=paused").await;
}

#[tokio::test]
async fn an_event_nobody_can_read_costs_a_resync_and_no_more() {
    let setting = watch(quiet(), |docker| docker.put("a1", "web", "running")).await;
    setting.until_states("web=running").await;
    setting.connected().await;
    setting.docker.put("a1", "web", "paused");
    setting.docker.send("{\"Action\":[1,2]}\n");
    setting.until_states("web=paused").await;
}

#[tokio::test]
async fn a_hung_engine_is_noticed_and_its_containers_become_unknown() {
    let setting = watch(quiet(), |docker| docker.put("a1", "web", "running")).await;
    setting.until_states("web=running").await;
    setting.connected().await;
    setting.docker.hang(true);
    let lost = setting.until_runtime("noticed", |runtime| !runtime.connected).await;
    assert!(lost.error.unwrap().contains("does not answer"));
    let inventory = setting.watched.inventory.borrow().clone();
    let wire = crate::containers::inventory::to_wire(&inventory.containers[0], false);
    assert_eq!((wire.state, wire.last_known_state), (State::Unknown, Some(State::Running)));
    setting.docker.hang(false);
    setting.connected().await;
}

#[tokio::test]
async fn time_without_the_engine_is_in_no_span() {
    let setting = watch(quiet(), |docker| docker.put("a1", "web", "running")).await;
    setting.until_states("web=running").await;
    setting.connected().await;
    setting.docker.hang(true);
    let lost = setting.until_runtime("noticed", |runtime| !runtime.connected).await;
    let observed_until = lost.observed_until.unwrap();
    setting.docker.hang(false);
    let back = setting.until_runtime("back", |runtime| runtime.connected).await;
    let now = back.observed_until.unwrap().checked_add(SignedDuration::from_secs(1)).unwrap();
    let spans = setting.store.read(move |db| sql::spans(db, 1, Timestamp::MIN, now)).await.unwrap();
    assert_eq!(spans.len(), 2, "{spans:?}");
    assert!(spans[0].to <= observed_until && spans[1].from > observed_until, "{spans:?}");
}

#[tokio::test]
async fn refused_events_are_replaced_by_listing_and_named() {
    let periods = Periods { poll: SHORT, ..quiet() };
    let setting = watch(periods, |docker| {
        docker.refuse("/events");
        docker.put("a1", "web", "running");
    })
    .await;
    setting.until_states("web=running").await;
    setting.docker.put("a1", "web", "paused");
    setting.until_states("web=paused").await;
    let named = setting.until_runtime("named", |runtime| !runtime.degraded.is_empty()).await;
    let degraded = named.degraded;
    assert_eq!(degraded[0].call, "GET /events");
    assert!(degraded[0].error.contains("not allowed"), "{degraded:?}");
}

#[tokio::test]
async fn refused_inspections_leave_what_lists_tell() {
    let setting = watch(quiet(), |docker| {
        docker.refuse("a1/json");
        docker.put("a1", "web", "running");
    })
    .await;
    let inventory = setting.until("listed", |inventory| !inventory.containers.is_empty()).await;
    assert_eq!(inventory.containers[0].health, Some(Health::Unhealthy));
    let runtime = setting.until_runtime("named", |runtime| !runtime.degraded.is_empty()).await;
    assert_eq!(runtime.degraded[0].call, "GET /containers/{id}/json");
    assert!(runtime.connected || runtime.last_resync_at.is_none());
}

#[tokio::test]
async fn a_refused_version_and_ping_do_not_matter() {
    let setting = watch(quiet(), |docker| {
        docker.refuse("/version");
        docker.refuse("/_ping");
        docker.put("a1", "web", "running");
    })
    .await;
    setting.until_states("web=running").await;
    assert_eq!(setting.until_runtime("up", |r| r.connected).await.api_version, None);
}

#[tokio::test]
async fn words_that_no_version_of_docker_knows_are_survived() {
    let setting = watch(quiet(), |docker| docker.put("a1", "web", "hibernating")).await;
    setting.until_states("web=exited").await;
}

#[tokio::test]
async fn an_end_keeps_its_last_words() {
    let setting = watch(quiet(), |docker| docker.put("a1", "web", "running")).await;
    setting.until_states("web=running").await;
    setting.connected().await;
    setting.docker.end("a1", 3);
    setting.until_states("web=exited").await;
    let deadline = tokio::time::Instant::now() + BOUND;
    let end = loop {
        let end = setting.transitions(1).await.remove(0);
        if !end.log_snippet.is_empty() {
            break end;
        }
        assert!(tokio::time::Instant::now() < deadline, "no snippet: {end:?}");
        tokio::task::yield_now().await;
    };
    assert_eq!(end.log_snippet, "last words");
    assert_eq!((end.exit_code, end.exit_reason), (Some(3), Some(ExitReason::Error)));
}

#[tokio::test]
async fn a_service_being_replaced_is_one_container_that_goes_on() {
    let service = json!({
        "com.docker.compose.project": "shop",
        "com.docker.compose.service": "web",
        "com.docker.compose.container-number": "1",
    });
    let setting = watch(quiet(), |docker| {
        docker.put("a1", "shop-web-1", "running");
        docker.label("a1", &service);
    })
    .await;
    setting.until_states("shop-web-1=running").await;
    setting.connected().await;

    // What Compose does: rename the old one, create the new one, stop and remove the old one.
    let mut new = service.clone();
    new["name"] = json!("shop-web-1");
    setting.docker.put("a1", "a1_shop-web-1", "running");
    setting.docker.label("a1", &service);
    let mut renamed = service.clone();
    renamed["name"] = json!("a1_shop-web-1");
    setting.docker.put("b1", "shop-web-1", "created");
    setting.docker.label("b1", &service);
    // Both are heard at once, and looked at together.
    let now = maintenant_serve::clock::now();
    setting.docker.send(
        &[event_at(now, "rename", "a1", &renamed), event_at(now, "create", "b1", &new)].concat(),
    );
    setting.until_states("shop-web-1=created").await;
    setting.until_calls("b1/json", 1).await;
    setting.docker.event("kill", "a1", &json!({"signal": "15"}));
    setting.docker.event("die", "a1", &json!({"exitCode": "0"}));
    setting.docker.remove("a1");
    setting.docker.event("destroy", "a1", &renamed);
    setting.docker.put("b1", "shop-web-1", "running");
    setting.docker.label("b1", &service);
    setting.docker.event("start", "b1", &new);
    setting.until_states("shop-web-1=running").await;
    let inventory = setting.watched.inventory.borrow().clone();
    assert_eq!((inventory.containers[0].id, &*inventory.containers[0].external_id), (1, "b1"));
    let told: Vec<_> = setting.transitions(1).await.iter().map(|t| t.new_state).collect();
    assert_eq!(told, [State::Running, State::Created]);
}

#[tokio::test]
async fn a_container_removed_unseen_is_archived_by_the_next_resync() {
    let periods = Periods { resync: SHORT, ..quiet() };
    let setting = watch(periods, |docker| docker.put("a1", "web", "running")).await;
    setting.until_states("web=running").await;
    setting.docker.remove("a1");
    setting.until("archived", |inventory| inventory.containers.is_empty()).await;
    setting.docker.put("b1", "web", "running");
    let back = setting.until("back", |inventory| !inventory.containers.is_empty()).await;
    assert_eq!((back.containers[0].id, &*back.containers[0].external_id), (1, "b1"));
}

#[tokio::test]
async fn a_resync_inspects_each_container_once_and_at_most_sixteen_at_a_time() {
    let setting = watch(quiet(), |docker| docker.fill(40)).await;
    setting.until("all", |inventory| inventory.containers.len() == 40).await;
    assert_eq!(setting.docker.calls("/containers/json"), 1);
    assert_eq!(setting.docker.calls(&format!("/{:064x}/json", 7)), 1);
    let most = setting.docker.most_inspections();
    assert!((2..=16).contains(&most), "{most} inspections at once");
}

#[tokio::test]
async fn events_told_again_after_a_removal_revive_nothing() {
    let setting = watch(quiet(), |docker| docker.put("a1", "web", "running")).await;
    setting.until_states("web=running").await;
    setting.connected().await;
    let before = maintenant_serve::clock::now();
    setting.docker.remove("a1");
    setting.docker.event("destroy", "a1", &json!({"name": "web"}));
    setting.until("archived", |inventory| inventory.containers.is_empty()).await;
    let late = json!({
        "Type": "container", "Action": "die", "time": before.as_second(),
        "Actor": {"ID": "a1", "Attributes": {"name": "web", "exitCode": "1"}},
    });
    setting.docker.send(&format!("{late}\n"));
    setting.docker.put("b1", "db", "running");
    setting.docker.event("create", "b1", &json!({"name": "db"}));
    setting.docker.event("start", "b1", &json!({"name": "db"}));
    setting.until_states("db=running").await;
    assert!(setting.transitions(1).await.is_empty(), "{:?}", setting.transitions(1).await);
}

#[tokio::test]
async fn a_container_heard_of_before_it_was_listed_is_inspected_all_the_same() {
    let setting = watch(quiet(), |_| {}).await;
    setting.connected().await;
    setting.docker.put("b1", "db", "running");
    let labels = json!({"maintenant.group": "data"});
    setting.docker.label("b1", &labels);
    setting.docker.event("start", "b1", &json!({"name": "db"}));
    let grouped = |inventory: &Inventory| {
        inventory.containers.iter().any(|c| c.facts.labels.custom_group == "data")
    };
    setting.until("inspected", grouped).await;
}

#[tokio::test]
async fn a_start_that_failed_without_an_event_is_found_out() {
    let setting = watch(quiet(), |_| {}).await;
    setting.connected().await;
    setting.docker.put("b1", "web", "created");
    setting.docker.event("create", "b1", &json!({"name": "web"}));
    setting.until_states("web=created").await;
    setting.docker.fail_to_start("b1", 127, "no such file");
    let failed = |inventory: &Inventory| {
        inventory.containers.iter().any(|c| c.facts.error_detail.contains("no such file"))
    };
    let inventory = setting.until("found out", failed).await;
    let exit = inventory.containers[0].exit.unwrap();
    assert_eq!((exit.code, exit.reason), (127, ExitReason::CannotStart));
    assert_eq!(inventory.containers[0].state, State::Created);
}

#[tokio::test]
async fn one_wedged_container_does_not_hide_the_others() {
    let setting = watch(quiet(), |docker| {
        docker.put("a1", "web", "running");
        docker.put("b1", "wedged", "running");
        docker.hang_at("b1/json");
    })
    .await;
    setting.until_states("web=running wedged=running").await;
    setting.connected().await;
}

#[tokio::test]
async fn a_container_removed_and_run_again_in_one_breath_keeps_its_row() {
    let setting = watch(quiet(), |docker| docker.put("a1", "web", "running")).await;
    setting.until_states("web=running").await;
    setting.connected().await;
    setting.docker.remove("a1");
    setting.docker.put("b1", "web", "running");
    let attributes = json!({"name": "web", "exitCode": "0"});
    let event = |action, id| event_at(maintenant_serve::clock::now(), action, id, &attributes);
    setting.docker.send(
        &[event("die", "a1"), event("destroy", "a1"), event("create", "b1"), event("start", "b1")]
            .concat(),
    );
    let again = |inventory: &Inventory| {
        inventory.containers.iter().any(|c| &*c.external_id == "b1" && c.state == State::Running)
    };
    let inventory = setting.until("run again", again).await;
    assert_eq!(inventory.containers[0].id, 1);
}

#[tokio::test]
async fn a_row_deleted_while_docker_is_away_blocks_nothing_when_it_returns() {
    let setting = watch(quiet(), |docker| {
        docker.put("a1", "web", "exited");
        docker.put("b1", "db", "running");
    })
    .await;
    setting.until_states("db=running web=exited").await;
    setting.connected().await;
    setting.docker.hang(true);
    setting.until_runtime("away", |runtime| !runtime.connected).await;
    let web = setting.watched.inventory.borrow().containers[1].id;
    setting.store.write(move |tx| sql::delete(tx, web)).await.unwrap();
    setting.watched.deletions.add(web);
    setting.docker.hang(false);
    setting.connected().await;
    setting.docker.end("b1", 3);
    setting.until("ended", |i| states(i).contains("db=exited")).await;
    let stored = |db: &rusqlite::Connection| {
        db.query_row("SELECT state FROM containers WHERE name = 'db'", [], |row| {
            row.get::<_, String>(0)
        })
    };
    assert_eq!(setting.store.read(stored).await.unwrap(), "exited");
    let old = setting.store.read(move |db| sql::find(db, web)).await.unwrap();
    assert!(old.is_none(), "a deleted row came back: {old:?}");
}

#[tokio::test]
async fn an_inspection_that_is_ahead_of_its_events_is_not_told_beside_them() {
    let setting = watch(quiet(), |docker| docker.put("a1", "web", "running")).await;
    setting.until_states("web=running").await;
    setting.connected().await;
    // It has ended and runs again. What is heard first is something else.
    let now = maintenant_serve::clock::now();
    setting.docker.set("a1", "/State/StartedAt", &json!(now.to_string()));
    setting.docker.set("a1", "/RestartCount", &json!(1));
    setting.docker.event("update", "a1", &json!({"name": "web"}));
    let looked = |inventory: &Inventory| inventory.containers[0].facts.restart_count == 1;
    setting.until("looked at", looked).await;
    setting.docker.event("die", "a1", &json!({"exitCode": "3"}));
    setting.docker.event("start", "a1", &json!({"name": "web"}));
    let again = |inventory: &Inventory| {
        let web = &inventory.containers[0];
        web.exit.is_some() && web.state == State::Running
    };
    setting.until("ended and started", again).await;
    let told: Vec<_> =
        setting.transitions(1).await.iter().map(|t| (t.new_state, t.exit_code)).collect();
    assert_eq!(told, [(State::Running, None), (State::Exited, Some(3))]);
}

#[tokio::test]
async fn an_oom_that_is_told_after_the_end_explains_it() {
    let setting = watch(quiet(), |docker| docker.put("a1", "web", "running")).await;
    setting.until_states("web=running").await;
    setting.connected().await;
    setting.docker.end("a1", 137);
    setting.until_states("web=exited").await;
    setting.docker.set("a1", "/State/OOMKilled", &json!(true));
    setting.docker.event("oom", "a1", &json!({"name": "web"}));
    let explained = |inventory: &Inventory| {
        inventory.containers[0].exit.is_some_and(|exit| exit.reason == ExitReason::OomKilled)
    };
    setting.until("explained", explained).await;
    let told: Vec<_> = setting.transitions(1).await.iter().map(|t| t.exit_reason).collect();
    assert_eq!(told, [Some(ExitReason::OomKilled)]);
}

#[tokio::test]
async fn an_engine_whose_clock_is_ahead_tells_of_no_restarts() {
    let periods = Periods { resync: SHORT, ..quiet() };
    let setting = watch(periods, |docker| docker.put("a1", "web", "created")).await;
    setting.until_states("web=created").await;
    setting.connected().await;
    let ahead = maintenant_serve::clock::now() + SignedDuration::from_mins(1);
    setting.docker.put("a1", "web", "running");
    setting.docker.set("a1", "/State/StartedAt", &json!(ahead.to_string()));
    setting.docker.send(&event_at(ahead, "start", "a1", &json!({"name": "web"})));
    setting.until_states("web=running").await;
    let resyncs = setting.docker.calls("/containers/json");
    setting.until_calls("/containers/json", resyncs + 3).await;
    assert_eq!(setting.transitions(1).await.len(), 1);
}
