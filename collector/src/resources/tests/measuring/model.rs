use std::time::Duration;

use jiff::SignedDuration;

use super::reading;
use crate::resources::model::{
    Origin, Rate, Reading, Sample, Traffic, cores, elapsed, memory_limit, working_set,
};

const SECOND: Duration = Duration::from_secs(1);
const ORIGIN: Origin = Origin {
    container_id: 7,
    shares_network_of: None,
    is_from_api: false,
    is_inspected: true,
    started_at: None,
};

fn between(previous: &Reading, current: &Reading, elapsed: Duration) -> Option<Sample> {
    Sample::between(previous, current, elapsed, ORIGIN)
}

fn traffic(received: u64, sent: u64) -> Traffic {
    Traffic { received, sent }
}

#[test]
fn processor_time_is_a_share_of_one_core() {
    let check = |before, after, seconds, percent: Option<f64>| {
        let sample = between(&reading(before), &reading(after), SECOND * seconds);
        assert_eq!(sample.map(|sample| sample.cpu_percent), percent, "{before} {after} {seconds}");
    };
    check(0, 0, 10, Some(0.0));
    check(5_000_000_000, 7_000_000_000, 10, Some(20.0));
    check(0, 40_000_000_000, 10, Some(400.0));
    check(7, 6, 10, None);
    check(u64::MAX, 0, 10, None);
    check(0, 1, 0, None);
}

#[test]
fn throttling_is_the_share_of_periods_that_were_held_back() {
    let check = |limit, before, after, percent: Option<f64>| {
        let of = |periods| Reading { cpu_limit_cores: limit, cpu_periods: periods, ..reading(1) };
        let sample = between(&of(before), &of(after), SECOND).unwrap();
        assert_eq!(sample.cpu_throttled_percent, percent, "{before:?} {after:?}");
    };
    let quota = Some(0.2);
    check(quota, Some((10, 5)), Some((110, 85)), Some(80.0));
    check(quota, Some((10, 5)), Some((10, 5)), Some(0.0));
    check(quota, Some((10, 5)), Some((9, 5)), None);
    check(quota, Some((10, 5)), Some((12, 4)), None);
    check(quota, Some((10, 5)), Some((12, 105)), Some(100.0));
    check(quota, None, Some((12, 4)), None);
    check(None, Some((0, 0)), Some((12, 4)), None);
}

#[test]
fn a_counter_that_went_back_or_is_not_known_makes_no_rate() {
    let check = |before, after, rate: Option<(f64, f64)>| {
        let of = |net| Reading { net, block: net, ..reading(1) };
        let sample = between(&of(before), &of(after), SECOND * 2).unwrap();
        let rate = rate.map(|(received, sent)| Rate { received, sent });
        assert_eq!(sample.net_rate, rate, "{before:?} {after:?}");
        assert_eq!(sample.block_rate, rate);
        assert_eq!(sample.net, after, "counters are kept whatever the rate");
    };
    check(Some(traffic(10, 20)), Some(traffic(30, 20)), Some((10.0, 0.0)));
    check(Some(traffic(10, 20)), Some(traffic(9, 40)), None);
    check(Some(traffic(10, 20)), Some(traffic(40, 19)), None);
    check(None, Some(traffic(40, 19)), None);
    check(Some(traffic(10, 20)), None, None);
    check(
        Some(traffic(0, 0)),
        Some(traffic(u64::MAX, 2)),
        Some((9_223_372_036_854_775_807.5, 1.0)),
    );
    assert_eq!(Rate::between(Some(traffic(0, 0)), Some(traffic(1, 1)), Duration::ZERO), None);
}

#[test]
fn a_clock_that_was_set_makes_no_rate_and_a_late_round_does() {
    let check = |dated, monotonic, expected: Option<u64>| {
        let found = elapsed(
            SignedDuration::from_millis(dated),
            Duration::from_millis(monotonic),
            Duration::from_millis(500),
        );
        assert_eq!(found, expected.map(Duration::from_millis), "{dated} {monotonic}");
    };
    check(10_000, 10_000, Some(10_000));
    check(10_300, 10_000, Some(10_300));
    check(45_000, 45_001, Some(45_000));
    // Set forward, set back, and asleep while only one clock went on.
    check(3_610_000, 10_000, None);
    check(-3_590_000, 10_000, None);
    check(8_000_000, 9_000, None);
    check(0, 0, None);
    check(0, 400, None);
}

#[test]
fn memory_is_what_cannot_be_given_back_and_limits_limit() {
    assert_eq!(working_set(Some(100), Some(40)), Some(60));
    assert_eq!(working_set(Some(100), Some(100)), Some(0));
    assert_eq!(working_set(Some(100), Some(101)), Some(100));
    assert_eq!(working_set(Some(100), None), Some(100));
    assert_eq!(working_set(None, Some(40)), None);
    // A counter of the kernel that went below 0.
    assert_eq!(working_set(Some(u64::MAX - 4095), Some(40)), None);
    assert_eq!(memory_limit(67_108_864), Some(67_108_864));
    assert_eq!(memory_limit(9_223_372_036_854_771_712), None);
    assert_eq!(memory_limit(u64::MAX), None);
    assert_eq!(memory_limit(0), None);
    assert_eq!(cores(20_000, 100_000), Some(0.2));
    assert_eq!(cores(-1, 100_000), None);
    assert_eq!(cores(20_000, 0), None);
}

#[test]
fn memory_is_held_against_the_nearest_bound() {
    let check = |mem_limit, mem_ceiling, total, bound| {
        let reading = Reading { mem_limit, mem_ceiling, ..reading(1) };
        let sample = between(&reading, &reading, SECOND).unwrap();
        assert_eq!(sample.mem_bound(total), bound);
        assert_eq!(sample.mem_is_limited, Some(mem_limit.is_some()));
    };
    check(Some(1), Some(2), Some(3), Some(1));
    check(None, Some(2), Some(3), Some(2));
    check(None, None, Some(3), Some(3));
    check(None, None, None, None);
    let unknown = Origin { is_inspected: false, ..ORIGIN };
    let sample = Sample::between(&reading(1), &reading(1), SECOND, unknown).unwrap();
    assert_eq!(sample.mem_is_limited, None);
}
