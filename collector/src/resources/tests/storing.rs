//! Samples and their rollups.

use super::*;
use crate::resources::history::{self, PERIODS, RANGES};
use crate::resources::rollup::{HOUR_MS, MINUTE_MS, Tier};
use crate::resources::sql::{self, KEEPS};
use crate::resources::thresholds::Metric;
use crate::resources::usage::store;

/// Samples of container 1 as `second:cpu`.
fn feed(db: &Connection, samples: &str) {
    for sample in samples.split_whitespace() {
        let (second, cpu) = sample.split_once(':').unwrap();
        store(db, &one(at(second.parse().unwrap()), cpu.parse().unwrap())).unwrap();
    }
}

/// Rollups of container 1 as `begin:samples*mean`, the beginning in units after midnight.
fn rollups(db: &Connection, tier: Tier) -> String {
    let begin = at(0).as_millisecond();
    let all = sql::summaries(db, tier, 1, begin - 400 * HOUR_MS, begin + 400 * HOUR_MS).unwrap();
    let told = all.iter().map(|(from, summary)| {
        let (unit, mean) = ((from - begin) / tier.ms(), summary.cpu.mean / 100);
        format!("{unit}:{}*{mean}", summary.samples)
    });
    told.collect::<Vec<_>>().join(" ")
}

fn rows(db: &Connection, table: &str) -> i64 {
    db.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
}

fn keep(db: &Connection, now: Timestamp) {
    for keep in &KEEPS {
        let before = now.as_millisecond() - keep.days * 24 * HOUR_MS;
        while (keep.delete)(db, before, 2000).unwrap() == 2000 {}
    }
}

#[test]
fn a_minute_is_rolled_up_when_it_is_over() {
    let db = database();
    feed(&db, "0:10 10:20 20:30 30:40 40:50 50:60");
    assert_eq!(rollups(&db, Tier::Minute), "");
    // An answer may still be under way.
    feed(&db, "60:99");
    assert_eq!(rollups(&db, Tier::Minute), "");
    feed(&db, "70:99");
    assert_eq!(rollups(&db, Tier::Minute), "0:6*35");
    let summary = sql::summary(&db, Tier::Minute, 1, at(0).as_millisecond()).unwrap().unwrap();
    assert_eq!((summary.cpu.min, summary.cpu.max, summary.cpu.p95), (1000, 6000, 6000));
    assert_eq!(summary.mem.unwrap().mean, 35 * 1024);
    assert_eq!(summary.last, [Some(200 * 1024), Some(1000), Some(2000), None, None]);
    assert_eq!(summary.means, [Some(10), Some(20), None, None, None, None, None]);
}

#[test]
fn an_hour_is_rolled_up_from_all_its_samples() {
    let db = database();
    add_container(&db, 1, "warning");
    for second in (0..3600).step_by(10) {
        store(&db, &one(at(second), if second < 3420 { 10.0 } else { 90.0 })).unwrap();
    }
    assert_eq!(rollups(&db, Tier::Hour), "");
    store(&db, &one(at(3610), 1.0)).unwrap();
    assert_eq!(rollups(&db, Tier::Hour), "0:360*14");
    let hour = sql::summary(&db, Tier::Hour, 1, at(0).as_millisecond()).unwrap().unwrap();
    // Five percent were at 90.
    assert_eq!((hour.cpu.min, hour.cpu.max, hour.cpu.p95), (1000, 9000, 1000));
}

#[test]
fn what_an_earlier_process_left_is_rolled_up_by_the_next_one() {
    let db = database();
    add_container(&db, 1, "warning");
    feed(&db, "0:10 60:10 3590:20");
    // Nine days off: retention comes before the first sample.
    let back = 9 * 24 * 3600;
    keep(&db, at(back));
    assert_eq!(rows(&db, "resource_samples"), 3);
    feed(&db, &format!("{back}:50 {}:50", back + 70));
    assert_eq!(rollups(&db, Tier::Hour), "0:3*13");
    assert_eq!(rollups(&db, Tier::Minute), format!("59:1*20 {}:1*50", back / 60));
    keep(&db, at(back + 70));
    assert_eq!(rows(&db, "resource_samples"), 2);
}

