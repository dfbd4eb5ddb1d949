//! A heartbeat's life on a real SQLite database, at chosen times; and its routes without sockets.

mod listening;
mod pinging;
mod routes;
mod rules;
mod states;

use jiff::{SignedDuration, Timestamp};
use maintenant_api::heartbeats::{Execution, HeartbeatInput, HeartbeatStatus};
use maintenant_api::monitors::AlertState;
use rusqlite::Connection;

use super::model::{Heartbeat, Signal, Told};
use super::records::{self, Received};
use super::{changes, input, sql};
use crate::uptime::Span;

/// One heartbeat in a database of its own. Times are minutes after its creation.
struct World {
    db: Connection,
    id: i64,
    listening_since: Timestamp,
    told: Vec<Told>,
}

/// 2026-01-01T00:00:00Z and so many minutes.
fn at(minutes: f64) -> Timestamp {
    let begin: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    begin + SignedDuration::from_secs_f64(minutes * 60.0)
}

/// Minutes after 2026-01-01T00:00:00Z.
fn minute(moment: Timestamp) -> f64 {
    moment.duration_since(at(0.0)).as_secs_f64() / 60.0
}

/// Ten minutes and two of grace.
fn every_ten_minutes() -> HeartbeatInput {
    HeartbeatInput {
        name: Some("backup".into()),
        interval_seconds: Some(600),
        grace_seconds: Some(120),
        ..HeartbeatInput::default()
    }
}

impl World {
    fn new(input: &HeartbeatInput) -> Self {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch(include_str!("../../store/migrations/0004_heartbeats.sql")).unwrap();
        let (name, timing) = input::create(input, at(0.0)).unwrap();
        let id = sql::insert(&db, &Heartbeat::new(name, timing, at(0.0))).unwrap();
        Self { db, id, listening_since: at(-1000.0), told: Vec::new() }
    }

    /// What happens: `sweep`, `pause`, `resume`, or a signal and perhaps a run id.
    fn act(&mut self, minutes: f64, action: &str) {
        let now = at(minutes);
        let (what, rid) = action.split_once(' ').unwrap_or((action, ""));
        let signal = match what {
            "sweep" => {
                let swept = changes::sweep(&self.db, now, self.listening_since).unwrap();
                return self.told.extend(swept.into_iter().flat_map(|changed| changed.told));
            }
            "pause" => {
                let changed = changes::pause(&self.db, self.id, now).unwrap().unwrap();
                return self.told.extend(changed.told);
            }
            "resume" => {
                let changed = changes::resume(&self.db, self.id, now).unwrap().unwrap().unwrap();
                return self.told.extend(changed.told);
            }
            "success" => Signal::Success,
            "start" => Signal::Start,
            "fail" => Signal::Fail,
            "log" => Signal::Log,
            code => Signal::ExitCode(code.parse().unwrap()),
        };
        let ping = Received {
            signal,
            source_ip: "192.0.2.1".into(),
            http_method: "GET",
            payload: None,
            run_id: (!rid.is_empty()).then(|| rid.to_owned()),
            at: now,
        };
        let changed = changes::receive(&self.db, self.id, &ping, self.listening_since).unwrap();
        self.told.extend(changed.unwrap().told);
    }

    fn heartbeat(&self) -> Heartbeat {
        sql::find(&self.db, self.id).unwrap().unwrap()
    }

    /// `status`, `status:problem`, with `!` where it alerts.
    fn state(&self, minutes: f64) -> String {
        let heartbeat = self.heartbeat();
        let mut text = heartbeat.status.as_str().to_owned();
        if let Some(problem) = heartbeat.problem_at(at(minutes)) {
            text = format!("{text}:{}", problem.as_str());
        }
        if heartbeat.alert_state == AlertState::Alerting { format!("{text}!") } else { text }
    }

    /// Newest last: when each run began and ended, in minutes, and how.
    fn runs(&self) -> Vec<String> {
        let (runs, _) = records::executions(&self.db, self.id, 100, 0).unwrap();
        let minutes = |moment: Option<Timestamp>| {
            moment.map_or("?".to_owned(), |moment| minute(moment).to_string())
        };
        let told = |run: &Execution| {
            let (began, ended) = (minutes(run.started_at), minutes(run.completed_at));
            format!("{began}..{ended} {}", run.outcome)
        };
        runs.iter().rev().map(told).collect()
    }

    /// Known time up to `minutes`: `from..to:up`.
    fn spans(&self, minutes: f64) -> String {
        let spans = sql::spans(&self.db, self.id, at(-1000.0), at(minutes)).unwrap();
        let told = |span: &Span| {
            let state = if span.is_up { "up" } else { "down" };
            format!("{}..{}:{state}", minute(span.from), minute(span.to))
        };
        spans.iter().map(told).collect::<Vec<_>>().join(" ")
    }

    /// Changes of status as told since the last call, then alerts and recoveries.
    fn take_told(&mut self) -> String {
        let told = self.told.drain(..).map(|told| match told {
            Told::StatusChanged { from, to, at: when } => {
                format!("{}>{}@{}", from.as_str(), to.as_str(), minute(when))
            }
            Told::Alert { kind, .. } => kind.to_owned(),
            Told::Recovery => "recovery".to_owned(),
        });
        told.collect::<Vec<_>>().join(" ")
    }
}

/// What happens at which minute, and what the heartbeat is then.
fn check(input: &HeartbeatInput, story: &[(f64, &str, &str)]) -> World {
    let mut world = World::new(input);
    for (step, (minutes, action, expected)) in story.iter().enumerate() {
        world.act(*minutes, action);
        assert_eq!(world.state(*minutes), *expected, "step {step}, minute {minutes}: {action}");
    }
    assert_ne!(world.heartbeat().status, HeartbeatStatus::Unknown);
    world
}
