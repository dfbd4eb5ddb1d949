//! Keeps the keys of one issuer fresh.
//!
//! One refresher fetches; nobody else does. It fetches every ten minutes, and once more when a
//! token names a key that is not there, but not for every such token: whoever makes up tokens must
//! not be able to make us ask the issuer, or to make others wait. Who needs a fetch waits for the
//! one that runs, for two seconds at most. While the issuer is away the last good keys serve.
//!
//! All of this is measured on the monotonic clock: setting the clock back prolongs no key.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use maintenant_serve::clock;
use maintenant_serve::logging::foreign;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::Refusal;
use super::keys::KeySet;

/// Between two fetches, ±10 % so that replicas do not ask together.
pub const INTERVAL: Duration = Duration::from_mins(10);
/// Between the last fetch and one that a token asked for.
pub const COOLDOWN: Duration = Duration::from_secs(30);
/// How long a token waits for a fetch.
pub const PATIENCE: Duration = Duration::from_secs(2);
/// Between failed fetches, at first and at most.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_mins(1);
/// At most, while there are no keys and so nobody is served.
const LAST_RETRY_WITHOUT_KEYS: Duration = Duration::from_secs(10);
/// Unknown `kid`s that may wait for one fetch.
const MAX_ASKED: usize = 1024;

/// Where the keys come from.
#[async_trait]
pub trait Fetch: Send + Sync {
    /// The issuer's present keys, or why there are none, in words for the operator.
    async fn fetch(&self) -> Result<KeySet, String>;
}

/// The keys of one issuer, as far as they are known.
pub struct Keys {
    max_stale: Duration,
    progress: watch::Sender<Progress>,
    demand: Mutex<Demand>,
    wake: Notify,
}

#[derive(Clone, Default)]
struct Progress {
    good: Option<Good>,
    /// Why the last fetch failed.
    error: Option<String>,
    /// Fetches that ended.
    attempts: u64,
}

#[derive(Clone)]
struct Good {
    set: Arc<KeySet>,
    at: Instant,
    at_wall: Timestamp,
}

/// What is known of one issuer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeysState {
    /// Usable keys, also when they are too old to be used.
    pub keys: usize,
    /// They are not too old.
    pub usable: bool,
    pub fetched_at: Option<Timestamp>,
    pub error: Option<String>,
}

impl Keys {
    pub fn new(max_stale: Duration) -> Self {
        Self {
            max_stale,
            progress: watch::Sender::default(),
            demand: Mutex::default(),
            wake: Notify::new(),
        }
    }

    /// The last good set, however old.
    pub fn latest(&self) -> Option<Arc<KeySet>> {
        self.progress.borrow().good.as_ref().map(|good| good.set.clone())
    }

    pub fn state(&self) -> KeysState {
        let progress = self.progress.borrow();
        KeysState {
            keys: progress.good.as_ref().map_or(0, |good| good.set.count()),
            usable: self.fresh(&progress).is_some(),
            fetched_at: progress.good.as_ref().map(|good| good.at_wall),
            error: progress.error.clone(),
        }
    }

    /// The set to verify with. On a cold start every caller waits for the first fetch.
    pub async fn current(&self) -> Result<Arc<KeySet>, Refusal> {
        let mut progress = self.progress.subscribe();
        let (fresh, seen) = {
            let progress = progress.borrow();
            (self.fresh(&progress), progress.attempts)
        };
        if let Some(set) = fresh {
            return Ok(set);
        }
        let may_come = seen == 0 || self.demand().running;
        if may_come {
            let ended = progress.wait_for(|progress| progress.attempts > seen);
            let _ = timeout(PATIENCE, ended).await;
        }
        let progress = self.progress.borrow();
        self.fresh(&progress).ok_or_else(|| {
            let reason = match (&progress.good, &progress.error) {
                (Some(_), Some(error)) => format!("the last ones are too old; {error}"),
                (_, Some(error)) => error.clone(),
                (Some(_), None) => "the last ones are too old".to_owned(),
                (None, None) => "they are being fetched".to_owned(),
            };
            Refusal::Unavailable(reason)
        })
    }

