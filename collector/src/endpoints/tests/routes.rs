//! The routes without a socket. Every fault names its field and what is accepted.

use axum::body::Body;
use serde_json::{Value, json};

use super::super::sql;
use super::at;
use crate::http::tests::{Answer, Api, api, check_error, request};

async fn ready() -> Api {
    let api = api(None, &[]).await;
    api.runtime.connected(None, at(1));
    api
}

async fn send(api: &Api, method: &str, path: &str, body: &Value) -> Answer {
    let request = request(method, &format!("/api/v1{path}"));
    api.send(request.body(Body::from(body.to_string())).unwrap()).await
}

/// By name, so that no check comes between.
fn shop() -> Value {
    json!({"name": "shop", "target": "http://shop.test", "endpoint_type": "http"})
}

async fn create(api: &Api, body: &Value) -> Value {
    let created = send(api, "POST", "/endpoints", body).await;
    assert_eq!(created.status, 201, "{}", created.body);
    created.body["endpoint"].clone()
}

#[tokio::test]
async fn an_endpoint_is_created_read_changed_and_deleted() {
    let api = ready().await;
    let made = create(&api, &shop()).await;
    assert_eq!((&made["source"], &made["status"]), (&json!("standalone"), &json!("unknown")));
    let config = json!({
        "interval": "30s", "timeout": "10s", "failure_threshold": 3, "recovery_threshold": 2,
        "method": "GET", "expected_status": "2xx", "tls_verify": true, "max_redirects": 5,
    });
    assert_eq!(made["config"], config);
    let path = format!("/endpoints/{}", made["id"]);
    let change = json!({"interval": "5s", "target": "", "headers": {"Host": "x"}});
    let changed = send(&api, "PUT", &path, &change).await;
    assert_eq!(changed.status, 200, "{}", changed.body);
    let changed = &changed.body["endpoint"];
    assert_eq!(changed["target"], "http://shop.test", "empty is unchanged");
    assert_eq!(changed["config"]["interval"], "5s");
    assert_eq!(changed["config"]["timeout"], "5s", "nobody asked for 10 seconds");
    assert_eq!(changed["config"]["headers"], json!({"Host": "x"}));
    let read = api.get(&format!("/api/v1{path}")).await;
    assert_eq!(read.body["endpoint"], *changed);
    assert_eq!(read.body["uptime"]["90d"], Value::Null);
    assert_eq!(read.body["uptime_coverage"]["1h"], 0.0);
    let same = send(&api, "PUT", &path, &json!({})).await;
    assert_eq!(same.body["endpoint"], *changed);
    assert_eq!(send(&api, "DELETE", &path, &json!({})).await.status, 204);
    assert_eq!(send(&api, "DELETE", &path, &json!({})).await.status, 404);
    let missing = send(&api, "PUT", &path, &json!({})).await;
    assert_eq!(missing.body["error"]["code"], "ENDPOINT_NOT_FOUND");
}

#[tokio::test]
async fn lists_are_filtered_and_carry_uptime_when_asked() {
    let api = ready().await;
    create(&api, &shop()).await;
    let db = json!({"name": "db", "target": "[::1]:1", "endpoint_type": "tcp"});
    create(&api, &db).await;
    let names = |query: &'static str| {
        let api = &api;
        async move {
            let list = api.get(&format!("/api/v1/endpoints?{query}")).await.body;
            assert_eq!(list["total"], list["endpoints"].as_array().unwrap().len());
            let mut names: Vec<String> = list["endpoints"]
                .as_array()
                .unwrap()
                .iter()
                .map(|endpoint| endpoint["name"].as_str().unwrap().to_owned())
                .collect();
            names.sort();
            names.join(" ")
        }
    };
    assert_eq!(names("").await, "db shop");
    assert_eq!(names("type=tcp").await, "db");
    assert_eq!(names("source=label").await, "");
    assert_eq!(names("source=standalone&status=&orchestration_group=x").await, "db shop");
    assert_eq!(names("container=web").await, "");
    let list = api.get("/api/v1/endpoints?uptime=24h,90d").await.body;
    assert_eq!(list["endpoints"][0]["uptime"], json!({"24h": null, "90d": null}));
    assert_eq!(list["endpoints"][0]["uptime_coverage"]["90d"], 0.0);
    assert!(api.get("/api/v1/endpoints").await.body["endpoints"][0].get("uptime").is_none());
}

