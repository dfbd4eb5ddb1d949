//! Who asks on a public route, and how often they may. The tables are bounded.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::HeaderMap;
pub use ipnet::IpNet;
use tokio::time::Instant;

use crate::guard::Peer;

/// Clients remembered by one limit. One that has used nothing lately is forgotten first.
const CLIENTS: usize = 16_384;

/// Where a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    Address(IpAddr),
    /// A unix socket.
    Local,
}

impl Client {
    /// The peer; behind trusted proxies the last address in `X-Forwarded-For` that is none of
    /// theirs. What stands before it could have been written by anyone.
    pub fn find(peer: Option<Peer>, headers: &HeaderMap, trusted: &[IpNet]) -> Self {
        let Some(Peer::Tcp(peer)) = peer else { return Self::Local };
        let mut client = peer.ip().to_canonical();
        let is_trusted = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
        let forwarded = headers.get_all("x-forwarded-for").iter().rev();
        let mut hops = forwarded
            .flat_map(|value| value.to_str().unwrap_or_default().rsplit(','))
            .map(|hop| address(hop.trim()));
        while is_trusted(&client) {
            let Some(Some(hop)) = hops.next() else { break };
            client = hop;
        }
        Self::Address(client)
    }

    /// What limits count by: an IPv6 network of 64 bits is one client.
    fn key(self) -> IpAddr {
        match self {
            Self::Address(IpAddr::V6(address)) => {
                let [a, b, c, d, ..] = address.segments();
                IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
            Self::Address(address) => address,
            Self::Local => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        }
    }
}

impl std::fmt::Display for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Local => f.write_str("local"),
        }
    }
}

/// An address, with or without a port.
fn address(hop: &str) -> Option<IpAddr> {
    let bare = hop.strip_prefix('[').and_then(|hop| hop.split(']').next());
    let parsed = bare.unwrap_or(hop).parse::<IpAddr>();
    let parsed = parsed.or_else(|_| hop.parse().map(|hop: std::net::SocketAddr| hop.ip()));
    parsed.ok().map(|address| address.to_canonical())
}

/// So many at once, and so many per second from then on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    pub burst: u32,
    pub per_second: u32,
}

/// A bucket that empties evenly: it holds when it will be empty.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bucket(Option<Instant>);

impl Bucket {
    /// Takes one, or says how long to wait for it.
    pub fn take(&mut self, limit: Limit, now: Instant) -> Result<(), Duration> {
        self.take_every(limit.burst, Duration::from_secs(1) / limit.per_second.max(1), now)
    }

    /// As [`Bucket::take`], where one comes free after each `step`.
    fn take_every(&mut self, burst: u32, step: Duration, now: Instant) -> Result<(), Duration> {
        let empty = self.0.map_or(now, |empty| empty.max(now));
        let room = step * burst.saturating_sub(1);
        let wait = empty.duration_since(now).saturating_sub(room);
        if wait.is_zero() {
            self.0 = Some(empty + step);
            return Ok(());
        }
        Err(wait)
    }

    fn is_empty(self, now: Instant) -> bool {
        self.0.is_none_or(|empty| empty <= now)
    }
}

/// One bucket per client.
#[derive(Debug, Default)]
pub struct Buckets(Mutex<HashMap<IpAddr, Bucket>>);

impl Buckets {
    /// Takes one of the client's, or says how long to wait for it.
    pub fn take(&self, client: Client, limit: Limit, now: Instant) -> Result<(), Duration> {
        self.take_every(client, limit.burst, Duration::from_secs(1) / limit.per_second.max(1), now)
    }

    /// How long to wait until the client may take one; nothing is taken.
    pub fn wait(&self, client: Client, limit: Limit, now: Instant) -> Option<Duration> {
        let buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A copy takes it.
        buckets.get(&client.key())?.clone().take(limit, now).err()
    }

    /// As [`Buckets::take`], where one comes free after each `step`.
    pub fn take_every(
        &self,
        client: Client,
        burst: u32,
        step: Duration,
        now: Instant,
    ) -> Result<(), Duration> {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = client.key();
        if buckets.len() >= CLIENTS && !buckets.contains_key(&key) {
            buckets.retain(|_, bucket| !bucket.is_empty(now));
            // As many clients at work at once: to start anew costs less than to turn them away.
            if buckets.len() >= CLIENTS {
                buckets.clear();
            }
        }
        buckets.entry(key).or_default().take_every(burst, step, now)
    }
}

/// What each client holds open. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Seats(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// A seat of a client until it is dropped.
#[derive(Debug)]
pub struct Seat {
    seats: Seats,
    key: IpAddr,
}

