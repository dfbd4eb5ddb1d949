//! The REST routes, without sockets and in real time.

use axum::Router;
use axum::body::Body;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use maintenant_serve::guard::{BodyLimits, Peer, guarded};
use serde_json::{Value, json};
use tower::ServiceExt;
use utoipa_axum::router::OpenApiRouter;

use super::super::clients::{Limit, Limits};
use super::super::pings;
use super::super::routes::{Heartbeats, days_of, pings as ping_routes, routes};
use super::super::{Settings, open};
use super::*;
use crate::http::events::{Event, EventBus};
use crate::store::{Store, Writer};

/// The dimension on a store of its own.
pub(super) struct Api {
    router: Router,
    pub(super) store: Store,
    pub(super) told: tokio::sync::broadcast::Receiver<std::sync::Arc<Event>>,
    pub(super) peer: Peer,
    _writer: Writer,
    _folder: tempfile::TempDir,
}

pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Value,
}

impl Api {
    pub(super) async fn new() -> Self {
        Self::with(Limits::default()).await
    }

    pub(super) async fn with(limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (store, writer) = Store::open(&folder.path().join("m.db")).unwrap();
        let now = maintenant_serve::clock::now();
        let events = EventBus::new(now);
        let told = events.subscribe(None).receiver;
        let settings = Settings {
            trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
            base_url: "https://watch.example".into(),
        };
        let heartbeats = open(&store, &events, settings, limits, now).await.unwrap();
        let all: OpenApiRouter<Heartbeats> =
            OpenApiRouter::new().nest("/api/v1", routes()).merge(ping_routes());
        let bodies = BodyLimits { any_length: pings::is_ping, ..BodyLimits::default() };
        let router = guarded(all.split_for_parts().0.with_state(heartbeats), bodies);
        let peer = Peer::Tcp("192.0.2.1:4711".parse().unwrap());
        Self { router, store, told, peer, _writer: writer, _folder: folder }
    }

    pub(super) async fn send(&self, request: http::request::Builder, body: Body) -> Answer {
        let request = request.header("host", "localhost").extension(self.peer);
        let response = self.router.clone().oneshot(request.body(body).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Answer { status: parts.status, headers: parts.headers, body }
    }

    pub(super) async fn ask(&self, method: Method, path: &str, body: Value) -> Answer {
        let request = Request::builder().method(method).uri(path);
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        self.send(request, body).await
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, Value::Null).await
    }

    pub(super) async fn post(&self, path: &str, body: Value) -> Answer {
        self.ask(Method::POST, path, body).await
    }

    /// A new heartbeat with an interval of an hour.
    pub(super) async fn create(&self, name: &str) -> Value {
        let input = json!({ "name": name, "interval_seconds": 3600, "grace_seconds": 60 });
        let answer = self.post("/api/v1/heartbeats", input).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        answer.body
    }

    /// Names and data of the events since the last call.
    pub(super) fn take_told(&mut self) -> Vec<(String, Value)> {
        std::iter::from_fn(|| self.told.try_recv().ok())
            .map(|event| (event.name.to_owned(), serde_json::from_str(&event.data).unwrap()))
            .collect()
    }
}

/// Each expected key of an answer, and `null` for those that are left out.
#[track_caller]
pub(super) fn has(body: &Value, expected: &Value) {
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&body[key], value, "{key} of {body}");
    }
}

#[tokio::test]
async fn a_heartbeat_is_created_listed_read_and_deleted() {
    let mut api = Api::new().await;
    let first = api.create("backup").await;
    let facts = json!({
        "name": "backup", "status": "new", "alert_state": "normal", "interval_seconds": 3600,
        "grace_seconds": 60, "active": true, "consecutive_failures": 0, "last_ping_at": null,
        "schedule": null, "problem": null,
    });
    has(&first, &facts);
    let second = api.create("report").await;
    let list = api.get("/api/v1/heartbeats").await.body;
    assert_eq!(list["total"], 2);
    assert_eq!(list["heartbeats"][0]["id"], second["id"], "newest first");
    let path = format!("/api/v1/heartbeats/{}", first["id"]);
    let detail = api.get(&path).await.body;
    assert_eq!(detail["heartbeat"]["uuid"], first["uuid"]);
    let url = format!("https://watch.example/ping/{}", first["uuid"].as_str().unwrap());
    for language in ["curl", "wget", "python", "go", "bash", "docker_healthcheck"] {
        assert!(detail["snippets"][language].as_str().unwrap().contains(&url), "{language}");
    }
    for _ in 0..2 {
        assert_eq!(api.ask(Method::DELETE, &path, Value::Null).await.status, 204);
    }
    assert_eq!(api.get(&path).await.body["heartbeat"]["active"], false);
    assert_eq!(api.get("/api/v1/heartbeats").await.body["total"], 1);
    let told: Vec<_> = api.take_told().into_iter().map(|(name, _)| name).collect();
    let deleted = "heartbeat.deleted";
    assert_eq!(told, ["heartbeat.created", "heartbeat.created", deleted, deleted]);
}