#[tokio::test]
async fn a_bad_body_is_refused_with_its_field_and_the_accepted_form() {
    let api = ready().await;
    let refused = |change: Value, says: &'static str| {
        let api = &api;
        async move {
            let mut body = shop();
            body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            let answer = send(api, "POST", "/endpoints", &body).await;
            assert_eq!(answer.status, 400, "{body}: {}", answer.body);
            assert_eq!(answer.body["error"]["code"], "INVALID_INPUT", "{body}");
            let message = answer.body["error"]["message"].as_str().unwrap();
            assert!(message.contains(says), "{message}, not {says}");
        }
    };
    refused(json!({"name": " "}), "name: ").await;
    refused(json!({"target": ""}), "target: it is missing").await;
    refused(json!({"target": "/rel"}), "https://example.org").await;
    refused(json!({"target": "http://a:0"}), "1 to 65535").await;
    refused(json!({"endpoint_type": "icmp"}), "neither http nor tcp").await;
    refused(json!({"interval": "4s"}), "interval: `4s`").await;
    refused(json!({"interval": "often"}), "use forms such as").await;
    refused(json!({"timeout": "31s"}), "longer than the interval").await;
    refused(json!({"interval": "5s", "timeout": "10s"}), "longer than the interval").await;
    refused(json!({"failure_threshold": 0}), "between 1 and 100").await;
    refused(json!({"method": "BREW"}), "none of GET").await;
    refused(json!({"body_matches": "("}), "body_matches").await;
    refused(json!({"expect": "x"}), "body_contains").await;
    let answer = send(&api, "POST", "/endpoints", &json!({"name": 7})).await;
    assert_eq!(answer.body["error"]["code"], "INVALID_JSON");
    assert_eq!(api.get("/api/v1/endpoints").await.body["total"], 0);
}

#[tokio::test]
async fn what_others_declare_is_changed_there() {
    let api = ready().await;
    for (key, source) in [("maintenant.endpoint.tcp", "label"), ("file:a", "file")] {
        let mut new = super::declaration(key);
        new.source = maintenant_api::endpoints::EndpointSource::parse(source).unwrap();
        let id = api.store.write(move |tx| sql::declare(tx, &new, at(0))).await.unwrap();
        for method in ["PUT", "DELETE"] {
            let answer = send(&api, method, &format!("/endpoints/{id}"), &json!({})).await;
            assert_eq!(answer.status, 400);
            assert_eq!(answer.body["error"]["code"], "NOT_STANDALONE");
        }
    }
}

#[tokio::test]
async fn unknown_ids_and_parameters() {
    let api = ready().await;
    let v1 = "/api/v1/endpoints";
    check_error(&api, &format!("{v1}/x"), 400, "INVALID_ID", "whole numbers").await;
    check_error(&api, &format!("{v1}/7"), 404, "ENDPOINT_NOT_FOUND", "id 7").await;
    check_error(&api, &format!("{v1}/7/statistics"), 404, "ENDPOINT_NOT_FOUND", "id 7").await;
    check_error(&api, &format!("{v1}?status=ok"), 400, "INVALID_PARAM", "up, down").await;
    check_error(&api, &format!("{v1}?type=udp"), 400, "INVALID_PARAM", "http or tcp").await;
    check_error(&api, &format!("{v1}?source=x"), 400, "INVALID_PARAM", "label, file").await;
    check_error(&api, &format!("{v1}?uptime=2d"), 400, "INVALID_PARAM", "90d").await;
    let checks = format!("{v1}/7/checks");
    check_error(&api, &format!("{checks}?limit=0"), 400, "INVALID_PARAM", "from 1").await;
    check_error(&api, &format!("{checks}?since=x"), 400, "INVALID_PARAM", "since 1970").await;
    check_error(&api, &format!("{v1}/7/uptime/daily?days=0"), 400, "INVALID_PARAM", "1 to").await;
    let containers = "/api/v1/containers/7/endpoints";
    check_error(&api, containers, 404, "CONTAINER_NOT_FOUND", "id 7").await;
    let empty = api.get(&format!("{checks}?since=1700000000&until=15m")).await.body;
    let expected = json!({"endpoint_id": 7, "checks": [], "total": 0, "has_more": false});
    assert_eq!(empty, expected);
    let days = api.get(&format!("{v1}/7/uptime/daily?days=3")).await.body;
    assert_eq!(days["monitor_type"], "endpoint");
    let percents: Vec<_> =
        days["days"].as_array().unwrap().iter().map(|day| &day["uptime_percent"]).collect();
    assert_eq!(percents, [&Value::Null; 3]);
    assert_eq!(api.get("/api/v1/dashboard/sparklines").await.body, json!({}));
    let probes = api.get("/api/v1/probes").await.body;
    assert_eq!(probes["connections"]["limit_per_second"], 500);
}

