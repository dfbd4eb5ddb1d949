//! Microsoft Teams: an adaptive card for a workflow ("When a Teams webhook request is received"),
//! which takes no message cards. Limit: 28 KB. Text runs are shown without markup.

use maintenant_api::alerts::Severity;
use serde_json::{Value, json};

use super::fit;
use crate::notify::snapshot::Snapshot;

pub fn body(told: &Snapshot) -> String {
    let colour = match told.alert.severity {
        _ if told.is_resolved() => "Good",
        Severity::Critical => "Attention",
        Severity::Warning => "Warning",
        Severity::Info => "Accent",
    };
    let block = |runs: Value| json!({ "type": "RichTextBlock", "inlines": runs });
    let run = |content: &str, limit| json!({ "type": "TextRun", "text": text(content, limit) });
    let mut title = run(&told.title(), 500);
    if let Some(title) = title.as_object_mut() {
        title.insert("weight".into(), "Bolder".into());
        title.insert("size".into(), "Medium".into());
        title.insert("color".into(), colour.into());
    }
    let mut card = vec![block(json!([title])), block(json!([run(&told.alert.message, 4000)]))];
    for (name, value) in told.facts() {
        card.push(block(json!([run(&format!("{name}: {value}"), 1000)])));
    }
    let content = json!({
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": card,
    });
    let attachment = json!({
        "contentType": "application/vnd.microsoft.card.adaptive",
        "contentUrl": null,
        "content": content,
    });
    json!({ "type": "message", "attachments": [attachment] }).to_string()
}

/// `{{DATE(...)}}` and `<at>` are all that is acted upon in a run.
fn text(text: &str, limit: usize) -> String {
    fit(text, limit, |c| match c {
        '{' => Some("{\u{200b}"),
        '<' => Some("<\u{200b}"),
        _ => None,
    })
}
