//! Who gets one of a listener's places.
//!
//! A client address holds only so many, so that it takes many addresses to take all. Where all are
//! taken, the connection that has waited longest for its first request to arrive is cut for a new
//! one, so that those who say nothing, or say it slowly, keep out nobody who speaks.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clients::{Client, Seat, Seats};
use crate::guard::Peer;
use crate::listener::ConnectionLimits;
use crate::logging::Seldom;

/// A quarter of a listener's places, and twice the calls that a gateway makes to one collector at
/// once.
pub const CONNECTIONS_PER_CLIENT: usize = 128;

pub const LOOPBACK: [IpNet; 2] = [
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8)),
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128)),
];

/// The places of one listener.
pub(crate) struct Places {
    pub(crate) limits: ConnectionLimits,
    free: Arc<Semaphore>,
    seats: Seats,
    newcomers: Newcomers,
    told_of_client: Seldom,
    told_of_all: Seldom,
}

/// A place of a connection, until it is dropped.
#[derive(Default)]
#[expect(dead_code, reason = "it is held, not read")]
pub(crate) struct Place {
    pub(crate) seat: Option<Seat>,
    pub(crate) permit: Option<OwnedSemaphorePermit>,
}

impl Places {
    pub(crate) fn new(limits: ConnectionLimits) -> Self {
        Self {
            free: Arc::new(Semaphore::new(limits.connections)),
            seats: Seats::default(),
            newcomers: Newcomers::default(),
            told_of_client: Seldom::default(),
            told_of_all: Seldom::default(),
            limits,
        }
    }

    /// The seat of a client that is counted. `None`: it holds as many as it may.
    #[expect(clippy::option_option, reason = "one that is not counted has none and may come in")]
    pub(crate) fn seat(&self, peer: Peer) -> Option<Option<Seat>> {
        let Peer::Tcp(address) = peer else { return Some(None) };
        let address = address.ip().to_canonical();
        if self.limits.uncounted.iter().any(|network| network.contains(&address)) {
            return Some(None);
        }
        let seat = self.seats.take(Client::Address(address), self.limits.per_client);
        if seat.is_none()
            && let Some(unsaid) = self.told_of_client.say(Instant::now())
        {
            tracing::warn!(
                client = %address,
                "a connection was closed at once, as this client holds {} already{unsaid}; if it is \
                 a proxy, name it in MAINTENANT_TRUSTED_PROXIES, or raise \
                 MAINTENANT_CONNECTIONS_PER_CLIENT",
                self.limits.per_client
            );
        }
        Some(Some(seat?))
    }

    /// One of all places; where none is free, that of the oldest newcomer.
    pub(crate) async fn free(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(permit) = self.free.clone().try_acquire_owned() {
            return Some(permit);
        }
        let cut = self.newcomers.cut_oldest();
        if let Some(unsaid) = self.told_of_all.say(Instant::now()) {
            let consequence = if cut {
                "the one that has sent no whole request for longest was cut for a new one"
            } else {
                "new ones wait until one ends"
            };
            let open = self.limits.connections;
            tracing::warn!("{open} connections are open: {consequence}{unsaid}");
        }
        self.free.clone().acquire_owned().await.ok()
    }

    /// A connection that has sent no whole request yet, and what tells it to end.
    pub(crate) fn newcomer(&self) -> (Newcomer, CancellationToken) {
        let cut = CancellationToken::new();
        let mut waiting = self.newcomers.lock();
        waiting.last = waiting.last.wrapping_add(1);
        let number = waiting.last;
        waiting.cuts.insert(number, cut.clone());
        (Newcomer { number, among: self.newcomers.clone() }, cut)
    }
}

/// Connections that have sent no whole request yet, in the order in which they came.
#[derive(Clone, Default)]
struct Newcomers(Arc<Mutex<Waiting>>);

#[derive(Default)]
struct Waiting {
    last: u64,
    cuts: BTreeMap<u64, CancellationToken>,
}

impl Newcomers {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there was one.
    fn cut_oldest(&self) -> bool {
        let oldest = self.lock().cuts.pop_first();
        oldest.is_some_and(|(_, cut)| {
            cut.cancel();
            true
        })
    }
}

/// Makes its connection one that may be cut, until it is dropped.
pub(crate) struct Newcomer {
    number: u64,
    among: Newcomers,
}

impl Drop for Newcomer {
    fn drop(&mut self) {
        self.among.lock().cuts.remove(&self.number);
    }
}

/// The body of a connection's first request, which is no newcomer any more when it has arrived.
pub(crate) struct Arriving {
    body: Incoming,
    newcomer: Option<Newcomer>,
}

impl Arriving {
    pub(crate) fn body(body: Incoming, newcomer: Newcomer) -> Body {
        if http_body::Body::is_end_stream(&body) {
            return Body::new(body);
        }
        Body::new(Self { body, newcomer: Some(newcomer) })
    }
}

impl http_body::Body for Arriving {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if matches!(polled, Poll::Ready(None)) || self.body.is_end_stream() {
            self.newcomer = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_an_address_or_an_ipv6_network_of_64_bits() {
        let uncounted = [&LOOPBACK[..], &["203.0.113.0/24".parse().unwrap()]].concat();
        let limits = ConnectionLimits { per_client: 1, uncounted, ..ConnectionLimits::default() };
        let places = Places::new(limits);
        let held = places.seat(Peer::Tcp("192.0.2.1:1".parse().unwrap()));
        let also = places.seat(Peer::Tcp("[2001:db8::1]:1".parse().unwrap()));
        assert!(held.is_some() && also.is_some());
        for (peer, is_let_in) in [
            ("192.0.2.1:2", false),
            ("[::ffff:192.0.2.1]:2", false),
            ("192.0.2.2:2", true),
            ("[2001:db8::2]:2", false),
            ("[2001:db8:0:1::1]:2", true),
            ("127.0.0.9:2", true),
            ("[::1]:2", true),
            ("[::ffff:203.0.113.9]:2", true),
        ] {
            let kept = places.seat(Peer::Tcp(peer.parse().unwrap()));
            assert_eq!(kept.is_some(), is_let_in, "{peer}");
        }
        assert!(places.seat(Peer::Unix).is_some_and(|seat| seat.is_none()), "is not counted");
    }

    #[tokio::test(start_paused = true)]
    async fn newcomers_are_cut_in_the_order_in_which_they_came() {
        let places =
            Places::new(ConnectionLimits { connections: 1, ..ConnectionLimits::default() });
        let (first, first_cut) = places.newcomer();
        let (_second, second_cut) = places.newcomer();
        let (_third, third_cut) = places.newcomer();
        let permit = places.free().await;
        assert!(permit.is_some() && !first_cut.is_cancelled(), "there was a free one");
        drop(first);
        let freed = async {
            second_cut.cancelled().await;
            drop(permit);
        };
        let both = async { tokio::join!(places.free(), freed).0 };
        let again = tokio::time::timeout(std::time::Duration::from_secs(1), both).await;
        let again = again.expect("the oldest was not cut");
        assert!(again.is_some() && !first_cut.is_cancelled() && !third_cut.is_cancelled());
    }
}
