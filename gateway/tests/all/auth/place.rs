//! A gateway with the real verifier, whose keys come from a real server, and the one check of how it
//! refuses.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use maintenant_gateway::auth::admission::Admission;
use maintenant_gateway::{Collectors, Gateway, http as mcp};
use maintenant_serve::clock;
use maintenant_serve::listener::Drain;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{advance, timeout};

use super::{BASE, ERAS, Era, METADATA, Refused, call, check};
use crate::clock::{ByTurns, TURN, by_turns};
use crate::fake::{Fake, config, contract, object};
use crate::issuers::{self, Act, answer, ok};
use crate::signer::Signer;
use crate::wire::{Server, json};

pub(super) const ALGORITHM: &str = "ES256";
const AUDIENCE: &str = "https://m.example.org/mcp";
const OLD_ERA: &str = "2025-06-18";
/// Longer than a caller may wait for keys, by far.
const HANGS: Duration = Duration::from_secs(20);

/// A gateway, the collector behind it and the issuer of its tokens.
pub(super) struct Place {
    issuer: issuers::Server,
    gateway: Server,
    collector: Fake,
    callers: AtomicU32,
    _refreshing: JoinSet<()>,
    _clock: ByTurns,
}

impl Place {
    /// An issuer that is discovered and whose keys are these.
    pub(super) async fn new(keys: Act) -> Self {
        let clock = by_turns(TURN);
        let issuer = issuers::Server::new(|_| answer("404 Not Found", "", "")).await;
        publish(&issuer, keys);
        let collector = Fake::tcp(contract).await;
        let named = format!("--mcp-issuer={}", issuer.url);
        let url = format!("--url={}", collector.url);
        // Each request comes from an address of its own, so that none comes too often.
        let proxy = "--trusted-proxies=127.0.0.1/32";
        let subjects = "--mcp-allowed-subjects=alice";
        let config = config(&[&url, &named, BASE, proxy, subjects, "--mcp-scopes"]);
        let collectors = Collectors::new(config.collectors).unwrap();
        let admission = Admission::new(&config.mcp).unwrap();
        let mut refreshing = JoinSet::new();
        let refreshed = admission.clone();
        refreshing.spawn(async move {
            refreshed.refresh().await;
        });
        let (drain, gateway) = (Drain::default(), Gateway::new(collectors.clone(), false));
        let routes = mcp::router(gateway, collectors, &config.mcp, &admission, &drain.cut);
        let gateway = Server::start(routes, drain).await;
        let callers = AtomicU32::new(0);
        Self { issuer, gateway, collector, callers, _refreshing: refreshing, _clock: clock }
    }

    pub(super) fn publish(&self, keys: Act) {
        publish(&self.issuer, keys);
    }

    /// How often the keys were asked for.
    pub(super) fn fetches(&self) -> usize {
        let paths = self.issuer.paths.lock().unwrap();
        paths.iter().filter(|path| *path == "/jwks").count()
    }

    pub(super) fn issuer(&self) -> &str {
        &self.issuer.url
    }

    pub(super) fn claims(&self, changes: Value) -> Value {
        let now = clock::now().as_second();
        let claims = json!({"iss": self.issuer.url, "aud": AUDIENCE, "sub": "alice", "iat": now,
                            "exp": now + 300, "scope": "monitor:read", "email": "a@secret.example"});
        object(claims, changes)
    }

    pub(super) fn token(&self, signer: &Signer, kid: &str, changes: Value) -> String {
        let header = json!({"alg": ALGORITHM, "typ": "at+jwt", "kid": kid});
        signer.token(ALGORITHM, &header, &self.claims(changes))
    }

    pub(super) fn good(&self) -> String {
        self.token(key(), "k", json!({}))
    }

    /// What a client of an era begins with, and a call.
    pub(super) fn requests(&self, era: Era) -> [RequestBuilder; 2] {
        let tool = json!({"name": "list_containers", "arguments": {}});
        if era == Era::Modern {
            let call = |method, params| call(&self.gateway, era, method, params);
            return [call("server/discover", json!({})), call("tools/call", tool)];
        }
        let call = |method: &str, params: Value| {
            let body = json!({"jsonrpc": "2.0", "id": "a", "method": method, "params": params});
            self.gateway.post(body.to_string())
        };
        let hello = json!({"protocolVersion": OLD_ERA, "capabilities": {},
                           "clientInfo": {"name": "test", "version": "1"}});
        let tool = call("tools/call", tool).header("mcp-protocol-version", OLD_ERA);
        [call("initialize", hello), tool]
    }

