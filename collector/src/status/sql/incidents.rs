//! Incidents and what was said of them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use maintenant_api::status::{Incident, IncidentSeverity, IncidentStatus, IncidentUpdate};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{concern, concerned, moment, time, word};

const LINKS: &str = "status_incident_components";
/// Incidents that concern nothing in particular, or a component that is shown.
const IS_PUBLIC: &str =
    "(NOT EXISTS (SELECT 1 FROM status_incident_components WHERE incident_id = i.id)
     OR EXISTS (SELECT 1 FROM status_incident_components JOIN status_components c
         ON c.id = component_id WHERE incident_id = i.id AND c.visible))";
const SELECT: &str = "SELECT i.*, (SELECT id FROM status_maintenance WHERE incident_id = i.id)
     AS maintenance_window_id FROM status_incidents i";
/// Incidents that are open, on the page at once.
const MOST_OPEN: i64 = 100;

/// What is asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Filter {
    pub status: Option<IncidentStatus>,
    pub severity: Option<IncidentSeverity>,
    pub limit: i64,
    pub offset: i64,
}

/// A page of incidents, and how many there are in all.
pub fn list(db: &Connection, filter: Filter) -> rusqlite::Result<(Vec<Incident>, i64)> {
    const WHERE: &str = "WHERE (?1 IS NULL OR status = ?1) AND (?2 IS NULL OR severity = ?2)";
    let status = filter.status.map(IncidentStatus::as_str);
    let severity = filter.severity.map(IncidentSeverity::as_str);
    let total = db
        .prepare_cached(&format!("SELECT count(*) FROM status_incidents {WHERE}"))?
        .query_row((status, severity), |row| row.get(0))?;
    let rows = db
        .prepare_cached(&format!(
            "{SELECT} {WHERE} ORDER BY updated_at DESC, id DESC LIMIT ?3 OFFSET ?4"
        ))?
        .query_map(params![status, severity, filter.limit, filter.offset], incident)?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    let all = rows.into_iter().map(|row| whole(db, row, false)).collect::<rusqlite::Result<_>>()?;
    Ok((all, total))
}

pub fn find(db: &Connection, id: i64) -> rusqlite::Result<Option<Incident>> {
    let found = db
        .prepare_cached(&format!("{SELECT} WHERE i.id = ?1"))?
        .query_row([id], incident)
        .optional()?;
    found.map(|row| whole(db, row, false)).transpose()
}

/// As the public sees it: with visible components alone, and only where it may.
pub fn find_public(db: &Connection, id: i64) -> rusqlite::Result<Option<Incident>> {
    let found = db
        .prepare_cached(&format!("{SELECT} WHERE i.id = ?1 AND {IS_PUBLIC}"))?
        .query_row([id], incident)
        .optional()?;
    found.map(|row| whole(db, row, true)).transpose()
}

/// Those the public sees that are open, newest first.
pub fn open_public(db: &Connection) -> rusqlite::Result<Vec<Incident>> {
    let rows = db
        .prepare_cached(&format!(
            "{SELECT} WHERE resolved_at IS NULL AND {IS_PUBLIC} ORDER BY i.id DESC LIMIT {MOST_OPEN}"
        ))?
        .query_map([], incident)?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    rows.into_iter().map(|row| whole(db, row, true)).collect()
}

/// Those the public sees that were resolved from `since` on, newest first.
pub fn resolved_public(
    db: &Connection,
    since: Timestamp,
    limit: i64,
) -> rusqlite::Result<Vec<Incident>> {
    let rows = db
        .prepare_cached(&format!(
            "{SELECT} WHERE resolved_at >= ?1 AND {IS_PUBLIC}
             ORDER BY resolved_at DESC, i.id DESC LIMIT ?2"
        ))?
        .query_map((since.as_millisecond(), limit), incident)?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    rows.into_iter().map(|row| whole(db, row, true)).collect()
}

/// Open incidents that alerts opened, by component, each with its severity.
pub fn open_autos(db: &Connection) -> rusqlite::Result<BTreeMap<i64, (i64, IncidentSeverity)>> {
    db.prepare_cached(
        "SELECT auto_component_id, id, severity FROM status_incidents
         WHERE auto_component_id IS NOT NULL AND resolved_at IS NULL ORDER BY id",
    )?
    .query_map([], |row| {
        let severity = word(row, "severity", IncidentSeverity::parse)?;
        Ok((row.get(0)?, (row.get(1)?, severity)))
    })?
    .collect()
}

/// A new incident.
#[derive(Debug, Clone)]
pub struct New {
    pub title: String,
    pub severity: IncidentSeverity,
    pub status: IncidentStatus,
    pub components: Vec<i64>,
    pub is_maintenance: bool,
    /// The component whose alerts open it.
    pub auto: Option<i64>,
}

