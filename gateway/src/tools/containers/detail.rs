//! `get_container`.

use std::collections::BTreeMap;

use maintenant_api::containers::{
    ContainerDetail, ExitReason, Health, ObservedBy, State, Transition, TransitionQuery,
};
use maintenant_api::insights::{ContainerInsights, Insight};
use maintenant_api::monitors::ConfigProblem;
use rmcp::service::RequestContext;
use rmcp::{RoleServer, tool, tool_router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::arguments::{Parameters, whole_number};
use crate::budget::{self, Json};
use crate::caller::{Caller, Scope};
use crate::collector::ClientError;
use crate::error::{ToolError, explain};
use crate::listed::Listed;
use crate::server::Gateway;
use crate::time::show;
use crate::tools::{NO_LOGS, hint, windows};
use crate::untrusted::{self, name};

const DEFAULT_TRANSITIONS: i64 = 10;
const MOST_TRANSITIONS: i64 = 50;
/// The last lines of a log explain the newest ends; older ones only fill the answer.
const ENDS_WITH_LINES: usize = 3;
const LINES_OF_AN_END: usize = 10;
const LENGTH_OF_SUCH_A_LINE: usize = 300;
/// Labels that could not be read.
const MOST_PROBLEMS: usize = 10;
/// Security insights; all are counted.
const MOST_INSIGHTS: usize = 10;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GetContainer {
    /// Its name, id, Compose service, or 6 or more first characters of its Docker id.
    container_id: String,
    /// How many of the newest state changes; default 10.
    #[serde(default, deserialize_with = "whole_number")]
    #[schemars(range(min = 0, max = 50))]
    transitions: Option<i64>,
    /// Which one, if several have it.
    #[serde(default, alias = "source")]
    collector: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ContainerAnswer {
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    container: Facts,
    /// Of its configuration; absent where the server looks for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    security_insight_count: Option<i64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    security_insights: Vec<Danger>,
    /// Newest first.
    transitions: Vec<Change>,
    /// How many are stored.
    transitions_total: i64,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Facts {
    name: String,
    id: String,
    state: &'static str,
    /// The state before Docker stopped answering.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_known_state: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    health: Option<&'static str>,
    has_health_check: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_signal: Option<i64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    oom_killed: bool,
    /// Docker's own words.
    #[serde(skip_serializing_if = "Option::is_none")]
    error_detail: Option<String>,
    /// By the restart policy, since it was created.
    restart_count: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finished_at: Option<String>,
    last_state_change_at: String,
    first_seen_at: String,
    image: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    compose_working_dir: Option<String>,
    docker_id: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    is_ignored: bool,
    /// Gone from Docker; kept for its history.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    archived: bool,
    /// Running and not unhealthy, in percent of the known time of each window.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    uptime_percent: BTreeMap<String, f64>,
    /// How much of each window is known, in percent.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    uptime_coverage_percent: BTreeMap<String, f64>,
    /// Labels that could not be read and have no effect.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    config_problems: Vec<Problem>,
    #[serde(skip_serializing_if = "Option::is_none")]
    collector: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Danger {
    severity: &'static str,
    title: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
    since: String,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Problem {
    label: String,
    error: String,
    since: String,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Change {
    at: String,
    from: &'static str,
    to: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    health_from: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    health_to: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_signal: Option<i64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    oom_killed: bool,
    /// `resync`: found later by comparing.
    #[serde(skip_serializing_if = "Option::is_none")]
    observed_by: Option<&'static str>,
    /// What it wrote last, before this end.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    last_log_lines: Vec<String>,
}

#[tool_router(router = one_container, vis = "pub(super)")]
impl Gateway {
    /// Explains one container: state, why it ended, restarts, uptime, newest state changes, last log lines before an end.
    /// Use it after list_containers; for more of the log use get_container_logs.
    #[tool(
        title = "Get container",
        annotations(
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = false
        )
    )]
    async fn get_container(
        &self,
        Parameters(arguments): Parameters<GetContainer>,
        context: RequestContext<RoleServer>,
    ) -> Result<Json<ContainerAnswer>, ToolError> {
        let wanted = arguments.transitions.unwrap_or(DEFAULT_TRANSITIONS);
        let accepted = 0..=MOST_TRANSITIONS;
        if !accepted.contains(&wanted) {
            return Err(ToolError::out_of_range("transitions", wanted, accepted));
        }
        let found = self.resolve(&arguments.container_id, arguments.collector.as_deref()).await?;
        let (collector, id) = (&found.collector, found.id);
        let query = TransitionQuery {
            since: Some("1970-01-01T00:00:00Z".to_owned()),
            limit: Some(wanted.max(1).to_string()),
            ..TransitionQuery::default()
        };
        let (detail, changes, insights) = tokio::join!(
            collector.container(id),
            collector.transitions(id, &query),
            collector.insights(id)
        );
        let detail = detail.map_err(|error| ToolError::from_client(&collector.name, &error))?;
        let missing = changes.as_ref().err().map(|error| {
            format!("The state changes are missing: {}", explain(&collector.name, error))
        });
        let mut changes = changes.unwrap_or_default();
        let shown = usize::try_from(wanted).unwrap_or_default();
        let logs = Caller::of(&context).is_none_or(|caller| caller.may(Scope::LogsRead));
        let withheld = !logs && leave_logs_out(&mut changes.transitions);
        let unknown = unknown_dangers(&collector.name, &insights);
        let insights = insights.ok().filter(|insights| insights.scanned);
        let security_insight_count = insights.as_ref().map(|insights| insights.count);
        let security_insights = insights.map(dangers).unwrap_or_default();
        let room = budget::ITEMS.saturating_sub(budget::size(&security_insights));
        let (transitions, left_out) = shape(changes.transitions, shown, room);
        let total = changes.total.max(i64::try_from(transitions.len()).unwrap_or_default());
        let several = self.collectors().several().then(|| collector.name.clone());
        let hint = hint([
            state_hint(&detail),
            problems_hint(detail.config_problems.len()),
            found.caveat(),
            missing,
            unknown,
            withheld.then(|| NO_LOGS.to_owned()),
            (left_out > 0).then(|| {
                format!("{left_out} of the state changes asked for were left out for their size.")
            }),
        ]);
        let container = facts(&detail, found.listed.as_ref(), several);
        Ok(Json(ContainerAnswer {
            hint,
            container,
            security_insight_count,
            security_insights,
            transitions,
            transitions_total: total,
        }))
    }
}

fn state_hint(detail: &ContainerDetail) -> Option<String> {
    let sentence = if detail.archived {
        "Archived: this container no longer exists in Docker."
    } else if detail.state == State::Unknown {
        "State unknown: Docker cannot be asked right now, or the server's word for it is not \
         known here, so this says nothing about the \
         container; get_health says more."
    } else {
        return None;
    };
    Some(sentence.to_owned())
}

/// Why nothing is said of its dangers. A server without security insights has nothing to say.
fn unknown_dangers(
    collector: &str,
    insights: &Result<ContainerInsights, ClientError>,
) -> Option<String> {
    match insights {
        Ok(insights) if insights.scanned => None,
        Ok(_) => {
            let sentence = "Its configuration could not be inspected, so nothing is known of its \
                            dangers.";
            Some(sentence.to_owned())
        }
        Err(ClientError::RouteMissing | ClientError::NotFound { .. }) => None,
        Err(error) => {
            Some(format!("The security insights are missing: {}", explain(collector, error)))
        }
    }
}

/// The worst first, as many as fit.
fn dangers(of_one: ContainerInsights) -> Vec<Danger> {
    let mut insights = of_one.insights;
    insights.sort_by_key(|insight| std::cmp::Reverse(insight.severity));
    let danger = |insight: Insight| Danger {
        severity: insight.severity.as_str(),
        title: untrusted::message(&insight.title, 200),
        remedy: (!insight.remedy.is_empty()).then(|| untrusted::message(&insight.remedy, 300)),
        since: show(insight.detected_at),
    };
    insights.into_iter().take(MOST_INSIGHTS).map(danger).collect()
}

fn problem(problem: &ConfigProblem) -> Problem {
    Problem {
        label: name(&problem.label_key),
        error: untrusted::message(&problem.error, 300),
        since: show(problem.since),
    }
}

fn problems_hint(problems: usize) -> Option<String> {
    let more = problems.checked_sub(MOST_PROBLEMS).filter(|more| *more > 0)?;
    Some(format!("{more} more labels could not be read."))
}

fn facts(detail: &ContainerDetail, listed: Option<&Listed>, collector: Option<String>) -> Facts {
    let some = |text: &str| (!text.is_empty()).then(|| name(text));
    Facts {
        name: name(&detail.name),
        id: detail.id.to_string(),
        state: detail.state.as_str(),
        last_known_state: detail.last_known_state.map(State::as_str),
        health: detail.health_status.map(Health::as_str),
        has_health_check: detail.has_health_check,
        exit_code: detail.exit_code,
        exit_reason: detail.exit_reason.map(ExitReason::as_str),
        exit_signal: detail.exit_signal,
        oom_killed: detail.oom_killed,
        error_detail: (!detail.error_detail.is_empty())
            .then(|| untrusted::message(&detail.error_detail, 500)),
        restart_count: detail.restart_count,
        started_at: detail.started_at.map(show),
        finished_at: detail.finished_at.map(show),
        last_state_change_at: show(detail.last_state_change_at),
        first_seen_at: show(detail.first_seen_at),
        image: name(&detail.image),
        group: some(&detail.custom_group).or_else(|| some(&detail.orchestration_group)),
        service: some(&detail.orchestration_unit),
        compose_working_dir: listed
            .filter(|listed| !listed.compose_working_dir.is_empty())
            .map(|listed| untrusted::text(&listed.compose_working_dir, 300)),
        docker_id: untrusted::text(&detail.external_id, 64),
        is_ignored: detail.is_ignored,
        archived: detail.archived,
        uptime_percent: windows(detail.uptime.iter().filter_map(|(k, v)| Some((k, (*v)?)))),
        uptime_coverage_percent: windows(detail.uptime_coverage.iter().map(|(k, v)| (k, *v))),
        config_problems: detail.config_problems.iter().take(MOST_PROBLEMS).map(problem).collect(),
        collector,
    }
}

/// Whether there was anything to leave out.
fn leave_logs_out(changes: &mut [Transition]) -> bool {
    let mut any = false;
    for change in changes {
        any |= !std::mem::take(&mut change.log_snippet).is_empty();
    }
    any
}

/// The newest `most` changes that fit into `room` bytes, and how many of those did not.
fn shape(changes: Vec<Transition>, most: usize, room: usize) -> (Vec<Change>, usize) {
    let mut ends_with_lines = 0_usize;
    let changes: Vec<Change> = changes
        .into_iter()
        .take(most)
        .map(|change| {
            let mut lines = Vec::new();
            if !change.log_snippet.is_empty() && ends_with_lines < ENDS_WITH_LINES {
                ends_with_lines = ends_with_lines.saturating_add(1);
                lines = last_lines(&change.log_snippet);
            }
            Change {
                at: show(change.timestamp),
                from: change.previous_state.as_str(),
                to: change.new_state.as_str(),
                health_from: change.previous_health.map(Health::as_str),
                health_to: change.new_health.map(Health::as_str),
                exit_code: change.exit_code,
                exit_reason: change.exit_reason.map(ExitReason::as_str),
                exit_signal: change.exit_signal,
                oom_killed: change.oom_killed,
                observed_by: change.observed_by.map(|how| match how {
                    ObservedBy::Event => "event",
                    ObservedBy::Resync => "resync",
                }),
                last_log_lines: lines,
            }
        })
        .collect();
    budget::fit(changes, room)
}

fn last_lines(snippet: &str) -> Vec<String> {
    // Redacted as a whole first: a key's first line may be above the lines shown.
    let (lines, _) = untrusted::lines(&snippet.lines().map(str::to_owned).collect::<Vec<_>>());
    let skip = lines.len().saturating_sub(LINES_OF_AN_END);
    lines.into_iter().skip(skip).map(|line| untrusted::text(&line, LENGTH_OF_SUCH_A_LINE)).collect()
}
