//! The REST routes of webhook subscriptions, whose error codes are in lower case.

use axum::Json;
use axum::extract::{FromRef, Path, State as Shared};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use maintenant_api::channels::{WebhookCreated, WebhookInput, WebhookList, WebhookTest};
use maintenant_api::error::ErrorBody;
use maintenant_serve::clock;
use maintenant_serve::guard;
use serde_json::json;
use url::Url;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::channels::{Fault, masked};
use super::kinds::Kind;
use super::routes::{Notifications, TEST};
use super::snapshot;
use super::sql;
use super::subscriptions::Webhook;
use crate::http::error::ApiError;
use crate::http::extract::Body;
use crate::store::StoreError;

/// More are refused.
const MOST: usize = 100;

pub(super) fn routes<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Notifications: FromRef<S>,
{
    OpenApiRouter::new()
        .routes(routes!(list_webhooks, create_webhook))
        .routes(routes!(delete_webhook))
        .routes(routes!(test_webhook))
}

/// An error with the codes of these routes.
enum WebhookError {
    Invalid(&'static str, String),
    Body(ApiError),
    NotFound,
    Store,
}

impl IntoResponse for WebhookError {
    fn into_response(self) -> Response {
        let (status, code, message) = match self {
            Self::Invalid(code, message) => (StatusCode::BAD_REQUEST, code, message),
            Self::Body(error) => return error.into_response(),
            Self::NotFound => {
                let message = "there is no such webhook; GET /api/v1/webhooks lists them";
                (StatusCode::NOT_FOUND, "not_found", message.to_owned())
            }
            Self::Store => {
                let message = "internal error; the log says more".to_owned();
                (StatusCode::INTERNAL_SERVER_ERROR, "internal_error", message)
            }
        };
        guard::error(status, code, message)
    }
}

impl From<StoreError> for WebhookError {
    fn from(error: StoreError) -> Self {
        tracing::error!("a request failed: {error}");
        Self::Store
    }
}

impl From<Fault> for WebhookError {
    fn from(fault: Fault) -> Self {
        Self::Invalid("invalid_input", fault.to_string())
    }
}

/// List webhook subscriptions
///
/// Oldest first; secrets are not told.
#[utoipa::path(
    get, path = "/webhooks", tag = "notifications",
    responses((status = 200, description = "Subscriptions", body = WebhookList))
)]
async fn list_webhooks(
    Shared(notifications): Shared<Notifications>,
) -> Result<Json<WebhookList>, WebhookError> {
    let webhooks = notifications.0.store.read(sql::webhooks).await?;
    Ok(Json(WebhookList { webhooks: webhooks.iter().map(Webhook::to_wire).collect() }))
}

/// Subscribe to events
///
/// Each is posted as `{type, timestamp, data}`, signed with `secret` where there is one.
#[utoipa::path(
    post, path = "/webhooks", tag = "notifications", request_body = WebhookInput,
    responses(
        (status = 201, description = "The subscription", body = WebhookCreated),
        (status = 400, description = "`invalid_json` or `invalid_input`", body = ErrorBody),
    )
)]
async fn create_webhook(
    Shared(notifications): Shared<Notifications>,
    input: Result<Body<Option<WebhookInput>>, ApiError>,
) -> Result<(StatusCode, Json<WebhookCreated>), WebhookError> {
    let input = match input {
        Ok(Body(input)) => input.unwrap_or_default(),
        Err(error @ ApiError::InvalidJson(_)) => {
            return Err(WebhookError::Invalid("invalid_json", error.to_string()));
        }
        Err(error) => return Err(WebhookError::Body(error)),
    };
    let inner = &notifications.0;
    let reach = &inner.post.reach;
    let webhook = Webhook::create(input, reach.allows_private(), clock::now())?;
    if let Ok(url) = Url::parse(&webhook.url) {
        let checked = reach.check_url(&url).await;
        checked.map_err(|error| Fault { field: "url", text: error.to_string() })?;
    }
    let created = WebhookCreated {
        id: webhook.id.clone(),
        name: webhook.name.clone(),
        url: masked(Kind::Webhook, &webhook.url),
        event_types: webhook.event_types.clone(),
        is_active: true,
        created_at: webhook.created_at,
    };
    let write = move |tx: &rusqlite::Connection| {
        let has_room = sql::webhooks(tx)?.len() < MOST;
        if has_room {
            sql::insert_webhook(tx, &webhook)?;
        }
        Ok(has_room)
    };
    if inner.store.write(write).await? {
        return Ok((StatusCode::CREATED, Json(created)));
    }
    let message = format!("there are {MOST} webhooks; delete one first");
    Err(WebhookError::Invalid("invalid_input", message))
}

/// Unsubscribe
///
/// What waits to be delivered is given up.
#[utoipa::path(
    delete, path = "/webhooks/{id}", tag = "notifications",
    params(("id" = String, Path, description = "UUID")),
    responses(
        (status = 204, description = "Deleted"),
        (status = 404, description = "`not_found`", body = ErrorBody),
    )
)]
async fn delete_webhook(
    Shared(notifications): Shared<Notifications>,
    Path(id): Path<String>,
) -> Result<StatusCode, WebhookError> {
    let now = clock::now();
    let delete = move |tx: &rusqlite::Connection| sql::delete_webhook(tx, &id, now);
    let existed = notifications.0.store.write(delete).await?;
    if existed { Ok(StatusCode::NO_CONTENT) } else { Err(WebhookError::NotFound) }
}

/// Test a subscription
///
/// Posts an event `test` at once and answers within eight seconds how that went.
#[utoipa::path(
    post, path = "/webhooks/{id}/test", tag = "notifications",
    params(("id" = String, Path, description = "UUID")),
    responses(
        (status = 200, description = "Delivered or failed", body = WebhookTest),
        (status = 404, description = "`not_found`", body = ErrorBody),
    )
)]
async fn test_webhook(
    Shared(notifications): Shared<Notifications>,
    Path(id): Path<String>,
) -> Result<Json<WebhookTest>, WebhookError> {
    let inner = &notifications.0;
    let webhook = inner.store.read(move |db| sql::find_webhook(db, &id)).await?;
    let webhook = webhook.ok_or(WebhookError::NotFound)?;
    let now = clock::now();
    let data = json!({ "message": "This is a test; nothing is wrong." });
    let data = data.as_object().cloned().unwrap_or_default();
    let payload = snapshot::of_webhook("test", &data, now);
    let sent = match webhook.parcel("test", &Uuid::new_v4().to_string(), &payload) {
        Ok(parcel) => inner.post.send_within(TEST, &parcel, now).await.map_err(|error| error.text),
        Err(text) => Err(text),
    };
    Ok(Json(match sent {
        Ok(code) => {
            let status = "delivered".to_owned();
            WebhookTest { status, http_status: Some(code.into()), error: None }
        }
        Err(error) => {
            WebhookTest { status: "failed".to_owned(), http_status: None, error: Some(error) }
        }
    }))
}
