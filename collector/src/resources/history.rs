//! What was used in the past: the windows that are asked for, and reading them from the tiers.

use jiff::Timestamp;
use maintenant_api::resources as wire;
use rusqlite::Connection;

use super::rollup::{self, HOUR_MS, MINUTE_MS, Summary, Tier, Used, summarise};
use super::sampler::PERIOD;
use super::sql::{self, HOST, Totals};
use super::thresholds::Metric;

const DAY_MS: i64 = 24 * HOUR_MS;

/// A range of a history, by its word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    pub word: &'static str,
    ms: i64,
    /// `None` for the samples themselves.
    step: Option<(i64, Tier)>,
}

/// Ranges of histories.
pub const RANGES: [Range; 5] = [
    Range { word: "1h", ms: HOUR_MS, step: None },
    Range { word: "6h", ms: 6 * HOUR_MS, step: Some((MINUTE_MS, Tier::Minute)) },
    Range { word: "24h", ms: DAY_MS, step: Some((5 * MINUTE_MS, Tier::Minute)) },
    Range { word: "7d", ms: 7 * DAY_MS, step: Some((HOUR_MS, Tier::Hour)) },
    Range { word: "30d", ms: 30 * DAY_MS, step: Some((HOUR_MS, Tier::Hour)) },
];

impl Range {
    pub fn granularity(&self) -> &'static str {
        match self.step {
            None => "raw",
            Some((MINUTE_MS, _)) => "1m",
            Some((HOUR_MS, _)) => "1h",
            Some(_) => "5m",
        }
    }
}

/// One point of a history: when, in milliseconds, and what; a sample is a summary of one.
pub type Point = (i64, Summary);

/// The points of a container, or of the host, in a range that ends now.
pub fn points(
    db: &Connection,
    id: i64,
    range: Range,
    now: Timestamp,
) -> rusqlite::Result<Vec<Point>> {
    let to = now.as_millisecond();
    let from = to - range.ms;
    let Some((step, tier)) = range.step else {
        let samples = sql::samples_of(db, id, down(from, MINUTE_MS), up(to, MINUTE_MS))?;
        let within = samples.into_iter().filter(|(at, _)| *at > from && *at <= to);
        return Ok(within.filter_map(|(at, used)| Some((at, summarise(&[used])?))).collect());
    };
    // Whole steps: the first one begins within the range.
    Ok(merged(&summaries(db, tier, id, up(from, step), to)?, step))
}

/// The rollups of a tier that begin in `[from, to)`, `from` being one. What is not rolled up yet is
/// summarised from its samples.
fn summaries(
    db: &Connection,
    tier: Tier,
    id: i64,
    from: i64,
    to: i64,
) -> rusqlite::Result<Vec<Point>> {
    let Some(mark) = sql::mark(db, tier)? else { return Ok(Vec::new()) };
    let open = mark.clamp(from, to.max(from));
    let mut points = sql::summaries(db, tier, id, from, open)?;
    // Nothing is open where the clock was set back before all of it.
    let end = if open < to { up(to, MINUTE_MS) } else { open };
    let samples = sql::samples_of(db, id, open, end)?;
    let samples: Vec<_> = samples.into_iter().filter(|(at, _)| *at <= to).collect();
    for chunk in samples.chunk_by(|(a, _), (b, _)| down(*a, tier.ms()) == down(*b, tier.ms())) {
        let used: Vec<Used> = chunk.iter().map(|(_, used)| *used).collect();
        let begin = chunk.first().map(|(at, _)| down(*at, tier.ms()));
        points.extend(begin.zip(summarise(&used)));
    }
    Ok(points)
}

/// Points of the same step become one.
fn merged(points: &[Point], step: i64) -> Vec<Point> {
    let steps = points.chunk_by(|(a, _), (b, _)| down(*a, step) == down(*b, step));
    steps
        .filter_map(|points| {
            let (at, _) = points.first()?;
            let all: Vec<Summary> = points.iter().map(|(_, summary)| *summary).collect();
            Some((down(*at, step), Summary::merge(&all)?))
        })
        .collect()
}

fn down(ms: i64, unit: i64) -> i64 {
    ms - ms.rem_euclid(unit)
}

