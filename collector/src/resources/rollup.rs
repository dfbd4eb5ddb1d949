//! Rollups: what was used within a minute or an hour, in one row.
//!
//! A minute or an hour is rolled up from its samples when it is over, once; and again when a sample
//! of it comes late, or the clock is set back into it. Where its samples are no longer all there,
//! what is stored and what came anew are added up, so that nothing is lost.

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::sql;

pub const MINUTE_MS: i64 = 60_000;
pub const HOUR_MS: i64 = 3_600_000;
/// A minute is rolled up this long after its end: answers of the engine may be late.
const LATE_MS: i64 = 5_000;

/// Limit and four counters: of several, the last counts.
pub type Last = [Option<i64>; 5];
/// Four rates, swap, load and disk: of several, the mean counts.
pub type Means = [Option<i64>; 7];

/// One sample in the units of the tables.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Used {
    pub cpu: i64,
    pub mem: Option<i64>,
    pub last: Last,
    pub means: Means,
}

/// How a number varied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spread {
    pub mean: i64,
    pub min: i64,
    pub max: i64,
    /// Nearest rank.
    pub p95: i64,
}

/// What was used within a while.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    pub samples: i64,
    pub cpu: Spread,
    pub mem: Option<Spread>,
    pub last: Last,
    pub means: Means,
}

/// A kind of rollup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    Minute,
    Hour,
}

impl Tier {
    pub fn ms(self) -> i64 {
        match self {
            Self::Minute => MINUTE_MS,
            Self::Hour => HOUR_MS,
        }
    }
}

/// One row of samples in the order of time; `None` without any.
pub fn summarise(samples: &[Used]) -> Option<Summary> {
    let newest = samples.last()?;
    let of = |column: usize| {
        let known = samples.iter().filter_map(|used| used.means.get(column).copied().flatten());
        spread(known.collect()).map(|spread| spread.mean)
    };
    let mut last: Last = std::array::from_fn(|column| {
        samples.iter().rev().find_map(|used| used.last.get(column).copied().flatten())
    });
    // A limit may have been lifted; a counter may not have been readable just now.
    last[0] = newest.last[0];
    Some(Summary {
        samples: i64::try_from(samples.len()).unwrap_or(i64::MAX),
        cpu: spread(samples.iter().map(|used| used.cpu).collect())?,
        mem: spread(samples.iter().filter_map(|used| used.mem).collect()),
        last,
        means: std::array::from_fn(of),
    })
}

fn spread(mut values: Vec<i64>) -> Option<Spread> {
    values.sort_unstable();
    let (min, max) = (*values.first()?, *values.last()?);
    let count = values.len();
    let rank = (count * 95).div_ceil(100);
    let p95 = values.get(rank.saturating_sub(1)).copied().unwrap_or(max);
    let sum = values.iter().map(|value| i128::from(*value)).sum();
    Some(Spread { mean: mean(sum, count as i128), min, max, p95 })
}

/// Rounded to the nearest.
fn mean(sum: i128, count: i128) -> i64 {
    i64::try_from((sum + count / 2).div_euclid(count.max(1))).unwrap_or(i64::MAX)
}

impl Summary {
    /// All of them together, in the order of time; `None` without any. The true 95th percentile is
    /// not above the one given, the largest of all.
    pub fn merge(all: &[Self]) -> Option<Self> {
        let newest = all.last()?;
        let weighed = |of: &dyn Fn(&Self) -> Option<i64>| {
            let known = all.iter().filter_map(|summary| Some((of(summary)?, summary.samples)));
            let (sum, count) = known.fold((0, 0), |(sum, count), (value, samples)| {
                let samples = i128::from(samples);
                (sum + i128::from(value) * samples, count + samples)
            });
            (count > 0).then(|| mean(sum, count))
        };
        let spread = |of: fn(&Self) -> Option<Spread>| {
            let known = || all.iter().filter_map(of);
            Some(Spread {
                mean: weighed(&|summary| of(summary).map(|spread| spread.mean))?,
                min: known().map(|spread| spread.min).min()?,
                max: known().map(|spread| spread.max).max()?,
                p95: known().map(|spread| spread.p95).max()?,
            })
        };
        let mut last: Last = std::array::from_fn(|column| {
            all.iter().rev().find_map(|summary| summary.last.get(column).copied().flatten())
        });
        // A limit may have been lifted.
        last[0] = newest.last[0];
        Some(Self {
            samples: all.iter().map(|summary| summary.samples).sum(),
            cpu: spread(|summary| Some(summary.cpu))?,
            mem: spread(|summary| summary.mem),
            last,
            means: std::array::from_fn(|column| {
                weighed(&|summary| summary.means.get(column).copied().flatten())
            }),
        })
    }
}

