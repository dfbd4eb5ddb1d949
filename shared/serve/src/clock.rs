//! The one place that reads the wall clock. Decisions take `now` as an argument.

use jiff::Timestamp;

/// The present moment, cut to whole milliseconds, which is what the store keeps.
#[expect(clippy::disallowed_methods, reason = "this is the clock's one home")]
pub fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
}
