//! The table of alerts.

use jiff::Timestamp;
use maintenant_api::alerts::{Alert, AlertStatus, Severity};
use rusqlite::types::{Type, Value};
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};

use super::model::{Course, Key, OpenAlert};

const COLUMNS: &str = "id, source, alert_type, severity, status, message, entity_type, entity_id, \
    entity_name, details, resolved_by_id, fired_at, resolved_at, acknowledged_at, \
    acknowledged_by, escalated_at, created_at";
/// Alerts of `GET /alerts/active`; more are left out.
const MOST_ACTIVE: u32 = 10_000;

/// Everything that is open, in the order in which it opened.
pub fn list_open(db: &Connection) -> rusqlite::Result<Vec<OpenAlert>> {
    db.prepare_cached(&format!(
        "SELECT {COLUMNS}, course FROM alerts
         WHERE status IN ('active', 'silenced') ORDER BY id"
    ))?
    .query_map([], |row| Ok(OpenAlert { alert: alert(row)?, course: course(row)? }))?
    .collect()
}

/// Stores a new alert and returns its id.
pub fn insert(tx: &Connection, alert: &Alert, course: &Course) -> rusqlite::Result<i64> {
    tx.prepare_cached(
        "INSERT INTO alerts (
             source, alert_type, severity, status, message, entity_type, entity_id, entity_name,
             details, fired_at, created_at, course
         ) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?10, ?11)",
    )?
    .execute(params![
        alert.source,
        alert.alert_type,
        alert.severity.as_str(),
        alert.status.as_str(),
        alert.message,
        alert.entity_type,
        alert.entity_id,
        alert.entity_name,
        alert.details,
        alert.fired_at.as_millisecond(),
        written(course)?,
    ])?;
    Ok(tx.last_insert_rowid())
}

/// Stores what may change of an alert.
pub fn save(tx: &Connection, alert: &Alert, course: &Course) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "UPDATE alerts SET
             severity = ?2, status = ?3, message = ?4, entity_name = ?5, details = ?6,
             resolved_by_id = ?7, resolved_at = ?8, acknowledged_at = ?9, acknowledged_by = ?10,
             escalated_at = ?11, course = ?12
         WHERE id = ?1",
    )?
    .execute(params![
        alert.id,
        alert.severity.as_str(),
        alert.status.as_str(),
        alert.message,
        alert.entity_name,
        alert.details,
        alert.resolved_by_id,
        milliseconds(alert.resolved_at),
        milliseconds(alert.acknowledged_at),
        alert.acknowledged_by,
        milliseconds(alert.escalated_at),
        written(course)?,
    ])
    .map(drop)
}

/// When alerts of this identity opened, up to the last that ended.
pub fn last_openings(db: &Connection, key: Key<'_>) -> rusqlite::Result<Vec<Timestamp>> {
    let last = db
        .prepare_cached(
            "SELECT course FROM alerts
             WHERE source = ?1 AND alert_type = ?2 AND entity_type = ?3 AND entity_id = ?4
                 AND resolved_at IS NOT NULL ORDER BY id DESC LIMIT 1",
        )?
        .query_row(key, course)
        .optional()?;
    Ok(last.map(|course| course.openings).unwrap_or_default())
}

/// Notes who has taken note of an alert.
pub fn acknowledge(tx: &Connection, id: i64, by: &str, at: Timestamp) -> rusqlite::Result<()> {
    tx.execute(
        "UPDATE alerts SET acknowledged_at = ?3, acknowledged_by = ?2 WHERE id = ?1",
        (id, by, at.as_millisecond()),
    )
    .map(drop)
}

pub fn find(db: &Connection, id: i64) -> rusqlite::Result<Option<Alert>> {
    db.prepare_cached(&format!("SELECT {COLUMNS} FROM alerts WHERE id = ?1"))?
        .query_row([id], alert)
        .optional()
}

/// Active and not acknowledged, newest first.
pub fn list_active(db: &Connection) -> rusqlite::Result<Vec<Alert>> {
    db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM alerts WHERE status = 'active' AND acknowledged_at IS NULL
         ORDER BY fired_at DESC, id DESC LIMIT {MOST_ACTIVE}"
    ))?
    .query_map([], alert)?
    .collect()
}

