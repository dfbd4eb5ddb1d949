//! The REST routes of the page's owner. Errors are in the contract's lower case.

mod components;
mod incidents;
mod maintenance;

use axum::Json;
use axum::extract::{FromRef, State as Shared};
use axum::routing::any;
use http::StatusCode;
use maintenant_api::error::ErrorBody;
use maintenant_api::status::{Incident, SubscriberList};
use rusqlite::Connection;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::incidents::Told;
use super::input::{Invalid, word};
use super::{Inner, Status, sql};
use crate::config::Edition;
use crate::http::error::{ApiError, pro_required};
use crate::http::extract::{Body, Id, Query};
use crate::store::StoreError;

const MOST_SUBSCRIBERS: i64 = 10_000;
const ROWS: i64 = 20;
const MOST_ROWS: i64 = 100;

/// The routes, for any state that has [`Status`].
pub fn routes<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Status: FromRef<S>,
{
    OpenApiRouter::new()
        .merge(components::routes())
        .merge(incidents::routes())
        .merge(maintenance::routes())
        .routes(routes!(list_subscribers))
        .route("/status/smtp", any(not_offered::<S>))
        .route("/status/smtp/test", any(not_offered::<S>))
        .route("/status-page/{*rest}", any(not_offered::<S>))
}

/// Routes of the contract that set over REST what is set in the environment here, or what the page
/// looks like.
async fn not_offered<S>(Shared(state): Shared<S>) -> ApiError
where
    Status: FromRef<S>,
{
    let Status(inner) = Status::from_ref(&state);
    if let Err(error) = inner.open("settings of the status page") {
        return error;
    }
    let message = "settings of the status page are not changed over REST; mail is set by \
                   MAINTENANT_SMTP_HOST and its like, the name by MAINTENANT_ORGANISATION_NAME";
    refused(StatusCode::NOT_FOUND, "not_found", message)
}

/// List subscribers (Pro)
///
/// Newest first; addresses are masked.
#[utoipa::path(
    get, path = "/status/subscribers", tag = "status page",
    responses(
        (status = 200, description = "Subscribers", body = SubscriberList),
        (status = 403, description = "`PRO_REQUIRED`", body = ErrorBody),
    )
)]
async fn list_subscribers(
    Shared(status): Shared<Status>,
) -> Result<Json<SubscriberList>, ApiError> {
    status.0.open("subscribers")?;
    let read = |db: &Connection| sql::subscribers::list(db, MOST_SUBSCRIBERS);
    let (subscribers, total, confirmed) = status.0.store.read(read).await.map_err(internal)?;
    Ok(Json(SubscriberList { subscribers, total, confirmed }))
}

impl Inner {
    /// The gate of routes marked Pro.
    pub(super) fn open(&self, what: &str) -> Result<(), ApiError> {
        match self.edition {
            Edition::Community => Err(pro_required(what)),
            Edition::Extended => Ok(()),
        }
    }

    /// Writes, and tells after the commit what came of it.
    pub(super) async fn write<T: Send + 'static>(
        self: &std::sync::Arc<Self>,
        work: impl FnOnce(&Connection) -> rusqlite::Result<Result<T, ApiError>> + Send + 'static,
        told: impl FnOnce(&T) -> Vec<Told> + Send + 'static,
    ) -> Result<T, ApiError> {
        let inner = self.clone();
        let tell = move |outcome: &Result<T, ApiError>| {
            if let Ok(outcome) = outcome {
                inner.changed(&told(outcome));
            }
        };
        self.store.write_then(work, tell).await.map_err(internal)?
    }
}

/// Whether all these components are there.
pub(super) fn known(tx: &Connection, ids: &[i64]) -> rusqlite::Result<Result<(), ApiError>> {
    let missing = sql::components::missing(tx, ids)?;
    Ok(missing.first().map_or(Ok(()), |id| Err(not_found("component", *id))))
}

pub(super) fn incident(tx: &Connection, id: i64) -> rusqlite::Result<Result<Incident, ApiError>> {
    Ok(sql::incidents::find(tx, id)?.ok_or_else(|| not_found("incident", id)))
}

/// Rows of an answer; as the contract has it, what cannot be is the default.
pub(super) fn limit(given: Option<String>) -> i64 {
    let given = given.and_then(|given| given.parse().ok());
    given.filter(|limit| (1..=MOST_ROWS).contains(limit)).unwrap_or(ROWS)
}

pub(super) fn wanted<T>(
    name: &str,
    given: Option<String>,
    parse: fn(&str) -> Option<T>,
    accepted: &str,
) -> Result<Option<T>, ApiError> {
    let given = given.filter(|given| !given.is_empty());
    given.map(|given| word(name, &given, parse, accepted)).transpose().map_err(invalid)
}

pub(super) fn id_of(id: Result<Id, ApiError>) -> Result<i64, ApiError> {
    id.map(|Id(id)| id)
        .map_err(|fault| refused(StatusCode::BAD_REQUEST, "invalid_id", fault.to_string()))
}

/// `null` is a body without fields.
pub(super) fn body_of<T: Default>(body: Result<Body<Option<T>>, ApiError>) -> Result<T, ApiError> {
    match body {
        Ok(Body(body)) => Ok(body.unwrap_or_default()),
        Err(fault @ ApiError::InvalidJson(_)) => {
            Err(refused(StatusCode::BAD_REQUEST, "invalid_body", fault.to_string()))
        }
        Err(error) => Err(error),
    }
}

pub(super) fn invalid(Invalid(fault): Invalid) -> ApiError {
    refused(StatusCode::BAD_REQUEST, "validation", fault)
}

pub(super) fn query_of<T>(query: Result<Query<T>, ApiError>) -> Result<T, ApiError> {
    query
        .map(|Query(query)| query)
        .map_err(|fault| refused(StatusCode::BAD_REQUEST, "validation", fault.to_string()))
}

pub(super) fn not_found(noun: &'static str, id: i64) -> ApiError {
    let path = match noun {
        "component" => "components",
        "incident" => "incidents",
        _ => "maintenance",
    };
    let message = format!("there is no {noun} with id {id}; GET /api/v1/status/{path} lists them");
    refused(StatusCode::NOT_FOUND, "not_found", message)
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
pub(super) fn internal(error: StoreError) -> ApiError {
    tracing::error!("a request failed: {error}");
    let message = "internal error; the log says more";
    refused(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
}

pub(super) fn refused(
    status: StatusCode,
    code: &'static str,
    message: impl Into<String>,
) -> ApiError {
    ApiError::NotPossible { status, code, message: message.into() }
}
