//! The tools that change something.

use std::sync::atomic::{AtomicBool, Ordering};

use maintenant_gateway::{Collectors, Gateway};
use rmcp::ServiceError;
use rmcp::model::CallToolRequestParams;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::fake::{Answer, Client, Fake, config, contract, error, nobody};
use crate::probes::PING;

fn heartbeat(id: i64, status: &str) -> Value {
    let mut row = json!({
        "id": id, "uuid": PING, "name": format!("backup\u{202e} {PING}"), "status": status,
        "alert_state": "normal", "interval_seconds": 3600, "grace_seconds": 300, "active": id != 9,
        "created_at": "2026-05-01T10:00:00+02:00", "updated_at": "2026-05-01T10:00:00+02:00"
    });
    if status == "up" {
        row["next_deadline_at"] = json!("2026-05-05T12:00:00+02:00");
    }
    row
}

/// 1 is up, 2 is paused, 9 was deleted.
fn server(path: &str, nth: usize) -> Answer {
    let found =
        |id, status| (200, json!({"heartbeat": heartbeat(id, status), "snippets": {"curl": PING}}));
    match path {
        "heartbeats/1" => found(1, "up"),
        "heartbeats/2" => found(2, "paused"),
        "heartbeats/9" => found(9, "paused"),
        "heartbeats/1/pause" => (200, heartbeat(1, "paused")),
        "heartbeats/2/pause" => (200, heartbeat(2, "paused")),
        "heartbeats/2/resume" => (200, heartbeat(2, "up")),
        "heartbeats/1/resume" => {
            error(400, "INVALID_INPUT", &format!("invalid input: {PING} is not paused"))
        }
        _ if path.starts_with("heartbeats/") => error(404, "NOT_FOUND", "heartbeat not found"),
        _ => contract(path, nth),
    }
}

fn of(id: i64) -> Value {
    json!({"monitor_type": "heartbeat", "monitor_id": id})
}

async fn client() -> (Client, Fake) {
    let fake = Fake::tcp(server).await;
    (Client::new(&fake.url).await, fake)
}

#[tokio::test]
async fn a_heartbeat_is_paused_and_resumed() {
    let (client, fake) = client().await;
    let name = "backup\\u{202e} [redacted]";
    let paused = client.call("pause_monitor", of(1)).await;
    let message = format!("Heartbeat '{name}' paused");
    assert_eq!(paused, json!({"message": message, "name": name, "status": "paused"}));
    let again = client.call("pause_monitor", of(2)).await;
    assert_eq!(again["message"], format!("Heartbeat '{name}' was already paused"));
    let resumed = client.call("resume_monitor", of(2)).await;
    assert_eq!(
        resumed,
        json!({"message": format!("Heartbeat '{name}' resumed"), "name": name, "status": "up",
               "next_deadline": "2026-05-05T10:00:00Z"})
    );
    let writes = ["POST heartbeats/1/pause", "POST heartbeats/2/pause", "POST heartbeats/2/resume"];
    assert_eq!(fake.writes(), writes);
}

#[tokio::test]
async fn what_cannot_be_done_is_said_with_the_way_out() {
    let (client, fake) = client().await;
    let kind = |kind: &str| json!({"monitor_type": kind, "monitor_id": 1});
    let cases = [
        (kind("endpoint"), "only a `heartbeat` can be paused"),
        (kind("certificate"), "Endpoints and certificates are checked as long as"),
        (of(77), "no heartbeat with id 77 on collector `collector`. list_heartbeats"),
        (of(9), "no heartbeat with id 9"),
        (json!({"monitor_type": "heartbeat"}), "missing field `monitor_id`"),
        (json!({"monitor_type": "heartbeat", "monitor_id": "1"}), "expected a whole number"),
    ];
    for tool in ["pause_monitor", "resume_monitor"] {
        for (arguments, part) in &cases {
            let sentence = client.error(tool, arguments.clone()).await;
            assert!(sentence.contains(part), "{sentence}");
        }
    }
    assert_eq!(fake.writes(), Vec::<String>::new());
    let sentence = client.error("resume_monitor", of(1)).await;
    assert!(sentence.contains("is not paused, its status is up"), "{sentence}");
    assert!(!sentence.contains(PING), "{sentence}");
}

