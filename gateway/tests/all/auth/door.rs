//! Who is let in, in which order it is decided, and how a refusal is told.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use maintenant_gateway::auth::Refusal;
use maintenant_gateway::auth::admission::Admission;
use maintenant_serve::clock;
use maintenant_serve::guard::Peer;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{
    BASE, ERAS, Era, ISSUER, METADATA, Refused, STATIC, Script, call, check, gateway, header, tool,
};
use crate::clock::{TURN, by_turns};
use crate::fake::{Fake, config, contract};
use crate::wire::{Server, json};

/// `Authorization` headers; status, code and challenge of the refusal; `Retry-After`.
type Case = (&'static [&'static str], u16, i64, Option<String>, Option<&'static str>);

#[tokio::test]
async fn every_refusal_has_its_status_its_challenge_and_a_fixed_sentence() {
    let fake = Fake::tcp(contract).await;
    let server = gateway(&fake.url, &[ISSUER, BASE, "--mcp-scopes"]).await;
    let challenge = |error: &str| {
        let scope = "scope=\"monitor:read\"";
        Some(format!("Bearer realm=\"maintenant\", {error}{scope}, {METADATA}"))
    };
    let invalid = "error=\"invalid_token\", error_description=\"the token is not valid here; get \
                   a new one\", ";
    let malformed = "error=\"invalid_request\", error_description=\"send one Authorization header \
                     with one bearer token\", ";
    let cases: [Case; 8] = [
        (&[], 401, 4010, challenge(""), None),
        (&["Bearer expired"], 401, 4011, challenge(invalid), None),
        (&["bearer  a.b.c"], 401, 4011, challenge(invalid), None),
        (&["Bearer everything", "Bearer everything"], 400, 4000, challenge(malformed), None),
        (&["Bearer everything, Bearer everything"], 400, 4000, challenge(malformed), None),
        (&["Bearer stranger"], 403, 4031, None, None),
        (&["Bearer early"], 503, 5030, None, Some("5")),
        (&["Bearer flood"], 429, 4290, None, Some("1")),
    ];
    for era in ERAS {
        for (values, status, code, challenge, retry_after) in &cases {
            let mut request = call(&server, era, "tools/call", json!({"name": "get_health"}));
            for value in *values {
                request = request.header("authorization", *value);
            }
            let challenge = challenge.as_deref();
            let (status, code, retry_after, id) = (*status, *code, *retry_after, Value::Null);
            let expected = Refused { status, code, challenge, retry_after, id };
            check(request.send().await.unwrap(), expected).await;
        }
    }
    assert_eq!(fake.paths(), Vec::<String>::new(), "nobody was asked anything");
}

