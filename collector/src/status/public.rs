//! The public routes: no token, few requests per client, and nothing but what is visible.

use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::{FromRef, FromRequestParts, State as Shared};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{
    ACCEPT, ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE,
    LOCATION, REFERRER_POLICY, RETRY_AFTER,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use jiff::Timestamp;
use maintenant_api::error::ErrorBody;
use maintenant_api::status::{PublicStatus, SubscribeInput, Subscribed};
use maintenant_serve::clock;
use maintenant_serve::guard::{Peer, error};
use tokio::sync::Mutex;
use tokio::time::Instant;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::sql::subscribers::{self as sql, Outcome};
use super::{Inner, Status, feed, overview, page, subscribers};
use crate::http::AppState;
use crate::http::error::ApiError;
use crate::http::extract::Query;
use crate::store::StoreError;
use maintenant_serve::clients::{Client, Limit};

/// Of one client, over all public routes.
const VISITS: Limit = Limit { burst: 20, per_second: 10 };
/// Of one client: 5 at once, then one every 12 minutes.
const SUBSCRIPTIONS: (u32, Duration) = (5, Duration::from_mins(12));
/// For so long an answer is given again, unless something changes.
const FRESH: Duration = Duration::from_secs(1);
/// A busy database is waited for so long while there is an older answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Streams of one client at once, and how long one lasts: who still listens comes back.
const STREAMS: usize = 8;
const STREAM: Duration = Duration::from_hours(1);
/// Incidents in the feed.
const FEED: usize = 30;
const HTML: &str = "text/html; charset=utf-8";

impl FromRef<AppState> for Status {
    fn from_ref(app: &AppState) -> Self {
        app.status.clone()
    }
}

/// The routes outside of the API, for any state that has [`Status`].
pub fn routes<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Status: FromRef<S>,
{
    OpenApiRouter::new()
        .routes(routes!(redirect))
        .routes(routes!(show_page))
        .routes(routes!(show_status))
        .routes(routes!(follow))
        .routes(routes!(show_feed))
        .routes(routes!(subscribe))
        .routes(routes!(ask_to_confirm, confirm_subscription))
        .routes(routes!(ask_to_end, end_subscription))
}

/// What was last rendered.
#[derive(Default)]
pub(super) struct Cache(Mutex<Option<Cached>>);

struct Cached {
    at: Instant,
    generation: u64,
    rendered: Rendered,
}

/// The page in its forms.
#[derive(Clone)]
pub struct Rendered {
    pub html: Bytes,
    pub json: Bytes,
    pub feed: Bytes,
}

impl Status {
    /// Reads and renders everything anew.
    pub async fn render(&self, now: Timestamp) -> Result<Rendered, StoreError> {
        let Inner { store, watched, voice, .. } = &*self.0;
        let (watched, voice) = (watched.clone(), voice.clone());
        let render = move |db: &rusqlite::Connection| {
            let overview = overview::read(db, &*watched, now)?;
            let incidents: Vec<_> = overview.incidents.iter().chain(&overview.past).collect();
            let newest = incidents.get(..FEED).unwrap_or(&incidents);
            let json = serde_json::to_vec(&overview.to_wire()).unwrap_or_default();
            Ok(Rendered {
                html: page::render(&overview, &voice).into(),
                json: json.into(),
                feed: feed::render(newest, &voice, now).into(),
            })
        };
        store.read(render).await
    }

    /// As last rendered, if that is fresh at `now`. Who asks meanwhile waits for the one that renders.
    /// When the database does not answer, what was known last is shown, and it is not asked again for a
    /// moment: nobody waits for more than one such try.
    pub(super) async fn rendered(&self, now: Instant) -> Result<Rendered, StoreError> {
        let mut cached = self.0.cache.0.lock().await;
        let generation = self.0.generation.load(Ordering::Acquire);
        let is_fresh = |cached: &Cached| {
            cached.generation == generation && now.saturating_duration_since(cached.at) < FRESH
        };
        if let Some(cached) = cached.as_ref().filter(|cached| is_fresh(cached)) {
            return Ok(cached.rendered.clone());
        }
        let rendering = self.render(clock::now());
        let (at, rendered) = match cached.as_ref() {
            None => (now, rendering.await?),
            Some(before) => match tokio::time::timeout(PATIENCE, rendering).await {
                Ok(Ok(rendered)) => (now, rendered),
                Ok(Err(error)) => {
                    tracing::warn!("the status page is shown as it was: {error}");
                    (Instant::now(), before.rendered.clone())
                }
                Err(_) => (Instant::now(), before.rendered.clone()),
            },
        };
        *cached = Some(Cached { at, generation, rendered: rendered.clone() });
        Ok(rendered)
    }
}

/// Somebody who may ask now.
struct Visitor(Client);

impl<S: Send + Sync> FromRequestParts<S> for Visitor
where
    Status: FromRef<S>,
{
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let Status(inner) = Status::from_ref(state);
        let peer: Option<Peer> = parts.extensions.get().copied();
        let client = Client::find(peer, &parts.headers, &inner.trusted_proxies);
        match inner.visitors.take(client, VISITS, Instant::now()) {
            Ok(()) => Ok(Self(client)),
            Err(wait) => {
                let message = "too many requests; try again in a second";
                Err(later(error(StatusCode::TOO_MANY_REQUESTS, "rate_limited", message), wait))
            }
        }
    }
}

