//! Any upstream: all tools over a replica of maintenant 1, with every quirk of its REST API.
//!
//! | that server | covered by |
//! |---|---|
//! | writes `null` for an empty list: transitions, incidents, components | `a_young_server_has_nothing_and_says_so`, `what_is_announced_goes_out_and_is_told_back` |
//! | leaves out what is empty in lists, and sends all of it of one object, without a working directory | `containers_are_listed_and_explained` |
//! | wraps endpoints, certificates and heartbeats, and answers bare to pause | `endpoints_and_their_checks_are_read`, `a_heartbeat_is_paused_and_resumed` |
//! | refuses `/logs` with 502 and has the lines in a stream without an end | `logs_are_read_from_the_stream` |
//! | sends no head of a stream before its first event | `logs_are_read_from_the_stream` |
//! | answers 500 for an alert it does not have | `alerts_are_read_and_acknowledged` |
//! | answers 404 and 405 in plain text for what it has no route for | `endpoints_and_their_checks_are_read` (no statistics), `resources_and_updates_are_read` (no insights) |
//! | answers 503 `request timeout` in plain text | `a_late_server_is_named_by_every_tool` |
//! | writes times with its own offset, in seconds or nanoseconds | `times_are_told_in_utc_and_whole_seconds` |
//! | writes the year 1 for never | `what_never_happened_is_left_out` |
//! | prints whole floats as integers, and −1 for a counter it has not | `resources_and_updates_are_read` |
//! | says words of a later version | `containers_are_listed_and_explained`, `alerts_are_read_and_acknowledged` |
//! | sends details of alerts as JSON in text, numbers in them as text | `alerts_are_read_and_acknowledged` (as an object: `listed.rs`) |
//! | leaves acknowledged alerts out of `/alerts/active` | `alerts_are_read_and_acknowledged` |
//! | pages alerts by a `before` of whole seconds, and passes over ties | `a_storm_of_alerts_is_counted_in_full` |
//! | refuses a limit of alerts over 200 | `a_storm_of_alerts_is_counted_in_full` |
//! | tells of a recovery by a second alert | `alerts_are_read_and_acknowledged` |
//! | has no period `current`, none of 24 h while it is young, and never more than 20 consumers | `resources_and_updates_are_read` |
//! | reads `since` of checks as a number of seconds only | `endpoints_and_their_checks_are_read` |
//! | answers an unknown endpoint's checks with an empty list | `endpoints_and_their_checks_are_read` |
//! | calls the uptime of a window without a check 0 | `listed.rs` |
//! | reads heartbeats by id after they were deleted | `a_heartbeat_is_paused_and_resumed` |
//! | calls a heartbeat up that failed | `what_never_happened_is_left_out` |
//! | calls a certificate valid whose chain is not | `certificates_are_judged_by_their_chain` |
//! | names its extended edition `enterprise`, and refuses with `PRO_REQUIRED` in the other | `what_is_announced_goes_out_and_is_told_back`, `its_community_edition_announces_nothing` |
//! | escapes `<`, `>` and `&`, and ends bodies with a line feed | every one |
//! | has keys in PascalCase only in its own MCP and in one event | not read over REST |

mod data;
mod server;

use serde_json::{Value, json};
pub(crate) use server::{Kind, V1};

use crate::clock::{TURN, by_turns};
use crate::fake::Client;

pub(crate) const KIND: Kind = Kind { enterprise: true, young: false, storm: 0, late: false };

async fn of(kind: Kind) -> (Client, V1) {
    let server = V1::new(kind).await;
    (Client::new(&server.url).await, server)
}

/// Every tool with arguments that fit the replica.
pub(crate) fn calls() -> Vec<(&'static str, Value)> {
    let incident = json!({"title": "Shop is down", "severity": "major", "message": "We look.",
                          "status": "investigating", "components": ["Shop"]});
    let monitor = json!({"monitor_type": "heartbeat", "monitor_id": 3});
    vec![
        ("list_containers", json!({})),
        ("get_container", json!({"container_id": "shop-db-1"})),
        ("get_container_logs", json!({"container_id": "shop-web-1"})),
        ("list_endpoints", json!({})),
        ("get_endpoint_history", json!({"endpoint_id": 2})),
        ("list_heartbeats", json!({})),
        ("list_certificates", json!({})),
        ("list_alerts", json!({"active_only": false})),
        ("get_resources", json!({})),
        ("get_top_consumers", json!({"metric": "memory"})),
        ("get_updates", json!({})),
        ("get_health", json!({})),
        ("acknowledge_alert", json!({"alert_id": 5})),
        ("create_incident", incident),
        ("update_incident", json!({"incident_id": 1, "status": "resolved", "message": "Up."})),
        (
            "create_maintenance",
            json!({"title": "Disks", "start_time": "2099-01-01T00:00:00+02:00",
                                      "end_time": "2099-01-01T01:00:00Z"}),
        ),
        ("pause_monitor", monitor.clone()),
        ("resume_monitor", monitor),
    ]
}

