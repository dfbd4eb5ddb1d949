//! A TCP connection to a name: looked up, checked, raced over its addresses.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::Net;
use super::guard::Refused;
use super::resolve::{ResolveError, Resolved};

/// Head start of an address before the next one is tried (RFC 8305 §5).
const HEAD_START: Duration = Duration::from_millis(250);
/// Addresses tried in one connection.
const MOST_ADDRESSES: usize = 8;

/// A connection and what it took.
#[derive(Debug)]
pub struct Connected {
    pub stream: TcpStream,
    pub address: SocketAddr,
    /// For the look-up to begin: our doing, counted in no phase and added to the time there is.
    pub waited: Duration,
    pub dns: Duration,
    pub connect: Duration,
}

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectFault {
    #[error("{0}")]
    Resolve(ResolveError),
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The last address's own words.
    #[error("{0}")]
    Connect(String),
    #[error("no connection in time")]
    Timeout,
    /// This machine could not try: no port, no file descriptor, no memory.
    #[error("this machine cannot open a connection now: {0}")]
    Local(String),
}

impl ConnectFault {
    /// It says nothing about the target.
    pub fn is_ours(&self) -> bool {
        matches!(self, Self::Resolve(ResolveError::Busy) | Self::Local(_))
    }
}

/// A fault, and how long each phase that was reached took.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{fault}")]
pub struct ConnectError {
    pub fault: ConnectFault,
    /// As in [`Connected`].
    pub waited: Duration,
    pub dns: Duration,
    /// `None`: no address was tried.
    pub connect: Option<Duration>,
}

impl Net {
    /// Connects to `host` (a name, or an address with or without brackets) before `until`, and later
    /// only by what was waited for the look-up to begin.
    ///
    /// Addresses that are not probed are left out; when no other is left that is the fault. Families
    /// alternate, each address has a head start of 250 ms, and the first connection wins.
    pub async fn connect(
        &self,
        host: &str,
        port: u16,
        until: Instant,
    ) -> Result<Connected, ConnectError> {
        let begin = Instant::now();
        let Resolved { addresses, waited } = self.resolver.resolve(host, until).await;
        let until = until + waited;
        let dns = begin.elapsed().saturating_sub(waited);
        let fault = |fault| ConnectError { fault, waited, dns, connect: None };
        let addresses = addresses.map_err(|error| fault(ConnectFault::Resolve(error)))?;
        let mut refused = None;
        let mut permitted = Vec::new();
        for address in addresses {
            match self.guard.check(address).and_then(|()| self.refuse_own(address, port)) {
                Ok(()) => permitted.push(address),
                Err(error) => refused = Some(error),
            }
        }
        if let (true, Some(refused)) = (permitted.is_empty(), refused) {
            return Err(fault(ConnectFault::Refused(refused)));
        }
        let begin = Instant::now();
        match tokio::time::timeout_at(until, race(&interleaved(permitted), port)).await {
            Ok(Ok((stream, address))) => {
                let _ = stream.set_nodelay(true);
                Ok(Connected { stream, address, waited, dns, connect: begin.elapsed() })
            }
            Ok(Err(fault)) => {
                Err(ConnectError { fault, waited, dns, connect: Some(begin.elapsed()) })
            }
            Err(_) => {
                let fault = ConnectFault::Timeout;
                Err(ConnectError { fault, waited, dns, connect: Some(begin.elapsed()) })
            }
        }
    }
}

/// Families in turn, beginning with that of the first address (RFC 8305 §4).
pub(super) fn interleaved(addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let Some(first_is_v6) = addresses.first().map(IpAddr::is_ipv6) else { return addresses };
    let (same, other): (Vec<IpAddr>, Vec<IpAddr>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let (mut same, mut other) = (same.into_iter(), other.into_iter());
    let mut all = Vec::new();
    loop {
        let pair = (same.next(), other.next());
        if pair == (None, None) {
            break;
        }
        all.extend(pair.0.into_iter().chain(pair.1));
    }
    all.truncate(MOST_ADDRESSES);
    all
}

async fn race(addresses: &[IpAddr], port: u16) -> Result<(TcpStream, SocketAddr), ConnectFault> {
    let mut waiting = addresses.iter().map(|address| SocketAddr::new(*address, port));
    let mut attempts = FuturesUnordered::new();
    let mut faults = Vec::new();
    let attempt = |address: SocketAddr| async move { (address, TcpStream::connect(address).await) };
    attempts.extend(waiting.next().map(attempt));
    while !attempts.is_empty() {
        let more = waiting.len() > 0;
        tokio::select! {
            Some((address, result)) = attempts.next() => match result {
                Ok(stream) => return Ok((stream, address)),
                Err(error) => {
                    attempts.extend(waiting.next().map(attempt));
                    faults.push((is_local(&error, address), error));
                }
            },
            () = tokio::time::sleep(HEAD_START), if more => {
                attempts.extend(waiting.next().map(attempt));
            }
        }
    }
    Err(worst(&faults))
}

/// The fault that tells most. An address that could not be tried might have answered; a family this
/// machine has no route for says less than an address that refused.
pub(super) fn worst(faults: &[(bool, std::io::Error)]) -> ConnectFault {
    let unreachable = |error: &std::io::Error| error.kind() == ErrorKind::NetworkUnreachable;
    let rank = |(local, error): &&(bool, std::io::Error)| (*local, !unreachable(error));
    match faults.iter().max_by_key(rank) {
        Some((true, error)) => ConnectFault::Local(words(error)),
        Some((false, error)) => ConnectFault::Connect(words(error)),
        None => ConnectFault::Timeout,
    }
}

/// Out of file descriptors, ports or memory.
fn is_local(error: &std::io::Error, address: SocketAddr) -> bool {
    match error.kind() {
        // Either no port is left, or this machine has no address of that family, which another
        // protocol notices too and waiting does not change.
        ErrorKind::AddrNotAvailable => has_source_for(address),
        _ => is_exhausted(error),
    }
}

/// Out of file descriptors or memory.
pub(super) fn is_exhausted(error: &std::io::Error) -> bool {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    const ENOBUFS: i32 = 105;
    error.kind() == ErrorKind::OutOfMemory
        || matches!(error.raw_os_error(), Some(ENFILE | EMFILE | ENOBUFS))
}

/// Nothing is sent: connecting a datagram socket only chooses its source.
fn has_source_for(address: SocketAddr) -> bool {
    let any: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    UdpSocket::bind((any, 0)).and_then(|socket| socket.connect(address)).is_ok()
}

/// The system's words without its number.
pub fn words(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}
