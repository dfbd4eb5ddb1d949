//! The table of messages. Of those of a lane and an entity, the first that is pending is the only one
//! with a `next_try_at`: the others wait until it has ended.

use std::collections::BTreeMap;

use jiff::Timestamp;
use maintenant_api::channels::Notification;
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};
use uuid::Uuid;

use super::{moment, save_told, time};
use crate::notify::outbox::Lane;

/// Messages that wait in one lane; the oldest of more are given up.
pub const MOST_PENDING: i64 = 10_000;

/// No message waits longer between two tries.
const LONGEST_PAUSE_MS: i64 = 3 * 3_600_000;

/// A message to be written.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    pub lane: &'a Lane,
    pub target: &'a str,
    pub entity: &'a str,
    pub event: &'a str,
    pub payload: &'a str,
}

/// A message whose turn it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    pub id: i64,
    pub event: String,
    pub key: String,
    pub payload: String,
    /// Tries so far.
    pub attempts: i64,
    pub created_at: Timestamp,
}

/// What came of a try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Delivered,
    Again { at: Timestamp, error: String },
    Dead { error: String },
}

pub fn insert_message(
    tx: &Connection,
    message: &Message<'_>,
    now: Timestamp,
) -> rusqlite::Result<i64> {
    tx.prepare_cached(
        "INSERT INTO notifications
             (lane, target, entity, event, key, payload, status, attempts, created_at, next_try_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'pending', 0, ?7, iif(EXISTS (
             SELECT 1 FROM notifications WHERE lane = ?1 AND entity = ?3 AND status = 'pending'
         ), NULL, ?7))",
    )?
    .execute(params![
        message.lane.to_string(),
        message.target,
        message.entity,
        message.event,
        Uuid::new_v4().to_string(),
        message.payload,
        now.as_millisecond(),
    ])?;
    Ok(tx.last_insert_rowid())
}

/// Those of a lane whose turn it is, the longest waiting first. A pause that is longer than any comes
/// of a clock that was set back, and is over.
pub fn list_due(
    db: &Connection,
    lane: &Lane,
    now: Timestamp,
    limit: u32,
) -> rusqlite::Result<Vec<Due>> {
    db.prepare_cached(
        "SELECT id, event, key, payload, attempts, created_at FROM notifications
         WHERE lane = ?1 AND next_try_at IS NOT NULL
           AND (next_try_at <= ?2 OR next_try_at > ?2 + ?3)
         ORDER BY next_try_at, id LIMIT ?4",
    )?
    .query_map(params![lane.to_string(), now.as_millisecond(), LONGEST_PAUSE_MS, limit], |row| {
        Ok(Due {
            id: row.get("id")?,
            event: row.get("event")?,
            key: row.get("key")?,
            payload: row.get("payload")?,
            attempts: row.get("attempts")?,
            created_at: moment(row, "created_at")?,
        })
    })?
    .collect()
}

/// When the next try of a lane is due.
pub fn next_try(db: &Connection, lane: &Lane) -> rusqlite::Result<Option<Timestamp>> {
    db.prepare_cached(
        "SELECT min(next_try_at) AS at FROM notifications
         WHERE lane = ?1 AND next_try_at IS NOT NULL",
    )?
    .query_row([lane.to_string()], |row| time(row, "at"))
}

/// Stores what came of a try. One that was given up meanwhile, because its lane was switched off,
/// stays so unless it was delivered after all.
pub fn finish(tx: &Connection, id: i64, outcome: &Outcome, now: Timestamp) -> rusqlite::Result<()> {
    let (status, error, next, ended) = match outcome {
        Outcome::Delivered => ("delivered", None, None, Some(now)),
        Outcome::Again { at, error } => ("pending", Some(error), Some(*at), None),
        Outcome::Dead { error } => ("dead", Some(error), None, Some(now)),
    };
    tx.prepare_cached(
        "UPDATE notifications SET status = ?2, last_error = ?3, next_try_at = ?4, ended_at = ?5,
             attempts = attempts + 1
         WHERE id = ?1 AND (status = 'pending' OR ?2 = 'delivered')",
    )?
    .execute(params![
        id,
        status,
        error,
        next.map(Timestamp::as_millisecond),
        ended.map(Timestamp::as_millisecond)
    ])?;
    if *outcome == Outcome::Delivered {
        save_told(tx, id, now)?;
    }
    if ended.is_some() { advance(tx, id, now) } else { Ok(()) }
}

/// Lets the next of the same lane and entity have its turn, unless one has it already.
fn advance(tx: &Connection, ended: i64, now: Timestamp) -> rusqlite::Result<()> {
    let found: Option<(String, String)> = tx
        .prepare_cached("SELECT lane, entity FROM notifications WHERE id = ?1")?
        .query_row([ended], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((lane, entity)) = found else { return Ok(()) };
    tx.prepare_cached(
        "UPDATE notifications SET next_try_at = ?3
         WHERE id = (SELECT min(id) FROM notifications
                     WHERE lane = ?1 AND entity = ?2 AND status = 'pending')
           AND NOT EXISTS (SELECT 1 FROM notifications
                           WHERE lane = ?1 AND entity = ?2 AND status = 'pending'
                             AND next_try_at IS NOT NULL)",
    )?
    .execute(params![lane, entity, now.as_millisecond()])
    .map(drop)
}

/// Gives everything that pauses in a lane its turn now.
pub fn hasten(tx: &Connection, lane: &Lane, now: Timestamp) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "UPDATE notifications SET next_try_at = ?2 WHERE lane = ?1 AND next_try_at > ?2",
    )?
    .execute(params![lane.to_string(), now.as_millisecond()])
    .map(drop)
}

