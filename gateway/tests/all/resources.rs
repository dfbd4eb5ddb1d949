//! What is read at an address.

use rmcp::ServiceError;
use rmcp::model::{ReadResourceRequestParams, ResourceContents};
use serde_json::{Value, json};

use crate::fake::{Answer, Client, Fake, gateway_with, nobody};
use crate::{alerts, probes, updates, usage};

async fn read(client: &Client, uri: &str) -> Result<Value, ServiceError> {
    let result = client.peer.read_resource(ReadResourceRequestParams::new(uri)).await?;
    let [ResourceContents::TextResourceContents { uri: named, mime_type, text, .. }] =
        result.contents.as_slice()
    else {
        panic!("{:?}", result.contents);
    };
    assert_eq!((named.as_str(), mime_type.as_deref()), (uri, Some("application/json")));
    Ok(serde_json::from_str(text).unwrap())
}

fn v1(path: &str, nth: usize) -> Answer {
    let route = path.split('?').next().unwrap_or_default();
    match route {
        "alerts" => alerts::v1(path, nth),
        _ if route.starts_with("resources/") => usage::v1(path, nth),
        _ if route.starts_with("updates") => updates::v1(path, nth),
        _ => probes::v1(path, nth),
    }
}

#[tokio::test]
async fn addresses_of_earlier_versions_are_read_and_not_listed() {
    let fake = Fake::tcp(v1).await;
    // Both are asked for anew, and neither says from when it was kept.
    let client = Client::of(gateway_with(&fake.url, &["--mcp-cache=0"])).await;
    let listed = client.peer.list_all_resources().await.unwrap();
    let listed: Vec<&str> = listed.iter().map(|resource| resource.uri.as_str()).collect();
    let tools = [
        ("maintenant://alerts", "list_alerts"),
        ("maintenant://certificates", "list_certificates"),
        ("maintenant://containers", "list_containers"),
        ("maintenant://endpoints", "list_endpoints"),
        ("maintenant://health", "get_health"),
        ("maintenant://heartbeats", "list_heartbeats"),
        ("maintenant://resources", "get_resources"),
        ("maintenant://updates", "get_updates"),
    ];
    assert_eq!(listed, ["monitor://alerts/active", "monitor://overview"]);
    for (uri, tool) in tools {
        let answer = client.call(tool, json!({})).await;
        let mut read = read(&client, uri).await.unwrap();
        if tool == "list_alerts" {
            let told = answer["alerts"].as_array().unwrap();
            for (row, told) in read["alerts"].as_array_mut().unwrap().iter_mut().zip(told) {
                // How long it lasts is counted up to the call.
                row["duration"] = told["duration"].clone();
            }
        }
        assert_eq!(read, answer, "{uri}");
    }
}

#[tokio::test]
async fn an_unknown_address_and_a_silent_collector_are_two_errors() {
    let client = Client::new(&nobody()).await;
    for uri in
        ["maintenant://nothing", "maintenant://health/", "monitor://", "file:///etc/passwd", ""]
    {
        let Err(ServiceError::McpError(error)) = read(&client, uri).await else {
            panic!("{uri} was read");
        };
        assert_eq!(error.data, Some(json!({"uri": uri})));
        assert!(error.message.contains("monitor://containers/{name}"), "{}", error.message);
    }
    let Err(ServiceError::McpError(error)) = read(&client, "maintenant://containers").await else {
        panic!("read from nobody");
    };
    assert_eq!(error.code.0, -32603);
    assert!(error.message.contains("cannot be reached"), "{}", error.message);
    assert_eq!(read(&client, "maintenant://health").await.unwrap()["status"], "down");
}

#[tokio::test]
async fn of_many_collectors_that_fail_the_overview_names_ten_and_counts_the_rest() {
    let well = Fake::tcp(crate::fake::contract).await;
    let dead = nobody();
    let urls: Vec<String> = (0..14)
        .map(|n| format!("host-{n:02}={}", if n == 0 { &well.url } else { &dead }))
        .collect();
    let client = Client::of(gateway_with(&urls.join(","), &[])).await;
    let page = read(&client, "monitor://overview").await.unwrap();
    let containers = &page["containers"];
    assert_eq!(containers["not_answering"].as_array().unwrap().len(), 10, "{containers}");
    assert_eq!(containers["more_not_answering"], 3, "{containers}");
}