fn rows<'a>(answer: &'a Value, list: &str, field: &str) -> Vec<&'a Value> {
    answer[list].as_array().unwrap().iter().map(|row| &row[field]).collect()
}

#[tokio::test]
async fn every_tool_answers_as_its_schema_says() {
    let _clock = by_turns(TURN);
    let (client, _server) = of(KIND).await;
    for (tool, arguments) in calls() {
        let answer = client.call(tool, arguments).await;
        for secret in ["hunter2", "6f1b0f0c"] {
            assert!(!answer.to_string().contains(secret), "{tool}: {answer}");
        }
    }
}

#[tokio::test]
async fn a_young_server_has_nothing_and_says_so() {
    let (client, _server) = of(Kind { young: true, ..KIND }).await;
    for (tool, list, hint) in [
        ("list_containers", "containers", "No container is watched"),
        ("list_endpoints", "endpoints", "No endpoint is declared"),
        ("list_heartbeats", "heartbeats", "No heartbeat is set up"),
        ("list_certificates", "certificates", "No certificate is watched"),
        ("list_alerts", "alerts", "No alert is active"),
        ("get_updates", "updates", "No scan has ended yet"),
    ] {
        let answer = client.call(tool, json!({})).await;
        assert_eq!(answer[list], json!([]), "{tool}");
        assert!(answer["hint"].as_str().unwrap().contains(hint), "{tool}: {answer}");
    }
    let answer = client.call("get_container", json!({"container_id": "4"})).await;
    assert_eq!((&answer["transitions"], &answer["transitions_total"]), (&json!([]), &json!(0)));
    let open = json!({"incident_id": 1, "status": "resolved", "message": "Up."});
    let sentence = client.error("update_incident", open).await;
    assert!(sentence.contains("no incident with id 1"), "{sentence}");
}

#[tokio::test]
async fn containers_are_listed_and_explained() {
    let (client, _server) = of(KIND).await;
    let answer = client.call("list_containers", json!({})).await;
    let names = ["shop-web-1", "sleeper", "quiet", "shop-db-1"];
    assert_eq!(rows(&answer, "containers", "name"), names);
    assert_eq!(answer["containers"][1]["state"], "unknown");
    assert!(answer["hint"].as_str().unwrap().contains("the server's word for it"), "{answer}");
    let health = client.call("get_health", json!({})).await;
    assert_eq!((&health["status"], &health["version"]), (&json!("ok"), &json!("1.2.11")));
    assert!(!health["hint"].as_str().unwrap().contains("Docker cannot"), "{health}");

    let answer = client.call("get_container", json!({"container_id": "db"})).await;
    assert_eq!(answer["container"]["compose_working_dir"], "/srv/shop");
    assert_eq!(answer["container"]["uptime_percent"], json!({"24h": 100.0}));
    assert!(answer["container"].get("error_detail").is_none(), "{answer}");
    assert_eq!(answer["transitions"][0]["exit_code"], 137);
    assert_eq!(answer["transitions"][0]["last_log_lines"], json!(["out of memory"]));
    let gone = client.call("get_container", json!({"container_id": "9"})).await;
    assert_eq!(gone["container"]["archived"], true);
    let sentence = client.error("get_container", json!({"container_id": "77"})).await;
    assert!(sentence.contains("no container `77`"), "{sentence}");
}

#[tokio::test]
async fn logs_are_read_from_the_stream() {
    let _clock = by_turns(TURN);
    let (client, server) = of(KIND).await;
    let web = json!({"container_id": "web", "timestamps": true});
    let answer = client.call("get_container_logs", web).await;
    let lines =
        json!(["2026-05-05T10:00:00.123456789Z ready", "2026-05-05T10:00:01Z password=[redacted]"]);
    assert_eq!((&answer["lines"], &answer["redacted"]), (&lines, &json!(1)));
    assert_eq!(server.asked("/logs/stream"), ["GET /api/v1/containers/2/logs/stream?lines=100"]);
    let quiet = json!({"container_id": "quiet"});
    let sentence = client.error("get_container_logs", quiet).await;
    assert!(sentence.contains("no log line within a few seconds"), "{sentence}");
    let stderr = json!({"container_id": "web", "stream": "stderr"});
    let sentence = client.error("get_container_logs", stderr).await;
    assert!(sentence.contains("cannot tell the streams apart"), "{sentence}");
}

