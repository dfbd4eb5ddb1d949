//! The job that keeps endpoints: what is declared, what is checked now, what came of it.

mod declare;
mod entry;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use jiff::{SignedDuration, Timestamp};
use maintenant_api::endpoints::EndpointInput;
use maintenant_serve::clock;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio::time::Instant;

use super::TlsTargets;
use super::code::Coded;
use super::file::Declarations;
use super::history;
use super::model::{State, Step};
use super::probe::{Outcome, probe};
use super::routes::Endpoints;
use super::schedule::{Counts, Schedule, Start};
use super::spec::{SHORTEST_INTERVAL, Spec};
use super::sql::{self, Declaration, Write};
use crate::containers::model::Container;
use crate::http::error::ApiError;
use crate::net::TlsTarget;
use crate::spine::Spine;
use crate::store::StoreError;
use crate::tasks::Job;
use entry::Entry;

const TICK: Duration = Duration::from_secs(1);
/// Results that come within this time are stored together.
const GATHER: Duration = Duration::from_millis(50);
/// Between two notes of up to when open spans hold.
const MARK: SignedDuration = SignedDuration::from_mins(1);
/// A check ends itself; one that does not is cut this long after its time-out.
const OVERTIME: Duration = Duration::from_secs(5);
/// Results kept for a store that does not take them.
const UNSAVED: usize = 20_000;
/// Endpoints whose days are rolled up in one transaction.
const ROLL: usize = 200;
const LONGEST_ERROR: usize = 500;
const COMMANDS: usize = 64;

/// A wish of the REST API; answered with the endpoint's id.
#[derive(Debug)]
pub(super) enum Command {
    Create(EndpointInput),
    Update(i64, EndpointInput),
    Delete(i64),
}

/// A command and where its answer goes.
pub(super) type Asked = (Command, oneshot::Sender<Result<i64, ApiError>>);

pub(super) struct Watch {
    spine: Spine,
    defaults: EndpointInput,
    entries: HashMap<i64, Entry>,
    /// Containers whose labels have been read.
    containers: BTreeMap<i64, Arc<Container>>,
    /// Since when Docker is heard.
    heard_since: Option<Timestamp>,
    schedule: Schedule,
    checks: JoinSet<Option<Outcome>>,
    running: HashMap<tokio::task::Id, (Start, AbortHandle)>,
    unsaved: Unsaved,
    saving: Option<BoxFuture<'static, (Unsaved, Result<(), StoreError>)>>,
    /// Both clocks when they were last looked at.
    clocks: (Instant, Timestamp),
    marked_at: Timestamp,
    rolled_until: Timestamp,
    commands: mpsc::Receiver<Asked>,
    counts: watch::Sender<Counts>,
    targets: watch::Sender<Arc<[TlsTarget]>>,
}

/// Results that the store has not taken yet, and what is told once it has.
#[derive(Default)]
struct Unsaved {
    writes: Vec<Write>,
    events: Vec<(&'static str, Value)>,
    since: Option<Instant>,
}

enum Wake {
    Ended(Result<(tokio::task::Id, Option<Outcome>), JoinError>),
    Saved(Unsaved, Result<(), StoreError>),
    Inventory,
    Runtime,
    Asked(Box<Asked>),
    Timer,
}

impl Watch {
    /// Goes on where an earlier process stopped, and declares what the file does.
    pub(super) async fn new(
        spine: Spine,
        declared: Declarations,
        now: Timestamp,
    ) -> anyhow::Result<(Self, Endpoints, TlsTargets)> {
        let now = whole(now);
        let loaded = spine
            .store
            .read(|db| Ok((sql::load(db)?, sql::observed_until(db)?, history::rolled_until(db)?)));
        let (rows, observed_until, rolled_until) = loaded.await?;
        let (asking, commands) = mpsc::channel(COMMANDS);
        let (counts, counts_reader) = watch::channel(Counts::default());
        let (targets, targets_reader) = watch::channel(Arc::default());
        let endpoints = Endpoints::new(asking, counts_reader, spine.net.clone());
        let mut watch = Self {
            spine,
            defaults: declared.defaults,
            entries: HashMap::new(),
            containers: BTreeMap::new(),
            heard_since: None,
            schedule: Schedule::new(Instant::now()),
            checks: JoinSet::new(),
            running: HashMap::new(),
            unsaved: Unsaved::default(),
            saving: None,
            clocks: (Instant::now(), now),
            marked_at: now,
            rolled_until: rolled_until.unwrap_or(now),
            commands,
            counts,
            targets,
        };
        watch.load(rows, observed_until.unwrap_or(now), now);
        watch.declare_file(declared.endpoints, now).await?;
        watch.publish_targets();
        if rolled_until.is_none() {
            watch.spine.store.write(move |tx| history::save_rolled_until(tx, now)).await?;
        }
        Ok((watch, endpoints, targets_reader))
    }