impl Seats {
    /// One more for the client, who has at most so many at once.
    pub fn take(&self, client: Client, most: usize) -> Option<Seat> {
        let key = client.key();
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = held.entry(key).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Seat { seats: self.clone(), key })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut held = self.seats.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut count) = held.entry(self.key) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who pinged: `peer`, then each line of `X-Forwarded-For`.
    fn check(peer: &str, forwarded: &[&str], expected: &str) {
        let trusted: Vec<IpNet> =
            ["10.0.0.0/8", "fd00::/8"].map(|net| net.parse().unwrap()).to_vec();
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", value.parse().unwrap());
        }
        let peer = Peer::Tcp(peer.parse().unwrap());
        let client = Client::find(Some(peer), &headers, &trusted);
        assert_eq!(client.to_string(), expected, "{forwarded:?}");
    }

    #[test]
    fn only_a_trusted_proxy_says_who_pings() {
        check("192.0.2.1:80", &[], "192.0.2.1");
        check("192.0.2.1:80", &["198.51.100.7"], "192.0.2.1");
        check("10.0.0.1:80", &[], "10.0.0.1");
        check("10.0.0.1:80", &["198.51.100.7"], "198.51.100.7");
        check("[::ffff:10.0.0.1]:80", &["198.51.100.7"], "198.51.100.7");
        check("[fd00::1]:80", &["2001:db8::7"], "2001:db8::7");
    }

    #[test]
    fn what_a_client_wrote_itself_is_not_believed() {
        check("10.0.0.1:80", &["1.1.1.1, 198.51.100.7"], "198.51.100.7");
        check("10.0.0.1:80", &["1.1.1.1, 198.51.100.7, 10.0.0.2"], "198.51.100.7");
        check("10.0.0.1:80", &["1.1.1.1", "198.51.100.7,10.9.9.9"], "198.51.100.7");
        check("10.0.0.1:80", &["198.51.100.7, nobody"], "10.0.0.1");
        check("10.0.0.1:80", &["198.51.100.7, nobody, 10.0.0.2"], "10.0.0.2");
        check("10.0.0.1:80", &["10.0.0.3, 10.0.0.2"], "10.0.0.3");
        check("10.0.0.1:80", &["198.51.100.7:4711"], "198.51.100.7");
        check("10.0.0.1:80", &["[2001:db8::7]:4711"], "2001:db8::7");
        check("10.0.0.1:80", &["[2001:db8::7]"], "2001:db8::7");
    }

    #[test]
    fn a_unix_socket_is_local() {
        let client = Client::find(Some(Peer::Unix), &HeaderMap::new(), &[]);
        assert_eq!(client.to_string(), "local");
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_and_then_so_many_per_second() {
        let limit = Limit { burst: 3, per_second: 2 };
        let mut bucket = Bucket::default();
        for _ in 0..3 {
            assert_eq!(bucket.take(limit, Instant::now()), Ok(()));
        }
        assert_eq!(bucket.take(limit, Instant::now()), Err(Duration::from_millis(500)));
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(bucket.take(limit, Instant::now()), Ok(()));
        assert!(bucket.take(limit, Instant::now()).is_err());
        tokio::time::sleep(Duration::from_mins(1)).await;
        for _ in 0..3 {
            assert_eq!(bucket.take(limit, Instant::now()), Ok(()), "no more than a burst is saved");
        }
        assert!(bucket.take(limit, Instant::now()).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn clients_are_counted_apart_and_their_number_is_bounded() {
        let limit = Limit { burst: 1, per_second: 1 };
        let buckets = Buckets::default();
        let take = |text: &str| {
            buckets.take(Client::Address(text.parse().unwrap()), limit, Instant::now())
        };
        assert!(take("192.0.2.1").is_ok() && take("192.0.2.2").is_ok());
        assert!(take("192.0.2.1").is_err());
        assert!(take("2001:db8::1").is_ok());
        assert!(take("2001:db8::2").is_err(), "one network is one client");
        for number in 0..2 * u32::try_from(CLIENTS).unwrap() {
            let _ = buckets.take(Client::Address(IpAddr::V4(number.into())), limit, Instant::now());
        }
        assert!(buckets.0.lock().unwrap().len() <= CLIENTS);
    }

    #[test]
    fn a_client_has_so_many_seats_and_gets_back_what_it_leaves() {
        let seats = Seats::default();
        let take = |text: &str| seats.take(Client::Address(text.parse().unwrap()), 2);
        let first = take("192.0.2.1").unwrap();
        let second = take("192.0.2.1").unwrap();
        assert!(take("192.0.2.1").is_none());
        let other = take("192.0.2.2").unwrap();
        drop(first);
        let third = take("192.0.2.1").unwrap();
        assert!(take("192.0.2.1").is_none());
        drop((second, third, other));
        assert!(seats.0.lock().unwrap().is_empty(), "nobody is remembered");
    }
}
