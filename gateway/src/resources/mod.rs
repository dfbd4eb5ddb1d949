//! Resources: what is worth attaching to a conversation by its address.
//!
//! There is one page over everything, the active alerts, and each container by its name. Data are
//! those of the tools, with their bounds.

mod overview;

use percent_encoding::percent_decode_str;
use rmcp::RoleServer;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, ErrorData, JsonObject, ReadResourceResult, Resource,
    ResourceContents, ResourceTemplate,
};
use rmcp::service::RequestContext;
use serde_json::{Map, Value, json};

use crate::budget;
use crate::server::Gateway;
use crate::tools::{NO_SUCH_CONTAINER, NOT_ASKED};
use crate::untrusted::quoted;

/// Everything that matters on one page.
pub const OVERVIEW: &str = "monitor://overview";
/// What `list_alerts` answers, with as many as fit.
pub const ALERTS: &str = "monitor://alerts/active";
/// RFC 6570. What `get_container` answers.
pub const CONTAINER_TEMPLATE: &str = "monitor://containers/{name}";
const CONTAINERS: &str = "monitor://containers/";
const JSON: &str = "application/json";
/// Longer than any address that names something here.
const LONGEST: usize = 2048;

/// Addresses of earlier versions and their tools: still read, no longer listed.
const FORMER: [(&str, &str); 8] = [
    ("maintenant://alerts", "list_alerts"),
    ("maintenant://certificates", "list_certificates"),
    ("maintenant://containers", "list_containers"),
    ("maintenant://endpoints", "list_endpoints"),
    ("maintenant://health", "get_health"),
    ("maintenant://heartbeats", "list_heartbeats"),
    ("maintenant://resources", "get_resources"),
    ("maintenant://updates", "get_updates"),
];

/// All resources with an address of their own, sorted by it.
pub fn list() -> Vec<Resource> {
    let resource = |uri: &str, name: &str, title: &str, description: &str| {
        Resource::new(uri, name)
            .with_title(title)
            .with_description(description)
            .with_mime_type(JSON)
    };
    vec![
        resource(ALERTS, "active_alerts", "Active alerts", "What is wrong now, worst first."),
        resource(
            OVERVIEW,
            "overview",
            "Overview",
            "On one page: whether the monitoring works, active alerts, what is in trouble, newer \
             images.",
        ),
    ]
}

/// Resources with a name in their address.
pub fn templates() -> Vec<ResourceTemplate> {
    vec![
        ResourceTemplate::new(CONTAINER_TEMPLATE, "container")
            .with_title("Container")
            .with_description(
                "State, uptime and newest state changes of one container, by name or id.",
            )
            .with_mime_type(JSON),
    ]
}

/// Whether listeners can be told of its changes.
pub fn is_observed(uri: &str) -> bool {
    [ALERTS, OVERVIEW].contains(&uri)
}

