//! What the tools say of endpoints, heartbeats and certificates: in front of a collector, and of an
//! existing server of the contract.

use serde_json::{Value, json};

use crate::clock::{TURN, by_turns};
use crate::fake::{Answer, Client, Fake, contract, error, nobody, object};

/// Nothing of this may be in any answer.
const SECRETS: [&str; 6] = [
    "hunter2",
    "header-secret",
    "query-secret",
    "0190b7a4-1111-7222-8333-444455556666",
    "0190b7a4-1111-7222-8333-444455557777",
    "\u{202e}",
];
pub(crate) const PING: &str = "0190b7a4-1111-7222-8333-444455556666";
const TARGET: &str = "https://ops:hunter2@shop.example.org/health?key=query-secret";

fn endpoint(id: i64, status: &str, rest: Value) -> Value {
    let base = json!({
        "id": id, "container_name": "", "label_key": "", "external_id": "",
        "endpoint_type": "http", "target": TARGET, "status": status, "alert_state": "normal",
        "consecutive_failures": 0, "consecutive_successes": 0,
        "last_check_at": "2026-05-05T12:00:00+02:00", "last_response_time_ms": 12,
        "last_http_status": 200, "config": {"interval": "30s", "timeout": "10s",
            "failure_threshold": 3, "recovery_threshold": 2, "method": "GET",
            "expected_status": "2xx", "tls_verify": true, "max_redirects": 5,
            "headers": {"Authorization": "Bearer header-secret"}},
        "active": true, "first_seen_at": "2026-05-01T10:00:00Z",
        "last_seen_at": "2026-05-05T10:00:00Z", "source": "standalone"
    });
    object(base, rest)
}

fn down() -> Value {
    json!({"name": "shop", "alert_state": "alerting", "consecutive_failures": 3,
           "last_http_status": 503, "last_error": format!("Get \"{TARGET}\": status 503\u{202e}")})
}

fn endpoints(rest: impl Fn(i64) -> Value) -> Vec<Value> {
    let evil = json!({"name": "evil\u{202e}\u{1b}[2J", "container_name": "web",
                      "endpoint_type": "tcp", "target": "db:5432", "source": "label"});
    let stopped = json!({"name": "", "container_name": "job", "last_error": "container stopped",
                         "last_response_time_ms": 0, "last_check_at": null, "source": "label"});
    vec![
        object(endpoint(1, "up", evil), rest(1)),
        object(endpoint(2, "down", down()), rest(2)),
        object(endpoint(3, "resting", stopped), rest(3)),
    ]
}

fn check(minute: i64, success: bool) -> Value {
    let failed = json!({"http_status": 503, "error_message": format!("{TARGET} says 503")});
    object(
        json!({"id": minute, "endpoint_id": 2, "success": success, "response_time_ms": minute,
               "timestamp": format!("2026-05-05T12:{minute:02}:00+02:00")}),
        if success { json!({"http_status": 200}) } else { failed },
    )
}

fn heartbeats() -> Vec<Value> {
    let row = |id: i64, name: &str, rest: Value| {
        let base = json!({
            "id": id, "uuid": PING, "name": name, "status": "up", "alert_state": "normal",
            "interval_seconds": 3600, "grace_seconds": 300, "consecutive_failures": 0,
            "consecutive_successes": 4, "active": true, "last_ping_at": "2026-05-05T12:00:00+02:00",
            "created_at": "2026-05-01T10:00:00+02:00", "updated_at": "2026-05-01T10:00:00+02:00"
        });
        object(base, rest)
    };
    vec![
        row(1, &format!("backup /ping/{PING}"), json!({"last_exit_code": 0})),
        row(2, "report\u{202e} 0190b7a4-1111-7222-8333-444455557777", json!({"status": "down"})),
        row(3, "sync", json!({"status": "paused", "last_ping_at": "0001-01-01T00:00:00Z"})),
        row(4, "never", json!({"status": "new", "last_ping_at": null})),
    ]
}

