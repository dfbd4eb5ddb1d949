//! A container, what can be observed of it, and what an observation changes.
//!
//! No I/O and no clock here: every decision takes its time as an argument.

use jiff::{SignedDuration, Timestamp};
use maintenant_api::containers::{ExitReason, Health, ObservedBy, State};

use super::exposure::Exposure;
use super::labels::Labels;

/// A signal sent through Docker explains an end within this time: stop time-outs are rarely longer.
const REQUEST_WINDOW: SignedDuration = SignedDuration::from_secs(120);

/// An event that takes longer was lost.
const EVENT_DELAY: SignedDuration = SignedDuration::from_secs(10);

/// What is known of a container. Stored as one row.
#[derive(Debug, Clone, PartialEq)]
pub struct Container {
    pub id: i64,
    /// What finds the row again after a recreate; see [`Facts::identity`].
    pub identity: String,
    /// Docker's id of the present incarnation.
    pub external_id: String,
    pub facts: Facts,
    /// Last known; never [`State::Unknown`].
    pub state: State,
    /// Only while it runs: the verdict on a process that has ended says nothing.
    pub health: Option<Health>,
    /// How the last run ended; kept while it runs again.
    pub exit: Option<Exit>,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    pub first_seen_at: Timestamp,
    pub last_state_change_at: Timestamp,
    pub archived_at: Option<Timestamp>,
    pub pending: Pending,
}

/// What an inspection says and events do not change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    pub name: String,
    pub image: String,
    pub labels: Labels,
    pub has_health_check: bool,
    pub restart_policy: RestartPolicy,
    /// Signal of `docker stop`, as a number.
    pub stop_signal: i64,
    /// Restarts by policy since the container was created.
    pub restart_count: i64,
    /// The engine's words when it could not run the container.
    pub error_detail: String,
    /// What is dangerous about it; `None` while it was not inspected.
    pub exposure: Option<Exposure>,
}

impl Facts {
    /// These, as they follow what was known: a danger lasts since it was first seen, and what is not
    /// told now is as it was.
    fn after(&self, before: &Self) -> Self {
        let exposure = match (&self.exposure, &before.exposure) {
            (Some(now), Some(before)) => Some(now.after(before)),
            (now, before) => now.clone().or_else(|| before.clone()),
        };
        Self { exposure, ..self.clone() }
    }

    /// Compose project, service and number, else the name. It outlives Docker's id.
    pub fn identity(&self) -> String {
        match &self.labels.compose {
            Some(compose) if compose.number.is_some() => format!(
                "compose:{}/{}/{}",
                compose.project,
                compose.service,
                compose.number.as_deref().unwrap_or_default()
            ),
            _ => format!("name:{}", self.name),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartPolicy {
    /// Not inspected yet: events and lists do not tell it.
    Unknown,
    No,
    Always,
    UnlessStopped,
    /// With the most restarts, 0 for no limit.
    OnFailure(i64),
}

/// How a run ended. Exit code, signal and the kernel's verdict stay apart from the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    pub code: i64,
    pub signal: Option<i64>,
    pub oom_killed: bool,
    pub reason: ExitReason,
}

impl Exit {
    /// Classifies an end. Exit codes above 128 are 128 + signal; 125 to 127 are Docker's own.
    pub fn classify(code: i64, oom_killed: bool, requested: bool) -> Self {
        let signal = (129..=192).contains(&code).then_some(code - 128);
        let reason = match code {
            // The kernel may have killed a child long ago; only a killed main process ends so.
            137 if oom_killed => ExitReason::OomKilled,
            _ if requested => ExitReason::Requested,
            0 => ExitReason::Completed,
            125..=127 => ExitReason::CannotStart,
            _ if signal.is_some() => ExitReason::Signal,
            _ => ExitReason::Error,
        };
        Self { code, signal, oom_killed, reason }
    }
}

/// Observations that explain an end still to come. Not stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pending {
    /// When somebody sent a signal that ends a process.
    pub requested_at: Option<Timestamp>,
    pub oom: bool,
    /// When the run before the present one ended: log lines after it are of this run.
    pub previous_end: Option<Timestamp>,
    /// Id of the transition that told the last end, in case an inspection knows it better.
    pub end: Option<i64>,
    /// Ends told without knowing the restart policy, the newest first.
    pub blind: Vec<Transition>,
    /// Engine time of the newest event applied.
    pub last_event_at: Option<Timestamp>,
    /// When the present run began by the engine's clock, which may be ahead of ours.
    pub engine_start: Option<Timestamp>,
}

/// Something Docker said happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observation {
    Created,
    Started,
    /// The main process ended.
    Died {
        code: i64,
    },
    /// The kernel killed a process of the container; a `die` may follow.
    OutOfMemory,
    /// A signal was sent. Not an end: the process may take it and go on.
    Signalled {
        signal: i64,
    },
    Paused,
    Unpaused,
    Renamed {
        name: String,
    },
    Health(Health),
    /// Worth a look: the container was changed or restarted.
    Touched,
    Destroyed,
}

