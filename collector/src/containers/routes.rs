//! The REST routes of this dimension.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State as Shared;
use axum::response::sse::Event;
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use http::{HeaderMap, StatusCode};
use jiff::{SignedDuration, Timestamp};
use maintenant_api::containers::{
    ContainerDetail, ContainerGroup, ContainerList, ContainerListQuery, ContainerLogs, LogQuery,
    TransitionList, TransitionQuery,
};
use maintenant_api::error::ErrorBody;
use maintenant_serve::clock;
use maintenant_serve::logging::foreign;
use serde_json::json;
use tokio::sync::Semaphore;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::inventory::{group, to_wire};
use super::logs::{self, LogLine};
use super::model::Container;
use super::sql;
use super::watch::{LOGS_FEATURE, Watched};
use crate::docker::{Docker, DockerError, LogsQuery, Tail};
use crate::http::AppState;
use crate::http::error::ApiError;
use crate::http::events;
use crate::http::extract::{Id, Query, moment, number};
use crate::uptime;

/// Log streams open at once; each holds a connection to the engine.
const LOG_STREAMS: usize = 64;
/// Windows of the uptime in a container's detail.
const WINDOWS: [(&str, i64); 3] = [("24h", 24), ("7d", 24 * 7), ("30d", 24 * 30)];

/// What these routes read from.
#[derive(Clone)]
pub struct Containers {
    watched: Watched,
    log_streams: Arc<Semaphore>,
}

impl Containers {
    pub fn new(watched: Watched) -> Self {
        Self { watched, log_streams: Arc::new(Semaphore::new(LOG_STREAMS)) }
    }
}

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_containers))
        .routes(routes!(container_events))
        .routes(routes!(get_container, delete_container))
        .routes(routes!(list_transitions))
        .routes(routes!(get_logs))
        .routes(routes!(stream_logs))
}

/// List containers
///
/// Grouped by label or Compose project, by name, without ignored and (by default) archived ones.
#[utoipa::path(
    get, path = "/containers", tag = "containers", params(ContainerListQuery),
    responses(
        (status = 200, description = "Containers by group", body = ContainerList),
        (status = 400, description = "A parameter cannot be read", body = ErrorBody),
    )
)]
async fn list_containers(
    Shared(app): Shared<AppState>,
    Query(query): Query<ContainerListQuery>,
) -> Result<Json<ContainerList>, ApiError> {
    app.runtime.first_word().await;
    let known = app.runtime.get().connected;
    let archived = match query.archived.as_deref() {
        Some("true") => app.store.read(sql::list_archived).await?,
        _ => Vec::new(),
    };
    let inventory = app.containers.watched.inventory.borrow().clone();
    let deletions = &app.containers.watched.deletions;
    let live = inventory.containers.iter().filter(|container| {
        !container.facts.labels.is_ignored && !deletions.contains(container.id)
    });
    let mut all: Vec<&Container> = live.map(AsRef::as_ref).chain(&archived).collect();
    if !archived.is_empty() {
        all.sort_by(|a, b| (&a.facts.name, a.id).cmp(&(&b.facts.name, b.id)));
    }

    let wanted = query.group.as_deref().filter(|wanted| !wanted.is_empty());
    let state = query.state.as_deref().filter(|state| !state.is_empty());
    let mut list = ContainerList::default();
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    for container in all {
        let (name, source) = group(container);
        let project = container.facts.labels.compose.as_ref().map(|compose| &*compose.project);
        if wanted.is_some_and(|wanted| wanted != name && Some(wanted) != project) {
            continue;
        }
        let mut item = to_wire(container, known);
        if state.is_some_and(|state| state != item.state.as_str()) {
            continue;
        }
        if let Some((count, worst)) = container.risk_counts() {
            item.security_insight_count = Some(count);
            item.security_highest_severity = Some(worst.map(|worst| worst.as_str().to_owned()));
        }
        list.total += 1;
        list.archived_count += i64::from(item.archived);
        let place = *places.entry(name).or_insert(list.groups.len());
        if place == list.groups.len() {
            let (name, source) = (name.to_owned(), source.to_owned());
            list.groups.push(ContainerGroup { name, source, containers: Vec::new() });
        }
        if let Some(group) = list.groups.get_mut(place) {
            group.containers.push(item);
        }
    }
    Ok(Json(list))
}

