//! The table of heartbeats, and the spans in which they were up or down.

use jiff::{SignedDuration, Timestamp};
use maintenant_api::heartbeats::{HeartbeatProblem, HeartbeatStatus};
use maintenant_api::monitors::AlertState;
use rusqlite::types::{FromSql, Type};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::model::{Heartbeat, Timing};
use super::schedule::{Cadence, Cron};
use crate::uptime::Span;

/// Up to here pings were listened for.
const LISTENED_UNTIL: &str = "heartbeats_listened_until";

/// What is read of a heartbeat.
const COLUMNS: &str = "id, uuid, name, interval_seconds, schedule, timezone, grace_seconds, \
    max_runtime_seconds, status, problem, alert_state, anchor_at, expected_at, running_since, \
    current_run_started_at, last_ping_at, last_exit_code, last_duration_ms, \
    consecutive_failures, consecutive_successes, status_since, created_at, updated_at, deleted_at";

/// Stores a new heartbeat and returns its id.
pub fn insert(tx: &Connection, heartbeat: &Heartbeat) -> rusqlite::Result<i64> {
    tx.prepare_cached(
        "INSERT INTO heartbeats (
             uuid, name, grace_seconds, interval_seconds, status, alert_state, anchor_at,
             consecutive_failures, consecutive_successes, status_since, created_at, updated_at
         ) VALUES (?1, ?2, 0, 60, 'new', 'normal', ?3, 0, 0, ?3, ?3, ?3)",
    )?
    .execute((&heartbeat.uuid, &heartbeat.name, heartbeat.created_at.as_millisecond()))?;
    let id = tx.last_insert_rowid();
    save(tx, &Heartbeat { id, ..heartbeat.clone() })?;
    Ok(id)
}

/// Stores what may change of a heartbeat.
pub fn save(tx: &Connection, heartbeat: &Heartbeat) -> rusqlite::Result<()> {
    let timing = &heartbeat.timing;
    let (interval, cron) = match &timing.cadence {
        Cadence::Every(interval) => (Some(interval.as_secs()), None),
        Cadence::Cron(cron) => (None, Some(cron)),
    };
    tx.prepare_cached(
        "UPDATE heartbeats SET
             name = ?2, interval_seconds = ?3, schedule = ?4, timezone = ?5, grace_seconds =
             ?6, max_runtime_seconds = ?7, status = ?8, problem = ?9, alert_state = ?10,
             anchor_at = ?11, expected_at = ?12, running_since = ?13, current_run_started_at
             = ?14, last_ping_at = ?15, last_exit_code = ?16, last_duration_ms = ?17,
             consecutive_failures = ?18, consecutive_successes = ?19, status_since = ?20,
             updated_at = ?21, deleted_at = ?22, deadline_at = ?23
         WHERE id = ?1",
    )?
    .execute(params![
        heartbeat.id,
        heartbeat.name,
        interval,
        cron.map(|cron| &cron.expression),
        cron.map(|cron| &cron.zone_name),
        timing.grace.as_secs(),
        timing.max_runtime.map(|limit| limit.as_secs()),
        heartbeat.status.as_str(),
        heartbeat.problem.map(HeartbeatProblem::as_str),
        heartbeat.alert_state.as_str(),
        heartbeat.anchor_at.as_millisecond(),
        milliseconds(heartbeat.expected_at),
        milliseconds(heartbeat.running_since),
        milliseconds(heartbeat.current_run_started_at),
        milliseconds(heartbeat.last_ping_at),
        heartbeat.last_exit_code,
        heartbeat.last_duration_ms,
        heartbeat.consecutive_failures,
        heartbeat.consecutive_successes,
        heartbeat.status_since.as_millisecond(),
        heartbeat.updated_at.as_millisecond(),
        milliseconds(heartbeat.deleted_at),
        milliseconds(heartbeat.deadline().map(|deadline| deadline.at)),
    ])
    .map(drop)
}

pub fn find(connection: &Connection, id: i64) -> rusqlite::Result<Option<Heartbeat>> {
    connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM heartbeats WHERE id = ?1"))?
        .query_row([id], heartbeat)
        .optional()
}

/// Those that are not deleted, newest first.
pub fn list(connection: &Connection) -> rusqlite::Result<Vec<Heartbeat>> {
    connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM heartbeats WHERE deleted_at IS NULL ORDER BY id DESC"
        ))?
        .query_map([], heartbeat)?
        .collect()
}

/// Those that may have a problem, with the begin of the open span in which they are down.
pub fn list_troubled(
    connection: &Connection,
    now: Timestamp,
) -> rusqlite::Result<Vec<(Heartbeat, Option<Timestamp>)>> {
    connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS}, (SELECT from_at FROM heartbeat_spans
                 WHERE heartbeat_id = heartbeats.id AND to_at IS NULL AND NOT is_up) AS down_from
             FROM heartbeats WHERE deleted_at IS NULL AND (problem IS NOT NULL OR expected_at < ?1)
             ORDER BY id"
        ))?
        .query_map([now.as_millisecond()], |row| Ok((heartbeat(row)?, time(row, "down_from")?)))?
        .collect()
}

