//! What a check, or its absence, says of an endpoint. No I/O and no clock here.
//!
//! Three things follow from the same results:
//! - `status` changes at the first differing check;
//! - `alert` follows thresholds: so many failures in a row raise it, so many successes end it;
//! - spans of time, of which uptime is made, do not count a failure that was not confirmed. A
//!   confirmed one counts from its first failed check. While an alert lasts, nothing needs
//!   confirmation again.
//!
//! A state is known until two intervals and a time-out after the check that showed it. Then it lapses:
//! its span ends there, and `status` is unknown. Thresholds go on counting, because a check that comes
//! late is still the next one. Failures before a lapse do not count as time that it was down.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use maintenant_api::endpoints::EndpointStatus;
use maintenant_api::monitors::AlertState;

/// What is known of an endpoint. Instants are whole milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    pub status: EndpointStatus,
    /// Since when `status` is what it is.
    pub since: Option<Timestamp>,
    pub alert: AlertState,
    /// In a row.
    pub failures: u32,
    pub successes: u32,
    /// The first of these failures.
    pub failing_since: Option<Timestamp>,
    pub last_check_at: Option<Timestamp>,
    /// Until when `status` is known without another check. `None` with a known status: its container
    /// is stopped, and that is known as long as Docker is heard.
    pub holds_until: Option<Timestamp>,
    pub span: Option<OpenSpan>,
    /// The newest span was one of being down: another after a gap is no new incident.
    pub was_down: bool,
}

/// A span that has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenSpan {
    pub from: Timestamp,
    pub state: SpanState,
}

/// What a span counts as; the numbers are those of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanState {
    Up = 0,
    Down = 1,
    /// Down before and after a time that nothing is known of: one incident.
    StillDown = 2,
}

/// A span as it is to be stored. One that ends where it begins is to be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub from: Timestamp,
    pub to: Option<Timestamp>,
    pub state: SpanState,
}

/// What of the configuration decides.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    pub interval: Duration,
    pub timeout: Duration,
    pub failure_threshold: u32,
    pub recovery_threshold: u32,
}

impl Policy {
    /// How long a check tells of its endpoint.
    fn hold(&self) -> Duration {
        self.interval * 2 + self.timeout
    }
}

/// What a change brings with it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// The clock was set back: what is stored of later than this is to be removed first.
    pub rewound_to: Option<Timestamp>,
    /// To be stored, in this order.
    pub spans: Vec<Span>,
    /// To be told, in this order.
    pub told: Vec<Told>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    Status { previous: EndpointStatus, new: EndpointStatus },
    Alert,
    Recovery,
}

impl Default for State {
    fn default() -> Self {
        Self {
            status: EndpointStatus::Unknown,
            since: None,
            alert: AlertState::Normal,
            failures: 0,
            successes: 0,
            failing_since: None,
            last_check_at: None,
            holds_until: None,
            span: None,
            was_down: false,
        }
    }
}

impl State {
    /// A check that ended at `at`. Answers with the time it is to be stored under: a clock that was
    /// set back, or two checks in one millisecond, do not change the order of checks.
    pub fn after_check(
        &mut self,
        succeeded: bool,
        at: Timestamp,
        policy: &Policy,
    ) -> (Timestamp, Step) {
        let mut step = Step::default();
        self.rewind(at, policy, &mut step);
        if let Some(until) = self.holds_until.filter(|until| at > *until) {
            // It lapsed without anybody seeing it: only its span tells.
            self.end_span(until, &mut step);
            self.failing_since = None;
        }
        let at = self.after_all(at);
        if succeeded {
            self.successes = self.successes.saturating_add(1);
            self.failures = 0;
            self.failing_since = None;
            self.begin(true, at, &mut step);
        } else {
            self.failures = self.failures.saturating_add(1);
            self.successes = 0;
            let first = *self.failing_since.get_or_insert(at);
            if self.failures >= policy.failure_threshold || self.alert == AlertState::Alerting {
                self.begin(false, first, &mut step);
            }
        }
        self.set_status(
            if succeeded { EndpointStatus::Up } else { EndpointStatus::Down },
            at,
            &mut step,
        );
        match self.alert {
            AlertState::Normal if self.failures >= policy.failure_threshold => {
                self.alert = AlertState::Alerting;
                step.told.push(Told::Alert);
            }
            AlertState::Alerting if self.successes >= policy.recovery_threshold => {
                self.alert = AlertState::Normal;
                step.told.push(Told::Recovery);
            }
            _ => {}
        }
        self.last_check_at = Some(at);
        self.holds_until = Some(later(at, policy.hold()));
        (at, step)
    }

    /// Whether this is `before` after another success, with nothing else to tell. After a failure it
    /// never is: failures are counted.
    pub fn is_again(&self, before: &Self) -> bool {
        let Self { successes, last_check_at, holds_until, .. } = *self;
        *self == Self { successes, last_check_at, holds_until, ..*before }
    }

