//! Who may call `/mcp`, over real HTTP and in both eras of the protocol.

mod door;
mod identity;
mod matrix;
mod outages;
mod place;
mod resource;
mod scopes;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use maintenant_gateway::auth::admission::{Admission, Verify};
use maintenant_gateway::auth::{IssuerState, Refusal};
use maintenant_gateway::caller::{AdmittedBy, Caller, Scope};
use maintenant_gateway::{Collectors, Gateway, http as mcp};
use maintenant_serve::listener::Drain;
use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};

use crate::fake::config;
use crate::wire::{Server, json};

const ISSUER: &str = "--mcp-issuer=https://id.example.org";
const BASE: &str = "--base-url=https://m.example.org";
const METADATA: &str =
    "resource_metadata=\"https://m.example.org/.well-known/oauth-protected-resource/mcp\"";
const STATIC: &str = "0123456789abcdef0123456789abcdef";
/// Of a token that ends.
const LIFE: Duration = Duration::from_secs(10);

/// What each token stands for; reasons hold a word that must not be told.
struct Script {
    keys: usize,
    usable: bool,
}

impl Default for Script {
    fn default() -> Self {
        Self { keys: 1, usable: true }
    }
}

fn caller(scopes: Option<Vec<Scope>>) -> Caller {
    Caller {
        admitted_by: AdmittedBy::Email,
        issuer: Some("https://id.example.org".to_owned()),
        subject: Some("007".to_owned()),
        email: Some("alice@example.org".to_owned()),
        client: Some("editor".to_owned()),
        scopes,
        expires_at: None,
    }
}

#[async_trait]
impl Verify for Script {
    async fn verify(&self, token: &str, now: Timestamp) -> Result<Caller, Refusal> {
        match token {
            "everything" => Ok(caller(None)),
            "ending" => Ok(Caller { expires_at: Some(now + LIFE), ..caller(None) }),
            "nothing" => Ok(caller(Some(Vec::new()))),
            "reading" => Ok(caller(Some(vec![Scope::MonitorRead]))),
            "logs" => Ok(caller(Some(vec![Scope::LogsRead]))),
            "writing" => Ok(caller(Some(Scope::ALL.to_vec()))),
            "stranger" => Err(Refusal::NotAllowed("hidden")),
            "early" => Err(Refusal::Unavailable("hidden".to_owned())),
            "slow" => std::future::pending().await,
            "flood" => Err(Refusal::TooMany),
            _ => Err(Refusal::Invalid("hidden")),
        }
    }

    fn state(&self) -> Vec<IssuerState> {
        vec![IssuerState {
            issuer: "https://id.example.org".to_owned(),
            keys: self.keys,
            usable: self.usable,
            fetched_at: None,
            error: Some("hidden".to_owned()),
        }]
    }
}

/// A gateway whose tokens are those of the script, if it has an issuer.
async fn gateway(url: &str, settings: &[&str]) -> Server {
    gateway_with(url, settings, Script::default()).await
}

async fn gateway_with(url: &str, settings: &[&str], script: Script) -> Server {
    let arguments: Vec<&str> = ["--url", url].into_iter().chain(settings.iter().copied()).collect();
    let config = config(&arguments);
    let collectors = Collectors::new(config.collectors).unwrap();
    let issued = !config.mcp.auth.issuers.is_empty();
    let script = issued.then(|| Arc::new(script) as Arc<dyn Verify>);
    let admission = Admission::of(&config.mcp, script);
    let drain = Drain::default();
    let gateway = Gateway::new(collectors.clone(), false);
    Server::start(mcp::router(gateway, collectors, &config.mcp, &admission, &drain.cut), drain)
        .await
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Era {
    /// 2025-11-25 and before.
    Legacy,
    /// 2026-07-28.
    Modern,
}

const ERAS: [Era; 2] = [Era::Legacy, Era::Modern];

fn call(server: &Server, era: Era, method: &str, mut params: Value) -> RequestBuilder {
    let name = ["name", "uri"].into_iter().find_map(|key| params[key].as_str());
    let name = name.filter(|_| method != "completion/complete").map(str::to_owned);
    if era == Era::Modern {
        params["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("2026-07-28");
        params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
    }
    let body = json!({"jsonrpc": "2.0", "id": "a", "method": method, "params": params});
    let request = server.post(body.to_string());
    if era == Era::Legacy {
        return request.header("mcp-protocol-version", "2025-11-25");
    }
    let request = request.header("mcp-protocol-version", "2026-07-28").header("mcp-method", method);
    match name {
        Some(name) => request.header("mcp-name", name),
        None => request,
    }
}

fn tool(server: &Server, era: Era, name: &str, token: &str) -> RequestBuilder {
    call(server, era, "tools/call", json!({"name": name, "arguments": {}})).bearer_auth(token)
}

fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers().get(name).map(|value| value.to_str().unwrap())
}

struct Refused<'a> {
    status: u16,
    code: i64,
    challenge: Option<&'a str>,
    retry_after: Option<&'a str>,
    id: Value,
}

/// The one sentence of a kind of refusal; of a scope its beginning, as it names one of four.
fn sentence(code: i64) -> &'static str {
    match code {
        4000 => "send one Authorization header with one bearer token",
        4010 => "send a bearer token of this server in the Authorization header",
        4011 => "the token is not valid here; get a new one",
        4031 => "the token is valid, but its owner may not use this server; ask its operator",
        4032 => "this call takes the scope ",
        4290 => "too many refused attempts; try again later",
        5030 => "tokens cannot be verified right now; try again later",
        _ => panic!("{code} is no refusal"),
    }
}

/// All headers that a refusal may have. Their values are checked, or are none of ours.
const HEADERS: [&str; 8] = [
    "cache-control",
    "connection",
    "content-length",
    "content-type",
    "date",
    "retry-after",
    "www-authenticate",
    "x-content-type-options",
];

/// A refusal as it is told, and that it tells nothing else: every byte of it is known beforehand.
async fn check(response: Response, expected: Refused<'_>) {
    let Refused { status, code, challenge, retry_after, id } = expected;
    assert_eq!(response.status().as_u16(), status);
    assert_eq!(header(&response, "www-authenticate"), challenge);
    assert_eq!(header(&response, "retry-after"), retry_after);
    assert_eq!(header(&response, "cache-control"), Some("no-store"));
    assert_eq!(header(&response, "content-type"), Some("application/json"));
    assert_eq!(header(&response, "x-content-type-options"), Some("nosniff"));
    let odd = response.headers().keys().find(|name| !HEADERS.contains(&name.as_str()));
    assert_eq!(odd, None, "{:?}", response.headers());
    let answer = json(response).await;
    let message = answer["error"]["message"].as_str().unwrap();
    if code == 4032 {
        assert!(message.starts_with(sentence(code)), "{message}");
        assert!(challenge.unwrap().contains(&format!("error_description=\"{message}\"")));
    } else {
        assert_eq!(message, sentence(code));
    }
    let error = json!({"code": code, "message": message});
    assert_eq!(answer, json!({"jsonrpc": "2.0", "id": id, "error": error}));
}
