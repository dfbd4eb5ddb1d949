//! What a request passes before its body is read: a known host, a known origin, a known caller.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use futures_util::StreamExt;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, ORIGIN, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use maintenant_serve::clock;
use maintenant_serve::guard::{AllowedHosts, Peer};
use maintenant_serve::logging::{Seldom, foreign};
use serde_json::Value;
use tokio::time::{Instant, sleep_until};

use super::messages::{rpc_error, text};
use crate::auth::admission::Admission;
use crate::auth::challenge::Answer;
use crate::calls::{Calls, Who};
use crate::config::{McpSettings, Origin};

/// Of the refusal of a host or an origin.
const FOREIGN: i64 = 4030;

#[derive(Clone)]
pub(super) struct Door {
    hosts: AllowedHosts,
    origins: Arc<[Origin]>,
    admission: Admission,
    calls: Calls,
    told: Arc<Told>,
}

/// Of refusals that any scanner causes, as often as it likes.
#[derive(Default)]
struct Told {
    host: Seldom,
    origin: Seldom,
}

/// Lets a request of any method in or not. The token ends here: neither rmcp nor a tool sees it.
pub(super) async fn enter(State(door): State<Door>, mut request: Request, next: Next) -> Response {
    if let Some((told, message)) = door.foreigner(request.headers(), request.uri().host()) {
        if let Some(unsaid) = told.say(Instant::now()) {
            tracing::warn!("{message}{unsaid}");
        }
        return rpc_error(StatusCode::FORBIDDEN, &Value::Null, FOREIGN, &message);
    }
    let now = clock::now();
    let peer = request.extensions().get::<Peer>().copied();
    let caller = match door.admission.admit(request.headers(), peer, now).await {
        Ok(caller) => caller,
        Err(refusal) => {
            door.calls.refused(&refusal, &Who::of(request.extensions()), None);
            return refused(door.admission.answer(&refusal, &[]), &Value::Null);
        }
    };
    request.headers_mut().remove(AUTHORIZATION);
    let Some(caller) = caller else { return next.run(request).await };
    let end = caller.expires_at.map(|end| instant(end, now));
    request.extensions_mut().insert(caller);
    let response = next.run(request).await;
    match end {
        Some(end) => ending(response, end),
        None => response,
    }
}

/// The answer to a refused request; `id` is `null` where the body was not read.
pub(super) fn refused(answer: Answer, id: &Value) -> Response {
    let mut response = rpc_error(answer.status, id, answer.code.into(), &answer.message);
    let headers = response.headers_mut();
    if let Some(challenge) = answer.challenge {
        headers.insert(WWW_AUTHENTICATE, challenge);
    }
    if let Some(seconds) = answer.retry_after {
        headers.insert(RETRY_AFTER, seconds.into());
    }
    response
}

fn instant(end: Timestamp, now: Timestamp) -> Instant {
    let left = std::time::Duration::try_from(end.duration_since(now)).unwrap_or_default();
    Instant::now() + left
}

/// A stream ends with the token that opened it; an answer that is no stream is short.
fn ending(response: Response, end: Instant) -> Response {
    let kind = text(response.headers(), &CONTENT_TYPE).unwrap_or_default();
    if !kind.starts_with("text/event-stream") {
        return response;
    }
    response.map(|body| {
        Body::from_stream(body.into_data_stream().take_until(Box::pin(sleep_until(end))))
    })
}

impl Door {
    pub(super) fn new(settings: &McpSettings, admission: Admission, calls: Calls) -> Self {
        let origins = settings.origins.clone().into();
        Self { hosts: settings.allowed_hosts(), origins, admission, calls, told: Arc::default() }
    }

    /// Why the name or the web page by which a request comes is none of ours.
    fn foreigner(&self, headers: &HeaderMap, target: Option<&str>) -> Option<(&Seldom, String)> {
        let host = text(headers, &HOST).or(target).unwrap_or_default();
        if !self.hosts.allows(host) || target.is_some_and(|target| !self.hosts.allows(target)) {
            let message = format!(
                "host `{}` is not allowed; the operator can add it to MAINTENANT_ALLOWED_HOSTS",
                foreign(host)
            );
            return Some((&self.told.host, message));
        }
        let mut origins = headers.get_all(ORIGIN).iter();
        let refused = origins.find_map(|origin| {
            let origin = origin.to_str().unwrap_or("?");
            (!self.origins.iter().any(|own| own.matches(origin))).then_some(origin)
        })?;
        let message = format!(
            "origin `{}` is not allowed; the operator can add it to MAINTENANT_ALLOWED_ORIGINS",
            foreign(refused)
        );
        Some((&self.told.origin, message))
    }
}
