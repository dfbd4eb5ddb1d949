//! What is and what is not a JSON-RPC 2.0 message, before rmcp reads it.
//!
//! rmcp answers a text that is none with a bare HTTP status, or on stdio not at all. Here its
//! sender learns what was wrong.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use crate::untrusted::quoted;

/// Why a text is no message, as a JSON-RPC error.
#[derive(Debug, PartialEq)]
pub struct Malformed {
    pub id: Value,
    pub code: i64,
    pub message: String,
}

/// The id of the message (`null` for a notification), or why it is none.
pub fn read(bytes: &[u8]) -> Result<Value, Malformed> {
    let fault = |id: &Value, code, message: &str| Malformed {
        id: id.clone(),
        code,
        message: message.to_owned(),
    };
    let is_batch = bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    let message = match serde_json::from_slice::<Message>(bytes) {
        Ok(message) if !is_batch => message,
        _ => {
            return Err(match serde_json::from_slice::<IgnoredAny>(bytes) {
                Err(error) => {
                    fault(&Value::Null, -32700, &format!("the message is not JSON: {error}"))
                }
                Ok(_) if is_batch => {
                    let cause = "batches are not supported; send one message at a time";
                    fault(&Value::Null, -32600, cause)
                }
                Ok(_) => {
                    let cause = "a JSON-RPC message is one JSON object with each key once";
                    fault(&Value::Null, -32600, cause)
                }
            });
        }
    };
    let id = match message.id {
        None => Value::Null,
        Some(id) if id.is_string() || id.is_i64() || id.is_u64() => id,
        // MCP's RequestId is no fraction, and one would not come back digit for digit.
        Some(_) => {
            return Err(fault(&Value::Null, -32600, "`id` must be a string or a whole number"));
        }
    };
    if message.jsonrpc != "2.0" {
        return Err(fault(&id, -32600, "`jsonrpc` must be \"2.0\""));
    }
    match message.method {
        Some(Value::String(_)) => Ok(id),
        Some(_) => Err(fault(&id, -32600, "`method` must be a string")),
        None if message.result.is_some() || message.error.is_some() => Ok(id),
        None => Err(fault(&id, -32600, "`method` is missing")),
    }
}

/// The fault of a JSON-RPC message that rmcp cannot read as one of MCP.
pub fn no_mcp_message(bytes: &[u8], id: &Value) -> Malformed {
    let message = serde_json::from_slice::<Value>(bytes).unwrap_or_default();
    let method = message.get("method").and_then(Value::as_str).unwrap_or_default();
    let (code, message) = match message.get("params") {
        Some(params) if !params.is_object() => {
            (-32602, format!("the params of {} must be an object", quoted(method)))
        }
        _ => (-32600, "the message does not have the form MCP gives its method".to_owned()),
    };
    Malformed { id: id.clone(), code, message }
}

/// An error as a message. `id` is `null` when the id of what it answers could not be read.
pub fn error(id: &Value, code: i64, message: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}})
}

/// What every JSON-RPC 2.0 message has in common.
#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    jsonrpc: Value,
    #[serde(default, deserialize_with = "present")]
    id: Option<Value>,
    #[serde(default)]
    method: Option<Value>,
    /// Read so that it stands there once.
    #[serde(default, rename = "params")]
    _params: Option<IgnoredAny>,
    #[serde(default)]
    result: Option<IgnoredAny>,
    #[serde(default)]
    error: Option<IgnoredAny>,
}

/// Tells `"id": null` from no id.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<Value, (Value, i64, &str)>) {
        match (read(text.as_bytes()), expected) {
            (Ok(id), Ok(expected)) => assert_eq!(id, expected, "{text}"),
            (Err(fault), Err((id, code, part))) => {
                assert_eq!((&fault.id, fault.code), (&id, code), "{text}");
                assert!(fault.message.contains(part), "{text}: {}", fault.message);
            }
            (got, expected) => panic!("{text}: {got:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn one_json_rpc_message_passes() {
        check(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#, Ok(json!(1)));
        check(r#" {"method":"x","id":"a","jsonrpc":"2.0","params":{"n":[1]}} "#, Ok(json!("a")));
        let largest = format!(r#"{{"jsonrpc":"2.0","id":{},"method":"ping"}}"#, u64::MAX);
        check(&largest, Ok(json!(u64::MAX)));
        check(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#, Ok(Value::Null));
        check(r#"{"jsonrpc":"2.0","id":2,"result":{}}"#, Ok(json!(2)));
    }

    #[test]
    fn the_rest_is_refused_by_its_fault() {
        let null = Value::Null;
        check("", Err((null.clone(), -32700, "not JSON")));
        check("{\"jsonrpc\":\"2.0\",", Err((null.clone(), -32700, "not JSON")));
        check("hello", Err((null.clone(), -32700, "not JSON")));
        check("[]", Err((null.clone(), -32600, "batches")));
        check("[{]", Err((null.clone(), -32700, "not JSON")));
        check("7", Err((null.clone(), -32600, "one JSON object")));
        check(r#"{"id":1}"#, Err((json!(1), -32600, "`jsonrpc`")));
        check(r#"{"jsonrpc":"2.0","id":1}"#, Err((json!(1), -32600, "`method` is missing")));
        check(r#"{"jsonrpc":"2.0","id":1,"method":7}"#, Err((json!(1), -32600, "a string")));
        check(
            r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#,
            Err((null.clone(), -32600, "`id`")),
        );
        for id in ["1.5", "30000000000000000100000007380034920.25927332", "1e3", "true", "[]"] {
            let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
            check(&text, Err((null.clone(), -32600, "`id` must be")));
        }
        check(
            r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#,
            Err((null.clone(), -32600, "each key once")),
        );
        check(
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{},"params":{"a":1}}"#,
            Err((null, -32600, "each key once")),
        );
    }
}
