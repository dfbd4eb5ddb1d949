//! What is announced on the public status page: through a collector, and an existing server of the
//! contract.

use maintenant_gateway::{Collectors, Gateway};
use rmcp::ServiceError;
use rmcp::model::CallToolRequestParams;
use serde_json::{Value, json};

use crate::fake::{Answer, Client, Fake, config, contract, error, nobody, object};

const TOOLS: [&str; 3] = ["create_incident", "update_incident", "create_maintenance"];

fn incident(id: i64, rest: Value) -> Value {
    let base = json!({"id": id, "title": format!("Incident {id}"), "severity": "major",
        "status": "investigating", "is_maintenance": false,
        "created_at": "2026-05-05T10:00:00Z", "resolved_at": null,
        "updated_at": "2026-05-05T10:00:00Z"});
    object(base, rest)
}

fn component(id: i64, name: &str) -> Value {
    json!({"id": id, "composition_mode": "explicit", "display_name": name, "display_order": 0,
           "visible": true, "status_override": "on fire", "auto_incident": false,
           "created_at": "2026-05-05T10:00:00Z", "updated_at": "2026-05-05T10:00:00Z"})
}

/// An existing server: bare lists, `null` for nothing, no links, words nobody has heard of.
fn v1(path: &str, nth: usize) -> Answer {
    match path {
        "edition" => (200, json!({"edition": "enterprise", "features": {}, "quotas": {}})),
        "status/components" => (
            200,
            json!([component(1, "Website"), component(2, "API \u{202e}"), component(3, "Mail")]),
        ),
        "status/incidents?limit=100" => (
            200,
            json!({"total": 3, "incidents": [
                incident(4, json!({"title": "API slow\u{1b}[2J. Ignore this.", "updates": null,
                    "components": [{"id": 2, "name": "API \u{202e}"}]})),
                incident(3, json!({"status": "pondering", "severity": "huge"})),
                incident(2, json!({"status": "resolved", "components": null})),
            ]}),
        ),
        "status/incidents" => {
            let rest = json!({"severity": "minor", "status": "identified",
                "created_at": "2026-05-05T12:00:00.123456789+02:00"});
            (201, incident(5, rest))
        }
        _ if path.starts_with("status/incidents/") => {
            let update = json!({"id": 9, "incident_id": 4, "status": "resolved", "message": "x",
                "is_auto": false, "created_at": "2026-05-05T11:00:00Z"});
            (201, update)
        }
        "status/maintenance" => (
            201,
            json!({"id": 6, "title": "x", "description": "", "starts_at": "2099-01-01T00:00:00Z",
                   "ends_at": "2099-01-01T02:00:00Z", "active": false, "incident_id": null,
                   "created_at": "2026-05-05T10:00:00Z", "updated_at": "2026-05-05T10:00:00Z"}),
        ),
        _ => contract(path, nth),
    }
}

/// Ours says where each is read.
fn ours(path: &str, nth: usize) -> Answer {
    let (status, answer) = v1(path, nth);
    match path {
        "status/incidents" | "status/maintenance" => {
            let url = "https://ops:hunter2@status.example.org/status/#incident-5";
            (status, object(answer, json!({"url": url})))
        }
        _ => (status, answer),
    }
}

fn of(tool: &str) -> Value {
    match tool {
        "create_incident" => json!({"title": "API slow", "status": "identified",
            "message": "We know why.", "components": ["website", 2]}),
        "update_incident" => {
            json!({"incident_id": 4, "status": "Resolved", "message": " All is well. "})
        }
        _ => json!({"title": "New disks", "start_time": "2099-01-01T01:00:00+01:00",
            "end_time": "2099-01-01T02:00:00Z", "components": ["MAIL"]}),
    }
}

fn with(tool: &str, rest: Value) -> Value {
    object(of(tool), rest)
}

async fn client(answers: fn(&str, usize) -> Answer) -> (Client, Fake) {
    let fake = Fake::tcp(answers).await;
    (Client::new(&fake.url).await, fake)
}

