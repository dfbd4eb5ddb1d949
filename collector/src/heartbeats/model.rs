//! What signals and the passing of time do to a heartbeat. Pure: everything takes `now`.
//!
//! The status words are those of the contract. What they cannot say stands beside them: `late` while
//! a ping is overdue and within its grace, `never_pinged` for one that is still `new`, and the reason
//! of one that is `down`.

use jiff::{SignedDuration, Timestamp};
use maintenant_api::heartbeats::{self as wire, HeartbeatProblem, HeartbeatStatus};
use maintenant_api::monitors::AlertState;

use super::schedule::Cadence;

/// Bounds of the pause before a verdict after a time in which nothing could be heard.
const SHORTEST_HOLD: SignedDuration = SignedDuration::from_secs(30);
const LONGEST_HOLD: SignedDuration = SignedDuration::from_mins(10);

/// How far ahead of its moment a ping still counts for it, where a schedule says the moment.
const MOST_EARLY: SignedDuration = SignedDuration::from_mins(1);

/// A heartbeat as stored.
#[derive(Debug, Clone)]
pub struct Heartbeat {
    pub id: i64,
    pub uuid: String,
    pub name: String,
    pub timing: Timing,
    pub status: HeartbeatStatus,
    /// Never `late`: that follows from the time.
    pub problem: Option<HeartbeatProblem>,
    pub alert_state: AlertState,
    /// What the next ping is counted from: creation, resumption or the last end of a run.
    pub anchor_at: Timestamp,
    /// When the next ping is due. `None` while paused.
    pub expected_at: Option<Timestamp>,
    /// The first start since the last end of a run. Later starts do not move it, so that a job which
    /// starts again and again and never ends is found.
    pub running_since: Option<Timestamp>,
    /// The newest start of a run that has not ended.
    pub current_run_started_at: Option<Timestamp>,
    pub last_ping_at: Option<Timestamp>,
    pub last_exit_code: Option<i64>,
    pub last_duration_ms: Option<i64>,
    pub consecutive_failures: i64,
    pub consecutive_successes: i64,
    pub status_since: Timestamp,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub deleted_at: Option<Timestamp>,
}

/// When pings are due, and what is too late.
#[derive(Debug, Clone, PartialEq)]
pub struct Timing {
    pub cadence: Cadence,
    pub grace: SignedDuration,
    /// How long a run may take. Without it a run must end by the deadline it would have to anyway.
    pub max_runtime: Option<SignedDuration>,
}

/// What a ping says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    Success,
    Start,
    ExitCode(u8),
    Fail,
    Log,
}

impl Signal {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Start => "start",
            Self::ExitCode(_) => "exit_code",
            Self::Fail => "fail",
            Self::Log => "log",
        }
    }

    pub fn exit_code(self) -> Option<i64> {
        match self {
            Self::ExitCode(code) => Some(i64::from(code)),
            _ => None,
        }
    }

    /// Whether a run ended, and how.
    pub fn end(self) -> Option<End> {
        match self {
            Self::Success | Self::ExitCode(0) => Some(End::Success),
            Self::Fail | Self::ExitCode(_) => Some(End::Failure),
            Self::Start | Self::Log => None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Success,
    Failure,
}

/// What is known of a heartbeat's runs once a signal has been noted among them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Runs {
    /// How long the run took that this signal ended, never negative.
    pub duration_ms: Option<i64>,
    pub oldest_open: Option<Timestamp>,
    pub newest_open: Option<Timestamp>,
}

impl Runs {
    /// What a heartbeat is after a success: other runs may still be under way.
    fn rest(self) -> HeartbeatStatus {
        if self.oldest_open.is_some() { HeartbeatStatus::Started } else { HeartbeatStatus::Up }
    }
}

/// Something to tell those who listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    StatusChanged { from: HeartbeatStatus, to: HeartbeatStatus, at: Timestamp },
    Alert { kind: &'static str, details: String },
    Recovery,
}

/// A deadline and what its passing means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    pub at: Timestamp,
    pub problem: HeartbeatProblem,
}

impl Timing {
    /// When a run that began then has lasted too long.
    pub fn run_limit(&self, started: Timestamp) -> Option<Timestamp> {
        match self.max_runtime {
            Some(limit) => started.checked_add(limit).ok(),
            None => self.cadence.after(started)?.checked_add(self.grace).ok(),
        }
    }
}

/// How long after `listening_since` missed deadlines are judged: pings that could not be delivered
/// get one grace to arrive.
pub fn hold(grace: SignedDuration) -> SignedDuration {
    grace.clamp(SHORTEST_HOLD, LONGEST_HOLD)
}

impl Heartbeat {
    /// One that was never pinged, with an address of its own. It has no id yet.
    pub fn new(name: String, timing: Timing, now: Timestamp) -> Self {
        Self {
            id: 0,
            uuid: uuid::Uuid::new_v4().to_string(),
            name,
            expected_at: timing.cadence.after(now),
            timing,
            status: HeartbeatStatus::New,
            problem: None,
            alert_state: AlertState::Normal,
            anchor_at: now,
            running_since: None,
            current_run_started_at: None,
            last_ping_at: None,
            last_exit_code: None,
            last_duration_ms: None,
            consecutive_failures: 0,
            consecutive_successes: 0,
            status_since: now,
            created_at: now,
            updated_at: now,
            deleted_at: None,
        }
    }

