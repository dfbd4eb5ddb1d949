//! Arguments as they may stand in the audit log: without what looks like a secret, and short.

use serde_json::{Map, Value, json};

use crate::untrusted;

/// Longest text of one argument, in characters.
const TEXT: usize = 200;
/// Entries shown of one object or array.
const ENTRIES: usize = 32;
const DEPTH: usize = 3;
const REDACTED: &str = "[redacted]";

/// The arguments of a call, masked.
pub(super) fn arguments(arguments: &Map<String, Value>) -> Value {
    object(arguments, DEPTH)
}

/// A name or address that a caller gave.
pub(super) fn name(text: &str) -> String {
    untrusted::message(text, untrusted::NAME)
}

fn object(fields: &Map<String, Value>, depth: usize) -> Value {
    let shown = fields.iter().take(ENTRIES).map(|(key, value)| {
        let masked = if names_secret(key) { json!(REDACTED) } else { masked(value, depth) };
        (name(key), masked)
    });
    let mut shown: Map<String, Value> = shown.collect();
    let more = fields.len().saturating_sub(ENTRIES);
    if more > 0 {
        shown.insert("…".to_owned(), json!(format!("{more} more")));
    }
    Value::Object(shown)
}

fn masked(value: &Value, depth: usize) -> Value {
    let Some(below) = depth.checked_sub(1) else { return json!("…") };
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        Value::String(text) => json!(untrusted::message(text, TEXT)),
        Value::Array(items) => {
            let mut shown: Vec<Value> =
                items.iter().take(ENTRIES).map(|item| masked(item, below)).collect();
            let more = items.len().saturating_sub(ENTRIES);
            if more > 0 {
                shown.push(json!(format!("… {more} more")));
            }
            Value::Array(shown)
        }
        Value::Object(fields) => object(fields, below),
    }
}

/// Whether a value under this key would be taken for a secret in a log line.
fn names_secret(key: &str) -> bool {
    untrusted::message(&format!("{key}=8f3kZq01x"), TEXT).ends_with(REDACTED)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(given: &Value, expected: &Value) {
        assert_eq!(arguments(given.as_object().unwrap()), *expected);
    }

    #[test]
    fn what_looks_like_a_secret_is_masked_and_the_rest_stays() {
        check(
            &json!({"container_id": "web", "limit": 5, "since": "2h", "all": true, "cursor": null}),
            &json!({"container_id": "web", "limit": 5, "since": "2h", "all": true, "cursor": null}),
        );
        check(&json!({"password": "hunter2"}), &json!({"password": "[redacted]"}));
        check(&json!({"api_key": {"a": "hunter2"}}), &json!({"api_key": "[redacted]"}));
        check(&json!({"DB_PASSWORD": 7}), &json!({"DB_PASSWORD": "[redacted]"}));
        check(
            &json!({"grep": "password=hunter2", "x": [{"token": "hunter2"}]}),
            &json!({"grep": "password=[redacted]", "x": [{"token": "[redacted]"}]}),
        );
        check(&json!({"url": "https://u:hunter2@x/"}), &json!({"url": "https://[redacted]@x/"}));
    }

    #[test]
    fn long_arguments_are_cut() {
        let fields =
            (0..1000).map(|n| (format!("{n}{}", "k".repeat(9000)), json!("v".repeat(9000))));
        let bytes = arguments(&fields.collect()).to_string().len();
        assert!(bytes < 16 * 1024, "{bytes}");
        let deep = json!({"a": {"b": {"c": {"d": {"e": 1}}}}});
        check(&deep, &json!({"a": {"b": {"c": {"d": "…"}}}}));
        let Value::Object(wide) = json!({"a": vec![1; 10_000]}) else { panic!() };
        assert!(arguments(&wide).to_string().len() < 200);
    }
}
