//! `check`: each failure has its sentence, and no secret is told.

use std::path::Path;
use std::sync::Arc;

use axum::routing::get;
use axum::{Json, Router};
use jiff::Timestamp;
use maintenant_gateway::check::{Finding, Outcome, Report, examine};
use maintenant_serve::clock;
use maintenant_serve::listener::{ConnectionLimits, Drain, Listener, serve};
use maintenant_serve::process::install_crypto;
use maintenant_serve::settings::Secret;
use maintenant_serve::tls::{Tls, TlsFiles};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::fake::{Answer, Fake, config, contract, error, nameless, nobody};
use crate::signer::Signer;

const CANARY: &str = "canary-7d1f0a93b5c84e26a1d0-canary";
const AUDIENCE: &str = "http://localhost:8080/mcp";

async fn report(arguments: &[&str], token: Option<&str>) -> Report {
    install_crypto();
    let token = token.map(Secret::new);
    let report = Box::pin(examine(config(arguments), token)).await.unwrap();
    let told = format!("{report}{}", serde_json::to_string(&report).unwrap());
    assert!(!told.contains(CANARY), "{told}");
    assert!(!told.contains('\u{1b}'), "{told}");
    report
}

fn all(report: &Report) -> impl Iterator<Item = &Finding> {
    report.parts.iter().flat_map(|part| &part.findings)
}

/// The report has this finding, and fails when one of its findings does.
fn has(report: &Report, result: Outcome, about: &str, part: &str) {
    let found = all(report).any(|finding| {
        finding.result == result && finding.about == about && finding.text.contains(part)
    });
    assert!(found, "{result:?} {about} {part}: {report}");
    assert_eq!(report.ok, all(report).all(|finding| finding.result != Outcome::Fails));
}

async fn fails(arguments: &[&str], about: &str, part: &str) -> Report {
    let report = report(arguments, None).await;
    has(&report, Outcome::Fails, about, part);
    report
}

/// What a collector in order answers.
fn sound(path: &str, nth: usize) -> Answer {
    let route = path.split('?').next().unwrap();
    match route {
        "edition" => (200, json!({"edition": "enterprise"})),
        "endpoints" => (200, json!({"endpoints": [], "total": 0})),
        "heartbeats" => (200, json!({"heartbeats": [], "total": 0})),
        "certificates" => (200, json!({"certificates": []})),
        _ => contract(path, nth),
    }
}

#[tokio::test]
async fn a_collector_in_order_is_well_and_what_it_lacks_is_a_warning() {
    let fake = Fake::tcp(sound).await;
    let report = report(&["--url", &fake.url], None).await;
    assert!(report.ok, "{report}");
    has(&report, Outcome::Ok, "reached", "version 1.2.11");
    has(&report, Outcome::Ok, "token", "none is asked for");
    has(&report, Outcome::Ok, "runtime", "connected to docker");
    has(&report, Outcome::Ok, "edition", "enterprise");
    has(&report, Outcome::Ok, "routes", "answer readably");
    has(&report, Outcome::Warning, "routes", "alerts");
    has(&report, Outcome::Warning, "allowed", "MAINTENANT_MCP_ISSUER");
    assert!(fake.writes().is_empty());
    assert!(report.to_string().ends_with("all well\n"), "{report}");
}

#[tokio::test]
async fn who_cannot_be_reached_is_told_with_the_cause() {
    let url = nobody();
    fails(&["--url", &url], "reached", "nobody listens").await;
    fails(&["--url", &nameless()], "reached", "does not resolve").await;
    fails(&["--url", "unix:/nowhere/m.sock"], "reached", "socket does not exist").await;
    let one = ["--url", &format!("a={url},b=unix:/nowhere/m.sock")];
    let report = fails(&one, "reached", "Collector `a` cannot").await;
    has(&report, Outcome::Fails, "reached", "Collector `b` cannot");
    assert!(!all(&report).any(|finding| finding.about == "routes"), "{report}");
}

#[tokio::test]
async fn what_is_no_maintenant_is_told() {
    let check = async |answer: Answer, part: &'static str| {
        let fake = Fake::tcp(move |_, _| answer.clone()).await;
        fails(&["--url", &fake.url], "maintenant", part).await;
    };
    check((404, json!("nothing here")), "does not point at a collector").await;
    check((200, json!("<html>\u{1b}[2J")), "sends no JSON").await;
    check((200, json!([1])), "cannot read").await;
    check(error(500, "X\u{1b}[31m", "broken"), "status 500").await;
}

