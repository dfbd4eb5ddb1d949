//! The REST routes of channels, rules and messages.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{FromRef, Path, State as Shared};
use http::StatusCode;
use maintenant_api::channels::{
    Channel as Wire, ChannelInput, ChannelList, ChannelTest, Notification, NotificationList,
    NotificationQuery, RoutingRule, RoutingRuleInput,
};
use maintenant_api::error::ErrorBody;
use maintenant_serve::clock;
use maintenant_serve::logging::foreign;
use serde_json::json;
use tokio::sync::Notify;
use url::Url;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::channels::{Draft, Fault, create, update};
use super::kinds::{Kind, telegram};
use super::outbox::Lane;
use super::post::Post;
use super::reach::Forbidden;
use super::{routing, snapshot, sql, webhooks};
use crate::config::Edition;
use crate::http::AppState;
use crate::http::error::{ApiError, pro_required};
use crate::http::events::EventBus;
use crate::http::extract::{Body, Id, Query, number};
use crate::store::Store;

/// More are refused.
const MOST_CHANNELS: usize = 100;
const MOST_RULES: usize = 50;
/// For a test, which is answered within a request's own time.
pub(super) const TEST: Duration = Duration::from_secs(8);

/// What these routes and the jobs work with; clones share it.
#[derive(Clone)]
pub struct Notifications(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) store: Store,
    pub(super) events: EventBus,
    pub(super) post: Arc<Post>,
    /// Rung when there is something to deliver.
    pub(super) bell: Arc<Notify>,
    edition: Edition,
}

impl Notifications {
    pub fn new(store: Store, events: EventBus, post: Post, edition: Edition) -> Self {
        let (post, bell) = (Arc::new(post), Arc::default());
        Self(Arc::new(Inner { store, events, post, bell, edition }))
    }

    /// What sends, for others who have something to send.
    pub fn post(&self) -> Arc<Post> {
        self.0.post.clone()
    }

    /// Whether e-mail can be sent.
    pub fn has_mail(&self) -> bool {
        self.0.post.has_mail()
    }
}

impl FromRef<AppState> for Notifications {
    fn from_ref(app: &AppState) -> Self {
        app.notifications.clone()
    }
}

/// The routes, for any state that has [`Notifications`].
pub fn routes<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Notifications: FromRef<S>,
{
    OpenApiRouter::new()
        .routes(routes!(list_channels, create_channel))
        .routes(routes!(edit_channel, delete_channel))
        .routes(routes!(test_channel))
        .routes(routes!(create_rule))
        .routes(routes!(delete_rule))
        .routes(routes!(list_notifications))
        .routes(routes!(retry_notification))
        .merge(webhooks::routes())
}

/// List channels
///
/// Each with its health and how many messages wait or were given up.
#[utoipa::path(
    get, path = "/channels", tag = "notifications",
    responses((status = 200, description = "Channels", body = ChannelList))
)]
async fn list_channels(
    Shared(notifications): Shared<Notifications>,
) -> Result<Json<ChannelList>, ApiError> {
    let read = |db: &rusqlite::Connection| Ok((sql::channels(db)?, sql::counts(db)?));
    let (channels, counts) = notifications.0.store.read(read).await?;
    let channels = channels.iter().map(|channel| {
        let lane = Lane::Channel(channel.id).to_string();
        let (pending, dead) = counts.get(&lane).copied().unwrap_or_default();
        let is_failing = channel.failing_since.is_some();
        Wire {
            health: Some(if is_failing { "failing" } else { "healthy" }.to_owned()),
            pending: Some(pending),
            dead: Some(dead),
            last_error: channel.last_error.clone().filter(|_| is_failing),
            ..channel.to_wire()
        }
    });
    Ok(Json(ChannelList { channels: channels.collect() }))
}

