//! Pings: public routes whose address is their secret. A ping is answered with 200 after its commit,
//! and is stored whether or not the caller waits for the answer.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{FromRef, FromRequestParts, Path, State as Shared};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, REFERRER_POLICY, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body_util::BodyExt;
use maintenant_api::error::ErrorBody;
use maintenant_api::heartbeats::{PingQuery, Pong};
use maintenant_serve::clock;
use maintenant_serve::guard::{Peer, error};
use maintenant_serve::logging::foreign;
use tokio::time::Instant;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::changes;
use super::clients::{Bucket, Client, Limit};
use super::model::Signal;
use super::records::Received;
use super::routes::Heartbeats;
use crate::http::error::ApiError;
use crate::http::extract::Query;

/// Bytes of a body that are kept.
const PAYLOAD: usize = 10 * 1024;
/// A body that takes longer is cut: the signal counts, and it is in the address.
const BODY_PATIENCE: Duration = Duration::from_secs(5);
const LONGEST_RUN_ID: usize = 64;

/// Ping addresses that exist, each with what it has used of its limit.
#[derive(Debug, Default)]
pub struct Known(Mutex<HashMap<Uuid, (i64, Bucket)>>);

/// Why a ping is not taken.
#[derive(Debug, PartialEq, Eq)]
pub enum Refused {
    Unknown,
    TooMany(Duration),
}

impl Known {
    pub fn add(&self, uuid: &str, id: i64) {
        if let Ok(uuid) = Uuid::parse_str(uuid) {
            self.map().insert(uuid, (id, Bucket::default()));
        }
    }

    pub fn remove(&self, id: i64) {
        self.map().retain(|_, (known, _)| *known != id);
    }

    pub fn count(&self) -> usize {
        self.map().len()
    }

    /// The id behind an address, if it may be pinged now.
    pub fn take(&self, uuid: &str, limit: Limit, now: Instant) -> Result<i64, Refused> {
        let uuid = Uuid::try_parse(uuid).map_err(|_| Refused::Unknown)?;
        let mut known = self.map();
        let (id, bucket) = known.get_mut(&uuid).ok_or(Refused::Unknown)?;
        bucket.take(limit, now).map_err(Refused::TooMany)?;
        Ok(*id)
    }

    fn map(&self) -> MutexGuard<'_, HashMap<Uuid, (i64, Bucket)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The routes, for any state that has [`Heartbeats`].
pub fn routes<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Heartbeats: FromRef<S>,
{
    OpenApiRouter::new()
        .routes(routes!(ping, post_ping))
        .routes(routes!(signal, post_signal))
        .layer(map_response(private))
}

/// Neither kept nor passed on nor indexed: whoever knows the address can ping.
async fn private(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert("x-robots-tag", HeaderValue::from_static("noindex"));
    response
}

/// Report a success
///
/// GET, HEAD and POST do the same; of a POST the first 10 KiB of the body are kept.
#[utoipa::path(
    get, path = "/ping/{uuid}", tag = "pings", security(()),
    params(("uuid" = String, Path, description = "Address of the heartbeat"), PingQuery),
    responses(
        (status = 200, description = "Stored", body = Pong),
        (status = 400, description = "`INVALID_PARAM`", body = ErrorBody),
        (status = 404, description = "`HEARTBEAT_NOT_FOUND`", body = ErrorBody),
        (status = 429, description = "`RATE_LIMITED`", body = ErrorBody),
    )
)]
async fn ping(Shared(heartbeats): Shared<Heartbeats>, call: Call) -> Result<Response, ApiError> {
    receive(&heartbeats, call, None).await
}

