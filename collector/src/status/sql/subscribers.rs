//! Subscribers and the mails that wait for them.

use jiff::Timestamp;
use maintenant_api::status::Subscriber;
use rusqlite::{Connection, OptionalExtension, params};

use super::moment;
use crate::status::subscribers::masked;

/// What is stored of one who wants to subscribe.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// In lower case.
    pub email: String,
    pub confirm_token: String,
    pub confirm_until: Timestamp,
    pub unsubscribe_token: String,
}

/// What became of a wish to subscribe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The id of one who has to confirm.
    Asked(i64),
    /// They are told already.
    Known,
    /// There are too many, or too many who have not confirmed.
    Full,
}

/// Stores a wish; one of before that was not confirmed gets the new token instead of the old.
pub fn subscribe(
    tx: &Connection,
    wanted: &Wanted,
    (most, most_asked): (i64, i64),
    now: Timestamp,
) -> rusqlite::Result<Outcome> {
    let found: Option<(i64, bool)> = tx
        .prepare_cached(
            "SELECT id, confirmed_at IS NOT NULL FROM status_subscribers WHERE email = ?1",
        )?
        .query_row([&wanted.email], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    if let Some((id, is_confirmed)) = found {
        if is_confirmed {
            return Ok(Outcome::Known);
        }
        // What waits was asked for before: the newest mail is the one whose link works.
        tx.execute("DELETE FROM status_mails WHERE subscriber_id = ?1", [id])?;
        tx.execute(
            "UPDATE status_subscribers SET confirm_token = ?2, confirm_until = ?3 WHERE id = ?1",
            params![id, wanted.confirm_token, wanted.confirm_until.as_millisecond()],
        )?;
        return Ok(Outcome::Asked(id));
    }
    let (all, asked): (i64, i64) = tx.query_row(
        "SELECT count(*), count(*) FILTER (WHERE confirmed_at IS NULL) FROM status_subscribers",
        [],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    if all >= most || asked >= most_asked {
        return Ok(Outcome::Full);
    }
    tx.execute(
        "INSERT INTO status_subscribers (email, confirm_token, confirm_until, unsubscribe_token,
             created_at)
         VALUES (?1, ?2, ?3, ?4, ?5)",
        params![
            wanted.email,
            wanted.confirm_token,
            wanted.confirm_until.as_millisecond(),
            wanted.unsubscribe_token,
            now.as_millisecond(),
        ],
    )?;
    Ok(Outcome::Asked(tx.last_insert_rowid()))
}

/// Confirms by a token that has not run out. Says whether there is such a one; again is the same.
pub fn confirm(tx: &Connection, token: &str, now: Timestamp) -> rusqlite::Result<bool> {
    let confirmed = tx.execute(
        "UPDATE status_subscribers SET confirmed_at = coalesce(confirmed_at, ?2)
         WHERE confirm_token = ?1 AND (confirmed_at IS NOT NULL OR confirm_until > ?2)",
        (token, now.as_millisecond()),
    )?;
    Ok(confirmed > 0)
}

/// Forgets a subscriber with everything that waits for them. Says whether there was one.
pub fn unsubscribe(tx: &Connection, token: &str) -> rusqlite::Result<bool> {
    Ok(tx.execute("DELETE FROM status_subscribers WHERE unsubscribe_token = ?1", [token])? > 0)
}

/// All of them, newest first, masked; how many, and how many of them confirmed.
pub fn list(db: &Connection, limit: i64) -> rusqlite::Result<(Vec<Subscriber>, i64, i64)> {
    let (total, confirmed) =
        db.query_row("SELECT count(*), count(confirmed_at) FROM status_subscribers", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    let subscribers = db
        .prepare_cached("SELECT * FROM status_subscribers ORDER BY id DESC LIMIT ?1")?
        .query_map([limit], |row| {
            Ok(Subscriber {
                id: row.get("id")?,
                email: masked(&row.get::<_, String>("email")?),
                confirmed: row.get::<_, Option<i64>>("confirmed_at")?.is_some(),
                created_at: moment(row, "created_at")?,
            })
        })?
        .collect::<rusqlite::Result<_>>()?;
    Ok((subscribers, total, confirmed))
}

/// Who is told: id and token to unsubscribe.
pub fn confirmed(db: &Connection) -> rusqlite::Result<Vec<(i64, String)>> {
    db.prepare_cached(
        "SELECT id, unsubscribe_token FROM status_subscribers WHERE confirmed_at IS NOT NULL",
    )?
    .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
    .collect()
}

/// Writes a mail that is sent as soon as possible.
pub fn enqueue(
    tx: &Connection,
    subscriber: i64,
    (key, subject, text): (&str, &str, &str),
    now: Timestamp,
) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT INTO status_mails (subscriber_id, key, subject, text, attempts, created_at,
             next_try_at)
         VALUES (?1, ?2, ?3, ?4, 0, ?5, ?5)",
    )?
    .execute(params![subscriber, key, subject, text, now.as_millisecond()])
    .map(drop)
}

/// A mail that waits.
#[derive(Debug, Clone)]
pub struct Mail {
    pub id: i64,
    pub to: String,
    pub key: String,
    pub subject: String,
    pub text: String,
    pub attempts: i64,
    pub created_at: Timestamp,
}

/// Mails that are due, in the order in which they are.
pub fn due(db: &Connection, limit: usize, now: Timestamp) -> rusqlite::Result<Vec<Mail>> {
    db.prepare_cached(
        "SELECT m.*, s.email FROM status_mails m JOIN status_subscribers s ON s.id = subscriber_id
         WHERE next_try_at <= ?1 ORDER BY next_try_at, m.id LIMIT ?2",
    )?
    .query_map((now.as_millisecond(), i64::try_from(limit).unwrap_or(i64::MAX)), |row| {
        Ok(Mail {
            id: row.get("id")?,
            to: row.get("email")?,
            key: row.get("key")?,
            subject: row.get("subject")?,
            text: row.get("text")?,
            attempts: row.get("attempts")?,
            created_at: moment(row, "created_at")?,
        })
    })?
    .collect()
}

/// Delivered or given up.
pub fn remove_mail(tx: &Connection, id: i64) -> rusqlite::Result<()> {
    tx.execute("DELETE FROM status_mails WHERE id = ?1", [id]).map(drop)
}

/// To be tried again.
pub fn postpone(tx: &Connection, id: i64, attempts: i64, until: Timestamp) -> rusqlite::Result<()> {
    tx.execute(
        "UPDATE status_mails SET attempts = ?2, next_try_at = ?3 WHERE id = ?1",
        (id, attempts, until.as_millisecond()),
    )
    .map(drop)
}

/// Those who did not confirm in time.
pub fn delete_unconfirmed(tx: &Connection, before_ms: i64, limit: u32) -> rusqlite::Result<usize> {
    tx.execute(
        "DELETE FROM status_subscribers WHERE id IN
             (SELECT id FROM status_subscribers
              WHERE confirmed_at IS NULL AND confirm_until < ?1 LIMIT ?2)",
        (before_ms, limit),
    )
}