#[test]
fn a_process_that_ends_within_a_minute_loses_nothing_of_it() {
    let db = database();
    feed(&db, "0:10 10:20");
    feed(&db, "40:30 50:40 70:1");
    assert_eq!(rollups(&db, Tier::Minute), "0:4*25");
}

#[test]
fn a_late_sample_counts_where_it_belongs() {
    let db = database();
    add_container(&db, 1, "warning");
    feed(&db, "3540:10 3610:50");
    assert_eq!(rollups(&db, Tier::Hour), "0:1*10");
    let late = Batch { at: at(3620), samples: vec![sample(1, at(3595), 30.0)], host: None };
    store(&db, &late).unwrap();
    assert_eq!(rollups(&db, Tier::Minute), "59:2*20");
    assert_eq!(rollups(&db, Tier::Hour), "0:2*20");
}

#[test]
fn a_sample_of_a_clock_far_off_is_taken_at_our_time() {
    let db = database();
    let off = Batch { at: at(10), samples: vec![sample(1, at(-86400), 30.0)], host: None };
    store(&db, &off).unwrap();
    feed(&db, "70:1");
    assert_eq!(rollups(&db, Tier::Minute), "0:1*30");
}

#[test]
fn a_clock_set_back_opens_the_time_again() {
    let db = database();
    add_container(&db, 1, "warning");
    feed(&db, "0:10 10:10 60:20 130:20");
    assert_eq!(rollups(&db, Tier::Minute), "0:2*10 1:1*20");
    // Set back by two minutes: the same minutes pass once more.
    feed(&db, "5:40 15:40 65:60 135:20 200:1");
    assert_eq!(rollups(&db, Tier::Minute), "0:4*25 1:2*40 2:2*20");
    feed(&db, "3600:1 3670:1");
    assert_eq!(rollups(&db, Tier::Hour), "0:9*24");
}

#[test]
fn what_is_stored_is_added_to_where_its_samples_are_gone() {
    let db = database();
    feed(&db, "0:10 10:10 20:10 70:1");
    db.execute("DELETE FROM resource_samples", []).unwrap();
    feed(&db, "30:50 70:1");
    assert_eq!(rollups(&db, Tier::Minute), "0:4*20");
}

#[test]
fn a_wrong_clock_far_ahead_costs_nothing_once_it_is_right() {
    let db = database();
    feed(&db, "900000000:10 900000070:10");
    feed(&db, "0:10 70:20 130:30");
    assert!(rollups(&db, Tier::Minute).starts_with("0:1*10 1:1*20"));
    assert_eq!(sql::mark(&db, Tier::Minute).unwrap(), Some(at(120).as_millisecond()));
}

#[test]
fn nothing_is_kept_of_a_deleted_container() {
    let db = database();
    add_container(&db, 1, "warning");
    feed(&db, "0:10 3610:10");
    assert_eq!(rows(&db, "resource_hours"), 1);
    db.execute("DELETE FROM containers", []).unwrap();
    assert_eq!(rows(&db, "resource_hours"), 0);
    feed(&db, "7210:10");
    assert_eq!(rows(&db, "resource_hours"), 0);
    let top =
        |now| history::ranking(&db, Metric::Cpu, PERIODS[1], 5, now, |_| None, None).unwrap().len();
    assert_eq!(top(at(7210)), 0);
    keep(&db, at(3 * 86400));
    assert_eq!(rows(&db, "resource_minutes"), 0);
}

