use axum::Router;
use axum::body::Body;
use http::{Method, Request};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;
use utoipa_axum::router::OpenApiRouter;

use super::super::routes::{Notifications, routes};
use super::super::{Settings, post::Post};
use super::receiver::{Receiver, Reply};
use super::*;
use crate::config::Edition;
use crate::http::events::{Event as Sse, EventBus};
use crate::net::Net;
use crate::net::guard::Guard;
use crate::net::resolve::{ResolveError, Resolver};
use crate::net::tls::Trust;
use crate::notify::outbox::enqueue;
use crate::notify::sql::Outcome;
use crate::store::{Store, Writer};

struct Api {
    router: Router,
    store: Store,
    told: tokio::sync::broadcast::Receiver<std::sync::Arc<Sse>>,
    _writer: Writer,
    _folder: tempfile::TempDir,
}

impl Api {
    fn new(allow_private: bool, edition: Edition) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (store, writer) = Store::open(&folder.path().join("m.db")).unwrap();
        let events = EventBus::new(at(0));
        let told = events.subscribe(None).receiver;
        let mut net =
            Net::new(Guard::default(), Trust::of(rustls::RootCertStore::empty()).unwrap());
        net.resolver = Resolver::asking(|name| match name {
            "private.example" => Ok(vec!["10.0.0.1".parse().unwrap()]),
            "nowhere.example" => Err(ResolveError::Failed("unknown".into())),
            "silent.example" => Err(ResolveError::Timeout),
            _ => Ok(vec!["192.0.2.1".parse().unwrap()]),
        });
        let settings = Settings { allow_private, smtp: None };
        let post = Post::new(net, &settings).unwrap();
        let notifications = Notifications::new(store.clone(), events, post, edition);
        let all: OpenApiRouter<Notifications> = routes();
        let router = all.split_for_parts().0.with_state(notifications);
        Self { router, store, told, _writer: writer, _folder: folder }
    }

    async fn ask(&self, method: Method, path: &str, body: Value) -> (u16, Value) {
        let body = match body {
            Value::Null => Body::empty(),
            Value::String(raw) => Body::from(raw),
            body => Body::from(body.to_string()),
        };
        let request = Request::builder().method(method).uri(path).body(body).unwrap();
        let (parts, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        (parts.status.as_u16(), serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    async fn get(&self, path: &str) -> Value {
        let (status, body) = self.ask(Method::GET, path, Value::Null).await;
        assert_eq!(status, 200, "{body}");
        body
    }

    async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.ask(Method::POST, path, body).await
    }

    async fn put(&self, path: &str, body: Value) -> (u16, Value) {
        self.ask(Method::PUT, path, body).await
    }

    async fn delete(&self, path: &str) -> (u16, Value) {
        self.ask(Method::DELETE, path, Value::Null).await
    }

    fn take_told(&mut self) -> Vec<(&'static str, Value)> {
        let mut all = Vec::new();
        while let Ok(event) = self.told.try_recv() {
            all.push((event.name, serde_json::from_str(&event.data).unwrap()));
        }
        all
    }
}

fn refused((status, body): (u16, Value), expected: u16, code: &str, says: &str) {
    assert_eq!((status, &body["error"]["code"]), (expected, &json!(code)), "{body}");
    let message = body["error"]["message"].as_str().unwrap();
    assert!(message.contains(says), "{message}");
}

#[tokio::test]
async fn a_channel_is_created_changed_listed_and_deleted() {
    let mut api = Api::new(false, Edition::Community);
    assert_eq!(api.get("/channels").await, json!({ "channels": [] }));
    let given = json!({
        "name": "ops",
        "type": "discord",
        "url": "https://discord.com/api/webhooks/1/t0ken",
        "headers": "{\"X-Tag\":\"t0ken\"}",
        "enabled": true,
    });
    let (status, made) = api.post("/channels", given).await;
    assert_eq!(status, 201, "{made}");
    assert_eq!(made["url"], "https://discord.com/api/webhooks/1/***");
    assert_eq!(made["headers"], "{\"x-tag\":\"***\"}");
    assert!(made["created_at"].is_string() && made.get("health").is_none());
    let (status, changed) =
        api.put("/channels/1", json!({ "name": "team", "url": made["url"] })).await;
    assert_eq!((status, &changed["name"]), (200, &json!("team")), "{changed}");
    let stored = api.store.read(|db| sql::find_channel(db, 1)).await.unwrap().unwrap();
    assert_eq!(stored.url, "https://discord.com/api/webhooks/1/t0ken");
    let listed = api.get("/channels").await;
    let one = &listed["channels"][0];
    assert_eq!(
        (&one["health"], &one["pending"], &one["dead"]),
        (&json!("healthy"), &json!(0), &json!(0))
    );
    assert_eq!(api.delete("/channels/1").await.0, 204);
    refused(api.delete("/channels/1").await, 404, "NOT_FOUND", "no channel with id 1");
    let told = api.take_told();
    let names: Vec<&str> = told.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["channel.created", "channel.updated", "channel.deleted"]);
    assert!(told.iter().all(|(_, data)| !data.to_string().contains("t0ken")), "{told:?}");
    assert_eq!(told[2].1, json!({ "id": 1 }));
}