fn certificates(rest: &Value) -> Vec<Value> {
    let row = |id: i64, host: &str, status: &str, check: Value| {
        json!({"id": id, "hostname": host, "port": 443, "source": "auto", "status": status,
               "check_interval_seconds": 43200, "warning_thresholds": [30, 14],
               "last_check_at": "2026-05-05T12:00:00+02:00", "ca_certificates": "header-secret",
               "created_at": "2026-05-01T12:00:00+02:00", "latest_check": check})
    };
    let check = |end: &str| {
        json!({"id": 1, "monitor_id": 1, "subject_cn": "shop\u{202e}", "issuer_cn": "R11",
               "issuer_org": "Let's Encrypt", "sans": ["a", "b"], "not_after": end,
               "chain_valid": true, "hostname_match": true, "checked_at": "2026-05-05T12:00:00Z"})
    };
    vec![
        row(1, "fine.example.org", "valid", check("2099-01-01T00:00:00+01:00")),
        row(2, "shop.example.org", "valid", object(check("2098-01-01T00:00:00Z"), rest.clone())),
        row(3, "gone.example.org", "error", Value::Null),
    ]
}

/// An existing server: no uptime in lists, no statistics, no verdicts, no since.
pub(crate) fn v1(path: &str, nth: usize) -> Answer {
    let (route, query) = path.split_once('?').unwrap_or((path, ""));
    match route {
        "endpoints" => (200, json!({"endpoints": endpoints(|_| json!({})), "total": 3})),
        "endpoints/2" => (
            200,
            json!({"endpoint": endpoint(2, "down", down()),
                   "uptime": {"1h": 0, "24h": 99.5, "7d": 100, "30d": 98}}),
        ),
        "endpoints/3" => (
            200,
            json!({"endpoint": endpoint(3, "unknown", json!({"last_check_at": null})),
                   "uptime": {"24h": 0, "30d": 0}}),
        ),
        "endpoints/1" => error(500, "INTERNAL_ERROR", "database is locked"),
        "endpoints/2/checks" if query == "limit=1&offset=2" => {
            (200, json!({"endpoint_id": 2, "checks": [check(7, false)], "total": 9}))
        }
        "endpoints/2/checks" => {
            let checks: Vec<Value> =
                (1..=9).rev().map(|minute| check(minute, minute < 7 && minute != 3)).collect();
            (200, json!({"endpoint_id": 2, "checks": checks, "total": 9, "has_more": false}))
        }
        "heartbeats" => (200, json!({"heartbeats": heartbeats(), "total": 4})),
        "certificates" => {
            let rest = json!({"chain_valid": false, "chain_error": "unknown authority hunter2"
                .replace("hunter2", "password=hunter2")});
            (200, json!({"certificates": certificates(&rest), "total": 3}))
        }
        _ if route.ends_with("/checks") => {
            (200, json!({"endpoint_id": 0, "checks": null, "total": 0, "has_more": false}))
        }
        _ if route.ends_with("/statistics") => (404, json!("404 page not found\n")),
        _ if route.starts_with("endpoints/") => {
            error(404, "ENDPOINT_NOT_FOUND", "endpoint not found")
        }
        _ => contract(path, nth),
    }
}

fn ours(path: &str, nth: usize) -> Answer {
    let (route, _) = path.split_once('?').unwrap_or((path, ""));
    let facts = |id: i64| {
        let mut facts = json!({"status_since": format!("2026-05-05T09:0{id}:00Z"),
            "uptime": {"24h": 99.5, "30d": null}, "uptime_coverage": {"24h": 50.0, "30d": 0.0}});
        if id == 2 {
            facts["last_cause"] = json!("status");
        }
        facts
    };
    match route {
        "endpoints" => (200, json!({"endpoints": endpoints(facts), "total": 3})),
        "endpoints/2" => (
            200,
            json!({"endpoint": object(endpoint(2, "down", down()), facts(2)),
                   "uptime": {"1h": 0, "24h": 99.5}, "uptime_coverage": {"1h": 100, "24h": 50}}),
        ),
        "endpoints/2/statistics" => (
            200,
            json!({"endpoint_id": 2, "since": "2026-05-04T10:00:00.5Z",
                   "until": "2026-05-05T10:00:00Z", "checks": 2880, "failures": 4, "p50_ms": 10,
                   "p95_ms": 20, "max_ms": 30, "uptime_percent": 99.86, "coverage_percent": 100.0,
                   "outages_left_out": 1,
                   "causes": [{"cause": "status", "count": 4, "first_at": "2026-05-05T09:00:00Z",
                               "last_at": "2026-05-05T09:02:00Z", "error": TARGET}],
                   "outages": [{"from": "2026-05-05T09:00:00Z", "failures": 4, "cause": "status",
                                "error": format!("{TARGET} says 503")}]}),
        ),
        "certificates" => {
            let rest = json!({"verdict": "incomplete_chain", "hint": "Serve the intermediate.",
                              "days_remaining": 26000, "warnings": null});
            (200, json!({"certificates": certificates(&rest), "total": 3}))
        }
        _ => v1(path, nth),
    }
}

