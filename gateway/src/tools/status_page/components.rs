//! Which components of the status page a caller means: names, or ids.

use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::collector::{ClientError, Collector};
use crate::error::{ToolError, nearest};
use crate::listed::StatusComponent;
use crate::untrusted::{name, quoted};

/// Components named in one sentence.
const NAMED: usize = 20;

/// Those that were named, as the collector knows them.
#[derive(Debug, Default)]
pub(super) struct Chosen {
    pub(super) ids: Vec<i64>,
    /// As they are shown.
    pub(super) names: Vec<String>,
}

/// Reads a list of names and ids; an id may be a number or text.
pub(super) fn names_or_ids<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<String>, D::Error> {
    let wrong = || D::Error::custom("expected a list of names or ids of components");
    let wanted = match Value::deserialize(deserializer)? {
        Value::Null => Vec::new(),
        Value::Array(wanted) => wanted,
        _ => return Err(wrong()),
    };
    let read = |one: Value| match one {
        Value::String(text) => Ok(text.trim().to_owned()),
        Value::Number(id) if id.is_i64() => Ok(id.to_string()),
        _ => Err(wrong()),
    };
    wanted.into_iter().map(read).collect()
}

/// Finds all that are `wanted`, asking only if there are any.
pub(super) async fn choose(collector: &Collector, wanted: &[String]) -> Result<Chosen, ToolError> {
    if wanted.is_empty() {
        return Ok(Chosen::default());
    }
    let known = collector.status_components().await;
    let known = known.map_err(|error: ClientError| ToolError::from_client(&collector.name, &error));
    find(&collector.name, wanted, &known?)
}

fn find(
    collector: &str,
    wanted: &[String],
    known: &[StatusComponent],
) -> Result<Chosen, ToolError> {
    let mut chosen = Chosen::default();
    for wanted in wanted {
        let matching: Vec<&StatusComponent> =
            known.iter().filter(|component| is_meant(component, wanted)).collect();
        match matching.as_slice() {
            [] => return Err(unknown(collector, wanted, known)),
            [one] if chosen.ids.contains(&one.id) => {}
            [one] => {
                chosen.ids.push(one.id);
                chosen.names.push(name(&one.display_name));
            }
            several => {
                return Err(ToolError::new(format!(
                    "{} in `components` fits several: {}. Give the id of the one that is meant; \
                     nothing was changed.",
                    quoted(wanted),
                    in_words(several.iter().copied())
                )));
            }
        }
    }
    Ok(chosen)
}

/// A name is accepted as it is and as answers show it, in any case.
fn is_meant(component: &StatusComponent, wanted: &str) -> bool {
    let wanted_name = wanted.to_lowercase();
    component.id.to_string() == wanted
        || component.display_name.trim().to_lowercase() == wanted_name
        || name(&component.display_name).to_lowercase() == wanted_name
}

/// No tool lists components, so the sentence does.
fn unknown(collector: &str, wanted: &str, known: &[StatusComponent]) -> ToolError {
    if known.is_empty() {
        return ToolError::new(format!(
            "The status page of collector `{collector}` has no component {}, nor any other. Repeat \
             the call without `components`; nothing was changed.",
            quoted(wanted)
        ));
    }
    let near: Vec<String> =
        nearest(wanted, known.iter().map(|component| component.display_name.as_str()))
            .into_iter()
            .map(quoted)
            .collect();
    let near = if near.is_empty() {
        String::new()
    } else {
        format!(" Did you mean {}?", near.join(" or "))
    };
    ToolError::new(format!(
        "The status page of collector `{collector}` has no component {}.{near} It has: {}. Nothing \
         was changed.",
        quoted(wanted),
        in_words(known.iter())
    ))
}

fn in_words<'a>(components: impl Iterator<Item = &'a StatusComponent> + Clone) -> String {
    let more = components.clone().count().saturating_sub(NAMED);
    let mut words: Vec<String> = components
        .take(NAMED)
        .map(|component| format!("{} (id {})", quoted(&component.display_name), component.id))
        .collect();
    if more > 0 {
        words.push(format!("{more} more"));
    }
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn known() -> Vec<StatusComponent> {
        let rows = json!([{"id": 1, "display_name": "Website"}, {"id": 2, "display_name": "API"},
            {"id": 3, "display_name": "API\u{202e}"}, {"id": 4, "display_name": "twin"},
            {"id": 5, "display_name": "Twin "}, {"id": 6, "display_name": "2"}]);
        serde_json::from_value(rows).unwrap()
    }

    fn check(wanted: &[&str], expected: Result<&[i64], &str>) {
        let wanted: Vec<String> = wanted.iter().map(|&one| one.to_owned()).collect();
        match (find("prod", &wanted, &known()), expected) {
            (Ok(chosen), Ok(ids)) => {
                assert_eq!(chosen.ids, ids, "{wanted:?}");
                assert_eq!(chosen.names.len(), ids.len());
            }
            (Err(error), Err(part)) => {
                let error = error.to_string();
                assert!(error.contains(part) && error.contains("othing was changed"), "{error}");
            }
            (got, expected) => panic!("{wanted:?}: {got:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn components_are_found_by_name_in_any_case_or_by_id_and_once() {
        check(&["website"], Ok(&[1]));
        check(&["API", "1"], Ok(&[2, 1]));
        check(&["api\\u{202e}"], Ok(&[3]));
        check(&["4", "5", "4"], Ok(&[4, 5]));
    }

    #[test]
    fn what_is_unknown_or_fits_several_is_told_with_what_there_is() {
        check(&["1", "Web"], Err("Did you mean `Website`? It has: `Website` (id 1), `API` (id 2)"));
        check(&["99"], Err("no component `99`"));
        check(&[""], Err("no component ``"));
        check(&["TWIN"], Err("fits several: `twin` (id 4), `Twin ` (id 5)"));
        check(&["2"], Err("fits several: `API` (id 2), `2` (id 6)"));
        let none = find("prod", &["x".to_owned()], &[]).unwrap_err().to_string();
        assert!(none.contains("without `components`"), "{none}");
        let many: Vec<StatusComponent> = (1..=500)
            .map(|id| json!({"id": id, "display_name": "y".repeat(500)}))
            .map(|row| serde_json::from_value(row).unwrap())
            .collect();
        let error = find("prod", &["x".to_owned()], &many).unwrap_err().to_string();
        assert!(error.contains("480 more") && error.len() < 5000, "{}", error.len());
    }
}
