//! Containers, endpoints and the like as the tools need them from a list. What no tool shows is not read:
//! lists are the largest answers there are, and most of a tool call's time goes into reading them.

use std::collections::BTreeMap;

use maintenant_api::Timestamp;
use maintenant_api::alerts::{AlertStatus, Severity};
use maintenant_api::containers::{ExitReason, Health, State};
use maintenant_api::endpoints::{EndpointSource, EndpointStatus, EndpointType, FailureCause};
use maintenant_api::monitors::AlertState;
use maintenant_api::wire::{null_as_default, zero_time_as_none};
use serde::de::IntoDeserializer;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

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
    #[serde(deserialize_with = "null_as_other")]
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

/// `null` is read as a word that nobody knows.
fn null_as_other<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    match Option::deserialize(deserializer)? {
        Some(known) => Ok(known),
        None => T::deserialize("".into_deserializer()),
    }
}

/// `GET /containers`, down to what is needed of it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct List {
    #[serde(deserialize_with = "null_as_default")]
    groups: Vec<Group>,
}

#[derive(Debug, Clone, Default, Deserialize)]
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
    #[serde(deserialize_with = "null_as_other")]
    pub endpoint_type: EndpointType,
    #[serde(default, deserialize_with = "null_as_default")]
    pub target: String,
    #[serde(deserialize_with = "null_as_other")]
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
    #[serde(deserialize_with = "null_as_other")]
    pub source: EndpointSource,
    /// Other servers list none.
    #[serde(default)]
    pub uptime: Option<BTreeMap<String, Option<f64>>>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub uptime_coverage: BTreeMap<String, f64>,
}

/// `GET /endpoints`, down to what is needed of it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct EndpointList {
    #[serde(deserialize_with = "null_as_default")]
    pub(crate) endpoints: Vec<ListedEndpoint>,
}

/// `GET /endpoints/{id}`, which tells the uptime beside the endpoint.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct FoundEndpoint {
    endpoint: ListedEndpoint,
    #[serde(default, deserialize_with = "null_as_default")]
    uptime: BTreeMap<String, Option<f64>>,
    #[serde(default, deserialize_with = "null_as_default")]
    uptime_coverage: BTreeMap<String, f64>,
}

impl FoundEndpoint {
    /// The endpoint with its uptime. Other servers, which tell no coverage, call the uptime 0 in
    /// windows in which nothing was checked.
    pub(crate) fn endpoint(self, now: Timestamp) -> ListedEndpoint {
        let Self { endpoint, mut uptime, uptime_coverage } = self;
        let checked = endpoint.last_check_at.map(|at| now.duration_since(at).as_secs());
        uptime.retain(|window, percent| {
            let was_checked = seconds(window).zip(checked).is_none_or(|(long, ago)| ago < long);
            uptime_coverage.contains_key(window) || *percent != Some(0.0) || was_checked
        });
        ListedEndpoint { uptime: checked.map(|_| uptime), uptime_coverage, ..endpoint }
    }
}

/// The length of a window such as `24h` or `7d`.
fn seconds(window: &str) -> Option<i64> {
    let (count, unit) = window.split_at_checked(window.len().checked_sub(1)?)?;
    let unit = match unit {
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    count.parse::<i64>().ok()?.checked_mul(unit)
}

/// The parts of an alert that tools filter, sort or show.
#[derive(Debug, Clone, Deserialize)]
pub struct ListedAlert {
    pub id: i64,
    #[serde(default, deserialize_with = "null_as_default")]
    pub source: String,
    #[serde(default, deserialize_with = "null_as_default")]
    pub alert_type: String,
    #[serde(deserialize_with = "null_as_other")]
    pub severity: Severity,
    #[serde(deserialize_with = "null_as_other")]
    pub status: AlertStatus,
    #[serde(default, deserialize_with = "null_as_default")]
    pub message: String,
    #[serde(default, deserialize_with = "null_as_default")]
    pub entity_type: String,
    #[serde(default, deserialize_with = "null_as_default")]
    pub entity_id: i64,
    #[serde(default, deserialize_with = "null_as_default")]
    pub entity_name: String,
    #[serde(default, deserialize_with = "details")]
    pub details: Map<String, Value>,
    #[serde(default)]
    pub resolved_by_id: Option<i64>,
    #[serde(default, deserialize_with = "zero_time_as_none")]
    pub fired_at: Option<Timestamp>,
    #[serde(default, deserialize_with = "zero_time_as_none")]
    pub resolved_at: Option<Timestamp>,
    #[serde(default, deserialize_with = "zero_time_as_none")]
    pub acknowledged_at: Option<Timestamp>,
    #[serde(default)]
    pub acknowledged_by: Option<String>,
    #[serde(default, deserialize_with = "zero_time_as_none")]
    pub escalated_at: Option<Timestamp>,
}

impl ListedAlert {
    /// It tells only that another one ended, which names it in `resolved_by_id`.
    pub(crate) fn is_recovery(&self) -> bool {
        self.severity == Severity::Info
            && self.status == AlertStatus::Resolved
            && self.resolved_at.is_none()
    }

    /// When the trouble began, as far as it is known.
    pub(crate) fn since(&self) -> Option<Timestamp> {
        let since = self.details.get("since").and_then(Value::as_str);
        since.and_then(|since| since.parse().ok()).or(self.fired_at)
    }
}

/// Details are JSON inside of text; what is none of that says nothing.
fn details<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Map<String, Value>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::String(text) => serde_json::from_str(&text).unwrap_or_default(),
        Value::Object(details) => details,
        _ => Map::new(),
    })
}

