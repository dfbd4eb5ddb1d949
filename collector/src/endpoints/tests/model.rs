//! Checks as a line of signs, and what they come to. The interval is 10 seconds, and a check holds 21.

use std::time::Duration;

use maintenant_api::endpoints::EndpointStatus;
use maintenant_api::monitors::AlertState;

use super::super::model::{Policy, Span, SpanState, State, Step, Told};
use super::at;

const POLICY: Policy = Policy {
    interval: Duration::from_secs(10),
    timeout: Duration::from_secs(1),
    failure_threshold: 3,
    recovery_threshold: 2,
};

/// A state, and everything its steps brought.
#[derive(Default)]
struct Play {
    state: State,
    spans: Vec<Span>,
    told: Vec<String>,
}

impl Play {
    fn take(&mut self, step: Step) {
        for span in step.spans {
            self.spans.retain(|known| known.from != span.from);
            if span.to != Some(span.from) {
                self.spans.push(span);
            }
        }
        let word = |told: &Told| match told {
            Told::Status { new, .. } => new.as_str().to_owned(),
            Told::Alert => "alert".to_owned(),
            Told::Recovery => "recovery".to_owned(),
        };
        self.told.extend(step.told.iter().map(word));
    }

    fn check(&mut self, succeeded: bool, second: i64) {
        let (_, step) = self.state.after_check(succeeded, at(second), &POLICY);
        self.take(step);
    }

    fn spans(&self) -> String {
        let one = |span: &Span| {
            let state = match span.state {
                SpanState::Up => "up",
                SpanState::Down => "down",
                SpanState::StillDown => "still",
            };
            let to = span.to.map(|to| to.as_second().to_string()).unwrap_or_default();
            format!("{}..{to}:{state}", span.from.as_second())
        };
        self.spans.iter().map(one).collect::<Vec<_>>().join(" ")
    }
}

/// One sign per interval, the first at second 10: `+` success, `-` failure, `.` no check, `w` one that
/// waits for its turn, and is looked at by nobody.
fn play(checks: &str) -> Play {
    let mut play = Play::default();
    for (place, sign) in checks.chars().enumerate() {
        let second = 10 + i64::try_from(place).unwrap() * 10;
        match sign {
            '.' => {
                let step = play.state.expire(at(second));
                play.take(step);
            }
            'w' => {}
            _ => play.check(sign == '+', second),
        }
    }
    play
}

fn check(checks: &str, spans: &str, told: &str) -> State {
    let play = play(checks);
    assert_eq!(play.spans(), spans, "spans of {checks}");
    assert_eq!(play.told.join(" "), told, "told of {checks}");
    play.state
}

#[test]
fn the_status_changes_at_the_first_differing_check_and_the_alert_by_thresholds() {
    let state = check("+", "10..:up", "up");
    assert_eq!((state.status, state.alert), (EndpointStatus::Up, AlertState::Normal));
    let state = check("+-", "10..:up", "up down");
    assert_eq!((state.status, state.since), (EndpointStatus::Down, Some(at(20))));
    let state = check("+---", "10..20:up 20..:down", "up down alert");
    assert_eq!((state.alert, state.failures), (AlertState::Alerting, 3));
    assert_eq!(state.since, Some(at(20)), "since the first failed check");
    let state = check("+---+", "10..20:up 20..50:down 50..:up", "up down alert up");
    assert_eq!(state.alert, AlertState::Alerting);
    let state = check("+---++", "10..20:up 20..50:down 50..:up", "up down alert up recovery");
    assert_eq!((state.alert, state.successes, state.failures), (AlertState::Normal, 2, 0));
}

#[test]
fn a_failure_that_is_not_confirmed_does_not_count() {
    check("+-+--+", "10..:up", "up down up down up");
    check("---", "10..:down", "down alert");
    check("--+", "30..:up", "down up");
}

#[test]
fn while_an_alert_lasts_nothing_is_confirmed_again() {
    let told = "down alert up down";
    check("---+-", "10..40:down 40..50:up 50..:down", told);
}

#[test]
fn a_state_that_no_check_confirms_is_unknown_after_two_intervals_and_a_time_out() {
    check("+.+", "10..:up", "up");
    check("+...+", "10..31:up 50..:up", "up unknown up");
    check("---...---", "10..51:down 70..:still", "down alert unknown down");
}

#[test]
fn checks_that_come_late_reach_thresholds_all_the_same() {
    let state = check("--...-", "60..:down", "down unknown down alert");
    assert_eq!((state.failures, state.alert), (3, AlertState::Alerting));
    check("-...-...-", "90..:down", "down unknown down unknown down alert");
    let told = "down alert unknown up unknown up recovery";
    check("---...+...+", "10..51:down 70..91:up 110..:up", told);
}

#[test]
fn one_that_waits_for_its_turn_is_told_nothing_of_but_counts_as_unknown() {
    check("+www+", "10..31:up 50..:up", "up");
    check("-www-www-", "90..:down", "down alert");
}

