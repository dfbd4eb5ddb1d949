//! Tokens, hostile and legal, as products over algorithms and the ways keys are published. The
//! issuers are real servers.

use std::collections::HashSet;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::hmac;
use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use jiff::Timestamp;
use maintenant_gateway::auth::admission::{Admission, Verify};
use maintenant_gateway::auth::settings::{Allowed, AuthSettings, Issuer};
use maintenant_gateway::auth::{Refusal, Verifier};
use maintenant_gateway::caller::{AdmittedBy, Caller, Scope};
use maintenant_gateway::{Collectors, Gateway, http as mcp};
use maintenant_serve::listener::Drain;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::clock::{TURN, by_turns};
use crate::fake::config;
use crate::goals::size;
use crate::signer::{ALGORITHMS, Signer, encode};
use crate::wire::Server;

const NOW: i64 = 1_800_000_000;
const ISSUER: &str = "https://issuer.example/realm";
const AUDIENCE: &str = "https://monitor.example/mcp";

fn now() -> Timestamp {
    Timestamp::from_second(NOW).unwrap()
}

fn claims() -> Value {
    json!({"iss": ISSUER, "aud": AUDIENCE, "exp": NOW + 300, "iat": NOW, "sub": "s"})
}

fn with(mut value: Value, changes: &Value) -> Value {
    for (name, change) in changes.as_object().unwrap() {
        value[name] = change.clone();
    }
    value
}

fn without(mut value: Value, member: &str) -> Value {
    value.as_object_mut().unwrap().shift_remove(member);
    value
}

/// How an issuer publishes the key of an algorithm.
#[derive(Debug, Clone, Copy)]
struct Form {
    algorithm: &'static str,
    names_algorithm: bool,
    kid: Kid,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kid {
    Once,
    Missing,
    /// Another key of the same kind has it too, and stands first.
    Twice,
}

impl Form {
    fn all() -> Vec<Self> {
        let mut forms = Vec::new();
        for algorithm in ALGORITHMS {
            for names_algorithm in [true, false] {
                for kid in [Kid::Once, Kid::Missing, Kid::Twice] {
                    forms.push(Self { algorithm, names_algorithm, kid });
                }
            }
        }
        forms
    }

    fn key(self) -> &'static Signer {
        Signer::good(self.algorithm)
    }

    /// The set, among keys that must not disturb.
    fn jwks(self) -> Value {
        let publish = |signer: &Signer| {
            let mut jwk = signer.jwk();
            if self.names_algorithm {
                jwk["alg"] = json!(self.algorithm);
            }
            if self.kid != Kid::Missing {
                jwk["kid"] = json!("k");
            }
            jwk
        };
        let mut keys = vec![
            json!({"kty": "oct", "kid": "k", "k": encode(self.key().public())}),
            json!({"kty": "unknown", "kid": "k"}),
            with(Signer::other(self.algorithm).named("k"), &json!({"use": "enc"})),
            json!(null),
        ];
        if self.kid == Kid::Twice {
            static TWIN: std::sync::OnceLock<Vec<(&str, Signer)>> = std::sync::OnceLock::new();
            let twins = TWIN.get_or_init(|| {
                ["RS256", "ES256", "ES384", "EdDSA"].map(|name| (name, Signer::new(name))).into()
            });
            let kind = match self.algorithm {
                "ES256" | "ES384" | "EdDSA" => self.algorithm,
                "Ed25519" => "EdDSA",
                _ => "RS256",
            };
            keys.push(publish(&twins.iter().find(|(name, _)| *name == kind).unwrap().1));
        }
        keys.push(publish(self.key()));
        json!({"keys": keys})
    }

    fn header(self) -> Value {
        let header = json!({"alg": self.algorithm, "typ": "at+jwt", "kid": "k"});
        if self.kid == Kid::Missing { without(header, "kid") } else { header }
    }

    fn sign(self, header: &Value, claims: &Value) -> String {
        self.key().token(self.algorithm, header, claims)
    }

    fn good(self) -> String {
        self.sign(&self.header(), &claims())
    }

