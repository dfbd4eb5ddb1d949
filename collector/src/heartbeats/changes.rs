//! What happens to a heartbeat as one piece of work of the store's writer: read, decide, store. Since
//! there is one writer, signals that come at once are decided one after the other.

use jiff::{SignedDuration, Timestamp};
use maintenant_api::heartbeats::{HeartbeatInput, HeartbeatProblem, HeartbeatStatus};
use rusqlite::Connection;
use serde_json::{Map, Value, json};

use super::input;
use super::model::{Heartbeat, Runs, Signal, Told};
use super::records::{self, Received};
use super::sql;
use crate::http::error::ApiError;
use crate::http::events::EventBus;

/// A heartbeat after a change, and what to tell of it.
#[derive(Debug)]
pub struct Changed {
    pub heartbeat: Heartbeat,
    pub told: Vec<Told>,
}

impl Changed {
    /// Publishes what there is to tell. Call it after the commit.
    pub fn publish(&self, events: &EventBus) {
        let Heartbeat { id, name, .. } = &self.heartbeat;
        for told in &self.told {
            match told {
                Told::StatusChanged { from, to, at } => {
                    let data = json!({
                        "heartbeat_id": id,
                        "old_status": from,
                        "new_status": to,
                        "timestamp": at,
                    });
                    events.publish("heartbeat.status_changed", &data);
                }
                Told::Alert { kind, details } => {
                    let data = json!({
                        "heartbeat_id": id,
                        "name": name,
                        "alert_type": kind,
                        "details": details,
                    });
                    events.publish("heartbeat.alert", &data);
                }
                Told::Recovery => {
                    let data = json!({ "heartbeat_id": id, "name": name });
                    events.publish("heartbeat.recovery", &data);
                }
            }
        }
    }

    /// As [`Changed::publish`], with the ping that brought it about.
    pub fn publish_ping(&self, signal: Signal, events: &EventBus) {
        let mut data = Map::new();
        data.insert("heartbeat_id".into(), self.heartbeat.id.into());
        data.insert("ping_type".into(), signal.as_str().into());
        data.insert("status".into(), self.heartbeat.status.as_str().into());
        if let Some(code) = signal.exit_code() {
            data.insert("exit_code".into(), code.into());
        }
        events.publish("heartbeat.ping_received", &Value::Object(data));
        self.publish(events);
    }
}

/// Takes a ping. `None`: there is no such heartbeat any more.
pub fn receive(
    tx: &Connection,
    id: i64,
    ping: &Received,
    listening_since: Timestamp,
) -> rusqlite::Result<Option<Changed>> {
    let Some(mut heartbeat) = find_active(tx, id)? else { return Ok(None) };
    let mut told = pass_time(tx, &mut heartbeat, ping.at, listening_since)?;
    let was_up = heartbeat.is_up();
    if heartbeat.status == HeartbeatStatus::Down {
        // No deadline runs while it is down, so these were not judged.
        let is_over = |began| heartbeat.timing.run_limit(began).is_some_and(|at| at <= ping.at);
        records::time_out_runs(tx, id, is_over)?;
    }
    let ping_id = records::insert_ping(tx, &heartbeat, ping)?;
    let runs = match ping.signal {
        Signal::Log => Runs::default(),
        _ => records::note_run(tx, id, ping, ping_id)?,
    };
    told.extend(heartbeat.receive(ping.signal, runs, ping.at));
    store(tx, &mut heartbeat, was_up, ping.at)?;
    Ok(Some(Changed { heartbeat, told }))
}

/// Judges every deadline that has passed.
pub fn sweep(
    tx: &Connection,
    now: Timestamp,
    listening_since: Timestamp,
) -> rusqlite::Result<Vec<Changed>> {
    let mut changed = Vec::new();
    for mut heartbeat in sql::list_due(tx, now)? {
        let told = pass_time(tx, &mut heartbeat, now, listening_since)?;
        if !told.is_empty() {
            heartbeat.updated_at = now;
            sql::save(tx, &heartbeat)?;
            changed.push(Changed { heartbeat, told });
        }
    }
    Ok(changed)
}

/// Counts from now what was counted from a moment that is still to come, since the clock was set
/// back: nothing would be missed until it is reached again.
pub fn recount(tx: &Connection, now: Timestamp) -> rusqlite::Result<()> {
    let is_ahead = |moment: Timestamp| moment.duration_since(now) > LONGEST_SILENCE;
    for mut heartbeat in sql::list(tx)? {
        if is_ahead(heartbeat.anchor_at) || heartbeat.running_since.is_some_and(is_ahead) {
            heartbeat.recount(now);
            sql::save(tx, &heartbeat)?;
        }
    }
    Ok(())
}

pub fn pause(tx: &Connection, id: i64, now: Timestamp) -> rusqlite::Result<Option<Changed>> {
    change(tx, id, now, |heartbeat| heartbeat.pause(now))
}

