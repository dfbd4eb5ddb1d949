//! An engine on a unix socket that does on demand what a real one does rarely: refuse a call, hang,
//! cut its event stream, send words nobody knows, have a thousand containers. The end-to-end tests
//! run the same program against a real engine. Benchmarks and an example share this file.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State as Shared};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::{Value, json};
use tokio::sync::{Barrier, broadcast};
use tokio::task::JoinSet;

#[derive(Clone)]
pub(crate) struct FakeDocker(Arc<Inner>);

struct Inner {
    containers: Mutex<Vec<Value>>,
    inspections: AtomicUsize,
    most_inspections: AtomicUsize,
    refused: Mutex<BTreeSet<&'static str>>,
    wedged: Mutex<BTreeSet<&'static str>>,
    hung: tokio::sync::watch::Sender<bool>,
    events: broadcast::Sender<Option<String>>,
    calls: Mutex<Vec<String>>,
    stats: Mutex<BTreeMap<String, Value>>,
    together: Mutex<Option<Arc<Barrier>>>,
}

impl FakeDocker {
    /// Serves until the set of tasks is dropped.
    pub(crate) fn serve(socket: &std::path::Path) -> (Self, JoinSet<()>) {
        let listener = tokio::net::UnixListener::bind(socket).unwrap();
        let fake = Self(Arc::new(Inner {
            containers: Mutex::default(),
            inspections: AtomicUsize::new(0),
            most_inspections: AtomicUsize::new(0),
            refused: Mutex::default(),
            wedged: Mutex::default(),
            hung: tokio::sync::watch::Sender::new(false),
            events: broadcast::channel(64).0,
            calls: Mutex::default(),
            stats: Mutex::default(),
            together: Mutex::default(),
        }));
        let app = Router::new().fallback(answer).with_state(fake.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, app).await.unwrap() });
        (fake, tasks)
    }

    /// A container as an inspection shows it.
    pub(crate) fn put(&self, id: &str, name: &str, state: &str) {
        let mut containers = self.0.containers.lock().unwrap();
        containers.retain(|container| container["Id"] != id);
        let number = containers.len();
        let created = format!("2026-01-01T00:{:02}:{:02}Z", number / 60 % 60, number % 60);
        containers.push(json!({
            "Id": id, "Name": format!("/{name}"), "Created": created, "RestartCount": 0,
            "State": {"Status": state, "Running": state == "running", "ExitCode": 0,
                      "StartedAt": created, "FinishedAt": "0001-01-01T00:00:00Z"},
            "Config": {"Image": "busybox:1", "Labels": {}}, "HostConfig": {},
        }));
    }

    /// Many containers at once, every tenth of them ended.
    pub(crate) fn fill(&self, count: usize) {
        for number in 0..count {
            let id = format!("{number:064x}");
            let state = if number % 10 == 9 { "exited" } else { "running" };
            self.put(&id, &format!("service-{number}"), state);
            self.label(
                &id,
                &json!({
                    "com.docker.compose.project": format!("project-{}", number / 20),
                    "com.docker.compose.service": format!("service-{number}"),
                    "com.docker.compose.container-number": "1",
                    "com.docker.compose.project.working_dir": "/srv/compose",
                }),
            );
        }
    }

    pub(crate) fn label(&self, id: &str, labels: &Value) {
        for container in self.0.containers.lock().unwrap().iter_mut() {
            if container["Id"] == id {
                container["Config"]["Labels"] = labels.clone();
            }
        }
    }

    /// Changes what an inspection shows.
    pub(crate) fn set(&self, id: &str, pointer: &str, value: &Value) {
        for container in self.0.containers.lock().unwrap().iter_mut() {
            if container["Id"] == id {
                let (part, key) = pointer.rsplit_once('/').unwrap();
                container.pointer_mut(part).unwrap()[key] = value.clone();
            }
        }
    }

    /// What its statistics are from now on.
    pub(crate) fn set_stats(&self, id: &str, stats: Value) {
        self.0.stats.lock().unwrap().insert(id.to_owned(), stats);
    }

    /// No statistics are answered until so many are asked for, as by engines that collect them for all
    /// at once.
    pub(crate) fn answer_stats_together(&self, calls: usize) {
        *self.0.together.lock().unwrap() = Some(Arc::new(Barrier::new(calls)));
    }

    /// The main process ends: the engine knows it and sends a `die`.
    pub(crate) fn end(&self, id: &str, code: i64) {
        for container in self.0.containers.lock().unwrap().iter_mut() {
            if container["Id"] == id {
                container["State"]["Status"] = json!("exited");
                container["State"]["Running"] = json!(false);
                container["State"]["ExitCode"] = json!(code);
                container["State"]["FinishedAt"] = json!(now().to_string());
            }
        }
        self.event("die", id, &json!({"exitCode": code.to_string()}));
    }

    /// The engine could not start it, and sends no event about that.
    pub(crate) fn fail_to_start(&self, id: &str, code: i64, error: &str) {
        for container in self.0.containers.lock().unwrap().iter_mut() {
            if container["Id"] == id {
                container["State"]["ExitCode"] = json!(code);
                container["State"]["Error"] = json!(error);
                container["State"]["StartedAt"] = json!("0001-01-01T00:00:00Z");
            }
        }
    }

    pub(crate) fn remove(&self, id: &str) {
        self.0.containers.lock().unwrap().retain(|container| container["Id"] != id);
    }

    /// Answers calls whose path ends so with 403, as a filtering proxy does.
    pub(crate) fn refuse(&self, path: &'static str) {
        self.0.refused.lock().unwrap().insert(path);
    }

    /// Never answers calls whose path ends so, as for a container whose shim is stuck.
    pub(crate) fn hang_at(&self, path: &'static str) {
        self.0.wedged.lock().unwrap().insert(path);
    }

    /// Stops answering, without closing anything.
    pub(crate) fn hang(&self, hung: bool) {
        self.0.hung.send_replace(hung);
    }

    pub(crate) fn event(&self, action: &str, id: &str, attributes: &Value) {
        self.send(&event_at(now(), action, id, attributes));
    }

    /// Raw bytes on the event stream.
    pub(crate) fn send(&self, text: &str) {
        let _ = self.0.events.send(Some(text.to_owned()));
    }

    /// Waits until somebody listens to its events. What was sent before is lost: unlike a real engine
    /// it does not tell it again.
    pub(crate) async fn heard(&self) {
        while self.0.events.receiver_count() == 0 {
            tokio::task::yield_now().await;
        }
    }

    /// Ends every event stream.
    pub(crate) fn cut_events(&self) {
        let _ = self.0.events.send(None);
    }

    /// The most inspections that were under way at once.
    pub(crate) fn most_inspections(&self) -> usize {
        self.0.most_inspections.load(Ordering::Relaxed)
    }

    /// How many calls had a path that ends so.
    pub(crate) fn calls(&self, path: &str) -> usize {
        self.0.calls.lock().unwrap().iter().filter(|call| call.ends_with(path)).count()
    }
}