fn up(ms: i64, unit: i64) -> i64 {
    down(ms + unit - 1, unit)
}

/// What the host used in `[from, to]` on average, if anything is known of it.
fn average(
    db: &Connection,
    window: &str,
    tier: Tier,
    (from, to): (i64, i64),
) -> rusqlite::Result<Option<wire::HostAverage>> {
    let from = up(from, tier.ms());
    let all = merged(&summaries(db, tier, HOST, from, to)?, i64::MAX).pop();
    let Some((_, summary)) = all else { return Ok(None) };
    let [limit, ..] = summary.last;
    let share = |kib: i64| limit.filter(|limit| *limit > 0).map(|limit| ratio(kib, limit) * 100.0);
    let [.., disk] = summary.means;
    Ok(Some(wire::HostAverage {
        window: window.to_owned(),
        cpu_percent: percent(summary.cpu.mean),
        mem_percent: summary.mem.and_then(|mem| share(mem.mean)).map_or(-1.0, two_places),
        cpu_max: Some(percent(summary.cpu.max)),
        mem_max: summary.mem.and_then(|mem| share(mem.max)).map(two_places),
        disk_percent: disk.map(percent),
        coverage_percent: coverage(summary.samples, to - from),
    }))
}

/// What the host used before, newest window first.
pub fn before(db: &Connection, now: Timestamp) -> rusqlite::Result<Vec<wire::HostAverage>> {
    let to = now.as_millisecond();
    let windows = [
        ("last_hour", Tier::Minute, (to - HOUR_MS, to)),
        ("last_24_hours", Tier::Hour, (to - DAY_MS, to)),
        ("same_hour_yesterday", Tier::Minute, (to - DAY_MS - HOUR_MS, to - DAY_MS)),
    ];
    let mut all = Vec::new();
    for (window, tier, span) in windows {
        all.extend(average(db, window, tier, span)?);
    }
    Ok(all)
}

/// A period of a ranking, by its word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    pub word: &'static str,
    ms: i64,
    tier: Tier,
}

/// Periods of rankings.
pub const PERIODS: [Period; 4] = [
    Period { word: "1h", ms: HOUR_MS, tier: Tier::Minute },
    Period { word: "24h", ms: DAY_MS, tier: Tier::Hour },
    Period { word: "7d", ms: 7 * DAY_MS, tier: Tier::Hour },
    Period { word: "30d", ms: 30 * DAY_MS, tier: Tier::Hour },
];

/// Who used most in a period that ends now: at most `limit`, the first one first. What they used in all
/// ranks them, and not the mean while they ran, so that a short run is not above a whole day.
/// Containers that are deleted are not among them. `latest_limit` knows the memory limit of a
/// container that runs, in bytes; `None` where it does not run.
pub fn ranking(
    db: &Connection,
    metric: Metric,
    period: Period,
    limit: usize,
    now: Timestamp,
    latest_limit: impl Fn(i64) -> Option<Option<u64>>,
    mem_total: Option<u64>,
) -> rusqlite::Result<Vec<wire::Consumer>> {
    let to = up(now.as_millisecond() + 1, MINUTE_MS);
    // Whole minutes or hours: the first one begins within the period.
    let from = up(now.as_millisecond() - period.ms, period.tier.ms());
    let length = now.as_millisecond() - from;
    // Hundredths of a percent, or KiB.
    let (column, scale) = if metric == Metric::Cpu { ("cpu", 0.01) } else { ("mem", 1024.0) };
    let totals = sql::totals(db, column, period.tier, (from, to))?;
    let before = sql::totals(db, column, period.tier, (from - period.ms, from))?;
    let mean = |totals: &Totals| ratio(totals.sum, totals.samples) * scale;
    let mut ranked: Vec<_> = totals.into_iter().collect();
    ranked.sort_by_key(|(id, totals)| (std::cmp::Reverse(totals.sum), *id));
    let mut consumers = Vec::new();
    for (id, totals) in ranked {
        if consumers.len() >= limit {
            break;
        }
        let Some(container_name) = sql::name(db, id)? else { continue };
        let value = mean(&totals);
        let percent = if metric == Metric::Cpu {
            value
        } else {
            let own = match latest_limit(id) {
                Some(limit) => limit.map(super::usage::whole),
                None => sql::last_limit(db, id)?.map(bytes),
            };
            let limit = own.or(mem_total.map(super::usage::whole)).filter(|limit| *limit > 0);
            limit.map_or(-1.0, |limit| value / number(limit) * 100.0)
        };
        consumers.push(wire::Consumer {
            container_id: id,
            container_name,
            value: two_places(value),
            percent: two_places(percent),
            rank: i64::try_from(consumers.len() + 1).unwrap_or(i64::MAX),
            max: Some(two_places(number(totals.max) * scale)),
            before: before.get(&id).map(mean).map(two_places),
            coverage_percent: Some(coverage(totals.samples, length)),
        });
    }
    Ok(consumers)
}

