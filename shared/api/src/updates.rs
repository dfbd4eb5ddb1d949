//! Newer images for what runs: verdicts, scans, pins and exclusions.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::wire::{null_as_default, zero_time_as_none};

/// What was found for the image of one container.
///
/// The contract lists rows of status `available` and `pinned`. Ours also tells why, for every
/// container that was looked at, where it is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Update {
    pub id: i64,
    /// Docker's id of the container, not its row.
    #[serde(default)]
    pub container_id: String,
    #[serde(default)]
    pub container_name: String,
    /// The reference it was created from, such as `nginx:1.27`.
    #[serde(default)]
    pub image: String,
    #[serde(default)]
    pub current_tag: String,
    /// What runs, as its registry names it. Other servers leave it empty for newer tags.
    #[serde(default)]
    pub current_digest: String,
    /// The tag to change to: the present one where only its image is new. Empty: none.
    #[serde(default)]
    pub latest_tag: String,
    #[serde(default)]
    pub latest_digest: String,
    /// `major`, `minor`, `patch`, `digest_only`, `unknown`, or empty without an update.
    #[serde(default)]
    pub update_type: String,
    /// 0 to 100: 85 major, 50 minor, 15 patch, 5 digest only.
    #[serde(default)]
    pub risk_score: i64,
    /// `available`, `pinned`, `up_to_date`, `untracked` (nothing to compare with, or not wanted), or
    /// `unknown` (no check has succeeded yet).
    #[serde(default)]
    pub status: String,
    /// When this update was first seen; of other states, since when they hold.
    #[serde(default, deserialize_with = "zero_time_as_none")]
    pub detected_at: Option<Timestamp>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "zero_time_as_none"
    )]
    pub published_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin_reason: Option<String>,
    /// Where it was looked for, such as `docker.io`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry: Option<String>,
    /// The scan that found it so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scan_id: Option<i64>,
    /// One sentence: what was compared, and what follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The newest check failed: this is what an earlier one found.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stale: bool,
    /// Why the newest check failed, or what limits its verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When the last check succeeded.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "zero_time_as_none"
    )]
    pub checked_at: Option<Timestamp>,
    /// The container's row, as `id` in `GET /containers`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_row_id: Option<i64>,
}

/// Query of `GET /updates`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct UpdateListQuery {
    /// `available`, `pinned`, `up_to_date`, `untracked`, `unknown` or `all`. Default: the first two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// `major`, `minor`, `patch`, `digest_only` or `unknown`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update_type: Option<String>,
}

/// A container whose image could not be checked, or not fully.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UpdateProblem {
    /// Docker's id.
    pub container_id: String,
    #[serde(default)]
    pub container_name: String,
    #[serde(default)]
    pub image: String,
    pub error: String,
    /// The container's verdict is from before.
    #[serde(default)]
    pub stale: bool,
}

/// Answer of `GET /updates`: highest risk first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UpdateList {
    #[serde(default, deserialize_with = "null_as_default")]
    pub updates: Vec<Update>,
    /// When the last whole scan ended.
    #[serde(default, deserialize_with = "zero_time_as_none")]
    pub last_scan: Option<Timestamp>,
    /// `null` where scans are made on demand only.
    #[serde(default, deserialize_with = "zero_time_as_none")]
    pub next_scan: Option<Timestamp>,
    /// Containers whose newest check failed, whatever is listed.
    #[serde(default, deserialize_with = "null_as_default")]
    pub problems: Vec<UpdateProblem>,
}

/// Answer of `GET /updates/summary`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UpdateSummary {
    #[serde(default, deserialize_with = "zero_time_as_none")]
    pub last_scan: Option<Timestamp>,
    #[serde(default, deserialize_with = "zero_time_as_none")]
    pub next_scan: Option<Timestamp>,
    /// `idle` (none yet), `running`, `completed` or `failed`.
    #[serde(default)]
    pub scan_status: String,
    #[serde(default, deserialize_with = "null_as_default")]
    pub counts: UpdateCounts,
}

/// Containers by what was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct UpdateCounts {
    /// Updates with a risk of 81 or more.
    pub critical: i64,
    /// Of 31 to 80.
    pub recommended: i64,
    /// Of less.
    pub available: i64,
    pub up_to_date: i64,
    pub untracked: i64,
    pub pinned: i64,
    /// Those that no check has succeeded for.
    pub unknown: i64,
}

/// Answer of `GET /updates/container/{external_id}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UpdateDetail {
    #[serde(flatten)]
    pub update: Update,
    #[serde(default)]
    pub pinned: bool,
    /// Shell commands that make the update. Nothing here runs them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_command: Option<String>,
    /// Shell commands that go back to what runs now, by its digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback_command: Option<String>,
    /// The label `maintenant.update.tag-include`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag_include: Option<String>,
    /// The label `maintenant.update.tag-exclude`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag_exclude: Option<String>,
}

/// Answer of `POST /updates/scan`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ScanStarted {
    /// For `GET /updates/scan/{scan_id}`. Other servers do not tell it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scan_id: Option<i64>,
    /// `running`.
    #[serde(default)]
    pub status: String,
    #[serde(default, deserialize_with = "zero_time_as_none")]
    pub started_at: Option<Timestamp>,
}

/// Answer of `GET /updates/scan/{scan_id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Scan {
    pub scan_id: i64,
    /// `running`, `completed` or `failed`.
    #[serde(default)]
    pub status: String,
    #[serde(default, deserialize_with = "zero_time_as_none")]
    pub started_at: Option<Timestamp>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "zero_time_as_none"
    )]
    pub completed_at: Option<Timestamp>,
    #[serde(default)]
    pub containers_scanned: i64,
    #[serde(default)]
    pub updates_found: i64,
    /// Containers that could not be checked.
    #[serde(default)]
    pub errors: i64,
}

/// Answer of `GET /updates/dry-run`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UpdateDryRun {
    #[serde(default, deserialize_with = "null_as_default")]
    pub would_update: Vec<WouldUpdate>,
}

/// An update that is available and not pinned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WouldUpdate {
    pub container_id: String,
    pub container_name: String,
    pub image: String,
    pub current_tag: String,
    pub latest_tag: String,
    pub update_type: String,
}

/// Body of `POST /updates/pin/{external_id}`, which may be missing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PinInput {
    /// At most 500 characters.
    #[serde(deserialize_with = "null_as_default")]
    pub reason: String,
}

/// Answer of `POST /updates/pin/{external_id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Pin {
    pub container_id: String,
    pub pinned_tag: String,
    pub pinned_digest: String,
    pub reason: String,
    #[serde(default, deserialize_with = "zero_time_as_none")]
    pub pinned_at: Option<Timestamp>,
}

/// Images or tags that are not looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Exclusion {
    pub id: i64,
    /// A shell pattern: `*`, `?` and `[...]`.
    pub pattern: String,
    /// `image` or `tag`.
    pub pattern_type: String,
    #[serde(default, deserialize_with = "zero_time_as_none")]
    pub created_at: Option<Timestamp>,
}

/// Answer of `GET /updates/exclusions`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExclusionList {
    #[serde(default, deserialize_with = "null_as_default")]
    pub exclusions: Vec<Exclusion>,
}

/// Body of `POST /updates/exclusions`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ExclusionInput {
    /// 1 to 256 characters; a shell pattern.
    #[serde(deserialize_with = "null_as_default")]
    pub pattern: String,
    /// `image` (without its tag) or `tag`.
    #[serde(deserialize_with = "null_as_default")]
    pub pattern_type: String,
}
