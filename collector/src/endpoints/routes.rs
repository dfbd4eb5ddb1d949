//! The REST routes of this dimension.

use axum::Json;
use axum::extract::State as Shared;
use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use maintenant_api::endpoints::{
    CheckList, CheckQuery, ConnectionCounts, ContainerEndpoint, ContainerEndpoints, Endpoint,
    EndpointAnswer, EndpointDetail, EndpointInput, EndpointList, EndpointListQuery, EndpointSource,
    EndpointStatistics, EndpointStatus, EndpointType, ProbeCounts, Sparklines, StatisticsQuery,
};
use maintenant_api::error::ErrorBody;
use maintenant_api::monitors::{DailyUptime, DailyUptimeQuery};
use maintenant_serve::clock;
use maintenant_serve::logging::foreign;
use maintenant_serve::settings;
use tokio::sync::{mpsc, oneshot, watch};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::history::{History, WINDOWS};
use super::schedule::Counts;
use super::sql;
use super::statistics::Summary;
use super::watch::{Asked, Command};
use crate::http::AppState;
use crate::http::error::ApiError;
use crate::http::extract::{Body, Id, Query, moment, number};
use crate::net::Net;
use crate::store::StoreError;

/// More are not answered at once, whatever is asked for.
const MOST_CHECKS: i64 = 500;
const MOST_DAYS: i64 = 365;

/// What these routes read from.
#[derive(Clone)]
pub struct Endpoints {
    asking: mpsc::Sender<Asked>,
    counts: watch::Receiver<Counts>,
    net: Net,
}

impl Endpoints {
    pub(super) fn new(
        asking: mpsc::Sender<Asked>,
        counts: watch::Receiver<Counts>,
        net: Net,
    ) -> Self {
        Self { asking, counts, net }
    }

    /// The job keeps what is declared; it answers with the endpoint's id.
    async fn ask(&self, command: Command) -> Result<i64, ApiError> {
        let (answer, answered) = oneshot::channel();
        let closed = || ApiError::Store(StoreError::Closed);
        self.asking.send((command, answer)).await.map_err(|_| closed())?;
        answered.await.map_err(|_| closed())?
    }
}

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_endpoints, create_endpoint))
        .routes(routes!(get_endpoint, update_endpoint, delete_endpoint))
        .routes(routes!(list_checks))
        .routes(routes!(get_statistics))
        .routes(routes!(get_daily_uptime))
        .routes(routes!(list_container_endpoints))
        .routes(routes!(get_sparklines))
        .routes(routes!(get_probe_counts))
}

/// List endpoints
///
/// By container, then label; without those that are not declared any more.
#[utoipa::path(
    get, path = "/endpoints", tag = "endpoints", params(EndpointListQuery),
    responses(
        (status = 200, description = "Endpoints", body = EndpointList),
        (status = 400, description = "A parameter cannot be read", body = ErrorBody),
    )
)]
async fn list_endpoints(
    Shared(app): Shared<AppState>,
    Query(query): Query<EndpointListQuery>,
) -> Result<Json<EndpointList>, ApiError> {
    let status =
        word("status", query.status.as_deref(), EndpointStatus::parse, "up, down or unknown")?;
    let kind = word("type", query.kind.as_deref(), EndpointType::parse, "http or tcp")?;
    let sources = "label, file or standalone";
    let source = word("source", query.source.as_deref(), EndpointSource::parse, sources)?;
    let container = query.container.filter(|name| !name.is_empty());
    let inactive = query.include_inactive.as_deref() == Some("true");
    let windows = windows(query.uptime.as_deref().unwrap_or_default())?;
    let now = clock::now();
    let read = move |db: &rusqlite::Connection| {
        let mut endpoints = sql::list(db, inactive)?;
        endpoints.retain(|endpoint| {
            status.is_none_or(|status| status == endpoint.status)
                && kind.is_none_or(|kind| kind == endpoint.endpoint_type)
                && source.is_none_or(|source| source == endpoint.source)
                && container.as_ref().is_none_or(|name| *name == endpoint.container_name)
        });
        if !windows.is_empty() {
            let history = History::new(db, now)?;
            for endpoint in &mut endpoints {
                let (percents, coverages) = history.by_window(endpoint.id, &windows)?;
                endpoint.uptime = Some(percents);
                endpoint.uptime_coverage = Some(coverages);
            }
        }
        Ok(endpoints)
    };
    let endpoints = app.store.read(read).await?;
    let total = count(endpoints.len());
    Ok(Json(EndpointList { endpoints, total }))
}