/// Report a success, with a message
#[utoipa::path(
    post, path = "/ping/{uuid}", tag = "pings", security(()),
    params(("uuid" = String, Path, description = "Address of the heartbeat"), PingQuery),
    responses(
        (status = 200, description = "Stored", body = Pong),
        (status = 400, description = "`INVALID_PARAM`", body = ErrorBody),
        (status = 404, description = "`HEARTBEAT_NOT_FOUND`", body = ErrorBody),
        (status = 429, description = "`RATE_LIMITED`", body = ErrorBody),
    )
)]
async fn post_ping(
    Shared(heartbeats): Shared<Heartbeats>,
    call: Call,
    body: Body,
) -> Result<Response, ApiError> {
    receive(&heartbeats, call, Some(body)).await
}

/// Report a start, an exit code, a failure or a message
///
/// `start`, `fail`, `log`, or an exit code from 0 to 255; 0 is a success.
#[utoipa::path(
    get, path = "/ping/{uuid}/{signal}", tag = "pings", security(()),
    params(
        ("uuid" = String, Path, description = "Address of the heartbeat"),
        ("signal" = String, Path, description = "`start`, `fail`, `log`, or 0 to 255"),
        PingQuery,
    ),
    responses(
        (status = 200, description = "Stored", body = Pong),
        (status = 400, description = "`INVALID_EXIT_CODE` or `INVALID_PARAM`", body = ErrorBody),
        (status = 404, description = "`HEARTBEAT_NOT_FOUND`", body = ErrorBody),
        (status = 429, description = "`RATE_LIMITED`", body = ErrorBody),
    )
)]
async fn signal(Shared(heartbeats): Shared<Heartbeats>, call: Call) -> Result<Response, ApiError> {
    receive(&heartbeats, call, None).await
}

/// Report a start, an exit code, a failure or a message, with a body
#[utoipa::path(
    post, path = "/ping/{uuid}/{signal}", tag = "pings", security(()),
    params(
        ("uuid" = String, Path, description = "Address of the heartbeat"),
        ("signal" = String, Path, description = "`start`, `fail`, `log`, or 0 to 255"),
        PingQuery,
    ),
    responses(
        (status = 200, description = "Stored", body = Pong),
        (status = 400, description = "`INVALID_EXIT_CODE` or `INVALID_PARAM`", body = ErrorBody),
        (status = 404, description = "`HEARTBEAT_NOT_FOUND`", body = ErrorBody),
        (status = 429, description = "`RATE_LIMITED`", body = ErrorBody),
    )
)]
async fn post_signal(
    Shared(heartbeats): Shared<Heartbeats>,
    call: Call,
    body: Body,
) -> Result<Response, ApiError> {
    receive(&heartbeats, call, Some(body)).await
}

/// A ping as it is asked for. What cannot be read of a signal or run id is refused before anything
/// is looked up.
struct Call {
    uuid: String,
    signal: Signal,
    run_id: Option<String>,
    method: &'static str,
    peer: Option<Peer>,
    headers: HeaderMap,
}

impl<S: Send + Sync> FromRequestParts<S> for Call {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        // What is no text is no address.
        let mut path = Path::<BTreeMap<String, String>>::from_request_parts(parts, state)
            .await
            .map_or_else(|_| BTreeMap::new(), |path| path.0);
        let is_plain = parts.uri.path().matches('/').count() == 2;
        let signal = match path.remove("signal") {
            Some(signal) => parse_signal(&signal)?,
            None if is_plain => Signal::Success,
            None => parse_signal("")?,
        };
        let Query(PingQuery { rid }) = Query::from_request_parts(parts, state).await?;
        Ok(Self {
            uuid: path.remove("uuid").unwrap_or_default(),
            signal,
            run_id: rid.filter(|rid| !rid.is_empty()).map(checked_run_id).transpose()?,
            method: match parts.method {
                Method::HEAD => "HEAD",
                Method::POST => "POST",
                _ => "GET",
            },
            peer: parts.extensions.get().copied(),
            headers: parts.headers.clone(),
        })
    }
}