async fn client(answers: fn(&str, usize) -> Answer) -> (Client, Fake) {
    let fake = Fake::tcp(answers).await;
    (Client::new(&fake.url).await, fake)
}

/// The answer of a tool, which holds no secret.
async fn call(client: &Client, tool: &'static str, arguments: Value) -> Value {
    let answer = client.call(tool, arguments).await;
    let text = answer.to_string();
    for secret in SECRETS {
        assert!(!text.contains(secret), "{tool} tells {secret:?}: {text}");
    }
    answer
}

fn ids(answer: &Value, rows: &str) -> Vec<i64> {
    answer[rows].as_array().unwrap().iter().map(|row| row["id"].as_i64().unwrap()).collect()
}

#[tokio::test]
async fn which_endpoints_are_down_and_since_when_is_one_call() {
    let (client, fake) = client(ours).await;
    let answer = call(&client, "list_endpoints", json!({})).await;
    let summary = json!({"total": 3, "up": 1, "down": 1, "unknown": 1, "alerting": 1});
    assert_eq!(answer["summary"], summary);
    let error = "Get \"https://shop.example.org/health?key=[redacted]\": status 503\\u{202e}";
    let expected = json!([
        {"id": 2, "name": "shop", "type": "http",
         "target": "https://shop.example.org/health?key=[redacted]", "status": "down",
         "since": "2026-05-05T09:02:00Z", "alerting": true, "cause": "status", "error": error,
         "response_time_ms": 12, "http_status": 503, "uptime_24h": 99.5, "coverage_24h": 50.0,
         "last_check": "2026-05-05T10:00:00Z", "source": "standalone"},
        {"id": 3, "name": "job", "type": "http",
         "target": "https://shop.example.org/health?key=[redacted]", "status": "unknown",
         "since": "2026-05-05T09:03:00Z", "error": "container stopped", "http_status": 200,
         "uptime_24h": 99.5, "coverage_24h": 50.0, "source": "label"},
        {"id": 1, "name": "evil\\u{202e}", "container": "web", "type": "tcp", "target": "db:5432",
         "status": "up", "since": "2026-05-05T09:01:00Z", "response_time_ms": 12,
         "http_status": 200, "uptime_24h": 99.5, "coverage_24h": 50.0,
         "last_check": "2026-05-05T10:00:00Z", "source": "label"}
    ]);
    assert_eq!(answer["endpoints"], expected);
    assert!(answer["hint"].as_str().unwrap().contains("Status unknown for 1 endpoint"));
    assert_eq!(fake.paths(), ["endpoints?uptime=24h%2C30d"]);
}

#[tokio::test]
async fn a_server_that_lists_no_uptime_is_asked_for_each_shown() {
    let (client, fake) = client(v1).await;
    let answer = call(&client, "list_endpoints", json!({})).await;
    assert_eq!(ids(&answer, "endpoints"), [2, 3, 1]);
    let [shop, job, evil] = answer["endpoints"].as_array().unwrap().as_slice() else { panic!() };
    assert_eq!(shop["since"], "2026-05-05T10:07:00Z", "the first failure of three");
    assert_eq!((&shop["uptime_24h"], &shop["uptime_30d"]), (&json!(99.5), &json!(98.0)));
    assert!(job.get("uptime_24h").is_none(), "never checked: {job}");
    assert!(evil.get("uptime_24h").is_none() && evil["status"] == "up", "refused: {evil}");
    assert_eq!(fake.paths().len(), 5);

    let fewer = Fake::tcp(v1).await;
    let first = json!({"limit": 1, "status": "down"});
    call(&Client::new(&fewer.url).await, "list_endpoints", first).await;
    assert_eq!(fewer.paths().len(), 3, "only what is shown: {:?}", fewer.paths());
}