/// Watches it again. One that is not paused stays as it is, and the answer is `Err` with it.
pub fn resume(
    tx: &Connection,
    id: i64,
    now: Timestamp,
) -> rusqlite::Result<Option<Result<Changed, Heartbeat>>> {
    match find_active(tx, id)? {
        None => Ok(None),
        Some(heartbeat) if heartbeat.status != HeartbeatStatus::Paused => Ok(Some(Err(heartbeat))),
        Some(_) => {
            // Nobody watched the runs that began before.
            records::time_out_runs(tx, id, |_| true)?;
            let changed = change(tx, id, now, |heartbeat| {
                heartbeat.current_run_started_at = None;
                heartbeat.resume(now)
            })?;
            Ok(changed.map(Ok))
        }
    }
}

/// Gives it another name or timing. What is refused changes nothing.
pub fn edit(
    tx: &Connection,
    id: i64,
    wanted: &HeartbeatInput,
    now: Timestamp,
) -> rusqlite::Result<Option<Result<Changed, ApiError>>> {
    let Some(old) = find_active(tx, id)? else { return Ok(None) };
    let (name, timing) = match input::edit(wanted, (&old.name, &old.timing), now) {
        Ok(edited) => edited,
        Err(fault) => return Ok(Some(Err(fault))),
    };
    let changed = change(tx, id, now, |heartbeat| {
        heartbeat.name = name;
        if let Some(timing) = timing {
            heartbeat.retime(timing, now);
        }
        Vec::new()
    })?;
    Ok(changed.map(Ok))
}

/// Deletes it softly; a second time changes nothing. The answer is whether it ever existed.
pub fn delete(tx: &Connection, id: i64, now: Timestamp) -> rusqlite::Result<bool> {
    if sql::find(tx, id)?.is_none() {
        return Ok(false);
    }
    change(tx, id, now, |heartbeat| {
        heartbeat.deleted_at = Some(now);
        Vec::new()
    })?;
    Ok(true)
}

fn find_active(tx: &Connection, id: i64) -> rusqlite::Result<Option<Heartbeat>> {
    Ok(sql::find(tx, id)?.filter(|heartbeat| heartbeat.deleted_at.is_none()))
}

fn change(
    tx: &Connection,
    id: i64,
    now: Timestamp,
    act: impl FnOnce(&mut Heartbeat) -> Vec<Told>,
) -> rusqlite::Result<Option<Changed>> {
    let Some(mut heartbeat) = find_active(tx, id)? else { return Ok(None) };
    let was_up = heartbeat.is_up();
    let told = act(&mut heartbeat);
    store(tx, &mut heartbeat, was_up, now)?;
    Ok(Some(Changed { heartbeat, told }))
}

fn store(
    tx: &Connection,
    heartbeat: &mut Heartbeat,
    was_up: Option<bool>,
    now: Timestamp,
) -> rusqlite::Result<()> {
    heartbeat.updated_at = now;
    sql::save(tx, heartbeat)?;
    if heartbeat.is_up() != was_up {
        sql::save_span(tx, heartbeat.id, heartbeat.is_up(), now)?;
    }
    Ok(())
}

/// Judges one heartbeat; the row itself is left to the caller.
fn pass_time(
    tx: &Connection,
    heartbeat: &mut Heartbeat,
    now: Timestamp,
    listening_since: Timestamp,
) -> rusqlite::Result<Vec<Told>> {
    let was_up = heartbeat.is_up();
    let Some((deadline, told)) = heartbeat.pass_time(now, listening_since) else {
        return Ok(Vec::new());
    };
    if deadline.problem == HeartbeatProblem::RunsTooLong {
        // Of runs that overlap, those beyond their own limit; without one, also those that had to
        // end by a regular deadline that has passed.
        let timing = &heartbeat.timing;
        let regular = heartbeat.regular_deadline().filter(|at| *at <= now);
        let regular = regular.filter(|_| timing.max_runtime.is_none());
        records::time_out_runs(tx, heartbeat.id, |began| {
            timing.run_limit(began).is_some_and(|at| at <= now)
                || regular.is_some_and(|regular| began < regular)
        })?;
    }
    if heartbeat.is_up() != was_up {
        sql::save_span(tx, heartbeat.id, heartbeat.is_up(), deadline.at)?;
    }
    Ok(told)
}

/// Longest time between two signs of life of the watch that does not count as an interruption.
const LONGEST_SILENCE: SignedDuration = SignedDuration::from_mins(1);

/// Since when pings have been listened for without interruption.
#[derive(Debug, Clone, Copy)]
pub struct Listening {
    pub since: Timestamp,
    /// The last moment this is known to hold for.
    pub until: Timestamp,
}

impl Listening {
    /// Whether the machine slept, or its clock was moved, between the last sign of life and `now`.
    pub fn is_interrupted(self, now: Timestamp) -> bool {
        now.duration_since(self.until) > LONGEST_SILENCE
    }

    /// Whether the clock was set back since the last sign of life.
    pub fn is_set_back(self, now: Timestamp) -> bool {
        self.until.duration_since(now) > LONGEST_SILENCE
    }

    /// As known at `now`: an interruption not yet noticed by the watch counts.
    pub fn since_at(self, now: Timestamp) -> Timestamp {
        if self.is_interrupted(now) { now } else { self.since.min(now) }
    }
}
