//! The job, from labels and files to rows, without a single probe.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use maintenant_api::containers::State;
use maintenant_api::endpoints::{Endpoint, EndpointInput, EndpointStatus, FailureCause};
use maintenant_api::monitors::AlertState;
use tokio::sync::watch;

use super::super::file::Declarations;
use super::super::options::Own;
use super::super::routes::Endpoints;
use super::super::sql::Write;
use super::super::{TlsTargets, model, sql, start};
use super::{at, texts};
use crate::containers::inventory::Inventory;
use crate::containers::labels::Labels;
use crate::containers::model::{Container, Facts, Pending, RestartPolicy};
use crate::http::events::EventBus;
use crate::net::Net;
use crate::net::guard::Guard;
use crate::net::resolve::{ResolveError, Resolver};
use crate::net::tls::Trust;
use crate::problems::Problems;
use crate::runtime::{Runtime, RuntimeState};
use crate::spine::Spine;
use crate::store::Store;
use crate::tasks::Supervisor;

/// What a job works with, on the database in this folder; Docker is heard. Checks of names come to
/// nothing, whenever they are due.
pub(crate) fn spine(folder: &Path) -> (Spine, watch::Sender<Inventory>) {
    let (store, _) = Store::open(&folder.join("m.db")).unwrap();
    let events = EventBus::new(at(0));
    let runtime = RuntimeState::new(Runtime::new("docker", at(0)));
    runtime.connected(None, maintenant_serve::clock::now());
    let (inventory, reader) = watch::channel(Inventory::default());
    let mut net = Net::new(Guard::default(), Trust::of(rustls::RootCertStore::empty()).unwrap());
    net.resolver = Resolver::asking(|_| Err(ResolveError::Busy));
    let spine = Spine {
        store,
        events: events.clone(),
        runtime,
        inventory: reader,
        net,
        problems: Problems::new(events),
    };
    (spine, inventory)
}

/// A job at work on a database, in a world that tests change.
struct World {
    spine: Spine,
    inventory: watch::Sender<Inventory>,
    targets: TlsTargets,
    supervisor: Supervisor,
    _endpoints: Endpoints,
    folder: tempfile::TempDir,
}

impl World {
    async fn begin(folder: tempfile::TempDir, declared: Declarations) -> Self {
        let (spine, inventory) = spine(folder.path());
        let mut supervisor = Supervisor::default();
        let now = maintenant_serve::clock::now();
        let (endpoints, targets) = start(&spine, &mut supervisor, declared, now).await.unwrap();
        Self { spine, inventory, targets, supervisor, _endpoints: endpoints, folder }
    }

    async fn again(self, declared: Declarations) -> Self {
        self.supervisor.stop(Duration::from_secs(5)).await;
        Self::begin(self.folder, declared).await
    }

    fn run(&self, containers: Vec<Container>) {
        self.inventory.send_replace(Inventory::new(containers.into_iter().map(Arc::new).collect()));
    }

    async fn list(&self) -> Vec<Endpoint> {
        self.spine.store.read(|db| sql::list(db, true)).await.unwrap()
    }