/// Stores an incident and returns its id.
pub fn insert(tx: &Connection, new: &New, now: Timestamp) -> rusqlite::Result<i64> {
    let now = now.as_millisecond();
    tx.prepare_cached(
        "INSERT INTO status_incidents (title, severity, status, is_maintenance, auto_component_id,
             created_at, resolved_at, updated_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?6)",
    )?
    .execute(params![
        new.title,
        new.severity.as_str(),
        new.status.as_str(),
        new.is_maintenance,
        new.auto,
        now,
        (new.status == IncidentStatus::Resolved).then_some(now),
    ])?;
    let id = tx.last_insert_rowid();
    concern(tx, LINKS, "incident_id", id, &new.components)?;
    Ok(id)
}

/// Changes what is not told by updates.
pub fn save(
    tx: &Connection,
    of: &Incident,
    components: Option<&[i64]>,
    now: Timestamp,
) -> rusqlite::Result<()> {
    tx.execute(
        "UPDATE status_incidents SET title = ?2, severity = ?3, updated_at = ?4 WHERE id = ?1",
        params![of.id, of.title, of.severity.as_str(), now.as_millisecond()],
    )?;
    match components {
        Some(components) => concern(tx, LINKS, "incident_id", of.id, components),
        None => Ok(()),
    }
}

pub fn save_severity(tx: &Connection, id: i64, severity: IncidentSeverity) -> rusqlite::Result<()> {
    tx.execute("UPDATE status_incidents SET severity = ?2 WHERE id = ?1", (id, severity.as_str()))
        .map(drop)
}

/// Something said of an incident.
#[derive(Debug, Clone, Copy)]
pub struct Said<'a> {
    pub status: IncidentStatus,
    pub message: &'a str,
    pub is_auto: bool,
    pub alert_id: Option<i64>,
}

/// Adds an update; the incident has its status from now on.
pub fn say(tx: &Connection, id: i64, said: Said<'_>, now: Timestamp) -> rusqlite::Result<i64> {
    let ms = now.as_millisecond();
    tx.prepare_cached(
        "UPDATE status_incidents SET status = ?2, updated_at = ?3,
             resolved_at = CASE WHEN ?2 = 'resolved' THEN coalesce(resolved_at, ?3) END
         WHERE id = ?1",
    )?
    .execute((id, said.status.as_str(), ms))?;
    tx.prepare_cached(
        "INSERT INTO status_incident_updates (incident_id, status, message, is_auto, alert_id,
             created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![
        id,
        said.status.as_str(),
        said.message,
        said.is_auto,
        said.alert_id,
        ms
    ])?;
    Ok(tx.last_insert_rowid())
}

/// What opened it does not end it any more: somebody has taken it over.
pub fn take_over(tx: &Connection, id: i64) -> rusqlite::Result<()> {
    tx.execute("UPDATE status_incidents SET auto_component_id = NULL WHERE id = ?1", [id]).map(drop)
}

pub fn delete(tx: &Connection, id: i64) -> rusqlite::Result<()> {
    tx.execute("DELETE FROM status_incidents WHERE id = ?1", [id]).map(drop)
}

pub fn delete_old(tx: &Connection, before_ms: i64, limit: u32) -> rusqlite::Result<usize> {
    tx.execute(
        "DELETE FROM status_incidents WHERE id IN
             (SELECT id FROM status_incidents WHERE resolved_at < ?1 LIMIT ?2)",
        (before_ms, limit),
    )
}

fn incident(row: &Row<'_>) -> rusqlite::Result<Incident> {
    Ok(Incident {
        id: row.get("id")?,
        title: row.get("title")?,
        severity: word(row, "severity", IncidentSeverity::parse)?,
        status: word(row, "status", IncidentStatus::parse)?,
        is_maintenance: row.get("is_maintenance")?,
        maintenance_window_id: row.get("maintenance_window_id")?,
        components: Vec::new(),
        updates: Vec::new(),
        created_at: moment(row, "created_at")?,
        resolved_at: time(row, "resolved_at")?,
        updated_at: moment(row, "updated_at")?,
        url: None,
    })
}

/// With its components and updates.
fn whole(db: &Connection, mut incident: Incident, is_public: bool) -> rusqlite::Result<Incident> {
    let components = concerned(db, LINKS, "incident_id", incident.id)?.into_iter();
    let shown = components.filter(|(_, visible)| *visible || !is_public);
    incident.components = shown.map(|(component, _)| component).collect();
    incident.updates = db
        .prepare_cached(
            "SELECT * FROM status_incident_updates WHERE incident_id = ?1 ORDER BY id DESC",
        )?
        .query_map([incident.id], |row| {
            Ok(IncidentUpdate {
                id: row.get("id")?,
                incident_id: row.get("incident_id")?,
                status: word(row, "status", IncidentStatus::parse)?,
                message: row.get("message")?,
                is_auto: row.get("is_auto")?,
                alert_id: row.get("alert_id")?,
                created_at: moment(row, "created_at")?,
            })
        })?
        .collect::<rusqlite::Result<_>>()?;
    Ok(incident)
}
