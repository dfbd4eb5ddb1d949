//! The collector itself: alive, connected to a runtime, which edition, how its jobs fare.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::wire::{null_as_default, zero_time_as_none};

/// Answer of `GET /health`. It says that the process answers, not that Docker does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HealthStatus {
    pub status: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
}

/// Answer of `GET /runtime/status`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RuntimeStatus {
    /// `docker`, or `none` when watching containers is switched off.
    #[serde(default)]
    pub runtime: String,
    #[serde(default)]
    pub context: String,
    /// `false`: what is known of containers is old, and their state is `unknown`.
    #[serde(default)]
    pub connected: bool,
    #[serde(default)]
    pub label: String,
    #[serde(default, deserialize_with = "zero_time_as_none")]
    pub detected_at: Option<Timestamp>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub metadata: BTreeMap<String, serde_json::Value>,
    /// Since when `connected` has its present value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Why it is not connected and what would help.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Last complete comparison with the engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_resync_at: Option<Timestamp>,
    /// What does not work because the engine, or a proxy in front of it, refused a call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub degraded: Vec<Degraded>,
}

/// A feature that works less well, and the refused call that explains it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Degraded {
    pub feature: String,
    /// The Docker API call, such as `GET /containers/{id}/logs`.
    pub call: String,
    pub error: String,
}

/// Answer of `GET /edition`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Edition {
    /// `community` or `enterprise`.
    pub edition: String,
    #[serde(default)]
    pub organisation_name: String,
    #[serde(default, deserialize_with = "null_as_default")]
    pub features: BTreeMap<String, bool>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub quotas: BTreeMap<String, Quota>,
}

/// `limit` −1 means none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Quota {
    pub used: i64,
    pub limit: i64,
}

/// Answer of `GET /jobs`: how old each dimension's data is, as facts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JobList {
    #[serde(default, deserialize_with = "null_as_default")]
    pub jobs: Vec<Job>,
}

/// One piece of background work.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Job {
    pub name: String,
    pub runs: u64,
    pub failures: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_ok_at: Option<Timestamp>,
    /// The last failure's cause, until a run succeeds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}
