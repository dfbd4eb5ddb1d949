//! A collector of fixed answers, and a gateway in front of it.

use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use clap::Parser;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use maintenant_gateway::config::{Args, Config};
use maintenant_gateway::{Collectors, Gateway, stdio};
use rmcp::model::{CallToolRequestParams, CallToolResult, Tool};
use rmcp::service::RunningService;
use rmcp::{RoleClient, ServiceExt};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpSocket, UnixListener};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// A status and a body; a string is sent as plain text.
pub(crate) type Answer = (u16, Value);

/// Answers until it is dropped, and remembers what it was asked.
pub(crate) struct Fake {
    pub(crate) url: String,
    pub(crate) requests: Arc<Mutex<Vec<Seen>>>,
    _server: JoinSet<()>,
}

#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: String,
    /// Path below `/api/v1/`, with the query.
    pub(crate) path: String,
    pub(crate) authorization: Option<String>,
    pub(crate) body: String,
}

impl Fake {
    pub(crate) async fn tcp(
        answers: impl Fn(&str, usize) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (app, requests) = app(answers);
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, requests, _server: server }
    }

    /// Answers a request for each permit of the gate.
    pub(crate) async fn held(
        answers: impl Fn(&str, usize) -> Answer + Send + Sync + 'static,
        gate: Arc<Semaphore>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (app, requests) = gated(answers, Some(gate));
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, requests, _server: server }
    }

    pub(crate) fn unix(
        path: &Path,
        answers: impl Fn(&str, usize) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let (app, requests) = app(answers);
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url: format!("unix:{}", path.display()), requests, _server: server }
    }

    /// Paths of the requests that may have changed something.
    pub(crate) fn writes(&self) -> Vec<String> {
        let requests = self.requests.lock().unwrap();
        let writes = requests.iter().filter(|seen| seen.method != "GET");
        writes.map(|seen| format!("{} {}", seen.method, seen.path)).collect()
    }

    pub(crate) fn paths(&self) -> Vec<String> {
        self.requests.lock().unwrap().iter().map(|seen| seen.path.clone()).collect()
    }
}

fn app(
    answers: impl Fn(&str, usize) -> Answer + Send + Sync + 'static,
) -> (Router, Arc<Mutex<Vec<Seen>>>) {
    gated(answers, None)
}

fn gated(
    answers: impl Fn(&str, usize) -> Answer + Send + Sync + 'static,
    gate: Option<Arc<Semaphore>>,
) -> (Router, Arc<Mutex<Vec<Seen>>>) {
    let requests = Arc::new(Mutex::new(Vec::<Seen>::new()));
    let seen = requests.clone();
    let answers = Arc::new(answers);
    let handler = move |request: Request| {
        let uri = request.uri().path_and_query().unwrap().as_str();
        let path = uri.strip_prefix("/api/v1/").unwrap_or(uri).to_owned();
        let method = request.method().to_string();
        let authorization = request.headers().get("authorization");
        let authorization = authorization.map(|value| value.to_str().unwrap().to_owned());
        let (seen, answers, gate) = (seen.clone(), answers.clone(), gate.clone());
        async move {
            let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
            let body = String::from_utf8(body.to_vec()).unwrap();
            let nth = {
                let mut seen = seen.lock().unwrap();
                seen.push(Seen { method, path: path.clone(), authorization, body });
                seen.iter().filter(|seen| seen.path == path).count()
            };
            if let Some(gate) = gate {
                gate.acquire().await.unwrap().forget();
            }
            response(answers(&path, nth))
        }
    };
    (Router::new().fallback(handler), requests)
}

fn response((status, body): Answer) -> Response {
    let status = StatusCode::from_u16(status).unwrap();
    match body {
        Value::String(text) => (status, [(CONTENT_TYPE, "text/plain")], text).into_response(),
        body => {
            let kind = [(CONTENT_TYPE, "application/json")];
            (status, kind, format!("{body}\n")).into_response()
        }
    }
}

/// `base` with the fields of `rest`.
pub(crate) fn object(mut base: Value, rest: Value) -> Value {
    let Value::Object(rest) = rest else { panic!("{rest}") };
    base.as_object_mut().unwrap().extend(rest);
    base
}

pub(crate) fn error(status: u16, code: &str, message: &str) -> Answer {
    (status, json!({"error": {"code": code, "message": message}}))
}