/// Share of a window that was sampled, percent.
fn coverage(samples: i64, window_ms: i64) -> f64 {
    let period = i64::try_from(PERIOD.as_millis()).unwrap_or(1);
    let expected = (window_ms / period).max(1);
    two_places((ratio(samples, expected) * 100.0).min(100.0))
}

/// Of hundredths.
pub fn percent(hundredths: i64) -> f64 {
    number(hundredths) / 100.0
}

fn ratio(part: i64, whole: i64) -> f64 {
    number(part) / number(whole)
}

#[expect(clippy::cast_precision_loss, reason = "bytes and hundredths of percent stay below 2^53")]
pub fn number(number: i64) -> f64 {
    number as f64
}

pub fn two_places(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

/// A point of a container. A step has its spread, a sample has none.
pub fn to_wire((at, summary): &Point, range: Range, mem_total: Option<u64>) -> wire::ResourcePoint {
    let [limit, rx, tx, read, write] = summary.last;
    let [rx_rate, tx_rate, read_rate, write_rate, ..] = summary.means.map(|mean| mean.map(number));
    let host_limit = mem_total.map_or(-1, super::usage::whole);
    let mem_limit = limit.map_or(host_limit, bytes);
    let (cpu, mem, samples) = spreads(summary, range);
    wire::ResourcePoint {
        timestamp: time(*at),
        cpu_percent: percent(summary.cpu.mean),
        mem_used: summary.mem.map_or(-1, |mem| bytes(mem.mean)),
        mem_limit,
        net_rx_bytes: rx.unwrap_or(-1),
        net_tx_bytes: tx.unwrap_or(-1),
        block_read_bytes: read.unwrap_or(-1),
        block_write_bytes: write.unwrap_or(-1),
        cpu,
        mem,
        samples,
        net_rx_rate: rx_rate,
        net_tx_rate: tx_rate,
        block_read_rate: read_rate,
        block_write_rate: write_rate,
    }
}

/// A point of the host.
pub fn to_host_wire((at, summary): &Point, range: Range) -> wire::HostPoint {
    let [limit, ..] = summary.last;
    let [rx, tx, read, write, swap, load, disk] = summary.means;
    let (cpu, mem, samples) = spreads(summary, range);
    wire::HostPoint {
        timestamp: time(*at),
        cpu_percent: percent(summary.cpu.mean),
        mem_used: summary.mem.map_or(-1, |mem| bytes(mem.mean)),
        mem_total: limit.map_or(-1, bytes),
        swap_used: swap.map(bytes),
        load: load.map(percent),
        disk_percent: disk.map(percent),
        net_rx_rate: rx.map(number),
        net_tx_rate: tx.map(number),
        disk_read_rate: read.map(number),
        disk_write_rate: write.map(number),
        cpu,
        mem,
        samples,
    }
}

type Spreads = (Option<wire::Spread>, Option<wire::Spread>, Option<i64>);

fn spreads(summary: &Summary, range: Range) -> Spreads {
    if range.step.is_none() {
        return (None, None, None);
    }
    let spread = |spread: rollup::Spread, scale: fn(i64) -> f64| wire::Spread {
        min: scale(spread.min),
        max: scale(spread.max),
        p95: scale(spread.p95),
    };
    let mem = summary.mem.map(|mem| spread(mem, |kib| number(bytes(kib))));
    (Some(spread(summary.cpu, percent)), mem, Some(summary.samples))
}

fn bytes(kib: i64) -> i64 {
    kib.saturating_mul(1024)
}

fn time(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or_default()
}
