//! Answers of collectors are kept for a moment: how often a collector is asked, and what a client
//! is told of it. How entries live and die is tested beside the code.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use maintenant_gateway::collector::TlsFiles;
use maintenant_gateway::{Collectors, Gateway};
use maintenant_serve::settings::Secret;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::calls::{Gate, audited, has};
use crate::fake::{Answer, Client, Fake, config, contract, error, gateway_with, object};

/// Answers serve for longer than a test takes.
const LONG: &str = "--mcp-cache=1m";

fn heartbeat() -> Value {
    json!({"id": 3, "uuid": "u", "name": "backup", "status": "up", "alert_state": "normal",
           "interval_seconds": 60, "grace_seconds": 0, "active": true,
           "created_at": "2026-05-05T10:00:00Z", "updated_at": "2026-05-05T10:00:00Z"})
}

fn server(path: &str, nth: usize) -> Answer {
    match path {
        "heartbeats" => (200, json!({"heartbeats": [heartbeat()]})),
        "heartbeats/3" => (200, json!({"heartbeat": heartbeat()})),
        "heartbeats/3/pause" => (200, object(heartbeat(), json!({"status": "paused"}))),
        _ => contract(path, nth),
    }
}

async fn client(settings: &[&str]) -> (Client, Fake) {
    let fake = Fake::tcp(server).await;
    (Client::of(gateway_with(&fake.url, settings)).await, fake)
}

fn count(fake: &Fake, path: &str) -> usize {
    fake.paths().iter().filter(|seen| *seen == path).count()
}

#[tokio::test]
async fn many_equal_calls_at_once_cost_one_request() {
    let (client, fake) = client(&[LONG]).await;
    let answers = join_all((0..40).map(|_| client.call("list_containers", json!({})))).await;
    assert_eq!(fake.paths(), ["containers"]);
    for answer in answers {
        assert_eq!(answer["summary"]["total"], 5);
    }
}

#[tokio::test]
async fn an_answer_that_was_kept_says_from_when() {
    let (client, fake) = client(&[LONG]).await;
    let first = client.call("list_containers", json!({})).await;
    let second = client.call("list_containers", json!({})).await;
    assert_eq!(first.get("as_of"), None);
    let moment: jiff::Timestamp = second["as_of"].as_str().unwrap().parse().unwrap();
    let age = maintenant_serve::clock::now().duration_since(moment);
    assert!((0..=60).contains(&age.as_secs()), "{age}");
    assert_eq!(object(first, json!({"as_of": second["as_of"]})), second);
    assert_eq!(fake.paths(), ["containers"]);
}

#[tokio::test]
async fn without_a_cache_every_call_is_asked() {
    let (client, fake) = client(&["--mcp-cache=0"]).await;
    for _ in 0..3 {
        assert_eq!(client.call("list_containers", json!({})).await.get("as_of"), None);
    }
    assert_eq!(count(&fake, "containers"), 3);
}

#[tokio::test]
async fn logs_and_health_are_always_asked_for() {
    let (client, fake) = client(&[LONG]).await;
    for _ in 0..2 {
        let logs = client.call("get_container_logs", json!({"container_id": "db"})).await;
        assert_eq!(logs.get("as_of"), None);
        let health = client.call("get_health", json!({})).await;
        assert_eq!(health.get("as_of"), None);
    }
    assert_eq!(count(&fake, "containers/2/logs?lines=100"), 2);
    assert_eq!((count(&fake, "health"), count(&fake, "runtime/status")), (2, 2));
    // Of the logs' container once, and of each health.
    assert_eq!(count(&fake, "containers"), 3);
}

#[tokio::test]
async fn a_change_makes_all_of_its_collector_be_asked_again_and_none_of_another() {
    let (prod, lab) = (Fake::tcp(server).await, Fake::tcp(server).await);
    let url = format!("prod={},lab={}", prod.url, lab.url);
    let client = Client::of(gateway_with(&url, &[LONG])).await;
    let pause = json!({"monitor_type": "heartbeat", "monitor_id": 3, "source": "prod"});
    client.call("list_heartbeats", json!({})).await;
    client.call("pause_monitor", pause).await;
    client.call("list_heartbeats", json!({})).await;
    assert_eq!((count(&prod, "heartbeats"), count(&lab, "heartbeats")), (2, 1));
}

#[tokio::test]
async fn failures_are_not_kept() {
    let broken = |path: &str, nth: usize| match nth {
        1 => error(500, "INTERNAL_ERROR", "x"),
        _ => contract(path, nth),
    };
    let fake = Fake::tcp(broken).await;
    let client = Client::new(&fake.url).await;
    client.error("list_containers", json!({})).await;
    client.call("list_containers", json!({})).await;
}