/// Get a container
///
/// Archived and ignored containers are readable too.
#[utoipa::path(
    get, path = "/containers/{id}", tag = "containers",
    params(("id" = i64, Path, description = "Row id")),
    responses(
        (status = 200, description = "The container, every key present", body = ContainerDetail),
        (status = 400, description = "`INVALID_ID`", body = ErrorBody),
        (status = 404, description = "`CONTAINER_NOT_FOUND`", body = ErrorBody),
    )
)]
async fn get_container(
    Shared(app): Shared<AppState>,
    Id(id): Id,
) -> Result<Json<ContainerDetail>, ApiError> {
    app.runtime.first_word().await;
    let container = app.find_container(id).await?;
    let now = clock::now();
    let runtime = app.runtime.get();
    // What is still so is known up to now, or up to when Docker was last heard.
    let until = if runtime.connected { Some(now) } else { runtime.observed_until };
    let from = now.saturating_sub(SignedDuration::from_hours(24 * 30)).unwrap_or_default();
    let spans = app.store.read(move |db| sql::spans(db, id, from, until.unwrap_or(from))).await?;
    let mut percents = BTreeMap::new();
    let mut coverages = BTreeMap::new();
    for (window, hours) in WINDOWS {
        let from = now.saturating_sub(SignedDuration::from_hours(hours)).unwrap_or_default();
        let uptime = uptime::uptime(&spans, from, now);
        percents.insert(window.to_owned(), uptime.percent);
        coverages.insert(window.to_owned(), uptime.coverage);
    }
    let wire = to_wire(&container, runtime.connected);
    Ok(Json(ContainerDetail {
        id: wire.id,
        external_id: wire.external_id,
        name: wire.name,
        image: wire.image,
        state: wire.state,
        last_known_state: wire.last_known_state,
        health_status: wire.health_status,
        has_health_check: wire.has_health_check,
        orchestration_group: wire.orchestration_group,
        orchestration_unit: wire.orchestration_unit,
        custom_group: wire.custom_group,
        is_ignored: wire.is_ignored,
        alert_severity: wire.alert_severity,
        restart_threshold: wire.restart_threshold,
        alert_channels: wire.alert_channels,
        archived: wire.archived,
        first_seen_at: wire.first_seen_at,
        last_state_change_at: wire.last_state_change_at,
        archived_at: wire.archived_at,
        runtime_type: wire.runtime_type,
        error_detail: wire.error_detail,
        controller_kind: String::new(),
        namespace: String::new(),
        pod_count: wire.pod_count,
        ready_count: wire.ready_count,
        exit_code: wire.exit_code,
        exit_reason: wire.exit_reason,
        exit_signal: wire.exit_signal,
        oom_killed: wire.oom_killed,
        restart_count: wire.restart_count,
        started_at: wire.started_at,
        finished_at: wire.finished_at,
        uptime: percents,
        uptime_coverage: coverages,
        config_problems: app.problems.of(id),
    }))
}

/// Forget a container
///
/// Removes it and its history. One that still exists in Docker is found again as a new one.
#[utoipa::path(
    delete, path = "/containers/{id}", tag = "containers",
    params(("id" = i64, Path, description = "Row id")),
    responses(
        (status = 204, description = "Forgotten"),
        (status = 400, description = "`INVALID_ID`", body = ErrorBody),
        (status = 404, description = "`CONTAINER_NOT_FOUND`", body = ErrorBody),
        (status = 409, description = "`CONTAINER_RUNNING`", body = ErrorBody),
    )
)]
async fn delete_container(
    Shared(app): Shared<AppState>,
    Id(id): Id,
) -> Result<StatusCode, ApiError> {
    let container = app.find_container(id).await?;
    if !container.is_deletable() {
        return Err(ApiError::ContainerRunning);
    }
    app.store.write(move |tx| sql::delete(tx, id)).await?;
    app.containers.watched.deletions.add(id);
    app.events.publish("container.archived", &json!({ "id": id }));
    Ok(StatusCode::NO_CONTENT)
}

