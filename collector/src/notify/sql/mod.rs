//! The tables of channels, rules and subscriptions. Messages are in [`queue`].

mod queue;

use std::collections::BTreeMap;

use jiff::Timestamp;
use maintenant_api::alerts::Severity;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::channels::{Channel, Draft, Rule};
use super::kinds::Kind;
use super::outbox::Lane;
use super::subscriptions::Webhook;

pub use queue::*;

/// All channels with their rules, by id.
pub fn channels(db: &Connection) -> rusqlite::Result<Vec<Channel>> {
    let mut rules: BTreeMap<i64, Vec<Rule>> = BTreeMap::new();
    let mut statement = db.prepare_cached(
        "SELECT id, channel_id, sources, severities, created_at FROM channel_rules ORDER BY id",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        rules.entry(row.get("channel_id")?).or_default().push(rule(row)?);
    }
    db.prepare_cached("SELECT * FROM channels ORDER BY id")?
        .query_map([], |row| {
            let channel = channel(row)?;
            let rules = rules.remove(&channel.id).unwrap_or_default();
            Ok(Channel { rules, ..channel })
        })?
        .collect()
}

pub fn find_channel(db: &Connection, id: i64) -> rusqlite::Result<Option<Channel>> {
    let channel = db
        .prepare_cached("SELECT * FROM channels WHERE id = ?1")?
        .query_row([id], channel)
        .optional()?;
    let Some(channel) = channel else { return Ok(None) };
    let rules = db
        .prepare_cached(
            "SELECT id, sources, severities, created_at FROM channel_rules
             WHERE channel_id = ?1 ORDER BY id",
        )?
        .query_map([id], rule)?
        .collect::<Result<_, _>>()?;
    Ok(Some(Channel { rules, ..channel }))
}

/// Whether another channel than `id` is called like this.
pub fn is_taken(db: &Connection, name: &str, id: Option<i64>) -> rusqlite::Result<bool> {
    db.prepare_cached("SELECT 1 FROM channels WHERE name_key = ?1 AND id IS NOT ?2")?
        .exists(params![name.to_lowercase(), id])
}

pub fn insert_channel(tx: &Connection, draft: &Draft, now: Timestamp) -> rusqlite::Result<i64> {
    tx.prepare_cached(
        "INSERT INTO channels (name, name_key, kind, url, headers, enabled, created_at, updated_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7)",
    )?
    .execute(params![
        draft.name,
        draft.name.to_lowercase(),
        draft.kind.as_str(),
        draft.url,
        serde_json::to_string(&draft.headers).unwrap_or_default(),
        draft.enabled,
        now.as_millisecond(),
    ])?;
    Ok(tx.last_insert_rowid())
}

/// Stores a changed channel. What is pending of one that leads elsewhere now is due at once; of one that
/// is switched off it is given up.
pub fn update_channel(
    tx: &Connection,
    id: i64,
    draft: &Draft,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let is_mended = find_channel(tx, id)?
        .is_some_and(|old| !old.leads_as(draft.kind, &draft.url, &draft.headers));
    tx.prepare_cached(
        "UPDATE channels SET name = ?2, name_key = ?3, kind = ?4, url = ?5, headers = ?6,
             enabled = ?7, updated_at = ?8
         WHERE id = ?1",
    )?
    .execute(params![
        id,
        draft.name,
        draft.name.to_lowercase(),
        draft.kind.as_str(),
        draft.url,
        serde_json::to_string(&draft.headers).unwrap_or_default(),
        draft.enabled,
        now.as_millisecond(),
    ])?;
    if draft.enabled {
        return if is_mended { hasten(tx, &Lane::Channel(id), now) } else { Ok(()) };
    }
    give_up(tx, &Lane::Channel(id), "the channel was switched off", now)
}

/// Whether there was one.
pub fn delete_channel(tx: &Connection, id: i64, now: Timestamp) -> rusqlite::Result<bool> {
    give_up(tx, &Lane::Channel(id), "the channel was deleted", now)?;
    tx.prepare_cached("DELETE FROM channels WHERE id = ?1")?.execute([id]).map(|rows| rows > 0)
}

