//! The REST routes of alerts and silences.

use axum::Json;
use axum::extract::{FromRef, State as Shared};
use http::StatusCode;
use jiff::Timestamp;
use maintenant_api::alerts::{
    Acknowledgement, ActiveAlerts, Alert, AlertList, AlertQuery, AlertStatus, Severity, Silence,
    SilenceInput, SilenceList, SilenceQuery,
};
use maintenant_api::error::ErrorBody;
use maintenant_serve::clock;
use maintenant_serve::logging::foreign;
use rusqlite::Connection;
use serde_json::json;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::model::whole;
use super::silences;
use super::sql::{self, Filter};
use crate::http::AppState;
use crate::http::error::ApiError;
use crate::http::events::EventBus;
use crate::http::extract::{Body, Id, Query, moment, number};
use crate::store::Store;

/// Characters of who acknowledges.
const MOST_NAME: usize = 200;
const MOST_ROWS: i64 = 200;
const ROWS: i64 = 50;

/// What these routes read from; clones share it.
#[derive(Clone)]
pub struct Alerts {
    pub store: Store,
    pub events: EventBus,
}

impl FromRef<AppState> for Alerts {
    fn from_ref(app: &AppState) -> Self {
        app.alerts.clone()
    }
}

/// The routes, for any state that has [`Alerts`].
pub fn routes<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Alerts: FromRef<S>,
{
    OpenApiRouter::new()
        .routes(routes!(list_alerts))
        .routes(routes!(list_active_alerts))
        .routes(routes!(get_alert))
        .routes(routes!(acknowledge_alert))
        .routes(routes!(list_silences, create_silence))
        .routes(routes!(cancel_silence))
}

/// List alerts
///
/// Newest first, open and past. When an alert ends, a second one is added that says so.
#[utoipa::path(
    get, path = "/alerts", tag = "alerts", params(AlertQuery),
    responses(
        (status = 200, description = "Alerts", body = AlertList),
        (status = 400, description = "`INVALID_PARAM`", body = ErrorBody),
    )
)]
async fn list_alerts(
    Shared(alerts): Shared<Alerts>,
    Query(query): Query<AlertQuery>,
) -> Result<Json<AlertList>, ApiError> {
    let limit = number("limit", query.limit.as_deref(), 1..=MOST_ROWS, ROWS)?;
    let filter = filter(query, clock::now())?;
    let mut list = alerts.store.read(move |db| sql::list(db, &filter, limit + 1)).await?;
    let most = usize::try_from(limit).unwrap_or_default();
    let has_more = list.len() > most;
    list.truncate(most);
    let last = list.last().filter(|_| has_more);
    let next_cursor = last.map(|last| format!("{}-{}", last.fired_at.as_millisecond(), last.id));
    Ok(Json(AlertList { alerts: list, has_more, next_cursor }))
}

fn filter(query: AlertQuery, now: Timestamp) -> Result<Filter, ApiError> {
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let entity_id = number("entity_id", query.entity_id.as_deref(), i64::MIN..=i64::MAX, 0)?;
    // A moment within a millisecond is after what happened at its beginning.
    let milliseconds = |at: Timestamp| {
        let whole = at.as_millisecond();
        let is_within = at.as_nanosecond() > i128::from(whole) * 1_000_000;
        whole.saturating_add(i64::from(is_within))
    };
    let before = moment("before", query.before.as_deref(), now)?;
    let before = before.map(|at| (milliseconds(at), i64::MIN));
    let cursor = given(query.cursor).map(|text| {
        let parsed = text.split_once('-').and_then(|(fired_at, id)| {
            Some((fired_at.parse::<i64>().ok()?, id.parse::<i64>().ok()?))
        });
        parsed.ok_or_else(|| ApiError::InvalidParameter {
            name: "cursor",
            fault: format!("`{}` is none; use `next_cursor` of an answer", foreign(&text)),
        })
    });
    Ok(Filter {
        source: given(query.source),
        severity: word("severity", given(query.severity), Severity::parse, || {
            Severity::ALL.map(Severity::as_str).join(", ")
        })?,
        status: word("status", given(query.status), AlertStatus::parse, || {
            AlertStatus::ALL.map(AlertStatus::as_str).join(", ")
        })?,
        entity_type: given(query.entity_type),
        entity_id: given(query.entity_id).map(|_| entity_id),
        since: moment("since", query.since.as_deref(), now)?.map(milliseconds),
        lasting_since: moment("lasting_since", query.lasting_since.as_deref(), now)?
            .map(milliseconds),
        before: before.into_iter().chain(cursor.transpose()?).min(),
    })
}

