//! The audit log is complete and true: also of what is cut, refused or only listens.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use maintenant_gateway::caller::Scope;
use maintenant_gateway::calls::Calls;
use maintenant_gateway::guarded::Guarded;
use maintenant_gateway::stdio::serve_on;
use maintenant_serve::clock;
use rmcp::model::{CallToolRequestParams, CallToolResponse, ErrorData};
use rmcp::service::RequestContext;
use rmcp::{RoleServer, ServerHandler, ServiceExt};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::calls::{Gate, alice, audited, has};
use crate::fake::{Fake, config, contract};
use crate::subscriptions::{Manners, Server, Streaming};

const ALERTS: &str = "monitor://alerts/active";

fn audit(folder: &Path) -> (PathBuf, String) {
    let file = folder.join("audit.jsonl");
    let setting = format!("--mcp-audit={}", file.display());
    (file, setting)
}

/// Waits for so many lines, which are written a moment after what they tell.
async fn lines(file: &Path, count: usize) -> Vec<Value> {
    loop {
        let text = std::fs::read_to_string(file).unwrap();
        if text.lines().count() >= count && text.ends_with('\n') {
            return audited(file);
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn the_log_stays_open_until_the_last_call_wrote_its_line() {
    let open = Arc::new(Semaphore::new(0));
    let fake = Fake::held(contract, open.clone()).await;
    let folder = tempfile::tempdir().unwrap();
    let (file, setting) = audit(folder.path());
    let gate = Gate::new(&fake.url, &[&setting]).await;
    let end = async {
        while fake.paths().is_empty() {
            tokio::task::yield_now().await;
        }
        // As if nothing were left; the writer has time to hear of it.
        gate.ended.cancel();
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        open.add_permits(1);
    };
    tokio::join!(gate.call("list_containers", json!({})), end);
    gate.end().await;
    let [line] = audited(&file).try_into().unwrap();
    assert_eq!((&line["name"], &line["result"]), (&json!("list_containers"), &json!("ok")));
}

#[tokio::test]
async fn a_refusal_by_scope_says_whose_it_was() {
    let fake = Fake::tcp(contract).await;
    let folder = tempfile::tempdir().unwrap();
    let (file, setting) = audit(folder.path());
    let mut caller = alice();
    caller.scopes = Some(vec![Scope::MonitorRead]);
    let gate = Gate::of(&fake.url, &[&setting], Some(caller)).await;
    let answer = gate.call("pause_monitor", json!({})).await;
    assert_eq!(answer["error"]["code"], 4032, "{answer}");
    gate.end().await;
    let [mut line] = <[Value; 1]>::try_from(audited(&file)).unwrap();
    for key in ["time", "peer"] {
        assert!(line.as_object_mut().unwrap().remove(key).is_some(), "{key}");
    }
    assert_eq!(
        line,
        json!({"admitted_by": "email", "issuer": "https://issuer.example", "subject": "auth0|7",
               "email": "alice@example.org\\u{202e}", "client": "claude", "name": "pause_monitor",
               "result": "refused", "reason": "auth: insufficient_scope"})
    );
}

/// Never answers.
#[derive(Clone)]
struct Silent;

impl ServerHandler for Silent {
    async fn call_tool(
        &self,
        _: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_took_too_long_says_how_large_its_answer_was() {
    let folder = tempfile::tempdir().unwrap();
    let (file, setting) = audit(folder.path());
    let config = config(&["--url=http://localhost", &setting]);
    let (calls, work) = Calls::new(&config.mcp.calls, config.collectors.metrics).unwrap();
    let ended = CancellationToken::new();
    let (near, far) = tokio::io::duplex(1 << 16);
    let (input, output) = tokio::io::split(far);
    let mut tasks = JoinSet::new();
    let handler = Guarded::new(Silent, calls);
    let stop = ended.clone();
    tasks.spawn(async move { serve_on(handler, input, output, stop).await.unwrap() });
    tasks.spawn(work.run(ended.clone()));
    let client = ().serve(near).await.unwrap();
    let result = client.call_tool(CallToolRequestParams::new("x")).await.unwrap();
    assert_eq!(result.is_error, Some(true));
    ended.cancel();
    while tasks.join_next().await.is_some() {}
    let [line] = <[Value; 1]>::try_from(audited(&file)).unwrap();
    assert_eq!((&line["result"], &line["milliseconds"]), (&json!("timeout"), &json!(30_000)));
    let bytes = serde_json::to_string(&result).unwrap().len();
    assert_eq!(line["bytes"], json!(bytes), "{result:?}");
}

#[tokio::test]
async fn bytes_are_those_of_the_answer_however_it_went() {
    let fake = Fake::tcp(contract).await;
    let folder = tempfile::tempdir().unwrap();
    let (file, setting) = audit(folder.path());
    let gate = Gate::new(&fake.url, &[&setting, "--mcp-rate=3"]).await;
    let mut sizes = Vec::new();
    for arguments in [json!({}), json!({"limit": 0}), json!({"nonsense": 1}), json!({})] {
        let answer = gate.call("list_containers", arguments).await;
        let sent = answer.get("result").or(answer.get("error")).unwrap();
        sizes.push(json!(sent.to_string().len()));
    }
    gate.end().await;
    let lines = audited(&file);
    let told: Vec<Value> = lines.iter().map(|line| line["bytes"].clone()).collect();
    assert_eq!(told, sizes);
    assert_eq!(lines[3]["reason"], "limit: rate");
}

#[tokio::test]
async fn a_listener_is_a_line_when_it_begins_and_one_when_it_ends() {
    let upstream = Streaming::new(Manners::Ours).await;
    let folder = tempfile::tempdir().unwrap();
    let (file, setting) = audit(folder.path());
    let config = config(&["--url=http://localhost", &setting]);
    let (calls, work) = Calls::new(&config.mcp.calls, config.collectors.metrics).unwrap();
    let metrics = calls.metrics().clone();
    let listeners = |count: usize| {
        has(&metrics.text(clock::now()), &format!("maintenant_mcp_listeners {count}"));
    };
    let ended = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(work.run(ended.clone()));
    let server = Server::with(&upstream.url, Some(alice()), calls).await;
    listeners(0);
    let mut open = Vec::new();
    for _ in 0..8 {
        open.push(server.listen(&[ALERTS]).await);
    }
    let mut ninth = server.listen(&[ALERTS]).await;
    assert_eq!(ninth.next().await.unwrap()["error"]["code"], 4290);
    listeners(8);
    has(
        &metrics.text(clock::now()),
        "maintenant_mcp_calls_limited_total{limit=\"listeners_of_caller\"} 1",
    );
    let begun = lines(&file, 9).await;
    for (line, expected) in begun.iter().zip([["started"; 8].as_slice(), &["refused"]].concat()) {
        assert_eq!((&line["result"], &line["subject"]), (&json!(expected), &json!("auth0|7")));
        let what = (&line["method"], &line["name"]);
        assert_eq!(what, (&json!("subscriptions/listen"), &json!(ALERTS)));
    }
    assert_eq!(begun[8]["reason"], "limit: listeners_of_caller");
    drop(open.pop());
    let ended_first = lines(&file, 10).await.pop().unwrap();
    assert_eq!((&ended_first["call"], &ended_first["result"]), (&begun[7]["call"], &json!("ok")));
    assert!(ended_first["milliseconds"].is_u64(), "{ended_first}");
    listeners(7);
    // At the end of the process none is lost.
    server.drain.begin.cancel();
    ended.cancel();
    while tasks.join_next().await.is_some() {}
    assert_eq!(audited(&file).len(), 17);
    listeners(0);
}