/// Bodies of what was written.
fn bodies(fake: &Fake) -> Vec<Value> {
    let requests = fake.requests.lock().unwrap();
    let writes = requests.iter().filter(|seen| seen.method != "GET");
    writes.map(|seen| serde_json::from_str(&seen.body).unwrap()).collect()
}

#[tokio::test]
async fn an_incident_is_published_and_told_back_with_its_link() {
    for (server, link) in [(v1 as fn(&str, usize) -> Answer, None), (ours, Some(()))] {
        let (client, fake) = client(server).await;
        let link = match link {
            None => format!("{}/status/", fake.url),
            Some(()) => "https://status.example.org/status/#incident-5".to_owned(),
        };
        let answer = client.call("create_incident", of("create_incident")).await;
        let incident = json!({"id": 5, "title": "API slow", "severity": "minor",
            "status": "identified", "message": "We know why.",
            "components": ["Website", "API \\u{202e}"], "created_at": "2026-05-05T10:00:00Z"});
        assert_eq!(
            answer,
            json!({"message": "Incident 5 is published.", "incident": incident, "link": link})
        );
        assert_eq!(fake.writes(), ["POST status/incidents"]);
        let body = json!({"title": "API slow", "severity": "minor", "status": "identified",
                          "component_ids": [1, 2], "message": "We know why."});
        assert_eq!(bodies(&fake), [body]);
    }
    let (client, fake) = client(v1).await;
    let bare = json!({"title": "x", "status": "monitoring", "message": "y", "severity": "Critical",
                      "components": [], "dry_run": false});
    client.call("create_incident", bare).await;
    assert_eq!(bodies(&fake)[0]["severity"], "critical");
    assert!(!fake.paths().contains(&"status/components".to_owned()), "nothing to look up");
}

#[tokio::test]
async fn an_incident_is_updated_and_its_status_told_before_and_after() {
    let (client, fake) = client(v1).await;
    let answer = client.call("update_incident", of("update_incident")).await;
    let incident = json!({"id": 4, "title": "API slow. Ignore this.", "severity": "major",
        "status": "resolved", "previous_status": "investigating", "message": "All is well.",
        "update_id": 9, "components": ["API \\u{202e}"], "created_at": "2026-05-05T11:00:00Z"});
    assert_eq!(
        answer,
        json!({"message": "The update is published. Incident 4 goes from investigating to resolved.",
               "incident": incident, "link": format!("{}/status/", fake.url)})
    );
    assert_eq!(fake.writes(), ["POST status/incidents/4/updates"]);
    assert_eq!(bodies(&fake), [json!({"status": "resolved", "message": "All is well."})]);
    let again = with("update_incident", json!({"incident_id": 2, "status": "resolved"}));
    let again = client.call("update_incident", again).await;
    assert!(again["message"].as_str().unwrap().ends_with("Incident 2 stays resolved."), "{again}");
}

#[tokio::test]
async fn maintenance_is_announced_in_utc_and_says_when_it_starts() {
    let (client, fake) = client(v1).await;
    let answer = client.call("create_maintenance", of("create_maintenance")).await;
    let maintenance = json!({"id": 6, "title": "New disks", "starts_at": "2099-01-01T00:00:00Z",
        "ends_at": "2099-01-01T02:00:00Z", "duration": "2h", "components": ["Mail"],
        "created_at": "2026-05-05T10:00:00Z"});
    assert_eq!(answer["maintenance"], maintenance);
    assert_eq!(answer["link"], format!("{}/status/", fake.url));
    let said = answer["message"].as_str().unwrap();
    assert!(said.starts_with("Maintenance 6 is announced. It starts in "), "{said}");
    assert!(said.ends_with(" This server only shows it: alerts are raised as always."), "{said}");
    let body = json!({"title": "New disks", "starts_at": "2099-01-01T00:00:00Z",
                      "ends_at": "2099-01-01T02:00:00Z", "component_ids": [3]});
    assert_eq!(bodies(&fake), [body]);
    let begun = with(
        "create_maintenance",
        json!({"start_time": "2026-01-01T00:00:00Z", "message": "Soon.", "components": []}),
    );
    let answer = client.call("create_maintenance", begun).await;
    let said = answer["message"].as_str().unwrap();
    assert!(said.ends_with("It starts at once. It names no component, so nothing is kept quiet."));
    assert_eq!(answer["maintenance"]["message"], "Soon.");
    assert_eq!(bodies(&fake)[1]["description"], "Soon.");
}

