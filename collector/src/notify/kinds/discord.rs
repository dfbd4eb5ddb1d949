//! Discord: one embed. Limits: title 256 characters, description 4,096, name of a field 256, value
//! 1,024, together 6,000.

use serde_json::{Value, json};

use super::fit;
use crate::notify::snapshot::Snapshot;

pub fn body(told: &Snapshot) -> String {
    let facts = told.facts();
    let field = |(name, value): &(&str, String)| {
        let value = text(value, 512);
        json!({ "name": name, "value": value, "inline": true })
    };
    let fields: Vec<Value> = facts.iter().map(field).collect();
    let embed = json!({
        "title": text(&told.title(), 256),
        "description": text(&told.alert.message, 3000),
        "color": told.colour(),
        "fields": fields,
        "timestamp": told.timestamp,
    });
    json!({ "embeds": [embed], "allowed_mentions": { "parse": [] } }).to_string()
}

/// Neither markup nor mentions.
fn text(text: &str, limit: usize) -> String {
    fit(text, limit, |c| {
        Some(match c {
            '\\' => "\\\\",
            '*' => "\\*",
            '_' => "\\_",
            '~' => "\\~",
            '`' => "\\`",
            '|' => "\\|",
            '<' => "\\<",
            '>' => "\\>",
            '#' => "\\#",
            '[' => "\\[",
            ']' => "\\]",
            '(' => "\\(",
            ')' => "\\)",
            // A space of no width keeps it from being a mention.
            '@' => "@\u{200b}",
            _ => return None,
        })
    })
}
