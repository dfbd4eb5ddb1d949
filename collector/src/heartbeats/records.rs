//! The tables of pings and runs: what was received, and what it said about the job.

use jiff::Timestamp;
use maintenant_api::heartbeats::{Execution, Ping};
use rusqlite::{Connection, OptionalExtension, Row};

use super::model::{End, Heartbeat, Runs, Signal};
use super::sql::{milliseconds, time};

/// Rows kept of one heartbeat, whatever their age.
const MOST_ROWS: u32 = 10_000;
/// Pings of one heartbeat that keep their body (10 KiB each).
const MOST_PAYLOADS: u32 = 200;

/// A ping as it was received.
#[derive(Debug, Clone)]
pub struct Received {
    pub signal: Signal,
    pub source_ip: String,
    pub http_method: &'static str,
    pub payload: Option<String>,
    pub run_id: Option<String>,
    pub at: Timestamp,
}

/// Stores a ping beside what was expected of the heartbeat before it, and returns its id.
pub fn insert_ping(tx: &Connection, of: &Heartbeat, ping: &Received) -> rusqlite::Result<i64> {
    tx.prepare_cached(
        "INSERT INTO heartbeat_pings (
             heartbeat_id, at, ping_type, exit_code, source_ip, http_method, payload, run_id,
             expected_at, grace_deadline
         ) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?
    .execute((
        of.id,
        ping.at.as_millisecond(),
        ping.signal.as_str(),
        ping.signal.exit_code(),
        &ping.source_ip,
        ping.http_method,
        &ping.payload,
        &ping.run_id,
        milliseconds(of.expected_at),
        milliseconds(of.regular_deadline()),
    ))?;
    Ok(tx.last_insert_rowid())
}

/// Notes a ping among the runs: a start opens one, an end closes the one it belongs to or stands
/// for one whose start was not told.
pub fn note_run(tx: &Connection, id: i64, ping: &Received, ping_id: i64) -> rusqlite::Result<Runs> {
    let mut runs = Runs::default();
    match (ping.signal, ping.signal.end()) {
        (Signal::Start, _) => start(tx, id, ping)?,
        (_, Some(end)) => {
            runs.duration_ms = finish(tx, id, ping, end, ping_id)?;
            // Any run under way would have been the one that ended.
            if runs.duration_ms.is_none() && ping.run_id.is_none() {
                return Ok(runs);
            }
        }
        _ => {}
    }
    let (oldest, newest) = tx
        .prepare_cached(
            "SELECT (SELECT min(started_at) FROM heartbeat_runs
                     WHERE heartbeat_id = ?1 AND outcome = 'in_progress') AS oldest,
                    (SELECT max(started_at) FROM heartbeat_runs
                     WHERE heartbeat_id = ?1 AND outcome = 'in_progress') AS newest",
        )?
        .query_row([id], |row| Ok((time(row, "oldest")?, time(row, "newest")?)))?;
    Ok(Runs { oldest_open: oldest, newest_open: newest, ..runs })
}

/// Opens a run. One under way with the same id, or as nameless, was given up.
fn start(tx: &Connection, id: i64, ping: &Received) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "UPDATE heartbeat_runs SET outcome = 'timeout'
         WHERE heartbeat_id = ?1 AND outcome = 'in_progress' AND run_id IS ?2",
    )?
    .execute((id, &ping.run_id))?;
    tx.prepare_cached(
        "INSERT INTO heartbeat_runs (heartbeat_id, run_id, started_at, outcome)
         VALUES (?1, ?2, ?3, 'in_progress')",
    )?
    .execute((id, &ping.run_id, ping.at.as_millisecond()))
    .map(drop)
}

/// The last run under way. Its index is named because one by id would be walked through all runs.
const OPEN_RUN: &str = "SELECT id, started_at FROM heartbeat_runs INDEXED BY heartbeat_runs_open
    WHERE heartbeat_id = ?1 AND outcome = 'in_progress' AND (?2 IS NULL OR run_id = ?2)
    ORDER BY id DESC LIMIT 1";

/// The last run to begin, if it has not ended.
const LAST_RUN: &str = "SELECT id, started_at FROM
        (SELECT id, started_at, ended_at FROM heartbeat_runs
         WHERE heartbeat_id = ?1 AND ?2 IS NULL ORDER BY id DESC LIMIT 1)
    WHERE ended_at IS NULL AND started_at IS NOT NULL";

const LAST_RUN_OF_ID: &str = "SELECT id, started_at FROM
        (SELECT id, started_at, ended_at FROM heartbeat_runs
         WHERE heartbeat_id = ?1 AND run_id = ?2 ORDER BY id DESC LIMIT 1)
    WHERE ended_at IS NULL AND started_at IS NOT NULL";

