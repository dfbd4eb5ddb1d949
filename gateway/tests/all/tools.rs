//! What each tool answers.

use serde_json::{Value, json};

use crate::clock::{TURN, by_turns};
use crate::fake::{Answer, Client, Fake, contract, error, nobody};

async fn client() -> (Client, Fake) {
    let fake = Fake::tcp(contract).await;
    (Client::new(&fake.url).await, fake)
}

fn names(answer: &Value) -> Vec<&str> {
    let rows = answer["containers"].as_array().unwrap();
    rows.iter().map(|row| row["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn the_worst_container_comes_first_and_all_are_counted() {
    let (client, fake) = client().await;
    let answer = client.call("list_containers", json!({})).await;
    let evil = "evil\\u{202e}name";
    assert_eq!(names(&answer), ["shop-db-1", "web", evil, "shop-api-1", "shop-job-1"]);
    assert_eq!(
        answer["summary"],
        json!({"total": 5, "running": 2, "unhealthy": 1, "completed": 1, "exited": 1, "unknown": 1})
    );
    assert_eq!(
        answer["containers"][0],
        json!({"name": "shop-db-1", "id": "2", "state": "exited", "group": "shop",
               "image": "registry.example.org/shop:1", "since": "2026-05-05T10:00:00Z"})
    );
    assert!(answer["hint"].as_str().unwrap().contains("State unknown for 1 container"));
    assert!(answer.get("sources").is_none());
    assert_eq!(fake.paths(), ["containers"]);
}

#[tokio::test]
async fn filters_narrow_and_pages_continue() {
    let (client, _fake) = client().await;
    let only = async |arguments| names(&client.call("list_containers", arguments).await).join(",");
    assert_eq!(only(json!({"state": "Exited"})).await, "shop-db-1");
    assert_eq!(only(json!({"health": "none", "group": "shop"})).await, "shop-db-1,shop-job-1");
    assert_eq!(only(json!({"name": "API"})).await, "shop-api-1");
    assert_eq!(only(json!({"name": "zzz"})).await, "");

    let first = client.call("list_containers", json!({"limit": 2.0})).await;
    assert_eq!(names(&first), ["shop-db-1", "web"]);
    let cursor = &first["next_cursor"];
    let second = client.call("list_containers", json!({"limit": 3, "cursor": cursor})).await;
    assert_eq!(names(&second)[1..], ["shop-api-1", "shop-job-1"]);
    assert!(second.get("next_cursor").is_none());
    let mixed = json!({"cursor": cursor, "state": "running"});
    assert!(client.error("list_containers", mixed).await.contains("other filters"));
}

#[tokio::test]
async fn wrong_arguments_are_refused_by_name_with_what_is_accepted() {
    let (client, fake) = client().await;
    let cases = [
        (json!({"lmit": 3}), "unknown field `lmit`, expected one of `state`"),
        (json!({"limit": "3"}), "at `limit`: invalid type: string \"3\""),
        (json!({"limit": 0}), "`limit` is 0; it must be from 1 to 100"),
        (json!({"state": "runing"}), "Did you mean `running`?"),
        (json!({"health": "sick"}), "one of: healthy, unhealthy, starting, none"),
        (json!({"cursor": "x"}), "call again without it"),
        (json!({"collector": "prod"}), "this gateway asks: collector"),
    ];
    for (arguments, part) in cases {
        let sentence = client.error("list_containers", arguments).await;
        assert!(sentence.contains(part), "{sentence}");
    }
    let cases = [
        (json!({"container_id": "2", "lines": 1001}), "from 1 to 1000"),
        (json!({"container_id": "2", "stream": "stdin"}), "stdout, stderr, all"),
        (json!({"container_id": "2", "since": "yesterday"}), "`since`: not a time"),
        (json!({"container_id": "2", "since": "1h", "until": "2h"}), "is not before `until`"),
        (json!({"container_id": "2", "grep": "("}), r"plain text `\(`"),
        (json!({}), "missing field `container_id`"),
        (json!({"container_id": " "}), "it is empty"),
    ];
    for (arguments, part) in cases {
        let sentence = client.error("get_container_logs", arguments).await;
        assert!(sentence.contains(part), "{sentence}");
    }
    assert_eq!(fake.paths(), Vec::<String>::new(), "nothing was asked upstream");
}

#[tokio::test]
async fn a_container_is_found_by_id_name_docker_id_and_service() {
    let (client, fake) = client().await;
    for wanted in ["2", "shop-db-1", "/shop-db-1", "02ABCC", "db"] {
        let answer = client.call("get_container", json!({"container_id": wanted})).await;
        assert_eq!(answer["container"]["id"], "2", "{wanted}");
    }
    // Found by the name that list_containers shows; this server then has no details of it.
    let shown = json!({"container_id": "evil\\u{202e}name"});
    assert!(client.error("get_container", shown).await.contains("no such object"));
    let paths = fake.paths();
    let transitions = "containers/2/transitions?since=1970-01-01T00%3A00%3A00Z&limit=10";
    assert!(paths.iter().any(|path| path == transitions), "{paths:?}");
}

#[tokio::test]
async fn a_container_is_explained() {
    let (client, _fake) = client().await;
    let answer = client.call("get_container", json!({"container_id": "db"})).await;
    insta::assert_json_snapshot!(answer, @r#"
    {
      "container": {
        "name": "shop-db-1",
        "id": "2",
        "state": "exited",
        "has_health_check": false,
        "exit_code": 137,
        "exit_reason": "oom_killed",
        "oom_killed": true,
        "error_detail": "oom",
        "restart_count": 0,
        "last_state_change_at": "2026-05-05T10:00:00Z",
        "first_seen_at": "2026-05-01T08:00:00Z",
        "image": "registry.example.org/shop:1",
        "group": "shop",
        "service": "db",
        "compose_working_dir": "/srv/shop",
        "docker_id": "02abcccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc",
        "uptime_percent": {
          "24h": 12.5
        },
        "uptime_coverage_percent": {
          "24h": 50.0
        }
      },
      "security_insight_count": 2,
      "security_insights": [
        {
          "severity": "critical",
          "title": "Database port 5432",
          "since": "2026-05-05T10:00:00Z"
        },
        {
          "severity": "medium",
          "title": "A node's port",
          "since": "2026-05-05T10:00:00Z"
        }
      ],
      "transitions": [
        {
          "at": "2026-05-05T10:00:00Z",
          "from": "running",
          "to": "exited",
          "exit_code": 137,
          "exit_reason": "oom_killed",
          "oom_killed": true,
          "observed_by": "event",
          "last_log_lines": [
            "starting",
            "DB_PASSWORD=[redacted]",
            "out of memory"
          ]
        }
      ],
      "transitions_total": 31
    }
    "#);
}

#[tokio::test]
async fn dangers_that_are_not_known_are_not_taken_for_none() {
    let check = async |insights: Answer, hint: Option<&str>| {
        let fake = Fake::tcp(move |path, nth| match path {
            "security/insights/2" => insights.clone(),
            _ => contract(path, nth),
        })
        .await;
        let client = Client::new(&fake.url).await;
        let answer = client.call("get_container", json!({"container_id": "db"})).await;
        assert!(answer.get("security_insight_count").is_none(), "{answer}");
        match hint {
            None => assert!(answer.get("hint").is_none(), "{answer}"),
            Some(part) => assert!(answer["hint"].as_str().unwrap().contains(part), "{answer}"),
        }
    };
    check((404, json!("404 page not found\n")), None).await;
    check(error(404, "CONTAINER_NOT_FOUND", "gone"), None).await;
    let missing =
        "The security insights are missing: Collector `collector` answered with status 500";
    check(error(500, "INTERNAL_ERROR", "locked"), Some(missing)).await;
    let unscanned = json!({"container_id": 2, "container_name": "shop-db-1", "count": 0,
                           "highest_severity": null, "insights": [], "scanned": false});
    check((200, unscanned), Some("nothing is known of its dangers")).await;
}

#[tokio::test]
async fn labels_that_could_not_be_read_are_told() {
    let fake = Fake::tcp(|path, nth| {
        let (status, mut answer) = contract(path, nth);
        if path == "containers/2" {
            let problem = |n: i32| {
                json!({"container_id": 2, "container_name": "shop-db-1",
                       "label_key": format!("maintenant.endpoint.{n}.http\u{202e}"),
                       "error": "https://u:hunter2@h/?k=v\u{1b}[31m is no URL", "since":
                       "2026-05-05T12:00:00+02:00"})
            };
            answer["config_problems"] = (0..12).map(problem).collect();
        }
        (status, answer)
    })
    .await;
    let client = Client::new(&fake.url).await;
    let answer = client.call("get_container", json!({"container_id": "db"})).await;
    let problems = answer["container"]["config_problems"].as_array().unwrap();
    assert_eq!(problems.len(), 10);
    assert_eq!(
        problems[0],
        json!({"label": "maintenant.endpoint.0.http\\u{202e}", "since": "2026-05-05T10:00:00Z",
               "error": "https://[redacted]@h/?k=[redacted] is no URL"})
    );
    assert!(answer["hint"].as_str().unwrap().contains("2 more labels could not be read"));
}

#[tokio::test]
async fn an_archived_container_is_found_by_its_id_alone() {
    let (client, _fake) = client().await;
    let answer = client.call("get_container", json!({"container_id": "9"})).await;
    assert_eq!(answer["container"]["archived"], true);
    assert_eq!(answer["transitions"], json!([]));
    assert!(answer["hint"].as_str().unwrap().contains("no longer exists"));
}

#[tokio::test]
async fn an_unknown_container_is_answered_with_its_neighbours() {
    let (client, _fake) = client().await;
    let sentence = client.error("get_container", json!({"container_id": "shop-bd-1"})).await;
    assert!(sentence.contains("no container `shop-bd-1`"), "{sentence}");
    assert!(sentence.contains("nearest names are: `shop-db-1`"), "{sentence}");
    let sentence = client.error("get_container", json!({"container_id": "77"})).await;
    assert!(sentence.contains("list_containers"), "{sentence}");
    let sentence = client.error("get_container", json!({"container_id": "evil"})).await;
    assert!(!sentence.contains('\u{202e}'), "{sentence}");
}

#[tokio::test]
async fn logs_come_clean_and_can_be_searched() {
    let (client, fake) = client().await;
    let answer =
        client.call("get_container_logs", json!({"container_id": "db", "since": "2h"})).await;
    assert_eq!(
        answer,
        json!({"container": "shop-db-1",
               "lines": ["2026 INFO ready", "2026 WARN token: [redacted]", "2026 ERROR Disk full",
                         "bold \\u{202e}text"],
               "returned": 4, "scanned": 4, "truncated": false, "redacted": 1})
    );
    let grep = json!({"container_id": "db", "grep": "disk|info", "lines": 1, "timestamps": true});
    let answer = client.call("get_container_logs", grep).await;
    assert_eq!(answer["lines"], json!(["2026 ERROR Disk full"]));
    assert_eq!((&answer["scanned"], &answer["truncated"]), (&json!(4), &json!(true)));
    let paths = fake.paths();
    let logs: Vec<&String> = paths.iter().filter(|path| path.contains("/logs")).collect();
    assert!(logs[0].starts_with("containers/2/logs?lines=100&since=20"), "{logs:?}");
    assert_eq!(logs[1], "containers/2/logs?lines=1000&timestamps=true");
}

#[tokio::test]
async fn logs_without_an_engine_say_so() {
    let (client, _fake) = client().await;
    let sentence = client.error("get_container_logs", json!({"container_id": "api"})).await;
    assert!(sentence.contains("cannot reach the Docker engine"), "{sentence}");
}

#[tokio::test]
async fn health_tells_what_works() {
    let (client, _fake) = client().await;
    let answer = client.call("get_health", json!({})).await;
    let keys: Vec<&String> = answer.as_object().unwrap().keys().collect();
    assert_eq!(keys[..4], ["status", "version", "runtime", "connected"]);
    assert_eq!((&answer["status"], &answer["connected"]), (&json!("ok"), &json!(true)));
    assert_eq!(answer["containers"]["total"], 5);
    assert!(answer.get("sources").is_none());
}

#[tokio::test]
async fn health_answers_when_the_collector_does_not() {
    let client = Client::new(&nobody()).await;
    let answer = client.call("get_health", json!({})).await;
    assert_eq!(answer["status"], "down");
    assert_eq!(answer["sources"][0]["ok"], false);
    assert!(answer["sources"][0]["error"].as_str().unwrap().contains("cannot be reached"));
}

#[tokio::test]
async fn a_collector_that_lost_docker_is_degraded() {
    let fake = Fake::tcp(|path, nth| match path {
        "runtime/status" => (
            200,
            json!({"runtime": "docker", "connected": false, "since": "2026-05-05T12:00:00+02:00",
                   "error": "permission denied\u{1b}[0m", "degraded": [
                       {"feature": "logs", "call": "GET /containers/{id}/logs", "error": "403"}]}),
        ),
        _ => contract(path, nth),
    })
    .await;
    let answer = Client::new(&fake.url).await.call("get_health", json!({})).await;
    assert_eq!((&answer["status"], &answer["connected"]), (&json!("degraded"), &json!(false)));
    assert_eq!(answer["since"], "2026-05-05T10:00:00Z");
    assert_eq!(answer["error"], "permission denied");
    assert_eq!(answer["degraded"][0]["feature"], "logs");
}

#[tokio::test]
async fn one_of_two_collectors_down_is_named_and_the_other_answers() {
    let fake = Fake::tcp(contract).await;
    let url = format!("prod={},lab={}", fake.url, nobody());
    let client = Client::new(&url).await;

    let list = client.call("list_containers", json!({"limit": 1})).await;
    assert_eq!(list["summary"]["total"], 5);
    assert_eq!(list["containers"][0]["collector"], "prod");
    assert_eq!(list["sources"][0], json!({"name": "prod", "ok": true}));
    assert_eq!(
        (&list["sources"][1]["name"], &list["sources"][1]["ok"]),
        (&json!("lab"), &json!(false))
    );

    let health = client.call("get_health", json!({})).await;
    assert_eq!(health["status"], "degraded");
    assert!(health["hint"].as_str().unwrap().contains("No answer from 1 collector"));

    let found = client.call("get_container", json!({"container_id": "db"})).await;
    assert_eq!(found["container"]["collector"], "prod");
    let sentence = client.error("get_container", json!({"container_id": "zzz"})).await;
    assert!(sentence.contains("do not answer: lab"), "{sentence}");

    let sentence = client.error("list_containers", json!({"collector": "lab"})).await;
    assert!(sentence.contains("Collector `lab` cannot be reached"), "{sentence}");
    let sentence = client.error("list_containers", json!({"collector": "prd"})).await;
    assert!(sentence.contains("Did you mean `prod`?"), "{sentence}");
}

#[tokio::test]
async fn the_same_name_on_two_collectors_asks_which() {
    let (one, two) = (Fake::tcp(contract).await, Fake::tcp(contract).await);
    let client = Client::new(&format!("prod={},lab={}", one.url, two.url)).await;
    let sentence = client.error("get_container", json!({"container_id": "web"})).await;
    assert!(sentence.contains("`web` (id 5 on prod), `web` (id 5 on lab)"), "{sentence}");
    let answer = json!({"container_id": "web", "collector": "lab", "transitions": 0});
    assert!(client.error("get_container", answer).await.contains("no such object"));
    let answer = json!({"container_id": "db", "collector": "lab", "transitions": 0});
    let answer = client.call("get_container", answer).await;
    assert_eq!(answer["container"]["collector"], "lab");
    assert_eq!((&answer["transitions"], &answer["transitions_total"]), (&json!([]), &json!(31)));
}

#[tokio::test]
async fn each_refusal_of_a_collector_is_its_own_sentence() {
    let cases = [
        (error(401, "UNAUTHORIZED", "no"), "refused the gateway's credentials"),
        ((404, json!("404 page not found\n")), "does not offer this function"),
        ((302, json!("")), "answered with status 302"),
        (error(500, "INTERNAL_ERROR", "boom\u{1b}[2J"), "status 500 `INTERNAL_ERROR`: `boom`"),
        ((200, json!("not json")), "cannot read"),
        ((200, json!({"groups": 7})), "cannot read"),
    ];
    for (answer, part) in cases {
        let fake = Fake::tcp(move |_, _| answer.clone()).await;
        let sentence = Client::new(&fake.url).await.error("list_containers", json!({})).await;
        assert!(sentence.contains(part), "{sentence}");
        assert_eq!(fake.paths().len(), 1, "{sentence}");
    }
}

#[tokio::test]
async fn a_passing_gateway_error_is_asked_once_more() {
    for status in [502, 503, 504] {
        let fake = Fake::tcp(move |path, nth| match nth {
            1 => (status, json!("request timeout")),
            _ => contract(path, nth),
        })
        .await;
        let answer = Client::new(&fake.url).await.call("list_containers", json!({})).await;
        assert_eq!(answer["summary"]["total"], 5);
        assert_eq!(fake.paths(), ["containers", "containers"]);
    }
    let fake = Fake::tcp(|_, _| (503, json!("request timeout"))).await;
    let sentence = Client::new(&fake.url).await.error("list_containers", json!({})).await;
    assert!(sentence.contains("status 503"), "{sentence}");
    assert_eq!(fake.paths().len(), 2, "and no more than once");
}

#[tokio::test]
async fn a_collector_on_a_unix_socket_gets_the_token() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::unix(&folder.path().join("m.sock"), contract);
    let file = folder.path().join("token");
    std::fs::write(&file, "s3cret\n").unwrap();
    let file = format!("--api-token-file={}", file.display());
    let config = crate::fake::config(&["--url", &fake.url, &file]);
    let collectors = maintenant_gateway::Collectors::new(config.collectors).unwrap();
    collectors.all()[0].health().await.unwrap();
    let seen = fake.requests.lock().unwrap().clone();
    assert_eq!(seen[0].path, "health");
    assert_eq!(seen[0].authorization.as_deref(), Some("Bearer s3cret"));
}

#[tokio::test]
async fn logs_of_a_server_that_only_streams_are_read_from_its_stream() {
    let _clock = by_turns(TURN);
    let fake = Fake::tcp(|path, nth| {
        if !path.starts_with("containers/1/logs/stream") {
            return contract(path, nth);
        }
        let event = |n: i32| {
            format!(
                "event: container.log_line\ndata: {{\"container_id\":1,\"line\":\"line {n}\",\
                 \"stream\":\"stdout\",\"timestamp\":\"2026-05-05T10:00:0{n}Z\"}}\n\n"
            )
        };
        let end = "event: container.log_error\ndata: {\"error\":\"container stopped\"}\n\n";
        (200, json!(format!("{}{}{}{end}", event(1), event(2), event(3))))
    })
    .await;
    let client = Client::new(&fake.url).await;
    let arguments = json!({"container_id": "api", "lines": 2, "timestamps": true,
                           "since": "2026-05-05T10:00:02Z"});
    let answer = client.call("get_container_logs", arguments).await;
    assert_eq!(
        answer["lines"],
        json!(["2026-05-05T10:00:02Z line 2", "2026-05-05T10:00:03Z line 3"])
    );
    assert_eq!((answer["scanned"].as_u64(), answer.get("hint")), (Some(3), None));
    assert_eq!(answer["container"], "shop-api-1");
    assert!(fake.paths().contains(&"containers/1/logs/stream?lines=500".to_owned()));
}

#[tokio::test]
async fn an_answer_that_does_not_end_is_given_up() {
    let fake = Fake::tcp(|_, _| (200, json!(" ".repeat(33 << 20)))).await;
    let sentence = Client::new(&fake.url).await.error("list_containers", json!({})).await;
    assert!(sentence.contains("cannot read"), "{sentence}");
}