fn now() -> jiff::Timestamp {
    maintenant_serve::clock::now()
}

/// An event as its line on the stream.
pub(crate) fn event_at(at: jiff::Timestamp, action: &str, id: &str, attributes: &Value) -> String {
    let event = json!({
        "Type": "container", "Action": action, "status": action, "id": id,
        "Actor": {"ID": id, "Attributes": attributes},
        "time": at.as_second(), "timeNano": i64::try_from(at.as_nanosecond()).unwrap(),
    });
    format!("{event}\n")
}

async fn answer(Shared(fake): Shared<FakeDocker>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    fake.0.calls.lock().unwrap().push(path.clone());
    let mut hung = fake.0.hung.subscribe();
    let _ = hung.wait_for(|hung| !hung).await;
    if fake.0.wedged.lock().unwrap().iter().any(|wedged| path.ends_with(wedged)) {
        return std::future::pending().await;
    }
    if fake.0.refused.lock().unwrap().iter().any(|refused| path.ends_with(refused)) {
        return (StatusCode::FORBIDDEN, "this path is not allowed").into_response();
    }
    let path = path.strip_prefix("/v1.41").unwrap_or(&path);
    match path {
        "/_ping" => "OK".into_response(),
        "/version" => {
            axum::Json(json!({"ApiVersion": "1.41", "Platform": {"Name": ""}})).into_response()
        }
        "/events" => events(&fake),
        "/containers/json" => axum::Json(list(&fake.0.containers.lock().unwrap())).into_response(),
        _ => {
            let id = path.trim_start_matches("/containers/").split('/').next();
            match fake.find(id.unwrap_or_default()) {
                Some(container) if path.ends_with("/json") => fake.inspection(container).await,
                Some(_) if path.ends_with("/logs") => logs(),
                Some(_) if path.ends_with("/stats") => fake.stats(id.unwrap_or_default()).await,
                _ => (StatusCode::NOT_FOUND, r#"{"message":"No such container"}"#).into_response(),
            }
        }
    }
}

impl FakeDocker {
    fn find(&self, id: &str) -> Option<Value> {
        let containers = self.0.containers.lock().unwrap();
        containers.iter().find(|container| container["Id"] == id).cloned()
    }

    async fn inspection(&self, container: Value) -> Response {
        let now = self.0.inspections.fetch_add(1, Ordering::Relaxed) + 1;
        self.0.most_inspections.fetch_max(now, Ordering::Relaxed);
        // Lets the requests that wait arrive, so that those under way at once are counted.
        tokio::task::yield_now().await;
        self.0.inspections.fetch_sub(1, Ordering::Relaxed);
        axum::Json(container).into_response()
    }
}

impl FakeDocker {
    /// A tenth of a core, unless something else was set.
    async fn stats(&self, id: &str) -> Response {
        let together = self.0.together.lock().unwrap().clone();
        if let Some(together) = together {
            together.wait().await;
        }
        let set = self.0.stats.lock().unwrap().get(id).cloned();
        let nanos = now().as_nanosecond();
        let stats = set.unwrap_or_else(|| {
            json!({
                "read": now().to_string(), "preread": "0001-01-01T00:00:00Z",
                "cpu_stats": {"cpu_usage": {"total_usage": u64::try_from(nanos / 10).unwrap()}},
                "memory_stats": {"usage": 50_000_000, "limit": 8_000_000_000_u64,
                                 "stats": {"anon": 20_000_000, "inactive_file": 10_000_000}},
                "networks": {"eth0": {"rx_bytes": 1_000, "tx_bytes": 2_000}},
                "pids_stats": {"current": 3},
            })
        });
        axum::Json(stats).into_response()
    }
}

fn list(containers: &[Value]) -> Value {
    containers
        .iter()
        .map(|container| {
            json!({
                "Id": container["Id"], "Names": [container["Name"]], "Image": "busybox:1",
                "State": container["State"]["Status"], "Status": "Up 2 hours (unhealthy)",
                "Labels": container["Config"]["Labels"], "Ports": [{"Type": "a-new-protocol"}],
            })
        })
        .collect()
}

fn logs() -> Response {
    let line = b"2026-01-01T00:00:00.000000001Z last words\n";
    let mut frame = vec![1, 0, 0, 0];
    frame.extend(u32::try_from(line.len()).unwrap().to_be_bytes());
    frame.extend(line);
    frame.into_response()
}

fn events(fake: &FakeDocker) -> Response {
    let receiver = fake.0.events.subscribe();
    let stream = futures_util::stream::unfold(receiver, |mut receiver| async move {
        let text = receiver.recv().await.ok().flatten()?;
        Some((Ok::<_, Infallible>(Bytes::from(text)), receiver))
    });
    Body::from_stream(stream).into_response()
}
