//! What the replica watches, and the forms in which its server writes that down.

use jiff::tz::{TimeZone, offset};
use jiff::{SignedDuration, Timestamp};
use maintenant_serve::clock;
use serde_json::{Value, json};

use crate::fake::object;

/// How that server writes "never".
pub(super) const NEVER: &str = "0001-01-01T00:00:00Z";

fn before(ago: i64) -> Timestamp {
    clock::now().checked_sub(SignedDuration::from_secs(ago)).unwrap()
}

/// Of the database: whole seconds, with the offset of the server.
pub(super) fn stored(ago: i64) -> String {
    let there = before(ago).to_zoned(TimeZone::fixed(offset(2)));
    there.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
}

/// Of memory: nanoseconds, with the offset of the server.
pub(super) fn fresh(ago: i64) -> String {
    let there = before(ago).to_zoned(TimeZone::fixed(offset(2)));
    there.strftime("%Y-%m-%dT%H:%M:%S.%9f%:z").to_string()
}

/// Of alerts and the status page: whole seconds in UTC.
pub(super) fn utc(ago: i64) -> String {
    before(ago).strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

pub(super) fn external(id: i64) -> String {
    format!("{id:02x}{}", "d".repeat(62))
}

/// A container of the list: what is empty is left out.
pub(super) fn container(id: i64, name: &str, rest: Value) -> Value {
    let row = json!({
        "id": id, "external_id": external(id), "name": name, "image": "registry.example/a:1",
        "state": "running", "health_status": null, "has_health_check": false, "is_ignored": false,
        "alert_severity": "warning", "restart_threshold": 3, "archived": false,
        "first_seen_at": stored(90_000), "last_state_change_at": stored(3_600),
        "runtime_type": "docker", "pod_count": 0, "ready_count": 0});
    object(row, rest)
}

pub(super) fn containers() -> Vec<Value> {
    vec![
        container(
            1,
            "shop-db-1",
            json!({"state": "completed", "orchestration_group": "shop",
            "orchestration_unit": "db", "compose_working_dir": "/srv/shop"}),
        ),
        container(
            2,
            "shop-web-1",
            json!({"health_status": "unhealthy", "has_health_check": true,
            "orchestration_group": "shop", "orchestration_unit": "web"}),
        ),
        // Words of a later version.
        container(3, "sleeper", json!({"state": "hibernating", "health_status": "dreaming"})),
        container(4, "quiet", json!({})),
    ]
}

/// A container on its own: nothing is left out, and the working directory is missing.
pub(super) fn detail(id: i64) -> Option<Value> {
    let mut row = match id {
        9 => container(
            9,
            "gone",
            json!({"archived": true, "archived_at": stored(60),
                                         "state": "exited"}),
        ),
        _ => containers().into_iter().find(|row| row["id"] == id)?,
    };
    row.as_object_mut().unwrap().remove("compose_working_dir");
    for key in [
        "orchestration_group",
        "orchestration_unit",
        "custom_group",
        "alert_channels",
        "error_detail",
        "controller_kind",
        "namespace",
    ] {
        if row.get(key).is_none() {
            row[key] = json!("");
        }
    }
    if row.get("archived_at").is_none() {
        row["archived_at"] = Value::Null;
    }
    row["uptime"] = if id == 4 { json!({"24h": null}) } else { json!({"24h": 100}) };
    Some(row)
}

pub(super) fn transitions(id: i64) -> Vec<Value> {
    let change = |number: i64, ago: i64| {
        json!({"id": number, "container_id": 1, "previous_state": "running",
               "new_state": "completed", "exit_code": 137, "log_snippet": "out of memory\n",
               "timestamp": stored(ago)})
    };
    if id == 1 { vec![change(12, 3_600), change(11, 3_600)] } else { Vec::new() }
}

pub(super) fn endpoint(id: i64) -> Option<Value> {
    let config = json!({"interval": "1m0s", "timeout": "10s", "failure_threshold": 3,
                        "recovery_threshold": 2, "method": "GET", "expected_status": "2xx",
                        "tls_verify": true, "headers": {"Authorization": "hunter2"}});
    let row = |rest: Value| {
        let base = json!({
            "id": id, "container_name": "", "label_key": "2e0b", "external_id": "",
            "endpoint_type": "http", "target": "https://shop.example/health?key=hunter2",
            "status": "up", "alert_state": "normal", "consecutive_failures": 0,
            "consecutive_successes": 9, "last_check_at": stored(30), "last_response_time_ms": 0,
            "last_http_status": 200, "config": config, "active": true,
            "first_seen_at": stored(90_000), "last_seen_at": stored(30), "source": "standalone"});
        object(base, rest)
    };
    match id {
        1 => Some(row(json!({"name": "shop"}))),
        2 => Some(row(json!({"name": "database", "endpoint_type": "tcp", "target": "db:5432",
            "status": "down", "alert_state": "alerting", "consecutive_failures": 4,
            "consecutive_successes": 0, "last_error": "connection refused"}))),
        // Never checked.
        3 => Some(row(json!({"status": "unknown", "container_name": "sleeper",
            "source": "label", "last_check_at": NEVER, "last_response_time_ms": null,
            "last_http_status": null}))),
        _ => None,
    }
}

/// One a minute, the newest first; the last four failed.
pub(super) fn checks(id: i64) -> Vec<Value> {
    let check = |minute: i64| {
        let well = minute >= 4;
        let mut row = json!({"id": 1000 - minute, "endpoint_id": id, "success": well,
                             "response_time_ms": 12, "timestamp": stored(minute * 60 + 30)});
        if !well {
            row["error_message"] = json!("connection refused");
        }
        row
    };
    if id == 2 { (0..700).map(check).collect() } else { Vec::new() }
}

pub(super) fn heartbeats() -> Vec<Value> {
    let row = |id: i64, name: &str, rest: Value| {
        let base = json!({
            "id": id, "uuid": "6f1b0f0c-7d55-4c0c-9b1f-0c0f3a4a5b6c", "name": name,
            "status": "up", "alert_state": "normal", "interval_seconds": 3600,
            "grace_seconds": 300, "consecutive_failures": 0, "consecutive_successes": 3,
            "active": true, "created_at": stored(90_000), "updated_at": stored(60)});
        object(base, rest)
    };
    vec![
        row(
            3,
            "backup",
            json!({"last_ping_at": stored(600), "next_deadline_at": stored(-3_300),
            "last_exit_code": 0, "last_duration_ms": 1500}),
        ),
        // It failed, and is called up all the same.
        row(
            2,
            "report",
            json!({"alert_state": "alerting", "last_exit_code": 3,
            "last_ping_at": stored(600)}),
        ),
        row(1, "fresh", json!({"status": "new"})),
        row(7, "deleted", json!({"active": false})),
    ]
}

pub(super) fn certificates() -> Vec<Value> {
    let row = |id: i64, host: &str, rest: Value| {
        let base = json!({
            "id": id, "hostname": host, "port": 443, "source": "auto", "status": "valid",
            "check_interval_seconds": 43_200, "warning_thresholds": [30, 14, 7],
            "last_check_at": stored(600), "created_at": stored(90_000)});
        object(base, rest)
    };
    let check = |id: i64, rest: Value| {
        let base = json!({"id": id, "monitor_id": id, "subject_cn": "shop.example",
            "issuer_cn": "R3", "not_before": stored(90_000), "not_after": stored(-86_400 * 5),
            "chain_valid": true, "hostname_match": true, "checked_at": stored(600)});
        object(base, rest)
    };
    // What is left is told in whole days: an hour more, so that the test may take its time.
    let eighty_days = stored(-86_400 * 80 - 3_600);
    vec![
        row(
            1,
            "chain.example",
            json!({"latest_check":
            check(1, json!({"chain_valid": false, "chain_error": "unknown authority",
                            "not_after": eighty_days}))}),
        ),
        row(2, "shop.example", json!({"status": "expiring", "latest_check": check(2, json!({}))})),
        row(3, "unseen.example", json!({"status": "unknown", "last_check_at": NEVER})),
    ]
}

pub(super) fn alert(id: i64, rest: Value) -> Value {
    let base = json!({
        "id": id, "source": "endpoint", "alert_type": "consecutive_failure",
        "severity": "critical", "status": "active", "message": "Endpoint <db> is down",
        "entity_type": "endpoint", "entity_id": 2, "entity_name": "database",
        // JSON, as text.
        "details": json!({"threshold": 3, "insight_count": "4"}).to_string(),
        "resolved_by_id": null, "fired_at": utc(180), "resolved_at": null,
        "created_at": utc(180)});
    object(base, rest)
}

pub(super) fn alerts() -> Vec<Value> {
    vec![
        alert(5, json!({})),
        alert(
            4,
            json!({"severity": "warning", "source": "heartbeat", "entity_id": 2,
            "alert_type": "deadline_missed", "entity_type": "heartbeat", "entity_name": "",
            "acknowledged_at": utc(60), "acknowledged_by": "ana", "details": "{}"}),
        ),
        // It tells that the one below ended.
        alert(
            3,
            json!({"severity": "info", "status": "resolved", "fired_at": utc(4_000),
            "message": "Endpoint recovered"}),
        ),
        alert(
            2,
            json!({"status": "resolved", "resolved_by_id": 3, "fired_at": utc(5_000),
            "resolved_at": utc(4_000)}),
        ),
        alert(
            1,
            json!({"severity": "fatal", "status": "pondering", "source": "swarm",
            "alert_type": "node_down", "entity_type": "swarm_node", "entity_id": 0,
            "fired_at": utc(6_000)}),
        ),
    ]
}

pub(super) fn updates() -> Vec<Value> {
    let row = |id: i64, name: &str, rest: Value| {
        let base = json!({
            "id": id, "container_id": external(id), "container_name": name,
            "image": "registry.example/a", "current_tag": "1.0", "current_digest": "",
            "latest_tag": "2.0", "latest_digest": "", "update_type": "major", "risk_score": 85,
            "status": "available", "detected_at": stored(600)});
        object(base, rest)
    };
    vec![
        row(1, "shop-db-1", json!({})),
        row(
            2,
            "shop-web-1",
            json!({"status": "pinned", "pin_reason": "tested", "risk_score": 15,
            "update_type": "patch", "latest_tag": "1.1"}),
        ),
        row(3, "sleeper", json!({"update_type": "", "latest_tag": "", "risk_score": 0})),
    ]
}