async fn receive(
    heartbeats: &Heartbeats,
    call: Call,
    body: Option<Body>,
) -> Result<Response, ApiError> {
    let inner = &heartbeats.0;
    let signal = call.signal;
    let client = Client::find(call.peer, &call.headers, &inner.trusted_proxies);
    let now = Instant::now();
    if let Err(wait) = inner.clients.take(client, inner.limits.client, now) {
        return Ok(too_many(wait));
    }
    let id = match inner.known.take(&call.uuid, inner.limits.heartbeat, now) {
        Ok(id) => id,
        Err(Refused::TooMany(wait)) => return Ok(too_many(wait)),
        Err(Refused::Unknown) => {
            return Ok(match inner.strangers.take(client, inner.limits.unknown, now) {
                Ok(()) => not_found(),
                Err(wait) => too_many(wait),
            });
        }
    };
    let payload = match body {
        Some(body) => payload(body).await,
        None => None,
    };
    let ping = Received {
        signal,
        source_ip: client.to_string(),
        http_method: call.method,
        payload,
        run_id: call.run_id,
        at: clock::now(),
    };
    let listening_since = inner.listening().since_at(ping.at);
    let events = inner.events.clone();
    let work = move |tx: &rusqlite::Connection| changes::receive(tx, id, &ping, listening_since);
    let tell = move |changed: &Option<changes::Changed>| {
        if let Some(changed) = changed {
            changed.publish_ping(signal, &events);
        }
    };
    Ok(match inner.store.write_then(work, tell).await? {
        Some(_) => Json(Pong { ok: true, exit_code: signal.exit_code() }).into_response(),
        None => not_found(),
    })
}

fn not_found() -> Response {
    let message = "there is no heartbeat at this address; GET /api/v1/heartbeats lists them";
    error(StatusCode::NOT_FOUND, "HEARTBEAT_NOT_FOUND", message)
}

fn too_many(wait: Duration) -> Response {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    let message = format!("too many pings; try again in {seconds} s");
    let mut response = error(StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED", message);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    response
}

fn parse_signal(text: &str) -> Result<Signal, ApiError> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text {
        "start" => Ok(Signal::Start),
        "fail" => Ok(Signal::Fail),
        "log" => Ok(Signal::Log),
        _ => text.parse().ok().filter(|_| is_number).map(Signal::ExitCode).ok_or_else(|| {
            let given = foreign(text);
            ApiError::NotPossible {
                status: StatusCode::BAD_REQUEST,
                code: "INVALID_EXIT_CODE",
                message: format!("`{given}` is no signal; use start, fail, log, or 0 to 255"),
            }
        }),
    }
}

fn checked_run_id(rid: String) -> Result<String, ApiError> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    if rid.len() <= LONGEST_RUN_ID && rid.bytes().all(fits) {
        return Ok(rid);
    }
    let fault = "use 1 to 64 letters, digits, `-`, `_`, `.` or `:`".to_owned();
    Err(ApiError::InvalidParameter { name: "rid", fault })
}

/// Whether a path is that of a ping. Its body is of any length: no more of it than what is kept
/// stays in memory, and a ping must not be lost for what its job prints.
pub fn is_ping(path: &str) -> bool {
    path.starts_with("/ping/")
}

/// The first bytes of a body as text. One that stops or breaks off gives what came of it.
pub async fn payload(mut body: Body) -> Option<String> {
    let mut kept = Vec::new();
    let deadline = Instant::now() + BODY_PATIENCE;
    while let Ok(Some(Ok(frame))) = tokio::time::timeout_at(deadline, body.frame()).await {
        let data: Bytes = frame.into_data().unwrap_or_default();
        let room = PAYLOAD - kept.len();
        kept.extend_from_slice(data.get(..room).unwrap_or(&data));
    }
    let mut text = String::from_utf8_lossy(&kept).into_owned();
    // Each byte that is no text has become a mark of three.
    text.truncate(text.floor_char_boundary(PAYLOAD));
    (!text.is_empty()).then_some(text)
}
