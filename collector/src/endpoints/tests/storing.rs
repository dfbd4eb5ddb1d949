//! The tables: what is saved is what is read, and days say what spans said.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use maintenant_api::endpoints::{
    EndpointConfig, EndpointInput, EndpointSource, EndpointStatus, EndpointType, FailureCause,
};
use maintenant_api::monitors::{AlertState, DayOfUptime};
use rusqlite::Connection;

use super::super::history::{self, DAY_MS, History, WINDOWS};
use super::super::model::{Policy, Span, SpanState, State};
use super::super::probe::Outcome;
use super::super::sql::{self, Declaration, KEEPS, Write};
use super::super::statistics::Summary;
use super::{at, declaration, failure, success, texts};
use crate::store::Store;

const DAY: i64 = DAY_MS / 1000;

fn open() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(&folder.path().join("m.db")).unwrap();
    (folder, store)
}

async fn write<T: Send + 'static>(
    store: &Store,
    work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
) -> T {
    store.write(work).await.unwrap()
}

async fn declared(store: &Store, label_key: &str) -> i64 {
    let new = declaration(label_key);
    write(store, move |tx| sql::declare(tx, &new, at(0))).await
}

/// What the job writes for a check.
fn writes(id: i64, state: &mut State, outcome: &Outcome, second: i64) -> Vec<Write> {
    let policy = Policy {
        interval: Duration::from_secs(10),
        timeout: Duration::from_secs(1),
        failure_threshold: 2,
        recovery_threshold: 2,
    };
    let before = *state;
    let (at, step) = state.after_check(outcome.failure.is_none(), at(second), &policy);
    let rewind = step.rewound_to.map(|to| Write::Rewind { id, to });
    let check = Write::check(id, at, outcome, &before, state);
    let spans = step.spans.into_iter().map(|span| Write::Span { id, span });
    rewind.into_iter().chain([check]).chain(spans).collect()
}

/// Signs as in the tests of the model, every 10 seconds from `begin` on.
async fn play(store: &Store, id: i64, begin: i64, checks: &str) -> State {
    let mut state = write(store, move |db| sql::find_state(db, id)).await;
    for (place, sign) in checks.chars().enumerate() {
        let second = begin + i64::try_from(place).unwrap() * 10;
        let outcome = match sign {
            '+' => success(20),
            '-' => failure(FailureCause::Connect, "refused"),
            _ => continue,
        };
        let writes = writes(id, &mut state, &outcome, second);
        write(store, move |tx| sql::save(tx, &writes, at(second))).await;
    }
    state
}

/// What the job does when days are over that were not at `since`.
async fn roll_up(store: &Store, id: i64, since: i64, now: i64) {
    let roll = move |tx: &Connection| {
        history::save_rolled_until(tx, at(since))?;
        history::roll_up_days(tx, &[id], at(now))?;
        history::save_rolled_until(tx, at(now))
    };
    write(store, roll).await;
}

async fn daily(store: &Store, id: i64, days: i64, now: i64) -> Vec<DayOfUptime> {
    store.read(move |db| History::new(db, at(now))?.daily(id, days)).await.unwrap()
}

async fn percents(store: &Store, id: i64, now: i64) -> Vec<Option<f64>> {
    let read = move |db: &Connection| History::new(db, at(now))?.by_window(id, &WINDOWS);
    let (percents, _) = store.read(read).await.unwrap();
    WINDOWS.map(|(window, _)| percents[window]).into()
}

