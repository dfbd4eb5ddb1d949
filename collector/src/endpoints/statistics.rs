//! Many checks in few numbers.

use std::collections::BTreeMap;

use jiff::Timestamp;
use maintenant_api::endpoints::{CauseCount, FailureCause, Outage};

use super::probe::Outcome;

/// Outages listed one by one.
const MOST_OUTAGES: usize = 50;

/// What checks come to, seen oldest first. Messages are added by who can look them up.
#[derive(Debug, Default)]
pub struct Summary {
    pub checks: i64,
    pub failures: i64,
    times: Vec<i64>,
    causes: BTreeMap<FailureCause, CauseCount>,
    outages: Vec<Outage>,
}

impl Summary {
    pub fn see(&mut self, at: Timestamp, check: &Outcome) {
        self.checks += 1;
        let last = self.outages.last_mut().filter(|outage| outage.to.is_none());
        let Some(failure) = &check.failure else {
            self.times.push(check.response_time_ms);
            if let Some(outage) = last {
                outage.to = Some(at);
            }
            return;
        };
        self.failures += 1;
        let cause = failure.cause;
        if let Some(outage) = last {
            outage.failures += 1;
        } else {
            self.outages.push(Outage { from: at, to: None, failures: 1, cause, error: None });
        }
        let new = CauseCount { cause, count: 0, first_at: at, last_at: at, error: None };
        let count = self.causes.entry(cause).or_insert(new);
        count.count += 1;
        count.last_at = at;
    }

    /// Median, 95th percentile and maximum of the response times of successes, by nearest rank.
    pub fn times(&mut self) -> [Option<i64>; 3] {
        self.times.sort_unstable();
        let rank = |percent: usize| {
            let rank = (self.times.len() * percent).div_ceil(100);
            self.times.get(rank.saturating_sub(1)).copied()
        };
        [rank(50), rank(95), rank(100)]
    }

    /// Most frequent first.
    pub fn causes(&self) -> Vec<CauseCount> {
        let mut causes: Vec<_> = self.causes.values().cloned().collect();
        causes.sort_by_key(|cause| std::cmp::Reverse(cause.count));
        causes
    }

    /// The newest, newest first, and how many there are beyond them.
    pub fn outages(&self) -> (Vec<Outage>, i64) {
        let left_out = self.outages.len().saturating_sub(MOST_OUTAGES);
        let newest = self.outages.iter().rev().take(MOST_OUTAGES).cloned().collect();
        (newest, i64::try_from(left_out).unwrap_or(i64::MAX))
    }
}
