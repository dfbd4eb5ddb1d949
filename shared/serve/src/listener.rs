//! The accept loop of both programs.
//!
//! A plain `axum::serve` waits for ever on a connection that sends nothing, half a head or half a
//! body. Here a connection has deadlines for each, their number is bounded ([`crate::places`]), and
//! at the end the requests under way are finished before the process goes.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::body::Body;
use http::HeaderValue;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use ipnet::IpNet;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::guard::{ConnectedAt, Peer};
use crate::places::{Arriving, Newcomer, Place, Places};
pub use crate::places::{CONNECTIONS_PER_CLIENT, LOOPBACK};
use crate::settings::Address;
use crate::tls::Tls;

/// Connections that the kernel holds until they are accepted, as far as `net.core.somaxconn` allows.
/// Beyond it, it drops what comes, and clients try again after a second.
const BACKLOG: u32 = 4096;

/// Bounds on connections. Bodies have theirs in [`crate::guard::BodyLimits`].
#[derive(Debug, Clone)]
pub struct ConnectionLimits {
    /// Open connections per listener. Where all are taken, the oldest that has not sent its first
    /// request is cut for a new one; where there is none such, new ones wait in the kernel's queue.
    pub connections: usize,
    /// Of these, what one client address (of IPv6 the /64) may hold; more are closed at once.
    pub per_client: usize,
    /// Addresses that may hold any number: loopback, and proxies, behind which are many clients.
    /// Unix sockets are never counted.
    pub uncounted: Vec<IpNet>,
    /// From a connection's start, or its last answer, to the end of the next request's head. It
    /// also ends a silent connection.
    pub head_deadline: Duration,
    /// With the one above it is less than 15 s, so that a client that does nothing for as long as
    /// it may is gone by then.
    pub tls_deadline: Duration,
    /// Largest request head in bytes; beyond it the answer is 431.
    pub head_bytes: usize,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            connections: 512,
            per_client: CONNECTIONS_PER_CLIENT,
            uncounted: LOOPBACK.to_vec(),
            head_deadline: Duration::from_secs(10),
            tls_deadline: Duration::from_secs(4),
            head_bytes: 32 * 1024,
        }
    }
}

/// A bound address, not yet serving.
#[derive(Debug)]
pub enum Listener {
    Tcp(TcpListener, Option<Arc<Tls>>),
    Unix(UnixListener, SocketFile),
}

impl Listener {
    /// Binds. A unix socket gets mode 0600; the file of a process that is gone is replaced.
    pub async fn bind(address: &Address, tls: Option<Arc<Tls>>) -> anyhow::Result<Self> {
        match address {
            Address::Tcp { host, port } => {
                let name = host.trim_start_matches('[').trim_end_matches(']');
                let listener = bind_tcp(name, *port)
                    .await
                    .with_context(|| format!("cannot listen on {address}, see MAINTENANT_ADDR"))?;
                Ok(Self::Tcp(listener, tls))
            }
            Address::Unix(path) => {
                let listener =
                    bind_unix(path).with_context(|| format!("cannot listen on {address}"))?;
                Ok(Self::Unix(listener, SocketFile(path.clone())))
            }
        }
    }

    /// The address as bound: port 0 has become a real one.
    pub fn address(&self) -> String {
        match self {
            Self::Tcp(listener, _) => {
                listener.local_addr().map(|address| address.to_string()).unwrap_or_default()
            }
            Self::Unix(_, file) => format!("unix:{}", file.0.display()),
        }
    }
}