    fn legal(self) -> Vec<(String, String)> {
        let mut tokens = vec![("plain".to_owned(), self.good())];
        for changes in [
            json!({"typ": "AT+JWT"}),
            json!({"typ": "JWT"}),
            json!({"typ": "application/at+jwt"}),
            json!({"jku": "https://evil.example/jwks", "x5u": "https://evil.example"}),
            json!({"x": {"deep": [[[1]]]}, "cty": "JWT"}),
        ] {
            let name = format!("header {changes}");
            tokens.push((name, self.sign(&with(self.header(), &changes), &claims())));
        }
        for member in ["typ", "kid"] {
            let header = without(self.header(), member);
            tokens.push((format!("header without {member}"), self.sign(&header, &claims())));
        }
        if self.kid == Kid::Missing {
            let header = with(self.header(), &json!({"kid": "unknown"}));
            tokens.push(("a kid where keys have none".to_owned(), self.sign(&header, &claims())));
        }
        for changes in [
            json!({"aud": ["other", AUDIENCE]}),
            json!({"exp": 1_800_000_000.5, "nbf": NOW}),
            json!({"exp": NOW - 59}),
            json!({"nbf": NOW + 60, "iat": NOW + 60}),
            json!({"nonce": "n", "at_hash": "h"}),
            json!({"unknown": {"a": [1, null]}, "sub": "\u{e9}\n\"", "email": "a@b.example"}),
        ] {
            let name = format!("claims {changes}");
            tokens.push((name, self.sign(&self.header(), &with(claims(), &changes))));
        }
        let groups = json!({"groups": vec!["00000000-0000-4000-8000-000000000000"; 200]});
        let crowded = self.sign(&self.header(), &with(claims(), &groups));
        assert!(crowded.len() > 10_000);
        tokens.push(("claims with all the groups that Entra ID puts in".to_owned(), crowded));
        let ageless = without(claims(), "iat");
        tokens.push(("claims without iat".to_owned(), self.sign(&self.header(), &ageless)));
        for client in ["client_id", "azp", "appid", "cid"] {
            let claims = with(without(claims(), "sub"), &json!({client: "c"}));
            let name = format!("claims without sub, but with {client}");
            tokens.push((name, self.sign(&self.header(), &claims)));
        }
        tokens
    }

