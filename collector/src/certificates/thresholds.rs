//! When to warn that a certificate ends.
//!
//! Thresholds are whole days before the end. "30 days" is nonsense for a certificate that lives for
//! six, so a threshold counts only if it lies in the last third of the certificate's life, and never
//! warns before that third begins. Where no threshold is left, a third and a tenth of the life are
//! used. By the default 30, 14, 7, 3, 1:
//!
//! | life | warned at (days left) |
//! |---|---|
//! | 398 or 90 days | 30, 14, 7, 3, 1 |
//! | 47 days | 14, 7, 3, 1 |
//! | 6 days | 1 |
//! | 2 days | 16 hours, 4.8 hours |

use jiff::{SignedDuration, Timestamp};

/// Days, in falling order.
pub const DEFAULT: [i64; 5] = [30, 14, 7, 3, 1];
const DAY: i64 = 24 * 60 * 60 * 1000;

/// One moment of warning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Threshold {
    /// It is crossed when no more than this is left, in milliseconds.
    pub left: i64,
    /// As it is told, whole days.
    pub days: i64,
    /// The last that a short life has room for.
    pub is_last_tenth: bool,
}

/// The thresholds that count for a certificate of this life, in falling order.
pub fn effective(configured: &[i64], life: SignedDuration) -> Vec<Threshold> {
    let life = i64::try_from(life.as_millis()).unwrap_or(i64::MAX);
    let third = life / 3;
    let mut counted: Vec<Threshold> = configured
        .iter()
        .filter(|days| days.saturating_mul(DAY) <= third)
        .map(|days| {
            // "30 days" are left, in whole days, until 31 days are.
            let left = days.saturating_add(1).saturating_mul(DAY) - 1;
            Threshold { left: left.min(third), days: *days, is_last_tenth: false }
        })
        .collect();
    if counted.is_empty() {
        let part = |left: i64, is_last_tenth| Threshold { left, days: left / DAY, is_last_tenth };
        counted = vec![part(third, false), part(life / 10, true)];
    }
    counted.sort_by(|a, b| b.cmp(a));
    counted
}

/// The lowest threshold that is crossed.
pub fn crossed(thresholds: &[Threshold], left: SignedDuration) -> Option<Threshold> {
    let left = left.as_millis();
    thresholds.iter().filter(|threshold| left <= i128::from(threshold.left)).min().copied()
}

/// When the next threshold will be crossed, or the certificate ends.
pub fn next(thresholds: &[Threshold], end: Timestamp, now: Timestamp) -> Option<Timestamp> {
    let lefts = thresholds.iter().map(|threshold| threshold.left).chain([-1]);
    let moments = lefts
        .filter_map(|left| end.checked_sub(SignedDuration::from_millis(left)).ok())
        .filter(|moment| *moment > now);
    moments.min()
}

/// Whole days from `now` to `end`, rounded down: 0 on the last day, -1 on the first day after.
pub fn days_left(end: Timestamp, now: Timestamp) -> i64 {
    let left = end.duration_since(now).as_millis().div_euclid(i128::from(DAY));
    i64::try_from(left).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = DAY / 24;

    fn hours(hours: i64) -> SignedDuration {
        SignedDuration::from_hours(hours)
    }

    /// Hours left at which each threshold is crossed, rounded up.
    fn check(life_hours: i64, configured: &[i64], expected: &[i64]) {
        let found = effective(configured, hours(life_hours));
        let left: Vec<i64> = found.iter().map(|one| (one.left + HOUR - 1) / HOUR).collect();
        assert_eq!(left, expected, "a life of {life_hours} hours");
    }

    #[test]
    fn thresholds_lie_in_the_last_third_of_a_life() {
        check(24 * 398, &DEFAULT, &[744, 360, 192, 96, 48]);
        check(24 * 90, &DEFAULT, &[720, 360, 192, 96, 48]);
        check(24 * 89, &DEFAULT, &[360, 192, 96, 48]);
        check(24 * 47, &DEFAULT, &[360, 192, 96, 48]);
        check(160, &DEFAULT, &[48]);
        check(72, &DEFAULT, &[24]);
        check(24 * 365, &[100, 2], &[2424, 72]);
    }

    #[test]
    fn a_life_too_short_for_any_warns_at_a_third_and_a_tenth() {
        check(48, &DEFAULT, &[16, 5]);
        check(24 * 6, &[30, 14], &[48, 15]);
        let short = effective(&DEFAULT, hours(48));
        assert_eq!(short.iter().map(|one| one.is_last_tenth).collect::<Vec<_>>(), [false, true]);
    }

    #[test]
    fn the_lowest_crossed_threshold_counts() {
        let year = effective(&DEFAULT, hours(24 * 365));
        let crossed = |left| crossed(&year, SignedDuration::from_millis(left)).map(|one| one.days);
        for (left, expected) in [
            (31 * DAY, None),
            (31 * DAY - 1, Some(30)),
            (15 * DAY, Some(30)),
            (15 * DAY - 1, Some(14)),
            (2 * DAY, Some(3)),
            (2 * DAY - 1, Some(1)),
            (0, Some(1)),
            (-9 * DAY, Some(1)),
        ] {
            assert_eq!(crossed(left), expected, "{left} ms left");
        }
    }

    #[test]
    fn days_are_rounded_down() {
        let end = Timestamp::from_millisecond(100 * DAY).unwrap();
        let left = |ms| days_left(end, Timestamp::from_millisecond(100 * DAY - ms).unwrap());
        assert_eq!([left(DAY), left(DAY - 1), left(0), left(-1), left(-DAY)], [1, 0, 0, -1, -1]);
        assert_eq!(left(-DAY - 1), -2);
    }

    #[test]
    fn the_next_moment_that_changes_something_is_known() {
        let end = Timestamp::from_millisecond(100 * DAY).unwrap();
        let year = effective(&DEFAULT, hours(24 * 365));
        let next = |day: i64| {
            let now = Timestamp::from_millisecond(day * DAY).unwrap();
            next(&year, end, now).map(Timestamp::as_millisecond)
        };
        assert_eq!(next(0), Some(69 * DAY + 1));
        assert_eq!(next(99), Some(100 * DAY + 1));
        assert_eq!(next(101), None);
    }
}
