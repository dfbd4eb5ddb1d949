//! The status page: components, incidents, maintenance windows, subscribers, and what the public reads.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::wire::{null_as_default, zero_time_as_none};

/// How a component fares, or the page as a whole.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum ComponentStatus {
    Operational,
    Degraded,
    PartialOutage,
    MajorOutage,
    UnderMaintenance,
    /// Nothing is known at present.
    #[default]
    #[serde(other)]
    Unknown,
}

impl ComponentStatus {
    /// Those that a user may set.
    pub const ALL: [Self; 5] = [
        Self::Operational,
        Self::Degraded,
        Self::PartialOutage,
        Self::MajorOutage,
        Self::UnderMaintenance,
    ];

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Operational => "operational",
            Self::Degraded => "degraded",
            Self::PartialOutage => "partial_outage",
            Self::MajorOutage => "major_outage",
            Self::UnderMaintenance => "under_maintenance",
            Self::Unknown => "unknown",
        }
    }

    /// The status of that name, if there is one.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }
}

/// How a component is made up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CompositionMode {
    /// Of all monitors of one type.
    MatchAll,
    /// Of the monitors it names.
    #[default]
    #[serde(other)]
    Explicit,
}

impl CompositionMode {
    pub const ALL: [Self; 2] = [Self::Explicit, Self::MatchAll];

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Explicit => "explicit",
            Self::MatchAll => "match-all",
        }
    }

    /// The mode of that name, if there is one.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.as_str() == word)
    }
}

/// A monitor of a component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MonitorRef {
    /// `container`, `endpoint`, `heartbeat` or `certificate`.
    #[serde(rename = "type")]
    pub monitor_type: String,
    pub id: i64,
    /// Absent when there is no such monitor any more. Other servers of the contract do not send it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<ComponentStatus>,
}

/// A component as its owner sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Component {
    pub id: i64,
    #[serde(default)]
    pub composition_mode: CompositionMode,
    #[serde(default, deserialize_with = "null_as_default")]
    pub monitors: Vec<MonitorRef>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub match_all_type: Option<String>,
    pub display_name: String,
    #[serde(default)]
    pub display_order: i64,
    #[serde(default)]
    pub visible: bool,
    /// As its monitors and their alerts say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub derived_status: Option<ComponentStatus>,
    /// What a user set.
    #[serde(default)]
    pub status_override: Option<ComponentStatus>,
    /// As the public sees it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective_status: Option<ComponentStatus>,
    /// Whether alerts of its monitors open incidents.
    #[serde(default)]
    pub auto_incident: bool,
    /// A monitor it names is gone, or what a user set is not what its monitors say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needs_attention: Option<bool>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// Body of `POST` and `PUT /status/components`. On PUT what is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ComponentInput {
    /// 1 to 100 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// `explicit` (default) or `match-all`; cannot be changed later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub composition_mode: Option<String>,
    /// Of an explicit component, at least one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monitors: Option<Vec<MonitorInput>>,
    /// Of a match-all component: `container`, `endpoint`, `heartbeat` or `certificate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub match_all_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_order: Option<i64>,
    /// Default true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub visible: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_incident: Option<bool>,
    /// A status that is shown whatever the monitors say; `""` ends that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_override: Option<String>,
}

/// A monitor named in a body.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct MonitorInput {
    /// `container`, `endpoint`, `heartbeat` or `certificate`.
    #[serde(rename = "type")]
    pub monitor_type: String,
    pub id: i64,
}

/// How bad an incident is.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum IncidentSeverity {
    #[default]
    Minor,
    Major,
    Critical,
}

impl IncidentSeverity {
    pub const ALL: [Self; 3] = [Self::Minor, Self::Major, Self::Critical];

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Minor => "minor",
            Self::Major => "major",
            Self::Critical => "critical",
        }
    }

    /// The severity of that name, if there is one.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|severity| severity.as_str() == word)
    }
}

/// A word of another server that is not known here is read as the least.
impl<'de> Deserialize<'de> for IncidentSeverity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        Ok(Self::parse(&word).unwrap_or_default())
    }
}

/// Where an incident has got to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum IncidentStatus {
    #[default]
    Investigating,
    Identified,
    Monitoring,
    Resolved,
    #[serde(other)]
    Unknown,
}

impl IncidentStatus {
    pub const ALL: [Self; 4] =
        [Self::Investigating, Self::Identified, Self::Monitoring, Self::Resolved];

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Investigating => "investigating",
            Self::Identified => "identified",
            Self::Monitoring => "monitoring",
            Self::Resolved => "resolved",
            Self::Unknown => "unknown",
        }
    }

    /// The status of that name, if there is one.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }
}

/// A component that something concerns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ComponentRef {
    pub id: i64,
    #[serde(default, deserialize_with = "null_as_default")]
    pub name: String,
}