/// One of a few words.
fn word<T>(
    name: &'static str,
    given: Option<String>,
    parse: fn(&str) -> Option<T>,
    accepted: impl Fn() -> String,
) -> Result<Option<T>, ApiError> {
    let Some(given) = given else { return Ok(None) };
    parse(&given).map(Some).ok_or_else(|| ApiError::InvalidParameter {
        name,
        fault: format!("`{}` is none of: {}", foreign(&given), accepted()),
    })
}

/// List active alerts
///
/// By severity, newest first: active and not acknowledged.
#[utoipa::path(
    get, path = "/alerts/active", tag = "alerts",
    responses((status = 200, description = "Active alerts", body = ActiveAlerts))
)]
async fn list_active_alerts(
    Shared(alerts): Shared<Alerts>,
) -> Result<Json<ActiveAlerts>, ApiError> {
    let mut active = ActiveAlerts::default();
    for alert in alerts.store.read(sql::list_active).await? {
        match alert.severity {
            Severity::Critical => active.critical.push(alert),
            Severity::Warning => active.warning.push(alert),
            Severity::Info => active.info.push(alert),
        }
    }
    Ok(Json(active))
}

/// Get an alert
#[utoipa::path(
    get, path = "/alerts/{id}", tag = "alerts", params(("id" = i64, Path, description = "Row id")),
    responses(
        (status = 200, description = "The alert", body = Alert),
        (status = 400, description = "`INVALID_PARAM`", body = ErrorBody),
        (status = 404, description = "`NOT_FOUND`", body = ErrorBody),
    )
)]
async fn get_alert(
    Shared(alerts): Shared<Alerts>,
    id: Result<Id, ApiError>,
) -> Result<Json<Alert>, ApiError> {
    let id = parameter(id)?;
    let alert = alerts.store.read(move |db| sql::find(db, id)).await?;
    alert.map(Json).ok_or_else(|| not_found(id))
}

/// Acknowledge an alert
///
/// Somebody knows of it: it stays active, and is told again only when it becomes worse.
#[utoipa::path(
    post, path = "/alerts/{id}/acknowledge", tag = "alerts", request_body = Acknowledgement,
    params(("id" = i64, Path, description = "Row id")),
    responses(
        (status = 200, description = "The alert", body = Alert),
        (status = 400, description = "`INVALID_PARAM`, `INVALID_BODY` or `INVALID_REQUEST`",
         body = ErrorBody),
        (status = 404, description = "`NOT_FOUND`", body = ErrorBody),
        (status = 409, description = "`CONFLICT`: not active, or acknowledged before",
         body = ErrorBody),
    )
)]
async fn acknowledge_alert(
    Shared(alerts): Shared<Alerts>,
    id: Result<Id, ApiError>,
    body: Result<Body<Option<Acknowledgement>>, ApiError>,
) -> Result<Json<Alert>, ApiError> {
    let id = parameter(id)?;
    let by = body_of(body)?.map(|body| body.acknowledged_by).unwrap_or_default();
    let by = by.trim().to_owned();
    if !(1..=MOST_NAME).contains(&by.chars().count()) {
        let message =
            format!("acknowledged_by: say who takes note, in 1 to {MOST_NAME} characters");
        return Err(refused(StatusCode::BAD_REQUEST, "INVALID_REQUEST", message));
    }
    let now = whole(clock::now());
    let work = move |tx: &Connection| {
        let Some(before) = sql::find(tx, id)? else { return Ok(Err(not_found(id))) };
        if let Some(message) = conflict(&before) {
            return Ok(Err(refused(StatusCode::CONFLICT, "CONFLICT", message)));
        }
        sql::acknowledge(tx, id, &by, now)?;
        Ok(sql::find(tx, id)?.ok_or_else(|| not_found(id)))
    };
    let tell = move |outcome: &Result<Alert, ApiError>| {
        if let Ok(alert) = outcome {
            let by = alert.acknowledged_by.as_deref().unwrap_or_default();
            tracing::info!(id, by = foreign(by), "alert acknowledged");
            alerts.events.publish("alert.acknowledged", alert);
        }
    };
    let store = alerts.store.clone();
    store.write_then(work, tell).await?.map(Json)
}

/// Why an alert cannot be acknowledged, if it cannot.
fn conflict(alert: &Alert) -> Option<String> {
    let id = alert.id;
    let only = "only an active alert can be acknowledged";
    match (alert.status, &alert.acknowledged_by, alert.acknowledged_at) {
        (AlertStatus::Active, Some(by), Some(at)) => {
            Some(format!("alert {id} was acknowledged by `{}` at {at:.0}", foreign(by)))
        }
        (AlertStatus::Active, ..) => None,
        (AlertStatus::Resolved, ..) => {
            let ended = alert.resolved_at.unwrap_or(alert.fired_at);
            Some(format!("alert {id} is resolved since {ended:.0}; {only}"))
        }
        (status, ..) => Some(format!("alert {id} is {}; {only}", status.as_str())),
    }
}

