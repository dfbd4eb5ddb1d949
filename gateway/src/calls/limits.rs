//! How often one caller may call, and how many calls run at once.
//!
//! The rate is that of the generic cell rate algorithm: each caller has one moment, up to which its
//! calls are paid for. A minute's calls may come at once.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use maintenant_serve::guard::Peer;
use tokio::time::Instant;

use crate::caller::Caller;

const MINUTE: Duration = Duration::from_mins(1);
/// Calls of one caller that run at once.
pub const RUNNING_OF_ONE: usize = 16;
/// Calls of all callers that run at once.
pub const RUNNING: usize = 256;
/// Callers told apart; what comes beyond shares one limit.
const CALLERS: usize = 10_000;
const OTHERS: u64 = 0;

/// Counts calls; cheap to clone.
#[derive(Debug, Clone)]
pub struct Limits(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Calls a minute; 0: no limits of one caller.
    rate: u32,
    hasher: RandomState,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    paid_until: HashMap<u64, Instant>,
    running: HashMap<u64, usize>,
    total: usize,
}

/// Who is counted as one.
#[derive(Debug, PartialEq, Eq, Hash)]
pub enum Key<'a> {
    Subject(Option<&'a str>, &'a str),
    Client(Option<&'a str>, &'a str),
    StaticToken,
    Address(IpAddr),
    /// A unix socket, or stdio.
    Local,
}

/// Why a call has to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limited {
    Rate { per_minute: u32, again: Duration },
    RunningOfOne,
    Running,
}

/// A running call; gives its place back when dropped.
#[derive(Debug)]
pub struct Place {
    limits: Limits,
    key: u64,
}

impl<'a> Key<'a> {
    /// The subject, else the client of the token, else that it was the static one; without any, the
    /// address. One house has a whole /64 of IPv6.
    pub fn of(caller: Option<&'a Caller>, peer: Option<Peer>) -> Self {
        if let Some(caller) = caller {
            let issuer = caller.issuer.as_deref();
            return match (&caller.subject, &caller.client) {
                (Some(subject), _) => Self::Subject(issuer, subject),
                (None, Some(client)) => Self::Client(issuer, client),
                (None, None) => Self::StaticToken,
            };
        }
        match peer {
            Some(Peer::Tcp(address)) => Self::Address(match address.ip().to_canonical() {
                IpAddr::V6(ip) => IpAddr::V6((ip.to_bits() & (u128::MAX << 64)).into()),
                ip @ IpAddr::V4(_) => ip,
            }),
            Some(Peer::Unix) | None => Self::Local,
        }
    }
}

impl Limits {
    /// `rate` calls a minute of one caller; 0 for no limits of one caller.
    pub fn new(rate: u32) -> Self {
        Self(Arc::new(Inner { rate, hasher: RandomState::new(), state: Mutex::default() }))
    }

