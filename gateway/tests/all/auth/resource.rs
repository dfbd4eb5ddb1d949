//! What everyone may know of the gateway: its metadata and whether it is ready.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{BASE, ISSUER, Script, gateway, gateway_with, header};
use crate::clock::{TURN, by_turns};
use crate::fake::{Fake, contract, nobody};
use crate::wire::json;

#[tokio::test]
async fn the_metadata_name_the_configured_url_whatever_host_was_asked() {
    let fake = Fake::tcp(contract).await;
    let root = "/.well-known/oauth-protected-resource";
    let check = async |settings: &[&str], paths: &[&str], expected: Value| {
        let server = gateway(&fake.url, settings).await;
        for path in paths {
            let request = server.request(Method::GET, &format!("{root}{path}"));
            let request = request.header("host", "evil.example").header("origin", "https://e.x");
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), StatusCode::OK, "{path}");
            assert_eq!(header(&response, "access-control-allow-origin"), Some("*"));
            assert_eq!(header(&response, "content-type"), Some("application/json"));
            assert_eq!(json(response).await, expected);
            let post = server.request(Method::POST, &format!("{root}{path}")).send().await;
            assert_eq!(post.unwrap().status(), StatusCode::METHOD_NOT_ALLOWED);
        }
        let other = server.request(Method::GET, &format!("{root}/other")).send().await.unwrap();
        assert_eq!(other.status(), StatusCode::NOT_FOUND);
    };
    let document = json!({
        "resource": "https://m.example.org/mcp",
        "resource_name": "maintenant monitoring",
        "authorization_servers": ["https://id.example.org"],
        "bearer_methods_supported": ["header"],
    });
    check(&[ISSUER, BASE], &["", "/mcp"], document.clone()).await;
    let mut scoped = document.clone();
    scoped["scopes_supported"] = json!(["monitor:read"]);
    check(&[ISSUER, BASE, "--mcp-scopes"], &["", "/mcp"], scoped).await;
    let mut deeper = document;
    deeper["resource"] = json!("https://m.example.org/a/{b}/mcp".replace(['{', '}'], ":"));
    deeper["authorization_servers"] = json!(["https://id.example.org/x/", "https://b.example"]);
    check(
        &[
            "--base-url=https://m.example.org/a/:b:/",
            "--mcp-issuer=https://id.example.org/x/,https://b.example",
        ],
        &["", "/mcp", "/a/:b:/mcp"],
        deeper,
    )
    .await;
}

#[tokio::test]
async fn nobody_is_ready_without_keys_and_why_is_not_told() {
    let _clock = by_turns(TURN);
    let fake = Fake::tcp(contract).await;
    for (keys, usable, status, word) in
        [(0, false, 503, "not ready"), (2, false, 503, "not ready"), (2, true, 200, "ready")]
    {
        let server = gateway_with(&fake.url, &[ISSUER], Script { keys, usable }).await;
        let ready = server.request(Method::GET, "/readyz").send().await.unwrap();
        assert_eq!(ready.status().as_u16(), status);
        let issuer = json!({"issuer": "https://id.example.org", "keys": keys, "usable": usable,
                            "fetched_at": null});
        assert_eq!(json(ready).await, json!({"status": word, "issuers": [issuer]}));
    }
    let server = gateway(&nobody(), &[ISSUER]).await;
    let ready = server.request(Method::GET, "/readyz").send().await.unwrap();
    assert_eq!(ready.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(json(ready).await["failing"][0]["name"], "collector");
}
