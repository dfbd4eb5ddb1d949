//! The dimension at work: a fake engine, the counting registry, a real database.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Request, State as Shared};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use jiff::Timestamp;
use maintenant_api::containers::State;
use maintenant_serve::clock;
use serde_json::{Value, json};
use tokio::sync::{broadcast, watch};
use tower::ServiceExt;

use super::registry::{Fake, hex, net};
use crate::containers::inventory::Inventory;
use crate::containers::labels::Labels;
use crate::containers::model::{Container, Facts, Pending, RestartPolicy};
use crate::docker::{Docker, Host};
use crate::http::events::{Event, EventBus};
use crate::problems::Problems;
use crate::runtime::{Runtime, RuntimeState};
use crate::signals::Source;
use crate::spine::Spine;
use crate::store::{Store, Writer};
use crate::tasks::Supervisor;
use crate::updates::rules::Rules;
use crate::updates::{Settings, Updates, routes, start};

/// By path below the version: an answer.
pub(super) type Answers = Arc<Mutex<BTreeMap<String, Value>>>;

/// The dimension at work.
pub(super) struct World {
    pub(super) fake: Fake,
    pub(super) engine: Answers,
    pub(super) store: Store,
    pub(super) router: Router,
    pub(super) inventory: watch::Sender<Inventory>,
    pub(super) told: broadcast::Receiver<Arc<Event>>,
    pub(super) problems: Problems,
    _supervisor: Supervisor,
    _writer: Writer,
    _folder: tempfile::TempDir,
}

async fn engine_answer(Shared(known): Shared<Answers>, request: Request) -> Response {
    let path = request.uri().path();
    let path = path.strip_prefix("/v").and_then(|rest| rest.split_once('/')).map_or(path, |p| p.1);
    match path.trim_start_matches('/') {
        "_ping" => "OK".into_response(),
        "version" => axum::Json(json!({"ApiVersion": "1.41"})).into_response(),
        path => match known.lock().unwrap().get(path) {
            Some(answer) => axum::Json(answer.clone()).into_response(),
            None => (StatusCode::NOT_FOUND, "{\"message\":\"no such thing\"}").into_response(),
        },
    }
}

impl World {
    pub(super) async fn new() -> Self {
        let fake = Fake::start().await;
        let engine = Answers::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new().fallback(engine_answer).with_state(engine.clone());
        let mut serving = tokio::task::JoinSet::new();
        serving.spawn(async move { axum::serve(listener, app).await });
        serving.detach_all();
        let docker = Docker::connect(&Host::Tcp(address.to_string())).await.unwrap();

        let folder = tempfile::tempdir().unwrap();
        let (store, writer) = Store::open(&folder.path().join("m.db")).unwrap();
        let now = clock::now();
        let events = EventBus::new(now);
        let told = events.subscribe(None).receiver;
        let (inventory, reader) = watch::channel(Inventory::default());
        let problems = Problems::new(events.clone());
        let spine = Spine {
            store: store.clone(),
            events,
            runtime: RuntimeState::new(Runtime::new("docker", now)),
            inventory: reader,
            net: net(),
            problems: problems.clone(),
        };
        let mut supervisor = Supervisor::default();
        let (_, docker) = watch::channel(Some(docker));
        let updates: Updates =
            start(&spine, &mut supervisor, docker, Settings::default(), now).await.unwrap();
        let router = routes::routes::<Updates>().split_for_parts().0.with_state(updates);
        Self {
            fake,
            engine,
            store,
            router,
            inventory,
            told,
            problems,
            _supervisor: supervisor,
            _writer: writer,
            _folder: folder,
        }
    }

    /// A container of `lab/app:<tag>` that runs these digests.
    pub(super) async fn run(&self, id: i64, tag: &str, digests: &[char], labels: &[(&str, &str)]) {
        let image = format!("{}/lab/app:{tag}", self.fake.address);
        let repository = format!("{}/lab/app", self.fake.address);
        let digests: Vec<_> = digests
            .iter()
            .map(|letter| format!("{repository}@{}", self.fake.digest(*letter)))
            .collect();
        self.run_image(id, &image, &digests, labels).await;
    }

