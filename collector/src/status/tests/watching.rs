//! The watch, at any time it is told.

use http::Method;
use maintenant_api::alerts::Severity;
use serde_json::{Value, json};

use super::super::sql;
use super::{Site, at, endpoint};
use crate::config::Edition;

/// A window that lasts from `begin` to `end`, written as if it had been made before.
async fn window(site: &Site, (begin, end): (i64, i64), components: &[i64]) -> i64 {
    let components = components.to_vec();
    let new = maintenant_api::status::Maintenance {
        id: 0,
        title: "Upgrade".into(),
        description: String::new(),
        starts_at: at(begin),
        ends_at: at(end),
        active: false,
        incident_id: None,
        components: Vec::new(),
        created_at: at(0),
        updated_at: at(0),
        url: None,
    };
    site.store.write(move |tx| sql::maintenance::insert(tx, &new, &components)).await.unwrap()
}

async fn incidents(site: &Site) -> Vec<Value> {
    site.read("/incidents").await["incidents"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_window_begins_and_ends_once_with_an_incident() {
    let site = Site::new();
    site.world.set(endpoint(1), "operational");
    let shop = site.component("Web shop", &[1], json!({})).await;
    window(&site, (100, 200), &[shop]).await;
    let mut told = site.status.0.events.subscribe(None).receiver;
    let mut watch = site.watch();
    assert_eq!(watch.look(at(99)).await.unwrap(), Some(at(100)));
    assert_eq!(site.shown(at(99)).await[0].1, "operational");
    assert!(incidents(&site).await.is_empty());
    for _ in 0..2 {
        assert_eq!(watch.look(at(100)).await.unwrap(), Some(at(200)));
        // Another process, after a crash, finds nothing to do either.
        assert_eq!(site.watch().look(at(150)).await.unwrap(), Some(at(200)));
    }
    assert_eq!(site.shown(at(100)).await[0].1, "under_maintenance");
    let [open] = incidents(&site).await.try_into().unwrap();
    assert_eq!((&open["is_maintenance"], &open["status"]), (&json!(true), &json!("identified")));
    assert_eq!(open["title"], "Scheduled Maintenance: Upgrade");
    assert_eq!(watch.look(at(200)).await.unwrap(), None);
    watch.look(at(201)).await.unwrap();
    assert_eq!(site.shown(at(200)).await[0].1, "operational");
    let [closed] = incidents(&site).await.try_into().unwrap();
    assert_eq!(
        (&closed["status"], closed["updates"].as_array().unwrap().len()),
        (&json!("resolved"), 2)
    );
    let mut names = Vec::new();
    while let Ok(event) = told.try_recv() {
        names.push(event.name);
    }
    let count = |name: &str| names.iter().filter(|told| **told == name).count();
    assert_eq!((count("status.maintenance_started"), count("status.maintenance_ended")), (1, 1));
    assert_eq!((count("status.component_changed"), count("status.incident_resolved")), (2, 1));
}

#[tokio::test]
async fn a_window_nobody_saw_is_over_without_a_word() {
    let site = Site::new();
    window(&site, (100, 200), &[]).await;
    assert_eq!(site.watch().look(at(300)).await.unwrap(), None);
    assert!(incidents(&site).await.is_empty());
}

#[tokio::test]
async fn a_window_that_is_deleted_ends() {
    let site = Site::new();
    site.world.set(endpoint(1), "operational");
    let shop = site.component("Web shop", &[1], json!({})).await;
    let now = maintenant_serve::clock::now();
    let begin = now.duration_since(at(0)).as_secs() - 10;
    let id = window(&site, (begin, begin + 3600), &[shop]).await;
    site.watch().look(now).await.unwrap();
    assert_eq!(site.shown(now).await[0].1, "under_maintenance");
    site.done(Method::DELETE, &format!("/maintenance/{id}"), json!(null)).await;
    assert_eq!(site.shown(now).await[0].1, "operational");
    assert_eq!(incidents(&site).await[0]["status"], "resolved");
}

#[tokio::test]
async fn alerts_open_change_and_resolve_an_incident_in_either_edition() {
    for edition in [Edition::Community, Edition::Extended] {
        let site = Site::with(edition, false);
        site.world.set(endpoint(1), "major_outage");
        site.world.set(endpoint(2), "operational");
        site.component("Web shop", &[1, 2], json!({ "auto_incident": true })).await;
        site.component("Quiet", &[1], json!({})).await;
        let mut watch = site.watch();
        watch.look(at(0)).await.unwrap();
        assert!(incidents(&site).await.is_empty(), "no alert, no incident");
        site.world.raise(5, endpoint(1), Severity::Critical, true);
        watch.look(at(1)).await.unwrap();
        watch.look(at(2)).await.unwrap();
        let [open] = incidents(&site).await.try_into().unwrap();
        assert_eq!(
            (&open["title"], &open["severity"]),
            (&json!("Web shop: partial outage"), &json!("major"))
        );
        assert_eq!(open["updates"][0]["alert_id"], 5);
        assert!(!open.to_string().contains("inner-1"), "{open}");
        site.world.set(endpoint(2), "major_outage");
        site.world.raise(6, endpoint(2), Severity::Critical, true);
        watch.look(at(3)).await.unwrap();
        let [worse] = incidents(&site).await.try_into().unwrap();
        assert_eq!(
            (&worse["severity"], &worse["updates"][0]["alert_id"]),
            (&json!("critical"), &json!(6))
        );
        site.world.clear();
        watch.look(at(4)).await.unwrap();
        let [over] = incidents(&site).await.try_into().unwrap();
        assert_eq!((&over["id"], &over["status"]), (&open["id"], &json!("resolved")));
    }
}

#[tokio::test]
async fn a_silenced_alert_neither_holds_an_incident_open_nor_is_forgotten() {
    let site = Site::with(Edition::Extended, true);
    for id in [1, 2] {
        site.world.set(endpoint(id), "major_outage");
    }
    site.component("Web shop", &[1, 2], json!({ "auto_incident": true })).await;
    // One fails within a silence, the other fails and recovers.
    site.world.raise(5, endpoint(1), Severity::Critical, false);
    site.world.raise(6, endpoint(2), Severity::Critical, true);
    let mut watch = site.watch();
    watch.look(at(1)).await.unwrap();
    assert_eq!(incidents(&site).await[0]["status"], "investigating");
    site.world.clear();
    site.world.raise(5, endpoint(1), Severity::Critical, false);
    watch.look(at(2)).await.unwrap();
    assert_eq!(incidents(&site).await[0]["status"], "resolved");
    // The silence ends.
    site.world.raise(5, endpoint(1), Severity::Critical, true);
    watch.look(at(3)).await.unwrap();
    let [second, _] = incidents(&site).await.try_into().unwrap();
    assert_eq!(second["updates"][0]["alert_id"], 5);
    // What the owner closes stays closed through another silence.
    let path = format!("/incidents/{}/updates", second["id"]);
    site.done(Method::POST, &path, json!({ "status": "resolved", "message": "Known." })).await;
    for is_active in [false, true] {
        site.world.raise(5, endpoint(1), Severity::Critical, is_active);
        watch.look(at(4)).await.unwrap();
        assert_eq!(incidents(&site).await.len(), 2);
    }
}

#[tokio::test]
async fn more_of_the_same_leaves_the_status_a_user_gave_and_is_not_mailed() {
    let site = Site::new();
    site.world.set(endpoint(1), "major_outage");
    site.world.set(endpoint(2), "operational");
    site.component("Web shop", &[1, 2], json!({ "auto_incident": true })).await;
    site.subscriber("ada@example.org").await;
    let mut watch = site.watch();
    site.world.raise(5, endpoint(1), Severity::Critical, true);
    watch.look(at(1)).await.unwrap();
    assert_eq!(site.mails().await.len(), 1);
    let path = format!("/incidents/{}/updates", incidents(&site).await[0]["id"]);
    site.done(Method::POST, &path, json!({ "status": "identified", "message": "A disk." })).await;
    assert_eq!(site.mails().await.len(), 2);
    for alert in 6..30 {
        site.world.raise(alert, endpoint(1), Severity::Warning, true);
        watch.look(at(alert)).await.unwrap();
    }
    let [incident] = incidents(&site).await.try_into().unwrap();
    assert_eq!(incident["status"], "identified");
    assert_eq!(incident["updates"][0]["alert_id"], 29);
    assert_eq!(site.mails().await.len(), 2, "nobody is written to 24 times");
    site.world.set(endpoint(2), "major_outage");
    watch.look(at(40)).await.unwrap();
    let [worse] = incidents(&site).await.try_into().unwrap();
    assert_eq!((&worse["status"], &worse["severity"]), (&json!("identified"), &json!("critical")));
    site.world.clear();
    watch.look(at(41)).await.unwrap();
    let subjects: Vec<_> = site.mails().await.into_iter().map(|mail| mail.subject).collect();
    assert_eq!(subjects.len(), 4, "worse, and over: {subjects:?}");
    assert!(subjects[3].contains("Resolved"), "{subjects:?}");
}

#[tokio::test]
async fn who_ends_the_incident_of_a_window_ends_the_window() {
    for is_deleted in [false, true] {
        let site = Site::new();
        site.world.set(endpoint(1), "operational");
        let shop = site.component("Web shop", &[1], json!({})).await;
        let now = maintenant_serve::clock::now();
        let begin = now.duration_since(at(0)).as_secs() - 10;
        window(&site, (begin, begin + 3600), &[shop]).await;
        site.watch().look(now).await.unwrap();
        assert_eq!(site.shown(now).await[0].1, "under_maintenance");
        let mut told = site.status.0.events.subscribe(None).receiver;
        let path = format!("/incidents/{}", incidents(&site).await[0]["id"]);
        if is_deleted {
            site.done(Method::DELETE, &path, json!(null)).await;
        } else {
            let done = json!({ "status": "resolved", "message": "Done early." });
            site.done(Method::POST, &format!("{path}/updates"), done).await;
            let updates = incidents(&site).await[0]["updates"].as_array().unwrap().len();
            assert_eq!(updates, 2, "it is said once");
        }
        assert_eq!(site.shown(now).await[0].1, "operational");
        let mutes = site.store.read(move |db| sql::maintenance::mutes(db, now)).await.unwrap();
        assert!(mutes.is_empty(), "{mutes:?}");
        let mut names = Vec::new();
        while let Ok(event) = told.try_recv() {
            names.push(event.name);
        }
        assert!(names.contains(&"status.maintenance_ended"), "{names:?}");
    }
}

#[tokio::test]
async fn an_incident_that_somebody_opens_again_is_theirs_to_end() {
    let site = Site::new();
    site.world.set(endpoint(1), "major_outage");
    site.component("Web shop", &[1], json!({ "auto_incident": true })).await;
    let mut watch = site.watch();
    site.world.raise(5, endpoint(1), Severity::Critical, true);
    watch.look(at(1)).await.unwrap();
    site.world.clear();
    watch.look(at(2)).await.unwrap();
    let path = format!("/incidents/{}/updates", incidents(&site).await[0]["id"]);
    site.done(Method::POST, &path, json!({ "status": "monitoring", "message": "Not yet." })).await;
    watch.look(at(3)).await.unwrap();
    assert_eq!(incidents(&site).await[0]["status"], "monitoring");
}

#[tokio::test]
async fn a_component_that_lost_a_monitor_is_not_said_to_be_well() {
    let site = Site::new();
    site.world.set(endpoint(1), "operational");
    site.component("Web shop", &[1, 2], json!({})).await;
    assert_eq!(site.shown(at(0)).await[0].1, "unknown");
    assert_eq!(site.read("/components").await[0]["needs_attention"], true);
}

#[tokio::test]
async fn time_in_each_status_is_counted_and_written_in_time() {
    let site = Site::new();
    site.world.set(endpoint(1), "operational");
    site.component("Web shop", &[1], json!({})).await;
    let mut watch = site.watch();
    for second in (0..=120).step_by(5) {
        if second == 60 {
            site.world.set(endpoint(1), "major_outage");
        }
        if second == 90 {
            site.world.set(endpoint(1), "nothing is known");
        }
        watch.look(at(second)).await.unwrap();
    }
    // The machine sleeps for an hour, of which nothing is known.
    watch.look(at(3720)).await.unwrap();
    let world = site.world.clone();
    let overview = site.store.read(move |db| super::super::overview::read(db, &*world, at(3720)));
    let shown = overview.await.unwrap().components.remove(0);
    let today = shown.days.last().unwrap();
    assert_eq!((today.operational, today.major_outage), (60_000, 30_000));
    assert_eq!(shown.uptime.percent, Some(66.66));
}

#[tokio::test]
async fn the_public_is_told_of_nothing_hidden() {
    let site = Site::new();
    site.world.set(endpoint(1), "operational");
    let hidden = site.component("Secret plan", &[1], json!({ "visible": false })).await;
    let mut told = site.status.0.events.subscribe(None).receiver;
    let mut watch = site.watch();
    watch.look(at(0)).await.unwrap();
    site.world.set(endpoint(1), "major_outage");
    window(&site, (10, 20), &[hidden]).await;
    watch.look(at(10)).await.unwrap();
    let incident = json!({ "title": "Secret", "severity": "minor", "component_ids": [hidden], "message": "x" });
    let made = site.done(Method::POST, "/incidents", incident).await;
    let path = format!("/incidents/{}/updates", made["id"]);
    site.done(Method::POST, &path, json!({ "status": "resolved", "message": "Secret" })).await;
    let mut all = String::new();
    while let Ok(event) = told.try_recv() {
        all.push_str(event.name);
        all.push_str(&event.data);
    }
    for path in ["/status/", "/status/api", "/status/feed.atom"] {
        all += &site.get(path).await.1;
    }
    assert!(!all.contains("Secret"), "{all}");
    // Without its component an incident of it would seem to concern everything.
    site.done(Method::DELETE, &format!("/components/{hidden}"), json!(null)).await;
    assert!(incidents(&site).await.is_empty());
}
