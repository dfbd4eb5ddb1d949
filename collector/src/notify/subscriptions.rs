//! Webhook subscriptions: what they may ask for, and how a body is signed.

use std::fmt::Write;

use aws_lc_rs::hmac;
use jiff::Timestamp;
use maintenant_api::channels::{Webhook as Wire, WebhookInput};
use maintenant_serve::logging::foreign;
use url::Url;
use uuid::Uuid;

use super::channels::{Fault, Headers, fault, masked, web};
use super::kinds::{Kind, Request};
use super::post::Parcel;

/// What may be subscribed to; `*` is all.
pub const EVENTS: [&str; 7] = [
    "*",
    "container.state_changed",
    "endpoint.status_changed",
    "heartbeat.status_changed",
    "certificate.status_changed",
    "alert.fired",
    "alert.resolved",
];
/// Services that take no JSON but their own.
const CHANNELS: [(&str, &str); 7] = [
    ("discord.com", "/api/webhooks"),
    ("discordapp.com", "/api/webhooks"),
    ("hooks.slack.com", "/"),
    ("outlook.office.com", "/webhook"),
    ("outlook.office365.com", "/webhook"),
    (".webhook.office.com", "/"),
    (".logic.azure.com", "/workflows"),
];
/// Bytes of a secret.
const LONGEST_SECRET: usize = 1024;

/// A subscription to events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// A UUID.
    pub id: String,
    pub name: String,
    pub url: String,
    pub secret: Option<String>,
    pub event_types: Vec<String>,
    pub last_delivery_status: Option<String>,
    pub last_delivery_at: Option<Timestamp>,
    pub failure_count: i64,
    pub created_at: Timestamp,
}

impl Webhook {
    /// A new one. `plain` also takes http.
    pub fn create(input: WebhookInput, plain: bool, now: Timestamp) -> Result<Self, Fault> {
        let name = input.name.unwrap_or_default();
        if !(1..=100).contains(&name.len()) || name.chars().any(char::is_control) {
            return fault("name", "use 1 to 100 bytes, without control characters");
        }
        let text = input.url.unwrap_or_default();
        let url = web(&text, plain).or_else(|text| fault("url", text))?;
        if text.len() > 2048 {
            return fault("url", "use at most 2048 bytes");
        }
        if is_of_channel(&url) {
            return fault("url", "this service needs a channel; POST /api/v1/channels makes one");
        }
        let secret = input.secret.filter(|secret| !secret.is_empty());
        if secret.as_ref().is_some_and(|secret| secret.len() > LONGEST_SECRET) {
            return fault("secret", format!("use at most {LONGEST_SECRET} bytes"));
        }
        let mut event_types = input.event_types.unwrap_or_default();
        if event_types.is_empty() {
            event_types.push("*".to_owned());
        }
        if let Some(bad) = event_types.iter().find(|one| !EVENTS.contains(&one.as_str())) {
            let text = format!("`{}` is not one of {}", foreign(bad), EVENTS.join(", "));
            return fault("event_types", text);
        }
        event_types.sort_unstable();
        event_types.dedup();
        Ok(Self {
            id: Uuid::new_v4().to_string(),
            name,
            url: url.into(),
            secret,
            event_types,
            last_delivery_status: None,
            last_delivery_at: None,
            failure_count: 0,
            created_at: now,
        })
    }

    /// Whether it subscribed to that event.
    pub fn wants(&self, event: &str) -> bool {
        self.event_types.iter().any(|one| one == "*" || one == event)
    }

    /// A body to be posted, signed if there is a secret.
    pub fn parcel(&self, event: &str, key: &str, body: &str) -> Result<Parcel, String> {
        let url = Url::parse(&self.url).map_err(|error| error.to_string())?;
        Ok(Parcel {
            signature: self.secret.as_ref().map(|secret| sign(secret, body)),
            request: Request::Http { url, headers: Headers::new(), body: body.to_owned() },
            key: key.to_owned(),
            event: event.to_owned(),
        })
    }

    /// As it is shown.
    pub fn to_wire(&self) -> Wire {
        Wire {
            id: self.id.clone(),
            name: self.name.clone(),
            url: masked(Kind::Webhook, &self.url),
            event_types: self.event_types.clone(),
            is_active: true,
            last_delivery_status: self.last_delivery_status.clone(),
            last_delivery_at: self.last_delivery_at,
            failure_count: self.failure_count,
            created_at: Some(self.created_at),
        }
    }
}

fn is_of_channel(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_end_matches('.');
    let fits = |(name, path): &(&str, &str)| {
        let is_host = if name.starts_with('.') { host.ends_with(name) } else { host == *name };
        is_host && url.path().starts_with(path)
    };
    CHANNELS.iter().any(fits)
}

/// `sha256=` and the HMAC of exactly these bytes in hex.
pub fn sign(secret: &str, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let mut text = "sha256=".to_owned();
    for byte in hmac::sign(&key, body.as_bytes()).as_ref() {
        let _ = write!(text, "{byte:02x}");
    }
    text
}
