//! What tools answer when some of what they ask fails.

use serde_json::{Value, json};

use crate::clock::{TURN, by_turns};
use crate::fake::{Answer, Client, Fake, contract, error, nobody};

async fn client_of(
    answers: impl Fn(&str) -> Option<Answer> + Send + Sync + 'static,
) -> (Client, Fake) {
    let fake =
        Fake::tcp(move |path, nth| answers(path).unwrap_or_else(|| contract(path, nth))).await;
    (Client::new(&fake.url).await, fake)
}

#[tokio::test]
async fn one_collector_that_answers_in_part_is_named_with_its_error() {
    let refusing = |path: &str| (path != "health").then(|| error(401, "UNAUTHORIZED", "no"));
    let (client, _fake) = client_of(refusing).await;
    let answer = client.call("get_health", json!({})).await;
    assert_eq!(
        (&answer["status"], &answer["sources"][0]["ok"]),
        (&json!("degraded"), &json!(false))
    );
    let cause = answer["sources"][0]["error"].as_str().unwrap();
    assert!(cause.contains("MAINTENANT_API_TOKEN"), "{cause}");

    let listless = |path: &str| (path == "containers").then(|| error(500, "INTERNAL_ERROR", "x"));
    let (client, _fake) = client_of(listless).await;
    let answer = client.call("get_health", json!({})).await;
    assert_eq!((&answer["status"], &answer["connected"]), (&json!("degraded"), &json!(true)));
    assert!(answer["sources"][0]["error"].as_str().unwrap().contains("status 500"), "{answer}");
}

fn with_refused_call(path: &str) -> Option<Answer> {
    (path == "runtime/status").then(|| {
        let refused =
            json!({"feature": "logs", "call": "GET /containers/{id}/logs", "error": "403"});
        (200, json!({"runtime": "docker", "connected": true, "degraded": [refused]}))
    })
}

#[tokio::test]
async fn a_refused_call_is_degraded_and_belongs_to_its_collector() {
    let (client, fake) = client_of(with_refused_call).await;
    let answer = client.call("get_health", json!({})).await;
    assert_eq!((&answer["status"], &answer["sources"]), (&json!("degraded"), &Value::Null));
    assert_eq!(answer["degraded"][0]["feature"], "logs");

    let well = Fake::tcp(contract).await;
    let client = Client::new(&format!("prod={},lab={}", well.url, fake.url)).await;
    let answer = client.call("get_health", json!({})).await;
    assert_eq!((&answer["status"], &answer["degraded"]), (&json!("degraded"), &Value::Null));
    assert_eq!(answer["sources"][0]["degraded"], Value::Null);
    assert_eq!(answer["sources"][1]["degraded"][0]["feature"], "logs");
}

#[tokio::test]
async fn with_several_collectors_answers_say_where_from_and_who_was_not_asked() {
    let well = Fake::tcp(contract).await;
    let client = Client::new(&format!("prod={},lab={}", well.url, nobody())).await;
    for tool in ["get_container", "get_container_logs"] {
        let answer = client.call(tool, json!({"container_id": "db"})).await;
        let place = if tool == "get_container" { &answer["container"] } else { &answer };
        assert_eq!(place["collector"], "prod", "{tool}");
        let hint = answer["hint"].as_str().unwrap();
        assert!(hint.contains("Not asked") && hint.contains("lab"), "{tool}: {hint}");
    }
    let only = json!({"container_id": "db", "collector": "prod"});
    assert!(client.call("get_container_logs", only).await.get("hint").is_none());
}

#[tokio::test]
async fn a_number_that_is_an_id_and_a_name_is_ambiguous() {
    let rows = |path: &str| {
        (path == "containers").then(|| {
            let row = |id: i64, name: &str| {
                json!({"id": id, "name": name, "image": "i", "state": "running",
                       "last_state_change_at": "2026-05-05T10:00:00Z"})
            };
            (200, json!({"groups": [{"containers": [row(5, "web"), row(7, "5")]}]}))
        })
    };
    let (client, _fake) = client_of(rows).await;
    let sentence = client.error("get_container", json!({"container_id": "5"})).await;
    assert!(sentence.contains("`web` (id 5), `5` (id 7)"), "{sentence}");
}

