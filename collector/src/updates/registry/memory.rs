//! What is known of registries from one scan to the next.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::auth::Challenge;

/// By registry; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Memory(Arc<Mutex<HashMap<String, Remembered>>>);

#[derive(Debug, Default)]
struct Remembered {
    /// Until then it asked to be left alone.
    paused_until: Option<Instant>,
    /// How it wants a login, so that no request is spent on its refusal.
    challenge: Option<Challenge>,
}

impl Memory {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Remembered>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn pause(&self, host: &str, pause: Duration) {
        self.lock().entry(host.to_owned()).or_default().paused_until = Some(Instant::now() + pause);
    }

    pub(super) fn pause_left(&self, host: &str) -> Option<Duration> {
        let until = self.lock().get(host)?.paused_until?;
        until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
    }

    /// Without its scope, which is that of one repository.
    pub(super) fn challenge(&self, host: &str) -> Option<Challenge> {
        self.lock().get(host)?.challenge.clone()
    }

    pub(super) fn set_challenge(&self, host: &str, challenge: Option<Challenge>) {
        self.lock().entry(host.to_owned()).or_default().challenge = challenge;
    }
}