/// Ends everything that is pending in a lane, which is no more.
pub fn give_up(tx: &Connection, lane: &Lane, reason: &str, now: Timestamp) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "UPDATE notifications SET status = 'dead', last_error = ?2, next_try_at = NULL,
             ended_at = ?3
         WHERE lane = ?1 AND status = 'pending'",
    )?
    .execute(params![lane.to_string(), reason, now.as_millisecond()])
    .map(drop)
}

/// Gives a dead message another turn, as if it had never been tried.
pub fn revive(tx: &Connection, id: i64, now: Timestamp) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "UPDATE notifications SET status = 'pending', ended_at = NULL, next_try_at = NULL,
             attempts = 0
         WHERE id = ?1 AND status = 'dead'",
    )?
    .execute([id])?;
    advance(tx, id, now)
}

/// Pending and dead messages of each lane.
pub fn counts(db: &Connection) -> rusqlite::Result<BTreeMap<String, (i64, i64)>> {
    let mut counts: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    let mut count = |sql, is_dead| {
        let mut statement = db.prepare_cached(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (pending, dead) = counts.entry(row.get(0)?).or_default();
            *(if is_dead { dead } else { pending }) = row.get(1)?;
        }
        Ok::<_, rusqlite::Error>(())
    };
    let pending = "SELECT lane, count(*) FROM notifications WHERE status = 'pending' GROUP BY lane";
    count(pending, false)?;
    count("SELECT lane, count(*) FROM notifications WHERE status = 'dead' GROUP BY lane", true)?;
    Ok(counts)
}

pub fn find_message(db: &Connection, id: i64) -> rusqlite::Result<Option<Notification>> {
    db.prepare_cached("SELECT * FROM notifications WHERE id = ?1")?
        .query_row([id], message)
        .optional()
}

/// Newest first, of one status and one lane where they are given.
pub fn list_messages(
    db: &Connection,
    status: Option<&str>,
    lane: Option<&Lane>,
    before: i64,
    limit: i64,
) -> rusqlite::Result<Vec<Notification>> {
    let lane = lane.map(Lane::to_string);
    db.prepare_cached(
        "SELECT * FROM notifications
         WHERE id < ?3 AND (?1 IS NULL OR status = ?1) AND (?2 IS NULL OR lane = ?2)
         ORDER BY id DESC LIMIT ?4",
    )?
    .query_map(params![status, lane, before, limit], message)?
    .collect()
}

pub fn delete_old_delivered(tx: &Connection, before: i64, limit: u32) -> rusqlite::Result<usize> {
    delete_ended(tx, "delivered", before, limit)
}

pub fn delete_old_dead(tx: &Connection, before: i64, limit: u32) -> rusqlite::Result<usize> {
    delete_ended(tx, "dead", before, limit)
}

fn delete_ended(tx: &Connection, status: &str, before: i64, limit: u32) -> rusqlite::Result<usize> {
    tx.prepare_cached(
        "DELETE FROM notifications WHERE id IN
             (SELECT id FROM notifications
              WHERE status = ?1 AND ended_at IS NOT NULL AND ended_at < ?2 LIMIT ?3)",
    )?
    .execute(params![status, before, limit])
}

/// Gives up the oldest of lanes in which too many wait. `now` is the limit of age of a keep of no
/// days.
pub fn give_up_excess(tx: &Connection, now: i64, limit: u32) -> rusqlite::Result<usize> {
    let now = Timestamp::from_millisecond(now).unwrap_or_default();
    let mut given_up = 0;
    for (lane, (pending, _)) in counts(tx)? {
        let excess = (pending - MOST_PENDING).clamp(0, limit.into());
        let ids: Vec<i64> = tx
            .prepare_cached(
                "SELECT id FROM notifications WHERE lane = ?1 AND status = 'pending'
                 ORDER BY id LIMIT ?2",
            )?
            .query_map(params![lane, excess], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        for chunk in ids.chunks(500) {
            let marks = vec!["?"; chunk.len()].join(",");
            tx.execute(
                &format!(
                    "UPDATE notifications SET status = 'dead', next_try_at = NULL,
                         last_error = 'too many messages wait', ended_at = {}
                     WHERE id IN ({marks})",
                    now.as_millisecond()
                ),
                params_from_iter(chunk),
            )?;
        }
        for id in &ids {
            advance(tx, *id, now)?;
        }
        given_up += ids.len();
    }
    Ok(given_up)
}

fn message(row: &Row<'_>) -> rusqlite::Result<Notification> {
    let (lane, payload): (String, String) = (row.get("lane")?, row.get("payload")?);
    let status: String = row.get("status")?;
    let ended = time(row, "ended_at")?;
    let (channel_id, webhook_id) = match Lane::parse(&lane) {
        Some(Lane::Channel(id)) => (Some(id), None),
        Some(Lane::Webhook(id)) => (None, Some(id)),
        None => (None, None),
    };
    Ok(Notification {
        id: row.get("id")?,
        channel_id,
        webhook_id,
        target_name: row.get("target")?,
        event: row.get("event")?,
        idempotency_key: row.get("key")?,
        attempts: row.get("attempts")?,
        last_error: row.get("last_error")?,
        created_at: moment(row, "created_at")?,
        next_try_at: time(row, "next_try_at")?,
        delivered_at: ended.filter(|_| status == "delivered"),
        status,
        payload: serde_json::from_str(&payload).unwrap_or_default(),
    })
}
