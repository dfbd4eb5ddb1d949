//! Answers of one collector, kept for a moment and shared by those who ask the same.
//!
//! Who asks what somebody is asking already waits for that answer, so many equal calls cost one
//! request. The request belongs to all who wait: it goes on when the first of them leaves, and
//! ends when the last one does. A failure is told to those who wait and not kept. A change makes
//! everything forgotten, also what is still on its way.
//!
//! Answers are kept as they were read, not as bytes: reading them is most of the work.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use tokio::time::Instant;

use super::failure::ClientError;
use crate::calls::metrics::CacheUse;

/// Bytes of answers kept for one collector, by [`Answer::weight`].
const HEAVIEST: usize = 32 * 1024 * 1024;
/// Also when all of them are small.
const MOST: usize = 256;
/// Of what was asked for less long ago nothing is said.
const JUST_NOW: Duration = Duration::from_secs(1);

pub(super) struct Cache {
    fresh_for: Duration,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    entries: HashMap<String, Entry>,
    flights: u64,
    /// How often everything was forgotten.
    generation: u64,
}

enum Entry {
    /// On its way since then, as long as somebody waits for it.
    Flying(u64, Instant, WeakShared<Flight>),
    Landed(Answer),
}

/// Where an answer comes from.
enum Way {
    Landed(Answer),
    Flight(Shared<Flight>),
    /// Somebody asked this long ago.
    Joined(Shared<Flight>, Duration),
}

type Flight = BoxFuture<'static, Result<Answer, ClientError>>;

#[derive(Clone)]
struct Answer {
    value: Arc<dyn Any + Send + Sync>,
    /// About what it takes of memory: twice its JSON.
    weight: usize,
    /// When it was asked for: it may tell of that moment.
    asked: Instant,
}

/// An answer, and when it was asked for unless that was just now.
#[derive(Debug)]
pub(super) struct Found<T> {
    pub(super) value: T,
    pub(super) asked: Option<Instant>,
    /// When it was asked for, whenever that was.
    pub(super) from: Instant,
    /// See [`Cache::holds`].
    pub(super) generation: u64,
    pub(super) used: CacheUse,
}

impl Cache {
    pub(super) fn new(fresh_for: Duration) -> Arc<Self> {
        Arc::new(Self { fresh_for, held: Mutex::default() })
    }

    /// The answer to `question`: a fresh one, one that is on its way, or what `fetch` gets, with
    /// its bytes as JSON.
    pub(super) async fn get<T, F>(
        self: &Arc<Self>,
        question: &str,
        fetch: impl FnOnce() -> F,
    ) -> Result<Found<T>, ClientError>
    where
        T: Any + Clone + Send + Sync,
        F: Future<Output = Result<(T, usize), ClientError>> + Send + 'static,
    {
        let (way, generation) = self.find(question, fetch);
        let (answer, asked, used) = match way {
            Way::Landed(answer) => (answer.clone(), Some(answer.asked), CacheUse::Hit),
            Way::Flight(flight) => (flight.await?, None, CacheUse::Miss),
            Way::Joined(flight, age) => {
                let answer = flight.await?;
                let asked = (age >= JUST_NOW).then_some(answer.asked);
                (answer, asked, CacheUse::Shared)
            }
        };
        // A route has one type of answer.
        let value = answer.value.downcast_ref::<T>().cloned();
        let value = value.ok_or_else(|| ClientError::Unreadable("of another type".to_owned()))?;
        Ok(Found { value, asked, from: answer.asked, generation, used })
    }

    /// Forgets everything, so that nobody reads what was before a change.
    pub(super) fn clear(&self) {
        let mut held = self.held();
        held.entries.clear();
        held.generation = held.generation.wrapping_add(1);
    }

    /// Whether what was found in this generation, and asked for then, would still serve.
    pub(super) fn holds(&self, generation: u64, asked: Instant) -> bool {
        asked.elapsed() < self.fresh_for && self.held().generation == generation
    }

