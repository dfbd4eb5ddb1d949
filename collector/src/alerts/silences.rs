//! Silences: what a user keeps quiet, and until when.

use jiff::{SignedDuration, Timestamp};
use maintenant_api::alerts::{Silence, SilenceInput};
use rusqlite::{Connection, Row, params};

use super::mutes::Mute;
use super::sql::{moment, time};
use crate::http::error::ApiError;

/// A year, in seconds.
const LONGEST: i64 = 31_536_000;
/// Characters of a filter.
const MOST_FILTER: usize = 100;
/// Characters of a reason.
const MOST_REASON: usize = 500;
/// Silences in force at once; more are refused.
pub const MOST: i64 = 1_000;
const COLUMNS: &str =
    "id, entity_type, entity_id, source, reason, starts_at, expires_at, cancelled_at";

/// A silence from `now` on, not stored yet. What is wrong is named with what is accepted.
pub fn parse(input: SilenceInput, now: Timestamp) -> Result<Silence, ApiError> {
    let Some(seconds) = input.duration_seconds else {
        return Err(invalid(format!("duration_seconds is missing; give 1 to {LONGEST}")));
    };
    if !(1..=LONGEST).contains(&seconds) {
        return Err(invalid(format!(
            "duration_seconds is {seconds}; give 1 to {LONGEST} (a year)"
        )));
    }
    let entity_type = text("entity_type", input.entity_type, MOST_FILTER)?;
    if input.entity_id.is_some() && entity_type.is_none() {
        let fault = "entity_id is given without entity_type; ids are counted for each type";
        return Err(invalid(fault.to_owned()));
    }
    let expires_at = now.checked_add(SignedDuration::from_secs(seconds));
    Ok(Silence {
        id: 0,
        entity_type,
        entity_id: input.entity_id,
        source: text("source", input.source, MOST_FILTER)?,
        reason: text("reason", input.reason, MOST_REASON)?,
        starts_at: now,
        duration_seconds: seconds,
        expires_at: expires_at.map_err(|error| invalid(format!("duration_seconds: {error}")))?,
        is_active: true,
        cancelled_at: None,
        created_at: Some(now),
    })
}

fn text(field: &str, given: Option<String>, most: usize) -> Result<Option<String>, ApiError> {
    let given = given.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    match &given {
        Some(text) if text.chars().count() > most => {
            Err(invalid(format!("{field} is longer than {most} characters")))
        }
        _ => Ok(given),
    }
}

fn invalid(message: String) -> ApiError {
    let status = http::StatusCode::BAD_REQUEST;
    ApiError::NotPossible { status, code: "VALIDATION_ERROR", message }
}

/// Stores a new silence and returns its id; `None` if there are too many.
pub fn insert(tx: &Connection, silence: &Silence) -> rusqlite::Result<Option<i64>> {
    let in_force: i64 = tx.query_row(
        "SELECT count(*) FROM silences WHERE expires_at > ?1 AND cancelled_at IS NULL",
        [silence.starts_at.as_millisecond()],
        |row| row.get(0),
    )?;
    if in_force >= MOST {
        return Ok(None);
    }
    tx.execute(
        "INSERT INTO silences (entity_type, entity_id, source, reason, starts_at, expires_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            silence.entity_type,
            silence.entity_id,
            silence.source,
            silence.reason,
            silence.starts_at.as_millisecond(),
            silence.expires_at.as_millisecond(),
        ],
    )?;
    Ok(Some(tx.last_insert_rowid()))
}

/// Ends a silence. Says whether it was in force.
pub fn cancel(tx: &Connection, id: i64, now: Timestamp) -> rusqlite::Result<bool> {
    let cancelled = tx.execute(
        "UPDATE silences SET cancelled_at = ?2
         WHERE id = ?1 AND cancelled_at IS NULL AND expires_at > ?2",
        (id, now.as_millisecond()),
    )?;
    Ok(cancelled > 0)
}

/// Newest first.
pub fn list(
    db: &Connection,
    is_only_active: bool,
    now: Timestamp,
) -> rusqlite::Result<Vec<Silence>> {
    db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM silences
         WHERE NOT ?1 OR (cancelled_at IS NULL AND expires_at > ?2) ORDER BY id DESC LIMIT {MOST}"
    ))?
    .query_map((is_only_active, now.as_millisecond()), |row| silence(row, now))?
    .collect()
}

/// Those in force, as [`Mute`]s.
pub fn mutes(db: &Connection, now: Timestamp) -> rusqlite::Result<Vec<Mute>> {
    db.prepare_cached(
        "SELECT source, entity_type, entity_id, expires_at FROM silences
         WHERE expires_at > ?1 AND cancelled_at IS NULL",
    )?
    .query_map([now.as_millisecond()], |row| {
        Ok(Mute {
            source: row.get(0)?,
            entity_type: row.get(1)?,
            entity_id: row.get(2)?,
            until: moment(row.get(3)?)?,
        })
    })?
    .collect()
}

pub fn delete_old(tx: &Connection, before_ms: i64, limit: u32) -> rusqlite::Result<usize> {
    tx.execute(
        "DELETE FROM silences WHERE id IN
             (SELECT id FROM silences WHERE expires_at < ?1 LIMIT ?2)",
        (before_ms, limit),
    )
}

fn silence(row: &Row<'_>, now: Timestamp) -> rusqlite::Result<Silence> {
    let starts_at = moment(row.get("starts_at")?)?;
    let expires_at = moment(row.get("expires_at")?)?;
    let cancelled_at = time(row, "cancelled_at")?;
    Ok(Silence {
        id: row.get("id")?,
        entity_type: row.get("entity_type")?,
        entity_id: row.get("entity_id")?,
        source: row.get("source")?,
        reason: row.get("reason")?,
        starts_at,
        duration_seconds: expires_at.duration_since(starts_at).as_secs(),
        expires_at,
        is_active: cancelled_at.is_none() && now < expires_at,
        cancelled_at,
        created_at: Some(starts_at),
    })
}
