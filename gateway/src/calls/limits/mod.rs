//! How often one caller may call, how many calls run at once, and how many listen.
//!
//! A call counts for its caller and, where a token names both a subject and an OAuth client, also
//! for that client: a subject has one rate whatever clients it uses, and one client with many
//! subjects takes no more than half of what runs at once. Callers without a token are told apart by
//! their address alone, so those behind one proxy are one.
//!
//! The rate is that of the generic cell rate algorithm: each caller has one moment, up to which its
//! calls are paid for. A minute's calls may come at once.

mod key;
mod limited;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

pub use key::Key;
pub use limited::{For, Limited};

const MINUTE: Duration = Duration::from_mins(1);
/// Calls of one caller that run at once.
pub const RUNNING_OF_ONE: usize = 16;
/// Calls of all callers that run at once.
pub const RUNNING: usize = 256;
/// What the subjects of one OAuth client may together: as much as so many callers.
pub const CALLERS_OF_A_CLIENT: u16 = 8;
/// Listeners of one caller; each holds a connection for as long as it likes.
pub const LISTENERS_OF_ONE: usize = 8;
/// Listeners of all callers.
pub const LISTENERS: usize = 256;
/// Callers told apart; what comes beyond shares one limit.
const CALLERS: usize = 10_000;
const OTHERS: u64 = 0;
const OTHER_CLIENTS: u64 = 1;

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
    running: Places,
    listening: Places,
}

/// How many places are taken, in all and by whom.
#[derive(Debug, Default)]
struct Places {
    of: HashMap<u64, usize>,
    total: usize,
}

/// A running call or a listener; gives its place back when dropped.
#[derive(Debug)]
pub struct Place {
    limits: Limits,
    listens: bool,
    keys: [Option<u64>; 2],
}

impl Limits {
    /// `rate` calls a minute of one caller; 0 for no limits of one caller's calls.
    pub fn new(rate: u32) -> Self {
        Self(Arc::new(Inner { rate, hasher: RandomState::new(), state: Mutex::default() }))
    }

    /// A place for one more call of this caller, made by a client with other subjects.
    pub fn admit(
        &self,
        caller: &Key<'_>,
        client: Option<&Key<'_>>,
        now: Instant,
    ) -> Result<Place, Limited> {
        let keys = [Some(self.digest(caller)), client.map(|client| self.digest(client))];
        let keys = self.state().admit(keys, self.0.rate, now)?;
        Ok(Place { limits: self.clone(), listens: false, keys })
    }

    /// A place for one more listener of this caller, whatever the rate.
    pub fn listen(&self, caller: &Key<'_>) -> Result<Place, Limited> {
        let keys = [Some(self.digest(caller)), None];
        let mut state = self.state();
        if state.listening.total >= LISTENERS {
            return Err(Limited::Listeners);
        }
        if keys.iter().flatten().any(|key| state.listening.of(*key) >= LISTENERS_OF_ONE) {
            return Err(Limited::ListenersOfOne);
        }
        state.listening.take(keys);
        Ok(Place { limits: self.clone(), listens: true, keys })
    }

