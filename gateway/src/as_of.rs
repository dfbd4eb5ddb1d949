//! How old the data of an answer is.
//!
//! A tool asks collectors in many places, and each may answer from what is kept of it. The oldest
//! of these answers counts; nothing is said when all of them were asked for just now.

use std::cell::Cell;
use std::time::Duration;

use jiff::Timestamp;

tokio::task_local! {
    static OLDEST: Cell<Option<Duration>>;
}

/// Runs one call, of which the ages below are noted.
pub async fn watched<F: Future>(call: F) -> F::Output {
    OLDEST.scope(Cell::new(None), call).await
}

/// Something of the answer is this old.
pub(crate) fn note(age: Duration) {
    let _ = OLDEST.try_with(|oldest| oldest.set(oldest.get().max(Some(age))));
}

/// When the oldest part of this call's answer was asked for, unless that was just now.
pub(crate) fn moment(now: Timestamp) -> Option<Timestamp> {
    let age = OLDEST.try_with(Cell::get).ok().flatten()?;
    now.checked_sub(age).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_oldest_part_counts_and_each_call_is_for_itself() {
        let now: Timestamp = "2026-05-05T10:00:00Z".parse().unwrap();
        let call = |ages: &'static [u64]| {
            watched(async move {
                for age in ages {
                    note(Duration::from_secs(*age));
                }
                moment(now).map(|moment| moment.to_string())
            })
        };
        let (none, several) = tokio::join!(call(&[]), call(&[1, 3, 2]));
        assert_eq!((none, several.as_deref()), (None, Some("2026-05-05T09:59:57Z")));
        note(Duration::from_secs(1));
        assert_eq!(moment(now), None, "outside of a call");
    }
}
