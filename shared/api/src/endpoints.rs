//! Endpoints: HTTP and TCP addresses probed on a period.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::monitors::AlertState;
use crate::wire::{null_as_default, zero_time_as_none};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EndpointType {
    Http,
    #[serde(other)]
    Tcp,
}

impl EndpointType {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Tcp => "tcp",
        }
    }

    /// The type of that name, if there is one.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Http, Self::Tcp].into_iter().find(|kind| kind.as_str() == word)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EndpointStatus {
    Up,
    Down,
    /// Not checked yet, or not for too long: our restart, or a machine that slept.
    #[serde(other)]
    Unknown,
}

impl EndpointStatus {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Unknown => "unknown",
        }
    }

    /// The status of that name, if there is one.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Up, Self::Down, Self::Unknown].into_iter().find(|status| status.as_str() == word)
    }
}

/// Where an endpoint is declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EndpointSource {
    /// A label of a container.
    Label,
    /// The file of `MAINTENANT_CONFIG`.
    File,
    /// The REST API.
    #[serde(other)]
    Standalone,
}

impl EndpointSource {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Label => "label",
            Self::File => "file",
            Self::Standalone => "standalone",
        }
    }

    /// The source of that name, if there is one.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Label, Self::File, Self::Standalone]
            .into_iter()
            .find(|source| source.as_str() == word)
    }
}

/// Why a check failed: the phase that did not complete, or what was wrong with a complete answer.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum FailureCause {
    /// The name was not resolved.
    Dns,
    Connect,
    /// The TLS handshake, or the certificate.
    Tls,
    /// The request was sent and no answer began.
    FirstByte,
    /// The answer began and did not end.
    Body,
    /// The HTTP status is none of the expected ones.
    Status,
    /// Headers or body do not meet a condition; over TCP, what was expected did not come.
    Condition,
    /// More redirects than allowed, or one that cannot be followed.
    Redirect,
    /// The address is one that is never probed, such as a cloud's metadata service.
    Refused,
    /// Its container does not run.
    ContainerStopped,
    #[serde(other)]
    Other,
}

impl FailureCause {
    pub const ALL: [Self; 11] = [
        Self::Dns,
        Self::Connect,
        Self::Tls,
        Self::FirstByte,
        Self::Body,
        Self::Status,
        Self::Condition,
        Self::Redirect,
        Self::Refused,
        Self::ContainerStopped,
        Self::Other,
    ];

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::FirstByte => "first_byte",
            Self::Body => "body",
            Self::Status => "status",
            Self::Condition => "condition",
            Self::Redirect => "redirect",
            Self::Refused => "refused",
            Self::ContainerStopped => "container_stopped",
            Self::Other => "other",
        }
    }

    /// The cause of that name, if there is one.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.as_str() == word)
    }
}

/// Milliseconds of each phase of a check, summed over redirects. A phase that was not reached, or
/// that a check of this kind does not have, is left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Phases {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_byte_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_ms: Option<i64>,
}

/// An endpoint as lists and answers carry it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Endpoint {
    pub id: i64,
    /// Empty for one that no container declares.
    #[serde(default, deserialize_with = "null_as_default")]
    pub container_name: String,
    /// The label that declares it; otherwise a key of its own.
    #[serde(default, deserialize_with = "null_as_default")]
    pub label_key: String,
    /// Docker's id of the container.
    #[serde(default, deserialize_with = "null_as_default")]
    pub external_id: String,
    pub endpoint_type: EndpointType,
    /// A URL, or `host:port`.
    pub target: String,
    pub status: EndpointStatus,
    pub alert_state: AlertState,
    #[serde(default)]
    pub consecutive_failures: i64,
    #[serde(default)]
    pub consecutive_successes: i64,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "zero_time_as_none"
    )]
    pub last_check_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_response_time_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_http_status: Option<i64>,
    /// Of the last check, if it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_cause: Option<FailureCause>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_phases: Option<Phases>,
    /// Since when `status` is what it is. A failure counts from its first failed check.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "zero_time_as_none"
    )]
    pub status_since: Option<Timestamp>,
    #[serde(default)]
    pub config: EndpointConfig,
    /// `false`: not declared any more, kept for its history.
    #[serde(default)]
    pub active: bool,
    pub first_seen_at: Timestamp,
    pub last_seen_at: Timestamp,
    /// Compose project of its container.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub orchestration_group: String,
    /// Compose service of its container.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub orchestration_unit: String,
    pub source: EndpointSource,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Share of the known time it was up, in percent with two decimals, rounded down, by window.
    /// `null`: nothing is known. In lists only the windows asked for with `uptime`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uptime: Option<BTreeMap<String, Option<f64>>>,
    /// Share of each window that is known, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uptime_coverage: Option<BTreeMap<String, f64>>,
}

