//! What a token may be used for.

use maintenant_gateway::caller::Scope;
use reqwest::{RequestBuilder, StatusCode};
use serde_json::{Value, json};

use super::{BASE, ERAS, Era, ISSUER, METADATA, Refused, call, check, gateway, tool};
use crate::fake::{Fake, contract};
use crate::wire::{Server, json};

async fn listed(server: &Server, era: Era, token: &str) -> Vec<String> {
    let request = call(server, era, "tools/list", json!({})).bearer_auth(token);
    let answer = json(request.send().await.unwrap()).await;
    let tools = answer["result"]["tools"].as_array().unwrap();
    tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn the_list_of_tools_is_what_the_token_may_call() {
    let fake = Fake::tcp(contract).await;
    let server = gateway(&fake.url, &[ISSUER, "--mcp-scopes"]).await;
    for era in ERAS {
        let all = listed(&server, era, "everything").await;
        assert_eq!(listed(&server, era, "writing").await, all);
        assert_eq!(listed(&server, era, "logs").await, ["get_container_logs"]);
        assert_eq!(listed(&server, era, "nothing").await, Vec::<String>::new());
        let reading = listed(&server, era, "reading").await;
        let expected = all.into_iter().filter(|tool| Scope::of_tool(tool) == Scope::MonitorRead);
        assert_eq!(reading, expected.collect::<Vec<_>>());
        assert!(reading.len() > 5);
    }
}

#[tokio::test]
async fn a_call_beyond_the_token_s_scopes_is_told_which_one_it_takes() {
    let fake = Fake::tcp(contract).await;
    let server = gateway(&fake.url, &[ISSUER, BASE, "--mcp-scopes"]).await;
    let beyond = async |request: RequestBuilder, scope: &str, asked: &str| {
        let challenge = format!(
            "Bearer realm=\"maintenant\", error=\"insufficient_scope\", error_description=\"this \
             call takes the scope {scope}\", scope=\"{asked}\", {METADATA}"
        );
        let (challenge, retry_after, id) = (Some(challenge.as_str()), None, json!("a"));
        let expected = Refused { status: 403, code: 4032, challenge, retry_after, id };
        check(request.send().await.unwrap(), expected).await;
    };
    for era in ERAS {
        let logs = tool(&server, era, "get_container_logs", "reading");
        beyond(logs, "logs:read", "monitor:read logs:read").await;
        let pause = tool(&server, era, "pause_monitor", "reading");
        beyond(pause, "monitor:write", "monitor:read monitor:write").await;
        let incident = tool(&server, era, "create_incident", "nothing");
        beyond(incident, "status:write", "status:write").await;
        beyond(tool(&server, era, "get_health", "logs"), "monitor:read", "monitor:read logs:read")
            .await;
        let complete = json!({"ref": {"type": "ref/prompt", "name": "triage"},
                              "argument": {"name": "container", "value": ""}});
        let requests = [
            ("resources/read", json!({"uri": "maintenant://health"})),
            ("completion/complete", complete.clone()),
        ];
        for (method, params) in requests {
            let request = call(&server, era, method, params).bearer_auth("nothing");
            beyond(request, "monitor:read", "monitor:read").await;
        }
    }
    // No key that stands twice, and no other spelling, gets by.
    let tricks = [
        r#""params":{"name":"get_health","name":"get_container_logs","arguments":{}}"#,
        r#""params":{"name":"get_container_logs","name":"get_health","arguments":{}}"#,
        r#""params":{"n\u0061me":"get_container_\u006cogs","arguments":{}}"#,
        r#""params":{"name":"get_health"},"params":{"name":"get_container_logs"}"#,
    ];
    for trick in tricks {
        let body = format!(r#"{{"jsonrpc":"2.0","id":"a","method":"tools/call",{trick}}}"#);
        let answer = json(server.post(body).bearer_auth("reading").send().await.unwrap()).await;
        assert!(answer["error"].is_object(), "{trick}: {answer}");
    }
    assert_eq!(fake.paths(), Vec::<String>::new(), "nothing was read");
}

#[tokio::test]
async fn log_lines_are_in_no_answer_without_the_scope_for_logs() {
    let fake = Fake::tcp(|path, nth| {
        let of_alerts = path.starts_with("alerts") || path.starts_with("edition");
        if of_alerts { crate::alerts::ours(path, nth) } else { contract(path, nth) }
    })
    .await;
    let server = gateway(&fake.url, &[ISSUER, "--mcp-scopes"]).await;
    let read = |uri: &str| ("resources/read", json!({"uri": uri}));
    let call_of = |name: &str, arguments: Value| {
        ("tools/call", json!({"name": name, "arguments": arguments}))
    };
    let cases = [
        call_of("list_alerts", json!({})),
        call_of("get_container", json!({"container_id": "2"})),
        read("monitor://alerts/active"),
        read("monitor://overview"),
        read("monitor://containers/2"),
        read("maintenant://alerts"),
    ];
    for era in ERAS {
        for (method, params) in cases.clone() {
            // The cache is warm with what others may see.
            for token in ["everything", "writing", "reading", "everything"] {
                let request = call(&server, era, method, params.clone()).bearer_auth(token);
                let text = request.send().await.unwrap().text().await.unwrap();
                let shows = token != "reading";
                assert_eq!(text.contains("out of memory"), shows, "{token} {params}: {text}");
                assert_eq!(text.contains("log_lines"), shows, "{token} {params}: {text}");
                assert_eq!(text.contains("logs:read"), !shows, "{token} {params}: {text}");
            }
        }
    }
}

#[tokio::test]
async fn what_takes_no_scope_or_does_not_exist_is_no_step_up() {
    let fake = Fake::tcp(contract).await;
    let server = gateway(&fake.url, &[ISSUER, "--mcp-scopes"]).await;
    for era in ERAS {
        for (method, params) in [
            ("prompts/list", json!({})),
            ("prompts/get", json!({"name": "triage"})),
            ("resources/list", json!({})),
        ] {
            let request = call(&server, era, method, params).bearer_auth("nothing");
            assert_eq!(request.send().await.unwrap().status(), StatusCode::OK, "{method}");
        }
        let misspelt = tool(&server, era, "get_helth", "reading").send().await.unwrap();
        assert_ne!(misspelt.status(), StatusCode::FORBIDDEN);
        let answer = json(misspelt).await;
        assert!(answer["error"]["message"].as_str().unwrap().contains("get_health"), "{answer}");
        let logs = tool(&server, era, "get_container_logs", "logs").send().await.unwrap();
        assert_eq!(logs.status(), StatusCode::OK, "the arguments are wrong, the scope is right");
    }
}