#[tokio::test]
async fn bad_input_names_the_field_and_what_is_accepted() {
    let api = Api::new().await;
    let name = |input: Value| {
        let mut input = input;
        input.as_object_mut().unwrap().entry("name").or_insert(json!("n"));
        input
    };
    let check = async |input: Value, says: &str| {
        let answer = api.post("/api/v1/heartbeats", name(input.clone())).await;
        assert_eq!(answer.status, 400, "{input}");
        assert_eq!(answer.body["error"]["code"], "INVALID_INPUT", "{input}");
        let message = answer.body["error"]["message"].as_str().unwrap();
        assert!(message.starts_with("invalid input: "), "{message}");
        assert!(message.contains(says), "{input}: {message}");
    };
    check(json!({}), "interval_seconds").await;
    check(json!({"interval_seconds": 59}), "60 to 604800").await;
    check(json!({"interval_seconds": 604_801}), "60 to 604800").await;
    check(json!({"interval_seconds": 60, "name": ""}), "name: give 1 to 255 bytes").await;
    check(json!({"interval_seconds": 60, "name": "x".repeat(256)}), "255").await;
    check(json!({"interval_seconds": 60, "grace_seconds": 61}), "grace_seconds: use 0 to 60").await;
    check(json!({"interval_seconds": 60, "grace_seconds": -1}), "grace_seconds").await;
    check(json!({"interval_seconds": 60, "schedule": "* * * * *"}), "either").await;
    check(json!({"interval_seconds": 60, "timezone": "UTC"}), "timezone").await;
    check(json!({"schedule": "* * * *"}), "five fields").await;
    check(json!({"schedule": "0 0 31 2 *"}), "does not come").await;
    check(json!({"schedule": "0 0 * * *", "timezone": "Mars"}), "Europe/Paris").await;
    check(json!({"schedule": "0 0 * * *", "grace_seconds": 604_801}), "0 to 604800").await;
    check(json!({"interval_seconds": 60, "max_runtime_seconds": -1}), "1 to 604800").await;
    for (body, code) in [
        ("", "INVALID_JSON"),
        (" [\"n\", 60]", "INVALID_JSON"),
        ("{\"name\": 7}", "INVALID_JSON"),
        ("{\"name\": \"n\", \"interval_seconds\": 60.5}", "INVALID_JSON"),
        ("null", "INVALID_INPUT"),
    ] {
        let request = Request::builder().method("POST").uri("/api/v1/heartbeats");
        let answer = api.send(request, Body::from(body)).await;
        assert_eq!((answer.status.as_u16(), &answer.body["error"]["code"]), (400, &json!(code)));
    }
}

#[tokio::test]
async fn changing_keeps_what_is_not_said_and_one_timing_takes_the_place_of_the_other() {
    let api = Api::new().await;
    let created = api.create("backup").await;
    let path = format!("/api/v1/heartbeats/{}", created["id"]);
    let put = async |input: Value| api.ask(Method::PUT, &path, input).await;
    let renamed = put(json!({"name": "other", "grace_seconds": null})).await.body;
    has(&renamed, &json!({"name": "other", "interval_seconds": 3600, "grace_seconds": 60}));
    assert_eq!(renamed["next_deadline_at"], created["next_deadline_at"]);
    let nightly = put(json!({"schedule": "0  0 * * *", "timezone": "Asia/Tokyo"})).await.body;
    let facts =
        json!({"schedule": "0 0 * * *", "timezone": "Asia/Tokyo", "interval_seconds": 86400});
    has(&nightly, &facts);
    let moved = put(json!({"timezone": "Asia/Kolkata", "max_runtime_seconds": 30})).await.body;
    has(
        &moved,
        &json!({"schedule": "0 0 * * *", "timezone": "Asia/Kolkata", "max_runtime_seconds": 30}),
    );
    let again = put(json!({"interval_seconds": 120, "max_runtime_seconds": 0})).await.body;
    has(&again, &json!({"schedule": null, "interval_seconds": 120, "max_runtime_seconds": null}));
    assert_eq!(put(json!({"interval_seconds": 60, "grace_seconds": 61})).await.status, 400);
    assert_eq!(put(json!({"timezone": "UTC"})).await.status, 400);
    assert_eq!(api.get(&path).await.body["heartbeat"]["name"], "other");
}