#[tokio::test]
async fn every_option_is_stored_and_read_back() {
    let (_folder, store) = open();
    let config = EndpointConfig {
        interval: "1m".into(),
        timeout: "5s".into(),
        failure_threshold: 7,
        recovery_threshold: 8,
        method: Some("HEAD".into()),
        expected_status: Some("204".into()),
        tls_verify: false,
        headers: texts(&[("Host", "x"), ("Authorization", "Bearer y")]),
        max_redirects: Some(0),
        conditions: maintenant_api::endpoints::Conditions {
            body_contains: Some("a".into()),
            body_matches: Some("b".into()),
            header_contains: texts(&[("c", "d")]),
            header_matches: texts(&[("e", "f")]),
            send: None,
            expect: None,
        },
    };
    let new = Declaration {
        container_id: 3,
        label_key: "maintenant.endpoint.0.http".into(),
        source: EndpointSource::Label,
        container_name: "web".into(),
        external_id: "abc".into(),
        compose_project: "shop".into(),
        compose_service: "web".into(),
        name: "Shop".into(),
        kind: EndpointType::Http,
        target: "https://web".into(),
        config,
        own: Some(EndpointInput { interval: Some("1m".into()), ..EndpointInput::default() }),
    };
    let saved = new.clone();
    let id = write(&store, move |tx| sql::declare(tx, &saved, at(5))).await;
    let loaded = store.read(sql::load).await.unwrap();
    assert_eq!(loaded, [(id, new.clone(), State::default())]);
    let wire = store.read(move |db| sql::find(db, id)).await.unwrap().unwrap();
    assert_eq!((wire.config, wire.external_id.as_str()), (new.config, "abc"));
    assert_eq!((wire.orchestration_group.as_str(), wire.active), ("shop", true));
}

#[tokio::test]
async fn the_state_and_the_last_check_are_read_back() {
    let (_folder, store) = open();
    let id = declared(&store, "a").await;
    let state = play(&store, id, 100, "+--").await;
    assert_eq!(store.read(move |db| sql::find_state(db, id)).await.unwrap(), state);
    let wire = store.read(move |db| sql::find(db, id)).await.unwrap().unwrap();
    assert_eq!((wire.status, wire.alert_state), (EndpointStatus::Down, AlertState::Alerting));
    assert_eq!((wire.status_since, wire.last_check_at), (Some(at(110)), Some(at(120))));
    assert_eq!(wire.last_error.as_deref(), Some("refused"));
    assert_eq!((wire.last_cause, wire.consecutive_failures), (Some(FailureCause::Connect), 2));
    let mut unknown = state;
    unknown.forget(at(125));
    let unknown = [Write::State { id, state: unknown, last: None }];
    write(&store, move |tx| sql::save(tx, &unknown, at(130))).await;
    let wire = store.read(move |db| sql::find(db, id)).await.unwrap().unwrap();
    assert_eq!(wire.status, EndpointStatus::Unknown);
    assert_eq!(wire.last_error.as_deref(), Some("refused"), "the last check stays what it was");
}

#[tokio::test]
async fn every_check_leaves_in_the_database_what_is_in_memory() {
    let (_folder, store) = open();
    let id = declared(&store, "a").await;
    let mut state = State::default();
    for (place, sign) in "+++-+++--+-+++----++++.....+++-".chars().enumerate() {
        let second = i64::try_from(place).unwrap() * 10;
        let outcome = match sign {
            '+' => success(second),
            '-' => failure(FailureCause::Connect, "refused"),
            _ => continue,
        };
        let writes = writes(id, &mut state, &outcome, second);
        write(&store, move |tx| sql::save(tx, &writes, at(second))).await;
        assert_eq!(store.read(move |db| sql::find_state(db, id)).await.unwrap(), state, "{place}");
        let wire = store.read(move |db| sql::find(db, id)).await.unwrap().unwrap();
        let error = outcome.failure.map(|failure| failure.error);
        assert_eq!((wire.last_error, wire.last_check_at), (error, Some(at(second))), "{place}");
        assert_eq!(wire.last_response_time_ms, Some(outcome.response_time_ms), "{place}");
    }
}

