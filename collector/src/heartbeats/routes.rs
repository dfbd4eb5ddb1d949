//! The REST routes of this dimension.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Json;
use axum::extract::{FromRef, State as Shared};
use http::StatusCode;
use ipnet::IpNet;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use maintenant_api::error::ErrorBody;
use maintenant_api::heartbeats::{
    ExecutionList, Heartbeat as Wire, HeartbeatDetail, HeartbeatInput, HeartbeatList,
    HeartbeatListQuery, HeartbeatProblem, HeartbeatStatus, PingList,
};
use maintenant_api::monitors::{DailyUptime, DailyUptimeQuery, DayOfUptime, PageQuery};
use maintenant_serve::clock;
use maintenant_serve::logging::foreign;
use serde_json::json;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::changes::{self, Changed, Listening};
use super::clients::{Buckets, Limits};
use super::model::Heartbeat;
use super::pings::Known;
use super::{Settings, input, records, sql};
use crate::http::AppState;
use crate::http::error::ApiError;
use crate::http::events::EventBus;
use crate::http::extract::{Body, Id, Query, number};
use crate::store::Store;
use crate::uptime::{Span, uptime};

pub use super::pings::routes as pings;

/// Heartbeats that are not deleted; more are refused.
const MOST: usize = 10_000;
/// Rows of one answer.
const MOST_ROWS: i64 = 500;

/// What these routes read from; clones share it.
#[derive(Clone)]
pub struct Heartbeats(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) store: Store,
    pub(super) events: EventBus,
    pub(super) known: Known,
    pub(super) limits: Limits,
    pub(super) clients: Buckets,
    pub(super) strangers: Buckets,
    pub(super) trusted_proxies: Vec<IpNet>,
    base_url: String,
    listening: Mutex<Listening>,
}

impl Heartbeats {
    pub(super) fn new(
        store: Store,
        events: EventBus,
        settings: Settings,
        limits: Limits,
        listening: Listening,
    ) -> Self {
        Self(Arc::new(Inner {
            store,
            events,
            known: Known::default(),
            limits,
            clients: Buckets::default(),
            strangers: Buckets::default(),
            trusted_proxies: settings.trusted_proxies,
            base_url: settings.base_url,
            listening: Mutex::new(listening),
        }))
    }
}

impl Inner {
    pub(super) fn listening(&self) -> Listening {
        *self.listening.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_listening(&self, listening: Listening) {
        *self.listening.lock().unwrap_or_else(PoisonError::into_inner) = listening;
    }
}

impl FromRef<AppState> for Heartbeats {
    fn from_ref(app: &AppState) -> Self {
        app.heartbeats.clone()
    }
}

/// The routes, for any state that has [`Heartbeats`].
pub fn routes<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Heartbeats: FromRef<S>,
{
    OpenApiRouter::new()
        .routes(routes!(list_heartbeats, create_heartbeat))
        .routes(routes!(get_heartbeat, edit_heartbeat, delete_heartbeat))
        .routes(routes!(pause_heartbeat))
        .routes(routes!(resume_heartbeat))
        .routes(routes!(list_executions))
        .routes(routes!(list_pings))
        .routes(routes!(daily_uptime))
}

/// List heartbeats
///
/// Newest first, without deleted ones.
#[utoipa::path(
    get, path = "/heartbeats", tag = "heartbeats", params(HeartbeatListQuery),
    responses(
        (status = 200, description = "Heartbeats", body = HeartbeatList),
        (status = 400, description = "`INVALID_PARAM`", body = ErrorBody),
    )
)]
async fn list_heartbeats(
    Shared(heartbeats): Shared<Heartbeats>,
    Query(query): Query<HeartbeatListQuery>,
) -> Result<Json<HeartbeatList>, ApiError> {
    let wanted = query.status.as_deref().filter(|status| !status.is_empty());
    let is_late = wanted == Some(HeartbeatProblem::Late.as_str());
    let status = wanted.and_then(HeartbeatStatus::parse);
    if let Some(wanted) = wanted.filter(|_| !is_late && status.is_none()) {
        let fault = format!("`{}`: use new, up, late, down, started or paused", foreign(wanted));
        return Err(ApiError::InvalidParameter { name: "status", fault });
    }
    let all = heartbeats.0.store.read(sql::list).await?;
    let now = clock::now();
    let fits = |heartbeat: &Wire| {
        status.is_none_or(|status| status == heartbeat.status)
            && (!is_late || heartbeat.problem == Some(HeartbeatProblem::Late))
    };
    let list: Vec<Wire> = all.iter().map(|heartbeat| heartbeat.to_wire(now)).filter(fits).collect();
    let total = i64::try_from(list.len()).unwrap_or(i64::MAX);
    Ok(Json(HeartbeatList { heartbeats: list, total }))
}

