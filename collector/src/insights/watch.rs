//! Telling of insights that change. What was stored before a restart was told before it.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::containers::exposure::{Noticed, Risk};
use crate::containers::inventory::{Inventory, InventoryReader};
use crate::containers::model::Container;
use crate::http::events::EventBus;
use crate::tasks::Job;

pub struct Watch {
    inventory: InventoryReader,
    events: EventBus,
    told: Told,
}

/// By id: the containers whose insights are known, as they were told.
type Told = BTreeMap<i64, Arc<Container>>;

impl Watch {
    /// What the inventory has now counts as told.
    pub fn new(inventory: InventoryReader, events: EventBus) -> Self {
        let mut told = Told::new();
        changes(&mut told, &inventory.borrow());
        Self { inventory, events, told }
    }
}

impl Job for Watch {
    const NAME: &'static str = "insights";

    async fn run(&mut self, _now: Timestamp) -> anyhow::Result<()> {
        loop {
            let inventory = self.inventory.borrow_and_update().clone();
            for (name, data) in changes(&mut self.told, &inventory) {
                self.events.publish(name, &data);
            }
            if self.inventory.changed().await.is_err() {
                // Nothing is watched, or all is about to stop.
                std::future::pending::<()>().await;
            }
        }
    }
}

/// What to tell now that the inventory is this. Of a container that was not inspected nothing is told.
pub fn changes(told: &mut Told, inventory: &Inventory) -> Vec<(&'static str, Value)> {
    let mut news = Vec::new();
    let mut left = std::mem::take(told);
    for container in inventory.containers.iter() {
        let before = left.remove(&container.id);
        if before.as_ref().is_some_and(|before| Arc::ptr_eq(before, container)) {
            told.insert(container.id, container.clone());
            continue;
        }
        let Some((count, worst)) = container.risk_counts() else {
            told.extend(before.map(|before| (container.id, before)));
            continue;
        };
        let (was, is) = (before.as_deref().map(kinds).unwrap_or_default(), kinds(container));
        if was != is {
            news.push(match worst {
                None => resolved(container),
                Some(worst) => (
                    "security.insights_changed",
                    json!({
                        "container_id": container.id,
                        "container_name": container.facts.name,
                        "highest_severity": worst,
                        "count": count,
                        "change": if was.is_empty() { "new" } else { "updated" },
                    }),
                ),
            });
        }
        told.insert(container.id, container.clone());
    }
    // What is gone has none any more.
    let gone = left.values().filter(|container| !kinds(container).is_empty());
    news.extend(gone.map(|container| resolved(container)));
    news
}

fn kinds(container: &Container) -> Vec<&Risk> {
    container.risks().unwrap_or_default().iter().map(|Noticed { risk, .. }| risk).collect()
}

fn resolved(container: &Container) -> (&'static str, Value) {
    let data = json!({"container_id": container.id, "container_name": container.facts.name});
    ("security.insights_resolved", data)
}
