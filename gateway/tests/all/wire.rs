//! MCP over real HTTP.

use std::sync::Arc;

use maintenant_gateway::auth::admission::Admission;
use maintenant_gateway::calls::Calls;
use maintenant_gateway::guarded::Guarded;
use maintenant_gateway::{Collectors, Gateway, http as mcp};
use maintenant_serve::guard::{BodyLimits, guarded};
use maintenant_serve::listener::{ConnectionLimits, Drain, Listener, serve};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use rmcp::model::{CallToolRequestParams, CallToolResponse, ErrorData};
use rmcp::service::RequestContext;
use rmcp::{RoleServer, ServerHandler};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::clock::{TURN, by_turns};
use crate::fake::{Fake, config, contract, error, nobody};

pub(crate) struct Server {
    pub(crate) url: String,
    client: reqwest::Client,
    drain: Drain,
    task: JoinSet<()>,
}

impl Server {
    pub(crate) async fn gateway(url: &str, settings: &[&str]) -> Self {
        let arguments: Vec<&str> =
            ["--url", url].into_iter().chain(settings.iter().copied()).collect();
        let config = config(&arguments);
        let collectors = Collectors::new(config.collectors).unwrap();
        let gateway = Gateway::new(collectors.clone(), false);
        let drain = Drain::default();
        let admission = Admission::new(&config.mcp).unwrap();
        Self::start(mcp::router(gateway, collectors, &config.mcp, &admission, &drain.cut), drain)
            .await
    }

    pub(crate) async fn start(routes: axum::Router, drain: Drain) -> Self {
        let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap(), None).await.unwrap();
        let url = format!("http://{}", listener.address());
        let app = guarded(routes, BodyLimits { bytes: u64::MAX, ..BodyLimits::default() });
        let mut task = JoinSet::new();
        task.spawn(serve(listener, app, ConnectionLimits::default(), drain.clone()));
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
        Self { url, client, drain, task }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    pub(crate) fn post(&self, body: impl Into<reqwest::Body>) -> RequestBuilder {
        self.request(Method::POST, "/mcp")
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .body(body)
    }

    async fn rpc(&self, body: Value) -> Value {
        let response = self.post(body.to_string()).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{body}");
        json(response).await
    }

    /// As clients of 2025-11-25 and before ask.
    async fn legacy(&self, method: &str, params: Value) -> Value {
        self.rpc(json!({"jsonrpc": "2.0", "id": 9, "method": method, "params": params})).await
    }

    async fn legacy_call(&self, tool: &str, arguments: Value) -> Value {
        self.legacy("tools/call", json!({"name": tool, "arguments": arguments})).await
    }