/// Create a heartbeat
///
/// Its ping address is `/ping/<uuid>`; whoever knows it can ping.
#[utoipa::path(
    post, path = "/heartbeats", tag = "heartbeats", request_body = HeartbeatInput,
    responses(
        (status = 201, description = "The heartbeat", body = Wire),
        (status = 400, description = "`INVALID_JSON` or `INVALID_INPUT`", body = ErrorBody),
        (status = 409, description = "`HEARTBEAT_LIMIT_REACHED`", body = ErrorBody),
    )
)]
async fn create_heartbeat(
    Shared(heartbeats): Shared<Heartbeats>,
    Body(input): Body<Option<HeartbeatInput>>,
) -> Result<(StatusCode, Json<Wire>), ApiError> {
    let now = clock::now();
    let (name, timing) = input::create(&input.unwrap_or_default(), now)?;
    let inner = &heartbeats.0;
    if inner.known.count() >= MOST {
        return Err(ApiError::NotPossible {
            status: StatusCode::CONFLICT,
            code: "HEARTBEAT_LIMIT_REACHED",
            message: format!("there are {MOST} heartbeats; delete one first"),
        });
    }
    let draft = Heartbeat::new(name, timing, now);
    let told = heartbeats.clone();
    let insert = move |tx: &rusqlite::Connection| {
        let id = sql::insert(tx, &draft)?;
        Ok(Heartbeat { id, ..draft })
    };
    let tell = move |created: &Heartbeat| {
        let Heartbeat { id, name, uuid, status, .. } = created;
        told.0.known.add(uuid, *id);
        let data = json!({ "heartbeat_id": id, "name": name, "uuid": uuid, "status": status });
        told.0.events.publish("heartbeat.created", &data);
    };
    let created = inner.store.write_then(insert, tell).await?;
    Ok((StatusCode::CREATED, Json(created.to_wire(now))))
}

/// Get a heartbeat
///
/// With ready-made calls of its ping address. A deleted one is readable, with `active` false.
#[utoipa::path(
    get, path = "/heartbeats/{id}", tag = "heartbeats",
    params(("id" = i64, Path, description = "Row id")),
    responses(
        (status = 200, description = "The heartbeat", body = HeartbeatDetail),
        (status = 400, description = "`INVALID_ID`", body = ErrorBody),
        (status = 404, description = "`NOT_FOUND`", body = ErrorBody),
    )
)]
async fn get_heartbeat(
    Shared(heartbeats): Shared<Heartbeats>,
    Id(id): Id,
) -> Result<Json<HeartbeatDetail>, ApiError> {
    let heartbeat = heartbeats.find(id).await?;
    let url = format!("{}/ping/{}", heartbeats.0.base_url, heartbeat.uuid);
    Ok(Json(HeartbeatDetail {
        heartbeat: heartbeat.to_wire(clock::now()),
        snippets: snippets(&url),
    }))
}

