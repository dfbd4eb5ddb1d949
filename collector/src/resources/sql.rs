//! The tables of what was used. Thresholds have theirs in [`super::standings`].

use std::collections::BTreeMap;
use std::fmt::Write;

use rusqlite::{Connection, OptionalExtension, Row, params_from_iter};

use super::rollup::{HOUR_MS, MINUTE_MS, Spread, Summary, Tier, Used};
use crate::store::retention::Keep;

/// The host's place among containers.
pub const HOST: i64 = 0;

const SAMPLES_MS: i64 = 6 * HOUR_MS;

/// What is kept of what was used, and for how long.
pub const KEEPS: [Keep; 4] = [
    Keep { what: "samples older than 6 hours", days: 0, delete: delete_old_samples },
    Keep { what: "minutes of usage older than 2 days", days: 2, delete: delete_old_minutes },
    Keep { what: "hours of usage older than 400 days", days: 400, delete: delete_old_hours },
    Keep { what: "filesystems gone for 30 days", days: 30, delete: delete_gone_filesystems },
];

const MEASURED: &str = "mem_limit, net_rx, net_tx, block_read, block_write, net_rx_rate, \
     net_tx_rate, block_read_rate, block_write_rate, swap, load, disk";
const SUMMED: &str = "samples, cpu_mean, cpu_min, cpu_max, cpu_p95, mem_mean, mem_min, mem_max, \
     mem_p95";

impl Tier {
    fn table(self) -> &'static str {
        match self {
            Self::Minute => "resource_minutes",
            Self::Hour => "resource_hours",
        }
    }

    fn column(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
        }
    }

    fn mark(self) -> &'static str {
        match self {
            Self::Minute => "resource_minutes_until",
            Self::Hour => "resource_hours_until",
        }
    }
}

/// Up to here this tier is rolled up, in milliseconds.
pub fn mark(db: &Connection, tier: Tier) -> rusqlite::Result<Option<i64>> {
    db.prepare_cached("SELECT at FROM marks WHERE name = ?1")?
        .query_row([tier.mark()], |row| row.get(0))
        .optional()
}

pub fn save_mark(tx: &Connection, tier: Tier, ms: i64) -> rusqlite::Result<()> {
    tx.prepare_cached("INSERT OR REPLACE INTO marks (name, at) VALUES (?1, ?2)")?
        .execute((tier.mark(), ms))
        .map(drop)
}

pub fn insert_sample(tx: &Connection, id: i64, at: i64, used: &Used) -> rusqlite::Result<()> {
    let values = [at.div_euclid(MINUTE_MS), id, at.rem_euclid(MINUTE_MS), used.cpu]
        .into_iter()
        .map(Some)
        .chain([used.mem])
        .chain(used.last)
        .chain(used.means);
    tx.prepare_cached(
        "INSERT OR REPLACE INTO resource_samples VALUES
             (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)",
    )?
    .execute(params_from_iter(values))
    .map(drop)
}

/// When the first sample at or after `from` was taken, to the minute, if it is before `to`.
pub fn first_sample(db: &Connection, from: i64, to: i64) -> rusqlite::Result<Option<i64>> {
    let minute: Option<i64> = db
        .prepare_cached(
            "SELECT min(minute) FROM resource_samples WHERE minute >= ?1 AND minute < ?2",
        )?
        .query_row((from.div_euclid(MINUTE_MS), to.div_euclid(MINUTE_MS)), |row| row.get(0))?;
    Ok(minute.map(|minute| minute * MINUTE_MS))
}

/// All samples of these minutes; those of one container are in the order of time.
pub fn samples(
    db: &Connection,
    from: i64,
    to: i64,
    mut each: impl FnMut(i64, Used),
) -> rusqlite::Result<()> {
    let sql = format!(
        "SELECT container_id, cpu, mem, {MEASURED} FROM resource_samples
         WHERE minute >= ?1 AND minute < ?2 ORDER BY minute, container_id, ms"
    );
    let mut statement = db.prepare_cached(&sql)?;
    let mut rows = statement.query((from.div_euclid(MINUTE_MS), to.div_euclid(MINUTE_MS)))?;
    while let Some(row) = rows.next()? {
        each(row.get(0)?, read_used(row, 1)?);
    }
    Ok(())
}

/// The samples of one container from `from` to before `to`, both whole minutes, with their time.
pub fn samples_of(
    db: &Connection,
    id: i64,
    from: i64,
    to: i64,
) -> rusqlite::Result<Vec<(i64, Used)>> {
    if from >= to {
        return Ok(Vec::new());
    }
    let sql = format!(
        "{MINUTES}
         SELECT s.minute * 60000 + ms, cpu, mem, {MEASURED}
         FROM span CROSS JOIN resource_samples s
             ON s.minute = span.minute AND s.container_id = ?1
         ORDER BY s.minute, ms"
    );
    db.prepare_cached(&sql)?
        .query_map((id, from.div_euclid(MINUTE_MS), to.div_euclid(MINUTE_MS)), |row| {
            Ok((row.get(0)?, read_used(row, 1)?))
        })?
        .collect()
}

