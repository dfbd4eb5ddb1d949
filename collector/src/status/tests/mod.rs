//! What is decided, as tables; the tables on real SQLite; the routes without sockets; the watch at any
//! time it is told.

mod deciding;
mod public;
mod routes;
mod rules;
mod storing;
mod watching;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use jiff::{SignedDuration, Timestamp};
use maintenant_api::alerts::Severity;
use maintenant_api::status::ComponentStatus;
use rusqlite::Connection;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use utoipa_axum::router::OpenApiRouter;

use super::monitors::{Alarm, Kind, Monitor, PastDay, Ref, Watched};
use super::sql::subscribers::Mail;
use super::watch::Watch;
use super::{Settings, Status, public as public_routes, routes as admin_routes, sql, subscribers};
use crate::config::Edition;
use crate::http::events::EventBus;
use crate::monitored::Monitored;
use crate::runtime::RuntimeState;
use crate::store::{Store, Writer};

/// 2026-01-01T00:00:00Z and so many seconds.
fn at(seconds: i64) -> Timestamp {
    let begin: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    begin + SignedDuration::from_secs(seconds)
}

fn status(word: &str) -> ComponentStatus {
    ComponentStatus::parse(word).unwrap_or_default()
}

/// What is watched, as a test says.
#[derive(Default)]
struct World {
    monitors: Mutex<BTreeMap<Ref, ComponentStatus>>,
    alarms: Mutex<Vec<Alarm>>,
    past: Mutex<BTreeMap<Ref, Vec<PastDay>>>,
    /// How often it was asked for monitors.
    asked: AtomicUsize,
}

impl World {
    fn set(&self, of: Ref, word: &str) {
        self.monitors.lock().unwrap().insert(of, status(word));
    }

    fn raise(&self, alert_id: i64, of: Ref, severity: Severity, is_active: bool) {
        let mut alarms = self.alarms.lock().unwrap();
        alarms.retain(|alarm| alarm.alert_id != alert_id);
        alarms.push(Alarm { alert_id, of, severity, is_active });
    }

    fn clear(&self) {
        self.alarms.lock().unwrap().clear();
    }
}

impl Watched for World {
    fn monitors(&self, _: &Connection, kind: Kind) -> rusqlite::Result<Vec<Monitor>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let all = self.monitors.lock().unwrap();
        let of_kind = all.iter().filter(|((of, _), _)| *of == kind);
        Ok(of_kind
            .map(|((_, id), status)| Monitor {
                id: *id,
                name: format!("inner-{id}"),
                status: *status,
            })
            .collect())
    }

    fn alarms(&self, _: &Connection) -> rusqlite::Result<Vec<Alarm>> {
        Ok(self.alarms.lock().unwrap().clone())
    }

    fn past(
        &self,
        _: &Connection,
        of: Ref,
        _: i64,
        _: Timestamp,
    ) -> rusqlite::Result<Vec<PastDay>> {
        Ok(self.past.lock().unwrap().get(&of).cloned().unwrap_or_default())
    }
}

/// A page over a [`World`], with its routes and no jobs.
struct Site {
    world: Arc<World>,
    status: Status,
    store: Store,
    router: Router,
    _writer: Writer,
    _folder: tempfile::TempDir,
}

impl Site {
    fn new() -> Self {
        Self::with(Edition::Extended, true)
    }

    fn with(edition: Edition, has_mail: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (store, writer) = Store::open(&folder.path().join("m.db")).unwrap();
        let world = Arc::new(World::default());
        let settings = Settings {
            base_url: "https://status.example.org".to_owned(),
            organisation_name: "Example".to_owned(),
            trusted_proxies: Vec::new(),
            edition,
        };
        let drain = CancellationToken::new();
        let status = Status::new(store.clone(), world.clone(), settings, has_mail, drain, at(0));
        let all: OpenApiRouter<Status> = OpenApiRouter::new()
            .nest("/api/v1", admin_routes::routes())
            .merge(public_routes::routes());
        let router = all.split_for_parts().0.with_state(status.clone());
        Self { world, status, store, router, _writer: writer, _folder: folder }
    }

