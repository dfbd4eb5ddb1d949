//! A container as the tools need it from a list. What no tool shows is not read: lists are the
//! largest answers there are, and most of a tool call's time goes into reading them.

use maintenant_api::containers::{ExitReason, Health, State};
use maintenant_api::wire::null_as_default;
use serde::Deserialize;

/// The parts of a container in `GET /containers` that tools filter, sort or show.
#[derive(Debug, Clone, Deserialize)]
pub struct Listed {
    pub id: i64,
    #[serde(default)]
    pub external_id: String,
    pub name: String,
    pub image: String,
    pub state: State,
    #[serde(default)]
    pub health_status: Option<Health>,
    #[serde(default)]
    pub orchestration_group: String,
    #[serde(default)]
    pub orchestration_unit: String,
    #[serde(default)]
    pub custom_group: String,
    #[serde(default)]
    pub compose_working_dir: String,
    #[serde(default)]
    pub exit_code: Option<i64>,
    #[serde(default)]
    pub exit_reason: Option<ExitReason>,
    #[serde(default)]
    pub restart_count: i64,
    /// As sent; read only for the containers that are shown.
    pub last_state_change_at: String,
}

/// `GET /containers`, down to what is needed of it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct List {
    #[serde(deserialize_with = "null_as_default")]
    groups: Vec<Group>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Group {
    #[serde(deserialize_with = "null_as_default")]
    containers: Vec<Listed>,
}

impl List {
    /// All containers, whatever their group.
    pub(crate) fn containers(self) -> Vec<Listed> {
        self.groups.into_iter().flat_map(|group| group.containers).collect()
    }
}