/// What an inspection saw.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    pub external_id: String,
    pub created_at: Option<Timestamp>,
    pub facts: Facts,
    pub state: State,
    pub health: Option<Health>,
    /// Of the last end, if there was one.
    pub exit_code: Option<i64>,
    pub oom_killed: bool,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
}

/// A change of state or health, to be stored and told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    pub id: i64,
    pub container_id: i64,
    pub at: Timestamp,
    pub previous_state: State,
    pub new_state: State,
    pub previous_health: Option<Health>,
    pub new_health: Option<Health>,
    pub exit: Option<Exit>,
    pub observed_by: ObservedBy,
    /// It corrects the stored transition of the same id: what Docker did after an end, and why it
    /// ended, can be known only after its event.
    pub amends: bool,
}

impl Transition {
    pub fn is_end(&self) -> bool {
        self.exit.is_some()
    }
}

/// Whether time counts as up, as down, or not at all (`None`).
///
/// Up is running and not unhealthy. A container that was never started, or a job that ended as it
/// should, is neither.
pub fn is_up(container: &Container) -> Option<bool> {
    if container.archived_at.is_some() {
        return None;
    }
    match container.state {
        State::Created | State::Completed | State::Unknown => None,
        State::Running => Some(container.health != Some(Health::Unhealthy)),
        State::Paused | State::Restarting | State::Exited | State::Dead => Some(false),
    }
}

/// The container after an event of the engine's time `at`, and the transition if there is one. An
/// event older than the newest applied one is a replay and changes nothing.
pub fn apply(
    container: &Container,
    observation: &Observation,
    at: Timestamp,
) -> (Container, Option<Transition>) {
    let mut next = container.clone();
    let last = container.pending.last_event_at;
    // A `die` at the newest time is that very end again, without what explained it.
    let same_end = matches!(observation, Observation::Died { .. }) && container.has_ended();
    if last.is_some_and(|last| at < last || (at == last && same_end)) {
        return (next, None);
    }
    next.pending.last_event_at = Some(at);
    match observation {
        Observation::Created | Observation::Touched => {}
        Observation::Started => {
            if container.state != State::Running {
                next.pending.previous_end = container.finished_at;
                next.started_at = Some(at);
                next.health = next.facts.has_health_check.then_some(Health::Starting);
            }
            next.state = State::Running;
            next.facts.error_detail = String::new();
            next.pending.requested_at = None;
            next.pending.oom = false;
        }
        Observation::Died { code } => {
            let requested = container
                .pending
                .requested_at
                .is_some_and(|requested| at.duration_since(requested) <= REQUEST_WINDOW);
            let exit = Exit::classify(*code, container.pending.oom, requested);
            next.state = state_after(exit, requested, container.facts.restart_policy);
            next.exit = Some(exit);
            next.finished_at = Some(at);
            next.health = None;
            next.pending.requested_at = None;
            next.pending.oom = false;
        }
        Observation::OutOfMemory => next.pending.oom = true,
        Observation::Signalled { signal } => {
            let stops = *signal == container.facts.stop_signal && *signal != 0;
            if stops || matches!(signal, 2 | 9 | 15) {
                next.pending.requested_at = Some(at);
            }
        }
        Observation::Paused => next.state = State::Paused,
        Observation::Unpaused => next.state = State::Running,
        Observation::Renamed { name } => {
            next.facts.name.clone_from(name);
            next.identity = next.facts.identity();
        }
        Observation::Health(health) => {
            next.facts.has_health_check = true;
            next.health = Some(*health);
        }
        Observation::Destroyed => {
            next.archived_at = Some(at);
            next.health = None;
        }
    }
    let ended = matches!(observation, Observation::Died { .. }).then_some(next.exit).flatten();
    let transition = transition(container, &mut next, ended, at, ObservedBy::Event);
    (next, transition)
}

/// What the restart policy makes of an end, as far as it can be told at that moment. Whether the
/// engine has given up a limited number of attempts is left to the inspection that follows.
fn state_after(exit: Exit, requested: bool, policy: RestartPolicy) -> State {
    let again = !requested
        && match policy {
            RestartPolicy::Unknown | RestartPolicy::No => false,
            RestartPolicy::Always | RestartPolicy::UnlessStopped => true,
            RestartPolicy::OnFailure(_) => exit.code != 0,
        };
    if again { State::Restarting } else { resting_state(exit, policy) }
}