    /// Whether its time counts as up or down; `None` counts neither way.
    pub fn is_up(&self) -> Option<bool> {
        match self.status {
            HeartbeatStatus::New | HeartbeatStatus::Paused | HeartbeatStatus::Unknown => None,
            _ if self.deleted_at.is_some() => None,
            _ => Some(self.alert_state == AlertState::Normal),
        }
    }

    /// Deadline and grace of the next ping.
    pub fn regular_deadline(&self) -> Option<Timestamp> {
        self.expected_at?.checked_add(self.timing.grace).ok()
    }

    /// The deadline that time is running towards. `None` for one that is down or paused, or was
    /// never pinged and is told so.
    pub fn deadline(&self) -> Option<Deadline> {
        if self.deleted_at.is_some() {
            return None;
        }
        let regular = self.regular_deadline();
        let (at, problem) = match (self.status, self.problem) {
            (HeartbeatStatus::New, None) => (regular, HeartbeatProblem::NeverPinged),
            (HeartbeatStatus::Up, _) => (regular, HeartbeatProblem::Missed),
            (HeartbeatStatus::Started, _) => {
                let limit = self.running_since.and_then(|since| self.timing.run_limit(since));
                let at = match (limit, regular) {
                    (Some(limit), Some(regular)) if self.timing.max_runtime.is_none() => {
                        Some(limit.min(regular))
                    }
                    (limit, regular) => limit.or(regular),
                };
                (at, HeartbeatProblem::RunsTooLong)
            }
            _ => (None, HeartbeatProblem::Missed),
        };
        at.map(|at| Deadline { at, problem })
    }

    /// What is wrong with it now: the stored problem, or that it is late.
    pub fn problem_at(&self, now: Timestamp) -> Option<HeartbeatProblem> {
        let is_watched = match self.status {
            HeartbeatStatus::New | HeartbeatStatus::Up => true,
            // A run with its own limit is in time as long as that says.
            HeartbeatStatus::Started => self.timing.max_runtime.is_none(),
            _ => false,
        };
        let is_late = is_watched && self.expected_at.is_some_and(|expected| expected < now);
        self.problem.or(is_late.then_some(HeartbeatProblem::Late))
    }

    /// Applies a deadline that has passed. What was missed before `listening_since` is judged only
    /// after a pause ([`hold`]), and always dated back to the deadline itself.
    pub fn pass_time(
        &mut self,
        now: Timestamp,
        listening_since: Timestamp,
    ) -> Option<(Deadline, Vec<Told>)> {
        let deadline = self.deadline()?;
        let heard = listening_since.checked_add(hold(self.timing.grace)).ok()?;
        if now < deadline.at.max(heard) {
            return None;
        }
        let (from, was) = (self.status, self.alert_state);
        self.problem = Some(deadline.problem);
        self.alert_state = AlertState::Alerting;
        let mut told = Vec::new();
        if deadline.problem != HeartbeatProblem::NeverPinged {
            self.status = HeartbeatStatus::Down;
            self.status_since = deadline.at;
            self.consecutive_failures += 1;
            self.consecutive_successes = 0;
            told.push(Told::StatusChanged { from, to: self.status, at: deadline.at });
        }
        if was == AlertState::Normal {
            let details = match (deadline.problem, self.running_since) {
                (HeartbeatProblem::RunsTooLong, Some(since)) => {
                    format!("the run that began at {since:.0} did not end by {:.0}", deadline.at)
                }
                (HeartbeatProblem::NeverPinged, _) => {
                    format!("the first ping did not come by {:.0}", deadline.at)
                }
                _ => format!("no ping came by {:.0}", deadline.at),
            };
            told.push(Told::Alert { kind: "deadline_missed", details });
        }
        self.running_since = None;
        self.current_run_started_at = None;
        Some((deadline, told))
    }