/// An address where nobody listens, nor will while this process lives: its port is taken.
pub(crate) fn nobody() -> String {
    static TAKEN: OnceLock<TcpSocket> = OnceLock::new();
    let socket = TAKEN.get_or_init(|| {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        socket
    });
    format!("http://{}", socket.local_addr().unwrap())
}

/// An address with a name that does not resolve. No server of names is asked, who might be late: a
/// part of a name has at most 63 characters.
pub(crate) fn nameless() -> String {
    format!("http://{}.invalid", "x".repeat(64))
}

/// What an existing server of the contract answers, with its looseness: local offsets, the year 1,
/// words nobody has heard of, keys this project does not know, `null` for an empty list.
pub(crate) fn contract(path: &str, _nth: usize) -> Answer {
    let row = |id: i64, name: &str, rest: Value| {
        let mut row = json!({
            "id": id, "external_id": format!("{id:02}ab{}", "c".repeat(60)), "name": name,
            "image": "registry.example.org/shop:1", "state": "running", "health_status": null,
            "has_health_check": false, "is_ignored": false, "alert_severity": "warning",
            "restart_threshold": 3, "archived": false,
            "first_seen_at": "2026-05-01T10:00:00+02:00",
            "last_state_change_at": "2026-05-05T12:00:00+02:00", "runtime_type": "docker",
            "pod_count": 0, "ready_count": 0, "swarm_node_id": "x",
            "security_insight_count": 0, "security_highest_severity": null
        });
        for (key, value) in rest.as_object().unwrap() {
            row[key] = value.clone();
        }
        row
    };
    let exited = json!({"state": "exited", "orchestration_group": "shop",
        "orchestration_unit": "db", "compose_working_dir": "/srv/shop",
        "error_detail": "oom\u{1b}[31m"});
    let (route, query) = path.split_once('?').unwrap_or((path, ""));
    match route {
        "health" => (200, json!({"status": "ok", "version": "1.2.11"})),
        "runtime/status" => (
            200,
            json!({"runtime": "docker", "context": "docker", "connected": true,
                   "label": "Containers", "detected_at": "0001-01-01T00:00:00Z", "metadata": null}),
        ),
        "containers" => (
            200,
            json!({"groups": [
                {"name": "shop", "source": "compose", "containers": [
                    row(1, "shop-api-1", json!({"health_status": "healthy",
                        "has_health_check": true, "orchestration_group": "shop",
                        "orchestration_unit": "api"})),
                    row(2, "shop-db-1", exited),
                    row(3, "shop-job-1", json!({"state": "completed",
                        "orchestration_group": "shop", "orchestration_unit": "job"})),
                ]},
                {"name": "Ungrouped", "source": "default", "containers": [
                    row(4, "evil\u{202e}\u{1b}[2Jname", json!({"state": "hibernating"})),
                    row(5, "web", json!({"health_status": "unhealthy"})),
                ]},
                {"name": "nothing", "source": "default", "containers": null},
            ], "total": 5, "archived_count": 0}),
        ),
        "containers/2" => {
            let detail = json!({"state": "exited", "orchestration_group": "shop",
                "orchestration_unit": "db", "custom_group": "", "controller_kind": "",
                "namespace": "", "archived_at": null, "error_detail": "oom\u{1b}[31m",
                "exit_code": 137, "exit_reason": "oom_killed", "oom_killed": true,
                "started_at": "0001-01-01T00:00:00Z", "uptime": {"24h": 12.5, "7d": null},
                "uptime_coverage": {"24h": 50}});
            (200, row(2, "shop-db-1", detail))
        }
        "security/insights/2" => {
            let port = |kind: &str, severity: &str, title: &str| {
                json!({"type": kind, "severity": severity, "container_id": 2,
                       "container_name": "shop-db-1", "title": title, "description": "d",
                       "details": {"port": 5432}, "detected_at": "2026-05-05T12:00:00.5+02:00"})
            };
            (
                200,
                json!({"container_id": 2, "container_name": "shop-db-1",
                       "highest_severity": "critical", "count": 2, "insights": [
                    port("service_node_port", "of old", "A node's port\u{1b}[31m"),
                    port("database_port_exposed", "critical", "Database port 5432"),
                ]}),
            )
        }
        "containers/9" => (200, row(9, "gone", json!({"archived": true, "state": "exited"}))),
        "containers/2/transitions" => (
            200,
            json!({"container_id": 2, "transitions": [
                {"id": 11, "container_id": 2, "previous_state": "running", "new_state": "exited",
                 "exit_code": 137, "exit_reason": "oom_killed", "oom_killed": true,
                 "observed_by": "event", "log_snippet":
                    "starting\nDB_PASSWORD=hunter2\n\u{1b}[31mout of memory\u{1b}[0m",
                 "timestamp": "2026-05-05T12:00:00+02:00"},
            ], "total": 31, "has_more": true}),
        ),
        "containers/9/transitions" => {
            (200, json!({"container_id": 9, "transitions": null, "total": 0, "has_more": false}))
        }
        "containers/2/logs" => {
            assert!(query.contains("lines="), "{query}");
            let lines = [
                "2026 INFO ready",
                "2026 WARN token: abc123",
                "2026 ERROR Disk full",
                "\u{1b}[1mbold\u{1b}[0m \u{202e}text",
            ];
            (
                200,
                json!({"container_id": 2, "container_name": "shop-db-1", "lines": lines,
                         "total_lines": 4, "truncated": false}),
            )
        }
        "containers/1/logs" => error(502, "RUNTIME_UNAVAILABLE", "container runtime not available"),
        _ if route.ends_with("/transitions") => (200, json!({"transitions": null, "total": 0})),
        _ if route.starts_with("containers/") => {
            error(404, "CONTAINER_NOT_FOUND", "container not found")
        }
        _ => (404, json!("404 page not found\n")),
    }
}

