//! No answer is larger than its budget, whatever a collector sends: thousands of rows, names as
//! long as they come, text that grows when it is escaped. And what was left out is said.

use std::sync::OnceLock;

use maintenant_gateway::budget::CAP;
use serde_json::{Map, Value, json};

use crate::clock::{TURN, by_turns};
use crate::fake::{Answer, Client, Fake, object};
use crate::v1::calls;

const MANY: i64 = 5_000;

/// SplitMix64: the same texts in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(limit).unwrap()).unwrap()
    }

    /// Characters that JSON escapes, that take four bytes, that are masked or not shown at all.
    fn text(&mut self, most: usize) -> String {
        let pieces = [
            "\"",
            "\\",
            "\n",
            "\t",
            "<",
            "\u{7f}",
            "\u{202e}",
            "\u{1b}[31m",
            "é",
            "😀",
            "a",
            "password=x ",
            "/",
            "`",
            "https://u:p@h/?k=v ",
        ];
        let length = self.below(most) + most / 2;
        let mut text = String::new();
        while text.len() < length {
            text.push_str(pieces[self.below(pieces.len())]);
        }
        text
    }
}

const TIME: &str = "2026-05-05T12:00:00+02:00";

/// Rows that come first, more than any page holds; the others only have to be counted.
fn is_worst(id: i64) -> bool {
    id <= 150
}

/// `count` rows; of the worst, every text is as long as it may be.
fn rows(seed: u64, count: i64, texts: &[&str], rest: impl Fn(i64) -> Value) -> Vec<Value> {
    let mut random = Random(seed);
    (1..=count)
        .map(|id| {
            let mut row = Map::new();
            row.insert("id".to_owned(), json!(id));
            for field in texts {
                let text = if is_worst(id) { random.text(250) } else { format!("{field}-{id}") };
                row.insert((*field).to_owned(), json!(text));
            }
            object(Value::Object(row), rest(id))
        })
        .collect()
}

fn containers(seed: u64) -> Vec<Value> {
    let texts = [
        "name",
        "image",
        "orchestration_group",
        "orchestration_unit",
        "custom_group",
        "compose_working_dir",
        "error_detail",
    ];
    rows(seed, MANY, &texts, |id| {
        json!({"external_id": format!("{id:064x}"), "has_health_check": true, "restart_count": id,
               "state": if is_worst(id) { "dead" } else { "running" },
               "health_status": "unhealthy", "first_seen_at": TIME, "last_state_change_at": TIME})
    })
}