/// How an endpoint is checked. Durations as `30s` or `1m30s`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct EndpointConfig {
    pub interval: String,
    pub timeout: String,
    /// Failures in a row that raise an alert.
    pub failure_threshold: i64,
    /// Successes in a row that end it.
    pub recovery_threshold: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Comma list of codes, ranges and classes: `200,301-303,4xx`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_status: Option<String>,
    pub tls_verify: bool,
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_redirects: Option<i64>,
    #[serde(flatten)]
    pub conditions: Conditions,
}

/// What an answer must be like besides its status. All that is given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Conditions {
    /// Text the body must contain, looked for in its first 64 KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_contains: Option<String>,
    /// Regular expression the body must match.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_matches: Option<String>,
    /// Text that headers must contain, by header name.
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub header_contains: BTreeMap<String, String>,
    /// Regular expressions that headers must match, by header name.
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub header_matches: BTreeMap<String, String>,
    /// TCP: text to send after connecting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub send: Option<String>,
    /// TCP: text that must come within the timeout, looked for in the first 4 KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expect: Option<String>,
}

/// Answer of `GET /endpoints`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EndpointList {
    /// By container name, then label.
    #[serde(default, deserialize_with = "null_as_default")]
    pub endpoints: Vec<Endpoint>,
    #[serde(default)]
    pub total: i64,
}

/// Query of `GET /endpoints`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct EndpointListQuery {
    /// `up`, `down` or `unknown`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Exact container name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// `http` or `tcp`.
    #[serde(skip_serializing_if = "Option::is_none", rename = "type")]
    pub kind: Option<String>,
    /// `label`, `file` or `standalone`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Accepted and ignored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub orchestration_group: Option<String>,
    /// `true` includes endpoints that are not declared any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub include_inactive: Option<String>,
    /// Windows of uptime to add to each: comma list of `1h`, `24h`, `7d`, `30d`, `90d`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uptime: Option<String>,
}

/// Answer to creating or changing an endpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EndpointAnswer {
    pub endpoint: Endpoint,
}

/// Answer of `GET /endpoints/{id}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EndpointDetail {
    pub endpoint: Endpoint,
    /// As [`Endpoint::uptime`], by window (`1h`, `24h`, `7d`, `30d`, `90d`).
    #[serde(default, deserialize_with = "null_as_default")]
    pub uptime: BTreeMap<String, Option<f64>>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub uptime_coverage: BTreeMap<String, f64>,
}

/// Body of `POST /endpoints` and `PUT /endpoints/{id}`. A new endpoint needs `name`, `target` and
/// `endpoint_type`; when changing one, what is absent or empty stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct EndpointInput {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A URL with http or https, or `host:port`; IPv6 addresses in brackets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// `http` or `tcp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint_type: Option<String>,
    /// At least 5s. Default 30s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<String>,
    /// At least 1s and at most the interval. Default 10s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
    /// Default 3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_threshold: Option<i64>,
    /// Default 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovery_threshold: Option<i64>,
    /// GET, HEAD, POST, PUT, DELETE, PATCH or OPTIONS. Default GET.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Default 2xx.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_status: Option<String>,
    /// Default true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_verify: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<BTreeMap<String, String>>,
    /// 0 to 20. Default 5.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_redirects: Option<i64>,
    #[serde(flatten)]
    pub conditions: Conditions,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Check {
    /// Unique within its endpoint.
    pub id: i64,
    pub endpoint_id: i64,
    pub success: bool,
    /// From the first look-up to the last byte read; time spent waiting for a turn is not in it.
    #[serde(default)]
    pub response_time_ms: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_status: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<FailureCause>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phases: Option<Phases>,
    pub timestamp: Timestamp,
}

