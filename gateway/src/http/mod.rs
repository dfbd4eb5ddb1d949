//! Streamable HTTP on `/mcp`, who may use it, and the probes `/healthz` and `/readyz`.
//!
//! rmcp speaks the protocol. In front of it stands what it leaves to others, in this order: host and
//! origin are refused with a sentence that says what to set (`door`), then whoever has no valid
//! token (`door`), then a body that is no JSON-RPC request, and what the token's scopes do not allow
//! (`messages`). No answer is kept by a cache.

mod door;
mod messages;
mod metadata;
mod ready;

use std::sync::Arc;
use std::time::Duration;

use axum::middleware::{from_fn_with_state, map_response};
use axum::response::Response;
use axum::routing::get;
use axum::{Json, Router};
use http::header::X_CONTENT_TYPE_OPTIONS;
use http::{HeaderValue, StatusCode};
use maintenant_serve::guard;
use rmcp::ServerHandler;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::auth::admission::Admission;
use crate::auth::settings::AuthSettings;
use crate::collectors::Collectors;
use crate::config::McpSettings;
use crate::guarded::Guarded;
use crate::server::Gateway;

/// All routes of the gateway as a program of its own.
pub fn router(
    gateway: Gateway,
    collectors: Collectors,
    settings: &McpSettings,
    admission: &Admission,
    cut: &CancellationToken,
) -> Router {
    metadata::routes(settings)
        .route("/healthz", get(async || Json(json!({"status": "ok"}))))
        .route(
            "/readyz",
            get(ready::readyz).with_state(ready::Probe::new(collectors, admission.clone())),
        )
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(not_found)
        .merge(mcp_routes(gateway.guarded(), settings, admission, cut))
        .layer(map_response(nosniff))
}

/// Said once at the start of every program that serves `/mcp`.
pub fn warn_of_open_doors(settings: &AuthSettings) {
    for warning in settings.warnings() {
        tracing::warn!("{warning}");
    }
}

/// `/mcp` alone, for any handler. `cut` ends what is still running at the end of the process.
pub fn mcp_routes<H: ServerHandler + Clone>(
    handler: Guarded<H>,
    settings: &McpSettings,
    admission: &Admission,
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
        .with_max_request_body_bytes(messages::LARGEST_BODY)
        .with_cancellation_token(cut.clone());
    let tools = handler.clone();
    let is_tool = Arc::new(move |name: &str| tools.get_tool(name).is_some());
    let calls = handler.calls().clone();
    let scopes = messages::Scopes { admission: admission.clone(), is_tool, calls: calls.clone() };
    let service = StreamableHttpService::new(
        move || Ok(handler.clone()),
        Arc::new(NeverSessionManager::default()),
        config,
    );
    let door = door::Door::new(settings, admission.clone(), calls);
    Router::new()
        .route_service("/mcp", service)
        .layer(from_fn_with_state(scopes, messages::well_formed))
        .layer(from_fn_with_state(door, door::enter))
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
