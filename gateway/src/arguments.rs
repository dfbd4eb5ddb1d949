//! Reading a tool's arguments so that a wrong one is refused by its name.

use std::borrow::Cow;

use rmcp::ErrorData;
use rmcp::handler::server::common::FromContextPart;
use rmcp::handler::server::tool::ToolCallContext;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{DeserializeOwned, Error, Unexpected};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// The arguments of a tool, in the place of rmcp's type of this name, whose errors do not name the
/// field. `#[tool]` recognises it by its spelling.
pub struct Parameters<T>(pub T);

impl<T: JsonSchema> JsonSchema for Parameters<T> {
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

impl<S, T: DeserializeOwned> FromContextPart<ToolCallContext<'_, S>> for Parameters<T> {
    fn from_context_part(context: &mut ToolCallContext<'_, S>) -> Result<Self, ErrorData> {
        let mut arguments = context.arguments.take().unwrap_or_default();
        // Clients with a form send what was left empty as empty text.
        arguments.retain(|_, value| value != "");
        let arguments = Value::Object(arguments);
        serde_path_to_error::deserialize(arguments).map(Self).map_err(|error| {
            let path = error.path().to_string();
            let place = if path == "." { String::new() } else { format!("at `{path}`: ") };
            let fault = crate::untrusted::text(&format!("{place}{}", error.inner()), 600);
            // rmcp turns exactly this beginning into a tool result the model can read, rather
            // than a protocol error it never sees.
            ErrorData::invalid_params(format!("failed to deserialize parameters: {fault}"), None)
        })
    }
}

/// A whole number, also written `3.0`, as the contract accepts it.
pub fn whole_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    let Some(number) = Option::<Value>::deserialize(deserializer)? else { return Ok(None) };
    if let Some(whole) = number.as_i64() {
        return Ok(Some(whole));
    }
    match number {
        Value::Number(number) => {
            let float = number.as_f64().unwrap_or(f64::NAN);
            #[expect(clippy::cast_possible_truncation, reason = "in range, as just checked")]
            if float.fract() == 0.0 && float.abs() < 9e15 {
                return Ok(Some(float as i64));
            }
            Err(D::Error::invalid_value(Unexpected::Float(float), &"a whole number"))
        }
        Value::String(text) => {
            Err(D::Error::invalid_type(Unexpected::Str(&text), &"a whole number"))
        }
        _ => Err(D::Error::custom("expected a whole number")),
    }
}

/// The same, of an argument that must be given.
pub fn required_whole_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    whole_number(deserializer)?.ok_or_else(|| D::Error::custom("expected a whole number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(default, deny_unknown_fields)]
    struct Row {
        #[serde(deserialize_with = "whole_number")]
        limit: Option<i64>,
    }

    fn check(json: &str, expected: Result<Option<i64>, &str>) {
        match (serde_json::from_str::<Row>(json), expected) {
            (Ok(row), Ok(limit)) => assert_eq!(row.limit, limit, "{json}"),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{json}: {error}"),
            (got, expected) => panic!("{json}: {got:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn whole_numbers_are_taken_however_they_are_written() {
        check("{}", Ok(None));
        check(r#"{"limit":null}"#, Ok(None));
        check(r#"{"limit":3}"#, Ok(Some(3)));
        check(r#"{"limit":3.0}"#, Ok(Some(3)));
        check(r#"{"limit":-1}"#, Ok(Some(-1)));
    }

    #[test]
    fn the_rest_is_refused() {
        check(r#"{"limit":3.5}"#, Err("a whole number"));
        check(r#"{"limit":"3"}"#, Err("string \"3\", expected a whole number"));
        check(r#"{"limit":1e300}"#, Err("a whole number"));
        check(r#"{"limit":[]}"#, Err("a whole number"));
        check(r#"{"lmit":3}"#, Err("unknown field `lmit`, expected `limit`"));
    }
}