#[tokio::test]
async fn endpoints_are_narrowed_and_paged() {
    let (client, _fake) = client(ours).await;
    let only =
        async |arguments| ids(&call(&client, "list_endpoints", arguments).await, "endpoints");
    assert_eq!(only(json!({"status": "DOWN"})).await, [2]);
    assert_eq!(only(json!({"alerting": false})).await, [3, 1]);
    assert_eq!(only(json!({"container": "web"})).await, [1]);
    assert_eq!(only(json!({"type": "tcp"})).await, [1]);
    assert_eq!(only(json!({"name": "SHOP.example"})).await, [2, 3]);
    assert_eq!(only(json!({"name": "evil"})).await, [1]);
    // What is not shown cannot be guessed at.
    assert_eq!(only(json!({"name": "hunter2"})).await, [0; 0]);
    assert_eq!(only(json!({"name": "query-s"})).await, [0; 0]);

    let first = call(&client, "list_endpoints", json!({"limit": 2})).await;
    let next = json!({"limit": 2, "cursor": first["next_cursor"]});
    assert_eq!(ids(&call(&client, "list_endpoints", next).await, "endpoints"), [1]);
    let narrowed = call(&client, "list_endpoints", json!({"status": "down"})).await;
    assert_eq!(narrowed["summary"], json!({"total": 3, "matching": 1, "down": 1, "alerting": 1}));
}

#[tokio::test]
async fn wrong_arguments_are_refused_with_what_is_accepted() {
    let (client, fake) = client(ours).await;
    let cases = [
        ("list_endpoints", json!({"status": "dwon"}), "one of: up, down, unknown"),
        ("list_endpoints", json!({"type": "icmp"}), "one of: http, tcp"),
        ("list_endpoints", json!({"alerting": "yes"}), "at `alerting`"),
        ("list_endpoints", json!({"limit": 101}), "from 1 to 100"),
        ("get_endpoint_history", json!({}), "missing field `endpoint_id`"),
        ("get_endpoint_history", json!({"endpoint_id": "shop"}), "expected a whole number"),
        ("get_endpoint_history", json!({"endpoint_id": 2, "limit": 501}), "from 0 to 500"),
        ("get_endpoint_history", json!({"endpoint_id": 2, "since": "noon"}), "15m, 2h or 7d"),
        (
            "get_endpoint_history",
            json!({"endpoint_id": 2, "since": "1h", "until": "2h"}),
            "no check can lie between",
        ),
        ("list_heartbeats", json!({"status": "late"}), "one of: new, up, down, started"),
        ("list_certificates", json!({"verdict": "selfsigned"}), "Did you mean `self_signed`?"),
        ("list_certificates", json!({"expires_within_days": -1}), "from 0 to 3650"),
        ("list_certificates", json!({"cursor": "x"}), "call again without it"),
    ];
    for (tool, arguments, part) in cases {
        let sentence = client.error(tool, arguments).await;
        assert!(sentence.contains(part), "{sentence}");
    }
    assert_eq!(fake.paths(), Vec::<String>::new(), "nothing was asked upstream");
}

