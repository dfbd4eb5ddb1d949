//! What users may ask of a heartbeat.

use jiff::{SignedDuration, Timestamp};
use maintenant_api::heartbeats::HeartbeatInput;

use super::model::Timing;
use super::schedule::{Cadence, Cron, ScheduleFault};
use crate::http::error::ApiError;

/// Longest name, in bytes.
const LONGEST_NAME: usize = 255;
/// Intervals, in seconds: a minute to a week.
const INTERVALS: std::ops::RangeInclusive<i64> = 60..=604_800;
const LONGEST: i64 = 604_800;

/// Name and timing of a new heartbeat.
pub fn create(input: &HeartbeatInput, now: Timestamp) -> Result<(String, Timing), ApiError> {
    let name = name(input.name.as_deref().unwrap_or_default())?;
    let cadence = cadence(input, None, now)?.ok_or_else(|| {
        fault("interval_seconds", "give it, 60 to 604800, or a `schedule` instead")
    })?;
    Ok((name, timing(input, cadence, None)?))
}

/// Name and, where it changes, timing of one that exists.
pub fn edit(
    input: &HeartbeatInput,
    (old_name, old): (&str, &Timing),
    now: Timestamp,
) -> Result<(String, Option<Timing>), ApiError> {
    let name = input.name.as_deref().map_or_else(|| Ok(old_name.to_owned()), name)?;
    let changed = cadence(input, Some(&old.cadence), now)?;
    let is_same =
        changed.is_none() && input.grace_seconds.is_none() && input.max_runtime_seconds.is_none();
    if is_same {
        return Ok((name, None));
    }
    let cadence = changed.unwrap_or_else(|| old.cadence.clone());
    let timing = timing(input, cadence, Some(old))?;
    Ok((name, (timing != *old).then_some(timing)))
}

fn name(given: &str) -> Result<String, ApiError> {
    let name = given.trim();
    if name.is_empty() || name.len() > LONGEST_NAME {
        return Err(fault("name", "give 1 to 255 bytes"));
    }
    Ok(name.to_owned())
}

/// The cadence asked for; `None` where nothing is said of it.
fn cadence(
    input: &HeartbeatInput,
    old: Option<&Cadence>,
    now: Timestamp,
) -> Result<Option<Cadence>, ApiError> {
    let old = match old {
        Some(Cadence::Cron(cron)) => Some(cron),
        _ => None,
    };
    let zone = input.timezone.as_deref();
    let old_expression = old.map(|old| old.expression.as_str());
    let (expression, zone) = match (input.interval_seconds, input.schedule.as_deref()) {
        (Some(_), Some(_)) => {
            return Err(fault("schedule", "give either `interval_seconds` or `schedule`"));
        }
        (Some(interval), None) => {
            if zone.is_some() {
                return Err(fault("timezone", "only a `schedule` has one"));
            }
            if !INTERVALS.contains(&interval) {
                return Err(fault("interval_seconds", "use 60 to 604800"));
            }
            return Ok(Some(Cadence::Every(SignedDuration::from_secs(interval))));
        }
        (None, Some(expression)) => {
            (expression, zone.or(old.map(|old| old.zone_name.as_str())).unwrap_or("UTC"))
        }
        (None, None) => match (old_expression, zone) {
            (_, None) => return Ok(None),
            (Some(expression), Some(zone)) => (expression, zone),
            (None, Some(_)) => return Err(fault("timezone", "only a `schedule` has one")),
        },
    };
    let cron = Cron::parse(expression, zone).map_err(|wrong| match wrong {
        ScheduleFault::Expression(_) => fault("schedule", &wrong.to_string()),
        ScheduleFault::Zone(_) => fault("timezone", &wrong.to_string()),
    })?;
    if cron.after(now).is_none() {
        return Err(fault("schedule", "it names a day that does not come within four years"));
    }
    Ok(Some(Cadence::Cron(Box::new(cron))))
}

fn timing(
    input: &HeartbeatInput,
    cadence: Cadence,
    old: Option<&Timing>,
) -> Result<Timing, ApiError> {
    let longest_grace = match &cadence {
        Cadence::Every(interval) => interval.as_secs(),
        Cadence::Cron(_) => LONGEST,
    };
    let grace = input.grace_seconds.or_else(|| old.map(|old| old.grace.as_secs())).unwrap_or(0);
    if !(0..=longest_grace).contains(&grace) {
        return Err(fault("grace_seconds", &format!("use 0 to {longest_grace}")));
    }
    let max_runtime = match input.max_runtime_seconds {
        None => old.and_then(|old| old.max_runtime),
        Some(0) => None,
        Some(limit) if (1..=LONGEST).contains(&limit) => Some(SignedDuration::from_secs(limit)),
        Some(_) => {
            return Err(fault("max_runtime_seconds", "use 1 to 604800, or 0 for no limit"));
        }
    };
    Ok(Timing { cadence, grace: SignedDuration::from_secs(grace), max_runtime })
}

fn fault(field: &'static str, accepted: &str) -> ApiError {
    ApiError::InvalidInput { field, fault: accepted.to_owned() }
}