    pub(super) async fn run_image(
        &self,
        id: i64,
        image: &str,
        digests: &[String],
        labels: &[(&str, &str)],
    ) {
        // Another image is another container of the same name.
        let unique = aws_lc_rs::digest::digest(
            &aws_lc_rs::digest::SHA256,
            format!("{id} {image} {digests:?}").as_bytes(),
        );
        let external_id = hex(unique.as_ref());
        {
            let mut engine = self.engine.lock().unwrap();
            let inspected = json!({"Id": external_id, "Image": format!("sha256:{external_id}"),
                                   "Config": {"Image": image}});
            engine.insert(format!("containers/{external_id}/json"), inspected);
            let inspected = json!({"RepoDigests": digests, "Os": "linux", "Architecture": "amd64"});
            engine.insert(format!("images/{external_id}/json"), inspected);
        }
        let labels = labels
            .iter()
            .map(|(name, value)| (format!("maintenant.update.{name}"), (*value).to_owned()));
        let facts = Facts {
            exposure: None,
            name: format!("c{id}"),
            image: image.to_owned(),
            labels: Labels::read(&labels.collect()),
            has_health_check: false,
            restart_policy: RestartPolicy::No,
            stop_signal: 15,
            restart_count: 0,
            error_detail: String::new(),
        };
        let container = Arc::new(Container {
            id,
            identity: facts.identity(),
            external_id: external_id.clone(),
            facts,
            state: State::Running,
            health: None,
            exit: None,
            started_at: None,
            finished_at: None,
            first_seen_at: Timestamp::UNIX_EPOCH,
            last_state_change_at: Timestamp::UNIX_EPOCH,
            archived_at: None,
            pending: Pending::default(),
        });
        let row = move |tx: &rusqlite::Connection| {
            tx.execute(
                "INSERT INTO containers VALUES (?1, 'name:c' || ?1, ?2, 'c' || ?1, 'i', 'running',
                     NULL, 0, '', '', '', '', 0, 'warning', 3, 'ops', '', 0, 15, 0, NULL, NULL,
                     NULL, 0, '', NULL, NULL, 0, 0, NULL, '{}', NULL)
                 ON CONFLICT (id) DO UPDATE SET external_id = excluded.external_id",
                (id, external_id),
            )
        };
        self.store.write(row).await.unwrap();
        self.inventory.send_modify(|inventory| {
            let others = inventory.containers.iter().filter(|other| other.id != id);
            *inventory = Inventory::new(others.cloned().chain([container]).collect());
        });
    }

    pub(super) async fn call(&self, method: &str, path: &str, body: Value) -> (StatusCode, Value) {
        use http_body_util::BodyExt;
        let body = axum::body::Body::from(body.to_string());
        let request = http::Request::builder().method(method).uri(path).body(body).unwrap();
        let answer = self.router.clone().oneshot(request).await.unwrap();
        let status = answer.status();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    pub(super) async fn get(&self, path: &str) -> Value {
        let (status, body) = self.call("GET", path, Value::Null).await;
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
        body
    }

    /// Scans, waits for its end, and returns it.
    pub(super) async fn scan(&mut self) -> Value {
        let (status, started) = self.call("POST", "/updates/scan", Value::Null).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{started}");
        let ended = self.ended().await;
        assert_eq!(ended["scan_id"], started["scan_id"]);
        ended
    }

    /// Waits for the end of the scan under way, and returns it.
    pub(super) async fn ended(&mut self) -> Value {
        loop {
            let event = self.told.recv().await.unwrap();
            let data: Value = serde_json::from_str(&event.data).unwrap();
            if event.name == "update.scan_completed" {
                return self.get(&format!("/updates/scan/{}", data["scan_id"])).await;
            }
        }
    }

    /// What is listed of a container, whatever its state.
    pub(super) async fn found(&self, name: &str) -> Value {
        let all = self.get("/updates?status=all").await;
        let all = all["updates"].as_array().unwrap().clone();
        let found = all.into_iter().find(|update| update["container_name"] == name);
        found.unwrap_or_else(|| panic!("{name} is not listed"))
    }

    pub(super) async fn alerts(&self) -> Vec<(i64, &'static str)> {
        let found = self.store.read(|db| Rules.find(db, clock::now())).await.unwrap();
        found.signals.iter().map(|one| (one.entity.id, one.severity.as_str())).collect()
    }

    /// Changes what the engine says of a container, at `what` of `containers` or `images`; `None`
    /// takes it away.
    pub(super) fn edit(&self, id: i64, what: &str, edit: impl FnOnce(Value) -> Option<Value>) {
        let inventory = self.inventory.borrow();
        let container = inventory.containers.iter().find(|container| container.id == id).unwrap();
        let path = format!("{what}/{}/json", container.external_id);
        let mut engine = self.engine.lock().unwrap();
        let said = engine.remove(&path).unwrap();
        engine.extend(edit(said).map(|said| (path, said)));
    }

    /// What is known of a container, with its commands.
    pub(super) async fn detail(&self, name: &str) -> Value {
        let id = self.found(name).await["container_id"].as_str().unwrap().to_owned();
        self.get(&format!("/updates/container/{id}")).await
    }
}