#[tokio::test]
async fn among_several_collectors_one_is_named() {
    let (one, two) = (Fake::tcp(server).await, Fake::tcp(server).await);
    let client = Client::new(&format!("prod={},lab={}", one.url, two.url)).await;
    let sentence = client.error("pause_monitor", of(1)).await;
    assert!(sentence.contains("`collector` is missing") && sentence.contains("prod, lab"));
    let mut arguments = of(1);
    arguments["collector"] = json!("lab");
    assert_eq!(client.call("pause_monitor", arguments).await["collector"], "lab");
    assert_eq!((one.writes().len(), two.writes().len()), (0, 1));
}

#[tokio::test]
async fn a_gateway_that_only_reads_changes_nothing() {
    let fake = Fake::tcp(server).await;
    let collectors = Collectors::new(config(&["--url", &fake.url]).collectors).unwrap();
    let client = Client::of(Gateway::new(collectors, true)).await;
    let tools = client.peer.list_all_tools().await.unwrap();
    assert!(tools.iter().all(|tool| !tool.name.ends_with("_monitor")));
    for tool in ["pause_monitor", "resume_monitor"] {
        let request =
            CallToolRequestParams::new(tool).with_arguments(of(1).as_object().unwrap().clone());
        let Err(ServiceError::McpError(error)) = client.peer.call_tool(request).await else {
            panic!("{tool} was called");
        };
        assert!(error.message.contains("MAINTENANT_MCP_READ_ONLY"), "{}", error.message);
    }
    assert_eq!(fake.paths(), Vec::<String>::new());
}

#[tokio::test]
async fn each_refusal_of_a_change_is_its_own_sentence() {
    let unknown = "may have been done";
    let cases = [
        (error(401, "UNAUTHORIZED", "no"), "refused the gateway's credentials", false),
        (error(403, "FORBIDDEN", "no"), "does not let this gateway change anything", false),
        ((404, json!("404 page not found\n")), "does not offer this function", false),
        (error(404, "NOT_FOUND", PING), "no such object", false),
        (error(429, "rate_limited", "slow down"), "status 429", false),
        ((503, json!("request timeout")), "status 503", true),
        (error(500, "INTERNAL_ERROR", "locked"), "status 500", true),
        ((200, json!("not json")), "cannot read", true),
    ];
    for (answer, part, uncertain) in cases {
        let fake =
            Fake::tcp(
                move |path, nth| {
                    if path.ends_with("/pause") { answer.clone() } else { server(path, nth) }
                },
            )
            .await;
        let sentence = Client::new(&fake.url).await.error("pause_monitor", of(1)).await;
        assert!(sentence.contains(part) && !sentence.contains(PING), "{sentence}");
        assert_eq!(sentence.contains(unknown), uncertain, "{sentence}");
        assert_eq!(fake.writes().len(), 1, "a change is not asked for twice: {sentence}");
    }
    let sentence = Client::new(&nobody()).await.error("pause_monitor", of(1)).await;
    assert!(sentence.contains("cannot be reached") && !sentence.contains(unknown), "{sentence}");
}

/// A server that answers the question, and breaks every connection that brings the change.
#[tokio::test]
async fn a_change_that_may_have_arrived_is_not_sent_again() {
    static ASKED: AtomicBool = AtomicBool::new(false);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut connections = JoinSet::new();
    connections.spawn(async move {
        let mut changes = 0;
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut bytes = [0; 4096];
            let read = tokio::io::AsyncReadExt::read(&mut stream, &mut bytes).await.unwrap();
            if bytes[..read].starts_with(b"POST") {
                changes += 1;
                assert_eq!(changes, 1, "sent again");
                ASKED.store(true, Ordering::SeqCst);
                continue;
            }
            let body = json!({"heartbeat": heartbeat(1, "up")}).to_string();
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        }
    });
    let sentence = Client::new(&url).await.error("pause_monitor", of(1)).await;
    assert!(sentence.contains("may have been done"), "{sentence}");
    assert!(ASKED.load(Ordering::SeqCst));
    // The listener is still there: nobody asserted in vain.
    assert!(connections.try_join_next().is_none());
}
