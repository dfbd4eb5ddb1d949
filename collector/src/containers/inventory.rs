//! What runs now, shared with whoever reads it.

use std::sync::Arc;

use maintenant_api::containers as wire;
use maintenant_api::containers::State;
use tokio::sync::watch;

use super::model::Container;

/// All containers that are not archived, by name. Snapshots are cheap to take and never change.
#[derive(Debug, Clone, Default)]
pub struct Inventory {
    pub containers: Arc<[Arc<Container>]>,
}

impl Inventory {
    pub fn new(mut containers: Vec<Arc<Container>>) -> Self {
        containers.sort_by(|a, b| (&a.facts.name, a.id).cmp(&(&b.facts.name, b.id)));
        Self { containers: containers.into() }
    }

    pub fn find(&self, id: i64) -> Option<&Arc<Container>> {
        self.containers.iter().find(|container| container.id == id)
    }
}

/// Reading end of the inventory.
pub type InventoryReader = watch::Receiver<Inventory>;

/// A container as the wire carries it. Unless the runtime is heard (`known`), its state is unknown.
pub fn to_wire(container: &Container, known: bool) -> wire::Container {
    let labels = &container.facts.labels;
    let compose = labels.compose.as_ref();
    let is_up = container.state == State::Running;
    let exit =
        container.exit.filter(|_| !matches!(container.state, State::Running | State::Paused));
    let unknown = !known && container.archived_at.is_none();
    wire::Container {
        id: container.id,
        external_id: container.external_id.clone(),
        name: container.facts.name.clone(),
        image: container.facts.image.clone(),
        state: if unknown { State::Unknown } else { container.state },
        last_known_state: unknown.then_some(container.state),
        health_status: container.health.filter(|_| !unknown),
        has_health_check: container.facts.has_health_check,
        orchestration_group: compose.map(|compose| compose.project.clone()).unwrap_or_default(),
        orchestration_unit: compose.map(|compose| compose.service.clone()).unwrap_or_default(),
        custom_group: labels.custom_group.clone(),
        is_ignored: labels.is_ignored,
        alert_severity: labels.alert_severity.clone(),
        restart_threshold: labels.restart_threshold,
        alert_channels: labels.alert_channels.clone(),
        archived: container.archived_at.is_some(),
        first_seen_at: container.first_seen_at,
        last_state_change_at: container.last_state_change_at,
        archived_at: container.archived_at,
        runtime_type: "docker".to_owned(),
        error_detail: container.facts.error_detail.clone(),
        pod_count: 1,
        ready_count: i64::from(is_up && !unknown),
        compose_working_dir: compose.map(|compose| compose.working_dir.clone()).unwrap_or_default(),
        exit_code: exit.map(|exit| exit.code),
        exit_reason: exit.map(|exit| exit.reason),
        exit_signal: exit.and_then(|exit| exit.signal),
        oom_killed: exit.is_some_and(|exit| exit.oom_killed),
        restart_count: container.facts.restart_count,
        started_at: container.started_at,
        finished_at: container.finished_at,
        security_insight_count: None,
        security_highest_severity: None,
    }
}

/// The group a container is listed under, and where the name comes from.
pub fn group(container: &Container) -> (&str, &'static str) {
    let labels = &container.facts.labels;
    match (&labels.custom_group, &labels.compose) {
        (custom, _) if !custom.is_empty() => (custom, "label"),
        (_, Some(compose)) => (&compose.project, "compose"),
        _ => ("Ungrouped", "default"),
    }
}
