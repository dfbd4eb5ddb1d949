//! Which components of the status page a caller means: names, or ids.

use maintenant_api::status::ComponentRef;
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::arguments::required_whole_number;
use crate::collector::{ClientError, Collector};
use crate::error::{ToolError, nearest};
use crate::listed::StatusComponent;
use crate::untrusted::{name, quoted};

/// Components named in one sentence.
const NAMED: usize = 20;

/// A component as a caller names it.
#[derive(Debug, Clone)]
pub(super) enum Wanted {
    Id(i64),
    /// A name, or an id where nothing is named so.
    Text(String),
}

/// Those that were named, as the collector knows them.
#[derive(Debug, Default)]
pub(super) struct Chosen {
    pub(super) ids: Vec<i64>,
    /// As they are shown.
    pub(super) names: Vec<String>,
    /// There are some, and the page shows none of them.
    pub(super) are_hidden: bool,
}

/// Reads a list of names and ids; an id may be a number or text.
pub(super) fn names_or_ids<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<Wanted>, D::Error> {
    let wrong = || D::Error::custom("expected a list of names or ids of components");
    let wanted = match Value::deserialize(deserializer)? {
        Value::Null => Vec::new(),
        Value::Array(wanted) => wanted,
        _ => return Err(wrong()),
    };
    let read = |one: Value| match one {
        Value::String(text) => Ok(Wanted::Text(text.trim().to_owned())),
        id => required_whole_number(id).map(Wanted::Id).map_err(|_| wrong()),
    };
    wanted.into_iter().map(read).collect()
}

/// Finds all that are `wanted`, asking only if there are any.
pub(super) async fn choose(collector: &Collector, wanted: &[Wanted]) -> Result<Chosen, ToolError> {
    if wanted.is_empty() {
        return Ok(Chosen::default());
    }
    find(&collector.name, wanted, &known(collector).await?)
}

/// Whether there are some among `ids`, and the page shows none of them.
pub(super) async fn are_hidden(collector: &Collector, ids: &[i64]) -> Result<bool, ToolError> {
    if ids.is_empty() {
        return Ok(false);
    }
    let known = known(collector).await?;
    let is_shown = |id| known.iter().any(|one| one.id == id && !is_hidden(one));
    Ok(!ids.iter().any(|id| is_shown(*id)))
}

/// Those that an answer names, as they are shown.
pub(super) fn names(components: &[ComponentRef]) -> Vec<String> {
    components.iter().map(|one| name(&one.name)).collect()
}

async fn known(collector: &Collector) -> Result<Vec<StatusComponent>, ToolError> {
    let known = collector.status_components().await;
    known.map_err(|error: ClientError| ToolError::from_client(&collector.name, &error))
}

fn is_hidden(component: &StatusComponent) -> bool {
    component.visible == Some(false)
}

fn find(
    collector: &str,
    wanted: &[Wanted],
    known: &[StatusComponent],
) -> Result<Chosen, ToolError> {
    let mut chosen = Chosen { are_hidden: !wanted.is_empty(), ..Chosen::default() };
    for wanted in wanted {
        match matching(wanted, known).as_slice() {
            [] => return Err(unknown(collector, wanted, known)),
            [one] if chosen.ids.contains(&one.id) => {}
            [one] => {
                chosen.ids.push(one.id);
                chosen.names.push(name(&one.display_name));
                chosen.are_hidden &= is_hidden(one);
            }
            several => {
                return Err(ToolError::new(format!(
                    "{} in `components` fits several: {}. Give its id as a number; nothing was \
                     changed.",
                    wanted.shown(),
                    in_words(several.iter().copied())
                )));
            }
        }
    }
    Ok(chosen)
}

fn matching<'a>(wanted: &Wanted, known: &'a [StatusComponent]) -> Vec<&'a StatusComponent> {
    let of_id = |id: i64| known.iter().filter(|one| one.id == id).collect();
    match wanted {
        Wanted::Id(id) => of_id(*id),
        Wanted::Text(text) => {
            let named: Vec<_> = known.iter().filter(|one| is_named(one, text)).collect();
            match text.parse() {
                Ok(id) if named.is_empty() => of_id(id),
                _ => named,
            }
        }
    }
}

/// A name is accepted as it is and as answers show it, in any case.
fn is_named(component: &StatusComponent, wanted: &str) -> bool {
    let wanted = wanted.to_lowercase();
    component.display_name.trim().to_lowercase() == wanted
        || name(&component.display_name).to_lowercase() == wanted
}

