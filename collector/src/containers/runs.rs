//! How the newest runs of a container ended, and what that amounts to. No I/O and no clock.

use jiff::{SignedDuration, Timestamp};
use maintenant_api::containers::{ExitReason, Health, State};

use super::model::{Container, Exit, RestartPolicy, Transition};

/// Restarts within this time make a loop.
pub const WINDOW: SignedDuration = SignedDuration::from_mins(10);
/// Whatever a loop was like, a run longer than this is none of it.
pub const LONGEST_IN_LOOP: SignedDuration = SignedDuration::from_mins(30);
/// A run longer than this has got over the want of memory that ended the one before.
const ENOUGH_MEMORY: SignedDuration = SignedDuration::from_mins(5);

/// The end of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct End {
    pub at: Timestamp,
    /// `None`: it was missed, and only the next run was seen.
    pub exit: Option<Exit>,
    /// Somebody asked for it, or it was a job that ended as it should.
    is_expected: bool,
    /// How long the run took, where its beginning is known.
    ran: Option<SignedDuration>,
    restarted_at: Option<Timestamp>,
}

impl End {
    pub fn is_oom(&self) -> bool {
        self.exit.is_some_and(|exit| exit.reason == ExitReason::OomKilled)
    }
}

/// What is known of a container's newest runs.
#[derive(Debug, Default)]
pub struct Runs {
    /// Oldest first.
    pub ends: Vec<End>,
    /// When the present run began.
    running_since: Option<Timestamp>,
}

/// Ends that nobody asked for, each followed by a start, too many within [`WINDOW`].
#[derive(Debug)]
pub struct Loop<'a> {
    /// Oldest first, with the one that began it.
    pub ends: &'a [End],
    /// When there were enough of them.
    pub noticed_at: Timestamp,
    /// The most restarts within [`WINDOW`].
    pub restarts: usize,
    pub median_lifetime: Option<SignedDuration>,
}

impl Runs {
    /// By the newest transitions, oldest first.
    pub fn of(container: &Container, newest: &[Transition]) -> Self {
        let mut runs = Self::default();
        for transition in newest {
            // Made anew: what became of the one before says nothing of it.
            if transition.new_state == State::Created {
                runs = Self::default();
            }
            if transition.is_end() || is_missed_restart(transition) {
                runs.end(transition);
            }
            let runs_now = transition.new_state == State::Running;
            let began = !matches!(transition.previous_state, State::Running | State::Paused);
            if (runs_now && began) || is_missed_restart(transition) {
                runs.start(transition.at);
            }
        }
        if matches!(container.state, State::Running | State::Paused) {
            runs.running_since = runs.running_since.or(container.started_at);
        } else {
            runs.running_since = None;
            if let Some(last) = runs.ends.last_mut() {
                last.is_expected |= was_stopped_while_waiting(container);
            }
        }
        runs
    }

    fn end(&mut self, transition: &Transition) {
        let ran = self.running_since.take().map(|start| transition.at.duration_since(start));
        let requested = transition.exit.is_some_and(|exit| exit.reason == ExitReason::Requested);
        self.ends.push(End {
            at: transition.at,
            exit: transition.exit,
            is_expected: requested || transition.new_state == State::Completed,
            ran,
            restarted_at: None,
        });
    }

    fn start(&mut self, at: Timestamp) {
        self.running_since = Some(at);
        if let Some(last) = self.ends.last_mut() {
            last.restarted_at.get_or_insert(at);
        }
    }

    /// The loop the container is in: it has not run for long since, and was not stopped on request.
    pub fn restart_loop(&self, threshold: i64, now: Timestamp) -> Option<Loop<'_>> {
        // Kept in order, for the median.
        let (mut first, mut lifetimes) = (0, Vec::new());
        for (place, end) in self.ends.iter().enumerate() {
            if end.is_expected {
                first = place + 1;
                lifetimes.clear();
            } else if let Some(ran) = end.ran {
                if ran > longest_in_loop(&lifetimes) {
                    first = place;
                    lifetimes.clear();
                } else {
                    lifetimes.insert(lifetimes.partition_point(|before| *before <= ran), ran);
                }
            }
        }
        let longest = longest_in_loop(&lifetimes);
        if self.running_since.is_some_and(|since| now.duration_since(since) > longest) {
            return None;
        }
        let ends = self.ends.get(first..)?;
        let threshold = usize::try_from(threshold).unwrap_or(usize::MAX);
        let restarts: Vec<_> = ends.iter().filter_map(|end| end.restarted_at).collect();
        let counts: Vec<_> = restarts
            .iter()
            .enumerate()
            .map(|(place, at)| {
                let before = restarts.iter().take(place + 1);
                (*at, before.filter(|before| at.duration_since(**before) <= WINDOW).count())
            })
            .collect();
        let (noticed_at, _) = *counts.iter().find(|(_, count)| *count >= threshold)?;
        let restarts = counts.iter().map(|(_, count)| *count).max()?;
        Some(Loop { ends, noticed_at, restarts, median_lifetime: median(&lifetimes) })
    }

    /// Since when it lacks memory: its main process was killed for that, and it has not run for long
    /// since.
    pub fn out_of_memory_since(&self, now: Timestamp) -> Option<Timestamp> {
        let mut since = None;
        for end in &self.ends {
            if end.is_expected || end.ran.is_some_and(|ran| ran > ENOUGH_MEMORY) {
                since = None;
            }
            if end.is_oom() && !end.is_expected {
                since = since.or(Some(end.at));
            }
        }
        let runs_well = |start: Timestamp| now.duration_since(start) > ENOUGH_MEMORY;
        since.filter(|_| !self.running_since.is_some_and(runs_well))
    }
}

/// Between two resyncs it ended and began again. Health is `starting` again only then.
fn is_missed_restart(transition: &Transition) -> bool {
    let (before, after) = (transition.previous_health, transition.new_health);
    let begins_anew = after == Some(Health::Starting) && before.is_some();
    transition.previous_state == State::Running
        && transition.new_state == State::Running
        && (before == after || begins_anew)
}

/// A container of such a policy rests after an unexpected end only if somebody stopped it while it
/// waited for its next start, which no event tells, or if the engine could not start it.
pub fn was_stopped_while_waiting(container: &Container) -> bool {
    let policy = container.facts.restart_policy;
    matches!(policy, RestartPolicy::Always | RestartPolicy::UnlessStopped)
        && container.state == State::Exited
        && container.facts.error_detail.is_empty()
        && container.exit.is_some_and(|exit| exit.reason != ExitReason::CannotStart)
}

/// How long a run may take that still belongs to a loop of such runs.
fn longest_in_loop(lifetimes: &[SignedDuration]) -> SignedDuration {
    let median = median(lifetimes).unwrap_or_default();
    median.saturating_mul(3).clamp(WINDOW, LONGEST_IN_LOOP)
}

fn median(sorted: &[SignedDuration]) -> Option<SignedDuration> {
    sorted.get(sorted.len() / 2).copied()
}