    fn load(
        &mut self,
        rows: Vec<(i64, Declaration, State)>,
        observed_until: Timestamp,
        now: Timestamp,
    ) {
        let many = rows.len();
        for (id, declaration, mut state) in rows {
            let spec = match Spec::parse(declaration.kind, &declaration.target, &declaration.config)
            {
                Ok(spec) => Arc::new(spec),
                Err(fault) => {
                    tracing::error!(endpoint.id = id, "a stored endpoint is not checked: {fault}");
                    continue;
                }
            };
            let step = state.resume(observed_until, now);
            let entry = Entry::new(&declaration, spec.clone(), state);
            self.entries.insert(id, entry);
            self.take(id, step, None);
            self.schedule.put(id, spec, many, Instant::now());
        }
        // Nobody listens yet, and nothing has happened but our own absence.
        self.unsaved.events.clear();
    }
}

impl Job for Watch {
    const NAME: &'static str = "endpoints";

    async fn run(&mut self, _now: Timestamp) -> anyhow::Result<()> {
        // Whether a container runs decides what is checked.
        self.spine.runtime.first_word().await;
        self.clocks = (Instant::now(), now());
        self.hear(self.spine.runtime.get().connected, now());
        let mut inventory = self.spine.inventory.clone();
        inventory.mark_changed();
        let mut runtime = self.spine.runtime.subscribe();
        loop {
            self.begin_due();
            self.begin_saving();
            self.counts.send_replace(self.schedule.counts());
            let until = self.next_wake();
            let wake = tokio::select! {
                Some(ended) = self.checks.join_next_with_id(), if !self.checks.is_empty() => {
                    Wake::Ended(ended)
                }
                (unsaved, saved) = pending_or(&mut self.saving) => Wake::Saved(unsaved, saved),
                Ok(()) = inventory.changed() => Wake::Inventory,
                Ok(()) = runtime.changed() => Wake::Runtime,
                Some(asked) = self.commands.recv() => Wake::Asked(Box::new(asked)),
                () = tokio::time::sleep_until(until) => Wake::Timer,
            };
            let (now, has_ticked) = self.look_at_clocks();
            if has_ticked {
                self.tick(now).await?;
            }
            match wake {
                Wake::Ended(ended) => self.ended(ended, now),
                Wake::Saved(unsaved, saved) => self.saved(unsaved, saved),
                Wake::Inventory => {
                    let present = inventory.borrow_and_update().clone();
                    self.read_labels(&present, now).await?;
                    self.follow_containers(now);
                }
                Wake::Runtime => {
                    let heard = runtime.borrow_and_update().connected;
                    if self.hear(heard, now) {
                        self.follow_containers(now);
                    }
                }
                Wake::Asked(asked) => {
                    let (command, answer) = *asked;
                    let done = self.obey(command, now).await;
                    let _ = answer.send(done);
                }
                Wake::Timer => {}
            }
        }
    }
}

/// Waits for a future, or for ever without one.
async fn pending_or<T>(future: &mut Option<BoxFuture<'static, T>>) -> T {
    match future {
        Some(ready) => {
            let done = ready.await;
            *future = None;
            done
        }
        None => std::future::pending().await,
    }
}

/// Checks and their results.
impl Watch {
    fn next_wake(&self) -> Instant {
        let tick = self.clocks.0 + TICK;
        let check = self.schedule.next_at().unwrap_or(tick);
        let save = self.unsaved.since.filter(|_| self.saving.is_none()).map(|since| since + GATHER);
        tick.min(check).min(save.unwrap_or(tick))
    }

    fn begin_due(&mut self) {
        for start in self.schedule.due(Instant::now()) {
            let (net, spec) = (self.spine.net.clone(), start.spec.clone());
            let check = async move {
                net.turn().await;
                let longest = spec.timeout + OVERTIME;
                tokio::time::timeout(longest, probe(&net, &spec)).await.ok().flatten()
            };
            let handle = self.checks.spawn(check);
            self.running.insert(handle.id(), (start, handle));
        }
    }

    fn ended(
        &mut self,
        ended: Result<(tokio::task::Id, Option<Outcome>), JoinError>,
        now: Timestamp,
    ) {
        let (task, outcome) = match ended {
            Ok(ended) => ended,
            Err(error) => {
                if error.is_panic() {
                    tracing::error!("a check panicked and says nothing about its target");
                }
                (error.id(), None)
            }
        };
        let Some((start, _)) = self.running.remove(&task) else { return };
        let wanted = self.schedule.done(&start);
        if let Some(outcome) = outcome.filter(|_| wanted) {
            self.record(start.id, outcome, now);
        }
    }

    fn record(&mut self, id: i64, mut outcome: Outcome, now: Timestamp) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        if let Some(failure) = &mut outcome.failure {
            failure.error = bounded(&failure.error);
        }
        let succeeded = outcome.failure.is_none();
        let (at, step) = entry.state.after_check(succeeded, now, &entry.policy());
        let coded = Coded::of(&outcome);
        let error = outcome.failure.as_ref().map(|failure| failure.error.clone());
        self.unsaved.writes.push(Write::Check { id, at, coded, error });
        self.take(id, step, Some(&outcome));
    }