#[tokio::test]
async fn a_token_is_missing_wrong_or_taken_and_never_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, CANARY).unwrap();
    let file = file.display().to_string();
    let guarded = |path: &str, nth| match path {
        "health" => sound(path, nth),
        _ => error(401, "UNAUTHORIZED", "a token is needed"),
    };
    let fake = Fake::tcp(guarded).await;
    fails(&["--url", &fake.url], "token", "the gateway has none").await;
    let wrong = ["--url", &fake.url, "--api-token-file", &file];
    fails(&wrong, "token", "refused the gateway's credentials").await;
    let fake = Fake::tcp(sound).await;
    let right = report(&["--url", &fake.url, "--api-token-file", &file], None).await;
    has(&right, Outcome::Ok, "token", "takes it");
    let seen = fake.requests.lock().unwrap().first().unwrap().authorization.clone();
    assert_eq!(seen, Some(format!("Bearer {CANARY}")));
    let clear = ["--url", &nameless(), "--api-token-file", &file];
    has(&report(&clear, None).await, Outcome::Warning, "token", "plain http");
}

#[tokio::test]
async fn the_engine_the_edition_and_unreadable_routes_are_told() {
    let fake = Fake::tcp(|path, nth| match path.split('?').next().unwrap() {
        "runtime/status" => {
            let error = format!("no socket\u{1b}[31m password={CANARY}");
            (200, json!({"runtime": "docker", "connected": false, "error": error}))
        }
        "edition" => (
            200,
            json!({"edition": "community", "quotas": {"endpoints":
            {"used": 1, "limit": -1}}}),
        ),
        "certificates" | "silence" => (200, json!({"unheard": "of"})),
        "updates" => (200, json!([1])),
        "status/incidents" => error(403, "PRO_REQUIRED", "pro"),
        _ => sound(path, nth),
    })
    .await;
    let report = fails(&["--url", &fake.url], "runtime", "no socket").await;
    has(&report, Outcome::Warning, "edition", "acknowledge_alert, create_incident");
    has(&report, Outcome::Warning, "edition", "MAINTENANT_EDITION=extended");
    has(&report, Outcome::Fails, "routes", "updates: Collector `collector` sent an answer");
}

/// A collector with a certificate of its own making, and the files of that certificate.
pub(crate) async fn over_tls(folder: &Path, name: &str, last_year: i32, client_ca: bool) -> Tlsed {
    install_crypto();
    let mut made = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
    made.not_after = rcgen::date_time_ymd(last_year, 1, 1);
    let key = rcgen::KeyPair::generate().unwrap();
    let [certificate, key_file] = ["pem", "key"].map(|end| folder.join(format!("{name}.{end}")));
    std::fs::write(&certificate, made.self_signed(&key).unwrap().pem()).unwrap();
    std::fs::write(&key_file, key.serialize_pem()).unwrap();
    let client_ca = client_ca.then(|| certificate.clone());
    let files = TlsFiles { certificate: certificate.clone(), key: key_file, client_ca };
    let tls = Arc::new(Tls::load(files).unwrap());
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap(), Some(tls)).await.unwrap();
    let address = listener.address().replace("127.0.0.1", "localhost");
    let routes = Router::new().route("/api/v1/health", get(async || Json(json!({"status": "ok"}))));
    let mut task = JoinSet::new();
    task.spawn(serve(listener, routes, ConnectionLimits::default(), Drain::default()));
    Tlsed { address, certificate: certificate.display().to_string(), _task: task }
}

pub(crate) struct Tlsed {
    pub(crate) address: String,
    pub(crate) certificate: String,
    _task: JoinSet<()>,
}

#[tokio::test]
async fn every_fault_of_tls_has_its_own_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let stranger = over_tls(folder.path(), "stranger.example", 2096, false).await;
    let good = over_tls(folder.path(), "localhost", 2096, false).await;
    let url = |server: &Tlsed| format!("https://{}", server.address);
    let check = async |url: &str, ca: &str, part: &str| {
        fails(&["--url", url, "--ca-cert", ca], "reached", part).await;
    };
    let trusted = report(&["--url", &url(&good), "--ca-cert", &good.certificate], None).await;
    has(&trusted, Outcome::Ok, "reached", "version ?");
    check(&url(&good), &stranger.certificate, "set MAINTENANT_CA_CERT").await;
    check(&url(&stranger), &stranger.certificate, "for another name").await;
    let plain = format!("http://{}", good.address);
    check(&plain, &good.certificate, "speaks no plain HTTP").await;

    let folder = tempfile::tempdir().unwrap();
    let expired = over_tls(folder.path(), "localhost", 2020, false).await;
    check(&url(&expired), &expired.certificate, "has expired").await;
    let folder = tempfile::tempdir().unwrap();
    let closed = over_tls(folder.path(), "localhost", 2096, true).await;
    check(&url(&closed), &closed.certificate, "set MAINTENANT_CLIENT_CERT").await;
    let fake = Fake::tcp(sound).await;
    let no_tls = fake.url.replace("http://", "https://");
    check(&no_tls, &good.certificate, "it speaks no TLS").await;
}