#[tokio::test]
async fn a_history_says_the_numbers_of_the_server_first() {
    let (client, fake) = client(ours).await;
    let arguments = json!({"endpoint_id": 2, "limit": 2, "since": "2026-05-04T10:00:00.5Z"});
    let answer = call(&client, "get_endpoint_history", arguments).await;
    let keys: Vec<&String> = answer.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["hint", "endpoint", "statistics", "checks"]);
    let target = "https://shop.example.org/health?key=[redacted]";
    assert_eq!(
        answer["statistics"],
        json!({"since": "2026-05-04T10:00:00Z", "until": "2026-05-05T10:00:00Z", "checks": 2880,
               "failures": 4, "uptime_percent": 99.86, "p50_ms": 10, "p95_ms": 20, "max_ms": 30,
               "causes": [{"cause": "status", "count": 4, "first_at": "2026-05-05T09:00:00Z",
                           "last_at": "2026-05-05T09:02:00Z", "error": target}],
               "outages": [{"from": "2026-05-05T09:00:00Z", "failures": 4, "cause": "status",
                            "error": format!("{target} says 503")}],
               "outages_left_out": 1})
    );
    assert_eq!(answer["endpoint"]["since"], "2026-05-05T09:02:00Z");
    assert_eq!(answer["endpoint"]["uptime_percent"], json!({"1h": 0.0, "24h": 99.5}));
    assert_eq!(answer["checks"].as_array().unwrap().len(), 2);
    assert_eq!(answer["checks"][0]["at"], "2026-05-05T10:09:00Z");
    let paths = fake.paths();
    let statistics = "endpoints/2/statistics?since=2026-05-04T10%3A00%3A00.5Z";
    let checks = "endpoints/2/checks?limit=2&since=1777888800";
    assert_eq!(paths, ["endpoints/2", statistics, checks]);
}

#[tokio::test]
async fn where_the_server_counts_nothing_the_checks_are_counted_here() {
    let (client, _fake) = client(v1).await;
    let span = json!({"endpoint_id": 2, "since": "2026-05-05T10:02:00Z",
                      "until": "2026-05-05T10:08:00Z", "failures_only": true});
    let answer = call(&client, "get_endpoint_history", span).await;
    let numbers = &answer["statistics"];
    assert_eq!((&numbers["checks"], &numbers["failures"]), (&json!(7), &json!(3)));
    assert_eq!((&numbers["p50_ms"], &numbers["max_ms"]), (&json!(4), &json!(6)));
    assert_eq!(numbers["causes"][0]["cause"], "status");
    assert_eq!(numbers["outages"][0]["from"], "2026-05-05T10:07:00Z");
    assert_eq!(numbers["outages"][1]["to"], "2026-05-05T10:04:00Z");
    assert!(numbers.get("uptime_percent").is_none());
    let times: Vec<&Value> =
        answer["checks"].as_array().unwrap().iter().map(|check| &check["at"]).collect();
    assert_eq!(times, ["2026-05-05T10:08:00Z", "2026-05-05T10:07:00Z", "2026-05-05T10:03:00Z"]);
    let hint = answer["hint"].as_str().unwrap();
    assert!(hint.contains("counted from all 7 checks of the span, without uptime"), "{hint}");
}

#[tokio::test]
async fn more_checks_than_are_read_are_said() {
    let fake = Fake::tcp(|path, nth| {
        if !path.starts_with("endpoints/2/checks") {
            return v1(path, nth);
        }
        let checks: Vec<Value> = (0..500).map(|n| check(n % 60, true)).collect();
        (200, json!({"endpoint_id": 2, "checks": checks, "total": 90_000, "has_more": true}))
    })
    .await;
    let client = Client::new(&fake.url).await;
    let span = json!({"endpoint_id": 2, "since": "2026-05-05T00:00:00Z", "limit": 500});
    let answer = call(&client, "get_endpoint_history", span).await;
    assert_eq!(answer["statistics"]["checks"], 2000);
    let hint = answer["hint"].as_str().unwrap();
    assert!(hint.contains("from the newest 2000 checks") && hint.contains("for size"), "{hint}");
    assert!(answer.to_string().len() <= 32 * 1024);
    assert_eq!(fake.paths().iter().filter(|path| path.contains("/checks")).count(), 4);
    let span = json!({"endpoint_id": 2, "since": "2026-05-01T00:00:00Z",
                      "until": "2026-05-02T00:00:00Z"});
    let answer = call(&client, "get_endpoint_history", span).await;
    let hint = answer["hint"].as_str().unwrap();
    assert!(hint.contains("nothing is known of it") && !hint.contains("No check"), "{hint}");
}