/// Change a heartbeat
///
/// What is absent or null stays as it is. Another timing is counted from the last end of a run, or
/// from now where that would be overdue already.
#[utoipa::path(
    put, path = "/heartbeats/{id}", tag = "heartbeats", request_body = HeartbeatInput,
    params(("id" = i64, Path, description = "Row id")),
    responses(
        (status = 200, description = "The heartbeat", body = Wire),
        (status = 400, description = "`INVALID_ID`, `INVALID_JSON` or `INVALID_INPUT`",
         body = ErrorBody),
        (status = 404, description = "`NOT_FOUND`", body = ErrorBody),
    )
)]
async fn edit_heartbeat(
    Shared(heartbeats): Shared<Heartbeats>,
    Id(id): Id,
    Body(input): Body<Option<HeartbeatInput>>,
) -> Result<Json<Wire>, ApiError> {
    let now = clock::now();
    let input = input.unwrap_or_default();
    let work = move |tx: &rusqlite::Connection| changes::edit(tx, id, &input, now);
    let changed = heartbeats.0.store.write(work).await?.ok_or_else(|| not_found(id))??;
    Ok(Json(changed.heartbeat.to_wire(now)))
}

/// Delete a heartbeat
///
/// Its address answers 404 from then on. It stays readable for 30 days.
#[utoipa::path(
    delete, path = "/heartbeats/{id}", tag = "heartbeats",
    params(("id" = i64, Path, description = "Row id")),
    responses(
        (status = 204, description = "Deleted, now or before"),
        (status = 400, description = "`INVALID_ID`", body = ErrorBody),
        (status = 404, description = "`NOT_FOUND`", body = ErrorBody),
    )
)]
async fn delete_heartbeat(
    Shared(heartbeats): Shared<Heartbeats>,
    Id(id): Id,
) -> Result<StatusCode, ApiError> {
    let now = clock::now();
    let told = heartbeats.clone();
    let tell = move |existed: &bool| {
        if *existed {
            told.0.known.remove(id);
            told.0.events.publish("heartbeat.deleted", &json!({ "heartbeat_id": id }));
        }
    };
    let existed = heartbeats.0.store.write_then(move |tx| changes::delete(tx, id, now), tell);
    if existed.await? { Ok(StatusCode::NO_CONTENT) } else { Err(not_found(id)) }
}

/// Pause a heartbeat
///
/// Nothing is expected of it; pings are stored and do not resume it.
#[utoipa::path(
    post, path = "/heartbeats/{id}/pause", tag = "heartbeats",
    params(("id" = i64, Path, description = "Row id")),
    responses(
        (status = 200, description = "The heartbeat", body = Wire),
        (status = 400, description = "`INVALID_ID`", body = ErrorBody),
        (status = 404, description = "`NOT_FOUND`", body = ErrorBody),
    )
)]
async fn pause_heartbeat(
    Shared(heartbeats): Shared<Heartbeats>,
    Id(id): Id,
) -> Result<Json<Wire>, ApiError> {
    let now = clock::now();
    let events = heartbeats.0.events.clone();
    let tell = move |changed: &Option<Changed>| {
        if let Some(changed) = changed {
            changed.publish(&events);
        }
    };
    let paused = heartbeats.0.store.write_then(move |tx| changes::pause(tx, id, now), tell);
    let paused = paused.await?.ok_or_else(|| not_found(id))?;
    Ok(Json(paused.heartbeat.to_wire(now)))
}

