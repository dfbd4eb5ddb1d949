//! Slack: blocks of plain text, which has no markup. Limits: header 150 characters, text of a section
//! 3,000, of a field 2,000.

use serde_json::{Value, json};

use super::fit;
use crate::notify::snapshot::Snapshot;

pub fn body(told: &Snapshot) -> String {
    let plain = |content: &str, limit| json!({ "type": "plain_text", "text": text(content, limit), "emoji": false });
    let facts = told.facts();
    let fields: Vec<Value> =
        facts.iter().map(|(name, value)| plain(&format!("{name}: {value}"), 1000)).collect();
    let blocks = json!([
        { "type": "header", "text": plain(&told.title(), 150) },
        { "type": "section", "text": plain(&told.alert.message, 3000) },
        { "type": "section", "fields": fields },
    ]);
    // What is shown where blocks are not; it would be read as markup.
    json!({ "text": text(&told.title(), 300), "mrkdwn": false, "blocks": blocks }).to_string()
}

/// `&`, `<` and `>` are all that Slack acts upon: `<!channel>`, `<@U1>`, links.
fn text(text: &str, limit: usize) -> String {
    let text = fit(text, limit, |c| match c {
        '&' => Some("&amp;"),
        '<' => Some("&lt;"),
        '>' => Some("&gt;"),
        _ => None,
    });
    // A block without text is refused.
    if text.is_empty() { "-".to_owned() } else { text }
}