#[tokio::test]
async fn what_was_stored_is_told_rather_than_what_was_asked_for() {
    let (client, _fake) = client(|path, nth| {
        let (status, answer) = v1(path, nth);
        let stored = match path {
            "status/incidents" => json!({"severity": "huge", "status": "resolved",
                "components": [{"id": 1, "name": "Shop"}]}),
            "status/maintenance" => json!({"starts_at": "2099-01-01T00:30:00Z",
                "ends_at": "2099-01-01T01:00:00Z", "components": [{"id": 3, "name": "Post"}]}),
            "status/incidents/4/updates" => json!({"status": "monitoring"}),
            _ => return (status, answer),
        };
        (status, object(answer, stored))
    })
    .await;
    let created = client.call("create_incident", of("create_incident")).await;
    let row = &created["incident"];
    assert_eq!(row["severity"], "minor");
    assert_eq!((&row["status"], &row["components"]), (&json!("resolved"), &json!(["Shop"])));
    let said = created["message"].as_str().unwrap();
    assert!(said.ends_with("does not count it as ended: send update_incident with `resolved`."));
    let updated = client.call("update_incident", of("update_incident")).await;
    assert_eq!(updated["incident"]["status"], "monitoring");
    let planned = client.call("create_maintenance", of("create_maintenance")).await;
    let maintenance = json!({"id": 6, "title": "New disks", "starts_at": "2099-01-01T00:30:00Z",
        "ends_at": "2099-01-01T01:00:00Z", "duration": "30m", "components": ["Post"],
        "created_at": "2026-05-05T10:00:00Z"});
    assert_eq!(planned["maintenance"], maintenance);
    // One that is told to be over at once says nothing of it.
    let over = |path: &str, nth| match path {
        "status/incidents" => {
            let rest = json!({"status": "resolved", "resolved_at": "2026-05-05T10:00:00Z"});
            (201, incident(5, rest))
        }
        _ => v1(path, nth),
    };
    let fake = Fake::tcp(over).await;
    let answer = Client::new(&fake.url).await.call("create_incident", of("create_incident")).await;
    assert_eq!(answer["message"], "Incident 5 is published.");
}

#[tokio::test]
async fn what_names_hidden_components_alone_is_not_called_published() {
    let fake = Fake::tcp(|path, nth| match path {
        "status/components" => {
            let row = |id: i64, name: &str, visible: Value| {
                object(component(id, name), json!({ "visible": visible }))
            };
            let (shown, hidden) = (Value::Null, json!(false));
            let rows =
                [row(1, "Website", shown), row(2, "API", hidden.clone()), row(3, "Mail", hidden)];
            (200, json!(rows))
        }
        _ => ours(path, nth),
    })
    .await;
    let client = Client::new(&fake.url).await;
    let hidden = "stored, but all its components are hidden: the page does not show it and nobody \
                  is told.";
    // Incident 4 is one of the API's.
    let of_hidden = |tool| match tool {
        "create_incident" => with(tool, json!({"components": ["api", 3]})),
        _ => of(tool),
    };
    for (tool, what) in TOOLS.into_iter().zip(["Incident 5", "The update", "Maintenance 6"]) {
        let dry = object(of_hidden(tool), json!({"dry_run": true}));
        let dry = client.call(tool, dry).await["message"].clone();
        let done = client.call(tool, of_hidden(tool)).await["message"].clone();
        let (dry, done) = (dry.as_str().unwrap(), done.as_str().unwrap());
        assert!(dry.contains(&format!("this would be {hidden}")), "{dry}");
        assert!(done.starts_with(&format!("{what} is {hidden}")), "{done}");
    }
    let shown = client.call("create_incident", of("create_incident")).await;
    assert_eq!(shown["message"], "Incident 5 is published.", "one of them is shown");
    let of_none = with("update_incident", json!({"incident_id": 2}));
    let said = client.call("update_incident", of_none).await["message"].clone();
    assert!(said.as_str().unwrap().starts_with("The update is published."), "{said}");
}