    /// A place for one more call of this caller.
    pub fn admit(&self, key: &Key<'_>, now: Instant) -> Result<Place, Limited> {
        // Names may be long; their digests are not.
        let key = self.0.hasher.hash_one(key);
        let key = self.state().admit(key, self.0.rate, now)?;
        Ok(Place { limits: self.clone(), key })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The key under which the call is counted.
    fn admit(&mut self, key: u64, rate: u32, now: Instant) -> Result<u64, Limited> {
        if self.total >= RUNNING {
            return Err(Limited::Running);
        }
        let key = self.known(key, now);
        let of_this_caller = self.running.get(&key).copied().unwrap_or_default();
        if let Some(each) = MINUTE.checked_div(rate) {
            if of_this_caller >= RUNNING_OF_ONE {
                return Err(Limited::RunningOfOne);
            }
            let paid = self.paid_until.get(&key).map_or(now, |paid| *paid.max(&now)) + each;
            // The minute is no whole number of nanoseconds of each.
            let most = now + each.saturating_mul(rate);
            if paid > most {
                return Err(Limited::Rate { per_minute: rate, again: paid - most });
            }
            self.paid_until.insert(key, paid);
        }
        self.running.insert(key, of_this_caller.saturating_add(1));
        self.total = self.total.saturating_add(1);
        Ok(key)
    }

    /// The key itself while there is room. Whoever has nothing left to pay is forgotten first.
    fn known(&mut self, key: u64, now: Instant) -> u64 {
        if self.paid_until.len() < CALLERS || self.paid_until.contains_key(&key) {
            return key;
        }
        self.paid_until.retain(|_, paid| *paid > now);
        if self.paid_until.len() < CALLERS { key } else { OTHERS }
    }

    fn leave(&mut self, key: u64) {
        self.total = self.total.saturating_sub(1);
        if let Some(running) = self.running.get_mut(&key) {
            *running = running.saturating_sub(1);
            if *running == 0 {
                self.running.remove(&key);
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.limits.state().leave(self.key);
    }
}

impl Limited {
    /// The label in metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Rate { .. } => "rate",
            Self::RunningOfOne => "running_of_caller",
            Self::Running => "running",
        }
    }

    /// What the caller is told.
    pub fn sentence(self) -> String {
        match self {
            Self::Rate { per_minute, again } => {
                let seconds = again.as_millis().div_ceil(1000).max(1);
                format!(
                    "Too many calls: this gateway takes {per_minute} a minute from one caller. \
                     Nothing was done. Try again in {seconds} s."
                )
            }
            Self::RunningOfOne => format!(
                "{RUNNING_OF_ONE} of your calls are still running, and this gateway runs no more at \
                 once for one caller. Nothing was done. Try again when one of them has ended."
            ),
            Self::Running => "This gateway is busy with other calls. Nothing was done. Try again \
                              in 1 s."
                .to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(name: &str) -> Key<'_> {
        Key::Subject(Some("https://issuer.example"), name)
    }

    #[tokio::test(start_paused = true)]
    async fn a_minutes_calls_may_come_at_once_and_then_one_by_one() {
        let limits = Limits::new(60);
        let now = Instant::now();
        for _ in 0..60 {
            limits.admit(&subject("a"), now).unwrap();
        }
        let again = Duration::from_secs(1);
        let limited = limits.admit(&subject("a"), now).unwrap_err();
        assert_eq!(limited, Limited::Rate { per_minute: 60, again });
        assert!(limited.sentence().ends_with("Try again in 1 s."), "{}", limited.sentence());
        limits.admit(&subject("b"), now).unwrap();
        limits.admit(&subject("a"), now + again).unwrap();
        limits.admit(&subject("a"), now + again).unwrap_err();
        for _ in 0..60 {
            limits.admit(&subject("a"), now + Duration::from_mins(3)).unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn every_rate_gives_exactly_its_calls() {
        for rate in [1, 7, 59, 600, 999] {
            let limits = Limits::new(rate);
            let now = Instant::now();
            let taken = (0..2000).filter(|_| limits.admit(&Key::Local, now).is_ok()).count();
            assert_eq!(taken, rate as usize);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn few_calls_of_one_caller_run_at_once_and_places_come_back() {
        let (limits, now) = (Limits::new(600), Instant::now());
        let mut places: Vec<Place> =
            (0..16).map(|_| limits.admit(&subject("a"), now).unwrap()).collect();
        assert_eq!(limits.admit(&subject("a"), now).unwrap_err(), Limited::RunningOfOne);
        limits.admit(&subject("b"), now).unwrap();
        places.pop();
        places.push(limits.admit(&subject("a"), now).unwrap());
        drop(places);
        let unlimited = Limits::new(0);
        let all: Vec<Place> =
            (0..RUNNING).map(|_| unlimited.admit(&Key::Local, now).unwrap()).collect();
        assert_eq!(unlimited.admit(&subject("a"), now).unwrap_err(), Limited::Running);
        drop(all);
        unlimited.admit(&subject("a"), now).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_callers_takes_bounded_memory_and_opens_no_way_around() {
        let (limits, now) = (Limits::new(1), Instant::now());
        let strangers: Vec<String> = (0..CALLERS + 50).map(|n| n.to_string()).collect();
        let taken = strangers.iter().filter(|name| limits.admit(&subject(name), now).is_ok());
        assert_eq!(taken.count(), CALLERS + 1);
        assert_eq!(limits.state().paid_until.len(), CALLERS + 1);
        limits.admit(&subject("0"), now).unwrap_err();
        limits.admit(&subject("late"), now + MINUTE).unwrap();
        assert_eq!(limits.state().paid_until.len(), 1);
    }

    #[test]
    fn callers_are_told_apart_by_the_best_that_is_known() {
        let check = |caller: Option<&Caller>, peer: &str, expected: Key<'_>| {
            let peer = Peer::Tcp(peer.parse().unwrap());
            assert_eq!(Key::of(caller, Some(peer)), expected);
        };
        let mut caller = Caller {
            admitted_by: crate::caller::AdmittedBy::Token,
            issuer: Some("i".to_owned()),
            subject: Some("s".to_owned()),
            email: None,
            client: Some("c".to_owned()),
            scopes: None,
            expires_at: None,
        };
        check(Some(&caller), "192.0.2.1:9", Key::Subject(Some("i"), "s"));
        caller.subject = None;
        check(Some(&caller), "192.0.2.1:9", Key::Client(Some("i"), "c"));
        caller.client = None;
        check(Some(&caller), "192.0.2.1:9", Key::StaticToken);
        let address = |text: &str| Key::Address(text.parse().unwrap());
        check(None, "192.0.2.1:9", address("192.0.2.1"));
        check(None, "[::ffff:192.0.2.1]:9", address("192.0.2.1"));
        check(None, "[2001:db8:1:2:3:4:5:6]:9", address("2001:db8:1:2::"));
        assert_eq!(Key::of(None, Some(Peer::Unix)), Key::Local);
    }
}
