//! Alerts: what is wrong, since when, who knows of it; and silences.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::wire::{null_as_default, zero_time_as_none};

/// How bad it is; the order is that of urgency.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    #[default]
    Info,
    Warning,
    Critical,
}

impl Severity {
    pub const ALL: [Self; 3] = [Self::Info, Self::Warning, Self::Critical];

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }

    /// The severity of that name, if there is one.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|severity| severity.as_str() == word)
    }
}

/// A word of another server that is not known here is read as the least.
impl<'de> Deserialize<'de> for Severity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        Ok(Self::parse(&word).unwrap_or_default())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AlertStatus {
    Active,
    Resolved,
    /// It lasts, and a silence or a maintenance window keeps it quiet.
    Silenced,
    #[serde(other)]
    Unknown,
}

impl AlertStatus {
    pub const ALL: [Self; 3] = [Self::Active, Self::Resolved, Self::Silenced];

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Resolved => "resolved",
            Self::Silenced => "silenced",
            Self::Unknown => "unknown",
        }
    }

    /// The status of that name, if there is one.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }
}

/// An alert. When it ends, a second one is added that says so: severity `info`, status `resolved`,
/// `resolved_at` `null`; the first names it in `resolved_by_id`. One whose subject was removed ends
/// without.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Alert {
    pub id: i64,
    /// `container`, `endpoint`, `heartbeat`, `certificate`, `resource`, `runtime`, `update`, ...
    pub source: String,
    /// What kind of trouble, such as `container_down`.
    pub alert_type: String,
    pub severity: Severity,
    pub status: AlertStatus,
    pub message: String,
    pub entity_type: String,
    pub entity_id: i64,
    #[serde(default, deserialize_with = "null_as_default")]
    pub entity_name: String,
    /// JSON as text; `{}` when there is nothing to add. `since` in it is when the trouble began.
    #[serde(default, deserialize_with = "null_as_default")]
    pub details: String,
    #[serde(default)]
    pub resolved_by_id: Option<i64>,
    pub fired_at: Timestamp,
    #[serde(default, deserialize_with = "zero_time_as_none")]
    pub resolved_at: Option<Timestamp>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "zero_time_as_none"
    )]
    pub acknowledged_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged_by: Option<String>,
    /// When its severity last rose.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "zero_time_as_none"
    )]
    pub escalated_at: Option<Timestamp>,
    #[serde(default, deserialize_with = "zero_time_as_none")]
    pub created_at: Option<Timestamp>,
}

/// Answer of `GET /alerts`: newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AlertList {
    #[serde(default, deserialize_with = "null_as_default")]
    pub alerts: Vec<Alert>,
    #[serde(default)]
    pub has_more: bool,
    /// Put it into `cursor` to go on after the last alert, whatever else happens meanwhile. Other
    /// servers of the contract do not send it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// Query of `GET /alerts`. Filters are exact.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AlertQuery {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// `critical`, `warning` or `info`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<String>,
    /// `active`, `resolved` or `silenced`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// `container`, `endpoint`, `heartbeat`, `certificate`, ...
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entity_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entity_id: Option<String>,
    /// Fired at this moment or after, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Fired or ended at this moment or after, or not ended yet, RFC 3339. Other servers of the
    /// contract do not know it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lasting_since: Option<String>,
    /// Fired before this moment, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// `next_cursor` of an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// 1 to 200; default 50.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
}

/// Answer of `GET /alerts/active`: active and not acknowledged.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ActiveAlerts {
    #[serde(default, deserialize_with = "null_as_default")]
    pub critical: Vec<Alert>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub warning: Vec<Alert>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub info: Vec<Alert>,
}

/// Body of `POST /alerts/{id}/acknowledge`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Acknowledgement {
    /// Who takes note, 1 to 200 characters.
    #[serde(default)]
    pub acknowledged_by: String,
}

/// A silence: matching alerts are stored, and nobody is told while it lasts. Without a filter it
/// matches all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Silence {
    pub id: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entity_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entity_id: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    pub starts_at: Timestamp,
    pub duration_seconds: i64,
    pub expires_at: Timestamp,
    pub is_active: bool,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "zero_time_as_none"
    )]
    pub cancelled_at: Option<Timestamp>,
    #[serde(default, deserialize_with = "zero_time_as_none")]
    pub created_at: Option<Timestamp>,
}

/// Answer of `GET /silence`: newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SilenceList {
    #[serde(default, deserialize_with = "null_as_default")]
    pub rules: Vec<Silence>,
}

/// Query of `GET /silence`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SilenceQuery {
    /// `true` leaves out those that are over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active: Option<String>,
}

/// Body of `POST /silence`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SilenceInput {
    /// From now on; at least 1, at most 31,536,000 (a year).
    pub duration_seconds: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entity_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entity_id: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}
