//! When each endpoint is checked. One heap of times, no task and no timer of its own for any.
//!
//! An endpoint is checked at `phase + k * interval` of the monotonic clock, its phase being a hash of
//! its id: checks are spread, and stay so. A time that passes while the check before it still waits
//! or runs is skipped and counted; nothing is ever made up for. Checks that may not start yet, because
//! enough are under way in all or to that host, wait in the order in which they came.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::spec::{Spec, Target};

/// Checks under way.
const MOST_AT_ONCE: usize = 64;
/// Checks under way to one host.
const MOST_PER_HOST: usize = 2;
/// A new endpoint is checked within this time; many at once take longer.
const SOON: Duration = Duration::from_secs(2);
const SOON_EACH: Duration = Duration::from_millis(4);

/// Who is checked when, and how it went so far.
#[derive(Debug)]
pub struct Schedule {
    origin: Instant,
    entries: HashMap<i64, Entry>,
    times: BinaryHeap<Reverse<(Instant, Ticket)>>,
    /// Due; those whose host is busy wait there instead.
    ready: VecDeque<(Ticket, Arc<str>)>,
    hosts: HashMap<Arc<str>, Host>,
    last_generation: u32,
    last_run: u64,
    counts: Counts,
}

/// An endpoint as it was when it was scheduled: the generation of its entry.
type Ticket = (i64, u32);

#[derive(Debug)]
struct Entry {
    spec: Arc<Spec>,
    host: Arc<str>,
    generation: u32,
    turn: Turn,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Idle,
    Waiting { since: Instant },
    Running { run: u64 },
}

#[derive(Debug, Default)]
struct Host {
    running: usize,
    waiting: VecDeque<Ticket>,
}

/// A check that is to begin now.
#[derive(Debug, Clone)]
pub struct Start {
    pub id: i64,
    pub spec: Arc<Spec>,
    host: Arc<str>,
    run: u64,
}

/// How the scheduler fares. Time in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub scheduled: usize,
    pub in_flight: usize,
    pub queued: usize,
    pub late_ticks: u64,
    pub checks: u64,
    pub queued_ms_total: u64,
    pub queued_ms_max: u64,
}

impl Schedule {
    pub fn new(now: Instant) -> Self {
        Self {
            origin: now,
            entries: HashMap::new(),
            times: BinaryHeap::new(),
            ready: VecDeque::new(),
            hosts: HashMap::new(),
            last_generation: 0,
            last_run: 0,
            counts: Counts::default(),
        }
    }

    /// Schedules an endpoint, or schedules it anew: what is under way for it is of no use any more.
    /// Its first check comes soon, and later when there are `many` of them.
    pub fn put(&mut self, id: i64, spec: Arc<Spec>, many: usize, now: Instant) {
        let many = u32::try_from(many).unwrap_or(u32::MAX);
        let within = SOON.saturating_add(SOON_EACH.saturating_mul(many)).min(spec.interval);
        self.put_at(id, spec, now + spread(id, within));
    }

    /// As [`Self::put`], with the first check at once.
    pub fn put_now(&mut self, id: i64, spec: Arc<Spec>, now: Instant) {
        self.put_at(id, spec, now);
    }

    fn put_at(&mut self, id: i64, spec: Arc<Spec>, first: Instant) {
        self.remove(id);
        self.last_generation = self.last_generation.wrapping_add(1);
        let generation = self.last_generation;
        let host = host(&spec.target);
        self.entries.insert(id, Entry { spec, host, generation, turn: Turn::Idle });
        self.times.push(Reverse((first, (id, generation))));
    }

    /// Takes an endpoint off. What is under way for it is of no use any more.
    pub fn remove(&mut self, id: i64) {
        // Its places in heap and queues are passed over when their turn comes, which may be a day.
        self.entries.remove(&id);
        if self.times.len() > 1024 && self.times.len() > 2 * self.entries.len() {
            let entries = &self.entries;
            self.times.retain(|Reverse((_, ticket))| is_valid(entries, *ticket));
        }
    }

    pub fn contains(&self, id: i64) -> bool {
        self.entries.contains_key(&id)
    }

    /// Whether a check of it waits for its turn or runs.
    pub fn is_busy(&self, id: i64) -> bool {
        self.entries.get(&id).is_some_and(|entry| entry.turn != Turn::Idle)
    }

    /// Whether the result of this check would still be of use.
    pub fn is_wanted(&self, start: &Start) -> bool {
        let entry = self.entries.get(&start.id);
        entry.is_some_and(|entry| entry.turn == Turn::Running { run: start.run })
    }

