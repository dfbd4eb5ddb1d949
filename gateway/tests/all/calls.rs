//! What holds for calls over HTTP: limits, choice of tools, audit, metrics, traces, sizes.

use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::Request;
use axum::routing::{get, post};
use axum::{Extension, Router};
use clap::Parser;
use maintenant_gateway::auth::Refusal;
use maintenant_gateway::auth::admission::Admission;
use maintenant_gateway::caller::{AdmittedBy, Caller};
use maintenant_gateway::calls::{Calls, Who};
use maintenant_gateway::config::Args;
use maintenant_gateway::guarded::Guarded;
use maintenant_gateway::{Collectors, Gateway, http as mcp, unready_while_draining};
use maintenant_serve::guard::{BodyLimits, Peer, guarded};
use maintenant_serve::listener::{ConnectionLimits, Drain, Listener, serve};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ErrorData,
    ReadResourceRequestParams, ReadResourceResponse, ReadResourceResult, ResourceContents,
};
use rmcp::service::RequestContext;
use rmcp::{RoleServer, ServerHandler};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::clock::{TURN, by_turns};
use crate::fake::{Fake, config, contract, nobody};

/// What must be nowhere but in the request.
const CANARY: &str = "c4naryS3cret";

/// A gateway over HTTP, with everything that runs beside it.
pub(crate) struct Gate {
    url: String,
    calls: Calls,
    metrics: Router,
    client: reqwest::Client,
    pub(crate) ended: CancellationToken,
    tasks: JoinSet<()>,
    drain: Drain,
}

impl Gate {
    pub(crate) async fn new(upstream: &str, settings: &[&str]) -> Self {
        Self::of(upstream, settings, None).await
    }

    /// As if the door had let this caller in.
    pub(crate) async fn of(upstream: &str, settings: &[&str], caller: Option<Caller>) -> Self {
        let caches = settings.iter().any(|setting| setting.starts_with("--mcp-cache"));
        let live = (!caches).then_some("--mcp-cache=0");
        let arguments: Vec<&str> =
            ["--url", upstream].into_iter().chain(live).chain(settings.iter().copied()).collect();
        let config = config(&arguments);
        let metrics = config.collectors.metrics.clone();
        let (calls, work) = Calls::new(&config.mcp.calls, metrics.clone()).unwrap();
        let collectors = Collectors::new(config.collectors).unwrap();
        let tools = config.mcp.calls.tools.clone();
        let gateway = Gateway::with(collectors.clone(), config.mcp.read_only, tools, calls.clone());
        let (drain, ended) = (Drain::default(), CancellationToken::new());
        let mut routes = mcp::router(
            gateway,
            collectors,
            &config.mcp,
            &Admission::new(&config.mcp).unwrap(),
            &drain.cut,
        );
        if let Some(caller) = caller {
            routes = routes.layer(Extension(caller));
        }
        let mut tasks = JoinSet::new();
        tasks.spawn(work.run(ended.clone()));
        let url = listen(routes, &drain, &mut tasks).await;
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
        Self { url, calls, metrics: metrics.routes(), client, ended, tasks, drain }
    }

