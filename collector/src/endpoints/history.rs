//! Uptime: spans of the last 100 days, and what is left of each whole day for longer.
//!
//! A day is rolled up when it is over, and again when a span of it is corrected later: a failure
//! confirmed after midnight began before it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use maintenant_api::monitors::DayOfUptime;
use rusqlite::{Connection, OptionalExtension};

use super::model::{Span, SpanState};
use super::sql::time;
use crate::uptime::Uptime;

pub const DAY_MS: i64 = 86_400_000;
const HOUR_MS: i64 = 3_600_000;
/// Days before this one are rolled up; kept as its first millisecond.
const ROLLED_UNTIL: &str = "endpoints_rolled_until";

/// Windows of uptime, with their length in milliseconds.
pub const WINDOWS: [(&str, i64); 5] = [
    ("1h", HOUR_MS),
    ("24h", 24 * HOUR_MS),
    ("7d", 7 * DAY_MS),
    ("30d", 30 * DAY_MS),
    ("90d", 90 * DAY_MS),
];

/// Known time, in milliseconds, and how often it went down.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    pub up: i64,
    pub down: i64,
    pub incidents: i64,
}

impl Sums {
    fn add(&mut self, other: Self) {
        self.up += other.up;
        self.down += other.down;
    }

    pub fn uptime(&self, window_ms: i64) -> Uptime {
        Uptime::of(self.up.into(), (self.up + self.down).into(), window_ms.into())
    }
}

pub fn save_span(tx: &Connection, id: i64, span: &Span, now: Timestamp) -> rusqlite::Result<()> {
    let (from, to) = (span.from.as_millisecond(), span.to.map(Timestamp::as_millisecond));
    if to == Some(from) {
        tx.prepare_cached("DELETE FROM endpoint_spans WHERE endpoint_id = ?1 AND from_at = ?2")?
            .execute((id, from))?;
    } else {
        tx.prepare_cached("INSERT OR REPLACE INTO endpoint_spans VALUES (?1, ?2, ?3, ?4)")?
            .execute((id, from, to, span.state as i64))?;
    }
    let changed = day(to.unwrap_or(from));
    if changed >= day(now.as_millisecond()) {
        return Ok(());
    }
    roll_up(tx, id, changed, rolled_day(tx, now)?, now)
}

fn day(ms: i64) -> i64 {
    ms.div_euclid(DAY_MS)
}

/// Sums of the days in `[first, end)` of one endpoint, from its spans.
fn roll_up(tx: &Connection, id: i64, first: i64, end: i64, now: Timestamp) -> rusqlite::Result<()> {
    let spans = spans(tx, id, first * DAY_MS, end * DAY_MS, now.as_millisecond())?;
    let before = tx
        .prepare_cached(
            "SELECT all_up_ms, all_down_ms FROM endpoint_days
             WHERE endpoint_id = ?1 AND day < ?2 ORDER BY day DESC LIMIT 1",
        )?
        .query_row((id, first), |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let (mut all_up, mut all_down): (i64, i64) = before.unwrap_or_default();
    for day in first..end {
        let Sums { up, down, incidents } = sums(&spans, day * DAY_MS, (day + 1) * DAY_MS);
        if up + down == 0 {
            tx.prepare_cached("DELETE FROM endpoint_days WHERE endpoint_id = ?1 AND day = ?2")?
                .execute((id, day))?;
            continue;
        }
        all_up += up;
        all_down += down;
        tx.prepare_cached(
            "INSERT OR REPLACE INTO endpoint_days VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute((id, day, up, down, incidents, all_up, all_down))?;
    }
    Ok(())
}

/// Rolls up every day that is over and not rolled up yet, for the endpoints in `ids`.
/// [`save_rolled_until`] follows when it is done for all of them.
pub fn roll_up_days(tx: &Connection, ids: &[i64], now: Timestamp) -> rusqlite::Result<()> {
    let (first, today) = (rolled_day(tx, now)?, day(now.as_millisecond()));
    ids.iter().try_for_each(|id| roll_up(tx, *id, first, today, now))
}

/// Every endpoint with a history, declared or not.
pub fn all(db: &Connection) -> rusqlite::Result<Vec<i64>> {
    db.prepare_cached("SELECT id FROM endpoints")?.query_map([], |row| row.get(0))?.collect()
}

/// The first day that is not rolled up; today at the latest.
fn rolled_day(db: &Connection, now: Timestamp) -> rusqlite::Result<i64> {
    let today = day(now.as_millisecond());
    Ok(rolled_until(db)?.map_or(today, |until| day(until.as_millisecond()).min(today)))
}

/// From when on days are not rolled up yet.
pub fn rolled_until(db: &Connection) -> rusqlite::Result<Option<Timestamp>> {
    db.prepare_cached("SELECT at FROM marks WHERE name = ?1")?
        .query_row([ROLLED_UNTIL], |row| time(row, "at"))
        .optional()
        .map(Option::flatten)
}

pub fn save_rolled_until(tx: &Connection, now: Timestamp) -> rusqlite::Result<()> {
    tx.prepare_cached("INSERT OR REPLACE INTO marks (name, at) VALUES (?1, ?2)")?
        .execute((ROLLED_UNTIL, day(now.as_millisecond()) * DAY_MS))
        .map(drop)
}

/// A stored span; an open one ends where it is known to hold.
type Known = (i64, i64, i64);

/// Spans that touch `[from, until)`, also the one that began before it.
fn spans(
    db: &Connection,
    id: i64,
    from: i64,
    until: i64,
    now: i64,
) -> rusqlite::Result<Vec<Known>> {
    db.prepare_cached(
        "SELECT from_at, state, coalesce(to_at, min(?4, coalesce(
             (SELECT holds_until FROM endpoint_states WHERE endpoint_id = ?1), ?4)))
         FROM endpoint_spans WHERE endpoint_id = ?1 AND from_at < ?3 AND from_at >= coalesce(
             (SELECT max(from_at) FROM endpoint_spans WHERE endpoint_id = ?1 AND from_at <= ?2),
             ?2)
         ORDER BY from_at",
    )?
    .query_map((id, from, until, now), |row| Ok((row.get(0)?, row.get(2)?, row.get(1)?)))?
    .collect()
}