/// Create an endpoint
#[utoipa::path(
    post, path = "/endpoints", tag = "endpoints", request_body = EndpointInput,
    responses(
        (status = 201, description = "Created; its first check follows soon",
         body = EndpointAnswer),
        (status = 400, description = "`INVALID_JSON` or `INVALID_INPUT`", body = ErrorBody),
    )
)]
async fn create_endpoint(
    Shared(app): Shared<AppState>,
    Body(input): Body<EndpointInput>,
) -> Result<(StatusCode, Json<EndpointAnswer>), ApiError> {
    let id = app.endpoints.ask(Command::Create(input)).await?;
    let endpoint = find(&app, id).await?;
    Ok((StatusCode::CREATED, Json(EndpointAnswer { endpoint })))
}

/// Get an endpoint
#[utoipa::path(
    get, path = "/endpoints/{id}", tag = "endpoints",
    params(("id" = i64, Path, description = "Endpoint id")),
    responses(
        (status = 200, description = "The endpoint and its uptime", body = EndpointDetail),
        (status = 400, description = "`INVALID_ID`", body = ErrorBody),
        (status = 404, description = "`ENDPOINT_NOT_FOUND`", body = ErrorBody),
    )
)]
async fn get_endpoint(
    Shared(app): Shared<AppState>,
    Id(id): Id,
) -> Result<Json<EndpointDetail>, ApiError> {
    let endpoint = find(&app, id).await?;
    let now = clock::now();
    let read = move |db: &rusqlite::Connection| History::new(db, now)?.by_window(id, &WINDOWS);
    let (uptime, uptime_coverage) = app.store.read(read).await?;
    Ok(Json(EndpointDetail { endpoint, uptime, uptime_coverage }))
}

/// Change an endpoint
///
/// What is absent or empty stays as it is.
#[utoipa::path(
    put, path = "/endpoints/{id}", tag = "endpoints", request_body = EndpointInput,
    params(("id" = i64, Path, description = "Endpoint id")),
    responses(
        (status = 200, description = "As it is now", body = EndpointAnswer),
        (status = 400, description = "`INVALID_ID`, `INVALID_JSON`, `INVALID_INPUT` or \
          `NOT_STANDALONE`", body = ErrorBody),
        (status = 404, description = "`ENDPOINT_NOT_FOUND`", body = ErrorBody),
    )
)]
async fn update_endpoint(
    Shared(app): Shared<AppState>,
    Id(id): Id,
    Body(input): Body<EndpointInput>,
) -> Result<Json<EndpointAnswer>, ApiError> {
    app.endpoints.ask(Command::Update(id, input)).await?;
    Ok(Json(EndpointAnswer { endpoint: find(&app, id).await? }))
}

