//! Maintenance windows.

use std::collections::BTreeSet;

use jiff::Timestamp;
use maintenant_api::status::Maintenance;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{concern, concerned, moment, of_ms, time};
use crate::alerts::mutes::Mute;
use crate::status::maintenance::{Phase, Window};

const LINKS: &str = "status_maintenance_components";
const IS_PUBLIC: &str = "(NOT EXISTS (SELECT 1 FROM status_maintenance_components
         WHERE maintenance_id = w.id)
     OR EXISTS (SELECT 1 FROM status_maintenance_components JOIN status_components c
         ON c.id = component_id WHERE maintenance_id = w.id AND c.visible))";

/// A page of windows, the latest first.
pub fn list(
    db: &Connection,
    phase: Option<Phase>,
    limit: i64,
    now: Timestamp,
) -> rusqlite::Result<Vec<Window>> {
    let condition = match phase {
        None => "?1 = ?1",
        Some(Phase::Upcoming) => "starts_at > ?1 AND ended_at IS NULL",
        Some(Phase::Active) => "starts_at <= ?1 AND ends_at > ?1 AND ended_at IS NULL",
        Some(Phase::Completed) => "(ends_at <= ?1 OR ended_at IS NOT NULL)",
    };
    let rows = db
        .prepare_cached(&format!(
            "SELECT * FROM status_maintenance WHERE {condition}
             ORDER BY starts_at DESC, id DESC LIMIT ?2"
        ))?
        .query_map((now.as_millisecond(), limit), window)?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    rows.into_iter().map(|row| whole(db, row)).collect()
}

/// Those the public sees that have not begun, the next first.
pub fn upcoming_public(
    db: &Connection,
    limit: i64,
    now: Timestamp,
) -> rusqlite::Result<Vec<Window>> {
    let rows = db
        .prepare_cached(&format!(
            "SELECT w.* FROM status_maintenance w
             WHERE starts_at > ?1 AND ended_at IS NULL AND {IS_PUBLIC}
             ORDER BY starts_at, w.id LIMIT ?2"
        ))?
        .query_map((now.as_millisecond(), limit), window)?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    rows.into_iter().map(|row| whole(db, row)).collect()
}

pub fn find(db: &Connection, id: i64) -> rusqlite::Result<Option<Window>> {
    let found = db
        .prepare_cached("SELECT * FROM status_maintenance WHERE id = ?1")?
        .query_row([id], window)
        .optional()?;
    found.map(|row| whole(db, row)).transpose()
}

/// Those of which something is still to be announced, in the order of their beginnings.
pub fn ahead(db: &Connection) -> rusqlite::Result<Vec<Window>> {
    let rows = db
        .prepare_cached(
            "SELECT * FROM status_maintenance WHERE ended_at IS NULL ORDER BY starts_at, id",
        )?
        .query_map([], window)?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    rows.into_iter().map(|row| whole(db, row)).collect()
}

/// Components that are being maintained.
pub fn maintained(db: &Connection, now: Timestamp) -> rusqlite::Result<BTreeSet<i64>> {
    db.prepare_cached(
        "SELECT component_id FROM status_maintenance JOIN status_maintenance_components
             ON maintenance_id = id
         WHERE ended_at IS NULL AND starts_at <= ?1 AND ends_at > ?1",
    )?
    .query_map([now.as_millisecond()], |row| row.get(0))?
    .collect()
}

/// What keeps the monitors of components quiet that are being maintained.
pub fn mutes(db: &Connection, now: Timestamp) -> rusqlite::Result<Vec<Mute>> {
    db.prepare_cached(
        "SELECT coalesce(c.match_all_type, m.type), m.monitor_id, max(w.ends_at)
         FROM status_maintenance w
             JOIN status_maintenance_components l ON l.maintenance_id = w.id
             JOIN status_components c ON c.id = l.component_id
             LEFT JOIN status_monitors m ON m.component_id = c.id
         WHERE w.ended_at IS NULL AND w.starts_at <= ?1 AND w.ends_at > ?1
             AND coalesce(c.match_all_type, m.type) IS NOT NULL
         GROUP BY 1, 2",
    )?
    .query_map([now.as_millisecond()], |row| {
        Ok(Mute {
            source: None,
            entity_type: row.get(0)?,
            entity_id: row.get(1)?,
            until: of_ms(row.get(2)?)?,
        })
    })?
    .collect()
}