    /// Applies a signal. One that is paused stays paused, and `log` changes nothing but the time of
    /// the last ping.
    pub fn receive(&mut self, signal: Signal, runs: Runs, now: Timestamp) -> Vec<Told> {
        self.last_ping_at = Some(now);
        if signal == Signal::Log {
            return Vec::new();
        }
        self.current_run_started_at = runs.newest_open;
        if signal.end().is_some() {
            self.last_exit_code = signal.exit_code();
            self.last_duration_ms = runs.duration_ms;
        }
        if self.status == HeartbeatStatus::Paused {
            return Vec::new();
        }
        let was_alerting = self.alert_state == AlertState::Alerting;
        match signal.end() {
            None => {
                // A deadline that was missed cannot be kept any more: the next one counts.
                if was_alerting && self.status != HeartbeatStatus::Started {
                    self.expect_after(now);
                }
                if self.status != HeartbeatStatus::Started {
                    self.running_since = runs.oldest_open.or(Some(now));
                }
                self.change_status(HeartbeatStatus::Started, now)
            }
            Some(End::Success) => {
                self.expect_after(self.met(now));
                self.consecutive_successes += 1;
                self.consecutive_failures = 0;
                self.problem = None;
                self.alert_state = AlertState::Normal;
                self.running_since = runs.oldest_open;
                let mut told = self.change_status(runs.rest(), now);
                if was_alerting {
                    told.push(Told::Recovery);
                }
                told
            }
            Some(End::Failure) => {
                self.expect_after(self.met(now));
                self.consecutive_failures += 1;
                self.consecutive_successes = 0;
                self.problem = Some(HeartbeatProblem::Failed);
                self.alert_state = AlertState::Alerting;
                self.running_since = runs.oldest_open;
                let mut told = self.change_status(HeartbeatStatus::Down, now);
                let details = match signal.exit_code() {
                    Some(code) => format!("the run ended with exit code {code}"),
                    None => "the job reported a failure".to_owned(),
                };
                told.push(Told::Alert { kind: "exit_code_failure", details });
                told
            }
        }
    }

    /// Nothing is expected of it until it is resumed.
    pub fn pause(&mut self, now: Timestamp) -> Vec<Told> {
        self.expected_at = None;
        self.running_since = None;
        self.problem = None;
        self.alert_state = AlertState::Normal;
        self.change_status(HeartbeatStatus::Paused, now)
    }

    /// Watches it again, counting from now. It must be paused.
    pub fn resume(&mut self, now: Timestamp) -> Vec<Told> {
        self.expect_after(now);
        self.change_status(HeartbeatStatus::Up, now)
    }

    /// Takes another timing. What is due next is counted anew; a moment that would lie in the past
    /// is counted from now.
    pub fn retime(&mut self, timing: Timing, now: Timestamp) {
        self.timing = timing;
        if self.expected_at.is_some() {
            let due = self.timing.cadence.after(self.anchor_at);
            let due = due.filter(|due| *due > now).or_else(|| self.timing.cadence.after(now));
            self.expected_at = due;
        }
        // Nor is a run under way overdue at once.
        let is_running = self.status == HeartbeatStatus::Started;
        if is_running && self.deadline().is_some_and(|deadline| deadline.at <= now) {
            self.running_since = Some(now);
        }
    }

    /// Counts from now what was counted from a later moment: the clock was set back.
    pub fn recount(&mut self, now: Timestamp) {
        if self.expected_at.is_some() && self.anchor_at > now {
            self.expect_after(now);
        }
        self.running_since = self.running_since.map(|since| since.min(now));
    }

    /// What is served. Lateness depends on `now`.
    pub fn to_wire(&self, now: Timestamp) -> wire::Heartbeat {
        let cron = match &self.timing.cadence {
            Cadence::Cron(cron) => Some(cron),
            Cadence::Every(_) => None,
        };
        wire::Heartbeat {
            id: self.id,
            uuid: self.uuid.clone(),
            name: self.name.clone(),
            status: self.status,
            alert_state: self.alert_state,
            interval_seconds: self.timing.cadence.seconds(now),
            grace_seconds: self.timing.grace.as_secs(),
            schedule: cron.map(|cron| cron.expression.clone()),
            timezone: cron.map(|cron| cron.zone_name.clone()),
            max_runtime_seconds: self.timing.max_runtime.map(|limit| limit.as_secs()),
            last_ping_at: self.last_ping_at,
            next_deadline_at: self
                .deadline()
                .map(|deadline| deadline.at)
                .or_else(|| self.regular_deadline()),
            current_run_started_at: self.current_run_started_at,
            last_exit_code: self.last_exit_code,
            last_duration_ms: self.last_duration_ms,
            consecutive_failures: self.consecutive_failures,
            consecutive_successes: self.consecutive_successes,
            status_since: Some(self.status_since),
            problem: self.problem_at(now),
            active: self.deleted_at.is_none(),
            created_at: self.created_at,
            updated_at: self.updated_at,
        }
    }

    /// What the next ping is counted from when a run ends: now, or the moment of a schedule that
    /// comes a little later, where the clock of the job is ahead of ours.
    fn met(&self, now: Timestamp) -> Timestamp {
        let Cadence::Cron(cron) = &self.timing.cadence else { return now };
        let is_met = |due: &Timestamp| {
            let early = due.duration_since(now);
            let gap = cron.after(*due).map_or(early, |next| next.duration_since(*due));
            early.is_positive() && early <= MOST_EARLY && early <= gap / 2
        };
        // A moment that was met already is not expected again.
        self.expected_at.filter(is_met).or(Some(self.anchor_at).filter(is_met)).unwrap_or(now)
    }

    fn expect_after(&mut self, now: Timestamp) {
        self.anchor_at = now;
        self.expected_at = self.timing.cadence.after(now);
    }

    fn change_status(&mut self, to: HeartbeatStatus, at: Timestamp) -> Vec<Told> {
        let from = std::mem::replace(&mut self.status, to);
        if from == to {
            return Vec::new();
        }
        self.status_since = at;
        vec![Told::StatusChanged { from, to, at }]
    }
}
