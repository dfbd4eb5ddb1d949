//! How a refusal is answered: status, `WWW-Authenticate` and one fixed sentence (RFC 6750 §3).
//!
//! What exactly was wrong with a token stands in the log alone.

use std::borrow::Cow;

use http::{HeaderValue, StatusCode};
use reqwest::Url;

use super::Refusal;
use super::settings::AuthSettings;
use crate::caller::Scope;

/// Seconds until keys may be there, and until a refused client may try again.
const KEYS_IN: u64 = 5;
const ROOM_IN: u64 = 1;

/// The code of a JSON-RPC error for a call that takes more than the token has.
pub const INSUFFICIENT_SCOPE: i32 = 4032;

/// What is the same in all challenges of this gateway.
#[derive(Debug, Clone)]
pub struct Challenge {
    /// Where the metadata are (RFC 9728 §5.1); there are none without an issuer.
    metadata: Option<Url>,
    scopes: bool,
}

/// The answer to a refused request. Nothing in it is foreign text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: StatusCode,
    pub challenge: Option<HeaderValue>,
    /// Seconds.
    pub retry_after: Option<u64>,
    /// Of the JSON-RPC error; outside JSON-RPC's reserved range.
    pub code: i32,
    pub message: Cow<'static, str>,
}

impl Challenge {
    /// `metadata` is the URL of the metadata document.
    pub fn new(settings: &AuthSettings, metadata: Url) -> Self {
        let metadata = (!settings.issuers.is_empty()).then_some(metadata);
        Self { metadata, scopes: settings.scopes }
    }

    /// `granted` is what the caller may do already, where it is known: a client replaces its token
    /// by one with the scopes of the challenge, and should lose none.
    pub fn answer(&self, refusal: &Refusal, granted: &[Scope]) -> Answer {
        let (status, code, error) = match refusal {
            Refusal::Missing => (StatusCode::UNAUTHORIZED, 4010, None),
            Refusal::Malformed(_) => (StatusCode::BAD_REQUEST, 4000, Some("invalid_request")),
            Refusal::Invalid(_) => (StatusCode::UNAUTHORIZED, 4011, Some("invalid_token")),
            Refusal::NotAllowed(_) => (StatusCode::FORBIDDEN, 4031, None),
            Refusal::InsufficientScope(_) => {
                (StatusCode::FORBIDDEN, INSUFFICIENT_SCOPE, Some("insufficient_scope"))
            }
            Refusal::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, 5030, None),
            Refusal::TooMany => (StatusCode::TOO_MANY_REQUESTS, 4290, None),
        };
        let message = sentence(refusal);
        // Others get no challenge: a new token would not help, and clients would ask for one.
        let challenged = error.is_some() || matches!(refusal, Refusal::Missing);
        let challenge = challenged
            .then(|| self.header(error, &message, &self.scope(refusal, granted)))
            .flatten();
        let retry_after = match refusal {
            Refusal::Unavailable(_) => Some(KEYS_IN),
            Refusal::TooMany => Some(ROOM_IN),
            _ => None,
        };
        Answer { status, challenge, retry_after, code, message }
    }

    /// What a new token should hold: the least, or what the call takes and the caller has.
    fn scope(&self, refusal: &Refusal, granted: &[Scope]) -> Vec<&'static str> {
        let needed = match refusal {
            Refusal::InsufficientScope(scope) => *scope,
            _ => Scope::MonitorRead,
        };
        let asked = |scope: &Scope| *scope == needed || granted.contains(scope);
        let scopes = Scope::ALL.into_iter().filter(|scope| self.scopes && asked(scope));
        scopes.map(Scope::as_str).collect()
    }

    fn header(&self, error: Option<&str>, message: &str, scope: &[&str]) -> Option<HeaderValue> {
        let mut parts = vec!["Bearer realm=\"maintenant\"".to_owned()];
        if let Some(error) = error {
            parts.push(format!("error=\"{error}\""));
            parts.push(format!("error_description=\"{message}\""));
        }
        if !scope.is_empty() {
            parts.push(format!("scope=\"{}\"", scope.join(" ")));
        }
        if let Some(metadata) = &self.metadata {
            parts.push(format!("resource_metadata=\"{metadata}\""));
        }
        HeaderValue::try_from(parts.join(", ")).ok()
    }
}

