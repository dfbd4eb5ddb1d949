//! When usage is too much, and when it is again not: pure.

use jiff::{SignedDuration, Timestamp};

/// Samples in a row below the threshold that end an alert.
const CALM: u32 = 2;
/// An alert ends only this far below its threshold, so that it does not flap around it.
const HYSTERESIS: f64 = 0.95;
/// Samples further apart do not follow one another: nobody measured in between.
const GAP: SignedDuration = SignedDuration::from_secs(30);

/// What is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric {
    Cpu,
    Memory,
    Disk,
    Inode,
}

impl Metric {
    pub const ALL: [Self; 4] = [Self::Cpu, Self::Memory, Self::Disk, Self::Inode];

    /// The word in events and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Disk => "disk",
            Self::Inode => "inode",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|metric| metric.as_str() == word)
    }
}

/// A metric that was beyond its threshold lately. One that was not has none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Standing {
    /// The first sample beyond.
    pub since: Timestamp,
    /// When it became an alert.
    pub fired_at: Option<Timestamp>,
    /// Samples in a row that speak for a change: beyond before it fired, well below since.
    pub streak: u32,
    /// At the newest sample.
    pub value: f64,
    pub threshold: f64,
}

/// A new value and what it is held against.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    /// Percent.
    pub value: f64,
    pub threshold: f64,
    /// Samples in a row at or beyond the threshold that make an alert.
    pub needed: u32,
    pub at: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    Fired,
    Recovered,
}

/// The standing after a value.
pub fn judge(before: Option<Standing>, measured: Measured) -> (Option<Standing>, Option<Turn>) {
    let Measured { value, threshold, needed, at } = measured;
    let is_beyond = value >= threshold;
    match before {
        Some(standing @ Standing { fired_at: Some(_), .. }) => {
            let is_calm = value < threshold * HYSTERESIS;
            let streak = if is_calm { standing.streak + 1 } else { 0 };
            if streak >= CALM {
                return (None, Some(Turn::Recovered));
            }
            (Some(Standing { streak, value, threshold, ..standing }), None)
        }
        _ if !is_beyond => (None, None),
        _ => {
            let follows = before.filter(|before| at.duration_since(before.since) <= GAP);
            let since = follows.map_or(at, |before| before.since);
            let streak = follows.map_or(0, |before| before.streak) + 1;
            let fires = streak >= needed;
            let streak = if fires { 0 } else { streak };
            let fired_at = fires.then_some(at);
            let standing = Standing { since, fired_at, streak, value, threshold };
            (Some(standing), fires.then_some(Turn::Fired))
        }
    }
}

/// The standing after its threshold was changed, or given up (`None`). A value that is not beyond
/// the new one is none of its business; one that is stays. Counting begins anew.
pub fn rejudge(
    before: Standing,
    value: Option<f64>,
    threshold: Option<f64>,
) -> (Option<Standing>, Option<Turn>) {
    let alerted = before.fired_at.map(|_| Turn::Recovered);
    let value = value.unwrap_or(before.value);
    match threshold.filter(|threshold| value >= *threshold) {
        Some(threshold) if before.fired_at.is_some() => {
            (Some(Standing { threshold, value, streak: 0, ..before }), None)
        }
        _ => (None, alerted),
    }
}

/// Memory in percent of its limit, or of the host's memory without one. `None` where one of them is
/// not known.
#[expect(clippy::cast_precision_loss, reason = "a percentage of bytes")]
pub fn percent(used: Option<u64>, of: Option<u64>) -> Option<f64> {
    let of = of.filter(|of| *of > 0)?;
    Some(used? as f64 / of as f64 * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    /// Values ten seconds apart (`-` for none) against the turns they take, threshold 90.
    fn check(values: &str, needed: u32, expected: &str) {
        let mut standing = None;
        let mut turns = Vec::new();
        for (index, value) in values.split_whitespace().enumerate() {
            let Ok(value) = value.parse() else { continue };
            let at = at(i64::try_from(index).unwrap() * 10);
            let measured = Measured { value, threshold: 90.0, needed, at };
            let (after, turn) = judge(standing, measured);
            standing = after;
            let word = match turn {
                Some(Turn::Fired) => "fired",
                Some(Turn::Recovered) => "recovered",
                None => continue,
            };
            turns.push(format!("{index}:{word}"));
        }
        assert_eq!(turns.join(" "), expected, "of {values}");
    }

    #[test]
    fn two_in_a_row_fire_and_two_well_below_end_it() {
        check("95 10 95 10", 2, "");
        check("95 95", 2, "1:fired");
        check("90 90", 2, "1:fired");
        check("89.9 89.9 89.9", 2, "");
        check("95 95 95 95", 2, "1:fired");
        check("95 95 10 95 10 10", 2, "1:fired 5:recovered");
        // Between 85.5 and 90 it is neither well nor beyond.
        check("95 95 89 88 86 85 86 85 85", 2, "1:fired 8:recovered");
        check("95 95 1 1 95 95", 2, "1:fired 3:recovered 5:fired");
        check("95 10 10", 1, "0:fired 2:recovered");
    }

    #[test]
    fn samples_with_a_gap_do_not_follow_one_another() {
        check("95 - 95", 2, "2:fired");
        check("95 - - - 95", 2, "");
        check("95 - - - 95 95", 2, "5:fired");
        check("95 95 - - - - 1 - - - 1", 2, "1:fired 10:recovered");
    }

    #[test]
    fn a_clock_set_back_between_two_samples_keeps_the_count() {
        let measured = |at| Measured { value: 95.0, threshold: 90.0, needed: 2, at };
        let (first, _) = judge(None, measured(at(0)));
        assert_eq!(judge(first, measured(at(-7200))).1, Some(Turn::Fired));
    }

    #[test]
    fn a_changed_threshold_is_judged_by_the_last_value() {
        let fired = Standing {
            since: at(0),
            fired_at: Some(at(10)),
            streak: 1,
            value: 95.0,
            threshold: 90.0,
        };
        let check = |before, value, threshold, is_kept, turn| {
            let (after, told) = rejudge(before, value, threshold);
            assert_eq!((after.is_some(), told), (is_kept, turn), "{value:?} {threshold:?}");
        };
        check(fired, Some(95.0), Some(99.0), false, Some(Turn::Recovered));
        check(fired, Some(95.0), Some(93.0), true, None);
        check(fired, Some(85.0), Some(80.0), true, None);
        check(fired, None, Some(80.0), true, None);
        check(fired, None, Some(99.0), false, Some(Turn::Recovered));
        check(fired, Some(95.0), None, false, Some(Turn::Recovered));
        let pending = Standing { fired_at: None, ..fired };
        check(pending, Some(95.0), Some(80.0), false, None);
    }

    #[test]
    fn a_share_of_nothing_is_no_share() {
        assert_eq!(percent(Some(1), Some(4)), Some(25.0));
        assert_eq!(percent(None, Some(4)), None);
        assert_eq!(percent(Some(1), None), None);
        assert_eq!(percent(Some(1), Some(0)), None);
    }
}
