//! How much a registry lets us ask.

use std::time::Duration;

use http::HeaderMap;
use http::header::RETRY_AFTER;
use jiff::Timestamp;

/// Pause where a registry refuses without saying for how long.
const USUAL_PAUSE: Duration = Duration::from_mins(5);
const LONGEST_PAUSE: Duration = Duration::from_hours(6);
/// Pulls left for the people of this address: below, nothing that counts is asked for.
const RESERVE: u64 = 10;

/// `ratelimit-limit: 100;w=21600` and `ratelimit-remaining: 76;w=21600`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    pub limit: Option<u64>,
    pub remaining: u64,
}

impl Allowance {
    pub fn read(headers: &HeaderMap) -> Option<Self> {
        let number = |name: &str| {
            let text = headers.get(name)?.to_str().ok()?;
            text.split([';', ',']).next()?.trim().parse().ok()
        };
        Some(Self { limit: number("ratelimit-limit"), remaining: number("ratelimit-remaining")? })
    }

    /// Whether something that counts, a GET of a manifest, may be asked for: a tenth of the limit, at
    /// least ten, is left to others.
    pub fn has_room(self) -> bool {
        let reserve = self.limit.map_or(RESERVE, |limit| (limit / 10).max(RESERVE.min(limit / 2)));
        self.remaining > reserve
    }
}

/// How long a refusal (429) asks to be left alone: `Retry-After` in seconds or as a date.
pub fn pause(headers: &HeaderMap, now: Timestamp) -> Duration {
    let asked = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()).map(str::trim);
    let asked = asked.and_then(|asked| {
        if let Ok(seconds) = asked.parse() {
            return Some(Duration::from_secs(seconds));
        }
        let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(asked).ok()?;
        Some(Duration::try_from(date.duration_since(now)).unwrap_or_default())
    });
    asked.unwrap_or(USUAL_PAUSE).min(LONGEST_PAUSE)
}