#[tokio::test]
async fn a_lookup_that_failed_does_not_deny_the_container() {
    let broken = |path: &str| (path == "containers/77").then(|| error(500, "INTERNAL_ERROR", "x"));
    let (client, fake) = client_of(broken).await;
    let sentence = client.error("get_container", json!({"container_id": "77"})).await;
    assert!(sentence.contains("status 500") && !sentence.contains("no container"), "{sentence}");

    let well = Fake::tcp(contract).await;
    let client = Client::new(&format!("prod={},lab={}", well.url, fake.url)).await;
    let sentence = client.error("get_container", json!({"container_id": "77"})).await;
    assert!(sentence.contains("no container `77`"), "{sentence}");
    assert!(sentence.contains("do not answer: lab"), "{sentence}");
}

#[tokio::test]
async fn arguments_left_empty_are_absent() {
    let (client, _fake) = client_of(|_| None).await;
    let empty = json!({"state": "", "health": "", "group": "", "name": "", "cursor": "",
                       "collector": ""});
    let answer = client.call("list_containers", empty).await;
    assert_eq!(answer["containers"].as_array().unwrap().len(), 5);
    assert!(answer["summary"].get("matching").is_none());
    let empty = json!({"container_id": "db", "since": "", "until": "", "stream": "", "grep": "",
                       "collector": ""});
    assert_eq!(client.call("get_container_logs", empty).await["returned"], 4);
}

/// A server that reads logs only live: `refusal` for `/logs`, `events` on the stream.
async fn logs(refusal: Answer, events: &'static str, arguments: Value) -> Result<Value, String> {
    let (client, fake) = client_of(move |path| {
        if path.starts_with("containers/1/logs/stream") {
            return Some((200, json!(events)));
        }
        path.starts_with("containers/1/logs").then(|| refusal.clone())
    })
    .await;
    let result = client.result("get_container_logs", arguments).await;
    let streamed = fake.paths().iter().any(|path| path.contains("/logs/stream"));
    let text = result.content[0].as_text().unwrap().text.clone();
    match result.structured_content {
        Some(answer) => Ok(answer),
        None => Err(format!("{text} streamed: {streamed}")),
    }
}

const LINE: &str = "event: container.log_line\ndata: {\"line\":\"one\"}\n\n";
const STOPPED: &str = "event: container.log_error\ndata: {\"error\":\"container stopped\"}\n\n";
const BROKEN: &str = "event: container.log_error\ndata: {\"error\":\"no such host\"}\n\n";

#[tokio::test]
async fn the_stream_stands_in_only_for_logs_that_are_never_read_otherwise() {
    let _clock = by_turns(TURN);
    let api = || json!({"container_id": "api"});
    let away = || error(502, "RUNTIME_UNAVAILABLE", "container runtime not available");
    for refusal in [away(), (502, json!("bad gateway"))] {
        assert_eq!(logs(refusal, LINE, api()).await.unwrap()["lines"], json!(["one"]));
    }
    let considered = error(502, "LOGS_UNAVAILABLE", "the call is refused");
    let sentence = logs(considered, LINE, api()).await.unwrap_err();
    assert!(sentence.contains("the call is refused"), "{sentence}");
    assert!(sentence.ends_with("streamed: false"), "{sentence}");
}

#[tokio::test]
async fn a_stream_without_lines_is_no_empty_log() {
    let _clock = by_turns(TURN);
    let away = || error(502, "RUNTIME_UNAVAILABLE", "container runtime not available");
    let api = || json!({"container_id": "api"});
    assert_eq!(logs(away(), STOPPED, api()).await.unwrap()["returned"], 0);
    for events in [BROKEN, ": ping\n\n"] {
        let sentence = logs(away(), events, api()).await.unwrap_err();
        assert!(sentence.contains("cannot reach the Docker engine"), "{sentence}");
        assert!(sentence.ends_with("streamed: true"), "{sentence}");
    }
    let stderr = json!({"container_id": "api", "stream": "stderr"});
    let sentence = logs(away(), LINE, stderr).await.unwrap_err();
    assert!(sentence.contains("cannot tell the streams apart"), "{sentence}");
}
