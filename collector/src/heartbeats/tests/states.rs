//! Every transition: what signals and passing deadlines do.

use super::*;

#[test]
fn a_heartbeat_that_is_pinged_in_time_is_up() {
    let mut world = check(
        &every_ten_minutes(),
        &[
            (0.0, "sweep", "new"),
            (3.0, "success", "up"),
            (12.9, "sweep", "up"),
            (13.0, "sweep", "up"),
            (13.1, "sweep", "up:late"),
            (14.9, "success", "up"),
            (24.0, "0", "up"),
            (30.0, "log", "up"),
        ],
    );
    assert_eq!(world.take_told(), "new>up@3");
    let heartbeat = world.heartbeat();
    assert_eq!(heartbeat.consecutive_successes, 3);
    assert_eq!(heartbeat.last_ping_at, Some(at(30.0)));
    assert_eq!(heartbeat.deadline().unwrap().at, at(36.0));
}

#[test]
fn a_missed_ping_is_down_since_the_deadline_and_up_again_with_the_next() {
    let mut world = check(
        &every_ten_minutes(),
        &[
            (0.0, "success", "up"),
            (11.99, "sweep", "up:late"),
            (12.5, "sweep", "down:missed!"),
            (40.0, "sweep", "down:missed!"),
            (50.0, "success", "up"),
        ],
    );
    assert_eq!(world.take_told(), "new>up@0 up>down@12 deadline_missed down>up@50 recovery");
    assert_eq!(world.spans(60.0), "0..12:up 12..50:down 50..60:up");
}

#[test]
fn a_ping_that_comes_before_the_sweep_finds_the_deadline_missed_all_the_same() {
    let mut world = check(&every_ten_minutes(), &[(0.0, "success", "up"), (12.5, "success", "up")]);
    assert_eq!(world.take_told(), "new>up@0 up>down@12 deadline_missed down>up@12.5 recovery");
    assert_eq!(world.spans(13.0), "0..12:up 12..12.5:down 12.5..13:up");
}

#[test]
fn one_that_is_never_pinged_is_seen() {
    let mut world = check(
        &every_ten_minutes(),
        &[
            (9.0, "sweep", "new"),
            (11.0, "sweep", "new:late"),
            (12.0, "sweep", "new:never_pinged!"),
            (60.0, "sweep", "new:never_pinged!"),
            (61.0, "success", "up"),
        ],
    );
    assert_eq!(world.take_told(), "deadline_missed new>up@61 recovery");
    assert_eq!(world.spans(62.0), "61..62:up", "before its first ping nothing is known");
}

#[test]
fn an_exit_code_other_than_0_is_down_at_once_and_any_success_ends_it() {
    for (failure, code) in [("3", Some(3)), ("255", Some(255)), ("fail", None)] {
        let mut world = check(
            &every_ten_minutes(),
            &[
                (0.0, "success", "up"),
                (5.0, failure, "down:failed!"),
                (6.0, "log", "down:failed!"),
                (30.0, "sweep", "down:failed!"),
            ],
        );
        assert_eq!(world.take_told(), "new>up@0 up>down@5 exit_code_failure");
        assert_eq!(world.heartbeat().last_exit_code, code);
        assert_eq!(world.heartbeat().consecutive_failures, 1);
        world.act(31.0, "0");
        assert_eq!(world.take_told(), "down>up@31 recovery");
        assert_eq!(world.heartbeat().last_exit_code, Some(0));
    }
}

#[test]
fn a_run_that_starts_while_it_is_down_ends_the_alert_with_its_success() {
    for fault in ["fail", "7"] {
        let mut world = check(
            &every_ten_minutes(),
            &[
                (0.0, fault, "down:failed!"),
                (20.0, "start", "started:failed!"),
                (22.0, "success", "up"),
            ],
        );
        let told = "new>down@0 exit_code_failure down>started@20 started>up@22 recovery";
        assert_eq!(world.take_told(), told);
        assert_eq!(world.spans(30.0), "0..22:down 22..30:up");
    }
    check(
        &every_ten_minutes(),
        &[
            (0.0, "success", "up"),
            (20.0, "sweep", "down:missed!"),
            (21.0, "start", "started:missed!"),
            (22.0, "0", "up"),
        ],
    );
}

