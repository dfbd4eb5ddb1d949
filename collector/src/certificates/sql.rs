//! The tables of this dimension.

use std::collections::BTreeMap;

use jiff::Timestamp;
use maintenant_api::certificates::{CertificateSource, CertificateStatus};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, named_params};
use serde_json::json;

use super::model::{DEFAULT_INTERVAL, Event, Monitor, State, decide};
use super::probe::Target;
use super::sources::{Asked, Server};
use super::starttls::StartTls;
use super::thresholds;
use super::verdict::Finding;
use crate::store::retention::Keep;

/// Checks kept of one monitor, whatever their age.
const MOST_CHECKS: u32 = 500;
/// Monitors looked at in one round of what is due.
const DUE: u32 = 200;

pub const KEEPS: [Keep; 4] = [
    Keep {
        what: "certificate monitors that nothing asked for in 30 days",
        days: 30,
        delete: delete_unwanted,
    },
    Keep { what: "certificate checks older than 90 days", days: 90, delete: delete_old_checks },
    Keep {
        what: "certificate checks beyond the newest 500 of a monitor",
        days: 0,
        delete: delete_excess_checks,
    },
    Keep { what: "findings of no certificate check", days: 0, delete: delete_unused_findings },
];

/// A check as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    pub id: i64,
    pub monitor_id: i64,
    pub checked_at: Timestamp,
    pub finding: Finding,
}

/// What a user may set.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    pub target: Target,
    pub interval_seconds: i64,
    pub thresholds: Vec<i64>,
}

/// Adds a monitor that is due at once; one that nothing asks for any more comes back with its
/// history. The answer is its id, or who already asks for that server.
pub fn create(
    tx: &Connection,
    wanted: &Wanted,
    asked: &Asked,
    now: Timestamp,
) -> rusqlite::Result<Result<i64, CertificateSource>> {
    let target = &wanted.target;
    if let Some(id) = revive(tx, (&target.host, target.port), asked, now)? {
        update(tx, id, wanted, now)?;
        return Ok(Ok(id));
    }
    let existing: Option<String> = tx
        .prepare_cached(
            "SELECT source FROM certificate_monitors WHERE hostname = ?1 AND port = ?2",
        )?
        .query_row((&target.host, target.port), |row| row.get(0))
        .optional()?;
    if let Some(source) = existing {
        return Ok(Err(read_source(&source)));
    }
    insert(tx, wanted, asked, now).map(Ok)
}

fn insert(
    tx: &Connection,
    wanted: &Wanted,
    asked: &Asked,
    now: Timestamp,
) -> rusqlite::Result<i64> {
    let target = &wanted.target;
    tx.prepare_cached(
        "INSERT INTO certificate_monitors (
             hostname, port, source, endpoint_id, external_id, check_interval_seconds,
             warning_thresholds, server_name, endpoint_server_name, starttls, ca_certificates,
             created_at, status, status_since, next_check_at, failures, alerts
         ) VALUES (
             :hostname, :port, :source, :endpoint_id, :external_id, :interval, :thresholds,
             :server_name, :endpoint_server_name, :starttls, :ca_certificates, :now, 'unknown',
             :now, :now, 0, '{}'
         )",
    )?
    .execute(named_params! {
        ":hostname": target.host,
        ":port": target.port,
        ":source": asked.source.as_str(),
        ":endpoint_id": asked.endpoint_id,
        ":external_id": asked.external_id,
        ":interval": wanted.interval_seconds,
        ":thresholds": json!(wanted.thresholds).to_string(),
        ":server_name": target.server_name,
        ":endpoint_server_name": asked.server_name,
        ":starttls": target.starttls.map(StartTls::as_str),
        ":ca_certificates": target.ca_certificates,
        ":now": now.as_millisecond(),
    })?;
    Ok(tx.last_insert_rowid())
}

