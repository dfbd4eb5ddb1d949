//! The replica's routes: what it answers, byte by byte where clients have stumbled.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::{Router, http};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::data::{self, NEVER, fresh, stored, utc};
use crate::fake::object;

/// An existing server, of one edition; a young one has nothing to tell.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    pub(super) enterprise: bool,
    pub(super) young: bool,
    /// Active alerts beside the others, seven of them in each second.
    pub(super) storm: i64,
    /// No answer within the time that it gives itself.
    pub(super) late: bool,
}

pub(crate) struct V1 {
    pub(crate) url: String,
    pub(super) seen: Arc<Mutex<Vec<String>>>,
    _server: JoinSet<()>,
}

struct State {
    kind: Kind,
    alerts: Vec<Value>,
    heartbeats: Vec<Value>,
    incidents: Vec<Value>,
}

enum Reply {
    Json(u16, Value),
    Plain(u16, &'static str),
    /// Events; without any, not even the head of the answer.
    Events(&'static str),
}

use Reply::{Events, Json, Plain};

impl V1 {
    pub(crate) async fn new(kind: Kind) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State::new(kind)));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let requests = seen.clone();
        let handler = move |request: Request| {
            let (state, requests) = (state.clone(), requests.clone());
            async move {
                let method = request.method().to_string();
                let path = request.uri().path_and_query().unwrap().to_string();
                let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
                let body = serde_json::from_slice(&body).unwrap_or_default();
                requests.lock().unwrap().push(format!("{method} {path}"));
                let reply = state.lock().unwrap().answer(&method, &path, &body);
                send(reply).await
            }
        };
        let mut server = JoinSet::new();
        let app = Router::new().fallback(handler);
        server.spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, seen, _server: server }
    }

    pub(crate) fn asked(&self, part: &str) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        seen.iter().filter(|request| request.contains(part)).cloned().collect()
    }
}

async fn send(reply: Reply) -> Response {
    match reply {
        Json(status, body) => {
            let status = StatusCode::from_u16(status).unwrap();
            let text = body.to_string();
            let text = text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
            (status, [(CONTENT_TYPE, "application/json")], format!("{text}\n")).into_response()
        }
        Plain(status, text) => {
            (StatusCode::from_u16(status).unwrap(), text.to_owned()).into_response()
        }
        Events("") => std::future::pending().await,
        // The container runs, so the stream goes on.
        Events(events) => {
            let lines = futures_util::stream::iter([Ok::<_, Infallible>(events)]);
            let lines = futures_util::StreamExt::chain(lines, futures_util::stream::pending());
            ([(CONTENT_TYPE, "text/event-stream")], Body::from_stream(lines)).into_response()
        }
    }
}

fn error(status: u16, code: &str) -> Reply {
    Json(status, json!({"error": {"code": code, "message": "free words"}}))
}

/// `null` for none.
fn or_null(rows: Vec<Value>) -> Value {
    if rows.is_empty() { Value::Null } else { Value::Array(rows) }
}

const LINES: &str = "event: container.log_line\ndata: {\"line\":\"ready\",\"stream\":\"stdout\",\
    \"timestamp\":\"2026-05-05T10:00:00.123456789Z\"}\n\n\
    event: container.log_line\ndata: {\"line\":\"password=hunter2\",\"stream\":\"stdout\",\
    \"timestamp\":\"2026-05-05T10:00:01Z\"}\n\n";

impl State {
    fn new(kind: Kind) -> Self {
        let mut alerts = if kind.young { Vec::new() } else { data::alerts() };
        let storm = |number: i64| {
            data::alert(
                100 + number,
                json!({"severity": "warning", "entity_id": number,
                "fired_at": utc(200 + number / 7)}),
            )
        };
        alerts.extend((0..kind.storm).map(storm));
        alerts.sort_by_key(|alert| std::cmp::Reverse(alert["fired_at"].to_string()));
        let heartbeats = if kind.young { Vec::new() } else { data::heartbeats() };
        Self { kind, alerts, heartbeats, incidents: Vec::new() }
    }

    fn rows(&self, rows: Vec<Value>) -> Vec<Value> {
        if self.kind.young { Vec::new() } else { rows }
    }

