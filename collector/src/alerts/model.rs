//! An alert as the engine keeps it, and how it is told.

use jiff::{SignedDuration, Timestamp};
use maintenant_api::alerts::Alert;
use maintenant_serve::logging::foreign;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::signals::{Entity, Signal};

/// The kinds of [`Entity`] there are.
pub const KINDS: [&str; 7] =
    ["container", "endpoint", "heartbeat", "certificate", "host", "filesystem", "runtime"];

/// Openings that are remembered of an identity; more change nothing.
const MOST_OPENINGS: usize = 8;
/// Openings that are older do not count as flapping.
const RECENT: SignedDuration = SignedDuration::from_hours(1);
/// From so many recent openings on, an end is held back.
const FLAPS: usize = 3;
const FIRST_HOLD: SignedDuration = SignedDuration::from_mins(1);
const LONGEST_HOLD: SignedDuration = SignedDuration::from_mins(30);

/// Source, type, kind and id of the entity: of these at most one alert is open at a time.
pub type Key<'a> = (&'a str, &'a str, &'a str, i64);

/// The key of a signal, which lives as long as the program.
pub fn key_of(signal: &Signal) -> Key<'static> {
    (signal.source, signal.alert_type, signal.entity.kind, signal.entity.id)
}

/// An alert that has not ended.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenAlert {
    /// As it is served.
    pub alert: Alert,
    pub course: Course,
}

/// What the engine remembers of an alert.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Course {
    /// When the trouble began.
    pub since: Timestamp,
    /// Somebody was told of it, and so is told of its end.
    pub is_told: bool,
    /// Nothing calls for it since then; its end is held back because it flaps.
    pub clear_since: Option<Timestamp>,
    /// When alerts of this identity opened or came back, oldest first, up to the last of it.
    pub openings: Vec<Timestamp>,
    /// How often it came back while its end was held back.
    pub flaps: u32,
    pub is_flapping: bool,
    /// Names of the only channels to tell, as they were when it was first told.
    pub channels: Vec<String>,
    /// Who had taken note before it became worse, and when.
    pub acknowledged_before: Option<(String, Timestamp)>,
}

impl OpenAlert {
    pub fn key(&self) -> Key<'_> {
        let Alert { source, alert_type, entity_type, entity_id, .. } = &self.alert;
        (source, alert_type, entity_type, *entity_id)
    }

    /// Whose it is, where its kind is still known.
    pub fn entity(&self) -> Option<Entity> {
        let kind = KINDS.into_iter().find(|kind| *kind == self.alert.entity_type)?;
        Some(Entity { kind, id: self.alert.entity_id })
    }
}

/// The moments that still count at `now`, with `now` as the newest. What the clock was set back
/// behind does not count.
pub fn add_opening(before: &[Timestamp], now: Timestamp) -> Vec<Timestamp> {
    let mut openings: Vec<_> =
        before.iter().copied().filter(|at| is_recent(*at, now)).chain([now]).collect();
    openings.drain(..openings.len().saturating_sub(MOST_OPENINGS));
    openings
}

/// How long an end at `at` is held back.
pub fn hold_down(openings: &[Timestamp], at: Timestamp) -> SignedDuration {
    let recent = openings.iter().filter(|opened| is_recent(**opened, at)).count();
    let Some(doublings) = recent.checked_sub(FLAPS) else { return SignedDuration::ZERO };
    let doubled = (0..doublings.min(MOST_OPENINGS)).fold(FIRST_HOLD, |hold, _| hold * 2);
    doubled.min(LONGEST_HOLD)
}

fn is_recent(at: Timestamp, now: Timestamp) -> bool {
    at <= now && now.duration_since(at) < RECENT
}

/// Whole milliseconds, as they are stored.
pub fn whole(moment: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(moment.as_millisecond()).unwrap_or(moment)
}

/// How an alert ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    Recovered,
    /// Its entity was removed, or is not watched at present.
    Removed,
    /// Nothing looks for such trouble any more.
    Unwatched,
    /// Its entity does not recover: this type of trouble took its place.
    Replaced(&'static str),
}

impl Ending {
    /// One sentence that says what ended, and how long it lasted.
    pub fn sentence(self, alert: &Alert, lasted: SignedDuration) -> String {
        let how = match self {
            Self::Recovered => "recovered",
            Self::Removed => "was removed or is not watched any more",
            Self::Unwatched => "is not watched any more",
            Self::Replaced(by) => &format!("is now: {}", by.replace('_', " ")),
        };
        let (kind, name) = (&alert.entity_type, foreign(&alert.entity_name));
        let what = alert.alert_type.replace('_', " ");
        if matches!(self, Self::Replaced(_)) {
            return format!("{kind} `{name}` {how}; {what} lasted {}", in_words(lasted));
        }
        format!("{kind} `{name}` {how}: {what} lasted {}", in_words(lasted))
    }
}

/// The two largest units, such as `2 h 5 min`. Never negative.
fn in_words(lasted: SignedDuration) -> String {
    let seconds = lasted.as_secs().max(0);
    let parts = [
        (seconds / 86_400, "d"),
        (seconds / 3_600 % 24, "h"),
        (seconds / 60 % 60, "min"),
        (seconds % 60, "s"),
    ];
    let first = parts.iter().position(|(count, _)| *count > 0).unwrap_or(parts.len() - 1);
    let told = parts.iter().skip(first).take(2).enumerate();
    let told = told.filter(|(place, (count, _))| *place == 0 || *count > 0);
    told.map(|(_, (count, unit))| format!("{count} {unit}")).collect::<Vec<_>>().join(" ")
}

/// An alert as events and webhooks carry it: `details` is an object, and what is not known is left
/// out.
pub fn to_event(alert: &Alert) -> Value {
    let mut event = match serde_json::to_value(alert) {
        Ok(Value::Object(event)) => event,
        _ => Map::new(),
    };
    event.retain(|_, value| !value.is_null());
    match serde_json::from_str(&alert.details) {
        Ok(Value::Object(details)) if !details.is_empty() => {
            event.insert("details".into(), Value::Object(details));
        }
        // Its place among the keys does not matter.
        _ => drop(event.remove("details")),
    }
    Value::Object(event)
}
