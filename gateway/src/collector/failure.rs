//! Why a call failed, told apart by what the caller can do about it.

use std::fmt::Write;

use http::StatusCode;
use maintenant_api::error::ErrorBody;

/// Why a call failed, by what can be done about it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ClientError {
    /// No connection, or it broke. The cause is for the log.
    #[error("cannot reach the collector: {0}")]
    Unreachable(String),
    #[error("no answer in time")]
    Timeout,
    #[error("the collector refused the token")]
    Unauthorized,
    /// A 404 without the contract's envelope: whatever answers there does not have this route.
    #[error("the server does not have this route")]
    RouteMissing,
    #[error("not found: {code}")]
    NotFound { code: String, message: String },
    #[error("refused with status {status} {code}")]
    Refused { status: u16, code: String, message: String },
    #[error("unreadable answer: {0}")]
    Unreadable(String),
    /// TLS failed: it, or we, are not who the other side trusts. The cause is for the log.
    #[error("no trusted connection: {0}")]
    Untrusted(String),
    #[error("the server cannot tell stdout from stderr")]
    StreamsMixed,
    #[error("the server that tells of logs as they come told of none")]
    NoLine,
}

impl ClientError {
    /// The same without what the other side said, for readers who are not known.
    pub(crate) fn without_words(&self) -> Self {
        let none = String::new;
        match self {
            Self::Refused { status, .. } => {
                Self::Refused { status: *status, code: none(), message: none() }
            }
            Self::NotFound { .. } => Self::NotFound { code: none(), message: none() },
            other => other.clone(),
        }
    }

    /// maintenant 1.2 refuses `/logs` always in this way. Our collector does so only while Docker
    /// is away, and then refuses the stream as well.
    pub(super) fn may_have_a_stream(&self) -> bool {
        matches!(self, Self::Refused { status: 502, code, .. }
            if code.is_empty() || code == "RUNTIME_UNAVAILABLE")
    }
}

/// A failed attempt, and whether another one may do better.
pub(super) struct Failure {
    pub(super) error: ClientError,
    pub(super) may_pass: bool,
    /// There was no connection, so nothing of the request reached anybody.
    pub(super) unsent: bool,
}

impl Failure {
    pub(super) fn lasting(error: ClientError) -> Self {
        Self { error, may_pass: false, unsent: false }
    }

    pub(super) fn sending(error: reqwest::Error) -> Self {
        if error.is_timeout() && !error.is_connect() {
            return Self::lasting(ClientError::Timeout);
        }
        let unsent = error.is_connect();
        let cause = causes(error);
        if is_tls_fault(&cause) {
            return Self::lasting(ClientError::Untrusted(cause));
        }
        Self { error: ClientError::Unreachable(cause), may_pass: true, unsent }
    }

    /// An answer other than success. A gateway error without the contract's envelope comes from a
    /// proxy or a server that is just starting; with it, it is the collector's considered answer.
    pub(super) fn answered(status: StatusCode, body: &[u8]) -> Self {
        let detail = serde_json::from_slice::<ErrorBody>(body).ok().map(|body| body.error);
        let passing =
            [StatusCode::BAD_GATEWAY, StatusCode::SERVICE_UNAVAILABLE, StatusCode::GATEWAY_TIMEOUT];
        let may_pass = detail.is_none() && passing.contains(&status);
        let error = match (status, detail) {
            (StatusCode::UNAUTHORIZED, _) => ClientError::Unauthorized,
            (StatusCode::NOT_FOUND, None) => ClientError::RouteMissing,
            (StatusCode::NOT_FOUND, Some(detail)) => {
                ClientError::NotFound { code: detail.code, message: detail.message }
            }
            (status, detail) => {
                let (code, message) =
                    detail.map_or_else(Default::default, |detail| (detail.code, detail.message));
                ClientError::Refused { status: status.as_u16(), code, message }
            }
        };
        Self { error, may_pass, unsent: false }
    }
}

/// rustls's words; its error lies too deep inside reqwest's to be asked for.
fn is_tls_fault(cause: &str) -> bool {
    ["invalid peer certificate", "received fatal alert", "received corrupt message"]
        .iter()
        .any(|fault| cause.contains(fault))
}

/// An error with its sources, without the URL.
fn causes(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        let _ = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}
