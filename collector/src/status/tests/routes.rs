//! The owner's routes, without sockets.

use http::Method;
use serde_json::{Value, json};

use super::{Site, endpoint};
use crate::config::Edition;

const POST: Method = Method::POST;
const PUT: Method = Method::PUT;
const DELETE: Method = Method::DELETE;
const DAY: (&str, &str) = ("2090-01-01T00:00:00Z", "2090-01-02T00:00:00Z");

#[expect(clippy::needless_pass_by_value, reason = "callers write it in place")]
fn window(more: Value) -> Value {
    let mut window = json!({ "title": "Upgrade", "starts_at": DAY.0, "ends_at": DAY.1 });
    window.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    window
}

#[tokio::test]
async fn a_component_is_made_changed_and_deleted() {
    let site = Site::with(Edition::Community, false);
    assert_eq!(site.read("/components").await, json!([]));
    site.world.set(endpoint(1), "operational");
    site.world.set(endpoint(2), "major_outage");
    let id = site.component("Web shop", &[2, 1, 1], json!({ "display_order": 2 })).await;
    let made = &site.read("/components").await[0];
    assert_eq!(made["monitors"].as_array().unwrap().len(), 2, "each monitor once: {made}");
    assert_eq!(made["derived_status"], "partial_outage");
    assert_eq!(made["status_override"], Value::Null);
    assert!(made.get("needs_attention").is_none());
    let path = format!("/components/{id}");
    let set = site.done(PUT, &path, json!({ "status_override": "degraded" })).await;
    assert_eq!(
        (&set["derived_status"], &set["effective_status"]),
        (&json!("partial_outage"), &json!("degraded"))
    );
    assert_eq!((&set["display_name"], &set["display_order"]), (&json!("Web shop"), &json!(2)));
    assert_eq!(set["needs_attention"], true, "it is set to what its monitors do not say");
    let same = site.done(PUT, &path, json!({ "status_override": "partial_outage" })).await;
    assert!(same.get("needs_attention").is_none());
    site.done(PUT, &path, json!({ "status_override": "degraded" })).await;
    let set = site.done(PUT, &path, json!({ "display_name": "Shop" })).await;
    assert_eq!(set["status_override"], "degraded", "what is absent stays");
    let set = site.done(PUT, &path, json!({ "status_override": "" })).await;
    assert_eq!(set["effective_status"], "partial_outage");
    let set = site.done(PUT, &path, json!({ "monitors": [{ "type": "endpoint", "id": 9 }] })).await;
    assert_eq!(
        (&set["needs_attention"], &set["derived_status"]),
        (&json!(true), &json!("unknown"))
    );
    site.done(DELETE, &path, json!(null)).await;
    site.done(DELETE, &path, json!(null)).await;
    assert_eq!(site.read("/components").await, json!([]));
}

#[tokio::test]
async fn a_component_may_be_of_all_monitors_of_a_type() {
    let site = Site::new();
    site.world.set(endpoint(1), "operational");
    let all = json!({ "display_name": "All", "composition_mode": "match-all", "match_all_type": "endpoint" });
    let made = site.done(POST, "/components", all).await;
    assert_eq!((&made["effective_status"], &made["monitors"]), (&json!("operational"), &json!([])));
    site.world.set(endpoint(2), "major_outage");
    assert_eq!(site.read("/components").await[0]["effective_status"], "partial_outage");
}