#[tokio::test]
async fn what_a_clock_far_ahead_dated_is_removed_when_it_is_set_back() {
    let (_folder, store) = open();
    let id = declared(&store, "a").await;
    let begin = 1_000 * DAY;
    play(&store, id, begin, "+++").await;
    play(&store, id, begin + 30 * DAY, "+--+").await;
    play(&store, id, begin + 30, "++++").await;
    let all = move |db: &Connection| sql::checks(db, id, (at(0), Timestamp::MAX), (9, 0));
    let (checks, _) = store.read(all).await.unwrap();
    let seconds: Vec<_> = checks.iter().map(|c| c.timestamp.as_second() - begin).collect();
    assert_eq!(seconds, [60, 50, 40, 30, 20, 10, 0]);
    let failures = "SELECT count(*) FROM endpoint_failures";
    let failures = store.read(|db| db.query_row(failures, [], |row| row.get::<_, i64>(0))).await;
    assert_eq!(failures.unwrap(), 0);
    let today = &daily(&store, id, 1, begin + 70).await[0];
    assert_eq!((today.uptime_percent, today.incident_count), (Some(100.0), 0));
    let state = store.read(move |db| sql::find_state(db, id)).await.unwrap();
    assert_eq!(state.span.map(|span| span.from), Some(at(begin + 30)));
}

#[tokio::test]
async fn checks_are_paged_newest_first_with_their_messages() {
    let (_folder, store) = open();
    let id = declared(&store, "a").await;
    play(&store, id, 0, "++-+-").await;
    let page = move |limit, offset| {
        move |db: &Connection| sql::checks(db, id, (at(10), at(40)), (limit, offset))
    };
    let (checks, total) = store.read(page(2, 0)).await.unwrap();
    assert_eq!(total, 4);
    let seen: Vec<_> = checks.iter().map(|c| (c.timestamp, c.success)).collect();
    assert_eq!(seen, [(at(40), false), (at(30), true)]);
    assert_eq!(checks[0].error_message.as_deref(), Some("refused"));
    assert_eq!(checks[0].cause, Some(FailureCause::Connect));
    assert_eq!(checks[0].phases.unwrap().dns_ms, Some(2));
    assert_eq!((checks[1].http_status, checks[1].response_time_ms), (Some(200), 21));
    assert_eq!(store.read(page(2, 3)).await.unwrap().0.len(), 1);
}

#[tokio::test]
async fn sparklines_are_of_active_endpoints_oldest_first_and_without_failures() {
    let (_folder, store) = open();
    let (id, other) = (declared(&store, "a").await, declared(&store, "b").await);
    let mut state = State::default();
    for second in 0..30 {
        let outcome = success(second);
        let writes = writes(id, &mut state, &outcome, second * 10);
        write(&store, move |tx| sql::save(tx, &writes, at(second * 10))).await;
    }
    play(&store, id, 1_000, "-").await;
    play(&store, other, 0, "+").await;
    write(&store, move |tx| sql::deactivate(tx, other, at(50))).await;
    let lines = store.read(sql::sparklines).await.unwrap();
    assert_eq!(lines.keys().collect::<Vec<_>>(), [&id]);
    assert_eq!(lines[&id], (12..=30).collect::<Vec<_>>());
}

#[tokio::test]
async fn uptime_is_by_time_and_an_unconfirmed_failure_is_not_down() {
    let (_folder, store) = open();
    let id = declared(&store, "a").await;
    let begin = 1_000 * DAY;
    play(&store, id, begin, "+++-++").await;
    assert_eq!(percents(&store, id, begin + 60).await, [Some(100.0); 5]);
    // From the first of two failed checks on: 20 of 100 seconds.
    play(&store, id, begin + 60, "--++").await;
    assert_eq!(percents(&store, id, begin + 100).await, [Some(80.0); 5]);
    let today = &daily(&store, id, 2, begin + 100).await;
    assert_eq!(today[0].uptime_percent, Some(80.0));
    assert_eq!((today[0].incident_count, today[0].coverage_percent), (1, 100.0));
    assert_eq!((today[1].uptime_percent, today[1].coverage_percent), (None, 0.0));
}

