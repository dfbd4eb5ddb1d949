//! What endpoints, heartbeats and certificates have in common.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::wire::null_as_default;

/// Whether enough failures in a row were seen to tell somebody.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AlertState {
    #[default]
    Normal,
    #[serde(other)]
    Alerting,
}

impl AlertState {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Alerting => "alerting",
        }
    }

    /// The state of that name, if there is one.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Normal, Self::Alerting].into_iter().find(|state| state.as_str() == word)
    }
}

/// Answer of `GET /endpoints/{id}/uptime/daily` and its like: one entry per day, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DailyUptime {
    pub monitor_id: i64,
    /// `endpoint` or `heartbeat`.
    pub monitor_type: String,
    #[serde(default, deserialize_with = "null_as_default")]
    pub days: Vec<DayOfUptime>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DayOfUptime {
    /// `YYYY-MM-DD`, in UTC.
    pub date: String,
    /// Share of the known time it was up, two decimals, rounded down. `null`: nothing is known.
    #[serde(default)]
    pub uptime_percent: Option<f64>,
    /// How often it went down.
    #[serde(default)]
    pub incident_count: i64,
    /// Share of the day that is known, in percent.
    #[serde(default)]
    pub coverage_percent: f64,
}

/// Query of daily uptime.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct DailyUptimeQuery {
    /// Default 90, at most 365.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub days: Option<String>,
}

/// Query of a list that is paged by offset.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PageQuery {
    /// At most 500.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<String>,
}

/// A label that could not be read, and what would be accepted. It has no effect until it is right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigProblem {
    pub container_id: i64,
    #[serde(default, deserialize_with = "null_as_default")]
    pub container_name: String,
    /// The label, such as `maintenant.endpoint.0.interval`.
    pub label_key: String,
    /// What is wrong and what is accepted.
    pub error: String,
    /// Since when it is known.
    pub since: Timestamp,
}

/// Answer of `GET /problems`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigProblemList {
    #[serde(default, deserialize_with = "null_as_default")]
    pub problems: Vec<ConfigProblem>,
    #[serde(default)]
    pub total: i64,
}