/// Answer of `GET /endpoints/{id}/checks`, newest first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CheckList {
    #[serde(default)]
    pub endpoint_id: i64,
    #[serde(default, deserialize_with = "null_as_default")]
    pub checks: Vec<Check>,
    #[serde(default)]
    pub total: i64,
    #[serde(default)]
    pub has_more: bool,
}

/// Query of `GET /endpoints/{id}/checks`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CheckQuery {
    /// Default 50, at most 500.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<String>,
    /// Unix seconds, RFC 3339, or an age such as `15m`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// The same forms. Default: now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

/// Query of `GET /endpoints/{id}/statistics`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct StatisticsQuery {
    /// Unix seconds, RFC 3339, or an age such as `15m`. Default: 24 hours ago.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// The same forms. Default: now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

/// Answer of `GET /endpoints/{id}/statistics`: a span of time in few numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EndpointStatistics {
    pub endpoint_id: i64,
    pub since: Timestamp,
    pub until: Timestamp,
    pub checks: i64,
    pub failures: i64,
    /// Of successful checks, in milliseconds; nearest rank. `null` without any.
    #[serde(default)]
    pub p50_ms: Option<i64>,
    #[serde(default)]
    pub p95_ms: Option<i64>,
    #[serde(default)]
    pub max_ms: Option<i64>,
    /// Most frequent first.
    #[serde(default, deserialize_with = "null_as_default")]
    pub causes: Vec<CauseCount>,
    /// Runs of failed checks, newest first, at most 50.
    #[serde(default, deserialize_with = "null_as_default")]
    pub outages: Vec<Outage>,
    /// Outages beyond those listed.
    #[serde(default)]
    pub outages_left_out: i64,
    /// Share of the known time it was up. `null`: nothing is known.
    #[serde(default)]
    pub uptime_percent: Option<f64>,
    #[serde(default)]
    pub coverage_percent: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CauseCount {
    pub cause: FailureCause,
    pub count: i64,
    pub first_at: Timestamp,
    pub last_at: Timestamp,
    /// The newest message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Failed checks without a successful one between them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Outage {
    /// The first failed check.
    pub from: Timestamp,
    /// The first successful check after it; absent while it lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Timestamp>,
    pub failures: i64,
    /// Of its first failure.
    pub cause: FailureCause,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Answer of `GET /containers/{id}/endpoints`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ContainerEndpoints {
    pub container_id: i64,
    #[serde(default, deserialize_with = "null_as_default")]
    pub endpoints: Vec<ContainerEndpoint>,
    #[serde(default)]
    pub total: i64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ContainerEndpoint {
    pub id: i64,
    pub endpoint_type: EndpointType,
    pub target: String,
    pub status: EndpointStatus,
    #[serde(default)]
    pub last_response_time_ms: Option<i64>,
    #[serde(default, deserialize_with = "zero_time_as_none")]
    pub last_check_at: Option<Timestamp>,
}

/// Answer of `GET /dashboard/sparklines`: the last 20 response times in milliseconds, oldest first,
/// by `endpoint:<id>`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Sparklines(pub BTreeMap<String, Vec<f64>>);

/// Answer of `GET /probes`: how the scheduler of checks fares since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ProbeCounts {
    /// Endpoints that are checked on a period.
    pub scheduled: i64,
    /// Checks under way.
    pub in_flight: i64,
    /// Checks that are due and wait, because enough are under way in all or to their host.
    pub queued: i64,
    /// Times of checks that passed while the one before was still waiting or under way.
    pub late_ticks: i64,
    pub checks_total: i64,
    /// Time that checks waited; it is in no response time.
    pub queued_ms_total: i64,
    pub queued_ms_max: i64,
    pub connections: ConnectionCounts,
}

/// New connections of all probes together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ConnectionCounts {
    pub limit_per_second: i64,
    pub granted: i64,
    /// Those that waited for their turn.
    pub delayed: i64,
}
