//! Rows that users deleted, until the watch has forgotten them too.
//!
//! The watch may be waiting for Docker; readers must not see a deleted container meanwhile.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Deletions(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    ids: Mutex<BTreeSet<i64>>,
    added: Notify,
}

impl Deletions {
    pub fn add(&self, id: i64) {
        self.ids().insert(id);
        self.0.added.notify_one();
    }

    pub fn contains(&self, id: i64) -> bool {
        self.ids().contains(&id)
    }

    pub(super) fn list(&self) -> BTreeSet<i64> {
        self.ids().clone()
    }

    pub(super) fn settle(&self, done: &BTreeSet<i64>) {
        self.ids().retain(|id| !done.contains(id));
    }

    pub(super) async fn added(&self) {
        self.0.added.notified().await;
    }

    fn ids(&self) -> MutexGuard<'_, BTreeSet<i64>> {
        self.0.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
