//! One alert as it is shown. All of its words are foreign.

use maintenant_api::Timestamp;
use maintenant_api::alerts::AlertStatus;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use super::affected::{self, Affected};
use super::read::Told;
use crate::listed::ListedAlert;
use crate::time::{length, show};
use crate::untrusted::{self, name, name_or_address, name_without_ids, text, without_ids};

const MESSAGE: usize = 300;
const AFFECTED: usize = 10;
const DETAILS: usize = 8;
/// Longest list among the details.
const SCALARS: usize = 8;
const LENGTH_OF_A_DETAIL: usize = 160;
const LINES: usize = 5;
const LENGTH_OF_A_LINE: usize = 200;
/// Details shown in fields of their own.
const LOG: [&str; 3] = ["last_log_lines", "log_lines", "log_snippet"];
const SHOWN_ELSEWHERE: [&str; 5] =
    ["since", "affected", "affected_count", "acknowledged_before", "resolution"];

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct AlertRow {
    id: i64,
    severity: &'static str,
    pub(super) status: &'static str,
    source: String,
    #[serde(rename = "type")]
    kind: String,
    message: String,
    /// Such as container:5.
    entity: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    entity_name: String,
    /// When the trouble began.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fired_at: Option<String>,
    /// From since to its end, or to now.
    #[serde(skip_serializing_if = "Option::is_none")]
    duration: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resolved_at: Option<String>,
    /// How it ended, in the server's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    resolution: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    acknowledged_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    acknowledged_at: Option<String>,
    /// By whom and when, before it became worse.
    #[serde(skip_serializing_if = "Option::is_none")]
    acknowledged_before: Option<String>,
    /// When its severity rose.
    #[serde(skip_serializing_if = "Option::is_none")]
    escalated_at: Option<String>,
    /// What fails for this reason; some may have an alert of their own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    affected: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    affected_left_out: Option<usize>,
    /// Whose alert says that it affects this.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    caused_by: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    silenced_until: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    silence_reason: Option<String>,
    /// Exit code and the like.
    #[serde(skip_serializing_if = "Map::is_empty")]
    details: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    details_left_out: Option<usize>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    log_lines: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    collector: Option<String>,
}

/// The part that is logs takes [`Scope::LogsRead`](crate::caller::Scope::LogsRead), so it is
/// shown where `logs` says so.
pub(super) fn row(told: &Told, now: Timestamp, collector: Option<String>, logs: bool) -> AlertRow {
    let Told { alert, recovery, silence, caused_by } = told;
    let since = alert.since();
    let seconds = since.map(|since| {
        alert.resolved_at.unwrap_or(now).as_second().saturating_sub(since.as_second())
    });
    let in_short = |said: &str| words(alert, said, MESSAGE);
    let said = |key: &str| alert.details.get(key).and_then(Value::as_str);
    let is_over = alert.status == AlertStatus::Resolved;
    let (affected, affected_left_out) = affected(&alert.details);
    let (details, details_left_out) = details(alert);
    AlertRow {
        id: alert.id,
        severity: alert.severity.as_str(),
        status: alert.status.as_str(),
        source: text(&alert.source, 32),
        kind: text(&alert.alert_type, 64),
        message: in_short(&alert.message),
        entity: entity(alert),
        entity_name: shown_name(alert),
        since: since.map(show),
        fired_at: alert.fired_at.filter(|fired| Some(*fired) != since).map(show),
        duration: seconds
            .filter(|_| (!is_over || alert.resolved_at.is_some()) && !told.may_be_over())
            .map(length),
        resolved_at: alert.resolved_at.map(show),
        resolution: recovery.as_deref().or(said("resolution")).map(in_short),
        acknowledged_by: acknowledged_by(alert),
        acknowledged_at: alert.acknowledged_at.map(show),
        acknowledged_before: alert.details.get("acknowledged_before").and_then(acknowledged_before),
        escalated_at: alert.escalated_at.map(show),
        affected,
        affected_left_out,
        caused_by: caused_by.clone(),
        silenced_until: silence.as_ref().map(|silence| show(silence.expires_at)),
        silence_reason: silence
            .as_ref()
            .and_then(|silence| silence.reason.as_deref())
            .filter(|reason| !reason.is_empty())
            .map(in_short),
        details,
        details_left_out,
        log_lines: if logs { log_lines(&alert.details) } else { Vec::new() },
        collector,
    }
}