    /// A set that came after `used`, which lacks the key of a token. Waits for a fetch where one
    /// runs or is allowed.
    pub async fn newer(&self, used: &Arc<KeySet>, kid: Option<&str>) -> Option<Arc<KeySet>> {
        let mut progress = self.progress.subscribe();
        let seen = progress.borrow().attempts;
        let newer = || self.latest().filter(|latest| !Arc::ptr_eq(latest, used));
        if newer().is_none() {
            let ask = self.demand().ask(kid, Instant::now());
            if ask == Ask::Fetch {
                self.wake.notify_one();
            }
            if ask != Ask::Refused {
                let ended = progress.wait_for(|progress| progress.attempts > seen);
                let _ = timeout(PATIENCE, ended).await;
            }
        }
        newer()
    }

    /// Fetches for ever. One at a time.
    pub async fn run(&self, issuer: &str, fetch: &dyn Fetch) {
        let mut schedule = Schedule { failures: 0, due: Instant::now() };
        loop {
            tokio::select! {
                () = self.wake.notified() => {}
                () = sleep_until(schedule.due) => {}
            }
            let now = Instant::now();
            let Some(asked_for) = self.demand().begin(now, now >= schedule.due) else { continue };
            let fetched = fetch.fetch().await;
            let now = Instant::now();
            schedule = schedule.after(fetched.is_ok(), asked_for, self.is_usable(), now, jitter());
            self.publish(issuer, fetched, now);
        }
    }

    fn publish(&self, issuer: &str, fetched: Result<KeySet, String>, now: Instant) {
        // The error is the operator's to read, but parts of it are the issuer's words.
        let fetched = fetched.map_err(|error| foreign(&error));
        self.progress.send_modify(|progress| {
            progress.attempts += 1;
            match fetched {
                Ok(set) => {
                    if progress.good.is_none() || progress.error.is_some() {
                        let (keys, skipped) = (set.count(), set.skipped().values().sum::<usize>());
                        tracing::info!(issuer = foreign(issuer), keys, skipped, "keys fetched");
                    }
                    let set = Arc::new(set);
                    progress.good = Some(Good { set, at: now, at_wall: clock::now() });
                    progress.error = None;
                }
                Err(error) => {
                    if progress.error.as_ref() != Some(&error) {
                        tracing::warn!(issuer = foreign(issuer), error, "no keys fetched");
                    }
                    progress.error = Some(error);
                }
            }
            // Before anyone who waits for this attempt wakes up.
            self.demand().running = false;
        });
    }

    fn is_usable(&self) -> bool {
        self.fresh(&self.progress.borrow()).is_some()
    }

    fn fresh(&self, progress: &Progress) -> Option<Arc<KeySet>> {
        let good = progress.good.as_ref()?;
        (good.at.elapsed() <= self.max_stale).then(|| good.set.clone())
    }

    fn demand(&self) -> MutexGuard<'_, Demand> {
        self.demand.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a token whose key is unknown may wait, and whether it may cause a fetch.
#[derive(Default)]
struct Demand {
    /// A fetch runs, or is about to.
    running: bool,
    /// A token asked for the next one.
    wanted: bool,
    /// When the last one began.
    begun: Option<Instant>,
    /// Whose keys are looked for by the running fetch.
    asked: HashSet<Option<String>>,
}

#[derive(Debug, PartialEq, Eq)]
enum Ask {
    /// This token begins a fetch, and waits for it.
    Fetch,
    /// One runs.
    Wait,
    Refused,
}

impl Demand {
    fn ask(&mut self, kid: Option<&str>, now: Instant) -> Ask {
        if !self.running {
            if self.begun.is_some_and(|begun| now < begun + COOLDOWN) {
                return Ask::Refused;
            }
            self.asked.clear();
            (self.running, self.wanted, self.begun) = (true, true, Some(now));
            self.asked.insert(kid.map(str::to_owned));
            return Ask::Fetch;
        }
        let kid = kid.map(str::to_owned);
        if self.asked.len() >= MAX_ASKED && !self.asked.contains(&kid) {
            return Ask::Refused;
        }
        self.asked.insert(kid);
        Ask::Wait
    }