#[tokio::test]
async fn more_than_is_answered_at_once_may_be_asked_for() {
    let api = ready().await;
    let id = create(&api, &shop()).await["id"].as_i64().unwrap();
    let write = move |tx: &rusqlite::Connection| {
        let row = "INSERT INTO endpoint_checks VALUES (?1, ?2, 0, x'')";
        (0..600).try_for_each(|at| tx.execute(row, (id, at)).map(drop))
    };
    api.store.write(write).await.unwrap();
    let path = format!("/api/v1/endpoints/{id}");
    let page = api.get(&format!("{path}/checks?limit=501")).await.body;
    assert_eq!(page["checks"].as_array().unwrap().len(), 500);
    assert_eq!((&page["total"], &page["has_more"]), (&json!(600), &json!(true)));
    let days = api.get(&format!("{path}/uptime/daily?days=366")).await.body;
    assert_eq!(days["days"].as_array().unwrap().len(), 365);
}

#[tokio::test]
async fn checks_and_statistics_tell_what_was_stored() {
    let api = ready().await;
    let id = create(&api, &shop()).await["id"].as_i64().unwrap();
    let now = maintenant_serve::clock::now().as_second();
    let write = move |tx: &rusqlite::Connection| {
        for (ago, outcome) in [(-6, 0), (-3, -1001), (-2, -1001), (-1, 0)] {
            tx.execute(
                "INSERT INTO endpoint_checks VALUES (?1, ?2, ?3, x'1802')",
                (id, (now + ago * 600) * 1000, outcome),
            )?;
        }
        let error = "INSERT INTO endpoint_failures VALUES (?1, ?2, 'refused')";
        tx.execute(error, (id, (now - 3 * 600) * 1000)).map(drop)
    };
    api.store.write(write).await.unwrap();
    let path = format!("/api/v1/endpoints/{id}");
    let page = api.get(&format!("{path}/checks?limit=1&since={}", now - 1800)).await.body;
    assert_eq!((&page["total"], &page["has_more"]), (&json!(3), &json!(true)));
    assert_eq!(page["checks"][0]["response_time_ms"], 24);
    let told = api.get(&format!("{path}/statistics?since=1h")).await.body;
    assert_eq!((&told["failures"], &told["p95_ms"]), (&json!(2), &json!(24)));
    assert_eq!(told["causes"][0]["cause"], "connect");
    assert_eq!(told["outages"][0]["error"], "refused");
    assert_eq!(told["outages"][0]["failures"], 2);
}

#[tokio::test]
async fn answers_fit_the_document() {
    let api = ready().await;
    let id = create(&api, &shop()).await["id"].as_i64().unwrap();
    let document = api.get("/api/v1/openapi.json").await.body;
    let paths = [
        "/endpoints",
        "/endpoints/{id}",
        "/endpoints/{id}/checks",
        "/endpoints/{id}/statistics",
        "/endpoints/{id}/uptime/daily",
        "/dashboard/sparklines",
        "/probes",
    ];
    for path in paths {
        let answer = api.get(&format!("/api/v1{}", path.replace("{id}", &id.to_string()))).await;
        assert_eq!(answer.status, 200, "{path}");
        let operation = &document["paths"][format!("/api/v1{path}")]["get"];
        let mut schema =
            operation["responses"]["200"]["content"]["application/json"]["schema"].clone();
        schema["components"] = document["components"].clone();
        let validator = jsonschema::validator_for(&schema).unwrap();
        let faults: Vec<_> = validator.iter_errors(&answer.body).map(|e| e.to_string()).collect();
        assert!(faults.is_empty(), "{path}: {faults:?}");
    }
}
