//! What containers and their host use: processor, memory, network, disks.
//!
//! Bytes are bytes. `cpu_percent` of a container is Docker's: 100 is one core. `net_*_bytes` and
//! `block_*_bytes` count since the container's start; rates are per second. A number that is not
//! known is `null`, or -1 where the contract has no `null`.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::wire::null_as_default;

/// Answer of `GET /containers/{id}/resources/current`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ResourceSample {
    pub container_id: i64,
    pub cpu_percent: f64,
    /// Working set: usage without the inactive page cache.
    pub mem_used: i64,
    /// The container's own limit, or the host's memory if it has none.
    pub mem_limit: i64,
    pub mem_percent: f64,
    pub net_rx_bytes: i64,
    pub net_tx_bytes: i64,
    pub block_read_bytes: i64,
    pub block_write_bytes: i64,
    pub timestamp: Timestamp,
    /// What other servers of the contract do not send.
    #[serde(flatten)]
    pub more: SampleMore,
}

/// What is known of a container beyond the contract; absent where it cannot be read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SampleMore {
    /// Cores it may use; absent without a limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_limit_cores: Option<f64>,
    /// Share of the scheduler's periods in which its CPU limit held it back, percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_throttled_percent: Option<f64>,
    /// Memory that no cache can give back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mem_anon: Option<i64>,
    /// Whether `mem_limit` is its own, and not the host's memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mem_is_limited: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub net_rx_rate: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub net_tx_rate: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block_read_rate: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block_write_rate: Option<f64>,
    /// Processes and threads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids: Option<i64>,
    /// Pressure stall information, `some` of the last ten seconds, percent of time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_pressure: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mem_pressure: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub io_pressure: Option<f64>,
    /// Container whose network it shares; network numbers are counted there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shares_network_of: Option<i64>,
    /// `cgroup` or `api`: where the numbers were read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_from: Option<String>,
}

/// Answer of `GET /containers/{id}/resources/history`: oldest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ResourceHistory {
    pub container_id: i64,
    pub range: String,
    /// `raw`, `1m`, `5m` or `1h`.
    pub granularity: String,
    #[serde(default, deserialize_with = "null_as_default")]
    pub points: Vec<ResourcePoint>,
}

/// One sample, or what was used within one step: averages, and counters at its end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ResourcePoint {
    /// The sample's, or the step's beginning.
    pub timestamp: Timestamp,
    pub cpu_percent: f64,
    pub mem_used: i64,
    pub mem_limit: i64,
    pub net_rx_bytes: i64,
    pub net_tx_bytes: i64,
    pub block_read_bytes: i64,
    pub block_write_bytes: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Spread>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mem: Option<Spread>,
    /// How many samples a step has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub samples: Option<i64>,
    /// Bytes per second, on average.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub net_rx_rate: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub net_tx_rate: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block_read_rate: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block_write_rate: Option<f64>,
}

/// Answer of `GET /resources/host/history`: oldest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HostHistory {
    pub range: String,
    /// `raw`, `1m`, `5m` or `1h`.
    pub granularity: String,
    #[serde(default, deserialize_with = "null_as_default")]
    pub points: Vec<HostPoint>,
}

/// One sample of the host, or what it used on average within one step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HostPoint {
    /// The sample's, or the step's beginning.
    pub timestamp: Timestamp,
    /// Of the whole host, 0 to 100.
    pub cpu_percent: f64,
    pub mem_used: i64,
    pub mem_total: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swap_used: Option<i64>,
    /// Load average of 1 minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<f64>,
    /// Of the filesystem that holds `/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_percent: Option<f64>,
    /// Bytes per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub net_rx_rate: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub net_tx_rate: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_read_rate: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_write_rate: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Spread>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mem: Option<Spread>,
    /// How many samples a step has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub samples: Option<i64>,
}

/// How a number varied within a step; the mean is the point's own number.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Spread {
    pub min: f64,
    pub max: f64,
    /// 95th percentile, nearest rank.
    pub p95: f64,
}

/// Query of histories.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct HistoryQuery {
    /// `1h` (default), `6h`, `24h`, `7d`, `30d`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range: Option<String>,
}

