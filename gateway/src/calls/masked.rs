//! Arguments as they may stand in the audit log: without what looks like a secret, and short.

use serde_json::{Map, Value, json};

use crate::untrusted;

/// Longest text of one argument, in characters.
const TEXT: usize = 200;
/// Entries shown of one object or array.
const ENTRIES: usize = 32;
const DEPTH: usize = 3;
const REDACTED: &str = "[redacted]";

/// Values shown of all arguments together.
const VALUES: usize = 64;
/// Bytes of text shown of all arguments together.
const BYTES: usize = 4 * 1024;

/// The arguments of a call, masked.
pub(super) fn arguments(arguments: &Map<String, Value>) -> Value {
    Room { values: VALUES, bytes: BYTES }.object(arguments, DEPTH)
}

/// A name or address that a caller gave.
pub(super) fn name(text: &str) -> String {
    untrusted::message(text, untrusted::NAME)
}

/// What is left for values that were not looked at yet.
struct Room {
    values: usize,
    bytes: usize,
}

impl Room {
    fn is_full(&self) -> bool {
        self.values == 0 || self.bytes == 0
    }

    fn takes(&mut self, text: String) -> String {
        self.bytes = self.bytes.saturating_sub(text.len());
        text
    }

    fn object(&mut self, fields: &Map<String, Value>, depth: usize) -> Value {
        let mut shown = Map::new();
        let mut more = fields.len();
        for (key, value) in fields.iter().take(ENTRIES) {
            if self.is_full() {
                break;
            }
            more = more.saturating_sub(1);
            let masked =
                if names_secret(key) { json!(REDACTED) } else { self.masked(value, depth) };
            shown.insert(self.takes(name(key)), masked);
        }
        if more > 0 {
            shown.insert("…".to_owned(), json!(format!("{more} more")));
        }
        Value::Object(shown)
    }

    fn masked(&mut self, value: &Value, depth: usize) -> Value {
        self.values = self.values.saturating_sub(1);
        let Some(below) = depth.checked_sub(1) else { return json!("…") };
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
            Value::String(text) => json!(self.takes(untrusted::message(text, TEXT))),
            Value::Array(items) => {
                let mut shown = Vec::new();
                for item in items.iter().take(ENTRIES) {
                    if self.is_full() {
                        break;
                    }
                    shown.push(self.masked(item, below));
                }
                let more = items.len().saturating_sub(shown.len());
                if more > 0 {
                    shown.push(json!(format!("… {more} more")));
                }
                Value::Array(shown)
            }
            Value::Object(fields) => self.object(fields, below),
        }
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
        assert!(bytes < 8 * 1024, "{bytes}");
        let level = |below: Value| {
            Value::Object((0..32).map(|n| (format!("k{n}"), below.clone())).collect())
        };
        let wide = level(level(json!("v".repeat(300))));
        assert!(wide.to_string().len() > 300_000);
        let bytes = arguments(wide.as_object().unwrap()).to_string().len();
        assert!(bytes < 8 * 1024, "{bytes}");
        let many = level(level(level(json!(1))));
        let shown = arguments(many.as_object().unwrap()).to_string();
        assert!(shown.len() < 2 * 1024, "{shown}");
        let deep = json!({"a": {"b": {"c": {"d": {"e": 1}}}}});
        check(&deep, &json!({"a": {"b": {"c": {"d": "…"}}}}));
        let Value::Object(wide) = json!({"a": vec![1; 10_000]}) else { panic!() };
        assert!(arguments(&wide).to_string().len() < 200);
    }
}