pub fn insert_rule(
    tx: &Connection,
    channel_id: i64,
    (sources, severities): &(Vec<String>, Vec<Severity>),
    now: Timestamp,
) -> rusqlite::Result<Rule> {
    let words: Vec<&str> = severities.iter().map(|one| one.as_str()).collect();
    tx.prepare_cached(
        "INSERT INTO channel_rules (channel_id, sources, severities, created_at)
         VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute(params![channel_id, sources.join(","), words.join(","), now.as_millisecond()])?;
    Ok(Rule {
        id: tx.last_insert_rowid(),
        sources: sources.clone(),
        severities: severities.clone(),
        created_at: now,
    })
}

pub fn delete_rule(tx: &Connection, channel_id: i64, id: i64) -> rusqlite::Result<()> {
    tx.prepare_cached("DELETE FROM channel_rules WHERE id = ?1 AND channel_id = ?2")?
        .execute([id, channel_id])
        .map(drop)
}

/// Notes how a try of a lane went: what is shown of its health.
pub fn save_health(
    tx: &Connection,
    lane: &Lane,
    error: Option<&str>,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let now = now.as_millisecond();
    match lane {
        Lane::Channel(id) => tx
            .prepare_cached(
                "UPDATE channels SET last_error = ?2,
                     failing_since = iif(?2 IS NULL, NULL, coalesce(failing_since, ?3))
                 WHERE id = ?1 AND (?2 IS NOT NULL OR failing_since IS NOT NULL)",
            )?
            .execute(params![id, error, now]),
        Lane::Webhook(id) => tx
            .prepare_cached(
                "UPDATE webhooks SET last_delivery_at = ?3,
                     last_delivery_status = iif(?2 IS NULL, 'delivered', 'failed'),
                     failure_count = iif(?2 IS NULL, 0, failure_count + 1)
                 WHERE id = ?1",
            )?
            .execute(params![id, error, now]),
    }
    .map(drop)
}

/// Whether no try of a lane has succeeded for so long that what waits should not wait out its pauses
/// once one does: ten minutes, or so many tries as take a single message that long.
pub fn has_failed_long(db: &Connection, lane: &Lane, now: Timestamp) -> rusqlite::Result<bool> {
    let now = now.as_millisecond();
    match lane {
        Lane::Channel(id) => db
            .prepare_cached(
                "SELECT 1 FROM channels WHERE id = ?1 AND failing_since <= ?2 - 600000",
            )?
            .exists(params![id, now]),
        Lane::Webhook(id) => db
            .prepare_cached("SELECT 1 FROM webhooks WHERE id = ?1 AND failure_count >= 5")?
            .exists([id]),
    }
}

/// All subscriptions, oldest first.
pub fn webhooks(db: &Connection) -> rusqlite::Result<Vec<Webhook>> {
    db.prepare_cached("SELECT * FROM webhooks ORDER BY created_at, id")?
        .query_map([], webhook)?
        .collect()
}

pub fn find_webhook(db: &Connection, id: &str) -> rusqlite::Result<Option<Webhook>> {
    db.prepare_cached("SELECT * FROM webhooks WHERE id = ?1")?.query_row([id], webhook).optional()
}

pub fn insert_webhook(tx: &Connection, webhook: &Webhook) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT INTO webhooks (id, name, url, secret, event_types, failure_count, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, 0, ?6)",
    )?
    .execute(params![
        webhook.id,
        webhook.name,
        webhook.url,
        webhook.secret,
        webhook.event_types.join(","),
        webhook.created_at.as_millisecond(),
    ])
    .map(drop)
}

/// Whether there was one.
pub fn delete_webhook(tx: &Connection, id: &str, now: Timestamp) -> rusqlite::Result<bool> {
    let lane = Lane::Webhook(id.to_owned());
    give_up(tx, &lane, "the subscription was deleted", now)?;
    tx.prepare_cached("DELETE FROM webhooks WHERE id = ?1")?.execute([id]).map(|rows| rows > 0)
}

/// Notes that a channel was told of an alert by this message, unless that it ended waits behind it.
pub(super) fn save_told(tx: &Connection, message: i64, now: Timestamp) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "WITH told AS (
             SELECT id, lane, entity, payload ->> '$.alert.source' AS source,
                 payload ->> '$.alert.alert_type' AS type
             FROM notifications WHERE id = ?1 AND event = 'alert.fired')
         INSERT INTO told_alerts (alert, channel_id, at)
         SELECT told.source || '/' || told.type || '/' || told.entity, channels.id, ?2
         FROM told JOIN channels ON told.lane = 'channel/' || channels.id
         WHERE NOT EXISTS (
             SELECT 1 FROM notifications AS later
             WHERE later.lane = told.lane AND later.entity = told.entity AND later.id > told.id
               AND later.status = 'pending' AND later.event = 'alert.resolved'
               AND later.payload ->> '$.alert.source' = told.source
               AND later.payload ->> '$.alert.alert_type' = told.type)
         ON CONFLICT DO UPDATE SET at = excluded.at",
    )?
    .execute(params![message, now.as_millisecond()])
    .map(drop)
}

