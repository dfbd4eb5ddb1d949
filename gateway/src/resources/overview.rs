//! `monitor://overview`: the answers of the tools that list, cut down to what is in trouble.

use futures_util::future::join_all;
use jiff::Timestamp;
use maintenant_serve::clock;
use rmcp::RoleServer;
use rmcp::service::RequestContext;
use serde_json::{Map, Value, json};

use super::{answer_of, arguments};
use crate::budget;
use crate::collectors::{NAMED, unlisted_in_trouble};
use crate::server::Gateway;
use crate::{time, untrusted};

/// Rows asked for; of more trouble than that only some is shown anyway.
const LIMIT: usize = 100;
const LENGTH_OF_AN_ERROR: usize = 300;

/// A part of the page.
struct Section {
    name: &'static str,
    tool: &'static str,
    /// The list in the tool's answer.
    rows: &'static str,
    /// Bytes that its rows may take.
    room: usize,
    is_trouble: fn(&Value) -> bool,
}

const SECTIONS: [Section; 6] = [
    Section {
        name: "alerts",
        tool: "list_alerts",
        rows: "alerts",
        room: 6 * 1024,
        is_trouble: |_| true,
    },
    Section {
        name: "containers",
        tool: "list_containers",
        rows: "containers",
        room: 2 * 1024,
        is_trouble: is_container_in_trouble,
    },
    Section {
        name: "endpoints",
        tool: "list_endpoints",
        rows: "endpoints",
        room: 2 * 1024,
        is_trouble: |row| row["status"] != "up" || row["alerting"] == true,
    },
    Section {
        name: "heartbeats",
        tool: "list_heartbeats",
        rows: "heartbeats",
        room: 2 * 1024,
        is_trouble: |row| {
            let bad = ["down", "unknown"].map(|status| row["status"] == status).contains(&true);
            bad || row["alerting"] == true || row.get("problem").is_some()
        },
    },
    Section {
        name: "certificates",
        tool: "list_certificates",
        rows: "certificates",
        room: 2 * 1024,
        is_trouble: |row| row["status"] != "valid",
    },
    Section {
        name: "updates",
        tool: "get_updates",
        rows: "updates",
        room: 2 * 1024,
        is_trouble: |_| true,
    },
];

/// It ended badly, is not well, or nobody knows.
fn is_container_in_trouble(row: &Value) -> bool {
    let word = |key: &str| row.get(key).and_then(Value::as_str).unwrap_or_default();
    match (word("state"), word("exit_reason")) {
        ("exited", "requested" | "completed") => false,
        // Servers that send no reason call a clean end `completed`.
        ("exited", "") => row["exit_code"] != 0,
        ("dead" | "restarting" | "unknown" | "exited", _) | ("created", "cannot_start") => true,
        _ => word("health") == "unhealthy",
    }
}

/// The page. What cannot be told is named in its place.
pub(super) async fn write(gateway: &Gateway, context: &RequestContext<RoleServer>) -> Value {
    let started = clock::now();
    let ask = |tool, arguments| async move {
        let answer = answer_of(gateway, tool, arguments, context.clone()).await;
        // A tool that is not offered has no place on the page.
        answer.ok().map(|answer| match answer {
            Ok(text) => serde_json::from_str(&text).unwrap_or_default(),
            Err(fault) => json!({"error": untrusted::text(&fault, LENGTH_OF_AN_ERROR)}),
        })
    };
    let answers =
        SECTIONS.iter().map(|section| ask(section.tool, arguments(json!({"limit": LIMIT}))));
    let (health, answers) = tokio::join!(ask("get_health", Map::new()), join_all(answers));
    let oldest = oldest(health.iter().chain(answers.iter().flatten()), started);
    let mut page = Map::new();
    page.extend(health.map(|health| ("monitoring".to_owned(), monitoring(health))));
    for (section, answer) in SECTIONS.iter().zip(answers) {
        page.extend(answer.map(|answer| (section.name.to_owned(), section.of(answer))));
    }
    page.extend(oldest.map(|moment| ("as_of".to_owned(), time::show(moment).into())));
    Value::Object(page)
}

/// From when the oldest of the answers is, unless the page itself asked for it.
fn oldest<'a>(answers: impl Iterator<Item = &'a Value>, started: Timestamp) -> Option<Timestamp> {
    let moments = answers.filter_map(|answer| answer.get("as_of")?.as_str()?.parse().ok());
    moments.min().filter(|moment| *moment < time::whole(started))
}