#[tokio::test]
async fn pausing_and_resuming_say_what_they_did() {
    let mut api = Api::new().await;
    let id = api.create("backup").await["id"].clone();
    api.take_told();
    let act = async |api: &Api, what: &str| {
        api.post(&format!("/api/v1/heartbeats/{id}/{what}"), Value::Null).await
    };
    let early = act(&api, "resume").await;
    assert_eq!(
        (early.status.as_u16(), &early.body["error"]["code"]),
        (400, &json!("INVALID_INPUT"))
    );
    for _ in 0..2 {
        let paused = act(&api, "pause").await;
        assert_eq!(paused.status, 200);
        has(&paused.body, &json!({"status": "paused", "next_deadline_at": null}));
    }
    let resumed = act(&api, "resume").await.body;
    has(&resumed, &json!({"status": "up", "problem": null}));
    let deadline: Timestamp = resumed["next_deadline_at"].as_str().unwrap().parse().unwrap();
    let since: Timestamp = resumed["status_since"].as_str().unwrap().parse().unwrap();
    assert_eq!(deadline.duration_since(since).as_secs(), 3660);
    let told: Vec<_> = api
        .take_told()
        .into_iter()
        .map(|(name, data)| (name, data["old_status"].clone(), data["new_status"].clone()))
        .collect();
    let changed =
        |from: &str, to: &str| ("heartbeat.status_changed".into(), json!(from), json!(to));
    assert_eq!(told, [changed("new", "paused"), changed("paused", "up")]);
}

#[tokio::test]
async fn unknown_ids_are_not_found_and_bad_ones_refused() {
    let api = Api::new().await;
    for (method, rest) in [
        (Method::GET, ""),
        (Method::PUT, ""),
        (Method::DELETE, ""),
        (Method::POST, "/pause"),
        (Method::POST, "/resume"),
        (Method::GET, "/executions"),
        (Method::GET, "/pings"),
    ] {
        for (id, status, code) in [("7", 404, "NOT_FOUND"), ("seven", 400, "INVALID_ID")] {
            let path = format!("/api/v1/heartbeats/{id}{rest}");
            let answer = api.ask(method.clone(), &path, json!({})).await;
            assert_eq!(answer.status.as_u16(), status, "{method} {path}");
            assert_eq!(answer.body["error"]["code"], code, "{method} {path}");
        }
    }
    let unknown = api.get("/api/v1/heartbeats/7/uptime/daily?days=2").await.body;
    assert_eq!(unknown["monitor_type"], "heartbeat");
    assert_eq!(unknown["days"][1]["uptime_percent"], Value::Null);
}