    /// Waits until it is so; the test's own time-out ends it.
    async fn until(&self, is_so: impl Fn(&[Endpoint]) -> bool) -> Vec<Endpoint> {
        loop {
            let all = self.list().await;
            if is_so(&all) {
                return all;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

pub(super) fn container(id: i64, state: State, labels: &[(&str, &str)]) -> Container {
    let labels = Labels::read(&texts(labels));
    Container {
        id,
        identity: format!("name:c{id}"),
        external_id: format!("x{id}"),
        facts: Facts {
            name: format!("c{id}"),
            image: "image".into(),
            labels,
            has_health_check: false,
            restart_policy: RestartPolicy::No,
            stop_signal: 15,
            restart_count: 0,
            error_detail: String::new(),
            exposure: None,
        },
        state,
        health: None,
        exit: None,
        started_at: None,
        finished_at: None,
        first_seen_at: at(1),
        last_state_change_at: maintenant_serve::clock::now(),
        archived_at: None,
        pending: Pending::default(),
    }
}

const HTTP: &str = "maintenant.endpoint.http";

pub(crate) fn own(name: &str, target: &str) -> Declarations {
    let input = EndpointInput {
        name: Some(name.into()),
        target: Some(target.into()),
        endpoint_type: Some("http".into()),
        ..EndpointInput::default()
    };
    let defaults = EndpointInput::default();
    Declarations { endpoints: vec![Own::read(&defaults, &input).unwrap()], defaults }
}

async fn world() -> World {
    World::begin(tempfile::tempdir().unwrap(), Declarations::default()).await
}

#[tokio::test]
async fn labels_come_change_and_go_with_their_container() {
    let world = world().await;
    let mut told = world.spine.events.subscribe(None).receiver;
    world.run(vec![container(1, State::Running, &[(HTTP, "https://web:8443")])]);
    let id = world.until(|all| all.len() == 1).await[0].id;
    let first = told.recv().await.unwrap();
    assert_eq!(first.name, "endpoint.discovered");
    let mut targets = world.targets.clone();
    targets.wait_for(|targets| targets.len() == 1).await.unwrap();
    assert_eq!((targets.borrow()[0].port, targets.borrow()[0].endpoint_id), (8443, id));

    let slower = [(HTTP, "https://web:8443"), ("maintenant.endpoint.interval", "1m")];
    world.run(vec![container(1, State::Running, &slower)]);
    world.until(|all| all[0].config.interval == "1m").await;
    world.run(vec![]);
    let gone = world.until(|all| !all[0].active).await;
    assert_eq!(gone[0].id, id);
    let removed = told.recv().await.unwrap();
    assert_eq!(removed.name, "endpoint.removed");
    assert!(removed.data.contains("container_destroyed"), "{}", removed.data);
    targets.wait_for(|targets| targets.is_empty()).await.unwrap();
    world.run(vec![container(1, State::Running, &slower)]);
    assert_eq!(world.until(|all| all[0].active).await[0].id, id, "the same one again");
}

#[tokio::test]
async fn an_ignored_container_declares_nothing_and_a_bad_label_is_a_problem() {
    let world = world().await;
    let bad = [(HTTP, "http://b"), ("maintenant.endpoint.interval", "soon")];
    world.run(vec![
        container(1, State::Running, &[(HTTP, "http://a"), ("maintenant.ignore", "true")]),
        container(2, State::Running, &bad),
        container(3, State::Running, &[(HTTP, "http://c")]),
    ]);
    let all = world.until(|all| !all.is_empty()).await;
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].container_name, "c3");
    let problems = world.spine.problems.list();
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].label_key, "maintenant.endpoint.interval");
    assert_eq!(problems[0].container_id, 2);
    world.run(vec![container(2, State::Running, &[(HTTP, "http://b")])]);
    world.until(|all| all.len() == 2).await;
    assert_eq!(world.spine.problems.list(), []);
}

#[tokio::test]
async fn an_endpoint_is_down_because_its_container_stopped() {
    let world = world().await;
    let labels = [(HTTP, "http://a")];
    world.run(vec![
        container(1, State::Running, &labels),
        container(2, State::Paused, &labels),
        container(3, State::Created, &labels),
    ]);
    world.until(|all| all.len() == 3).await;
    world.run(vec![
        container(1, State::Exited, &labels),
        container(2, State::Paused, &labels),
        container(3, State::Created, &labels),
    ]);
    let all = world.until(|all| all[0].status.as_str() == "down").await;
    assert_eq!(all[0].last_cause, Some(FailureCause::ContainerStopped));
    assert_eq!(all[0].last_error.as_deref(), Some("its container `c1` is stopped"));
    assert!(all[0].status_since.is_some() && all[0].last_check_at.is_none());
    assert_eq!([all[1].status.as_str(), all[2].status.as_str()], ["unknown"; 2]);
    // It ran for a moment that nobody saw.
    world.run(vec![container(3, State::Exited, &labels)]);
    world
        .until(|all| all.iter().any(|e| e.container_name == "c3" && e.status.as_str() == "down"))
        .await;
}

