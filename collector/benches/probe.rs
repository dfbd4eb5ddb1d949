//! Checks judged and stored, per second and core, beside the floor beneath them: the same connections made by hand.
//! `cargo bench -p maintenant-collector --bench probe`
//!
//! Floor and engine take turns within one run, against the same server on a thread of its own. What
//! is counted is the processor time of the client's thread. The number of connections is bounded,
//! because the machine's table of tracked connections is what overflows first.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "no part of the product: a failure here should stop at once"
)]

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::{Either, select};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use maintenant_api::endpoints::{EndpointSource, EndpointType};
use maintenant_collector::endpoints::model::{Policy, State};
use maintenant_collector::endpoints::probe::{Outcome, probe};
use maintenant_collector::endpoints::spec::{Spec, defaults};
use maintenant_collector::endpoints::sql::{self, Declaration, Write};
use maintenant_collector::net::Net;
use maintenant_collector::net::guard::Guard;
use maintenant_collector::net::tls::Trust;
use maintenant_collector::store::Store;
use maintenant_serve::clock;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::{TlsAcceptor, TlsConnector};

const ROUNDS: usize = 7;
const CONNECTIONS: usize = 500;
const AT_ONCE: usize = 64;

fn main() {
    let pki = Pki::new();
    let server = Server::start(&pki);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let net = Net::with_rate(Guard::default(), Trust::of(pki.roots()).unwrap(), 1_000_000);
    let spec =
        |kind: EndpointType, target: String| Spec::parse(kind, &target, &defaults(kind)).unwrap();
    let tls = pki.client();
    runtime.block_on(async {
        let target = spec(EndpointType::Tcp, server.tcp.to_string());
        compare("tcp", || connect(server.tcp), || check(&net, &target)).await;
        let target = spec(EndpointType::Http, format!("http://{}/", server.http));
        compare("http", || get(server.http), || check(&net, &target)).await;
        let target = spec(EndpointType::Http, format!("https://{}/", server.https));
        compare("https", || get_tls(server.https, &tls), || check(&net, &target)).await;
    });
}

/// Median processor time of either, and of their ratio.
async fn compare<F: Future<Output = ()>, O: Future<Output = Outcome>>(
    kind: &str,
    mut floor: impl FnMut() -> F,
    mut ours: impl FnMut() -> O,
) {
    let (mut floors, mut engines, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let mut database = Database::open().await;
    for round in 0..=ROUNDS {
        let floor = spent(async { many(&mut floor).await.len() }).await;
        let engine = spent(async {
            let outcomes = many(&mut ours).await;
            database.store(&outcomes);
            outcomes.len()
        })
        .await;
        // The first round warms up.
        if round > 0 {
            floors.push(floor);
            engines.push(engine);
            ratios.push(floor / engine);
        }
    }
    let per_second = |micros: f64| 1e6 / micros;
    let (floor, engine) = (median(floors), median(engines));
    println!(
        "{kind:6} floor {floor:6.1} us ({:6.0}/s)   engine {engine:6.1} us ({:6.0}/s)   ratio {:.2}",
        per_second(floor),
        per_second(engine),
        median(ratios),
    );
}

/// Judges and stores what was found, as the collector does, on this thread, so that its processor
/// time is counted as well.
struct Database {
    connection: rusqlite::Connection,
    states: Vec<(i64, State)>,
    _folder: tempfile::TempDir,
}

impl Database {
    async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.db");
        let (store, writer) = Store::open(&path).unwrap();
        let declare = |tx: &rusqlite::Connection| {
            let number = i64::try_from(CONNECTIONS).unwrap();
            (0..number).map(|number| sql::declare(tx, &declaration(number), clock::now())).collect()
        };
        let ids: Vec<i64> = store.write(declare).await.unwrap();
        writer.end().await;
        let connection = rusqlite::Connection::open(&path).unwrap();
        connection.execute_batch("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON").unwrap();
        let states = ids.into_iter().map(|id| (id, State::default())).collect();
        Self { connection, states, _folder: folder }
    }

    fn store(&mut self, outcomes: &[Outcome]) {
        assert!(outcomes.iter().all(|outcome| outcome.failure.is_none()), "{:?}", outcomes[0]);
        let policy = Policy {
            interval: Duration::from_secs(30),
            timeout: Duration::from_secs(10),
            failure_threshold: 3,
            recovery_threshold: 2,
        };
        let now = clock::now();
        let mut writes = Vec::new();
        for ((id, state), outcome) in self.states.iter_mut().zip(outcomes) {
            let (id, before) = (*id, *state);
            let (at, step) = state.after_check(outcome.failure.is_none(), now, &policy);
            writes.push(Write::check(id, at, outcome, &before, state));
            writes.extend(step.spans.into_iter().map(|span| Write::Span { id, span }));
        }
        // At this pace a round comes together within the time that the collector gathers results.
        let transaction = self.connection.transaction().unwrap();
        sql::save(&transaction, &writes, now).unwrap();
        transaction.commit().unwrap();
    }
}