/// Id of a run and when it began.
fn find_run(
    tx: &Connection,
    statement: &str,
    id: i64,
    rid: Option<&str>,
) -> rusqlite::Result<Option<(i64, i64)>> {
    tx.prepare_cached(statement)?
        .query_row((id, rid), |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
}

/// Ends a run: that of the same id, or the last one under way. One that was taken for a timeout and
/// was the last to begin can still end.
fn finish(
    tx: &Connection,
    id: i64,
    ping: &Received,
    end: End,
    ping_id: i64,
) -> rusqlite::Result<Option<i64>> {
    let rid = ping.run_id.as_deref();
    let found = match find_run(tx, OPEN_RUN, id, rid)? {
        Some(open) => Some(open),
        None if rid.is_some() => find_run(tx, LAST_RUN_OF_ID, id, rid)?,
        None => find_run(tx, LAST_RUN, id, rid)?,
    };
    let at = ping.at.as_millisecond();
    let outcome = match end {
        End::Success => "success",
        End::Failure => "failure",
    };
    let Some((run, started)) = found else {
        tx.prepare_cached(
            "INSERT INTO heartbeat_runs (heartbeat_id, run_id, ended_at, exit_code, outcome,
                                         ended_by)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute((id, &ping.run_id, at, ping.signal.exit_code(), outcome, ping_id))?;
        return Ok(None);
    };
    // The clock may have been set back meanwhile.
    tx.prepare_cached(
        "UPDATE heartbeat_runs
         SET ended_at = max(started_at, ?2), exit_code = ?3, outcome = ?4, ended_by = ?5
         WHERE id = ?1",
    )?
    .execute((run, at, ping.signal.exit_code(), outcome, ping_id))?;
    Ok(Some((at - started).max(0)))
}

/// Gives up the runs under way that are over, by when they began.
pub fn time_out_runs(
    tx: &Connection,
    id: i64,
    is_over: impl Fn(Timestamp) -> bool,
) -> rusqlite::Result<()> {
    let open: Vec<(i64, Option<Timestamp>)> = tx
        .prepare_cached(
            "SELECT id, started_at FROM heartbeat_runs
             WHERE heartbeat_id = ?1 AND outcome = 'in_progress'",
        )?
        .query_map([id], |row| Ok((row.get("id")?, time(row, "started_at")?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (run, began) in open {
        if began.is_some_and(&is_over) {
            tx.prepare_cached("UPDATE heartbeat_runs SET outcome = 'timeout' WHERE id = ?1")?
                .execute([run])?;
        }
    }
    Ok(())
}

/// Pings, newest first, and how many there are in all.
pub fn pings(
    connection: &Connection,
    id: i64,
    limit: i64,
    offset: i64,
) -> rusqlite::Result<(Vec<Ping>, i64)> {
    let rows = connection
        .prepare_cached(
            "SELECT * FROM heartbeat_pings WHERE heartbeat_id = ?1
             ORDER BY id DESC LIMIT ?2 OFFSET ?3",
        )?
        .query_map((id, limit, offset), ping)?
        .collect::<rusqlite::Result<_>>()?;
    let total = connection
        .prepare_cached("SELECT count(*) FROM heartbeat_pings WHERE heartbeat_id = ?1")?
        .query_row([id], |row| row.get(0))?;
    Ok((rows, total))
}

/// Runs, newest first, and how many there are in all.
pub fn executions(
    connection: &Connection,
    id: i64,
    limit: i64,
    offset: i64,
) -> rusqlite::Result<(Vec<Execution>, i64)> {
    let rows = connection
        .prepare_cached(
            "SELECT runs.*, pings.payload FROM heartbeat_runs runs
             LEFT JOIN heartbeat_pings pings ON pings.id = runs.ended_by
             WHERE runs.heartbeat_id = ?1 ORDER BY runs.id DESC LIMIT ?2 OFFSET ?3",
        )?
        .query_map((id, limit, offset), execution)?
        .collect::<rusqlite::Result<_>>()?;
    let total = connection
        .prepare_cached("SELECT count(*) FROM heartbeat_runs WHERE heartbeat_id = ?1")?
        .query_row([id], |row| row.get(0))?;
    Ok((rows, total))
}

/// Rows are added in the order of time, so those before the first young one are old.
pub fn delete_old_pings(tx: &Connection, before_ms: i64, limit: u32) -> rusqlite::Result<usize> {
    tx.execute(
        "DELETE FROM heartbeat_pings WHERE id IN
             (SELECT id FROM heartbeat_pings WHERE id <
                  (SELECT coalesce(
                       (SELECT id FROM heartbeat_pings WHERE at >= ?1 ORDER BY id LIMIT 1),
                       9223372036854775807))
              ORDER BY id LIMIT ?2)",
        (before_ms, limit),
    )
}

pub fn delete_old_runs(tx: &Connection, before_ms: i64, limit: u32) -> rusqlite::Result<usize> {
    tx.execute(
        "DELETE FROM heartbeat_runs WHERE id IN
             (SELECT id FROM heartbeat_runs WHERE id <
                  (SELECT coalesce(
                       (SELECT id FROM heartbeat_runs
                        WHERE coalesce(ended_at, started_at) >= ?1 ORDER BY id LIMIT 1),
                       9223372036854775807))
              ORDER BY id LIMIT ?2)",
        (before_ms, limit),
    )
}

pub fn delete_excess_pings(tx: &Connection, _: i64, limit: u32) -> rusqlite::Result<usize> {
    delete_excess(tx, "heartbeat_pings", limit)
}

pub fn delete_excess_runs(tx: &Connection, _: i64, limit: u32) -> rusqlite::Result<usize> {
    delete_excess(tx, "heartbeat_runs", limit)
}

fn delete_excess(tx: &Connection, table: &str, limit: u32) -> rusqlite::Result<usize> {
    tx.execute(
        &format!(
            "DELETE FROM {table} WHERE id IN
                 (SELECT id FROM
                      (SELECT id, row_number() OVER
                           (PARTITION BY heartbeat_id ORDER BY id DESC) AS place
                       FROM {table} WHERE heartbeat_id IN
                           (SELECT heartbeat_id FROM {table}
                            GROUP BY heartbeat_id HAVING count(*) > ?1))
                  WHERE place > ?1 LIMIT ?2)"
        ),
        (MOST_ROWS, limit),
    )
}

/// Takes the bodies of all but the newest pings of each heartbeat that have one.
pub fn delete_excess_payloads(tx: &Connection, _: i64, limit: u32) -> rusqlite::Result<usize> {
    tx.execute(EXCESS_PAYLOADS, (MOST_PAYLOADS, limit))
}

/// It reads the pings with a body only, by their index.
const EXCESS_PAYLOADS: &str = "UPDATE heartbeat_pings SET payload = NULL WHERE id IN
    (SELECT id FROM
         (SELECT id, row_number() OVER (PARTITION BY heartbeat_id ORDER BY id DESC) AS place
          FROM heartbeat_pings WHERE payload IS NOT NULL)
     WHERE place > ?1 LIMIT ?2)";

fn ping(row: &Row<'_>) -> rusqlite::Result<Ping> {
    Ok(Ping {
        id: row.get("id")?,
        heartbeat_id: row.get("heartbeat_id")?,
        ping_type: row.get("ping_type")?,
        exit_code: row.get("exit_code")?,
        source_ip: row.get("source_ip")?,
        http_method: row.get("http_method")?,
        payload: row.get("payload")?,
        run_id: row.get("run_id")?,
        expected_at: time(row, "expected_at")?,
        grace_deadline: time(row, "grace_deadline")?,
        timestamp: time(row, "at")?.unwrap_or_default(),
    })
}

fn execution(row: &Row<'_>) -> rusqlite::Result<Execution> {
    let (started_at, ended_at) = (time(row, "started_at")?, time(row, "ended_at")?);
    let took =
        started_at.zip(ended_at).map(|(from, to)| to.as_millisecond() - from.as_millisecond());
    Ok(Execution {
        id: row.get("id")?,
        heartbeat_id: row.get("heartbeat_id")?,
        started_at,
        completed_at: ended_at,
        duration_ms: took,
        exit_code: row.get("exit_code")?,
        outcome: row.get("outcome")?,
        payload: row.get("payload")?,
        run_id: row.get("run_id")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_retention_nor_the_end_of_a_run_reads_all_rows() {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch(include_str!("../store/migrations/0004_heartbeats.sql")).unwrap();
        for (statement, index) in [
            (EXCESS_PAYLOADS, "INDEX heartbeat_pings_bodies"),
            (OPEN_RUN, "INDEX heartbeat_runs_open (heartbeat_id=?)"),
            (LAST_RUN, "INDEX heartbeat_runs_of (heartbeat_id=?)"),
            (LAST_RUN_OF_ID, "INDEX heartbeat_runs_named (heartbeat_id=? AND run_id=?)"),
        ] {
            let plan: Vec<String> = db
                .prepare(&format!("EXPLAIN QUERY PLAN {statement}"))
                .unwrap()
                .query_map((1, 1), |row| row.get("detail"))
                .unwrap()
                .collect::<rusqlite::Result<_>>()
                .unwrap();
            assert!(plan.iter().any(|step| step.contains(index)), "{statement}: {plan:?}");
        }
    }
}
