//! Whole scans.

use futures_util::FutureExt;
use http::StatusCode;
use maintenant_serve::clock;
use serde_json::{Value, json};

use super::deciding::digest;
use super::world::World;
use crate::updates::sql;

#[tokio::test]
async fn an_unchanged_reference_costs_one_head_however_many_run_it() {
    let mut world = World::new().await;
    world.fake.tag("lab/app", "latest", '1');
    for id in 1..=5 {
        world.run(id, "latest", &['1'], &[]).await;
    }
    let scan = world.scan().await;
    assert_eq!((&scan["containers_scanned"], &scan["updates_found"]), (&json!(5), &json!(0)));
    assert_eq!(world.fake.asked(), ["HEAD /v2/lab/app/manifests/latest"]);
    world.scan().await;
    assert_eq!(world.fake.asked(), ["HEAD /v2/lab/app/manifests/latest"]);
    assert_eq!(world.found("c3").await["status"], "up_to_date");
}

#[tokio::test]
async fn tags_of_a_repository_are_listed_once_for_all_that_compare_them() {
    let mut world = World::new().await;
    world.fake.tag("lab/app", "1.0.0", '1');
    world.fake.tag("lab/app", "1.1.0", '2');
    world.fake.tag("lab/app", "1.2.0", '3');
    world.run(1, "1.0.0", &['1'], &[]).await;
    world.run(2, "1.1.0", &['2'], &[]).await;
    world.scan().await;
    assert_eq!(
        world.fake.asked(),
        [
            "GET /v2/lab/app/tags/list",
            "HEAD /v2/lab/app/manifests/1.0.0",
            "HEAD /v2/lab/app/manifests/1.2.0",
            "HEAD /v2/lab/app/manifests/1.1.0",
        ]
    );
    world.scan().await;
    let steady = [
        "GET /v2/lab/app/tags/list",
        "HEAD /v2/lab/app/manifests/1.0.0",
        "HEAD /v2/lab/app/manifests/1.1.0",
    ];
    assert_eq!(world.fake.asked(), steady, "what the newest tag names is known");
    let found = world.found("c1").await;
    assert_eq!((&found["latest_tag"], &found["update_type"]), (&json!("1.2.0"), &json!("minor")));
    assert_eq!(found["latest_digest"], json!(world.fake.digest('3')));
}

#[tokio::test]
async fn an_index_is_read_once_and_its_image_for_this_platform_decides() {
    let mut world = World::new().await;
    world.fake.tag("lab/app", "latest", '1');
    world.fake.index('1', &[('a', "amd64"), ('b', "arm64")]);
    world.fake.index('2', &[('a', "amd64"), ('c', "arm64")]);
    world.fake.index('3', &[('d', "amd64")]);
    // One runs the index, another its image for this platform.
    world.run(1, "latest", &['1'], &[]).await;
    world.run(2, "latest", &['a'], &[]).await;
    world.scan().await;
    for name in ["c1", "c2"] {
        assert_eq!(world.found(name).await["status"], "up_to_date", "{name}");
    }
    world.fake.asked();
    world.scan().await;
    assert_eq!(world.fake.asked(), ["HEAD /v2/lab/app/manifests/latest"], "the index is stored");

    world.fake.tag("lab/app", "latest", '2');
    world.scan().await;
    let found = world.found("c1").await;
    assert_eq!(found["status"], "up_to_date", "{found}");
    assert!(found["why"].as_str().unwrap().contains("rebuilt for other platforms"), "{found}");

    world.fake.tag("lab/app", "latest", '3');
    world.scan().await;
    let found = world.found("c1").await;
    assert_eq!(found["update_type"], "digest_only", "{found}");
    assert_eq!(found["latest_digest"], json!(world.fake.digest('3')));
}

#[tokio::test]
async fn an_update_stays_until_what_was_found_runs() {
    let mut world = World::new().await;
    world.fake.tag("lab/app", "latest", '2');
    world.run(1, "latest", &['1'], &[]).await;
    world.scan().await;
    let first = world.found("c1").await;
    for _ in 0..3 {
        world.scan().await;
        let again = world.found("c1").await;
        let keys = ["id", "status", "update_type", "detected_at", "latest_digest"];
        assert!(keys.iter().all(|key| again[key] == first[key]), "{again}");
    }
    assert_eq!(world.alerts().await, [(1, "info")]);
    world.run(1, "latest", &['2'], &[]).await;
    world.scan().await;
    let found = world.found("c1").await;
    assert_eq!((&found["status"], &found["id"]), (&json!("up_to_date"), &first["id"]));
    assert_eq!(world.alerts().await, []);
}