/// Create a channel
///
/// It is told of every alert until it has rules. It is off unless `enabled` is true.
#[utoipa::path(
    post, path = "/channels", tag = "notifications", request_body = ChannelInput,
    responses(
        (status = 201, description = "The channel", body = Wire),
        (status = 400, description = "`INVALID_BODY` or `VALIDATION_ERROR`", body = ErrorBody),
        (status = 409, description = "`DUPLICATE_NAME` or `CHANNEL_LIMIT_REACHED`",
         body = ErrorBody),
    )
)]
async fn create_channel(
    Shared(notifications): Shared<Notifications>,
    input: Result<Body<Option<ChannelInput>>, ApiError>,
) -> Result<(StatusCode, Json<Wire>), ApiError> {
    let input = body(input)?;
    let inner = &notifications.0;
    let draft = create(&input, inner.post.reach.allows_private())?;
    inner.check(&draft).await?;
    let now = clock::now();
    let events = inner.events.clone();
    let write = move |tx: &rusqlite::Connection| {
        if sql::is_taken(tx, &draft.name, None)? {
            return Ok(Err(duplicate(&draft.name)));
        }
        if sql::channels(tx)?.len() >= MOST_CHANNELS {
            let message = format!("there are {MOST_CHANNELS} channels; delete one first");
            return Ok(Err(conflict("CHANNEL_LIMIT_REACHED", message)));
        }
        let id = sql::insert_channel(tx, &draft, now)?;
        Ok(found(sql::find_channel(tx, id)?, id))
    };
    let tell = move |created: &Result<Wire, ApiError>| {
        if let Ok(channel) = created {
            events.publish("channel.created", channel);
        }
    };
    let channel = inner.store.write_then(write, tell).await??;
    Ok((StatusCode::CREATED, Json(channel)))
}

/// Change a channel
///
/// What is absent stays, and so does what is sent back as it is shown, with `***`. Another server
/// needs secret headers given anew. What waits for a channel that is switched off is given up.
#[utoipa::path(
    put, path = "/channels/{id}", tag = "notifications", request_body = ChannelInput,
    params(("id" = i64, Path, description = "Row id")),
    responses(
        (status = 200, description = "The channel", body = Wire),
        (status = 400, description = "`INVALID_PARAM`, `INVALID_BODY` or `VALIDATION_ERROR`",
         body = ErrorBody),
        (status = 404, description = "`NOT_FOUND`", body = ErrorBody),
        (status = 409, description = "`DUPLICATE_NAME`", body = ErrorBody),
    )
)]
async fn edit_channel(
    Shared(notifications): Shared<Notifications>,
    id: Result<Id, ApiError>,
    input: Result<Body<Option<ChannelInput>>, ApiError>,
) -> Result<Json<Wire>, ApiError> {
    let (id, input) = (row(id)?, body(input)?);
    let inner = &notifications.0;
    let plain = inner.post.reach.allows_private();
    let old = inner.store.read(move |db| sql::find_channel(db, id)).await?.ok_or(not_found(id))?;
    inner.check(&update(&input, &old, plain)?).await?;
    let now = clock::now();
    let (events, bell) = (inner.events.clone(), inner.bell.clone());
    // Read again and written in one: two changes at once both hold.
    let write = move |tx: &rusqlite::Connection| {
        let Some(old) = sql::find_channel(tx, id)? else { return Ok(Err(not_found(id))) };
        let draft = match update(&input, &old, plain) {
            Ok(draft) => draft,
            Err(fault) => return Ok(Err(fault.into())),
        };
        if sql::is_taken(tx, &draft.name, Some(id))? {
            return Ok(Err(duplicate(&draft.name)));
        }
        sql::update_channel(tx, id, &draft, now)?;
        Ok(found(sql::find_channel(tx, id)?, id))
    };
    let tell = move |changed: &Result<Wire, ApiError>| {
        if let Ok(channel) = changed {
            events.publish("channel.updated", channel);
            bell.notify_one();
        }
    };
    Ok(Json(inner.store.write_then(write, tell).await??))
}

