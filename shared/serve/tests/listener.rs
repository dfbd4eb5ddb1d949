//! The accept loop over real sockets: what is cut, what is finished, what is refused.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a failure in a helper is a failure of the test"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use maintenant_serve::guard::{BodyFault, BodyLimits, ConnectedAt, guarded};
use maintenant_serve::listener::{ConnectionLimits, Drain, Listener, serve};
use maintenant_serve::process::install_crypto;
use maintenant_serve::settings::Address;
use maintenant_serve::tls::{Tls, TlsFiles};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// Deadlines under test.
const SHORT: Duration = Duration::from_millis(200);
/// Bound on waiting for something that must happen.
const BOUND: Duration = Duration::from_mins(1);

struct Server {
    address: String,
    drain: Drain,
    tasks: JoinSet<()>,
    /// Wakes a request to `/held`.
    release: Arc<Notify>,
    /// Woken when a request to `/held` has arrived.
    held: Arc<Notify>,
}

async fn body(bytes: Result<Bytes, axum::extract::rejection::BytesRejection>) -> Response {
    match bytes {
        Ok(bytes) => bytes.len().to_string().into_response(),
        Err(error) => match BodyFault::find(&error) {
            Some(fault) => fault.response(),
            None => error.into_response(),
        },
    }
}

/// Patient as well, with lower limits.
async fn start(address: &str, tls: Option<TlsFiles>) -> Server {
    let limits = ConnectionLimits {
        connections: 4,
        head_bytes: 16 * 1024,
        ..patience(ConnectionLimits::default())
    };
    start_with(address, tls, limits, 6 * BOUND).await
}

/// Cuts nobody for being slow.
async fn patient(limits: ConnectionLimits) -> Server {
    start_with("127.0.0.1:0", None, patience(limits), 6 * BOUND).await
}

/// A machine may be slow; a handshake, or what a test says at once, is not to be cut for it.
fn patience(limits: ConnectionLimits) -> ConnectionLimits {
    ConnectionLimits { head_deadline: 6 * BOUND, tls_deadline: 6 * BOUND, ..limits }
}

/// Cuts whoever is silent.
async fn hasty(tls: Option<TlsFiles>) -> Server {
    let limits = ConnectionLimits {
        head_deadline: SHORT,
        tls_deadline: SHORT,
        ..ConnectionLimits::default()
    };
    start_with("127.0.0.1:0", tls, limits, SHORT).await
}

async fn start_with(
    address: &str,
    tls: Option<TlsFiles>,
    limits: ConnectionLimits,
    body_deadline: Duration,
) -> Server {
    let tls = tls.map(|files| Arc::new(Tls::load(files).unwrap()));
    let listener = Listener::bind(&address.parse::<Address>().unwrap(), tls).await.unwrap();
    let address = listener.address();
    let (release, held) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (wait, arrived) = (release.clone(), held.clone());
    let routes = Router::new()
        .route("/hello", get(|| async { "hello" }))
        .route(
            "/first",
            get(|at: Option<Extension<ConnectedAt>>| async move { at.is_some().to_string() }),
        )
        .route("/body", post(body).layer(DefaultBodyLimit::disable()))
        .route("/panic", get(|| async { panic!("on purpose") as String }))
        .route(
            "/held",
            get(move || async move {
                arrived.notify_one();
                wait.notified().await;
                "finished"
            }),
        );
    let deadline = body_deadline;
    let app = guarded(routes, BodyLimits { bytes: 1000, deadline, ..BodyLimits::default() });
    let drain = Drain::default();
    let mut tasks = JoinSet::new();
    tasks.spawn(serve(listener, app, limits, drain.clone()));
    Server { address, drain, tasks, release, held }
}

impl Server {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(&self.address).await.unwrap()
    }

    /// From another address of this machine.
    async fn connect_from(&self, source: &str) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(format!("{source}:0").parse().unwrap()).unwrap();
        socket.connect(self.address.parse().unwrap()).await.unwrap()
    }

    async fn send(&self, request: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        rest(&mut stream).await
    }
}

const HELLO: &str = "GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

/// What a connection that has said this is answered.
async fn says(mut stream: TcpStream, request: &str) -> String {
    // One that was closed meanwhile answers nothing.
    let _ = stream.write_all(request.as_bytes()).await;
    rest(&mut stream).await
}