#[test]
fn a_start_that_never_ends_is_found_at_the_regular_deadline() {
    let mut world = check(
        &every_ten_minutes(),
        &[
            (0.0, "success", "up"),
            (9.0, "start", "started"),
            (11.0, "sweep", "started:late"),
            (13.0, "sweep", "down:runs_too_long!"),
        ],
    );
    assert_eq!(world.take_told(), "new>up@0 up>started@9 started>down@12 deadline_missed");
    assert_eq!(world.runs(), ["?..0 success", "9..? timeout"]);
    // It ends after all: it was that run.
    world.act(15.0, "success");
    assert_eq!(world.runs(), ["?..0 success", "9..15 success"]);
    assert_eq!(world.heartbeat().last_duration_ms, Some(360_000));
    assert_eq!(world.state(15.0), "up");
}

#[test]
fn a_job_that_starts_again_and_again_and_never_ends_is_found() {
    let story = [
        (0.0, "success", "up"),
        (5.0, "start", "started"),
        (8.0, "start", "started"),
        (11.0, "start", "started:late"),
        (12.5, "sweep", "down:runs_too_long!"),
    ];
    let world = check(&every_ten_minutes(), &story);
    let runs = ["?..0 success", "5..? timeout", "8..? timeout", "11..? timeout"];
    assert_eq!(world.runs(), runs);
    let limited = HeartbeatInput { max_runtime_seconds: Some(1800), ..every_ten_minutes() };
    let world = check(
        &limited,
        &[
            (0.0, "start", "started"),
            (20.0, "start", "started"),
            (29.0, "start", "started"),
            (30.5, "sweep", "down:runs_too_long!"),
        ],
    );
    assert_eq!(world.heartbeat().status_since, at(30.0));
}

#[test]
fn a_job_that_keeps_starting_while_it_is_down_stays_an_alert() {
    let mut world = check(
        &every_ten_minutes(),
        &[
            (0.0, "success", "up"),
            (13.0, "sweep", "down:missed!"),
            (14.0, "start", "started:missed!"),
            (20.0, "start", "started:missed!"),
            (26.5, "start", "started:runs_too_long!"),
        ],
    );
    let told = "new>up@0 up>down@12 deadline_missed down>started@14 started>down@26 \
                down>started@26.5";
    assert_eq!(world.take_told(), told);
    assert_eq!(world.spans(30.0), "0..12:up 12..30:down");
}

#[test]
fn a_run_with_its_own_limit_may_take_that_long_and_no_longer() {
    let limited = HeartbeatInput { max_runtime_seconds: Some(1800), ..every_ten_minutes() };
    let mut world = check(
        &limited,
        &[
            (0.0, "success", "up"),
            (11.0, "start", "started"),
            (25.0, "sweep", "started"),
            (40.0, "success", "up"),
            (49.0, "start", "started"),
            (79.5, "sweep", "down:runs_too_long!"),
        ],
    );
    assert!(world.take_told().ends_with("started>down@79 deadline_missed"));
    let short = HeartbeatInput { max_runtime_seconds: Some(60), ..every_ten_minutes() };
    check(&short, &[(0.0, "start", "started"), (1.0, "sweep", "down:runs_too_long!")]);
}

#[test]
fn overlapping_runs_are_told_apart_by_their_ids() {
    let mut world = check(
        &every_ten_minutes(),
        &[
            (0.0, "start a", "started"),
            (2.0, "start b", "started"),
            (3.0, "success a", "started"),
            (5.0, "0 b", "up"),
        ],
    );
    assert_eq!(world.runs(), ["0..3 success", "2..5 success"]);
    assert_eq!(world.heartbeat().last_duration_ms, Some(180_000));
    // Without an id it is the last that began; an id nobody started is a run of its own.
    for (minute, action) in [(6.0, "start c"), (7.0, "start d"), (8.0, "3"), (9.0, "fail x")] {
        world.act(minute, action);
    }
    let runs = ["6..? in_progress", "7..8 failure", "?..9 failure"];
    assert_eq!(world.runs()[2..], runs);
    assert_eq!(world.heartbeat().current_run_started_at, Some(at(6.0)));
    world.act(10.0, "success c");
    assert_eq!(world.runs()[2], "6..10 success");
    assert_eq!(world.state(10.0), "up");
}

#[test]
fn a_run_that_overlaps_and_never_ends_is_found_though_others_succeed() {
    let world = check(
        &every_ten_minutes(),
        &[
            (0.0, "start a", "started"),
            (1.0, "start b", "started"),
            (9.0, "success b", "started"),
            (12.5, "sweep", "down:runs_too_long!"),
        ],
    );
    assert_eq!(world.heartbeat().status_since, at(12.0));
}