/// Delete an endpoint
///
/// With its history. Those that labels or the file declare are ended there.
#[utoipa::path(
    delete, path = "/endpoints/{id}", tag = "endpoints",
    params(("id" = i64, Path, description = "Endpoint id")),
    responses(
        (status = 204, description = "Deleted"),
        (status = 400, description = "`INVALID_ID` or `NOT_STANDALONE`", body = ErrorBody),
        (status = 404, description = "`ENDPOINT_NOT_FOUND`", body = ErrorBody),
    )
)]
async fn delete_endpoint(
    Shared(app): Shared<AppState>,
    Id(id): Id,
) -> Result<StatusCode, ApiError> {
    app.endpoints.ask(Command::Delete(id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// List checks of an endpoint
///
/// Newest first. Also answers for an unknown id, with an empty list.
#[utoipa::path(
    get, path = "/endpoints/{id}/checks", tag = "endpoints",
    params(("id" = i64, Path, description = "Endpoint id"), CheckQuery),
    responses(
        (status = 200, description = "Checks", body = CheckList),
        (status = 400, description = "`INVALID_ID` or `INVALID_PARAM`", body = ErrorBody),
    )
)]
async fn list_checks(
    Shared(app): Shared<AppState>,
    Id(id): Id,
    Query(query): Query<CheckQuery>,
) -> Result<Json<CheckList>, ApiError> {
    let now = clock::now();
    let since = instant("since", query.since.as_deref(), now)?.unwrap_or(Timestamp::UNIX_EPOCH);
    let until = instant("until", query.until.as_deref(), now)?.unwrap_or(Timestamp::MAX);
    let limit = number("limit", query.limit.as_deref(), 1..=i64::MAX, 50)?.min(MOST_CHECKS);
    let offset = number("offset", query.offset.as_deref(), 0..=i64::MAX, 0)?;
    let read =
        move |db: &rusqlite::Connection| sql::checks(db, id, (since, until), (limit, offset));
    let (checks, total) = app.store.read(read).await?;
    let has_more = offset.saturating_add(count(checks.len())) < total;
    Ok(Json(CheckList { endpoint_id: id, checks, total, has_more }))
}

/// Statistics of an endpoint's checks
///
/// Counts, response times, failures by cause and by time.
#[utoipa::path(
    get, path = "/endpoints/{id}/statistics", tag = "endpoints",
    params(("id" = i64, Path, description = "Endpoint id"), StatisticsQuery),
    responses(
        (status = 200, description = "A span of time in few numbers", body = EndpointStatistics),
        (status = 400, description = "`INVALID_ID` or `INVALID_PARAM`", body = ErrorBody),
        (status = 404, description = "`ENDPOINT_NOT_FOUND`", body = ErrorBody),
    )
)]
async fn get_statistics(
    Shared(app): Shared<AppState>,
    Id(id): Id,
    Query(query): Query<StatisticsQuery>,
) -> Result<Json<EndpointStatistics>, ApiError> {
    let now = clock::now();
    let until = instant("until", query.until.as_deref(), now)?.unwrap_or(now).min(now);
    let since = instant("since", query.since.as_deref(), now)?;
    let since = since
        .unwrap_or_else(|| until.saturating_sub(SignedDuration::from_hours(24)).unwrap_or(until));
    if since > until {
        let fault = "it is later than until, or in the future".to_owned();
        return Err(ApiError::InvalidParameter { name: "since", fault });
    }
    find(&app, id).await?;
    let read = move |db: &rusqlite::Connection| {
        let mut summary = Summary::default();
        sql::each_check(db, id, (since, until), |at, check| summary.see(at, check))?;
        let (mut causes, (mut outages, left_out)) = (summary.causes(), summary.outages());
        for cause in &mut causes {
            cause.error = sql::error_at(db, id, cause.last_at)?;
        }
        for outage in &mut outages {
            outage.error = sql::error_at(db, id, outage.from)?;
        }
        let span = (since.as_millisecond(), until.as_millisecond());
        let sums = History::new(db, now)?.between(id, span)?;
        let uptime = sums.uptime(span.1 - span.0);
        let [p50_ms, p95_ms, max_ms] = summary.times();
        Ok(EndpointStatistics {
            endpoint_id: id,
            since,
            until,
            checks: summary.checks,
            failures: summary.failures,
            p50_ms,
            p95_ms,
            max_ms,
            causes,
            outages,
            outages_left_out: left_out,
            uptime_percent: uptime.percent,
            coverage_percent: uptime.coverage,
        })
    };
    Ok(Json(app.store.read(read).await?))
}

/// Uptime of an endpoint by day
///
/// Newest first, in UTC. Also answers for an unknown id: nothing is known of it.
#[utoipa::path(
    get, path = "/endpoints/{id}/uptime/daily", tag = "endpoints",
    params(("id" = i64, Path, description = "Endpoint id"), DailyUptimeQuery),
    responses(
        (status = 200, description = "One entry per day", body = DailyUptime),
        (status = 400, description = "`INVALID_ID` or `INVALID_PARAM`", body = ErrorBody),
    )
)]
async fn get_daily_uptime(
    Shared(app): Shared<AppState>,
    Id(id): Id,
    Query(query): Query<DailyUptimeQuery>,
) -> Result<Json<DailyUptime>, ApiError> {
    let days = number("days", query.days.as_deref(), 1..=i64::MAX, 90)?.min(MOST_DAYS);
    let now = clock::now();
    let days = app.store.read(move |db| History::new(db, now)?.daily(id, days)).await?;
    Ok(Json(DailyUptime { monitor_id: id, monitor_type: "endpoint".to_owned(), days }))
}