/// Removes its socket file when dropped.
#[derive(Debug)]
pub struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// At the first address of that name that can be had.
async fn bind_tcp(name: &str, port: u16) -> io::Result<TcpListener> {
    let bind = |address: SocketAddr| {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    let mut last = io::Error::new(io::ErrorKind::InvalidInput, "the name has no address");
    for address in tokio::net::lookup_host((name, port)).await? {
        match bind(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    use std::os::unix::fs::{FileTypeExt, PermissionsExt};
    if std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket()) {
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            let taken = "another process is listening there";
            return Err(io::Error::new(io::ErrorKind::AddrInUse, taken));
        }
        std::fs::remove_file(path)?;
    }
    // Bound under a private name first, so that nobody can connect before the mode is set.
    // The name is short because the whole path must fit into 107 bytes.
    let draft = path.with_file_name(format!(".{}", std::process::id()));
    let _ = std::fs::remove_file(&draft);
    let listener = UnixListener::bind(&draft)?;
    std::fs::set_permissions(&draft, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&draft, path)?;
    Ok(listener)
}

/// Two moments of an orderly end.
#[derive(Debug, Clone, Default)]
pub struct Drain {
    /// Take no new connections; end streams; answer the requests under way.
    pub begin: CancellationToken,
    /// Cut what is still open.
    pub cut: CancellationToken,
}

/// Requests under way when a drain begins get this long to end.
const GRACE: Duration = Duration::from_secs(10);
/// A request may be on its way on a connection that is idle when a drain begins: a load balancer
/// that keeps connections open uses one again within moments.
const LINGER: Duration = Duration::from_millis(300);

/// Serves all listeners until `drain.begin`, then as long as requests under way take, but no longer
/// than a grace period.
pub async fn serve_all(
    listeners: Vec<(Listener, Router)>,
    limits: &ConnectionLimits,
    drain: &Drain,
) {
    let mut servers = JoinSet::new();
    for (listener, app) in listeners {
        servers.spawn(serve(listener, app, limits.clone(), drain.clone()));
    }
    drain.begin.cancelled().await;
    let ended = async { while servers.join_next().await.is_some() {} };
    tokio::pin!(ended);
    tokio::select! {
        () = &mut ended => {}
        () = tokio::time::sleep(GRACE) => {
            drain.cut.cancel();
            ended.await;
        }
    }
    tracing::info!("stopping: requests done");
}

/// Serves until `drain.begin`, then until the last connection ends or `drain.cut`.
pub async fn serve(listener: Listener, app: Router, limits: ConnectionLimits, drain: Drain) {
    let places = Arc::new(Places::new(limits));
    let connections = TaskTracker::new();
    let begin = |socket: Socket, peer: Peer, place: Place, connected: ConnectedAt| {
        let (app, places, drain) = (app.clone(), places.clone(), drain.clone());
        let (newcomer, cut) = places.newcomer();
        let first = First { connected, newcomer };
        connections.spawn(async move {
            let _place = place;
            tokio::select! {
                () = serve_socket(socket, peer, app, first, &places.limits, drain) => {}
                () = cut.cancelled() => {}
            }
        });
    };
    loop {
        let accepted = tokio::select! {
            () = drain.begin.cancelled() => break,
            accepted = accept(&listener) => accepted,
        };
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: give connections time to end.
                tracing::warn!("cannot accept a connection: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let connected = ConnectedAt(Instant::now());
        // Closed at once where the client has too many.
        let Some(seat) = places.seat(peer) else { continue };
        let permit = tokio::select! {
            () = drain.begin.cancelled() => None,
            permit = places.free() => permit,
        };
        begin(socket, peer, Place { seat, permit }, connected);
    }
    for (socket, peer) in waiting(listener) {
        begin(socket, peer, Place::default(), ConnectedAt(Instant::now()));
    }
    connections.close();
    tokio::select! {
        () = connections.wait() => {}
        () = drain.cut.cancelled() => {
            let left = connections.len();
            if left > 0 {
                tracing::warn!("{left} connection(s) cut at the end of the grace period");
            }
        }
    }
}

/// What goes with the first request of a connection.
struct First {
    connected: ConnectedAt,
    newcomer: Newcomer,
}

enum Socket {
    Tcp(TcpStream, Option<Arc<Tls>>),
    Unix(tokio::net::UnixStream),
}

/// Closes the listener. Connections that the kernel has already made would be reset with it, so
/// they are taken first.
fn waiting(listener: Listener) -> Vec<(Socket, Peer)> {
    let Listener::Tcp(listener, tls) = listener else { return Vec::new() };
    let Ok(listener) = listener.into_std() else { return Vec::new() };
    let accepted = std::iter::from_fn(|| listener.accept().ok());
    accepted
        .filter_map(|(stream, address)| {
            stream.set_nonblocking(true).ok()?;
            let socket = tcp(TcpStream::from_std(stream).ok()?, tls.clone()).ok()?;
            Some((socket, Peer::Tcp(address)))
        })
        .collect()
}

fn tcp(stream: TcpStream, tls: Option<Arc<Tls>>) -> io::Result<Socket> {
    stream.set_nodelay(true)?;
    // A reader that stops reading is cut as well, once data waits this long for it.
    let stall = Some(Duration::from_mins(1));
    socket2::SockRef::from(&stream).set_tcp_user_timeout(stall)?;
    Ok(Socket::Tcp(stream, tls))
}

async fn serve_socket(
    socket: Socket,
    peer: Peer,
    app: Router,
    first: First,
    limits: &ConnectionLimits,
    drain: Drain,
) {
    match socket {
        Socket::Unix(stream) => connection(stream, peer, app, first, limits, drain).await,
        Socket::Tcp(stream, None) => connection(stream, peer, app, first, limits, drain).await,
        Socket::Tcp(stream, Some(tls)) => {
            let handshake = tls.acceptor().accept(stream);
            match tokio::time::timeout(limits.tls_deadline, handshake).await {
                Ok(Ok(stream)) => connection(stream, peer, app, first, limits, drain).await,
                Ok(Err(error)) => tracing::debug!("TLS handshake failed: {error}"),
                Err(_) => tracing::debug!("TLS handshake timed out"),
            }
        }
    }
}

async fn accept(listener: &Listener) -> io::Result<(Socket, Peer)> {
    match listener {
        Listener::Tcp(listener, tls) => {
            let (stream, address) = listener.accept().await?;
            Ok((tcp(stream, tls.clone())?, Peer::Tcp(address)))
        }
        Listener::Unix(listener, _) => {
            let (stream, _) = listener.accept().await?;
            Ok((Socket::Unix(stream), Peer::Unix))
        }
    }
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    peer: Peer,
    app: Router,
    first: First,
    limits: &ConnectionLimits,
    drain: Drain,
) {
    let leaving = drain.begin.clone();
    let first = Mutex::new(Some(first));
    let service = service_fn(move |mut request: http::Request<Incoming>| {
        request.extensions_mut().insert(peer);
        let request = match first.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(First { connected, newcomer }) => {
                request.extensions_mut().insert(connected);
                request.map(|body| Arriving::body(body, newcomer))
            }
            None => request.map(Body::new),
        };
        let answer = app.clone().oneshot(request);
        let leaving = leaving.clone();
        async move {
            let mut response = answer.await?;
            if leaving.is_cancelled() {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(http::header::CONNECTION, close);
            }
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_deadline)
        .max_buf_size(limits.head_bytes)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = drain.begin.cancelled() => {
            let last = async {
                let lingered = tokio::time::timeout(LINGER, connection.as_mut()).await;
                if let Ok(ended) = lingered {
                    return ended;
                }
                connection.as_mut().graceful_shutdown();
                connection.as_mut().await
            };
            tokio::select! {
                ended = last => ended,
                () = drain.cut.cancelled() => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!("connection ended: {error}");
    }
}