fn later(mut response: Response, wait: Duration) -> Response {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    response.headers_mut().insert(RETRY_AFTER, seconds.max(1).into());
    response
}

/// The status page, by its other name
#[utoipa::path(
    get, path = "/status", tag = "status page", security(()),
    responses(
        (status = 308, description = "It is at `/status/`"),
        (status = 429, description = "`rate_limited`", body = ErrorBody),
    )
)]
async fn redirect(_: Visitor) -> Response {
    // Relative, so that it holds behind a proxy with a path of its own.
    (StatusCode::PERMANENT_REDIRECT, [(LOCATION, "status/")]).into_response()
}

/// The status page
///
/// One document without external parts. It follows `/status/events` where scripts run.
#[utoipa::path(
    get, path = "/status/", tag = "status page", security(()),
    responses(
        (status = 200, description = "The page", body = String, content_type = "text/html"),
        (status = 429, description = "`rate_limited`", body = ErrorBody),
    )
)]
async fn show_page(_: Visitor, Shared(status): Shared<Status>) -> Result<Response, ApiError> {
    Ok(html(StatusCode::OK, status.rendered(Instant::now()).await?.html))
}

/// The status as JSON
///
/// For any origin.
#[utoipa::path(
    get, path = "/status/api", tag = "status page", security(()),
    responses(
        (status = 200, description = "What the public sees", body = PublicStatus),
        (status = 429, description = "`rate_limited`", body = ErrorBody),
    )
)]
async fn show_status(_: Visitor, Shared(status): Shared<Status>) -> Result<Response, ApiError> {
    let headers = [
        (CONTENT_TYPE, "application/json"),
        (CACHE_CONTROL, "no-cache"),
        (ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    ];
    Ok((headers, status.rendered(Instant::now()).await?.json).into_response())
}

/// Follow what changes on the page
///
/// Server-sent events `status.*`; `Last-Event-ID` resumes. A client has up to 8 streams, each for an
/// hour.
#[utoipa::path(
    get, path = "/status/events", tag = "status page", security(()),
    responses(
        (status = 200, description = "A stream", body = String, content_type = "text/event-stream"),
        (status = 429, description = "`rate_limited`", body = ErrorBody),
        (status = 503, description = "`TOO_MANY_STREAMS`", body = ErrorBody),
    )
)]
async fn follow(
    Visitor(client): Visitor,
    Shared(status): Shared<Status>,
    headers: HeaderMap,
) -> Response {
    let Some(seat) = status.0.seats.take(client, STREAMS) else {
        return ApiError::TooManyStreams.into_response();
    };
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let drain = status.0.drain.clone();
    // Either way it ends.
    let end = async move { drop(tokio::time::timeout(STREAM, drain.cancelled()).await) };
    let mut response = status.0.events.respond_with(last, seat, end);
    let any = HeaderValue::from_static("*");
    response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, any);
    response
}

/// The feed of incidents
#[utoipa::path(
    get, path = "/status/feed.atom", tag = "status page", security(()),
    responses(
        (status = 200, description = "Atom (RFC 4287): incidents that are open, or were of late",
         body = String, content_type = "application/atom+xml"),
        (status = 429, description = "`rate_limited`", body = ErrorBody),
    )
)]
async fn show_feed(_: Visitor, Shared(status): Shared<Status>) -> Result<Response, ApiError> {
    let headers = [
        (CONTENT_TYPE, "application/atom+xml; charset=utf-8"),
        (CACHE_CONTROL, "public, max-age=60"),
    ];
    Ok((headers, status.rendered(Instant::now()).await?.feed).into_response())
}