/// Those whose deadline is not after `now`, in the order of their deadlines.
pub fn list_due(connection: &Connection, now: Timestamp) -> rusqlite::Result<Vec<Heartbeat>> {
    connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM heartbeats WHERE deadline_at <= ?1 ORDER BY deadline_at, id"
        ))?
        .query_map([now.as_millisecond()], heartbeat)?
        .collect()
}

/// The first deadline of all.
pub fn next_deadline(connection: &Connection) -> rusqlite::Result<Option<Timestamp>> {
    connection
        .prepare_cached(
            "SELECT min(deadline_at) AS at FROM heartbeats WHERE deadline_at IS NOT NULL",
        )?
        .query_row([], |row| time(row, "at"))
}

/// Ping addresses of those that are not deleted.
pub fn list_uuids(connection: &Connection) -> rusqlite::Result<Vec<(String, i64)>> {
    connection
        .prepare("SELECT uuid, id FROM heartbeats WHERE deleted_at IS NULL")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}

/// Ends the open span at `at`, and begins another where its time counts. A verdict that is dated
/// back replaces what was taken for granted since.
pub fn save_span(
    tx: &Connection,
    id: i64,
    is_up: Option<bool>,
    at: Timestamp,
) -> rusqlite::Result<()> {
    let at = at.as_millisecond();
    let opened: Option<i64> = tx
        .prepare_cached(
            "SELECT from_at FROM heartbeat_spans WHERE heartbeat_id = ?1 AND to_at IS NULL",
        )?
        .query_row([id], |row| row.get(0))
        .optional()?;
    match opened {
        Some(opened) if opened >= at => {
            tx.execute(
                "DELETE FROM heartbeat_spans WHERE heartbeat_id = ?1 AND from_at = ?2",
                (id, opened),
            )?;
        }
        Some(opened) => {
            tx.execute(
                "UPDATE heartbeat_spans SET to_at = ?3 WHERE heartbeat_id = ?1 AND from_at = ?2",
                (id, opened, at),
            )?;
        }
        None => {}
    }
    let Some(is_up) = is_up else { return Ok(()) };
    // Never before what is known already: the clock may have been set back.
    tx.execute(
        "INSERT OR REPLACE INTO heartbeat_spans (heartbeat_id, from_at, is_up)
         SELECT ?1, max(?2, ?3, coalesce((SELECT max(to_at) FROM heartbeat_spans
                                          WHERE heartbeat_id = ?1), ?2)), ?4",
        (id, at, opened.unwrap_or(at), is_up),
    )
    .map(drop)
}

/// Nothing was heard from `from` to `to`: open spans end there and go on here.
pub fn interrupt_spans(tx: &Connection, from: Timestamp, to: Timestamp) -> rusqlite::Result<()> {
    let (from, to) = (from.as_millisecond(), to.as_millisecond());
    let open: Vec<(i64, i64, bool)> = tx
        .prepare("SELECT heartbeat_id, from_at, is_up FROM heartbeat_spans WHERE to_at IS NULL")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (id, opened, is_up) in open {
        if to <= opened {
            continue;
        }
        tx.prepare_cached(
            "UPDATE heartbeat_spans SET to_at = max(from_at, ?3)
             WHERE heartbeat_id = ?1 AND from_at = ?2",
        )?
        .execute((id, opened, from))?;
        tx.prepare_cached(
            "INSERT OR REPLACE INTO heartbeat_spans (heartbeat_id, from_at, is_up)
             VALUES (?1, ?2, ?3)",
        )?
        .execute((id, to.max(from), is_up))?;
    }
    Ok(())
}

/// Spans that touch `[from, now]`, oldest first; the open one holds until now.
pub fn spans(
    connection: &Connection,
    id: i64,
    from: Timestamp,
    now: Timestamp,
) -> rusqlite::Result<Vec<Span>> {
    connection
        .prepare_cached(
            "SELECT from_at, coalesce(to_at, max(from_at, ?3)) AS to_at, is_up
             FROM heartbeat_spans
             WHERE heartbeat_id = ?1 AND coalesce(to_at, ?3) > ?2 ORDER BY from_at",
        )?
        .query_map((id, from.as_millisecond(), now.as_millisecond()), |row| {
            let at = |column| time(row, column).map(Option::unwrap_or_default);
            Ok(Span { from: at("from_at")?, to: at("to_at")?, is_up: row.get("is_up")? })
        })?
        .collect()
}

pub fn listened_until(connection: &Connection) -> rusqlite::Result<Option<Timestamp>> {
    connection
        .query_row("SELECT at FROM marks WHERE name = ?1", [LISTENED_UNTIL], |row| time(row, "at"))
        .optional()
        .map(Option::flatten)
}

