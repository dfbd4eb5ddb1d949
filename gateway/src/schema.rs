//! Tool schemas as clients like them, tidied once at start.
//!
//! Validators of clients print a warning for each format they do not know (`uint32`), some model
//! APIs refuse `$ref` and a type that is a list, and every byte is sent to every client.

use std::sync::Arc;

use rmcp::model::{JsonObject, Tool};
use serde_json::{Map, Value};

/// Tidies both schemas of a tool, and unwraps the lines of its texts.
pub fn tidy(tool: &mut Tool) {
    let mut input = tidied(&tool.input_schema);
    // Some clients refuse a tool without this key, even when it takes no arguments.
    input.entry("properties").or_insert_with(|| Value::Object(Map::new()));
    tool.input_schema = Arc::new(input);
    tool.output_schema = tool.output_schema.as_ref().map(|schema| Arc::new(tidied_output(schema)));
    tool.description = tool.description.as_ref().map(|text| text.replace('\n', " ").into());
}

/// Removes an argument, and the field of answers, that is of no use here.
pub fn forget(tool: &mut Tool, name: &str) {
    fn forget(schema: &mut Map<String, Value>, name: &str) {
        if let Some(Value::Object(properties)) = schema.get_mut("properties") {
            properties.retain(|property, _| property != name);
        }
        for value in schema.values_mut().filter_map(Value::as_object_mut) {
            forget(value, name);
        }
    }
    forget(Arc::make_mut(&mut tool.input_schema), name);
    if let Some(schema) = &mut tool.output_schema {
        forget(Arc::make_mut(schema), name);
    }
}

fn tidied(schema: &JsonObject) -> JsonObject {
    let mut schema = schema.clone();
    schema.remove("$schema");
    let definitions = match schema.remove("$defs") {
        Some(Value::Object(definitions)) => definitions,
        _ => Map::new(),
    };
    tidy_object(&mut schema, &definitions, 0);
    schema
}

/// Deep enough for any schema of ours; a definition that contains itself ends here.
const DEEPEST: usize = 16;

fn tidy_value(node: &mut Value, definitions: &Map<String, Value>, depth: usize) {
    match node {
        Value::Object(object) => tidy_object(object, definitions, depth),
        Value::Array(items) => {
            for item in items {
                tidy_value(item, definitions, depth);
            }
        }
        _ => {}
    }
}

fn tidy_object(object: &mut Map<String, Value>, definitions: &Map<String, Value>, depth: usize) {
    if depth > DEEPEST {
        return;
    }
    inline(object, definitions);
    let format = object.get("format").and_then(Value::as_str).unwrap_or_default();
    if ["uint", "int", "float", "double"].iter().any(|kind| format.starts_with(kind)) {
        object.remove("format");
    }
    // Of what may be left out, empty is no news.
    let is_empty = |value: &Value| value.is_null() || value.as_array().is_some_and(Vec::is_empty);
    if object.get("default").is_some_and(is_empty) {
        object.remove("default");
    }
    if let Some(Value::String(text)) = object.get_mut("description") {
        *text = text.replace('\n', " ");
    }
    drop_nulls(object);
    for value in object.values_mut() {
        tidy_value(value, definitions, depth.saturating_add(1));
    }
}

/// Replaces `$ref` by what it names; what stands beside it, such as a description, wins.
fn inline(object: &mut Map<String, Value>, definitions: &Map<String, Value>) {
    let Some(name) = object
        .get("$ref")
        .and_then(Value::as_str)
        .and_then(|reference| reference.strip_prefix("#/$defs/"))
    else {
        return;
    };
    let Some(Value::Object(definition)) = definitions.get(name) else { return };
    let definition = definition.clone();
    object.remove("$ref");
    for (key, value) in definition {
        if key != "title" && !object.contains_key(&key) {
            object.insert(key, value);
        }
    }
}

/// What is optional may be left out, and is never sent as `null`; nobody needs to be told that it
/// could be.
fn drop_nulls(object: &mut Map<String, Value>) {
    let required: Vec<String> = object
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|name| name.as_str().map(str::to_owned))
        .collect();
    let Some(Value::Object(properties)) = object.get_mut("properties") else { return };
    for (name, property) in properties {
        if let Value::Object(property) = property
            && !required.contains(name)
        {
            drop_null(property);
        }
    }
}

fn drop_null(property: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = property.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            property.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(variants)) = property.get_mut("anyOf") {
        variants.retain(|variant| variant.get("type").is_none_or(|kind| kind != "null"));
        if let [Value::Object(only)] = variants.as_slice() {
            let only = only.clone();
            property.remove("anyOf");
            for (key, value) in only {
                property.entry(key).or_insert(value);
            }
        }
    }
}

