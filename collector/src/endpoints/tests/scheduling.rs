//! Who is checked when. Time is given, not waited for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use maintenant_api::endpoints::EndpointType;
use tokio::time::Instant;

use super::super::schedule::{Schedule, Start};
use super::super::spec::{self, Spec};

fn every(interval: &str, target: &str) -> Arc<Spec> {
    let mut config = spec::defaults(EndpointType::Tcp);
    config.interval = interval.to_owned();
    config.timeout = "1s".to_owned();
    Arc::new(Spec::parse(EndpointType::Tcp, target, &config).unwrap())
}

/// Runs for so many seconds in steps of 10 ms; each check lasts `lasts`. Answers with the times of
/// the starts in milliseconds, by endpoint.
fn run(
    schedule: &mut Schedule,
    begin: Instant,
    seconds: u64,
    lasts: Duration,
) -> BTreeMap<i64, Vec<u64>> {
    let mut starts = BTreeMap::<i64, Vec<u64>>::new();
    let mut running: Vec<(Instant, Start)> = Vec::new();
    for step in 0..seconds * 100 {
        let now = begin + Duration::from_millis(step * 10);
        let (ended, rest) = running.into_iter().partition(|(end, _)| *end <= now);
        running = rest;
        let ended: Vec<(Instant, Start)> = ended;
        for (_, start) in &ended {
            schedule.done(start);
        }
        for start in schedule.due(now) {
            starts.entry(start.id).or_default().push(step * 10);
            running.push((now + lasts, start));
        }
        assert!(running.len() <= 64, "{}", running.len());
    }
    starts
}