#[test]
fn a_start_gives_up_the_nameless_run_before_it_and_no_end_is_counted_twice() {
    let mut world = check(
        &every_ten_minutes(),
        &[
            (0.0, "start", "started"),
            (1.0, "start", "started"),
            (2.0, "success", "up"),
            (3.0, "success", "up"),
        ],
    );
    assert_eq!(world.runs(), ["0..? timeout", "1..2 success", "?..3 success"]);
    assert_eq!(world.heartbeat().last_duration_ms, None);
    assert_eq!(world.take_told(), "new>started@0 started>up@2");
}

#[test]
fn a_ping_does_not_resume_what_is_paused() {
    let mut world = check(
        &every_ten_minutes(),
        &[
            (0.0, "success", "up"),
            (5.0, "pause", "paused"),
            (6.0, "success", "paused"),
            (7.0, "start", "paused"),
            (8.0, "9", "paused"),
            (100.0, "sweep", "paused"),
            (100.0, "pause", "paused"),
            (110.0, "resume", "up"),
            (121.0, "sweep", "up:late"),
            (122.5, "sweep", "down:missed!"),
        ],
    );
    let told = "new>up@0 up>paused@5 paused>up@110 up>down@122 deadline_missed";
    assert_eq!(world.take_told(), told);
    assert_eq!(world.heartbeat().last_ping_at, Some(at(8.0)));
    assert_eq!(records::pings(&world.db, world.id, 10, 0).unwrap().1, 4);
    assert_eq!(world.runs(), ["?..0 success", "?..6 success", "7..8 failure"]);
    assert_eq!(world.spans(130.0), "0..5:up 110..122:up 122..130:down");
}

#[test]
fn a_run_that_began_before_a_pause_is_not_judged_after_it() {
    let world = check(
        &every_ten_minutes(),
        &[
            (0.0, "start", "started"),
            (5.0, "pause", "paused"),
            (60.0, "resume", "up"),
            (71.0, "sweep", "up:late"),
            (71.5, "start", "started:late"),
            (71.8, "success", "up"),
        ],
    );
    assert_eq!(world.runs(), ["0..? timeout", "71.5..71.8 success"]);
}

#[test]
fn what_is_deleted_is_not_judged_and_not_pinged() {
    let mut world = check(&every_ten_minutes(), &[(0.0, "success", "up")]);
    assert!(changes::delete(&world.db, world.id, at(5.0)).unwrap());
    assert!(changes::delete(&world.db, world.id, at(6.0)).unwrap());
    assert!(!changes::delete(&world.db, 99, at(6.0)).unwrap());
    world.act(60.0, "sweep");
    assert_eq!(world.heartbeat().status, HeartbeatStatus::Up);
    assert_eq!(world.spans(60.0), "0..5:up");
    assert!(changes::pause(&world.db, world.id, at(7.0)).unwrap().is_none());
}

#[test]
fn a_new_timing_is_counted_from_the_last_run_or_from_now() {
    let retimed = |interval: i64, now: f64| {
        let world = check(&every_ten_minutes(), &[(0.0, "success", "up")]);
        let wanted =
            HeartbeatInput { interval_seconds: Some(interval), ..HeartbeatInput::default() };
        changes::edit(&world.db, world.id, &wanted, at(now)).unwrap().unwrap().unwrap();
        world.heartbeat().deadline().unwrap().at
    };
    assert_eq!(retimed(3600, 5.0), at(62.0));
    assert_eq!(retimed(120, 5.0), at(9.0), "not overdue at once");
}

#[test]
fn grace_is_added_to_the_moment_in_utc() {
    let nightly = HeartbeatInput {
        name: Some("nightly".into()),
        schedule: Some("30 2 * * *".into()),
        timezone: Some("Europe/Paris".into()),
        grace_seconds: Some(3600),
        ..HeartbeatInput::default()
    };
    let deadline = |success: &str| {
        let (name, timing) = input::create(&nightly, at(0.0)).unwrap();
        let mut heartbeat = Heartbeat::new(name, timing, at(0.0));
        heartbeat.receive(
            Signal::Success,
            super::super::model::Runs::default(),
            success.parse().unwrap(),
        );
        heartbeat.deadline().unwrap().at.to_string()
    };
    assert_eq!(deadline("2026-03-27T12:00:00Z"), "2026-03-28T02:30:00Z");
    assert_eq!(deadline("2026-03-28T12:00:00Z"), "2026-03-29T02:00:00Z", "the hour is skipped");
    assert_eq!(deadline("2026-10-24T12:00:00Z"), "2026-10-25T01:30:00Z", "the hour is repeated");
    assert_eq!(
        deadline("2026-10-25T00:31:00Z"),
        "2026-10-26T02:30:00Z",
        "it ran in the first pass"
    );
}