#[tokio::test]
async fn who_has_a_good_token_is_served_in_both_eras() {
    let fake = Fake::tcp(contract).await;
    let static_token = format!("--mcp-token-from-environment={STATIC}");
    let server = gateway(&fake.url, &[ISSUER, &static_token]).await;
    for era in ERAS {
        for token in ["everything", STATIC] {
            let response = tool(&server, era, "get_health", token).send().await.unwrap();
            assert_eq!(response.status(), StatusCode::OK);
            let answer = json(response).await;
            assert_eq!(answer["result"]["structuredContent"]["status"], "ok", "{answer}");
        }
    }
    let hello = json!({"protocolVersion": "2025-11-25", "capabilities": {},
                       "clientInfo": {"name": "test", "version": "1"}});
    let hello = call(&server, Era::Legacy, "initialize", hello).bearer_auth("everything");
    assert_eq!(hello.send().await.unwrap().status(), StatusCode::OK);
    let discover = call(&server, Era::Modern, "server/discover", json!({}));
    assert_eq!(discover.send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_static_token_alone_names_no_issuer() {
    let fake = Fake::tcp(contract).await;
    let static_token = format!("--mcp-token-from-environment={STATIC}");
    let server = gateway(&fake.url, &[&static_token]).await;
    for era in ERAS {
        let answer = tool(&server, era, "get_health", STATIC).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        for wrong in ["0123456789abcdef0123456789abcde", "everything", &STATIC.to_uppercase()] {
            let refused = tool(&server, era, "get_health", wrong).send().await.unwrap();
            let challenge = "Bearer realm=\"maintenant\", error=\"invalid_token\", \
                             error_description=\"the token is not valid here; get a new one\"";
            let challenge = Some(challenge);
            let (retry_after, id) = (None, Value::Null);
            let expected = Refused { status: 401, code: 4011, challenge, retry_after, id };
            check(refused, expected).await;
        }
        let none = call(&server, era, "tools/list", json!({})).send().await.unwrap();
        assert_eq!(header(&none, "www-authenticate"), Some("Bearer realm=\"maintenant\""));
    }
    for path in ["", "/mcp"] {
        let path = format!("/.well-known/oauth-protected-resource{path}");
        let response = server.request(Method::GET, &path).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
    }
}

#[tokio::test]
async fn a_token_in_the_query_or_the_body_is_none() {
    let fake = Fake::tcp(contract).await;
    let server = gateway(&fake.url, &[ISSUER]).await;
    let path = "/mcp?access_token=everything";
    let query = server.request(Method::POST, path).body("{}").send().await.unwrap();
    assert_eq!(query.status(), StatusCode::UNAUTHORIZED);
    let form = server
        .request(Method::POST, "/mcp")
        .header("content-type", "application/x-www-form-urlencoded")
        .body("access_token=everything");
    assert_eq!(form.send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn host_and_origin_come_first_then_the_token_then_the_message() {
    let fake = Fake::tcp(contract).await;
    let server = gateway(&fake.url, &[ISSUER]).await;
    for (name, variable) in
        [("host", "MAINTENANT_ALLOWED_HOSTS"), ("origin", "MAINTENANT_ALLOWED_ORIGINS")]
    {
        for token in ["everything", "expired"] {
            let request = server.post("{").bearer_auth(token).header(name, "http://evil.example");
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), StatusCode::FORBIDDEN, "{name}");
            assert!(header(&response, "www-authenticate").is_none());
            let answer = json(response).await;
            assert!(answer["error"]["message"].as_str().unwrap().contains(variable), "{answer}");
        }
    }
    for body in ["{", "[]", "hello"] {
        let response = server.post(body).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{body}");
    }
    let response = server.post("{").bearer_auth("everything").send().await.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    let large = server.post("x".repeat((1 << 20) + 1)).bearer_auth("everything");
    let response = large.send().await.unwrap();
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(json(response).await["error"]["code"], -32600);
}

#[tokio::test]
async fn every_method_and_no_other_path_asks_for_the_token() {
    let _clock = by_turns(TURN);
    let fake = Fake::tcp(contract).await;
    let server = gateway(&fake.url, &[ISSUER]).await;
    for method in [Method::GET, Method::DELETE, Method::OPTIONS, Method::HEAD, Method::PUT] {
        let request = || server.request(method.clone(), "/mcp");
        let refused = request().send().await.unwrap().status();
        assert_eq!(refused, StatusCode::UNAUTHORIZED, "{method}");
        let admitted = request().bearer_auth("everything").send().await.unwrap().status();
        assert_eq!(admitted, StatusCode::METHOD_NOT_ALLOWED, "{method}");
    }
    for path in ["/healthz", "/readyz", "/.well-known/oauth-protected-resource/mcp"] {
        let answer = server.request(Method::GET, path).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
    }
    for path in ["/mcp/", "/MCP", "//mcp", "/mcp/..", "/healthz/mcp", "/mcp%2f", "/x/../mcp"] {
        let head = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n");
        let answer = raw(&server, &head).await;
        let status = answer.split(' ').nth(1).unwrap();
        assert!(["401", "404"].contains(&status), "{path}: {answer}");
    }
}

/// The beginning of the answer to these bytes.
async fn raw(server: &Server, bytes: &str) -> String {
    let address = server.url.strip_prefix("http://").unwrap();
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    let mut answer = vec![0; 4096];
    let length = stream.read(&mut answer).await.unwrap();
    String::from_utf8(answer[..length].to_vec()).unwrap()
}

#[tokio::test]
async fn the_body_of_a_refused_request_is_not_read() {
    let fake = Fake::tcp(contract).await;
    let server = gateway(&fake.url, &[ISSUER]).await;
    let head = "POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                content-length: 1000\r\n";
    for expect in ["", "expect: 100-continue\r\n"] {
        for (token, status) in [("expired", "401"), ("stranger", "403"), ("early", "503")] {
            let head = format!("{head}{expect}authorization: Bearer {token}\r\n\r\n");
            let answer = raw(&server, &head).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        }
    }
    let head = format!("{head}expect: 100-continue\r\nauthorization: Bearer everything\r\n\r\n");
    let answer = raw(&server, &head).await;
    assert!(answer.starts_with("HTTP/1.1 100"), "whoever is let in is read: {answer}");
}

/// A proxy in front may decide by the headers, so they have to be true.
#[tokio::test]
async fn headers_that_do_not_agree_with_the_body_are_refused() {
    let fake = Fake::tcp(contract).await;
    let server = gateway(&fake.url, &[ISSUER]).await;
    let cases = [
        ("mcp-method", Some("tools/list")),
        ("mcp-method", None),
        ("mcp-name", Some("list_containers")),
        ("mcp-name", None),
        ("mcp-protocol-version", Some("2025-11-25")),
        ("mcp-protocol-version", None),
    ];
    for (name, value) in cases {
        let mut request = tool(&server, Era::Modern, "get_health", "everything").build().unwrap();
        request.headers_mut().remove(name);
        if let Some(value) = value {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        let response = reqwest_client().execute(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{name}: {value:?}");
        assert_eq!(json(response).await["error"]["code"], -32020, "{name}: {value:?}");
    }
    assert_eq!(fake.paths(), Vec::<String>::new());
}

fn reqwest_client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_client_that_guesses_too_often_waits_and_good_tokens_do_not() {
    let settings = config(&["--url=http://localhost", ISSUER, "--trusted-proxies=10.0.0.0/8"]).mcp;
    let admission = Admission::of(&settings, Some(Arc::new(Script::default())));
    let admit = async |peer: &str, forwarded: Option<&str>, token: &str| {
        let mut headers = HeaderMap::new();
        if !token.is_empty() {
            headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
        }
        if let Some(client) = forwarded {
            headers.insert("x-forwarded-for", client.parse().unwrap());
        }
        let peer = match peer {
            "unix" => Peer::Unix,
            peer => Peer::Tcp(peer.parse().unwrap()),
        };
        admission.admit(&headers, Some(peer), clock::now()).await
    };
    let mallory = "192.0.2.1:1";
    for _ in 0..60 {
        assert_eq!(admit(mallory, None, "x").await, Err(Refusal::Invalid("hidden")));
    }
    for token in ["x", "slow", "early"] {
        assert_eq!(admit("192.0.2.1:2", None, token).await, Err(Refusal::TooMany), "one address");
    }
    // Whoever shares the address is served, and told how to log in.
    assert!(admit("192.0.2.1:2", None, "everything").await.is_ok());
    let stranger = admit("192.0.2.1:2", None, "stranger").await;
    assert_eq!(stranger, Err(Refusal::NotAllowed("hidden")));
    assert_eq!(admit("192.0.2.1:2", None, "").await, Err(Refusal::Missing));
    assert!(admit("192.0.2.2:1", None, "everything").await.is_ok());
    // Only a trusted proxy says for whom it speaks.
    assert_eq!(admit(mallory, Some("192.0.2.9"), "x").await, Err(Refusal::TooMany));
    for _ in 0..60 {
        let refused = admit("10.0.0.1:1", Some("2001:db8::1"), "x").await;
        assert_eq!(refused, Err(Refusal::Invalid("hidden")));
    }
    let neighbour = admit("10.0.0.1:1", Some("2001:db8::2"), "x").await;
    assert_eq!(neighbour, Err(Refusal::TooMany), "one network of 64 bits");
    assert!(admit("10.0.0.1:1", Some("2001:db8:0:1::1"), "everything").await.is_ok());
    // One attempt comes free every fifty milliseconds.
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(admit(mallory, None, "everything").await.is_ok(), "good tokens take nothing");
    assert!(admit(mallory, None, "everything").await.is_ok());
    assert_eq!(admit(mallory, None, "x").await, Err(Refusal::Invalid("hidden")));
    assert_eq!(admit(mallory, None, "x").await, Err(Refusal::TooMany));
    // Neither is the lack of keys held against anyone, nor is a socket limited.
    for _ in 0..100 {
        assert!(matches!(admit("192.0.2.3:1", None, "early").await, Err(Refusal::Unavailable(_))));
        assert_eq!(admit("unix", None, "x").await, Err(Refusal::Invalid("hidden")));
    }
    // Nor what is no guess: no token yet, or a good one of somebody else.
    for _ in 0..100 {
        assert_eq!(admit("192.0.2.4:1", None, "").await, Err(Refusal::Missing));
        let stranger = admit("192.0.2.4:1", None, "stranger").await;
        assert_eq!(stranger, Err(Refusal::NotAllowed("hidden")));
    }
    assert_eq!(admit("192.0.2.4:1", None, "x").await, Err(Refusal::Invalid("hidden")));
}