/// Subscribe by mail
///
/// As JSON or as a form. A mail asks to confirm; the answer is the same whether or not the address
/// was known. Nobody is asked twice in an hour.
#[utoipa::path(
    post, path = "/status/subscribe", tag = "status page", security(()),
    request_body = SubscribeInput,
    responses(
        (status = 200, description = "Somebody has to confirm", body = Subscribed),
        (status = 400, description = "No address", body = String, content_type = "text/plain"),
        (status = 403, description = "Sent by a page of another site", body = String,
         content_type = "text/plain"),
        (status = 429, description = "Too many; 5 per hour as text, else `rate_limited`",
         content((String = "text/plain"), (ErrorBody = "application/json"))),
        (status = 503, description = "No mail can be sent, or there are too many subscribers",
         body = String, content_type = "text/plain"),
    )
)]
async fn subscribe(
    Visitor(client): Visitor,
    Shared(status): Shared<Status>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let inner = &status.0;
    let is_read_by_people = headers
        .get(ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("text/html"));
    let answer = |code: StatusCode, heading: &str, text: &str| {
        if is_read_by_people {
            return html(code, page::notice(heading, text, None, &inner.voice).into());
        }
        (code, [(CONTENT_TYPE, "text/plain; charset=utf-8")], format!("{text}\n")).into_response()
    };
    if headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site") {
        let text = "This was sent by a page of another site; subscribe on the status page.";
        return Ok(answer(StatusCode::FORBIDDEN, "Not possible", text));
    }
    if !inner.voice.has_mail {
        let text = "No mail can be sent from here.";
        return Ok(answer(StatusCode::SERVICE_UNAVAILABLE, "Not possible", text));
    }
    let email = match email(&headers, &body)
        .and_then(|email| subscribers::parse(&email).map_err(|invalid| invalid.0))
    {
        Ok(email) => email,
        Err(fault) => return Ok(answer(StatusCode::BAD_REQUEST, "Please try again", &fault)),
    };
    let (burst, every) = SUBSCRIPTIONS;
    if let Err(wait) = inner.subscribing.take_every(client, burst, every, Instant::now()) {
        let text = "Too many subscriptions came from your address; try again later.";
        let refused = answer(StatusCode::TOO_MANY_REQUESTS, "Please try again later", text);
        return Ok(later(refused, wait));
    }
    let now = clock::now();
    let outcome = match subscribers::wanted(email, now) {
        Some(wanted) => {
            let voice = inner.voice.clone();
            inner.store.write(move |tx| subscribers::subscribe(tx, &wanted, &voice, now)).await?
        }
        None => Outcome::Full,
    };
    if outcome == Outcome::Full {
        let text = "No more subscriptions are taken at present; try again later.";
        return Ok(answer(StatusCode::SERVICE_UNAVAILABLE, "Please try again later", text));
    }
    inner.mail.notify_one();
    if is_read_by_people {
        let text = "A mail is on its way to you, unless you were sent one within the last hour. \
                    Open the link in it within 24 hours to confirm.";
        return Ok(answer(StatusCode::OK, "Nearly done", text));
    }
    let subscribed = Subscribed { status: "confirmation_sent".to_owned() };
    Ok(axum::Json(subscribed).into_response())
}

/// The address in a body, whatever form it has.
fn email(headers: &HeaderMap, body: &[u8]) -> Result<String, String> {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if kind.split(';').next().unwrap_or_default().trim() == "application/json" {
        let read = serde_json::from_slice::<SubscribeInput>(body);
        return read.map(|input| input.email).map_err(|_| {
            "the body is no JSON object such as {\"email\":\"me@example.org\"}".to_owned()
        });
    }
    let mut fields = url::form_urlencoded::parse(body);
    Ok(fields
        .find(|(name, _)| name == "email")
        .map(|(_, email)| email.into_owned())
        .unwrap_or_default())
}

const TOO_OLD: &str = "It is too old, or it was used up. Subscribe again to get another.";
const OVER: &str = "Perhaps you have already ended your subscription.";

#[derive(serde::Deserialize, Default)]
#[serde(default)]
struct Token {
    token: String,
}

/// Ask whether to confirm a subscription
///
/// Mail programs and gateways open links on their own: only the button on this page confirms.
#[utoipa::path(
    get, path = "/status/confirm", tag = "status page", security(()),
    params(("token" = String, Query, description = "As in the mail")),
    responses(
        (status = 200, description = "A form", body = String, content_type = "text/html"),
        (status = 400, description = "No such token, or too late", body = String,
         content_type = "text/html"),
        (status = 429, description = "`rate_limited`", body = ErrorBody),
    )
)]
async fn ask_to_confirm(
    _: Visitor,
    Shared(status): Shared<Status>,
    query: Result<Query<Token>, ApiError>,
) -> Result<Response, ApiError> {
    let (token, now) = (token(query), clock::now());
    let is_known = status.0.store.read(move |db| sql::confirms(db, &token, now)).await?;
    let text = "You will be told by mail of incidents and maintenance.";
    Ok(status.answer(is_known, ("Please confirm", text, Some("Subscribe")), TOO_OLD))
}

