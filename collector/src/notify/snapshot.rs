//! A message's content, written once when it happens and never changed.

use std::borrow::Cow;

use jiff::Timestamp;
use maintenant_api::alerts::{Alert, Severity};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// What is told of an alert, as read back from a payload.
#[derive(Debug, Clone, Deserialize)]
pub struct Snapshot {
    /// `alert.fired`, `alert.resolved` or `test`.
    pub event: String,
    pub alert: Told,
    pub timestamp: Timestamp,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Told {
    pub source: String,
    pub alert_type: String,
    pub severity: Severity,
    pub message: String,
    pub entity_type: String,
    #[serde(default)]
    pub entity_name: String,
    pub fired_at: Timestamp,
}

/// The alert as an object, as in the contract's events: `details` is an object, or absent. Lines of a
/// container's log, which may hold anything, do not leave this machine.
pub fn alert_map(alert: &Alert) -> Map<String, Value> {
    let Ok(Value::Object(mut map)) = serde_json::to_value(alert) else { return Map::new() };
    map.retain(|_, value| !value.is_null());
    match serde_json::from_str(&alert.details) {
        Ok(Value::Object(mut details)) => {
            details.shift_remove("last_log_lines");
            map.insert("details".to_owned(), details.into());
        }
        _ => {
            map.shift_remove("details");
        }
    }
    map.retain(|name, value| {
        name != "details" || value.as_object().is_some_and(|all| !all.is_empty())
    });
    map
}

/// Body of a channel's webhook, and the payload of all channels.
pub fn of_channel(event: &str, alert: &Map<String, Value>, now: Timestamp) -> String {
    json!({ "event": event, "alert": alert, "timestamp": now }).to_string()
}

/// Body of a subscription's webhook.
pub fn of_webhook(event: &str, data: &Map<String, Value>, now: Timestamp) -> String {
    json!({ "type": event, "timestamp": now, "data": data }).to_string()
}

/// What a channel is sent to see whether it works.
pub fn test(now: Timestamp) -> String {
    let alert = json!({
        "id": 0,
        "source": "test",
        "alert_type": "test",
        "severity": "info",
        "status": "active",
        "message": "This is a test; nothing is wrong.",
        "entity_type": "channel",
        "entity_id": 0,
        "entity_name": "test",
        "fired_at": now,
        "created_at": now,
    });
    json!({ "event": "test", "alert": alert, "timestamp": now }).to_string()
}

impl Snapshot {
    pub fn is_resolved(&self) -> bool {
        self.event == "alert.resolved"
    }

    /// One line: what it is about.
    pub fn title(&self) -> String {
        let what = match self.event.as_str() {
            "alert.fired" => "Alert",
            "alert.resolved" => "Resolved",
            _ => "Test",
        };
        format!("{what}: {} on {}", self.alert.alert_type, self.entity())
    }

    pub fn entity(&self) -> Cow<'_, str> {
        let Told { entity_type, entity_name, .. } = &self.alert;
        if entity_name.is_empty() {
            Cow::Borrowed(entity_type)
        } else {
            Cow::Owned(format!("{entity_type} {entity_name}"))
        }
    }

    /// Names and values of what else is shown.
    pub fn facts(&self) -> [(&'static str, String); 4] {
        [
            ("Severity", self.alert.severity.as_str().to_owned()),
            ("Source", self.alert.source.clone()),
            ("Entity", self.entity().into_owned()),
            ("Since", format!("{:.0}", self.alert.fired_at)),
        ]
    }

    /// `0xRRGGBB`: green when it is over, else red, amber, or blue.
    pub fn colour(&self) -> u32 {
        match self.alert.severity {
            _ if self.is_resolved() => 0x22_C5_5E,
            Severity::Critical => 0xEF_44_44,
            Severity::Warning => 0xF5_9E_0B,
            Severity::Info => 0x3B_82_F6,
        }
    }
}