fn keys(path: &str, _: usize) -> Answer {
    assert_eq!(path, "/jwks");
    (200, json!({"keys": [Signer::good("ES256").named("a")]}))
}

async fn with_issuer(
    answers: impl Fn(&str, usize) -> Answer + Send + Sync + 'static,
    settings: &[&str],
    token: Option<&str>,
) -> Report {
    let (issuer, collector) = (Fake::tcp(answers).await, Fake::tcp(sound).await);
    let jwks = format!("{}/jwks", issuer.url);
    let arguments =
        ["--url", &collector.url, "--mcp-issuer=https://id.example", "--mcp-jwks-url", &jwks];
    report(&[&arguments, settings].concat(), token).await
}

#[tokio::test]
async fn an_issuer_has_keys_or_says_why_not() {
    let good = with_issuer(keys, &["--mcp-allowed-email=a@example.org"], None).await;
    assert!(good.ok, "{good}");
    has(&good, Outcome::Ok, "keys", "1 usable, fetched at");
    has(&good, Outcome::Ok, "audience", AUDIENCE);
    has(&good, Outcome::Ok, "metadata", "/.well-known/oauth-protected-resource/mcp");
    has(&good, Outcome::Ok, "allowed", "email a@example.org");
    has(&good, Outcome::Warning, "allowed", "MAINTENANT_MCP_SUBJECT_AS_EMAIL");
    let missing = with_issuer(|_, _| (404, json!("no")), &[], None).await;
    has(&missing, Outcome::Fails, "keys", "status 404; check MAINTENANT_MCP_ISSUER");
    let secret = json!({"keys": [{"kty": "oct", "k": CANARY}]});
    let secret = with_issuer(move |_, _| (200, secret.clone()), &[], None).await;
    has(&secret, Outcome::Fails, "keys", "symmetric");
}

#[tokio::test]
async fn an_issuer_that_says_nothing_is_not_waited_for_long() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let jwks = format!("http://{}/jwks", listener.local_addr().unwrap());
    let url = nobody();
    let issuer = ["--url", &url, "--mcp-issuer=https://id.example", "--mcp-jwks-url", &jwks];
    fails(&issuer, "keys", "no answer within 5 s").await;
}

fn token(signer: &Signer, changed: &Value) -> String {
    let now: Timestamp = clock::now();
    let mut claims = json!({"iss": "https://id.example", "aud": AUDIENCE, "sub": "ann\u{1b}[31m",
        "email": "a@example.org", "iat": now.as_second(), "exp": now.as_second() + 300,
        "secret": CANARY});
    claims.as_object_mut().unwrap().extend(changed.as_object().unwrap().clone());
    signer.token("ES256", &json!({"alg": "ES256", "kid": "a"}), &claims)
}

#[tokio::test]
async fn a_token_is_let_in_with_what_it_may_or_refused_with_the_rule() {
    let check = async |settings: &[&str], token: &str, result, about: &str, part: &str| {
        let report = with_issuer(keys, settings, Some(token)).await;
        has(&report, result, about, part);
        let told = report.to_string();
        assert!(token.split('.').all(|part| part.len() < 9 || !told.contains(part)), "{told}");
    };
    let signer = Signer::good("ES256");
    let good = token(signer, &json!({}));
    check(&[], &good, Outcome::Ok, "token", "email `a@example.org`").await;
    check(&[], &good, Outcome::Ok, "scopes", "monitor:read, logs:read, monitor:write").await;
    let scopes = ["--mcp-scopes=true"];
    check(&scopes, &good, Outcome::Fails, "scopes", "may call nothing").await;
    let reads = token(signer, &json!({"scope": "openid monitor:read"}));
    check(&scopes, &reads, Outcome::Ok, "scopes", "it may monitor:read").await;
    let read_only = ["--mcp-read-only=true"];
    check(&read_only, &good, Outcome::Ok, "scopes", "but nothing that changes").await;
    let refused = async |settings: &[&str], token: &str, part: &str| {
        check(settings, token, Outcome::Fails, "token", part).await;
    };
    refused(&["--mcp-allowed-email=b@example.org"], &good, "not allowed").await;
    refused(&[], &token(signer, &json!({"aud": "https://other.example"})), "refused: ").await;
    refused(&[], &token(signer, &json!({"exp": 1})), "refused: ").await;
    refused(&[], &token(signer, &json!({"iss": "x"})), "none of the issuers").await;
    refused(&[], &token(Signer::other("ES256"), &json!({})), "signature is not").await;
    refused(&[], CANARY, "refused: ").await;
    refused(&[], &format!("Bearer {CANARY}"), "the token alone").await;
    let fake = Fake::tcp(sound).await;
    let open = report(&["--url", &fake.url], Some(CANARY)).await;
    has(&open, Outcome::Warning, "token", "not looked at");
}