    /// Begins a fetch if one is due or asked for; tells whether only asked for.
    fn begin(&mut self, now: Instant, due: bool) -> Option<bool> {
        if !due && !self.wanted {
            return None;
        }
        if !self.wanted {
            self.asked.clear();
        }
        (self.running, self.wanted, self.begun) = (true, false, Some(now));
        Some(!due)
    }
}

/// When to fetch next unless a token asks earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Schedule {
    failures: u32,
    due: Instant,
}

impl Schedule {
    /// `jitter` in thousandths.
    fn after(self, ok: bool, asked_for: bool, has_keys: bool, now: Instant, jitter: u32) -> Self {
        if ok {
            return Self { failures: 0, due: now + INTERVAL * jitter / 1000 };
        }
        // A token that nobody has to believe must not set off a row of attempts.
        if asked_for && has_keys {
            return self;
        }
        let last = if has_keys { LAST_RETRY } else { LAST_RETRY_WITHOUT_KEYS };
        let pause = (FIRST_RETRY * 2_u32.pow(self.failures.min(6))).min(last);
        Self { failures: self.failures.saturating_add(1), due: now + pause * jitter / 1000 }
    }
}

/// 900 to 1100. Needs to differ, not to be secret.
fn jitter() -> u32 {
    let random = RandomState::new().hash_one(()) % 201;
    900 + u32::try_from(random).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        *START.get_or_init(Instant::now) + Duration::from_secs(seconds)
    }

    #[test]
    fn a_token_begins_a_fetch_only_30_seconds_after_the_last() {
        let mut demand = Demand::default();
        assert_eq!(demand.begin(at(0), true), Some(false));
        assert_eq!(demand.ask(Some("a"), at(1)), Ask::Wait);
        demand.running = false;
        assert_eq!(demand.ask(Some("a"), at(29)), Ask::Refused);
        assert_eq!(demand.ask(Some("a"), at(30)), Ask::Fetch);
        assert_eq!(demand.ask(Some("a"), at(30)), Ask::Wait);
        assert_eq!(demand.begin(at(31), false), Some(true));
        demand.running = false;
        assert_eq!(demand.begin(at(32), false), None, "it was asked for once");
        assert_eq!(demand.ask(None, at(60)), Ask::Refused);
        assert_eq!(demand.ask(None, at(61)), Ask::Fetch);
    }

    #[test]
    fn only_so_many_unknown_keys_wait_for_one_fetch() {
        let mut demand = Demand::default();
        assert_eq!(demand.ask(Some("good"), at(0)), Ask::Fetch);
        for n in 1..MAX_ASKED {
            assert_eq!(demand.ask(Some(&n.to_string()), at(0)), Ask::Wait);
        }
        assert_eq!(demand.ask(Some("more"), at(0)), Ask::Refused);
        assert_eq!(demand.ask(None, at(0)), Ask::Refused);
        assert_eq!(demand.ask(Some("good"), at(0)), Ask::Wait);
        assert_eq!(demand.asked.len(), MAX_ASKED);
        demand.begin(at(0), false);
        demand.running = false;
        assert_eq!(demand.begin(at(600), true), Some(false));
        assert_eq!(demand.ask(Some("more"), at(600)), Ask::Wait, "the next fetch looks anew");
    }

    #[test]
    fn failures_are_retried_after_1_2_4_to_60_seconds() {
        let pauses = |has_keys| {
            let mut schedule = Schedule { failures: 0, due: at(0) };
            (0..9)
                .map(|_| {
                    let now = schedule.due;
                    schedule = schedule.after(false, false, has_keys, now, 1000);
                    (schedule.due - now).as_secs()
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(pauses(true), [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(pauses(false), [1, 2, 4, 8, 10, 10, 10, 10, 10]);
    }

    #[test]
    fn success_sets_the_interval_and_what_a_token_caused_changes_nothing() {
        let failed = Schedule { failures: 5, due: at(7) };
        let good = Schedule { failures: 0, due: at(10) + INTERVAL };
        assert_eq!(failed.after(true, false, true, at(10), 1000), good);
        assert_eq!(good.after(false, true, true, at(40), 1000), good);
        let retried = good.after(false, true, false, at(40), 1000);
        assert_eq!(retried, Schedule { failures: 1, due: at(41) });
        assert_eq!(good.after(true, true, true, at(0), 1100).due, at(660));
        assert!((0..1000).all(|_| (900..=1100).contains(&jitter())));
    }
}