#[tokio::test]
async fn no_more_calls_than_set_are_under_way_and_the_others_wait() {
    let gate = Arc::new(Semaphore::new(0));
    let fake = Fake::held(server, gate.clone()).await;
    let gateway = gateway_with(&fake.url, &["--upstream-calls=2", "--mcp-cache=0"]);
    let client = Client::of(gateway).await;
    let calls = join_all((0..6).map(|_| client.call("list_containers", json!({}))));
    let watch = async {
        for answered in 0..6 {
            let expected = (answered + 2).min(6);
            while fake.paths().len() < expected {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            // A third would have had the time of a whole exchange to arrive.
            assert_eq!(fake.paths().len(), expected);
            gate.add_permits(1);
        }
    };
    let (answers, ()) = tokio::join!(calls, watch);
    assert_eq!(answers.len(), 6);
}

#[tokio::test]
async fn who_leaves_takes_nothing_from_those_who_wait() {
    let gate = Arc::new(Semaphore::new(0));
    let fake = Fake::held(server, gate.clone()).await;
    let gateway = gateway_with(&fake.url, &[]);
    let (first, second) = (Client::of(gateway.clone()).await, Client::of(gateway).await);
    let asked = async {
        while fake.paths().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        _ = first.call("list_containers", json!({})) => panic!("answered behind a closed gate"),
        () = asked => {}
    }
    let leave = async {
        drop(first);
        gate.add_permits(2);
    };
    let (answer, ()) = tokio::join!(second.call("list_containers", json!({})), leave);
    assert_eq!(answer["summary"]["total"], 5);
}

#[tokio::test]
async fn a_whole_answer_that_was_kept_is_as_one_made_anew_until_something_changes() {
    let (client, fake) = client(&[LONG]).await;
    let pause = json!({"monitor_type": "heartbeat", "monitor_id": 3});
    for round in 1..=2 {
        let few = json!({"limit": 2});
        let first = client.call("list_containers", few.clone()).await;
        let second = client.call("list_containers", few.clone()).await;
        assert_eq!(second, client.call("list_containers", few).await);
        assert_eq!(object(first, json!({"as_of": second["as_of"]})), second);
        let more = client.call("list_containers", json!({"limit": 3})).await;
        assert_ne!(more["containers"], second["containers"], "another question");
        assert_eq!(count(&fake, "containers"), round);
        client.call("pause_monitor", pause.clone()).await;
    }
}

#[tokio::test]
async fn with_another_token_all_is_asked_again() {
    let fake = Fake::tcp(server).await;
    let config = config(&["--url", &fake.url, LONG]);
    let settings = config.collectors.clone();
    let collectors = Collectors::new(config.collectors).unwrap();
    let client = Client::of(Gateway::new(collectors.clone(), false)).await;
    for token in ["first", "second", "third"] {
        let files = TlsFiles::read(&settings).unwrap();
        collectors.set_credentials(Some(&Secret::new(token.to_owned())), &files);
        for _ in 0..2 {
            client.call("list_containers", json!({})).await;
            client.call("list_heartbeats", json!({})).await;
        }
    }
    let requests = fake.requests.lock().unwrap().clone();
    let sent: Vec<String> = requests.into_iter().filter_map(|seen| seen.authorization).collect();
    let twice = |token: &str| vec![format!("Bearer {token}"); 2];
    assert_eq!(sent, [twice("first"), twice("second"), twice("third")].concat());
}

#[tokio::test]
async fn a_kept_answer_is_counted_and_names_its_collectors_in_the_audit_log() {
    let (prod, lab) = (Fake::tcp(server).await, Fake::tcp(server).await);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.jsonl");
    let audit = format!("--mcp-audit={}", file.display());
    let url = format!("prod={},lab={}", prod.url, lab.url);
    let mut gate = Gate::new(&url, &[&audit, LONG]).await;
    for _ in 0..3 {
        gate.call("list_containers", json!({})).await;
    }
    let metrics = gate.scrape().await;
    has(&metrics, "maintenant_cache_uses_total{collector=\"lab\",result=\"hit\"} 2");
    gate.end().await;
    let lines = audited(&file);
    assert!(lines.iter().all(|line| line["sources"] == json!(["lab", "prod"])), "{lines:?}");
    assert_eq!((prod.paths().len(), lab.paths().len()), (1, 1));
}