/// Has a monitor that nothing asked for watched again, at once: as it was, with its history.
fn revive(
    tx: &Connection,
    (host, port): (&str, u16),
    asked: &Asked,
    now: Timestamp,
) -> rusqlite::Result<Option<i64>> {
    let id: Option<i64> = tx
        .prepare_cached(
            "UPDATE certificate_monitors SET unwanted_since = NULL, next_check_at = ?3,
                 revision = revision + 1
             WHERE hostname = ?1 AND port = ?2 AND unwanted_since IS NOT NULL RETURNING id",
        )?
        .query_row((host, port, now.as_millisecond()), |row| row.get(0))
        .optional()?;
    if let Some(id) = id {
        hand_over(tx, id, asked)?;
    }
    Ok(id)
}

/// Stores who asks for a monitor.
fn hand_over(tx: &Connection, id: i64, asked: &Asked) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "UPDATE certificate_monitors SET source = ?2, endpoint_id = ?3, external_id = ?4,
             endpoint_server_name = ?5 WHERE id = ?1",
    )?
    .execute((id, asked.source.as_str(), asked.endpoint_id, &asked.external_id, &asked.server_name))
    .map(drop)
}

/// Changes what a user may set, and makes the monitor due. A name that is not the endpoint's is the
/// user's own from then on.
pub fn update(tx: &Connection, id: i64, wanted: &Wanted, now: Timestamp) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "UPDATE certificate_monitors SET check_interval_seconds = :interval,
             warning_thresholds = :thresholds, starttls = :starttls,
             server_name = CASE WHEN :server_name IS endpoint_server_name THEN NULL
                                ELSE coalesce(:server_name, hostname) END,
             ca_certificates = :ca_certificates, next_check_at = :now, revision = revision + 1
         WHERE id = :id",
    )?
    .execute(named_params! {
        ":id": id,
        ":interval": wanted.interval_seconds,
        ":thresholds": json!(wanted.thresholds).to_string(),
        ":server_name": wanted.target.server_name,
        ":starttls": wanted.target.starttls.map(StartTls::as_str),
        ":ca_certificates": wanted.target.ca_certificates,
        ":now": now.as_millisecond(),
    })
    .map(drop)
}

pub fn delete(tx: &Connection, id: i64) -> rusqlite::Result<()> {
    tx.execute("DELETE FROM certificate_monitors WHERE id = ?1", [id]).map(drop)
}

/// Stores the outcome of a check of `monitor` as it was then, and what it changes. Of a monitor
/// that was deleted or changed meanwhile nothing is stored.
pub fn record(
    tx: &Connection,
    checked: &Monitor,
    finding: &Finding,
    now: Timestamp,
) -> rusqlite::Result<Vec<Event>> {
    let Some(monitor) = find(tx, checked.id)?.filter(|m| m.revision == checked.revision) else {
        return Ok(Vec::new());
    };
    let (state, events) = decide(&monitor, finding, now);
    let finding_id = save_finding(tx, monitor.id, &to_json(finding)?)?;
    tx.prepare_cached(
        "INSERT INTO certificate_checks (monitor_id, checked_at, finding_id) VALUES (?1, ?2, ?3)",
    )?
    .execute((monitor.id, now.as_millisecond(), finding_id))?;
    let check_id = tx.last_insert_rowid();
    tx.prepare_cached(
        "UPDATE certificate_monitors SET status = :status, status_since = :status_since,
             last_check_at = :now, next_check_at = :next, last_error = :last_error,
             failures = :failures, alerts = :alerts, last_check_id = :check_id
         WHERE id = :id",
    )?
    .execute(named_params! {
        ":id": monitor.id,
        ":status": state.status.as_str(),
        ":status_since": state.status_since.as_millisecond(),
        ":now": now.as_millisecond(),
        ":next": state.next_check_at.as_millisecond(),
        ":last_error": state.last_error,
        ":failures": state.failures,
        ":alerts": to_json(&state.alerts)?,
        ":check_id": check_id,
    })?;
    Ok(events)
}