    async fn ask(&self, method: &str, params: Value) -> Value {
        let body = json!({"jsonrpc": "2.0", "id": "q-1", "method": method, "params": params});
        let request = self.client.post(format!("{}/mcp", self.url)).body(body.to_string());
        let request = request
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream");
        let text = request.send().await.unwrap().text().await.unwrap();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    pub(crate) async fn call(&self, tool: &str, arguments: Value) -> Value {
        self.ask("tools/call", json!({"name": tool, "arguments": arguments})).await
    }

    /// What Prometheus would read.
    pub(crate) async fn scrape(&mut self) -> String {
        let url = listen(self.metrics.clone(), &self.drain, &mut self.tasks).await;
        let response = self.client.get(format!("{url}/metrics")).send().await.unwrap();
        let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
        assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
        response.text().await.unwrap()
    }

    /// Ends as the process does: what is left is written.
    pub(crate) async fn end(mut self) {
        self.drain.begin.cancel();
        self.ended.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

async fn listen(routes: Router, drain: &Drain, tasks: &mut JoinSet<()>) -> String {
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap(), None).await.unwrap();
    let url = format!("http://{}", listener.address());
    let app = guarded(routes, BodyLimits { bytes: u64::MAX, ..BodyLimits::default() });
    tasks.spawn(serve(listener, app, ConnectionLimits::default(), drain.clone()));
    url
}

fn sentence(answer: &Value) -> &str {
    assert_eq!(answer["result"]["isError"], true, "{answer}");
    answer["result"]["content"][0]["text"].as_str().unwrap()
}

pub(crate) fn has(text: &str, line: &str) {
    assert!(text.lines().any(|own| own == line), "{line} in {text}");
}

pub(crate) fn audited(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn beyond_the_rate_a_caller_is_told_when_to_come_back() {
    let fake = Fake::tcp(contract).await;
    let mut gate = Gate::new(&fake.url, &["--mcp-rate=2"]).await;
    for _ in 0..2 {
        let answer = gate.call("list_containers", json!({})).await;
        assert_eq!(answer["result"]["isError"], false, "{answer}");
    }
    let answer = gate.call("list_containers", json!({})).await;
    let text = sentence(&answer);
    assert!(text.contains("2 a minute") && text.contains("Try again in"), "{text}");
    assert_eq!(fake.paths().len(), 2, "nothing was asked for the third");
    let answer = gate.ask("prompts/get", json!({"name": "triage"})).await;
    assert_eq!(answer["error"]["code"], 4290, "{answer}");
    let listed = gate.ask("tools/list", json!({})).await;
    assert!(listed["result"]["tools"].is_array(), "lists cost nothing");
    let metrics = gate.scrape().await;
    has(&metrics, "maintenant_mcp_calls_limited_total{limit=\"rate\"} 2");
    gate.end().await;
}

#[tokio::test]
async fn few_calls_of_one_caller_run_at_once() {
    let (arrived, mut arrivals) = mpsc::unbounded_channel();
    let gate_open = Arc::new(Semaphore::new(0));
    let open = gate_open.clone();
    let app = Router::new().fallback(async move |_: Request| {
        arrived.send(()).unwrap();
        open.acquire().await.unwrap().forget();
        "[]"
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { axum::serve(listener, app).await.unwrap() });

    let mut gate = Gate::new(&url, &[]).await;
    let calls = (0..16).map(|_| gate.call("list_certificates", json!({})));
    let one_more = async {
        for _ in 0..16 {
            arrivals.recv().await.unwrap();
        }
        let answer = gate.call("list_certificates", json!({})).await;
        assert!(sentence(&answer).contains("16 of your calls are still running"), "{answer}");
        gate_open.add_permits(100);
    };
    tokio::join!(futures_util::future::join_all(calls), one_more);
    let metrics = gate.scrape().await;
    has(&metrics, "maintenant_mcp_calls_limited_total{limit=\"running_of_caller\"} 1");
    has(&metrics, "maintenant_mcp_calls_running 0");
    gate.end().await;
}

#[tokio::test]
async fn tools_that_are_switched_off_are_neither_listed_nor_callable() {
    let fake = Fake::tcp(contract).await;
    let gate = Gate::new(
        &fake.url,
        &["--mcp-tools=list_containers,get_health", "--mcp-tools-off=get_health"],
    )
    .await;
    let listed = gate.ask("tools/list", json!({})).await;
    let names: Vec<&str> = listed["result"]["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| tool["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["list_containers"]);
    let refused = async |tool: &str, variable: &str| {
        let answer = gate.call(tool, json!({})).await;
        let text = answer["error"]["message"].as_str().unwrap();
        assert!(text.contains("switched off") && text.ends_with(variable), "{text}");
    };
    refused("get_health", "MAINTENANT_MCP_TOOLS_OFF").await;
    refused("list_alerts", "MAINTENANT_MCP_TOOLS").await;
    let unknown = gate.call("list_container", json!({})).await;
    let text = unknown["error"]["message"].as_str().unwrap();
    assert!(text.contains("list_containers") && !text.contains("list_alerts"), "{text}");
    let resource = gate.ask("resources/read", json!({"uri": "maintenant://health"})).await;
    assert!(resource["error"]["message"].as_str().unwrap().contains("switched off"), "{resource}");
    assert!(fake.paths().is_empty());
    gate.end().await;
}

#[test]
fn bad_settings_of_calls_are_faults() {
    let check = |setting: &str, part: &str| {
        let arguments = ["maintenant-gateway", "--mcp", "--url=http://x", setting];
        let fault = Args::try_parse_from(arguments).unwrap().check().unwrap_err().to_string();
        assert!(fault.contains(part), "{setting}: {fault}");
    };
    check("--mcp-tools=list_container", "MAINTENANT_MCP_TOOLS: `list_container` is no tool, did");
    check("--mcp-tools-off=get_helth", "MAINTENANT_MCP_TOOLS_OFF: `get_helth` is no tool");
    check("--mcp-tools=,", "names no tool");
    check("--mcp-tools=@/nowhere", "cannot read /nowhere");
    check("--mcp-rate=many", "MAINTENANT_MCP_RATE: `many`");
    check("--metrics-addr=here", "MAINTENANT_METRICS_ADDR");
    check("--otel-exporter-otlp-endpoint=grpc://x", "OTEL_EXPORTER_OTLP_ENDPOINT");
}

#[tokio::test]
async fn every_call_is_a_line_of_the_audit_log() {
    // A change waits for its line, which another thread writes: it has twice the time.
    let _clock = by_turns(TURN / 2);
    let fake = Fake::tcp(contract).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.jsonl");
    let audit = format!("--mcp-audit={}", file.display());
    let several = format!("prod={},lab={}", fake.url, nobody());
    let gate = Gate::new(&several, &[&audit]).await;
    gate.call("list_containers", json!({"limit": 3})).await;
    let grep =
        json!({"container_id": "db", "collector": "prod", "grep": format!("password={CANARY}")});
    gate.call("get_container_logs", grep).await;
    gate.call("nonsense", json!({"token": CANARY, "text": "x".repeat(5000)})).await;
    gate.ask("prompts/get", json!({"name": "triage", "arguments": {"container": "db"}})).await;
    gate.ask("resources/read", json!({"uri": "maintenant://health"})).await;
    let pause = json!({"monitor_type": "heartbeat", "monitor_id": 1, "collector": "prod"});
    gate.call("pause_monitor", pause).await;
    gate.end().await;

    let lines = audited(&file);
    let results: Vec<_> = lines
        .iter()
        .map(|line| (line["name"].as_str().unwrap(), line["result"].as_str().unwrap()))
        .collect();
    assert_eq!(
        results,
        [
            ("list_containers", "ok"),
            ("get_container_logs", "ok"),
            ("nonsense", "refused"),
            ("triage", "ok"),
            ("maintenant://health", "ok"),
            ("pause_monitor", "started"),
            ("pause_monitor", "error"),
        ]
    );
    let first = &lines[0];
    assert_eq!(first["sources"], json!(["lab", "prod"]));
    assert_eq!(first["arguments"], json!({"limit": 3}));
    assert_eq!((&first["id"], &first["method"]), (&json!("q-1"), &json!("tools/call")));
    assert_eq!(first["admitted_by"], "nobody");
    assert!(first["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{first}");
    assert!(first["bytes"].as_u64().unwrap() > 500 && first["milliseconds"].is_u64(), "{first}");
    assert!(first["time"].as_str().unwrap().ends_with('Z'), "{first}");
    assert_eq!(lines[1]["arguments"]["grep"], "password=[redacted]");
    assert_eq!(lines[1]["sources"], json!(["prod"]));
    assert_eq!(lines[2]["arguments"]["token"], "[redacted]");
    assert_eq!(lines[5]["call"], lines[6]["call"]);
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(!text.contains(CANARY) && text.len() < 5000, "{text}");
}

pub(crate) fn alice() -> Caller {
    Caller {
        admitted_by: AdmittedBy::Email,
        issuer: Some("https://issuer.example".to_owned()),
        subject: Some("auth0|7".to_owned()),
        email: Some("alice@example.org\u{202e}".to_owned()),
        client: Some("claude".to_owned()),
        scopes: None,
        expires_at: None,
    }
}

#[tokio::test]
async fn the_audit_log_says_who_called_and_who_was_not_let_in() {
    let fake = Fake::tcp(contract).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.jsonl");
    let audit = format!("--mcp-audit={}", file.display());
    let mut gate = Gate::of(&fake.url, &[&audit], Some(alice())).await;
    gate.call("list_containers", json!({})).await;
    let mut extensions = http::Extensions::new();
    extensions.insert(Peer::Tcp("192.0.2.7:9".parse().unwrap()));
    let refusal = Refusal::Invalid("expired");
    gate.calls.refused(&refusal, &Who::of(&extensions), Some("pause_monitor"));
    has(&gate.scrape().await, "maintenant_auth_refusals_total{kind=\"invalid\"} 1");
    gate.end().await;
    let lines = audited(&file);
    let known = json!({
        "admitted_by": "email", "issuer": "https://issuer.example", "subject": "auth0|7",
        "email": "alice@example.org\\u{202e}", "client": "claude",
    });
    for (key, value) in known.as_object().unwrap() {
        assert_eq!(&lines[0][key], value, "{key}");
    }
    let mut refused = lines[1].clone();
    assert!(refused.as_object_mut().unwrap().remove("time").is_some());
    assert_eq!(
        refused,
        json!({"admitted_by": "nobody", "peer": "192.0.2.7:9", "name": "pause_monitor",
               "result": "refused", "reason": "auth: invalid"})
    );
}

#[tokio::test]
async fn a_subject_has_one_rate_on_all_its_connections() {
    let fake = Fake::tcp(contract).await;
    let gate = Gate::of(&fake.url, &["--mcp-rate=1"], Some(alice())).await;
    gate.call("list_containers", json!({})).await;
    let elsewhere = Gate { client: reqwest::Client::new(), ..gate };
    assert!(sentence(&elsewhere.call("list_containers", json!({})).await).contains("Too many"));
    elsewhere.end().await;
}

#[tokio::test]
async fn from_the_beginning_of_the_drain_on_nothing_is_ready() {
    let (drain, mut tasks) = (Drain::default(), JoinSet::new());
    let draining = Drain::default();
    let ready = Router::new().route("/readyz", get(async || "ready"));
    let url = listen(unready_while_draining(ready, &draining), &drain, &mut tasks).await;
    let status = async || reqwest::get(format!("{url}/readyz")).await.unwrap().status();
    assert_eq!(status().await, 200);
    draining.begin.cancel();
    assert_eq!(status().await, 503);
}

#[tokio::test]
async fn without_its_audit_line_nothing_is_changed_and_all_is_read() {
    let fake = Fake::tcp(contract).await;
    let mut gate = Gate::new(&fake.url, &["--mcp-audit=/dev/full"]).await;
    let pause = json!({"monitor_type": "heartbeat", "monitor_id": 1});
    let answer = gate.call("pause_monitor", pause).await;
    assert!(sentence(&answer).contains("audit log of this gateway cannot be written"), "{answer}");
    assert!(fake.paths().is_empty(), "{:?}", fake.paths());
    let answer = gate.call("list_containers", json!({})).await;
    assert_eq!(answer["result"]["isError"], false);
    gate.ended.cancel();
    gate.tasks.join_next().await.unwrap().unwrap();
    let metrics = gate.scrape().await;
    has(&metrics, "maintenant_audit_failures_total 3");
    gate.end().await;
}

#[tokio::test]
async fn metrics_count_calls_by_tool_and_collector_and_no_caller_makes_labels() {
    let fake = Fake::tcp(contract).await;
    let several = format!("prod={},lab={}", fake.url, nobody());
    let mut gate = Gate::new(&several, &[]).await;
    gate.call("list_containers", json!({})).await;
    gate.call("list_containers", json!({})).await;
    gate.call("get_container", json!({"container_id": CANARY, "collector": "prod"})).await;
    gate.call(CANARY, json!({})).await;
    gate.ask("resources/read", json!({"uri": format!("x://{CANARY}")})).await;
    let metrics = gate.scrape().await;
    let calls =
        |labels: &str| format!("maintenant_mcp_calls_total{{method=\"tools/call\",{labels}}}");
    has(&metrics, &format!("{} 2", calls("tool=\"list_containers\",outcome=\"ok\"")));
    has(&metrics, &format!("{} 1", calls("tool=\"get_container\",outcome=\"error\"")));
    has(&metrics, &format!("{} 1", calls("tool=\"other\",outcome=\"refused\"")));
    has(&metrics, "maintenant_upstream_calls_total{collector=\"lab\",outcome=\"unreachable\"} 2");
    let buckets = "maintenant_mcp_call_duration_seconds_count{method=\"tools/call\",tool=\"list_containers\"} 2";
    has(&metrics, buckets);
    for name in ["maintenant_mcp_answer_bytes_total", "process_resident_memory_bytes"] {
        assert!(metrics.contains(name), "{name} in {metrics}");
    }
    assert!(!metrics.contains(CANARY), "{metrics}");
    gate.end().await;
}

/// A receiver of traces that remembers bodies, and a collector that remembers `traceparent`.
async fn receiver(
    tasks: &mut JoinSet<()>,
) -> (String, Arc<Mutex<Vec<Bytes>>>, Arc<Mutex<Vec<String>>>) {
    let (bodies, parents) =
        (Arc::<Mutex<Vec<Bytes>>>::default(), Arc::<Mutex<Vec<String>>>::default());
    let (received, seen) = (bodies.clone(), parents.clone());
    let traces = post(async move |body: Bytes| received.lock().unwrap().push(body));
    let rest = async move |request: Request| {
        let parent =
            request.headers().get("traceparent").map(|value| value.to_str().unwrap().to_owned());
        seen.lock().unwrap().extend(parent);
        let path = request.uri().path().strip_prefix("/api/v1/").unwrap().to_owned();
        contract(&path, 1).1.to_string()
    };
    let app = Router::new().route("/base/v1/traces", traces).fallback(rest);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tasks.spawn(async move { axum::serve(listener, app).await.unwrap() });
    (url, bodies, parents)
}

fn spans(bodies: &[Bytes]) -> Vec<Span> {
    let requests =
        bodies.iter().map(|body| ExportTraceServiceRequest::decode(body.clone()).unwrap());
    let resources = requests.flat_map(|request| request.resource_spans);
    resources.flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans).collect()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

#[tokio::test]
async fn a_trace_goes_from_the_client_through_the_gateway_to_the_collector() {
    let mut tasks = JoinSet::new();
    let (url, bodies, parents) = receiver(&mut tasks).await;
    let endpoint = format!("--otel-exporter-otlp-endpoint={url}/base");
    let gate = Gate::new(&url, &[&endpoint]).await;
    let (trace, parent) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
    let meta = json!({"traceparent": format!("00-{trace}-{parent}-01")});
    let arguments = json!({"container_id": format!("password={CANARY}")});
    let params = json!({"name": "get_container", "arguments": arguments, "_meta": meta});
    gate.ask("tools/call", params).await;
    gate.end().await;

    let bodies = bodies.lock().unwrap().clone();
    let spans = spans(&bodies);
    let server = spans.iter().find(|span| span.name == "tools/call get_container").unwrap();
    assert_eq!(
        (hex(&server.trace_id), hex(&server.parent_span_id)),
        (trace.to_owned(), parent.to_owned())
    );
    let keys: Vec<&str> = server.attributes.iter().map(|own| own.key.as_str()).collect();
    for key in ["mcp.method.name", "gen_ai.tool.name", "error.type"] {
        assert!(keys.contains(&key), "{keys:?}");
    }
    let rest = spans.iter().find(|span| span.name == "GET").unwrap();
    assert_eq!((&rest.trace_id, &rest.parent_span_id), (&server.trace_id, &server.span_id));
    let parents = parents.lock().unwrap().clone();
    assert_eq!(parents[0], format!("00-{trace}-{}-01", hex(&rest.span_id)));
    for body in bodies {
        assert!(!String::from_utf8_lossy(&body).contains(CANARY));
    }
}

#[tokio::test]
async fn traces_that_nobody_takes_are_lost_and_calls_are_not() {
    let fake = Fake::tcp(contract).await;
    let endpoint = format!("--otel-exporter-otlp-endpoint={}", nobody());
    let mut gate = Gate::new(&fake.url, &[&endpoint]).await;
    let answer = gate.call("list_containers", json!({})).await;
    assert_eq!(answer["result"]["isError"], false);
    gate.ended.cancel();
    gate.tasks.join_next().await.unwrap().unwrap();
    has(&gate.scrape().await, "maintenant_trace_spans_lost_total 2");
    gate.end().await;
}

/// Answers without bounds.
#[derive(Clone)]
struct Boundless;

impl ServerHandler for Boundless {
    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let text = "x".repeat(33 * 1024);
        let result = if request.name == "text" {
            CallToolResult::success(vec![ContentBlock::text(text)])
        } else {
            CallToolResult::structured(json!({"text": text}))
        };
        Ok(result.into())
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        if request.uri.len() > 1000 {
            let data = Some(json!({"uri": request.uri}));
            return Err(ErrorData::resource_not_found(request.uri, data));
        }
        let contents = ResourceContents::text("x".repeat(33 * 1024), request.uri);
        Ok(ReadResourceResult::new(vec![contents]).into())
    }
}

#[tokio::test]
async fn no_answer_and_no_error_passes_the_budget() {
    let (drain, mut tasks) = (Drain::default(), JoinSet::new());
    let settings = config(&["--url", "http://localhost"]).mcp;
    let handler = Guarded::new(Boundless, Calls::default());
    let url = listen(
        mcp::mcp_routes(handler, &settings, &Admission::new(&settings).unwrap(), &drain.cut),
        &drain,
        &mut tasks,
    )
    .await;
    let gate = Gate { url, ..Gate::new("http://localhost", &[]).await };
    for tool in ["text", "structure"] {
        let answer = gate.call(tool, json!({})).await;
        assert!(sentence(&answer).contains("larger than this gateway sends"), "{tool}");
    }
    for uri in ["x://y".to_owned(), format!("x://{}", "y".repeat(100_000))] {
        let answer = gate.ask("resources/read", json!({"uri": uri})).await;
        assert!(answer["error"]["message"].is_string(), "{answer}");
        assert!(answer.to_string().len() < 4096, "{} bytes", answer.to_string().len());
    }
}