    /// Notes what a step changed: to be stored, then told.
    fn take(&mut self, id: i64, step: Step, last: Option<&Outcome>) {
        let Some(entry) = self.entries.get(&id) else { return };
        let unsaved = &mut self.unsaved;
        unsaved.writes.extend(step.spans.into_iter().map(|span| Write::Span { id, span }));
        let coded = last.map(|outcome| {
            let error = outcome.failure.as_ref().map(|failure| failure.error.clone());
            (Coded::of(outcome), error)
        });
        unsaved.writes.push(Write::State { id, state: entry.state, last: coded });
        unsaved.events.extend(step.told.iter().map(|told| entry.event(id, *told, last)));
        unsaved.since.get_or_insert_with(Instant::now);
    }

    fn begin_saving(&mut self) {
        let ready = self.unsaved.since.is_some_and(|since| since.elapsed() >= GATHER);
        if self.saving.is_some() || !ready {
            return;
        }
        let unsaved = std::mem::take(&mut self.unsaved);
        let (store, now) = (self.spine.store.clone(), now());
        let save = async move {
            let writes: Arc<[Write]> = unsaved.writes.into();
            let shared = writes.clone();
            let saved = store.write(move |tx| sql::save(tx, &shared, now)).await;
            let writes = if saved.is_ok() { Vec::new() } else { writes.to_vec() };
            (Unsaved { writes, events: unsaved.events, since: unsaved.since }, saved)
        };
        self.saving = Some(save.boxed());
    }

    /// Events are told even if the disk is full: somebody should hear of an outage.
    fn saved(&mut self, mut before: Unsaved, saved: Result<(), StoreError>) {
        for (name, data) in before.events.drain(..) {
            self.spine.events.publish(name, &data);
        }
        if let Err(error) = saved {
            let dropped = (before.writes.len() + self.unsaved.writes.len()).saturating_sub(UNSAVED);
            tracing::error!(dropped, "results of checks are not stored yet: {error}");
            before.writes.append(&mut self.unsaved.writes);
            self.unsaved.writes = before.writes.split_off(dropped.min(before.writes.len()));
            // Not at once again.
            self.unsaved.since = Some(Instant::now() + TICK);
        }
    }

    /// What is under way for endpoints that changed is cut.
    fn abort_unwanted(&mut self) {
        for (start, handle) in self.running.values() {
            if !self.schedule.is_wanted(start) {
                handle.abort();
            }
        }
    }
}

/// Time.
impl Watch {
    /// The present time, and whether a tick has passed. When much more of it has passed than should
    /// have, this process or its machine stood still: what was known is known no longer, and checks
    /// under way tell of us.
    fn look_at_clocks(&mut self) -> (Timestamp, bool) {
        let (then, then_on_the_wall) = self.clocks;
        let (instant, now) = (Instant::now(), now());
        self.clocks.1 = now;
        let has_ticked = instant >= then + TICK;
        if has_ticked {
            self.clocks.0 = instant;
        }
        let passed = Duration::try_from(now.duration_since(then_on_the_wall)).unwrap_or_default();
        let passed = passed.max(instant.duration_since(then));
        if passed <= SHORTEST_INTERVAL {
            return (now, has_ticked);
        }
        tracing::warn!(seconds = passed.as_secs(), "nothing was observed for a while");
        self.schedule.cancel_running();
        self.abort_unwanted();
        let stale = self
            .entries
            .iter_mut()
            .filter(|(_, entry)| entry.spec.interval < passed && entry.state.holds_until.is_some());
        let steps: Vec<_> =
            stale.map(|(id, entry)| (*id, entry.state.forget(then_on_the_wall))).collect();
        for (id, step) in steps {
            self.take(id, step, None);
        }
        (now, has_ticked)
    }

    async fn tick(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let expired: Vec<_> = self
            .entries
            .iter_mut()
            .map(|(id, entry)| (*id, entry.state.expire(now)))
            .filter(|(_, step)| *step != Step::default())
            .collect();
        for (id, step) in expired {
            self.take(id, step, None);
        }
        if now.duration_since(self.marked_at) >= MARK || now < self.marked_at {
            self.marked_at = now;
            self.spine.store.write(move |tx| sql::save_observed_until(tx, now)).await?;
        }
        let day = |at: Timestamp| at.as_millisecond().div_euclid(history::DAY_MS);
        if day(now) > day(self.rolled_until) {
            for ids in self.spine.store.read(history::all).await?.chunks(ROLL).map(<[i64]>::to_vec)
            {
                self.spine.store.write(move |tx| history::roll_up_days(tx, &ids, now)).await?;
            }
            self.spine.store.write(move |tx| history::save_rolled_until(tx, now)).await?;
            self.rolled_until = now;
        }
        Ok(())
    }
}

fn bounded(error: &str) -> String {
    error.chars().take(LONGEST_ERROR).collect()
}

/// Instants of this dimension are whole milliseconds, as they are stored.
fn whole(at: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at)
}

fn now() -> Timestamp {
    whole(clock::now())
}
