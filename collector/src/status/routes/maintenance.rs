//! The routes of maintenance windows.

use axum::Json;
use axum::extract::{FromRef, State as Shared};
use http::StatusCode;
use maintenant_api::error::ErrorBody;
use maintenant_api::status::{Maintenance, MaintenanceInput, MaintenanceQuery};
use maintenant_serve::clock;
use rusqlite::Connection;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{
    body_of, id_of, internal, invalid, known, limit, not_found, query_of, refused, wanted,
};
use crate::http::error::ApiError;
use crate::http::extract::{Body, Id, Query};
use crate::status::maintenance::{self, Phase, Window, end};
use crate::status::model::whole;
use crate::status::{Status, sql};

/// More are refused.
const MOST_WINDOWS: i64 = 500;

/// The routes, for any state that has [`Status`].
pub(super) fn routes<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Status: FromRef<S>,
{
    OpenApiRouter::new()
        .routes(routes!(list_maintenance, create_maintenance))
        .routes(routes!(edit_maintenance, delete_maintenance))
}

/// List maintenance windows
///
/// The latest first.
#[utoipa::path(
    get, path = "/status/maintenance", tag = "status page", params(MaintenanceQuery),
    responses(
        (status = 200, description = "Windows", body = Vec<Maintenance>),
        (status = 400, description = "`validation`", body = ErrorBody),
    )
)]
async fn list_maintenance(
    Shared(status): Shared<Status>,
    query: Result<Query<MaintenanceQuery>, ApiError>,
) -> Result<Json<Vec<Maintenance>>, ApiError> {
    let query = query_of(query)?;
    let accepted = "upcoming, active or completed";
    let phase = wanted("status", query.status, Phase::parse, accepted)?;
    let (limit, now) = (limit(query.limit), clock::now());
    let read = move |db: &Connection| sql::maintenance::list(db, phase, limit, now);
    let windows = status.0.store.read(read).await.map_err(internal)?;
    Ok(Json(windows.iter().map(|window| window.to_wire(&status.0.voice, now)).collect()))
}

/// Create a maintenance window (Pro)
///
/// While it lasts its components are under maintenance and their monitors raise no alerts; what is
/// still wrong when it ends is told then. It begins and ends by itself.
#[utoipa::path(
    post, path = "/status/maintenance", tag = "status page", request_body = MaintenanceInput,
    responses(
        (status = 201, description = "The window", body = Maintenance),
        (status = 400, description = "`invalid_body` or `validation`", body = ErrorBody),
        (status = 403, description = "`PRO_REQUIRED`", body = ErrorBody),
        (status = 404, description = "`not_found`: no such component", body = ErrorBody),
        (status = 409, description = "`conflict`: there are too many", body = ErrorBody),
    )
)]
async fn create_maintenance(
    Shared(status): Shared<Status>,
    body: Result<Body<Option<MaintenanceInput>>, ApiError>,
) -> Result<(StatusCode, Json<Maintenance>), ApiError> {
    status.0.open("maintenance windows")?;
    let now = whole(clock::now());
    let (new, components) = maintenance::parse(None, body_of(body)?, now).map_err(invalid)?;
    let voice = status.0.voice.clone();
    let work = move |tx: &Connection| {
        let components = components.unwrap_or_default();
        if let Err(error) = known(tx, &components)? {
            return Ok(Err(error));
        }
        if sql::maintenance::count_ahead(tx)? >= MOST_WINDOWS {
            let message = format!("{MOST_WINDOWS} windows are ahead; delete one first");
            return Ok(Err(refused(StatusCode::CONFLICT, "conflict", message)));
        }
        let id = sql::maintenance::insert(tx, &new, &components)?;
        let window = sql::maintenance::find(tx, id)?;
        Ok(window.map(|window| window.to_wire(&voice, now)).ok_or_else(|| not_found("window", id)))
    };
    let created = status.0.write(work, |_: &Maintenance| Vec::new()).await?;
    Ok((StatusCode::CREATED, Json(created)))
}

/// Change a maintenance window (Pro)
///
/// One that has not begun. What is absent stays.
#[utoipa::path(
    put, path = "/status/maintenance/{id}", tag = "status page", request_body = MaintenanceInput,
    params(("id" = i64, Path, description = "Row id")),
    responses(
        (status = 200, description = "The window", body = Maintenance),
        (status = 400, description = "`invalid_id`, `invalid_body` or `validation`", body = ErrorBody),
        (status = 403, description = "`PRO_REQUIRED`", body = ErrorBody),
        (status = 404, description = "`not_found`: no such window or component", body = ErrorBody),
        (status = 409, description = "`conflict`: it has begun", body = ErrorBody),
    )
)]
async fn edit_maintenance(
    Shared(status): Shared<Status>,
    id: Result<Id, ApiError>,
    body: Result<Body<Option<MaintenanceInput>>, ApiError>,
) -> Result<Json<Maintenance>, ApiError> {
    status.0.open("maintenance windows")?;
    let (id, input, now) = (id_of(id)?, body_of(body)?, whole(clock::now()));
    let voice = status.0.voice.clone();
    let work = move |tx: &Connection| {
        let Some(before) = sql::maintenance::find(tx, id)? else {
            return Ok(Err(not_found("window", id)));
        };
        if before.phase(now) != Phase::Upcoming {
            let message = "the window has begun; delete it to end it, and make another";
            return Ok(Err(refused(StatusCode::CONFLICT, "conflict", message)));
        }
        let (after, components) = match maintenance::parse(Some(&before), input, now) {
            Ok(parsed) => parsed,
            Err(fault) => return Ok(Err(invalid(fault))),
        };
        if let Err(error) = known(tx, components.as_deref().unwrap_or_default())? {
            return Ok(Err(error));
        }
        sql::maintenance::save(tx, &after, components.as_deref())?;
        let window = sql::maintenance::find(tx, id)?;
        Ok(window.map(|window| window.to_wire(&voice, now)).ok_or_else(|| not_found("window", id)))
    };
    status.0.write(work, |_: &Maintenance| Vec::new()).await.map(Json)
}

/// Delete a maintenance window (Pro)
///
/// One that is under way ends now, and its incident is resolved.
#[utoipa::path(
    delete, path = "/status/maintenance/{id}", tag = "status page",
    params(("id" = i64, Path, description = "Row id")),
    responses(
        (status = 204, description = "It is gone, or never was"),
        (status = 400, description = "`invalid_id`", body = ErrorBody),
        (status = 403, description = "`PRO_REQUIRED`", body = ErrorBody),
    )
)]
async fn delete_maintenance(
    Shared(status): Shared<Status>,
    id: Result<Id, ApiError>,
) -> Result<StatusCode, ApiError> {
    status.0.open("maintenance windows")?;
    let (id, now, voice) = (id_of(id)?, whole(clock::now()), status.0.voice.clone());
    let work = move |tx: &Connection| {
        let mut told = Vec::new();
        let window = sql::maintenance::find(tx, id)?;
        if let Some(window) = window.filter(Window::is_under_way) {
            told = end(tx, &window, "The maintenance was ended early.", &voice, now)?;
        }
        sql::maintenance::delete(tx, id)?;
        Ok(Ok(told))
    };
    status.0.write(work, Vec::clone).await?;
    Ok(StatusCode::NO_CONTENT)
}
