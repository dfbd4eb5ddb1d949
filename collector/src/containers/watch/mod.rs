//! Following Docker: one task owns what is known of containers.
//!
//! A session asks for events from a moment ago on, then lists and inspects, then applies: the events
//! that came meanwhile first, the inspections after them, because an inspection loses against any
//! event received since it began, or about to be. A ping every few seconds tells a hung engine from a
//! quiet one.

mod commit;

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use jiff::{SignedDuration, Timestamp};
use maintenant_api::containers::State;
use maintenant_serve::clock;
use maintenant_serve::logging::foreign;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::containers::deletions::Deletions;
use crate::containers::inventory::Inventory;
use crate::containers::known::Known;
use crate::containers::model::{
    Container, Facts, Observation, Pending, RestartPolicy, Seen, Transition, adopt, apply, compare,
    learn,
};
use crate::containers::observe::{facts_of, observe, seen, seen_in_list};
use crate::containers::sql::{self, Change};
use crate::docker::{Docker, DockerError, Event, Host, Listed};
use crate::http::events::EventBus;
use crate::runtime::RuntimeState;
use crate::store::Store;
use crate::tasks::Job;

/// How often what is done.
#[derive(Debug, Clone, Copy)]
pub struct Periods {
    pub ping: Duration,
    pub resync: Duration,
    /// Resync where events are refused.
    pub poll: Duration,
}

impl Default for Periods {
    fn default() -> Self {
        Self {
            ping: Duration::from_secs(5),
            resync: Duration::from_mins(5),
            poll: Duration::from_secs(10),
        }
    }
}

/// Inspections under way at once.
const INSPECTIONS: usize = 16;
/// Events waiting to be applied; more end the session, and the next one lists anew.
const EVENTS: usize = 4096;
/// Reads of last log lines under way at once.
const SNIPPETS: usize = 4;
/// Between two pings; a longer gap means that this process, or its machine, was stopped.
const INTERRUPTION: SignedDuration = SignedDuration::from_mins(1);
/// How long a created container is looked at again and again.
const YOUNG: SignedDuration = SignedDuration::from_mins(10);
/// Ends of a container that are kept until its restart policy is known.
const BLIND_ENDS: usize = 16;

/// Follows one engine for the life of the process.
pub struct Watch {
    host: Host,
    periods: Periods,
    store: Store,
    events: EventBus,
    runtime: RuntimeState,
    connection: watch::Sender<Option<Docker>>,
    inventory: watch::Sender<Inventory>,
    known: Known,
    deletions: Deletions,
    /// Docker ids of containers that events touched and no inspection has settled since.
    unsettled: BTreeSet<String>,
    /// A removed container may have stood before another of its identity: list again.
    resync_wanted: bool,
    /// The engine refuses events: only lists and inspections tell what happens.
    events_refused: bool,
    /// Changes the store has not taken yet.
    unsaved: Vec<Change>,
    snippets: JoinSet<()>,
    snippet_permits: Arc<tokio::sync::Semaphore>,
}

/// The ends that others read from.
#[derive(Clone)]
pub struct Watched {
    pub inventory: watch::Receiver<Inventory>,
    /// The engine, while it is heard.
    pub docker: watch::Receiver<Option<Docker>>,
    pub deletions: Deletions,
}

impl Watch {
    pub async fn new(
        host: Host,
        periods: Periods,
        store: Store,
        events: EventBus,
        runtime: RuntimeState,
    ) -> anyhow::Result<(Self, Watched)> {
        let loaded = store.read(sql::load).await?;
        let mut known = Known {
            last_container_id: loaded.last_container_id,
            last_transition_id: loaded.last_transition_id,
            observed_until: loaded.observed_until,
            ..Known::default()
        };
        for container in loaded.containers {
            known.put(Arc::new(container));
        }
        if let Some(at) = known.observed_until {
            runtime.observed(at);
        }
        let (inventory, inventory_reader) =
            watch::channel(Inventory::new(known.live.values().cloned().collect()));
        let (connection, docker) = watch::channel(None);
        let deletions = Deletions::default();
        let watch = Self {
            host,
            periods,
            store,
            events,
            runtime,
            connection,
            inventory,
            known,
            deletions: deletions.clone(),
            unsettled: BTreeSet::new(),
            resync_wanted: false,
            events_refused: false,
            unsaved: Vec::new(),
            snippets: JoinSet::new(),
            snippet_permits: Arc::new(tokio::sync::Semaphore::new(SNIPPETS)),
        };
        Ok((watch, Watched { inventory: inventory_reader, docker, deletions }))
    }
}

impl Job for Watch {
    const NAME: &'static str = "docker";