#[tokio::test]
async fn when_docker_is_heard_again_its_containers_are_looked_at_first() {
    let labels = [(HTTP, "http://a")];
    // Which of the two news the job hears first is left to chance.
    for _ in 0..10 {
        let world = world().await;
        world.spine.runtime.lost("gone".to_owned(), maintenant_serve::clock::now());
        world.run(vec![container(1, State::Exited, &labels)]);
        world.until(|all| all.len() == 1).await;
        world.run(vec![
            container(1, State::Running, &labels),
            container(2, State::Running, &labels),
        ]);
        world.spine.runtime.connected(None, maintenant_serve::clock::now());
        world.until(|all| all.len() == 2).await;
        let store = world.spine.store.clone();
        world.supervisor.stop(Duration::from_secs(5)).await;
        // What the job left behind is written before this.
        store.write(|_| Ok(())).await.unwrap();
        let count = "SELECT count(*) FROM endpoint_spans";
        let stops = store.read(|db| db.query_row(count, [], |row| row.get::<_, i64>(0))).await;
        assert_eq!(stops.unwrap(), 0, "down because of a container that runs");
    }
}

#[tokio::test]
async fn one_declared_again_at_once_goes_on_from_its_end() {
    let world = world().await;
    let mut told = world.spine.events.subscribe(None).receiver;
    let exited = || vec![container(1, State::Exited, &[(HTTP, "http://a")])];
    world.run(exited());
    world.until(|all| all.len() == 1 && all[0].status.as_str() == "down").await;
    // That it is declared no more is stored at once, what was known of it until then a little later.
    world.run(vec![]);
    world.until(|all| !all[0].active).await;
    world.run(exited());
    // Told once it is stored: of the end, then of the new beginning.
    while told.recv().await.unwrap().name != "endpoint.removed" {}
    while told.recv().await.unwrap().name != "endpoint.discovered" {}
    assert_eq!(world.list().await[0].status, EndpointStatus::Down);
    let spans = world.spine.store.read(|db| {
        db.prepare("SELECT to_at IS NULL, state FROM endpoint_spans ORDER BY from_at")?
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<rusqlite::Result<Vec<(bool, i64)>>>()
    });
    assert_eq!(spans.await.unwrap(), [(false, 1), (true, 2)]);
}

#[tokio::test]
async fn what_speaks_tls_is_known_after_a_restart_without_any_change() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::begin(folder, own("a", "https://a:8443")).await;
    let world = world.again(own("a", "https://a:8443")).await;
    let targets: Vec<_> = world.targets.borrow().iter().map(|t| (t.host.clone(), t.port)).collect();
    assert_eq!(targets, [("a".to_owned(), 8443)]);
}