/// The minutes from ?2 to before ?3, for a lookup each.
const MINUTES: &str = "WITH RECURSIVE span (minute) AS
    (SELECT ?2 UNION ALL SELECT minute + 1 FROM span WHERE minute + 1 < ?3)";

/// The rollups of one container that begin in `[from, to)`, `from` being one, with their beginning.
pub fn summaries(
    db: &Connection,
    tier: Tier,
    id: i64,
    from: i64,
    to: i64,
) -> rusqlite::Result<Vec<(i64, Summary)>> {
    if from >= to {
        return Ok(Vec::new());
    }
    let sql = match tier {
        Tier::Minute => format!(
            "{MINUTES}
             SELECT m.minute, {SUMMED}, {MEASURED} FROM span CROSS JOIN resource_minutes m
                 ON m.minute = span.minute AND m.container_id = ?1
             ORDER BY m.minute"
        ),
        Tier::Hour => format!(
            "SELECT hour, {SUMMED}, {MEASURED} FROM resource_hours
             WHERE container_id = ?1 AND hour >= ?2 AND hour < ?3 ORDER BY hour"
        ),
    };
    let to = to + tier.ms() - 1;
    db.prepare_cached(&sql)?
        .query_map((id, from.div_euclid(tier.ms()), to.div_euclid(tier.ms())), |row| {
            Ok((row.get::<_, i64>(0)? * tier.ms(), read_summary(row, 1)?))
        })?
        .collect()
}

pub fn summary(
    db: &Connection,
    tier: Tier,
    id: i64,
    begin: i64,
) -> rusqlite::Result<Option<Summary>> {
    let (table, column) = (tier.table(), tier.column());
    let sql = format!(
        "SELECT {SUMMED}, {MEASURED} FROM {table} WHERE container_id = ?1 AND {column} = ?2"
    );
    db.prepare_cached(&sql)?
        .query_row((id, begin.div_euclid(tier.ms())), |row| read_summary(row, 0))
        .optional()
}

/// An hour of a container that was deleted meanwhile is not kept.
pub fn save_summary(
    tx: &Connection,
    tier: Tier,
    id: i64,
    begin: i64,
    summary: &Summary,
) -> rusqlite::Result<()> {
    let (table, column) = (tier.table(), tier.column());
    let spread = |spread: Option<Spread>| {
        let varied = |of: fn(&Spread) -> i64| spread.as_ref().map(of);
        let p95 = spread.filter(|spread| spread.p95 != spread.max).map(|spread| spread.p95);
        [varied(|s| s.mean), varied(|s| s.min), varied(|s| s.max), p95]
    };
    let values = [id, begin.div_euclid(tier.ms()), summary.samples]
        .into_iter()
        .map(Some)
        .chain(spread(Some(summary.cpu)))
        .chain(spread(summary.mem))
        .chain(summary.last)
        .chain(summary.means);
    let mut sql = format!(
        "INSERT OR REPLACE INTO {table} (container_id, {column}, {SUMMED}, {MEASURED}) SELECT ?1"
    );
    for number in 2..=23 {
        let _ = write!(sql, ", ?{number}");
    }
    if tier == Tier::Hour {
        sql.push_str(" WHERE ?1 = 0 OR EXISTS (SELECT 1 FROM containers WHERE id = ?1)");
    }
    tx.prepare_cached(&sql)?.execute(params_from_iter(values)).map(drop)
}

fn read_used(row: &Row<'_>, first: usize) -> rusqlite::Result<Used> {
    let mut used = Used { cpu: row.get(first)?, mem: row.get(first + 1)?, ..Used::default() };
    read_measured(row, first + 2, &mut used.last, &mut used.means)?;
    Ok(used)
}

fn read_summary(row: &Row<'_>, first: usize) -> rusqlite::Result<Summary> {
    let spread = |at: usize| -> rusqlite::Result<Option<Spread>> {
        let Some(mean) = row.get(at)? else { return Ok(None) };
        let (min, max) = (row.get(at + 1)?, row.get(at + 2)?);
        let p95 = row.get::<_, Option<i64>>(at + 3)?.unwrap_or(max);
        Ok(Some(Spread { mean, min, max, p95 }))
    };
    let mut summary = Summary {
        samples: row.get(first)?,
        cpu: spread(first + 1)?.unwrap_or_default(),
        mem: spread(first + 5)?,
        ..Summary::default()
    };
    read_measured(row, first + 9, &mut summary.last, &mut summary.means)?;
    Ok(summary)
}

fn read_measured(
    row: &Row<'_>,
    first: usize,
    last: &mut [Option<i64>],
    means: &mut [Option<i64>],
) -> rusqlite::Result<()> {
    for (offset, value) in last.iter_mut().chain(means).enumerate() {
        *value = row.get(first + offset)?;
    }
    Ok(())
}

/// What a container used in sum, to rank it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Those whose value is known.
    pub samples: i64,
    pub sum: i64,
    pub max: i64,
}