    async fn run(&mut self, _now: Timestamp) -> anyhow::Result<()> {
        let error = match self.session().await {
            Err(error) => error,
            Ok(never) => match never {},
        };
        self.connection.send_replace(None);
        self.runtime.lost(error.to_string(), clock::now());
        Err(error.into())
    }
}

/// What wakes a session.
enum Wake {
    Events,
    Ping,
    Resync,
    Deleted,
    Lost(DockerError),
}

impl Watch {
    /// One connection to the engine, from subscribing to its loss.
    async fn session(&mut self) -> Result<std::convert::Infallible, DockerError> {
        let docker = Docker::connect(&self.host).await?;
        let (sender, mut received) = mpsc::channel(EVENTS);
        let since = clock::now()
            .saturating_sub(SignedDuration::try_from(self.host.clock_skew()).unwrap_or_default())
            .unwrap_or(Timestamp::UNIX_EPOCH);
        let mut reader = JoinSet::new();
        let events = docker.events(since);
        reader.spawn(read_events(events, sender));
        self.events_refused = false;
        self.runtime.set_degraded(EVENTS_FEATURE, None);

        self.forget_deleted().await;
        self.close_spans().await;
        self.connection.send_replace(Some(docker.clone()));
        self.resync(&docker, &mut received).await?;
        tracing::info!(
            containers = self.known.live.len(),
            api_version = docker.api_version(),
            "Docker is being watched"
        );

        let mut pings = tokio::time::interval(self.periods.ping);
        pings.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut next_resync = tokio::time::Instant::now() + self.periods.resync;
        let mut batch = Vec::new();
        loop {
            let hears = !self.events_refused;
            let wake = tokio::select! {
                count = received.recv_many(&mut batch, EVENTS), if hears => match count {
                    0 => Wake::Lost(match reader.join_next().await {
                        Some(Ok(error)) => error,
                        _ => DockerError::Unreadable("the event reader ended".to_owned()),
                    }),
                    _ => Wake::Events,
                },
                _ = pings.tick() => Wake::Ping,
                () = tokio::time::sleep_until(next_resync) => Wake::Resync,
                () = self.deletions.added() => Wake::Deleted,
            };
            match wake {
                Wake::Events => {
                    self.apply_events(std::mem::take(&mut batch)).await;
                    self.look_again(&docker, &mut received).await?;
                    self.runtime.observed(clock::now());
                    if std::mem::take(&mut self.resync_wanted) {
                        next_resync = tokio::time::Instant::now();
                    }
                }
                Wake::Ping => {
                    docker.ping().await?;
                    let now = clock::now();
                    let last = self.known.observed_until;
                    if last.is_some_and(|last| now.duration_since(last) > INTERRUPTION) {
                        return Err(DockerError::Interrupted);
                    }
                    self.observed(now).await;
                    let young = self.not_yet_started(now);
                    self.unsettled.extend(young);
                    self.look_again(&docker, &mut received).await?;
                }
                Wake::Resync => {
                    self.resync(&docker, &mut received).await?;
                    let Periods { poll, resync, .. } = self.periods;
                    let period = if self.events_refused { poll } else { resync };
                    next_resync = tokio::time::Instant::now() + period;
                }
                Wake::Deleted => {
                    self.forget_deleted().await;
                }
                Wake::Lost(error @ (DockerError::Refused(_) | DockerError::NotFound)) => {
                    self.events_refused = true;
                    let refused = Some(("GET /events", error.to_string()));
                    self.runtime.set_degraded(EVENTS_FEATURE, refused);
                    next_resync = tokio::time::Instant::now() + self.periods.poll;
                }
                Wake::Lost(error) => return Err(error),
            }
        }
    }