pub fn save_listened_until(tx: &Connection, at: Timestamp) -> rusqlite::Result<()> {
    tx.prepare_cached("INSERT OR REPLACE INTO marks (name, at) VALUES (?1, ?2)")?
        .execute((LISTENED_UNTIL, at.as_millisecond()))
        .map(drop)
}

pub fn delete_old_spans(tx: &Connection, before_ms: i64, limit: u32) -> rusqlite::Result<usize> {
    tx.execute(
        "DELETE FROM heartbeat_spans WHERE (heartbeat_id, from_at) IN
             (SELECT heartbeat_id, from_at FROM heartbeat_spans WHERE to_at < ?1 LIMIT ?2)",
        (before_ms, limit),
    )
}

pub fn delete_excess_spans(tx: &Connection, _: i64, limit: u32) -> rusqlite::Result<usize> {
    /// Rows kept of one heartbeat, whatever their age.
    const MOST: u32 = 20_000;
    tx.execute(
        "DELETE FROM heartbeat_spans WHERE (heartbeat_id, from_at) IN
             (SELECT heartbeat_id, from_at FROM
                  (SELECT heartbeat_id, from_at, row_number() OVER
                       (PARTITION BY heartbeat_id ORDER BY from_at DESC) AS place
                   FROM heartbeat_spans WHERE heartbeat_id IN
                       (SELECT heartbeat_id FROM heartbeat_spans
                        GROUP BY heartbeat_id HAVING count(*) > ?1))
              WHERE place > ?1 LIMIT ?2)",
        (MOST, limit),
    )
}

pub fn delete_old_deleted(tx: &Connection, before_ms: i64, limit: u32) -> rusqlite::Result<usize> {
    tx.execute(
        "DELETE FROM heartbeats WHERE id IN
             (SELECT id FROM heartbeats WHERE deleted_at < ?1 LIMIT ?2)",
        (before_ms, limit),
    )
}

/// Reads columns one after the other, in the order of [`COLUMNS`]: to find them by name would take
/// longer than to store a ping.
struct Columns<'a, 'b> {
    row: &'a Row<'b>,
    next: usize,
}

impl Columns<'_, '_> {
    fn get<T: FromSql>(&mut self) -> rusqlite::Result<T> {
        self.next += 1;
        self.row.get(self.next - 1)
    }

    fn seconds(&mut self) -> rusqlite::Result<Option<SignedDuration>> {
        Ok(self.get::<Option<i64>>()?.map(SignedDuration::from_secs))
    }

    fn time(&mut self) -> rusqlite::Result<Option<Timestamp>> {
        self.get::<Option<i64>>()?.map(moment).transpose()
    }

    fn word<T>(&mut self, parse: fn(&str) -> Option<T>) -> rusqlite::Result<Option<T>> {
        self.next += 1;
        Ok(self.row.get_ref(self.next - 1)?.as_str_or_null()?.and_then(parse))
    }
}

fn heartbeat(row: &Row<'_>) -> rusqlite::Result<Heartbeat> {
    let mut row = Columns { row, next: 0 };
    let (id, uuid, name) = (row.get()?, row.get()?, row.get()?);
    let interval = row.seconds()?;
    let (schedule, zone) = (row.get::<Option<String>>()?, row.get::<Option<String>>()?);
    let cadence = if let Some(interval) = interval {
        Cadence::Every(interval)
    } else {
        let cron = Cron::parse(&schedule.unwrap_or_default(), &zone.unwrap_or_default());
        Cadence::Cron(Box::new(cron.map_err(|fault| {
            rusqlite::Error::FromSqlConversionFailure(0, Type::Text, Box::new(fault))
        })?))
    };
    Ok(Heartbeat {
        id,
        uuid,
        name,
        timing: Timing {
            cadence,
            grace: row.seconds()?.unwrap_or_default(),
            max_runtime: row.seconds()?,
        },
        status: row.word(HeartbeatStatus::parse)?.unwrap_or(HeartbeatStatus::Unknown),
        problem: row.word(HeartbeatProblem::parse)?,
        alert_state: row.word(AlertState::parse)?.unwrap_or_default(),
        anchor_at: row.time()?.unwrap_or_default(),
        expected_at: row.time()?,
        running_since: row.time()?,
        current_run_started_at: row.time()?,
        last_ping_at: row.time()?,
        last_exit_code: row.get()?,
        last_duration_ms: row.get()?,
        consecutive_failures: row.get()?,
        consecutive_successes: row.get()?,
        status_since: row.time()?.unwrap_or_default(),
        created_at: row.time()?.unwrap_or_default(),
        updated_at: row.time()?.unwrap_or_default(),
        deleted_at: row.time()?,
    })
}

pub(super) fn milliseconds(time: Option<Timestamp>) -> Option<i64> {
    time.map(Timestamp::as_millisecond)
}

pub(super) fn time(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<Timestamp>> {
    row.get::<_, Option<i64>>(column)?.map(moment).transpose()
}

fn moment(milliseconds: i64) -> rusqlite::Result<Timestamp> {
    Timestamp::from_millisecond(milliseconds).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(0, Type::Integer, Box::new(error))
    })
}