fn answer(seed: u64, route: &str) -> Answer {
    let mut random = Random(seed);
    let body = match route {
        "health" => json!({"status": "ok", "version": random.text(5_000)}),
        "edition" => json!({"edition": "extended"}),
        "runtime/status" => {
            let degraded = rows(seed, 100, &["feature", "call", "error"], |_| json!({}));
            json!({"runtime": random.text(500), "connected": false, "degraded": degraded,
                   "error": random.text(5_000)})
        }
        "containers" => json!({"groups": [{"containers": containers(seed)}]}),
        "containers/1" => object(
            containers(seed)[0].clone(),
            json!({
            "config_problems": rows(seed, 500, &["label_key", "error"],
                                    |_| json!({"container_id": 1, "since": TIME})),
            "uptime": rows(seed, 500, &[], |_| json!({})).iter().enumerate()
                .map(|(at, _)| (format!("{at}h"), json!(50))).collect::<Map<_, _>>()}),
        ),
        "containers/1/transitions" => {
            let all = rows(seed, 50, &[], |_| {
                json!({"container_id": 1, "timestamp": TIME,
                "previous_state": "running", "new_state": "exited", "exit_code": 1})
            });
            let with = |row: Value| object(row, json!({"log_snippet": random.text(10_240)}));
            let all: Vec<Value> = all.into_iter().map(with).collect();
            json!({"transitions": all, "total": MANY, "has_more": true})
        }
        "security/insights/1" => {
            let insights = rows(seed, 200, &["title", "description"], |_| {
                json!({"type": "x",
                "severity": "critical", "container_id": 1, "container_name": "c",
                "details": {}, "detected_at": TIME})
            });
            json!({"container_id": 1, "container_name": "c", "highest_severity": "critical",
                   "count": MANY, "insights": insights})
        }
        "containers/1/logs" => {
            let lines: Vec<String> =
                (0..40).map(|at| random.text(if at % 20 == 0 { 10_240 } else { 400 })).collect();
            json!({"container_id": 1, "container_name": "c", "lines": lines,
                   "total_lines": 40, "truncated": true})
        }
        "endpoints" | "endpoints/2" => {
            let texts = ["name", "target", "container_name", "last_error", "orchestration_group"];
            let all = rows(seed, if route == "endpoints" { MANY } else { 2 }, &texts, |id| {
                json!({"endpoint_type": "http", "status": if is_worst(id) { "down" } else { "up" },
                       "alert_state": if is_worst(id) { "alerting" } else { "normal" },
                       "source": "label", "consecutive_failures": 3, "last_check_at": TIME})
            });
            match route {
                "endpoints" => json!({"endpoints": all, "total": MANY}),
                _ => json!({"endpoint": all[1], "uptime": {"24h": 50}}),
            }
        }
        "endpoints/2/checks" => {
            let now = maintenant_serve::clock::now();
            let all = rows(seed, 500, &["error_message"], |id| {
                let at = now.checked_sub(jiff::SignedDuration::from_secs(id)).unwrap();
                json!({"endpoint_id": 2, "success": false, "response_time_ms": 1,
                       "timestamp": at.to_string()})
            });
            json!({"endpoint_id": 2, "checks": all, "total": 500, "has_more": false})
        }
        "heartbeats" => json!({"heartbeats": heartbeats(seed, MANY), "total": MANY}),
        "heartbeats/3" => json!({"heartbeat": heartbeats(seed, 3)[2]}),
        "heartbeats/3/pause" | "heartbeats/3/resume" => heartbeats(seed, 3)[2].clone(),
        "certificates" => {
            let all = rows(seed, MANY, &["hostname", "last_error"], |id| {
                let check = rows(
                    seed.wrapping_add_signed(id),
                    i64::from(is_worst(id)),
                    &["subject_cn", "issuer_cn", "chain_error"],
                    |_| {
                        json!({"monitor_id": id, "not_after": TIME, "chain_valid": !is_worst(id),
                           "checked_at": TIME})
                    },
                );
                json!({"port": 443, "source": "auto", "status": if is_worst(id) { "expired" } else { "valid" }, "created_at": TIME,
                       "check_interval_seconds": 1, "latest_check": check.first()})
            });
            json!({"certificates": all, "total": MANY})
        }
        "alerts" => json!({"alerts": alerts(seed, 200), "has_more": false}),
        "alerts/5" | "alerts/5/acknowledge" => alerts(seed, 5)[4].clone(),
        "silence" => json!({"rules": rows(seed, 200, &["reason"], |_| json!({
            "starts_at": TIME, "expires_at": TIME, "duration_seconds": 1, "is_active": true,
            "created_at": TIME}))}),
        "resources/summary" => json!({"total_cpu_percent": 1, "cpu_count": 1, "total_mem_used": 1,
            "total_mem_limit": 1, "total_mem_percent": 1, "container_count": MANY,
            "total_net_rx_rate": 1, "total_net_tx_rate": 1, "disk_total": 1, "disk_used": 1,
            "disk_percent": 1, "timestamp": TIME}),
        "resources/top" => {
            let all = rows(
                seed,
                MANY,
                &["container_name"],
                |id| json!({"container_id": id, "value": 1, "percent": 1, "rank": id}),
            );
            json!({"metric": "memory", "consumers": all})
        }
        "updates" => {
            let texts = [
                "container_name",
                "image",
                "current_tag",
                "latest_tag",
                "latest_digest",
                "current_digest",
                "pin_reason",
            ];
            let all = rows(seed, MANY, &texts, |id| {
                json!({"container_id": format!("{id:064x}"), "update_type": "major",
                       "risk_score": if is_worst(id) { 85 } else { 5 }, "status": "available", "detected_at": TIME})
            });
            json!({"updates": all, "last_scan": TIME, "next_scan": TIME})
        }
        "updates/summary" => json!({"last_scan": TIME, "next_scan": TIME, "scan_status": "idle",
            "counts": {"critical": 1, "recommended": 1, "available": 1, "up_to_date": 1,
                       "untracked": 0, "pinned": 0}}),
        "status/components" => {
            let all = rows(seed, 500, &["display_name"], |_| json!({}));
            json!([all, vec![json!({"id": 9_999, "display_name": "Shop"})]].concat())
        }
        "status/incidents" => {
            let all = incidents(seed, 100);
            json!({"incidents": all, "total": MANY})
        }
        "status/incidents/1/updates" => json!({"id": 1, "incident_id": 1, "status": "resolved",
            "message": random.text(10_240), "is_auto": false, "created_at": TIME}),
        "status/maintenance" => object(
            incidents(seed, 1)[0].clone(),
            json!({
            "description": random.text(10_240), "starts_at": TIME, "ends_at": TIME,
            "active": false, "incident_id": null}),
        ),
        _ => return (404, json!("404 page not found\n")),
    };
    (200, body)
}