    /// Lists, inspects, and settles every difference.
    async fn resync(
        &mut self,
        docker: &Docker,
        received: &mut mpsc::Receiver<Event>,
    ) -> Result<(), DockerError> {
        let listed = docker.list().await?;
        let ids: Vec<String> = listed.iter().map(|listed| listed.id.clone()).collect();
        let mut inspected = self.inspect(docker, &ids).await?;
        let unread = std::mem::take(&mut inspected.unread);
        let mut seen = inspected.seen;
        let in_list = listed.iter().filter(|listed| unread.contains(&listed.id));
        seen.extend(in_list.map(|listed| self.seen_in_list(listed)));

        // Events that came since the inspections began know better than they do.
        let waiting = drain(received);
        let touched: HashSet<String> = waiting.iter().map(|event| event.actor.id.clone()).collect();
        self.apply_events(waiting).await;

        let now = clock::now();
        let mut changes = Vec::new();
        // Two containers of one identity exist while Compose replaces one: the newer one is it.
        seen.sort_by_key(|seen| std::cmp::Reverse(seen.created_at));
        let mut identities = HashSet::new();
        for seen in &seen {
            if !identities.insert(seen.facts.identity()) {
                self.known.superseded.insert(seen.external_id.clone());
            } else if !touched.contains(&seen.external_id) {
                self.look_at(seen, now, &mut changes).await;
            }
        }
        let present: BTreeSet<&str> = ids.iter().map(String::as_str).collect();
        self.known.superseded.retain(|id| present.contains(id.as_str()));
        let gone: Vec<Arc<Container>> = self
            .known
            .live
            .values()
            .filter(|container| {
                let id = container.external_id.as_str();
                !present.contains(id) && !touched.contains(id)
            })
            .cloned()
            .collect();
        for container in gone {
            let at = now.max(container.pending.last_event_at.unwrap_or(now));
            let (next, _) = apply(&container, &Observation::Destroyed, at);
            self.note(next, None, now, &mut changes);
        }
        self.known.spans_closed = false;
        self.commit(changes).await;
        self.look_again(docker, received).await?;
        self.observed(now).await;
        self.runtime.connected(docker.api_version(), now);
        Ok(())
    }

    /// Inspects containers a few at a time. One that is gone meanwhile is left out; one that
    /// cannot be inspected must not hide the others and is named in `unread`.
    async fn inspect(&self, docker: &Docker, ids: &[String]) -> Result<Inspections, DockerError> {
        let mut answers = futures_util::stream::iter(ids.to_vec())
            .map(|id| async move {
                let answer = docker.inspect(&id).await;
                (id, answer)
            })
            .buffer_unordered(INSPECTIONS);
        let mut all = Inspections::default();
        let mut refused = None;
        while let Some((id, answer)) = answers.next().await {
            match answer {
                Ok(inspected) => all.seen.push(seen(&inspected, clock::now())),
                Err(DockerError::NotFound) => {}
                Err(DockerError::Refused(why)) => {
                    refused = Some(why);
                    all.unread.insert(id);
                }
                Err(error @ (DockerError::Failed(_) | DockerError::Unreadable(_))) => {
                    tracing::warn!(
                        "container {id} cannot be inspected: {}",
                        foreign(&error.to_string())
                    );
                    all.unread.insert(id);
                }
                Err(DockerError::Hung) => {
                    // Is it the engine, or this one container?
                    docker.ping().await?;
                    tracing::warn!("Docker does not answer for container {id}");
                    all.unread.insert(id);
                }
                Err(error) => return Err(error),
            }
        }
        let refused = refused.map(|why| ("GET /containers/{id}/json", why));
        if refused.is_some() || !all.seen.is_empty() {
            self.runtime.set_degraded(INSPECT_FEATURE, refused);
        }
        Ok(all)
    }

    /// What a list tells of a container, with the facts that are known of it already.
    fn seen_in_list(&self, listed: &Listed) -> Seen {
        let seen = seen_in_list(listed);
        match self.known.by_external_id(&listed.id) {
            Some(known) => Seen { facts: known.facts.clone(), ..seen },
            None => seen,
        }
    }

    /// Applies events in their order and notes what needs a closer look.
    async fn apply_events(&mut self, batch: Vec<Event>) {
        let mut changes = Vec::new();
        for event in batch {
            let Some(observation) = observe(&event) else { continue };
            let now = clock::now();
            // An engine whose clock is ahead must not date things into the future.
            let at = event.at().map_or(now, |at| at.min(now));
            let id = &event.actor.id;
            let container = match self.known.by_external_id(id) {
                Some(container) => container.clone(),
                None if observation == Observation::Destroyed => {
                    self.known.superseded.remove(id);
                    continue;
                }
                None if self.known.superseded.contains(id) => continue,
                None => {
                    let seen = Seen {
                        external_id: id.clone(),
                        created_at: Some(at),
                        facts: facts_of(&event),
                        state: State::Created,
                        health: None,
                        exit_code: None,
                        oom_killed: false,
                        started_at: None,
                        finished_at: None,
                    };
                    let Some(container) = self.settle(&seen, at, &mut changes).await else {
                        continue;
                    };
                    container
                }
            };
            let (mut next, transition) = apply(&container, &observation, at);
            if observation == Observation::Started {
                next.pending.engine_start = next.pending.engine_start.max(event.at());
            }
            match observation {
                Observation::Destroyed => {
                    // Its identity may live on in a container that stood in its shadow.
                    self.resync_wanted |= next.archived_at.is_some();
                }
                Observation::Signalled { .. } => {}
                _ => {
                    self.unsettled.insert(id.clone());
                }
            }
            // An event told again after a gap does not make the gap known.
            let available_from = if self.known.spans_closed { now } else { at };
            self.note(next, transition, available_from, &mut changes);
        }
        self.commit(changes).await;
    }

