//! What is wrong with containers: of each at most one outage, by its cause.
//!
//! | type | when | severity |
//! |---|---|---|
//! | `oom_killed` | the kernel killed its main process, until it has run for 5 minutes, or is out of its loop | critical |
//! | `restart_loop` | as many restarts within 10 minutes as `maintenant.alert.restart_threshold` says, until it has run longer than 10 minutes and three times the median lifetime | warning; critical from three times as many on, and once it was given up |
//! | `container_down` | it ran and does not, for longer than `MAINTENANT_CONTAINER_DOWN_AFTER` | critical; warning if somebody stopped it |
//! | `health_unhealthy` | its health check fails | warning |
//!
//! A container that was never seen running, that was removed, that is paused, or whose job ended well
//! is not down. `maintenant.alert.severity` replaces the severity. A container with
//! `maintenant.ignore` is not looked at.

use jiff::{SignedDuration, Timestamp};
use maintenant_api::alerts::Severity;
use maintenant_api::containers::{ExitReason, Health, State};
use maintenant_serve::logging::foreign;
use rusqlite::Connection;
use serde_json::{Map, Value, json};

use super::model::{Container, Transition};
use super::runs::{End, LONGEST_IN_LOOP, Loop, Runs, was_stopped_while_waiting};
use super::sql;
use crate::runtime::{NOTHING, RuntimeState};
use crate::signals::{Entity, Findings, Signal, Source};
use crate::wording::{details, last_lines, quoted};

/// Transitions looked at, of one container.
const NEWEST: u32 = 200;
/// The last ends of a loop that are told.
const ENDS: usize = 5;
const LOG_LINES: usize = 5;
const LOG_BYTES: usize = 1024;

pub struct Rules {
    pub runtime: RuntimeState,
    /// How long a container may be down before that is an alert.
    pub down_after: SignedDuration,
}

impl Source for Rules {
    fn name(&self) -> &'static str {
        "container"
    }

    fn find(&self, db: &Connection, now: Timestamp) -> rusqlite::Result<Findings> {
        let mut findings = Findings::default();
        let runtime = self.runtime.get();
        if runtime.name == NOTHING {
            return Ok(findings);
        }
        if !runtime.connected {
            findings.unknown = sql::list_ids(db)?.into_iter().map(entity).collect();
            return Ok(findings);
        }
        for container in sql::list_watched(db)? {
            if is_plainly_well(&container, now) {
                continue;
            }
            let newest = sql::newest_transitions(db, container.id, NEWEST)?;
            if let Some(mut signal) = judge(&container, &newest, self.down_after, now) {
                add_last_lines(db, &mut signal, &newest)?;
                findings.signals.push(signal);
            }
        }
        Ok(findings)
    }

    fn exists(&self, db: &Connection, entity: &Entity) -> rusqlite::Result<bool> {
        Ok(sql::is_watched(db, entity.id)? && self.runtime.get().name != NOTHING)
    }
}

fn entity(id: i64) -> Entity {
    Entity { kind: "container", id }
}

/// Nothing that it has been through could matter any more.
fn is_plainly_well(container: &Container, now: Timestamp) -> bool {
    let since = container.last_state_change_at.max(container.started_at.unwrap_or_default());
    match container.state {
        State::Running | State::Paused => {
            container.health != Some(Health::Unhealthy)
                && now.duration_since(since) > LONGEST_IN_LOOP
        }
        State::Created | State::Completed => {
            let reason = container.exit.map(|exit| exit.reason);
            !matches!(reason, Some(ExitReason::Requested | ExitReason::CannotStart))
        }
        _ => false,
    }
}

/// An outage that kept log lines tells the last of them.
fn add_last_lines(
    db: &Connection,
    signal: &mut Signal,
    newest: &[Transition],
) -> rusqlite::Result<()> {
    let ends = match signal.alert_type {
        "health_unhealthy" => 0,
        "container_down" => 1,
        _ => ENDS,
    };
    for end in newest.iter().rev().filter(|transition| transition.is_end()).take(ends) {
        let snippet = sql::log_snippet(db, end.id)?;
        if !snippet.is_empty() {
            let lines = last_lines(&snippet, LOG_LINES, LOG_BYTES);
            signal.details.insert("last_log_lines".to_owned(), json!(lines));
            break;
        }
    }
    Ok(())
}

/// What is wrong, before labels have their say.
struct Trouble {
    alert_type: &'static str,
    severity: Severity,
    message: String,
    since: Timestamp,
    due: Timestamp,
    more: Map<String, Value>,
}

/// What is wrong with a container, by its newest transitions, oldest first.
pub fn judge(
    container: &Container,
    newest: &[Transition],
    down_after: SignedDuration,
    now: Timestamp,
) -> Option<Signal> {
    let labels = &container.facts.labels;
    let runs = Runs::of(container, newest);
    let found = repeated(container, &runs, now)
        .or_else(|| down(container, &runs, down_after))
        .or_else(|| unhealthy(container, newest))?;
    let mut details = facts(container);
    details.extend(found.more);
    Some(Signal {
        source: "container",
        alert_type: found.alert_type,
        entity: entity(container.id),
        entity_name: container.facts.name.clone(),
        severity: labels.severity().unwrap_or(found.severity),
        message: found.message,
        details,
        since: found.since,
        due: found.due,
        explained_by: None,
        channels: labels.channels(),
    })
}

