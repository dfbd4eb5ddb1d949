//! Rows of this dimension.

use jiff::Timestamp;
use maintenant_api::updates as wire;
use rusqlite::{Connection, OptionalExtension, Row, named_params};

use super::model::{Check, Child, Status, UpdateType, Verdict};
use super::policy::{AlertOn, Subject};
use crate::store::retention::Keep;

pub const KEEPS: [Keep; 2] = [
    Keep { what: "scans for updates older than 30 days", days: 30, delete: delete_old_scans },
    Keep { what: "image indexes not seen for 90 days", days: 90, delete: delete_old_indexes },
];

/// What belongs to a check besides what was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    pub alert_on: AlertOn,
    pub pin: Option<String>,
    pub include: Option<String>,
    pub exclude: Option<String>,
}

/// A check, whose it is, and what holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    pub id: i64,
    pub container_id: i64,
    /// The incarnation that was looked at.
    pub checked_external_id: String,
    /// The present one.
    pub external_id: String,
    pub container_name: String,
    pub check: Check,
    pub commands: (Option<String>, Option<String>),
    pub settings: Settings,
    pub scan_id: Option<i64>,
    /// Why it is held, by a user or else by a label.
    pub pin: Option<String>,
    pub channels: String,
}

const SELECT: &str = "SELECT k.*, c.name AS container_name, c.external_id AS present_id,
        c.alert_channels, coalesce(p.reason, 'label maintenant.update.pin=' || k.label_pin) AS pin
     FROM update_checks k JOIN containers c ON c.id = k.container_id
     LEFT JOIN update_pins p ON p.container_id = k.container_id
     WHERE c.archived_at IS NULL AND NOT c.is_ignored";

/// All of containers that are there.
pub fn list(db: &Connection) -> rusqlite::Result<Vec<Stored>> {
    let sql = format!("{SELECT} ORDER BY c.name, k.id");
    db.prepare_cached(&sql)?.query_map([], stored)?.collect()
}

pub fn find(db: &Connection, container_id: i64) -> rusqlite::Result<Option<Stored>> {
    let sql = format!("{SELECT} AND k.container_id = ?1");
    db.prepare_cached(&sql)?.query_row([container_id], stored).optional()
}

/// By Docker's id, in full or its first twelve characters or more.
pub fn find_external(db: &Connection, external_id: &str) -> rusqlite::Result<Option<Stored>> {
    if external_id.len() < 12 {
        return Ok(None);
    }
    let sql =
        format!("{SELECT} AND substr(c.external_id, 1, length(?1)) = ?1 ORDER BY k.id LIMIT 1");
    db.prepare_cached(&sql)?.query_row([external_id], stored).optional()
}

fn stored(row: &Row<'_>) -> rusqlite::Result<Stored> {
    let word: String = row.get("status")?;
    let kind: Option<String> = row.get("update_type")?;
    let alert_on: String = row.get("alert_on")?;
    Ok(Stored {
        id: row.get("id")?,
        container_id: row.get("container_id")?,
        checked_external_id: row.get("external_id")?,
        external_id: row.get("present_id")?,
        container_name: row.get("container_name")?,
        check: Check {
            image: row.get("image")?,
            registry: row.get("registry")?,
            current_tag: row.get("current_tag")?,
            current_digest: row.get("current_digest")?,
            verdict: Verdict {
                status: Status::parse(&word).unwrap_or_default(),
                update_type: kind.as_deref().and_then(UpdateType::parse),
                latest_tag: row.get("latest_tag")?,
                latest_digest: row.get("latest_digest")?,
                why: row.get("why")?,
            },
            detected_at: time(row, "detected_at")?.unwrap_or_default(),
            checked_at: time(row, "checked_at")?,
            error: row.get("error")?,
            stale: row.get("stale")?,
        },
        commands: (row.get("update_command")?, row.get("rollback_command")?),
        settings: Settings {
            alert_on: AlertOn::parse(&alert_on).unwrap_or_default(),
            pin: row.get("label_pin")?,
            include: row.get("tag_include")?,
            exclude: row.get("tag_exclude")?,
        },
        scan_id: row.get("scan_id")?,
        pin: row.get("pin")?,
        channels: row.get("alert_channels")?,
    })
}

fn time(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<Timestamp>> {
    let ms: Option<i64> = row.get(column)?;
    Ok(ms.and_then(|ms| Timestamp::from_millisecond(ms).ok()))
}

/// A check to be kept. Of a container that is gone, nothing is.
pub struct Saved<'a> {
    pub container_id: i64,
    pub external_id: &'a str,
    pub check: &'a Check,
    pub commands: (Option<&'a str>, Option<&'a str>),
    pub settings: &'a Settings,
    pub scan_id: Option<i64>,
}

