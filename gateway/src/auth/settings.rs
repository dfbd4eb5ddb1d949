//! Whose tokens are taken, and whose calls.

use std::path::PathBuf;
use std::time::Duration;

use maintenant_serve::settings::Secret;
use reqwest::Url;

/// Everything about who may call. Without issuers and token, `/mcp` is open.
#[derive(Debug, Clone)]
pub struct AuthSettings {
    pub issuers: Vec<Issuer>,
    /// At least one where there are issuers.
    pub audiences: Vec<String>,
    pub allowed: Allowed,
    /// Tools ask for scopes.
    pub scopes: bool,
    /// Only `at+jwt` (RFC 9068 §4), not also tokens without `typ` or with `JWT`.
    pub strict_type: bool,
    /// How far clocks may differ.
    pub leeway: Duration,
    /// The longest life since `iat`; none: not looked at.
    pub max_token_age: Option<Duration>,
    /// How long keys serve while their issuer is away.
    pub max_stale: Duration,
    /// Trusted for issuers besides the system's (PEM).
    pub issuer_ca: Option<PathBuf>,
    /// Plain http beyond loopback; for laboratories.
    pub insecure_issuer: bool,
    /// One token for everything, instead of an issuer or beside it.
    pub token: Option<Secret>,
}

/// Whose tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    /// Byte for byte as in `iss`.
    pub name: String,
    /// Where its keys are; else they are discovered (RFC 8414, OpenID Connect Discovery).
    pub jwks_url: Option<Url>,
}

/// Whose calls: everyone's with a good token where both lists are empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allowed {
    /// Compared ASCII case-insensitively with `email`.
    pub emails: Vec<String>,
    /// Compared byte for byte with `sub`.
    pub subjects: Vec<String>,
    /// `emails` is also compared with `sub` where a token has no `email` and is no machine's.
    pub subject_as_email: bool,
    /// A missing `email_verified` is no yes.
    pub email_verified_required: bool,
}

impl Default for AuthSettings {
    fn default() -> Self {
        Self {
            issuers: Vec::new(),
            audiences: Vec::new(),
            allowed: Allowed { subject_as_email: true, ..Allowed::default() },
            scopes: false,
            strict_type: false,
            leeway: Duration::from_mins(1),
            max_token_age: Some(Duration::from_hours(24)),
            max_stale: Duration::from_hours(24),
            issuer_ca: None,
            insecure_issuer: false,
            token: None,
        }
    }
}
