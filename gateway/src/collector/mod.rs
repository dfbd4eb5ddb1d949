//! The REST client of one collector: [`routes`] says what can be asked, [`cache`] keeps answers for
//! a moment, [`client`] speaks HTTP.
//!
//! Every call has a deadline, a bound on the answer's size and a place in a bounded queue. What
//! goes wrong is told apart by what the caller can do about it.

mod cache;
mod client;
mod failure;
mod routes;
pub mod settings;
mod trust;

use std::any::Any;
use std::sync::Arc;

use cache::Cache;
use client::Upstream;
pub use failure::ClientError;
use maintenant_serve::settings::Secret;
use reqwest::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use settings::{CollectorSettings, Target};
pub use trust::TlsFiles;

use crate::calls::metrics::CacheUse;
use crate::calls::upstream::asks;
use crate::kept::{Awaited, Part};
use crate::{as_of, kept};

/// One collector, known by a name of the operator's choice.
#[derive(Debug)]
pub struct Collector {
    pub name: String,
    upstream: Arc<Upstream>,
    /// `None`: every call is asked.
    cache: Option<Arc<Cache>>,
}

impl Collector {
    /// Reads the TLS files; nothing is connected yet.
    pub fn new(name: String, target: Target, settings: &CollectorSettings) -> anyhow::Result<Self> {
        let upstream = Upstream::new(name.clone(), target, settings)?;
        let fresh_for = settings.load.fresh_for;
        let cache = (!fresh_for.is_zero()).then(|| Cache::new(fresh_for));
        Ok(Self { name, upstream: Arc::new(upstream), cache })
    }

    /// The same collector, always asked anew.
    pub(crate) fn live(&self) -> Self {
        Self { name: self.name.clone(), upstream: self.upstream.clone(), cache: None }
    }

    /// Token, trust and identity of all calls from now on.
    pub fn set_credentials(&self, token: Option<Secret>, files: TlsFiles) {
        self.upstream.set_token(token);
        self.upstream.set_tls(files);
        // What the old ones were answered may be more than the new ones may read.
        self.forget();
    }

    /// Something there has changed: what is kept of it is of no use any more.
    pub(crate) fn forget(&self) {
        drop(Forget(self.cache.as_deref()));
    }

    /// The token would cross a network readable by all.
    pub fn sends_token_in_the_clear(&self) -> bool {
        self.upstream.sends_token_in_the_clear()
    }

    /// Whether loopback is the collector's machine and ours alike, as far as it is known here.
    pub fn is_at_loopback(&self) -> bool {
        self.upstream.is_at_loopback()
    }

    /// Where the public reads, as far as it is known here.
    pub fn status_page(&self) -> String {
        self.upstream.status_page()
    }

    /// An answer that may be a moment old; its age is noted for the answer of the tool.
    async fn get<T>(&self, route: &str, query: &(impl Serialize + Sync)) -> Result<T, ClientError>
    where
        T: DeserializeOwned + Any + Clone + Send + Sync,
    {
        let Some(cache) = &self.cache else { return self.get_now(route, query).await };
        let part = Awaited::new();
        asks(&self.name);
        let address = self.upstream.address(route, query)?;
        let upstream = self.upstream.clone();
        let question = address.url.as_str().to_owned();
        let fetch = || async move { upstream.call(Method::GET, &address, None).await };
        let found = cache.get(&question, fetch).await?;
        self.upstream.metrics().cache(&self.name, found.used);
        if let Some(asked) = found.asked {
            as_of::note(asked);
        }
        part.came(|| Part {
            source: Arc::new(Source { upstream: self.upstream.clone(), cache: cache.clone() }),
            generation: found.generation,
            asked: found.from,
        });
        Ok(found.value)
    }

    async fn get_now<T: DeserializeOwned>(
        &self,
        route: &str,
        query: &(impl Serialize + Sync),
    ) -> Result<T, ClientError> {
        kept::spoil();
        let address = self.upstream.address(route, query)?;
        self.upstream.call(Method::GET, &address, None).await.map(|(answer, _)| answer)
    }

    /// Whether or not it succeeds, something may have changed.
    async fn post<T: DeserializeOwned>(
        &self,
        route: &str,
        body: Option<Value>,
    ) -> Result<T, ClientError> {
        kept::spoil();
        let address = self.upstream.address(route, &())?;
        let _forget = Forget(self.cache.as_deref());
        let answer = self.upstream.call(Method::POST, &address, body.as_ref()).await;
        answer.map(|(answer, _)| answer)
    }

    async fn send_body<T: DeserializeOwned>(
        &self,
        route: &str,
        body: &(impl Serialize + Sync),
    ) -> Result<T, ClientError> {
        let body = serde_json::to_value(body)
            .map_err(|error| ClientError::Unreadable(error.to_string()))?;
        self.post(route, Some(body)).await
    }
}

/// Where a part of an answer is kept.
struct Source {
    upstream: Arc<Upstream>,
    cache: Arc<Cache>,
}

impl kept::Source for Source {
    fn holds(&self, part: &Part) -> bool {
        self.cache.holds(part.generation, part.asked)
    }

    fn used(&self) {
        asks(self.upstream.name());
        self.upstream.metrics().cache(self.upstream.name(), CacheUse::Hit);
    }
}

/// Forgets what is kept once a change is over, also when its caller left before.
struct Forget<'a>(Option<&'a Cache>);

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        if let Some(cache) = self.0 {
            cache.clear();
        }
    }
}
