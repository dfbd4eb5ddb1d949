//! `get_endpoint_history`.

use std::collections::BTreeMap;

use maintenant_api::Timestamp;
use maintenant_api::endpoints::{
    CauseCount, Check, CheckQuery, EndpointStatistics, Outage, Phases, StatisticsQuery,
};
use maintenant_serve::clock;
use rmcp::{tool, tool_router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout_at};

use super::{cause_of, failure_of, name_of, statistics, words_of};
use crate::arguments::{Parameters, required_whole_number, whole_number};
use crate::budget::{self, Json};
use crate::collector::{ClientError, Collector};
use crate::collectors::DEADLINE;
use crate::error::ToolError;
use crate::listed::ListedEndpoint;
use crate::server::Gateway;
use crate::time::{self, show};
use crate::tools::{counted, hint, windows};
use crate::untrusted::address;

const DEFAULT_CHECKS: i64 = 20;
const MOST_CHECKS: i64 = 500;
const DEFAULT_SPAN: &str = "24h";
/// Checks a server sends at once.
const PAGE: usize = 500;
/// Pages read when checks have to be picked or counted here.
const PAGES: usize = 4;
/// Bytes that the outages may take.
const OUTAGES: usize = 4 * 1024;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GetEndpointHistory {
    /// Its id in list_endpoints.
    #[serde(deserialize_with = "required_whole_number")]
    endpoint_id: i64,
    /// RFC 3339, or an age such as 2h, 7d; default 24h.
    #[serde(default)]
    since: Option<String>,
    /// Like since; default now.
    #[serde(default)]
    until: Option<String>,
    /// How many of the newest checks; default 20.
    #[serde(default, deserialize_with = "whole_number")]
    #[schemars(range(min = 0, max = 500))]
    limit: Option<i64>,
    /// Show only failed checks; default false.
    #[serde(default)]
    failures_only: Option<bool>,
    /// Which one, if several have this id.
    #[serde(default, alias = "source")]
    collector: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct EndpointHistory {
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    endpoint: Head,
    statistics: Numbers,
    /// Newest first.
    checks: Vec<CheckRow>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Head {
    id: i64,
    name: String,
    #[serde(rename = "type")]
    kind: &'static str,
    target: String,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// By window, up to now.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    uptime_percent: BTreeMap<String, f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    collector: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Numbers {
    since: String,
    until: String,
    checks: i64,
    failures: i64,
    /// Of the known time of this span.
    #[serde(skip_serializing_if = "Option::is_none")]
    uptime_percent: Option<f64>,
    /// How much of this span is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    coverage_percent: Option<f64>,
    /// Of successful checks.
    #[serde(skip_serializing_if = "Option::is_none")]
    p50_ms: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p95_ms: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_ms: Option<i64>,
    /// Most frequent first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    causes: Vec<CauseRow>,
    /// Failures in a row, newest first; what lasts has no end.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    outages: Vec<OutageRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outages_left_out: Option<i64>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct CauseRow {
    cause: &'static str,
    count: i64,
    first_at: String,
    last_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct OutageRow {
    from: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<String>,
    failures: i64,
    cause: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct CheckRow {
    at: String,
    success: bool,
    response_time_ms: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    http_status: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// Milliseconds of dns, connect, tls, first_byte and body.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    phases_ms: BTreeMap<&'static str, i64>,
}

#[tool_router(router = history_of_an_endpoint, vis = "pub(super)")]
impl Gateway {
    /// Explains one endpoint over a span of time: checks and failures counted, uptime, response times (p50, p95, max), causes, outages, newest checks.
    /// Use it after list_endpoints; the numbers cover the whole span.
    #[tool(
        title = "Get endpoint history",
        annotations(
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = false
        )
    )]
    async fn get_endpoint_history(
        &self,
        Parameters(arguments): Parameters<GetEndpointHistory>,
    ) -> Result<Json<EndpointHistory>, ToolError> {
        let asked = Asked::new(&arguments, time::whole(clock::now()))?;
        let end = Instant::now() + DEADLINE;
        let (collector, endpoint, silent) =
            self.endpoint(arguments.endpoint_id, arguments.collector.as_deref()).await?;
        let history = timeout_at(end, read(&collector, endpoint.id, &asked))
            .await
            .unwrap_or(Err(ClientError::Timeout))
            .map_err(|error| ToolError::from_client(&collector.name, &error))?;
        let several = self.collectors().several().then(|| collector.name.clone());
        Ok(Json(shape(&endpoint, history, &asked, several, &silent)))
    }
}

struct Asked {
    since: Timestamp,
    /// `None`: up to `now`.
    until: Option<Timestamp>,
    now: Timestamp,
    checks: usize,
    /// The caller set how many.
    limited: bool,
    failures_only: bool,
}

impl Asked {
    fn new(arguments: &GetEndpointHistory, now: Timestamp) -> Result<Self, ToolError> {
        let wanted = arguments.limit.unwrap_or(DEFAULT_CHECKS);
        let accepted = 0..=MOST_CHECKS;
        if !accepted.contains(&wanted) {
            return Err(ToolError::out_of_range("limit", wanted, accepted));
        }
        let moment = |argument: &str, text: &str| {
            time::parse(text, now).map_err(|fault| ToolError::bad_argument(argument, &fault))
        };
        let since = moment("since", arguments.since.as_deref().unwrap_or(DEFAULT_SPAN))?;
        let until = arguments.until.as_deref().map(|text| moment("until", text)).transpose()?;
        if until.unwrap_or(now) <= since {
            let (since, until) = (show(since), show(until.unwrap_or(now)));
            return Err(ToolError::new(format!(
                "`since` ({since}) is not before `until` ({until}), so no check can lie between."
            )));
        }
        Ok(Self {
            since,
            until,
            now,
            checks: usize::try_from(wanted).unwrap_or_default(),
            limited: arguments.limit.is_some(),
            failures_only: arguments.failures_only.unwrap_or_default(),
        })
    }

    fn holds(&self, check: &Check) -> bool {
        check.timestamp >= self.since && self.until.is_none_or(|until| check.timestamp <= until)
    }

    fn wants(&self, check: &Check) -> bool {
        !(self.failures_only && check.success)
    }
}

/// What a server tells of one endpoint.
struct History {
    /// `None`: it counts nothing itself.
    statistics: Option<EndpointStatistics>,
    /// Within the span, newest first.
    checks: Vec<Check>,
    /// There are older ones within the span.
    more: bool,
}

async fn read(collector: &Collector, id: i64, asked: &Asked) -> Result<History, ClientError> {
    let query = StatisticsQuery {
        since: Some(asked.since.to_string()),
        until: asked.until.map(|until| until.to_string()),
    };
    let statistics = match collector.statistics(id, &query).await {
        Ok(statistics) => Some(statistics),
        Err(ClientError::RouteMissing) => None,
        Err(error) => return Err(error),
    };
    if statistics.is_some() && asked.checks == 0 {
        return Ok(History { statistics, checks: Vec::new(), more: false });
    }
    let (checks, more) = checks(collector, id, asked, statistics.is_none()).await?;
    Ok(History { statistics, checks, more })
}

/// Checks of the span: as many as are shown, or with `all` as many as may be read. Some servers
/// know no `until`, and read `since` as seconds only.
async fn checks(
    collector: &Collector,
    id: i64,
    asked: &Asked,
    all: bool,
) -> Result<(Vec<Check>, bool), ClientError> {
    let as_sent = !all && !asked.failures_only && asked.until.is_none();
    let limit = if as_sent { asked.checks } else { PAGE };
    let mut found: Vec<Check> = Vec::new();
    let mut offset = 0_usize;
    for _ in 0..PAGES {
        let query = CheckQuery {
            limit: Some(limit.to_string()),
            offset: (offset > 0).then(|| offset.to_string()),
            since: Some(asked.since.as_second().to_string()),
            until: asked.until.map(|until| until.as_second().to_string()),
        };
        let list = collector.checks(id, &query).await?;
        let returned = list.checks.len();
        offset = offset.saturating_add(returned);
        found.extend(list.checks.into_iter().filter(|check| asked.holds(check)));
        if returned == 0 || !list.has_more {
            return Ok((found, false));
        }
        let wanted = found.iter().filter(|check| asked.wants(check)).count();
        if !all && wanted >= asked.checks {
            break;
        }
    }
    Ok((found, true))
}

fn shape(
    endpoint: &ListedEndpoint,
    history: History,
    asked: &Asked,
    collector: Option<String>,
    silent: &str,
) -> EndpointHistory {
    let counted_here = history.statistics.is_none();
    let until = asked.until.unwrap_or(asked.now);
    let seen = history.checks.len();
    let is_out_of_reach = counted_here && history.more && seen == 0;
    let oldest = history.checks.last().map(|check| check.timestamp);
    let numbers = history.statistics.unwrap_or_else(|| {
        let since = oldest.filter(|_| history.more).unwrap_or(asked.since);
        statistics::of(endpoint.id, &history.checks, since, until)
    });
    let target = &endpoint.target;
    let (numbers, cut) = shape_numbers(&numbers, counted_here, target);
    let rows: Vec<CheckRow> = history
        .checks
        .iter()
        .filter(|check| asked.wants(check))
        .take(asked.checks)
        .map(|check| check_row(check, target))
        .collect();
    let shown = rows.len();
    let room = budget::ITEMS.saturating_sub(budget::size(&numbers));
    let room = if asked.limited { room } else { room.min(budget::TARGET) };
    let (checks, left_out) = if rows.is_empty() { (rows, 0) } else { budget::fit(rows, room) };
    let (cause, error) = failure_of(endpoint);
    let hint = hint([
        is_out_of_reach.then(|| {
            "This server keeps no statistics, and its newest checks, as many as are read, all lie \
             after this span: nothing is known of it. Choose a span that ends later."
                .to_owned()
        }),
        (counted_here && !is_out_of_reach).then(|| {
            let checks = counted(seen, "check");
            let all = if history.more { "the newest " } else { "all " };
            let older = if history.more { " Choose a shorter span to cover it whole." } else { "" };
            format!(
                "This server keeps no statistics: these numbers are counted from {all}{checks} of \
                 the span, without uptime.{older}"
            )
        }),
        (!counted_here && history.more && asked.failures_only && shown < asked.checks).then(|| {
            format!("Failures were looked for in the newest {} only.", counted(seen, "check"))
        }),
        (left_out > 0).then(|| format!("{} left out for size.", counted(left_out, "older check"))),
        cut,
        (numbers.checks == 0 && !is_out_of_reach).then(|| "No check lies in this span.".to_owned()),
        (!silent.is_empty()).then(|| format!("Another collector may have this id too.{silent}")),
    ]);
    EndpointHistory {
        hint,
        endpoint: Head {
            id: endpoint.id,
            name: name_of(endpoint),
            kind: endpoint.endpoint_type.as_str(),
            target: address(target),
            status: endpoint.status.as_str(),
            since: endpoint.status_since.map(show),
            cause,
            error,
            uptime_percent: windows(
                endpoint.uptime.iter().flatten().filter_map(|(k, v)| Some((k, (*v)?))),
            ),
            collector,
        },
        statistics: numbers,
        checks,
    }
}

fn shape_numbers(
    numbers: &EndpointStatistics,
    counted_here: bool,
    target: &str,
) -> (Numbers, Option<String>) {
    let outages: Vec<OutageRow> =
        numbers.outages.iter().map(|outage| outage_row(outage, target)).collect();
    let (outages, cut) =
        if outages.is_empty() { (outages, 0) } else { budget::fit(outages, OUTAGES) };
    let left_out = numbers.outages_left_out.saturating_add(i64::try_from(cut).unwrap_or_default());
    let hint = (left_out > 0)
        .then(|| format!("{left_out} older outages are not shown; set until to see them."));
    let known = (!counted_here).then_some(numbers.coverage_percent);
    let numbers = Numbers {
        since: show(numbers.since),
        until: show(numbers.until),
        checks: numbers.checks,
        failures: numbers.failures,
        uptime_percent: numbers.uptime_percent,
        coverage_percent: known.filter(|known| *known < 100.0),
        p50_ms: numbers.p50_ms,
        p95_ms: numbers.p95_ms,
        max_ms: numbers.max_ms,
        causes: numbers.causes.iter().take(16).map(|group| cause_row(group, target)).collect(),
        outages,
        outages_left_out: Some(left_out).filter(|left_out| *left_out > 0),
    };
    (numbers, hint)
}

fn cause_row(group: &CauseCount, target: &str) -> CauseRow {
    CauseRow {
        cause: group.cause.as_str(),
        count: group.count,
        first_at: show(group.first_at),
        last_at: show(group.last_at),
        error: words_of(group.error.as_deref(), target),
    }
}

fn outage_row(outage: &Outage, target: &str) -> OutageRow {
    OutageRow {
        from: show(outage.from),
        to: outage.to.map(show),
        failures: outage.failures,
        cause: outage.cause.as_str(),
        error: words_of(outage.error.as_deref(), target),
    }
}

fn check_row(check: &Check, target: &str) -> CheckRow {
    CheckRow {
        at: show(check.timestamp),
        success: check.success,
        response_time_ms: check.response_time_ms,
        http_status: check.http_status.filter(|status| *status > 0),
        cause: (!check.success).then(|| cause_of(check.cause, check.http_status).as_str()),
        error: words_of(check.error_message.as_deref(), target),
        phases_ms: check.phases.map(phases).unwrap_or_default(),
    }
}

fn phases(phases: Phases) -> BTreeMap<&'static str, i64> {
    [
        ("dns", phases.dns_ms),
        ("connect", phases.connect_ms),
        ("tls", phases.tls_ms),
        ("first_byte", phases.first_byte_ms),
        ("body", phases.body_ms),
    ]
    .into_iter()
    .filter_map(|(phase, milliseconds)| Some((phase, milliseconds?)))
    .collect()
}