    pub(super) async fn send(
        &self,
        name: &str,
        mut request: RequestBuilder,
        values: &[String],
    ) -> Response {
        for value in values {
            let mut value = HeaderValue::try_from(value).unwrap();
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        let [_, a, b, c] = self.callers.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let request = request.header("x-forwarded-for", format!("10.{a}.{b}.{c}"));
        // The jumps of the clock end connections that wait for another request.
        let request = request.header("connection", "close").send();
        timeout(HANGS, request).await.unwrap_or_else(|_| panic!("{name}: it hangs")).unwrap()
    }

    /// The one check: in both eras these `Authorization` headers are answered like this, and reach
    /// no collector.
    pub(super) async fn refused(&self, name: &str, values: &[String], told: Told) {
        let before = self.collector.paths();
        for era in ERAS {
            let requests = self.requests(era);
            // Whoever is known begins without a scope.
            for request in requests.into_iter().skip(usize::from(told == Told::Scope)) {
                println!("{name}, {era:?}, {told:?}");
                let response = self.send(name, request, values).await;
                check(response, told.expected(told.challenge().as_deref())).await;
            }
        }
        assert_eq!(self.collector.paths(), before, "{name}");
    }

    pub(super) async fn taken(&self, name: &str, token: &str) {
        for era in ERAS {
            let values = [format!("Bearer {token}")];
            let [hello, call] = self.requests(era);
            let answer = json(self.send(name, hello, &values).await).await;
            let versions = match era {
                Era::Legacy => json!([answer["result"]["protocolVersion"]]),
                Era::Modern => answer["result"]["supportedVersions"].clone(),
            };
            let version = if era == Era::Legacy { OLD_ERA } else { "2026-07-28" };
            assert!(versions.as_array().unwrap().contains(&json!(version)), "{name}: {answer}");
            let answer = json(self.send(name, call, &values).await).await;
            let total = &answer["result"]["structuredContent"]["summary"]["total"];
            assert_eq!(*total, 5, "{name}, {era:?}: {answer}");
        }
    }

    /// Whether calls with a token are taken, and what `/readyz` says of the keys.
    pub(super) async fn state(&self, token: &str) -> (u16, u16, Value) {
        let [_, call] = self.requests(Era::Modern);
        let call = self.send("state", call, &[format!("Bearer {token}")]).await;
        let ready = self.gateway.request(Method::GET, "/readyz");
        let ready = self.send("readyz", ready, &[]).await;
        let status = ready.status();
        let mut issuer = json(ready).await["issuers"][0].take();
        issuer.as_object_mut().unwrap().retain(|name, _| ["keys", "usable"].contains(&&**name));
        (call.status().as_u16(), status.as_u16(), issuer)
    }

    /// Lets the clock jump until tokens are taken again.
    pub(super) async fn recovers(&self, name: &str, token: &str) {
        let recovery = async {
            // Longer than an answer of `/readyz` serves.
            advance(Duration::from_secs(3)).await;
            while self.state(token).await.0 != 200 {
                advance(Duration::from_secs(3)).await;
            }
        };
        timeout(Duration::from_mins(2), recovery).await.unwrap_or_else(|_| panic!("{name}"));
        self.taken(name, token).await;
    }
}

fn publish(issuer: &issuers::Server, keys: Act) {
    let url = &issuer.url;
    let metadata = json!({"issuer": url, "jwks_uri": format!("{url}/jwks")}).to_string();
    issuer.now(move |path| match path {
        "/.well-known/oauth-authorization-server" => ok(&metadata),
        "/jwks" => keys.clone(),
        _ => answer("404 Not Found", "", ""),
    });
}

/// How a refusal is to be told.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Told {
    Missing,
    Malformed,
    Invalid,
    Stranger,
    Scope,
    Unavailable,
}

impl Told {
    /// RFC 6750 §3, RFC 9728 §5.1.
    fn challenge(self) -> Option<String> {
        let scope = "scope=\"monitor:read\"";
        let error = match self {
            Self::Missing => String::new(),
            Self::Malformed => "error=\"invalid_request\", error_description=\"send one \
                                Authorization header with one bearer token\", "
                .to_owned(),
            Self::Invalid => "error=\"invalid_token\", error_description=\"the token is not valid \
                              here; get a new one\", "
                .to_owned(),
            Self::Scope => "error=\"insufficient_scope\", error_description=\"this call takes the \
                            scope monitor:read\", "
                .to_owned(),
            Self::Stranger | Self::Unavailable => return None,
        };
        Some(format!("Bearer realm=\"maintenant\", {error}{scope}, {METADATA}"))
    }

    fn expected(self, challenge: Option<&str>) -> Refused<'_> {
        let (status, code) = match self {
            Self::Missing => (401, 4010),
            Self::Malformed => (400, 4000),
            Self::Invalid => (401, 4011),
            Self::Stranger => (403, 4031),
            Self::Scope => (403, 4032),
            Self::Unavailable => (503, 5030),
        };
        Refused {
            status,
            code,
            challenge,
            retry_after: (self == Self::Unavailable).then_some("5"),
            id: if self == Self::Scope { json!("a") } else { Value::Null },
        }
    }
}

pub(super) fn key() -> &'static Signer {
    Signer::good(ALGORITHM)
}

pub(super) fn jwks(keys: &[Value]) -> String {
    json!({"keys": keys}).to_string()
}

pub(super) fn good_keys() -> Act {
    ok(&jwks(&[key().named("k"), Signer::good("RS256").named("r")]))
}