/// `completed` is for exit code 0 under a policy that lets it rest; all else that ended is `exited`.
fn resting_state(exit: Exit, policy: RestartPolicy) -> State {
    let goes_on = matches!(policy, RestartPolicy::Always | RestartPolicy::UnlessStopped);
    if exit.code == 0 && !goes_on { State::Completed } else { State::Exited }
}

/// The container with facts an inspection told, whatever its state has become since. Events are heard
/// before facts: ends told without knowing the restart policy are corrected here, the newest first.
pub fn learn(container: &Container, facts: &Facts) -> (Container, Vec<Transition>) {
    let mut next = container.clone();
    next.facts = facts.after(&container.facts);
    next.identity = facts.identity();
    if container.facts.restart_policy != RestartPolicy::Unknown {
        return (next, Vec::new());
    }
    let mut blind = std::mem::take(&mut next.pending.blind);
    blind.retain_mut(|told| {
        let Some(exit) = told.exit.filter(|_| Some(told.id) != container.pending.end) else {
            return false;
        };
        let requested = exit.reason == ExitReason::Requested;
        let told_as = told.new_state;
        told.new_state = state_after(exit, requested, facts.restart_policy);
        told.amends = true;
        told.new_state != told_as
    });
    let (next, last) = learn_last_end(container, next, facts.restart_policy);
    (next, last.into_iter().chain(blind).collect())
}

fn learn_last_end(
    container: &Container,
    mut next: Container,
    policy: RestartPolicy,
) -> (Container, Option<Transition>) {
    let (Some(exit), Some(id)) = (container.exit, container.pending.end) else {
        return (next, None);
    };
    let requested = exit.reason == ExitReason::Requested;
    let state = state_after(exit, requested, policy);
    if container.has_ended() {
        next.state = state;
        return (next.clone(), amendment(container, &next, id));
    }
    // It runs again: only what was told of its end is corrected.
    let told = Container { state, ..container.clone() };
    let transition = amendment(container, &told, id)
        .map(|transition| Transition { previous_state: state, ..transition });
    (next, transition)
}

/// The container as an inspection shows it at `now`, and the transition if its state or health
/// differs from what was known: then an event was missed, or the engine was not heard.
pub fn compare(
    container: &Container,
    seen: &Seen,
    now: Timestamp,
) -> (Container, Option<Transition>) {
    let mut next = container.clone();
    next.external_id.clone_from(&seen.external_id);
    next.facts = seen.facts.after(&container.facts);
    next.identity = seen.facts.identity();
    next.archived_at = None;
    next.started_at = seen.started_at.or(container.started_at);
    next.finished_at = seen.finished_at.or(container.finished_at);
    let recreated = container.external_id != seen.external_id;
    if recreated {
        next.pending = Pending::default();
        next.started_at = seen.started_at;
        next.finished_at = seen.finished_at;
    }
    let runs = runs(seen.state);
    next.health = seen.health.filter(|_| runs);
    if seen.state == State::Running && container.state != State::Running {
        next.pending.previous_end = container.finished_at;
    }
    let mut ended = None;
    let mut same_end = false;
    if let Some(code) = seen.exit_code.filter(|_| !runs && seen.state != State::Created) {
        let known = container.exit.filter(|exit| exit.code == code && container.ended_as(seen));
        same_end = known.is_some();
        let requested = container.pending.requested_at.is_some_and(|requested| {
            next.finished_at.is_some_and(|end| {
                end >= requested && end.duration_since(requested) <= REQUEST_WINDOW
            })
        });
        let exit = match known {
            // An inspection knows less than the events did, but the kernel's verdict may be new.
            Some(exit) if exit.oom_killed || !seen.oom_killed => exit,
            _ => Exit::classify(code, seen.oom_killed, requested),
        };
        next.exit = Some(exit);
        ended = Some(exit);
        next.state = match seen.state {
            State::Exited => resting_state(exit, seen.facts.restart_policy),
            state => state,
        };
    } else {
        next.state = seen.state;
        if recreated {
            next.exit = None;
        }
        next.exit = never_started(seen).or(next.exit);
    }
    if same_end && let Some(id) = container.pending.end {
        return (next.clone(), amendment(container, &next, id));
    }
    // Running before and running now, but not the same run: an end and a start were missed.
    let restarted = next.state == State::Running
        && container.state == State::Running
        && (recreated || (container.started_at.is_some() && container.began_before(seen)));
    // The engine remembers when it happened; without that, `now` is the bound.
    let engine_time = match next.state {
        State::Running if container.state != State::Running || restarted => seen.started_at,
        State::Exited | State::Completed | State::Restarting | State::Dead => seen.finished_at,
        _ => None,
    };
    let at =
        engine_time.filter(|at| *at > container.last_state_change_at && *at <= now).unwrap_or(now);
    let mut transition = transition(container, &mut next, ended, at, ObservedBy::Resync);
    if restarted {
        next.last_state_change_at = at;
        transition = transition.or(Some(Transition {
            id: 0,
            container_id: next.id,
            at,
            previous_state: container.state,
            new_state: next.state,
            previous_health: container.health,
            new_health: next.health,
            exit: None,
            observed_by: ObservedBy::Resync,
            amends: false,
        }));
    }
    (next, transition)
}