#[test]
fn a_run_that_was_over_while_it_was_down_is_not_judged_after_the_recovery() {
    let world = check(
        &every_ten_minutes(),
        &[
            (0.0, "start a", "started"),
            (1.0, "start b", "started"),
            (2.0, "fail b", "down:failed!"),
            (30.0, "success c", "up"),
            (31.0, "sweep", "up"),
        ],
    );
    assert_eq!(world.runs(), ["0..? timeout", "1..2 failure", "?..30 success"]);
    assert_eq!(world.spans(31.0), "0..2:up 2..30:down 30..31:up");
    check(
        &every_ten_minutes(),
        &[
            (0.0, "start a", "started"),
            (2.0, "fail b", "down:failed!"),
            (30.0, "start c", "started:failed!"),
            (31.0, "sweep", "started:failed!"),
            (42.0, "sweep", "down:runs_too_long!"),
        ],
    );
}

#[test]
fn a_late_look_gives_up_only_runs_that_are_over() {
    let world = check(
        &every_ten_minutes(),
        &[
            (0.0, "start a", "started"),
            (1.0, "start b", "started"),
            (2.0, "success b", "started"),
            (11.0, "start c", "started"),
            (12.5, "sweep", "down:runs_too_long!"),
        ],
    );
    assert_eq!(world.runs(), ["0..? timeout", "1..2 success", "11..? in_progress"]);
}

/// At minute 0 of each hour.
fn hourly() -> HeartbeatInput {
    HeartbeatInput {
        name: Some("hourly".into()),
        schedule: Some("0 * * * *".into()),
        grace_seconds: Some(60),
        ..HeartbeatInput::default()
    }
}

#[test]
fn a_ping_a_little_ahead_of_its_moment_counts_for_it() {
    let due = |pings: &[(f64, &str)]| {
        let mut world = World::new(&hourly());
        for (minutes, action) in pings {
            world.act(*minutes, action);
        }
        world.heartbeat().expected_at.unwrap()
    };
    assert_eq!(due(&[(59.9, "success")]), at(120.0));
    assert_eq!(due(&[(59.0, "3")]), at(120.0));
    assert_eq!(due(&[(58.9, "success")]), at(60.0));
    assert_eq!(due(&[(59.1, "success"), (59.9, "success")]), at(120.0), "met only once");
    assert_eq!(due(&[(59.9, "success"), (60.1, "success")]), at(120.0));
    let often = HeartbeatInput { schedule: Some("* * * * *".into()), ..hourly() };
    let mut world = World::new(&often);
    world.act(0.4, "success");
    assert_eq!(world.heartbeat().expected_at, Some(at(1.0)), "further than half the gap");
    world.act(0.6, "success");
    assert_eq!(world.heartbeat().expected_at, Some(at(2.0)));
}

#[test]
fn the_same_timing_again_moves_nothing() {
    for wanted in [every_ten_minutes(), HeartbeatInput::default(), hourly()] {
        let is_hourly = wanted.schedule.is_some();
        let world = World::new(&if is_hourly { hourly() } else { every_ten_minutes() });
        let before = world.heartbeat().expected_at;
        changes::edit(&world.db, world.id, &wanted, at(61.0)).unwrap().unwrap().unwrap();
        assert_eq!(world.heartbeat().expected_at, before);
    }
}

#[test]
fn a_shorter_limit_of_a_run_under_way_is_counted_from_now() {
    let mut world = check(&every_ten_minutes(), &[(0.0, "start", "started")]);
    let wanted = HeartbeatInput { max_runtime_seconds: Some(60), ..HeartbeatInput::default() };
    changes::edit(&world.db, world.id, &wanted, at(5.0)).unwrap().unwrap().unwrap();
    world.act(5.5, "sweep");
    assert_eq!(world.state(5.5), "started");
    world.act(6.0, "sweep");
    assert_eq!(world.state(6.0), "down:runs_too_long!");
    assert_eq!(world.heartbeat().status_since, at(6.0));
}
