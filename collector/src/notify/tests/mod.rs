//! What is decided, as tables; the queue on real SQLite; the sender against real receivers; the
//! routes without sockets.

mod decisions;
mod forms;
mod queue;
mod receiver;
mod rendering;
mod routes;
mod sending;

use jiff::{SignedDuration, Timestamp};
use maintenant_api::alerts::{Alert, AlertStatus, Severity};
use maintenant_api::channels::ChannelInput;
use rusqlite::Connection;

use super::channels::{self, Channel};
use super::outbox::{Event, Notice};
use super::sql;

/// 2026-01-01T00:00:00Z and so many seconds.
fn at(seconds: i64) -> Timestamp {
    let begin: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    begin + SignedDuration::from_secs(seconds)
}

fn alert() -> Alert {
    Alert {
        id: 7,
        source: "container".into(),
        alert_type: "container_down".into(),
        severity: Severity::Critical,
        status: AlertStatus::Active,
        message: "it stopped with exit code 137".into(),
        entity_type: "container".into(),
        entity_id: 12,
        entity_name: "web".into(),
        details: r#"{"exit_code":137}"#.into(),
        resolved_by_id: None,
        fired_at: at(0),
        resolved_at: None,
        acknowledged_at: None,
        acknowledged_by: None,
        escalated_at: None,
        created_at: Some(at(0)),
    }
}

fn fired(entity_id: i64) -> Notice {
    let alert = Alert { entity_id, ..alert() };
    Notice { event: Event::Fired, alert, channels: Vec::new() }
}

/// The end of what [`fired`] began: as the contract has it, another alert of severity info.
fn resolved(entity_id: i64) -> Notice {
    let alert = Alert {
        id: 8,
        entity_id,
        severity: Severity::Info,
        status: AlertStatus::Resolved,
        ..alert()
    };
    Notice { event: Event::Resolved, alert, channels: Vec::new() }
}

fn database() -> Connection {
    let db = Connection::open_in_memory().unwrap();
    db.execute_batch("PRAGMA foreign_keys = ON").unwrap();
    db.execute_batch(include_str!("../../store/migrations/0007_notify.sql")).unwrap();
    db
}

fn input(name: &str, kind: &str, url: &str) -> ChannelInput {
    ChannelInput {
        name: Some(name.into()),
        url: Some(url.into()),
        kind: Some(kind.into()),
        headers: None,
        enabled: Some(true),
    }
}

/// A stored webhook channel that is on.
fn channel(db: &Connection, name: &str, url: &str) -> Channel {
    let draft = channels::create(&input(name, "webhook", url), true).unwrap();
    let id = sql::insert_channel(db, &draft, at(0)).unwrap();
    sql::find_channel(db, id).unwrap().unwrap()
}