#[tokio::test]
async fn an_endpoint_that_does_not_exist_is_no_empty_history() {
    for server in [ours, v1] {
        let (client, _fake) = client(server).await;
        let sentence = client.error("get_endpoint_history", json!({"endpoint_id": 77})).await;
        assert!(sentence.contains("no endpoint with id 77"), "{sentence}");
        assert!(sentence.contains("list_endpoints"), "{sentence}");
    }
}

#[tokio::test]
async fn an_id_that_two_collectors_have_asks_which() {
    let (one, two) = (Fake::tcp(ours).await, Fake::tcp(v1).await);
    let url = format!("prod={},lab={},off={}", one.url, two.url, nobody());
    let client = Client::new(&url).await;
    let sentence = client.error("get_endpoint_history", json!({"endpoint_id": 2})).await;
    assert!(sentence.contains("repeat the call with `collector`"), "{sentence}");
    let sentence = client.error("get_endpoint_history", json!({"endpoint_id": 77})).await;
    assert!(sentence.contains("do not answer: off"), "{sentence}");
    let arguments = json!({"endpoint_id": 2, "collector": "lab"});
    let answer = call(&client, "get_endpoint_history", arguments).await;
    assert_eq!(answer["endpoint"]["collector"], "lab");
    assert!(!answer["hint"].as_str().unwrap().contains("off"), "only one was asked");
    let client_of_one = Client::new(&format!("prod={},off={}", one.url, nobody())).await;
    let found = call(&client_of_one, "get_endpoint_history", json!({"endpoint_id": 2})).await;
    assert!(found["hint"].as_str().unwrap().contains("do not answer: off"), "{found}");

    let list = call(&client, "list_endpoints", json!({})).await;
    assert_eq!(list["summary"]["total"], 6);
    assert_eq!(list["endpoints"][0]["collector"], "lab", "its since is not in the list");
    assert!(list["endpoints"][0]["uptime_24h"].is_number());
    assert_eq!(list["sources"][2]["ok"], false);
    for tool in ["list_heartbeats", "list_certificates"] {
        let answer = call(&client, tool, json!({})).await;
        assert_eq!(answer["sources"][2]["ok"], false, "{tool}");
    }
}

#[tokio::test]
async fn heartbeats_that_failed_come_first_and_no_id_of_a_ping_is_told() {
    let (client, _fake) = client(v1).await;
    let answer = call(&client, "list_heartbeats", json!({})).await;
    assert_eq!(ids(&answer, "heartbeats"), [2, 4, 1, 3]);
    assert_eq!(
        answer["summary"],
        json!({"total": 4, "down": 1, "never_pinged": 1, "new": 1, "paused": 1, "up": 1})
    );
    assert_eq!(
        answer["heartbeats"][2],
        json!({"id": 1, "name": "backup /ping/[redacted]", "status": "up",
               "schedule": "every 1h, grace 5m", "last_ping": "2026-05-05T10:00:00Z",
               "last_exit_code": 0})
    );
    let only =
        async |arguments| ids(&call(&client, "list_heartbeats", arguments).await, "heartbeats");
    assert_eq!(only(json!({"status": "paused"})).await, [3]);
    assert_eq!(only(json!({"name": "BACK"})).await, [1]);
    assert_eq!(only(json!({"name": PING})).await, [0; 0]);
}

