//! `list_endpoints`.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use maintenant_api::Timestamp;
use maintenant_api::endpoints::{CheckQuery, EndpointStatus, EndpointType};
use maintenant_api::monitors::AlertState;
use rmcp::{tool, tool_router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout_at};

use super::{failure_of, name_of, rank};
use crate::arguments::{Parameters, whole_number};
use crate::budget::Json;
use crate::collector::Collector;
use crate::collectors::{Source, ask};
use crate::cursor;
use crate::error::ToolError;
use crate::listed::ListedEndpoint;
use crate::server::Gateway;
use crate::time::show;
use crate::tools::paging::{self, Counts, Key, Listing, Ranked, word};
use crate::tools::{counted, hint};
use crate::untrusted::{address, name};

const STATUSES: [&str; 3] = ["up", "down", "unknown"];
const TYPES: [&str; 2] = ["http", "tcp"];
/// Endpoints asked for one by one, at once.
const AT_ONCE: usize = 8;
/// What those may take together; what is missing then stays out of the answer.
const ONE_BY_ONE: Duration = Duration::from_secs(5);

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ListEndpoints {
    /// `unknown`: not checked yet, or not lately.
    #[schemars(extend("enum" = STATUSES))]
    status: Option<String>,
    /// Only those that failed often enough for an alert, or only the others.
    alerting: Option<bool>,
    /// Exact name of a container.
    container: Option<String>,
    /// Exact name of a Compose project.
    group: Option<String>,
    /// How it is checked.
    #[serde(rename = "type")]
    #[schemars(extend("enum" = TYPES))]
    kind: Option<String>,
    /// Part of a name, address or container, in any case.
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
pub(crate) struct EndpointPage {
    summary: Counts,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    /// Worst first.
    endpoints: Vec<EndpointRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sources: Option<Vec<Source>>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct EndpointRow {
    id: i64,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<String>,
    #[serde(rename = "type")]
    kind: &'static str,
    target: String,
    status: &'static str,
    /// Last change of status; of a failure, its first failed check.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    alerting: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_time_ms: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    http_status: Option<i64>,
    /// Percent of the known time.
    #[serde(skip_serializing_if = "Option::is_none")]
    uptime_24h: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uptime_30d: Option<f64>,
    /// How much of the window is known, in percent, if not all.
    #[serde(skip_serializing_if = "Option::is_none")]
    coverage_24h: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    coverage_30d: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_check: Option<String>,
    source: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    collector: Option<String>,
}

#[tool_router(router = list_of_endpoints, vis = "pub(super)")]
impl Gateway {
    /// Lists probed HTTP and TCP endpoints, those that are down first, with since when, why, and their uptime; counts over all.
    /// Start here for "what is down and since when"; get_endpoint_history shows one over time.
    #[tool(
        title = "List endpoints",
        annotations(
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = false
        )
    )]
    async fn list_endpoints(
        &self,
        Parameters(arguments): Parameters<ListEndpoints>,
    ) -> Result<Json<EndpointPage>, ToolError> {
        let (filter, limit) = (Filter::new(&arguments)?, paging::limit(arguments.limit)?);
        let after: Option<Key> =
            arguments.cursor.as_deref().map(|text| cursor::decode(text, &filter)).transpose()?;
        let collectors = self.collectors().choose(arguments.collector.as_deref())?;
        let answers =
            ask(collectors.clone(), |collector| async move { collector.endpoints().await }).await;
        let sources = answers.sources();
        let mut entries = Vec::new();
        for (collector, list) in answers.successes()? {
            entries.extend(list.into_iter().map(|item| ranked(&collector.name, item)));
        }
        let mut listing =
            Listing::new("endpoint", entries, |entry| filter.matches(entry), after.as_ref());
        complete(listing.candidates(limit), &collectors).await;
        Ok(Json(page(&listing, &filter, limit, self.collectors().several(), sources)))
    }
}

/// Which endpoints were asked for. Its JSON is what a cursor is bound to.
#[derive(Debug, Default, Serialize)]
struct Filter {
    status: Option<EndpointStatus>,
    alerting: Option<bool>,
    container: Option<String>,
    group: Option<String>,
    kind: Option<EndpointType>,
    name: Option<String>,
    collector: Option<String>,
}

impl Filter {
    fn new(arguments: &ListEndpoints) -> Result<Self, ToolError> {
        let status = arguments.status.as_deref();
        let kind = arguments.kind.as_deref();
        Ok(Self {
            status: word("status", status, EndpointStatus::parse, &STATUSES)?,
            alerting: arguments.alerting,
            container: arguments.container.clone(),
            group: arguments.group.clone(),
            kind: word("type", kind, EndpointType::parse, &TYPES)?,
            name: arguments.name.as_deref().map(str::to_lowercase),
            collector: arguments.collector.clone(),
        })
    }

    fn is_open(&self) -> bool {
        let Self { status, alerting, container, group, kind, name, collector: _ } = self;
        status.is_none()
            && alerting.is_none()
            && kind.is_none()
            && [container, group, name].into_iter().all(Option::is_none)
    }

