//! Who listens is told that alerts changed, over one stream of events per collector.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json, Router};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use http::header::CONTENT_TYPE;
use maintenant_gateway::auth::admission::Admission;
use maintenant_gateway::caller::{AdmittedBy, Caller, Scope};
use maintenant_gateway::calls::Calls;
use maintenant_gateway::calls::choice::ToolChoice;
use maintenant_gateway::event_stream::{Changes, follow};
use maintenant_gateway::guarded::Guarded;
use maintenant_gateway::progress::Progress;
use maintenant_gateway::stdio::serve_on;
use maintenant_gateway::subscriptions::EndOfStreams;
use maintenant_gateway::{Collectors, Gateway, http as mcp};
use maintenant_serve::clock;
use maintenant_serve::listener::{ConnectionLimits, Drain, Listener, serve};
use rmcp::model::{CallToolRequestParams, CallToolResponse, CallToolResult, ErrorData};
use rmcp::service::RequestContext;
use rmcp::{RoleServer, ServerHandler};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::alerts;
use crate::clock::{TURN, by_turns};
use crate::fake::{config, contract, nobody};

const ALERTS: &str = "monitor://alerts/active";
const OVERVIEW: &str = "monitor://overview";
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for what must come.
async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    timeout(PATIENCE, work).await.unwrap_or_else(|_| panic!("waited in vain: {what}"))
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon(what, wait).await;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manners {
    /// A greeting at once, as our collector sends.
    Ours,
    /// Not even a head before the first event.
    V1,
}

#[derive(Clone)]
struct Upstream {
    manners: Manners,
    events: broadcast::Sender<String>,
    opened: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
    active: Arc<Mutex<Vec<Value>>>,
    endpoints: Arc<Mutex<Vec<Value>>>,
    cut: CancellationToken,
}

struct OpenStream(Arc<AtomicUsize>);

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A collector with a real stream of events.
pub(crate) struct Streaming {
    upstream: Upstream,
    pub(crate) url: String,
    /// Taken also while nobody listens there.
    port: TcpSocket,
    server: JoinSet<()>,
}

impl Streaming {
    pub(crate) async fn new(manners: Manners) -> Self {
        let upstream = Upstream {
            manners,
            events: broadcast::channel(256).0,
            opened: Arc::default(),
            open: Arc::default(),
            active: Arc::default(),
            endpoints: Arc::default(),
            cut: CancellationToken::new(),
        };
        let port = TcpSocket::new_v4().unwrap();
        port.set_reuseaddr(true).unwrap();
        port.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let url = format!("http://{}", port.local_addr().unwrap());
        let mut streaming = Self { upstream, url, port, server: JoinSet::new() };
        streaming.come_back().await;
        streaming
    }

    fn start(&mut self, listener: TcpListener) {
        let answers = async |State(upstream): State<Upstream>, request: axum::extract::Request| {
            let uri = request.uri().path_and_query().unwrap().as_str();
            let path = uri.strip_prefix("/api/v1/").unwrap_or(uri);
            if path.starts_with("alerts?") {
                let active = upstream.active.lock().unwrap().clone();
                let active = if path.contains("status=active") { active } else { Vec::new() };
                return Json(json!({"alerts": active, "has_more": false})).into_response();
            }
            if path.starts_with("endpoints?") {
                let endpoints = upstream.endpoints.lock().unwrap().clone();
                return Json(json!({"endpoints": endpoints})).into_response();
            }
            let (status, body) = contract(path, 1);
            (http::StatusCode::from_u16(status).unwrap(), Json(body)).into_response()
        };
        let app = Router::new()
            .route("/api/v1/containers/events", get(events))
            .fallback(answers)
            .with_state(self.upstream.clone());
        self.server.spawn(async move { axum::serve(listener, app).await.unwrap() });
    }

    async fn die(&mut self) {
        // axum hands connections to tasks of their own.
        self.server.shutdown().await;
        self.upstream.cut.cancel();
        self.upstream.cut = CancellationToken::new();
        until("the streams are cut", || self.open() == 0).await;
    }

    async fn come_back(&mut self) {
        let listener = TcpListener::bind(self.port.local_addr().unwrap()).await.unwrap();
        self.start(listener);
    }