/// The row of this finding: that of the newest check if it found the same.
fn save_finding(tx: &Connection, monitor_id: i64, finding: &str) -> rusqlite::Result<i64> {
    let same = tx
        .prepare_cached(
            "SELECT f.id FROM certificate_monitors m
             JOIN certificate_checks c ON c.id = m.last_check_id
             JOIN certificate_findings f ON f.id = c.finding_id
             WHERE m.id = ?1 AND f.finding = ?2",
        )?
        .query_row((monitor_id, finding), |row| row.get(0))
        .optional()?;
    if let Some(id) = same {
        return Ok(id);
    }
    tx.prepare_cached("INSERT INTO certificate_findings (monitor_id, finding) VALUES (?1, ?2)")?
        .execute((monitor_id, finding))?;
    Ok(tx.last_insert_rowid())
}

/// Puts the next check off without a word about this one.
pub fn defer(tx: &Connection, id: i64, until: Timestamp) -> rusqlite::Result<()> {
    tx.prepare_cached("UPDATE certificate_monitors SET next_check_at = ?2 WHERE id = ?1")?
        .execute((id, until.as_millisecond()))
        .map(drop)
}

/// Monitors of this endpoint, or of any, whose certificate the newest check did not see.
const MISSED: &str = "source = 'auto' AND unwanted_since IS NULL
    AND json_extract(alerts, '$.missed') > 0 AND (?1 IS NULL OR endpoint_id = ?1)";

pub fn is_missed(db: &Connection, endpoint: Option<i64>) -> rusqlite::Result<bool> {
    db.prepare_cached(&format!("SELECT 1 FROM certificate_monitors WHERE {MISSED}"))?
        .exists([endpoint])
}

/// Makes them due now. A check that is under way began too early to count.
pub fn hasten(tx: &Connection, endpoint: Option<i64>, now: Timestamp) -> rusqlite::Result<usize> {
    tx.prepare_cached(&format!(
        "UPDATE certificate_monitors SET next_check_at = ?2, revision = revision + 1
         WHERE {MISSED}"
    ))?
    .execute((endpoint, now.as_millisecond()))
}

/// Who asks for each server.
pub fn sources(connection: &Connection) -> rusqlite::Result<BTreeMap<Server, (i64, Asked)>> {
    connection
        .prepare_cached(
            "SELECT hostname, port, id, source, endpoint_id, external_id, endpoint_server_name
             FROM certificate_monitors WHERE unwanted_since IS NULL",
        )?
        .query_map([], |row| {
            let asked = Asked {
                source: read_source(&row.get::<_, String>("source")?),
                endpoint_id: row.get("endpoint_id")?,
                external_id: row.get("external_id")?,
                server_name: row.get("endpoint_server_name")?,
            };
            Ok(((row.get("hostname")?, row.get("port")?), (row.get("id")?, asked)))
        })?
        .collect()
}

/// Makes the table what labels and endpoints ask for. What was made by REST stays as it is. What is
/// not asked for is set aside: a container that is made anew is gone for a moment.
pub fn declare(
    tx: &Connection,
    wanted: &BTreeMap<Server, Asked>,
    now: Timestamp,
) -> rusqlite::Result<Vec<Event>> {
    let known = sources(tx)?;
    let mut events = Vec::new();
    for ((host, port), (id, asked)) in &known {
        let is_ours = asked.source != CertificateSource::Standalone;
        if is_ours && !wanted.contains_key(&(host.clone(), *port)) {
            tx.prepare_cached("UPDATE certificate_monitors SET unwanted_since = ?2 WHERE id = ?1")?
                .execute((id, now.as_millisecond()))?;
            events.push(deleted(*id, host));
        }
    }
    for (server, asked) in wanted {
        match known.get(server) {
            None => {
                let new = Wanted {
                    target: Target {
                        host: server.0.clone(),
                        port: server.1,
                        server_name: None,
                        starttls: None,
                        ca_certificates: None,
                    },
                    interval_seconds: DEFAULT_INTERVAL,
                    thresholds: thresholds::DEFAULT.into(),
                };
                let id = match revive(tx, (&server.0, server.1), asked, now)? {
                    Some(id) => id,
                    None => insert(tx, &new, asked, now)?,
                };
                events.push(created(id, &new.target, asked.source));
            }
            Some((_, known)) if known.source == CertificateSource::Standalone => {}
            Some((_, known)) if known == asked => {}
            Some((id, known)) => {
                hand_over(tx, *id, asked)?;
                if known.server_name != asked.server_name {
                    tx.prepare_cached(
                        "UPDATE certificate_monitors SET next_check_at = ?2,
                             revision = revision + 1 WHERE id = ?1",
                    )?
                    .execute((id, now.as_millisecond()))?;
                }
            }
        }
    }
    Ok(events)
}