    /// A fresh answer, or the flight to wait for, and the generation it is of.
    fn find<T, F>(self: &Arc<Self>, question: &str, fetch: impl FnOnce() -> F) -> (Way, u64)
    where
        T: Any + Send + Sync,
        F: Future<Output = Result<(T, usize), ClientError>> + Send + 'static,
    {
        let now = Instant::now();
        let mut held = self.held();
        let generation = held.generation;
        match held.entries.get(question) {
            Some(Entry::Landed(answer)) if now.duration_since(answer.asked) < self.fresh_for => {
                return (Way::Landed(answer.clone()), generation);
            }
            Some(Entry::Flying(_, asked, flight)) if let Some(flight) = flight.upgrade() => {
                return (Way::Joined(flight, now.duration_since(*asked)), generation);
            }
            _ => {}
        }
        held.make_room(0, now, self.fresh_for);
        held.flights = held.flights.wrapping_add(1);
        let number = held.flights;
        let (cache, key, fetched) = (self.clone(), question.to_owned(), fetch());
        let flight = async move {
            let result = fetched.await.map(|(value, bytes)| Answer {
                value: Arc::new(value),
                weight: bytes.saturating_mul(2),
                asked: now,
            });
            cache.land(key, number, result.as_ref().ok());
            result
        };
        let flight = flight.boxed().shared();
        if let Some(weak) = flight.downgrade() {
            held.entries.insert(question.to_owned(), Entry::Flying(number, now, weak));
        }
        (Way::Flight(flight), generation)
    }