#[tokio::test]
async fn labels_that_the_store_did_not_take_are_read_again() {
    let world = world().await;
    let rename = |from: &'static str, to: &'static str| {
        let rename = move |tx: &rusqlite::Connection| {
            tx.execute_batch(&format!("ALTER TABLE {from} RENAME TO {to}"))
        };
        world.spine.store.write(rename)
    };
    rename("endpoints", "away").await.unwrap();
    let bad = [(HTTP, "http://b"), ("maintenant.endpoint.interval", "soon")];
    world.run(vec![
        container(1, State::Running, &[(HTTP, "http://a")]),
        container(2, State::Running, &bad),
    ]);
    while world.spine.problems.list().is_empty() {
        tokio::task::yield_now().await;
    }
    rename("away", "endpoints").await.unwrap();
    world.until(|all| all.len() == 1).await;
    let failures: u64 = world.supervisor.statuses().list().iter().map(|job| job.failures).sum();
    assert_eq!(failures, 0, "it did not have to start over");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_takes_long_is_no_time_that_stood_still() {
    let folder = tempfile::tempdir().unwrap();
    let declared = || own("a", "http://127.0.0.1:1");
    let World { spine, supervisor, folder, .. } = World::begin(folder, declared()).await;
    // Before it has checked anything.
    supervisor.stop(Duration::from_secs(5)).await;
    let id = spine.store.read(|db| Ok(sql::list(db, false)?[0].id)).await.unwrap();
    let now = maintenant_serve::clock::now();
    let later = now + Duration::from_mins(10);
    let state = model::State {
        status: EndpointStatus::Up,
        last_check_at: Some(now),
        holds_until: Some(later),
        ..model::State::default()
    };
    let check = Write::check(id, now, &super::success(1), &model::State::default(), &state);
    let save = move |tx: &rusqlite::Connection| sql::save(tx, &[check], now);
    spine.store.write(save).await.unwrap();
    let world = World::begin(folder, declared()).await;
    let mut told = world.spine.events.subscribe(None).receiver;
    let (release, wait) = std::sync::mpsc::channel();
    let hold = world.spine.store.write(move |_| Ok(wait.recv().is_ok()));
    let long = async {
        world.run(vec![container(1, State::Running, &[(HTTP, "http://127.0.0.1:2")])]);
        tokio::time::sleep(Duration::from_secs(100)).await;
        release.send(()).unwrap();
    };
    assert!(tokio::join!(hold, long).0.unwrap());
    // Its next check, of a port where nobody listens.
    let changed = loop {
        let event = told.recv().await.unwrap();
        if event.name == "endpoint.status_changed"
            && event.data.contains(r#""target":"http://127.0.0.1:1""#)
        {
            break event.data.clone();
        }
    };
    assert!(changed.contains(r#""previous_status":"up""#), "{changed}");
    assert!(changed.contains(r#""new_status":"down""#), "{changed}");
}

#[tokio::test]
async fn another_target_sets_what_was_known_aside() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::begin(folder, own("a", "http://a")).await;
    let id = world.list().await[0].id;
    let failed = super::failure(FailureCause::Connect, "refused");
    let state = model::State {
        status: EndpointStatus::Down,
        alert: AlertState::Alerting,
        failures: 3,
        last_check_at: Some(maintenant_serve::clock::now()),
        ..model::State::default()
    };
    let check = Write::check(id, at(5), &failed, &state, &state);
    let save = move |tx: &rusqlite::Connection| sql::save(tx, &[check], at(5));
    world.spine.store.write(save).await.unwrap();
    let world = world.again(own("a", "http://other")).await;
    let all = world.until(|all| all[0].alert_state == AlertState::Normal).await;
    assert_eq!((all[0].status, all[0].last_error.as_deref()), (EndpointStatus::Unknown, None));
}

#[tokio::test]
async fn the_file_declares_and_ends_endpoints_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::begin(folder, own("a", "http://a")).await;
    let first = world.list().await;
    assert_eq!((first.len(), first[0].source.as_str()), (1, "file"));
    let world = world.again(own("a", "http://other")).await;
    let second = world.list().await;
    assert_eq!((second[0].id, second[0].target.as_str()), (first[0].id, "http://other"));
    let world = world.again(own("b", "http://b")).await;
    let active: Vec<_> = world.list().await.into_iter().map(|e| (e.name, e.active)).collect();
    assert_eq!(active, [("a".to_owned(), false), ("b".to_owned(), true)]);
}

#[tokio::test]
async fn standalone_endpoints_outlive_a_restart_and_take_new_defaults() {
    let world = world().await;
    let said = EndpointInput {
        name: Some("a".into()),
        target: Some("http://a".into()),
        endpoint_type: Some("http".into()),
        timeout: Some("3s".into()),
        ..EndpointInput::default()
    };
    let mut new = super::declaration("some-uuid");
    new.own = Some(said);
    world.spine.store.write(move |tx| sql::declare(tx, &new, at(5))).await.unwrap();
    let defaults = EndpointInput { interval: Some("2m".into()), ..EndpointInput::default() };
    let world = world.again(Declarations { defaults, endpoints: Vec::new() }).await;
    let all = world.list().await;
    assert!(all[0].active);
    let config = &all[0].config;
    assert_eq!((config.interval.as_str(), config.timeout.as_str()), ("2m", "3s"));
}