/// An incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Incident {
    pub id: i64,
    pub title: String,
    pub severity: IncidentSeverity,
    pub status: IncidentStatus,
    /// It tells of a maintenance window.
    #[serde(default)]
    pub is_maintenance: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance_window_id: Option<i64>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub components: Vec<ComponentRef>,
    /// Newest first.
    #[serde(default, deserialize_with = "null_as_default")]
    pub updates: Vec<IncidentUpdate>,
    pub created_at: Timestamp,
    #[serde(default, deserialize_with = "zero_time_as_none")]
    pub resolved_at: Option<Timestamp>,
    pub updated_at: Timestamp,
    /// Where the public reads it. Other servers of the contract do not send it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// What was said of an incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IncidentUpdate {
    pub id: i64,
    pub incident_id: i64,
    pub status: IncidentStatus,
    #[serde(default, deserialize_with = "null_as_default")]
    pub message: String,
    /// Nobody wrote it: it follows from an alert or a maintenance window.
    #[serde(default)]
    pub is_auto: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alert_id: Option<i64>,
    pub created_at: Timestamp,
}

/// Answer of `GET /status/incidents`: what changed last comes first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IncidentList {
    #[serde(default, deserialize_with = "null_as_default")]
    pub incidents: Vec<Incident>,
    #[serde(default)]
    pub total: i64,
}

/// Query of `GET /status/incidents`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct IncidentQuery {
    /// `investigating`, `identified`, `monitoring` or `resolved`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// `minor`, `major` or `critical`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<String>,
    /// 1 to 100; default 20.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<String>,
}

/// Body of `POST` and `PUT /status/incidents`. On PUT what is absent stays; status and message are
/// changed by `POST /status/incidents/{id}/updates`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct IncidentInput {
    /// 1 to 200 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// `minor`, `major` or `critical`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<String>,
    /// Default `investigating`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Ids of components; none is one of nothing in particular.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub component_ids: Option<Vec<i64>>,
    /// The first update, at most 5,000 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Body of `POST /status/incidents/{id}/updates`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct IncidentUpdateInput {
    /// `investigating`, `identified`, `monitoring` or `resolved`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// 1 to 5,000 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// A maintenance window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Maintenance {
    pub id: i64,
    pub title: String,
    #[serde(default, deserialize_with = "null_as_default")]
    pub description: String,
    pub starts_at: Timestamp,
    pub ends_at: Timestamp,
    /// It is under way.
    #[serde(default)]
    pub active: bool,
    /// The incident that tells of it, from its start on.
    #[serde(default)]
    pub incident_id: Option<i64>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub components: Vec<ComponentRef>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// Where the public reads it. Other servers of the contract do not send it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// Query of `GET /status/maintenance`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct MaintenanceQuery {
    /// `upcoming`, `active` or `completed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// 1 to 100; default 20.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
}

/// Body of `POST` and `PUT /status/maintenance`. On PUT what is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct MaintenanceInput {
    /// 1 to 200 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// At most 5,000 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub starts_at: Option<String>,
    /// RFC 3339, after `starts_at` and in the future.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<String>,
    /// Ids of components whose monitors raise no alerts meanwhile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub component_ids: Option<Vec<i64>>,
}

/// Somebody who is told of incidents by mail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Subscriber {
    pub id: i64,
    /// Masked: `a***@example.org`.
    pub email: String,
    pub confirmed: bool,
    pub created_at: Timestamp,
}

/// Answer of `GET /status/subscribers`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SubscriberList {
    #[serde(default, deserialize_with = "null_as_default")]
    pub subscribers: Vec<Subscriber>,
    pub total: i64,
    pub confirmed: i64,
}

/// Body of `POST /status/subscribe`, as JSON or as a form.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SubscribeInput {
    pub email: String,
}

/// Answer of `POST /status/subscribe`, whether or not the address was known before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Subscribed {
    /// `confirmation_sent`
    pub status: String,
}

/// Answer of `GET /status/api`: what the public sees.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PublicStatus {
    pub global_status: ComponentStatus,
    /// One sentence.
    pub global_message: String,
    pub updated_at: Timestamp,
    #[serde(default, deserialize_with = "null_as_default")]
    pub components: Vec<PublicComponent>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub active_incidents: Vec<PublicIncident>,
    /// Not begun yet, the next first.
    #[serde(default, deserialize_with = "null_as_default")]
    pub upcoming_maintenance: Vec<PublicMaintenance>,
}

/// A visible component.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PublicComponent {
    pub id: i64,
    pub name: String,
    pub status: ComponentStatus,
    /// Share of the known time of the last 90 days without an outage, in percent, rounded down;
    /// `null`: nothing is known. Maintenance counts neither way.
    #[serde(default)]
    pub uptime_percent: Option<f64>,
    /// Share of the last 90 days that is known, in percent.
    #[serde(default)]
    pub coverage_percent: f64,
}

/// An incident that is not resolved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PublicIncident {
    pub id: i64,
    pub title: String,
    pub severity: IncidentSeverity,
    pub status: IncidentStatus,
    /// Names of visible components.
    #[serde(default, deserialize_with = "null_as_default")]
    pub components: Vec<String>,
    pub created_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest_update: Option<PublicUpdate>,
}

/// The last that was said of an incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PublicUpdate {
    pub status: IncidentStatus,
    pub message: String,
    pub created_at: Timestamp,
}

/// A maintenance window that is to come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PublicMaintenance {
    pub id: i64,
    pub title: String,
    pub starts_at: Timestamp,
    pub ends_at: Timestamp,
    /// Names of visible components.
    #[serde(default, deserialize_with = "null_as_default")]
    pub components: Vec<String>,
}