    /// Containers created a moment ago: a start that fails sends no event.
    fn not_yet_started(&self, now: Timestamp) -> BTreeSet<String> {
        let live = self.known.live.values();
        let young = live.filter(|container| {
            container.state == State::Created
                && container.exit.is_none()
                && now.duration_since(container.last_state_change_at) < YOUNG
        });
        young.map(|container| container.external_id.clone()).collect()
    }

    /// Inspects what events touched. The state of a container for which another event waits is not
    /// taken over: that event knows better.
    async fn look_again(
        &mut self,
        docker: &Docker,
        received: &mut mpsc::Receiver<Event>,
    ) -> Result<(), DockerError> {
        if self.unsettled.is_empty() {
            return Ok(());
        }
        let ids: Vec<String> = std::mem::take(&mut self.unsettled).into_iter().collect();
        let inspected = self.inspect(docker, &ids).await?.seen;
        let waiting = drain(received);
        let touched: HashSet<&str> = waiting.iter().map(|event| event.actor.id.as_str()).collect();
        let now = clock::now();
        let mut changes = Vec::new();
        for seen in inspected {
            // Its row went on to a newer container, which may have been inspected before it.
            if self.known.superseded.contains(&seen.external_id) {
                continue;
            }
            if !touched.contains(seen.external_id.as_str()) {
                self.look_at(&seen, now, &mut changes).await;
            } else if let Some(container) = self.known.by_external_id(&seen.external_id).cloned() {
                self.learned(container, &seen.facts, &mut changes);
            }
        }
        self.commit(changes).await;
        self.apply_events(waiting).await;
        Ok(())
    }

    /// Brings what is known in line with an inspection, as far as no event is about to tell more.
    async fn look_at(&mut self, seen: &Seen, now: Timestamp, changes: &mut Vec<Change>) {
        let hears = !self.events_refused && !self.known.spans_closed;
        let known = self.known.by_external_id(&seen.external_id).cloned();
        match known.filter(|container| hears && container.awaits_events(seen, now)) {
            Some(container) => drop(self.learned(container, &seen.facts, changes)),
            None => drop(self.settle(seen, now, changes).await),
        }
    }

    /// Brings what is known in line with an inspection: the same container, a recreated one, one
    /// that comes back, or a new one.
    async fn settle(
        &mut self,
        seen: &Seen,
        now: Timestamp,
        changes: &mut Vec<Change>,
    ) -> Option<Arc<Container>> {
        let identity = seen.facts.identity();
        let known = self
            .known
            .by_external_id(&seen.external_id)
            .or_else(|| self.known.live.get(self.known.by_identity.get(&identity)?));
        let known = match known.cloned().or_else(|| self.just_archived(&identity, changes)) {
            Some(container) => Some(container),
            None => match self.store.read(move |db| sql::find_archived(db, &identity)).await {
                Ok(archived) => archived.map(Arc::new),
                Err(error) => {
                    // Better late than twice: the next resync adopts it.
                    tracing::error!("the history of a container cannot be looked up: {error}");
                    return None;
                }
            },
        };
        // Docker ids are not used twice: what is told of this one now happened before its end.
        let is_replay = |container: &Container| {
            container.external_id == seen.external_id && container.archived_at >= Some(now)
        };
        if known.as_deref().is_some_and(is_replay) {
            return None;
        }
        let Some(container) = known else {
            self.known.last_container_id += 1;
            let container = adopt(self.known.last_container_id, seen, now);
            let container = self.note(container, None, now, changes);
            if let Some(change) = changes.last_mut() {
                change.is_new = true;
            }
            return Some(container);
        };
        let mut container = container;
        if container.external_id == seen.external_id {
            container = self.learned(container, &seen.facts, changes);
        }
        let (next, transition) = compare(&container, seen, now);
        let revived = container.archived_at.is_some();
        if next == *container && !self.known.spans_closed {
            return Some(container);
        }
        let at = match &transition {
            // A gap is not up or down: after one, availability counts from now.
            Some(transition) if !self.known.spans_closed && !revived => transition.at,
            _ => now,
        };
        Some(self.note(next, transition, at, changes))
    }