    fn open(&self) -> usize {
        self.upstream.open.load(Ordering::SeqCst)
    }

    fn opened(&self) -> usize {
        self.upstream.opened.load(Ordering::SeqCst)
    }

    async fn until_open(&self, count: usize) {
        until("the stream is open", || self.open() == count).await;
    }

    fn send(&self, event: &str) {
        let _ = self.upstream.events.send(format!("event: {event}\ndata: {{\"id\":1}}\n\n"));
    }
}

async fn events(State(upstream): State<Upstream>) -> Response {
    let mut receiver = upstream.events.subscribe();
    upstream.opened.fetch_add(1, Ordering::SeqCst);
    upstream.open.fetch_add(1, Ordering::SeqCst);
    let open = OpenStream(upstream.open.clone());
    let first = match upstream.manners {
        Manners::Ours => Some(": connected\n\n".to_owned()),
        Manners::V1 => receiver.recv().await.ok(),
    };
    let rest = futures_util::stream::unfold((receiver, open), |(mut receiver, open)| async move {
        Some((receiver.recv().await.ok()?, (receiver, open)))
    });
    let stream = futures_util::stream::iter(first).chain(rest).map(Ok::<_, Infallible>);
    let stream = stream.take_until(upstream.cut.cancelled_owned());
    ([(CONTENT_TYPE, "text/event-stream")], Body::from_stream(stream)).into_response()
}

/// A gateway over real HTTP.
pub(crate) struct Server {
    url: String,
    client: reqwest::Client,
    pub(crate) drain: Drain,
    _task: JoinSet<()>,
}

impl Server {
    async fn new(upstream: &str) -> Self {
        Self::for_caller(upstream, None).await
    }

    async fn for_caller(upstream: &str, caller: Option<Caller>) -> Self {
        Self::with(upstream, caller, Calls::default()).await
    }

    pub(crate) async fn with(upstream: &str, caller: Option<Caller>, calls: Calls) -> Self {
        let config = config(&["--url", upstream]);
        let collectors = Collectors::new(config.collectors).unwrap();
        let gateway = Gateway::with(collectors.clone(), false, ToolChoice::default(), calls);
        let drain = Drain::default();
        let mut routes = mcp::router(
            gateway,
            collectors,
            &config.mcp,
            &Admission::new(&config.mcp).unwrap(),
            &drain.cut,
        )
        .layer(Extension(EndOfStreams(drain.begin.clone())));
        if let Some(caller) = caller {
            routes = routes.layer(Extension(caller));
        }
        Self::start(routes, drain).await
    }

    async fn start(routes: Router, drain: Drain) -> Self {
        let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap(), None).await.unwrap();
        let url = format!("http://{}/mcp", listener.address());
        let mut task = JoinSet::new();
        task.spawn(serve(listener, routes, ConnectionLimits::default(), drain.clone()));
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
        Self { url, client, drain, _task: task }
    }

    async fn modern(&self, method: &str, mut params: Value) -> reqwest::Response {
        params["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("2026-07-28");
        params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
        let name = params["name"].as_str().or(params["uri"].as_str()).unwrap_or_default();
        let mut request = self.client.post(&self.url).header("mcp-method", method);
        if !name.is_empty() {
            request = request.header("mcp-name", name);
        }
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let request = request
            .header("mcp-protocol-version", "2026-07-28")
            .header(CONTENT_TYPE, "application/json")
            .header("accept", "application/json, text/event-stream")
            .body(body.to_string());
        request.send().await.unwrap()
    }

    pub(crate) async fn listen(&self, uris: &[&str]) -> Messages {
        let params = json!({"notifications": {"resourceSubscriptions": uris}});
        let mut messages = Messages::of(self.modern("subscriptions/listen", params).await);
        let acknowledged = messages.next().await.unwrap();
        assert_eq!(acknowledged["method"], "notifications/subscriptions/acknowledged");
        messages.honoured = acknowledged["params"]["notifications"].clone();
        messages
    }

    /// Also hears the first word, that now is the time to read.
    async fn listen_on(&self, uris: &[&str]) -> Messages {
        let mut messages = self.listen(uris).await;
        let honoured = messages.honoured["resourceSubscriptions"].clone();
        for uri in honoured.as_array().unwrap() {
            assert_eq!(messages.updated().await, uri.as_str().unwrap());
        }
        messages
    }
}