    /// Keeps the answer of flight `number`, unless it was forgotten in the meantime.
    fn land(&self, question: String, number: u64, answer: Option<&Answer>) {
        let mut held = self.held();
        if !matches!(held.entries.get(&question), Some(Entry::Flying(own, ..)) if *own == number) {
            return;
        }
        held.entries.remove(&question);
        let Some(answer) = answer.filter(|answer| answer.weight <= HEAVIEST) else { return };
        held.make_room(answer.weight, Instant::now(), self.fresh_for);
        held.entries.insert(question, Entry::Landed(answer.clone()));
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// Drops what is of no use any more, then the oldest answers until one of `weight` fits.
    fn make_room(&mut self, weight: usize, now: Instant, fresh_for: Duration) {
        self.entries.retain(|_, entry| match entry {
            Entry::Flying(.., flight) => flight.upgrade().is_some(),
            Entry::Landed(answer) => now.duration_since(answer.asked) < fresh_for,
        });
        while self.weight().saturating_add(weight) > HEAVIEST || self.entries.len() >= MOST {
            let landed = self.entries.iter().filter_map(|(question, entry)| match entry {
                Entry::Landed(answer) => Some((answer.asked, question)),
                Entry::Flying(..) => None,
            });
            let Some((_, oldest)) = landed.min() else { break };
            let oldest = oldest.clone();
            self.entries.remove(&oldest);
        }
    }

    fn weight(&self) -> usize {
        self.entries
            .values()
            .map(|entry| match entry {
                Entry::Landed(answer) => answer.weight,
                Entry::Flying(..) => 0,
            })
            .sum()
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("fresh_for", &self.fresh_for).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::join_all;
    use tokio::time::{advance, sleep, timeout};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// An upstream that counts its requests, and answers with their number after a second.
    struct Upstream {
        cache: Arc<Cache>,
        asked: Arc<AtomicUsize>,
        bytes: usize,
    }

    impl Upstream {
        fn new() -> Self {
            Self { cache: Cache::new(3 * SECOND), asked: Arc::default(), bytes: 10 }
        }

        async fn get(&self, question: &str) -> Result<(usize, Option<u64>), ClientError> {
            let (asked, bytes) = (self.asked.clone(), self.bytes);
            let fetch = || async move {
                let number = asked.fetch_add(1, Ordering::Relaxed) + 1;
                sleep(SECOND).await;
                Ok((number, bytes))
            };
            let found = self.cache.get::<usize, _>(question, fetch).await?;
            Ok((found.value, found.asked.map(|asked| asked.elapsed().as_secs())))
        }

        async fn check(&self, question: &str, expected: (usize, Option<u64>)) {
            assert_eq!(self.get(question).await.unwrap(), expected, "{question}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_kept_while_it_is_fresh_and_tells_its_age() {
        let upstream = Upstream::new();
        upstream.check("a", (1, None)).await;
        advance(SECOND).await;
        // Asking took a second as well.
        upstream.check("a", (1, Some(2))).await;
        upstream.check("b", (2, None)).await;
        // The other question took a second.
        upstream.check("a", (3, None)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn equal_questions_at_once_are_asked_once() {
        let upstream = Upstream::new();
        let answers = join_all((0..50).map(|_| upstream.get("a"))).await;
        assert!(answers.into_iter().all(|answer| answer.unwrap() == (1, None)));
    }

    #[tokio::test(start_paused = true)]
    async fn who_asked_first_may_leave_and_who_leaves_last_ends_the_request() {
        let upstream = Upstream::new();
        let first = timeout(SECOND / 2, upstream.get("a"));
        let (first, second) = tokio::join!(first, upstream.get("a"));
        assert!(first.is_err());
        assert_eq!(second.unwrap(), (1, None));

        let upstream = Upstream::new();
        assert!(timeout(SECOND / 2, upstream.get("a")).await.is_err());
        assert!(timeout(SECOND / 2, upstream.get("a")).await.is_err());
        upstream.check("a", (3, None)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_told_to_all_who_wait_and_not_kept() {
        let upstream = Upstream::new();
        let fail = || {
            upstream.cache.get::<usize, _>("a", || async {
                sleep(SECOND).await;
                Err(ClientError::Timeout)
            })
        };
        let (first, second) = tokio::join!(fail(), upstream.get("a"));
        assert!(matches!(first.unwrap_err(), ClientError::Timeout));
        assert!(matches!(second.unwrap_err(), ClientError::Timeout));
        upstream.check("a", (1, None)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_makes_all_forgotten_also_what_is_on_its_way() {
        let upstream = Upstream::new();
        upstream.check("a", (1, None)).await;
        let change = async {
            sleep(SECOND / 2).await;
            upstream.cache.clear();
            tokio::join!(upstream.get("a"), upstream.get("b"))
        };
        let (before, (a, b)) = tokio::join!(upstream.get("b"), change);
        assert_eq!(before.unwrap(), (2, None));
        assert_eq!((a.unwrap(), b.unwrap()), ((3, None), (4, None)));
        upstream.check("b", (4, Some(1))).await;
    }

    #[tokio::test(start_paused = true)]
    async fn who_joins_late_is_told_when_it_was_asked_for() {
        let check = async |later: Duration, expected: Option<u64>| {
            let cache = Cache::new(3 * SECOND);
            let ask = async |later: Duration| {
                sleep(later).await;
                let fetch = || async { Ok(((), sleep(2 * SECOND).map(|()| 1).await)) };
                let found = cache.get::<(), _>("a", fetch).await.unwrap();
                found.asked.map(|asked| asked.elapsed().as_secs())
            };
            assert_eq!(tokio::join!(ask(Duration::ZERO), ask(later)), (None, expected));
        };
        check(SECOND / 2, None).await;
        check(SECOND, Some(2)).await;
        check(2 * SECOND, Some(2)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_kept_is_bounded_by_bytes_and_number() {
        let check = async |bytes: usize, expected: usize| {
            let upstream = Upstream { bytes, ..Upstream::new() };
            let questions: Vec<String> = (0..600).map(|n| n.to_string()).collect();
            join_all(questions.iter().map(|question| upstream.get(question))).await;
            let held = upstream.cache.held();
            assert!(held.weight() <= HEAVIEST);
            assert_eq!(held.entries.len(), expected, "of {bytes} bytes each");
        };
        check(10, MOST).await;
        check(HEAVIEST / 8, 4).await;
        check(HEAVIEST, 0).await;
    }
}
