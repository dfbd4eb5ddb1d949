//! A limit on events per second, spread evenly rather than in bursts.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::RateMetrics;

/// How far turns may be taken ahead of an even spread.
const BURST: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Rate {
    per_second: u32,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// When the next turn would come if all came evenly.
    next: Option<Instant>,
    granted: u64,
    delayed: u64,
}

impl Rate {
    pub(super) fn new(per_second: u32) -> Self {
        let state = State { next: None, granted: 0, delayed: 0 };
        Self { per_second: per_second.max(1), state: Mutex::new(state) }
    }

    pub(super) async fn turn(&self) -> Duration {
        let wait = self.reserve(Instant::now());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        wait
    }

    fn reserve(&self, now: Instant) -> Duration {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let next = state.next.map_or(now, |next| next.max(now));
        state.next = Some(next + Duration::from_secs(1) / self.per_second);
        state.granted += 1;
        let wait = next.duration_since(now).saturating_sub(BURST);
        if !wait.is_zero() {
            state.delayed += 1;
        }
        wait
    }

    pub(super) fn metrics(&self) -> RateMetrics {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        RateMetrics {
            limit_per_second: self.per_second,
            granted: state.granted,
            delayed: state.delayed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn turns_are_spread_once_the_burst_is_used() {
        let rate = Rate::new(100);
        let start = Instant::now();
        for _ in 0..211 {
            rate.turn().await;
        }
        assert_eq!(start.elapsed(), Duration::from_secs(2));
        let metrics = rate.metrics();
        assert_eq!((metrics.granted, metrics.delayed), (211, 200));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_not_used_is_not_saved_up() {
        let rate = Rate::new(100);
        tokio::time::sleep(Duration::from_mins(1)).await;
        let start = Instant::now();
        for _ in 0..111 {
            rate.turn().await;
        }
        assert_eq!(start.elapsed(), Duration::from_secs(1));
    }
}
