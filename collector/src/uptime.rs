//! Uptime by time, not by checks: seconds up over seconds known.

use jiff::{SignedDuration, Timestamp};

/// A span of one availability.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub from: Timestamp,
    pub to: Timestamp,
    pub is_up: bool,
}

/// Share of a window, each in percent with two decimals, rounded down: 100 means 100.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Uptime {
    /// Up over known time. `None` when nothing is known.
    pub percent: Option<f64>,
    /// Known time over the window.
    pub coverage: f64,
}

/// Uptime in `[from, to]` by spans that may begin before it: the state at the window's start is
/// known from them. Time in no span counts neither as up nor as down.
pub fn uptime(spans: &[Span], from: Timestamp, to: Timestamp) -> Uptime {
    let inside = |span: &Span| {
        let (start, end) = (span.from.max(from), span.to.min(to));
        if end > start { end.duration_since(start) } else { SignedDuration::ZERO }
    };
    let sum = |up: Option<bool>| -> i128 {
        let wanted = spans.iter().filter(|span| up.is_none_or(|up| span.is_up == up));
        wanted.map(|span| inside(span).as_millis()).sum()
    };
    let known = sum(None);
    Uptime::of(sum(Some(true)), known, to.duration_since(from).as_millis())
}

impl Uptime {
    /// By milliseconds up, known and in all.
    pub fn of(up: i128, known: i128, window: i128) -> Self {
        Self {
            percent: (known > 0).then(|| percent(up, known)),
            coverage: if window > 0 { percent(known, window) } else { 0.0 },
        }
    }
}

/// Hundredths of a percent are counted in integers, so that rounding never lifts 99.999 to 100.
#[expect(clippy::cast_precision_loss, reason = "at most 10000")]
fn percent(part: i128, whole: i128) -> f64 {
    (part * 10_000 / whole).clamp(0, 10_000) as f64 / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Spans as `from-to:up|down` in minutes of an hour-long window.
    fn check(spans: &str, percent: Option<f64>, coverage: f64) {
        let at =
            |minute: &str| Timestamp::from_second(minute.parse::<i64>().unwrap() * 60).unwrap();
        let spans: Vec<_> = spans
            .split_whitespace()
            .map(|span| {
                let (times, state) = span.split_once(':').unwrap();
                let (from, to) = times.split_once("..").unwrap();
                Span { from: at(from), to: at(to), is_up: state == "up" }
            })
            .collect();
        assert_eq!(uptime(&spans, at("0"), at("60")), Uptime { percent, coverage });
    }

    #[test]
    fn nothing_known_is_no_number() {
        check("", None, 0.0);
    }

    #[test]
    fn the_state_at_the_windows_start_counts_from_there() {
        check("-600..60:up", Some(100.0), 100.0);
        check("-600..60:down", Some(0.0), 100.0);
        check("-600..30:up 30..90:down", Some(50.0), 100.0);
    }

    #[test]
    fn a_gap_is_neither_up_nor_down() {
        check("0..30:up 45..60:up", Some(100.0), 75.0);
        check("0..15:up 45..60:down", Some(50.0), 50.0);
    }

    #[test]
    fn a_container_a_minute_old_is_not_down_for_the_rest() {
        check("59..60:up", Some(100.0), 1.66);
    }

    #[test]
    fn rounding_never_reaches_100() {
        let (from, to) = (Timestamp::UNIX_EPOCH, Timestamp::from_second(86_400_000).unwrap());
        let down_at = Timestamp::from_second(86_399_999).unwrap();
        let spans =
            [Span { from, to: down_at, is_up: true }, Span { from: down_at, to, is_up: false }];
        assert_eq!(uptime(&spans, from, to).percent, Some(99.99));
    }
}
