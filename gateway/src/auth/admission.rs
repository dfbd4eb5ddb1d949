//! Lets a request in, or says why not.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use futures_util::FutureExt;
use http::HeaderMap;
use jiff::Timestamp;
use maintenant_serve::clients::{Buckets, Client, IpNet, Limit};
use maintenant_serve::guard::Peer;
use maintenant_serve::settings::Secret;
use maintenant_serve::token::{self, Verdict};
use tokio::time::Instant;

use super::bearer::bearer;
use super::challenge::{Answer, Challenge};
use super::settings::{Allowed, AuthSettings};
use super::{IssuerState, Refusal, Verifier};
use crate::caller::{AdmittedBy, Caller, Scope};
use crate::config::McpSettings;

/// Attempts of one address (of IPv6, one network of 64 bits) with credentials that do not hold.
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

    /// See [`Verifier::replace`].
    fn replace(&self, _: Allowed) {}
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

    fn replace(&self, allowed: Allowed) {
        Self::replace(self, allowed);
    }
}

/// Who is let in to `/mcp`; cheap to clone.
#[derive(Clone)]
pub struct Admission(Arc<Inner>);

struct Inner {
    /// Everything may be asked for with it.
    token: RwLock<Option<Secret>>,
    verifier: Option<Arc<dyn Verify>>,
    challenge: Challenge,
    refused: Buckets,
    proxies: Vec<IpNet>,
    /// That a proxy is not trusted was said.
    told_of_proxy: AtomicBool,
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
            token: RwLock::new(settings.auth.token.clone()),
            verifier,
            challenge: Challenge::new(&settings.auth, settings.metadata_url()),
            refused: Buckets::default(),
            proxies: settings.trusted_proxies.clone(),
            told_of_proxy: AtomicBool::new(false),
        }))
    }

    /// Takes the static token and the lists of `settings` from now on. The error: a token came or
    /// went, which would open or close the door; nothing was replaced then.
    pub fn replace(&self, settings: &AuthSettings) -> anyhow::Result<()> {
        let mut token = self.0.token.write().unwrap_or_else(PoisonError::into_inner);
        anyhow::ensure!(
            token.is_some() == settings.token.is_some(),
            "MAINTENANT_MCP_TOKEN was set or unset since the start; that needs a restart"
        );
        token.clone_from(&settings.token);
        if let Some(verifier) = &self.0.verifier {
            verifier.replace(settings.allowed.clone());
        }
        Ok(())
    }

    fn token(&self) -> Option<Secret> {
        self.0.token.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Who sent a request with these headers; nobody in particular where `/mcp` is open.
    pub async fn admit(
        &self,
        headers: &HeaderMap,
        peer: Option<Peer>,
        now: Timestamp,
    ) -> Result<Option<Caller>, Refusal> {
        let own = self.token();
        if own.is_none() && self.0.verifier.is_none() {
            return Ok(None);
        }
        // Whoever reaches a unix socket may be anyone's proxy, and was let in by its file's mode.
        let client = Client::find(peer, headers, &self.0.proxies);
        let limited = client != Client::Local;
        if limited {
            self.warn_of_unknown_proxy(peer, headers);
        }
        let result = if limited && self.is_full(client) {
            // Others may come from the same address, so what holds is still let in; only for keys
            // nobody waits.
            match self.examine(own.as_ref(), headers, now).now_or_never() {
                Some(result) if result.as_ref().err().is_none_or(is_harmless) => result,
                _ => Err(Refusal::TooMany),
            }
        } else {
            self.examine(own.as_ref(), headers, now).await
        };
        // The lack of keys is no fault of the client's.
        let is_forgiven = |refusal: &Refusal| {
            is_harmless(refusal) || matches!(refusal, Refusal::Unavailable(_) | Refusal::TooMany)
        };
        if limited && result.as_ref().is_err_and(|refusal| !is_forgiven(refusal)) {
            let _ = self.0.refused.take(client, REFUSED, Instant::now());
        }
        if let Err(refusal) = &result {
            log(refusal, client);
        }
        result.map(Some)
    }

    fn is_full(&self, client: Client) -> bool {
        self.0.refused.wait(client, REFUSED, Instant::now()).is_some()
    }

    /// Once: clients send the header too, and must not fill the log.
    fn warn_of_unknown_proxy(&self, peer: Option<Peer>, headers: &HeaderMap) {
        let Some(Peer::Tcp(address)) = peer else { return };
        let ip = address.ip().to_canonical();
        if !headers.contains_key("x-forwarded-for")
            || self.0.proxies.iter().any(|trusted| trusted.contains(&ip))
            || self.0.told_of_proxy.swap(true, Ordering::Relaxed)
        {
            return;
        }
        tracing::warn!(
            peer = %ip,
            "X-Forwarded-For comes from a peer that is not in MAINTENANT_TRUSTED_PROXIES: all \
             clients behind it count as one; if it is your proxy, name it there"
        );
    }

    async fn examine(
        &self,
        own: Option<&Secret>,
        headers: &HeaderMap,
        now: Timestamp,
    ) -> Result<Caller, Refusal> {
        let is_static = |own: &Secret| token::check(headers, own) == Verdict::Accepted;
        if own.is_some_and(is_static) {
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

/// Clients begin without a token, and whoever is not on the list has proven who it is: neither is
/// a guess, and neither costs the others at the same address anything.
fn is_harmless(refusal: &Refusal) -> bool {
    matches!(refusal, Refusal::Missing | Refusal::NotAllowed(_))
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
