//! Who is told: channels with their routing rules, webhook subscriptions, and the messages to them.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::wire::{null_as_default, zero_time_as_none};

/// Where alerts are told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Channel {
    pub id: i64,
    pub name: String,
    /// `webhook`, `discord`, `slack`, `teams`, `ntfy`, `telegram` or `email`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Where to, with `***` in place of what is secret. Sent back like this it stays as it is. Other
    /// servers of the contract show all of it.
    pub url: String,
    /// JSON text: an object of header values, each shown as `***`. Sent back like this they stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headers: Option<String>,
    pub enabled: bool,
    /// It is told what any of them matches, and everything without one.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub routing_rules: Vec<RoutingRule>,
    /// In lists: `failing` when the last try did not succeed, else `healthy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<String>,
    /// In lists: messages still to be delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<i64>,
    /// In lists: messages that were given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead: Option<i64>,
    /// In lists, while it fails: why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    #[serde(default, deserialize_with = "zero_time_as_none")]
    pub created_at: Option<Timestamp>,
    #[serde(default, deserialize_with = "zero_time_as_none")]
    pub updated_at: Option<Timestamp>,
}

/// Answer of `GET /channels`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChannelList {
    #[serde(default, deserialize_with = "null_as_default")]
    pub channels: Vec<Channel>,
}

/// Body of `POST /channels` and `PUT /channels/{id}`, where what is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ChannelInput {
    /// 1 to 100 characters, no two alike in upper or lower case.
    pub name: Option<String>,
    /// An https address; of `email` one or more addresses, comma list; of `telegram` also
    /// `telegram://<token>@<chat>`.
    pub url: Option<String>,
    /// `webhook` (default), `discord`, `slack`, `teams`, `ntfy`, `telegram` or `email`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// JSON text: an object of header values. An empty text takes all away.
    pub headers: Option<String>,
    /// Default `false`.
    pub enabled: Option<bool>,
}

/// Which alerts a channel is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RoutingRule {
    pub id: i64,
    pub channel_id: i64,
    /// Comma list; absent matches every source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_filter: Option<String>,
    /// Comma list of `critical`, `warning`, `info`; absent matches every severity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity_filter: Option<String>,
    #[serde(default, deserialize_with = "zero_time_as_none")]
    pub created_at: Option<Timestamp>,
}

/// Body of `POST /channels/{id}/rules`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RoutingRuleInput {
    /// Comma list of sources such as `container,endpoint`.
    pub source_filter: Option<String>,
    /// Comma list of `critical`, `warning`, `info`.
    pub severity_filter: Option<String>,
}

/// Answer of `POST /channels/{id}/test`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChannelTest {
    /// `delivered` or `failed`.
    pub status: String,
    /// Of HTTP, or of SMTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_code: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A message to a channel or a subscription.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Notification {
    pub id: i64,
    /// The channel it goes to, which may be gone.
    #[serde(default)]
    pub channel_id: Option<i64>,
    /// The subscription it goes to, which may be gone.
    #[serde(default)]
    pub webhook_id: Option<String>,
    /// What the channel or subscription was called.
    #[serde(default)]
    pub target_name: String,
    /// `alert.fired`, `alert.resolved`, or a change of state.
    pub event: String,
    /// `pending`, `delivered`, or `dead`: given up.
    pub status: String,
    /// The receiver sees it as `Idempotency-Key`, the same at every try.
    pub idempotency_key: String,
    pub attempts: i64,
    /// Why the last try did not succeed, or why it was given up.
    #[serde(default)]
    pub last_error: Option<String>,
    pub created_at: Timestamp,
    /// `null`: it is not pending, or waits for an earlier one of the same entity.
    #[serde(default)]
    pub next_try_at: Option<Timestamp>,
    #[serde(default)]
    pub delivered_at: Option<Timestamp>,
    /// What is told, as it was then.
    pub payload: serde_json::Value,
}

/// Answer of `GET /notifications`: newest first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NotificationList {
    #[serde(default, deserialize_with = "null_as_default")]
    pub notifications: Vec<Notification>,
    #[serde(default)]
    pub has_more: bool,
}

/// Query of `GET /notifications`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct NotificationQuery {
    /// `pending`, `delivered` or `dead`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel_id: Option<String>,
    /// Only those with a smaller id: the last id of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before_id: Option<String>,
    /// 1 to 200; default 50.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
}

/// A subscription to events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Webhook {
    /// A UUID.
    pub id: String,
    pub name: String,
    /// With `***` in place of user names, passwords and query values.
    pub url: String,
    #[serde(default, deserialize_with = "null_as_default")]
    pub event_types: Vec<String>,
    pub is_active: bool,
    /// `delivered` or `failed`; `null` before the first try.
    #[serde(default)]
    pub last_delivery_status: Option<String>,
    #[serde(default, deserialize_with = "zero_time_as_none")]
    pub last_delivery_at: Option<Timestamp>,
    /// Tries that failed since the last that succeeded.
    #[serde(default)]
    pub failure_count: i64,
    #[serde(default, deserialize_with = "zero_time_as_none")]
    pub created_at: Option<Timestamp>,
}

/// Answer of `GET /webhooks`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WebhookList {
    #[serde(default, deserialize_with = "null_as_default")]
    pub webhooks: Vec<Webhook>,
}

/// Body of `POST /webhooks`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct WebhookInput {
    /// 1 to 100 bytes.
    pub name: Option<String>,
    /// An https address.
    pub url: Option<String>,
    /// Key of the signature; without one nothing is signed.
    pub secret: Option<String>,
    /// `*` (default), `container.state_changed`, `endpoint.status_changed`,
    /// `heartbeat.status_changed`, `certificate.status_changed`, `alert.fired`, `alert.resolved`.
    pub event_types: Option<Vec<String>>,
}

/// Answer of `POST /webhooks`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WebhookCreated {
    pub id: String,
    pub name: String,
    pub url: String,
    pub event_types: Vec<String>,
    pub is_active: bool,
    pub created_at: Timestamp,
}

/// Answer of `POST /webhooks/{id}/test`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WebhookTest {
    /// `delivered` or `failed`.
    pub status: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_status: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