/// All that comes until the other side closes.
async fn rest(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut text = Vec::new();
    let read = tokio::time::timeout(BOUND, stream.read_to_end(&mut text)).await;
    let _ = read.expect("the connection was never closed");
    String::from_utf8_lossy(&text).into_owned()
}

#[tokio::test]
async fn a_connection_that_sends_nothing_is_closed() {
    let server = hasty(None).await;
    assert_eq!(rest(&mut server.connect().await).await, "");
}

#[tokio::test]
async fn half_a_head_is_cut() {
    let server = hasty(None).await;
    for head in ["GET /hello HTTP/1.1\r\nHost: x\r\nX-Slow: ", "PRI * HTTP/2.0\r\n"] {
        let answer = server.send(head).await;
        assert!(!answer.contains("200"), "{head:?}: {answer}");
    }
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_its_answer() {
    // Time enough for its request.
    let limits = ConnectionLimits { head_deadline: 25 * SHORT, ..ConnectionLimits::default() };
    let server = start_with("127.0.0.1:0", None, limits, BOUND).await;
    let answer = server.send("GET /hello HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(answer.ends_with("hello"), "{answer}");
}

#[tokio::test]
async fn half_a_body_is_answered_and_cut() {
    let limits = patience(ConnectionLimits::default());
    let server = start_with("127.0.0.1:0", None, limits, SHORT).await;
    let head = "POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf";
    let answer = server.send(head).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("BODY_TIMEOUT"), "{answer}");
}

#[tokio::test]
async fn a_body_past_its_limit_is_refused_whether_announced_or_not() {
    let server = start("127.0.0.1:0", None).await;
    let announced =
        "POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\nConnection: close\r\n\r\n";
    let answer = server.send(announced).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    let chunk = format!("3e9\r\n{}\r\n0\r\n\r\n", "x".repeat(1001));
    let chunked = format!(
        "POST /body HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n{chunk}"
    );
    let answer = server.send(&chunked).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn a_head_past_its_limit_is_431() {
    let server = start("127.0.0.1:0", None).await;
    let head = format!("GET /hello HTTP/1.1\r\nHost: x\r\nX-Big: {}\r\n\r\n", "x".repeat(20_000));
    let answer = server.send(&head).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test]
async fn framing_that_two_readers_may_read_differently_is_refused() {
    let server = start("127.0.0.1:0", None).await;
    for head in [
        "GET /hello HTTP/1.1\r\nConnection: close\r\n\r\n",
        "GET /hello HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n",
    ] {
        let answer = server.send(head).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{head:?}: {answer}");
    }
}

#[tokio::test]
async fn a_panic_is_an_answer() {
    let server = start("127.0.0.1:0", None).await;
    let answer = server.send("GET /panic HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 500") && answer.contains("INTERNAL_ERROR"), "{answer}");
    assert!(!answer.contains("on purpose"), "{answer}");
}

#[test]
fn whoever_is_as_slow_as_it_may_be_is_cut_within_15_seconds() {
    let (limits, bodies) = (ConnectionLimits::default(), BodyLimits::default());
    assert!(limits.tls_deadline + limits.head_deadline < Duration::from_secs(15));
    // It counts from the connection as well.
    assert!(bodies.deadline < Duration::from_secs(15));
}

#[tokio::test]
async fn the_first_request_of_a_connection_bears_when_that_began() {
    let server = patient(ConnectionLimits::default()).await;
    let first = "GET /first HTTP/1.1\r\nHost: x\r\n\r\n";
    let later = "GET /first HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answers = server.send(&format!("{first}{later}")).await;
    let bodies: Vec<&str> = answers.split("\r\n\r\n").skip(1).collect();
    assert!(bodies[0].starts_with("true") && bodies[1] == "false", "{answers}");
}

#[tokio::test]
async fn where_all_places_are_taken_the_oldest_without_a_request_is_cut_for_a_new_one() {
    let half_a_body = "POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf";
    for said in ["", "GET /hello HTTP/1.1\r\nX-Slow: ", half_a_body] {
        let server =
            patient(ConnectionLimits { connections: 4, ..ConnectionLimits::default() }).await;
        let mut slow = Vec::new();
        for _ in 0..4 {
            let mut stream = server.connect().await;
            stream.write_all(said.as_bytes()).await.unwrap();
            slow.push(stream);
        }
        assert!(server.send(HELLO).await.ends_with("hello"), "after {said:?}");
        assert_eq!(rest(&mut slow[0]).await, "", "after {said:?}");
        let end: &str = match said {
            "" => HELLO,
            said if said.starts_with("GET") => "y\r\nHost: x\r\nConnection: close\r\n\r\n",
            _ => &format!("{}{HELLO}", "x".repeat(96)),
        };
        for stream in slow.split_off(1) {
            let answer = says(stream, end).await;
            assert!(answer.starts_with("HTTP/1.1 200"), "the others stay: {answer:?}");
        }
    }
}

#[tokio::test]
async fn where_all_places_are_at_work_a_new_connection_waits() {
    let server = patient(ConnectionLimits { connections: 2, ..ConnectionLimits::default() }).await;
    let held = "GET /held HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let mut working = Vec::new();
    for _ in 0..2 {
        let mut stream = server.connect().await;
        stream.write_all(held.as_bytes()).await.unwrap();
        tokio::time::timeout(BOUND, server.held.notified()).await.unwrap();
        working.push(stream);
    }
    let release = async {
        for mut stream in working {
            server.release.notify_one();
            assert!(rest(&mut stream).await.ends_with("finished"), "nothing under way is cut");
        }
    };
    let (answer, ()) = tokio::join!(server.send(HELLO), release);
    assert!(answer.ends_with("hello"), "{answer}");
}

#[tokio::test]
async fn a_client_holds_so_many_connections_and_others_are_served_beside_it() {
    let limits =
        ConnectionLimits { per_client: 2, uncounted: Vec::new(), ..ConnectionLimits::default() };
    let server = patient(limits).await;
    let (first, second) = (server.connect().await, server.connect().await);
    for _ in 0..100 {
        assert_eq!(rest(&mut server.connect().await).await, "", "closed at once");
    }
    let answer = says(server.connect_from("127.0.0.2").await, HELLO).await;
    assert!(answer.ends_with("hello"), "another client: {answer:?}");
    assert!(says(first, HELLO).await.ends_with("hello"), "those it has stay");
    drop(second);
    let again = async {
        while !says(server.connect().await, HELLO).await.ends_with("hello") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(BOUND, again).await.expect("what it gave back is gone for ever");
}

#[tokio::test]
async fn this_machine_and_proxies_hold_any_number() {
    let server = patient(ConnectionLimits { per_client: 1, ..ConnectionLimits::default() }).await;
    let _silent = server.connect().await;
    assert!(server.send(HELLO).await.ends_with("hello"));

    let uncounted = vec!["127.0.0.2/32".parse().unwrap()];
    let limits = ConnectionLimits { per_client: 1, uncounted, ..ConnectionLimits::default() };
    let server = patient(limits).await;
    let _silent = server.connect_from("127.0.0.2").await;
    let answer = says(server.connect_from("127.0.0.2").await, HELLO).await;
    assert!(answer.ends_with("hello"), "{answer}");
}

#[tokio::test]
async fn a_rush_of_connections_waits_in_the_kernel_until_it_is_accepted() {
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap(), None).await.unwrap();
    let mut rush = JoinSet::new();
    for _ in 0..400 {
        rush.spawn(TcpStream::connect(listener.address()));
    }
    let connected = tokio::time::timeout(BOUND, rush.join_all()).await;
    let connected = connected.expect("the kernel's queue is full");
    assert!(connected.iter().all(Result::is_ok));
}

#[tokio::test]
async fn a_drain_answers_what_is_under_way_and_takes_nothing_new() {
    let mut server = start("127.0.0.1:0", None).await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET /held HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    tokio::time::timeout(BOUND, server.held.notified()).await.unwrap();
    server.drain.begin.cancel();
    // The listener is closed before anything else happens.
    let refused = async {
        while TcpStream::connect(&server.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(BOUND, refused).await.expect("new connections are still taken");
    server.release.notify_one();
    assert!(rest(&mut stream).await.ends_with("finished"));
    tokio::time::timeout(BOUND, server.tasks.join_next()).await.expect("serve did not end");
}

#[tokio::test]
async fn whoever_waits_to_be_accepted_when_a_drain_begins_is_answered() {
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap(), None).await.unwrap();
    let mut waiting = TcpStream::connect(listener.address()).await.unwrap();
    waiting.write_all(b"GET /hello HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let drain = Drain::default();
    drain.begin.cancel();
    let app = Router::new().route("/hello", get(|| async { "hello" }));
    serve(listener, app, ConnectionLimits::default(), drain).await;
    assert!(rest(&mut waiting).await.ends_with("hello"));
}

#[tokio::test]
async fn a_cut_ends_what_does_not_end() {
    let mut server = start("127.0.0.1:0", None).await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET /held HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    tokio::time::timeout(BOUND, server.held.notified()).await.unwrap();
    server.drain.begin.cancel();
    server.drain.cut.cancel();
    tokio::time::timeout(BOUND, server.tasks.join_next()).await.expect("serve did not end");
    assert_eq!(rest(&mut stream).await, "");
}

#[tokio::test]
async fn a_unix_socket_is_its_owners_and_replaces_a_dead_one() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let address = format!("unix:{}", path.display());
    let mut server = start(&address, None).await;
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut stream = UnixStream::connect(&path).await.unwrap();
    stream.write_all(HELLO.as_bytes()).await.unwrap();
    assert!(rest(&mut stream).await.ends_with("hello"));

    let taken = Listener::bind(&address.parse().unwrap(), None).await.unwrap_err();
    assert!(format!("{taken:#}").contains("another process"), "{taken:#}");
    server.drain.begin.cancel();
    server.tasks.join_next().await;
    assert!(!path.exists(), "the socket file outlives its listener");
}

/// A self-signed certificate for `localhost`, written as PEM.
fn certificate(folder: &Path) -> (TlsFiles, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    (TlsFiles { certificate, key, client_ca: None }, made.cert.pem())
}

async fn get_over_tls(server: &Server, trusted: &str) -> reqwest::Result<String> {
    let client = reqwest::Client::builder()
        .tls_certs_only([reqwest::Certificate::from_pem(trusted.as_bytes()).unwrap()])
        .build()
        .unwrap();
    let port = server.address.rsplit(':').next().unwrap();
    client.get(format!("https://localhost:{port}/hello")).send().await?.text().await
}

#[tokio::test]
async fn tls_is_served_and_its_certificate_is_checked_by_the_client() {
    install_crypto();
    let folder = tempfile::tempdir().unwrap();
    let (files, trusted) = certificate(folder.path());
    let server = start("127.0.0.1:0", Some(files)).await;
    assert_eq!(get_over_tls(&server, &trusted).await.unwrap(), "hello");
    let other = tempfile::tempdir().unwrap();
    assert!(get_over_tls(&server, &certificate(other.path()).1).await.is_err());
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused_where_one_is_demanded() {
    install_crypto();
    let folder = tempfile::tempdir().unwrap();
    let (files, trusted) = certificate(folder.path());
    let files = TlsFiles { client_ca: Some(files.certificate.clone()), ..files };
    let server = start("127.0.0.1:0", Some(files)).await;
    assert!(get_over_tls(&server, &trusted).await.is_err());
}

#[tokio::test]
async fn a_handshake_that_never_comes_is_cut() {
    install_crypto();
    let folder = tempfile::tempdir().unwrap();
    let server = hasty(Some(certificate(folder.path()).0)).await;
    assert_eq!(rest(&mut server.connect().await).await, "");
}

#[tokio::test]
async fn a_changed_certificate_is_served_without_a_restart() {
    install_crypto();
    let folder = tempfile::tempdir().unwrap();
    let (files, old) = certificate(folder.path());
    let server = start("127.0.0.1:0", Some(files)).await;
    get_over_tls(&server, &old).await.unwrap();
    let (_, new) = certificate(folder.path());
    // The files are looked at every few seconds.
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(10)).await;
    tokio::time::resume();
    assert_eq!(get_over_tls(&server, &new).await.unwrap(), "hello");
}
