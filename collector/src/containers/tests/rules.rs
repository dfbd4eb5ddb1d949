//! What is wrong with a container, by what happened to it: times are seconds after it was first seen.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::SignedDuration;
use maintenant_api::alerts::Severity;
use rusqlite::Connection;
use serde_json::json;
use tokio::time::Instant;

use super::*;
use crate::containers::model::Transition;
use crate::containers::rules::{Rules, judge};
use crate::containers::sql::{self, Change};
use crate::runtime::{NOTHING, Runtime, RuntimeState};
use crate::signals::{Entity, Findings, Signal, Source};
use crate::store::Store;

const AFTER: SignedDuration = SignedDuration::from_secs(30);
const ALWAYS: RestartPolicy = RestartPolicy::Always;

/// What was seen of one container.
struct Life {
    container: Container,
    transitions: Vec<Transition>,
    second: i64,
}

impl Life {
    /// As in [`play`]; `give-up` is an inspection that finds a container at rest, `missed` one that
    /// finds another run, and `anew` one that finds another container of its identity.
    fn of(mut container: Container, events: &str) -> Self {
        let (mut transitions, mut second) = (Vec::<Transition>::new(), 0);
        for event in events.split_whitespace() {
            second += 1;
            let (word, number) = event.split_once('=').unwrap_or((event, "0"));
            let number: i64 = number.parse().unwrap();
            let shown = Seen {
                started_at: container.started_at,
                finished_at: container.finished_at,
                exit_code: container.exit.map(|exit| exit.code),
                facts: container.facts.clone(),
                ..seen("web", State::Exited)
            };
            let (next, transition) = match word {
                "wait" => {
                    second += number - 1;
                    continue;
                }
                "give-up" => {
                    container.pending.end = transitions.last().map(|transition| transition.id);
                    compare(&container, &shown, at(second))
                }
                "missed" => {
                    let started_at = Some(at(second));
                    let shown = Seen { state: State::Running, started_at, ..shown };
                    compare(&container, &shown, at(second))
                }
                "anew" => {
                    let external_id = "another".to_owned();
                    let shown = Seen { external_id, ..seen("web", State::Created) };
                    compare(&container, &shown, at(second))
                }
                _ => {
                    let observation = match word {
                        "start" => Observation::Started,
                        "die" => Observation::Died { code: number },
                        "oom" => Observation::OutOfMemory,
                        "kill" => Observation::Signalled { signal: number },
                        "pause" => Observation::Paused,
                        "unpause" => Observation::Unpaused,
                        health => Observation::Health(Health::parse(health).unwrap()),
                    };
                    apply(&container, &observation, at(second))
                }
            };
            match transition {
                Some(amended) if amended.amends => {
                    let told = transitions.iter_mut().find(|told| told.id == amended.id).unwrap();
                    (told.new_state, told.exit) = (amended.new_state, amended.exit);
                }
                Some(mut new) => {
                    new.id = i64::try_from(transitions.len()).unwrap() + 1;
                    transitions.push(new);
                }
                None => {}
            }
            container = next;
        }
        Self { container, transitions, second }
    }

    /// What is wrong so many seconds after the last event.
    fn signal(&self, later: i64) -> Option<Signal> {
        judge(&self.container, &self.transitions, AFTER, at(self.second + later))
    }

    fn told(&self, later: i64) -> String {
        let Some(signal) = self.signal(later) else { return "-".to_owned() };
        let second = |moment: Timestamp| moment.duration_since(at(0)).as_secs();
        let (since, due) = (second(signal.since), second(signal.due));
        format!("{} {} {since} {due}", signal.alert_type, signal.severity.as_str())
    }
}

fn check(policy: RestartPolicy, events: &str, later: i64, expected: &str) {
    let life = Life::of(running(policy), events);
    assert_eq!(life.told(later), expected, "{later} s after `{events}`");
}

/// So many crashes in a row: each run takes so many seconds, a new one begins a second later.
fn crashes(many: usize, lasting: i64) -> String {
    format!("wait={} die=1 start ", lasting - 1).repeat(many)
}

#[test]
fn a_container_that_runs_or_never_ran_is_no_trouble() {
    check(NO, "", 1_000, "-");
    check(NO, "pause", 1_000, "-");
    check(NO, "healthy", 1_000, "-");
    let exited = Seen { exit_code: Some(1), ..seen("web", State::Exited) };
    let adopted = adopt(1, &exited, at(0));
    assert_eq!(judge(&adopted, &[], AFTER, at(1_000)), None, "it was never seen running");
    let created = adopt(1, &seen("web", State::Created), at(0));
    assert_eq!(judge(&created, &[], AFTER, at(1_000)), None);
}

