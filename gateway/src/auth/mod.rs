//! Who may call `/mcp`: an OAuth 2.0 resource server (RFC 6750, 8725, 9068, 9728; MCP authorization).
//!
//! A token goes `bearer` (from the request) → `header` (its parts, before any key) → `claims` (for
//! whom and how long) → the issuer named in `iss`, never another → `keys` (who may have signed) →
//! `jsonwebtoken` (the signature) → `identity` (who it is, and whether that is on a list).
//! `refresh` keeps the keys, `discovery` fetches them, `source` hands them out.
//!
//! Everything that is decided about a token is pure and takes `now`.

pub mod admission;
pub mod args;
pub mod bearer;
pub mod challenge;
pub mod claims;
pub mod discovery;
pub mod header;
pub mod identity;
pub mod keys;
pub mod refresh;
pub mod settings;
pub mod source;
mod strength;

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use futures_util::future::join_all;
use jiff::Timestamp;
use jsonwebtoken::{DecodingKey, Validation};
use jwks_client_rs::JsonWebKey;

use crate::caller::{Caller, Scope};
use claims::{Claims, Rules};
use discovery::Http;
use header::{ALGORITHMS, Unverified};
use keys::KeySet;
use refresh::{Fetch, Keys};
use settings::{Allowed, AuthSettings};
use source::Store;

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
    /// Keys that were last fetched, however old they are.
    pub keys: usize,
    /// Tokens can be verified now: there are keys, and they are not too old.
    pub usable: bool,
    /// When they were last fetched.
    pub fetched_at: Option<Timestamp>,
    /// Why the last attempt failed. Partly the issuer's words; bounded and escaped.
    pub error: Option<String>,
}

/// Verifies tokens; cheap to clone.
#[derive(Clone)]
pub struct Verifier(Arc<Inner>);

struct Inner {
    issuers: Vec<KnownIssuer>,
    rules: Rules,
    allowed: RwLock<Arc<Allowed>>,
    scopes: bool,
    strict_type: bool,
}

/// One issuer, its keys, and what `jsonwebtoken` checks of its tokens.
struct KnownIssuer {
    name: String,
    fetch: Box<dyn Fetch>,
    keys: Arc<Keys>,
    store: Store,
    /// One per algorithm.
    validations: Vec<Validation>,
}

impl Verifier {
    /// Prepares clients and key stores; connects to nothing.
    pub fn new(settings: &AuthSettings) -> anyhow::Result<Self> {
        let fetchers = settings.issuers.iter().map(|issuer| {
            let http = Http::new(issuer, settings)?;
            Ok((issuer.name.clone(), Box::new(http) as Box<dyn Fetch>))
        });
        Self::over(settings, fetchers.collect::<anyhow::Result<_>>()?)
    }

    /// A verifier of named issuers whose keys come from anywhere.
    pub fn over(
        settings: &AuthSettings,
        issuers: Vec<(String, Box<dyn Fetch>)>,
    ) -> anyhow::Result<Self> {
        anyhow::ensure!(
            issuers.is_empty() || !settings.audiences.is_empty(),
            "MAINTENANT_MCP_AUDIENCE is empty: tokens for anybody would be taken"
        );
        // Should another crate switch on a second back end, the choice is still this one; a second
        // installation of the same is no fault.
        let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
        let issuers = issuers.into_iter().map(|(name, fetch)| {
            let keys = Arc::new(Keys::new(settings.max_stale));
            let store = Store::new(keys.clone());
            let validations = validations(&name, &settings.audiences);
            KnownIssuer { name, fetch, keys, store, validations }
        });
        Ok(Self(Arc::new(Inner {
            issuers: issuers.collect(),
            rules: Rules::from(settings),
            allowed: RwLock::new(Arc::new(settings.allowed.clone())),
            scopes: settings.scopes,
            strict_type: settings.strict_type,
        })))
    }

