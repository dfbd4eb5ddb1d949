//! What is stored with the container, and what the rules find in it.

use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::containers::sql::{self, Change};
use crate::insights::rules::Rules;
use crate::runtime::{NOTHING, Runtime, RuntimeState};
use crate::signals::{Entity, Findings, Source};
use crate::store::Store;

struct Place {
    store: Store,
    _folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(&folder.path().join("m.db")).unwrap();
        Self { store, _folder: folder }
    }

    async fn save(&self, container: &Container) {
        let container = Arc::new(container.clone());
        let change = Change { container, transition: None, available_from: at(0), is_new: false };
        self.store.write(move |tx| sql::save(tx, &[change])).await.unwrap();
    }

    async fn find(&self, runtime: &'static str) -> Findings {
        let rules = Rules { runtime: RuntimeState::new(Runtime::new(runtime, at(0))) };
        self.store.read(move |db| rules.find(db, at(100))).await.unwrap()
    }

    async fn exists(&self) -> bool {
        let rules = Rules { runtime: RuntimeState::new(Runtime::new("docker", at(0))) };
        let entity = Entity { kind: "container", id: 1 };
        self.store.read(move |db| rules.exists(db, &entity)).await.unwrap()
    }
}

#[tokio::test]
async fn insights_survive_a_restart_with_their_times() {
    let place = Place::new();
    let mut container = container(&json!({"Privileged": true, "Memory": 0}), &json!({"User": ""}));
    place.save(&container).await;
    let loaded = place.store.read(sql::load).await.unwrap();
    assert_eq!(loaded.containers, [container.clone()]);
    container.facts.exposure = None;
    place.save(&container).await;
    assert_eq!(place.store.read(sql::load).await.unwrap().containers, [container]);
}

#[tokio::test]
async fn a_signal_lasts_as_long_as_the_configuration() {
    let place = Place::new();
    let dangerous = container(&json!({"Privileged": true}), &json!({}));
    place.save(&dangerous).await;
    let found = place.find("docker").await;
    assert_eq!(found.signals.len(), 1);
    assert_eq!(found.signals[0].alert_type, "dangerous_configuration");
    assert_eq!(found.signals[0].since, at(0));
    assert_eq!(place.find("docker").await, found, "asked again, it says the same");
    assert!(place.find(NOTHING).await.signals.is_empty());
    assert!(place.exists().await);
    place.save(&later(&dangerous, 60, &json!({}), &json!({}))).await;
    assert_eq!(place.find("docker").await, Findings::default());
}

#[tokio::test]
async fn what_was_never_inspected_is_not_known() {
    let place = Place::new();
    let mut unknown = container(&json!({}), &json!({}));
    unknown.facts.exposure = None;
    place.save(&unknown).await;
    let found = place.find("docker").await;
    assert!(found.signals.is_empty());
    assert_eq!(found.unknown.len(), 1);
}

#[tokio::test]
async fn a_removed_container_is_not_watched_any_more() {
    let place = Place::new();
    let archived = Container {
        archived_at: Some(at(9)),
        ..container(&json!({"Privileged": true}), &json!({}))
    };
    place.save(&archived).await;
    assert_eq!(place.find("docker").await, Findings::default());
    assert!(!place.exists().await);
}