/// One fixed sentence for each kind.
fn sentence(refusal: &Refusal) -> Cow<'static, str> {
    Cow::Borrowed(match refusal {
        Refusal::Missing => "send a bearer token of this server in the Authorization header",
        Refusal::Malformed(_) => "send one Authorization header with one bearer token",
        Refusal::Invalid(_) => "the token is not valid here; get a new one",
        Refusal::NotAllowed(_) => {
            "the token is valid, but its owner may not use this server; ask its operator"
        }
        Refusal::InsufficientScope(scope) => {
            return Cow::Owned(format!("this call takes the scope {}", scope.as_str()));
        }
        Refusal::Unavailable(_) => "tokens cannot be verified right now; try again later",
        Refusal::TooMany => "too many refused attempts; try again later",
    })
}

#[cfg(test)]
mod tests {
    use super::super::settings::Issuer;
    use super::*;

    fn challenge(issuer: bool, scopes: bool) -> Challenge {
        let issuer = issuer.then(|| Issuer { name: "https://i".to_owned(), jwks_url: None });
        let issuers = issuer.into_iter().collect();
        let settings = AuthSettings { issuers, scopes, ..AuthSettings::default() };
        Challenge::new(&settings, Url::parse("https://m.example/.well-known/x").unwrap())
    }

    fn check(refusal: &Refusal, status: u16, code: i32, header: Option<&str>, retry: Option<u64>) {
        let answer = challenge(true, true).answer(refusal, &[Scope::MonitorRead]);
        assert_eq!((answer.status.as_u16(), answer.code), (status, code), "{refusal}");
        assert!(!(-32768..=-32000).contains(&answer.code));
        assert_eq!(answer.challenge.as_ref().map(|value| value.to_str().unwrap()), header);
        assert_eq!(answer.retry_after, retry, "{refusal}");
        for hidden in ["hunter2", "secret reason"] {
            assert!(!format!("{answer:?}").contains(hidden), "{answer:?}");
        }
    }

    #[test]
    fn each_refusal_has_its_status_and_challenge_and_tells_no_detail() {
        let rest = |scope: &str| {
            format!("scope=\"{scope}\", resource_metadata=\"https://m.example/.well-known/x\"")
        };
        let read = rest("monitor:read");
        let header = format!("Bearer realm=\"maintenant\", {read}");
        check(&Refusal::Missing, 401, 4010, Some(&header), None);
        let header = format!(
            "Bearer realm=\"maintenant\", error=\"invalid_request\", error_description=\"send one \
             Authorization header with one bearer token\", {read}"
        );
        check(&Refusal::Malformed("secret reason"), 400, 4000, Some(&header), None);
        let header = format!(
            "Bearer realm=\"maintenant\", error=\"invalid_token\", error_description=\"the token \
             is not valid here; get a new one\", {read}"
        );
        check(&Refusal::Invalid("secret reason"), 401, 4011, Some(&header), None);
        let header = format!(
            "Bearer realm=\"maintenant\", error=\"insufficient_scope\", error_description=\"this \
             call takes the scope logs:read\", {}",
            rest("monitor:read logs:read")
        );
        check(&Refusal::InsufficientScope(Scope::LogsRead), 403, 4032, Some(&header), None);
        check(&Refusal::NotAllowed("secret reason"), 403, 4031, None, None);
        check(&Refusal::Unavailable("hunter2".to_owned()), 503, 5030, None, Some(5));
        check(&Refusal::TooMany, 429, 4290, None, Some(1));
    }

    #[test]
    fn without_issuer_or_scopes_a_challenge_names_neither() {
        let header = |issuer, scopes| {
            let answer = challenge(issuer, scopes).answer(&Refusal::Missing, &[]);
            answer.challenge.unwrap().to_str().unwrap().to_owned()
        };
        assert_eq!(header(false, false), "Bearer realm=\"maintenant\"");
        let metadata = "resource_metadata=\"https://m.example/.well-known/x\"";
        assert_eq!(header(true, false), format!("Bearer realm=\"maintenant\", {metadata}"));
    }
}
