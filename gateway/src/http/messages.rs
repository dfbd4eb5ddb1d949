//! One JSON-RPC message in, one out, whatever stands between.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_body_util::BodyExt;
use maintenant_serve::guard::{self, BodyFault};
use maintenant_serve::logging::foreign;
use serde::Deserialize;
use serde_json::Value;

use super::door::refused;
use crate::auth::Refusal;
use crate::auth::admission::Admission;
use crate::caller::{Caller, Scope};
use crate::calls::{Calls, Who};
use crate::jsonrpc;
use crate::splice::Slot;

/// Largest JSON-RPC message.
pub(super) const LARGEST_BODY: usize = 1 << 20;
const LONGEST_REFUSAL: usize = 4096;

pub(super) fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// What a caller with scopes may ask for.
#[derive(Clone)]
pub(super) struct Scopes {
    pub(super) admission: Admission,
    /// Of what is not there, others say so.
    pub(super) is_tool: Arc<dyn Fn(&str) -> bool + Send + Sync>,
    pub(super) calls: Calls,
}

/// Lets only single JSON-RPC messages through to rmcp, which would answer others in plain text, and
/// of these only what the caller's scopes allow: rmcp could not answer with a status of its own.
pub(super) async fn well_formed(
    State(scopes): State<Scopes>,
    request: Request,
    next: Next,
) -> Response {
    if request.method() != Method::POST {
        let message = "MCP over HTTP takes POST only; this server has no sessions to open or end";
        let mut response =
            guard::error(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", message);
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return response;
    }
    let (mut head, body) = request.into_parts();
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
    if let Some(caller) = head.extensions.get::<Caller>()
        && let Some((scope, tool)) = scopes.lacking(caller, &bytes)
    {
        let refusal = Refusal::InsufficientScope(scope);
        scopes.calls.refused(&refusal, &Who::of(&head.extensions), tool.as_deref());
        let name = foreign(caller.name().unwrap_or_default());
        tracing::warn!(caller = name, "refused: {refusal}");
        let granted = caller.scopes.as_deref().unwrap_or_default();
        return refused(scopes.admission.answer(&refusal, granted), &id);
    }
    let is_json = text(&head.headers, &CONTENT_TYPE)
        .is_some_and(|kind| kind.trim_start().to_ascii_lowercase().starts_with("application/json"));
    let slot = Slot::default();
    head.extensions.insert(slot.clone());
    let response = next.run(Request::from_parts(head, Body::from(bytes.clone()))).await;
    if is_json && response.status() == StatusCode::UNSUPPORTED_MEDIA_TYPE {
        // It is JSON-RPC, and no MCP message.
        let fault = jsonrpc::no_mcp_message(&bytes, &id);
        return rpc_error(StatusCode::BAD_REQUEST, &id, fault.code, &fault.message);
    }
    in_json_rpc(filled(response, slot).await, &id).await
}

/// With the answer of a tool where rmcp wrote none.
async fn filled(response: Response, slot: Slot) -> Response {
    let (mut head, body) = response.into_parts();
    let is_json =
        text(&head.headers, &CONTENT_TYPE).is_some_and(|kind| kind.starts_with("application/json"));
    if !is_json {
        // A stream: its last event is the answer.
        let body = body.map_frame(move |frame| frame.map_data(|data| slot.fill(data)));
        return Response::from_parts(head, Body::new(body));
    }
    let Ok(message) = axum::body::to_bytes(body, usize::MAX).await else {
        return rpc_error(
            StatusCode::INTERNAL_SERVER_ERROR,
            &Value::Null,
            -32603,
            "internal error",
        );
    };
    head.headers.remove(CONTENT_LENGTH);
    Response::from_parts(head, Body::from(slot.fill(message)))
}

impl Scopes {
    /// The scope that a message takes and the caller lacks, and the tool it would call.
    fn lacking(&self, caller: &Caller, message: &[u8]) -> Option<(Scope, Option<String>)> {
        caller.scopes.as_ref()?;
        let Call { method, params } = serde_json::from_slice(message).ok()?;
        // Of a key that stands twice here is read the last; the tool itself is asked for again.
        let tool = params.get("name").and_then(Value::as_str);
        let scope = needed(&method, tool, &*self.is_tool)?;
        (!caller.may(scope)).then(|| (scope, tool.map(str::to_owned)))
    }
}

/// As much of a message as tells what it takes.
#[derive(Deserialize)]
struct Call {
    method: String,
    #[serde(default)]
    params: Value,
}

/// What a request takes. Lists tell what there is, prompts are texts of ours: these take nothing.
fn needed(method: &str, tool: Option<&str>, is_tool: &dyn Fn(&str) -> bool) -> Option<Scope> {
    match method {
        "tools/call" => tool.filter(|tool| is_tool(tool)).map(Scope::of_tool),
        "completion/complete"
        | "resources/read"
        | "resources/subscribe"
        | "subscriptions/listen" => Some(Scope::MonitorRead),
        _ => None,
    }
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

/// An error of our own.
pub(super) fn rpc_error(status: StatusCode, id: &Value, code: i64, message: &str) -> Response {
    uncached((status, Json(jsonrpc::error(id, code, message))).into_response())
}

/// Monitoring data must not be answered from a cache, unless rmcp says otherwise.
pub(super) fn uncached(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