    /// Takes over what an inspection told of a container beside its state.
    fn learned(
        &mut self,
        container: Arc<Container>,
        facts: &Facts,
        changes: &mut Vec<Change>,
    ) -> Arc<Container> {
        let (next, corrections) = learn(&container, facts);
        if next == *container {
            return container;
        }
        let available_from = container.last_state_change_at;
        let mut corrections = corrections.into_iter();
        let container = self.note(next, corrections.next(), available_from, changes);
        changes.extend(corrections.map(|correction| Change {
            container: container.clone(),
            transition: Some(correction),
            available_from,
            is_new: false,
        }));
        container
    }

    /// A container of this identity whose end the store does not know yet.
    fn just_archived(&self, identity: &str, changes: &[Change]) -> Option<Arc<Container>> {
        let unwritten = changes.iter().rev().chain(self.unsaved.iter().rev());
        unwritten
            .map(|change| &change.container)
            .find(|container| container.identity == identity)
            .filter(|container| container.archived_at.is_some())
            .cloned()
    }

    /// Takes a container's new form over and queues it for the store.
    fn note(
        &mut self,
        mut container: Container,
        mut transition: Option<Transition>,
        available_from: Timestamp,
        changes: &mut Vec<Change>,
    ) -> Arc<Container> {
        if let Some(transition) = transition.as_mut().filter(|transition| !transition.amends) {
            self.known.last_transition_id += 1;
            transition.id = self.known.last_transition_id;
            if transition.is_end() {
                container.pending.end = Some(transition.id);
            }
            if transition.is_end() && container.facts.restart_policy == RestartPolicy::Unknown {
                container.pending.blind.truncate(BLIND_ENDS);
                container.pending.blind.insert(0, transition.clone());
            }
        }
        // A name or service that another live container claims now is that one's.
        if let Some(other) = self.known.by_identity.get(&container.identity).copied()
            && other != container.id
            && container.archived_at.is_none()
            && let Some(other) = self.known.live.get(&other).cloned()
        {
            let archived = Container { archived_at: Some(available_from), ..(*other).clone() };
            let archived = Arc::new(archived);
            self.known.forget(archived.id);
            let transition = None;
            changes.push(Change { container: archived, transition, available_from, is_new: false });
        }
        let container = Arc::new(container);
        self.known.put(container.clone());
        let change =
            Change { container: container.clone(), transition, available_from, is_new: false };
        changes.push(change);
        container
    }

    /// What was known held until the last observation, and no longer.
    async fn close_spans(&mut self) {
        let heard = self.runtime.get().observed_until;
        let Some(observed_until) = heard.max(self.known.observed_until) else { return };
        match self.store.write(move |tx| sql::close_spans(tx, observed_until)).await {
            Ok(()) => self.known.spans_closed = true,
            Err(error) => tracing::error!("availability could not be closed: {error}"),
        }
        // Events of the gap are not replayed reliably: what explains an end is no longer known.
        for container in self.known.live.values_mut() {
            let Pending { end, last_event_at, engine_start, .. } = container.pending;
            let pending = Pending { end, last_event_at, engine_start, ..Pending::default() };
            if container.pending != pending {
                *container = Arc::new(Container { pending, ..(**container).clone() });
            }
        }
    }

    async fn observed(&mut self, now: Timestamp) {
        self.runtime.observed(now);
        self.known.observed_until = Some(now);
        if let Err(error) = self.store.write(move |tx| sql::save_observed_until(tx, now)).await {
            tracing::error!("the time of observation could not be stored: {error}");
        }
        if !self.unsaved.is_empty() {
            self.commit(Vec::new()).await;
        }
    }
}

/// What the runtime status calls the loss of a call.
pub const LOGS_FEATURE: &str = "container logs cannot be read";
const EVENTS_FEATURE: &str = "changes are seen by listing every 10 seconds, not as they happen";
const INSPECT_FEATURE: &str = "restarts, exit times and causes are known only as lists tell them";

/// What inspections told, and the Docker ids of containers that could not be inspected.
#[derive(Debug, Default)]
struct Inspections {
    seen: Vec<Seen>,
    unread: BTreeSet<String>,
}

/// All events that wait.
fn drain(received: &mut mpsc::Receiver<Event>) -> Vec<Event> {
    std::iter::from_fn(|| received.try_recv().ok()).collect()
}

/// Takes events off the stream at once: an engine drops events of a slow reader silently.
async fn read_events<S>(mut events: S, sender: mpsc::Sender<Event>) -> DockerError
where
    S: futures_util::Stream<Item = Result<Event, DockerError>> + Unpin,
{
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                if sender.try_send(event).is_err() {
                    return DockerError::Unreadable("more events than can be applied".to_owned());
                }
            }
            Err(error) => return error,
        }
    }
    DockerError::Unreachable("the event stream ended".to_owned())
}
