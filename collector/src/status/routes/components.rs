//! The routes of components.

use axum::Json;
use axum::extract::{FromRef, State as Shared};
use http::StatusCode;
use jiff::Timestamp;
use maintenant_api::error::ErrorBody;
use maintenant_api::status::{Component as Wire, ComponentInput};
use maintenant_serve::clock;
use rusqlite::Connection;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{body_of, id_of, internal, invalid, not_found, refused};
use crate::http::error::ApiError;
use crate::http::extract::{Body, Id};
use crate::status::components::{Component, Standing, standings};
use crate::status::model::{DAYS, seed, whole};
use crate::status::monitors::Watched;
use crate::status::sql::incidents::Said;
use crate::status::{Status, incidents, sql};
use maintenant_api::status::IncidentStatus;

/// More are refused.
const MOST_COMPONENTS: i64 = 500;
/// Monitors of a component whose past is read when it is made.
const MOST_SEEDED: usize = 50;

/// The routes, for any state that has [`Status`].
pub(super) fn routes<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Status: FromRef<S>,
{
    OpenApiRouter::new()
        .routes(routes!(list_components, create_component))
        .routes(routes!(edit_component, delete_component))
}

/// List components
///
/// In the order of the page, hidden ones too, each with its status now.
#[utoipa::path(
    get, path = "/status/components", tag = "status page",
    responses((status = 200, description = "Components", body = Vec<Wire>))
)]
async fn list_components(Shared(status): Shared<Status>) -> Result<Json<Vec<Wire>>, ApiError> {
    let (watched, now) = (status.0.watched.clone(), clock::now());
    let read = move |db: &Connection| standings(db, &*watched, now);
    let all = status.0.store.read(read).await.map_err(internal)?;
    Ok(Json(all.iter().map(Standing::to_wire).collect()))
}

/// Create a component
///
/// Of the monitors it names, or of all of a type. What is known of their last 90 days becomes its past.
#[utoipa::path(
    post, path = "/status/components", tag = "status page", request_body = ComponentInput,
    responses(
        (status = 201, description = "The component", body = Wire),
        (status = 400, description = "`invalid_body` or `validation`", body = ErrorBody),
        (status = 409, description = "`conflict`: there are too many", body = ErrorBody),
    )
)]
async fn create_component(
    Shared(status): Shared<Status>,
    body: Result<Body<Option<ComponentInput>>, ApiError>,
) -> Result<(StatusCode, Json<Wire>), ApiError> {
    let now = whole(clock::now());
    let new = Component::parse(body_of(body)?, now).map_err(invalid)?;
    let watched = status.0.watched.clone();
    let work = move |tx: &Connection| {
        if sql::components::count(tx)? >= MOST_COMPONENTS {
            let message = format!("there are {MOST_COMPONENTS} components; delete one first");
            return Ok(Err(refused(StatusCode::CONFLICT, "conflict", message)));
        }
        let id = sql::components::insert(tx, &new)?;
        remember(tx, &*watched, id, now)?;
        one(tx, &*watched, id, now)
    };
    let created = status.0.write(work, |_: &Wire| Vec::new()).await?;
    Ok((StatusCode::CREATED, Json(created)))
}

/// Makes what is known of its monitors the past of a new component.
fn remember(
    tx: &Connection,
    watched: &dyn Watched,
    id: i64,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let all = standings(tx, watched, now)?;
    let Some(standing) = all.iter().find(|standing| standing.component.id == id) else {
        return Ok(());
    };
    let present = standing.monitors.iter().filter(|(_, monitor)| monitor.is_some());
    let refs: Vec<_> = present.map(|(of, _)| *of).collect();
    if refs.len() > MOST_SEEDED {
        return Ok(());
    }
    let pasts: Vec<_> =
        refs.iter().map(|of| watched.past(tx, *of, DAYS, now)).collect::<rusqlite::Result<_>>()?;
    let known = seed(&pasts).into_iter().map(|(day, known)| ((id, day), known)).collect();
    sql::days::add(tx, &known)
}

/// Change a component
///
/// What is absent stays. A component stays explicit or match-all.
#[utoipa::path(
    put, path = "/status/components/{id}", tag = "status page", request_body = ComponentInput,
    params(("id" = i64, Path, description = "Row id")),
    responses(
        (status = 200, description = "The component", body = Wire),
        (status = 400, description = "`invalid_id`, `invalid_body` or `validation`", body = ErrorBody),
        (status = 404, description = "`not_found`", body = ErrorBody),
    )
)]
async fn edit_component(
    Shared(status): Shared<Status>,
    id: Result<Id, ApiError>,
    body: Result<Body<Option<ComponentInput>>, ApiError>,
) -> Result<Json<Wire>, ApiError> {
    let (id, input) = (id_of(id)?, body_of(body)?);
    let (watched, now) = (status.0.watched.clone(), whole(clock::now()));
    let work = move |tx: &Connection| {
        let Some(before) = sql::components::find(tx, id)? else {
            return Ok(Err(not_found("component", id)));
        };
        match before.edit(input, now) {
            Ok(after) => {
                sql::components::save(tx, &after)?;
                one(tx, &*watched, id, now)
            }
            Err(fault) => Ok(Err(invalid(fault))),
        }
    };
    status.0.write(work, |_: &Wire| Vec::new()).await.map(Json)
}

fn one(
    tx: &Connection,
    watched: &dyn Watched,
    id: i64,
    now: Timestamp,
) -> rusqlite::Result<Result<Wire, ApiError>> {
    let all = standings(tx, watched, now)?;
    let found = all.iter().find(|standing| standing.component.id == id);
    Ok(found.map(Standing::to_wire).ok_or_else(|| not_found("component", id)))
}

/// Delete a component
///
/// With its past. An incident that its alerts opened is resolved.
#[utoipa::path(
    delete, path = "/status/components/{id}", tag = "status page",
    params(("id" = i64, Path, description = "Row id")),
    responses(
        (status = 204, description = "It is gone, or never was"),
        (status = 400, description = "`invalid_id`", body = ErrorBody),
    )
)]
async fn delete_component(
    Shared(status): Shared<Status>,
    id: Result<Id, ApiError>,
) -> Result<StatusCode, ApiError> {
    let (id, now, voice) = (id_of(id)?, whole(clock::now()), status.0.voice.clone());
    let work = move |tx: &Connection| {
        let mut told = Vec::new();
        if let Some((incident, _)) = sql::incidents::open_autos(tx)?.get(&id) {
            let (status, message) = (IncidentStatus::Resolved, "The component was removed.");
            let said = Said { status, message, is_auto: true, alert_id: None };
            told = incidents::say(tx, *incident, said, &voice, now)?;
        }
        sql::components::delete(tx, id)?;
        Ok(Ok(told))
    };
    status.0.write(work, Vec::clone).await?;
    Ok(StatusCode::NO_CONTENT)
}