fn declaration(number: i64) -> Declaration {
    Declaration {
        container_id: 0,
        label_key: format!("file:{number}"),
        source: EndpointSource::File,
        container_name: String::new(),
        external_id: String::new(),
        compose_project: String::new(),
        compose_service: String::new(),
        name: number.to_string(),
        kind: EndpointType::Http,
        target: "http://127.0.0.1/".to_owned(),
        config: defaults(EndpointType::Http),
        own: None,
    }
}

async fn many<F: Future>(mut one: impl FnMut() -> F) -> Vec<F::Output> {
    futures_util::stream::iter((0..CONNECTIONS).map(|_| one()))
        .buffer_unordered(AT_ONCE)
        .collect()
        .await
}

/// Microseconds of this thread's processor time, by unit of work.
async fn spent(work: impl Future<Output = usize>) -> f64 {
    let begin = thread_time();
    let count = work.await;
    thread_time().saturating_sub(begin).as_secs_f64() * 1e6
        / f64::from(u32::try_from(count).unwrap())
}

fn thread_time() -> Duration {
    let line = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(line.split(' ').next().unwrap().parse().unwrap())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

// --- the engine and its floor -------------------------------------------------------------------

/// As the scheduler does it, which keeps the future on the heap while it runs.
async fn check(net: &Net, spec: &Spec) -> Outcome {
    net.turn().await;
    Box::pin(probe(net, spec)).await.unwrap()
}

async fn connect(address: SocketAddr) {
    let stream = TcpStream::connect(address).await.unwrap();
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
}

async fn get(address: SocketAddr) {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    ask(stream, address).await;
}

async fn get_tls(address: SocketAddr, tls: &TlsConnector) {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let name = ServerName::from(address.ip());
    ask(tls.connect(name, stream).await.unwrap(), address).await;
}

async fn ask<S: AsyncRead + AsyncWrite + Unpin>(stream: S, address: SocketAddr) {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    let request = http::Request::get("/")
        .header("host", address.to_string())
        .header("connection", "close")
        .body(Empty::<Bytes>::new())
        .unwrap();
    let answer = async {
        let answer = sender.send_request(request).await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.into_body().collect().await.unwrap()
    };
    match select(pin!(answer), pin!(connection)).await {
        Either::Left(_) => {}
        Either::Right((_, answer)) => drop(answer.await),
    }
}

// --- the server ---------------------------------------------------------------------------------

struct Server {
    tcp: SocketAddr,
    http: SocketAddr,
    https: SocketAddr,
}

impl Server {
    fn start(pki: &Pki) -> Self {
        let (ready, addresses) = std::sync::mpsc::channel();
        let acceptor = pki.server();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let bind = async || TcpListener::bind("127.0.0.1:0").await.unwrap();
                let (tcp, http, https) = (bind().await, bind().await, bind().await);
                let at = |listener: &TcpListener| listener.local_addr().unwrap();
                let all = Self { tcp: at(&tcp), http: at(&http), https: at(&https) };
                ready.send(all).unwrap();
                let mut work = JoinSet::new();
                loop {
                    tokio::select! {
                        Ok(_) = tcp.accept() => {}
                        Ok((stream, _)) = http.accept() => {
                            work.spawn(answer(stream));
                        }
                        Ok((stream, _)) = https.accept() => {
                            stream.set_nodelay(true).unwrap();
                            let acceptor = acceptor.clone();
                            work.spawn(async move {
                                answer(acceptor.accept(stream).await.unwrap()).await;
                            });
                        }
                        Some(_) = work.join_next() => {}
                    }
                }
            });
        });
        addresses.recv().unwrap()
    }
}

async fn answer<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) {
    let mut head = Vec::with_capacity(512);
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut head).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let text = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 4\r\n\r\nfine";
    let _ = stream.write_all(text).await;
    let _ = stream.shutdown().await;
}

struct Pki {
    root: CertifiedIssuer<'static, KeyPair>,
    chain: Vec<CertificateDer<'static>>,
    key: Vec<u8>,
}

impl Pki {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        let leaf = params.signed_by(&key, &root).unwrap();
        Self { chain: vec![leaf.der().clone()], key: key.serialize_der(), root }
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.der().clone()).unwrap();
        roots
    }

    fn server(&self) -> TlsAcceptor {
        let key = PrivateKeyDer::Pkcs8(self.key.clone().into());
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(self.chain.clone(), key);
        TlsAcceptor::from(Arc::new(config.unwrap()))
    }

    /// A client that verifies and resumes nothing.
    fn client(&self) -> TlsConnector {
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.roots())
            .with_no_client_auth();
        config.resumption = rustls::client::Resumption::disabled();
        TlsConnector::from(Arc::new(config))
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
