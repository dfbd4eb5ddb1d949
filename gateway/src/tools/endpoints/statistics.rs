//! A span of checks in few numbers, where the server does not count them itself.

use std::collections::BTreeMap;

use maintenant_api::Timestamp;
use maintenant_api::endpoints::{CauseCount, Check, EndpointStatistics, Outage};

use super::cause_of;

/// Counts `checks`, newest first. How much of the time it was up cannot be told from them.
pub(super) fn of(
    endpoint: i64,
    checks: &[Check],
    since: Timestamp,
    until: Timestamp,
) -> EndpointStatistics {
    let failures = checks.iter().filter(|check| !check.success).count();
    let mut times: Vec<i64> =
        checks.iter().filter(|check| check.success).map(|check| check.response_time_ms).collect();
    times.sort_unstable();
    EndpointStatistics {
        endpoint_id: endpoint,
        since,
        until,
        checks: count(checks.len()),
        failures: count(failures),
        p50_ms: nearest_rank(&times, 50),
        p95_ms: nearest_rank(&times, 95),
        max_ms: times.last().copied(),
        causes: causes(checks),
        outages: outages(checks),
        outages_left_out: 0,
        uptime_percent: None,
        coverage_percent: 0.0,
    }
}

fn count(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// The smallest value that at least `percent` of all are not above.
fn nearest_rank(sorted: &[i64], percent: usize) -> Option<i64> {
    let rank = sorted.len().saturating_mul(percent).div_ceil(100);
    sorted.get(rank.checked_sub(1)?).copied()
}

/// Most frequent first.
fn causes(checks: &[Check]) -> Vec<CauseCount> {
    let mut causes = BTreeMap::new();
    for check in checks.iter().filter(|check| !check.success) {
        let cause = cause_of(check.cause, check.http_status);
        let group = causes.entry(cause).or_insert_with(|| CauseCount {
            cause,
            count: 0,
            first_at: check.timestamp,
            last_at: check.timestamp,
            error: check.error_message.clone(),
        });
        group.count = group.count.saturating_add(1);
        group.first_at = check.timestamp;
    }
    let mut causes: Vec<CauseCount> = causes.into_values().collect();
    causes.sort_by_key(|group| std::cmp::Reverse(group.count));
    causes
}

/// Newest first.
fn outages(checks: &[Check]) -> Vec<Outage> {
    let mut outages = Vec::new();
    let mut current: Option<Outage> = None;
    let mut success_after = None;
    for check in checks {
        if check.success {
            outages.extend(current.take());
            success_after = Some(check.timestamp);
            continue;
        }
        let outage = current.get_or_insert_with(|| Outage {
            from: check.timestamp,
            to: success_after,
            failures: 0,
            cause: cause_of(check.cause, check.http_status),
            error: None,
        });
        outage.from = check.timestamp;
        outage.failures = outage.failures.saturating_add(1);
        outage.cause = cause_of(check.cause, check.http_status);
        outage.error.clone_from(&check.error_message);
    }
    outages.extend(current);
    outages
}

#[cfg(test)]
mod tests {
    use maintenant_api::endpoints::FailureCause;
    use serde_json::json;

    use super::*;

    /// A check per minute, newest first: `.` succeeded, `x` failed with status 500, `c` failed
    /// without an answer.
    fn checks(history: &str) -> Vec<Check> {
        history
            .char_indices()
            .map(|(at, mark)| {
                let minute = 59 - at;
                let mut check = json!({
                    "id": minute, "endpoint_id": 1, "success": mark == '.',
                    "response_time_ms": minute, "timestamp": format!("2026-05-05T10:{minute}:00Z")
                });
                match mark {
                    'x' => check["http_status"] = json!(500),
                    'c' => check["error_message"] = json!(format!("refused at {minute}")),
                    _ => {}
                }
                serde_json::from_value(check).unwrap()
            })
            .collect()
    }

    fn at(minute: u8) -> Timestamp {
        format!("2026-05-05T10:{minute}:00Z").parse().unwrap()
    }

    fn check(history: &str, expected: &[(u8, Option<u8>, i64)]) {
        let outages = outages(&checks(history));
        let outages: Vec<_> =
            outages.iter().map(|outage| (outage.from, outage.to, outage.failures)).collect();
        let expected: Vec<_> =
            expected.iter().map(|(from, to, n)| (at(*from), to.map(at), *n)).collect();
        assert_eq!(outages, expected, "{history}");
    }

    #[test]
    fn an_outage_is_a_run_of_failures_up_to_the_next_success() {
        check("", &[]);
        check("...", &[]);
        check("xx.", &[(58, None, 2)]);
        check(".xx", &[(57, Some(59), 2)]);
        check("x..cx.c", &[(59, None, 1), (55, Some(57), 2), (53, Some(54), 1)]);
    }

    #[test]
    fn failures_are_grouped_by_cause_with_their_first_and_last_time() {
        let causes = causes(&checks("x.cc.c"));
        let [connect, status] = causes.as_slice() else { panic!("{causes:?}") };
        assert_eq!((connect.cause, connect.count), (FailureCause::Other, 3));
        assert_eq!((connect.first_at, connect.last_at), (at(54), at(57)));
        assert_eq!(connect.error.as_deref(), Some("refused at 57"), "the newest");
        assert_eq!((status.cause, status.count), (FailureCause::Status, 1));
    }

    #[test]
    fn times_are_those_of_successful_checks_by_nearest_rank() {
        let checks = checks("....x.......................");
        let of = |checks: &[Check]| of(1, checks, at(10), at(59));
        let all = of(&checks);
        assert_eq!((all.checks, all.failures), (28, 1));
        assert_eq!((all.p50_ms, all.p95_ms, all.max_ms), (Some(45), Some(58), Some(59)));
        let one = of(&checks[..1]);
        assert_eq!((one.p50_ms, one.p95_ms, one.max_ms), (Some(59), Some(59), Some(59)));
        let none = of(&checks[4..5]);
        assert_eq!((none.p50_ms, none.p95_ms, none.max_ms), (None, None, None));
    }
}
