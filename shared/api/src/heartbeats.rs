//! Heartbeats: jobs that report by pinging a URL, and are missed when they do not.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::monitors::AlertState;
use crate::wire::{null_as_default, zero_time_as_none};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum HeartbeatStatus {
    /// Never pinged.
    New,
    Up,
    /// Missed its deadline and its grace, failed, or ran too long.
    Down,
    /// A run is under way.
    Started,
    Paused,
    #[serde(other)]
    Unknown,
}

impl HeartbeatStatus {
    pub const ALL: [Self; 6] =
        [Self::New, Self::Up, Self::Down, Self::Started, Self::Paused, Self::Unknown];

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Up => "up",
            Self::Down => "down",
            Self::Started => "started",
            Self::Paused => "paused",
            Self::Unknown => "unknown",
        }
    }

    /// The status of that name, if there is one.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }
}

/// Why a heartbeat is down, or what is wrong with one that is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HeartbeatProblem {
    /// No ping came before the deadline and its grace.
    Missed,
    /// A run was started and did not end in its time.
    RunsTooLong,
    /// The last run said so: `/fail`, or an exit code other than 0.
    Failed,
    /// Expected, and within its grace.
    Late,
    /// Created, and never pinged when the first ping was due.
    NeverPinged,
    #[serde(other)]
    Other,
}

impl HeartbeatProblem {
    pub const ALL: [Self; 6] =
        [Self::Missed, Self::RunsTooLong, Self::Failed, Self::Late, Self::NeverPinged, Self::Other];

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missed => "missed",
            Self::RunsTooLong => "runs_too_long",
            Self::Failed => "failed",
            Self::Late => "late",
            Self::NeverPinged => "never_pinged",
            Self::Other => "other",
        }
    }

    /// The problem of that name, if there is one.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|problem| problem.as_str() == word)
    }
}

/// A heartbeat. Its ping address is `/ping/<uuid>`; whoever knows it can ping.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Heartbeat {
    pub id: i64,
    pub uuid: String,
    pub name: String,
    pub status: HeartbeatStatus,
    pub alert_state: AlertState,
    /// Between two pings. With a `schedule`, the time between its next two moments.
    #[serde(default)]
    pub interval_seconds: i64,
    /// How long after the deadline it counts as down.
    #[serde(default)]
    pub grace_seconds: i64,
    /// A cron expression with five fields, instead of a fixed interval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// IANA name of the zone the schedule is written in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// How long a run may take from its start. Without it a run must end by the deadline it has
    /// anyway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_runtime_seconds: Option<i64>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "zero_time_as_none"
    )]
    pub last_ping_at: Option<Timestamp>,
    /// When it counts as down: deadline and grace.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "zero_time_as_none"
    )]
    pub next_deadline_at: Option<Timestamp>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "zero_time_as_none"
    )]
    pub current_run_started_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_exit_code: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_duration_ms: Option<i64>,
    #[serde(default)]
    pub consecutive_failures: i64,
    #[serde(default)]
    pub consecutive_successes: i64,
    /// Since when `status` is what it is: of one that is down, the true deadline.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "zero_time_as_none"
    )]
    pub status_since: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<HeartbeatProblem>,
    #[serde(default)]
    pub active: bool,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// Answer of `GET /heartbeats`, newest first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HeartbeatList {
    #[serde(default, deserialize_with = "null_as_default")]
    pub heartbeats: Vec<Heartbeat>,
    #[serde(default)]
    pub total: i64,
}

/// Query of `GET /heartbeats`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct HeartbeatListQuery {
    /// `new`, `up`, `late`, `down`, `started` or `paused`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
}

/// Answer of `GET /heartbeats/{id}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HeartbeatDetail {
    pub heartbeat: Heartbeat,
    /// Ready-made calls: `curl`, `wget`, `python`, `go`, `bash`, `docker_healthcheck`.
    #[serde(default, deserialize_with = "null_as_default")]
    pub snippets: BTreeMap<String, String>,
}

/// Body of `POST /heartbeats` and `PUT /heartbeats/{id}`. A new heartbeat needs `name` and either
/// `interval_seconds` or `schedule`; when changing one, what is absent or `null` stays as it is,
/// and giving one of the two takes the place of the other.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct HeartbeatInput {
    /// 1 to 255 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// 60 to 604800.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval_seconds: Option<i64>,
    /// 0 to the interval; with a schedule 0 to 604800. Default 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grace_seconds: Option<i64>,
    /// Cron with five fields: minute, hour, day of month, month, day of week.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// IANA name such as `Europe/Paris`. Default UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// 1 to 604800; 0 takes the limit away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_runtime_seconds: Option<i64>,
}

/// One run of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Execution {
    pub id: i64,
    pub heartbeat_id: i64,
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
    pub completed_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    /// `success`, `failure`, `timeout` or `in_progress`.
    pub outcome: String,
    /// Body of the ping that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
    /// The caller's own id of the run (`?rid=`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
}

/// Answer of `GET /heartbeats/{id}/executions`, newest first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ExecutionList {
    #[serde(default, deserialize_with = "null_as_default")]
    pub executions: Vec<Execution>,
    #[serde(default)]
    pub total: i64,
}

/// One ping.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Ping {
    pub id: i64,
    pub heartbeat_id: i64,
    /// `success`, `start`, `exit_code`, `fail` or `log`.
    pub ping_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub source_ip: String,
    #[serde(default, deserialize_with = "null_as_default")]
    pub http_method: String,
    /// The first 10 KiB of its body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
    /// When the ping was due, if one was.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "zero_time_as_none"
    )]
    pub expected_at: Option<Timestamp>,
    /// When the heartbeat would have counted as down.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "zero_time_as_none"
    )]
    pub grace_deadline: Option<Timestamp>,
    pub timestamp: Timestamp,
}

/// Answer of `GET /heartbeats/{id}/pings`, newest first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PingList {
    #[serde(default, deserialize_with = "null_as_default")]
    pub pings: Vec<Ping>,
    #[serde(default)]
    pub total: i64,
}

/// Answer to a ping, sent after it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Pong {
    pub ok: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
}

/// Query of a ping.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PingQuery {
    /// Id of the run, 1 to 64 letters, digits, `-`, `_`, `.` or `:`: pairs a start with its end when runs overlap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rid: Option<String>,
}