/// Resume a heartbeat
///
/// It is up, and its next deadline is counted from now.
#[utoipa::path(
    post, path = "/heartbeats/{id}/resume", tag = "heartbeats",
    params(("id" = i64, Path, description = "Row id")),
    responses(
        (status = 200, description = "The heartbeat", body = Wire),
        (status = 400, description = "`INVALID_ID`, or `INVALID_INPUT`: it is not paused",
         body = ErrorBody),
        (status = 404, description = "`NOT_FOUND`", body = ErrorBody),
    )
)]
async fn resume_heartbeat(
    Shared(heartbeats): Shared<Heartbeats>,
    Id(id): Id,
) -> Result<Json<Wire>, ApiError> {
    let now = clock::now();
    let events = heartbeats.0.events.clone();
    let tell = move |resumed: &Option<Result<Changed, Heartbeat>>| {
        if let Some(Ok(changed)) = resumed {
            changed.publish(&events);
        }
    };
    let resumed = heartbeats.0.store.write_then(move |tx| changes::resume(tx, id, now), tell);
    match resumed.await? {
        None => Err(not_found(id)),
        Some(Ok(changed)) => Ok(Json(changed.heartbeat.to_wire(now))),
        Some(Err(heartbeat)) => Err(ApiError::InvalidInput {
            field: "status",
            fault: format!(
                "heartbeat {id} is {}; only a paused one can be resumed",
                heartbeat.status.as_str()
            ),
        }),
    }
}

/// List runs of a heartbeat
///
/// Newest first.
#[utoipa::path(
    get, path = "/heartbeats/{id}/executions", tag = "heartbeats",
    params(("id" = i64, Path, description = "Row id"), PageQuery),
    responses(
        (status = 200, description = "Runs", body = ExecutionList),
        (status = 400, description = "`INVALID_ID` or `INVALID_PARAM`", body = ErrorBody),
        (status = 404, description = "`NOT_FOUND`", body = ErrorBody),
    )
)]
async fn list_executions(
    Shared(heartbeats): Shared<Heartbeats>,
    Id(id): Id,
    Query(query): Query<PageQuery>,
) -> Result<Json<ExecutionList>, ApiError> {
    let (limit, offset) = page(&query, 20)?;
    heartbeats.find(id).await?;
    let read = move |db: &rusqlite::Connection| records::executions(db, id, limit, offset);
    let (executions, total) = heartbeats.0.store.read(read).await?;
    Ok(Json(ExecutionList { executions, total }))
}

/// List pings of a heartbeat
///
/// Newest first, each beside what was expected when it came.
#[utoipa::path(
    get, path = "/heartbeats/{id}/pings", tag = "heartbeats",
    params(("id" = i64, Path, description = "Row id"), PageQuery),
    responses(
        (status = 200, description = "Pings", body = PingList),
        (status = 400, description = "`INVALID_ID` or `INVALID_PARAM`", body = ErrorBody),
        (status = 404, description = "`NOT_FOUND`", body = ErrorBody),
    )
)]
async fn list_pings(
    Shared(heartbeats): Shared<Heartbeats>,
    Id(id): Id,
    Query(query): Query<PageQuery>,
) -> Result<Json<PingList>, ApiError> {
    let (limit, offset) = page(&query, 50)?;
    heartbeats.find(id).await?;
    let read = move |db: &rusqlite::Connection| records::pings(db, id, limit, offset);
    let (pings, total) = heartbeats.0.store.read(read).await?;
    Ok(Json(PingList { pings, total }))
}

/// Daily uptime of a heartbeat
///
/// By time, newest day first. Time while it was new or paused, or while nobody listened, counts
/// neither way. Also answers for an unknown id: nothing is known.
#[utoipa::path(
    get, path = "/heartbeats/{id}/uptime/daily", tag = "heartbeats",
    params(("id" = i64, Path, description = "Row id"), DailyUptimeQuery),
    responses(
        (status = 200, description = "One entry per day", body = DailyUptime),
        (status = 400, description = "`INVALID_ID` or `INVALID_PARAM`", body = ErrorBody),
    )
)]
async fn daily_uptime(
    Shared(heartbeats): Shared<Heartbeats>,
    Id(id): Id,
    Query(query): Query<DailyUptimeQuery>,
) -> Result<Json<DailyUptime>, ApiError> {
    let days = number("days", query.days.as_deref(), 1..=i64::MAX, 90)?.min(365);
    let now = clock::now();
    let midnights = midnights(now, days);
    let from = midnights.last().copied().unwrap_or(now);
    let spans = heartbeats.0.store.read(move |db| sql::spans(db, id, from, now)).await?;
    let days = days_of(&spans, &midnights, now);
    Ok(Json(DailyUptime { monitor_id: id, monitor_type: "heartbeat".to_owned(), days }))
}