#[test]
fn a_container_that_ended_is_down_by_the_cause_of_its_end() {
    check(NO, "die=1", 1, "container_down critical 1 31");
    check(NO, "wait=99 die=139", 500, "container_down critical 100 130");
    check(NO, "die=127", 1, "container_down critical 1 31");
    check(NO, "kill=15 die=143", 1, "container_down warning 2 32");
    check(NO, "kill=15 die=0", 1, "container_down warning 2 32");
    check(ALWAYS, "kill=9 die=137", 1, "container_down warning 2 32");
    check(NO, "die=0", 1_000, "-");
    check(NO, "die=1 start", 0, "-");
    check(ALWAYS, "die=0", 1, "container_down critical 1 31");
    check(NO, "pause die=1", 1, "container_down critical 2 32");
}

#[test]
fn a_container_stopped_while_it_waits_for_its_restart_was_stopped_on_request() {
    check(ALWAYS, "die=1 give-up", 1, "container_down warning 1 31");
    check(RestartPolicy::OnFailure(1), "die=1 give-up", 1, "container_down critical 1 31");
    check(ALWAYS, &format!("{} die=1 give-up", crashes(5, 1)), 1, "container_down warning 11 41");
}

#[test]
fn a_start_that_failed_is_down_where_it_ran_before() {
    let life = Life::of(running(NO), "kill=15 die=0 start");
    let failed = Seen {
        external_id: "another".to_owned(),
        exit_code: Some(128),
        started_at: None,
        ..seen("web", State::Created)
    };
    let (container, _) = compare(&life.container, &failed, at(9));
    let signal = judge(&container, &life.transitions, AFTER, at(60)).unwrap();
    assert_eq!(signal.message, "Container `web` cannot start: exit code 128");
    assert_eq!(signal.severity, Severity::Critical);
    let created = adopt(1, &failed, at(0));
    assert_eq!(judge(&created, &[], AFTER, at(60)), None, "it never ran");
}

#[test]
fn three_restarts_in_ten_minutes_are_a_loop_and_nine_a_critical_one() {
    check(ALWAYS, &crashes(2, 1), 0, "-");
    check(ALWAYS, &crashes(3, 1), 0, "restart_loop warning 1 6");
    check(ALWAYS, &crashes(8, 1), 0, "restart_loop warning 1 6");
    check(ALWAYS, &crashes(9, 1), 0, "restart_loop critical 1 6");
    // Restarts 300 seconds apart are three within 600 seconds, 301 apart are not.
    check(ALWAYS, &crashes(3, 299), 0, "restart_loop warning 299 900");
    check(ALWAYS, &crashes(30, 300), 0, "-");
    check(ALWAYS, "missed missed", 0, "-");
    check(ALWAYS, "missed missed missed", 0, "restart_loop warning 1 3");
}

#[test]
fn what_was_asked_for_is_no_loop() {
    check(ALWAYS, &"kill=15 die=143 start ".repeat(5), 0, "-");
    check(NO, &"die=0 start ".repeat(9), 0, "-");
    check(ALWAYS, &"die=0 start ".repeat(3), 0, "restart_loop warning 1 6");
    check(NO, &"die=1 start ".repeat(3), 0, "restart_loop warning 1 6");
    check(ALWAYS, &format!("{}kill=15 die=143", crashes(5, 1)), 1, "container_down warning 12 42");
    check(ALWAYS, &format!("{}kill=15 die=143 start", crashes(5, 1)), 0, "-");
    check(ALWAYS, &format!("{}pause", crashes(3, 1)), 0, "restart_loop warning 1 6");
}

#[test]
fn a_loop_lasts_until_a_run_is_long_enough() {
    check(ALWAYS, &crashes(3, 1), 600, "restart_loop warning 1 6");
    check(ALWAYS, &crashes(3, 1), 601, "-");
    // Three times the median of 250 seconds.
    check(ALWAYS, &crashes(4, 250), 750, "restart_loop warning 250 753");
    check(ALWAYS, &crashes(4, 250), 751, "-");
    let again = format!("{}wait=599 die=1 start", crashes(3, 1));
    check(ALWAYS, &again, 0, "restart_loop warning 1 6");
    let over = format!("{}wait=601 die=1 start", crashes(3, 1));
    check(ALWAYS, &over, 0, "-");
    // At rest it stays, whoever gave up.
    let given_up = format!("{}die=1 give-up", crashes(3, 1));
    check(RestartPolicy::OnFailure(3), &given_up, 90_000, "restart_loop critical 1 6");
    check(ALWAYS, &format!("{}die=1", crashes(3, 1)), 0, "restart_loop warning 1 6");
}