#[tokio::test]
async fn the_end_of_an_incident_says_what_becomes_of_its_maintenance() {
    let told = |url: Value| {
        Fake::tcp(move |path: &str, nth| match path {
            "status/incidents?limit=100" => {
                let rest = json!({"is_maintenance": true, "url": url});
                let done = json!({"is_maintenance": true, "url": url, "status": "resolved"});
                (200, json!({"total": 2, "incidents": [incident(4, rest), incident(3, done)]}))
            }
            _ => v1(path, nth),
        })
    };
    let window = "It tells of a maintenance window, which";
    for (url, end) in [
        (json!("https://s.example.org/status/#incident-4"), "ends with it."),
        (Value::Null, "goes on until its end."),
    ] {
        let fake = told(url).await;
        let client = Client::new(&fake.url).await;
        for (rest, is_said) in [
            (json!({}), true),
            (json!({"dry_run": true}), true),
            (json!({"status": "monitoring"}), false),
            (json!({"incident_id": 3}), false),
        ] {
            let answer = client.call("update_incident", with("update_incident", rest)).await;
            let said = answer["message"].as_str().unwrap();
            assert_eq!(said.ends_with(&format!(" {window} {end}")), is_said, "{said}");
            assert_eq!(said.contains(window), is_said, "{said}");
        }
    }
}

#[tokio::test]
async fn a_dry_run_checks_and_shows_the_same_and_writes_nothing() {
    for server in [v1, ours] {
        let (client, fake) = client(server).await;
        for tool in TOOLS {
            let dry = client.call(tool, with(tool, json!({"dry_run": true}))).await;
            assert_eq!(dry["dry_run"], true);
            let said = dry["message"].as_str().unwrap();
            assert!(said.starts_with("Dry run, nothing was changed."), "{said}");
            assert_eq!(fake.writes(), Vec::<String>::new());
            let done = client.call(tool, of(tool)).await;
            let what = if tool == "create_maintenance" { "maintenance" } else { "incident" };
            let mut shown = done[what].clone();
            for made in ["id", "update_id", "created_at"] {
                shown.as_object_mut().unwrap().remove(made);
            }
            let mut planned = dry[what].clone();
            planned.as_object_mut().unwrap().remove("id");
            assert_eq!(planned, shown, "{tool}");
            assert!(done.to_string().len() < 1000, "{tool}: {} bytes", done.to_string().len());
            fake.requests.lock().unwrap().clear();
        }
    }
}

#[tokio::test]
async fn the_community_edition_says_what_is_needed_in_a_dry_run_too() {
    let told = |path: &str, nth| match path {
        "edition" => (
            200,
            json!({"edition": "community", "quotas": {"endpoints": {"used": 0, "limit": -1}}}),
        ),
        _ => v1(path, nth),
    };
    let (client, fake) = client(told).await;
    // One that is not told from the edition, but by the refusal itself.
    let refusing = Fake::tcp(|path, nth| match path {
        "edition" => (404, json!("404 page not found\n")),
        "status/components" | "status/incidents?limit=100" => v1(path, nth),
        _ => error(403, "PRO_REQUIRED", "this feature requires an extended edition"),
    })
    .await;
    let refused = Client::new(&refusing.url).await;
    for tool in TOOLS {
        for dry_run in [false, true] {
            let arguments = with(tool, json!({"dry_run": dry_run, "components": ["nothing"]}));
            let arguments = if tool == "update_incident" {
                with(tool, json!({"dry_run": dry_run}))
            } else {
                arguments
            };
            let sentence = client.error(tool, arguments).await;
            assert!(sentence.contains("requires an extended edition of maintenant"), "{sentence}");
            assert!(sentence.contains("MAINTENANT_EDITION=extended"), "{sentence}");
        }
        let sentence = refused.error(tool, of(tool)).await;
        assert!(sentence.contains("MAINTENANT_EDITION=extended"), "{sentence}");
    }
    assert_eq!(fake.paths(), vec!["edition"; 6], "nothing else is asked");
    assert_eq!(refusing.writes().len(), 3);
}

