//! Servers and certificates made for tests, and a clock that stands still for them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::tls::Trust;

/// Stops tokio's clock: nothing comes too late, however slow this machine is. Once the answer is
/// dropped the clock leaps from timer to timer, as a paused one does whenever only sockets and foreign
/// threads are waited for. A thread of tokio's own that works holds it up, so here one waits.
#[must_use]
pub(crate) fn stand_still() -> mpsc::Sender<()> {
    let (held, hold) = mpsc::channel();
    tokio::task::spawn_blocking(move || hold.recv());
    tokio::time::pause();
    held
}

/// An authority with an intermediate one.
pub(crate) struct Pki {
    root: CertifiedIssuer<'static, KeyPair>,
    intermediate: CertifiedIssuer<'static, KeyPair>,
}

/// Years in which a certificate is valid.
pub(crate) const NOW: (i32, i32) = (2020, 2100);
pub(crate) const PAST: (i32, i32) = (2020, 2024);
pub(crate) const FUTURE: (i32, i32) = (2090, 2100);

/// What a server shows.
pub(crate) struct Identity {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Pki {
    pub(crate) fn named(name: &str) -> Self {
        let key = || KeyPair::generate().unwrap();
        let root = CertifiedIssuer::self_signed(authority(&format!("{name} root")), key()).unwrap();
        let params = authority(&format!("{name} intermediate"));
        let intermediate = CertifiedIssuer::signed_by(params, key(), &root);
        Self { root, intermediate: intermediate.unwrap() }
    }

    pub(crate) fn root(&self) -> CertificateDer<'static> {
        self.root.der().clone()
    }

    /// Trust in this authority alone.
    pub(crate) fn trust(&self) -> Trust {
        let mut roots = RootCertStore::empty();
        roots.add(self.root()).unwrap();
        Trust::of(roots).unwrap()
    }

    /// A server certificate with its intermediate.
    pub(crate) fn issue(&self, names: &[&str], (from, to): (i32, i32)) -> Identity {
        let key = KeyPair::generate().unwrap();
        let leaf = server(names, (from, to)).signed_by(&key, &self.intermediate).unwrap();
        let chain = vec![leaf.der().clone(), self.intermediate.der().clone()];
        Identity { chain, key: PrivateKeyDer::Pkcs8(key.serialize_der().into()) }
    }
}

pub(crate) fn self_signed(names: &[&str]) -> Identity {
    let key = KeyPair::generate().unwrap();
    let certificate = server(names, NOW).self_signed(&key).unwrap();
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    Identity { chain: vec![certificate.der().clone()], key }
}

fn server(names: &[&str], (from, to): (i32, i32)) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.not_before = rcgen::date_time_ymd(from, 1, 1);
    params.not_after = rcgen::date_time_ymd(to, 1, 1);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

/// What a server does with what it was sent.
pub(crate) struct Reply {
    pub(crate) bytes: Vec<u8>,
    /// Keeps the connection open instead of closing it.
    pub(crate) hold: bool,
}

pub(crate) fn reply(bytes: impl AsRef<[u8]>) -> Reply {
    Reply { bytes: bytes.as_ref().to_vec(), hold: false }
}

pub(crate) fn hold(bytes: impl AsRef<[u8]>) -> Reply {
    Reply { hold: true, ..reply(bytes) }
}

/// A server of any protocol. It ends when it is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// What clients sent up to the first empty line, by connection.
    pub(crate) seen: Arc<Mutex<Vec<String>>>,
    /// Names that clients asked for over TLS.
    pub(crate) names: Arc<Mutex<Vec<Option<String>>>>,
    _tasks: JoinSet<()>,
}

impl Server {
    /// Answers the head of a request.
    pub(crate) async fn http(answer: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        Self::start(loopback(), None, true, answer).await
    }

    pub(crate) async fn https(
        identity: Identity,
        answer: impl Fn(&str) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::start(loopback(), Some(identity), true, answer).await
    }

    /// Speaks first.
    pub(crate) async fn greeting(answer: Reply) -> Self {
        let answer = Mutex::new(Some(answer));
        let greet = move |_: &str| answer.lock().unwrap().take().unwrap_or_else(|| reply(""));
        Self::start(loopback(), None, false, greet).await
    }

    pub(crate) async fn start(
        address: IpAddr,
        identity: Option<Identity>,
        listens: bool,
        answer: impl Fn(&str) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind((address, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, names) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<Mutex<Vec<_>>>::default());
        let acceptor = identity.map(acceptor);
        let (keep, asked, answer) = (seen.clone(), names.clone(), Arc::new(answer));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, keep, answer) = (acceptor.clone(), keep.clone(), answer.clone());
                let asked = asked.clone();
                connections.spawn(async move {
                    let Some(acceptor) = acceptor else {
                        return serve(stream, listens, &keep, &*answer).await;
                    };
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let name = stream.get_ref().1.server_name().map(str::to_owned);
                    asked.lock().unwrap().push(name);
                    serve(stream, listens, &keep, &*answer).await;
                });
            }
        });
        Self { address, seen, names, _tasks: tasks }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// What the one client so far sent.
    pub(crate) fn only(&self) -> String {
        let seen = self.seen.lock().unwrap();
        assert_eq!(seen.len(), 1, "{seen:?}");
        seen[0].clone()
    }
}

fn loopback() -> IpAddr {
    Ipv4Addr::LOCALHOST.into()
}

fn acceptor(identity: Identity) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(identity.chain, identity.key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    listens: bool,
    seen: &Mutex<Vec<String>>,
    answer: &(impl Fn(&str) -> Reply + Send + Sync),
) {
    let mut head = Vec::new();
    while listens && !head.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read_buf(&mut head).await {
            Ok(1..) => {}
            _ => break,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    seen.lock().unwrap().push(head.clone());
    let Reply { bytes, hold } = answer(&head);
    let _ = stream.write_all(&bytes).await;
    let _ = stream.flush().await;
    if !hold {
        let _ = stream.shutdown().await;
    }
    // Closing with unread bytes would reset the connection and lose what was just written.
    let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
}

/// A port of loopback at which nobody listens. While it is held nobody is given it by chance.
pub(crate) fn closed_port() -> (TcpSocket, u16) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let port = socket.local_addr().unwrap().port();
    (socket, port)
}

/// An address on which connections are neither accepted nor refused: its queue is full.
pub(crate) struct BlackHole {
    pub(crate) address: SocketAddr,
    _listener: socket2::Socket,
    _queued: Vec<TcpStream>,
}

impl BlackHole {
    pub(crate) async fn at(address: SocketAddr) -> Self {
        let domain = socket2::Domain::for_address(address);
        let listener = socket2::Socket::new(domain, socket2::Type::STREAM, None).unwrap();
        listener.bind(&address.into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        // There is room for one, however long it takes to get there.
        let mut queued = vec![TcpStream::connect(address).await.unwrap()];
        let more = Duration::from_millis(100);
        while let Ok(stream) = tokio::time::timeout(more, TcpStream::connect(address)).await {
            queued.push(stream.unwrap());
        }
        Self { address, _listener: listener, _queued: queued }
    }
}
