//! Resources: the answers that give an overview, for clients that attach data by its address.

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, ErrorData, ReadResourceResult, Resource,
    ResourceContents,
};
use rmcp::service::RequestContext;
use rmcp::{RoleServer, ServerHandler};
use serde_json::json;

use crate::server::Gateway;
use crate::untrusted::quoted;

const JSON: &str = "application/json";

/// Each is what a tool answers when it is called without arguments.
const RESOURCES: [Definition; 8] = [
    Definition {
        uri: "maintenant://alerts",
        tool: "list_alerts",
        title: "Alerts",
        description: "What is wrong now, worst first, with counts.",
    },
    Definition {
        uri: "maintenant://certificates",
        tool: "list_certificates",
        title: "Certificates",
        description: "TLS certificates, those refused or ending soonest first, with counts.",
    },
    Definition {
        uri: "maintenant://containers",
        tool: "list_containers",
        title: "Containers",
        description: "Containers, those in trouble first, with counts over all of them.",
    },
    Definition {
        uri: "maintenant://endpoints",
        tool: "list_endpoints",
        title: "Endpoints",
        description: "Probed endpoints, those that are down first, with counts.",
    },
    Definition {
        uri: "maintenant://health",
        tool: "get_health",
        title: "Health of the monitoring",
        description: "Whether the monitoring itself works.",
    },
    Definition {
        uri: "maintenant://heartbeats",
        tool: "list_heartbeats",
        title: "Heartbeats",
        description: "Jobs that report by pinging, those that did not first, with counts.",
    },
    Definition {
        uri: "maintenant://resources",
        tool: "get_resources",
        title: "Resources",
        description: "What the host uses now and used before, and the largest containers.",
    },
    Definition {
        uri: "maintenant://updates",
        tool: "get_updates",
        title: "Updates",
        description: "Newer images for what runs, highest risk first, with counts.",
    },
];

struct Definition {
    uri: &'static str,
    tool: &'static str,
    title: &'static str,
    description: &'static str,
}

/// All resources, sorted by address.
pub fn list() -> Vec<Resource> {
    RESOURCES
        .iter()
        .map(|resource| {
            let name = resource.uri.trim_start_matches("maintenant://");
            Resource::new(resource.uri, name)
                .with_title(resource.title)
                .with_description(resource.description)
                .with_mime_type(JSON)
        })
        .collect()
}

/// The answer of the tool behind `uri`.
pub async fn read(
    gateway: &Gateway,
    uri: &str,
    context: RequestContext<RoleServer>,
) -> Result<ReadResourceResult, ErrorData> {
    let Some(resource) = RESOURCES.iter().find(|resource| resource.uri == uri) else {
        let known: Vec<&str> = RESOURCES.iter().map(|resource| resource.uri).collect();
        let known = known.join(", ");
        let message = format!("there is no resource {}; there are: {known}", quoted(uri));
        return Err(ErrorData::resource_not_found(message, Some(json!({"uri": uri}))));
    };
    let answer = gateway.call_tool(CallToolRequestParams::new(resource.tool), context).await?;
    let CallToolResponse::Complete(answer) = answer else {
        return Err(ErrorData::internal_error("the tool asked back", None));
    };
    let text = answer.content.first().and_then(|block| block.as_text());
    let text = text.map(|block| block.text.clone()).unwrap_or_default();
    if answer.is_error == Some(true) {
        return Err(ErrorData::internal_error(text, None));
    }
    Ok(ReadResourceResult::new(vec![ResourceContents::text(text, uri).with_mime_type(JSON)]))
}