pub fn save(tx: &Connection, saved: &Saved<'_>) -> rusqlite::Result<()> {
    let Check { verdict, .. } = saved.check;
    tx.prepare_cached(
        "INSERT INTO update_checks (
             container_id, external_id, image, registry, current_tag, current_digest, status,
             update_type, latest_tag, latest_digest, why, update_command, rollback_command,
             detected_at, checked_at, error, stale, scan_id, alert_on, label_pin, tag_include,
             tag_exclude
         ) SELECT :container_id, :external_id, :image, :registry, :current_tag, :current_digest,
             :status, :update_type, :latest_tag, :latest_digest, :why, :update_command,
             :rollback_command, :detected_at, :checked_at, :error, :stale, :scan_id, :alert_on,
             :label_pin, :tag_include, :tag_exclude
         WHERE EXISTS (SELECT 1 FROM containers WHERE id = :container_id)
         ON CONFLICT (container_id) DO UPDATE SET
             external_id = excluded.external_id, image = excluded.image,
             registry = excluded.registry, current_tag = excluded.current_tag,
             current_digest = excluded.current_digest, status = excluded.status,
             update_type = excluded.update_type, latest_tag = excluded.latest_tag,
             latest_digest = excluded.latest_digest, why = excluded.why,
             update_command = excluded.update_command,
             rollback_command = excluded.rollback_command, detected_at = excluded.detected_at,
             checked_at = excluded.checked_at, error = excluded.error, stale = excluded.stale,
             scan_id = coalesce(excluded.scan_id, scan_id), alert_on = excluded.alert_on,
             label_pin = excluded.label_pin, tag_include = excluded.tag_include,
             tag_exclude = excluded.tag_exclude",
    )?
    .execute(named_params! {
        ":container_id": saved.container_id,
        ":external_id": saved.external_id,
        ":image": saved.check.image,
        ":registry": saved.check.registry,
        ":current_tag": saved.check.current_tag,
        ":current_digest": saved.check.current_digest,
        ":status": verdict.status.as_str(),
        ":update_type": verdict.update_type.map(UpdateType::as_str),
        ":latest_tag": verdict.latest_tag,
        ":latest_digest": verdict.latest_digest,
        ":why": verdict.why,
        ":update_command": saved.commands.0,
        ":rollback_command": saved.commands.1,
        ":detected_at": saved.check.detected_at.as_millisecond(),
        ":checked_at": saved.check.checked_at.map(Timestamp::as_millisecond),
        ":error": saved.check.error,
        ":stale": saved.check.stale,
        ":scan_id": saved.scan_id,
        ":alert_on": saved.settings.alert_on.as_str(),
        ":label_pin": saved.settings.pin,
        ":tag_include": saved.settings.include,
        ":tag_exclude": saved.settings.exclude,
    })
    .map(drop)
}

// --- scans --------------------------------------------------------------------------------------

pub fn begin_scan(tx: &Connection, at: Timestamp) -> rusqlite::Result<i64> {
    tx.execute(
        "INSERT INTO update_scans (status, started_at) VALUES ('running', ?1)",
        [at.as_millisecond()],
    )?;
    Ok(tx.last_insert_rowid())
}

/// What a scan came to; `None` if it failed.
pub fn end_scan(
    tx: &Connection,
    id: i64,
    at: Timestamp,
    counts: Option<(usize, usize, usize)>,
) -> rusqlite::Result<()> {
    let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let (containers, found, errors) = counts.unwrap_or_default();
    tx.execute(
        "UPDATE update_scans SET status = ?2, completed_at = ?3, containers = ?4, found = ?5,
             errors = ?6 WHERE id = ?1",
        (
            id,
            if counts.is_some() { "completed" } else { "failed" },
            at.as_millisecond(),
            count(containers),
            count(found),
            count(errors),
        ),
    )
    .map(drop)
}

/// Scans that an earlier process did not end.
pub fn end_orphans(tx: &Connection, at: Timestamp) -> rusqlite::Result<()> {
    tx.execute(
        "UPDATE update_scans SET status = 'failed', completed_at = ?1 WHERE status = 'running'",
        [at.as_millisecond()],
    )
    .map(drop)
}

pub fn find_scan(db: &Connection, id: i64) -> rusqlite::Result<Option<wire::Scan>> {
    db.prepare_cached("SELECT * FROM update_scans WHERE id = ?1")?.query_row([id], scan).optional()
}

/// The scan that began last.
pub fn newest_scan(db: &Connection) -> rusqlite::Result<Option<wire::Scan>> {
    db.prepare_cached("SELECT * FROM update_scans ORDER BY id DESC LIMIT 1")?
        .query_row([], scan)
        .optional()
}