pub fn created(id: i64, target: &Target, source: CertificateSource) -> Event {
    let data = json!({
        "monitor_id": id,
        "hostname": target.host,
        "port": target.port,
        "source": source,
    });
    ("certificate.created", data)
}

pub fn deleted(id: i64, host: &str) -> Event {
    ("certificate.deleted", json!({ "monitor_id": id, "hostname": host }))
}

pub fn find(connection: &Connection, id: i64) -> rusqlite::Result<Option<Monitor>> {
    connection
        .prepare_cached(
            "SELECT * FROM certificate_monitors WHERE id = ?1 AND unwanted_since IS NULL",
        )?
        .query_row([id], monitor)
        .optional()
}

/// Monitors due at `now`, the longest overdue first, and one of each host: more are not checked at
/// once, and must not hide those of other hosts. One due later than its interval allows was
/// scheduled by a clock that has been set back since.
pub fn due(connection: &Connection, now: Timestamp) -> rusqlite::Result<Vec<Monitor>> {
    connection
        .prepare_cached(
            "SELECT * FROM
                 (SELECT *, row_number() OVER (PARTITION BY hostname ORDER BY next_check_at) AS place
                  FROM certificate_monitors
                  WHERE unwanted_since IS NULL AND (next_check_at <= ?1
                      OR next_check_at > ?1 + check_interval_seconds * 1000))
             WHERE place = 1 ORDER BY next_check_at LIMIT ?2",
        )?
        .query_map((now.as_millisecond(), DUE), monitor)?
        .collect()
}

/// When the next monitor after `now` is due.
pub fn next_due(connection: &Connection, now: Timestamp) -> rusqlite::Result<Option<Timestamp>> {
    connection
        .prepare_cached(
            "SELECT min(next_check_at) FROM certificate_monitors
             WHERE next_check_at > ?1 AND unwanted_since IS NULL",
        )?
        .query_row([now.as_millisecond()], |row| {
            Ok(row.get::<_, Option<i64>>(0)?.and_then(|ms| Timestamp::from_millisecond(ms).ok()))
        })
}

/// All monitors by host name and port, each with its newest check.
pub fn list(
    connection: &Connection,
    status: Option<CertificateStatus>,
    source: Option<CertificateSource>,
) -> rusqlite::Result<Vec<(Monitor, Option<Check>)>> {
    connection
        .prepare_cached(
            "SELECT m.*, c.id AS check_id, c.monitor_id, c.checked_at, f.finding
             FROM certificate_monitors m LEFT JOIN certificate_checks c ON c.id = m.last_check_id
             LEFT JOIN certificate_findings f ON f.id = c.finding_id
             WHERE m.unwanted_since IS NULL
                 AND (?1 IS NULL OR m.status = ?1) AND (?2 IS NULL OR m.source = ?2)
             ORDER BY m.hostname, m.port",
        )?
        .query_map(
            (status.map(CertificateStatus::as_str), source.map(CertificateSource::as_str)),
            |row| {
                let has_check = row.get::<_, Option<i64>>("check_id")?.is_some();
                Ok((monitor(row)?, has_check.then(|| check(row)).transpose()?))
            },
        )?
        .collect()
}