fn sums(spans: &[Known], from: i64, until: i64) -> Sums {
    let mut sums = Sums::default();
    for (begin, end, state) in spans {
        let inside = ((*end).min(until) - (*begin).max(from)).max(0);
        if *state == SpanState::Up as i64 {
            sums.up += inside;
        } else {
            sums.down += inside;
        }
        if *state == SpanState::Down as i64 && (from..until).contains(begin) {
            sums.incidents += 1;
        }
    }
    sums
}

/// Reads uptime as it is now.
pub struct History<'a> {
    db: &'a Connection,
    now: i64,
    /// The first day that is not rolled up.
    rolled: i64,
}

impl<'a> History<'a> {
    pub fn new(db: &'a Connection, now: Timestamp) -> rusqlite::Result<Self> {
        Ok(Self { db, now: now.as_millisecond(), rolled: rolled_day(db, now)? })
    }

    /// Known time in any span of time up to now: whole days as rolled up, their edges from spans.
    /// Incidents are not counted.
    pub fn between(&self, id: i64, (from, until): (i64, i64)) -> rusqlite::Result<Sums> {
        let Self { db, now, rolled } = *self;
        let exact = |from: i64, until: i64| -> rusqlite::Result<Sums> {
            if from >= until {
                return Ok(Sums::default());
            }
            Ok(sums(&spans(db, id, from, until, now)?, from, until))
        };
        // The first whole day, and the end of the last one that is rolled up.
        let first = -day(-from);
        let end = day(until).min(rolled);
        if end <= first {
            return exact(from, until);
        }
        let days = db
            .prepare_cached(
                "SELECT z.all_up_ms - a.all_up_ms + a.up_ms,
                     z.all_down_ms - a.all_down_ms + a.down_ms
                 FROM (SELECT * FROM endpoint_days WHERE endpoint_id = ?1 AND day >= ?2
                           AND day < ?3 ORDER BY day LIMIT 1) AS a,
                     (SELECT all_up_ms, all_down_ms FROM endpoint_days WHERE endpoint_id = ?1
                           AND day >= ?2 AND day < ?3 ORDER BY day DESC LIMIT 1) AS z",
            )?
            .query_row((id, first, end), |row| {
                Ok(Sums { up: row.get(0)?, down: row.get(1)?, incidents: 0 })
            })
            .optional()?;
        let mut all = days.unwrap_or_default();
        all.add(exact(from, first * DAY_MS)?);
        all.add(exact(end * DAY_MS, until)?);
        Ok(all)
    }

    pub fn by_window(&self, id: i64, windows: &[(&str, i64)]) -> rusqlite::Result<ByWindow> {
        let mut all = ByWindow::default();
        for (window, length) in windows {
            let uptime = self.between(id, (self.now - length, self.now))?.uptime(*length);
            all.0.insert((*window).to_owned(), uptime.percent);
            all.1.insert((*window).to_owned(), uptime.coverage);
        }
        Ok(all)
    }

    /// The last `count` days, newest first. Of today, what is known is compared with what has passed.
    pub fn daily(&self, id: i64, count: i64) -> rusqlite::Result<Vec<DayOfUptime>> {
        let Self { db, now, rolled } = *self;
        let today = day(now);
        let mut known: BTreeMap<i64, Sums> = db
            .prepare_cached(
                "SELECT day, up_ms, down_ms, incidents FROM endpoint_days
             WHERE endpoint_id = ?1 AND day > ?2 AND day < ?3",
            )?
            .query_map((id, today - count, rolled), |row| {
                let sums = Sums { up: row.get(1)?, down: row.get(2)?, incidents: row.get(3)? };
                Ok((row.get(0)?, sums))
            })?
            .collect::<rusqlite::Result<_>>()?;
        let end = |day: i64| now.min((day + 1) * DAY_MS);
        let spans = spans(db, id, rolled * DAY_MS, now, now)?;
        known.extend((rolled..=today).map(|day| (day, sums(&spans, day * DAY_MS, end(day)))));
        let one = |day: i64| {
            let sums = known.get(&day).copied().unwrap_or_default();
            let uptime = sums.uptime(end(day) - day * DAY_MS);
            let date = Timestamp::from_millisecond(day * DAY_MS).unwrap_or_default().to_string();
            DayOfUptime {
                date: date.split('T').next().unwrap_or_default().to_owned(),
                uptime_percent: uptime.percent,
                incident_count: sums.incidents,
                coverage_percent: uptime.coverage,
            }
        };
        Ok((0..count).map(|ago| one(today - ago)).collect())
    }
}

/// Percentages and coverages by window.
pub type ByWindow = (BTreeMap<String, Option<f64>>, BTreeMap<String, f64>);