    /// As clients of 2026-07-28 ask.
    async fn modern(&self, method: &str, mut params: Value, name: Option<&str>) -> Value {
        params["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("2026-07-28");
        params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let mut request = self
            .post(body.to_string())
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", method);
        if let Some(name) = name {
            request = request.header("mcp-name", name);
        }
        json(request.send().await.unwrap()).await
    }
}

pub(crate) async fn json(response: Response) -> Value {
    let text = response.text().await.unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

async fn server() -> (Server, Fake) {
    let fake = Fake::tcp(contract).await;
    (Server::gateway(&fake.url, &[]).await, fake)
}

fn initialize(version: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": version, "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"}}})
}

#[tokio::test]
async fn clients_that_initialize_are_served() {
    let (server, _fake) = server().await;
    for version in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
        let answer = server.rpc(initialize(version)).await;
        assert_eq!(answer["result"]["protocolVersion"], version);
        assert_eq!(answer["result"]["serverInfo"]["name"], "maintenant");
        let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        let accepted = server.post(initialized.to_string()).send().await.unwrap();
        assert_eq!(accepted.status(), StatusCode::ACCEPTED);
        let list = json!({"jsonrpc": "2.0", "id": "a", "method": "tools/list"});
        let list = server.post(list.to_string()).header("mcp-protocol-version", version);
        let response = list.send().await.unwrap();
        assert_eq!(response.headers()["cache-control"], "no-store");
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
        assert_eq!(response.headers()["content-type"], "application/json");
        assert!(response.headers().get("mcp-session-id").is_none());
        let answer = json(response).await;
        assert_eq!(answer["id"], "a");
        assert_eq!(answer["result"]["tools"][0]["name"], "acknowledge_alert");
        assert!(answer["result"].get("ttlMs").is_none());
    }
    let answer = server.legacy_call("get_health", json!({})).await;
    assert_eq!(answer["result"]["structuredContent"]["status"], "ok");
    assert!(answer["result"].get("_meta").is_none());
}

#[tokio::test]
async fn clients_of_2026_07_28_are_served_without_a_handshake() {
    let (server, _fake) = server().await;
    let ask = async |method, params, name| server.modern(method, params, name).await;
    let discovered = ask("server/discover", json!({}), None).await;
    assert_eq!(discovered["result"]["ttlMs"], 300_000);
    assert!(discovered["result"]["instructions"].as_str().unwrap().contains("list_containers"));
    let list = ask("tools/list", json!({}), None).await;
    assert_eq!(
        (&list["result"]["ttlMs"], &list["result"]["cacheScope"]),
        (&json!(300_000), &json!("private"))
    );
    let call = ask(
        "tools/call",
        json!({"name": "list_containers", "arguments": {"limit": 1}}),
        Some("list_containers"),
    )
    .await;
    assert_eq!(call["result"]["resultType"], "complete");
    assert_eq!(call["result"]["structuredContent"]["summary"]["total"], 5);
    let signature = &call["result"]["_meta"]["io.modelcontextprotocol/serverInfo"];
    assert_eq!(signature["name"], "maintenant");
    let mismatch = ask("tools/call", json!({"name": "list_containers"}), Some("get_health")).await;
    assert_eq!(mismatch["error"]["code"], -32020);
    let cursor = ask("tools/list", json!({"cursor": "x"}), None).await;
    assert_eq!(cursor["error"]["code"], -32602);
}

/// What is declared is there, and nothing is promised that is not kept.
/// Without a session only clients of 2026-07-28 say who they are with each call.
#[tokio::test]
async fn who_acknowledges_is_the_client_that_calls() {
    let fake = Fake::tcp(crate::alerts::ours).await;
    let server = Server::gateway(&fake.url, &[]).await;
    let call = json!({"name": "acknowledge_alert", "arguments": {"alert_id": 1}});
    server.legacy("tools/call", call.clone()).await;
    for name in ["claude\u{202e}", "  ", &"x".repeat(500)] {
        let mut call = call.clone();
        call["_meta"]["io.modelcontextprotocol/clientInfo"] = json!({"name": name, "version": "1"});
        server.modern("tools/call", call, Some("acknowledge_alert")).await;
    }
    let requests = fake.requests.lock().unwrap().clone();
    let told = requests.iter().filter(|seen| seen.method == "POST");
    let told: Vec<Value> = told.map(|seen| serde_json::from_str(&seen.body).unwrap()).collect();
    let long = format!("mcp:{}… [436 more characters]", "x".repeat(64));
    let names = ["mcp", "mcp:claude\\u{202e}", "mcp", &long];
    assert_eq!(told, names.map(|name| json!({"acknowledged_by": name})));
}

fn check_capabilities(capabilities: &Value, resources: &Value) {
    let declared = json!({"tools": {}, "prompts": {}, "resources": resources, "completions": {}});
    assert_eq!(*capabilities, declared);
}

#[tokio::test]
async fn prompts_and_resources_are_served_to_clients_that_initialize() {
    let (server, _fake) = server().await;
    let info = server.rpc(initialize("2025-11-25")).await;
    // Without a session nobody can be told of anything later.
    check_capabilities(&info["result"]["capabilities"], &json!({}));

    let prompts = server.legacy("prompts/list", json!({})).await;
    assert_eq!(prompts["result"]["prompts"][1]["name"], "triage");
    let prompt = server.legacy("prompts/get", json!({"name": "triage"})).await;
    assert_eq!(prompt["result"]["messages"][0]["role"], "user");
    let resources = server.legacy("resources/list", json!({})).await;
    assert_eq!(resources["result"]["resources"][1]["uri"], "monitor://overview");
    let read = server.legacy("resources/read", json!({"uri": "maintenant://health"})).await;
    assert_eq!(read["result"]["contents"][0]["mimeType"], "application/json");
    let templates = server.legacy("resources/templates/list", json!({})).await;
    let template = &templates["result"]["resourceTemplates"][0]["uriTemplate"];
    assert_eq!(template, "monitor://containers/{name}");
    for answer in [prompts, prompt, resources, templates, read] {
        for modern in ["ttlMs", "cacheScope", "resultType", "_meta"] {
            assert!(answer["result"].get(modern).is_none(), "{modern} in {answer}");
        }
    }

    let missing = server.legacy("resources/read", json!({"uri": "maintenant://x"})).await;
    assert_eq!(missing["error"]["code"], -32002);
    assert_eq!(missing["error"]["data"], json!({"uri": "maintenant://x"}));
    for method in ["resources/subscribe", "logging/setLevel"] {
        let params = json!({"uri": "maintenant://health", "level": "info"});
        assert_eq!(server.legacy(method, params).await["error"]["code"], -32601, "{method}");
    }
}

#[tokio::test]
async fn prompts_and_resources_are_served_to_clients_of_2026_07_28() {
    let _clock = by_turns(TURN);
    let (server, _fake) = server().await;
    let ask = async |method, params, name| server.modern(method, params, name).await;
    let discovered = ask("server/discover", json!({}), None).await;
    check_capabilities(&discovered["result"]["capabilities"], &json!({"subscribe": true}));

    let health = "maintenant://health";
    let read = ask("resources/read", json!({"uri": health}), Some(health)).await;
    assert_eq!(read["result"]["contents"][0]["uri"], health);
    let prompt = ask("prompts/get", json!({"name": "triage"}), Some("triage")).await;
    let complete = json!({"ref": {"type": "ref/prompt", "name": "triage"},
                          "argument": {"name": "container", "value": "shop-a"}});
    let complete = ask("completion/complete", complete, None).await;
    assert_eq!(complete["result"]["completion"]["values"], json!(["shop-api-1"]));
    let lists = ["prompts/list", "resources/list", "resources/templates/list"];
    for method in lists {
        let list = ask(method, json!({}), None).await;
        assert_eq!(
            (&list["result"]["ttlMs"], &list["result"]["cacheScope"]),
            (&json!(300_000), &json!("private")),
            "{method}"
        );
        let page = ask(method, json!({"cursor": "x"}), None).await;
        assert_eq!(page["error"]["code"], -32602, "{method}");
    }
    // What is read shows now; nobody may keep it.
    assert_eq!(
        (&read["result"]["ttlMs"], &read["result"]["cacheScope"]),
        (&json!(0), &json!("private"))
    );
    for answer in [read, prompt, complete] {
        assert_eq!(answer["result"]["resultType"], "complete");
        let server = &answer["result"]["_meta"]["io.modelcontextprotocol/serverInfo"];
        assert_eq!(server["name"], "maintenant");
    }

    let uri = "maintenant://x";
    let missing = ask("resources/read", json!({"uri": uri}), Some(uri)).await;
    assert_eq!(missing["error"]["code"], -32602);
    assert_eq!(missing["error"]["data"], json!({"uri": uri}));
    let listen = json!({"notifications": {"toolsListChanged": true}});
    let listen = ask("subscriptions/listen", listen, None).await;
    assert_eq!(listen["error"]["code"], -32601);
}

#[tokio::test]
async fn a_body_that_is_no_message_is_answered_in_json_rpc() {
    let (server, _fake) = server().await;
    let cases = [
        ("{", -32700, Value::Null),
        ("hello", -32700, Value::Null),
        (r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#, -32600, Value::Null),
        ("7", -32600, Value::Null),
        (r#"{"id":3,"method":"ping"}"#, -32600, json!(3)),
        (r#"{"jsonrpc":"2.0","id":4}"#, -32600, json!(4)),
    ];
    for (body, code, id) in cases {
        let response = server.post(body).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{body}");
        assert_eq!(response.headers()["cache-control"], "no-store");
        let answer = json(response).await;
        assert_eq!((&answer["error"]["code"], &answer["id"]), (&json!(code), &id), "{body}");
    }
}

#[tokio::test]
async fn a_body_over_a_mebibyte_is_refused_announced_or_not() {
    let (server, _fake) = server().await;
    let large = "x".repeat((1 << 20) + 1);
    let response = server.post(large.clone()).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(json(response).await["error"]["code"], -32600);

    let chunks =
        large.as_bytes().chunks(1 << 16).map(|chunk| Ok::<_, std::io::Error>(chunk.to_vec()));
    let chunks = futures_util::stream::iter(chunks.collect::<Vec<_>>());
    let response = server.post(reqwest::Body::wrap_stream(chunks)).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(json(response).await["error"]["code"], -32600);
}

#[tokio::test]
async fn an_unknown_tool_and_a_misspelt_argument_are_named() {
    let (server, _fake) = server().await;
    let answer = server.legacy_call("list_container", json!({})).await;
    assert_eq!(answer["error"]["code"], -32602);
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.contains("Did you mean `list_containers`?"), "{message}");
    let answer = server.legacy_call("list_containers", json!({"lmit": 1})).await;
    assert_eq!(answer["result"]["isError"], true);
    let message = answer["result"]["content"][0]["text"].as_str().unwrap();
    assert!(message.contains("`lmit`") && message.contains("`limit`"), "{message}");
}

#[tokio::test]
async fn a_known_method_with_params_of_another_shape_is_named() {
    let (server, _fake) = server().await;
    let cases = [
        ("tools/call", json!({"name": "get_health", "arguments": []}), -32602),
        ("tools/call", json!({"name": 5}), -32602),
        ("initialize", json!({"protocolVersion": "2025-11-25"}), -32602),
        ("tools/list", json!([]), -32602),
        ("tools/cull", json!({}), -32601),
    ];
    for (method, params, code) in cases {
        let body = json!({"jsonrpc": "2.0", "id": 4, "method": method, "params": params});
        let answer = json(server.post(body.to_string()).send().await.unwrap()).await;
        assert_eq!((&answer["error"]["code"], &answer["id"]), (&json!(code), &json!(4)), "{body}");
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.contains(method), "{message}");
    }
}

#[tokio::test]
async fn refusals_of_the_transport_are_json_rpc_too() {
    let (server, _fake) = server().await;
    let ping = r#"{"jsonrpc":"2.0","id":"p","method":"tools/list"}"#;
    let cases = [
        ("accept", "text/html", StatusCode::NOT_ACCEPTABLE),
        ("content-type", "text/plain", StatusCode::UNSUPPORTED_MEDIA_TYPE),
        ("mcp-protocol-version", "1999-01-01", StatusCode::BAD_REQUEST),
    ];
    for (header, value, status) in cases {
        let mut request = server.post(ping).build().unwrap();
        let name = http::HeaderName::from_static(header);
        request.headers_mut().insert(name, value.parse().unwrap());
        let response = server.client.execute(request).await.unwrap();
        assert_eq!(response.status(), status, "{header}");
        let answer = json(response).await;
        assert_eq!(answer["id"], "p", "{answer}");
        assert!(answer["error"]["message"].as_str().unwrap().len() > 10, "{answer}");
    }
}

#[tokio::test]
async fn other_methods_and_paths_have_the_rest_api_s_envelope() {
    let (server, _fake) = server().await;
    for method in [Method::GET, Method::DELETE, Method::OPTIONS] {
        let response = server.request(method, "/mcp").send().await.unwrap();
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(response.headers()["allow"], "POST");
        assert_eq!(json(response).await["error"]["code"], "METHOD_NOT_ALLOWED");
    }
    let response = server.request(Method::POST, "/healthz").send().await.unwrap();
    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(json(response).await["error"]["code"], "METHOD_NOT_ALLOWED");
    let response = server.request(Method::GET, "/nowhere").send().await.unwrap();
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    assert_eq!(response.headers()["x-content-type-options"], "nosniff");
    assert_eq!(json(response).await["error"]["code"], "NOT_FOUND");
}

#[tokio::test]
async fn a_foreign_host_or_origin_is_refused_with_what_to_set() {
    let fake = Fake::tcp(contract).await;
    let server = Server::gateway(
        &fake.url,
        &["--allowed-hosts=monitor.example.org", "--allowed-origins=https://app.example.org"],
    )
    .await;
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let cases = [
        ("host", "monitor.example.org", None),
        ("host", "evil.example", Some("MAINTENANT_ALLOWED_HOSTS")),
        ("origin", "https://app.example.org", None),
        ("origin", "http://localhost:6274", None),
        ("origin", "https://evil.example", Some("MAINTENANT_ALLOWED_ORIGINS")),
        ("origin", "null", Some("MAINTENANT_ALLOWED_ORIGINS")),
    ];
    for (header, value, refusal) in cases {
        let response = server.post(ping).header(header, value).send().await.unwrap();
        let Some(variable) = refusal else {
            assert_eq!(response.status(), StatusCode::OK, "{header}: {value}");
            continue;
        };
        assert_eq!(response.status(), StatusCode::FORBIDDEN, "{header}: {value}");
        let answer = json(response).await;
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.contains(variable) && message.contains(value), "{message}");
        let code = answer["error"]["code"].as_i64().unwrap();
        assert!(!(-32768..=-32000).contains(&code), "{code}");
    }
    let probe = server.request(Method::GET, "/healthz").header("host", "10.0.0.7");
    assert_eq!(probe.send().await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn the_probes_tell_the_process_from_its_collectors() {
    let _clock = by_turns(TURN);
    let (server, fake) = server().await;
    let alive = server.request(Method::GET, "/healthz").send().await.unwrap();
    assert_eq!(alive.status(), StatusCode::OK);
    assert_eq!(fake.paths(), Vec::<String>::new(), "liveness asks nobody");
    let ready = server.request(Method::GET, "/readyz").send().await.unwrap();
    assert_eq!(ready.status(), StatusCode::OK);
    assert_eq!(fake.paths(), ["runtime/status"], "what needs the token");
    let again =
        futures_util::future::join_all((0..20).map(|_| async {
            server.request(Method::GET, "/readyz").send().await.unwrap().status()
        }));
    assert_eq!(again.await, [StatusCode::OK; 20]);
    assert_eq!(fake.paths(), ["runtime/status"], "one answer serves all who ask");

    let closed = Fake::tcp(|path, nth| match path {
        "health" => contract(path, nth),
        _ => error(401, "UNAUTHORIZED", "no"),
    })
    .await;
    let server = Server::gateway(&closed.url, &[]).await;
    let ready = server.request(Method::GET, "/readyz").send().await.unwrap();
    assert_eq!(ready.status(), StatusCode::SERVICE_UNAVAILABLE, "the token is wrong");

    let url = format!("prod={},lab={}", fake.url, nobody());
    let server = Server::gateway(&url, &[]).await;
    let alive = server.request(Method::GET, "/healthz").send().await.unwrap();
    assert_eq!(alive.status(), StatusCode::OK);
    let ready = server.request(Method::GET, "/readyz").send().await.unwrap();
    assert_eq!(ready.status(), StatusCode::SERVICE_UNAVAILABLE);
    let failing = json(ready).await["failing"].clone();
    assert_eq!(failing.as_array().unwrap().len(), 1);
    assert_eq!(failing[0]["name"], "lab");
}

/// A handler with a fault, and one that never ends.
#[derive(Clone, Default)]
struct Faulty {
    called: Arc<Notify>,
}

impl ServerHandler for Faulty {
    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        assert_ne!(request.name, "panic", "as the test wants");
        self.called.notify_one();
        std::future::pending().await
    }
}

async fn faulty() -> Server {
    served(Faulty::default()).await
}

async fn served(faulty: Faulty) -> Server {
    let drain = Drain::default();
    let settings = config(&["--url", "http://localhost"]).mcp;
    let admission = Admission::new(&settings).unwrap();
    let guarded = Guarded::new(faulty, Calls::default());
    Server::start(mcp::mcp_routes(guarded, &settings, &admission, &drain.cut), drain).await
}

#[tokio::test]
async fn a_panic_in_a_tool_is_answered() {
    let server = faulty().await;
    let answer = server.legacy_call("panic", json!({})).await;
    assert_eq!(answer["result"]["isError"], true);
    let text = answer["result"]["content"][0]["text"].as_str().unwrap();
    assert!(text.contains("fault of the gateway") && !text.contains("as the test wants"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_tool_that_never_ends_is_answered_after_thirty_seconds() {
    let (near, far) = tokio::io::duplex(1 << 12);
    let (client, server) = tokio::join!(
        rmcp::ServiceExt::serve((), near),
        rmcp::ServiceExt::serve(Guarded::new(Faulty::default(), Calls::default()), far)
    );
    let started = tokio::time::Instant::now();
    let answer = client.unwrap().call_tool(CallToolRequestParams::new("endless")).await.unwrap();
    assert_eq!(answer.is_error, Some(true));
    assert_eq!(started.elapsed().as_secs(), 30);
    drop(server);
}

#[tokio::test]
async fn the_end_of_the_process_cuts_what_never_ends() {
    let faulty = Faulty::default();
    let mut server = served(faulty.clone()).await;
    let call = json!({"jsonrpc": "2.0", "id": 9, "method": "tools/call", "params": {"name": "x"}});
    let call = server.post(call.to_string()).send();
    let end = async {
        faulty.called.notified().await;
        server.drain.begin.cancel();
        server.drain.cut.cancel();
        server.task.join_next().await.unwrap().unwrap();
    };
    let (answer, ()) = tokio::join!(call, end);
    assert!(answer.is_err() || !answer.unwrap().status().is_success());
}
