//! Facts about containers: pure decisions first, then the tables, then the watch against a fake
//! engine for what a real one does not do on demand.

pub(crate) mod fake_docker;
mod following;
mod rules;
mod storing;

use jiff::Timestamp;
use maintenant_api::containers::{Health, State};

use super::labels::{Labels, SEVERITY};
use super::model::{
    Container, Exit, Facts, Observation, Pending, RestartPolicy, Seen, Transition, adopt, apply,
    compare, is_up, learn,
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + second).unwrap()
}

fn facts(name: &str, restart_policy: RestartPolicy) -> Facts {
    Facts {
        name: name.to_owned(),
        image: "busybox:1".to_owned(),
        labels: Labels::default(),
        has_health_check: false,
        restart_policy,
        stop_signal: 15,
        restart_count: 0,
        error_detail: String::new(),
        exposure: None,
    }
}

fn seen(name: &str, state: State) -> Seen {
    Seen {
        external_id: format!("id-of-{name}"),
        created_at: Some(at(0)),
        facts: facts(name, RestartPolicy::No),
        state,
        health: None,
        exit_code: None,
        oom_killed: false,
        started_at: Some(at(0)),
        finished_at: None,
    }
}

fn running(policy: RestartPolicy) -> Container {
    let seen = Seen { facts: facts("web", policy), ..seen("web", State::Running) };
    adopt(1, &seen, at(0))
}

fn describe(container: &Container) -> String {
    let mut text = container.state.as_str().to_owned();
    if let Some(health) = container.health {
        text = format!("{text} {}", health.as_str());
    }
    match container.exit {
        Some(Exit { code, reason, .. }) if container.state != State::Running => {
            format!("{text} {code} {}", reason.as_str())
        }
        _ => text,
    }
}

/// One event a second, as `die=137`, `kill=15`, `oom`, `start`, `healthy`, `wait=600`.
fn play(mut container: Container, events: &str) -> (Container, Vec<String>) {
    let mut second = 0;
    let mut transitions = Vec::new();
    for event in events.split_whitespace() {
        second += 1;
        let (word, number) = event.split_once('=').unwrap_or((event, "0"));
        let number: i64 = number.parse().unwrap();
        let observation = match word {
            "start" => Observation::Started,
            "die" => Observation::Died { code: number },
            "oom" => Observation::OutOfMemory,
            "kill" => Observation::Signalled { signal: number },
            "pause" => Observation::Paused,
            "unpause" => Observation::Unpaused,
            "destroy" => Observation::Destroyed,
            "wait" => {
                second += number;
                continue;
            }
            health => Observation::Health(Health::parse(health).unwrap()),
        };
        let (next, transition) = apply(&container, &observation, at(second));
        if let Some(transition) = transition {
            transitions.push(transition.new_state.as_str().to_owned());
        }
        container = next;
    }
    (container, transitions)
}

fn check(policy: RestartPolicy, events: &str, expected: &str) {
    let (container, _) = play(running(policy), events);
    assert_eq!(describe(&container), expected, "after `{events}`");
}

const NO: RestartPolicy = RestartPolicy::No;

#[test]
fn an_end_is_classified_by_what_came_before_it() {
    check(NO, "die=0", "completed 0 completed");
    check(NO, "die=3", "exited 3 error");
    check(NO, "die=127", "exited 127 cannot_start");
    check(NO, "die=139", "exited 139 signal");
    check(NO, "die=137", "exited 137 signal");
    check(NO, "oom die=137", "exited 137 oom_killed");
    check(NO, "oom wait=500000 kill=15 die=0", "completed 0 requested");
    check(NO, "kill=15 kill=9 die=137", "exited 137 requested");
    check(NO, "kill=15 die=0", "completed 0 requested");
}

#[test]
fn a_signal_is_not_an_end() {
    check(NO, "kill=10", "running");
    check(NO, "kill=15", "running");
    check(NO, "kill=10 die=1", "exited 1 error");
    check(NO, "kill=15 wait=600 die=1", "exited 1 error");
}

#[test]
fn an_out_of_memory_kill_of_a_child_does_not_colour_a_later_end() {
    check(NO, "oom die=137 start die=1", "exited 1 error");
}

#[test]
fn the_restart_policy_says_what_follows_an_end() {
    check(RestartPolicy::Always, "die=0", "restarting 0 completed");
    check(RestartPolicy::UnlessStopped, "die=1", "restarting 1 error");
    check(RestartPolicy::Always, "kill=15 die=143", "exited 143 requested");
    check(RestartPolicy::OnFailure(0), "die=0", "completed 0 completed");
    check(RestartPolicy::OnFailure(0), "die=1", "restarting 1 error");
    check(RestartPolicy::OnFailure(1), "die=7", "restarting 7 error");
}