/// Answer of `GET /resources/summary`: the host. Rates are true rates, bytes per second.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ResourceSummary {
    /// Of the whole host, 0 to 100.
    pub total_cpu_percent: f64,
    pub cpu_count: i64,
    pub total_mem_used: i64,
    pub total_mem_limit: i64,
    pub total_mem_percent: f64,
    pub total_net_rx_rate: i64,
    pub total_net_tx_rate: i64,
    /// Containers that were sampled.
    pub container_count: i64,
    /// Of the filesystem that holds `/`; -1 where it is not known. So are all other numbers until the
    /// first sample.
    pub disk_total: i64,
    pub disk_used: i64,
    pub disk_percent: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<Timestamp>,
    /// What other servers of the contract do not send; absent until the first sample.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<Host>,
}

/// The host beyond the contract.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Host {
    /// Load average of 1, 5 and 15 minutes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load: Option<[f64; 3]>,
    pub swap_used: i64,
    pub swap_total: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uptime_seconds: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_read_rate: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_write_rate: Option<i64>,
    /// Every real filesystem, fullest first.
    #[serde(deserialize_with = "null_as_default")]
    pub filesystems: Vec<Filesystem>,
    /// What it used before, newest first: `last_hour`, `last_24_hours`, `same_hour_yesterday`.
    /// A window of which nothing is known is absent.
    #[serde(deserialize_with = "null_as_default")]
    pub before: Vec<HostAverage>,
    /// Container CPU and memory in sum: Docker's percent, bytes of working sets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub containers_cpu_percent: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub containers_mem_used: Option<i64>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Filesystem {
    /// Where it is mounted on the host.
    pub mount: String,
    /// Such as `ext4`.
    pub kind: String,
    pub total: i64,
    pub used: i64,
    /// As `df` counts it: used over used and available to everybody.
    pub percent: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inodes_percent: Option<f64>,
}

/// What the host used on average within a window.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct HostAverage {
    /// `last_hour`, `last_24_hours` or `same_hour_yesterday`.
    pub window: String,
    pub cpu_percent: f64,
    pub mem_percent: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_max: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mem_max: Option<f64>,
    pub disk_percent: Option<f64>,
    /// Share of the window that was sampled, percent.
    pub coverage_percent: f64,
}

/// Answer of `GET /resources/top`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TopConsumers {
    /// `cpu` or `memory`.
    pub metric: String,
    /// Absent: the last sample.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub period: Option<String>,
    #[serde(deserialize_with = "null_as_default")]
    pub consumers: Vec<Consumer>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Consumer {
    pub container_id: i64,
    pub container_name: String,
    /// Mean within the period: percent of a core for `cpu`, bytes for `memory`.
    pub value: f64,
    /// `cpu`: as `value`. `memory`: share of its limit, or of the host's memory.
    pub percent: f64,
    pub rank: i64,
    /// The largest value within the period.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// Its mean in the period before this one, in the unit of `value`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<f64>,
    /// Share of the period in which it was sampled, percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coverage_percent: Option<f64>,
}

/// Query of `GET /resources/top`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TopQuery {
    /// `cpu` or `memory`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric: Option<String>,
    /// 1 to 20; default 5.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    /// `1h`, `24h`, `7d` or `30d`; absent or `current`: the last sample.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub period: Option<String>,
}

/// Answer of `GET` and `PUT /containers/{id}/resources/alerts`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ResourceAlerts {
    pub container_id: i64,
    pub cpu_threshold: f64,
    pub mem_threshold: f64,
    pub enabled: bool,
    /// `normal`, `cpu_alert`, `mem_alert` or `both_alert`.
    pub alert_state: String,
    pub last_alerted_at: Option<Timestamp>,
}

/// Body of `PUT /containers/{id}/resources/alerts`; an absent field keeps its value.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ResourceAlertsInput {
    /// 1 to 1000, percent of a core.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_threshold: Option<f64>,
    /// 1 to 100, percent of its limit, or of the host's memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mem_threshold: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
}

/// Answer of `GET` and `PUT /resources/host/alerts`: thresholds of the host, percent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HostAlerts {
    pub cpu_threshold: f64,
    pub mem_threshold: f64,
    pub disk_threshold: f64,
    pub inode_threshold: f64,
    pub enabled: bool,
    /// What is beyond its threshold now: `cpu`, `memory`, `disk:/var`, `inode:/var`.
    #[serde(default, deserialize_with = "null_as_default")]
    pub alerting: Vec<String>,
}

/// Body of `PUT /resources/host/alerts`; an absent field keeps its value.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct HostAlertsInput {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_threshold: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mem_threshold: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_threshold: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inode_threshold: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
}