/// A monitor with its newest check.
pub fn find_with_check(
    connection: &Connection,
    id: i64,
) -> rusqlite::Result<Option<(Monitor, Option<Check>)>> {
    let Some(monitor) = find(connection, id)? else { return Ok(None) };
    let newest = connection
        .prepare_cached(
            "SELECT c.*, c.id AS check_id, f.finding
             FROM certificate_checks c JOIN certificate_findings f ON f.id = c.finding_id
             WHERE c.monitor_id = ?1 ORDER BY c.id DESC LIMIT 1",
        )?
        .query_row([id], check)
        .optional()?;
    Ok(Some((monitor, newest)))
}

/// Checks of a monitor, newest first, and how many there are in all.
pub fn checks(
    connection: &Connection,
    monitor_id: i64,
    limit: i64,
    offset: i64,
) -> rusqlite::Result<(Vec<Check>, i64)> {
    let total = connection
        .prepare_cached("SELECT count(*) FROM certificate_checks WHERE monitor_id = ?1")?
        .query_row([monitor_id], |row| row.get(0))?;
    let rows = connection
        .prepare_cached(
            "SELECT c.*, c.id AS check_id, f.finding
             FROM certificate_checks c JOIN certificate_findings f ON f.id = c.finding_id
             WHERE c.monitor_id = ?1 ORDER BY c.id DESC LIMIT ?2 OFFSET ?3",
        )?
        .query_map((monitor_id, limit, offset), check)?
        .collect::<rusqlite::Result<_>>()?;
    Ok((rows, total))
}

/// Monitors whose newest check found something, or that were never checked, each with that check.
pub fn list_troubled(connection: &Connection) -> rusqlite::Result<Vec<(Monitor, Option<Check>)>> {
    connection
        .prepare_cached(
            "SELECT m.*, c.id AS check_id, c.monitor_id, c.checked_at, f.finding
             FROM certificate_monitors m LEFT JOIN certificate_checks c ON c.id = m.last_check_id
             LEFT JOIN certificate_findings f ON f.id = c.finding_id
             WHERE m.unwanted_since IS NULL AND m.status <> 'valid' ORDER BY m.id",
        )?
        .query_map([], |row| {
            let has_check = row.get::<_, Option<i64>>("check_id")?.is_some();
            Ok((monitor(row)?, has_check.then(|| check(row)).transpose()?))
        })?
        .collect()
}

/// The newest check of a monitor that saw a certificate, and when the first after it was made.
pub fn last_seen(
    connection: &Connection,
    monitor_id: i64,
) -> rusqlite::Result<(Option<Check>, Option<Timestamp>)> {
    let seen = connection
        .prepare_cached(
            "SELECT c.*, c.id AS check_id, f.finding
             FROM certificate_checks c JOIN certificate_findings f ON f.id = c.finding_id
             WHERE c.monitor_id = ?1 AND json_extract(f.finding, '$.facts') IS NOT NULL
             ORDER BY c.id DESC LIMIT 1",
        )?
        .query_row([monitor_id], check)
        .optional()?;
    let first_missed = connection
        .prepare_cached(
            "SELECT checked_at FROM certificate_checks WHERE monitor_id = ?1 AND id > ?2
             ORDER BY id LIMIT 1",
        )?
        .query_row((monitor_id, seen.as_ref().map_or(0, |seen| seen.id)), |row| {
            moment(row, "checked_at")
        })
        .optional()?;
    Ok((seen, first_missed))
}

fn delete_unwanted(tx: &Connection, before_ms: i64, limit: u32) -> rusqlite::Result<usize> {
    tx.execute(
        "DELETE FROM certificate_monitors WHERE id IN
             (SELECT id FROM certificate_monitors WHERE unwanted_since < ?1 LIMIT ?2)",
        (before_ms, limit),
    )
}