impl Heartbeats {
    async fn find(&self, id: i64) -> Result<Heartbeat, ApiError> {
        let found = self.0.store.read(move |db| sql::find(db, id)).await?;
        found.ok_or_else(|| not_found(id))
    }
}

fn not_found(id: i64) -> ApiError {
    ApiError::NotFound { noun: "heartbeat", code: "NOT_FOUND", id }
}

/// Limit and offset of a page; more than the most is the most.
fn page(query: &PageQuery, default: i64) -> Result<(i64, i64), ApiError> {
    let limit = number("limit", query.limit.as_deref(), 1..=i64::MAX, default)?.min(MOST_ROWS);
    let offset = number("offset", query.offset.as_deref(), 0..=i64::MAX, 0)?;
    Ok((limit, offset))
}

/// The beginnings of today and of the days before it, in UTC, newest first.
fn midnights(now: Timestamp, days: i64) -> Vec<Timestamp> {
    let today = TimeZone::UTC.to_datetime(now).date();
    let day = |ago: i64| {
        let date = today.checked_sub(jiff::Span::new().try_days(ago).ok()?).ok()?;
        TimeZone::UTC.to_timestamp(date.at(0, 0, 0, 0)).ok()
    };
    (0..days).map_while(day).collect()
}

/// Uptime of each day, by spans in the order of time.
pub(super) fn days_of(spans: &[Span], midnights: &[Timestamp], now: Timestamp) -> Vec<DayOfUptime> {
    let downs: Vec<Timestamp> = spans
        .iter()
        .enumerate()
        .filter(|(place, span)| {
            // After an interruption it goes on being down: that is the same incident.
            let before = place.checked_sub(1).and_then(|place| spans.get(place));
            !span.is_up && before.is_none_or(|before| before.is_up)
        })
        .map(|(_, span)| span.from)
        .collect();
    let mut end = now;
    let day = |midnight: &Timestamp| {
        let next = midnight.checked_add(jiff::SignedDuration::from_hours(24)).unwrap_or(now);
        let first = spans.partition_point(|span| span.to <= *midnight);
        let last = spans.partition_point(|span| span.from < end);
        let inside = spans.get(first..last).unwrap_or_default();
        // Of today, what has been of it.
        let uptime = uptime(inside, *midnight, next.min(now));
        let incidents = downs.iter().filter(|down| **down >= *midnight && **down < end).count();
        end = *midnight;
        DayOfUptime {
            date: TimeZone::UTC.to_datetime(*midnight).date().to_string(),
            uptime_percent: uptime.percent,
            incident_count: i64::try_from(incidents).unwrap_or(i64::MAX),
            coverage_percent: uptime.coverage,
        }
    };
    midnights.iter().map(day).collect()
}

fn snippets(url: &str) -> BTreeMap<String, String> {
    let curl = format!("curl -fsS -m 10 --retry 5 -o /dev/null {url}");
    let snippets = [
        ("curl", curl.clone()),
        ("wget", format!("wget -q -T 10 -t 5 -O /dev/null {url}")),
        (
            "python",
            format!("import urllib.request\n\nurllib.request.urlopen(\"{url}\", timeout=10)\n"),
        ),
        (
            "go",
            format!(
                "client := &http.Client{{Timeout: 10 * time.Second}}\n\
                 if response, err := client.Get(\"{url}\"); err == nil {{\n\
                 \tresponse.Body.Close()\n}}\n"
            ),
        ),
        ("bash", format!("{curl}/start\nyour-command\n{curl}/$?\n")),
        ("docker_healthcheck", format!("HEALTHCHECK --interval=60s CMD your-check && {curl}")),
    ];
    snippets.map(|(language, text)| (language.to_owned(), text)).into()
}
