//! One update as it is shown. All of its words are foreign.

use maintenant_api::updates::Update;
use schemars::JsonSchema;
use serde::Serialize;

use crate::time::show;
use crate::untrusted::{message, name, text};

const WHY: usize = 300;
/// Of a digest: `sha256:` and as much as Docker shows of an id.
const DIGEST: usize = 19;

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct UpdateRow {
    container: String,
    image: String,
    status: String,
    /// Tag and digest.
    runs: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    newer: String,
    #[serde(rename = "type", skip_serializing_if = "String::is_empty")]
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    risk: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    /// When it was found first.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    published_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pin_reason: Option<String>,
    /// The newest check failed; this is from checked_at.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stale: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    checked_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    collector: Option<String>,
}

pub(super) fn row(update: &Update, collector: Option<String>) -> UpdateRow {
    let said = |words: &Option<String>| {
        words.as_deref().filter(|words| !words.is_empty()).map(|words| message(words, WHY))
    };
    let newer = is_newer(update);
    let tag = if update.latest_tag.is_empty() { &update.current_tag } else { &update.latest_tag };
    UpdateRow {
        container: name(&update.container_name),
        image: name(&update.image),
        status: text(&update.status, 16),
        runs: version(&update.current_tag, &update.current_digest),
        newer: if newer { version(tag, &update.latest_digest) } else { String::new() },
        kind: text(&update.update_type, 16),
        risk: newer.then_some(update.risk_score),
        why: said(&update.why),
        since: update.detected_at.map(show),
        published_at: update.published_at.filter(|_| newer).map(show),
        pin_reason: said(&update.pin_reason),
        stale: update.stale,
        error: said(&update.error),
        checked_at: update.checked_at.filter(|_| update.stale).map(show),
        collector,
    }
}

/// There is something to change to, wanted or not.
pub(super) fn is_newer(update: &Update) -> bool {
    !update.update_type.is_empty() || !update.latest_tag.is_empty()
}

fn version(tag: &str, digest: &str) -> String {
    let digest: String = digest.chars().take(DIGEST).collect();
    match (tag.is_empty(), digest.is_empty()) {
        (_, true) => name(tag),
        (true, _) => text(&digest, DIGEST),
        (false, false) => format!("{} ({})", name(tag), text(&digest, DIGEST)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_a_tag_and_the_beginning_of_a_digest() {
        let check = |tag: &str, digest: &str, expected: &str| {
            assert_eq!(version(tag, digest), expected);
        };
        check("1.27", "", "1.27");
        check("1.27", &format!("sha256:{}", "ab".repeat(32)), "1.27 (sha256:abababababab)");
        check("", "sha256:0123456789abcdef", "sha256:0123456789ab");
        check("", "", "");
        check("1\u{202e}", "\u{1b}[31m", "1\\u{202e} ()");
    }
}