    /// The checks to begin now.
    pub fn due(&mut self, now: Instant) -> Vec<Start> {
        while let Some(Reverse((at, ticket))) = self.times.peek().copied()
            && at <= now
        {
            self.times.pop();
            self.tick(ticket, at, now);
        }
        let mut starts = Vec::new();
        while self.counts.in_flight < MOST_AT_ONCE
            && let Some((ticket, host)) = self.ready.pop_front()
        {
            if !is_valid(&self.entries, ticket) {
                self.wake(&host);
                continue;
            }
            let busy = self.hosts.entry(host.clone()).or_default();
            if busy.running >= MOST_PER_HOST {
                busy.waiting.push_back(ticket);
                continue;
            }
            let Some(entry) = self.entries.get_mut(&ticket.0) else { continue };
            let Turn::Waiting { since } = entry.turn else { continue };
            busy.running += 1;
            self.last_run += 1;
            entry.turn = Turn::Running { run: self.last_run };
            self.counts.in_flight += 1;
            let queued = u64::try_from(now.duration_since(since).as_millis()).unwrap_or(u64::MAX);
            self.counts.queued_ms_total = self.counts.queued_ms_total.saturating_add(queued);
            self.counts.queued_ms_max = self.counts.queued_ms_max.max(queued);
            starts.push(Start { id: ticket.0, spec: entry.spec.clone(), host, run: self.last_run });
        }
        starts
    }

    fn tick(&mut self, ticket: Ticket, at: Instant, now: Instant) {
        if !is_valid(&self.entries, ticket) {
            return;
        }
        let Some(entry) = self.entries.get_mut(&ticket.0) else { return };
        let (next, skipped) = next_tick(self.origin, ticket.0, entry.spec.interval, at, now);
        self.counts.late_ticks += skipped;
        self.times.push(Reverse((next, ticket)));
        if entry.turn == Turn::Idle {
            // It waits since it was due, whenever this was noticed.
            entry.turn = Turn::Waiting { since: at };
            self.ready.push_back((ticket, entry.host.clone()));
        } else {
            self.counts.late_ticks += 1;
        }
    }

    /// A check has ended; says whether its result is of use.
    pub fn done(&mut self, start: &Start) -> bool {
        self.counts.in_flight = self.counts.in_flight.saturating_sub(1);
        if let Some(host) = self.hosts.get_mut(&start.host) {
            host.running = host.running.saturating_sub(1);
        }
        self.wake(&start.host);
        let wanted = self.is_wanted(start);
        if wanted && let Some(entry) = self.entries.get_mut(&start.id) {
            entry.turn = Turn::Idle;
            self.counts.checks += 1;
        }
        wanted
    }

    /// The next that waits for a host gets ready.
    fn wake(&mut self, name: &Arc<str>) {
        let Some(host) = self.hosts.get_mut(name) else { return };
        if let Some(ticket) = host.waiting.pop_front() {
            self.ready.push_back((ticket, name.clone()));
        } else if host.running == 0 {
            self.hosts.remove(name);
        }
    }

    /// Makes the results of everything under way useless.
    pub fn cancel_running(&mut self) {
        for entry in self.entries.values_mut() {
            if matches!(entry.turn, Turn::Running { .. }) {
                entry.turn = Turn::Idle;
            }
        }
    }

    /// When [`Self::due`] has something to say next, unless a check ends before.
    pub fn next_at(&self) -> Option<Instant> {
        self.times.peek().map(|Reverse((at, _))| *at)
    }

    pub fn counts(&self) -> Counts {
        let waiting = self.hosts.values().map(|host| host.waiting.len()).sum::<usize>();
        let queued = self.ready.len() + waiting;
        Counts { scheduled: self.entries.len(), queued, ..self.counts }
    }
}

fn is_valid(entries: &HashMap<i64, Entry>, (id, generation): Ticket) -> bool {
    entries.get(&id).is_some_and(|entry| entry.generation == generation)
}

/// The time of its phase after the check that was due `at`, and how many of them have passed unused.
/// A first check has no phase: the next one comes half an interval after it at the earliest.
fn next_tick(
    origin: Instant,
    id: i64,
    interval: Duration,
    at: Instant,
    now: Instant,
) -> (Instant, u64) {
    let every = interval.as_nanos().max(1);
    let earliest = (at + interval / 2).duration_since(origin).as_nanos();
    let phase = spread(id, interval).as_nanos();
    let mut next = phase + earliest.saturating_sub(phase).div_ceil(every) * every;
    let now = now.duration_since(origin).as_nanos();
    let skipped = if next <= now { (now - next) / every + 1 } else { 0 };
    next += skipped * every;
    let next = Duration::from_nanos(u64::try_from(next).unwrap_or(u64::MAX));
    (origin + next, u64::try_from(skipped).unwrap_or(u64::MAX))
}

/// A place within `span` that an id always has (SplitMix64 of the id).
fn spread(id: i64, span: Duration) -> Duration {
    let mut hash = id.cast_unsigned().wrapping_add(0x9e37_79b9_7f4a_7c15);
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^= hash >> 31;
    let nanoseconds = (u128::from(hash) * span.as_nanos()) >> 64;
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or_default())
}

fn host(target: &Target) -> Arc<str> {
    match target {
        Target::Http(url) => url.host_str().unwrap_or_default().into(),
        Target::Tcp { host, .. } => host.to_ascii_lowercase().into(),
    }
}