    /// Names may be long; their digests are not.
    fn digest(&self, key: &Key<'_>) -> u64 {
        self.0.hasher.hash_one(key)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The keys under which the call is counted: its caller's, and its client's.
    fn admit(
        &mut self,
        [caller, client]: [Option<u64>; 2],
        rate: u32,
        now: Instant,
    ) -> Result<[Option<u64>; 2], Limited> {
        if self.running.total >= RUNNING {
            return Err(Limited::Running);
        }
        let caller = caller.map(|key| self.known(key, OTHERS, now));
        let client = client.map(|key| self.known(key, OTHER_CLIENTS, now));
        let counted = [(caller, For::Caller), (client, For::Client)];
        let mut paid = [None; 2];
        for ((key, whose), paid) in counted.into_iter().zip(&mut paid) {
            let Some(key) = key.filter(|_| rate > 0) else { continue };
            if self.running.of(key) >= RUNNING_OF_ONE.saturating_mul(whose.share().into()) {
                return Err(Limited::RunningOf(whose));
            }
            let per_minute = rate.saturating_mul(whose.share().into());
            *paid = Some((key, self.pay(key, whose, per_minute, now)?));
        }
        // Neither pays for what the other one does not get.
        self.paid_until.extend(paid.into_iter().flatten());
        self.running.take([caller, client]);
        Ok([caller, client])
    }

    /// The moment up to which one more call would be paid for.
    fn pay(&self, key: u64, whose: For, per_minute: u32, now: Instant) -> Result<Instant, Limited> {
        let each = MINUTE.checked_div(per_minute).unwrap_or_default();
        let paid = self.paid_until.get(&key).map_or(now, |paid| *paid.max(&now)) + each;
        // The minute is no whole number of nanoseconds of each.
        let most = now + each.saturating_mul(per_minute);
        if paid > most {
            return Err(Limited::Rate { whose, per_minute, again: paid - most });
        }
        Ok(paid)
    }

    /// The key itself while there is room. Whoever has nothing left to pay is forgotten first.
    fn known(&mut self, key: u64, others: u64, now: Instant) -> u64 {
        if self.paid_until.len() < CALLERS || self.paid_until.contains_key(&key) {
            return key;
        }
        self.paid_until.retain(|_, paid| *paid > now);
        if self.paid_until.len() < CALLERS { key } else { others }
    }
}

impl Places {
    fn of(&self, key: u64) -> usize {
        self.of.get(&key).copied().unwrap_or_default()
    }

    fn take(&mut self, keys: [Option<u64>; 2]) {
        self.total = self.total.saturating_add(1);
        for key in keys.into_iter().flatten() {
            let taken = self.of.entry(key).or_default();
            *taken = taken.saturating_add(1);
        }
    }

