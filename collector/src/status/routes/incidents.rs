//! The routes of incidents.

use axum::Json;
use axum::extract::{FromRef, State as Shared};
use http::StatusCode;
use maintenant_api::error::ErrorBody;
use maintenant_api::status::{
    Incident, IncidentInput, IncidentList, IncidentQuery, IncidentSeverity, IncidentStatus,
    IncidentUpdate, IncidentUpdateInput,
};
use maintenant_serve::clock;
use rusqlite::Connection;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{
    body_of, id_of, incident, internal, invalid, known, limit, not_found, query_of, wanted,
};
use crate::http::error::ApiError;
use crate::http::extract::{Body, Id, Query};
use crate::status::incidents::{self, SEVERITIES, STATUSES, Told};
use crate::status::maintenance::end_with;
use crate::status::model::whole;
use crate::status::sql::incidents::{Filter, Said};
use crate::status::{Status, sql};

/// The routes, for any state that has [`Status`].
pub(super) fn routes<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Status: FromRef<S>,
{
    OpenApiRouter::new()
        .routes(routes!(list_incidents, create_incident))
        .routes(routes!(edit_incident, delete_incident))
        .routes(routes!(update_incident))
}

/// List incidents
///
/// What changed last comes first.
#[utoipa::path(
    get, path = "/status/incidents", tag = "status page", params(IncidentQuery),
    responses(
        (status = 200, description = "Incidents", body = IncidentList),
        (status = 400, description = "`validation`", body = ErrorBody),
    )
)]
async fn list_incidents(
    Shared(status): Shared<Status>,
    query: Result<Query<IncidentQuery>, ApiError>,
) -> Result<Json<IncidentList>, ApiError> {
    let query = query_of(query)?;
    let filter = Filter {
        status: wanted("status", query.status, IncidentStatus::parse, STATUSES)?,
        severity: wanted("severity", query.severity, IncidentSeverity::parse, SEVERITIES)?,
        limit: limit(query.limit),
        offset: query.offset.and_then(|given| given.parse().ok()).unwrap_or(0).max(0),
    };
    let read = move |db: &Connection| sql::incidents::list(db, filter);
    let (mut incidents, total) = status.0.store.read(read).await.map_err(internal)?;
    for incident in &mut incidents {
        incident.url = Some(status.0.voice.incident_url(incident.id));
    }
    Ok(Json(IncidentList { incidents, total }))
}

/// Create an incident (Pro)
///
/// Subscribers are told by mail.
#[utoipa::path(
    post, path = "/status/incidents", tag = "status page", request_body = IncidentInput,
    responses(
        (status = 201, description = "The incident", body = Incident),
        (status = 400, description = "`invalid_body` or `validation`", body = ErrorBody),
        (status = 403, description = "`PRO_REQUIRED`", body = ErrorBody),
        (status = 404, description = "`not_found`: no such component", body = ErrorBody),
    )
)]
async fn create_incident(
    Shared(status): Shared<Status>,
    body: Result<Body<Option<IncidentInput>>, ApiError>,
) -> Result<(StatusCode, Json<Incident>), ApiError> {
    status.0.open("incidents")?;
    let (new, message) = incidents::parse(body_of(body)?).map_err(invalid)?;
    let (voice, now) = (status.0.voice.clone(), whole(clock::now()));
    let work = move |tx: &Connection| {
        if let Err(error) = known(tx, &new.components)? {
            return Ok(Err(error));
        }
        let said = Said { status: new.status, message: &message, is_auto: false, alert_id: None };
        let said = (!message.is_empty()).then_some(said);
        let (id, told) = incidents::open(tx, &new, said, &voice, now)?;
        Ok(incident(tx, id)?.map(|incident| (incident, told)))
    };
    let (mut created, _) =
        status.0.write(work, |(_, told): &(Incident, Vec<Told>)| told.clone()).await?;
    created.url = Some(status.0.voice.incident_url(created.id));
    Ok((StatusCode::CREATED, Json(created)))
}