#[tokio::test]
async fn a_failing_registry_is_named_and_the_verdict_is_kept() {
    let mut world = World::new().await;
    world.fake.tag("lab/app", "latest", '2');
    world.run(1, "latest", &['1'], &[]).await;
    world.scan().await;
    world.fake.known.lock().unwrap().status = Some(500);
    world.run(2, "1.0", &['1'], &[]).await;
    let scan = world.scan().await;
    assert_eq!((&scan["status"], &scan["errors"]), (&json!("completed"), &json!(2)));
    let list = world.get("/updates").await;
    let updates = list["updates"].as_array().unwrap();
    assert_eq!(updates.len(), 1, "{list}");
    assert_eq!((&updates[0]["stale"], &updates[0]["status"]), (&json!(true), &json!("available")));
    let problems = list["problems"].as_array().unwrap();
    let named: Vec<_> = problems
        .iter()
        .map(|one| (one["container_name"].as_str().unwrap(), &one["stale"]))
        .collect();
    assert_eq!(named, [("c1", &json!(true)), ("c2", &json!(false))]);
    assert!(problems[0]["error"].as_str().unwrap().contains("answered 500"), "{list}");
    assert_eq!(world.found("c2").await["status"], "unknown");
    assert_eq!(world.alerts().await, [(1, "info")], "an alert does not end because of it");

    world.fake.known.lock().unwrap().status = None;
    world.scan().await;
    let found = world.found("c1").await;
    assert_eq!((found.get("stale"), found.get("error")), (None, None), "{found}");
}

#[tokio::test]
async fn what_cannot_be_compared_says_why() {
    let mut world = World::new().await;
    world.run_image(1, "Not A Reference", &[], &[]).await;
    world.run_image(2, "made-here:1.0", &[], &[]).await;
    world.run(3, "1.0", &['1'], &[("enabled", "false")]).await;
    let pinned = format!("nginx@{}", digest('1'));
    world.run_image(4, &pinned, std::slice::from_ref(&pinned), &[]).await;
    world.scan().await;
    let words = ["no image reference", "built, loaded or tagged", "enabled", "without a tag"];
    for (id, words) in (1..).zip(words) {
        let found = world.found(&format!("c{id}")).await;
        assert_eq!(found["status"], "untracked", "{found}");
        assert!(found["why"].as_str().unwrap().contains(words), "{found}");
    }
    assert_eq!(world.fake.asked(), [""; 0]);
}

#[tokio::test]
async fn labels_decide_what_is_proposed_and_what_is_an_alert() {
    let mut world = World::new().await;
    for (tag, letter) in [("1.2.3", '1'), ("1.2.9", '2'), ("1.4.0", '3'), ("2.0.0", '4')] {
        world.fake.tag("lab/app", tag, letter);
    }
    let cases: [(&[(&str, &str)], &str); 8] = [
        (&[], "2.0.0"),
        (&[("ignore_major", "true")], "1.4.0"),
        (&[("track", "patch")], "1.2.9"),
        (&[("digest_only", "true")], ""),
        (&[("tag-include", r"^1\.")], "1.4.0"),
        (&[("tag-exclude", "^2")], "1.4.0"),
        (&[("alert_on", "none")], "2.0.0"),
        (&[("alert_on", "critical"), ("track", "minor")], "1.4.0"),
    ];
    for (id, (labels, _)) in (1..).zip(&cases) {
        world.run(id, "1.2.3", &['1'], labels).await;
    }
    let mirror = world.fake.address.to_string();
    let mirrored = format!("unreachable.example/lab/app@{}", digest('1'));
    let labels = [("registry", mirror.as_str())];
    world.run_image(9, "unreachable.example/lab/app:1.4.0", &[mirrored], &labels).await;
    world.scan().await;
    for (id, (labels, latest)) in (1..).zip(&cases) {
        let found = world.found(&format!("c{id}")).await;
        assert_eq!(found["latest_tag"], *latest, "{labels:?}: {found}");
    }
    let found = world.found("c9").await;
    assert_eq!((&found["latest_tag"], &found["registry"]), (&json!("2.0.0"), &json!(mirror)));
    let alerts = world.alerts().await;
    let critical: Vec<_> = alerts.iter().filter(|(_, severity)| *severity == "critical").collect();
    assert_eq!(critical, [&(1, "critical"), &(9, "critical")]);
    let others: Vec<_> = alerts.iter().map(|(id, _)| *id).collect();
    assert!(!others.contains(&7) && !others.contains(&8), "{others:?}");

    world.run(10, "1.2.3", &['1'], &[("track", "all")]).await;
    world.scan().await;
    assert_eq!(world.problems.of(10)[0].label_key, "maintenant.update.track");
}