#[tokio::test]
async fn what_is_wrong_with_a_component_is_named() {
    let site = Site::new();
    let check = async |body: Value, says: &str| {
        site.check(POST, "/components", &body.to_string(), (400, "validation", says)).await;
    };
    let monitors = json!([{ "type": "endpoint", "id": 1 }]);
    check(json!({ "monitors": monitors }), "display_name is missing").await;
    check(json!({ "display_name": " ", "monitors": monitors }), "display_name").await;
    check(json!({ "display_name": "a\nb", "monitors": monitors }), "control characters").await;
    check(json!({ "display_name": "x".repeat(101), "monitors": monitors }), "at most 100").await;
    check(json!({ "display_name": "x" }), "name at least one").await;
    check(
        json!({ "display_name": "x", "monitors": [{ "type": "host", "id": 1 }] }),
        "use container",
    )
    .await;
    check(json!({ "display_name": "x", "composition_mode": "some" }), "explicit or match-all")
        .await;
    check(json!({ "display_name": "x", "composition_mode": "match-all" }), "match_all_type").await;
    check(
        json!({ "display_name": "x", "monitors": monitors, "match_all_type": "endpoint" }),
        "match-all",
    )
    .await;
    let id = site.component("Web shop", &[1], json!({})).await;
    let path = format!("/components/{id}");
    site.check(PUT, &path, r#"{"status_override":"fine"}"#, (400, "validation", "operational"))
        .await;
    site.check(PUT, &path, r#"{"monitors":[]}"#, (400, "validation", "at least one")).await;
    site.check(
        PUT,
        &path,
        r#"{"composition_mode":"match-all"}"#,
        (400, "validation", "cannot be changed"),
    )
    .await;
    site.check(PUT, "/components/99", "{}", (404, "not_found", "no component with id 99")).await;
    site.check(PUT, "/components/x", "{}", (400, "invalid_id", "`x` is no id")).await;
    site.check(POST, "/components", "[]", (400, "invalid_body", "list")).await;
    site.check(POST, "/components", "{", (400, "invalid_body", "")).await;
}

#[tokio::test]
async fn an_incident_goes_from_its_first_word_to_its_last() {
    let site = Site::new();
    let shop = site.component("Web shop", &[1], json!({})).await;
    let new = json!({ "title": "It broke", "severity": "major", "component_ids": [shop], "message": "We look." });
    let made = site.done(POST, "/incidents", new).await;
    let id = made["id"].as_i64().unwrap();
    assert_eq!(made["components"], json!([{ "id": shop, "name": "Web shop" }]));
    assert_eq!((&made["status"], &made["resolved_at"]), (&json!("investigating"), &Value::Null));
    assert_eq!(made["url"], format!("https://status.example.org/status/#incident-{id}"));
    let updates = format!("/incidents/{id}/updates");
    let update = json!({ "status": "resolved", "message": "All is well." });
    let said = site.done(POST, &updates, update).await;
    assert_eq!((&said["incident_id"], &said["is_auto"]), (&json!(id), &json!(false)));
    let list = site.read("/incidents?status=resolved&severity=major").await;
    assert_eq!(list["total"], 1);
    let resolved = &list["incidents"][0];
    assert!(resolved["resolved_at"].is_string());
    assert_eq!(resolved["updates"][0]["message"], "All is well.");
    site.done(POST, &updates, json!({ "status": "monitoring", "message": "Not yet." })).await;
    let path = format!("/incidents/{id}");
    let changed =
        site.done(PUT, &path, json!({ "title": "It broke again", "component_ids": [] })).await;
    assert_eq!((&changed["components"], &changed["severity"]), (&json!([]), &json!("major")));
    assert_eq!((&changed["status"], &changed["resolved_at"]), (&json!("monitoring"), &Value::Null));
    site.done(DELETE, &path, json!(null)).await;
    site.done(DELETE, &path, json!(null)).await;
    assert_eq!(site.read("/incidents?limit=999").await, json!({ "incidents": [], "total": 0 }));
}

#[tokio::test]
async fn what_is_wrong_with_an_incident_is_named_and_nothing_is_stored() {
    let site = Site::new();
    let check = async |body: Value, refused: (u16, &str, &str)| {
        site.check(POST, "/incidents", &body.to_string(), refused).await;
    };
    check(json!({ "severity": "major" }), (400, "validation", "title is missing")).await;
    check(json!({ "title": "x" }), (400, "validation", "minor, major or critical")).await;
    check(json!({ "title": "x", "severity": "huge" }), (400, "validation", "`huge`")).await;
    check(
        json!({ "title": "x", "severity": "minor", "status": "gone" }),
        (400, "validation", "`gone`"),
    )
    .await;
    let long = "x".repeat(5001);
    check(
        json!({ "title": "x", "severity": "minor", "message": long }),
        (400, "validation", "5000"),
    )
    .await;
    check(
        json!({ "title": "x", "severity": "minor", "component_ids": [7] }),
        (404, "not_found", "component with id 7"),
    )
    .await;
    site.check(
        POST,
        "/incidents/7/updates",
        r#"{"status":"resolved","message":"x"}"#,
        (404, "not_found", "7"),
    )
    .await;
    site.check(
        POST,
        "/incidents/7/updates",
        r#"{"status":"resolved"}"#,
        (400, "validation", "message"),
    )
    .await;
    site.check(Method::GET, "/incidents?status=gone", "", (400, "validation", "`gone`")).await;
    assert_eq!(site.read("/incidents").await["total"], 0);
}

#[tokio::test]
async fn a_window_is_made_changed_and_deleted() {
    let site = Site::new();
    let shop = site.component("Web shop", &[1], json!({})).await;
    let made = site.done(POST, "/maintenance", window(json!({ "component_ids": [shop] }))).await;
    let id = made["id"].as_i64().unwrap();
    assert_eq!((&made["active"], &made["incident_id"]), (&json!(false), &Value::Null));
    let path = format!("/maintenance/{id}");
    let changed = site.done(PUT, &path, json!({ "ends_at": "2090-01-03T00:00:00+01:00" })).await;
    assert_eq!(
        (&changed["ends_at"], &changed["title"]),
        (&json!("2090-01-02T23:00:00Z"), &json!("Upgrade"))
    );
    assert_eq!(changed["components"][0]["id"], shop);
    for (phase, count) in [("upcoming", 1), ("active", 0), ("completed", 0)] {
        let list = site.read(&format!("/maintenance?status={phase}")).await;
        assert_eq!(list.as_array().unwrap().len(), count, "{phase}");
    }
    site.done(DELETE, &path, json!(null)).await;
    assert_eq!(site.read("/maintenance").await, json!([]));
}

#[tokio::test]
async fn what_is_wrong_with_a_window_is_named_and_nothing_is_stored() {
    let site = Site::new();
    let check = async |body: Value, refused: (u16, &str, &str)| {
        site.check(POST, "/maintenance", &body.to_string(), refused).await;
    };
    check(window(json!({ "title": "" })), (400, "validation", "title")).await;
    check(window(json!({ "ends_at": null })), (400, "validation", "ends_at is missing")).await;
    check(window(json!({ "starts_at": "soon" })), (400, "validation", "RFC 3339")).await;
    check(window(json!({ "ends_at": DAY.0 })), (400, "validation", "end after the start")).await;
    let past = json!({ "starts_at": "2020-01-01T00:00:00Z", "ends_at": "2020-01-02T00:00:00Z" });
    check(window(past), (400, "validation", "has passed")).await;
    check(window(json!({ "component_ids": [7] })), (404, "not_found", "component with id 7")).await;
    site.check(PUT, "/maintenance/7", "{}", (404, "not_found", "window with id 7")).await;
    assert_eq!(site.read("/maintenance").await, json!([]));
    let made = site.done(POST, "/maintenance", window(json!({}))).await;
    let path = format!("/maintenance/{}", made["id"]);
    site.check(
        PUT,
        &path,
        r#"{"ends_at":"2089-01-01T00:00:00Z"}"#,
        (400, "validation", "end after"),
    )
    .await;
    let begun = json!({ "starts_at": "2020-01-01T00:00:00Z" });
    let made = site.done(POST, "/maintenance", window(begun)).await;
    assert_eq!(made["active"], true);
    let path = format!("/maintenance/{}", made["id"]);
    site.check(PUT, &path, r#"{"title":"x"}"#, (409, "conflict", "has begun")).await;
}

#[tokio::test]
async fn routes_marked_pro_are_closed_in_community_before_anything_is_read() {
    let site = Site::with(Edition::Community, true);
    for (method, path) in [
        (POST, "/incidents"),
        (PUT, "/incidents/x"),
        (DELETE, "/incidents/x"),
        (POST, "/incidents/x/updates"),
        (POST, "/maintenance"),
        (PUT, "/maintenance/x"),
        (DELETE, "/maintenance/x"),
        (Method::GET, "/subscribers"),
        (PUT, "/smtp"),
        (POST, "/smtp/test"),
        (Method::GET, "-page/settings"),
    ] {
        let refused = (403, "PRO_REQUIRED", "MAINTENANT_EDITION=extended");
        site.check(method, path, "{", refused).await;
    }
    assert_eq!(site.read("/incidents").await, json!({ "incidents": [], "total": 0 }));
    assert_eq!(site.read("/maintenance").await, json!([]));
    let extended = Site::new();
    extended.check(PUT, "/smtp", "{}", (404, "not_found", "MAINTENANT_SMTP_HOST")).await;
}