#[derive(Debug, PartialEq, Eq)]
enum Meant {
    Overview,
    /// The answer of a tool, as its text.
    Tool(&'static str, JsonObject),
}

fn meant(uri: &str) -> Option<Meant> {
    if uri.len() > LONGEST {
        return None;
    }
    if uri == OVERVIEW {
        return Some(Meant::Overview);
    }
    if uri == ALERTS {
        return Some(Meant::Tool("list_alerts", arguments(json!({"limit": 100}))));
    }
    if let Some(name) = uri.strip_prefix(CONTAINERS) {
        let arguments = arguments(json!({"container_id": decoded(name)?}));
        return Some(Meant::Tool("get_container", arguments));
    }
    let (_, tool) = FORMER.iter().find(|(former, _)| *former == uri)?;
    Some(Meant::Tool(tool, Map::new()))
}

fn arguments(value: Value) -> JsonObject {
    if let Value::Object(arguments) = value { arguments } else { Map::new() }
}

/// The name in a last segment of a path. Delimiters must be encoded (RFC 3986 §2.2), or else they
/// would begin something that does not exist here.
fn decoded(segment: &str) -> Option<String> {
    if segment.contains(['/', '?', '#']) {
        return None;
    }
    let name = percent_decode_str(segment).decode_utf8().ok()?;
    Some(name.trim()).filter(|name| !name.is_empty()).map(str::to_owned)
}

fn not_found(uri: &str, message: String) -> ErrorData {
    ErrorData::resource_not_found(message, Some(json!({"uri": uri})))
}

/// The contents at `uri`.
pub async fn read(
    gateway: &Gateway,
    uri: &str,
    context: RequestContext<RoleServer>,
) -> Result<ReadResourceResult, ErrorData> {
    let text = match meant(uri) {
        None => {
            let uri_in_words = quoted(uri);
            let message = format!(
                "there is no resource {uri_in_words}; there are: {ALERTS}, {OVERVIEW}, \
                 {CONTAINER_TEMPLATE} with the name percent-encoded"
            );
            return Err(not_found(uri, message));
        }
        Some(Meant::Overview) => overview::write(gateway, &context).await.to_string(),
        Some(Meant::Tool(tool, arguments)) => {
            match answer_of(gateway, tool, arguments, context).await? {
                Ok(text) => text,
                Err(fault)
                    if fault.starts_with(NO_SUCH_CONTAINER) && !fault.contains(NOT_ASKED) =>
                {
                    return Err(not_found(uri, fault));
                }
                Err(fault) => return Err(ErrorData::internal_error(fault, None)),
            }
        }
    };
    if text.len() > budget::CAP {
        tracing::error!("a resource of {} bytes passed its own limits", text.len());
        let fault = "the resource is larger than this gateway sends; call the tools instead";
        return Err(ErrorData::internal_error(fault, None));
    }
    Ok(ReadResourceResult::new(vec![ResourceContents::text(text, uri).with_mime_type(JSON)]))
}

/// What a tool says, or the sentence in which it fails. The outer error: it cannot be called.
async fn answer_of(
    gateway: &Gateway,
    tool: &'static str,
    arguments: JsonObject,
    context: RequestContext<RoleServer>,
) -> Result<Result<String, String>, ErrorData> {
    let request = CallToolRequestParams::new(tool).with_arguments(arguments);
    let CallToolResponse::Complete(answer) = gateway.answer(request, context).await? else {
        return Err(ErrorData::internal_error("the tool asked back", None));
    };
    let text = answer.content.first().and_then(|block| block.as_text());
    let text = text.map(|block| block.text.clone()).unwrap_or_default();
    Ok(if answer.is_error == Some(true) { Err(text) } else { Ok(text) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name_in(uri: &str) -> Option<String> {
        match meant(&format!("{CONTAINERS}{uri}"))? {
            Meant::Tool("get_container", arguments) => {
                Some(arguments["container_id"].as_str().unwrap().to_owned())
            }
            other => panic!("{uri}: {other:?}"),
        }
    }

    #[test]
    fn a_container_is_named_by_one_decoded_segment() {
        let check = |segment: &str, name: Option<&str>| {
            assert_eq!(name_in(segment).as_deref(), name, "{segment}");
        };
        check("shop-db-1", Some("shop-db-1"));
        check("a%20b", Some("a b"));
        check("a%2Fb%3Fc%23d", Some("a/b?c#d"));
        check("%E2%98%83", Some("☃"));
        check("..", Some(".."));
        // Decoded once, whatever it holds.
        check("%252e", Some("%2e"));
        check("100%", Some("100%"));
        for none in ["", "%20", "a/b", "../overview", "a?b=c", "a#b", "%ff", "%c3%28"] {
            check(none, None);
        }
        check(&"a".repeat(LONGEST), None);
    }

    #[test]
    fn every_listed_address_is_read_and_lists_are_small() {
        let resources = list();
        assert!(resources.is_sorted_by(|a, b| a.uri < b.uri));
        for resource in &resources {
            assert!(meant(&resource.uri).is_some() && is_observed(&resource.uri));
        }
        let bytes = serde_json::to_string(&(resources, templates())).unwrap().len();
        assert!(bytes < 1000, "{bytes} bytes");
        assert!(!is_observed("maintenant://alerts") && !is_observed(CONTAINER_TEMPLATE));
    }
}
