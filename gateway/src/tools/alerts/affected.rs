//! What an alert says that fails for its reason, and the way back from there.

use std::collections::HashMap;

use maintenant_api::Timestamp;
use serde_json::{Map, Value};

use super::read::Told;
use super::row::entity;
use crate::listed::ListedAlert;
use crate::untrusted::{name_without_ids, text};

/// Causes named of one alert.
const CAUSES: usize = 3;

/// One entity that fails for the reason of another one's alert.
pub(super) struct Affected<'a> {
    /// Such as `endpoint:7`.
    pub(super) place: Option<String>,
    /// As it is shown.
    pub(super) name: Option<String>,
    alert_type: Option<&'a str>,
}

impl<'a> Affected<'a> {
    fn of(told: &'a Value) -> Option<Self> {
        let word =
            |key: &str| told.get(key).and_then(Value::as_str).filter(|word| !word.is_empty());
        let id = told.get("entity_id").and_then(Value::as_i64);
        let place = word("entity_type").zip(id);
        let affected = Self {
            place: place.map(|(kind, id)| format!("{}:{id}", text(kind, 32))),
            name: word("name").map(name_without_ids),
            alert_type: word("alert_type"),
        };
        (affected.place.is_some() || affected.name.is_some()).then_some(affected)
    }
}

/// Everything it names, and what is no name.
pub(super) fn affected(details: &Map<String, Value>) -> impl Iterator<Item = Option<Affected<'_>>> {
    let all = details.get("affected").and_then(Value::as_array);
    all.into_iter().flatten().map(Affected::of)
}

/// Says of alerts of one collector which others name them as affected at their time.
pub(super) fn explain(alerts: &mut [Told]) {
    let mut causes: HashMap<String, Vec<Cause>> = HashMap::new();
    for Told { alert, .. } in &*alerts {
        for one in affected(&alert.details).flatten() {
            let Some(place) = one.place else { continue };
            causes.entry(place).or_default().push(Cause {
                entity: entity(alert),
                of: one.alert_type.map(str::to_owned),
                time: time(alert),
            });
        }
    }
    for told in alerts {
        let (place, lasted) = (entity(&told.alert), time(&told.alert));
        let mut entities: Vec<String> = causes
            .get(&place)
            .into_iter()
            .flatten()
            .filter(|cause| cause.entity != place && overlap(cause.time, lasted))
            .filter(|cause| cause.of.as_ref().is_none_or(|kind| *kind == told.alert.alert_type))
            .map(|cause| cause.entity.clone())
            .collect();
        entities.sort();
        entities.dedup();
        entities.truncate(CAUSES);
        told.caused_by = entities;
    }
}

struct Cause {
    entity: String,
    /// The type of alert it is the cause of.
    of: Option<String>,
    time: Time,
}

/// From when to when; what is not known is not bounded.
type Time = (Option<Timestamp>, Option<Timestamp>);

fn time(alert: &ListedAlert) -> Time {
    (alert.since(), alert.resolved_at)
}

fn overlap(one: Time, other: Time) -> bool {
    let begins_in =
        |(from, _): Time, (_, to): Time| from.zip(to).is_none_or(|(from, to)| from <= to);
    begins_in(one, other) && begins_in(other, one)
}