/// Change an incident (Pro)
///
/// Title, severity and components; status and message are changed by an update.
#[utoipa::path(
    put, path = "/status/incidents/{id}", tag = "status page", request_body = IncidentInput,
    params(("id" = i64, Path, description = "Row id")),
    responses(
        (status = 200, description = "The incident", body = Incident),
        (status = 400, description = "`invalid_id`, `invalid_body` or `validation`", body = ErrorBody),
        (status = 403, description = "`PRO_REQUIRED`", body = ErrorBody),
        (status = 404, description = "`not_found`: no such incident or component", body = ErrorBody),
    )
)]
async fn edit_incident(
    Shared(status): Shared<Status>,
    id: Result<Id, ApiError>,
    body: Result<Body<Option<IncidentInput>>, ApiError>,
) -> Result<Json<Incident>, ApiError> {
    status.0.open("incidents")?;
    let (id, input, now) = (id_of(id)?, body_of(body)?, whole(clock::now()));
    let work = move |tx: &Connection| {
        let before = match incident(tx, id)? {
            Ok(before) => before,
            Err(error) => return Ok(Err(error)),
        };
        let (after, components) = match incidents::edit(before, input) {
            Ok(edited) => edited,
            Err(fault) => return Ok(Err(invalid(fault))),
        };
        if let Err(error) = known(tx, components.as_deref().unwrap_or_default())? {
            return Ok(Err(error));
        }
        sql::incidents::save(tx, &after, components.as_deref(), now)?;
        incident(tx, id)
    };
    let mut changed = status.0.write(work, |_: &Incident| Vec::new()).await?;
    changed.url = Some(status.0.voice.incident_url(id));
    Ok(Json(changed))
}

/// Delete an incident (Pro)
///
/// As if it had not been; nobody is told. A maintenance window whose incident it is ends.
#[utoipa::path(
    delete, path = "/status/incidents/{id}", tag = "status page",
    params(("id" = i64, Path, description = "Row id")),
    responses(
        (status = 204, description = "It is gone, or never was"),
        (status = 400, description = "`invalid_id`", body = ErrorBody),
        (status = 403, description = "`PRO_REQUIRED`", body = ErrorBody),
    )
)]
async fn delete_incident(
    Shared(status): Shared<Status>,
    id: Result<Id, ApiError>,
) -> Result<StatusCode, ApiError> {
    status.0.open("incidents")?;
    let (id, now, voice) = (id_of(id)?, whole(clock::now()), status.0.voice.clone());
    let work = move |tx: &Connection| {
        let Some(incident) = sql::incidents::find(tx, id)? else { return Ok(Ok(Vec::new())) };
        sql::incidents::delete(tx, id)?;
        end_with(tx, &incident, &voice, now).map(Ok)
    };
    status.0.write(work, Vec::clone).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Say something of an incident (Pro)
///
/// It has this status from now on; `resolved` ends it, and with it a maintenance window whose incident
/// it is. One that alerts opened and somebody opens again is not resolved by their end. Subscribers are
/// told by mail.
#[utoipa::path(
    post, path = "/status/incidents/{id}/updates", tag = "status page",
    request_body = IncidentUpdateInput, params(("id" = i64, Path, description = "Row id")),
    responses(
        (status = 201, description = "The update", body = IncidentUpdate),
        (status = 400, description = "`invalid_id`, `invalid_body` or `validation`", body = ErrorBody),
        (status = 403, description = "`PRO_REQUIRED`", body = ErrorBody),
        (status = 404, description = "`not_found`", body = ErrorBody),
    )
)]
async fn update_incident(
    Shared(status): Shared<Status>,
    id: Result<Id, ApiError>,
    body: Result<Body<Option<IncidentUpdateInput>>, ApiError>,
) -> Result<(StatusCode, Json<IncidentUpdate>), ApiError> {
    status.0.open("incidents")?;
    let id = id_of(id)?;
    let (said, message) = incidents::parse_update(body_of(body)?).map_err(invalid)?;
    let (voice, now) = (status.0.voice.clone(), whole(clock::now()));
    let work = move |tx: &Connection| {
        let before = match incident(tx, id)? {
            Ok(before) => before,
            Err(error) => return Ok(Err(error)),
        };
        let said = Said { status: said, message: &message, is_auto: false, alert_id: None };
        let mut told = incidents::say(tx, id, said, &voice, now)?;
        if said.status == IncidentStatus::Resolved {
            told.extend(end_with(tx, &before, &voice, now)?);
        } else if before.resolved_at.is_some() {
            sql::incidents::take_over(tx, id)?;
        }
        let newest = incident(tx, id)?.map(|incident| incident.updates.into_iter().next());
        Ok(newest
            .and_then(|newest| newest.ok_or_else(|| not_found("incident", id)))
            .map(|one| (one, told)))
    };
    let tell = |(_, told): &(IncidentUpdate, Vec<Told>)| told.clone();
    let (update, _) = status.0.write(work, tell).await?;
    Ok((StatusCode::CREATED, Json(update)))
}
