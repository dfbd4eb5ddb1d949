//! The REST routes of this dimension.

use std::time::Duration;

use axum::Json;
use axum::extract::State as Shared;
use http::StatusCode;
use maintenant_api::certificates::{
    CertificateAnswer, CertificateCheckList, CertificateCreated, CertificateDetail,
    CertificateInput, CertificateList, CertificateListQuery, CertificateSource, CertificateStatus,
};
use maintenant_api::error::ErrorBody;
use maintenant_api::monitors::PageQuery;
use maintenant_serve::clock;
use tokio::sync::broadcast;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::model::Monitor;
use super::sources::Asked;
use super::watch::Bell;
use super::{input, sql, wire};
use crate::http::AppState;
use crate::http::error::ApiError;
use crate::http::extract::{Body, Id, Query, number};

/// How long creating waits for the first check. Requests end after ten seconds.
const FIRST_CHECK: Duration = Duration::from_secs(5);

/// What these routes read from.
#[derive(Clone, Default)]
pub struct Certificates {
    pub(super) bell: Bell,
}

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_certificates, create_certificate))
        .routes(routes!(get_certificate, update_certificate, delete_certificate))
        .routes(routes!(list_certificate_checks))
}

/// List watched certificates
///
/// By host name and port, each with its newest check.
#[utoipa::path(
    get, path = "/certificates", tag = "certificates", params(CertificateListQuery),
    responses(
        (status = 200, description = "Certificates", body = CertificateList),
        (status = 400, description = "A parameter cannot be read", body = ErrorBody),
    )
)]
async fn list_certificates(
    Shared(app): Shared<AppState>,
    Query(query): Query<CertificateListQuery>,
) -> Result<Json<CertificateList>, ApiError> {
    let status = word("status", query.status.as_deref(), CertificateStatus::parse, || {
        CertificateStatus::ALL.map(CertificateStatus::as_str).join(", ")
    })?;
    let source = word("source", query.source.as_deref(), CertificateSource::parse, || {
        "auto, label, standalone".to_owned()
    })?;
    let rows = app.store.read(move |db| sql::list(db, status, source)).await?;
    let now = clock::now();
    let certificates: Vec<_> = rows.into_iter().map(|row| wire::listed(row, now)).collect();
    let total = i64::try_from(certificates.len()).unwrap_or(i64::MAX);
    Ok(Json(CertificateList { certificates, total }))
}

/// Watch a certificate
///
/// Answers with the first check if it ends within five seconds; else without, and the check goes on.
#[utoipa::path(
    post, path = "/certificates", tag = "certificates", request_body = CertificateInput,
    responses(
        (status = 201, description = "It is watched", body = CertificateCreated),
        (status = 400, description = "`INVALID_JSON` or `INVALID_INPUT`", body = ErrorBody),
        (status = 409, description = "`DUPLICATE_MONITOR` or `ALREADY_AUTO_DETECTED`",
         body = ErrorBody),
    )
)]
async fn create_certificate(
    Shared(app): Shared<AppState>,
    Body(input): Body<CertificateInput>,
) -> Result<(StatusCode, Json<CertificateCreated>), ApiError> {
    let wanted = input::create(input)?;
    let server = format!("{} port {}", wanted.target.host, wanted.target.port);
    let target = wanted.target.clone();
    let done = app.certificates.bell.done();
    let source = CertificateSource::Standalone;
    let asked = Asked { source, endpoint_id: None, external_id: String::new(), server_name: None };
    let now = clock::now();
    let outcome = app.store.write(move |tx| sql::create(tx, &wanted, &asked, now)).await?;
    let id = outcome.map_err(|existing| already_watched(existing, &server))?;
    let (name, data) = sql::created(id, &target, source);
    app.events.publish(name, &data);
    app.certificates.bell.ring();
    let _ = tokio::time::timeout(FIRST_CHECK, is_done(done, id)).await;
    let (monitor, check) =
        app.store.read(move |db| sql::find_with_check(db, id)).await?.ok_or(not_found(id))?;
    let latest_check = check.map(|check| wire::check(check, clock::now()));
    let certificate = wire::certificate(monitor);
    Ok((StatusCode::CREATED, Json(CertificateCreated { certificate, latest_check })))
}

/// Get a watched certificate
///
/// With the newest check, every key present, and the chain as the server sent it.
#[utoipa::path(
    get, path = "/certificates/{id}", tag = "certificates",
    params(("id" = i64, Path, description = "Row id")),
    responses(
        (status = 200, description = "The certificate", body = CertificateDetail),
        (status = 400, description = "`INVALID_ID`", body = ErrorBody),
        (status = 404, description = "`NOT_FOUND`", body = ErrorBody),
    )
)]
async fn get_certificate(
    Shared(app): Shared<AppState>,
    Id(id): Id,
) -> Result<Json<CertificateDetail>, ApiError> {
    let (monitor, check) =
        app.store.read(move |db| sql::find_with_check(db, id)).await?.ok_or(not_found(id))?;
    let latest_check = check.map(|check| wire::detailed(check, clock::now()));
    Ok(Json(CertificateDetail { certificate: wire::certificate(monitor), latest_check }))
}