impl Section {
    fn of(&self, mut answer: Value) -> Value {
        let mut section = Map::new();
        if let Some(error) = answer.get_mut("error") {
            section.insert("error".to_owned(), error.take());
            return Value::Object(section);
        }
        for key in ["summary", "last_scan"] {
            section.extend(answer.get_mut(key).map(|value| (key.to_owned(), value.take())));
        }
        let unlisted = answer.get("hint").and_then(Value::as_str).map(unlisted_in_trouble);
        let has_more = answer.get("next_cursor").is_some();
        let rows = answer.get_mut(self.rows).map(Value::take);
        let Some(Value::Array(mut rows)) = rows else { return Value::Object(section) };
        rows.retain(self.is_trouble);
        let found = rows.len();
        let (rows, left_out) = budget::fit(rows, self.room);
        let more = left_out > 0 || has_more && found > 0;
        section.insert("worst".to_owned(), Value::Array(rows));
        if more {
            let count = if has_more { "more" } else { &format!("{left_out} more") };
            section.insert("left_out".to_owned(), format!("{count}: {}", self.tool).into());
        } else if let Some(hint) = answer.get_mut("hint").filter(|_| !has_more) {
            // With a further page it speaks of that.
            section.insert("hint".to_owned(), hint.take());
        }
        let failing = failing(&answer);
        if !failing.is_empty() {
            section.insert("not_answering".to_owned(), failing.into());
        }
        if let Some(more) = unlisted.filter(|more| *more > 0) {
            section.insert("more_not_answering".to_owned(), more.into());
        }
        Value::Object(section)
    }
}

/// Names of the collectors that are missing from an answer.
fn failing(answer: &Value) -> Vec<Value> {
    let sources = answer.get("sources").and_then(Value::as_array);
    let failing = sources.into_iter().flatten().filter(|source| source["ok"] == false);
    failing.map(|source| source["name"].clone()).take(NAMED).collect()
}

/// Its counts stand in the sections, and so do not here.
fn monitoring(mut health: Value) -> Value {
    if let Value::Object(health) = &mut health {
        for key in ["containers", "alerts", "degraded", "as_of"] {
            health.remove(key);
        }
        for source in health.get_mut("sources").and_then(Value::as_array_mut).into_iter().flatten()
        {
            if let Value::Object(source) = source {
                source.remove("degraded");
            }
        }
    }
    health
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_in_trouble_as_its_list_ranks_it() {
        let check = |row: Value, expected: bool| {
            assert_eq!(is_container_in_trouble(&row), expected, "{row}");
        };
        for state in ["dead", "restarting", "unknown"] {
            check(json!({"state": state}), true);
        }
        check(json!({"state": "exited", "exit_reason": "oom_killed"}), true);
        check(json!({"state": "exited"}), true);
        check(json!({"state": "exited", "exit_code": 0}), false);
        check(json!({"state": "exited", "exit_code": 137, "exit_reason": "requested"}), false);
        check(json!({"state": "created", "exit_reason": "cannot_start"}), true);
        check(json!({"state": "created"}), false);
        check(json!({"state": "running", "health": "unhealthy"}), true);
        check(json!({"state": "running", "health": "starting"}), false);
        check(json!({"state": "completed", "exit_code": 0}), false);
    }

    #[test]
    fn a_section_shows_trouble_only_and_counts_what_it_leaves_out() {
        let section = SECTIONS.iter().find(|section| section.name == "endpoints").unwrap();
        let row = |status: &str| json!({"id": 1, "status": status, "target": "x".repeat(200)});
        let rows: Vec<Value> =
            (0..20).map(|_| row("down")).chain((0..20).map(|_| row("up"))).collect();
        let answer = json!({"summary": {"total": 40}, "hint": "h", "endpoints": rows,
            "sources": [{"name": "a", "ok": true}, {"name": "b", "ok": false, "error": "e"}]});
        let cut = section.of(answer);
        assert!(budget::size(&cut) < section.room + 300, "{cut}");
        let shown = cut["worst"].as_array().unwrap().len();
        assert_eq!(cut["left_out"], format!("{} more: list_endpoints", 20 - shown));
        assert_eq!((&cut["summary"]["total"], &cut["not_answering"]), (&json!(40), &json!(["b"])));
        assert_eq!(cut.get("more_not_answering"), None);
        let calm = section.of(json!({"summary": {}, "hint": "h", "endpoints": [row("up")]}));
        assert_eq!(calm, json!({"summary": {}, "worst": [], "hint": "h"}));
    }
}
