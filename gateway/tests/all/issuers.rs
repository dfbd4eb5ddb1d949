//! Issuers as servers: where their keys are found, and what they do wrong.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{FutureExt, poll};
use jiff::Timestamp;
use maintenant_gateway::auth::Verifier;
use maintenant_gateway::auth::discovery::Http;
use maintenant_gateway::auth::refresh::{COOLDOWN, Fetch};
use maintenant_gateway::auth::settings::{AuthSettings, Issuer};
use maintenant_serve::listener::{self, ConnectionLimits, Drain, Listener};
use maintenant_serve::process::install_crypto;
use maintenant_serve::tls::{Tls, TlsFiles};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, advance, pause, resume, sleep, timeout};

use crate::clock::{TURN, by_turns};
use crate::fake::nobody;
use crate::goals::size;
use crate::signer::Signer;

/// What a server does with a request for a path.
#[derive(Clone)]
pub(crate) enum Act {
    /// Sends these bytes and closes.
    Send(Vec<u8>),
    /// Sends these and then nothing, for ever.
    Stall(Vec<u8>),
    /// Sends these, one at a time.
    Drip(Vec<u8>),
}

pub(crate) fn ok(body: &str) -> Act {
    answer("200 OK", "Content-Type: application/json\r\n", body)
}

pub(crate) fn answer(status: &str, headers: &str, body: &str) -> Act {
    let length = body.len();
    let text = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\n\r\n{body}");
    Act::Send(text.into_bytes())
}

type Script = Arc<Mutex<Box<dyn Fn(&str) -> Act + Send>>>;

/// A server by script, without an HTTP library between the script and the wire.
pub(crate) struct Server {
    pub(crate) url: String,
    act: Script,
    pub(crate) paths: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl Server {
    pub(crate) async fn new(act: impl Fn(&str) -> Act + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let act: Script = Arc::new(Mutex::new(Box::new(act)));
        let paths = Arc::new(Mutex::new(Vec::new()));
        let (script, seen) = (act.clone(), paths.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, script.clone(), seen.clone()));
            }
        });
        Self { url, act, paths, _tasks: tasks }
    }

    pub(crate) fn now(&self, act: impl Fn(&str) -> Act + Send + 'static) {
        *self.act.lock().unwrap() = Box::new(act);
    }

    fn keys(&self) -> Http {
        let jwks_url = Some(format!("{}/jwks", self.url).parse().unwrap());
        let issuer = Issuer { name: "i".to_owned(), jwks_url };
        Http::new(&issuer, &AuthSettings::default())
            .unwrap()
            .with_deadline(Duration::from_millis(500))
    }
}