/// Rolls up what is over at `at`, in milliseconds, from the mark of each tier on. `earliest` is the
/// oldest sample that came with this round: what it belongs to is open again.
pub fn advance(tx: &Connection, at: i64, earliest: i64) -> rusqlite::Result<()> {
    let minutes = advance_tier(tx, Tier::Minute, at - LATE_MS, earliest)?;
    advance_tier(tx, Tier::Hour, minutes, earliest)?;
    Ok(())
}

fn advance_tier(tx: &Connection, tier: Tier, over: i64, earliest: i64) -> rusqlite::Result<i64> {
    let begin = |ms: i64| ms - ms.rem_euclid(tier.ms());
    let mark = sql::mark(tx, tier)?;
    let open = mark.unwrap_or(i64::MAX).min(begin(earliest));
    let end = begin(over);
    let mut next = open;
    while let Some(first) = sql::first_sample(tx, next, end)? {
        next = begin(first);
        let mut used: BTreeMap<i64, Vec<Used>> = BTreeMap::new();
        sql::samples(tx, next, next + tier.ms(), |id, sample| {
            used.entry(id).or_default().push(sample);
        })?;
        for (id, samples) in used {
            let Some(new) = summarise(&samples) else { continue };
            let stored = sql::summary(tx, tier, id, next)?;
            // With fewer samples than are counted, some of them are gone.
            let whole = stored.filter(|stored| stored.samples > new.samples);
            let new = whole.and_then(|stored| Summary::merge(&[stored, new])).unwrap_or(new);
            sql::save_summary(tx, tier, id, next, &new)?;
        }
        next += tier.ms();
    }
    let reached = open.max(end);
    if mark != Some(reached) {
        sql::save_mark(tx, tier, reached)?;
    }
    Ok(reached)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(cpu: i64) -> Used {
        Used { cpu, mem: Some(cpu * 10), ..Used::default() }
    }

    /// Values against `mean min max p95`.
    fn check(values: &[i64], expected: (i64, i64, i64, i64)) {
        let samples: Vec<_> = values.iter().map(|value| used(*value)).collect();
        let Spread { mean, min, max, p95 } = summarise(&samples).unwrap().cpu;
        assert_eq!((mean, min, max, p95), expected, "of {values:?}");
    }

    #[test]
    fn a_summary_is_mean_least_most_and_nearest_rank() {
        check(&[7], (7, 7, 7, 7));
        check(&[1, 2], (2, 1, 2, 2));
        check(&[5, 1, 3], (3, 1, 5, 5));
        check(&[1, 1, 1, 2], (1, 1, 2, 2));
        let to_20: Vec<_> = (1..=20).collect();
        check(&to_20, (11, 1, 20, 19));
        let to_100: Vec<_> = (1..=100).rev().collect();
        check(&to_100, (51, 1, 100, 95));
        assert_eq!(summarise(&[]), None);
    }

    #[test]
    fn what_is_not_known_counts_for_nothing() {
        let known = Used { last: [Some(4), Some(9), None, None, None], ..used(1) };
        let known = Used { means: [Some(10), None, None, None, None, None, None], ..known };
        let unknown = Used { mem: None, last: [None; 5], means: [None; 7], cpu: 3 };
        let summary = summarise(&[known, unknown]).unwrap();
        assert_eq!((summary.cpu.mean, summary.mem.unwrap().mean), (2, 10));
        // The limit was lifted; the counter was only not read.
        assert_eq!(summary.last, [None, Some(9), None, None, None]);
        assert_eq!(summary.means, known.means);
    }

    #[test]
    fn two_summaries_are_added_by_their_weight() {
        let first = summarise(&[used(10), used(20), used(30)]).unwrap();
        let second = summarise(&[used(60)]).unwrap();
        let both = Summary::merge(&[first, second]).unwrap();
        assert_eq!((both.samples, both.cpu), (4, Spread { mean: 30, min: 10, max: 60, p95: 60 }));
        assert_eq!(both.mem.unwrap().mean, 300);
    }
}
