//! When the next ping is due: a fixed interval, or a cron expression in a time zone.
//!
//! At a change of the clocks cron expressions follow Debian's cron (crontab(5), cron(8)). One that
//! names its hour and minute means one moment a day: it comes once when an hour is repeated, at its
//! first pass, and right after the gap when its hour is skipped. One whose minute or hour begins
//! with `*` follows the clock: it comes in both passes of a repeated hour and not in a skipped one.

use cronexpr::{Crontab, MakeTimestamp};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp};
use maintenant_serve::logging::foreign;

/// Longest cron expression, in bytes.
const LONGEST: usize = 200;
/// Moments tried until one is not behind us: a repeated hour has at most 60 that are.
const TRIES: usize = 200;

/// Which moments pings are due at.
#[derive(Debug, Clone, PartialEq)]
pub enum Cadence {
    Every(SignedDuration),
    Cron(Box<Cron>),
}

/// A cron expression with five fields, and the zone it is written in.
#[derive(Debug, Clone)]
pub struct Cron {
    /// As it was given, with single spaces.
    pub expression: String,
    /// IANA name.
    pub zone_name: String,
    zone: TimeZone,
    /// In `zone`, for expressions that follow the clock.
    zoned: Crontab,
    /// On a calendar without changes of the clock, for expressions that name hour and minute.
    civil: Option<Crontab>,
}

impl Cadence {
    /// The first moment after `anchor`. `None` where a cron expression has none for years.
    pub fn after(&self, anchor: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Every(interval) => anchor.checked_add(*interval).ok(),
            Self::Cron(cron) => cron.after(anchor),
        }
    }

    /// Seconds between two pings: the interval, or what lies between the next two moments.
    pub fn seconds(&self, now: Timestamp) -> i64 {
        match self {
            Self::Every(interval) => interval.as_secs(),
            Self::Cron(cron) => {
                let next = cron.after(now);
                let second = next.and_then(|next| cron.after(next));
                next.zip(second).map_or(0, |(next, second)| second.as_second() - next.as_second())
            }
        }
    }
}

impl PartialEq for Cron {
    fn eq(&self, other: &Self) -> bool {
        (&self.expression, &self.zone_name) == (&other.expression, &other.zone_name)
    }
}

impl Cron {
    /// Reads an expression and its zone. The error says what is wrong and what is accepted.
    pub fn parse(expression: &str, zone_name: &str) -> Result<Self, ScheduleFault> {
        let fields: Vec<&str> = expression.split_ascii_whitespace().collect();
        let (&[minute, hour, _, _, _], true) = (fields.as_slice(), expression.len() <= LONGEST)
        else {
            return Err(ScheduleFault::Expression(format!(
                "`{}` has {} fields",
                foreign(expression),
                fields.len()
            )));
        };
        let zone = zone(zone_name)?;
        let expression = fields.join(" ");
        let parse = |zone_name: &str| {
            cronexpr::parse_crontab(&format!("{expression} {zone_name}")).map_err(|error| {
                // The first lines of the error repeat the input.
                let error = error.to_string();
                let fault = error.lines().last().unwrap_or_default().trim_start();
                let fault = foreign(fault.trim_start_matches(['^', ' ']));
                ScheduleFault::Expression(format!("`{}`: {fault}", foreign(&expression)))
            })
        };
        let follows_the_clock = minute.starts_with('*') || hour.starts_with('*');
        let zoned = parse(zone_name)?;
        let civil = if follows_the_clock { None } else { Some(parse("UTC")?) };
        let zone_name = zone.iana_name().unwrap_or(zone_name).to_owned();
        Ok(Self { expression, zone_name, zone, zoned, civil })
    }

    /// The first moment after `anchor`, in UTC. `None` when none comes within four years.
    pub fn after(&self, anchor: Timestamp) -> Option<Timestamp> {
        let Some(civil) = &self.civil else {
            return self.zoned.find_next(MakeTimestamp(anchor)).ok().map(|next| next.timestamp());
        };
        let mut local = TimeZone::UTC.to_timestamp(self.zone.to_datetime(anchor)).ok()?;
        for _ in 0..TRIES {
            local = civil.find_next(MakeTimestamp(local)).ok()?.timestamp();
            let moment = self.moment(local)?;
            if moment > anchor {
                return Some(moment);
            }
        }
        None
    }