    fn answer(&mut self, method: &str, path: &str, body: &Value) -> Reply {
        let Some(path) = path.strip_prefix("/api/v1/") else { return Plain(404, "<html>") };
        if self.kind.late {
            return Plain(503, "request timeout");
        }
        let (route, query) = path.split_once('?').unwrap_or((path, ""));
        let query: HashMap<&str, String> = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(key, value)| (key, value.replace("%3A", ":").replace("%2B", "+")))
            .collect();
        let parts: Vec<&str> = route.split('/').collect();
        match (method, parts.as_slice()) {
            ("POST", _) => self.change(&parts, body),
            ("GET", ["heartbeats", _, "pause" | "resume"] | ["alerts", _, "acknowledge"]) => {
                Plain(405, "Method Not Allowed\n")
            }
            ("GET", ["alerts", ..]) => self.alerts(&parts, &query),
            ("GET", ["containers", ..]) => self.containers(&parts, &query),
            ("GET", ["endpoints", ..]) => self.endpoints(&parts, &query),
            ("GET", _) => self.rest(&parts, &query),
            _ => Plain(405, "Method Not Allowed\n"),
        }
    }

    fn rest(&self, parts: &[&str], query: &HashMap<&str, String>) -> Reply {
        let scan = if self.kind.young { NEVER.to_owned() } else { fresh(600) };
        let body = match parts {
            ["health"] => json!({"status": "ok", "version": "1.2.11"}),
            ["runtime", "status"] => json!({"runtime": "docker", "context": "docker",
                "connected": true, "label": "Containers", "detected_at": utc(0), "metadata": {}}),
            ["edition"] => self.edition(),
            ["heartbeats"] => {
                let active = self.heartbeats.iter().filter(|row| row["active"] == true);
                let rows: Vec<&Value> = active.collect();
                json!({"heartbeats": rows, "total": rows.len()})
            }
            ["heartbeats", id] => match self.heartbeat(id) {
                Some(at) => json!({"heartbeat": self.heartbeats[at], "snippets": {"curl": "x"}}),
                None => return error(404, "NOT_FOUND"),
            },
            ["certificates"] => {
                json!({"certificates": self.rows(data::certificates()), "total": 3})
            }
            ["silence"] => json!({"rules": []}),
            ["resources", "summary"] => json!({"total_cpu_percent": 12, "cpu_count": 4,
                "total_mem_used": 1_000_000, "total_mem_limit": 4_000_000, "total_mem_percent": 25,
                "total_net_rx_rate": -1, "total_net_tx_rate": -1, "container_count": 3,
                "disk_total": 100, "disk_used": 50, "disk_percent": 50, "timestamp": fresh(3)}),
            ["resources", "top"] => return self.top(query),
            ["updates"] => json!({"updates": self.rows(data::updates()), "last_scan": scan,
                                  "next_scan": scan}),
            ["updates", "summary"] => json!({"last_scan": scan, "next_scan": scan,
                "scan_status": "idle", "counts": {"critical": 1, "recommended": 0, "available": 1,
                    "up_to_date": 0, "untracked": 0, "pinned": 1}}),
            ["updates", "container", id] => {
                let row = data::updates().into_iter().find(|row| row["container_id"] == *id);
                let Some(row) = row else { return error(404, "NOT_FOUND") };
                object(row, json!({"pinned": false, "update_command": "docker pull a:2.0"}))
            }
            ["status", "components"] if self.kind.young => Value::Null,
            ["status", "components"] => json!([{"id": 1, "composition_mode": "explicit",
                "display_name": "Shop", "display_order": 0, "visible": true,
                "status_override": null, "auto_incident": false, "created_at": utc(9_000),
                "updated_at": utc(9_000)}]),
            ["status", "incidents"] => {
                json!({"incidents": or_null(self.incidents.clone()), "total": 0})
            }
            _ => return Plain(404, "404 page not found\n"),
        };
        Json(200, body)
    }

    fn edition(&self) -> Value {
        let all = self.kind.enterprise;
        let quota = |limit: i64| json!({"used": 0, "limit": if all { -1 } else { limit }});
        json!({"edition": if all { "enterprise" } else { "community" }, "organisation_name": "",
               "features": {"incidents": all, "alert_routing": true},
               "quotas": {"endpoints": quota(10), "heartbeats": quota(5),
                          "certificates": quota(5), "status_components": quota(3)}})
    }

    /// It never sends more than 20.
    fn top(&self, query: &HashMap<&str, String>) -> Reply {
        if !matches!(query["metric"].as_str(), "cpu" | "memory") {
            return error(400, "INVALID_METRIC");
        }
        let limit: usize = query.get("limit").map_or(5, |limit| limit.parse().unwrap());
        let known = ["1h", "24h", "7d", "30d"];
        let period = query.get("period").filter(|period| known.contains(&period.as_str()));
        let row = |rank: i64| {
            json!({"container_id": rank, "container_name": format!("c{rank}"), "value": 100 - rank,
                   "percent": 100 - rank, "rank": rank})
        };
        let is_empty = period.is_some_and(|period| period != "1h") || self.kind.young;
        let rows = if is_empty { 0 } else { limit.min(20).min(30) };
        let rows: Vec<Value> = (1..).take(rows).map(row).collect();
        let mut body = json!({"metric": query["metric"], "consumers": rows});
        if let Some(period) = period {
            body["period"] = json!(period);
        }
        Json(200, body)
    }

    fn containers(&self, parts: &[&str], query: &HashMap<&str, String>) -> Reply {
        let ["containers", id, rest @ ..] = parts else {
            let listed = self.rows(data::containers());
            let total = listed.len();
            let (shop, others): (Vec<_>, Vec<_>) =
                listed.into_iter().partition(|row| row.get("orchestration_group").is_some());
            let group = |name: &str, source: &str, rows: Vec<Value>| {
                let extra = json!({"security_insight_count": 0, "security_highest_severity": null});
                let rows = rows.into_iter().map(|row| object(row, extra.clone()));
                json!({"name": name, "source": source, "containers": rows.collect::<Vec<_>>()})
            };
            let groups = [group("shop", "compose", shop), group("Ungrouped", "default", others)];
            let groups = if total == 0 { json!([]) } else { json!(groups) };
            return Json(200, json!({"groups": groups, "total": total, "archived_count": 0}));
        };
        let Ok(id) = id.parse::<i64>() else { return error(400, "INVALID_ID") };
        match (data::detail(id), rest) {
            (Some(detail), []) => Json(200, detail),
            (_, ["transitions"]) => {
                let all = data::transitions(id);
                let limit = query.get("limit").and_then(|limit| limit.parse().ok()).unwrap_or(50);
                let rows: Vec<Value> = all.iter().take(limit).cloned().collect();
                let has_more = rows.len() < all.len();
                Json(
                    200,
                    json!({"container_id": id, "transitions": or_null(rows),
                                 "total": all.len(), "has_more": has_more}),
                )
            }
            (Some(_), ["logs"]) => error(502, "RUNTIME_UNAVAILABLE"),
            (Some(_), ["logs", "stream"]) => Events(if id == 4 { "" } else { LINES }),
            (None, _) => error(404, "CONTAINER_NOT_FOUND"),
            _ => Plain(404, "404 page not found\n"),
        }
    }

    fn endpoints(&self, parts: &[&str], query: &HashMap<&str, String>) -> Reply {
        match parts {
            ["endpoints"] => {
                let rows = self.rows((1..=3).filter_map(data::endpoint).collect());
                Json(200, json!({"endpoints": rows, "total": rows.len()}))
            }
            ["endpoints", id] => match id.parse().ok().and_then(data::endpoint) {
                // Windows without a check are 0, too.
                Some(row) => Json(
                    200,
                    json!({"endpoint": row,
                    "uptime": {"1h": 0, "24h": 50, "7d": 100, "30d": 99.5}}),
                ),
                None => error(404, "ENDPOINT_NOT_FOUND"),
            },
            ["endpoints", id, "checks"] => {
                // What is not a number of seconds is ignored.
                let since = query.get("since").and_then(|since| since.parse::<i64>().ok());
                let number = |key: &str, default: usize| {
                    query.get(key).and_then(|text| text.parse().ok()).unwrap_or(default)
                };
                let mut all = data::checks(id.parse().unwrap());
                all.retain(|row| {
                    let at: jiff::Timestamp = row["timestamp"].as_str().unwrap().parse().unwrap();
                    since.is_none_or(|since| at.as_second() >= since)
                });
                let (limit, offset) = (number("limit", 50).min(500), number("offset", 0));
                let rows: Vec<&Value> = all.iter().skip(offset).take(limit).collect();
                let has_more = offset + rows.len() < all.len();
                Json(
                    200,
                    json!({"endpoint_id": 2, "checks": rows, "total": all.len(),
                                 "has_more": has_more}),
                )
            }
            _ => Plain(404, "404 page not found\n"),
        }
    }

    fn alerts(&self, parts: &[&str], query: &HashMap<&str, String>) -> Reply {
        match parts {
            ["alerts"] => {
                let limit = query.get("limit").map_or(Some(50), |limit| limit.parse().ok());
                let Some(limit) = limit.filter(|limit| (1..=200).contains(limit)) else {
                    return error(400, "INVALID_PARAM");
                };
                let is = |row: &Value, key: &str| {
                    query.get(key).is_none_or(|wanted| row[key] == wanted.as_str())
                };
                let mut rows = self.alerts.clone();
                rows.retain(|row| {
                    // Strictly before: what shares the second is passed over.
                    let early = query.get("before");
                    early.is_none_or(|before| row["fired_at"].as_str().unwrap() < before.as_str())
                        && ["source", "severity", "status"].iter().all(|key| is(row, key))
                });
                let has_more = rows.len() > limit;
                rows.truncate(limit);
                Json(200, json!({"alerts": rows, "has_more": has_more}))
            }
            ["alerts", "active"] => Json(200, json!({"critical": [], "warning": [], "info": []})),
            ["alerts", id] => match self.alert(id) {
                Some(at) => Json(200, self.alerts[at].clone()),
                None => error(500, "INTERNAL_ERROR"),
            },
            _ => Plain(404, "404 page not found\n"),
        }
    }

    fn alert(&self, id: &str) -> Option<usize> {
        self.alerts.iter().position(|row| row["id"].as_i64() == id.parse().ok())
    }

    fn heartbeat(&self, id: &str) -> Option<usize> {
        self.heartbeats.iter().position(|row| row["id"].as_i64() == id.parse().ok())
    }

    fn change(&mut self, parts: &[&str], body: &Value) -> Reply {
        if parts.first() == Some(&"status") && !self.kind.enterprise {
            return error(403, "PRO_REQUIRED");
        }
        match parts {
            ["heartbeats", id, change @ ("pause" | "resume")] => {
                let Some(at) = self.heartbeat(id) else { return error(404, "NOT_FOUND") };
                let row = &mut self.heartbeats[at];
                if *change == "resume" && row["status"] != "paused" {
                    return error(400, "INVALID_INPUT");
                }
                row["status"] = json!(if *change == "pause" { "paused" } else { "up" });
                // Bare, where reading it is wrapped.
                Json(200, row.clone())
            }
            ["alerts", id, "acknowledge"] => {
                let Some(at) = self.alert(id) else { return error(500, "INTERNAL_ERROR") };
                let row = &mut self.alerts[at];
                if row["status"] != "active" || row.get("acknowledged_at").is_some() {
                    return error(409, "CONFLICT");
                }
                row["acknowledged_by"] = body["acknowledged_by"].clone();
                row["acknowledged_at"] = json!(fresh(0));
                Json(200, row.clone())
            }
            ["status", "incidents"] => {
                let mut row = json!({"id": 1, "title": body["title"], "is_maintenance": false,
                    "severity": body["severity"], "status": body["status"],
                    "created_at": utc(0), "resolved_at": null, "updated_at": utc(0)});
                if body["component_ids"].as_array().is_some_and(|ids| !ids.is_empty()) {
                    row["components"] = json!([{"id": 1, "name": "Shop"}]);
                }
                self.incidents = vec![row.clone()];
                Json(201, row)
            }
            ["status", "incidents", _, "updates"] => match self.incidents.first_mut() {
                Some(row) => {
                    row["status"] = body["status"].clone();
                    Json(
                        201,
                        json!({"id": 1, "incident_id": 1, "status": body["status"],
                        "message": body["message"], "is_auto": false, "created_at": utc(0)}),
                    )
                }
                None => error(404, "not_found"),
            },
            ["status", "maintenance"] => Json(
                201,
                json!({"id": 1, "title": body["title"],
                "description": "", "starts_at": body["starts_at"], "ends_at": body["ends_at"],
                "active": false, "incident_id": null, "created_at": stored(0),
                "updated_at": stored(0)}),
            ),
            _ => Plain(405, "Method Not Allowed\n"),
        }
    }
}
