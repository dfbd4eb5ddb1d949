//! What every request passes before a handler sees it: sane framing, a bounded body that arrives
//! in time, a known host name where nothing else protects, and a panic that stays an answer.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, StatusCode};
use http_body::{Frame, SizeHint};
use maintenant_api::error::ErrorBody;
use tokio::time::{Instant, Sleep, sleep_until};
use tower_http::catch_panic::CatchPanicLayer;

use crate::settings::is_loopback;

/// Bounds on a request's body.
#[derive(Debug, Clone, Copy)]
pub struct BodyLimits {
    pub bytes: u64,
    /// From the request's head to the body's last byte; of a connection's first request from the
    /// connection's start, so that slow words before it earn no more time.
    pub deadline: Duration,
    /// Paths whose handlers take a body of any length, since they let go of most of it as it comes.
    pub any_length: fn(&str) -> bool,
}

impl Default for BodyLimits {
    fn default() -> Self {
        Self { bytes: 1 << 20, deadline: Duration::from_secs(14), any_length: |_| false }
    }
}

/// Who is on the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    Tcp(SocketAddr),
    /// A unix socket: the file's permissions have vouched for the peer.
    Unix,
}

/// When a connection began. Its first request bears it.
#[derive(Debug, Clone, Copy)]
pub struct ConnectedAt(pub Instant);

/// Wraps a whole program's routes.
pub fn guarded(routes: Router, limits: BodyLimits) -> Router {
    routes
        .layer(from_fn_with_state(limits, bounded_body))
        .layer(from_fn(sane_framing))
        .layer(CatchPanicLayer::custom(panicked))
}

/// A JSON error answer in the contract's envelope.
pub fn error(status: StatusCode, code: &str, message: impl Into<String>) -> Response {
    (status, Json(ErrorBody::new(code, message))).into_response()
}

#[expect(clippy::needless_pass_by_value, reason = "the signature tower-http asks for")]
fn panicked(panic: Box<dyn std::any::Any + Send>) -> Response {
    let reason = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    tracing::error!("a request panicked: {reason}");
    error(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR", "internal error; the log says more")
}

/// hyper lets these through, and two readers of one request may then disagree on what it says
/// (RFC 9112 §3.2 and §6.3).
async fn sane_framing(request: Request, next: Next) -> Response {
    match framing_fault(request.headers()) {
        None => next.run(request).await,
        Some(fault) => error(StatusCode::BAD_REQUEST, "BAD_REQUEST", fault),
    }
}

fn framing_fault(headers: &HeaderMap) -> Option<&'static str> {
    if headers.get_all(HOST).iter().count() != 1 {
        return Some("a request needs exactly one Host header");
    }
    if let Some(encoding) = headers.get(TRANSFER_ENCODING) {
        if headers.contains_key(CONTENT_LENGTH) {
            return Some("Transfer-Encoding and Content-Length exclude each other");
        }
        if !encoding.as_bytes().eq_ignore_ascii_case(b"chunked") {
            return Some("the only Transfer-Encoding accepted is chunked");
        }
    }
    None
}

async fn bounded_body(State(limits): State<BodyLimits>, request: Request, next: Next) -> Response {
    let takes_all = (limits.any_length)(request.uri().path());
    let bytes = if takes_all { u64::MAX } else { limits.bytes };
    let announced = request
        .headers()
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.parse::<u64>().ok());
    if announced.is_some_and(|announced| announced > bytes) {
        let message = format!("the body may have at most {bytes} bytes");
        return error(StatusCode::PAYLOAD_TOO_LARGE, "PAYLOAD_TOO_LARGE", message);
    }
    let begin = request.extensions().get().map_or_else(Instant::now, |ConnectedAt(at)| *at);
    let deadline = begin + limits.deadline;
    let bounded = |body| Body::new(BoundedBody::new(body, bytes, deadline));
    next.run(request.map(bounded)).await
}

/// A body that fails when it grows past its limit or does not end before its deadline.
struct BoundedBody {
    inner: Body,
    left: u64,
    deadline: Pin<Box<Sleep>>,
}

/// Why reading a body was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyFault {
    #[error("the body is larger than allowed")]
    TooLarge,
    #[error("the body did not arrive in time")]
    TooSlow,
}

