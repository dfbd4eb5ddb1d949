//! Whether and when a message is tried again.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// Seconds before the second, third, ... try; the last one repeats.
const PAUSES: [u64; 8] = [1, 5, 30, 120, 600, 1800, 3600, 7200];
/// A message that is older is given up, once it had its fair number of tries.
const LONGEST: SignedDuration = SignedDuration::from_hours(48);
const FAIR: i64 = 5;
/// Tries of what the receiver refuses: over an hour and a half, in which somebody may mend it.
const REFUSED: i64 = 8;
/// A receiver may ask for a longer pause, up to this one.
const LONGEST_ASKED: Duration = Duration::from_hours(1);

/// Why a try did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Bounded, and without secrets.
    pub text: String,
    pub why: Why,
    /// How long the receiver asks to be left alone.
    pub retry_after: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It may pass, or somebody may mend it: no connection, no answer in time, 5xx, 408, 425, 429; 3xx,
    /// 401, 403 and 404, which a receiver also answers while it is being deployed.
    Passing,
    /// The receiver does not want it like this, or may not be reached: other 4xx.
    Refused,
    /// The receiver says that it is gone for good: 410 (RFC 9110 §15.5.11).
    Gone,
}

impl Failure {
    pub fn new(why: Why, text: impl Into<String>) -> Self {
        Self { text: text.into(), why, retry_after: None }
    }
}

/// When to try again after the `attempts`th try of a message; `None`: never.
///
/// `salt` spreads the pauses by up to a fifth, so that what failed together parts.
pub fn next(
    failure: &Failure,
    attempts: i64,
    created_at: Timestamp,
    salt: i64,
    now: Timestamp,
) -> Option<Timestamp> {
    let is_over = match failure.why {
        Why::Gone => true,
        Why::Refused => attempts >= REFUSED,
        Why::Passing => false,
    };
    let is_old = now.duration_since(created_at) >= LONGEST && attempts >= FAIR;
    if is_over || is_old {
        return None;
    }
    let place = usize::try_from(attempts - 1).unwrap_or_default().min(PAUSES.len() - 1);
    let pause = Duration::from_secs(PAUSES.get(place).copied().unwrap_or_default());
    let share = salt.wrapping_mul(0x9E37_79B9).wrapping_add(attempts).rem_euclid(1000);
    let jitter = pause.mul_f64(f64::from(u16::try_from(share).unwrap_or_default()) / 5000.0);
    let asked = failure.retry_after.unwrap_or_default().min(LONGEST_ASKED);
    let pause = SignedDuration::try_from((pause + jitter).max(asked)).unwrap_or_default();
    Some(now.saturating_add(pause).unwrap_or(Timestamp::MAX))
}

/// What an HTTP status says of a try; `None`: it was delivered.
pub fn of_status(status: u16) -> Option<Why> {
    match status {
        200..=299 => None,
        410 => Some(Why::Gone),
        401 | 403 | 404 | 408 | 425 | 429 => Some(Why::Passing),
        400..=499 => Some(Why::Refused),
        _ => Some(Why::Passing),
    }
}

/// `Retry-After`: seconds or a date (RFC 9110 §10.2.3).
pub fn after(value: &str, now: Timestamp) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(value.trim()).ok()?;
    Duration::try_from(date.duration_since(now)).ok()
}
