//! The REST routes, without sockets.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use maintenant_api::alerts::{Alert, AlertStatus, Severity};
use serde_json::{Value, json};
use tower::ServiceExt;
use utoipa_axum::router::OpenApiRouter;

use super::super::model::Course;
use super::super::routes::{Alerts, routes};
use super::super::sql;
use super::at;
use crate::http::events::{Event, EventBus};
use crate::store::{Store, Writer};

struct Api {
    router: Router,
    store: Store,
    told: tokio::sync::broadcast::Receiver<Arc<Event>>,
    _writer: Writer,
    _folder: tempfile::TempDir,
}

impl Api {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (store, writer) = Store::open(&folder.path().join("m.db")).unwrap();
        let events = EventBus::new(at(0));
        let told = events.subscribe(None).receiver;
        let alerts = Alerts { store: store.clone(), events };
        let all: OpenApiRouter<Alerts> = OpenApiRouter::new().nest("/api/v1", routes());
        let router = all.split_for_parts().0.with_state(alerts);
        Self { router, store, told, _writer: writer, _folder: folder }
    }

    async fn ask(&self, method: Method, path: &str, body: &str) -> (StatusCode, Value) {
        let request = Request::builder().method(method).uri(format!("/api/v1{path}"));
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    async fn get(&self, path: &str) -> Value {
        let (status, body) = self.ask(Method::GET, path, "").await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    /// What is refused, with which code, and what the message contains.
    async fn check(&self, method: Method, path: &str, body: &str, refused: (u16, &str, &str)) {
        let (status, answer) = self.ask(method.clone(), path, body).await;
        let (expected, code, says) = refused;
        assert_eq!(status, expected, "{method} {path} {body}: {answer}");
        assert_eq!(answer["error"]["code"], code, "{method} {path} {body}: {answer}");
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.contains(says), "{method} {path} {body}: {message}");
    }

    /// Alerts of endpoints 1, 2, …, that fired at these milliseconds.
    async fn add(&self, fired: &[i64], edit: impl Fn(&mut Alert)) {
        for (place, milliseconds) in fired.iter().enumerate() {
            let fired_at = at(0) + jiff::SignedDuration::from_millis(*milliseconds);
            let mut alert = Alert {
                id: 0,
                source: "endpoint".into(),
                alert_type: "consecutive_failure".into(),
                severity: Severity::Warning,
                status: AlertStatus::Active,
                message: "no answer".into(),
                entity_type: "endpoint".into(),
                entity_id: i64::try_from(place).unwrap() + 1,
                entity_name: "web".into(),
                details: r#"{"since":"2026-01-01T00:00:00Z"}"#.into(),
                resolved_by_id: None,
                fired_at,
                resolved_at: None,
                acknowledged_at: None,
                acknowledged_by: None,
                escalated_at: None,
                created_at: Some(fired_at),
            };
            edit(&mut alert);
            let add = move |tx: &rusqlite::Connection| sql::insert(tx, &alert, &Course::default());
            self.store.write(add).await.unwrap();
        }
    }

    fn told(&mut self) -> Vec<(&'static str, Value)> {
        let told = std::iter::from_fn(|| self.told.try_recv().ok());
        told.map(|event| (event.name, serde_json::from_str(&event.data).unwrap())).collect()
    }
}

fn ids(list: &Value) -> Vec<i64> {
    list.as_array().unwrap().iter().map(|alert| alert["id"].as_i64().unwrap()).collect()
}

#[tokio::test]
async fn lists_are_empty_lists_at_first() {
    let api = Api::new();
    assert_eq!(api.get("/alerts").await, json!({"alerts": [], "has_more": false}));
    let none = json!({"critical": [], "warning": [], "info": []});
    assert_eq!(api.get("/alerts/active").await, none);
    assert_eq!(api.get("/silence").await, json!({"rules": []}));
}

#[tokio::test]
async fn an_alert_has_the_shape_of_the_contract() {
    let api = Api::new();
    api.add(&[5], |_| ()).await;
    let alert = json!({
        "id": 1, "source": "endpoint", "alert_type": "consecutive_failure",
        "severity": "warning", "status": "active", "message": "no answer",
        "entity_type": "endpoint", "entity_id": 1, "entity_name": "web",
        "details": r#"{"since":"2026-01-01T00:00:00Z"}"#,
        "resolved_by_id": null, "fired_at": "2026-01-01T00:00:00.005Z", "resolved_at": null,
        "created_at": "2026-01-01T00:00:00.005Z",
    });
    assert_eq!(api.get("/alerts/1").await, alert);
    assert_eq!(api.get("/alerts").await["alerts"], json!([alert]));
    assert_eq!(api.get("/alerts/active").await["warning"], json!([alert]));
}

