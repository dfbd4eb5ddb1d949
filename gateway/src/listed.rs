//! Containers and endpoints as the tools need them from a list. What no tool shows is not read:
//! lists are the largest answers there are, and most of a tool call's time goes into reading them.

use std::collections::BTreeMap;

use maintenant_api::Timestamp;
use maintenant_api::containers::{ExitReason, Health, State};
use maintenant_api::endpoints::{EndpointSource, EndpointStatus, EndpointType, FailureCause};
use maintenant_api::monitors::AlertState;
use maintenant_api::wire::{null_as_default, zero_time_as_none};
use serde::{Deserialize, Deserializer};

/// The parts of a container in `GET /containers` that tools filter, sort or show.
#[derive(Debug, Clone, Deserialize)]
pub struct Listed {
    pub id: i64,
    #[serde(default, deserialize_with = "null_as_default")]
    pub external_id: String,
    #[serde(deserialize_with = "null_as_default")]
    pub name: String,
    #[serde(deserialize_with = "null_as_default")]
    pub image: String,
    #[serde(deserialize_with = "null_as_unknown")]
    pub state: State,
    #[serde(default)]
    pub health_status: Option<Health>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub orchestration_group: String,
    #[serde(default, deserialize_with = "null_as_default")]
    pub orchestration_unit: String,
    #[serde(default, deserialize_with = "null_as_default")]
    pub custom_group: String,
    #[serde(default, deserialize_with = "null_as_default")]
    pub compose_working_dir: String,
    #[serde(default)]
    pub exit_code: Option<i64>,
    #[serde(default)]
    pub exit_reason: Option<ExitReason>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub restart_count: i64,
    /// As sent; read only for the containers that are shown.
    #[serde(deserialize_with = "null_as_default")]
    pub last_state_change_at: String,
}

fn null_as_unknown<'de, D: Deserializer<'de>>(deserializer: D) -> Result<State, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(State::Unknown))
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

/// The parts of an endpoint that tools filter, sort or show. How it is checked is not read at all:
/// its headers carry credentials.
#[derive(Debug, Clone, Deserialize)]
pub struct ListedEndpoint {
    pub id: i64,
    #[serde(default, deserialize_with = "null_as_default")]
    pub name: String,
    #[serde(default, deserialize_with = "null_as_default")]
    pub container_name: String,
    #[serde(default, deserialize_with = "null_as_default")]
    pub orchestration_group: String,
    pub endpoint_type: EndpointType,
    #[serde(default, deserialize_with = "null_as_default")]
    pub target: String,
    pub status: EndpointStatus,
    #[serde(default, deserialize_with = "null_as_default")]
    pub alert_state: AlertState,
    #[serde(default, deserialize_with = "null_as_default")]
    pub consecutive_failures: i64,
    #[serde(default, deserialize_with = "zero_time_as_none")]
    pub last_check_at: Option<Timestamp>,
    #[serde(default)]
    pub last_response_time_ms: Option<i64>,
    #[serde(default)]
    pub last_http_status: Option<i64>,
    #[serde(default)]
    pub last_error: Option<String>,
    #[serde(default)]
    pub last_cause: Option<FailureCause>,
    #[serde(default, deserialize_with = "zero_time_as_none")]
    pub status_since: Option<Timestamp>,
    pub source: EndpointSource,
    /// Other servers list none.
    #[serde(default)]
    pub uptime: Option<BTreeMap<String, Option<f64>>>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub uptime_coverage: BTreeMap<String, f64>,
}

/// `GET /endpoints`, down to what is needed of it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct EndpointList {
    #[serde(deserialize_with = "null_as_default")]
    pub(crate) endpoints: Vec<ListedEndpoint>,
}

/// `GET /endpoints/{id}`, which tells the uptime beside the endpoint.
#[derive(Debug, Deserialize)]
pub(crate) struct FoundEndpoint {
    endpoint: ListedEndpoint,
    #[serde(default, deserialize_with = "null_as_default")]
    uptime: BTreeMap<String, Option<f64>>,
    #[serde(default, deserialize_with = "null_as_default")]
    uptime_coverage: BTreeMap<String, f64>,
}

impl FoundEndpoint {
    /// The endpoint with its uptime. Other servers call the uptime of one that was never checked 0.
    pub(crate) fn endpoint(self) -> ListedEndpoint {
        let checked = self.endpoint.last_check_at.is_some();
        ListedEndpoint {
            uptime: checked.then_some(self.uptime),
            uptime_coverage: self.uptime_coverage,
            ..self.endpoint
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_null_makes_no_list_unreadable() {
        let list = r#"{"groups": [{"containers": [{"id": 1, "external_id": null, "name": null,
            "image": null, "state": null, "orchestration_group": null, "orchestration_unit": null,
            "custom_group": null, "compose_working_dir": null, "restart_count": null,
            "last_state_change_at": null}]}]}"#;
        let containers = serde_json::from_str::<List>(list).unwrap().containers();
        assert_eq!((containers[0].id, containers[0].state), (1, State::Unknown));
    }
}