/// How a start failed that the engine sends no event of: the container stays `created`.
fn never_started(seen: &Seen) -> Option<Exit> {
    let code = seen.exit_code.filter(|_| seen.state == State::Created)?;
    Some(Exit { reason: ExitReason::CannotStart, ..Exit::classify(code, false, false) })
}

/// The correction of a transition that told an end, if there is something to correct.
fn amendment(container: &Container, next: &Container, id: i64) -> Option<Transition> {
    let corrected = container.state != next.state || container.exit != next.exit;
    corrected.then_some(Transition {
        id,
        container_id: container.id,
        at: container.last_state_change_at,
        previous_state: container.state,
        new_state: next.state,
        previous_health: container.health,
        new_health: next.health,
        exit: next.exit,
        observed_by: ObservedBy::Resync,
        amends: true,
    })
}

impl Container {
    /// Its row may be deleted: it neither runs nor is about to.
    pub fn is_deletable(&self) -> bool {
        self.archived_at.is_some() || !matches!(self.state, State::Running | State::Restarting)
    }

    /// It has ended, and the inspection shows that very run: a later one began after this end.
    fn ended_as(&self, seen: &Seen) -> bool {
        let same_run = seen.started_at.is_none_or(|start| Some(start) <= self.finished_at);
        self.has_ended() && same_run && self.external_id == seen.external_id
    }

    /// The inspection shows a later run than the one that is known.
    fn began_before(&self, seen: &Seen) -> bool {
        seen.started_at > self.started_at.max(self.pending.engine_start)
    }

    /// The inspection shows a start or an end of a moment ago that no event has told yet: its event
    /// is on its way, and knows better.
    pub fn awaits_events(&self, seen: &Seen, now: Timestamp) -> bool {
        let ended = runs(self.state) && !runs(seen.state) && seen.state != State::Created;
        let newest = seen.started_at.max(seen.finished_at);
        self.external_id == seen.external_id
            && (ended || self.began_before(seen))
            && newest.is_some_and(|at| now.duration_since(at) < EVENT_DELAY)
    }

    fn has_ended(&self) -> bool {
        !matches!(self.state, State::Created | State::Running | State::Paused)
    }
}

/// Notes a change of state or health in `next` and describes it.
fn transition(
    before: &Container,
    next: &mut Container,
    exit: Option<Exit>,
    at: Timestamp,
    observed_by: ObservedBy,
) -> Option<Transition> {
    let state_changed = before.state != next.state;
    let health_changed = before.health != next.health;
    let archived = next.archived_at.is_some();
    if archived || !(state_changed || health_changed) {
        return None;
    }
    if state_changed {
        next.last_state_change_at = at;
    }
    Some(Transition {
        id: 0,
        container_id: next.id,
        at,
        previous_state: before.state,
        new_state: next.state,
        previous_health: before.health,
        new_health: next.health,
        exit: exit.filter(|_| state_changed),
        observed_by,
        amends: false,
    })
}

/// Its main process is there.
fn runs(state: State) -> bool {
    matches!(state, State::Running | State::Paused)
}

/// A container seen for the first time.
pub fn adopt(id: i64, seen: &Seen, now: Timestamp) -> Container {
    let runs = runs(seen.state);
    let ended = !runs && seen.state != State::Created;
    let exit =
        seen.exit_code.filter(|_| ended).map(|code| Exit::classify(code, seen.oom_killed, false));
    let state = match (seen.state, exit) {
        (State::Exited, Some(exit)) => resting_state(exit, seen.facts.restart_policy),
        (state, _) => state,
    };
    let changed = match state {
        State::Running | State::Paused => seen.started_at,
        State::Created => seen.created_at,
        _ => seen.finished_at,
    };
    let exit = exit.or(never_started(seen));
    Container {
        id,
        identity: seen.facts.identity(),
        external_id: seen.external_id.clone(),
        facts: seen.facts.clone(),
        state,
        health: seen.health.filter(|_| runs),
        exit,
        started_at: seen.started_at,
        finished_at: seen.finished_at,
        first_seen_at: now,
        last_state_change_at: changed.filter(|at| *at <= now).unwrap_or(now),
        archived_at: None,
        pending: Pending::default(),
    }
}
