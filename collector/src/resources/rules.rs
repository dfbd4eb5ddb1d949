//! What is beyond its threshold now, as the standings say.

use jiff::Timestamp;
use maintenant_api::alerts::Severity;
use rusqlite::{Connection, OptionalExtension};
use serde_json::{Map, Value};

use super::sql::HOST;
use super::standings::{self, Key};
use super::thresholds::{Metric, Standing};
use crate::signals::{Entity, Findings, Signal, Source};

/// Usage beyond thresholds.
pub struct Rules;

const SOURCE: &str = "resource";

impl Source for Rules {
    fn name(&self) -> &'static str {
        SOURCE
    }

    fn find(&self, db: &Connection, _now: Timestamp) -> rusqlite::Result<Findings> {
        let mut findings = Findings::default();
        for (key, standing) in standings::load(db, None)? {
            let Some(due) = standing.fired_at else { continue };
            let Some(subject) = subject(db, key)? else { continue };
            findings.signals.push(signal(key, &standing, due, subject));
        }
        Ok(findings)
    }

    fn exists(&self, db: &Connection, entity: &Entity) -> rusqlite::Result<bool> {
        let sql = match entity.kind {
            "container" => {
                "SELECT 1 FROM containers
                 WHERE id = ?1 AND archived_at IS NULL AND NOT is_ignored"
            }
            "filesystem" => "SELECT 1 FROM filesystems WHERE id = ?1 AND gone_at IS NULL",
            _ => return Ok(entity.id == HOST),
        };
        Ok(db.prepare_cached(sql)?.query_row([entity.id], |_| Ok(())).optional()?.is_some())
    }
}

/// Whose metric it is, by name, and how urgent its owner calls it.
struct Subject {
    name: String,
    severity: Severity,
    channels: Vec<String>,
}

/// `None` for one that is not watched any more.
fn subject(db: &Connection, (metric, id): Key) -> rusqlite::Result<Option<Subject>> {
    let plain = |name: String| Subject { name, severity: Severity::Warning, channels: Vec::new() };
    if matches!(metric, Metric::Disk | Metric::Inode) {
        return Ok(standings::mount(db, id)?.map(plain));
    }
    if id == HOST {
        return Ok(Some(plain("host".to_owned())));
    }
    db.prepare_cached(
        "SELECT name, alert_severity, alert_channels FROM containers
         WHERE id = ?1 AND archived_at IS NULL AND NOT is_ignored",
    )?
    .query_row([id], |row| {
        let (severity, channels): (String, String) = (row.get(1)?, row.get(2)?);
        let channels = channels.split(',').filter(|name| !name.is_empty());
        Ok(Subject {
            name: row.get(0)?,
            severity: Severity::parse(&severity).unwrap_or(Severity::Warning),
            channels: channels.map(str::to_owned).collect(),
        })
    })
    .optional()
}

/// Numbers that change are in the details: the message stays the same while it lasts.
fn signal((metric, id): Key, standing: &Standing, due: Timestamp, subject: Subject) -> Signal {
    let Standing { value, threshold, since, .. } = *standing;
    let Subject { name, severity, channels } = subject;
    let (kind, alert_type, message) = match metric {
        Metric::Cpu if id == HOST => {
            ("host", "host_cpu", format!("the host's CPU is at {threshold} % or more"))
        }
        Metric::Memory if id == HOST => {
            ("host", "host_memory", format!("the host's memory is {threshold} % used or more"))
        }
        Metric::Cpu => (
            "container",
            "cpu_threshold",
            format!("container {name} uses {threshold} % of a core or more"),
        ),
        Metric::Memory => (
            "container",
            "memory_threshold",
            format!("container {name} uses {threshold} % of its memory or more"),
        ),
        Metric::Disk => {
            ("filesystem", "host_disk", format!("{name} is {threshold} % full or more"))
        }
        Metric::Inode => (
            "filesystem",
            "host_inode",
            format!("{name} has {threshold} % of its inodes in use or more"),
        ),
    };
    let mut details = Map::new();
    details.insert("metric".to_owned(), metric.as_str().into());
    details.insert("value".to_owned(), Value::from((value * 100.0).round() / 100.0));
    details.insert("threshold".to_owned(), threshold.into());
    Signal {
        source: SOURCE,
        alert_type,
        entity: Entity { kind, id },
        entity_name: name,
        severity,
        message,
        details,
        since,
        due,
        explained_by: None,
        channels,
    }
}