    fn watch(&self) -> Watch {
        Watch::new(self.status.clone(), EventBus::new(at(0)))
    }

    async fn fetch(&self, request: Request<Body>) -> (StatusCode, String) {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let code = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (code, String::from_utf8(bytes.to_vec()).unwrap())
    }

    /// A public path.
    async fn get(&self, path: &str) -> (StatusCode, String) {
        self.fetch(Request::get(path).body(Body::empty()).unwrap()).await
    }

    async fn ask(&self, method: Method, path: &str, body: &str) -> (StatusCode, Value) {
        let request = Request::builder().method(method).uri(format!("/api/v1/status{path}"));
        let (code, text) = self.fetch(request.body(Body::from(body.to_owned())).unwrap()).await;
        (code, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    /// What succeeds.
    async fn done(&self, method: Method, path: &str, body: Value) -> Value {
        let (code, answer) = self.ask(method.clone(), path, &body.to_string()).await;
        assert!(code.is_success(), "{method} {path} {body}: {code} {answer}");
        answer
    }

    async fn read(&self, path: &str) -> Value {
        self.done(Method::GET, path, Value::Null).await
    }

    /// What is refused, with which code, and what the message contains.
    async fn check(&self, method: Method, path: &str, body: &str, refused: (u16, &str, &str)) {
        let (code, answer) = self.ask(method.clone(), path, body).await;
        let (expected, word, says) = refused;
        assert_eq!(code, expected, "{method} {path} {body}: {answer}");
        assert_eq!(answer["error"]["code"], word, "{method} {path} {body}: {answer}");
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.contains(says), "{method} {path} {body}: {message}");
    }

    /// A component of these endpoints.
    async fn component(&self, name: &str, endpoints: &[i64], more: Value) -> i64 {
        let monitors: Vec<_> =
            endpoints.iter().map(|id| json!({ "type": "endpoint", "id": id })).collect();
        let mut body = json!({ "display_name": name, "monitors": monitors });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.done(Method::POST, "/components", body).await["id"].as_i64().unwrap()
    }

    /// Somebody who subscribed and confirmed.
    async fn subscriber(&self, email: &str) {
        let wish = subscribers::wanted(email.to_owned(), at(0)).unwrap();
        let voice = self.status.0.voice.clone();
        let work = move |tx: &Connection| {
            subscribers::subscribe(tx, &wish, &voice, at(0))?;
            tx.execute("DELETE FROM status_mails", [])?;
            sql::subscribers::confirm(tx, &wish.confirm_token, at(1))
        };
        assert!(self.store.write(work).await.unwrap());
    }

    /// What waits to be sent, in the order in which it was written.
    async fn mails(&self) -> Vec<Mail> {
        let far = maintenant_serve::clock::now() + SignedDuration::from_hours(1);
        let due = self.store.read(move |db| sql::subscribers::due(db, 100, far));
        let mut mails = due.await.unwrap();
        mails.sort_by_key(|mail| mail.id);
        mails
    }

    /// Names and statuses the public sees.
    async fn shown(&self, now: Timestamp) -> Vec<(String, &'static str)> {
        let world = self.world.clone();
        let read = move |db: &Connection| super::overview::read(db, &*world, now);
        let overview = self.store.read(read).await.unwrap();
        overview.components.into_iter().map(|one| (one.name, one.status.as_str())).collect()
    }
}

/// A page without jobs, for the tests of others.
pub(crate) fn idle(store: &Store, runtime: &RuntimeState, now: Timestamp) -> Status {
    let settings = Settings {
        base_url: "http://localhost".to_owned(),
        organisation_name: "Maintenant".to_owned(),
        trusted_proxies: Vec::new(),
        edition: Edition::Community,
    };
    let watched = Arc::new(Monitored { runtime: runtime.clone() });
    Status::new(store.clone(), watched, settings, false, CancellationToken::new(), now)
}

fn endpoint(id: i64) -> Ref {
    (Kind::Endpoint, id)
}
