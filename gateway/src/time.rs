//! Times as tools read and write them: RFC 3339 in UTC, whole seconds; ages such as `15m` as input.

use jiff::{Span, Timestamp};
use maintenant_serve::settings::duration;

/// How far ahead a caller's clock may be before a time counts as the future.
const CLOCK_SKEW_SECONDS: i64 = 60;

/// Reads a moment of the past: RFC 3339, or an age before `now`.
pub fn parse(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    let text = text.trim();
    let age = text.strip_prefix('-').unwrap_or(text);
    let moment = if let Ok(age) = duration(age) {
        i64::try_from(age.as_secs())
            .ok()
            .and_then(|seconds| Span::new().try_seconds(seconds).ok())
            .and_then(|span| now.checked_sub(span).ok())
            .unwrap_or(Timestamp::UNIX_EPOCH)
    } else {
        text.parse::<Timestamp>().map_err(|_| {
            "not a time; use RFC 3339 with a time zone such as 2026-05-05T10:00:00Z, or an age \
             such as 15m, 2h or 7d"
                .to_owned()
        })?
    };
    if moment.as_second() > now.as_second().saturating_add(CLOCK_SKEW_SECONDS) {
        return Err(format!("{} lies in the future; it is {} now", show(moment), show(now)));
    }
    Ok(moment.max(Timestamp::UNIX_EPOCH))
}

/// RFC 3339 in UTC with whole seconds.
pub fn show(moment: Timestamp) -> String {
    whole(moment).to_string()
}

/// Its second, so that who asks the same within one asks for the same span.
pub fn whole(moment: Timestamp) -> Timestamp {
    Timestamp::from_second(moment.as_second()).unwrap_or(moment)
}

/// A length of time as it is written in settings: `1h30m`.
pub fn length(seconds: i64) -> String {
    let mut rest = seconds.max(0);
    let mut text = String::new();
    for (unit, size) in [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)] {
        if rest >= size {
            text = format!("{text}{}{unit}", rest / size);
            rest %= size;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<&str, &str>) {
        let now = "2026-11-20T12:00:00.5Z".parse().unwrap();
        match (parse(text, now), expected) {
            (Ok(moment), Ok(expected)) => assert_eq!(show(moment), expected, "{text}"),
            (Err(fault), Err(part)) => assert!(fault.contains(part), "{text}: {fault}"),
            (got, expected) => panic!("{text}: {got:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn ages_count_back_from_now() {
        check("15m", Ok("2026-11-20T11:45:00Z"));
        check("-1h", Ok("2026-11-20T11:00:00Z"));
        check("7d", Ok("2026-11-13T12:00:00Z"));
        check("1h30m", Ok("2026-11-20T10:30:00Z"));
        check("99999999d", Ok("1970-01-01T00:00:00Z"));
    }

    #[test]
    fn rfc_3339_is_read_with_any_offset() {
        check("2026-11-20T10:00:00Z", Ok("2026-11-20T10:00:00Z"));
        check("2026-11-20T10:00:00.25+02:00", Ok("2026-11-20T08:00:00Z"));
        check(" 2026-11-20T12:00:30Z ", Ok("2026-11-20T12:00:30Z"));
    }

    #[test]
    fn the_rest_is_refused_with_the_accepted_forms() {
        for bad in ["", "yesterday", "2026-11-20", "2026-11-20 10:00", "15", "1y", "--1h"] {
            check(bad, Err("15m, 2h or 7d"));
        }
        check("2026-11-20T12:05:00Z", Err("in the future"));
    }

    #[test]
    fn lengths_of_time_are_short() {
        let cases = [(0, "0s"), (-5, "0s"), (90, "1m30s"), (3600, "1h"), (604_801, "7d1s")];
        for (seconds, expected) in cases {
            assert_eq!(length(seconds), expected);
        }
    }
}