#[tokio::test]
async fn pins_and_exclusions_survive_scans_and_recreates() {
    let mut world = World::new().await;
    world.fake.tag("lab/app", "latest", '2');
    world.run(1, "latest", &['1'], &[]).await;
    world.run(2, "latest", &['1'], &[("pin", "frozen")]).await;
    world.scan().await;
    let id = world.found("c1").await["container_id"].as_str().unwrap().to_owned();
    let path = format!("/updates/pin/{id}");
    let (status, pin) = world.call("POST", &path, json!({"reason": "holiday"})).await;
    assert_eq!((status, &pin["pinned_digest"]), (StatusCode::OK, &json!(world.fake.digest('1'))));
    world.run(1, "latest", &['0'], &[]).await;
    world.scan().await;
    let found = world.found("c1").await;
    assert_eq!((&found["status"], &found["pin_reason"]), (&json!("pinned"), &json!("holiday")));
    assert_eq!(world.found("c2").await["status"], "pinned");
    assert_eq!(world.alerts().await, []);
    assert_eq!(world.get("/updates/dry-run").await["would_update"], json!([]));
    assert_eq!(world.get("/updates/summary").await["counts"]["pinned"], 2);
    let id = found["container_id"].as_str().unwrap();
    let short = format!("/updates/pin/{}", &id[..12]);
    assert_eq!(world.call("DELETE", &short, Value::Null).await.0, StatusCode::NO_CONTENT);
    assert_eq!(world.found("c1").await["status"], "available");
    assert_eq!(world.get("/updates/dry-run").await["would_update"].as_array().unwrap().len(), 1);

    let body = json!({"pattern": "*/lab/*", "pattern_type": "image"});
    let (status, exclusion) = world.call("POST", "/updates/exclusions", body.clone()).await;
    assert_eq!(status, StatusCode::CREATED);
    let (status, again) = world.call("POST", "/updates/exclusions", body).await;
    assert_eq!(
        (status, &again["error"]["code"]),
        (StatusCode::CONFLICT, &json!("DUPLICATE_EXCLUSION"))
    );
    world.fake.asked();
    for _ in 0..2 {
        world.scan().await;
        assert_eq!(world.found("c1").await["status"], "untracked");
    }
    assert_eq!(world.fake.asked(), [""; 0]);
    let path = format!("/updates/exclusions/{}", exclusion["id"]);
    assert_eq!(world.call("DELETE", &path, Value::Null).await.0, StatusCode::NO_CONTENT);
    world.scan().await;
    assert_eq!(world.found("c1").await["status"], "available");
}

#[tokio::test]
async fn wrong_requests_are_told_what_would_be_right() {
    let world = World::new().await;
    let cases = [
        ("GET", "/updates?status=nice", json!(null), 400, "INVALID_PARAM"),
        ("GET", "/updates?update_type=huge", json!(null), 400, "INVALID_PARAM"),
        ("GET", "/updates/container/no%20id", json!(null), 400, "INVALID_ID"),
        ("GET", "/updates/container/0123456789ab", json!(null), 404, "NOT_FOUND"),
        ("GET", "/updates/scan/first", json!(null), 400, "INVALID_ID"),
        ("GET", "/updates/scan/7", json!(null), 404, "NOT_FOUND"),
        ("POST", "/updates/pin/0123456789ab", json!("bad"), 404, "NOT_FOUND"),
        ("POST", "/updates/exclusions", json!([]), 400, "INVALID_JSON"),
        ("POST", "/updates/exclusions", json!({}), 400, "INVALID_PATTERN"),
        ("POST", "/updates/exclusions", json!({"pattern": "[]"}), 400, "INVALID_PATTERN"),
        ("POST", "/updates/exclusions", json!({"pattern": "a"}), 400, "INVALID_TYPE"),
    ];
    for (method, path, body, status, code) in cases {
        let (found, answer) = world.call(method, path, body).await;
        assert_eq!((found.as_u16(), &answer["error"]["code"]), (status, &json!(code)), "{path}");
    }
    let summary = world.get("/updates/summary").await;
    assert_eq!((&summary["scan_status"], &summary["last_scan"]), (&json!("idle"), &json!(null)));
}

#[tokio::test]
async fn only_one_scan_runs_and_one_that_was_cut_has_failed() {
    let mut world = World::new().await;
    world.run(1, "latest", &['1'], &[]).await;
    let gate = world.fake.known.lock().unwrap().gate.clone();
    let closed = gate.write().await;
    let (first, _) = world.call("POST", "/updates/scan", Value::Null).await;
    let (second, refusal) = world.call("POST", "/updates/scan", Value::Null).await;
    assert_eq!((first, second), (StatusCode::ACCEPTED, StatusCode::CONFLICT), "{refusal}");
    drop(closed);
    world.ended().await;
    world.scan().await;

    let now = clock::now();
    let id = world.store.write(move |tx| sql::begin_scan(tx, now)).await.unwrap();
    world.store.write(move |tx| sql::end_orphans(tx, now)).await.unwrap();
    assert_eq!(world.get(&format!("/updates/scan/{id}")).await["status"], "failed");
}

#[tokio::test]
async fn whoever_asks_for_a_scan_and_goes_away_stops_nothing() {
    let mut world = World::new().await;
    world.call("POST", "/updates/scan", Value::Null).now_or_never();
    world.ended().await;
    world.scan().await;
}

#[tokio::test]
async fn progress_comes_to_the_total() {
    let mut world = World::new().await;
    world.fake.tag("lab/app", "latest", '1');
    world.run(1, "latest", &['1'], &[]).await;
    world.run(2, "latest", &['1'], &[("enabled", "false")]).await;
    let mut told = world.told.resubscribe();
    world.scan().await;
    let progress = loop {
        let event = told.recv().await.unwrap();
        if event.name == "update.scan_progress" {
            break serde_json::from_str::<Value>(&event.data).unwrap();
        }
    };
    assert_eq!((&progress["checked"], &progress["total"]), (&json!(2), &json!(2)));
}