/// `GET /alerts`: newest first.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct AlertPage {
    #[serde(deserialize_with = "null_as_default")]
    pub(crate) alerts: Vec<ListedAlert>,
    #[serde(deserialize_with = "null_as_default")]
    pub(crate) has_more: bool,
    /// Other servers send none.
    pub(crate) next_cursor: Option<String>,
}

/// A component of the status page, by what it is named with.
#[derive(Debug, Clone, Deserialize)]
pub struct StatusComponent {
    pub id: i64,
    #[serde(default, deserialize_with = "null_as_default")]
    pub display_name: String,
    /// Whether the page shows it; absent means that it does.
    #[serde(default)]
    pub visible: Option<bool>,
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
        let list = r#"{"endpoints": [{"id": 1, "endpoint_type": null, "status": null,
            "target": null, "alert_state": null, "source": null, "name": null}]}"#;
        let endpoints = serde_json::from_str::<EndpointList>(list).unwrap().endpoints;
        assert_eq!((endpoints[0].id, endpoints[0].status), (1, EndpointStatus::Unknown));
        let list = r#"{"alerts": [{"id": 1, "severity": null, "status": null, "source": null,
            "message": null, "entity_id": null, "entity_name": null, "details": null,
            "fired_at": null}], "has_more": null}"#;
        let alerts = serde_json::from_str::<AlertPage>(list).unwrap().alerts;
        assert_eq!((alerts[0].severity, alerts[0].status), (Severity::Info, AlertStatus::Unknown));
    }

    #[test]
    fn details_are_read_in_whatever_form_and_the_rest_is_nothing() {
        let check = |details: Value, since: &str| {
            let row = serde_json::json!({"id": 1, "severity": "info", "status": "active",
                "fired_at": "2026-05-05T10:00:00Z", "details": details});
            let alert: ListedAlert = serde_json::from_value(row).unwrap();
            assert_eq!(alert.since().unwrap().to_string(), since, "{details}");
        };
        check(r#"{"since": "2026-05-05T11:58:00+02:00"}"#.into(), "2026-05-05T09:58:00Z");
        check(serde_json::json!({"since": "2026-05-05T09:58:00Z"}), "2026-05-05T09:58:00Z");
        for odd in ["", "{", "[]", "null", r#"{"since": 7}"#, r#"{"since": "noon"}"#] {
            check(odd.into(), "2026-05-05T10:00:00Z");
        }
        check(Value::Null, "2026-05-05T10:00:00Z");
    }

    #[test]
    fn a_window_in_which_nothing_was_checked_has_no_uptime() {
        let check = |rest: &str, windows: &[&str]| {
            let found = format!(
                r#"{{"endpoint": {{"id": 1, "endpoint_type": "http", "status": "up", "source": "file",
                    "last_check_at": "2026-05-05T08:00:00Z"}}, {rest}}}"#
            );
            let found: FoundEndpoint = serde_json::from_str(&found).unwrap();
            let endpoint = found.endpoint("2026-05-05T10:00:00Z".parse().unwrap());
            let uptime = endpoint.uptime.unwrap();
            assert_eq!(uptime.keys().collect::<Vec<_>>(), windows, "{rest}");
        };
        check(r#""uptime": {"1h": 0, "24h": 0, "30d": 50}"#, &["24h", "30d"]);
        check(r#""uptime": {"1h": 0}, "uptime_coverage": {"1h": 100}"#, &["1h"]);
        check(r#""uptime": {"1h": 99.5}"#, &["1h"]);
    }
}
