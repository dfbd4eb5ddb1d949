//! Where a caller goes, and where its token does not.

use std::sync::Arc;

use maintenant_gateway::auth::admission::Admission;
use maintenant_gateway::caller::Caller;
use maintenant_gateway::calls::Calls;
use maintenant_gateway::guarded::Guarded;
use maintenant_gateway::http as mcp;
use maintenant_serve::listener::Drain;
use reqwest::StatusCode;
use rmcp::model::{CallToolRequestParams, CallToolResponse, ErrorData, ProgressNotificationParam};
use rmcp::service::RequestContext;
use rmcp::{RoleServer, ServerHandler};
use serde_json::{Value, json};
use tokio::time::advance;

use super::{ERAS, ISSUER, LIFE, STATIC, Script, call, gateway, header, tool};
use crate::clock::{TURN, by_turns};
use crate::fake::{Fake, config, contract};
use crate::log::Log;
use crate::wire::Server;

#[tokio::test]
async fn no_token_reaches_a_log_or_a_collector() {
    let (log, _guard) = Log::begin();
    let fake = Fake::tcp(contract).await;
    let static_token = format!("--mcp-token-from-environment={STATIC}");
    let settings = [ISSUER, &static_token, "--mcp-scopes"];
    let server = gateway(&fake.url, &settings).await;
    for era in ERAS {
        for token in [STATIC, "everything", "reading", "eyJhbGciOiJub25lIn0.e30.c2VjcmV0"] {
            let name = "list_containers";
            tool(&server, era, name, token).send().await.unwrap();
            let malformed = tool(&server, era, name, token).header("authorization", "x");
            malformed.send().await.unwrap();
        }
    }
    let requests = fake.requests.lock().unwrap().clone();
    assert!(!requests.is_empty());
    assert!(requests.iter().all(|seen| seen.authorization.is_none()));
    let log = log.text();
    assert!(log.contains("refused: invalid token: hidden"), "the log says why: {log}");
    for token in [STATIC, "everything", "eyJ", "c2VjcmV0", "Bearer"] {
        assert!(!log.contains(token), "{token} in {log}");
    }
}

/// A handler that reports progress once and then works for ever.
#[derive(Clone)]
struct Slow;

impl ServerHandler for Slow {
    async fn call_tool(
        &self,
        _request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let parts = context.extensions.get::<http::request::Parts>().unwrap();
        assert_eq!(parts.headers.get_all("authorization").iter().count(), 0);
        let name = Caller::of(&context).and_then(Caller::name).map(str::to_owned);
        let token = context.meta.get_progress_token().unwrap();
        let progress = ProgressNotificationParam::new(token, 1.0).with_message(name.unwrap());
        context.peer.notify_progress(progress).await.unwrap();
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_stream_ends_with_the_token_that_opened_it() {
    let _clock = by_turns(TURN);
    let settings = config(&["--url=http://localhost", ISSUER]).mcp;
    let admission = Admission::of(&settings, Some(Arc::new(Script::default())));
    let drain = Drain::default();
    let routes =
        mcp::mcp_routes(Guarded::new(Slow, Calls::default()), &settings, &admission, &drain.cut);
    let server = Server::start(routes, drain).await;
    for era in ERAS {
        let params = json!({"name": "x", "_meta": {"progressToken": "p"}});
        let request = call(&server, era, "tools/call", params).bearer_auth("ending");
        let mut response = request.send().await.unwrap();
        assert_eq!(header(&response, "content-type"), Some("text/event-stream"));
        let mut text = String::new();
        while !text.contains("alice@example.org") {
            let chunk = response.chunk().await.unwrap();
            let chunk = chunk.unwrap_or_else(|| panic!("the handler knows the caller: {text}"));
            text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
        advance(LIFE).await;
        // Without the end, the call itself would be given up after thirty seconds and answered.
        text.push_str(&response.text().await.unwrap());
        assert!(!text.contains("\"result\"") && !text.contains("\"error\""), "{text}");
    }
}

#[tokio::test]
async fn who_acknowledges_is_whoever_was_proven_to_call() {
    let fake = Fake::tcp(crate::alerts::ours).await;
    let static_token = format!("--mcp-token-from-environment={STATIC}");
    let server = gateway(&fake.url, &[ISSUER, &static_token]).await;
    for token in ["everything", STATIC] {
        for era in ERAS {
            let mut params = json!({"name": "acknowledge_alert", "arguments": {"alert_id": 1}});
            let client = json!({"name": "alice@example.org", "version": "1"});
            params["_meta"]["io.modelcontextprotocol/clientInfo"] = client;
            let request = call(&server, era, "tools/call", params).bearer_auth(token);
            assert_eq!(request.send().await.unwrap().status(), StatusCode::OK);
        }
    }
    let requests = fake.requests.lock().unwrap().clone();
    let told: Vec<Value> = requests
        .iter()
        .filter(|seen| seen.method == "POST")
        .map(|seen| serde_json::from_str::<Value>(&seen.body).unwrap()["acknowledged_by"].clone())
        .collect();
    let (person, client) = ("alice@example.org", "mcp:alice@example.org");
    assert_eq!(told, [person, person, client, client]);
}