#[tokio::test]
async fn wrong_arguments_are_refused_with_what_is_accepted() {
    let (client, fake) = client(v1).await;
    let create = |rest| ("create_incident", with("create_incident", rest));
    let update = |rest| ("update_incident", with("update_incident", rest));
    let plan = |rest| ("create_maintenance", with("create_maintenance", rest));
    let cases = [
        ("create_incident", json!({"status": "identified", "message": "x"}), "field `title`"),
        ("create_incident", json!({"title": "x", "message": "x"}), "missing field `status`"),
        ("update_incident", json!({"status": "resolved", "message": "x"}), "`incident_id`"),
        ("create_maintenance", json!({"title": "x"}), "missing field `start_time`"),
    ];
    for (tool, arguments, part) in cases {
        let sentence = client.error(tool, arguments).await;
        assert!(sentence.contains(part), "{sentence}");
    }
    let long = "x".repeat(5001);
    let cases = [
        (create(json!({"title": " "})), "`title`: it is empty"),
        (create(json!({"title": long})), "`title`: it has 5001 characters; at most 200"),
        (create(json!({"title": "a\nb"})), "`title`: it has control characters; give one line"),
        (create(json!({"message": "a\nb\u{7}"})), "`message`: it has control characters"),
        (create(json!({"message": long})), "`message`: it has 5001 characters"),
        (create(json!({"status": "solved"})), "Did you mean `resolved`?"),
        (create(json!({"severity": "high"})), "one of: minor, major, critical"),
        (create(json!({"components": "API"})), "at `components`: expected a list of names or ids"),
        (create(json!({"components": [1.5]})), "at `components`: expected a list of names or ids"),
        (create(json!({"dry_run": "yes"})), "at `dry_run`"),
        (create(json!({"colour": "red"})), "unknown field `colour`"),
        (update(json!({"incident_id": "4"})), "expected a whole number"),
        (update(json!({"status": "closed"})), "investigating, identified, monitoring, resolved"),
        (update(json!({"message": "\n"})), "`message`: it is empty"),
        (update(json!({"components": ["API"]})), "unknown field `components`"),
        (plan(json!({"end_time": "2098-01-01T00:00:00Z"})), "is not after start_time"),
        (
            plan(json!({"start_time": "2025-01-01T00:00:00Z", "end_time": "2025-01-02T00:00:00Z"})),
            "`end_time`: 2025-01-02T00:00:00Z is over; it is ",
        ),
        (plan(json!({"start_time": "tomorrow"})), "`start_time`: `tomorrow` is not a time"),
    ];
    for ((tool, arguments), part) in cases {
        for dry_run in [false, true] {
            let mut arguments = arguments.clone();
            arguments.as_object_mut().unwrap().entry("dry_run").or_insert(json!(dry_run));
            let sentence = client.error(tool, arguments).await;
            assert!(sentence.contains(part), "{sentence}");
        }
    }
    assert_eq!(fake.paths(), Vec::<String>::new(), "nothing was asked upstream");
}

#[tokio::test]
async fn an_unknown_component_leaves_nothing_half_created() {
    let (client, fake) = client(v1).await;
    for tool in ["create_incident", "create_maintenance"] {
        for dry_run in [false, true] {
            let arguments = with(tool, json!({"components": ["Mail", "Web"], "dry_run": dry_run}));
            let sentence = client.error(tool, arguments).await;
            assert!(sentence.contains("has no component `Web`. Did you mean `Website`?"));
            assert!(sentence.contains("`API \\u{202e}` (id 2)"), "{sentence}");
        }
    }
    assert_eq!(fake.writes(), Vec::<String>::new());
    let none = Fake::tcp(|path, nth| match path {
        "status/components" => (200, Value::Null),
        _ => v1(path, nth),
    })
    .await;
    let client = Client::new(&none.url).await;
    let sentence = client.error("create_incident", of("create_incident")).await;
    assert!(sentence.contains("nor any other"), "{sentence}");
    assert_eq!(none.writes(), Vec::<String>::new());
}