fn heartbeats(seed: u64, count: i64) -> Vec<Value> {
    rows(seed, count, &["uuid", "name"], |id| {
        json!({"status": "up", "alert_state": if is_worst(id) { "alerting" } else { "normal" }, "interval_seconds": 60,
               "grace_seconds": 1, "last_exit_code": i64::from(is_worst(id)), "active": true, "created_at": TIME,
               "updated_at": TIME})
    })
}

fn alerts(seed: u64, count: i64) -> Vec<Value> {
    let texts =
        ["source", "alert_type", "message", "entity_type", "entity_name", "acknowledged_by"];
    rows(seed, count, &texts, |id| {
        let details: Map<String, Value> = rows(seed, 40, &["name"], |_| json!({}))
            .into_iter()
            .enumerate()
            .map(|(at, row)| (format!("detail-{at}"), row["name"].clone()))
            .collect();
        json!({"severity": "critical", "status": "active", "entity_id": id, "fired_at": TIME,
               "details": Value::Object(details).to_string(), "created_at": TIME})
    })
}

fn incidents(seed: u64, count: i64) -> Vec<Value> {
    rows(seed, count, &["title", "severity"], |_| {
        json!({"status": "investigating", "is_maintenance": false, "created_at": TIME,
               "updated_at": TIME, "resolved_at": null,
               "components": rows(seed, 20, &["name"], |_| json!({}))})
    })
}

/// Each route is made once: these are megabytes.
fn made(seed: u64) -> impl Fn(&str, usize) -> Answer + Send + Sync + 'static {
    let known: std::sync::Mutex<Map<String, Value>> = std::sync::Mutex::default();
    move |path, _| {
        let route = path.split('?').next().unwrap();
        if route == "status/incidents" && !path.contains('?') {
            return (201, incidents(seed, 1)[0].clone());
        }
        let mut known = known.lock().unwrap();
        if let Some(body) = known.get(route) {
            return (200, body.clone());
        }
        let (status, body) = answer(seed, route);
        if status == 200 {
            known.insert(route.to_owned(), body.clone());
        }
        (status, body)
    }
}

/// Every tool as it is called most simply, and asked for as much as it gives.
fn questions() -> Vec<(&'static str, Value)> {
    static MOST: OnceLock<Value> = OnceLock::new();
    let most = MOST.get_or_init(|| {
        json!({"list_containers": {"limit": 100}, "get_container": {"transitions": 50},
               "get_container_logs": {"lines": 1000, "timestamps": true},
               "list_endpoints": {"limit": 100}, "get_endpoint_history": {"limit": 500},
               "list_heartbeats": {"limit": 100}, "list_certificates": {"limit": 100},
               "list_alerts": {"limit": 100}, "get_updates": {"limit": 100},
               "get_top_consumers": {"limit": 20}})
    });
    let calls = calls().into_iter().map(|(tool, mut arguments)| {
        if arguments.get("container_id").is_some() {
            arguments["container_id"] = json!("1");
        }
        (tool, arguments)
    });
    calls
        .flat_map(|(tool, arguments)| {
            let more = most.get(tool).map(|more| (tool, object(arguments.clone(), more.clone())));
            [Some((tool, arguments)), more].into_iter().flatten()
        })
        .collect()
}

async fn check(url: &str, seed: u64, collector: Option<&str>) {
    // So much takes its time, and this thread does all of it.
    let _clock = by_turns(TURN);
    let client = Client::new(url).await;
    for (tool, mut arguments) in questions() {
        if let Some(collector) = collector.filter(|_| tool != "get_health") {
            arguments["collector"] = json!(collector);
        }
        let place = format!("seed {seed}: {tool} {arguments}");
        // The call succeeds, and the answer is as the schema of its tool says.
        let answer = client.call(tool, arguments).await;
        let size = answer.to_string().len();
        assert!(size <= CAP, "{place}: {size} bytes");
        for list in ["containers", "endpoints", "heartbeats", "certificates", "updates"] {
            if answer.get(list).is_some_and(Value::is_array) {
                assert!(answer["next_cursor"].is_string(), "{place}: {answer}");
                assert!(answer["hint"].as_str().unwrap().contains("more: "), "{place}");
                assert_eq!(answer["summary"]["total"], MANY, "{place}");
            }
        }
        if tool == "get_container_logs" {
            assert_eq!(answer["truncated"], true, "{place}");
        }
    }
}

#[tokio::test]
async fn every_answer_keeps_its_budget() {
    let fake = Fake::tcp(made(1)).await;
    check(&fake.url, 1, None).await;
}

#[tokio::test]
async fn also_of_several_collectors() {
    let (prod, lab) = (Fake::tcp(made(3)).await, Fake::tcp(made(4)).await);
    check(&format!("prod={},lab={}", prod.url, lab.url), 3, Some("prod")).await;
}
