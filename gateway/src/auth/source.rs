//! The key store of one issuer: `jwks_client_rs` in front of what the refresher last published.
//!
//! The crate holds a lock over `fetch_keys`, so nothing in there waits: it copies what is in memory.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jwks_client_rs::source::JwksSource;
use jwks_client_rs::{JsonWebKey, JsonWebKeySet, JwksClient, JwksClientError};

use super::refresh::Keys;

/// How long the crate may keep its copy. Which keys count is not decided by it: only ids of the
/// present set are asked for, and an id is the key itself.
const TTL: Duration = Duration::from_secs(1);

/// Hands out keys by id.
#[derive(Clone)]
pub struct Store(JwksClient<Memory>);

struct Memory(Arc<Keys>);

impl Store {
    pub fn new(keys: Arc<Keys>) -> Self {
        Self(JwksClient::builder().time_to_live(TTL).build(Memory(keys)))
    }

    pub async fn get(&self, id: &str) -> Option<JsonWebKey> {
        self.0.get(id).await.ok()
    }
}

#[async_trait]
impl JwksSource for Memory {
    async fn fetch_keys(&self) -> Result<JsonWebKeySet, JwksClientError> {
        Ok(self.0.latest().map_or_else(|| Vec::new().into(), |set| set.published()))
    }
}