/// Change how a certificate is watched
///
/// What is not named stays. It is checked again at once.
#[utoipa::path(
    put, path = "/certificates/{id}", tag = "certificates", request_body = CertificateInput,
    params(("id" = i64, Path, description = "Row id")),
    responses(
        (status = 200, description = "As it is now", body = CertificateAnswer),
        (status = 400, description = "`INVALID_ID`, `INVALID_JSON` or `INVALID_INPUT`",
         body = ErrorBody),
        (status = 404, description = "`NOT_FOUND`", body = ErrorBody),
    )
)]
async fn update_certificate(
    Shared(app): Shared<AppState>,
    Id(id): Id,
    Body(input): Body<CertificateInput>,
) -> Result<Json<CertificateAnswer>, ApiError> {
    let now = clock::now();
    // Read and written in one: two changes at once both hold.
    let write = move |tx: &rusqlite::Connection| {
        let Some(monitor) = sql::find(tx, id)? else { return Ok(Err(not_found(id))) };
        match input::update(input, monitor) {
            Ok(wanted) => {
                sql::update(tx, id, &wanted, now)?;
                Ok(sql::find(tx, id)?.ok_or(not_found(id)))
            }
            Err(error) => Ok(Err(error)),
        }
    };
    let monitor = app.store.write(write).await??;
    app.certificates.bell.ring();
    Ok(Json(CertificateAnswer { certificate: wire::certificate(monitor) }))
}

/// Stop watching a certificate
///
/// One that a label asks for is watched again within a minute; one that an endpoint speaks to cannot
/// be deleted.
#[utoipa::path(
    delete, path = "/certificates/{id}", tag = "certificates",
    params(("id" = i64, Path, description = "Row id")),
    responses(
        (status = 204, description = "Forgotten, with its checks"),
        (status = 400, description = "`INVALID_ID` or `CANNOT_DELETE_AUTO`", body = ErrorBody),
        (status = 404, description = "`NOT_FOUND`", body = ErrorBody),
    )
)]
async fn delete_certificate(
    Shared(app): Shared<AppState>,
    Id(id): Id,
) -> Result<StatusCode, ApiError> {
    // Looked for and deleted in one: of two at once, one finds nothing.
    let write = move |tx: &rusqlite::Connection| match sql::find(tx, id)? {
        None => Ok(Err(not_found(id))),
        Some(monitor) if monitor.source == CertificateSource::Auto => {
            Ok(Err(ApiError::NotPossible {
                status: StatusCode::BAD_REQUEST,
                code: "CANNOT_DELETE_AUTO",
                message: "an endpoint speaks to this server; it goes when the endpoint does"
                    .to_owned(),
            }))
        }
        Some(monitor) => sql::delete(tx, id).map(|()| Ok(monitor)),
    };
    let monitor = app.store.write(write).await??;
    let (name, data) = sql::deleted(id, &monitor.target.host);
    app.events.publish(name, &data);
    Ok(StatusCode::NO_CONTENT)
}

/// List checks of a certificate
///
/// Newest first.
#[utoipa::path(
    get, path = "/certificates/{id}/checks", tag = "certificates",
    params(("id" = i64, Path, description = "Row id"), PageQuery),
    responses(
        (status = 200, description = "Checks", body = CertificateCheckList),
        (status = 400, description = "`INVALID_ID` or `INVALID_PARAM`", body = ErrorBody),
        (status = 404, description = "`NOT_FOUND`", body = ErrorBody),
    )
)]
async fn list_certificate_checks(
    Shared(app): Shared<AppState>,
    Id(id): Id,
    Query(query): Query<PageQuery>,
) -> Result<Json<CertificateCheckList>, ApiError> {
    let limit = number("limit", query.limit.as_deref(), 1..=500, 50)?;
    let offset = number("offset", query.offset.as_deref(), 0..=i64::MAX, 0)?;
    app.find_certificate(id).await?;
    let (rows, total) = app.store.read(move |db| sql::checks(db, id, limit, offset)).await?;
    let now = clock::now();
    let checks: Vec<_> = rows.into_iter().map(|check| wire::check(check, now)).collect();
    let returned = i64::try_from(checks.len()).unwrap_or(i64::MAX);
    let has_more = offset.saturating_add(returned) < total;
    Ok(Json(CertificateCheckList { monitor_id: id, checks, total, has_more }))
}

impl AppState {
    async fn find_certificate(&self, id: i64) -> Result<Monitor, ApiError> {
        self.store.read(move |db| sql::find(db, id)).await?.ok_or(not_found(id))
    }
}

/// Returns when the check of that monitor is stored.
async fn is_done(mut done: broadcast::Receiver<i64>, id: i64) {
    loop {
        match done.recv().await {
            Ok(done) if done != id => {}
            // What was missed may have been this one; the caller looks anyway.
            _ => return,
        }
    }
}

fn word<T>(
    name: &'static str,
    given: Option<&str>,
    parse: fn(&str) -> Option<T>,
    accepted: impl FnOnce() -> String,
) -> Result<Option<T>, ApiError> {
    let Some(given) = given.filter(|given| !given.is_empty()) else { return Ok(None) };
    parse(given).map(Some).ok_or_else(|| {
        let given = maintenant_serve::logging::foreign(given);
        let fault = format!("`{given}` is not one of {}", accepted());
        ApiError::InvalidParameter { name, fault }
    })
}

fn already_watched(source: CertificateSource, server: &str) -> ApiError {
    let (code, message) = match source {
        CertificateSource::Auto => (
            "ALREADY_AUTO_DETECTED",
            format!(
                "{server} is watched already, because an endpoint speaks to it; PUT changes how"
            ),
        ),
        _ => (
            "DUPLICATE_MONITOR",
            format!("{server} is watched already; GET /api/v1/certificates lists it"),
        ),
    };
    ApiError::NotPossible { status: StatusCode::CONFLICT, code, message }
}

fn not_found(id: i64) -> ApiError {
    ApiError::NotFound { noun: "certificate", code: "NOT_FOUND", id }
}