/// Whether lines of a log came with it.
pub(super) fn has_log_lines(alert: &ListedAlert) -> bool {
    LOG.iter().any(|key| alert.details.contains_key(*key))
}

/// Such as `container:5`.
pub(super) fn entity(alert: &ListedAlert) -> String {
    format!("{}:{}", text(&alert.entity_type, 32), alert.entity_id)
}

/// What it is about, as it is called there; the name of a job may hold what pings it.
pub(super) fn shown_name(alert: &ListedAlert) -> String {
    if is_of_a_job(alert) {
        name_without_ids(&alert.entity_name)
    } else {
        name_or_address(&alert.entity_name)
    }
}

pub(super) fn acknowledged_by(alert: &ListedAlert) -> Option<String> {
    alert.acknowledged_by.as_deref().filter(|by| !by.is_empty()).map(name)
}

fn acknowledged_before(told: &Value) -> Option<String> {
    let by = name(told.get("by")?.as_str()?);
    let at: Option<Timestamp> = told.get("at").and_then(Value::as_str)?.parse().ok();
    Some(at.map_or_else(|| by.clone(), |at| format!("{by} at {}", show(at))))
}

fn is_of_a_job(alert: &ListedAlert) -> bool {
    alert.source == "heartbeat" || alert.entity_type == "heartbeat"
}

fn words(alert: &ListedAlert, raw: &str, most: usize) -> String {
    if is_of_a_job(alert) {
        // Before it is cut, so that no part of an id stays, and after.
        return without_ids(&untrusted::message(&without_ids(raw), most));
    }
    untrusted::message(raw, most)
}

fn affected(details: &Map<String, Value>) -> (Vec<String>, Option<usize>) {
    let in_words =
        |one: Affected<'_>| one.place.into_iter().chain(one.name).collect::<Vec<_>>().join(" ");
    let shown: Vec<String> =
        affected::affected(details).take(AFFECTED).flatten().map(in_words).collect();
    let all = affected::affected(details).count();
    let count = details.get("affected_count").and_then(Value::as_u64);
    let count = count.and_then(|count| usize::try_from(count).ok()).unwrap_or_default();
    let left_out = count.max(all).saturating_sub(shown.len());
    (shown, Some(left_out).filter(|left_out| *left_out > 0))
}

/// Numbers, words, texts and short lists of these; what is larger is counted.
fn details(alert: &ListedAlert) -> (Map<String, Value>, Option<usize>) {
    let shown_elsewhere = |key: &str| SHOWN_ELSEWHERE.contains(&key) || LOG.contains(&key);
    let rest = alert
        .details
        .iter()
        .filter(|(key, value)| !shown_elsewhere(key) && !value.is_null() && **value != "");
    let mut left_out = 0_usize;
    let mut shown = Map::new();
    for (key, value) in rest {
        let value = match value {
            Value::Array(all) if all.len() <= SCALARS => all
                .iter()
                .map(|one| scalar(alert, one))
                .collect::<Option<Vec<_>>>()
                .map(Value::Array),
            value => scalar(alert, value),
        };
        match value {
            Some(value) if shown.len() < DETAILS => drop(shown.insert(text(key, 32), value)),
            _ => left_out = left_out.saturating_add(1),
        }
    }
    (shown, Some(left_out).filter(|left_out| *left_out > 0))
}

fn scalar(alert: &ListedAlert, value: &Value) -> Option<Value> {
    match value {
        Value::String(said) => Some(Value::String(words(alert, said, LENGTH_OF_A_DETAIL))),
        Value::Number(_) | Value::Bool(_) => Some(value.clone()),
        _ => None,
    }
}

/// The last of them.
fn log_lines(details: &Map<String, Value>) -> Vec<String> {
    let lines: Vec<String> = match LOG.iter().find_map(|key| details.get(*key)) {
        Some(Value::String(text)) => text.lines().map(str::to_owned).collect(),
        Some(Value::Array(lines)) => {
            lines.iter().filter_map(|line| line.as_str().map(str::to_owned)).collect()
        }
        _ => return Vec::new(),
    };
    // All are made safe before any is cut: a secret may span several.
    let (lines, _) = untrusted::lines(&lines);
    let skip = lines.len().saturating_sub(LINES);
    lines.iter().skip(skip).map(|line| text(line, LENGTH_OF_A_LINE)).collect()
}
