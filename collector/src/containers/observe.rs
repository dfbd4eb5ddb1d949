//! From Docker's words to observations: pure translation.

use std::collections::BTreeMap;

use jiff::Timestamp;
use maintenant_api::containers::{Health, State};

use super::exposure::Exposure;
use super::labels::Labels;
use super::model::{Facts, Observation, RestartPolicy, Seen};
use crate::docker::{self, Event, Inspected, Listed};

const SIGTERM: i64 = 15;

/// What an event says, or `None` for one that says nothing to us.
pub fn observe(event: &Event) -> Option<Observation> {
    let attribute = |name: &str| event.actor.attributes.get(name).map(String::as_str);
    let (action, argument) = match event.action.split_once(':') {
        Some((action, argument)) => (action, argument.trim()),
        None => (event.action.as_str(), ""),
    };
    Some(match action {
        "create" => Observation::Created,
        "start" => Observation::Started,
        "die" | "died" => {
            let code = attribute("exitCode").or_else(|| attribute("containerExitCode"));
            match code.and_then(|code| code.parse().ok()) {
                Some(code) => Observation::Died { code },
                // An end without its code is left to the inspection that follows.
                None => Observation::Touched,
            }
        }
        "oom" => Observation::OutOfMemory,
        "kill" => Observation::Signalled { signal: signal(attribute("signal").unwrap_or("")) },
        "pause" => Observation::Paused,
        "unpause" => Observation::Unpaused,
        "rename" => {
            Observation::Renamed { name: attribute("name")?.trim_start_matches('/').into() }
        }
        "health_status" => {
            let word = if argument.is_empty() { attribute("health_status")? } else { argument };
            match Health::parse(word)? {
                Health::Unknown => return None,
                health => Observation::Health(health),
            }
        }
        "restart" | "stop" | "update" => Observation::Touched,
        "destroy" | "remove" => Observation::Destroyed,
        _ => return None,
    })
}

/// What an event tells of a container never inspected: it may be gone before it can be.
pub fn facts_of(event: &Event) -> Facts {
    let attributes = &event.actor.attributes;
    let get = |name: &str| attributes.get(name).cloned().unwrap_or_default();
    Facts { name: get("name"), image: get("image"), ..no_facts(Labels::read(attributes)) }
}

fn no_facts(labels: Labels) -> Facts {
    Facts {
        name: String::new(),
        image: String::new(),
        labels,
        has_health_check: false,
        restart_policy: RestartPolicy::Unknown,
        stop_signal: SIGTERM,
        restart_count: 0,
        error_detail: String::new(),
        exposure: None,
    }
}

/// What an inspection saw. An engine whose clock is ahead must not date things into the future.
pub fn seen(inspected: &Inspected, now: Timestamp) -> Seen {
    let time = |text: &str| docker::time(text).map(|time| time.min(now));
    let state = &inspected.state;
    let policy = &inspected.host_config.restart_policy;
    let test = inspected.config.healthcheck.test.first().map(String::as_str);
    let health = docker::health(&state.health.status);
    let finished_at = time(&state.finished_at);
    Seen {
        external_id: inspected.id.clone(),
        created_at: time(&inspected.created),
        facts: Facts {
            name: inspected.name.trim_start_matches('/').to_owned(),
            image: inspected.config.image.clone(),
            has_health_check: health.is_some() || !matches!(test, None | Some("NONE")),
            restart_policy: match policy.name.as_str() {
                "always" => RestartPolicy::Always,
                "unless-stopped" => RestartPolicy::UnlessStopped,
                "on-failure" => RestartPolicy::OnFailure(policy.maximum_retry_count),
                _ => RestartPolicy::No,
            },
            stop_signal: match inspected.config.stop_signal.as_str() {
                "" => SIGTERM,
                name => signal(name),
            },
            restart_count: inspected.restart_count,
            error_detail: state.error.clone(),
            exposure: Some(Exposure::of(inspected, now)),
            ..no_facts(Labels::read(&inspected.config.labels))
        },
        state: state_of(&state.status, state.running),
        health,
        // Without an end, an exit code counts only beside the reason why it could not be started.
        exit_code: (finished_at.is_some() || !state.error.is_empty()).then_some(state.exit_code),
        oom_killed: state.oom_killed,
        started_at: time(&state.started_at),
        finished_at,
    }
}

/// What a list tells where inspections are refused: less, and no times.
pub fn seen_in_list(listed: &Listed) -> Seen {
    let state = state_of(&listed.state, listed.state == "running");
    let health = ["healthy", "unhealthy", "starting"].into_iter().find(|word| {
        listed.status.ends_with(&format!("({word})"))
            || listed.status.ends_with(&format!("(health: {word})"))
    });
    let exit_code = listed
        .status
        .strip_prefix("Exited (")
        .and_then(|rest| rest.split_once(')'))
        .and_then(|(code, _)| code.parse().ok());
    let name = listed.names.first().map_or("", |name| name.trim_start_matches('/'));
    Seen {
        external_id: listed.id.clone(),
        created_at: None,
        facts: Facts {
            name: name.to_owned(),
            image: listed.image.clone(),
            has_health_check: health.is_some(),
            ..no_facts(Labels::read(&listed.labels))
        },
        state,
        health: health.and_then(Health::parse),
        exit_code,
        oom_killed: false,
        started_at: None,
        finished_at: None,
    }
}

/// Docker's state words and Podman's.
fn state_of(word: &str, running: bool) -> State {
    match word {
        "created" | "configured" | "initialized" => State::Created,
        "running" | "stopping" => State::Running,
        "paused" => State::Paused,
        "restarting" => State::Restarting,
        "dead" => State::Dead,
        _ if running => State::Running,
        _ => State::Exited,
    }
}

/// A signal by number or name (`SIGUSR1`, `usr1`); 0 for one we have no use for.
fn signal(text: &str) -> i64 {
    if let Ok(number) = text.parse() {
        return number;
    }
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    if let Some(above) = name.strip_prefix("RTMIN+") {
        return above.parse::<i64>().map_or(0, |above| 34 + above);
    }
    let names: BTreeMap<&str, i64> = BTreeMap::from([
        ("HUP", 1),
        ("INT", 2),
        ("QUIT", 3),
        ("KILL", 9),
        ("USR1", 10),
        ("USR2", 12),
        ("TERM", 15),
        ("WINCH", 28),
    ]);
    names.get(name).copied().unwrap_or(0)
}