    /// The caller behind a token. Waits only for keys, and for two seconds at most.
    pub async fn verify(&self, token: &str, now: Timestamp) -> Result<Caller, Refusal> {
        let Inner { issuers, rules, allowed, scopes, strict_type } = &*self.0;
        let token = Unverified::parse(token, *strict_type)?;
        // Read before the signature, so that a token which cannot hold costs no signature check
        // and no fetch. What counts is read again from what was signed.
        let claimed = Claims::parse(&token.payload)?;
        let issuer = issuers
            .iter()
            .find(|issuer| issuer.name == claimed.iss)
            .ok_or(Refusal::Invalid("iss is none of the issuers"))?;
        claimed.check(rules, now)?;
        let claims = issuer.verified(&token).await?;
        // After the wait for keys, so that a list replaced meanwhile counts.
        let allowed = allowed.read().unwrap_or_else(PoisonError::into_inner).clone();
        identity::admit(claims, &allowed, rules, *scopes)
    }

    /// Whose calls are taken from now on.
    pub fn replace(&self, allowed: Allowed) {
        *self.0.allowed.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(allowed);
    }

    /// Keeps the keys fresh, until it is dropped. To be run once; nothing else fetches.
    pub async fn refresh(&self) {
        let issuers = self.0.issuers.iter();
        join_all(issuers.map(|issuer| issuer.keys.run(&issuer.name, &*issuer.fetch))).await;
        std::future::pending::<()>().await;
    }

    pub fn state(&self) -> Vec<IssuerState> {
        let state = |issuer: &KnownIssuer| {
            let refresh::KeysState { keys, usable, fetched_at, error } = issuer.keys.state();
            IssuerState { issuer: issuer.name.clone(), keys, usable, fetched_at, error }
        };
        self.0.issuers.iter().map(state).collect()
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.issuers.iter().map(|issuer| &issuer.name)).finish()
    }
}

impl KnownIssuer {
    /// The claims of a token that a key of this issuer signed.
    async fn verified(&self, token: &Unverified<'_>) -> Result<Claims, Refusal> {
        let set = self.keys.current().await?;
        let kid = token.kid.as_deref();
        if let Some(claims) = self.try_keys(&set, token).await {
            return Ok(claims);
        }
        if set.candidates(kid, token.algorithm).named {
            return Err(Refusal::Invalid("the signature is not that of its key"));
        }
        // The key may have been published a moment ago.
        let claims = match self.keys.newer(&set, kid).await {
            Some(newer) => self.try_keys(&newer, token).await,
            None => None,
        };
        claims.ok_or(Refusal::Invalid("signed by no known key"))
    }

    async fn try_keys(&self, set: &KeySet, token: &Unverified<'_>) -> Option<Claims> {
        for id in set.candidates(token.kid.as_deref(), token.algorithm).ids {
            let Some(jwk) = self.store.get(&id).await else { continue };
            let claims = decoding_key(&jwk).and_then(|key| self.decode(token, &key));
            if claims.is_some() {
                return claims;
            }
        }
        None
    }

    fn decode(&self, token: &Unverified<'_>, key: &DecodingKey) -> Option<Claims> {
        if token.names_curve {
            let Unverified { signature, message, algorithm, .. } = token;
            let holds =
                jsonwebtoken::crypto::verify(signature, message.as_bytes(), key, *algorithm);
            return holds.is_ok_and(|holds| holds).then(|| Claims::parse(&token.payload).ok())?;
        }
        let validation =
            self.validations.iter().find(|one| one.algorithms.contains(&token.algorithm))?;
        Some(jsonwebtoken::decode(token.token, key, validation).ok()?.claims)
    }
}

fn decoding_key(jwk: &JsonWebKey) -> Option<DecodingKey> {
    match jwk {
        JsonWebKey::Rsa(key) => DecodingKey::from_rsa_components(key.modulus(), key.exponent()),
        JsonWebKey::Ec(key) => DecodingKey::from_ec_components(key.x(), key.y()),
        JsonWebKey::Okp(key) => DecodingKey::from_ed_components(key.x()),
    }
    .ok()
}

/// What `jsonwebtoken` checks besides the signature: a second pair of eyes on issuer and audience.
/// Times are checked in `claims`, against the caller's `now`; the library reads the clock itself.
fn validations(issuer: &str, audiences: &[String]) -> Vec<Validation> {
    let validation = |algorithm| {
        let mut validation = Validation::new(algorithm);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        validation.set_issuer(&[issuer]);
        validation.set_audience(audiences);
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation
    };
    ALGORITHMS.into_iter().map(validation).collect()
}
