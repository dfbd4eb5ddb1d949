//! Components and their monitors.

use std::collections::{BTreeMap, BTreeSet};

use maintenant_api::status::ComponentStatus;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::moment;
use crate::status::components::{Component, Composition};
use crate::status::monitors::{Kind, Ref};

/// All of them, in the order of the page.
pub fn list(db: &Connection) -> rusqlite::Result<Vec<Component>> {
    let mut monitors = explicit(db, None)?;
    db.prepare_cached("SELECT * FROM status_components ORDER BY display_order, display_name, id")?
        .query_map([], |row| component(row, &mut monitors))?
        .collect()
}

pub fn find(db: &Connection, id: i64) -> rusqlite::Result<Option<Component>> {
    let mut monitors = explicit(db, Some(id))?;
    db.prepare_cached("SELECT * FROM status_components WHERE id = ?1")?
        .query_row([id], |row| component(row, &mut monitors))
        .optional()
}

/// Stores a new component, whose id is not looked at, and returns its id.
pub fn insert(tx: &Connection, new: &Component) -> rusqlite::Result<i64> {
    let kind = match new.composition {
        Composition::MatchAll(kind) => Some(kind.as_str()),
        Composition::Explicit(_) => None,
    };
    tx.prepare_cached(
        "INSERT INTO status_components (match_all_type, display_name, display_order, visible,
             auto_incident, status_override, created_at, updated_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?
    .execute(params![
        kind,
        new.display_name,
        new.display_order,
        new.visible,
        new.auto_incident,
        new.set.map(ComponentStatus::as_str),
        new.created_at.as_millisecond(),
        new.updated_at.as_millisecond(),
    ])?;
    let id = tx.last_insert_rowid();
    save_monitors(tx, id, &new.composition)?;
    Ok(id)
}

pub fn save(tx: &Connection, component: &Component) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "UPDATE status_components SET display_name = ?2, display_order = ?3, visible = ?4,
             auto_incident = ?5, status_override = ?6, updated_at = ?7 WHERE id = ?1",
    )?
    .execute(params![
        component.id,
        component.display_name,
        component.display_order,
        component.visible,
        component.auto_incident,
        component.set.map(ComponentStatus::as_str),
        component.updated_at.as_millisecond(),
    ])?;
    save_monitors(tx, component.id, &component.composition)
}

fn save_monitors(tx: &Connection, id: i64, composition: &Composition) -> rusqlite::Result<()> {
    let Composition::Explicit(monitors) = composition else { return Ok(()) };
    tx.execute("DELETE FROM status_monitors WHERE component_id = ?1", [id])?;
    let mut insert = tx.prepare_cached(
        "INSERT OR IGNORE INTO status_monitors (component_id, type, monitor_id) VALUES (?1, ?2, ?3)",
    )?;
    for (kind, monitor) in monitors {
        insert.execute((id, kind.as_str(), monitor))?;
    }
    Ok(())
}

/// Alerts that were told in incidents, by component.
pub fn told(db: &Connection) -> rusqlite::Result<BTreeMap<i64, BTreeSet<i64>>> {
    let mut told: BTreeMap<i64, BTreeSet<i64>> = BTreeMap::new();
    let mut statement = db.prepare_cached("SELECT component_id, alert_id FROM status_told")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        told.entry(row.get(0)?).or_default().insert(row.get(1)?);
    }
    Ok(told)
}

/// Replaces the alerts of a component that were told.
pub fn save_told(tx: &Connection, id: i64, told: &BTreeSet<i64>) -> rusqlite::Result<()> {
    tx.execute("DELETE FROM status_told WHERE component_id = ?1", [id])?;
    let mut insert = tx.prepare_cached("INSERT INTO status_told VALUES (?1, ?2)")?;
    for alert in told {
        insert.execute((id, alert))?;
    }
    Ok(())
}

/// Deletes a component. What concerned it alone and was hidden with it goes too: without it, it would
/// seem to concern everything.
pub fn delete(tx: &Connection, id: i64) -> rusqlite::Result<()> {
    for (table, of, links) in [
        ("status_incidents", "incident_id", "status_incident_components"),
        ("status_maintenance", "maintenance_id", "status_maintenance_components"),
    ] {
        tx.execute(
            &format!(
                "DELETE FROM {table} WHERE id IN (SELECT {of} FROM {links} WHERE component_id = ?1)
                     AND NOT EXISTS (SELECT 1 FROM {links} WHERE {of} = {table}.id
                         AND component_id <> ?1)
                     AND EXISTS (SELECT 1 FROM status_components WHERE id = ?1 AND NOT visible)"
            ),
            [id],
        )?;
    }
    tx.execute("DELETE FROM status_components WHERE id = ?1", [id]).map(drop)
}

/// Those of these ids that no component has.
pub fn missing(db: &Connection, ids: &[i64]) -> rusqlite::Result<Vec<i64>> {
    let mut find = db.prepare_cached("SELECT 1 FROM status_components WHERE id = ?1")?;
    let mut missing = Vec::new();
    for id in ids {
        if !find.exists([id])? {
            missing.push(*id);
        }
    }
    Ok(missing)
}

pub fn count(db: &Connection) -> rusqlite::Result<i64> {
    db.query_row("SELECT count(*) FROM status_components", [], |row| row.get(0))
}

type Monitors = BTreeMap<i64, Vec<Ref>>;

fn explicit(db: &Connection, id: Option<i64>) -> rusqlite::Result<Monitors> {
    let mut monitors = Monitors::new();
    let mut statement = db.prepare_cached(
        "SELECT component_id, type, monitor_id FROM status_monitors
         WHERE ?1 IS NULL OR component_id = ?1 ORDER BY component_id, type, monitor_id",
    )?;
    let mut rows = statement.query([id])?;
    while let Some(row) = rows.next()? {
        if let Some(kind) = Kind::parse(&row.get::<_, String>(1)?) {
            monitors.entry(row.get(0)?).or_default().push((kind, row.get(2)?));
        }
    }
    Ok(monitors)
}

fn component(row: &Row<'_>, monitors: &mut Monitors) -> rusqlite::Result<Component> {
    let id = row.get("id")?;
    let kind: Option<String> = row.get("match_all_type")?;
    let set: Option<String> = row.get("status_override")?;
    Ok(Component {
        id,
        composition: match kind.as_deref().and_then(Kind::parse) {
            Some(kind) => Composition::MatchAll(kind),
            None => Composition::Explicit(monitors.remove(&id).unwrap_or_default()),
        },
        display_name: row.get("display_name")?,
        display_order: row.get("display_order")?,
        visible: row.get("visible")?,
        auto_incident: row.get("auto_incident")?,
        set: set.as_deref().and_then(ComponentStatus::parse),
        created_at: moment(row, "created_at")?,
        updated_at: moment(row, "updated_at")?,
    })
}
