//! The tools, one file per subject, added up here.
//!
//! A tool asks collectors, shapes their answers for a reader without context, and bounds them:
//! what is broken comes first, foreign text is made safe, and whatever is left out is said in a
//! field, because many clients show a model nothing but the structured answer.

mod alerts;
mod certificates;
mod change;
mod containers;
#[cfg(test)]
mod documentation;
mod endpoints;
mod health;
mod heartbeats;
mod monitors;
mod paging;
mod resources;
mod status_page;
mod updates;

use std::collections::BTreeMap;

pub(crate) use containers::{NO_SUCH_CONTAINER, NOT_ASKED};
use rmcp::handler::server::tool::ToolRouter;

use crate::server::Gateway;

/// Where log lines are left out of an answer that takes another scope.
pub(crate) const NO_LOGS: &str = "Log lines are left out: they take the scope logs:read.";

impl Gateway {
    pub(crate) fn tool_router() -> ToolRouter<Self> {
        Self::containers()
            + Self::endpoints()
            + Self::heartbeats()
            + Self::certificates()
            + Self::monitors()
            + Self::alerts()
            + Self::usage()
            + Self::updates()
            + Self::status_page()
            + Self::health()
    }
}

/// Joins the sentences of a `hint` field.
fn hint(sentences: impl IntoIterator<Item = Option<String>>) -> Option<String> {
    let text = sentences.into_iter().flatten().collect::<Vec<_>>().join(" ");
    (!text.is_empty()).then_some(text)
}

/// Windows by name; the names are the server's, so few and short ones only.
pub(crate) fn windows<'a>(
    windows: impl Iterator<Item = (&'a String, f64)>,
) -> BTreeMap<String, f64> {
    windows.take(8).map(|(window, percent)| (crate::untrusted::text(window, 16), percent)).collect()
}

/// `"1 container"`, `"2 containers"`.
pub(crate) fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::collectors::Collectors;
    use crate::config::{CollectorSettings, Target};
    use crate::server::INSTRUCTIONS;

    fn gateway_for(collectors: &[&str]) -> Gateway {
        Gateway::new(collectors_called(collectors), false)
    }

    fn reading_only() -> Gateway {
        Gateway::new(collectors_called(&["prod", "lab"]), true)
    }

    fn collectors_called(collectors: &[&str]) -> Collectors {
        let target = Target::Unix("/nowhere".into());
        let collectors = collectors.iter().map(|name| ((*name).to_owned(), target.clone()));
        let settings =
            CollectorSettings { collectors: collectors.collect(), ..CollectorSettings::default() };
        Collectors::new(settings).unwrap()
    }

    /// With all there ever is.
    fn gateway() -> Gateway {
        gateway_for(&["prod", "lab"])
    }

    #[test]
    fn these_are_the_tools() {
        let names: Vec<_> =
            gateway().tools().iter().map(|tool| tool.name.clone().into_owned()).collect();
        let expected = [
            "acknowledge_alert",
            "create_incident",
            "create_maintenance",
            "get_container",
            "get_container_logs",
            "get_endpoint_history",
            "get_health",
            "get_resources",
            "get_top_consumers",
            "get_updates",
            "list_alerts",
            "list_certificates",
            "list_containers",
            "list_endpoints",
            "list_heartbeats",
            "pause_monitor",
            "resume_monitor",
            "update_incident",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn a_gateway_that_only_reads_offers_only_that() {
        let reading: Vec<_> = reading_only().tools().iter().map(|tool| tool.name.clone()).collect();
        assert_eq!(reading.len(), gateway().tools().len() - 6);
        assert!(reading.iter().all(|name| name.starts_with("get_") || name.starts_with("list_")));
    }

    #[test]
    fn each_tool_says_everything_a_client_asks() {
        for tool in gateway().tools() {
            let name = &tool.name;
            let hints = serde_json::to_value(tool.annotations.as_ref().unwrap()).unwrap();
            for hint in ["readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint"] {
                assert!(hints[hint].is_boolean(), "{name}: {hint}");
            }
            assert!(tool.title.is_some(), "{name}: title");
            let answers = tool.output_schema.as_ref().unwrap();
            assert_eq!(answers["type"], "object", "{name}");
            assert!(!answers["required"].as_array().unwrap().is_empty(), "{name}");
            let description = tool.description.as_ref().unwrap();
            assert!(description.len() <= 2048, "{name}: {} bytes", description.len());
            let sentences = description.matches(". ").count() + 1;
            assert!((2..=5).contains(&sentences), "{name}: {sentences} sentences");
            let schema = Value::Object((*tool.input_schema).clone());
            for (argument, schema) in schema["properties"].as_object().into_iter().flatten() {
                assert!(schema["description"].is_string(), "{name}.{argument}: description");
                assert!(schema["type"].is_string(), "{name}.{argument}: {schema}");
            }
            assert_eq!(schema["additionalProperties"], json!(false), "{name}");
        }
    }

    #[test]
    fn schemas_hold_nothing_clients_stumble_over() {
        let text = serde_json::to_string(gateway().tools()).unwrap();
        for odd in ["$ref", "$defs", "$schema", "uint", "int64", "anyOf", "oneOf"] {
            assert!(!text.contains(odd), "{odd} in {text}");
        }
    }

    #[test]
    fn where_there_is_one_collector_nobody_is_asked_which() {
        let text = |gateway: Gateway| serde_json::to_string(gateway.tools()).unwrap();
        assert!(text(gateway()).contains(r#""collector":{"#));
        assert!(!text(gateway_for(&["prod"])).contains(r#""collector":{"#));
    }

    #[test]
    fn the_list_of_tools_is_small() {
        for (gateway, most) in [(gateway(), 24_100), (gateway_for(&["prod"]), 23_100)] {
            let bytes = serde_json::to_string(gateway.tools()).unwrap().len();
            assert!(bytes <= most, "{bytes} bytes");
        }
        assert!(INSTRUCTIONS.len() <= 2048, "{} bytes", INSTRUCTIONS.len());
    }

    #[test]
    fn tools_are_what_they_were() {
        for tool in gateway().tools() {
            insta::assert_json_snapshot!(tool.name.as_ref(), tool);
        }
    }
}