/// When the last scan that was completed ended.
pub fn last_completed(db: &Connection) -> rusqlite::Result<Option<Timestamp>> {
    db.prepare_cached(
        "SELECT completed_at FROM update_scans WHERE status = 'completed' ORDER BY id DESC LIMIT 1",
    )?
    .query_row([], |row| time(row, "completed_at"))
    .optional()
    .map(Option::flatten)
}

fn scan(row: &Row<'_>) -> rusqlite::Result<wire::Scan> {
    Ok(wire::Scan {
        scan_id: row.get("id")?,
        status: row.get("status")?,
        started_at: time(row, "started_at")?,
        completed_at: time(row, "completed_at")?,
        containers_scanned: row.get("containers")?,
        updates_found: row.get("found")?,
        errors: row.get("errors")?,
    })
}

fn delete_old_scans(tx: &Connection, before_ms: i64, limit: u32) -> rusqlite::Result<usize> {
    tx.execute(
        "DELETE FROM update_scans WHERE id IN
             (SELECT id FROM update_scans WHERE started_at < ?1 LIMIT ?2)",
        (before_ms, limit),
    )
}

// --- pins and exclusions ------------------------------------------------------------------------

pub fn pin(
    tx: &Connection,
    container_id: i64,
    (tag, digest): (&str, &str),
    reason: &str,
    at: Timestamp,
) -> rusqlite::Result<()> {
    tx.execute(
        "INSERT OR REPLACE INTO update_pins (container_id, tag, digest, reason, pinned_at)
         VALUES (?1, ?2, ?3, ?4, ?5)",
        (container_id, tag, digest, reason, at.as_millisecond()),
    )
    .map(drop)
}

/// By Docker's id of the container, in full or its beginning.
pub fn unpin(tx: &Connection, external_id: &str) -> rusqlite::Result<()> {
    tx.execute(
        "DELETE FROM update_pins WHERE length(?1) >= 12 AND container_id IN
             (SELECT id FROM containers WHERE substr(external_id, 1, length(?1)) = ?1)",
        [external_id],
    )
    .map(drop)
}

pub fn list_exclusions(db: &Connection) -> rusqlite::Result<Vec<wire::Exclusion>> {
    db.prepare_cached("SELECT * FROM update_exclusions ORDER BY id")?
        .query_map([], |row| {
            Ok(wire::Exclusion {
                id: row.get("id")?,
                pattern: row.get("pattern")?,
                pattern_type: row.get("pattern_type")?,
                created_at: time(row, "created_at")?,
            })
        })?
        .collect()
}

/// The new one's id; `None` if there is one like it, or as many as may be.
pub fn add_exclusion(
    tx: &Connection,
    subject: Subject,
    pattern: &str,
    at: Timestamp,
) -> rusqlite::Result<Option<i64>> {
    let added = tx.execute(
        "INSERT OR IGNORE INTO update_exclusions (pattern, pattern_type, created_at)
         VALUES (?1, ?2, ?3)",
        (pattern, subject.as_str(), at.as_millisecond()),
    )?;
    Ok((added > 0).then(|| tx.last_insert_rowid()))
}

pub fn count_exclusions(db: &Connection) -> rusqlite::Result<usize> {
    let count: i64 =
        db.query_row("SELECT count(*) FROM update_exclusions", [], |row| row.get(0))?;
    Ok(usize::try_from(count).unwrap_or_default())
}

pub fn delete_exclusion(tx: &Connection, id: i64) -> rusqlite::Result<()> {
    tx.execute("DELETE FROM update_exclusions WHERE id = ?1", [id]).map(drop)
}

// --- indexes ------------------------------------------------------------------------------------

pub fn find_index(db: &Connection, digest: &str) -> rusqlite::Result<Option<Vec<Child>>> {
    let json: Option<String> = db
        .prepare_cached("SELECT children FROM update_indexes WHERE digest = ?1")?
        .query_row([digest], |row| row.get(0))
        .optional()?;
    Ok(json.and_then(|json| serde_json::from_str(&json).ok()))
}

pub fn save_index(
    tx: &Connection,
    digest: &str,
    children: &[Child],
    at: Timestamp,
) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT OR REPLACE INTO update_indexes (digest, children, seen_at) VALUES (?1, ?2, ?3)",
    )?
    .execute((digest, serde_json::to_string(children).unwrap_or_default(), at.as_millisecond()))
    .map(drop)
}

fn delete_old_indexes(tx: &Connection, before_ms: i64, limit: u32) -> rusqlite::Result<usize> {
    tx.execute(
        "DELETE FROM update_indexes WHERE digest IN
             (SELECT digest FROM update_indexes WHERE seen_at < ?1 LIMIT ?2)",
        (before_ms, limit),
    )
}
