//! ntfy: published as JSON to the root of the server; the channel's address is that of the topic.
//! Limit: a message of 4,096 bytes.

use maintenant_api::alerts::Severity;
use serde_json::json;
use url::Url;

use super::{line, plain};
use crate::notify::snapshot::Snapshot;

/// The topic an address names.
pub fn topic(url: &Url) -> Result<&str, String> {
    let topic = url.path().trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let fits = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
    if (1..=64).contains(&topic.len()) && topic.bytes().all(fits) {
        return Ok(topic);
    }
    Err("end it with a topic of 1 to 64 letters, digits, - and _, as https://ntfy.sh/topic".into())
}

/// Where it is published, and what.
pub fn request(url: &Url, told: &Snapshot) -> Result<(Url, String), String> {
    let topic = topic(url)?;
    let (priority, tag) = match told.alert.severity {
        _ if told.is_resolved() => (3, "white_check_mark"),
        Severity::Critical => (5, "rotating_light"),
        Severity::Warning => (4, "warning"),
        Severity::Info => (3, "information_source"),
    };
    let facts: String =
        told.facts().map(|(name, value)| format!("\n{name}: {}", line(&value, 200))).concat();
    let body = json!({
        "topic": topic,
        "title": line(&told.title(), 250),
        "message": plain(&told.alert.message, 2500) + &facts,
        "priority": priority,
        "tags": [tag],
    });
    let mut root = url.clone();
    let path = url.path().trim_end_matches('/');
    root.set_path(path.strip_suffix(topic).unwrap_or("/"));
    Ok((root, body.to_string()))
}