/// Lookups in the index alone, container by container; the host is none.
pub(super) fn ranked_hours(column: &str) -> String {
    format!(
        "SELECT c.id, sum(samples), sum({column}_mean * samples), max({column}_max)
         FROM containers c CROSS JOIN resource_hours h
             ON h.container_id = c.id AND hour >= ?1 AND hour < ?2
         WHERE {column}_mean NOT NULL GROUP BY c.id"
    )
}

fn ranked_minutes(column: &str) -> String {
    format!(
        "SELECT container_id, sum(samples), sum({column}_mean * samples), max({column}_max)
         FROM resource_minutes WHERE minute >= ?1 AND minute < ?2 AND {column}_mean NOT NULL
         GROUP BY container_id"
    )
}

fn ranked_samples(column: &str) -> String {
    format!(
        "SELECT container_id, count(*), sum({column}), max({column})
         FROM resource_samples WHERE minute >= ?1 AND minute < ?2 AND {column} NOT NULL
         GROUP BY container_id"
    )
}

/// What every container used of `cpu` or `mem` in `[from, to)`: from hours where `from` is one, then
/// from the minutes that are in no hour yet, then from the samples that are in no minute yet.
pub fn totals(
    db: &Connection,
    column: &str,
    tier: Tier,
    (from, to): (i64, i64),
) -> rusqlite::Result<BTreeMap<i64, Totals>> {
    let mut all: BTreeMap<i64, Totals> = BTreeMap::new();
    let mut add = |sql: &str, unit: i64, from: i64, to: i64| -> rusqlite::Result<()> {
        if from >= to {
            return Ok(());
        }
        let mut statement = db.prepare_cached(sql)?;
        let mut rows = statement.query((from.div_euclid(unit), to.div_euclid(unit)))?;
        while let Some(row) = rows.next()? {
            let totals = all.entry(row.get(0)?).or_default();
            totals.samples += row.get::<_, i64>(1)?;
            totals.sum += row.get::<_, i64>(2)?;
            totals.max = totals.max.max(row.get(3)?);
        }
        Ok(())
    };
    let mark = |tier| Ok::<_, rusqlite::Error>(mark(db, tier)?.unwrap_or(from).clamp(from, to));
    let hours = if tier == Tier::Hour { mark(Tier::Hour)? } else { from };
    let minutes = mark(Tier::Minute)?.max(hours);
    add(&ranked_hours(column), HOUR_MS, from, hours)?;
    add(&ranked_minutes(column), MINUTE_MS, hours, minutes)?;
    add(&ranked_samples(column), MINUTE_MS, minutes, to)?;
    all.remove(&HOST);
    Ok(all)
}

/// The last known memory limit of a container, as far as hours tell.
pub fn last_limit(db: &Connection, id: i64) -> rusqlite::Result<Option<i64>> {
    db.prepare_cached(
        "SELECT mem_limit FROM resource_hours WHERE container_id = ?1 ORDER BY hour DESC LIMIT 1",
    )?
    .query_row([id], |row| row.get(0))
    .optional()
    .map(Option::flatten)
}

pub fn name(db: &Connection, container_id: i64) -> rusqlite::Result<Option<String>> {
    db.prepare_cached("SELECT name FROM containers WHERE id = ?1")?
        .query_row([container_id], |row| row.get(0))
        .optional()
}

/// Samples that are not in an hour yet are kept, however old they are.
fn delete_old_samples(tx: &Connection, now_ms: i64, limit: u32) -> rusqlite::Result<usize> {
    let rolled_up = mark(tx, Tier::Hour)?.unwrap_or(0);
    let before = (now_ms - SAMPLES_MS).min(rolled_up).div_euclid(MINUTE_MS);
    tx.prepare_cached(
        "DELETE FROM resource_samples WHERE (minute, container_id, ms) IN
             (SELECT minute, container_id, ms FROM resource_samples WHERE minute < ?1 LIMIT ?2)",
    )?
    .execute((before, limit))
}

fn delete_old_minutes(tx: &Connection, before_ms: i64, limit: u32) -> rusqlite::Result<usize> {
    tx.prepare_cached(
        "DELETE FROM resource_minutes WHERE (minute, container_id) IN
             (SELECT minute, container_id FROM resource_minutes WHERE minute < ?1 LIMIT ?2)",
    )?
    .execute((before_ms.div_euclid(MINUTE_MS), limit))
}

fn delete_old_hours(tx: &Connection, before_ms: i64, limit: u32) -> rusqlite::Result<usize> {
    tx.prepare_cached(
        "DELETE FROM resource_hours WHERE (container_id, hour) IN
             (SELECT container_id, hour
              FROM (SELECT id FROM containers UNION ALL SELECT 0) c CROSS JOIN resource_hours h
                  ON h.container_id = c.id AND hour < ?1
              LIMIT ?2)",
    )?
    .execute((before_ms.div_euclid(HOUR_MS), limit))
}

fn delete_gone_filesystems(tx: &Connection, before_ms: i64, limit: u32) -> rusqlite::Result<usize> {
    tx.execute(
        "DELETE FROM filesystems WHERE id IN
             (SELECT id FROM filesystems WHERE gone_at < ?1 LIMIT ?2)",
        (before_ms, limit),
    )
}