/// Delete a channel
///
/// With its rules. What waits for it is given up.
#[utoipa::path(
    delete, path = "/channels/{id}", tag = "notifications",
    params(("id" = i64, Path, description = "Row id")),
    responses(
        (status = 204, description = "Deleted"),
        (status = 400, description = "`INVALID_PARAM`", body = ErrorBody),
        (status = 404, description = "`NOT_FOUND`", body = ErrorBody),
    )
)]
async fn delete_channel(
    Shared(notifications): Shared<Notifications>,
    id: Result<Id, ApiError>,
) -> Result<StatusCode, ApiError> {
    let (id, now) = (row(id)?, clock::now());
    let events = notifications.0.events.clone();
    let tell = move |existed: &bool| {
        if *existed {
            events.publish("channel.deleted", &json!({ "id": id }));
        }
    };
    let delete = move |tx: &rusqlite::Connection| sql::delete_channel(tx, id, now);
    let existed = notifications.0.store.write_then(delete, tell).await?;
    if existed { Ok(StatusCode::NO_CONTENT) } else { Err(not_found(id)) }
}

/// Test a channel
///
/// Sends a message at once, also while it is off, and answers within eight seconds how that went.
#[utoipa::path(
    post, path = "/channels/{id}/test", tag = "notifications",
    params(("id" = i64, Path, description = "Row id")),
    responses(
        (status = 200, description = "Delivered or failed", body = ChannelTest),
        (status = 400, description = "`INVALID_PARAM`", body = ErrorBody),
        (status = 404, description = "`NOT_FOUND`", body = ErrorBody),
    )
)]
async fn test_channel(
    Shared(notifications): Shared<Notifications>,
    id: Result<Id, ApiError>,
) -> Result<Json<ChannelTest>, ApiError> {
    let id = row(id)?;
    let inner = &notifications.0;
    let channel = inner.store.read(move |db| sql::find_channel(db, id)).await?;
    let channel = channel.ok_or(not_found(id))?;
    let now = clock::now();
    let key = Uuid::new_v4().to_string();
    let sent = match channel.parcel("test", &key, &snapshot::test(now)) {
        Ok(parcel) => inner.post.send_within(TEST, &parcel, now).await.map_err(|error| error.text),
        Err(text) => Err(text),
    };
    Ok(Json(match sent {
        Ok(code) => ChannelTest {
            status: "delivered".to_owned(),
            response_code: Some(code.into()),
            error: None,
        },
        Err(error) => {
            let status = "failed".to_owned();
            ChannelTest { status, response_code: None, error: Some(error) }
        }
    }))
}

/// Add a routing rule
///
/// Rules of a channel add up: it is told what any of them matches.
#[utoipa::path(
    post, path = "/channels/{id}/rules", tag = "notifications", request_body = RoutingRuleInput,
    params(("id" = i64, Path, description = "Row id of the channel")),
    responses(
        (status = 201, description = "The rule", body = RoutingRule),
        (status = 400, description = "`INVALID_PARAM`, `INVALID_BODY` or `VALIDATION_ERROR`",
         body = ErrorBody),
        (status = 403, description = "`PRO_REQUIRED`: not in this edition", body = ErrorBody),
        (status = 404, description = "`NOT_FOUND`", body = ErrorBody),
        (status = 409, description = "`RULE_LIMIT_REACHED`", body = ErrorBody),
    )
)]
async fn create_rule(
    Shared(notifications): Shared<Notifications>,
    id: Result<Id, ApiError>,
    input: Result<Body<Option<RoutingRuleInput>>, ApiError>,
) -> Result<(StatusCode, Json<RoutingRule>), ApiError> {
    notifications.0.check_edition()?;
    let id = row(id)?;
    let filter = routing::parse(&body(input)?)?;
    let now = clock::now();
    let write = move |tx: &rusqlite::Connection| {
        let Some(channel) = sql::find_channel(tx, id)? else { return Ok(Err(not_found(id))) };
        if channel.rules.len() >= MOST_RULES {
            let message = format!("the channel has {MOST_RULES} rules; delete one first");
            return Ok(Err(conflict("RULE_LIMIT_REACHED", message)));
        }
        sql::insert_rule(tx, id, &filter, now).map(Ok)
    };
    let rule = notifications.0.store.write(write).await??;
    Ok((StatusCode::CREATED, Json(rule.to_wire(id))))
}

