//! A receiver of webhooks, and a sender with a database of its own.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, Uri};
use maintenant_serve::listener::{ConnectionLimits, Drain, Listener, serve};
use maintenant_serve::settings::Address;
use tokio::task::JoinSet;

use super::*;
use crate::config::Edition;
use crate::containers::inventory::Inventory;
use crate::http::events::EventBus;
use crate::net::Net;
use crate::net::guard::Guard;
use crate::net::tls::Trust;
use crate::notify::outbox::{Lane, enqueue};
use crate::notify::routes::Notifications;
use crate::notify::{Settings, start};
use crate::problems::Problems;
use crate::runtime::{Runtime, RuntimeState};
use crate::spine::Spine;
use crate::store::{Store, Writer};
use crate::tasks::Supervisor;
use maintenant_api::channels::Notification;

/// What was posted.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

impl Seen {
    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Event and entity.
    pub(super) fn what(&self) -> String {
        let json = self.json();
        format!("{} {}", json["event"].as_str().unwrap(), json["alert"]["entity_id"])
    }
}

/// What is answered to the so manieth post.
pub(super) enum Reply {
    Status(u16),
    With(u16, &'static str, String),
    Never,
}

/// It ends when it is dropped.
pub(super) struct Receiver {
    pub(super) port: u16,
    pub(super) seen: Arc<Mutex<Vec<Seen>>>,
    drain: Drain,
    task: JoinSet<anyhow::Result<()>>,
}

impl Receiver {
    pub(super) async fn new(reply: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static) -> Self {
        Self::at(0, reply).await
    }

    pub(super) async fn at(
        port: u16,
        reply: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let address = Address::Tcp { host: "127.0.0.1".into(), port };
        let listener = Listener::bind(&address, None).await.unwrap();
        let port = listener.address().rsplit_once(':').unwrap().1.parse().unwrap();
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let (keep, reply) = (seen.clone(), Arc::new(reply));
        let answer = move |uri: Uri, headers: HeaderMap, body: Bytes| {
            let (keep, reply) = (keep.clone(), reply.clone());
            async move {
                let body = String::from_utf8(body.to_vec()).unwrap();
                let one = Seen { path: uri.to_string(), headers, body };
                let answer = {
                    let mut seen = keep.lock().unwrap();
                    seen.push(one.clone());
                    reply(&one, seen.len())
                };
                respond(answer).await
            }
        };
        let app = Router::new().fallback(answer);
        let drain = Drain::default();
        let mut task = JoinSet::new();
        let served = serve(listener, app, ConnectionLimits::default(), drain.clone());
        task.spawn(async move {
            served.await;
            Ok(())
        });
        Self { port, seen, drain, task }
    }

    /// Ends it, and returns when nobody listens any more.
    pub(super) async fn end(mut self) {
        self.drain.begin.cancel();
        self.drain.cut.cancel();
        self.task.join_next().await;
    }

    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hook", self.port)
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(super) fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.drain.begin.cancel();
        self.drain.cut.cancel();
    }
}

async fn respond(reply: Reply) -> Response {
    match reply {
        Reply::Status(status) => StatusCode::from_u16(status).unwrap().into_response(),
        Reply::With(status, header, text) => {
            let headers = [(header, text.clone())];
            (StatusCode::from_u16(status).unwrap(), headers, text).into_response()
        }
        Reply::Never => std::future::pending().await,
    }
}

/// A sender at work.
pub(super) struct World {
    pub(super) store: Store,
    pub(super) events: EventBus,
    pub(super) notifications: Notifications,
    supervisor: Supervisor,
    spine: Spine,
    settings: Settings,
    _writer: Writer,
    _folder: tempfile::TempDir,
}

impl World {
    /// To loopback, over http.
    pub(super) fn new() -> Self {
        let trust = Trust::of(rustls::RootCertStore::empty()).unwrap();
        Self::with(true, Net::new(Guard::default(), trust))
    }