#[tokio::test]
async fn what_holds_no_longer_is_unknown_even_if_nobody_says_so() {
    let (_folder, store) = open();
    let id = declared(&store, "a").await;
    let begin = 1_000 * DAY;
    play(&store, id, begin, "++").await;
    let read = move |db: &Connection| {
        History::new(db, at(begin + 100))?.between(id, (begin * 1000, (begin + 100) * 1000))
    };
    let sums = store.read(read).await.unwrap();
    assert_eq!((sums.up, sums.down), (31_000, 0), "no check has confirmed it for too long");
}

#[tokio::test]
async fn days_are_rolled_up_and_outlive_their_spans() {
    let (_folder, store) = open();
    let id = declared(&store, "a").await;
    let begin = 1_000 * DAY;
    let span = |from: i64, to: i64, state| Write::Span {
        id,
        span: Span { from: at(begin + from), to: Some(at(begin + to)), state },
    };
    let spans = [
        span(0, DAY / 2, SpanState::Up),
        span(DAY / 2, DAY, SpanState::Down),
        // A whole day is not known.
        span(2 * DAY, 3 * DAY + 3600, SpanState::StillDown),
        span(3 * DAY + 3600, 4 * DAY, SpanState::Up),
    ];
    let now = begin + 4 * DAY;
    write(&store, move |tx| history::save_rolled_until(tx, at(begin))).await;
    write(&store, move |tx| sql::save(tx, &spans, at(begin))).await;
    let expected = |days: Vec<DayOfUptime>| {
        let days: Vec<_> = days
            .iter()
            .map(|day| (day.uptime_percent, day.incident_count, day.coverage_percent))
            .collect();
        assert_eq!(days[0], (None, 0, 0.0), "today nothing is known yet");
        assert_eq!(days[1], (Some(95.83), 0, 100.0));
        assert_eq!(days[2], (Some(0.0), 0, 100.0), "still down is no new incident");
        assert_eq!(days[3], (None, 0, 0.0));
        assert_eq!(days[4], (Some(50.0), 1, 100.0));
        assert_eq!(days.len(), 6);
    };
    // Before the job came to it, spans tell the same.
    expected(daily(&store, id, 6, now).await);
    let before = percents(&store, id, now).await;
    roll_up(&store, id, begin, now).await;
    let all = daily(&store, id, 6, now).await;
    assert_eq!(all[4].date, "1972-09-27");
    expected(all);
    assert_eq!(percents(&store, id, now).await, before);
    // 12 + 23 hours of 72 known ones.
    assert_eq!(before[2..], [Some(48.61); 3]);
    write(&store, |tx| tx.execute("DELETE FROM endpoint_spans", []).map(drop)).await;
    expected(daily(&store, id, 6, now).await);
    assert_eq!(percents(&store, id, now).await[2..], before[2..]);
}

#[tokio::test]
async fn a_failure_confirmed_after_midnight_is_counted_in_the_day_it_began() {
    let (_folder, store) = open();
    let id = declared(&store, "a").await;
    let midnight = 1_000 * DAY;
    play(&store, id, midnight - 35, "+++-").await;
    roll_up(&store, id, midnight - DAY, midnight + 1).await;
    let yesterday = |days: Vec<DayOfUptime>| (days[1].uptime_percent, days[1].incident_count);
    assert_eq!(yesterday(daily(&store, id, 2, midnight + 1).await), (Some(100.0), 0));
    play(&store, id, midnight + 5, "-").await;
    // Up for 30 seconds and down for 5.
    assert_eq!(yesterday(daily(&store, id, 2, midnight + 6).await), (Some(85.71), 1));
}