    /// Addresses are searched as they are shown, so that nobody can guess at what is not.
    fn matches(&self, Ranked { key, item }: &Ranked<ListedEndpoint>) -> bool {
        let is = |real: &str, wanted: &Option<String>| {
            wanted.as_deref().is_none_or(|wanted| real == wanted || name(real) == wanted)
        };
        self.status.is_none_or(|status| item.status == status)
            && self.alerting.is_none_or(|alerting| is_alerting(item) == alerting)
            && self.kind.is_none_or(|kind| item.endpoint_type == kind)
            && is(&item.container_name, &self.container)
            && is(&item.orchestration_group, &self.group)
            && self.name.as_deref().is_none_or(|part| {
                let has = |text: &str| text.to_lowercase().contains(part);
                has(&key.name) || has(&name(&item.container_name)) || has(&address(&item.target))
            })
    }
}

fn is_alerting(endpoint: &ListedEndpoint) -> bool {
    endpoint.alert_state == AlertState::Alerting
}

/// Of those that are down, what has been so for longest comes first.
fn ranked(collector: &str, endpoint: ListedEndpoint) -> Ranked<ListedEndpoint> {
    let down = endpoint.status == EndpointStatus::Down;
    let since = endpoint.status_since.filter(|_| down);
    let key = Key {
        rank: rank(&endpoint),
        moment: since.map_or(0, Timestamp::as_second),
        name: name_of(&endpoint),
        collector: collector.to_owned(),
        id: endpoint.id,
    };
    Ranked { key, item: endpoint }
}

/// Asks servers that list no uptime, nor since when something is down, for each endpoint shown.
/// What does not come in time stays out.
async fn complete(shown: &mut [Ranked<ListedEndpoint>], collectors: &[Arc<Collector>]) {
    let end = Instant::now() + ONE_BY_ONE;
    let questions: Vec<_> = shown
        .iter()
        .enumerate()
        .filter(|(_, entry)| entry.item.uptime.is_none())
        .filter_map(|(at, entry)| {
            let collector = collectors.iter().find(|known| known.name == entry.key.collector)?;
            let (collector, endpoint) = (collector.clone(), entry.item.clone());
            Some(async move { (at, completed(&collector, endpoint).await) })
        })
        .collect();
    let mut answers = futures_util::stream::iter(questions).buffer_unordered(AT_ONCE);
    while let Ok(Some((at, endpoint))) = timeout_at(end, answers.next()).await {
        if let Some(entry) = shown.get_mut(at) {
            entry.item = endpoint;
        }
    }
}

async fn completed(collector: &Collector, endpoint: ListedEndpoint) -> ListedEndpoint {
    let (found, since) =
        tokio::join!(collector.endpoint(endpoint.id), first_failure(collector, &endpoint));
    let (uptime, uptime_coverage) =
        found.map(|found| (found.uptime, found.uptime_coverage)).unwrap_or_default();
    ListedEndpoint {
        uptime,
        uptime_coverage,
        status_since: endpoint.status_since.or(since),
        ..endpoint
    }
}

/// When the failures in a row began, of which the server tells only how many there are.
async fn first_failure(collector: &Collector, endpoint: &ListedEndpoint) -> Option<Timestamp> {
    let before = endpoint.consecutive_failures.checked_sub(1).filter(|before| *before >= 0)?;
    if endpoint.status != EndpointStatus::Down || endpoint.status_since.is_some() {
        return None;
    }
    let query = CheckQuery {
        limit: Some("1".to_owned()),
        offset: Some(before.to_string()),
        ..CheckQuery::default()
    };
    let list = collector.checks(endpoint.id, &query).await.ok()?;
    list.checks.first().filter(|check| !check.success).map(|check| check.timestamp)
}

fn page(
    listing: &Listing<ListedEndpoint>,
    filter: &Filter,
    limit: Option<usize>,
    several: bool,
    (sources, rest_of_sources): (Option<Vec<Source>>, Option<String>),
) -> EndpointPage {
    let summary = listing.counts(filter.is_open(), |endpoint| {
        let mut words = vec![endpoint.status.as_str()];
        words.extend(is_alerting(endpoint).then_some("alerting"));
        words
    });
    let page = listing.page(limit, filter, sources.as_deref(), |entry| row(entry, several));
    let unknown = summary.of("unknown");
    let hint = hint([
        (unknown > 0).then(|| {
            let endpoints = counted(unknown, "endpoint");
            format!("Status unknown for {endpoints}: not checked yet, or not lately.")
        }),
        page.rest,
        (listing.total == 0).then(|| {
            "No endpoint is declared, neither by a label of a container nor otherwise.".to_owned()
        }),
        rest_of_sources,
    ]);
    EndpointPage { summary, hint, endpoints: page.rows, next_cursor: page.next_cursor, sources }
}

