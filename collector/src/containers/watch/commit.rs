//! What the watch learned goes to the store, then to whoever listens.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use maintenant_serve::logging::foreign;
use serde_json::json;

use super::{LOGS_FEATURE, Watch};
use crate::containers::inventory::{Inventory, to_wire};
use crate::containers::logs;
use crate::containers::model::{Container, Transition};
use crate::containers::sql::{self, Change};
use crate::docker::{DockerError, LogsQuery, Tail};

/// Reads waiting; beyond them an end goes without its last lines.
const WAITING_SNIPPETS: usize = 256;
const SNIPPET_LINES: usize = 50;
const SNIPPET_BYTES: usize = 10 * 1024;
/// Changes kept for a store that does not take them.
const UNSAVED: usize = 10_000;

impl Watch {
    /// Stores changes, then tells of them. A store that fails does not stop the watch: what it did
    /// not take is offered again.
    pub(super) async fn commit(&mut self, mut changes: Vec<Change>) {
        let deleted = self.forget_deleted().await;
        changes.retain(|change| !deleted.contains(&change.container.id));
        if changes.is_empty() && self.unsaved.is_empty() {
            return;
        }
        self.unsaved.extend(changes.iter().cloned());
        let offered = Arc::new(std::mem::take(&mut self.unsaved));
        let writing = offered.clone();
        if let Err(error) = self.store.write(move |tx| sql::save(tx, &writing)).await {
            tracing::error!(
                changes = offered.len(),
                "container changes could not be stored and will be offered again: {error}"
            );
            let excess = offered.len().saturating_sub(UNSAVED);
            self.unsaved = offered.iter().skip(excess).cloned().collect();
        }
        if changes.is_empty() {
            return;
        }
        self.publish_inventory();
        for change in &changes {
            self.tell(change);
        }
    }

    /// Forgets what users deleted, and deletes it again in case it was stored once more meanwhile.
    pub(super) async fn forget_deleted(&mut self) -> BTreeSet<i64> {
        let deleted = self.deletions.list();
        if deleted.is_empty() {
            return deleted;
        }
        for id in &deleted {
            self.known.forget(*id);
        }
        self.unsaved.retain(|change| !deleted.contains(&change.container.id));
        let ids = deleted.clone();
        let delete =
            move |tx: &rusqlite::Connection| ids.iter().try_for_each(|id| sql::delete(tx, *id));
        if let Err(error) = self.store.write(delete).await {
            tracing::error!("deleted containers could not be forgotten: {error}");
        }
        self.publish_inventory();
        self.deletions.settle(&deleted);
        deleted
    }

    fn publish_inventory(&self) {
        let containers = self.known.live.values().cloned().collect();
        self.inventory.send_replace(Inventory::new(containers));
    }

    fn tell(&mut self, change: &Change) {
        let container = &change.container;
        if container.archived_at.is_some() {
            let data = json!({"id": container.id, "archived_at": container.archived_at});
            return self.events.publish("container.archived", &data);
        }
        let Some(transition) = &change.transition else {
            if change.is_new {
                self.events.publish("container.discovered", &to_wire(container, true));
            }
            return;
        };
        if transition.amends && transition.previous_state == transition.new_state {
            return;
        }
        tracing::info!(
            container.id,
            "container `{}` is {}{}",
            foreign(&container.facts.name),
            transition.new_state.as_str(),
            transition.exit.map(|exit| format!(", exit code {}", exit.code)).unwrap_or_default()
        );
        if transition.previous_state != transition.new_state {
            let data = json!({
                "id": container.id,
                "state": transition.new_state,
                "previous_state": transition.previous_state,
                "health_status": transition.new_health,
                "exit_code": transition.exit.map(|exit| exit.code),
                "timestamp": transition.at,
            });
            self.events.publish("container.state_changed", &data);
        }
        if transition.previous_health != transition.new_health && transition.new_health.is_some() {
            let data = json!({
                "id": container.id,
                "health_status": transition.new_health,
                "previous_health": transition.previous_health,
                "timestamp": transition.at,
            });
            self.events.publish("container.health_changed", &data);
        }
        if transition.is_end() && !transition.amends {
            self.keep_last_lines(container, transition);
        }
    }

    /// Reads the last log lines of a run that ended, beside the watch.
    fn keep_last_lines(&mut self, container: &Container, transition: &Transition) {
        let Some(docker) = self.connection.borrow().clone() else { return };
        while self.snippets.try_join_next().is_some() {}
        if self.snippets.len() >= WAITING_SNIPPETS {
            return;
        }
        let permits = self.snippet_permits.clone();
        let (store, runtime) = (self.store.clone(), self.runtime.clone());
        let (id, transition_id) = (container.external_id.clone(), transition.id);
        let query = LogsQuery {
            stdout: true,
            stderr: true,
            follow: false,
            // Not all of a log that may be very large: a loop ends often.
            tail: Tail::Lines(logs::DEEP),
            since: container.pending.previous_end,
            // An end is dated after its last line, and cut to a millisecond.
            until: transition.at.checked_add(SignedDuration::from_millis(1)).ok(),
        };
        self.snippets.spawn(async move {
            let Ok(_permit) = permits.acquire().await else { return };
            let deadline = Duration::from_secs(5);
            let reading = logs::read(&docker, &id, query, SNIPPET_LINES);
            let lines = match tokio::time::timeout(deadline, reading).await {
                Ok(Ok((lines, _))) => lines,
                Ok(Err(DockerError::Refused(why))) => {
                    let refused = Some(("GET /containers/{id}/logs", why));
                    return runtime.set_degraded(LOGS_FEATURE, refused);
                }
                _ => return,
            };
            runtime.set_degraded(LOGS_FEATURE, None);
            let snippet = logs::snippet(&lines, SNIPPET_LINES, SNIPPET_BYTES);
            if snippet.is_empty() {
                return;
            }
            let saved =
                store.write(move |tx| sql::save_log_snippet(tx, transition_id, &snippet)).await;
            if let Err(error) = saved {
                tracing::warn!("last log lines could not be stored: {error}");
            }
        });
    }
}