#[tokio::test]
async fn statistics_tell_times_causes_and_outages() {
    let mut summary = Summary::default();
    let mut second = 0;
    let mut see = |outcome: Outcome| {
        second += 1;
        summary.see(at(second), &outcome);
    };
    for ms in [10, 20, 30, 40] {
        see(success(ms));
    }
    for cause in [FailureCause::Dns, FailureCause::Connect, FailureCause::Connect] {
        see(failure(cause, "no"));
    }
    see(success(99));
    see(failure(FailureCause::Connect, "no"));
    assert_eq!((summary.checks, summary.failures), (9, 4));
    assert_eq!(summary.times(), [Some(31), Some(100), Some(100)]);
    let causes: Vec<_> = summary.causes().iter().map(|c| (c.cause, c.count)).collect();
    assert_eq!(causes, [(FailureCause::Connect, 3), (FailureCause::Dns, 1)]);
    let (outages, left_out) = summary.outages();
    let seen: Vec<_> = outages.iter().map(|o| (o.from, o.to, o.failures, o.cause)).collect();
    let expected =
        [(at(9), None, 1, FailureCause::Connect), (at(5), Some(at(8)), 3, FailureCause::Dns)];
    assert_eq!((&seen[..], left_out), (&expected[..], 0));
    assert_eq!(Summary::default().times(), [None; 3]);
}

#[tokio::test]
async fn what_is_old_is_deleted_and_what_is_not_stays() {
    let (_folder, store) = open();
    let id = declared(&store, "a").await;
    let gone = declared(&store, "b").await;
    let now = 1_000 * DAY;
    for ago in [500, 150, 50, 1] {
        play(&store, id, now - ago * DAY, "+--++").await;
    }
    play(&store, gone, now - 50 * DAY, "+").await;
    write(&store, move |tx| sql::deactivate(tx, gone, at(now - 40 * DAY))).await;
    roll_up(&store, id, 0, now).await;
    for keep in KEEPS {
        let before = (now - keep.days * DAY) * 1000;
        let deleted = write(&store, move |tx| (keep.delete)(tx, before, 2_000)).await;
        assert!(deleted > 0, "{}", keep.what);
        let again = write(&store, move |tx| (keep.delete)(tx, before, 2_000)).await;
        assert_eq!(again, 0, "{}", keep.what);
    }
    let count = |table: &'static str| {
        let store = store.clone();
        async move {
            let sql = format!("SELECT count(*) FROM {table}");
            store.read(move |db| db.query_row(&sql, [], |row| row.get::<_, i64>(0))).await.unwrap()
        }
    };
    assert_eq!(count("endpoint_checks").await, 5);
    assert_eq!(count("endpoint_failures").await, 2);
    assert_eq!(count("endpoint_days").await, 3, "days of 150, 50 and 1 days ago");
    assert_eq!(count("endpoints").await, 1);
    assert!(store.read(move |db| sql::find(db, gone)).await.unwrap().is_none());
}

#[tokio::test]
async fn a_result_for_an_endpoint_that_is_gone_keeps_no_other_out() {
    let (_folder, store) = open();
    let id = declared(&store, "a").await;
    let mut states = (State::default(), State::default());
    let lost = writes(id + 1, &mut states.0, &success(1), 10);
    let kept = writes(id, &mut states.1, &success(1), 10);
    let all: Arc<[Write]> = lost.into_iter().chain(kept).collect();
    write(&store, move |tx| sql::save(tx, &all, at(10))).await;
    let read = move |db: &Connection| sql::checks(db, id, (at(0), Timestamp::MAX), (9, 0));
    assert_eq!(store.read(read).await.unwrap().1, 1);
}

#[tokio::test]
async fn a_label_declared_again_is_the_same_endpoint() {
    let (_folder, store) = open();
    let id = declared(&store, "a").await;
    play(&store, id, 10, "+").await;
    write(&store, move |tx| sql::deactivate(tx, id, at(20))).await;
    assert!(store.read(sql::load).await.unwrap().is_empty());
    assert_eq!(declared(&store, "a").await, id);
    let state = store.read(move |db| sql::find_state(db, id)).await.unwrap();
    assert_eq!(state.last_check_at, Some(at(10)));
}