/// List transitions of a container
///
/// Newest first. Also answers for an unknown id, with an empty list.
#[utoipa::path(
    get, path = "/containers/{id}/transitions", tag = "containers",
    params(("id" = i64, Path, description = "Row id"), TransitionQuery),
    responses(
        (status = 200, description = "Changes of state and health", body = TransitionList),
        (status = 400, description = "`INVALID_ID` or `INVALID_PARAM`", body = ErrorBody),
    )
)]
async fn list_transitions(
    Shared(app): Shared<AppState>,
    Id(id): Id,
    Query(query): Query<TransitionQuery>,
) -> Result<Json<TransitionList>, ApiError> {
    let now = clock::now();
    let since = moment("since", query.since.as_deref(), now)?;
    let since = since
        .unwrap_or_else(|| now.saturating_sub(SignedDuration::from_hours(24)).unwrap_or_default());
    let until = moment("until", query.until.as_deref(), now)?.unwrap_or(Timestamp::MAX);
    let limit = number("limit", query.limit.as_deref(), 1..=1000, 50)?;
    let offset = number("offset", query.offset.as_deref(), 0..=i64::MAX, 0)?;
    let read =
        move |db: &rusqlite::Connection| sql::transitions(db, id, since, until, limit, offset);
    let (transitions, total) = app.store.read(read).await?;
    let returned = i64::try_from(transitions.len()).unwrap_or(i64::MAX);
    let has_more = offset.saturating_add(returned) < total;
    Ok(Json(TransitionList { container_id: id, transitions, total, has_more }))
}

/// Read a container's logs
///
/// The newest lines, oldest first, stdout and stderr in the order of their times.
#[utoipa::path(
    get, path = "/containers/{id}/logs", tag = "containers",
    params(("id" = i64, Path, description = "Row id"), LogQuery),
    responses(
        (status = 200, description = "Log lines", body = ContainerLogs),
        (status = 400, description = "`INVALID_ID` or `INVALID_PARAM`", body = ErrorBody),
        (status = 404, description = "`CONTAINER_NOT_FOUND`", body = ErrorBody),
        (status = 502, description = "`RUNTIME_UNAVAILABLE` or `LOGS_UNAVAILABLE`",
         body = ErrorBody),
    )
)]
async fn get_logs(
    Shared(app): Shared<AppState>,
    Id(id): Id,
    Query(query): Query<LogQuery>,
) -> Result<Json<ContainerLogs>, ApiError> {
    let (lines, wanted) = logs_query(&query, clock::now())?;
    let container = app.find_container(id).await?;
    let docker = app.docker()?;
    let read = logs::read(&docker, &container.external_id, wanted, lines).await;
    let (read, truncated) = read.map_err(|error| app.logs_error(error))?;
    app.runtime.set_degraded(LOGS_FEATURE, None);
    let timestamps = query.timestamps.as_deref() == Some("true");
    let text = |line: LogLine| match line.at {
        Some(at) if timestamps => format!("{at:.9} {}", line.text),
        _ => line.text,
    };
    let lines: Vec<String> = read.into_iter().map(text).collect();
    Ok(Json(ContainerLogs {
        container_id: id,
        container_name: container.facts.name.clone(),
        total_lines: i64::try_from(lines.len()).unwrap_or(i64::MAX),
        truncated,
        lines,
    }))
}

/// Follow a container's logs
///
/// Server-sent events: `container.log_line` with `container_id`, `line`, `stream` and `timestamp`;
/// at the end `container.log_error`.
#[utoipa::path(
    get, path = "/containers/{id}/logs/stream", tag = "containers",
    params(("id" = i64, Path, description = "Row id"), LogQuery),
    responses(
        (status = 200, description = "Server-sent events", content_type = "text/event-stream"),
        (status = 400, description = "`INVALID_ID` or `INVALID_PARAM`", body = ErrorBody),
        (status = 404, description = "`CONTAINER_NOT_FOUND`", body = ErrorBody),
        (status = 502, description = "`RUNTIME_UNAVAILABLE` or `LOGS_UNAVAILABLE`",
         body = ErrorBody),
        (status = 503, description = "`TOO_MANY_STREAMS`", body = ErrorBody),
    )
)]
async fn stream_logs(
    Shared(app): Shared<AppState>,
    Id(id): Id,
    Query(query): Query<LogQuery>,
) -> Result<Response, ApiError> {
    let (lines, wanted) = logs_query(&query, clock::now())?;
    let container = app.find_container(id).await?;
    let docker = app.docker()?;
    let permit = app.containers.log_streams.clone().try_acquire_owned();
    let permit = permit.map_err(|_| ApiError::TooManyStreams)?;
    let wanted = LogsQuery { follow: true, tail: Tail::Lines(lines), ..wanted };
    let lines = logs::follow(&docker, &container.external_id, &wanted);
    let lines = lines.map_err(|error| app.logs_error(error))?;
    // Docker's first answer decides between an error and a stream.
    let mut lines = Box::pin(lines.peekable());
    let waited = std::time::Duration::from_millis(500);
    if let Ok(Some(Err(_))) = tokio::time::timeout(waited, lines.as_mut().peek()).await
        && let Some(Err(error)) = lines.next().await
    {
        return Err(app.logs_error(error));
    }
    let event = move |name: &str, data: serde_json::Value| {
        Event::default().event(name).data(data.to_string())
    };
    let lines = lines.map(move |line| match line {
        Ok(line) => event(
            "container.log_line",
            json!({
                "container_id": id,
                "line": line.text,
                "stream": line.stream.as_str(),
                "timestamp": line.at.unwrap_or_else(clock::now),
            }),
        ),
        Err(error) => {
            event("container.log_error", json!({"container_id": id, "error": error.to_string()}))
        }
    });
    let end = json!({"container_id": id, "error": "container stopped"});
    let end = futures_util::stream::iter([event("container.log_error", end)]);
    let events = lines.chain(end).inspect(move |_| {
        let _held_as_long_as_the_stream = &permit;
    });
    Ok(events::stream(events, app.drain.clone()).into_response())
}