/// The messages of a stream.
pub(crate) struct Messages {
    chunks: BoxStream<'static, reqwest::Result<Bytes>>,
    rest: String,
    honoured: Value,
}

impl Messages {
    fn of(response: reqwest::Response) -> Self {
        assert_eq!(response.headers()[CONTENT_TYPE], "text/event-stream");
        let (rest, honoured) = (String::new(), Value::Null);
        Self { chunks: response.bytes_stream().boxed(), rest, honoured }
    }

    pub(crate) async fn next(&mut self) -> Option<Value> {
        loop {
            while let Some((line, rest)) = self.rest.split_once('\n') {
                let data = line.strip_prefix("data:").map(|data| data.trim().to_owned());
                let rest = rest.to_owned();
                self.rest = rest;
                if let Some(data) = data.filter(|data| !data.is_empty()) {
                    return Some(serde_json::from_str(&data).unwrap());
                }
            }
            let chunk = soon("a message", self.chunks.next()).await?.ok()?;
            self.rest.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// The address of the resource that was updated.
    async fn updated(&mut self) -> String {
        let message = self.next().await.unwrap();
        assert_eq!(message["method"], "notifications/resources/updated", "{message}");
        message["params"]["uri"].as_str().unwrap().to_owned()
    }

    /// What is left, to the final answer.
    async fn rest_of_it(&mut self) -> Vec<Value> {
        let mut messages = Vec::new();
        while let Some(message) = self.next().await {
            messages.push(message);
        }
        messages
    }
}

#[tokio::test]
async fn an_alert_fired_upstream_reaches_a_listener() {
    for manners in [Manners::Ours, Manners::V1] {
        let upstream = Streaming::new(manners).await;
        let server = Server::new(&upstream.url).await;
        let wanted = [ALERTS, "monitor://containers/web", OVERVIEW, "file:///etc/passwd"];
        let mut listener = server.listen_on(&wanted).await;
        assert_eq!(listener.honoured, json!({"resourceSubscriptions": [ALERTS, OVERVIEW]}));
        upstream.until_open(1).await;
        upstream.send("resource.snapshot");
        upstream.send("alert.fired");
        assert_eq!(listener.updated().await, ALERTS, "{manners:?}");
        assert_eq!(listener.updated().await, OVERVIEW, "{manners:?}");
        // Not every change is one of alerts.
        upstream.send("container.state_changed");
        assert_eq!(listener.updated().await, OVERVIEW);
    }
}

#[tokio::test]
async fn who_begins_or_joins_to_listen_is_told_to_read() {
    let upstream = Streaming::new(Manners::V1).await;
    let server = Server::new(&upstream.url).await;
    let first = server.listen_on(&[ALERTS, OVERVIEW]).await;
    let second = server.listen_on(&[OVERVIEW]).await;
    drop((first, second));
}

#[tokio::test]
async fn where_no_stream_lives_endpoints_are_compared() {
    let upstream = Streaming::new(Manners::V1).await;
    let endpoint = |status: &str| {
        json!({"id": 1, "endpoint_type": "http", "target": "http://x", "status": status,
               "alert_state": "normal", "source": "standalone"})
    };
    upstream.upstream.endpoints.lock().unwrap().push(endpoint("up"));
    let settings = config(&["--url", &upstream.url]).collectors;
    let collector = Collectors::new(settings).unwrap().all()[0].clone();
    let (sender, mut changes) = watch::channel(Changes::default());
    let mut following = JoinSet::new();
    let poll = Duration::from_millis(20);
    following.spawn(async move { follow(collector, &sender, poll).await });
    soon("the first", changes.wait_for(|changes| changes.alerts > 0)).await.unwrap();
    let before = *changes.borrow_and_update();
    upstream.upstream.endpoints.lock().unwrap()[0] = endpoint("down");
    soon("a change", changes.wait_for(|changes| changes.overview > before.overview)).await.unwrap();
    assert_eq!(changes.borrow().alerts, before.alerts, "alerts are the same");
}

#[tokio::test]
async fn listeners_share_one_stream_which_ends_with_the_last() {
    let (one, two) = (Streaming::new(Manners::Ours).await, Streaming::new(Manners::V1).await);
    let server = Server::new(&format!("one={},two={}", one.url, two.url)).await;
    for round in 1..=2 {
        let mut first = server.listen_on(&[ALERTS]).await;
        one.until_open(1).await;
        two.until_open(1).await;
        let mut second = server.listen_on(&[ALERTS]).await;
        // This one never reads, and holds up nobody.
        let silent = server.listen(&[ALERTS, OVERVIEW]).await;
        two.send("alert.fired");
        assert_eq!(first.updated().await, ALERTS);
        assert_eq!(second.updated().await, ALERTS);
        // The others go on when the one that began is gone.
        drop(first);
        one.send("alert.resolved");
        assert_eq!(second.updated().await, ALERTS);
        assert_eq!((one.opened(), two.opened()), (round, round));
        drop((second, silent));
        one.until_open(0).await;
        two.until_open(0).await;
    }
}

#[tokio::test]
async fn a_collector_that_dies_and_comes_back_is_told_and_heard_again() {
    let mut upstream = Streaming::new(Manners::Ours).await;
    let server = Server::new(&upstream.url).await;
    let mut listener = server.listen_on(&[ALERTS]).await;
    upstream.until_open(1).await;
    upstream.die().await;
    assert_eq!(listener.updated().await, ALERTS, "it does not answer");
    upstream.come_back().await;
    assert_eq!(listener.updated().await, ALERTS, "what happened meanwhile was not heard");
    upstream.until_open(1).await;
    upstream.send("alert.fired");
    assert_eq!(listener.updated().await, ALERTS);
}

#[tokio::test]
async fn many_events_are_few_updates() {
    let upstream = Streaming::new(Manners::Ours).await;
    let server = Server::new(&upstream.url).await;
    let mut listener = server.listen_on(&[ALERTS]).await;
    upstream.until_open(1).await;
    for _ in 0..200 {
        upstream.send("alert.fired");
    }
    assert_eq!(listener.updated().await, ALERTS);
    server.drain.begin.cancel();
    let rest = listener.rest_of_it().await;
    assert!(rest.len() < 20, "{} messages", rest.len());
}

#[tokio::test]
async fn where_no_stream_lives_alerts_are_compared() {
    for manners in [Manners::V1, Manners::Ours] {
        let mut upstream = Streaming::new(manners).await;
        let settings = config(&["--url", &upstream.url]).collectors;
        let collector = Collectors::new(settings).unwrap().all()[0].clone();
        if manners == Manners::Ours {
            // Its stream cannot be read, its alerts can.
            upstream.die().await;
            upstream.come_back().await;
        }
        let (sender, mut changes) = watch::channel(Changes::default());
        let mut following = JoinSet::new();
        let poll = Duration::from_millis(20);
        following.spawn(async move { follow(collector, &sender, poll).await });
        upstream.until_open(1).await;
        soon("the first", changes.wait_for(|changes| changes.alerts > 0)).await.unwrap();
        let before = changes.borrow_and_update().alerts;
        upstream.upstream.active.lock().unwrap().push(alerts::down());
        if manners == Manners::Ours {
            upstream.send("stream.gap");
        }
        soon("a change", changes.wait_for(|changes| changes.alerts > before)).await.unwrap();
    }
}

fn caller(scopes: Option<Vec<Scope>>) -> Caller {
    Caller {
        admitted_by: AdmittedBy::Token,
        issuer: Some("https://issuer.example".to_owned()),
        subject: Some("ann".to_owned()),
        email: None,
        client: None,
        scopes,
        expires_at: None,
    }
}

/// The stream ends in an orderly way.
async fn check_final_result(listener: &mut Messages) {
    let last = listener.rest_of_it().await.pop().unwrap();
    assert_eq!((&last["id"], &last["result"]["resultType"]), (&json!(1), &json!("complete")));
}

#[tokio::test]
async fn listening_ends_with_a_final_result_at_a_drain_and_with_the_token() {
    let upstream = Streaming::new(Manners::Ours).await;
    let server = Server::new(&upstream.url).await;
    let mut listener = server.listen(&[ALERTS]).await;
    upstream.until_open(1).await;
    server.drain.begin.cancel();
    check_final_result(&mut listener).await;
    upstream.until_open(0).await;

    let soon = clock::now() + jiff::SignedDuration::from_millis(200);
    let expiring = Caller { expires_at: Some(soon), ..caller(None) };
    let server = Server::for_caller(&upstream.url, Some(expiring)).await;
    let mut listener = server.listen(&[ALERTS]).await;
    check_final_result(&mut listener).await;
}

#[tokio::test]
async fn where_nothing_is_observed_listening_ends_at_once() {
    let upstream = Streaming::new(Manners::Ours).await;
    let server = Server::new(&upstream.url).await;
    let mut listener = server.listen(&["monitor://containers/web"]).await;
    assert_eq!(listener.honoured, json!({}));
    check_final_result(&mut listener).await;
    assert_eq!(upstream.opened(), 0);
}

#[tokio::test]
async fn a_ninth_listener_of_a_caller_is_refused_until_one_ends() {
    // Who proved nothing is told apart by the address.
    for caller in [Some(caller(None)), None] {
        check_a_ninth_listener_of(caller).await;
    }
}

async fn check_a_ninth_listener_of(caller: Option<Caller>) {
    let upstream = Streaming::new(Manners::Ours).await;
    let server = Server::for_caller(&upstream.url, caller).await;
    let mut listeners = Vec::new();
    for _ in 0..8 {
        listeners.push(server.listen(&[ALERTS]).await);
    }
    upstream.until_open(1).await;
    let mut ninth = server.listen(&[ALERTS]).await;
    let refused = ninth.next().await.unwrap();
    assert_eq!(refused["error"]["code"], 4290);
    assert!(refused["error"]["message"].as_str().unwrap().contains("8 subscriptions"));
    listeners.pop();
    let again = async {
        loop {
            let mut listener = server.listen(&[ALERTS]).await;
            // An answer means another refusal.
            upstream.send("alert.fired");
            if listener.next().await.unwrap().get("error").is_none() {
                return;
            }
        }
    };
    soon("a free place", again).await;
    assert_eq!(upstream.opened(), 1);
}

#[tokio::test]
async fn who_may_not_read_gets_no_resource_no_update_and_no_name() {
    let upstream = Streaming::new(Manners::Ours).await;
    let caller = caller(Some(vec![Scope::LogsRead]));
    let server = Server::for_caller(&upstream.url, Some(caller)).await;
    let listen = json!({"notifications": {"resourceSubscriptions": [ALERTS]}});
    let complete = json!({"ref": {"type": "ref/prompt", "name": "triage"},
                          "argument": {"name": "container", "value": ""}});
    for (method, params) in [
        ("subscriptions/listen", listen),
        ("resources/read", json!({"uri": OVERVIEW})),
        ("completion/complete", complete),
    ] {
        let answer: Value = server.modern(method, params).await.json().await.unwrap();
        assert_eq!(answer["error"]["code"], 4032, "{method}");
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.contains("monitor:read"), "{message}");
    }
    assert_eq!(upstream.opened(), 0);
}

#[tokio::test]
async fn on_stdio_listening_ends_with_the_input() {
    let upstream = Streaming::new(Manners::Ours).await;
    let gateway = crate::fake::gateway(&upstream.url);
    let (near, far) = tokio::io::duplex(1 << 16);
    let (input, output) = tokio::io::split(far);
    let mut server = JoinSet::new();
    server.spawn(serve_on(gateway.guarded(), input, output, CancellationToken::new()));
    let (output, mut input) = tokio::io::split(near);
    let mut lines = BufReader::new(output).lines();
    let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28",
                      "io.modelcontextprotocol/clientCapabilities": {}});
    let listen = json!({"jsonrpc": "2.0", "id": 7, "method": "subscriptions/listen", "params":
        {"_meta": meta, "notifications": {"resourceSubscriptions": [ALERTS]}}});
    input.write_all(format!("{listen}\n").as_bytes()).await.unwrap();
    let mut next = async || {
        let line = soon("a line", lines.next_line()).await.unwrap().unwrap();
        serde_json::from_str::<Value>(&line).unwrap()
    };
    assert_eq!(next().await["method"], "notifications/subscriptions/acknowledged");
    upstream.until_open(1).await;
    assert_eq!(next().await["params"]["uri"], ALERTS);
    upstream.send("alert.fired");
    assert_eq!(next().await["params"]["uri"], ALERTS);
    input.shutdown().await.unwrap();
    assert_eq!(next().await["id"], 7, "answered, not cut");
    server.join_next().await.unwrap().unwrap().unwrap();
    upstream.until_open(0).await;
}