/// List silences
///
/// Newest first, at most 1,000.
#[utoipa::path(
    get, path = "/silence", tag = "alerts", params(SilenceQuery),
    responses(
        (status = 200, description = "Silences", body = SilenceList),
        (status = 400, description = "`INVALID_PARAM`", body = ErrorBody),
    )
)]
async fn list_silences(
    Shared(alerts): Shared<Alerts>,
    Query(query): Query<SilenceQuery>,
) -> Result<Json<SilenceList>, ApiError> {
    let wanted = query.active.filter(|active| !active.is_empty());
    let is_only_active = word("active", wanted, |word| word.parse().ok(), || "true, false".into())?;
    let (is_only_active, now) = (is_only_active.unwrap_or(false), clock::now());
    let rules = alerts.store.read(move |db| silences::list(db, is_only_active, now)).await?;
    Ok(Json(SilenceList { rules }))
}

/// Create a silence
///
/// From now on, for its duration: matching alerts are stored and nobody is told. What still lasts
/// when it ends is told then. Without a filter everything is silenced.
#[utoipa::path(
    post, path = "/silence", tag = "alerts", request_body = SilenceInput,
    responses(
        (status = 201, description = "The silence", body = Silence),
        (status = 400, description = "`INVALID_BODY` or `VALIDATION_ERROR`", body = ErrorBody),
        (status = 409, description = "`SILENCE_LIMIT_REACHED`", body = ErrorBody),
    )
)]
async fn create_silence(
    Shared(alerts): Shared<Alerts>,
    body: Result<Body<Option<SilenceInput>>, ApiError>,
) -> Result<(StatusCode, Json<Silence>), ApiError> {
    let input = body_of(body)?.unwrap_or_default();
    let draft = silences::parse(input, whole(clock::now()))?;
    let work = move |tx: &Connection| {
        let id = silences::insert(tx, &draft)?;
        Ok(id.map(|id| Silence { id, ..draft }))
    };
    let tell = move |silence: &Option<Silence>| {
        if let Some(silence) = silence {
            alerts.events.publish("silence.created", silence);
        }
    };
    let store = alerts.store.clone();
    let silence = store.write_then(work, tell).await?.ok_or_else(|| {
        let message = format!("{} silences are in force; cancel one first", silences::MOST);
        refused(StatusCode::CONFLICT, "SILENCE_LIMIT_REACHED", message)
    })?;
    Ok((StatusCode::CREATED, Json(silence)))
}

/// Cancel a silence
///
/// What it kept quiet and still lasts is told.
#[utoipa::path(
    delete, path = "/silence/{id}", tag = "alerts",
    params(("id" = i64, Path, description = "Row id")),
    responses(
        (status = 204, description = "It is over, or never was"),
        (status = 400, description = "`INVALID_PARAM`", body = ErrorBody),
    )
)]
async fn cancel_silence(
    Shared(alerts): Shared<Alerts>,
    id: Result<Id, ApiError>,
) -> Result<StatusCode, ApiError> {
    let id = parameter(id)?;
    let now = whole(clock::now());
    let tell = move |is_cancelled: &bool| {
        if *is_cancelled {
            alerts.events.publish("silence.cancelled", &json!({ "id": id }));
        }
    };
    let store = alerts.store.clone();
    store.write_then(move |tx| silences::cancel(tx, id, now), tell).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The contract's code for an id that is none, on these routes.
fn parameter(id: Result<Id, ApiError>) -> Result<i64, ApiError> {
    match id {
        Ok(Id(id)) => Ok(id),
        Err(fault @ ApiError::InvalidId { .. }) => {
            Err(refused(StatusCode::BAD_REQUEST, "INVALID_PARAM", fault.to_string()))
        }
        Err(error) => Err(error),
    }
}

/// The contract's code for a body that is none, on these routes.
fn body_of<T>(body: Result<Body<T>, ApiError>) -> Result<T, ApiError> {
    match body {
        Ok(Body(body)) => Ok(body),
        Err(fault @ ApiError::InvalidJson(_)) => {
            Err(refused(StatusCode::BAD_REQUEST, "INVALID_BODY", fault.to_string()))
        }
        Err(error) => Err(error),
    }
}

fn refused(status: StatusCode, code: &'static str, message: String) -> ApiError {
    ApiError::NotPossible { status, code, message }
}

fn not_found(id: i64) -> ApiError {
    ApiError::NotFound { noun: "alert", code: "NOT_FOUND", id }
}