/// The enabled channels that were told of an alert, which is over, or still are to be told.
pub fn take_told(
    tx: &Connection,
    source: &str,
    alert_type: &str,
    entity: &str,
) -> rusqlite::Result<Vec<i64>> {
    let mut told: Vec<i64> = tx
        .prepare_cached(
            "DELETE FROM told_alerts WHERE alert = ?1
               AND channel_id IN (SELECT id FROM channels WHERE enabled)
             RETURNING channel_id",
        )?
        .query_map([format!("{source}/{alert_type}/{entity}")], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let mut waiting = tx.prepare_cached(
        "SELECT id FROM channels WHERE enabled AND 'alert.fired' = (
             SELECT event FROM notifications AS n
             WHERE n.lane = 'channel/' || channels.id AND n.entity = ?3 AND n.status = 'pending'
               AND n.payload ->> '$.alert.source' = ?1
               AND n.payload ->> '$.alert.alert_type' = ?2
             ORDER BY n.id DESC LIMIT 1)",
    )?;
    for id in waiting.query_map(params![source, alert_type, entity], |row| row.get(0))? {
        told.push(id?);
    }
    Ok(told)
}

/// What was told so long ago that its end is not expected any more.
pub fn delete_old_told(tx: &Connection, before: i64, limit: u32) -> rusqlite::Result<usize> {
    tx.prepare_cached(
        "DELETE FROM told_alerts WHERE (alert, channel_id) IN
             (SELECT alert, channel_id FROM told_alerts WHERE at < ?1 LIMIT ?2)",
    )?
    .execute(params![before, limit])
}

fn channel(row: &Row<'_>) -> rusqlite::Result<Channel> {
    let kind: String = row.get("kind")?;
    let headers: String = row.get("headers")?;
    Ok(Channel {
        id: row.get("id")?,
        name: row.get("name")?,
        kind: Kind::parse(&kind).unwrap_or(Kind::Webhook),
        url: row.get("url")?,
        headers: serde_json::from_str(&headers).map_err(|error| unreadable(error.into()))?,
        enabled: row.get("enabled")?,
        rules: Vec::new(),
        failing_since: time(row, "failing_since")?,
        last_error: row.get("last_error")?,
        created_at: moment(row, "created_at")?,
        updated_at: moment(row, "updated_at")?,
    })
}

fn rule(row: &Row<'_>) -> rusqlite::Result<Rule> {
    let words = |list: String| -> Vec<String> {
        list.split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect()
    };
    let severities = words(row.get("severities")?);
    Ok(Rule {
        id: row.get("id")?,
        sources: words(row.get("sources")?),
        severities: severities.iter().filter_map(|word| Severity::parse(word)).collect(),
        created_at: moment(row, "created_at")?,
    })
}

fn webhook(row: &Row<'_>) -> rusqlite::Result<Webhook> {
    let types: String = row.get("event_types")?;
    Ok(Webhook {
        id: row.get("id")?,
        name: row.get("name")?,
        url: row.get("url")?,
        secret: row.get("secret")?,
        event_types: types.split(',').map(str::to_owned).collect(),
        last_delivery_status: row.get("last_delivery_status")?,
        last_delivery_at: time(row, "last_delivery_at")?,
        failure_count: row.get("failure_count")?,
        created_at: moment(row, "created_at")?,
    })
}

fn moment(row: &Row<'_>, column: &str) -> rusqlite::Result<Timestamp> {
    let at = Timestamp::from_millisecond(row.get(column)?);
    at.map_err(|error| unreadable(error.into()))
}

fn time(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<Timestamp>> {
    let Some(at) = row.get(column)? else { return Ok(None) };
    Timestamp::from_millisecond(at).map(Some).map_err(|error| unreadable(error.into()))
}

fn unreadable(error: Box<dyn std::error::Error + Send + Sync>) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, Type::Text, error)
}