#[test]
fn an_engine_that_gave_up_corrects_the_end_already_told() {
    let (mut container, transitions) =
        play(running(RestartPolicy::OnFailure(1)), "die=7 start die=7");
    assert_eq!(transitions, ["restarting", "running", "restarting"]);
    container.pending.end = Some(3);
    let ended = Seen {
        exit_code: Some(7),
        finished_at: container.finished_at,
        facts: Facts { restart_count: 1, ..facts("web", RestartPolicy::OnFailure(1)) },
        ..seen("web", State::Exited)
    };
    let (after, transition) = compare(&container, &ended, at(60));
    assert_eq!(describe(&after), "exited 7 error");
    let transition = transition.unwrap();
    assert!(transition.amends);
    assert_eq!((transition.id, transition.new_state), (3, State::Exited));
    assert_eq!(after.last_state_change_at, container.last_state_change_at);
}

#[test]
fn health_is_of_a_running_process_only() {
    check(NO, "unhealthy", "running unhealthy");
    check(NO, "unhealthy die=1", "exited 1 error");
    check(NO, "unhealthy die=1 start", "running starting");
}

#[test]
fn pausing_is_neither_an_end_nor_up() {
    check(NO, "pause", "paused");
    check(NO, "pause unpause", "running");
    let (paused, _) = play(running(NO), "pause");
    assert_eq!(is_up(&paused), Some(false));
}

#[test]
fn what_was_never_meant_to_run_now_is_neither_up_nor_down() {
    let (completed, _) = play(running(NO), "die=0");
    assert_eq!(is_up(&completed), None);
    assert_eq!(is_up(&adopt(1, &seen("x", State::Created), at(0))), None);
    let (unhealthy, _) = play(running(NO), "unhealthy");
    assert_eq!(is_up(&unhealthy), Some(false));
    assert_eq!(is_up(&running(NO)), Some(true));
}

#[test]
fn repeated_and_replayed_events_change_nothing() {
    let (_, transitions) = play(running(NO), "start start healthy healthy");
    assert_eq!(transitions, ["running"], "only the change of health");
    let (container, _) = play(running(NO), "kill=15 die=137");
    let (after, transition) = apply(&container, &Observation::Started, at(0));
    assert!(transition.is_none());
    assert_eq!(after.state, State::Exited);
    let without_reason = Container {
        pending: Pending { requested_at: None, ..container.pending.clone() },
        ..container.clone()
    };
    let (after, _) = apply(&without_reason, &Observation::Died { code: 137 }, at(2));
    assert_eq!(describe(&after), "exited 137 requested", "the same end told again");
}

#[test]
fn a_missed_end_is_found_by_comparing_and_dated_by_the_engine() {
    let ended = Seen { exit_code: Some(3), finished_at: Some(at(5)), ..seen("web", State::Exited) };
    let (container, transition) = compare(&running(NO), &ended, at(60));
    assert_eq!(describe(&container), "exited 3 error");
    assert_eq!(transition.unwrap().at, at(5));
}

#[test]
fn comparing_does_not_unlearn_what_events_told() {
    let (container, _) = play(running(NO), "kill=15 die=137");
    let ended = Seen {
        exit_code: Some(137),
        finished_at: container.finished_at,
        ..seen("web", State::Exited)
    };
    let (after, transition) = compare(&container, &ended, at(60));
    assert!(transition.is_none());
    assert_eq!(describe(&after), "exited 137 requested");
}

#[test]
fn the_kernels_verdict_arrives_late_and_wins() {
    let (container, _) = play(running(NO), "die=137");
    let ended = Seen {
        exit_code: Some(137),
        oom_killed: true,
        finished_at: container.finished_at,
        ..seen("web", State::Exited)
    };
    let (after, transition) = compare(&container, &ended, at(60));
    assert_eq!(describe(&after), "exited 137 oom_killed");
    assert!(transition.is_none(), "the end is known; nothing is there to be corrected");
    let told = Container {
        pending: Pending { end: Some(1), ..container.pending.clone() },
        ..container.clone()
    };
    let (_, transition) = compare(&told, &ended, at(60));
    assert!(transition.is_some_and(|transition| transition.amends));
}

#[test]
fn a_recreated_container_keeps_its_row_and_nothing_of_its_last_run() {
    let (container, _) = play(running(NO), "unhealthy die=3");
    let again = Seen {
        external_id: "another".to_owned(),
        started_at: Some(at(30)),
        ..seen("web", State::Running)
    };
    let (after, transition) = compare(&container, &again, at(31));
    assert_eq!((after.id, after.external_id.as_str()), (container.id, "another"));
    assert_eq!(after.exit, None);
    assert_eq!(transition.unwrap().new_state, State::Running);
}

#[test]
fn identity_is_the_compose_service_else_the_name() {
    let identity = |labels: &[(&str, &str)]| {
        let labels = labels
            .iter()
            .map(|(name, value)| (format!("com.docker.compose.{name}"), (*value).into()));
        Facts { labels: Labels::read(&labels.collect()), ..facts("shop-web-1", NO) }.identity()
    };
    let service = [("project", "shop"), ("service", "web"), ("container-number", "1")];
    assert_eq!(identity(&service), "compose:shop/web/1");
    assert_eq!(identity(&[]), "name:shop-web-1");
    let run = [&service[..], &[("oneoff", "True")]].concat();
    assert_eq!(identity(&run), "name:shop-web-1", "`docker compose run` shares the number");
}