impl Wanted {
    fn shown(&self) -> String {
        match self {
            Self::Id(id) => format!("with id {id}"),
            Self::Text(text) => quoted(text),
        }
    }
}

/// No tool lists components, so the sentence does.
fn unknown(collector: &str, wanted: &Wanted, known: &[StatusComponent]) -> ToolError {
    if known.is_empty() {
        return ToolError::new(format!(
            "The status page of collector `{collector}` has no component {}, nor any other. Repeat \
             the call without `components`; nothing was changed.",
            wanted.shown()
        ));
    }
    let names = known.iter().map(|component| component.display_name.as_str());
    let near: Vec<String> = match wanted {
        Wanted::Id(_) => Vec::new(),
        Wanted::Text(text) => nearest(text, names).into_iter().map(quoted).collect(),
    };
    let near = if near.is_empty() {
        String::new()
    } else {
        format!(" Did you mean {}?", near.join(" or "))
    };
    ToolError::new(format!(
        "The status page of collector `{collector}` has no component {}.{near} It has: {}. Nothing \
         was changed.",
        wanted.shown(),
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
            {"id": 5, "display_name": "Twin ", "visible": false}, {"id": 6, "display_name": "2"},
            {"id": 7, "display_name": "Inner", "visible": false}]);
        serde_json::from_value(rows).unwrap()
    }

    fn found(wanted: &Value) -> Result<Chosen, ToolError> {
        find("prod", &names_or_ids(wanted).unwrap(), &known())
    }

    #[expect(clippy::needless_pass_by_value, reason = "lines of a table")]
    fn check(wanted: Value, expected: Result<&[i64], &str>) {
        match (found(&wanted), expected) {
            (Ok(chosen), Ok(ids)) => {
                assert_eq!(chosen.ids, ids, "{wanted}");
                assert_eq!(chosen.names.len(), ids.len());
            }
            (Err(error), Err(part)) => {
                let error = error.to_string();
                assert!(error.contains(part) && error.contains("othing was changed"), "{error}");
            }
            (got, expected) => panic!("{wanted}: {got:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn components_are_found_by_name_in_any_case_or_by_id_and_once() {
        check(json!(["website"]), Ok(&[1]));
        check(json!(["API", "1"]), Ok(&[2, 1]));
        check(json!(["api\\u{202e}"]), Ok(&[3]));
        check(json!(["4", 5, "4", 4.0]), Ok(&[4, 5]));
    }

    #[test]
    fn a_number_is_an_id_and_a_text_is_one_only_where_nothing_is_named_so() {
        check(json!([2]), Ok(&[2]));
        check(json!([2.0]), Ok(&[2]));
        check(json!(["2"]), Ok(&[6]));
        check(json!(["3"]), Ok(&[3]));
        for wrong in [json!("API"), json!([1.5]), json!([null]), json!([[1]]), json!({"id": 1})] {
            assert!(names_or_ids(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_unknown_or_fits_several_is_told_with_what_there_is() {
        let near = "Did you mean `Website`? It has: `Website` (id 1), `API` (id 2)";
        check(json!(["1", "Web"]), Err(near));
        check(json!([99]), Err("no component with id 99. It has: `Website`"));
        check(json!(["99"]), Err("no component `99`"));
        check(json!([""]), Err("no component ``"));
        let twins = "fits several: `twin` (id 4), `Twin ` (id 5). Give its id as a number";
        check(json!(["TWIN"]), Err(twins));
        let x = [Wanted::Text("x".to_owned())];
        let none = find("prod", &x, &[]).unwrap_err().to_string();
        assert!(none.contains("without `components`"), "{none}");
        let many: Vec<StatusComponent> = (1..=500)
            .map(|id| json!({"id": id, "display_name": "y".repeat(500)}))
            .map(|row| serde_json::from_value(row).unwrap())
            .collect();
        let error = find("prod", &x, &many).unwrap_err().to_string();
        assert!(error.contains("480 more") && error.len() < 5000, "{}", error.len());
    }

    #[test]
    fn only_components_that_are_all_hidden_hide() {
        let check = |wanted: Value, expected: bool| {
            assert_eq!(found(&wanted).unwrap().are_hidden, expected, "{wanted}");
        };
        check(json!([]), false);
        check(json!([7]), true);
        check(json!([7, 5, 7]), true);
        check(json!([7, 1]), false);
        check(json!([1, 7]), false);
    }
}
