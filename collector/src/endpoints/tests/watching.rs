//! The job, from labels and files to rows, without a single probe.

use std::sync::Arc;
use std::time::Duration;

use maintenant_api::containers::State;
use maintenant_api::endpoints::{Endpoint, EndpointInput, FailureCause};
use tokio::sync::watch;

use super::super::file::Declarations;
use super::super::options::Own;
use super::super::routes::Endpoints;
use super::super::{TlsTargets, sql, start};
use super::{at, texts};
use crate::containers::inventory::Inventory;
use crate::containers::labels::Labels;
use crate::containers::model::{Container, Facts, Pending, RestartPolicy};
use crate::http::events::EventBus;
use crate::net::Net;
use crate::net::guard::Guard;
use crate::net::tls::Trust;
use crate::problems::Problems;
use crate::runtime::{Runtime, RuntimeState};
use crate::spine::Spine;
use crate::store::Store;
use crate::tasks::Supervisor;

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
        let (store, _) = Store::open(&folder.path().join("m.db")).unwrap();
        let events = EventBus::new(at(0));
        let runtime = RuntimeState::new(Runtime::new("docker", at(0)));
        let (inventory, reader) = watch::channel(Inventory::default());
        let spine = Spine {
            store,
            events: events.clone(),
            runtime: runtime.clone(),
            inventory: reader,
            net: Net::new(Guard::default(), Trust::of(rustls::RootCertStore::empty()).unwrap()),
            problems: Problems::new(events),
        };
        runtime.connected(None, maintenant_serve::clock::now());
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

fn container(id: i64, state: State, labels: &[(&str, &str)]) -> Container {
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

fn own(name: &str, target: &str) -> Declarations {
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