    /// Its container is stopped, `since` then, and that is known from `at` on: it is down because of
    /// that, and not checked. Whether somebody is told is the container's affair: `alert` stays.
    pub fn stopped(&mut self, at: Timestamp, since: Timestamp) -> Step {
        let mut step = self.expire(at);
        let at = self.after_all(at);
        self.reset_counters();
        self.begin(false, at, &mut step);
        self.set_status(EndpointStatus::Down, since, &mut step);
        self.holds_until = None;
        step
    }

    /// Its container runs again, or is not known about any more. What was known holds as after a
    /// check.
    pub fn released(&mut self, at: Timestamp, policy: &Policy) {
        self.holds_until = Some(later(at, policy.hold()));
    }

    /// Whether it is down because its container is stopped.
    pub fn is_stopped(&self) -> bool {
        self.status == EndpointStatus::Down && self.holds_until.is_none()
    }

    /// Something else is checked from now on under the same name. What is known is known of what was
    /// checked before; times of checks stay in order.
    pub fn replaced(&mut self, at: Timestamp) -> Step {
        let mut step = self.forget(at);
        if self.alert == AlertState::Alerting {
            step.told.push(Told::Recovery);
        }
        *self = Self { since: self.since, last_check_at: self.last_check_at, ..Self::default() };
        step
    }

    /// Goes on after a restart. In between nothing was known, but what was seen last stays the status
    /// for as long as it would have without us.
    pub fn resume(&mut self, observed_until: Timestamp, now: Timestamp) -> Step {
        // The last check may be later than the last note of having observed.
        let end = self.last_check_at.map_or(observed_until, |last| last.max(observed_until));
        let holds = self.holds_until.unwrap_or(end);
        let end = end.min(holds);
        if now > holds || self.holds_until.is_none() {
            return self.forget(end);
        }
        let mut step = Step::default();
        self.failing_since = None;
        self.end_span(end, &mut step);
        step
    }

    /// Ends what is known when it was not confirmed for too long.
    pub fn expire(&mut self, now: Timestamp) -> Step {
        match self.holds_until {
            Some(until) if now > until => self.lapse(until),
            _ => Step::default(),
        }
    }

    /// Nothing is known from `at` on: this process or its machine stood still.
    pub fn forget(&mut self, at: Timestamp) -> Step {
        self.reset_counters();
        self.lapse(at)
    }

    fn lapse(&mut self, at: Timestamp) -> Step {
        let mut step = Step::default();
        let at = self.last_check_at.map_or(at, |last| last.max(at));
        self.failing_since = None;
        self.end_span(at, &mut step);
        self.set_status(EndpointStatus::Unknown, at, &mut step);
        self.holds_until = None;
        step
    }

    /// A clock set back a little leaves checks in their order, close together. One set back by more than
    /// a state holds was wrong before: what is dated later than `at` is given up.
    fn rewind(&mut self, at: Timestamp, policy: &Policy, step: &mut Step) {
        let latest = self.last_check_at.max(self.span.map(|span| span.from));
        if latest.is_none_or(|latest| latest <= later(at, policy.hold())) {
            return;
        }
        self.end_span(at, step);
        self.reset_counters();
        self.since = self.since.map(|since| since.min(at));
        self.last_check_at = None;
        self.holds_until = None;
        step.rewound_to = Some(at);
    }

    fn reset_counters(&mut self) {
        self.failures = 0;
        self.successes = 0;
        self.failing_since = None;
    }

    /// `at`, or the first millisecond after everything that is known.
    fn after_all(&self, at: Timestamp) -> Timestamp {
        let after = |known: Timestamp| later(known, Duration::from_millis(1));
        let check = self.last_check_at.map_or(at, after);
        let span = self.span.map_or(at, |span| after(span.from));
        at.max(check).max(span)
    }

    fn set_status(&mut self, new: EndpointStatus, at: Timestamp, step: &mut Step) {
        if self.status != new {
            step.told.push(Told::Status { previous: self.status, new });
            self.status = new;
            self.since = Some(at);
        }
    }

    /// From `at` on it counts as up, or as down.
    fn begin(&mut self, is_up: bool, at: Timestamp, step: &mut Step) {
        if self.span.is_some_and(|span| (span.state == SpanState::Up) == is_up) {
            return;
        }
        let state = match (is_up, self.span) {
            (true, _) => SpanState::Up,
            (false, None) if self.was_down => SpanState::StillDown,
            (false, _) => SpanState::Down,
        };
        self.end_span(at, step);
        self.span = Some(OpenSpan { from: at, state });
        self.was_down = !is_up;
        step.spans.push(Span { from: at, to: None, state });
    }

    fn end_span(&mut self, at: Timestamp, step: &mut Step) {
        if let Some(OpenSpan { from, state }) = self.span.take() {
            step.spans.push(Span { from, to: Some(at.max(from)), state });
        }
    }
}

fn later(at: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by).ok().and_then(|by| at.checked_add(by).ok()).unwrap_or(at)
}
