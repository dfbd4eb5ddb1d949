//! Lets a request in, or says why not.

use std::convert::Infallible;
use std::sync::Arc;

use async_trait::async_trait;
use http::HeaderMap;
use jiff::Timestamp;
use maintenant_serve::clients::{Buckets, Client, IpNet, Limit};
use maintenant_serve::guard::Peer;
use maintenant_serve::settings::Secret;
use maintenant_serve::token::{self, Verdict};
use tokio::time::Instant;

use super::bearer::bearer;
use super::challenge::{Answer, Challenge};
use super::{IssuerState, Refusal, Verifier};
use crate::caller::{AdmittedBy, Caller, Scope};
use crate::config::McpSettings;

/// Refused attempts of one address (of IPv6, one network of 64 bits).
const REFUSED: Limit = Limit { burst: 60, per_second: 20 };

/// What tells whose a token is. [`Verifier`] does; tests have scripts.
#[async_trait]
pub trait Verify: Send + Sync {
    /// See [`Verifier::verify`].
    async fn verify(&self, token: &str, now: Timestamp) -> Result<Caller, Refusal>;

    /// See [`Verifier::refresh`].
    async fn refresh(&self) {
        std::future::pending::<()>().await;
    }

    /// See [`Verifier::state`].
    fn state(&self) -> Vec<IssuerState> {
        Vec::new()
    }
}

#[async_trait]
impl Verify for Verifier {
    async fn verify(&self, token: &str, now: Timestamp) -> Result<Caller, Refusal> {
        Self::verify(self, token, now).await
    }

    async fn refresh(&self) {
        Self::refresh(self).await;
    }

    fn state(&self) -> Vec<IssuerState> {
        Self::state(self)
    }
}

/// Who is let in to `/mcp`; cheap to clone.
#[derive(Clone)]
pub struct Admission(Arc<Inner>);

struct Inner {
    /// Everything may be asked for with it.
    token: Option<Secret>,
    verifier: Option<Arc<dyn Verify>>,
    challenge: Challenge,
    refused: Buckets,
    proxies: Vec<IpNet>,
}

impl Admission {
    /// Prepares what `settings` ask for; connects to nothing.
    pub fn new(settings: &McpSettings) -> anyhow::Result<Self> {
        if settings.auth.issuers.is_empty() {
            return Ok(Self::of(settings, None));
        }
        let verifier = Verifier::new(&settings.auth)?;
        Ok(Self::of(settings, Some(Arc::new(verifier))))
    }

    /// The same with any verifier.
    pub fn of(settings: &McpSettings, verifier: Option<Arc<dyn Verify>>) -> Self {
        Self(Arc::new(Inner {
            token: settings.auth.token.clone(),
            verifier,
            challenge: Challenge::new(&settings.auth, settings.metadata_url()),
            refused: Buckets::default(),
            proxies: settings.trusted_proxies.clone(),
        }))
    }

    /// Who sent a request with these headers; nobody in particular where `/mcp` is open.
    pub async fn admit(
        &self,
        headers: &HeaderMap,
        peer: Option<Peer>,
        now: Timestamp,
    ) -> Result<Option<Caller>, Refusal> {
        if self.0.token.is_none() && self.0.verifier.is_none() {
            return Ok(None);
        }
        // Whoever reaches a unix socket may be anyone's proxy, and was let in by its file's mode.
        let client = Client::find(peer, headers, &self.0.proxies);
        let limited = client != Client::Local;
        if limited && self.0.refused.wait(client, REFUSED, Instant::now()).is_some() {
            return Err(Refusal::TooMany);
        }
        let result = self.examine(headers, now).await;
        // The lack of keys is no fault of the client's.
        let unavailable = matches!(result, Err(Refusal::Unavailable(_)));
        if limited && result.is_err() && !unavailable {
            let _ = self.0.refused.take(client, REFUSED, Instant::now());
        }
        if let Err(refusal) = &result {
            log(refusal, client);
        }
        result.map(Some)
    }

    async fn examine(&self, headers: &HeaderMap, now: Timestamp) -> Result<Caller, Refusal> {
        let is_static = |own: &Secret| token::check(headers, own) == Verdict::Accepted;
        if self.0.token.as_ref().is_some_and(is_static) {
            return Ok(Caller {
                admitted_by: AdmittedBy::StaticToken,
                issuer: None,
                subject: None,
                email: None,
                client: None,
                scopes: None,
                expires_at: None,
            });
        }
        let token = bearer(headers)?;
        match &self.0.verifier {
            Some(verifier) => verifier.verify(token, now).await,
            None => Err(Refusal::Invalid("not the static token")),
        }
    }

    /// How a refusal is answered; `granted` is what the caller may do, where it is known.
    pub fn answer(&self, refusal: &Refusal, granted: &[Scope]) -> Answer {
        self.0.challenge.answer(refusal, granted)
    }

    /// Keeps keys fresh for as long as it is polled.
    pub async fn refresh(&self) -> Infallible {
        if let Some(verifier) = &self.0.verifier {
            verifier.refresh().await;
        }
        std::future::pending().await
    }

    /// How the issuers are doing.
    pub fn state(&self) -> Vec<IssuerState> {
        self.0.verifier.as_ref().map(|verifier| verifier.state()).unwrap_or_default()
    }
}

/// One line per refusal that tells something: clients begin without a token, what is refused for
/// being too much is not to fill the log, and of missing keys the refresher tells.
fn log(refusal: &Refusal, client: Client) {
    match refusal {
        Refusal::Missing | Refusal::TooMany | Refusal::Unavailable(_) => {
            tracing::debug!(%client, "refused: {refusal}");
        }
        refusal => tracing::warn!(%client, "refused: {refusal}"),
    }
}