/// Confirm a subscription
#[utoipa::path(
    post, path = "/status/confirm", tag = "status page", security(()),
    params(("token" = String, Query, description = "As in the mail")),
    responses(
        (status = 200, description = "Confirmed", body = String, content_type = "text/html"),
        (status = 400, description = "No such token, or too late", body = String,
         content_type = "text/html"),
        (status = 429, description = "`rate_limited`", body = ErrorBody),
    )
)]
async fn confirm_subscription(
    _: Visitor,
    Shared(status): Shared<Status>,
    query: Result<Query<Token>, ApiError>,
) -> Result<Response, ApiError> {
    let (token, now) = (token(query), clock::now());
    let is_done = status.0.store.write(move |tx| sql::confirm(tx, &token, now)).await?;
    let text = "You will be told by mail of incidents and maintenance.";
    Ok(status.answer(is_done, ("You are subscribed", text, None), TOO_OLD))
}

/// Ask whether to end a subscription
///
/// Mail programs and gateways open links on their own: only the button on this page ends it.
#[utoipa::path(
    get, path = "/status/unsubscribe", tag = "status page", security(()),
    params(("token" = String, Query, description = "As in every mail")),
    responses(
        (status = 200, description = "A form", body = String, content_type = "text/html"),
        (status = 400, description = "No such token", body = String, content_type = "text/html"),
        (status = 429, description = "`rate_limited`", body = ErrorBody),
    )
)]
async fn ask_to_end(
    _: Visitor,
    Shared(status): Shared<Status>,
    query: Result<Query<Token>, ApiError>,
) -> Result<Response, ApiError> {
    let token = token(query);
    let is_known = status.0.store.read(move |db| sql::unsubscribes(db, &token)).await?;
    let text = "You will be told no more, and your address is deleted.";
    Ok(status.answer(is_known, ("End your subscription?", text, Some("Unsubscribe")), OVER))
}

/// End a subscription
///
/// Also by the one click of a mail program (RFC 8058).
#[utoipa::path(
    post, path = "/status/unsubscribe", tag = "status page", security(()),
    params(("token" = String, Query, description = "As in every mail")),
    responses(
        (status = 200, description = "It is over", body = String, content_type = "text/html"),
        (status = 400, description = "No such token", body = String, content_type = "text/html"),
        (status = 429, description = "`rate_limited`", body = ErrorBody),
    )
)]
async fn end_subscription(
    _: Visitor,
    Shared(status): Shared<Status>,
    query: Result<Query<Token>, ApiError>,
) -> Result<Response, ApiError> {
    let token = token(query);
    let is_done = status.0.store.write(move |tx| sql::unsubscribe(tx, &token)).await?;
    let text = "Your address was deleted.";
    Ok(status.answer(is_done, ("You are not subscribed any more", text, None), OVER))
}

fn token(query: Result<Query<Token>, ApiError>) -> String {
    query.map(|Query(query)| query.token).unwrap_or_default()
}

impl Status {
    /// A page with this heading, text and button; or why the link does not work.
    fn answer(
        &self,
        works: bool,
        (heading, text, button): (&str, &str, Option<&str>),
        otherwise: &str,
    ) -> Response {
        let voice = &self.0.voice;
        if works {
            return html(StatusCode::OK, page::notice(heading, text, button, voice).into());
        }
        let text = page::notice("This link does not work", otherwise, None, voice);
        html(StatusCode::BAD_REQUEST, text.into())
    }
}

/// A document of ours. Its address may hold a token, and is told to nobody.
fn html(code: StatusCode, text: Bytes) -> Response {
    let policy = HeaderValue::from_str(&page::POLICY);
    let policy = policy.unwrap_or(HeaderValue::from_static("default-src 'none'"));
    let fixed = |text: &'static str| HeaderValue::from_static(text);
    let headers: [(HeaderName, HeaderValue); 5] = [
        (CONTENT_TYPE, fixed(HTML)),
        (CACHE_CONTROL, fixed("no-cache")),
        (CONTENT_SECURITY_POLICY, policy),
        (REFERRER_POLICY, fixed("no-referrer")),
        (HeaderName::from_static("x-frame-options"), fixed("DENY")),
    ];
    (code, headers, text).into_response()
}