#[tokio::test]
async fn paging_by_cursor_meets_each_alert_once_also_among_those_of_one_moment() {
    let api = Api::new();
    api.add(&[7, 7, 7, 7, 3, 9, 7], |_| ()).await;
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = api.get(&format!("/alerts?limit=2&cursor={cursor}")).await;
        seen.extend(ids(&page["alerts"]));
        assert_eq!(page["has_more"], page["next_cursor"].is_string());
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = next.to_owned();
        // What fires meanwhile is before the first page.
        api.add(&[1_000], |alert| alert.entity_id = 100 + i64::try_from(seen.len()).unwrap()).await;
    }
    assert_eq!(seen, [6, 7, 4, 3, 2, 1, 5]);
}

#[tokio::test]
async fn filters_are_exact_and_before_leaves_its_moment_out() {
    let api = Api::new();
    api.add(&[0, 1_000], |_| ()).await;
    api.add(&[2_000], |alert| {
        (alert.source, alert.entity_type) = ("container".into(), "container".into());
        (alert.severity, alert.status) = (Severity::Critical, AlertStatus::Silenced);
    })
    .await;
    for (query, expected) in [
        ("", vec![3, 2, 1]),
        ("source=container", vec![3]),
        ("source=cont", vec![]),
        ("severity=critical", vec![3]),
        ("status=active", vec![2, 1]),
        ("status=silenced&severity=warning", vec![]),
        ("entity_type=endpoint&entity_id=2", vec![2]),
        ("entity_id=1", vec![3, 1]),
        ("since=2026-01-01T00:00:01Z", vec![3, 2]),
        ("since=2026-01-01T00:00:01.0001Z", vec![3]),
        ("before=2026-01-01T00:00:01Z", vec![1]),
        ("before=2026-01-01T00:00:01.0001Z", vec![2, 1]),
        ("before=2026-01-01T01:00:01%2B01:00", vec![1]),
        ("before=2026-01-01T00:00:02Z&cursor=1767225601000-2", vec![1]),
        ("limit=1", vec![3]),
    ] {
        assert_eq!(ids(&api.get(&format!("/alerts?{query}")).await["alerts"]), expected, "{query}");
    }
}