#[tokio::test]
async fn endpoints_and_their_checks_are_read() {
    let (client, server) = of(KIND).await;
    let answer = client.call("list_endpoints", json!({})).await;
    assert_eq!(rows(&answer, "endpoints", "id"), [2, 3, 1]);
    assert_eq!(answer["endpoints"][0]["uptime_24h"], 50.0);
    let answer = client.call("get_endpoint_history", json!({"endpoint_id": 2})).await;
    assert!(answer["hint"].as_str().unwrap().contains("keeps no statistics"), "{answer}");
    // More than a page of 500.
    assert_eq!(
        (&answer["statistics"]["checks"], &answer["statistics"]["failures"]),
        (&json!(700), &json!(4))
    );
    let hour = json!({"endpoint_id": 2, "since": "1h"});
    let answer = client.call("get_endpoint_history", hour).await;
    assert_eq!(answer["statistics"]["checks"], 60);
    for request in server.asked("/checks?").iter().filter(|asked| asked.contains("since=")) {
        let since = request.split("since=").nth(1).unwrap().split('&').next().unwrap();
        assert!(since.bytes().all(|byte| byte.is_ascii_digit()), "{request}");
    }
    let sentence = client.error("get_endpoint_history", json!({"endpoint_id": 77})).await;
    assert!(sentence.contains("no endpoint with id 77"), "{sentence}");
}

#[tokio::test]
async fn what_never_happened_is_left_out() {
    let (client, _server) = of(KIND).await;
    let answer = client.call("list_heartbeats", json!({})).await;
    assert_eq!(rows(&answer, "heartbeats", "name"), ["fresh", "report", "backup"]);
    assert_eq!(rows(&answer, "heartbeats", "problem")[..2], ["never_pinged", "failed"]);
    for (tool, list, at) in
        [("list_endpoints", "endpoints", 1), ("list_certificates", "certificates", 2)]
    {
        let answer = client.call(tool, json!({})).await;
        let row = &answer[list][at];
        assert_eq!((&row["status"], row.get("last_check")), (&json!("unknown"), None), "{row}");
    }
    let (client, _server) = of(Kind { young: true, ..KIND }).await;
    let answer = client.call("get_updates", json!({})).await;
    assert!(answer.get("last_scan").is_none() && answer.get("next_scan").is_none(), "{answer}");
}

#[tokio::test]
async fn times_are_told_in_utc_and_whole_seconds() {
    fn check(tool: &str, value: &Value) {
        match value {
            Value::Object(fields) => fields.values().for_each(|value| check(tool, value)),
            Value::Array(rows) => rows.iter().for_each(|value| check(tool, value)),
            Value::String(text) if text.parse::<jiff::Timestamp>().is_ok() => {
                assert!(text.len() == 20 && text.ends_with('Z'), "{tool}: {text}");
            }
            _ => {}
        }
    }
    let _clock = by_turns(TURN);
    let (client, _server) = of(KIND).await;
    for (tool, arguments) in calls() {
        check(tool, &client.call(tool, arguments).await);
    }
}

#[tokio::test]
async fn certificates_are_judged_by_their_chain() {
    let (client, _server) = of(KIND).await;
    let answer = client.call("list_certificates", json!({})).await;
    let row = &answer["certificates"][0];
    assert_eq!((&row["status"], &row["verdict"]), (&json!("valid"), &json!("unacceptable")));
    assert_eq!((&row["days_remaining"], &row["error"]), (&json!(80), &json!("unknown authority")));
}

#[tokio::test]
async fn alerts_are_read_and_acknowledged() {
    let (client, server) = of(KIND).await;
    let answer = client.call("list_alerts", json!({})).await;
    assert_eq!(rows(&answer, "alerts", "id"), [5, 4]);
    assert_eq!(answer["alerts"][0]["message"], "Endpoint <db> is down");
    assert_eq!(answer["alerts"][0]["details"], json!({"threshold": 3, "insight_count": "4"}));
    assert_eq!(answer["alerts"][1]["acknowledged_by"], "ana");
    let answer = client.call("list_alerts", json!({"active_only": false})).await;
    assert_eq!(rows(&answer, "alerts", "id"), [5, 4, 1, 2]);
    assert_eq!(answer["alerts"][2]["status"], "unknown");
    assert_eq!(answer["alerts"][3]["resolution"], "Endpoint recovered");
    assert!(server.asked("/alerts/active").is_empty());

    let answer = client.call("acknowledge_alert", json!({"alert_id": 5})).await;
    assert_eq!(answer["alert"]["acknowledged_by"], "mcp:rmcp");
    let sentence = client.error("acknowledge_alert", json!({"alert_id": 5})).await;
    assert!(sentence.contains("already acknowledged by `mcp:rmcp`"), "{sentence}");
    let sentence = client.error("acknowledge_alert", json!({"alert_id": 77})).await;
    assert!(sentence.contains("There is no alert with id 77"), "{sentence}");
}

