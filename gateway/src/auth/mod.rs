//! Who may call `/mcp`: an OAuth 2.0 resource server (RFC 6750, 8725, 9068, 9728; MCP authorization).

pub mod settings;

use jiff::Timestamp;

use crate::caller::{Caller, Scope};
use settings::AuthSettings;

/// Why a request was not let in. What exactly is wrong with a token is for the log alone: the
/// answer has one fixed sentence per kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No credentials at all: 401 without an error code (RFC 6750 §3.1).
    #[error("no credentials")]
    Missing,
    /// Credentials that are none: 400 `invalid_request`.
    #[error("malformed credentials: {0}")]
    Malformed(&'static str),
    /// A token that does not hold: 401 `invalid_token`. The reason names a rule, never a value.
    #[error("invalid token: {0}")]
    Invalid(&'static str),
    /// A good token of somebody who is not on the list: 403.
    #[error("not allowed: {0}")]
    NotAllowed(&'static str),
    /// A good token that may not do this: 403 `insufficient_scope`.
    #[error("the token lacks the scope {}", .0.as_str())]
    InsufficientScope(Scope),
    /// No key of the issuer was ever seen, or the last ones are too old: 503 with `Retry-After`.
    #[error("no keys of the issuer: {0}")]
    Unavailable(String),
    /// Too many refused attempts of one client: 429.
    #[error("too many refused attempts")]
    TooMany,
}

/// How one issuer is doing, for `/readyz`, `/metrics` and `check`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerState {
    pub issuer: String,
    /// Usable keys.
    pub keys: usize,
    /// When they were last fetched.
    pub fetched_at: Option<Timestamp>,
    /// Why the last attempt failed.
    pub error: Option<String>,
}

/// Verifies tokens; cheap to clone.
#[derive(Debug, Clone)]
pub struct Verifier;

impl Verifier {
    /// Prepares clients and key stores; connects to nothing.
    pub fn new(_settings: &AuthSettings) -> anyhow::Result<Self> {
        Ok(Self)
    }

    /// The caller behind a token.
    #[expect(clippy::unused_async, reason = "waits for keys")]
    pub async fn verify(&self, _token: &str, _now: Timestamp) -> Result<Caller, Refusal> {
        Err(Refusal::Unavailable("not built yet".to_owned()))
    }

    /// Keeps the keys fresh, until it is dropped.
    pub async fn refresh(&self) {
        std::future::pending::<()>().await;
    }

    pub fn state(&self) -> Vec<IssuerState> {
        Vec::new()
    }
}