/// Stores a new window, whose id is not looked at, and returns its id.
pub fn insert(tx: &Connection, new: &Maintenance, components: &[i64]) -> rusqlite::Result<i64> {
    tx.prepare_cached(
        "INSERT INTO status_maintenance (title, description, starts_at, ends_at, created_at,
             updated_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![
        new.title,
        new.description,
        new.starts_at.as_millisecond(),
        new.ends_at.as_millisecond(),
        new.created_at.as_millisecond(),
        new.updated_at.as_millisecond(),
    ])?;
    let id = tx.last_insert_rowid();
    concern(tx, LINKS, "maintenance_id", id, components)?;
    Ok(id)
}

pub fn save(
    tx: &Connection,
    changed: &Maintenance,
    components: Option<&[i64]>,
) -> rusqlite::Result<()> {
    tx.execute(
        "UPDATE status_maintenance SET title = ?2, description = ?3, starts_at = ?4, ends_at = ?5,
             updated_at = ?6 WHERE id = ?1",
        params![
            changed.id,
            changed.title,
            changed.description,
            changed.starts_at.as_millisecond(),
            changed.ends_at.as_millisecond(),
            changed.updated_at.as_millisecond(),
        ],
    )?;
    match components {
        Some(components) => concern(tx, LINKS, "maintenance_id", changed.id, components),
        None => Ok(()),
    }
}

/// Its beginning was announced with this incident.
pub fn started(tx: &Connection, id: i64, incident: i64, now: Timestamp) -> rusqlite::Result<()> {
    tx.execute(
        "UPDATE status_maintenance SET incident_id = ?2, started_at = ?3 WHERE id = ?1",
        (id, incident, now.as_millisecond()),
    )
    .map(drop)
}

/// It is over.
pub fn ended(tx: &Connection, id: i64, now: Timestamp) -> rusqlite::Result<()> {
    tx.execute(
        "UPDATE status_maintenance SET ended_at = ?2 WHERE id = ?1",
        (id, now.as_millisecond()),
    )
    .map(drop)
}

pub fn delete(tx: &Connection, id: i64) -> rusqlite::Result<()> {
    tx.execute("DELETE FROM status_maintenance WHERE id = ?1", [id]).map(drop)
}

pub fn count_ahead(db: &Connection) -> rusqlite::Result<i64> {
    db.query_row("SELECT count(*) FROM status_maintenance WHERE ended_at IS NULL", [], |row| {
        row.get(0)
    })
}

pub fn delete_old(tx: &Connection, before_ms: i64, limit: u32) -> rusqlite::Result<usize> {
    tx.execute(
        "DELETE FROM status_maintenance WHERE id IN
             (SELECT id FROM status_maintenance WHERE ended_at < ?1 LIMIT ?2)",
        (before_ms, limit),
    )
}

fn window(row: &Row<'_>) -> rusqlite::Result<Window> {
    Ok(Window {
        id: row.get("id")?,
        title: row.get("title")?,
        description: row.get("description")?,
        starts_at: moment(row, "starts_at")?,
        ends_at: moment(row, "ends_at")?,
        incident_id: row.get("incident_id")?,
        started_at: time(row, "started_at")?,
        ended_at: time(row, "ended_at")?,
        components: Vec::new(),
        public: None,
        created_at: moment(row, "created_at")?,
        updated_at: moment(row, "updated_at")?,
    })
}

/// With its components.
fn whole(db: &Connection, mut window: Window) -> rusqlite::Result<Window> {
    let components = concerned(db, LINKS, "maintenance_id", window.id)?;
    let shown = components.iter().filter(|(_, visible)| *visible);
    let shown: Vec<_> = shown.map(|(component, _)| component.name.clone()).collect();
    window.public = (components.is_empty() || !shown.is_empty()).then_some(shown);
    window.components = components.into_iter().map(|(component, _)| component).collect();
    Ok(window)
}