    fn give_back(&mut self, keys: [Option<u64>; 2]) {
        self.total = self.total.saturating_sub(1);
        for key in keys.into_iter().flatten() {
            if let Some(taken) = self.of.get_mut(&key) {
                *taken = taken.saturating_sub(1);
                if *taken == 0 {
                    self.of.remove(&key);
                }
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.limits.state();
        let places = if self.listens { &mut state.listening } else { &mut state.running };
        places.give_back(self.keys);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn subject(name: &str) -> Key<'_> {
        Key::Subject(Some("https://issuer.example"), name)
    }

    fn admit(limits: &Limits, caller: &Key<'_>, now: Instant) -> Result<Place, Limited> {
        limits.admit(caller, None, now)
    }

    #[tokio::test(start_paused = true)]
    async fn a_minutes_calls_may_come_at_once_and_then_one_by_one() {
        let limits = Limits::new(60);
        let now = Instant::now();
        for _ in 0..60 {
            admit(&limits, &subject("a"), now).unwrap();
        }
        let again = Duration::from_secs(1);
        let limited = admit(&limits, &subject("a"), now).unwrap_err();
        assert_eq!(limited, Limited::Rate { whose: For::Caller, per_minute: 60, again });
        assert!(limited.sentence().ends_with("Try again in 1 s."), "{}", limited.sentence());
        admit(&limits, &subject("b"), now).unwrap();
        admit(&limits, &subject("a"), now + again).unwrap();
        admit(&limits, &subject("a"), now + again).unwrap_err();
        for _ in 0..60 {
            admit(&limits, &subject("a"), now + Duration::from_mins(3)).unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn every_rate_gives_exactly_its_calls() {
        for rate in [1, 7, 59, 600, 999] {
            let limits = Limits::new(rate);
            let now = Instant::now();
            let taken = (0..2000).filter(|_| admit(&limits, &Key::Local, now).is_ok()).count();
            assert_eq!(taken, rate as usize);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn few_calls_of_one_caller_run_at_once_and_places_come_back() {
        let (limits, now) = (Limits::new(600), Instant::now());
        let mut places: Vec<Place> =
            (0..16).map(|_| admit(&limits, &subject("a"), now).unwrap()).collect();
        assert_eq!(
            admit(&limits, &subject("a"), now).unwrap_err(),
            Limited::RunningOf(For::Caller)
        );
        admit(&limits, &subject("b"), now).unwrap();
        places.pop();
        places.push(admit(&limits, &subject("a"), now).unwrap());
        drop(places);
        let unlimited = Limits::new(0);
        let all: Vec<Place> =
            (0..RUNNING).map(|_| admit(&unlimited, &Key::Local, now).unwrap()).collect();
        assert_eq!(admit(&unlimited, &subject("a"), now).unwrap_err(), Limited::Running);
        drop(all);
        admit(&unlimited, &subject("a"), now).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_callers_takes_bounded_memory_and_opens_no_way_around() {
        let (limits, now) = (Limits::new(1), Instant::now());
        let strangers: Vec<String> = (0..CALLERS + 50).map(|n| n.to_string()).collect();
        let taken = strangers.iter().filter(|name| admit(&limits, &subject(name), now).is_ok());
        assert_eq!(taken.count(), CALLERS + 1);
        assert_eq!(limits.state().paid_until.len(), CALLERS + 1);
        admit(&limits, &subject("0"), now).unwrap_err();
        admit(&limits, &subject("late"), now + MINUTE).unwrap();
        assert_eq!(limits.state().paid_until.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn one_client_with_many_subjects_has_the_share_of_eight_callers() {
        let (limits, now) = (Limits::new(60), Instant::now());
        let names: Vec<String> = (0..20).map(|n| n.to_string()).collect();
        let client = Key::SubjectsOf(None, "app");
        let call = |name: &str| limits.admit(&subject(name), Some(&client), now);
        let taken = names.iter().flat_map(|name| (0..60).filter_map(|_| call(name).ok())).count();
        assert_eq!(taken, 8 * 60);
        let limited = call("0").unwrap_err();
        assert_eq!(limited.word(), "rate", "its own limit is told first");
        let limited = call("19").unwrap_err();
        let again = MINUTE / 480;
        assert_eq!(limited, Limited::Rate { whose: For::Client, per_minute: 480, again });
        assert!(limited.sentence().contains("480 a minute from all users of one OAuth client"));
        // What its client did not get, nobody paid for.
        for _ in 0..60 {
            admit(&limits, &subject("19"), now).unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_client_runs_no_more_than_half_of_all_calls() {
        let (limits, now) = (Limits::new(600), Instant::now());
        let names: Vec<String> = (0..20).map(|n| n.to_string()).collect();
        let client = Key::SubjectsOf(None, "app");
        let call = |name: &str| limits.admit(&subject(name), Some(&client), now);
        let mut places: Vec<Place> =
            names.iter().flat_map(|name| (0..16).filter_map(|_| call(name).ok())).collect();
        assert_eq!(places.len(), RUNNING / 2);
        assert_eq!(call("19").unwrap_err(), Limited::RunningOf(For::Client));
        assert_eq!(call("0").unwrap_err(), Limited::RunningOf(For::Caller));
        admit(&limits, &subject("19"), now).unwrap();
        places.pop();
        call("19").unwrap();
        drop(places);
        let state = limits.state();
        assert_eq!((state.running.total, state.running.of.len()), (0, 0));
    }

    #[test]
    fn a_caller_has_eight_listeners_whatever_the_rate_and_all_together_256() {
        let limits = Limits::new(0);
        let listen = |key: &Key<'_>| limits.listen(key);
        let nobody = |n: u16| Key::Address(Ipv4Addr::from(u32::from(n)).into());
        for one in [subject("one"), Key::Local, Key::StaticToken, nobody(0)] {
            let mut places: Vec<Place> = (0..8).map(|_| listen(&one).unwrap()).collect();
            assert_eq!(listen(&one).unwrap_err(), Limited::ListenersOfOne, "{one:?}");
            listen(&subject("other")).unwrap();
            places.truncate(7);
            listen(&one).unwrap();
        }
        let places: Vec<Place> = (0..300_u16).filter_map(|n| listen(&nobody(n / 2)).ok()).collect();
        assert_eq!(places.len(), LISTENERS);
        assert_eq!(listen(&subject("one")).unwrap_err(), Limited::Listeners);
        // They are none of the running calls.
        assert_eq!(limits.state().running.total, 0);
        drop(places);
        assert!(limits.state().listening.of.is_empty());
    }
}