/// Delete a routing rule
///
/// Also answers 204 where there is none.
#[utoipa::path(
    delete, path = "/channels/{id}/rules/{rule_id}", tag = "notifications",
    params(
        ("id" = i64, Path, description = "Row id of the channel"),
        ("rule_id" = i64, Path, description = "Row id of the rule"),
    ),
    responses(
        (status = 204, description = "There is no such rule any more"),
        (status = 400, description = "`INVALID_PARAM`", body = ErrorBody),
        (status = 403, description = "`PRO_REQUIRED`: not in this edition", body = ErrorBody),
    )
)]
async fn delete_rule(
    Shared(notifications): Shared<Notifications>,
    Path((id, rule_id)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    notifications.0.check_edition()?;
    let parse = |given: &str| {
        row(given.parse().map(Id).map_err(|_| ApiError::InvalidId { given: foreign(given) }))
    };
    let (id, rule_id) = (parse(&id)?, parse(&rule_id)?);
    notifications.0.store.write(move |tx| sql::delete_rule(tx, id, rule_id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// List messages
///
/// To channels and subscriptions, newest first. Delivered ones are kept for 7 days, dead ones, which
/// were given up, for 30.
#[utoipa::path(
    get, path = "/notifications", tag = "notifications", params(NotificationQuery),
    responses(
        (status = 200, description = "Messages", body = NotificationList),
        (status = 400, description = "`INVALID_PARAM`", body = ErrorBody),
    )
)]
async fn list_notifications(
    Shared(notifications): Shared<Notifications>,
    Query(query): Query<NotificationQuery>,
) -> Result<Json<NotificationList>, ApiError> {
    let limit = number("limit", query.limit.as_deref(), 1..=200, 50)?;
    let before = number("before_id", query.before_id.as_deref(), 0..=i64::MAX, i64::MAX)?;
    let lane = match query.channel_id.as_deref().filter(|given| !given.is_empty()) {
        Some(given) => Some(Lane::Channel(number("channel_id", Some(given), 0..=i64::MAX, 0)?)),
        None => None,
    };
    let status = query.status.filter(|status| !status.is_empty());
    if let Some(status) = &status
        && !["pending", "delivered", "dead"].contains(&status.as_str())
    {
        let fault = format!("`{}`: use pending, delivered or dead", foreign(status));
        return Err(ApiError::InvalidParameter { name: "status", fault });
    }
    let read = move |db: &rusqlite::Connection| {
        sql::list_messages(db, status.as_deref(), lane.as_ref(), before, limit + 1)
    };
    let mut messages = notifications.0.store.read(read).await?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let has_more = messages.len() > limit;
    messages.truncate(limit);
    Ok(Json(NotificationList { notifications: messages, has_more }))
}

/// Send a dead message again
///
/// As if it had never been tried, and under the same idempotency key.
#[utoipa::path(
    post, path = "/notifications/{id}/retry", tag = "notifications",
    params(("id" = i64, Path, description = "Row id")),
    responses(
        (status = 200, description = "The message, which is pending again", body = Notification),
        (status = 400, description = "`INVALID_PARAM`", body = ErrorBody),
        (status = 404, description = "`NOT_FOUND`", body = ErrorBody),
        (status = 409, description = "`CONFLICT`: it is not dead, or its channel is off or gone",
         body = ErrorBody),
    )
)]
async fn retry_notification(
    Shared(notifications): Shared<Notifications>,
    id: Result<Id, ApiError>,
) -> Result<Json<Notification>, ApiError> {
    let (id, now) = (row(id)?, clock::now());
    let missing = move || ApiError::NotFound { noun: "notification", code: "NOT_FOUND", id };
    let write = move |tx: &rusqlite::Connection| {
        let Some(message) = sql::find_message(tx, id)? else { return Ok(Err(missing())) };
        if message.status != "dead" {
            let message = format!("message {id} is {}; only a dead one", message.status);
            return Ok(Err(conflict("CONFLICT", format!("{message} can be sent again"))));
        }
        let is_open = match (message.channel_id, &message.webhook_id) {
            (Some(id), _) => sql::find_channel(tx, id)?.is_some_and(|channel| channel.enabled),
            (_, Some(id)) => sql::find_webhook(tx, id)?.is_some(),
            _ => false,
        };
        if !is_open {
            let message = format!("what message {id} goes to is switched off or deleted");
            return Ok(Err(conflict("CONFLICT", message)));
        }
        sql::revive(tx, id, now)?;
        Ok(sql::find_message(tx, id)?.ok_or_else(missing))
    };
    let message = notifications.0.store.write(write).await??;
    notifications.0.bell.notify_one();
    Ok(Json(message))
}