async fn serve(mut stream: TcpStream, script: Script, seen: Arc<Mutex<Vec<String>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1).unwrap().to_owned();
    assert!(!head.to_lowercase().contains("accept-encoding"), "{head}");
    let act = script.lock().unwrap()(&path);
    seen.lock().unwrap().push(path);
    match act {
        Act::Send(bytes) => {
            let _ = stream.write_all(&bytes).await;
        }
        Act::Stall(bytes) => {
            let _ = stream.write_all(&bytes).await;
            std::future::pending::<()>().await;
        }
        Act::Drip(bytes) => {
            for byte in bytes {
                if stream.write_all(&[byte]).await.is_err() {
                    return;
                }
                sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Moves the monotonic clock of a test on real sockets: what rests until then is due.
async fn jump(by: Duration) {
    pause();
    advance(by).await;
    resume();
}

fn jwks() -> String {
    json!({"keys": [Signer::good("ES256").named("a")]}).to_string()
}

#[tokio::test]
async fn every_fault_of_an_issuer_is_told_in_time_and_passes() {
    let _clock = by_turns(TURN);
    let elsewhere = Server::new(|_| ok(&jwks())).await;
    let location = format!("Location: {}/jwks\r\n", elsewhere.url);
    let good = jwks();
    let whole =
        |body: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let bytes = whole(&good).into_bytes();
    let huge = format!("{}{}", good, " ".repeat(256 * 1024));
    let endless = format!("HTTP/1.1 200 OK\r\n\r\n{}", " ".repeat(4 << 20));
    let faults: Vec<(&str, Act, &str)> = vec![
        ("closes", Act::Send(Vec::new()), ""),
        ("says nothing", Act::Stall(Vec::new()), "no answer within"),
        ("stops in the head", Act::Stall(bytes[..20].to_vec()), "no answer within"),
        ("stops in the body", Act::Stall(bytes[..bytes.len() - 9].to_vec()), "no answer within"),
        ("drips", Act::Drip(bytes.clone()), "no answer within"),
        ("ends early", Act::Send(bytes[..bytes.len() - 9].to_vec()), ""),
        ("is no HTTP", Act::Send(b"SSH-2.0-OpenSSH_9.2\r\n\r\n".to_vec()), ""),
        ("301", answer("301 Moved Permanently", &location, &good), "redirects (status 301)"),
        ("302", answer("302 Found", &location, &good), "redirects (status 302)"),
        ("307", answer("307 Temporary Redirect", &location, &good), "redirects (status 307)"),
        ("401", answer("401 Unauthorized", "", &good), "status 401"),
        ("404", answer("404 Not Found", "", &good), "status 404"),
        ("429", answer("429 Too Many Requests", "Retry-After: 1\r\n", ""), "status 429"),
        ("500", answer("500 Internal Server Error", "", &good), "status 500"),
        ("503", answer("503 Service Unavailable", "", ""), "status 503"),
        ("204", answer("204 No Content", "", ""), "status 204"),
        ("an empty body", ok(""), "no JWK set"),
        ("HTML", ok("<!doctype html><html></html>"), "no JWK set"),
        ("half a set", ok(&good[..good.len() - 2]), "no JWK set"),
        ("another document", ok(r#"{"error":"x"}"#), "no JWK set"),
        ("no keys", ok(r#"{"keys":[]}"#), "no usable key"),
        ("a secret key", ok(r#"{"keys":[{"kty":"oct","k":"AAAA"}]}"#), "a symmetric key"),
        ("a huge set", ok(&huge), "larger than 256 KiB"),
        ("an endless set", Act::Send(endless.into_bytes()), "larger than 256 KiB"),
    ];
    let server = Server::new(|_| ok(&jwks())).await;
    let keys = server.keys();
    let cycles = size(1, 100);
    println!("{} kinds, {cycles} cycles each", faults.len());
    for (name, act, part) in (0..cycles).flat_map(|_| faults.clone()) {
        server.now(move |_| act.clone());
        let fetched = timeout(Duration::from_secs(30), keys.fetch()).await.expect(name);
        let error = fetched.err().unwrap_or_else(|| panic!("{name}: taken"));
        assert!(error.contains(part), "{name}: {error}");
        server.now(|_| ok(&jwks()));
        assert_eq!(keys.fetch().await.map(|set| set.count()), Ok(1), "after {name}");
    }
    assert!(elsewhere.paths.lock().unwrap().is_empty(), "a redirect was followed");
}

#[tokio::test]
async fn an_issuer_that_does_not_listen_is_named_as_such() {
    let jwks_url = Some(nobody().parse().unwrap());
    let issuer = Issuer { name: "i".to_owned(), jwks_url };
    let error = Http::new(&issuer, &AuthSettings::default()).unwrap().fetch().await.err().unwrap();
    assert!(error.contains("cannot connect"), "{error}");
}

/// Which paths are asked for, when the metadata is at `at` below an issuer with `path`.
async fn discover(path: &str, at: &str, keys_at: &str) -> (Result<usize, String>, Vec<String>) {
    let server = Server::new(|_| answer("404 Not Found", "", "")).await;
    let name = format!("{}{path}", server.url);
    let metadata = json!({"issuer": name, "jwks_uri": format!("{}{keys_at}", server.url)});
    let (at, keys_at) = (at.to_owned(), keys_at.to_owned());
    server.now(move |asked| match asked {
        asked if asked == at => ok(&metadata.to_string()),
        asked if asked == keys_at => ok(&jwks()),
        _ => answer("404 Not Found", "", "no"),
    });
    let issuer = Issuer { name, jwks_url: None };
    let http = Http::new(&issuer, &AuthSettings::default()).unwrap();
    let keys = http.fetch().await.map(|set| set.count());
    let paths = server.paths.lock().unwrap().clone();
    (keys, paths)
}

#[tokio::test]
async fn keys_are_discovered_at_each_place_a_specification_names() {
    let oauth = "/.well-known/oauth-authorization-server";
    let openid = "/.well-known/openid-configuration";
    let check = async |path: &str, at: &str, asked: &[&str]| {
        // The double slash is Glewlwyd's.
        let (keys, paths) = discover(path, at, "//api/jwks").await;
        assert_eq!(keys, Ok(1), "{path} {at}");
        assert_eq!(paths, [asked, &["//api/jwks"]].concat());
    };
    check("", oauth, &[oauth]).await;
    check("", openid, &[oauth, openid]).await;
    let (first, second, third) =
        (format!("{oauth}/a/b"), format!("{openid}/a/b"), format!("/a/b{openid}"));
    check("/a/b", &first, &[&first]).await;
    check("/a/b", &second, &[&first, &second]).await;
    check("/a/b", &third, &[&first, &second, &third]).await;
    let (keys, paths) = discover("/a/b", "/elsewhere", "/jwks").await;
    assert!(keys.unwrap_err().contains("no metadata of the issuer"));
    assert_eq!(paths.len(), 3);
}

#[tokio::test]
async fn metadata_of_another_issuer_gives_no_keys() {
    let server = Server::new(|_| ok("{}")).await;
    let own = server.url.clone();
    let cases = [
        (format!("{own}/"), format!("{own}/jwks"), "byte for byte"),
        ("https://other.example".to_owned(), format!("{own}/jwks"), "byte for byte"),
        (own.clone(), "https://k.example/jwks".to_owned(), "not http as the issuer"),
        (own.clone(), "http://k.example/jwks".to_owned(), "http is for loopback"),
    ];
    let issuer = Issuer { name: own, jwks_url: None };
    let http = Http::new(&issuer, &AuthSettings::default()).unwrap();
    for (name, jwks_uri, part) in cases {
        let metadata = json!({"issuer": name, "jwks_uri": jwks_uri}).to_string();
        server.now(move |path| if path == "/jwks" { ok(&jwks()) } else { ok(&metadata) });
        let error = http.fetch().await.err().unwrap();
        assert!(error.contains(part), "{error}");
    }
    assert!(!server.paths.lock().unwrap().iter().any(|path| path == "/jwks"));
}

#[tokio::test]
async fn metadata_are_bounded_as_keys_are() {
    let _clock = by_turns(TURN);
    let server = Server::new(|_| ok("{}")).await;
    let (name, elsewhere) = (server.url.clone(), format!("Location: {}/x\r\n", server.url));
    let good = json!({"issuer": name, "jwks_uri": format!("{name}/jwks")}).to_string();
    let huge = format!("{good}{}", " ".repeat(256 * 1024));
    let cases = [
        (ok(&huge), "larger than 256 KiB"),
        (answer("302 Found", &elsewhere, &good), "redirects (status 302)"),
        (answer("500 Internal Server Error", "", &good), "status 500"),
        (Act::Stall(Vec::new()), "no answer within"),
        (Act::Drip(format!("HTTP/1.1 200 OK\r\n\r\n{good}").into_bytes()), "no answer within"),
    ];
    let issuer = Issuer { name, jwks_url: None };
    let http = Http::new(&issuer, &AuthSettings::default()).unwrap();
    let http = http.with_deadline(Duration::from_millis(500));
    for (act, part) in cases {
        server.now(move |path| if path == "/jwks" { ok(&jwks()) } else { act.clone() });
        let error = http.fetch().await.err().unwrap();
        assert!(error.contains(part), "{error}");
        let good = good.clone();
        server.now(move |path| if path == "/jwks" { ok(&jwks()) } else { ok(&good) });
        assert_eq!(http.fetch().await.map(|set| set.count()), Ok(1), "after {part}");
    }
    assert!(!server.paths.lock().unwrap().iter().any(|path| path == "/x"));
}

#[tokio::test]
async fn an_issuer_with_its_own_ca_is_reached_and_a_stranger_is_not() {
    install_crypto();
    let folder = tempfile::tempdir().unwrap();
    let files = ["issuer", "stranger"].map(|name| {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let path = |kind: &str| folder.path().join(format!("{name}.{kind}"));
        std::fs::write(path("pem"), made.cert.pem()).unwrap();
        std::fs::write(path("key"), made.signing_key.serialize_pem()).unwrap();
        (path("pem"), path("key"))
    });
    let (certificate, key) = files[0].clone();
    let tls = Tls::load(TlsFiles { certificate: certificate.clone(), key, client_ca: None });
    let tls = Arc::new(tls.unwrap());
    let address = "127.0.0.1:0".parse().unwrap();
    let listener = Listener::bind(&address, Some(tls)).await.unwrap();
    let port = listener.address().rsplit(':').next().unwrap().to_owned();
    let body = jwks().parse::<Value>().unwrap();
    let routes =
        axum::Router::new().route("/jwks", axum::routing::get(async move || axum::Json(body)));
    let mut tasks = JoinSet::new();
    let limits = ConnectionLimits::default();
    tasks.spawn(listener::serve(listener, routes, limits, Drain::default()));
    let fetch = async |ca: Option<std::path::PathBuf>| {
        let jwks_url = Some(format!("https://localhost:{port}/jwks").parse().unwrap());
        let settings = AuthSettings { issuer_ca: ca, ..AuthSettings::default() };
        let issuer = Issuer { name: "i".to_owned(), jwks_url };
        Http::new(&issuer, &settings).unwrap().fetch().await.map(|set| set.count())
    };
    assert_eq!(fetch(Some(certificate)).await, Ok(1));
    assert!(fetch(Some(files[1].0.clone())).await.unwrap_err().contains("cannot connect"));
    assert!(fetch(None).await.is_err());
    let missing = fetch(Some("/nowhere.pem".into())).await.unwrap_err();
    assert!(missing.contains("MAINTENANT_MCP_ISSUER_CA"), "{missing}");
}

#[tokio::test]
async fn a_hanging_issuer_takes_nothing_from_those_whose_key_is_known() {
    let hanging = Arc::new(AtomicUsize::new(0));
    let asked = hanging.clone();
    // Answers once, then never.
    let server = Server::new(move |_| match asked.fetch_add(1, Ordering::SeqCst) {
        0 => ok(&jwks()),
        _ => Act::Stall(Vec::new()),
    })
    .await;
    let jwks_url = Some(format!("{}/jwks", server.url).parse().unwrap());
    let settings = AuthSettings {
        issuers: vec![Issuer { name: "i".to_owned(), jwks_url }],
        audiences: vec!["m".to_owned()],
        ..AuthSettings::default()
    };
    let verifier = Verifier::new(&settings).unwrap();
    let mut tasks = JoinSet::new();
    let refreshing = verifier.clone();
    tasks.spawn(async move { refreshing.refresh().await });
    // The first keys may take longer than a call waits for them.
    while !verifier.state()[0].usable {
        sleep(Duration::from_millis(2)).await;
    }
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    let token = |signer: &Signer, kid: &str| {
        let claims = json!({"iss": "i", "aud": "m", "exp": now.as_second() + 300, "sub": "s"});
        signer.token("ES256", &json!({"alg": "ES256", "kid": kid}), &claims)
    };
    let good = token(Signer::good("ES256"), "a");
    assert!(verifier.verify(&good, now).await.is_ok());
    let (calls, begin) = (size(200, 20_000), Instant::now());
    let (mut quiet, mut flooded) = (Vec::new(), Vec::new());
    for _ in 0..calls {
        let began = Instant::now();
        assert!(verifier.verify(&good, now).await.is_ok());
        quiet.push(began.elapsed());
    }
    for n in 0..calls {
        let forged = token(Signer::other("ES256"), &format!("made-up-{n}"));
        assert!(verifier.verify(&forged, now).await.is_err());
        let began = Instant::now();
        assert!(verifier.verify(&good, now).await.is_ok());
        flooded.push(began.elapsed());
    }
    let allowed = 1 + begin.elapsed().as_secs() / COOLDOWN.as_secs();
    let before = hanging.load(Ordering::SeqCst);
    assert!(before as u64 <= allowed);

    // After the cool-down one forged token makes one fetch, which hangs; who made it waits, others
    // do not.
    jump(COOLDOWN).await;
    let forged = ["late", "later"].map(|kid| token(Signer::other("ES256"), kid));
    let (mut late, mut later) =
        (pin!(verifier.verify(&forged[0], now)), pin!(verifier.verify(&forged[1], now)));
    for _ in 0..100 {
        assert!(poll!(&mut late).is_pending() && poll!(&mut later).is_pending());
        assert!(verifier.verify(&good, now).now_or_never().is_some_and(|taken| taken.is_ok()));
    }
    assert!(late.await.is_err() && later.await.is_err());
    // The fetch may still be on its way.
    while hanging.load(Ordering::SeqCst) == before {
        sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(hanging.load(Ordering::SeqCst), before + 1);
    let p99 = |mut times: Vec<Duration>| {
        times.sort();
        times[times.len() * 99 / 100]
    };
    let (quiet, flooded) = (p99(quiet), p99(flooded));
    println!("verification p99: {quiet:?} quiet, {flooded:?} between {calls} forged tokens");
    // The goals' own bounds, where the machine is theirs alone.
    assert!(size(true, flooded < Duration::from_millis(5) && flooded <= quiet * 2));
}
