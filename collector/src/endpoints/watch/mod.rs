//! The job that keeps endpoints: what is declared, what is checked now, what came of it.

mod declare;
mod entry;
mod saving;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use maintenant_api::endpoints::EndpointInput;
use maintenant_serve::clock;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio::time::Instant;

use super::TlsTargets;
use super::file::Declarations;
use super::history;
use super::model::{State, Step};
use super::probe::{Outcome, probe};
use super::routes::Endpoints;
use super::schedule::{Counts, Schedule, Start};
use super::spec::{SHORTEST_INTERVAL, Spec};
use super::sql::{self, Declaration, Write};
use crate::containers::inventory::InventoryReader;
use crate::containers::model::Container;
use crate::http::error::ApiError;
use crate::net::TlsTarget;
use crate::spine::Spine;
use crate::store::StoreError;
use crate::tasks::Job;
use entry::Entry;
use saving::{GATHER, Rolling, Saving, Unsaved};

const TICK: Duration = Duration::from_secs(1);
/// Between two notes of up to when open spans hold.
const MARK: SignedDuration = SignedDuration::from_mins(1);
/// A check ends itself; one that does not is cut this long after its time-out.
const OVERTIME: Duration = Duration::from_secs(5);
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
    saving: Option<Saving>,
    /// The store did not take what it was given last.
    is_behind: bool,
    /// Results were lost since the store last took some.
    has_lost: bool,
    /// Endpoints whose end is not stored yet, as they ended.
    ended: HashMap<i64, State>,
    /// The inventory could not be taken over; it is tried again.
    is_unread: bool,
    is_day_over: bool,
    rolling: Option<Rolling>,
    /// Both clocks when they were last looked at.
    clocks: (Instant, Timestamp),
    marked_at: Timestamp,
    rolled_until: Timestamp,
    commands: mpsc::Receiver<Asked>,
    counts: watch::Sender<Counts>,
    targets: watch::Sender<Arc<[TlsTarget]>>,
}

enum Wake {
    Ended(Result<(tokio::task::Id, Option<Outcome>), JoinError>),
    Saved(Unsaved, Result<(), StoreError>),
    Rolled(Timestamp, Result<(), StoreError>),
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
            is_behind: false,
            has_lost: false,
            ended: HashMap::new(),
            is_unread: false,
            is_day_over: false,
            rolling: None,
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
        let mut runtime = self.spine.runtime.subscribe();
        let heard = runtime.borrow_and_update().connected;
        self.hear(heard, now());
        let mut inventory = self.spine.inventory.clone();
        inventory.mark_changed();
        loop {
            self.begin_due();
            self.begin_rolling();
            self.begin_saving();
            self.counts.send_replace(self.schedule.counts());
            let until = self.next_wake();
            let wake = tokio::select! {
                Some(ended) = self.checks.join_next_with_id(), if !self.checks.is_empty() => {
                    Wake::Ended(ended)
                }
                (unsaved, saved) = pending_or(&mut self.saving) => Wake::Saved(unsaved, saved),
                (until, rolled) = pending_or(&mut self.rolling) => Wake::Rolled(until, rolled),
                Ok(()) = inventory.changed() => Wake::Inventory,
                Ok(()) = runtime.changed() => Wake::Runtime,
                Some(asked) = self.commands.recv() => Wake::Asked(Box::new(asked)),
                () = tokio::time::sleep_until(until) => Wake::Timer,
            };
            let (now, has_ticked) = self.look_at_clocks();
            let began = Instant::now();
            match wake {
                Wake::Ended(ended) => self.ended(ended, now),
                Wake::Saved(unsaved, saved) => self.saved(unsaved, saved),
                Wake::Rolled(until, rolled) => self.rolled(until, rolled),
                Wake::Inventory => self.take_over(&mut inventory, now).await,
                Wake::Runtime => {
                    let heard = runtime.borrow_and_update().connected;
                    if self.hear(heard, now) {
                        // What is heard now may be in the inventory already.
                        self.take_over(&mut inventory, now).await;
                    }
                }
                Wake::Asked(asked) => {
                    let (command, answer) = *asked;
                    let done = self.obey(command, now).await;
                    let _ = answer.send(done);
                }
                Wake::Timer => {}
            }
            if has_ticked {
                self.tick(now);
                if self.is_unread {
                    self.take_over(&mut inventory, now).await;
                }
            }
            self.excuse(began.elapsed());
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
        let can_save = self.saving.is_none() && self.rolling.is_none();
        let save = self.unsaved.since.filter(|_| can_save).map(|since| since + GATHER);
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
        let before = entry.state;
        let (at, step) = entry.state.after_check(succeeded, now, &entry.policy());
        let write = Write::check(id, at, &outcome, &before, &entry.state);
        self.note(id, write, step, Some(&outcome));
    }

    /// Reads labels and follows containers. While the store does not take it, what is declared stays.
    async fn take_over(&mut self, inventory: &mut InventoryReader, now: Timestamp) {
        let present = inventory.borrow_and_update().clone();
        let read = self.read_labels(&present, now).await;
        self.is_unread = read.is_err();
        if let Err(error) = read {
            tracing::error!("what labels declare could not be stored yet: {error}");
        }
        self.follow_containers(now);
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

    /// Waiting for the store is no standing still. A sleep of the machine meanwhile shows on the wall
    /// clock alone, and is noticed.
    fn excuse(&mut self, waited: Duration) {
        self.clocks.0 += waited;
        let waited = SignedDuration::try_from(waited).unwrap_or_default();
        self.clocks.1 = whole(self.clocks.1.checked_add(waited).unwrap_or(self.clocks.1));
    }

    fn tick(&mut self, now: Timestamp) {
        // One that waits for its turn is about to be known: its status does not flap.
        let lapsed: Vec<_> = self
            .entries
            .iter_mut()
            .filter(|(id, _)| !self.schedule.is_busy(**id))
            .map(|(id, entry)| (*id, entry.state.expire(now)))
            .filter(|(_, step)| *step != Step::default())
            .collect();
        for (id, step) in lapsed {
            self.take(id, step, None);
        }
        if now.duration_since(self.marked_at) >= MARK || now < self.marked_at {
            self.marked_at = now;
            self.unsaved.writes.push(Write::Mark { at: now });
            self.unsaved.since.get_or_insert_with(Instant::now);
        }
        // Also after the clock was set back.
        let day = |at: Timestamp| at.as_millisecond().div_euclid(history::DAY_MS);
        self.is_day_over = !self.is_behind && day(now) != day(self.rolled_until);
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

#[cfg(test)]
mod tests;