#[tokio::test]
async fn what_cannot_be_is_refused_with_its_field() {
    let api = Api::new(false, Edition::Community);
    let url = "https://hooks.example.org/";
    let made = api.post("/channels", json!({ "name": "ops", "url": url })).await;
    assert_eq!(
        (made.0, &made.1["enabled"], &made.1["type"]),
        (201, &json!(false), &json!("webhook"))
    );
    api.post("/channels", json!({ "name": "two", "url": url })).await;
    let duplicate = api.post("/channels", json!({ "name": "OPS", "url": url })).await;
    refused(duplicate, 409, "DUPLICATE_NAME", "`OPS`");
    refused(api.put("/channels/2", json!({ "name": "ops" })).await, 409, "DUPLICATE_NAME", "`ops`");
    assert_eq!(api.put("/channels/1", json!({ "name": "Ops" })).await.0, 200, "its own name");
    for bad in ["", "x", "[]", "{\"name\":1}"] {
        let answer = api.post("/channels", json!(bad)).await;
        refused(answer, 400, "INVALID_BODY", "");
        refused(api.put("/channels/1", json!(bad)).await, 400, "INVALID_BODY", "");
    }
    refused(api.post("/channels", json!("null")).await, 400, "VALIDATION_ERROR", "url");
    for (url, says) in [
        ("http://hooks.example.org/", "https"),
        ("https://127.0.0.1/", "private address"),
        ("https://[::ffff:10.0.0.1]/", "private address"),
        ("https://2130706433/", "private address"),
        ("https://169.254.169.254/", "link-local"),
        ("https://private.example/", "10.0.0.1 is a private address"),
        ("https://nowhere.example/", "cannot be resolved"),
    ] {
        let given = json!({ "name": "x", "url": url });
        refused(api.post("/channels", given.clone()).await, 400, "VALIDATION_ERROR", says);
        refused(api.put("/channels/1", given).await, 400, "VALIDATION_ERROR", says);
    }
    // A resolver that does not answer says nothing of a name.
    let silent = json!({ "name": "silent", "url": "https://silent.example/" });
    assert_eq!(api.post("/channels", silent).await.0, 201);
    let mail = json!({ "name": "mail", "type": "email", "url": "ops@example.org" });
    refused(api.post("/channels", mail).await, 400, "VALIDATION_ERROR", "MAINTENANT_SMTP_HOST");
    refused(api.put("/channels/9", json!({})).await, 404, "NOT_FOUND", "9");
    refused(api.put("/channels/x", json!({})).await, 400, "INVALID_PARAM", "`x`");
    refused(api.delete("/channels/x").await, 400, "INVALID_PARAM", "`x`");
    refused(api.post("/channels/x/test", Value::Null).await, 400, "INVALID_PARAM", "`x`");
    refused(api.post("/channels/9/test", Value::Null).await, 404, "NOT_FOUND", "9");
}