/// Its one tool needs five seconds.
#[derive(Clone, Default)]
struct Slow(Arc<AtomicUsize>);

impl ServerHandler for Slow {
    async fn call_tool(
        &self,
        _request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let work = tokio::time::sleep(Duration::from_secs(5));
        Progress::of(&context).during("slow", work).await;
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(CallToolResult::success(Vec::new()).into())
    }
}

/// Calls it on pipes of this size.
fn call_slowly(
    slow: &Slow,
    bytes: usize,
) -> (JoinSet<anyhow::Result<()>>, tokio::io::DuplexStream, String) {
    let (near, far) = tokio::io::duplex(bytes);
    let (input, output) = tokio::io::split(far);
    let mut server = JoinSet::new();
    server.spawn(serve_on(guarded_slow(slow), input, output, CancellationToken::new()));
    let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28",
                      "io.modelcontextprotocol/clientCapabilities": {}, "progressToken": "p"});
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
                      "params": {"name": "x", "arguments": {}, "_meta": meta}});
    (server, near, format!("{call}\n"))
}

#[tokio::test(start_paused = true)]
async fn a_slow_call_is_heard_of_every_two_seconds() {
    let slow = Slow::default();
    let (_server, mut near, call) = call_slowly(&slow, 1 << 16);
    near.write_all(call.as_bytes()).await.unwrap();
    let mut lines = BufReader::new(near).lines();
    for count in [1, 2] {
        let line = lines.next_line().await.unwrap().unwrap();
        let word: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(word["method"], "notifications/progress");
        assert_eq!(word["params"]["progressToken"], "p");
        assert_eq!(word["params"]["progress"].as_f64(), Some(f64::from(count)));
        let message = word["params"]["message"].as_str().unwrap();
        assert!(message.contains(&format!("{} s", count * 2)), "{message}");
    }
    let line = lines.next_line().await.unwrap().unwrap();
    assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["id"], 1);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_does_not_read_holds_up_no_call() {
    let slow = Slow::default();
    let (_server, mut near, call) = call_slowly(&slow, 16);
    near.write_all(call.as_bytes()).await.unwrap();
    while slow.0.load(Ordering::SeqCst) == 0 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

#[tokio::test]
async fn over_http_a_slow_call_becomes_a_stream_only_for_who_asked() {
    let _clock = by_turns(5 * TURN);
    let settings = config(&["--url", &nobody()]).mcp;
    let drain = Drain::default();
    let slow = Slow::default();
    let server = Server::start(
        mcp::mcp_routes(
            guarded_slow(&slow),
            &settings,
            &Admission::new(&settings).unwrap(),
            &drain.cut,
        ),
        drain.clone(),
    )
    .await;
    let call = json!({"name": "x", "arguments": {}});
    let mut asking = call.clone();
    asking["_meta"]["progressToken"] = json!(7);
    let (heard, plain) =
        tokio::join!(server.modern("tools/call", asking), server.modern("tools/call", call));
    let heard = Messages::of(heard).rest_of_it().await;
    let methods: Vec<&Value> = heard.iter().map(|message| &message["method"]).collect();
    let progress = json!("notifications/progress");
    assert_eq!(methods, [&progress, &progress, &Value::Null]);
    assert_eq!(plain.headers()[CONTENT_TYPE], "application/json");
}

fn guarded_slow(slow: &Slow) -> Guarded<Slow> {
    Guarded::new(slow.clone(), Calls::default())
}