#[test]
fn a_container_made_anew_has_no_part_in_the_loop_before() {
    let anew = format!("{}die=1 anew", crashes(3, 1));
    check(ALWAYS, &anew, 0, "-");
    check(ALWAYS, &format!("{anew} start"), 0, "-");
    check(ALWAYS, &format!("{anew} start die=1"), 0, "container_down critical 10 40");
    check(ALWAYS, &format!("{anew} start {}", crashes(3, 1)), 0, "restart_loop warning 10 15");
    check(NO, "oom die=137 anew start", 0, "-");
}

#[test]
fn an_end_for_want_of_memory_lasts_for_five_minutes_of_running() {
    check(NO, "oom die=137", 90_000, "oom_killed critical 2 2");
    check(ALWAYS, "oom die=137 start", 300, "oom_killed critical 2 2");
    check(ALWAYS, "oom die=137 start", 301, "-");
    check(ALWAYS, "oom die=137 start oom", 0, "oom_killed critical 2 2");
    check(ALWAYS, "oom die=137 start die=1", 1, "oom_killed critical 2 2");
    check(ALWAYS, "oom die=137 start wait=301 die=1", 1, "container_down critical 305 335");
    check(ALWAYS, "oom die=137 start kill=15 die=0", 1, "container_down warning 5 35");
    check(NO, "oom", 0, "-");
}

#[test]
fn a_loop_for_want_of_memory_is_told_as_that() {
    let memory = "oom die=137 start ".repeat(3);
    check(ALWAYS, &memory, 600, "oom_killed critical 2 2");
    check(ALWAYS, &memory, 601, "-");
    check(ALWAYS, &format!("{}oom die=137 start", crashes(3, 1)), 0, "oom_killed critical 8 8");
    check(ALWAYS, &format!("oom die=137 start {}", crashes(5, 1)), 0, "restart_loop warning 2 7");
    let life = Life::of(running(ALWAYS), &memory);
    let signal = life.signal(0).unwrap();
    assert_eq!(signal.message, "Container `web` was killed for want of memory, again and again");
    assert_eq!(signal.details["restarts"], json!(3));
}

#[test]
fn a_loop_tells_how_it_ends_each_time() {
    let life = Life::of(running(ALWAYS), &format!("die=7 start {}", crashes(5, 4)));
    let details = life.signal(0).unwrap().details;
    assert_eq!(details["exit_codes"], json!([1, 1, 1, 1, 1]));
    assert_eq!(details["median_lifetime_ms"], json!(4_000));
    assert_eq!((&details["restarts"], &details["restart_threshold"]), (&json!(6), &json!(3)));
    assert_eq!(details.get("exit_code"), None, "it runs");
}

#[test]
fn an_unhealthy_container_is_told_with_its_name() {
    check(NO, "wait=9 unhealthy", 0, "health_unhealthy warning 10 10");
    check(NO, "starting unhealthy", 0, "health_unhealthy warning 2 2");
    check(NO, "unhealthy healthy", 0, "-");
    check(NO, "unhealthy die=1", 0, "container_down critical 2 32");
    check(ALWAYS, &format!("{}unhealthy", crashes(3, 1)), 0, "restart_loop warning 1 6");
    let mut container = running(NO);
    container.facts.name = "a\nb".to_owned();
    container.health = Some(Health::Unhealthy);
    let signal = judge(&container, &[], AFTER, at(9)).unwrap();
    assert_eq!(signal.message, "Container `a\\nb` is unhealthy");
    assert_eq!(signal.since, at(0), "it was so when it was first seen");
}

fn labelled(labels: &[(&str, &str)]) -> Signal {
    let mut life = Life::of(running(NO), "die=1");
    let labels: BTreeMap<_, _> =
        labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    life.container.facts.labels = Labels::read(&labels);
    life.signal(0).unwrap()
}

#[test]
fn labels_say_how_severe_it_is_and_whom_to_tell() {
    let severity = |word| labelled(&[("maintenant.alert.severity", word)]).severity;
    assert_eq!(labelled(&[]).severity, Severity::Critical);
    assert_eq!(severity("warning"), Severity::Warning);
    assert_eq!(severity(" Info "), Severity::Info);
    assert_eq!(severity("loud"), Severity::Critical, "what cannot be read says nothing");
    let channels = labelled(&[("maintenant.alert.channels", " ops, mail ,")]).channels;
    assert_eq!(channels, ["ops", "mail"]);
}

