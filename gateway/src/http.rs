//! Streamable HTTP on `/mcp`, and the probes `/healthz` and `/readyz`.
//!
//! rmcp speaks the protocol. In front of it stands what it leaves to others: host and origin are
//! refused with a sentence that says what to set, a body that is no JSON-RPC request is answered in
//! JSON-RPC, and no answer is kept by a cache.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HOST, ORIGIN, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use maintenant_serve::guard::{self, AllowedHosts, BodyFault};
use maintenant_serve::logging::foreign;
use rmcp::ServerHandler;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::collectors::{Collectors, ask};
use crate::config::{McpSettings, Origin};
use crate::error::explain;
use crate::guarded::Guarded;
use crate::jsonrpc;
use crate::server::Gateway;

/// Largest JSON-RPC message.
const LARGEST_BODY: usize = 1 << 20;
const LONGEST_REFUSAL: usize = 4096;
/// How long `/readyz` waits for a collector.
const READY_WITHIN: Duration = Duration::from_secs(2);
/// Our own codes lie outside JSON-RPC's reserved range.
const FORBIDDEN: i64 = 4030;

/// All routes of the gateway as a program of its own.
pub fn router(
    gateway: Gateway,
    collectors: Collectors,
    settings: &McpSettings,
    cut: &CancellationToken,
) -> Router {
    Router::new()
        .route("/healthz", get(async || Json(json!({"status": "ok"}))))
        .route("/readyz", get(readyz).with_state(collectors))
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(not_found)
        .merge(mcp_routes(gateway, settings, cut))
        .layer(map_response(nosniff))
}

/// Said once at the start of every program that serves `/mcp`.
pub fn warn_of_open_access() {
    tracing::warn!(
        "/mcp asks for no credentials: everyone who reaches it reads the monitoring data; host and \
         origin must be in MAINTENANT_ALLOWED_HOSTS and MAINTENANT_ALLOWED_ORIGINS"
    );
}

/// `/mcp` alone, for any handler. `cut` ends what is still running at the end of the process.
pub fn mcp_routes<H: ServerHandler + Clone>(
    handler: H,
    settings: &McpSettings,
    cut: &CancellationToken,
) -> Router {
    let hosts = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .with_sse_keep_alive(Some(Duration::from_secs(15)))
        .with_sse_retry(None)
        .with_allowed_hosts(hosts.into_iter().chain(settings.hosts.iter().cloned()))
        .with_allowed_origins(settings.origins.iter().map(ToString::to_string))
        .enforce_origin_validation()
        .with_max_request_body_bytes(LARGEST_BODY)
        .with_cancellation_token(cut.clone());
    let handler = Guarded(handler);
    let service = StreamableHttpService::new(
        move || Ok(handler.clone()),
        Arc::new(NeverSessionManager::default()),
        config,
    );
    let doors = Doors { hosts: settings.allowed_hosts(), origins: settings.origins.clone().into() };
    Router::new()
        .route_service("/mcp", service)
        .layer(from_fn(well_formed))
        .layer(from_fn_with_state(doors, known_caller))
}

/// Which names and web pages a request may come by.
#[derive(Clone)]
struct Doors {
    hosts: AllowedHosts,
    origins: Arc<[Origin]>,
}

async fn known_caller(State(doors): State<Doors>, request: Request, next: Next) -> Response {
    match doors.refusal(request.headers(), request.uri().host()) {
        None => next.run(request).await,
        Some(message) => {
            tracing::warn!("{message}");
            rpc_error(StatusCode::FORBIDDEN, &Value::Null, FORBIDDEN, &message)
        }
    }
}