    pub(super) fn with(allow_private: bool, net: Net) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (store, writer) = Store::open(&folder.path().join("m.db")).unwrap();
        let now = maintenant_serve::clock::now();
        let events = EventBus::new(now);
        let spine = Spine {
            store: store.clone(),
            events: events.clone(),
            runtime: RuntimeState::new(Runtime::new("none", now)),
            inventory: tokio::sync::watch::channel(Inventory::default()).1,
            net,
            problems: Problems::new(events.clone()),
        };
        let settings = Settings { allow_private, smtp: None };
        let mut supervisor = Supervisor::default();
        let (heard, edition) = (events.subscribe(None).receiver, Edition::Community);
        let notifications = start(&spine, &mut supervisor, &settings, edition, heard).unwrap();
        Self {
            store,
            events,
            notifications,
            supervisor,
            spine,
            settings,
            _writer: writer,
            _folder: folder,
        }
    }

    /// As after a kill: what was under way is not finished.
    pub(super) async fn restart(&mut self) {
        let old = std::mem::take(&mut self.supervisor);
        old.stop(Duration::from_secs(5)).await;
        let (heard, edition) = (self.events.subscribe(None).receiver, Edition::Community);
        self.notifications =
            start(&self.spine, &mut self.supervisor, &self.settings, edition, heard).unwrap();
    }

    /// Failures of the jobs so far.
    pub(super) fn failures(&self) -> i64 {
        self.supervisor
            .statuses()
            .list()
            .iter()
            .map(|job| i64::try_from(job.failures).unwrap())
            .sum()
    }

    /// No statement of that kind succeeds in the time after a message was written.
    pub(super) async fn break_store(&self, statement: &'static str, within_ms: u32) {
        let trigger = format!(
            "CREATE TRIGGER broken BEFORE {statement} ON notifications
             WHEN unixepoch('subsec') * 1000 < NEW.created_at + {within_ms}
             BEGIN SELECT RAISE(ABORT, 'disk full'); END"
        );
        self.store.write(move |tx| tx.execute_batch(&trigger)).await.unwrap();
    }

    pub(super) async fn channel(&self, name: &'static str, url: String) -> i64 {
        let add = move |tx: &Connection| Ok(channel(tx, name, &url).id);
        self.store.write(add).await.unwrap()
    }

    /// Stores messages as the alert engine does, and says so after the commit.
    pub(super) async fn tell(&self, notices: Vec<Notice>) {
        let now = maintenant_serve::clock::now();
        let write = move |tx: &Connection| {
            for notice in &notices {
                enqueue(tx, notice, now)?;
            }
            Ok(())
        };
        self.store.write(write).await.unwrap();
        self.events.publish("alert.fired", &1);
    }

    /// Of one channel, oldest first.
    pub(super) async fn messages(&self, id: i64) -> Vec<Notification> {
        let read = move |db: &Connection| {
            sql::list_messages(db, None, Some(&Lane::Channel(id)), i64::MAX, 1000)
        };
        let mut all = self.store.read(read).await.unwrap();
        all.reverse();
        all
    }

    /// The messages of a channel once all of them are of that status.
    pub(super) async fn all(&self, id: i64, status: &str) -> Vec<Notification> {
        let mut last = Vec::new();
        for _ in 0..3000 {
            last = self.messages(id).await;
            if !last.is_empty() && last.iter().all(|one| one.status == status) {
                return last;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("not all are {status}: {last:#?}");
    }

    /// The messages of a channel once each was tried.
    pub(super) async fn tried(&self, id: i64) -> Vec<Notification> {
        for _ in 0..3000 {
            let all = self.messages(id).await;
            if !all.is_empty() && all.iter().all(|one| one.attempts > 0) {
                return all;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("not all were tried");
    }
}

pub(super) async fn wait_for(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..3000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it did not come about: {what}");
}
