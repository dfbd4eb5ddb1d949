//! Security insights: what about a container's configuration is dangerous, and what to do about it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::wire::null_as_default;

/// How dangerous it is; the order is that of urgency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum InsightSeverity {
    /// It makes an attack easier or its effects worse.
    Medium,
    /// One step short of the host.
    High,
    /// Whoever gets into the container has the host, or gets at data without getting in.
    Critical,
}

impl InsightSeverity {
    pub const ALL: [Self; 3] = [Self::Medium, Self::High, Self::Critical];

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }

    /// The severity of that name, if there is one.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|severity| severity.as_str() == word)
    }
}

/// A word of another server that is not known here is read as the least.
impl<'de> Deserialize<'de> for InsightSeverity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        Ok(Self::parse(&word).unwrap_or(Self::Medium))
    }
}

/// Something dangerous in the configuration of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Insight {
    /// `port_exposed_all_interfaces`, `database_port_exposed`, `privileged_container`,
    /// `host_network_mode`, `docker_socket_mounted`, `capability_added`, `root_user`,
    /// `no_memory_limit` or `no_cpu_limit`.
    #[serde(rename = "type")]
    pub kind: String,
    pub severity: InsightSeverity,
    pub container_id: i64,
    #[serde(default)]
    pub container_name: String,
    #[serde(default)]
    pub title: String,
    /// Why it is dangerous.
    #[serde(default)]
    pub description: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub remedy: String,
    /// `port`, `protocol` and `host_port` of a port, `capability` of a capability.
    #[serde(default, deserialize_with = "null_as_default")]
    pub details: Map<String, Value>,
    /// When it was first seen; it outlives a restart of this program and a recreate.
    pub detected_at: Timestamp,
}

/// Insights of one container, worst first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ContainerInsights {
    pub container_id: i64,
    #[serde(default)]
    pub container_name: String,
    /// `null` without insights.
    #[serde(default)]
    pub highest_severity: Option<InsightSeverity>,
    #[serde(default)]
    pub count: i64,
    #[serde(default, deserialize_with = "null_as_default")]
    pub insights: Vec<Insight>,
    /// `false`: the container could not be inspected, so nothing is known of it.
    #[serde(default = "yes")]
    pub scanned: bool,
}

fn yes() -> bool {
    true
}

/// Counts over all containers that are there and not ignored. Only words that occur are keys.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InsightSummary {
    #[serde(default)]
    pub total_containers_monitored: i64,
    #[serde(default)]
    pub total_containers_affected: i64,
    /// Containers that could not be inspected: nothing is known of them.
    #[serde(default)]
    pub total_containers_unknown: i64,
    #[serde(default)]
    pub total_insights: i64,
    #[serde(default, deserialize_with = "null_as_default")]
    pub by_severity: BTreeMap<String, i64>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub by_type: BTreeMap<String, i64>,
}

/// Answer of `GET /security/insights`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InsightList {
    /// Those with insights, worst first, then by name.
    #[serde(default, deserialize_with = "null_as_default")]
    pub containers: Vec<ContainerInsights>,
    #[serde(default)]
    pub summary: InsightSummary,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_other_servers_are_read() {
        let text = r#"{"container_id":3,"container_name":"db","highest_severity":"critical","count":1,
            "insights":[{"type":"service_node_port","severity":"apocalyptic","container_id":3,
            "container_name":"db","title":"t","description":"d","details":null,
            "detected_at":"2026-05-05T12:00:00.123456789+02:00"}]}"#;
        let read: ContainerInsights = serde_json::from_str(text).unwrap();
        assert!(read.scanned);
        assert_eq!(read.insights[0].severity, InsightSeverity::Medium);
        assert_eq!(read.insights[0].remedy, "");
        let none: InsightList = serde_json::from_str(r#"{"containers":null}"#).unwrap();
        assert_eq!(none, InsightList::default());
    }
}
