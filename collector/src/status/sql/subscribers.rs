//! Subscribers and the mails that wait for them.

use jiff::{SignedDuration, Timestamp};
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
    /// They are told already, or were asked lately.
    Known,
    /// There are too many, or too many who have not confirmed.
    Full,
}

/// How many there may be.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub all: i64,
    /// Of those who can still confirm.
    pub asked: i64,
    /// Of those who were asked since `lately`.
    pub asked_lately: i64,
    /// Who was asked since then is not asked again.
    pub lately: SignedDuration,
}

/// Stores a wish; one of before that was not confirmed gets the new token instead of the old. Whether
/// there is room is decided first: the answer does not tell who is known.
pub fn subscribe(
    tx: &Connection,
    wanted: &Wanted,
    limits: Limits,
    now: Timestamp,
) -> rusqlite::Result<Outcome> {
    let until = wanted.confirm_until.as_millisecond();
    let lately = wanted.confirm_until.saturating_sub(limits.lately).unwrap_or(Timestamp::MIN);
    let lately = lately.as_millisecond();
    let (all, asked, asked_lately): (i64, i64, i64) = tx
        .prepare_cached(
            "SELECT count(*), count(*) FILTER (WHERE confirmed_at IS NULL AND confirm_until > ?1),
                 count(*) FILTER (WHERE confirmed_at IS NULL AND confirm_until > ?2)
             FROM status_subscribers",
        )?
        .query_row((now.as_millisecond(), lately), |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
    if all >= limits.all || asked >= limits.asked || asked_lately >= limits.asked_lately {
        return Ok(Outcome::Full);
    }
    let found: Option<(i64, bool)> = tx
        .prepare_cached(
            "SELECT id, confirmed_at IS NOT NULL OR confirm_until > ?2 FROM status_subscribers
             WHERE email = ?1",
        )?
        .query_row((&wanted.email, lately), |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    match found {
        Some((_, true)) => return Ok(Outcome::Known),
        Some((id, false)) => {
            // What waits was asked for before: the newest mail is the one whose link works.
            tx.execute("DELETE FROM status_mails WHERE subscriber_id = ?1", [id])?;
            tx.execute(
                "UPDATE status_subscribers SET confirm_token = ?2, confirm_until = ?3 WHERE id = ?1",
                params![id, wanted.confirm_token, until],
            )?;
            return Ok(Outcome::Asked(id));
        }
        None => {}
    }
    tx.execute(
        "INSERT INTO status_subscribers (email, confirm_token, confirm_until, unsubscribe_token,
             created_at)
         VALUES (?1, ?2, ?3, ?4, ?5)",
        params![
            wanted.email,
            wanted.confirm_token,
            until,
            wanted.unsubscribe_token,
            now.as_millisecond(),
        ],
    )?;
    Ok(Outcome::Asked(tx.last_insert_rowid()))
}

/// Whether this token confirms, or has done so.
pub fn confirms(db: &Connection, token: &str, now: Timestamp) -> rusqlite::Result<bool> {
    db.prepare_cached(
        "SELECT 1 FROM status_subscribers
         WHERE confirm_token = ?1 AND (confirmed_at IS NOT NULL OR confirm_until > ?2)",
    )?
    .exists((token, now.as_millisecond()))
}

/// Whether this token ends a subscription.
pub fn unsubscribes(db: &Connection, token: &str) -> rusqlite::Result<bool> {
    db.prepare_cached("SELECT 1 FROM status_subscribers WHERE unsubscribe_token = ?1")?
        .exists([token])
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

/// What is written.
#[derive(Debug, Clone, Copy)]
pub struct Letter<'a> {
    pub subject: &'a str,
    pub text: &'a str,
}

/// Writes to one who has to confirm.
pub fn write_to(
    tx: &Connection,
    subscriber: i64,
    letter: Letter<'_>,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let letter = insert(tx, letter, false, now)?;
    tx.execute(
        "INSERT INTO status_mails (subscriber_id, letter_id, attempts, next_try_at)
         VALUES (?1, ?2, 0, ?3)",
        (subscriber, letter, now.as_millisecond()),
    )
    .map(drop)
}

/// Writes to all who confirmed.
pub fn write_to_all(tx: &Connection, letter: Letter<'_>, now: Timestamp) -> rusqlite::Result<()> {
    let letter = insert(tx, letter, true, now)?;
    let written = tx.execute(
        "INSERT INTO status_mails (subscriber_id, letter_id, attempts, next_try_at)
         SELECT id, ?1, 0, ?2 FROM status_subscribers WHERE confirmed_at IS NOT NULL",
        (letter, now.as_millisecond()),
    )?;
    if written == 0 {
        tx.execute("DELETE FROM status_letters WHERE id = ?1", [letter])?;
    }
    Ok(())
}

fn insert(
    tx: &Connection,
    letter: Letter<'_>,
    is_news: bool,
    now: Timestamp,
) -> rusqlite::Result<i64> {
    tx.prepare_cached(
        "INSERT INTO status_letters (subject, text, is_news, created_at) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute(params![letter.subject, letter.text, is_news, now.as_millisecond()])?;
    Ok(tx.last_insert_rowid())
}

/// A mail that waits.
#[derive(Debug, Clone)]
pub struct Mail {
    pub id: i64,
    pub to: String,
    /// The same at every try.
    pub key: String,
    pub subject: String,
    pub text: String,
    /// What ends the subscription, of which it is news.
    pub unsubscribe_token: Option<String>,
    pub attempts: i64,
    pub created_at: Timestamp,
}

/// Mails that are due, in the order in which they are.
pub fn due(db: &Connection, limit: usize, now: Timestamp) -> rusqlite::Result<Vec<Mail>> {
    db.prepare_cached(
        "SELECT m.id, letter_id, subscriber_id, attempts, email, subject, text, l.created_at,
             CASE WHEN is_news THEN s.unsubscribe_token END AS unsubscribe_token
         FROM status_mails m JOIN status_subscribers s ON s.id = subscriber_id
             JOIN status_letters l ON l.id = letter_id
         WHERE next_try_at <= ?1 ORDER BY next_try_at, m.id LIMIT ?2",
    )?
    .query_map((now.as_millisecond(), i64::try_from(limit).unwrap_or(i64::MAX)), |row| {
        let (letter, subscriber): (i64, i64) = (row.get("letter_id")?, row.get("subscriber_id")?);
        let created_at = moment(row, "created_at")?;
        Ok(Mail {
            id: row.get("id")?,
            to: row.get("email")?,
            key: format!("status-{}-{letter}-{subscriber}", created_at.as_millisecond()),
            subject: row.get("subject")?,
            text: row.get("text")?,
            unsubscribe_token: row.get("unsubscribe_token")?,
            attempts: row.get("attempts")?,
            created_at,
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