impl BodyFault {
    /// The fault behind an error of axum's body readers, if it was one of ours.
    pub fn find(error: &(dyn std::error::Error + 'static)) -> Option<Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(fault) = error.downcast_ref::<Self>() {
                return Some(*fault);
            }
            next = error.source();
        }
        None
    }

    /// The answer in the contract's envelope.
    pub fn response(self) -> Response {
        match self {
            Self::TooLarge => {
                error(StatusCode::PAYLOAD_TOO_LARGE, "PAYLOAD_TOO_LARGE", self.to_string())
            }
            Self::TooSlow => error(StatusCode::REQUEST_TIMEOUT, "BODY_TIMEOUT", self.to_string()),
        }
    }
}

impl BoundedBody {
    fn new(inner: Body, left: u64, deadline: Instant) -> Self {
        Self { inner, left, deadline: Box::pin(sleep_until(deadline)) }
    }
}

impl http_body::Body for BoundedBody {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = match Pin::new(&mut self.inner).poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                return self
                    .deadline
                    .as_mut()
                    .poll(cx)
                    .map(|()| Some(Err(BodyFault::TooSlow.into())));
            }
        };
        let size = match &frame {
            Some(Ok(frame)) => frame.data_ref().map_or(0, |data| data.len() as u64),
            _ => 0,
        };
        let Some(left) = self.left.checked_sub(size) else {
            return Poll::Ready(Some(Err(BodyFault::TooLarge.into())));
        };
        self.left = left;
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Host names a browser may have used to get here. It stops DNS rebinding: a foreign page whose
/// name suddenly points at this machine still sends its own name.
#[derive(Debug, Clone)]
pub struct AllowedHosts(Arc<[String]>);

impl AllowedHosts {
    /// Loopback names and these; names without ports.
    pub fn new(hosts: impl IntoIterator<Item = String>) -> Self {
        Self(hosts.into_iter().map(|host| host.to_ascii_lowercase()).collect())
    }

    /// Whether a `Host` header names an allowed host.
    pub fn allows(&self, host: &str) -> bool {
        let name = without_port(host).to_ascii_lowercase();
        is_loopback(&name) || self.0.contains(&name)
    }
}

/// `example.org:8080` and `[::1]:8080` without their ports.
pub fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.ends_with(':') => {
            name
        }
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(
                http::HeaderName::from_bytes(name.as_bytes()).unwrap(),
                value.parse().unwrap(),
            );
        }
        headers
    }

    #[test]
    fn ambiguous_framing_is_refused() {
        assert_eq!(framing_fault(&headers(&[("host", "a")])), None);
        assert_eq!(
            framing_fault(&headers(&[("host", "a"), ("transfer-encoding", "chunked")])),
            None
        );
        assert!(framing_fault(&headers(&[])).is_some());
        assert!(framing_fault(&headers(&[("host", "a"), ("host", "b")])).is_some());
        let both = [("host", "a"), ("transfer-encoding", "chunked"), ("content-length", "1")];
        assert!(framing_fault(&headers(&both)).is_some());
        let list = [("host", "a"), ("transfer-encoding", "identity, chunked")];
        assert!(framing_fault(&headers(&list)).is_some());
    }

    struct Endless;

    impl http_body::Body for Endless {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            Poll::Pending
        }
    }

    /// How long a body that never ends is waited for, when its head came this long after the
    /// connection began.
    async fn check_wait(after: Option<u64>, expected: u64) {
        let limits = BodyLimits { deadline: Duration::from_secs(14), ..BodyLimits::default() };
        let read = |body: Bytes| async move { body.len().to_string() };
        let app = guarded(Router::new().route("/", axum::routing::post(read)), limits);
        let endless = Body::new(Endless);
        let mut request = http::Request::post("/").header(HOST, "x").body(endless).unwrap();
        if let Some(after) = after {
            request.extensions_mut().insert(ConnectedAt(Instant::now()));
            tokio::time::advance(Duration::from_secs(after)).await;
        }
        let begin = Instant::now();
        let answer = tower::ServiceExt::oneshot(app, request).await.unwrap();
        assert!(answer.status().is_client_error());
        assert_eq!(begin.elapsed().as_secs(), expected, "{after:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_of_a_first_request_counts_from_its_connection() {
        check_wait(None, 14).await;
        check_wait(Some(0), 14).await;
        check_wait(Some(10), 4).await;
        check_wait(Some(20), 0).await;
    }

    #[test]
    fn a_rebound_name_is_not_allowed() {
        let hosts = AllowedHosts::new(["Monitor.example.org".to_owned()]);
        for host in ["localhost:8081", "127.0.0.1", "[::1]:8081", "monitor.example.org:443"] {
            assert!(hosts.allows(host), "{host}");
        }
        for host in ["evil.example", "localhost.evil.example:8081", "192.0.2.7:8081", ""] {
            assert!(!hosts.allows(host), "{host}");
        }
    }
}
