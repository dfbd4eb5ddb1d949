//! Several collectors of which some fail, each in its own way: what the well one says is told with
//! where it comes from, and the others are named with what would help.

use std::sync::Arc;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::clock::{ByTurns, TURN, by_turns};
use crate::fake::{Answer, Client, Fake, error, nobody};
use crate::v1::{KIND, V1, calls};

/// A well one beside one that is in trouble.
struct Fleet {
    client: Client,
    well: V1,
    ill: Option<Fake>,
    _clock: ByTurns,
}

async fn of(ill: Option<Fake>) -> Fleet {
    let clock = by_turns(5 * TURN);
    let well = V1::new(KIND).await;
    let url = match &ill {
        Some(ill) => ill.url.clone(),
        None => nobody(),
    };
    let client = Client::new(&format!("well={},ill={url}", well.url)).await;
    Fleet { client, well, ill, _clock: clock }
}

/// Whatever listens there has none of these routes.
fn other(path: &str, _: usize) -> Answer {
    match path {
        "health" => (200, json!({"status": "ok", "version": "0.1"})),
        _ => (404, json!("404 page not found\n")),
    }
}

fn is_read(tool: &str) -> bool {
    tool.starts_with("list_") || tool.starts_with("get_")
}

/// What an answer says of the one in trouble, where it does.
fn error_of(answer: &Value) -> Option<String> {
    let sources = answer["sources"].as_array()?;
    let ill = sources.iter().find(|source| source["name"] == "ill")?;
    Some(ill["error"].as_str()?.to_owned())
}

/// Every tool that reads. All at once: each may have to wait.
async fn check(fleet: &Fleet, why: &str) {
    let calls = calls().into_iter().filter(|(tool, _)| is_read(tool));
    join_all(calls.map(|(tool, arguments)| check_read(fleet, why, tool, arguments))).await;
}

/// Of both and of each by name.
async fn check_read(fleet: &Fleet, why: &str, tool: &'static str, arguments: Value) {
    let answer = fleet.client.call(tool, arguments.clone()).await;
    // What is looked for by name or id is found; where else it may be is a hint.
    let one = ["get_container", "get_container_logs", "get_endpoint_history"].contains(&tool);
    if one {
        let hint = answer["hint"].as_str().unwrap();
        assert!(hint.contains("ot asked") && hint.contains("ill"), "{tool}: {hint}");
    } else {
        let error = error_of(&answer).unwrap_or_else(|| panic!("{tool}: {answer}"));
        assert!(error.contains(why), "{tool}: {error}");
    }
    let text = answer.to_string();
    assert!(text.contains(r#""collector":"well""#) || tool == "get_health", "{tool}: {text}");
    if tool == "get_health" {
        assert_eq!(answer["status"], "degraded");
        return;
    }
    // list_alerts has a filter called source.
    let name = if tool == "list_alerts" { "collector" } else { "source" };
    let mut only = arguments.clone();
    only[name] = json!("well");
    let answer = fleet.client.call(tool, only).await;
    assert_eq!(answer.get("sources"), None, "{tool}: {answer}");
    let mut only = arguments;
    only[name] = json!("ill");
    let sentence = fleet.client.error(tool, only).await;
    assert!(sentence.contains(why), "{tool}: {sentence}");
}

/// Every tool that changes something: not without a name, and not there.
async fn check_changes(fleet: &Fleet, why: &str) {
    let with = |mut arguments: Value, name: &str| {
        arguments["source"] = json!(name);
        arguments
    };
    let changes = || calls().into_iter().filter(|(tool, _)| !is_read(tool));
    for (tool, arguments) in changes() {
        let sentence = fleet.client.error(tool, arguments).await;
        assert!(sentence.contains("`collector` is missing"), "{tool}: {sentence}");
    }
    let ill = changes().map(|(tool, arguments)| fleet.client.error(tool, with(arguments, "ill")));
    for ((tool, _), sentence) in changes().zip(join_all(ill).await) {
        assert!(sentence.contains(why), "{tool}: {sentence}");
    }
    for (tool, arguments) in changes() {
        fleet.client.call(tool, with(arguments, "well")).await;
    }
    assert_eq!(fleet.well.asked("POST").len(), 6);
    let writes = fleet.ill.as_ref().map(Fake::writes).unwrap_or_default();
    assert!(writes.is_empty() || why.contains("function"), "{writes:?}");
}

#[tokio::test]
async fn beside_one_that_is_dead() {
    let fleet = of(None).await;
    check(&fleet, "cannot be reached").await;
    check_changes(&fleet, "cannot be reached").await;
}

#[tokio::test]
async fn beside_one_with_another_token() {
    let ill = Fake::tcp(|_, _| error(401, "UNAUTHORIZED", "no")).await;
    let fleet = of(Some(ill)).await;
    check(&fleet, "MAINTENANT_API_TOKEN").await;
    check_changes(&fleet, "MAINTENANT_API_TOKEN").await;
}

#[tokio::test]
async fn beside_one_of_another_version() {
    let fleet = of(Some(Fake::tcp(other).await)).await;
    check(&fleet, "does not offer this function").await;
    check_changes(&fleet, "does not offer this function").await;
}

#[tokio::test]
async fn beside_one_that_is_slow() {
    let ill = Fake::held(other, Arc::new(Semaphore::new(0))).await;
    let fleet = of(Some(ill)).await;
    check(&fleet, "did not answer in time").await;
    check_changes(&fleet, "did not answer in time").await;
}