#[tokio::test]
async fn a_storm_of_alerts_is_counted_in_full() {
    let (client, server) = of(Kind { storm: 450, ..KIND }).await;
    let answer = client.call("list_alerts", json!({})).await;
    assert_eq!(answer["summary"]["active"], 452);
    assert!(server.asked("before=").len() >= 2);
}

#[tokio::test]
async fn resources_and_updates_are_read() {
    let (client, server) = of(KIND).await;
    let answer = client.call("get_resources", json!({})).await;
    assert_eq!((&answer["cpu_percent"], &answer["mem_used"]), (&json!(12.0), &json!(1_000_000)));
    assert!(!answer.to_string().contains(":-1"), "{answer}");
    let most = json!({"metric": "memory", "limit": 20});
    let answer = client.call("get_top_consumers", most).await;
    assert_eq!(answer["consumers"].as_array().unwrap().len(), 20);
    assert!(server.asked("period=").is_empty());
    let day = json!({"metric": "cpu", "period": "24h"});
    let answer = client.call("get_top_consumers", day).await;
    assert!(answer["hint"].as_str().unwrap().contains("too young"), "{answer}");
    let answer = client.call("get_updates", json!({})).await;
    assert_eq!(rows(&answer, "updates", "container"), ["shop-db-1", "sleeper", "shop-web-1"]);
    assert_eq!(answer["updates"][2]["pin_reason"], "tested");
    let answer = client.call("get_updates", json!({"container": "shop-db-1"})).await;
    assert!(answer.to_string().contains("docker pull a:2.0"), "{answer}");
}

#[tokio::test]
async fn a_heartbeat_is_paused_and_resumed() {
    let (client, _server) = of(KIND).await;
    let monitor = |id: i64| json!({"monitor_type": "heartbeat", "monitor_id": id});
    let answer = client.call("pause_monitor", monitor(3)).await;
    assert_eq!((&answer["name"], &answer["status"]), (&json!("backup"), &json!("paused")));
    let answer = client.call("list_heartbeats", json!({})).await;
    assert_eq!(answer["summary"]["paused"], 1, "right after the change");
    assert_eq!(client.call("resume_monitor", monitor(3)).await["status"], "up");
    let sentence = client.error("resume_monitor", monitor(3)).await;
    assert!(sentence.contains("is not paused"), "{sentence}");
    let sentence = client.error("pause_monitor", monitor(7)).await;
    assert!(sentence.contains("no heartbeat with id 7"), "{sentence}");
}

#[tokio::test]
async fn what_is_announced_goes_out_and_is_told_back() {
    let (client, server) = of(KIND).await;
    let told = |tool: &'static str| {
        let found = calls().into_iter().find(|(name, _)| *name == tool);
        client.call(tool, found.unwrap().1)
    };
    let answer = told("create_incident").await;
    assert_eq!(answer["incident"]["components"], json!(["Shop"]), "{answer}");
    let answer = told("update_incident").await;
    assert_eq!(answer["incident"]["previous_status"], "investigating", "{answer}");
    let answer = told("create_maintenance").await;
    assert_eq!(answer["maintenance"]["starts_at"], "2098-12-31T22:00:00Z", "{answer}");
    assert_eq!(server.asked("POST").len(), 3);
}

#[tokio::test]
async fn its_community_edition_announces_nothing() {
    let (client, server) = of(Kind { enterprise: false, ..KIND }).await;
    for (tool, arguments) in calls() {
        if ["create_incident", "update_incident", "create_maintenance"].contains(&tool) {
            let sentence = client.error(tool, arguments).await;
            assert!(sentence.contains("extended edition with a licence"), "{tool}: {sentence}");
        }
    }
    assert!(server.asked("POST").is_empty());
}

#[tokio::test]
async fn a_late_server_is_named_by_every_tool() {
    let (client, _server) = of(Kind { late: true, ..KIND }).await;
    for (tool, arguments) in calls() {
        if tool == "get_health" {
            let answer = client.call(tool, arguments).await;
            assert_eq!(answer["status"], "down", "{answer}");
            continue;
        }
        let sentence = client.error(tool, arguments).await;
        assert!(sentence.contains("answered with status 503"), "{tool}: {sentence}");
        assert!(sentence.contains("Trying again later may help"), "{tool}: {sentence}");
    }
}