#[test]
fn another_target_has_no_part_in_what_was_before() {
    let mut play = play("+---");
    let step = play.state.replaced(at(45));
    play.take(step);
    assert_eq!(play.spans(), "10..20:up 20..45:down");
    assert_eq!(play.told.join(" "), "up down alert unknown recovery");
    assert_eq!((play.state.failures, play.state.alert), (0, AlertState::Normal));
    play.check(false, 50);
    play.check(true, 60);
    assert_eq!(play.spans(), "10..20:up 20..45:down 60..:up");
    let mut calm = self::play("+");
    let step = calm.state.replaced(at(15));
    assert!(!step.told.contains(&Told::Recovery));
}

#[test]
fn time_that_stood_still_is_unknown() {
    let mut play = play("++--");
    let step = play.state.forget(at(45));
    play.take(step);
    assert_eq!(play.spans(), "10..45:up");
    assert_eq!((play.state.failures, play.state.status), (0, EndpointStatus::Unknown));
    play.check(false, 3600);
    play.check(false, 3610);
    assert_eq!(play.state.alert, AlertState::Normal, "two failures are no three");
    play.check(true, 3620);
    assert_eq!(play.spans(), "10..45:up 3620..:up");
}

#[test]
fn a_stopped_container_is_down_for_as_long_as_it_is_stopped() {
    let mut play = play("++");
    let step = play.state.stopped(at(25), at(24));
    play.take(step);
    assert_eq!(play.spans(), "10..25:up 25..:down");
    assert_eq!((play.state.status, play.state.since), (EndpointStatus::Down, Some(at(24))));
    assert_eq!(play.state.alert, AlertState::Normal);
    let step = play.state.expire(at(100_000));
    assert_eq!(step, Step::default(), "no check is needed to know it");
    play.state.released(at(5000), &POLICY);
    play.check(false, 5001);
    assert_eq!(play.spans(), "10..25:up 25..:down", "still down");
    play.check(true, 5010);
    assert_eq!(play.spans(), "10..25:up 25..5010:down 5010..:up");
    assert_eq!(play.told.join(" "), "up down up");
}

#[test]
fn a_stop_told_late_does_not_begin_before_the_last_check() {
    let mut play = play("++");
    let step = play.state.stopped(at(15), at(15));
    play.take(step);
    assert_eq!(play.spans[1].from.as_millisecond(), 20_001);
}

#[test]
fn a_restart_is_a_gap_and_a_short_one_keeps_the_status() {
    let mut short = play("+++--");
    let step = short.state.resume(at(52), at(60));
    short.take(step);
    assert_eq!(short.spans(), "10..52:up");
    assert_eq!((short.state.status, short.state.since), (EndpointStatus::Down, Some(at(40))));
    short.check(false, 61);
    assert_eq!(short.spans(), "10..52:up 61..:down", "the gap counts as nothing");
    assert_eq!(short.state.since, Some(at(40)));

    let mut long = play("+++");
    let step = long.state.resume(at(45), at(3600));
    long.take(step);
    assert_eq!(long.spans(), "10..45:up");
    assert_eq!(long.state.status, EndpointStatus::Unknown);
    let mut dead = play("+++");
    let step = dead.state.resume(at(3000), at(3600));
    dead.take(step);
    assert_eq!(dead.spans(), "10..51:up", "no longer than it would have held");
    let mut unnoted = play("++---");
    let step = unnoted.state.resume(at(15), at(60));
    unnoted.take(step);
    assert_eq!(unnoted.spans(), "10..30:up 30..50:down", "the last check is known too");
}

#[test]
fn a_clock_set_back_a_little_does_not_change_the_order_of_checks() {
    let mut state = State::default();
    let mut times = Vec::new();
    for second in [100, 110, 90, 100] {
        let (time, step) = state.after_check(true, at(second), &POLICY);
        assert_eq!(step.rewound_to, None);
        times.push(time.as_millisecond());
    }
    assert_eq!(times, [100_000, 110_000, 110_001, 110_002]);
}

#[test]
fn a_clock_that_was_far_ahead_is_not_followed() {
    let mut play = play("++--");
    play.check(true, 1_000_000);
    assert_eq!(play.spans(), "10..61:up 1000000..:up");
    let (time, step) = play.state.after_check(true, at(70), &POLICY);
    assert_eq!((time, step.rewound_to), (at(70), Some(at(70))));
    play.take(step);
    assert_eq!(play.spans(), "10..61:up 70..:up");
    assert_eq!((play.state.successes, play.state.since), (1, Some(at(70))));
    play.check(true, 80);
    assert_eq!(play.state.last_check_at, Some(at(80)));
}

#[test]
fn a_success_again_is_one_after_a_success() {
    let is_again = |checks: &str| {
        let before = play(&checks[..checks.len() - 1]).state;
        play(checks).state.is_again(&before)
    };
    assert!(is_again("++") && is_again("-++") && is_again("+-++"));
    for other in ["+", "-", "--", "+-", "-+", "---+", "---++", "+...+", "+www+"] {
        assert!(!is_again(other), "{other}");
    }
}