impl Doors {
    fn refusal(&self, headers: &HeaderMap, target: Option<&str>) -> Option<String> {
        let host = text(headers, &HOST).or(target).unwrap_or_default();
        if !self.hosts.allows(host) || target.is_some_and(|target| !self.hosts.allows(target)) {
            return Some(format!(
                "host `{}` is not allowed; the operator can add it to MAINTENANT_ALLOWED_HOSTS",
                foreign(host)
            ));
        }
        let mut origins = headers.get_all(ORIGIN).iter();
        let refused = origins.find_map(|origin| {
            let origin = origin.to_str().unwrap_or("?");
            (!self.origins.iter().any(|own| own.matches(origin))).then_some(origin)
        })?;
        Some(format!(
            "origin `{}` is not allowed; the operator can add it to MAINTENANT_ALLOWED_ORIGINS",
            foreign(refused)
        ))
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Lets only single JSON-RPC messages through to rmcp, which would answer others in plain text.
async fn well_formed(request: Request, next: Next) -> Response {
    if request.method() != Method::POST {
        let message = "MCP over HTTP takes POST only; this server has no sessions to open or end";
        let mut response =
            guard::error(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", message);
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return response;
    }
    let (head, body) = request.into_parts();
    let announced =
        text(&head.headers, &CONTENT_LENGTH).and_then(|text| text.parse::<usize>().ok());
    if announced.is_some_and(|bytes| bytes > LARGEST_BODY) {
        return body_refused(Some(BodyFault::TooLarge));
    }
    let bytes = match axum::body::to_bytes(body, LARGEST_BODY).await {
        Ok(bytes) => bytes,
        Err(error) => return body_refused(body_fault(&error)),
    };
    let id = match jsonrpc::read(&bytes) {
        Ok(id) => id,
        Err(fault) => {
            return rpc_error(StatusCode::BAD_REQUEST, &fault.id, fault.code, &fault.message);
        }
    };
    let is_json = text(&head.headers, &CONTENT_TYPE)
        .is_some_and(|kind| kind.trim_start().to_ascii_lowercase().starts_with("application/json"));
    let response = next.run(Request::from_parts(head, Body::from(bytes.clone()))).await;
    if is_json && response.status() == StatusCode::UNSUPPORTED_MEDIA_TYPE {
        // It is JSON-RPC, and no MCP message.
        let fault = jsonrpc::no_mcp_message(&bytes, &id);
        return rpc_error(StatusCode::BAD_REQUEST, &id, fault.code, &fault.message);
    }
    in_json_rpc(response, &id).await
}

/// rmcp's refusals in plain text, with the same status and text, as JSON-RPC errors.
async fn in_json_rpc(response: Response, id: &Value) -> Response {
    let kind = text(response.headers(), &CONTENT_TYPE).unwrap_or_default();
    if !response.status().is_client_error() || kind.starts_with("application/json") {
        return uncached(response);
    }
    let status = response.status();
    let body = axum::body::to_bytes(response.into_body(), LONGEST_REFUSAL).await;
    let body = body.unwrap_or_default();
    let message = String::from_utf8_lossy(&body);
    let message = if message.is_empty() { status.as_str() } else { message.trim() };
    rpc_error(status, id, -32600, message)
}

fn body_fault(error: &axum::Error) -> Option<BodyFault> {
    BodyFault::find(error).or_else(|| {
        let mut cause = std::error::Error::source(error);
        while let Some(error) = cause {
            if error.is::<http_body_util::LengthLimitError>() {
                return Some(BodyFault::TooLarge);
            }
            cause = error.source();
        }
        None
    })
}

fn body_refused(fault: Option<BodyFault>) -> Response {
    let (status, message) = match fault {
        Some(BodyFault::TooLarge) => (
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the message is larger than {LARGEST_BODY} bytes"),
        ),
        Some(BodyFault::TooSlow) => {
            (StatusCode::REQUEST_TIMEOUT, "the message did not arrive in time".to_owned())
        }
        None => (StatusCode::BAD_REQUEST, "the message broke off".to_owned()),
    };
    rpc_error(status, &Value::Null, -32600, &message)
}

fn rpc_error(status: StatusCode, id: &Value, code: i64, message: &str) -> Response {
    uncached((status, Json(jsonrpc::error(id, code, message))).into_response())
}

/// Monitoring data must not be answered from a cache, unless rmcp says otherwise.
fn uncached(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Ready when every collector answers and takes the token. The process itself may well be fine: `/healthz` says so.
async fn readyz(State(collectors): State<Collectors>) -> Response {
    let answers = ask(collectors.all().to_vec(), |collector| async move {
        // Not its health, which it tells everyone: a wrong token must show.
        tokio::time::timeout(READY_WITHIN, collector.runtime_status())
            .await
            .unwrap_or(Err(crate::collector::ClientError::Timeout))
    })
    .await;
    let failing: Vec<Value> = answers
        .0
        .iter()
        .filter_map(|(collector, answer)| {
            let error = answer.as_ref().err()?;
            let error = explain(&collector.name, error);
            Some(json!({"name": collector.name, "error": error}))
        })
        .collect();
    if failing.is_empty() {
        return uncached(Json(json!({"status": "ready"})).into_response());
    }
    let body = Json(json!({"status": "not ready", "failing": failing}));
    uncached((StatusCode::SERVICE_UNAVAILABLE, body).into_response())
}

async fn not_found() -> Response {
    let message = "no such path; MCP is at /mcp, the probes are /healthz and /readyz";
    guard::error(StatusCode::NOT_FOUND, "NOT_FOUND", message)
}

async fn method_not_allowed() -> Response {
    let message = "this path takes GET only";
    guard::error(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", message)
}

async fn nosniff(mut response: Response) -> Response {
    let nosniff = HeaderValue::from_static("nosniff");
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, nosniff);
    response
}