#[tokio::test]
async fn which_certificates_end_soon_is_one_call() {
    let (client, _fake) = client(ours).await;
    let answer = call(&client, "list_certificates", json!({})).await;
    assert_eq!(ids(&answer, "certificates"), [2, 3, 1]);
    assert_eq!(
        answer["certificates"][0],
        json!({"id": 2, "hostname": "shop.example.org", "port": 443, "status": "valid",
               "verdict": "incomplete_chain", "hint": "Serve the intermediate.",
               "expires": "2098-01-01T00:00:00Z", "days_remaining": 26000,
               "issuer": "R11 (Let's Encrypt)", "subject": "shop\\u{202e}", "names": 2,
               "last_check": "2026-05-05T10:00:00Z", "source": "auto"})
    );
    let summary = json!({"total": 3, "valid": 2, "error": 1, "expiring_within_30_days": 0});
    assert_eq!(answer["summary"], summary);
    let soon = call(&client, "list_certificates", json!({"expires_within_days": 30})).await;
    assert_eq!(soon["certificates"], json!([]));
    assert!(soon["hint"].as_str().unwrap().contains("end is not known: 1 certificate"));
    let only =
        async |arguments| ids(&call(&client, "list_certificates", arguments).await, "certificates");
    assert_eq!(only(json!({"hostname": "GONE"})).await, [3]);
    assert_eq!(only(json!({"verdict": "ok"})).await, [1]);
}

#[tokio::test]
async fn a_server_without_verdicts_does_not_call_a_bad_chain_good() {
    let (client, _fake) = client(v1).await;
    let answer = call(&client, "list_certificates", json!({})).await;
    let first = &answer["certificates"][0];
    assert_eq!((&first["id"], &first["verdict"]), (&json!(2), &json!("unacceptable")));
    assert_eq!(first["error"], "unknown authority password=[redacted]");
    assert!(first["days_remaining"].as_i64().unwrap() > 20_000, "computed from its end");
}

#[tokio::test]
async fn empty_and_missing_lists_are_told_apart() {
    for (tool, route, none) in [
        ("list_endpoints", "endpoints", "No endpoint is declared"),
        ("list_heartbeats", "heartbeats", "No heartbeat is set up"),
        ("list_certificates", "certificates", "No certificate is watched"),
    ] {
        for empty in [json!({}), json!({route: null, "total": 0})] {
            let fake = Fake::tcp(move |_, _| (200, empty.clone())).await;
            let answer = call(&Client::new(&fake.url).await, tool, json!({})).await;
            assert_eq!((&answer[route], &answer["summary"]["total"]), (&json!([]), &json!(0)));
            assert!(answer["hint"].as_str().unwrap().contains(none));
        }
        let fake = Fake::tcp(|_, _| (404, json!("404 page not found\n"))).await;
        let sentence = Client::new(&fake.url).await.error(tool, json!({})).await;
        assert!(sentence.contains("does not offer this function"), "{sentence}");
    }
}

#[tokio::test]
async fn ten_thousand_endpoints_and_the_like_stay_small() {
    let _clock = by_turns(TURN);
    let fake = Fake::tcp(|path, nth| {
        let (route, _) = path.split_once('?').unwrap_or((path, ""));
        let many = |count: i64, row: &Value| -> Vec<Value> {
            (1..=count).map(|id| object(row.clone(), json!({"id": id}))).collect()
        };
        let uptime = json!({"uptime": {"24h": 99.99, "30d": 99.99}, "name": "shop-service",
                            "uptime_coverage": {"24h": 99.0, "30d": 99.0}});
        match route {
            "endpoints" => {
                let row = object(endpoint(1, "up", json!({})), uptime);
                (200, json!({"endpoints": many(10_000, &row)}))
            }
            "heartbeats" => (200, json!({"heartbeats": many(1000, &heartbeats()[1])})),
            "certificates" => {
                (200, json!({"certificates": many(1000, &certificates(&json!({}))[1])}))
            }
            _ => v1(path, nth),
        }
    })
    .await;
    let client = Client::new(&fake.url).await;
    for (tool, rows, total) in [
        ("list_endpoints", "endpoints", 10_000),
        ("list_heartbeats", "heartbeats", 1000),
        ("list_certificates", "certificates", 1000),
    ] {
        let result = client.result(tool, json!({})).await;
        let wire = serde_json::to_string(&result).unwrap().len();
        assert!(wire <= 10_000, "{tool}: {wire} bytes");
        let answer = call(&client, tool, json!({"limit": 100})).await;
        assert!(answer.to_string().len() <= 32 * 1024);
        assert!(ids(&answer, rows).len() > 50 && answer["next_cursor"].is_string());
        assert_eq!(answer["summary"]["total"], total);
    }
}
