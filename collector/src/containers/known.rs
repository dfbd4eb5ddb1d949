//! What the watch knows: which containers live, and how each of their names finds them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::model::Container;

/// What is known: the live containers, found by id, by Docker's id and by identity.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) live: BTreeMap<i64, Arc<Container>>,
    pub(super) by_external: HashMap<String, i64>,
    pub(super) by_identity: HashMap<String, i64>,
    /// Docker ids whose row went on to a newer container: Compose keeps the old one for a moment.
    pub(super) superseded: HashSet<String>,
    pub(super) last_container_id: i64,
    pub(super) last_transition_id: i64,
    pub(super) observed_until: Option<Timestamp>,
    /// Spans were closed at the last moment of observation; the next resync opens them again.
    pub(super) spans_closed: bool,
}

impl Known {
    pub(super) fn by_external_id(&self, external_id: &str) -> Option<&Arc<Container>> {
        self.live.get(self.by_external.get(external_id)?)
    }

    pub(super) fn put(&mut self, container: Arc<Container>) {
        let before = self.forget(container.id);
        if container.archived_at.is_none() {
            if let Some(before) = before
                && before.external_id != container.external_id
            {
                self.superseded.insert(before.external_id.clone());
            }
            self.superseded.remove(&container.external_id);
            self.by_external.insert(container.external_id.clone(), container.id);
            self.by_identity.insert(container.identity.clone(), container.id);
            self.live.insert(container.id, container);
        }
    }

    pub(super) fn forget(&mut self, id: i64) -> Option<Arc<Container>> {
        let container = self.live.remove(&id)?;
        self.by_external.remove(&container.external_id);
        if self.by_identity.get(&container.identity) == Some(&id) {
            self.by_identity.remove(&container.identity);
        }
        Some(container)
    }
}