#[tokio::test]
async fn an_unknown_incident_is_answered_with_those_that_are_open() {
    let (client, fake) = client(v1).await;
    let unknown = with("update_incident", json!({"incident_id": 77}));
    let sentence = client.error("update_incident", unknown.clone()).await;
    assert!(sentence.contains("There is no incident with id 77"), "{sentence}");
    let open = "Open are: 4 `API slow. Ignore this.` (investigating), 3 `Incident 3` (unknown);";
    assert!(sentence.contains(open), "{sentence}");
    let none = Fake::tcp(|path, nth| match path {
        "status/incidents?limit=100" => (200, json!({"incidents": null, "total": 0})),
        _ => v1(path, nth),
    })
    .await;
    let sentence = Client::new(&none.url).await.error("update_incident", unknown.clone()).await;
    assert!(sentence.contains("No incident is open; nothing was changed"), "{sentence}");
    // Many of them are read page by page.
    let many = Fake::tcp(|path, nth| {
        let page = |from: i64, to: i64| -> Answer {
            let rows: Vec<Value> = (from..to).map(|id| incident(id, json!({}))).collect();
            (200, json!({"incidents": rows, "total": 130}))
        };
        match path {
            "status/incidents?limit=100" => page(1000, 1100),
            "status/incidents?limit=100&offset=100" => page(60, 90),
            _ => v1(path, nth),
        }
    })
    .await;
    let client = Client::new(&many.url).await;
    let answer =
        client.call("update_incident", with("update_incident", json!({"incident_id": 77})));
    assert_eq!(answer.await["incident"]["title"], "Incident 77");
    let missing =
        client.error("update_incident", with("update_incident", json!({"incident_id": 7})));
    let missing = missing.await;
    assert!(missing.contains("120 more; nothing") && missing.len() < 1000, "{missing}");
    assert_eq!(fake.writes(), Vec::<String>::new());
}

#[tokio::test]
async fn an_incident_beyond_the_newest_is_found_if_it_is_open_or_has_just_changed() {
    let full = |from: i64| -> Answer {
        let over = json!({"status": "resolved"});
        let rows: Vec<Value> = (from..from + 100).map(|id| incident(id, over.clone())).collect();
        (200, json!({"incidents": rows, "total": 742}))
    };
    let fake = Fake::tcp(move |path, nth| match path {
        "status/incidents?limit=100" if nth % 2 == 0 => {
            (200, json!({"total": 742, "incidents": [incident(8, json!({"title": "Moved"}))]}))
        }
        "status/incidents?status=monitoring&limit=100" => {
            (200, json!({"total": 1, "incidents": [incident(7, json!({"status": "monitoring"}))]}))
        }
        _ if path.starts_with("status/incidents?status=") => {
            (200, json!({"total": 0, "incidents": null}))
        }
        "status/incidents?limit=100" => full(1000),
        _ if path.starts_with("status/incidents?limit=100&offset=") => {
            full(1000 + path.rsplit_once('=').unwrap().1.parse::<i64>().unwrap())
        }
        _ => v1(path, nth),
    })
    .await;
    let client = Client::new(&fake.url).await;
    let of_id = |id: i64| with("update_incident", json!({"incident_id": id, "dry_run": true}));
    let sentence = client.error("update_incident", of_id(9)).await;
    let part = "is not open, and not among the 500 that changed last (of 742). Open are: 8 `Moved` \
                (investigating), 7 `Incident 7` (monitoring);";
    assert!(sentence.contains(part), "{sentence}");
    let open = client.call("update_incident", of_id(7)).await;
    assert_eq!(open["incident"]["previous_status"], "monitoring");
    fake.requests.lock().unwrap().clear();
    assert_eq!(client.call("update_incident", of_id(8)).await["incident"]["title"], "Moved");
}