    /// The moment of a local time that is written as if it were UTC: of a repeated one the first,
    /// of a skipped one the end of the gap.
    fn moment(&self, local: Timestamp) -> Option<Timestamp> {
        let local = TimeZone::UTC.to_datetime(local);
        let ambiguous = self.zone.to_ambiguous_timestamp(local);
        if let AmbiguousOffset::Gap { before, .. } = ambiguous.offset() {
            let inside = before.to_timestamp(local).ok()?;
            // By the offset before the gap, a skipped time lies behind its beginning.
            let mut changes =
                self.zone.preceding(inside.checked_add(SignedDuration::from_nanos(1)).ok()?);
            return changes.next().map(|change| change.timestamp());
        }
        ambiguous.earlier().ok()
    }
}

fn zone(name: &str) -> Result<TimeZone, ScheduleFault> {
    let fault = || ScheduleFault::Zone(format!("`{}` is no time zone", foreign(name)));
    // `Local` and POSIX strings would mean another zone on another machine.
    let is_name =
        name.len() <= 64 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"/_+-".contains(&b));
    if !is_name {
        return Err(fault());
    }
    TimeZone::get(name).map_err(|_| fault())
}

/// What is wrong with a schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleFault {
    #[error(
        "{0}; use five fields, minute hour day-of-month month day-of-week, such as `30 2 * * 1-5`"
    )]
    Expression(String),
    #[error("{0}; use an IANA name such as Europe/Paris or UTC")]
    Zone(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Moments after `from`, in local time with offset, one after the other.
    fn check(expression: &str, zone: &str, from: &str, expected: &[&str]) {
        let cron = Cron::parse(expression, zone).unwrap();
        let mut at: Timestamp = from.parse().unwrap();
        for expected in expected {
            at = cron.after(at).unwrap();
            let local = at.to_zoned(TimeZone::get(zone).unwrap());
            let told = local.strftime("%Y-%m-%dT%H:%M%:z").to_string();
            assert_eq!(told, *expected, "{expression} in {zone} after {from}");
        }
    }

    const PARIS: &str = "Europe/Paris";
    const NEW_YORK: &str = "America/New_York";

    #[test]
    fn a_named_time_in_a_skipped_hour_comes_right_after_the_gap() {
        check(
            "30 2 * * *",
            PARIS,
            "2026-03-28T00:00:00Z",
            &["2026-03-28T02:30+01:00", "2026-03-29T03:00+02:00", "2026-03-30T02:30+02:00"],
        );
        check(
            "30 2 * * *",
            NEW_YORK,
            "2026-03-07T12:00:00Z",
            &["2026-03-08T03:00-04:00", "2026-03-09T02:30-04:00"],
        );
        // Two skipped times are one moment, and the one at the gap's end is the same again.
        check(
            "0,30 2,3 * * *",
            PARIS,
            "2026-03-29T00:00:00Z",
            &["2026-03-29T03:00+02:00", "2026-03-29T03:30+02:00", "2026-03-30T02:00+02:00"],
        );
        // Half an hour is skipped on Lord Howe Island.
        check(
            "15 2 * * *",
            "Australia/Lord_Howe",
            "2026-10-03T12:00:00Z",
            &["2026-10-04T02:30+11:00", "2026-10-05T02:15+11:00"],
        );
    }

    #[test]
    fn a_named_time_in_a_repeated_hour_comes_once() {
        check(
            "30 2 * * *",
            PARIS,
            "2026-10-24T12:00:00Z",
            &["2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"],
        );
        check(
            "30 1 * * *",
            NEW_YORK,
            "2026-10-31T12:00:00Z",
            &["2026-11-01T01:30-04:00", "2026-11-02T01:30-05:00"],
        );
        // A job that ran in the second pass is next due tomorrow.
        check("30 2 * * *", PARIS, "2026-10-25T01:10:00Z", &["2026-10-26T02:30+01:00"]);
        check(
            "0-59 2 * * *",
            PARIS,
            "2026-10-25T00:58:30Z",
            &["2026-10-25T02:59+02:00", "2026-10-26T02:00+01:00"],
        );
    }

    #[test]
    fn an_asterisk_follows_the_clock() {
        check(
            "0 * * * *",
            PARIS,
            "2026-03-29T00:00:00Z",
            &["2026-03-29T03:00+02:00", "2026-03-29T04:00+02:00"],
        );
        check(
            "0 * * * *",
            PARIS,
            "2026-10-24T23:00:00Z",
            &["2026-10-25T02:00+02:00", "2026-10-25T02:00+01:00", "2026-10-25T03:00+01:00"],
        );
        check(
            "*/30 * * * *",
            NEW_YORK,
            "2026-11-01T05:00:00Z",
            &["2026-11-01T01:30-04:00", "2026-11-01T01:00-05:00", "2026-11-01T01:30-05:00"],
        );
        check("*/20 2 * * *", PARIS, "2026-03-29T00:00:00Z", &["2026-03-30T02:00+02:00"]);
    }

    #[test]
    fn leap_days_and_ends_of_months() {
        check("0 12 29 2 *", "UTC", "2026-01-01T00:00:00Z", &["2028-02-29T12:00+00:00"]);
        check(
            "0 0 31 * *",
            "UTC",
            "2026-01-01T00:00:00Z",
            &["2026-01-31T00:00+00:00", "2026-03-31T00:00+00:00", "2026-05-31T00:00+00:00"],
        );
        check(
            "0 0 L * *",
            "UTC",
            "2028-01-31T00:00:00Z",
            &["2028-02-29T00:00+00:00", "2028-03-31T00:00+00:00"],
        );
        check("59 23 31 12 *", NEW_YORK, "2026-12-31T00:00:00Z", &["2026-12-31T23:59-05:00"]);
    }

    #[test]
    fn weekdays_and_lists() {
        check(
            "15 6 * * MON-FRI",
            PARIS,
            "2026-11-20T12:00:00Z",
            &["2026-11-23T06:15+01:00", "2026-11-24T06:15+01:00"],
        );
        check(
            "0 9,17 * * 7",
            "UTC",
            "2026-11-21T12:00:00Z",
            &["2026-11-22T09:00+00:00", "2026-11-22T17:00+00:00"],
        );
        check(
            "  5\t4  * * * ",
            "Asia/Kolkata",
            "2026-11-21T12:00:00Z",
            &["2026-11-22T04:05+05:30"],
        );
    }

    #[test]
    fn a_bad_schedule_says_what_is_accepted() {
        let fault =
            |expression: &str, zone: &str| Cron::parse(expression, zone).unwrap_err().to_string();
        for bad in ["", "* * * *", "* * * * * *", "* * * * * UTC", "@daily", "61 * * * *"] {
            assert!(fault(bad, "UTC").contains("five fields"), "{bad}: {}", fault(bad, "UTC"));
        }
        assert!(fault("61 * * * *", "UTC").contains("61"), "{}", fault("61 * * * *", "UTC"));
        assert!(fault("a * * * *\u{202e}", "UTC").contains("\\u{202e}"));
        assert!(!fault(&"1,".repeat(500), "UTC").contains(&"1,".repeat(300)));
        for bad in ["", "Mars/Olympus", "CET-1CEST", "Europe/Paris x", "../etc/passwd"] {
            assert!(fault("* * * * *", bad).contains("Europe/Paris"), "{bad}");
        }
    }

    #[test]
    fn a_day_that_never_comes_has_no_moment() {
        let cron = Cron::parse("0 0 30 2 *", "UTC").unwrap();
        assert_eq!(cron.after("2026-01-01T00:00:00Z".parse().unwrap()), None);
    }
}
