//! `list_heartbeats`.
//!
//! Whoever knows a ping's id can ping, so none is shown, neither by itself nor inside a name.

use maintenant_api::Timestamp;
use maintenant_api::heartbeats::{Heartbeat, HeartbeatProblem, HeartbeatStatus};
use maintenant_api::monitors::AlertState;
use maintenant_serve::clock;
use rmcp::{tool, tool_router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::hint;
use super::paging::{self, Counts, Key, Listing, Ranked, word};
use crate::arguments::{Parameters, whole_number};
use crate::budget::Json;
use crate::collectors::{Source, ask};
use crate::cursor;
use crate::error::ToolError;
use crate::server::Gateway;
use crate::time::{length, show};
use crate::untrusted::{name, name_without_ids};

const STATUSES: [&str; 6] = ["new", "up", "down", "started", "paused", "unknown"];

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ListHeartbeats {
    /// `new`: never pinged. `started`: a run is under way.
    #[schemars(extend("enum" = STATUSES))]
    status: Option<String>,
    /// Part of a name, in any case.
    name: Option<String>,
    /// Default 20.
    #[serde(deserialize_with = "whole_number")]
    #[schemars(range(min = 1, max = 100))]
    limit: Option<i64>,
    /// `next_cursor` of the page before, filters unchanged.
    cursor: Option<String>,
    /// Only this one of several.
    #[serde(alias = "source")]
    collector: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct HeartbeatPage {
    summary: Counts,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    /// Worst first.
    heartbeats: Vec<HeartbeatRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sources: Option<Vec<Source>>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct HeartbeatRow {
    id: i64,
    name: String,
    status: &'static str,
    /// `late`: due, and still within its grace. `never_pinged`: due, and no ping ever came.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<&'static str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    alerting: bool,
    /// Last change of status; of one that is down, the deadline it missed.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
    schedule: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_ping: Option<String>,
    /// When it counts as down.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_deadline: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    running_since: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_exit_code: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_duration_ms: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    collector: Option<String>,
}

#[tool_router(router = heartbeats, vis = "pub(super)")]
impl Gateway {
    /// Lists heartbeats: jobs that report by pinging, those that did not or failed first; with schedule, last ping, next deadline and last exit code.
    /// Use it for "did the backup run"; pause_monitor and resume_monitor take the ids it shows.
    #[tool(
        title = "List heartbeats",
        annotations(
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = false
        )
    )]
    async fn list_heartbeats(
        &self,
        Parameters(arguments): Parameters<ListHeartbeats>,
    ) -> Result<Json<HeartbeatPage>, ToolError> {
        let (filter, limit) = (Filter::new(&arguments)?, paging::limit(arguments.limit)?);
        let after: Option<Key> =
            arguments.cursor.as_deref().map(|text| cursor::decode(text, &filter)).transpose()?;
        let collectors = self.collectors().choose(arguments.collector.as_deref())?;
        let answers =
            ask(collectors, |collector| async move { collector.heartbeats().await }).await;
        let (sources, now) = (answers.sources(), clock::now());
        let mut entries = Vec::new();
        for (collector, list) in answers.successes()? {
            entries.extend(list.into_iter().map(|item| ranked(&collector.name, item, now)));
        }
        let several = self.collectors().several();
        Ok(Json(page(entries, &filter, after.as_ref(), limit, several, sources)))
    }
}

/// Which heartbeats were asked for. Its JSON is what a cursor is bound to.
#[derive(Debug, Default, Serialize)]
struct Filter {
    status: Option<HeartbeatStatus>,
    name: Option<String>,
    collector: Option<String>,
}

impl Filter {
    fn new(arguments: &ListHeartbeats) -> Result<Self, ToolError> {
        let status = arguments.status.as_deref();
        Ok(Self {
            status: word("status", status, HeartbeatStatus::parse, &STATUSES)?,
            name: arguments.name.as_deref().map(str::to_lowercase),
            collector: arguments.collector.clone(),
        })
    }

    fn is_open(&self) -> bool {
        self.status.is_none() && self.name.is_none()
    }

    /// Names are searched as they are shown, so that nobody can guess at what is not.
    fn matches(&self, Ranked { key, item }: &Ranked<Heartbeat>) -> bool {
        self.status.is_none_or(|status| item.status == status)
            && self.name.as_deref().is_none_or(|part| key.name.to_lowercase().contains(part))
    }
}

/// Other servers name no problem: there a job that failed is `up`, and one that never reported
/// stays `new` for ever.
fn problem(heartbeat: &Heartbeat, now: Timestamp) -> Option<HeartbeatProblem> {
    let first_due = heartbeat.interval_seconds.saturating_add(heartbeat.grace_seconds);
    let age = now.as_second().saturating_sub(heartbeat.created_at.as_second());
    let fixed = heartbeat.schedule.is_none() && heartbeat.interval_seconds > 0;
    // A server that tells since when also tells what is wrong.
    let judges = heartbeat.status_since.is_some();
    let failed = heartbeat.last_exit_code.is_some_and(|code| code != 0);
    heartbeat.problem.or(match heartbeat.status {
        HeartbeatStatus::New if fixed && age > first_due && !judges => {
            Some(HeartbeatProblem::NeverPinged)
        }
        HeartbeatStatus::Up if is_alerting(heartbeat) && failed => Some(HeartbeatProblem::Failed),
        _ => None,
    })
}

fn is_alerting(heartbeat: &Heartbeat) -> bool {
    heartbeat.alert_state == AlertState::Alerting
}

/// What is longest down, or runs longest, comes first among its like.
fn ranked(collector: &str, heartbeat: Heartbeat, now: Timestamp) -> Ranked<Heartbeat> {
    let heartbeat = Heartbeat { problem: problem(&heartbeat, now), ..heartbeat };
    let (rank, moment) = match heartbeat.status {
        HeartbeatStatus::Down => (0, heartbeat.status_since),
        HeartbeatStatus::Paused => (6, None),
        _ if heartbeat.problem.is_some() || is_alerting(&heartbeat) => (1, None),
        HeartbeatStatus::Unknown => (2, None),
        HeartbeatStatus::Started => (3, heartbeat.current_run_started_at),
        HeartbeatStatus::New => (4, None),
        HeartbeatStatus::Up => (5, None),
    };
    let key = Key {
        rank,
        moment: moment.map_or(0, Timestamp::as_second),
        name: shown_name(&heartbeat),
        collector: collector.to_owned(),
        id: heartbeat.id,
    };
    Ranked { key, item: heartbeat }
}

/// Its name without any id of a ping, its own least of all.
pub(super) fn shown_name(heartbeat: &Heartbeat) -> String {
    let own = heartbeat.uuid.as_str();
    if own.is_empty() {
        return name_without_ids(&heartbeat.name);
    }
    name_without_ids(&heartbeat.name.replace(own, "[redacted]"))
}

fn page(
    entries: Vec<Ranked<Heartbeat>>,
    filter: &Filter,
    after: Option<&Key>,
    limit: Option<usize>,
    several: bool,
    (sources, rest_of_sources): (Option<Vec<Source>>, Option<String>),
) -> HeartbeatPage {
    let listing = Listing::new("heartbeat", entries, |entry| filter.matches(entry), after);
    let summary = listing.counts(filter.is_open(), |heartbeat| {
        let mut words = vec![heartbeat.status.as_str()];
        let problem = heartbeat.problem.filter(|_| heartbeat.status != HeartbeatStatus::Down);
        words.extend(problem.map(HeartbeatProblem::as_str));
        words.extend(is_alerting(heartbeat).then_some("alerting"));
        words
    });
    let page = listing.page(limit, filter, sources.as_deref(), |entry| row(entry, several));
    let hint = hint([
        page.rest,
        (listing.total == 0).then(|| "No heartbeat is set up.".to_owned()),
        rest_of_sources,
    ]);
    HeartbeatPage { summary, hint, heartbeats: page.rows, next_cursor: page.next_cursor, sources }
}

fn row(Ranked { key, item }: &Ranked<Heartbeat>, several: bool) -> HeartbeatRow {
    HeartbeatRow {
        id: item.id,
        name: key.name.clone(),
        status: item.status.as_str(),
        problem: item.problem.map(HeartbeatProblem::as_str),
        alerting: is_alerting(item),
        since: item.status_since.map(show),
        schedule: schedule(item),
        last_ping: item.last_ping_at.map(show),
        next_deadline: item.next_deadline_at.map(show),
        running_since: item.current_run_started_at.map(show),
        last_exit_code: item.last_exit_code,
        last_duration_ms: item.last_duration_ms,
        collector: several.then(|| key.collector.clone()),
    }
}

/// `every 1h, grace 5m`, or `cron 0 3 * * * (Europe/Paris), grace 5m`.
fn schedule(heartbeat: &Heartbeat) -> String {
    let when = match &heartbeat.schedule {
        Some(cron) => {
            let zone = heartbeat.timezone.as_deref().unwrap_or("UTC");
            format!("cron {} ({})", name(cron), name(zone))
        }
        None => format!("every {}", length(heartbeat.interval_seconds)),
    };
    let grace = length(heartbeat.grace_seconds);
    let most = heartbeat.max_runtime_seconds.filter(|most| *most > 0);
    let most = most.map_or(String::new(), |most| format!(", runs at most {}", length(most)));
    format!("{when}, grace {grace}{most}")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const ID: &str = "0190b7a4-1111-7222-8333-444455556666";

    fn heartbeat(id: i64, rest: Value) -> Heartbeat {
        let mut row = json!({
            "id": id, "uuid": ID, "name": format!("job {id}"), "status": "up",
            "alert_state": "normal", "interval_seconds": 3600, "grace_seconds": 300,
            "created_at": "2026-05-05T10:00:00Z", "updated_at": "2026-05-05T10:00:00Z"
        });
        let Value::Object(rest) = rest else { panic!("{rest}") };
        row.as_object_mut().unwrap().extend(rest);
        serde_json::from_value(row).unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn entries(rows: impl IntoIterator<Item = Value>) -> Vec<Ranked<Heartbeat>> {
        let now = at("2026-05-05T10:30:00Z");
        (1..).zip(rows).map(|(id, rest)| ranked("c", heartbeat(id, rest), now)).collect()
    }

    fn default_page(entries: Vec<Ranked<Heartbeat>>) -> HeartbeatPage {
        page(entries, &Filter::default(), None, None, false, (None, None))
    }

    #[test]
    fn trouble_comes_first() {
        let rows = [
            json!({"status": "paused", "problem": "late"}),
            json!({}),
            json!({"status": "new"}),
            json!({"status": "started", "current_run_started_at": "2026-05-05T10:20:00Z"}),
            json!({"status": "started", "current_run_started_at": "2026-05-05T10:10:00Z"}),
            json!({"status": "asleep"}),
            json!({"problem": "late"}),
            json!({"status": "down", "status_since": "2026-05-05T10:20:00Z"}),
            json!({"status": "down", "status_since": "2026-05-05T10:10:00Z"}),
        ];
        let page = default_page(entries(rows));
        let ids: Vec<i64> = page.heartbeats.iter().map(|row| row.id).collect();
        assert_eq!(ids, [9, 8, 7, 6, 5, 4, 3, 2, 1]);
        assert_eq!((page.summary.of("down"), page.summary.of("late")), (2, 2));
    }

    #[test]
    fn what_other_servers_do_not_call_a_problem_is_one() {
        let check = |rest, now: &str, expected| {
            assert_eq!(problem(&heartbeat(1, rest), at(now)), expected, "{now}");
        };
        let never = Some(HeartbeatProblem::NeverPinged);
        check(json!({"status": "new"}), "2026-05-05T11:05:00Z", None);
        check(json!({"status": "new"}), "2026-05-05T11:05:01Z", never);
        let judged = json!({"status": "new", "status_since": "2026-05-05T10:00:00Z"});
        check(judged, "2026-05-05T11:05:01Z", None);
        let cron = json!({"status": "new", "schedule": "0 3 * * *"});
        check(cron, "2026-06-05T11:05:01Z", None);
        let failed = json!({"alert_state": "alerting", "last_exit_code": 2});
        check(failed, "2026-05-05T10:00:00Z", Some(HeartbeatProblem::Failed));
        let late = json!({"status": "new", "problem": "late"});
        check(late, "2026-05-05T11:05:01Z", Some(HeartbeatProblem::Late));
    }

    #[test]
    fn schedules_are_one_short_text() {
        let check = |rest, text: &str| assert_eq!(schedule(&heartbeat(1, rest)), text);
        check(json!({}), "every 1h, grace 5m");
        check(
            json!({"schedule": "0 3 * * 1-5", "timezone": "Europe/Paris", "max_runtime_seconds": 90}),
            "cron 0 3 * * 1-5 (Europe/Paris), grace 5m, runs at most 1m30s",
        );
    }

    #[test]
    fn no_id_of_a_ping_is_shown_or_found() {
        let rows =
            [json!({"name": format!("job {ID}")}), json!({"uuid": "odd", "name": "the odd"})];
        let text = serde_json::to_string(&default_page(entries(rows.clone()))).unwrap();
        assert!(text.contains("job [redacted]") && text.contains("the [redacted]"), "{text}");
        let filter = Filter { name: Some(ID[..8].to_owned()), ..Filter::default() };
        let page = page(entries(rows), &filter, None, None, false, (None, None));
        assert!(page.heartbeats.is_empty());
    }
}