    fn hostile(self) -> Vec<(String, String)> {
        let mut tokens = Vec::new();
        let good = self.good();
        let parts: Vec<&str> = good.split('.').collect();
        let (header, payload, signature) = (parts[0], parts[1], parts[2]);
        let mut add = |name: &str, token: String| tokens.push((name.to_owned(), token));

        // Not a JWT.
        for (name, token) in [
            ("empty", String::new()),
            ("a word", "token".to_owned()),
            ("dots", "...".to_owned()),
            ("two parts", format!("{header}.{payload}")),
            ("no signature", format!("{header}.{payload}.")),
            ("no header", format!(".{payload}.{signature}")),
            ("no payload", format!("{header}..{signature}")),
            ("four parts", format!("{good}.{signature}")),
            ("five parts", format!("{good}.{header}.{header}")),
            ("a space before", format!(" {good}")),
            ("a line end after", format!("{good}\n")),
            ("padding", format!("{good}==")),
            ("huge", format!("{header}.{}.{signature}", payload.repeat(200))),
            ("parts turned round", format!("{payload}.{header}.{signature}")),
            ("payload twice", format!("{header}.{payload}{payload}.{signature}")),
        ] {
            add(name, token);
        }

        // Signatures.
        let raw = self.key().sign(self.algorithm, &format!("{header}.{payload}"));
        let signed = |signature: &[u8]| format!("{header}.{payload}.{}", encode(signature));
        let mut flipped = raw.clone();
        for at in [0, raw.len() / 2, raw.len() - 1] {
            flipped[at] ^= 1;
            add("a bit turned", signed(&flipped));
        }
        let message = |other: &str| self.key().sign(self.algorithm, other);
        for (name, signature) in [
            ("zeros", vec![0; raw.len()]),
            ("ones", vec![0xff; raw.len()]),
            ("a byte less", raw[1..].to_vec()),
            ("a byte more", [&raw[..], &[0]].concat()),
            ("a zero before", [&[0], &raw[..]].concat()),
            ("twice", raw.repeat(2)),
            ("one byte", vec![0]),
            ("of the payload alone", message(payload)),
            ("of the decoded parts", message(&format!("{}.{}", self.header(), claims()))),
            ("of nothing", message("")),
            ("somebody else's", {
                let other = Signer::other(self.algorithm);
                other.sign(self.algorithm, &format!("{header}.{payload}"))
            }),
        ] {
            add(name, signed(&signature));
        }
        if let Some(der) = self.key().sign_in_der(&format!("{header}.{payload}")) {
            add("DER", signed(&der));
        }
        let forged = encode(with(claims(), &json!({"sub": "admin"})).to_string());
        add("another payload", format!("{header}.{forged}.{signature}"));
        let reheaded = encode(with(self.header(), &json!({"x": 1})).to_string());
        add("another header", format!("{reheaded}.{payload}.{signature}"));

        // Algorithms: none, and HMAC with everything public.
        for name in ["none", "None", "NONE", "nOnE", ""] {
            let header = encode(with(self.header(), &json!({"alg": name})).to_string());
            for end in ["", signature, "AA"] {
                add(&format!("alg {name:?}"), format!("{header}.{payload}.{end}"));
            }
        }
        let jwk = self.key().jwk();
        let public = self.key().public();
        let mut secrets: Vec<Vec<u8>> = vec![
            public.to_vec(),
            encode(public).into_bytes(),
            jwk.to_string().into_bytes(),
            with(jwk.clone(), &json!({"kid": "k"})).to_string().into_bytes(),
            Vec::new(),
            self.jwks().to_string().into_bytes(),
        ];
        for member in ["n", "x", "y", "e"] {
            if let Some(text) = jwk.get(member).and_then(Value::as_str) {
                secrets.push(text.as_bytes().to_vec());
            }
        }
        let pem = base64_lines(public);
        secrets.push(format!("-----BEGIN PUBLIC KEY-----\n{pem}-----END PUBLIC KEY-----\n").into());
        for (name, function) in [
            ("HS256", hmac::HMAC_SHA256),
            ("HS384", hmac::HMAC_SHA384),
            ("HS512", hmac::HMAC_SHA512),
        ] {
            for secret in &secrets {
                let header = encode(with(self.header(), &json!({"alg": name})).to_string());
                let key = hmac::Key::new(function, secret);
                let tag = hmac::sign(&key, format!("{header}.{payload}").as_bytes());
                add(name, format!("{header}.{payload}.{}", encode(tag)));
            }
        }
        for name in ALGORITHMS {
            let same = name == self.algorithm
                || [name, self.algorithm].iter().all(|name| ["EdDSA", "Ed25519"].contains(name));
            if !same {
                // The real signature under another name.
                let header = with(self.header(), &json!({"alg": name}));
                add("another alg said", self.sign(&header, &claims()));
            }
            let family = |name: &str| name.starts_with(['R', 'P']);
            if self.names_algorithm && !same && family(name) && family(self.algorithm) {
                let header = with(self.header(), &json!({"alg": name}));
                let token = self.key().token(name, &header, &claims());
                add("a true signature of an algorithm the key is not for", token);
            }
        }

        // Headers, truly signed.
        for changes in [
            json!({"alg": null}),
            json!({"alg": [self.algorithm]}),
            json!({"alg": self.algorithm.to_lowercase()}),
            json!({"alg": format!("{} ", self.algorithm)}),
            json!({"alg": "ES512"}),
            json!({"alg": "ES256K"}),
            json!({"typ": "logout+jwt"}),
            json!({"typ": "dpop+jwt"}),
            json!({"typ": "secevent+jwt"}),
            json!({"typ": null}),
            json!({"typ": ["JWT"]}),
            json!({"crit": ["b64"], "b64": false}),
            json!({"crit": []}),
            json!({"crit": null}),
            json!({"crit": ["exp"]}),
            json!({"b64": true}),
            json!({"zip": "DEF"}),
            json!({"enc": "A128GCM"}),
            json!({"kid": null}),
            json!({"kid": 1}),
            json!({"kid": ["k"]}),
            json!({"kid": "k".repeat(513)}),
        ] {
            let token = self.sign(&with(self.header(), &changes), &claims());
            add(&format!("header {changes}"), token);
        }
        for text in [
            format!(r#"{{"alg":"{0}","alg":"{0}","kid":"k"}}"#, self.algorithm),
            format!(r#"{{"alg":"{0}","kid":"k","kid":"k"}}"#, self.algorithm),
            format!(r#"[{{"alg":"{0}"}}]"#, self.algorithm),
            format!(r#"{{"alg":"{0}"}} {{}}"#, self.algorithm),
            format!(r#"{{"alg":"{0}","x":{1}}}"#, self.algorithm, "[".repeat(3000)),
            "{}".to_owned(),
            "null".to_owned(),
        ] {
            let token = self.key().token_of_texts(self.algorithm, &text, &claims().to_string());
            add(&format!("header {text:.60}"), token);
        }

        // The attacker's own key, brought along or pretended to be known.
        let other = Signer::other(self.algorithm);
        for changes in [
            json!({}),
            json!({"jwk": other.jwk()}),
            json!({"jwk": other.named("k"), "kid": "k"}),
            json!({"jku": "http://127.0.0.1:1/jwks"}),
            json!({"x5u": "http://127.0.0.1:1/x", "x5c": [encode(other.public())]}),
            json!({"kid": "unknown"}),
            json!({"kid": ""}),
            json!({"kid": "K"}),
            json!({"kid": "k "}),
            json!({"kid": "../../dev/null"}),
            json!({"kid": "' OR 1=1 --"}),
            json!({"kid": "k\u{0}"}),
        ] {
            let header = with(self.header(), &changes);
            add(&format!("own key {changes}"), other.token(self.algorithm, &header, &claims()));
        }
        if self.kid != Kid::Missing {
            let header = with(self.header(), &json!({"kid": "unknown"}));
            add("a good signature under an unknown kid", self.sign(&header, &claims()));
        }

        // Claims, truly signed.
        for changes in [
            json!({"exp": NOW - 60}),
            json!({"exp": 0}),
            json!({"exp": null}),
            json!({"exp": (NOW + 300).to_string()}),
            json!({"exp": [NOW + 300]}),
            json!({"exp": -1}),
            json!({"exp": u64::MAX}),
            json!({"exp": 1e300}),
            json!({"nbf": NOW + 61}),
            json!({"nbf": "soon"}),
            json!({"nbf": null}),
            json!({"iat": NOW + 61}),
            json!({"iat": NOW - 86_460}),
            json!({"iss": "https://issuer.example/realm/"}),
            json!({"iss": "https://Issuer.example/realm"}),
            json!({"iss": "https://issuer.example"}),
            json!({"iss": [ISSUER]}),
            json!({"iss": null}),
            json!({"iss": ""}),
            json!({"aud": "https://monitor.example/mcp/"}),
            json!({"aud": "https://monitor.example"}),
            json!({"aud": "other"}),
            json!({"aud": ["other"]}),
            json!({"aud": []}),
            json!({"aud": null}),
            json!({"aud": true}),
            json!({"aud": 1}),
            json!({"aud": {AUDIENCE: 1}}),
            json!({"aud": [[AUDIENCE]]}),
            json!({"aud": [AUDIENCE, 1]}),
            json!({"cnf": {"jkt": "x"}}),
            json!({"events": {}}),
            json!({"code": "x", "state": "y"}),
            json!({"s_hash": "x"}),
            json!({"c_hash": "x"}),
            json!({"typ": "ID"}),
            json!({"typ": "Refresh"}),
            json!({"aud": "https://another.example", "nonce": "n"}),
            json!({"aud": "https://another.example", "at_hash": "h"}),
            json!({"sub": 1}),
            json!({"client_id": ["c"]}),
        ] {
            let token = self.sign(&self.header(), &with(claims(), &changes));
            add(&format!("claims {changes}"), token);
        }
        for member in ["iss", "aud", "exp", "sub"] {
            let token = self.sign(&self.header(), &without(claims(), member));
            add(&format!("claims without {member}"), token);
        }
        let open = claims().to_string();
        let open = open.strip_suffix('}').unwrap();
        for text in [
            format!(r#"{open},"exp":{}}}"#, NOW + 900),
            format!(r#"{open},"aud":"other"}}"#),
            format!(r#"{open},"iss":"other"}}"#),
            format!(r#"{open},"\u0073ub":"admin"}}"#),
            format!("{open}}}}}"),
            open.to_owned(),
            format!("[{open}}}]"),
            "null".to_owned(),
            format!(r#"{open},"x":{}}}"#, "[".repeat(3000)),
            format!("\u{feff}{open}}}"),
        ] {
            let header = self.header().to_string();
            let token = self.key().token_of_texts(self.algorithm, &header, &text);
            add(&format!("claims text {text:.60}"), token);
        }
        tokens
    }
}

fn base64_lines(bytes: &[u8]) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(bytes);
    text.as_bytes().chunks(64).fold(String::new(), |mut lines, line| {
        let _ = writeln!(lines, "{}", std::str::from_utf8(line).unwrap());
        lines
    })
}

/// One server, a JWK set at each number.
async fn serve(sets: Vec<Value>) -> (String, JoinSet<()>) {
    let set =
        async |State(sets): State<Arc<Vec<Value>>>, Path(at): Path<usize>| Json(sets[at].clone());
    let routes = Router::new().route("/{at}", get(set)).with_state(Arc::new(sets));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { axum::serve(listener, routes).await.unwrap() });
    (url, tasks)
}

fn settings(jwks_url: &str) -> AuthSettings {
    AuthSettings {
        issuers: vec![Issuer {
            name: ISSUER.to_owned(),
            jwks_url: Some(jwks_url.parse().unwrap()),
        }],
        audiences: vec!["https://another.example".to_owned(), AUDIENCE.to_owned()],
        resource: AUDIENCE.to_owned(),
        ..AuthSettings::default()
    }
}

fn start(settings: &AuthSettings, tasks: &mut JoinSet<()>) -> Verifier {
    let verifier = Verifier::new(settings).unwrap();
    let refreshing = verifier.clone();
    tasks.spawn(async move { refreshing.refresh().await });
    verifier
}

#[tokio::test]
async fn every_legal_token_is_taken_and_every_hostile_one_refused() {
    let _clock = by_turns(TURN);
    let forms = Form::all();
    let (url, mut tasks) = serve(forms.iter().map(|form| form.jwks()).collect()).await;
    let (mut taken, mut refused) = (0, 0);
    for (at, form) in forms.iter().enumerate() {
        let verifier = start(&settings(&format!("{url}/{at}")), &mut tasks);
        let good = form.good();
        for (name, token) in form.legal() {
            let verdict = verifier.verify(&token, now()).await;
            assert!(verdict.is_ok(), "{form:?}: {name}: {verdict:?}");
            taken += 1;
        }
        for (name, token) in form.hostile() {
            let verdict = verifier.verify(&token, now()).await;
            assert!(matches!(verdict, Err(Refusal::Invalid(_))), "{form:?}: {name}: {verdict:?}");
            refused += 1;
        }
        assert!(verifier.verify(&good, now()).await.is_ok(), "{form:?}");
    }
    println!("{taken} legal tokens taken, {refused} hostile ones refused");
    assert!(taken >= 500 && refused >= 5000, "{taken} taken, {refused} refused");
}

/// The verifier, at the time that the tokens are made for.
struct Then(Verifier);

#[async_trait]
impl Verify for Then {
    async fn verify(&self, token: &str, _: Timestamp) -> Result<Caller, Refusal> {
        self.0.verify(token, now()).await
    }
}

/// A gateway whose callers say through a proxy who they are, so that none comes too often.
async fn door(verifier: Verifier) -> Server {
    let issuer = format!("--mcp-issuer={ISSUER}");
    let proxy = "--trusted-proxies=127.0.0.1/32";
    let base = "--base-url=https://monitor.example";
    let config = config(&["--url=http://127.0.0.1:1", &issuer, base, proxy]);
    let collectors = Collectors::new(config.collectors).unwrap();
    let admission = Admission::of(&config.mcp, Some(Arc::new(Then(verifier))));
    let (drain, gateway) = (Drain::default(), Gateway::new(collectors.clone(), false));
    Server::start(mcp::router(gateway, collectors, &config.mcp, &admission, &drain.cut), drain)
        .await
}

/// The token with one character changed, in `count` places.
fn misspelt(token: &str, count: usize) -> Vec<(String, String)> {
    let step = (token.len() / count).max(1);
    let places = (0..token.len()).step_by(step).filter(|at| token.as_bytes()[*at] != b'.');
    let change = |at: usize| {
        let other = if &token[at..=at] == "A" { "B" } else { "A" };
        (format!("character {at}"), format!("{}{other}{}", &token[..at], &token[at + 1..]))
    };
    places.map(change).collect()
}

#[tokio::test]
async fn no_hostile_token_passes_the_door_and_every_legal_one_does() {
    let _clock = by_turns(TURN);
    let forms: Vec<Form> = Form::all().into_iter().step_by(size(13, 1)).collect();
    let (url, mut tasks) = serve(forms.iter().map(|form| form.jwks()).collect()).await;
    let (mut seen, mut taken, mut callers) = (HashSet::new(), 0, 0_u32);
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).to_string();
    for (at, form) in forms.iter().enumerate() {
        let server = door(start(&settings(&format!("{url}/{at}")), &mut tasks)).await;
        let mut status = async |token: &str| {
            callers += 1;
            let [_, a, b, c] = callers.to_be_bytes();
            // What cannot be sent needs no refusal.
            let bearer = HeaderValue::from_bytes(format!("Bearer {token}").as_bytes()).ok()?;
            let request = server.post(list.clone()).header(AUTHORIZATION, bearer);
            let request = request.header("x-forwarded-for", format!("10.{a}.{b}.{c}"));
            Some(request.send().await.unwrap().status().as_u16())
        };
        let good = form.good();
        for (name, token) in form.legal() {
            assert_eq!(status(&token).await, Some(200), "{form:?}: {name}");
            taken += 1;
        }
        for (name, token) in form.hostile().into_iter().chain(misspelt(&good, size(20, 280))) {
            // RFC 6750 §2.1: one space or more before a token are the header's.
            if token.starts_with(' ') {
                continue;
            }
            match status(&token).await {
                Some(400 | 401 | 431) => seen.insert(token),
                None => continue,
                answer => panic!("{form:?}: {name}: {answer:?}"),
            };
        }
        assert_eq!(status(&good).await, Some(200), "{form:?}");
    }
    println!("{taken} legal tokens taken, {} distinct hostile ones refused", seen.len());
    assert!(taken >= size(50, 500) && seen.len() >= size(500, 20_000), "{taken}, {}", seen.len());
}

#[tokio::test]
async fn strict_mode_takes_only_access_tokens() {
    let _clock = by_turns(TURN);
    let form = Form { algorithm: "ES256", names_algorithm: true, kid: Kid::Once };
    let (url, mut tasks) = serve(vec![form.jwks()]).await;
    let strict = AuthSettings { strict_type: true, ..settings(&format!("{url}/0")) };
    let verifier = start(&strict, &mut tasks);
    let verify =
        async |header: Value| verifier.verify(&form.sign(&header, &claims()), now()).await.is_ok();
    assert!(verify(form.header()).await);
    assert!(!verify(without(form.header(), "typ")).await);
    assert!(!verify(with(form.header(), &json!({"typ": "JWT"}))).await);
}

#[tokio::test]
async fn a_token_becomes_a_caller() {
    let _clock = by_turns(TURN);
    let form = Form { algorithm: "ES256", names_algorithm: true, kid: Kid::Once };
    let (url, mut tasks) = serve(vec![form.jwks()]).await;
    let allowed = Allowed { emails: vec!["a@b.example".into()], ..Allowed::default() };
    let settings = AuthSettings { allowed, scopes: true, ..settings(&format!("{url}/0")) };
    let verifier = start(&settings, &mut tasks);
    let verify = async |changes: Value| {
        let token = form.sign(&form.header(), &with(claims(), &changes));
        verifier.verify(&token, now()).await
    };
    let changes = json!({"email": "A@b.example", "client_id": "c", "scope": "logs:read x"});
    let caller = verify(changes).await.unwrap();
    assert_eq!(caller.admitted_by, AdmittedBy::Email);
    assert_eq!(caller.issuer.as_deref(), Some(ISSUER));
    assert_eq!(caller.subject.as_deref(), Some("s"));
    assert_eq!(caller.email.as_deref(), Some("A@b.example"));
    assert_eq!(caller.client.as_deref(), Some("c"));
    assert_eq!(caller.scopes, Some(vec![Scope::LogsRead]));
    assert_eq!(caller.expires_at.map(Timestamp::as_second), Some(NOW + 300 + 60));
    let somebody = verify(json!({"email": "x@b.example"})).await;
    assert!(matches!(somebody, Err(Refusal::NotAllowed(_))), "{somebody:?}");
}

#[test]
fn a_verifier_without_an_audience_is_not_made() {
    let settings = AuthSettings { audiences: Vec::new(), ..settings("https://k.example") };
    let error = Verifier::new(&settings).unwrap_err().to_string();
    assert!(error.contains("MAINTENANT_MCP_AUDIENCE"), "{error}");
}

#[tokio::test]
async fn without_issuers_no_token_is_taken() {
    let verifier = Verifier::new(&AuthSettings::default()).unwrap();
    let form = Form { algorithm: "EdDSA", names_algorithm: true, kid: Kid::Once };
    let verdict = verifier.verify(&form.good(), now()).await;
    assert_eq!(verdict, Err(Refusal::Invalid("iss is none of the issuers")));
    assert!(tokio::time::timeout(Duration::ZERO, verifier.refresh()).await.is_err());
}
