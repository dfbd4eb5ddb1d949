//! Containers: what runs now, what changed, what it wrote to its logs.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::monitors::ConfigProblem;
use crate::wire::{null_as_default, zero_time_as_none};

/// State of a container, in Docker's words and two of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Created,
    Running,
    Paused,
    Restarting,
    /// Ended, and not as a job that was meant to end.
    Exited,
    /// Ended with exit code 0 under a restart policy that lets it rest.
    Completed,
    Dead,
    /// Docker cannot be asked right now; `last_known_state` says what it was before.
    #[serde(other)]
    Unknown,
}

impl State {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Exited => "exited",
            Self::Completed => "completed",
            Self::Dead => "dead",
            Self::Unknown => "unknown",
        }
    }

    /// The state of that name, if there is one.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }

    pub const ALL: [Self; 8] = [
        Self::Created,
        Self::Running,
        Self::Paused,
        Self::Restarting,
        Self::Exited,
        Self::Completed,
        Self::Dead,
        Self::Unknown,
    ];
}

/// Verdict of the container's own health check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    Starting,
    Healthy,
    Unhealthy,
    #[serde(other)]
    Unknown,
}

impl Health {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
            Self::Unknown => "unknown",
        }
    }

    /// The health of that name, if there is one.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Starting, Self::Healthy, Self::Unhealthy, Self::Unknown]
            .into_iter()
            .find(|health| health.as_str() == word)
    }
}

/// Why a container ended. Exit code, signal and the kernel's OOM verdict are kept beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExitReason {
    /// Exit code 0.
    Completed,
    /// Somebody asked for it: `docker stop`, `docker kill`, `docker restart`.
    Requested,
    /// The kernel killed its main process for want of memory.
    OomKilled,
    /// Exit codes 125, 126, 127 or an error of the engine: it never really ran.
    CannotStart,
    /// Ended by a signal (exit code 128 + signal) that nobody was seen sending through Docker.
    Signal,
    /// Any other exit code.
    #[serde(other)]
    Error,
}

impl ExitReason {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Requested => "requested",
            Self::OomKilled => "oom_killed",
            Self::CannotStart => "cannot_start",
            Self::Signal => "signal",
            Self::Error => "error",
        }
    }

    /// The reason of that name, if there is one.
    pub fn parse(word: &str) -> Option<Self> {
        [
            Self::Completed,
            Self::Requested,
            Self::OomKilled,
            Self::CannotStart,
            Self::Signal,
            Self::Error,
        ]
        .into_iter()
        .find(|reason| reason.as_str() == word)
    }
}

/// A container as lists and events carry it. Empty strings and absent facts are left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Container {
    /// Row id, stable across a recreate of the same service or name.
    pub id: i64,
    /// Docker's 64-hex id of the incarnation last seen.
    pub external_id: String,
    pub name: String,
    pub image: String,
    pub state: State,
    /// What the state was when Docker was last heard. Present only while `state` is `unknown`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_known_state: Option<State>,
    #[serde(default)]
    pub health_status: Option<Health>,
    #[serde(default)]
    pub has_health_check: bool,
    /// Compose project.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub orchestration_group: String,
    /// Compose service.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub orchestration_unit: String,
    /// Label `maintenant.group`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub custom_group: String,
    /// Label `maintenant.ignore`.
    #[serde(default)]
    pub is_ignored: bool,
    /// Label `maintenant.alert.severity`: `critical`, `warning` or `info`.
    #[serde(default)]
    pub alert_severity: String,
    /// Label `maintenant.alert.restart_threshold`: restarts within ten minutes that make a loop.
    #[serde(default)]
    pub restart_threshold: i64,
    /// Label `maintenant.alert.channels`: comma list of channel names.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub alert_channels: String,
    #[serde(default)]
    pub archived: bool,
    pub first_seen_at: Timestamp,
    pub last_state_change_at: Timestamp,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "zero_time_as_none"
    )]
    pub archived_at: Option<Timestamp>,
    #[serde(default)]
    pub runtime_type: String,
    /// The engine's own words when it could not run the container.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error_detail: String,
    #[serde(default)]
    pub pod_count: i64,
    #[serde(default)]
    pub ready_count: i64,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub compose_working_dir: String,
    /// Exit code of the last end, while the container is not running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_reason: Option<ExitReason>,
    /// Signal that ended it, as a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_signal: Option<i64>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub oom_killed: bool,
    /// Restarts by the engine's restart policy since the container was created.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub restart_count: i64,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "zero_time_as_none"
    )]
    pub started_at: Option<Timestamp>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "zero_time_as_none"
    )]
    pub finished_at: Option<Timestamp>,
    /// Findings of the security scan; present in lists only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security_insight_count: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security_highest_severity: Option<Option<String>>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// Answer of `GET /containers`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ContainerList {
    /// In order of their first container's name.
    #[serde(default, deserialize_with = "null_as_default")]
    pub groups: Vec<ContainerGroup>,
    /// Containers in this answer.
    #[serde(default)]
    pub total: i64,
    /// How many of them are archived.
    #[serde(default)]
    pub archived_count: i64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ContainerGroup {
    /// Label `maintenant.group`, else the Compose project, else `Ungrouped`.
    pub name: String,
    /// Where the name comes from: `label`, `compose` or `default`.
    #[serde(default)]
    pub source: String,
    #[serde(default, deserialize_with = "null_as_default")]
    pub containers: Vec<Container>,
}