/// List endpoints of a container
#[utoipa::path(
    get, path = "/containers/{id}/endpoints", tag = "endpoints",
    params(("id" = i64, Path, description = "Row id of the container")),
    responses(
        (status = 200, description = "Endpoints that its labels declare",
         body = ContainerEndpoints),
        (status = 400, description = "`INVALID_ID`", body = ErrorBody),
        (status = 404, description = "`CONTAINER_NOT_FOUND`", body = ErrorBody),
    )
)]
async fn list_container_endpoints(
    Shared(app): Shared<AppState>,
    Id(id): Id,
) -> Result<Json<ContainerEndpoints>, ApiError> {
    app.find_container(id).await?;
    let found = app.store.read(move |db| sql::of_container(db, id)).await?;
    let brief = |endpoint: Endpoint| ContainerEndpoint {
        id: endpoint.id,
        endpoint_type: endpoint.endpoint_type,
        target: endpoint.target,
        status: endpoint.status,
        last_response_time_ms: endpoint.last_response_time_ms,
        last_check_at: endpoint.last_check_at,
    };
    let endpoints: Vec<_> = found.into_iter().map(brief).collect();
    let total = count(endpoints.len());
    Ok(Json(ContainerEndpoints { container_id: id, endpoints, total }))
}

/// Response times of the last checks
///
/// Of the successful ones among each endpoint's last 20 checks, in milliseconds.
#[utoipa::path(
    get, path = "/dashboard/sparklines", tag = "endpoints",
    responses((status = 200, description = "Response times by `endpoint:<id>`", body = Sparklines))
)]
async fn get_sparklines(Shared(app): Shared<AppState>) -> Result<Json<Sparklines>, ApiError> {
    let lines = app.store.read(sql::sparklines).await?;
    #[expect(clippy::cast_precision_loss, reason = "a check takes at most minutes")]
    let milliseconds = |times: Vec<i64>| times.into_iter().map(|time| time as f64).collect();
    let lines =
        lines.into_iter().map(|(id, times)| (format!("endpoint:{id}"), milliseconds(times)));
    Ok(Json(Sparklines(lines.collect())))
}

/// How probing fares
///
/// What waits and what was skipped: overload of this machine shows here, not in response times.
#[utoipa::path(
    get, path = "/probes", tag = "endpoints",
    responses((status = 200, description = "Counts since the start", body = ProbeCounts))
)]
async fn get_probe_counts(Shared(app): Shared<AppState>) -> Json<ProbeCounts> {
    let counts = *app.endpoints.counts.borrow();
    let rate = app.endpoints.net.rate_metrics();
    let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    Json(ProbeCounts {
        scheduled: count(counts.scheduled),
        in_flight: count(counts.in_flight),
        queued: count(counts.queued),
        late_ticks: signed(counts.late_ticks),
        checks_total: signed(counts.checks),
        queued_ms_total: signed(counts.queued_ms_total),
        queued_ms_max: signed(counts.queued_ms_max),
        connections: ConnectionCounts {
            limit_per_second: rate.limit_per_second.into(),
            granted: signed(rate.granted),
            delayed: signed(rate.delayed),
        },
    })
}

async fn find(app: &AppState, id: i64) -> Result<Endpoint, ApiError> {
    app.store.read(move |db| sql::find(db, id)).await?.ok_or_else(|| not_found(id))
}

pub(super) fn not_found(id: i64) -> ApiError {
    ApiError::NotFound { noun: "endpoint", code: "ENDPOINT_NOT_FOUND", id }
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// One of a few words; empty is absent.
fn word<T>(
    name: &'static str,
    given: Option<&str>,
    parse: fn(&str) -> Option<T>,
    accepted: &str,
) -> Result<Option<T>, ApiError> {
    let Some(given) = given.filter(|given| !given.is_empty()) else { return Ok(None) };
    parse(given).map(Some).ok_or_else(|| {
        let fault = format!("`{}` is not {accepted}", foreign(given));
        ApiError::InvalidParameter { name, fault }
    })
}

fn windows(given: &str) -> Result<Vec<(&'static str, i64)>, ApiError> {
    let one = |wanted: &String| {
        WINDOWS.into_iter().find(|(window, _)| window == wanted).ok_or_else(|| {
            let wanted = foreign(wanted);
            let fault = format!("`{wanted}` is no window; use 1h, 24h, 7d, 30d and 90d");
            ApiError::InvalidParameter { name: "uptime", fault }
        })
    };
    settings::list(given).iter().map(one).collect()
}

/// A moment, also as seconds since 1970.
fn instant(
    name: &'static str,
    given: Option<&str>,
    now: Timestamp,
) -> Result<Option<Timestamp>, ApiError> {
    let seconds = given.and_then(|given| given.parse().ok());
    if let Some(at) = seconds.and_then(|seconds| Timestamp::from_second(seconds).ok()) {
        return Ok(Some(at));
    }
    moment(name, given, now).map_err(|error| match error {
        ApiError::InvalidParameter { name, fault } => {
            ApiError::InvalidParameter { name, fault: format!("{fault}, or seconds since 1970") }
        }
        other => other,
    })
}