/// Points of a history as `seconds:samples*mean`.
fn points(db: &Connection, range: usize, now: i64) -> String {
    let points = history::points(db, 1, RANGES[range], at(now)).unwrap();
    let told = points.iter().map(|(from, summary)| {
        let second = (from - at(0).as_millisecond()) / 1000;
        format!("{second}:{}*{}", summary.samples, summary.cpu.mean / 100)
    });
    told.collect::<Vec<_>>().join(" ")
}

#[test]
fn histories_have_their_steps_up_to_this_moment() {
    let db = database();
    add_container(&db, 1, "warning");
    assert_eq!(points(&db, 1, 0), "");
    feed(&db, "0:10 30:20 60:30 3600:40 3660:50 3720:60 3730:70");
    assert_eq!(points(&db, 0, 3730), "3600:1*40 3660:1*50 3720:1*60 3730:1*70");
    assert_eq!(points(&db, 1, 3730), "0:2*15 60:1*30 3600:1*40 3660:1*50 3720:2*65");
    assert_eq!(points(&db, 2, 3730), "0:3*20 3600:4*55");
    assert_eq!(points(&db, 3, 3730), "0:3*20 3600:4*55");
    assert_eq!(points(&db, 4, 3730), "0:3*20 3600:4*55");
    // The present stays out of what comes after it.
    assert_eq!(points(&db, 1, 65), "0:2*15 60:1*30");
}

/// Who ranks how: `id=value/before coverage`.
fn top(db: &Connection, metric: Metric, period: usize, now: i64) -> String {
    let limit = |id| (id != 2).then_some(None);
    let all =
        history::ranking(db, metric, PERIODS[period], 5, at(now), limit, Some(100 * MIB)).unwrap();
    let told = all.iter().map(|consumer| {
        let before = consumer.before.map_or("-".to_owned(), |before| before.to_string());
        let coverage = consumer.coverage_percent.unwrap();
        format!("{}={}/{before} {coverage}%", consumer.container_id, consumer.value)
    });
    told.collect::<Vec<_>>().join(", ")
}

#[test]
fn rankings_count_closed_hours_closed_minutes_and_this_moment() {
    let db = database();
    add_container(&db, 1, "warning");
    add_container(&db, 2, "warning");
    let day = 86400;
    let both = |second: i64, first: f64, second_cpu: f64| {
        let at = at(second);
        let samples = vec![sample(1, at, first), sample(2, at, second_cpu)];
        store(&db, &Batch { at, samples, host: Some(host(at, 1.0)) }).unwrap();
    };
    both(1800, 80.0, 10.0);
    both(day, 10.0, 30.0);
    both(day + 3600, 20.0, 30.0);
    both(day + 3660, 30.0, 30.0);
    both(day + 3670, 40.0, 30.0);
    // Of the last 24 hours from 02:00 on, and of the 24 hours before.
    assert_eq!(top(&db, Metric::Cpu, 1, day + 3680), "2=30/10 0.05%, 1=25/80 0.05%");
    assert_eq!(top(&db, Metric::Cpu, 0, day + 3680), "1=30/10 0.84%, 2=30/30 0.84%");
    let memory =
        history::ranking(&db, Metric::Memory, PERIODS[2], 1, at(day + 3680), |_| None, Some(GIB))
            .unwrap();
    let first = memory.first().unwrap();
    assert_eq!((first.container_id, first.rank, first.max), (1, 1, Some(80.0 * 1_048_576.0)));
    assert_eq!((first.value, first.percent), (36.0 * 1_048_576.0, 18.0));
}

#[test]
fn a_ranking_is_by_all_that_was_used_and_not_by_a_short_peak() {
    let db = database();
    add_container(&db, 1, "warning");
    add_container(&db, 2, "warning");
    for second in (0..300).step_by(10) {
        let at = at(second);
        let peak = (second == 0).then(|| sample(2, at, 100.0));
        let samples = [sample(1, at, 20.0)].into_iter().chain(peak).collect();
        store(&db, &Batch { at, samples, host: None }).unwrap();
    }
    assert_eq!(top(&db, Metric::Cpu, 0, 300), "1=20/- 8.33%, 2=100/- 0.28%");
    let memory = top(&db, Metric::Memory, 0, 300);
    assert!(memory.starts_with("1="), "{memory}");
}