impl Inner {
    /// What needs more than the input to be judged.
    async fn check(&self, draft: &Draft) -> Result<(), ApiError> {
        if draft.kind == Kind::Email {
            let text = "no mail server is set; set MAINTENANT_SMTP_HOST";
            let fault = Fault { field: "type", text: text.to_owned() };
            return if self.post.has_mail() { Ok(()) } else { Err(fault.into()) };
        }
        let url = match draft.kind {
            Kind::Telegram => telegram::target(&draft.url).map(|(url, _)| url).ok(),
            _ => Url::parse(&draft.url).ok(),
        };
        let Some(url) = url else { return Ok(()) };
        let checked = self.post.reach.check_url(&url).await;
        let fault = |error: Forbidden| Fault { field: "url", text: error.to_string() };
        Ok(checked.map_err(fault)?)
    }

    /// Rules are marked Pro in the contract, and refused before anything else is looked at.
    fn check_edition(&self) -> Result<(), ApiError> {
        if self.edition == Edition::Extended { Ok(()) } else { Err(pro_required("routing rules")) }
    }
}

fn found(channel: Option<super::channels::Channel>, id: i64) -> Result<Wire, ApiError> {
    channel.map(|channel| channel.to_wire()).ok_or_else(|| not_found(id))
}

/// The row id of a path, under this group's code.
fn row(id: Result<Id, ApiError>) -> Result<i64, ApiError> {
    id.map(|id| id.0).map_err(|error| bad_request("INVALID_PARAM", error.to_string()))
}

/// The body, under this group's code; `null` is all defaults.
fn body<T: Default>(body: Result<Body<Option<T>>, ApiError>) -> Result<T, ApiError> {
    match body {
        Ok(Body(body)) => Ok(body.unwrap_or_default()),
        Err(error @ ApiError::InvalidJson(_)) => {
            Err(bad_request("INVALID_BODY", error.to_string()))
        }
        Err(error) => Err(error),
    }
}

impl From<Fault> for ApiError {
    fn from(fault: Fault) -> Self {
        bad_request("VALIDATION_ERROR", fault.to_string())
    }
}

fn bad_request(code: &'static str, message: String) -> ApiError {
    ApiError::NotPossible { status: StatusCode::BAD_REQUEST, code, message }
}

fn conflict(code: &'static str, message: String) -> ApiError {
    ApiError::NotPossible { status: StatusCode::CONFLICT, code, message }
}

fn duplicate(name: &str) -> ApiError {
    conflict("DUPLICATE_NAME", format!("a channel `{}` exists already", foreign(name)))
}

fn not_found(id: i64) -> ApiError {
    ApiError::NotFound { noun: "channel", code: "NOT_FOUND", id }
}