fn row(Ranked { key, item }: &Ranked<ListedEndpoint>, several: bool) -> EndpointRow {
    let (cause, error) = failure_of(item);
    let up = item.status == EndpointStatus::Up;
    let uptime = |window: &str| item.uptime.as_ref()?.get(window).copied()?;
    let coverage = |window: &str| {
        let coverage = item.uptime_coverage.get(window).copied();
        coverage.filter(|coverage| *coverage < 100.0 && uptime(window).is_some())
    };
    EndpointRow {
        id: item.id,
        name: key.name.clone(),
        container: Some(name(&item.container_name))
            .filter(|container| !container.is_empty() && *container != key.name),
        kind: item.endpoint_type.as_str(),
        target: address(&item.target),
        status: item.status.as_str(),
        since: item.status_since.map(show),
        alerting: is_alerting(item),
        cause,
        error,
        response_time_ms: item.last_response_time_ms.filter(|ms| up || *ms > 0),
        http_status: item.last_http_status.filter(|status| *status > 0),
        uptime_24h: uptime("24h"),
        uptime_30d: uptime("30d"),
        coverage_24h: coverage("24h"),
        coverage_30d: coverage("30d"),
        last_check: item.last_check_at.map(show),
        source: item.source.as_str(),
        collector: several.then(|| key.collector.clone()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn entry(id: i64, rest: Value) -> Ranked<ListedEndpoint> {
        let mut row = json!({
            "id": id, "name": format!("shop-service-{id:03}"), "endpoint_type": "http",
            "container_name": format!("shop-service-{id:03}-1"), "status": "up",
            "target": format!("https://service-{id:03}.shop.example.org/health"),
            "alert_state": "normal", "last_check_at": "2026-05-05T10:00:00Z",
            "status_since": "2026-05-01T10:00:00Z", "last_response_time_ms": 120,
            "last_http_status": 200, "source": "label", "uptime": {"24h": 99.98, "30d": 99.95},
            "uptime_coverage": {"24h": 100.0, "30d": 97.5}
        });
        let Value::Object(rest) = rest else { panic!("{rest}") };
        row.as_object_mut().unwrap().extend(rest);
        ranked("collector", serde_json::from_value(row).unwrap())
    }

    fn of(entries: Vec<Ranked<ListedEndpoint>>, limit: Option<usize>) -> EndpointPage {
        let filter = Filter::default();
        let listing = Listing::new("endpoint", entries, |entry| filter.matches(entry), None);
        page(&listing, &filter, limit, false, (None, None))
    }

    #[test]
    fn a_hundred_endpoints_fit_into_ten_kilobytes_by_default() {
        let entries = (1..=100).map(|id| entry(id, json!({})));
        let text = serde_json::to_string(&of(entries.collect(), None)).unwrap();
        let escaped = Value::String(text.clone()).to_string();
        assert!(text.len() + escaped.len() <= 10_000, "{} bytes", text.len() + escaped.len());
    }

    #[test]
    fn the_longest_outage_comes_first() {
        let worst_first = [
            json!({"status": "down", "alert_state": "alerting", "status_since": "2026-05-01T00:00:00Z"}),
            json!({"status": "down", "alert_state": "alerting", "status_since": "2026-05-02T00:00:00Z"}),
            json!({"status": "down", "status_since": "2026-04-01T00:00:00Z"}),
            json!({"status": "unknown", "status_since": "2026-05-02T00:00:00Z", "name": "a"}),
            json!({"status": "hibernating", "status_since": "2026-05-01T00:00:00Z", "name": "b"}),
            json!({"alert_state": "alerting"}),
            json!({}),
        ];
        let mut entries: Vec<_> =
            (1..).zip(worst_first).map(|(id, rest)| entry(id, rest)).collect();
        entries.reverse();
        let ids: Vec<i64> = of(entries, None).endpoints.iter().map(|row| row.id).collect();
        assert_eq!(ids, [1, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn nothing_is_shown_that_is_not_known() {
        let bare = json!({"status": "down", "uptime": null, "uptime_coverage": null,
            "last_check_at": "0001-01-01T00:00:00Z", "status_since": "", "last_error": "",
            "last_response_time_ms": 0, "last_http_status": 0, "container_name": null,
            "name": null, "source": "oracle"});
        let page = of(vec![entry(1, bare)], None);
        assert_eq!(
            serde_json::to_value(&page.endpoints[0]).unwrap(),
            json!({"id": 1, "name": "https://service-001.shop.example.org/health", "type": "http",
                   "target": "https://service-001.shop.example.org/health", "status": "down",
                   "source": "standalone"})
        );
    }

    #[test]
    fn whatever_is_written_a_page_keeps_its_size() {
        let long = "\u{1b}\u{202e}\"x".repeat(5000);
        let rest = json!({"name": long, "container_name": long, "target": long, "status": "down",
                          "last_error": long});
        let entries = (1..=100).map(|id| entry(id, rest.clone())).collect();
        let page = of(entries, Some(100));
        assert!(page.endpoints.len() > 5 && page.next_cursor.is_some());
        assert!(serde_json::to_string(&page).unwrap().len() <= crate::budget::CAP);
    }
}