/// Which alerts, and from where on.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub source: Option<String>,
    pub severity: Option<Severity>,
    pub status: Option<AlertStatus>,
    pub entity_type: Option<String>,
    pub entity_id: Option<i64>,
    /// Fired then or later, in milliseconds.
    pub since: Option<i64>,
    /// Fired or ended then or later, or not ended yet, in milliseconds.
    pub lasting_since: Option<i64>,
    /// Before this one in the order of the list: when it fired, in milliseconds, and its id.
    pub before: Option<(i64, i64)>,
}

/// Newest first.
pub fn list(db: &Connection, filter: &Filter, limit: i64) -> rusqlite::Result<Vec<Alert>> {
    let (fired_at, id) = filter.before.unwrap_or((i64::MAX, i64::MAX));
    let text = |text: &Option<String>| text.clone().map(Value::Text);
    let word = |word: Option<&str>| word.map(|word| Value::Text(word.to_owned()));
    let wanted = [
        ("source = #", text(&filter.source)),
        ("severity = #", word(filter.severity.map(Severity::as_str))),
        ("status = #", word(filter.status.map(AlertStatus::as_str))),
        ("entity_type = #", text(&filter.entity_type)),
        ("entity_id = #", filter.entity_id.map(Value::Integer)),
        ("fired_at >= #", filter.since.map(Value::Integer)),
        (
            "(fired_at >= # OR resolved_at >= # OR status <> 'resolved')",
            filter.lasting_since.map(Value::Integer),
        ),
    ];
    let mut conditions = String::new();
    let mut values = vec![Value::Integer(fired_at), Value::Integer(id), Value::Integer(limit)];
    for (condition, value) in wanted {
        if let Some(value) = value {
            values.push(value);
            let condition = condition.replace('#', &format!("?{}", values.len()));
            conditions = format!("{conditions} AND {condition}");
        }
    }
    db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM alerts WHERE (fired_at, id) < (?1, ?2){conditions}
         ORDER BY fired_at DESC, id DESC LIMIT ?3"
    ))?
    .query_map(params_from_iter(values), alert)?
    .collect()
}

/// Open ones stay, however old.
pub fn delete_old(tx: &Connection, before_ms: i64, limit: u32) -> rusqlite::Result<usize> {
    tx.execute(
        "DELETE FROM alerts WHERE id IN
             (SELECT id FROM alerts WHERE status = 'resolved' AND fired_at < ?1
                  AND coalesce(resolved_at, fired_at) < ?1 LIMIT ?2)",
        (before_ms, limit),
    )
}

fn alert(row: &Row<'_>) -> rusqlite::Result<Alert> {
    let severity: String = row.get("severity")?;
    let status: String = row.get("status")?;
    Ok(Alert {
        id: row.get("id")?,
        source: row.get("source")?,
        alert_type: row.get("alert_type")?,
        severity: Severity::parse(&severity).unwrap_or_default(),
        status: AlertStatus::parse(&status).unwrap_or(AlertStatus::Unknown),
        message: row.get("message")?,
        entity_type: row.get("entity_type")?,
        entity_id: row.get("entity_id")?,
        entity_name: row.get("entity_name")?,
        details: row.get("details")?,
        resolved_by_id: row.get("resolved_by_id")?,
        fired_at: moment(row.get("fired_at")?)?,
        resolved_at: time(row, "resolved_at")?,
        acknowledged_at: time(row, "acknowledged_at")?,
        acknowledged_by: row.get("acknowledged_by")?,
        escalated_at: time(row, "escalated_at")?,
        created_at: time(row, "created_at")?,
    })
}

fn course(row: &Row<'_>) -> rusqlite::Result<Course> {
    let text: String = row.get("course")?;
    serde_json::from_str(&text)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, Type::Text, Box::new(error)))
}

fn written(course: &Course) -> rusqlite::Result<String> {
    serde_json::to_string(course)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

fn milliseconds(time: Option<Timestamp>) -> Option<i64> {
    time.map(Timestamp::as_millisecond)
}

pub(super) fn time(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<Timestamp>> {
    row.get::<_, Option<i64>>(column)?.map(moment).transpose()
}

pub(super) fn moment(milliseconds: i64) -> rusqlite::Result<Timestamp> {
    Timestamp::from_millisecond(milliseconds).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(0, Type::Integer, Box::new(error))
    })
}