fn facts(container: &Container) -> Map<String, Value> {
    let runs = matches!(container.state, State::Running | State::Paused);
    let exit = container.exit.filter(|_| !runs);
    let error = &container.facts.error_detail;
    details([
        ("image", json!(foreign(&container.facts.image))),
        ("state", json!(container.state)),
        ("exit_code", json!(exit.map(|exit| exit.code))),
        ("exit_reason", json!(exit.map(|exit| exit.reason))),
        ("exit_signal", json!(exit.and_then(|exit| exit.signal))),
        ("error", json!(Some(foreign(error)).filter(|error| !error.is_empty()))),
    ])
}

fn repeated(container: &Container, runs: &Runs, now: Timestamp) -> Option<Trouble> {
    let name = quoted(&container.facts.name);
    let threshold = container.facts.labels.restart_threshold;
    let found = runs.restart_loop(threshold, now);
    let more = found.as_ref().map(|found| of_loop(found, threshold)).unwrap_or_default();
    let rests = !matches!(container.state, State::Running | State::Paused | State::Restarting);
    let out_of_memory = match &found {
        Some(found) => {
            let is_recent = found.ends.iter().rev().take(ENDS).any(End::is_oom);
            found.ends.iter().find(|end| end.is_oom() && is_recent).map(|end| end.at)
        }
        None => runs.out_of_memory_since(now),
    };
    if let Some(since) = out_of_memory {
        let again = if found.is_some() { ", again and again" } else { "" };
        return Some(Trouble {
            alert_type: "oom_killed",
            severity: Severity::Critical,
            message: format!("Container {name} was killed for want of memory{again}"),
            since,
            due: since,
            more,
        });
    }
    let found = found?;
    let many = usize::try_from(threshold.saturating_mul(3)).unwrap_or(usize::MAX);
    let end = if rests { "kept restarting and was given up" } else { "keeps restarting" };
    let is_critical = rests || found.restarts >= many;
    Some(Trouble {
        alert_type: "restart_loop",
        severity: if is_critical { Severity::Critical } else { Severity::Warning },
        message: format!("Container {name} {end}"),
        since: found.ends.first().map_or(found.noticed_at, |end| end.at),
        due: found.noticed_at,
        more,
    })
}

fn of_loop(found: &Loop<'_>, threshold: i64) -> Map<String, Value> {
    let last = found.ends.iter().skip(found.ends.len().saturating_sub(ENDS));
    let codes: Vec<_> = last.map(|end| end.exit.map(|exit| exit.code)).collect();
    let median = found.median_lifetime.map(|median| i64::try_from(median.as_millis()).ok());
    details([
        ("exit_codes", json!(codes)),
        ("restarts", json!(found.restarts)),
        ("restart_threshold", json!(threshold)),
        ("median_lifetime_ms", json!(median)),
    ])
}

/// Whether its state is an outage, of one that was seen running.
pub fn is_down(container: &Container) -> bool {
    let reason = container.exit.map(|exit| exit.reason);
    match container.state {
        State::Exited | State::Dead | State::Restarting => true,
        State::Completed => reason == Some(ExitReason::Requested),
        State::Created => reason == Some(ExitReason::CannotStart),
        State::Running | State::Paused | State::Unknown => false,
    }
}

fn was_seen_running(container: &Container) -> bool {
    container.last_state_change_at > container.first_seen_at
}

/// Whether it rests as it may: its job ended well, or it was never seen running. What it would serve
/// is not missed then.
pub fn rests_well(container: &Container) -> bool {
    let rests = !matches!(container.state, State::Running | State::Paused | State::Unknown);
    rests && !(is_down(container) && was_seen_running(container))
}

fn down(container: &Container, runs: &Runs, after: SignedDuration) -> Option<Trouble> {
    let reason = container.exit.map(|exit| exit.reason);
    let since = container.last_state_change_at;
    let was_seen_running = !runs.ends.is_empty() || was_seen_running(container);
    if !is_down(container) || !was_seen_running {
        return None;
    }
    let name = quoted(&container.facts.name);
    let requested = reason == Some(ExitReason::Requested) || was_stopped_while_waiting(container);
    let message = match (container.exit, reason) {
        _ if requested => format!("Container {name} was stopped on request"),
        (Some(exit), Some(ExitReason::CannotStart)) => {
            format!("Container {name} cannot start: exit code {}", exit.code)
        }
        (Some(exit), _) => match exit.signal {
            Some(signal) => format!("Container {name} was ended by signal {signal}"),
            None => format!("Container {name} ended with exit code {}", exit.code),
        },
        (None, _) => format!("Container {name} does not run any more"),
    };
    Some(Trouble {
        alert_type: "container_down",
        severity: if requested { Severity::Warning } else { Severity::Critical },
        message,
        since,
        due: since.saturating_add(after).unwrap_or(Timestamp::MAX),
        more: Map::new(),
    })
}

fn unhealthy(container: &Container, newest: &[Transition]) -> Option<Trouble> {
    let is_it = |health| health == Some(Health::Unhealthy);
    if container.state != State::Running || !is_it(container.health) {
        return None;
    }
    let told = newest.iter().rev().find(|t| is_it(t.new_health) && !is_it(t.previous_health));
    // One that was so when it was first seen.
    let seen = container.first_seen_at.max(container.last_state_change_at);
    let since = told.map_or(seen, |transition| transition.at);
    Some(Trouble {
        alert_type: "health_unhealthy",
        severity: Severity::Warning,
        message: format!("Container {} is unhealthy", quoted(&container.facts.name)),
        since,
        due: since,
        more: Map::new(),
    })
}