/// A schema of answers: their structure, and the types of the fields at the top. What an
/// answer holds is seen in the answer, so of the rest only this stays: what is always there at the
/// top, and the texts that explain a `word` among the values.
fn tidied_output(schema: &JsonObject) -> JsonObject {
    let mut schema = tidied(schema);
    let required = schema.get("required").cloned();
    shorten(&mut schema);
    schema.extend(required.map(|required| ("required".to_owned(), required)));
    schema
}

fn shorten(schema: &mut Map<String, Value>) {
    schema.retain(|keyword, value| match keyword.as_str() {
        "title" | "format" | "minimum" | "maximum" | "required" => false,
        "description" => value.as_str().is_some_and(|text| text.contains('`')),
        "additionalProperties" => *value != Value::Bool(true),
        _ => true,
    });
    for (keyword, value) in schema.iter_mut() {
        match (keyword.as_str(), value) {
            ("properties", Value::Object(properties)) => {
                for property in properties.values_mut().filter_map(Value::as_object_mut) {
                    shorten(property);
                    forget_plain_fields(property);
                }
            }
            ("items", Value::Object(row)) => {
                shorten(row);
                forget_plain_fields(row);
            }
            ("additionalProperties", Value::Object(schema)) => shorten(schema),
            _ => {}
        }
    }
    // Fields that are like any other need no names.
    let others = schema.get("additionalProperties").cloned();
    let properties = schema.get("properties").and_then(Value::as_object);
    if properties.is_some_and(|fields| fields.values().all(|field| Some(field) == others.as_ref()))
    {
        schema.remove("properties");
    }
}

fn forget_plain_fields(object: &mut Map<String, Value>) {
    let Some(Value::Object(fields)) = object.get_mut("properties") else { return };
    fields.retain(|_, field| field.get("description").is_some());
    if fields.is_empty() {
        object.remove("properties");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(schema: &Value, expected: &Value) {
        assert_eq!(Value::Object(tidied(schema.as_object().unwrap())), *expected);
    }

    #[test]
    fn formats_of_numbers_go_and_formats_of_text_stay() {
        check(
            &json!({"$schema": "x", "properties": {
                "n": {"type": "integer", "format": "uint32", "minimum": 0},
                "t": {"type": "string", "format": "date-time", "description": "a\nb"}}}),
            &json!({"properties": {
                "n": {"type": "integer", "minimum": 0},
                "t": {"type": "string", "format": "date-time", "description": "a b"}}}),
        );
    }

    #[test]
    fn what_is_optional_has_one_type_and_what_is_required_may_be_null() {
        check(
            &json!({"properties": {
                "s": {"type": ["string", "null"], "default": null},
                "r": {"type": ["number", "null"], "format": "double"},
                "e": {"anyOf": [{"$ref": "#/$defs/E"}, {"type": "null"}], "description": "mine"}},
                "required": ["r"],
                "$defs": {"E": {"type": "string", "enum": ["a"], "description": "its"}}}),
            &json!({"properties": {
                "s": {"type": "string"},
                "r": {"type": ["number", "null"]},
                "e": {"description": "mine", "type": "string", "enum": ["a"]}},
                "required": ["r"]}),
        );
    }

    #[test]
    fn of_answers_the_structure_stays_and_what_explains_a_word() {
        let schema = json!({"title": "T", "type": "object", "required": ["o"], "properties": {
            "o": {"description": "An object.", "type": "object", "required": ["n"], "properties": {
                "n": {"type": "integer", "format": "uint", "minimum": 0, "maximum": 9},
                "w": {"description": "`resync`: later.", "type": "string", "enum": ["resync"]},
                "title": {"type": "string", "description": "A field of this name."}}},
            "a": {"type": "array", "items": {"type": "object", "required": ["x"], "properties": {
                "x": {"type": "string"},
                "y": {"type": "string", "description": "`late`: due."}}}},
            "b": {"type": "array", "items": {"type": "object", "properties": {
                "x": {"type": "string"}}}},
            "t": {"type": "string", "format": "date-time", "description": "At the top."},
            "m": {"type": "object", "properties": {"total": {"type": "integer", "minimum": 0}},
                  "additionalProperties": {"type": "integer", "description": "Counts."}}}});
        let expected = json!({"type": "object", "required": ["o"], "properties": {
            "o": {"type": "object", "properties": {
                "w": {"description": "`resync`: later.", "type": "string", "enum": ["resync"]}}},
            "a": {"type": "array", "items": {"type": "object", "properties": {
                "y": {"type": "string", "description": "`late`: due."}}}},
            "b": {"type": "array", "items": {"type": "object"}},
            "t": {"type": "string"},
            "m": {"type": "object", "additionalProperties": {"type": "integer"}}}});
        assert_eq!(Value::Object(tidied_output(schema.as_object().unwrap())), expected);
    }

    #[test]
    fn a_definition_that_contains_itself_ends() {
        let schema = json!({"$ref": "#/$defs/T",
            "$defs": {"T": {"properties": {"t": {"$ref": "#/$defs/T"}}}}});
        assert!(tidied(schema.as_object().unwrap()).contains_key("properties"));
    }
}