fn gaps(times: &[u64]) -> Vec<u64> {
    times.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

#[tokio::test(start_paused = true)]
async fn checks_are_spread_stay_in_phase_and_begin_soon() {
    let begin = Instant::now();
    let mut schedule = Schedule::new(begin);
    for id in 0..100 {
        schedule.put(id, every("10s", &format!("h{id}:1")), 1, begin);
    }
    let starts = run(&mut schedule, begin, 60, Duration::ZERO);
    let mut phases = [0; 10];
    for times in starts.values() {
        assert!(times[0] <= 2_010, "the first check comes soon: {times:?}");
        assert!(gaps(&times[1..]).iter().all(|gap| (9_990..=10_010).contains(gap)), "{times:?}");
        assert!((5_000..=15_010).contains(&(times[1] - times[0])), "{times:?}");
        phases[usize::try_from(times[1] % 10_000 / 1_000).unwrap()] += 1;
    }
    assert!(phases.iter().all(|count| (2..25).contains(count)), "{phases:?}");
    assert_eq!(schedule.counts().late_ticks, 0);
}

#[tokio::test(start_paused = true)]
async fn the_phase_is_the_same_after_a_restart() {
    let second_tick = |offset: u64| {
        let begin = Instant::now() + Duration::from_secs(offset);
        let mut schedule = Schedule::new(begin);
        schedule.put(7, every("10s", "h:1"), 1, begin);
        run(&mut schedule, begin, 40, Duration::ZERO)[&7][1]
    };
    assert_eq!(second_tick(0), second_tick(3));
}

#[tokio::test(start_paused = true)]
async fn a_host_is_asked_by_two_at_once_and_the_others_wait_in_turn() {
    let begin = Instant::now();
    let mut schedule = Schedule::new(begin);
    for id in 0..6 {
        schedule.put_now(
            id,
            every("1h", "busy:1"),
            begin + Duration::from_millis(id.unsigned_abs()),
        );
    }
    schedule.put_now(9, every("1h", "other:1"), begin + Duration::from_millis(9));
    let now = begin + Duration::from_millis(10);
    let ids = |starts: &[Start]| starts.iter().map(|start| start.id).collect::<Vec<_>>();
    let first = schedule.due(now);
    assert_eq!(ids(&first), [0, 1, 9], "another host is not kept waiting");
    assert_eq!(schedule.counts().queued, 4);
    assert!(schedule.done(&first[0]));
    let later = now + Duration::from_millis(500);
    let second = schedule.due(later);
    assert_eq!(ids(&second), [2]);
    assert_eq!(schedule.counts().queued_ms_max, 508);
    schedule.remove(3);
    assert!(schedule.done(&first[1]));
    assert_eq!(ids(&schedule.due(later)), [4], "one that is gone loses its place to the next");
    assert!(schedule.done(&second[0]));
    assert_eq!(ids(&schedule.due(later)), [5]);
}

#[tokio::test(start_paused = true)]
async fn sixty_four_run_at_once_and_no_more() {
    let begin = Instant::now();
    let mut schedule = Schedule::new(begin);
    for id in 0..200 {
        schedule.put_now(id, every("1h", &format!("h{id}:1")), begin);
    }
    let starts = run(&mut schedule, begin, 1, Duration::from_millis(100));
    assert_eq!(starts.len(), 200, "all in their turn");
    assert_eq!(schedule.counts().queued_ms_max, 300);
}

#[tokio::test(start_paused = true)]
async fn a_time_that_passes_under_a_check_is_skipped_and_counted() {
    let begin = Instant::now();
    let mut schedule = Schedule::new(begin);
    schedule.put(1, every("5s", "slow:1"), 1, begin);
    let starts = run(&mut schedule, begin, 61, Duration::from_secs(12));
    let times = &starts[&1];
    assert!(gaps(times).iter().all(|gap| *gap >= 12_000), "{times:?}");
    assert!(schedule.counts().late_ticks >= 6, "{:?}", schedule.counts());
}

#[tokio::test(start_paused = true)]
async fn what_was_slept_through_is_not_made_up_for() {
    let begin = Instant::now();
    let mut schedule = Schedule::new(begin);
    schedule.put(1, every("10s", "h:1"), 1, begin);
    run(&mut schedule, begin, 30, Duration::ZERO);
    let awake = begin + Duration::from_hours(1);
    let starts = run(&mut schedule, awake, 30, Duration::ZERO);
    assert!((3..=4).contains(&starts[&1].len()), "{starts:?}");
    assert!((350..360).contains(&schedule.counts().late_ticks), "{:?}", schedule.counts());
}

#[tokio::test(start_paused = true)]
async fn the_result_of_a_cancelled_check_is_of_no_use() {
    let begin = Instant::now();
    let mut schedule = Schedule::new(begin);
    let spec = every("10s", "h:1");
    let start = |schedule: &mut Schedule, after: u64| {
        schedule.put_now(1, spec.clone(), begin);
        schedule.due(begin + Duration::from_millis(after)).remove(0)
    };
    let removed = start(&mut schedule, 1);
    schedule.remove(1);
    assert!(!schedule.done(&removed));
    let changed = start(&mut schedule, 2);
    schedule.put_now(1, every("20s", "h:1"), begin);
    assert!(!schedule.done(&changed));
    let slept = start(&mut schedule, 3);
    schedule.cancel_running();
    assert!(!schedule.is_wanted(&slept));
    assert!(!schedule.done(&slept));
    let counts = schedule.counts();
    assert_eq!((counts.in_flight, counts.checks), (0, 0));
    let good = start(&mut schedule, 4);
    assert!(schedule.done(&good));
    assert_eq!(schedule.counts().checks, 1);
}

#[tokio::test(start_paused = true)]
async fn many_at_once_begin_over_a_longer_time() {
    let begin = Instant::now();
    let mut schedule = Schedule::new(begin);
    for id in 0..1_000 {
        schedule.put(id, every("1m", &format!("h{id}:1")), 1_000, begin);
    }
    let starts = run(&mut schedule, begin, 7, Duration::ZERO);
    let firsts: Vec<_> = starts.values().map(|times| times[0]).collect();
    let within = |from, to| firsts.iter().filter(|first| (from..to).contains(*first)).count();
    assert_eq!(firsts.len(), 1_000);
    assert!(within(0, 1_000) < 250 && within(4_000, 6_010) > 200, "{}", within(0, 1_000));
}