/// Query of `GET /containers`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ContainerListQuery {
    /// `true` includes archived containers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub archived: Option<String>,
    /// Only this group: exact label or Compose project.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Only this state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
}

/// Answer of `GET /containers/{id}`: every key present.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ContainerDetail {
    pub id: i64,
    pub external_id: String,
    pub name: String,
    pub image: String,
    pub state: State,
    #[serde(default)]
    pub last_known_state: Option<State>,
    #[serde(default)]
    pub health_status: Option<Health>,
    #[serde(default)]
    pub has_health_check: bool,
    #[serde(default)]
    pub orchestration_group: String,
    #[serde(default)]
    pub orchestration_unit: String,
    #[serde(default)]
    pub custom_group: String,
    #[serde(default)]
    pub is_ignored: bool,
    #[serde(default)]
    pub alert_severity: String,
    #[serde(default)]
    pub restart_threshold: i64,
    #[serde(default)]
    pub alert_channels: String,
    #[serde(default)]
    pub archived: bool,
    pub first_seen_at: Timestamp,
    pub last_state_change_at: Timestamp,
    #[serde(default, deserialize_with = "zero_time_as_none")]
    pub archived_at: Option<Timestamp>,
    #[serde(default)]
    pub runtime_type: String,
    #[serde(default)]
    pub error_detail: String,
    #[serde(default)]
    pub controller_kind: String,
    #[serde(default)]
    pub namespace: String,
    #[serde(default)]
    pub pod_count: i64,
    #[serde(default)]
    pub ready_count: i64,
    #[serde(default)]
    pub exit_code: Option<i64>,
    #[serde(default)]
    pub exit_reason: Option<ExitReason>,
    #[serde(default)]
    pub exit_signal: Option<i64>,
    #[serde(default)]
    pub oom_killed: bool,
    #[serde(default)]
    pub restart_count: i64,
    #[serde(default, deserialize_with = "zero_time_as_none")]
    pub started_at: Option<Timestamp>,
    #[serde(default, deserialize_with = "zero_time_as_none")]
    pub finished_at: Option<Timestamp>,
    /// Share of the known time it was running and not unhealthy, in percent with two decimals,
    /// rounded down, by window (`24h`, `7d`, `30d`). `null`: nothing is known of that window.
    #[serde(default, deserialize_with = "null_as_default")]
    pub uptime: BTreeMap<String, Option<f64>>,
    /// Share of each window that is known, in percent. The rest is neither up nor down.
    #[serde(default, deserialize_with = "null_as_default")]
    pub uptime_coverage: BTreeMap<String, f64>,
    /// Labels of this container that could not be read and have no effect.
    #[serde(default, deserialize_with = "null_as_default")]
    pub config_problems: Vec<ConfigProblem>,
}

/// One change of state or health. A change of health alone has equal states.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Transition {
    pub id: i64,
    pub container_id: i64,
    pub previous_state: State,
    pub new_state: State,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_health: Option<Health>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_health: Option<Health>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_reason: Option<ExitReason>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_signal: Option<i64>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub oom_killed: bool,
    /// The last lines the container wrote before it ended: at most 50 lines and 10 KiB.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub log_snippet: String,
    /// `event`: Docker told us. `resync`: found by comparing, so the moment is a bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_by: Option<ObservedBy>,
    pub timestamp: Timestamp,
}

/// How a change became known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ObservedBy {
    Event,
    #[serde(other)]
    Resync,
}

/// Answer of `GET /containers/{id}/transitions`, newest first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TransitionList {
    #[serde(default)]
    pub container_id: i64,
    #[serde(default, deserialize_with = "null_as_default")]
    pub transitions: Vec<Transition>,
    /// How many match `since` and `until`, on all pages.
    #[serde(default)]
    pub total: i64,
    #[serde(default)]
    pub has_more: bool,
}

/// Query of `GET /containers/{id}/transitions`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TransitionQuery {
    /// RFC 3339. Default: 24 hours ago.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// RFC 3339. Default: now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Default 50, at most 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<String>,
}

/// Answer of `GET /containers/{id}/logs`, oldest line first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ContainerLogs {
    pub container_id: i64,
    #[serde(default)]
    pub container_name: String,
    /// stdout and stderr in the order of their timestamps.
    #[serde(default, deserialize_with = "null_as_default")]
    pub lines: Vec<String>,
    /// Lines in this answer.
    #[serde(default)]
    pub total_lines: i64,
    /// `true` when there may be older lines.
    #[serde(default)]
    pub truncated: bool,
}

/// Query of `GET /containers/{id}/logs` and, for `lines`, of `…/logs/stream`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LogQuery {
    /// How many of the newest lines: 1 to 1000, default 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lines: Option<String>,
    /// `true` puts the RFC 3339 time of each line in front of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamps: Option<String>,
    /// Only lines at or after this time: RFC 3339, or an age such as `15m`, `2h`, `7d`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Only lines at or before this time: RFC 3339, or an age such as `15m`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// `stdout` or `stderr`. Default: both.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
}