#[tokio::test]
async fn lists_are_filtered_and_paged() {
    let api = Api::new().await;
    let heartbeat = api.create("backup").await;
    api.create("idle").await;
    let address = format!("/ping/{}", heartbeat["uuid"].as_str().unwrap());
    for code in 0..5 {
        assert_eq!(api.get(&format!("{address}/{code}")).await.status, 200);
    }
    let names = async |query: &str| {
        let answer = api.get(&format!("/api/v1/heartbeats{query}")).await;
        let list = answer.body["heartbeats"].as_array().cloned().unwrap_or_default();
        list.iter().map(|found| found["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names("?status=down").await, ["backup"]);
    assert_eq!(names("?status=new").await, ["idle"]);
    assert_eq!(names("?status=").await, ["idle", "backup"]);
    assert_eq!(names("?status=late").await, [""; 0]);
    let bad = api.get("/api/v1/heartbeats?status=ill").await;
    assert_eq!((bad.status.as_u16(), &bad.body["error"]["code"]), (400, &json!("INVALID_PARAM")));
    let path = format!("/api/v1/heartbeats/{}", heartbeat["id"]);
    let page = api.get(&format!("{path}/pings?limit=2&offset=1")).await.body;
    assert_eq!(page["total"], 5);
    let codes: Vec<_> = page["pings"].as_array().unwrap().iter().map(|p| &p["exit_code"]).collect();
    assert_eq!(codes, [&json!(3), &json!(2)]);
    let runs = api.get(&format!("{path}/executions?limit=1")).await.body;
    assert_eq!((&runs["total"], &runs["executions"][0]["outcome"]), (&json!(5), &json!("failure")));
    assert_eq!(api.get(&format!("{path}/pings?limit=9999")).await.status, 200, "capped at 500");
    for bad in ["pings?limit=x", "pings?limit=0", "executions?offset=-1", "uptime/daily?days=0"] {
        assert_eq!(api.get(&format!("{path}/{bad}")).await.status, 400, "{bad}");
    }
}

#[tokio::test]
async fn daily_uptime_has_one_entry_per_day_and_knows_only_what_it_saw() {
    let api = Api::new().await;
    let heartbeat = api.create("backup").await;
    api.get(&format!("/ping/{}", heartbeat["uuid"].as_str().unwrap())).await;
    let path = format!("/api/v1/heartbeats/{}/uptime/daily", heartbeat["id"]);
    assert_eq!(api.get(&path).await.body["days"].as_array().unwrap().len(), 90);
    let all = api.get(&format!("{path}?days=9999")).await.body;
    let days = all["days"].as_array().unwrap();
    assert_eq!(days.len(), 365);
    let today = maintenant_serve::clock::now().to_string()[..10].to_owned();
    assert_eq!(days[0]["date"], today);
    assert_eq!(
        days[1],
        json!({
            "date": days[1]["date"], "uptime_percent": null, "incident_count": 0,
            "coverage_percent": 0.0,
        })
    );
}

#[test]
fn a_day_counts_time_and_an_incident_once_though_nobody_listened_meanwhile() {
    let span = |from: f64, to: f64, is_up: bool| Span { from: at(from), to: at(to), is_up };
    let day = 1440.0;
    // Up for half a day, down, a gap of six hours, still down, then up the next day.
    let spans = [
        span(0.0, 720.0, true),
        span(720.0, 900.0, false),
        span(1260.0, 1440.0 + 360.0, false),
        span(1440.0 + 360.0, 2.0 * day - 60.0, true),
        span(2.0 * day - 60.0, 2.0 * day, false),
    ];
    let days = days_of(&spans, &[at(day), at(0.0)], at(2.0 * day));
    let facts: Vec<_> = days
        .iter()
        .map(|day| (day.uptime_percent, day.incident_count, day.coverage_percent))
        .collect();
    assert_eq!(facts, [(Some(70.83), 1, 100.0), (Some(66.66), 1, 75.0)]);
    assert_eq!(days[1].date, "2026-01-01");
}

#[tokio::test]
async fn there_is_a_bound_on_how_many_there_are_and_on_what_is_kept() {
    let api =
        Api::with(Limits { heartbeat: Limit { burst: 1, per_second: 1 }, ..Limits::NONE }).await;
    let id = api.create("backup").await["id"].as_i64().unwrap();
    let fill = move |tx: &Connection| {
        let mut insert = tx.prepare(
            "INSERT INTO heartbeat_pings (heartbeat_id, at, ping_type, source_ip, http_method,
                                          payload)
             VALUES (?1, ?2, 'log', '', 'POST', 'x')",
        )?;
        for minute in 0..10_100 {
            insert.execute((id, at(f64::from(minute)).as_millisecond()))?;
        }
        Ok(())
    };
    api.store.write(fill).await.unwrap();
    let prune = |tx: &Connection| {
        let before = at(50.0).as_millisecond();
        let old = records::delete_old_pings(tx, before, 2000)?;
        let excess = records::delete_excess_pings(tx, 0, 2000)?;
        while records::delete_excess_payloads(tx, 0, 2000)? > 0 {}
        let count = "SELECT count(*), count(payload), min(payload IS NULL) FROM
                     (SELECT payload FROM heartbeat_pings ORDER BY id DESC LIMIT 200)";
        let newest = tx.query_row(count, [], |row| row.get::<_, i64>(1))?;
        let total =
            tx.query_row("SELECT count(*), count(payload) FROM heartbeat_pings", [], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
            })?;
        Ok((old, excess, newest, total))
    };
    assert_eq!(api.store.write(prune).await.unwrap(), (50, 50, 200, (10_000, 200)));
    for keep in &super::super::KEEPS {
        let delete = keep.delete;
        api.store.write(move |tx| delete(tx, 0, 10)).await.unwrap();
    }
}