#[tokio::test]
async fn rules_are_of_the_extended_edition() {
    let api = Api::new(false, Edition::Community);
    for path in ["/channels/1/rules", "/channels/x/rules"] {
        refused(api.post(path, json!("x")).await, 403, "PRO_REQUIRED", "extended");
    }
    refused(api.delete("/channels/x/rules/y").await, 403, "PRO_REQUIRED", "extended");

    let api = Api::new(false, Edition::Extended);
    api.post("/channels", json!({ "name": "ops", "url": "https://hooks.example.org/" })).await;
    let given = json!({ "source_filter": "endpoint, container", "severity_filter": "critical" });
    let (status, rule) = api.post("/channels/1/rules", given).await;
    assert_eq!(status, 201);
    assert_eq!(rule["source_filter"], "endpoint,container");
    assert!(rule["created_at"].is_string());
    let listed = api.get("/channels").await;
    assert_eq!(listed["channels"][0]["routing_rules"], json!([rule]));
    refused(api.post("/channels/9/rules", json!({})).await, 404, "NOT_FOUND", "9");
    refused(api.post("/channels/x/rules", json!({})).await, 400, "INVALID_PARAM", "x");
    refused(api.post("/channels/1/rules", json!("x")).await, 400, "INVALID_BODY", "");
    let bad = json!({ "severity_filter": "fatal" });
    refused(api.post("/channels/1/rules", bad).await, 400, "VALIDATION_ERROR", "severity_filter");
    refused(api.delete("/channels/1/rules/x").await, 400, "INVALID_PARAM", "x");
    assert_eq!(api.delete("/channels/1/rules/1").await.0, 204);
    assert_eq!(api.delete("/channels/1/rules/1").await.0, 204, "also when it is gone");
    assert!(api.get("/channels").await["channels"][0].get("routing_rules").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_says_how_it_went() {
    let api = Api::new(true, Edition::Community);
    let receiver =
        Receiver::new(|_, number| Reply::Status(if number == 1 { 202 } else { 500 })).await;
    api.post("/channels", json!({ "name": "ops", "url": receiver.url() })).await;
    let answer = api.post("/channels/1/test", Value::Null).await;
    assert_eq!(answer, (200, json!({ "status": "delivered", "response_code": 202 })));
    assert_eq!(receiver.seen()[0].json()["event"], "test");
    let (status, answer) = api.post("/channels/1/test", Value::Null).await;
    assert_eq!((status, &answer["status"]), (200, &json!("failed")));
    assert!(answer["error"].as_str().unwrap().contains("500"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_listed_and_dead_ones_sent_again() {
    let api = Api::new(false, Edition::Community);
    let given = json!({ "name": "ops", "url": "https://hooks.example.org/", "enabled": true });
    api.post("/channels", given).await;
    let fill = |tx: &Connection| {
        for entity in 1..=3 {
            enqueue(tx, &fired(entity), at(0))?;
        }
        sql::finish(tx, 1, &Outcome::Dead { error: "it answered 404".into() }, at(1))?;
        sql::finish(tx, 2, &Outcome::Delivered, at(1))
    };
    api.store.write(fill).await.unwrap();
    let one = &api.get("/channels").await["channels"][0];
    assert_eq!((&one["pending"], &one["dead"]), (&json!(1), &json!(1)));
    let ids = |answer: &Value| -> Vec<i64> {
        let all = answer["notifications"].as_array().unwrap();
        all.iter().map(|one| one["id"].as_i64().unwrap()).collect()
    };
    let all = api.get("/notifications").await;
    assert_eq!((ids(&all), &all["has_more"]), (vec![3, 2, 1], &json!(false)));
    let dead = api.get("/notifications?status=dead&channel_id=1").await;
    assert_eq!(ids(&dead), [1]);
    let dead = &dead["notifications"][0];
    assert_eq!(dead["last_error"], "it answered 404");
    assert_eq!((&dead["target_name"], &dead["event"]), (&json!("ops"), &json!("alert.fired")));
    assert_eq!(dead["payload"]["alert"]["entity_name"], "web");
    assert!(ids(&api.get("/notifications?channel_id=2").await).is_empty());
    let page = api.get("/notifications?limit=2").await;
    assert_eq!((ids(&page), &page["has_more"]), (vec![3, 2], &json!(true)));
    assert_eq!(ids(&api.get("/notifications?limit=2&before_id=2").await), [1]);
    for bad in ["status=lost", "limit=0", "limit=201", "channel_id=x", "before_id=x"] {
        let answer = api.ask(Method::GET, &format!("/notifications?{bad}"), Value::Null).await;
        refused(answer, 400, "INVALID_PARAM", bad.split('=').next().unwrap());
    }

    let (status, again) = api.post("/notifications/1/retry", Value::Null).await;
    assert_eq!((status, &again["status"], &again["attempts"]), (200, &json!("pending"), &json!(0)));
    assert_eq!(again["idempotency_key"], dead["idempotency_key"]);
    refused(api.post("/notifications/2/retry", Value::Null).await, 409, "CONFLICT", "delivered");
    refused(api.post("/notifications/9/retry", Value::Null).await, 404, "NOT_FOUND", "9");
    refused(api.post("/notifications/x/retry", Value::Null).await, 400, "INVALID_PARAM", "x");
    api.put("/channels/1", json!({ "enabled": false })).await;
    refused(api.post("/notifications/1/retry", Value::Null).await, 409, "CONFLICT", "switched off");
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_keep_their_secret_and_speak_in_lower_case() {
    let api = Api::new(true, Edition::Community);
    assert_eq!(api.get("/webhooks").await, json!({ "webhooks": [] }));
    let receiver = Receiver::new(|_, _| Reply::Status(200)).await;
    let given = json!({ "name": "bot", "url": receiver.url(), "secret": "s3cret" });
    let (status, made) = api.post("/webhooks", given).await;
    assert_eq!((status, &made["event_types"]), (201, &json!(["*"])), "{made}");
    let listed = api.get("/webhooks").await;
    let one = &listed["webhooks"][0];
    assert_eq!(one["last_delivery_status"], Value::Null);
    assert_eq!((&one["failure_count"], &one["is_active"]), (&json!(0), &json!(true)));
    assert!(!format!("{made}{listed}").contains("s3cret"));
    let id = made["id"].as_str().unwrap();
    let (status, answer) = api.post(&format!("/webhooks/{id}/test"), Value::Null).await;
    assert_eq!((status, answer), (200, json!({ "status": "delivered", "http_status": 200 })));
    let seen = receiver.seen().remove(0);
    assert_eq!(seen.json()["type"], "test");
    assert!(seen.json()["data"]["message"].is_string());
    assert_eq!(api.delete(&format!("/webhooks/{id}")).await.0, 204);
    refused(api.delete(&format!("/webhooks/{id}")).await, 404, "not_found", "webhooks");
    refused(api.post("/webhooks/x/test", Value::Null).await, 404, "not_found", "");
    refused(api.post("/webhooks", json!("x")).await, 400, "invalid_json", "");
    refused(api.post("/webhooks", json!({})).await, 400, "invalid_input", "name");
    let metadata = json!({ "name": "m", "url": "https://169.254.169.254/" });
    refused(api.post("/webhooks", metadata).await, 400, "invalid_input", "link-local");
}