fn delete_old_checks(tx: &Connection, before_ms: i64, limit: u32) -> rusqlite::Result<usize> {
    tx.execute(
        "DELETE FROM certificate_checks WHERE id IN
             (SELECT id FROM certificate_checks WHERE checked_at < ?1
              AND id NOT IN (SELECT last_check_id FROM certificate_monitors
                             WHERE last_check_id IS NOT NULL)
              ORDER BY checked_at LIMIT ?2)",
        (before_ms, limit),
    )
}

fn delete_excess_checks(tx: &Connection, _before_ms: i64, limit: u32) -> rusqlite::Result<usize> {
    tx.execute(
        "DELETE FROM certificate_checks WHERE id IN
             (SELECT id FROM
                  (SELECT id, row_number() OVER (PARTITION BY monitor_id ORDER BY id DESC) AS place
                   FROM certificate_checks WHERE monitor_id IN
                       (SELECT monitor_id FROM certificate_checks
                        GROUP BY monitor_id HAVING count(*) > ?1))
              WHERE place > ?1 LIMIT ?2)",
        (MOST_CHECKS, limit),
    )
}

fn delete_unused_findings(tx: &Connection, _: i64, limit: u32) -> rusqlite::Result<usize> {
    tx.execute(
        "DELETE FROM certificate_findings WHERE id IN
             (SELECT id FROM certificate_findings AS f WHERE NOT EXISTS
                  (SELECT 1 FROM certificate_checks WHERE finding_id = f.id) LIMIT ?1)",
        [limit],
    )
}

fn monitor(row: &Row<'_>) -> rusqlite::Result<Monitor> {
    let host: String = row.get("hostname")?;
    let own: Option<String> = row.get("server_name")?;
    let server_name = own.or(row.get("endpoint_server_name")?).filter(|name| *name != host);
    let starttls: Option<String> = row.get("starttls")?;
    let status: String = row.get("status")?;
    Ok(Monitor {
        id: row.get("id")?,
        target: Target {
            host,
            port: row.get("port")?,
            server_name,
            starttls: starttls.as_deref().and_then(StartTls::parse),
            ca_certificates: row.get("ca_certificates")?,
        },
        source: read_source(&row.get::<_, String>("source")?),
        endpoint_id: row.get("endpoint_id")?,
        external_id: row.get("external_id")?,
        interval_seconds: row.get("check_interval_seconds")?,
        thresholds: from_json(row, "warning_thresholds")?,
        created_at: moment(row, "created_at")?,
        revision: row.get("revision")?,
        state: State {
            status: CertificateStatus::parse(&status).unwrap_or(CertificateStatus::Unknown),
            status_since: moment(row, "status_since")?,
            last_check_at: row
                .get::<_, Option<i64>>("last_check_at")?
                .and_then(|ms| Timestamp::from_millisecond(ms).ok()),
            next_check_at: moment(row, "next_check_at")?,
            last_error: row.get("last_error")?,
            failures: row.get("failures")?,
            alerts: from_json(row, "alerts")?,
        },
    })
}

fn check(row: &Row<'_>) -> rusqlite::Result<Check> {
    Ok(Check {
        id: row.get("check_id")?,
        monitor_id: row.get("monitor_id")?,
        checked_at: moment(row, "checked_at")?,
        finding: from_json(row, "finding")?,
    })
}

fn read_source(word: &str) -> CertificateSource {
    CertificateSource::parse(word).unwrap_or(CertificateSource::Standalone)
}

fn moment(row: &Row<'_>, column: &str) -> rusqlite::Result<Timestamp> {
    let ms = row.get(column)?;
    Timestamp::from_millisecond(ms)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, Type::Integer, error.into()))
}

fn to_json(value: &impl serde::Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

fn from_json<T: serde::de::DeserializeOwned>(row: &Row<'_>, column: &str) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, Type::Text, error.into()))
}
