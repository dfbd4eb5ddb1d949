//! How old the data of an answer is.
//!
//! A tool asks collectors in many places, and each may answer from what is kept of it. The oldest
//! of these answers counts; nothing is said when all of them were asked for just now.

use std::cell::Cell;

use jiff::Timestamp;
use tokio::time::Instant;

tokio::task_local! {
    static OLDEST: Cell<Option<Instant>>;
}

/// Runs one call, of which the moments below are noted.
pub async fn watched<F: Future>(call: F) -> F::Output {
    OLDEST.scope(Cell::new(None), call).await
}

/// Something of the answer was asked for then.
pub(crate) fn note(asked: Instant) {
    let _ = OLDEST
        .try_with(|oldest| oldest.set(Some(oldest.get().map_or(asked, |old| old.min(asked)))));
}

/// When the oldest part of this call's answer was asked for, unless that was just now.
pub(crate) fn moment(now: Timestamp) -> Option<Timestamp> {
    let asked = OLDEST.try_with(Cell::get).ok().flatten()?;
    now.checked_sub(asked.elapsed()).ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::{advance, sleep};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_oldest_part_counts_and_each_call_is_for_itself() {
        let now: Timestamp = "2026-05-05T10:00:00Z".parse().unwrap();
        let started = Instant::now();
        advance(Duration::from_secs(3)).await;
        let call = |asked: &'static [u64]| {
            watched(async move {
                for seconds in asked {
                    note(started + Duration::from_secs(*seconds));
                }
                // It grows older until it is told.
                sleep(Duration::from_secs(4)).await;
                moment(now).map(|moment| moment.to_string())
            })
        };
        let (none, several) = tokio::join!(call(&[]), call(&[1, 0, 2]));
        assert_eq!((none, several.as_deref()), (None, Some("2026-05-05T09:59:53Z")));
        note(started);
        assert_eq!(moment(now), None, "outside of a call");
    }
}