#[test]
fn labels_are_read_and_bad_ones_keep_their_default() {
    let read = |pairs: &[(&str, &str)]| {
        let pairs =
            pairs.iter().map(|(name, value)| (format!("maintenant.{name}"), (*value).into()));
        Labels::read(&pairs.collect())
    };
    let labels = read(&[
        ("ignore", "TRUE"),
        ("group", " shop "),
        ("alert.severity", "Critical"),
        ("alert.restart_threshold", "5"),
        ("alert.channels", "ops, , mail "),
    ]);
    assert!(labels.is_ignored);
    assert_eq!(labels.custom_group, "shop");
    assert_eq!(labels.alert_severity, "critical");
    assert_eq!(labels.restart_threshold, 5);
    assert_eq!(labels.alert_channels, "ops,mail");
    let bad = read(&[
        ("ignore", "perhaps"),
        ("alert.severity", "apocalyptic"),
        ("alert.restart_threshold", "0"),
    ]);
    let watched = [(SEVERITY.to_owned(), "apocalyptic".to_owned())].into();
    assert_eq!(bad, Labels { watched, ..Labels::default() });
}

#[test]
fn an_end_told_before_the_policy_was_known_is_corrected_by_the_facts() {
    let facts = facts("web", RestartPolicy::Always);
    let (mut ended, _) = play(running(RestartPolicy::Unknown), "die=7");
    ended.pending.end = Some(1);
    let (after, correction) = learn(&ended, &facts);
    assert_eq!(after.state, State::Restarting);
    let corrected = |told: Vec<Transition>| -> Vec<(i64, State)> {
        told.iter().map(|told| (told.id, told.new_state)).collect()
    };
    assert_eq!(corrected(correction), [(1, State::Restarting)]);

    let (mut again, _) = play(running(RestartPolicy::Unknown), "die=7 start");
    again.pending.end = Some(1);
    let (after, correction) = learn(&again, &facts);
    assert_eq!(after.state, State::Running);
    assert_eq!(corrected(correction), [(1, State::Restarting)]);
    assert!(learn(&after, &facts).1.is_empty(), "corrected once");

    // Two ends while the inspection took its time.
    let mut twice = running(RestartPolicy::Unknown);
    for id in [1, 2] {
        let (ended, end) = apply(&twice, &Observation::Died { code: 7 }, at(2 * id));
        let end = end.unwrap();
        twice = apply(&ended, &Observation::Started, at(2 * id + 1)).0;
        twice.pending.blind.insert(0, Transition { id, ..end });
        twice.pending.end = Some(id);
    }
    let (after, correction) = learn(&twice, &facts);
    assert_eq!(corrected(correction), [(2, State::Restarting), (1, State::Restarting)]);
    assert!(learn(&after, &facts).1.is_empty(), "corrected once");
}

#[test]
fn a_policy_changed_by_its_user_does_not_rewrite_an_old_end() {
    for events in ["die=7", "die=7 start"] {
        let (mut container, _) = play(running(NO), events);
        container.pending.end = Some(1);
        let (after, correction) = learn(&container, &facts("web", RestartPolicy::Always));
        assert_eq!((after.state, correction), (container.state, Vec::new()), "after `{events}`");
    }
}

#[test]
fn an_inspection_of_a_later_run_corrects_nothing() {
    let (mut container, _) = play(running(RestartPolicy::OnFailure(2)), "die=7");
    container.pending.end = Some(1);
    let later = Seen {
        exit_code: Some(7),
        started_at: Some(at(2)),
        finished_at: Some(at(3)),
        ..seen("web", State::Exited)
    };
    let (_, transition) = compare(&container, &later, at(60));
    assert!(transition.is_some_and(|transition| !transition.amends));
}

#[test]
fn a_restart_nobody_told_of_is_a_transition() {
    let later = Seen { started_at: Some(at(40)), ..seen("web", State::Running) };
    let (after, transition) = compare(&running(NO), &later, at(60));
    let transition = transition.unwrap();
    assert_eq!((transition.previous_state, transition.new_state), (State::Running, State::Running));
    assert_eq!((transition.at, after.last_state_change_at), (at(40), at(40)));
    let (_, transition) = compare(&after, &later, at(70));
    assert!(transition.is_none());
}

#[test]
fn a_start_or_an_end_of_a_moment_ago_is_left_to_its_event() {
    let known = running(RestartPolicy::No);
    let ended = Seen { finished_at: Some(at(60)), ..seen("web", State::Exited) };
    let again = Seen { started_at: Some(at(60)), ..seen("web", State::Running) };
    for news in [&ended, &again] {
        assert!(known.awaits_events(news, at(69)), "{news:?}");
        assert!(!known.awaits_events(news, at(70)), "its event was lost: {news:?}");
    }
    let other = Seen { external_id: "another".to_owned(), ..ended.clone() };
    let paused = seen("web", State::Paused);
    for no_news in [other, paused, seen("web", State::Running), seen("web", State::Created)] {
        assert!(!known.awaits_events(&no_news, at(1)), "{no_news:?}");
    }
}
