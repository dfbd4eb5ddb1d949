//! The REST API: one router, one set of layers.

pub mod error;
pub mod events;
pub mod extract;
pub mod openapi;
pub mod system;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, HOST,
    ORIGIN, RETRY_AFTER, VARY, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use maintenant_serve::guard::{Peer, error};
use maintenant_serve::token::{self, Verdict};
use tokio_util::sync::CancellationToken;
use utoipa_axum::router::OpenApiRouter;

use crate::alerts::routes::Alerts;
use crate::certificates::routes::Certificates;
use crate::config::{Access, Edition};
use crate::containers::routes::Containers;
use crate::endpoints::routes::Endpoints;
use crate::heartbeats::routes::Heartbeats;
use crate::notify::routes::Notifications;
use crate::problems::Problems;
use crate::resources::usage::Usage;
use crate::runtime::RuntimeState;
use crate::status::Status;
use crate::store::Store;
use crate::tasks::JobStatuses;
use crate::updates::Updates;
use events::EventBus;

/// A request that is not a stream is answered within this time.
const REQUEST_DEADLINE: Duration = Duration::from_secs(10);
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What handlers read from. Cheap to clone.
#[derive(Clone)]
pub struct AppState {
    pub store: Store,
    pub events: EventBus,
    pub runtime: RuntimeState,
    pub containers: Containers,
    pub endpoints: Endpoints,
    pub heartbeats: Heartbeats,
    pub certificates: Certificates,
    pub alerts: Alerts,
    pub usage: Usage,
    pub notifications: Notifications,
    pub updates: Updates,
    pub status: Status,
    pub problems: Problems,
    pub jobs: JobStatuses,
    pub edition: Edition,
    pub organisation_name: Arc<str>,
    /// Cancelled when streams must end.
    pub drain: CancellationToken,
}

/// The routes and their document.
fn api() -> OpenApiRouter<AppState> {
    let dimensions = system::routes()
        .merge(crate::containers::routes::routes())
        .merge(crate::endpoints::routes::routes())
        .merge(crate::heartbeats::routes::routes())
        .merge(crate::certificates::routes::routes())
        .merge(crate::alerts::routes::routes())
        .merge(crate::resources::routes::routes())
        .merge(crate::notify::routes::routes())
        .merge(crate::insights::routes::routes())
        .merge(crate::updates::routes::routes())
        .merge(crate::status::routes::routes());
    OpenApiRouter::with_openapi(openapi::frame())
        .nest("/api/v1", dimensions)
        .merge(crate::heartbeats::routes::pings())
        .merge(crate::status::public::routes())
}

/// The OpenAPI document of the routes.
pub fn document() -> utoipa::openapi::OpenApi {
    api().split_for_parts().1
}

/// The whole API with its layers.
pub fn router(state: AppState, access: Access) -> Router {
    let (routes, document) = api().split_for_parts();
    let document: Arc<str> = openapi::text(&document).into();
    let serve_document = move || {
        let document = document.clone();
        async move { ([("content-type", "application/json")], document.to_string()) }
    };
    routes
        .route("/api/v1/openapi.json", axum::routing::get(serve_document))
        .with_state(state)
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn(in_time))
        .layer(from_fn_with_state(access.clone(), authorized))
        .layer(from_fn_with_state(access.cors_origins, cors))
        .layer(from_fn(with_request_id))
}

async fn unknown_path(request: Request) -> Response {
    let path = request.uri().path();
    // Addresses of pings are secrets.
    let path = if path.starts_with("/ping/") { "/ping/…" } else { path };
    let path = maintenant_serve::logging::foreign(path);
    let message = format!("there is nothing at {path}; GET /api/v1/openapi.json lists all routes");
    error(StatusCode::NOT_FOUND, "NOT_FOUND", message)
}

async fn wrong_method(request: Request) -> Response {
    let message = format!("{} is not possible here; see the Allow header", request.method());
    error(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", message)
}

async fn in_time(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if path.ends_with("/containers/events")
        || path.ends_with("/logs/stream")
        || path == "/status/events"
    {
        return next.run(request).await;
    }
    tokio::time::timeout(REQUEST_DEADLINE, next.run(request)).await.unwrap_or_else(|_| {
        let message = "the request took longer than 10 seconds; try again";
        error(StatusCode::SERVICE_UNAVAILABLE, "REQUEST_TIMEOUT", message)
    })
}

/// `/api/v1/health` and the status page are for anyone, and so are pings: their address is their
/// secret.
fn is_public(path: &str) -> bool {
    path == "/api/v1/health"
        || path == "/status"
        || path.starts_with("/status/")
        || path.starts_with("/ping/")
}

async fn authorized(State(access): State<Access>, request: Request, next: Next) -> Response {
    let by_socket = request.extensions().get::<Peer>() == Some(&Peer::Unix);
    if is_public(request.uri().path()) || by_socket {
        return next.run(request).await;
    }
    let Some(expected) = &access.token else {
        let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
        let host = host.unwrap_or_default();
        if access.allowed_hosts.allows(host) {
            return next.run(request).await;
        }
        let message = format!(
            "the host `{}` is not known here; name it in MAINTENANT_ALLOWED_HOSTS, or set \
             MAINTENANT_API_TOKEN",
            maintenant_serve::logging::foreign(host)
        );
        return error(StatusCode::FORBIDDEN, "HOST_NOT_ALLOWED", message);
    };
    let (message, challenge) = match token::check(request.headers(), expected) {
        Verdict::Accepted => return next.run(request).await,
        Verdict::Missing => ("a bearer token is needed", "Bearer"),
        Verdict::Wrong => ("the bearer token is wrong", "Bearer error=\"invalid_token\""),
    };
    let mut response = error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", message);
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    response
}

/// OPTIONS is answered for any path; CORS headers are sent only where origins are configured.
async fn cors(State(origins): State<Arc<[String]>>, request: Request, next: Next) -> Response {
    let origin = request.headers().get(ORIGIN).cloned();
    let mut response = match *request.method() {
        Method::OPTIONS => StatusCode::NO_CONTENT.into_response(),
        _ => next.run(request).await,
    };
    if origins.is_empty() {
        return response;
    }
    let headers = response.headers_mut();
    let methods = HeaderValue::from_static("GET, POST, PUT, DELETE, OPTIONS");
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
    let allowed = HeaderValue::from_static("Content-Type, Authorization");
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, allowed);
    if origins.iter().any(|origin| origin == "*") {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    } else {
        headers.append(VARY, HeaderValue::from_static("Origin"));
        if let Some(origin) = origin.filter(|sent| origins.iter().any(|known| known == sent)) {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        }
    }
    response
}

async fn with_request_id(request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, id);
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    headers.entry("cache-control").or_insert(HeaderValue::from_static("no-store"));
    if response.status() == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// The caller's id, or a number of our own.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let sent = headers.get(REQUEST_ID).filter(|id| (1..=128).contains(&id.len()));
    sent.cloned().unwrap_or_else(|| {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        HeaderValue::from_str(&format!("{number:08x}"))
            .unwrap_or(HeaderValue::from_static("00000000"))
    })
}

#[cfg(test)]
pub(crate) mod tests;