/// Follow all events
///
/// Server-sent events of every dimension, with ids. `Last-Event-ID` replays what was missed;
/// `stream.gap` says that something was missed that cannot be replayed.
#[utoipa::path(
    get, path = "/containers/events", tag = "containers",
    responses(
        (status = 200, description = "Server-sent events", content_type = "text/event-stream"),
        (status = 503, description = "`TOO_MANY_STREAMS`", body = ErrorBody),
    )
)]
async fn container_events(Shared(app): Shared<AppState>, headers: HeaderMap) -> Response {
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok());
    app.events.respond(last, app.drain.clone())
}

fn logs_query(query: &LogQuery, now: Timestamp) -> Result<(usize, LogsQuery), ApiError> {
    let lines = number("lines", query.lines.as_deref(), 1..=1000, 100)?;
    let (stdout, stderr) = match query.stream.as_deref() {
        None | Some("" | "all") => (true, true),
        Some("stdout") => (true, false),
        Some("stderr") => (false, true),
        Some(other) => {
            let fault = format!("`{}` is not stdout, stderr or all", foreign(other));
            return Err(ApiError::InvalidParameter { name: "stream", fault });
        }
    };
    let since = moment("since", query.since.as_deref(), now)?;
    let until = moment("until", query.until.as_deref(), now)?;
    if since.zip(until).is_some_and(|(since, until)| since > until) {
        let fault = "it is later than until".to_owned();
        return Err(ApiError::InvalidParameter { name: "since", fault });
    }
    let lines = usize::try_from(lines).unwrap_or(1);
    Ok((lines, LogsQuery { stdout, stderr, follow: false, tail: Tail::All, since, until }))
}

impl AppState {
    pub(crate) async fn find_container(&self, id: i64) -> Result<Arc<Container>, ApiError> {
        if self.containers.watched.deletions.contains(id) {
            return Err(ApiError::ContainerNotFound(id));
        }
        if let Some(container) = self.containers.watched.inventory.borrow().find(id) {
            return Ok(container.clone());
        }
        let stored = self.store.read(move |db| sql::find(db, id)).await?;
        stored.map(Arc::new).ok_or(ApiError::ContainerNotFound(id))
    }

    /// Containers that are there, by name.
    pub(crate) fn live_containers(&self) -> Vec<Arc<Container>> {
        let Watched { inventory, deletions, .. } = &self.containers.watched;
        let live = inventory.borrow().containers.clone();
        live.iter().filter(|container| !deletions.contains(container.id)).cloned().collect()
    }

    fn docker(&self) -> Result<Docker, ApiError> {
        let docker = self.containers.watched.docker.borrow().clone();
        docker.ok_or_else(|| {
            let error = self.runtime.get().error;
            let error = error.unwrap_or_else(|| "it is being connected".to_owned());
            ApiError::RuntimeUnavailable(error)
        })
    }

    fn logs_error(&self, error: DockerError) -> ApiError {
        match error {
            DockerError::Refused(why) => {
                let refused = Some(("GET /containers/{id}/logs", why.clone()));
                self.runtime.set_degraded(LOGS_FEATURE, refused);
                ApiError::LogsUnavailable(format!("the call is refused ({why})"))
            }
            DockerError::NotFound => {
                ApiError::LogsUnavailable("the container is gone, and its log with it".to_owned())
            }
            DockerError::Unsupported(why) => ApiError::LogsUnavailable(format!(
                "its logging driver does not support reading ({why})"
            )),
            error @ (DockerError::Unreachable(_) | DockerError::Hung) => {
                ApiError::RuntimeUnavailable(error.to_string())
            }
            error => ApiError::LogsUnavailable(error.to_string()),
        }
    }
}