#[tokio::test]
async fn what_lasted_since_a_moment_fired_or_ended_then_or_later_or_is_open() {
    let api = Api::new();
    api.add(&[0], |_| ()).await;
    api.add(&[0], |alert| (alert.status, alert.source) = (AlertStatus::Silenced, "x".into())).await;
    api.add(&[0, 0, 3_000], |alert| alert.status = AlertStatus::Resolved).await;
    for (id, ended) in [(3, 1_000), (4, 2_000), (5, 3_000)] {
        let ended = (at(0) + jiff::SignedDuration::from_millis(ended)).as_millisecond();
        let end = move |tx: &rusqlite::Connection| {
            tx.execute("UPDATE alerts SET resolved_at = ?2 WHERE id = ?1", (id, ended))
        };
        api.store.write(end).await.unwrap();
    }
    for (query, expected) in [
        ("lasting_since=2026-01-01T00:00:02Z", vec![5, 4, 2, 1]),
        ("lasting_since=2026-01-01T00:00:02.0001Z", vec![5, 2, 1]),
        ("lasting_since=2026-01-01T00:00:09Z", vec![2, 1]),
        ("lasting_since=2026-01-01T00:00:09Z&source=x", vec![2]),
        ("lasting_since=2026-01-01T00:00:01Z&status=resolved", vec![5, 4, 3]),
    ] {
        assert_eq!(ids(&api.get(&format!("/alerts?{query}")).await["alerts"]), expected, "{query}");
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_with_what_is_accepted() {
    let api = Api::new();
    let get = |query: &'static str, says: &'static str| {
        let path = format!("/alerts?{query}");
        let api = &api;
        async move { api.check(Method::GET, &path, "", (400, "INVALID_PARAM", says)).await }
    };
    get("limit=0", "1 to 200").await;
    get("limit=201", "1 to 200").await;
    get("limit=x", "1 to 200").await;
    get("before=noon", "RFC 3339").await;
    get("since=noon", "RFC 3339").await;
    get("lasting_since=noon", "RFC 3339").await;
    get("severity=bad", "info, warning, critical").await;
    get("status=open", "active, resolved, silenced").await;
    get("status=unknown", "active, resolved, silenced").await;
    get("entity_id=web", "whole number").await;
    get("cursor=7", "next_cursor").await;
    api.check(Method::GET, "/alerts/x", "", (400, "INVALID_PARAM", "`x`")).await;
    api.check(Method::GET, "/alerts/7", "", (404, "NOT_FOUND", "GET /api/v1/alerts")).await;
    api.check(Method::GET, "/silence?active=1", "", (400, "INVALID_PARAM", "true, false")).await;
}

#[tokio::test]
async fn acknowledging_is_told_once_and_then_a_conflict_that_says_who_and_when() {
    let mut api = Api::new();
    api.add(&[0], |_| ()).await;
    let path = "/alerts/1/acknowledge";
    let (status, alert) = api.ask(Method::POST, path, r#"{"acknowledged_by":" ada "}"#).await;
    assert_eq!((status, &alert["acknowledged_by"]), (StatusCode::OK, &json!("ada")));
    assert_eq!(alert["status"], "active");
    assert!(alert["acknowledged_at"].is_string());
    assert_eq!(api.told(), [("alert.acknowledged", alert)]);
    assert_eq!(api.get("/alerts/active").await["warning"], json!([]));
    assert_eq!(ids(&api.get("/alerts?status=active").await["alerts"]), [1]);
    let who = r#"{"acknowledged_by":"bob"}"#;
    let said = "was acknowledged by `ada` at 20";
    api.check(Method::POST, path, who, (409, "CONFLICT", said)).await;
    assert_eq!(api.told(), []);
}

#[tokio::test]
async fn only_an_active_alert_can_be_acknowledged() {
    let api = Api::new();
    let post = Method::POST;
    let (path, who) = ("/alerts/1/acknowledge", r#"{"acknowledged_by":"ada"}"#);
    api.check(post.clone(), path, who, (404, "NOT_FOUND", "no alert with id 1")).await;
    api.check(post.clone(), "/alerts/x/acknowledge", who, (400, "INVALID_PARAM", "`x`")).await;
    for body in ["", "[]", "{", r#"{"acknowledged_by":7}"#] {
        api.check(post.clone(), path, body, (400, "INVALID_BODY", "body")).await;
    }
    let long = format!(r#"{{"acknowledged_by":"{}"}}"#, "x".repeat(201));
    for body in ["{}", "null", r#"{"acknowledged_by":"  "}"#, &long] {
        api.check(post.clone(), path, body, (400, "INVALID_REQUEST", "1 to 200")).await;
    }
    api.add(&[0], |alert| alert.status = AlertStatus::Silenced).await;
    api.check(post.clone(), path, who, (409, "CONFLICT", "is silenced")).await;
    api.add(&[0], |alert| alert.status = AlertStatus::Resolved).await;
    let path = "/alerts/2/acknowledge";
    api.check(post, path, who, (409, "CONFLICT", "is resolved since 2026-01-01T00:00:00Z")).await;
}

#[tokio::test]
async fn a_silence_is_created_listed_and_cancelled_once() {
    let mut api = Api::new();
    let body =
        r#"{"duration_seconds":60,"entity_type":"endpoint","entity_id":7,"reason":"deploy"}"#;
    let (status, silence) = api.ask(Method::POST, "/silence", body).await;
    assert_eq!(status, StatusCode::CREATED, "{silence}");
    assert_eq!((&silence["id"], &silence["is_active"]), (&json!(1), &json!(true)));
    assert_eq!((&silence["entity_id"], &silence["duration_seconds"]), (&json!(7), &json!(60)));
    assert!(silence.get("source").is_none());
    assert_eq!(api.get("/silence").await["rules"], json!([silence]));
    assert_eq!(api.told(), [("silence.created", silence)]);
    let (status, _) = api.ask(Method::POST, "/silence", r#"{"duration_seconds":60}"#).await;
    assert_eq!(status, StatusCode::CREATED);
    api.told();
    for id in [1, 1, 99] {
        let (status, _) = api.ask(Method::DELETE, &format!("/silence/{id}"), "").await;
        assert_eq!(status, StatusCode::NO_CONTENT);
    }
    assert_eq!(api.told(), [("silence.cancelled", json!({"id": 1}))]);
    assert_eq!(ids(&api.get("/silence").await["rules"]), [2, 1]);
    assert_eq!(ids(&api.get("/silence?active=true").await["rules"]), [2]);
    assert_eq!(api.get("/silence").await["rules"][1]["is_active"], false);
}

#[tokio::test]
async fn a_silence_needs_an_end_and_an_id_needs_a_type() {
    let api = Api::new();
    let post = |body: String, code: &'static str, says: &'static str| {
        let api = &api;
        async move { api.check(Method::POST, "/silence", &body, (400, code, says)).await }
    };
    for body in ["", "[]", r#"{"duration_seconds":"5"}"#, r#"{"duration_seconds":1.5}"#] {
        post(body.into(), "INVALID_BODY", "body").await;
    }
    for body in ["{}", "null", r#"{"duration_seconds":null}"#] {
        post(body.into(), "VALIDATION_ERROR", "duration_seconds is missing").await;
    }
    for seconds in [0, -1, 31_536_001, i64::MAX] {
        let body = format!(r#"{{"duration_seconds":{seconds}}}"#);
        post(body, "VALIDATION_ERROR", "1 to 31536000").await;
    }
    let id_alone = r#"{"duration_seconds":5,"entity_id":7,"entity_type":""}"#;
    post(id_alone.into(), "VALIDATION_ERROR", "entity_type").await;
    let long = "x".repeat(501);
    let body = format!(r#"{{"duration_seconds":5,"reason":"{long}"}}"#);
    post(body, "VALIDATION_ERROR", "500").await;
    api.check(Method::DELETE, "/silence/x", "", (400, "INVALID_PARAM", "`x`")).await;
}