#[test]
fn the_host_is_stored_when_it_was_measured() {
    let db = database();
    // Containers took their time.
    let batch = Batch { at: at(5), samples: Vec::new(), host: Some(host(at(9), 1.0)) };
    store(&db, &batch).unwrap();
    let begin = at(0).as_millisecond();
    let stored = sql::samples_of(&db, sql::HOST, begin, begin + MINUTE_MS).unwrap();
    let times: Vec<_> = stored.iter().map(|(at, _)| at - begin).collect();
    assert_eq!(times, [9000]);
}

#[test]
fn the_memory_of_a_remote_host_is_stored_as_the_limit() {
    let db = database();
    let sample = Sample { mem_limit: None, mem_ceiling: Some(GIB), ..sample(1, at(0), 1.0) };
    store(&db, &Batch { at: at(0), samples: vec![sample], host: None }).unwrap();
    let begin = at(0).as_millisecond();
    let stored = sql::samples_of(&db, 1, begin, begin + MINUTE_MS).unwrap();
    assert_eq!(stored[0].1.last[0], Some(1024 * 1024));
}

#[test]
fn a_ranking_of_weeks_reads_neither_samples_nor_whole_rows() {
    let db = database();
    let mut plan = db.prepare(&format!("EXPLAIN QUERY PLAN {}", sql::ranked_hours("mem"))).unwrap();
    let steps: Vec<String> = plan
        .query_map((0, 1), |row| row.get("detail"))
        .unwrap()
        .collect::<rusqlite::Result<_>>()
        .unwrap();
    let plan = steps.join("; ");
    assert!(
        plan.contains("COVERING INDEX resource_hours_ranked (container_id=? AND hour>?"),
        "{plan}"
    );
    assert!(!plan.contains("TEMP B-TREE"), "{plan}");
}

#[test]
fn the_host_has_rollups_of_its_own() {
    let db = database();
    for second in (0..=3610).step_by(10) {
        let at = at(second);
        let cpu = if second < 1800 { 20.0 } else { 40.0 };
        store(&db, &Batch { at, samples: Vec::new(), host: Some(host(at, cpu)) }).unwrap();
    }
    let hour = sql::summary(&db, Tier::Hour, sql::HOST, at(0).as_millisecond()).unwrap().unwrap();
    assert_eq!((hour.samples, hour.cpu.mean, hour.cpu.max), (360, 3000, 4000));
    let [rx, _, read, _, swap, load, disk] = hour.means;
    assert_eq!((rx, read, swap, load, disk), (Some(100), None, Some(0), Some(150), Some(5000)));
    let before = history::before(&db, at(3610)).unwrap();
    let told: Vec<_> = before
        .iter()
        .map(|b| (b.window.as_str(), b.cpu_percent, b.mem_percent, b.disk_percent))
        .collect();
    let day = ("last_24_hours", 30.06, 25.0, Some(50.0));
    assert_eq!(told, [("last_hour", 30.22, 25.0, Some(50.0)), day]);
    let yesterday = history::before(&db, at(86400 + 3000)).unwrap();
    let words: Vec<_> = yesterday.iter().map(|b| (b.window.as_str(), b.coverage_percent)).collect();
    assert_eq!(words, [("last_24_hours", 0.02), ("same_hour_yesterday", 83.33)]);
}

#[test]
fn minutes_are_written_in_the_order_of_time() {
    let db = database();
    for second in (0..180).step_by(10) {
        feed(&db, &format!("{second}:1"));
    }
    let first: i64 =
        db.query_row("SELECT min(minute) FROM resource_minutes", [], |row| row.get(0)).unwrap();
    assert_eq!(first * MINUTE_MS, at(0).as_millisecond());
}