fn heard() -> RuntimeState {
    let runtime = RuntimeState::new(Runtime::new("docker", at(0)));
    runtime.connected(None, at(0));
    runtime
}

fn entity(id: i64) -> Entity {
    Entity { kind: "container", id }
}

struct Database {
    store: Store,
    db: Connection,
    _folder: tempfile::TempDir,
}

fn database() -> Database {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.db");
    let (store, _) = Store::open(&path).unwrap();
    let db = Connection::open(&path).unwrap();
    Database { store, db, _folder: folder }
}

impl Database {
    /// Stores a life as the container of that id.
    async fn save(&self, id: i64, mut life: Life, first_transition: i64) {
        life.container.id = id;
        life.container.identity = format!("name:{id}");
        let container = Arc::new(life.container);
        let change = |transition| Change {
            container: container.clone(),
            transition,
            available_from: at(0),
            is_new: false,
        };
        let mut changes = vec![change(None)];
        changes.extend(life.transitions.into_iter().map(|mut transition| {
            transition.id += first_transition;
            transition.container_id = id;
            change(Some(transition))
        }));
        self.store.write(move |tx| sql::save(tx, &changes)).await.unwrap();
    }

    fn find(&self, runtime: &RuntimeState, second: i64) -> Findings {
        let rules = Rules { runtime: runtime.clone(), down_after: AFTER };
        rules.find(&self.db, at(second)).unwrap()
    }
}

fn types(findings: &Findings) -> Vec<(i64, &'static str)> {
    findings.signals.iter().map(|signal| (signal.entity.id, signal.alert_type)).collect()
}

#[tokio::test]
async fn what_is_stored_is_judged_with_its_last_log_lines() {
    let database = database();
    database.save(1, Life::of(running(ALWAYS), &crashes(3, 1)), 0).await;
    database.save(2, Life::of(running(NO), "unhealthy"), 100).await;
    let mut ignored = Life::of(running(NO), "die=1");
    ignored.container.facts.labels.is_ignored = true;
    database.save(3, ignored, 200).await;
    let mut removed = Life::of(running(NO), "die=1");
    removed.container.archived_at = Some(at(9));
    database.save(4, removed, 300).await;
    database.save(5, Life::of(running(NO), "die=1"), 400).await;
    let text = "one\ntwo\nthree\nfour\nfive\nsix";
    database.store.write(move |tx| sql::save_log_snippet(tx, 3, text)).await.unwrap();

    let found = database.find(&heard(), 10);
    let expected = [(1, "restart_loop"), (2, "health_unhealthy"), (5, "container_down")];
    assert_eq!(types(&found), expected);
    let lines = &found.signals[0].details["last_log_lines"];
    assert_eq!(
        *lines,
        json!(["two", "three", "four", "five", "six"]),
        "of the end before the last"
    );
    assert_eq!(found.signals[2].details.get("last_log_lines"), None);
    let rules = Rules { runtime: heard(), down_after: AFTER };
    let exist = |id| rules.exists(&database.db, &entity(id)).unwrap();
    assert_eq!([1, 2, 3, 4, 5, 6].map(exist), [true, true, false, false, true, false]);
}

#[tokio::test]
async fn without_docker_nothing_is_known_and_without_a_runtime_nothing_is_watched() {
    let database = database();
    database.save(1, Life::of(running(NO), "die=1"), 0).await;
    let runtime = heard();
    assert_eq!(types(&database.find(&runtime, 100)), [(1, "container_down")]);
    runtime.lost("connection refused".to_owned(), at(101));
    let found = database.find(&runtime, 102);
    assert_eq!((types(&found), found.unknown), (vec![], [entity(1)].into()));
    let none = RuntimeState::new(Runtime::new(NOTHING, at(0)));
    assert_eq!(database.find(&none, 100), Findings::default());
    let rules = Rules { runtime: none, down_after: AFTER };
    assert!(!rules.exists(&database.db, &entity(1)).unwrap());
}

#[tokio::test]
async fn many_containers_are_judged_each_for_itself() {
    let database = database();
    for id in 1..=200 {
        let events = if id % 10 == 0 { crashes(60, 1) } else { "unhealthy healthy".to_owned() };
        database.save(id, Life::of(running(ALWAYS), &events), id * 1_000).await;
    }
    database.find(&heard(), 200);
    let began = Instant::now();
    let found = database.find(&heard(), 200);
    println!("200 containers, 20 of them in loops: {:?}", began.elapsed());
    assert_eq!(found.signals.len(), 20);
    let later = database.find(&heard(), 100_000);
    assert_eq!(later, Findings::default());
}