/// Settings as the command line would give them.
pub(crate) fn config(arguments: &[&str]) -> Config {
    let program = ["maintenant-gateway", "--mcp"];
    Args::try_parse_from(program.iter().chain(arguments)).unwrap().check().unwrap().0
}

pub(crate) fn gateway(url: &str) -> Gateway {
    gateway_with(url, &[])
}

pub(crate) fn gateway_with(url: &str, settings: &[&str]) -> Gateway {
    let config = config(&[&["--url", url], settings].concat());
    Gateway::new(Collectors::new(config.collectors).unwrap(), false)
}

/// A real client, connected to a gateway in front of `url`.
pub(crate) struct Client {
    pub(crate) peer: RunningService<RoleClient, ()>,
    tools: Vec<Tool>,
    _server: JoinSet<()>,
}

impl Client {
    pub(crate) async fn new(url: &str) -> Self {
        Self::of(gateway(url)).await
    }

    pub(crate) async fn of(gateway: Gateway) -> Self {
        let (near, far) = tokio::io::duplex(1 << 16);
        let (input, output) = tokio::io::split(far);
        let mut server = JoinSet::new();
        server.spawn(async move {
            let handler = gateway.guarded();
            stdio::serve_on(handler, input, output, CancellationToken::new()).await.unwrap();
        });
        let peer = ().serve(near).await.unwrap();
        let tools = peer.list_all_tools().await.unwrap();
        Self { peer, tools, _server: server }
    }

    pub(crate) async fn result(&self, tool: &'static str, arguments: Value) -> CallToolResult {
        let arguments = arguments.as_object().unwrap().clone();
        let request = CallToolRequestParams::new(tool).with_arguments(arguments);
        self.peer.call_tool(request).await.unwrap()
    }

    /// The structured answer of a call that succeeds; it is as the tool's schema says.
    pub(crate) async fn call(&self, tool: &'static str, arguments: Value) -> Value {
        let result = self.result(tool, arguments).await;
        assert_ne!(result.is_error, Some(true), "{:?}", result.content);
        let text = &result.content[0].as_text().unwrap().text;
        let structured = result.structured_content.unwrap();
        assert_eq!(serde_json::from_str::<Value>(text).unwrap(), structured, "text and structure");
        let listed = self.tools.iter().find(|listed| listed.name == tool).unwrap();
        let schema = Value::Object((**listed.output_schema.as_ref().unwrap()).clone());
        jsonschema::validate(&schema, &structured).unwrap();
        structured
    }

    /// The sentence of a call that fails.
    pub(crate) async fn error(&self, tool: &'static str, arguments: Value) -> String {
        let result = self.result(tool, arguments).await;
        assert_eq!(result.is_error, Some(true), "{:?}", result.structured_content);
        result.content[0].as_text().unwrap().text.clone()
    }
}