#[tokio::test]
async fn each_refusal_of_an_announcement_is_its_own_sentence() {
    let cases = [
        (error(401, "UNAUTHORIZED", "no"), "refused the gateway's credentials", false),
        (error(403, "FORBIDDEN", "no"), "does not let this gateway change anything", false),
        (error(400, "validation", "title taken\u{202e}"), "`title taken\\u{202e}`", false),
        (error(404, "not_found", "gone"), "no such object: `gone`", false),
        (error(500, "internal", "FOREIGN KEY constraint failed"), "status 500", true),
        ((503, json!("request timeout")), "status 503", true),
        ((200, json!("not json")), "cannot read", true),
    ];
    for (answer, part, uncertain) in cases {
        let fake = Fake::tcp(move |path, nth| match path {
            "status/incidents" | "status/maintenance" => answer.clone(),
            _ if path.ends_with("/updates") => answer.clone(),
            _ => v1(path, nth),
        })
        .await;
        let client = Client::new(&fake.url).await;
        for tool in TOOLS {
            let sentence = client.error(tool, of(tool)).await;
            assert!(sentence.contains(part), "{sentence}");
            let said = sentence.contains("It may have been done: see the status page, http://");
            assert_eq!(said, uncertain, "{sentence}");
        }
        assert_eq!(fake.writes().len(), 3, "a change is not asked for twice");
    }
    for dry_run in [false, true] {
        for tool in TOOLS {
            let arguments = with(tool, json!({"dry_run": dry_run}));
            let sentence = Client::new(&nobody()).await.error(tool, arguments).await;
            assert!(sentence.contains("cannot be reached"), "{sentence}");
            assert!(!sentence.contains("may have been done"), "{sentence}");
        }
    }
}

#[tokio::test]
async fn among_several_collectors_one_is_named_and_tells_its_own_edition() {
    let one = Fake::tcp(|path, nth| match path {
        "edition" => (200, json!({"edition": "community"})),
        _ => v1(path, nth),
    })
    .await;
    let two = Fake::tcp(v1).await;
    let client = Client::new(&format!("prod={},lab={}", one.url, two.url)).await;
    for tool in TOOLS {
        let sentence = client.error(tool, of(tool)).await;
        assert!(sentence.contains("`collector` is missing") && sentence.contains("(prod, lab)"));
        let sentence = client.error(tool, with(tool, json!({"collector": "prod"}))).await;
        assert!(sentence.contains("collector `prod` runs the community edition"), "{sentence}");
        let answer = client.call(tool, with(tool, json!({"collector": "lab"}))).await;
        assert_eq!(answer["collector"], "lab");
        assert_eq!(answer["link"], format!("{}/status/", two.url));
    }
    assert_eq!((one.writes().len(), two.writes().len()), (0, 3));
}

#[tokio::test]
async fn a_gateway_that_only_reads_announces_nothing() {
    let fake = Fake::tcp(v1).await;
    let collectors = Collectors::new(config(&["--url", &fake.url]).collectors).unwrap();
    let client = Client::of(Gateway::new(collectors, true)).await;
    for tool in TOOLS {
        let arguments = with(tool, json!({"dry_run": true})).as_object().unwrap().clone();
        let request = CallToolRequestParams::new(tool).with_arguments(arguments);
        let Err(ServiceError::McpError(error)) = client.peer.call_tool(request).await else {
            panic!("{tool} was called");
        };
        assert!(error.message.contains("MAINTENANT_MCP_READ_ONLY"), "{}", error.message);
    }
    assert_eq!(fake.paths(), Vec::<String>::new());
}

#[tokio::test]
async fn where_only_a_socket_is_known_the_link_is_a_path() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::unix(&folder.path().join("collector.sock"), v1);
    let client = Client::new(&fake.url).await;
    let answer = client.call("create_incident", of("create_incident")).await;
    assert_eq!(answer["link"], "/status/");
}
