//! The routes, and what is told.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::http::events::EventBus;
use crate::http::tests::{api, api_of, check_error};
use crate::insights::watch::Watch;
use crate::tasks::{Backoff, Supervisor};

#[tokio::test(start_paused = true)]
async fn insights_are_served_by_container_and_counted_in_lists() {
    let mut container = container(&json!({"Privileged": true, "Memory": 0}), &json!({}));
    let mut ignored = labelled(&json!({"Privileged": true}), &json!({"maintenant.ignore": "1"}));
    (container.id, ignored.id) = (7, 8);
    let api = api_of(vec![Arc::new(container), Arc::new(ignored)]).await;

    let list = api.get("/api/v1/security/insights").await.body;
    assert_eq!(list["containers"].as_array().unwrap().len(), 1);
    let first = &list["containers"][0];
    assert_eq!((&first["container_id"], &first["count"]), (&json!(7), &json!(2)));
    assert_eq!(first["highest_severity"], "critical");
    assert_eq!(first["insights"][0]["type"], "privileged_container");
    assert_eq!(first["insights"][0]["detected_at"], "1970-01-12T13:46:40Z");
    assert_eq!(list["summary"], api.get("/api/v1/security/summary").await.body);
    assert_eq!(
        list["summary"]["by_type"],
        json!({"privileged_container": 1, "no_memory_limit": 1})
    );

    assert_eq!(&api.get("/api/v1/security/insights/7").await.body, first);
    let none = api.get("/api/v1/security/insights/8").await.body;
    assert_eq!((&none["count"], &none["highest_severity"]), (&json!(0), &json!(null)));
    assert_eq!(none["insights"], json!([]));

    let listed = &api.get("/api/v1/containers").await.body["groups"][0]["containers"][0];
    assert_eq!(listed["security_insight_count"], 2);
    assert_eq!(listed["security_highest_severity"], "critical");
}

#[tokio::test(start_paused = true)]
async fn a_container_that_was_not_inspected_has_no_count() {
    let mut unknown = container(&json!({}), &json!({}));
    unknown.facts.exposure = None;
    let api = api_of(vec![Arc::new(unknown)]).await;
    let of_one = api.get("/api/v1/security/insights/1").await.body;
    assert_eq!((&of_one["scanned"], &of_one["count"]), (&json!(false), &json!(0)));
    let listed = &api.get("/api/v1/containers").await.body["groups"][0]["containers"][0];
    assert_eq!(listed.get("security_insight_count"), None);
}

#[tokio::test(start_paused = true)]
async fn an_empty_collector_answers_and_faults_have_their_codes() {
    let api = api(None, &[]).await;
    let list = api.get("/api/v1/security/insights").await.body;
    assert_eq!(list["containers"], json!([]));
    assert_eq!(list["summary"]["by_severity"], json!({}));
    let path = "/api/v1/security/insights";
    check_error(&api, &format!("{path}/seven"), 400, "INVALID_ID", "whole numbers").await;
    check_error(&api, &format!("{path}/7"), 404, "CONTAINER_NOT_FOUND", "id 7").await;
}

#[tokio::test(start_paused = true)]
async fn what_was_known_at_the_start_is_not_told_and_a_change_is() {
    let first = container(&json!({"Privileged": true}), &json!({}));
    let inventory = |container: &Container| Inventory::new(vec![Arc::new(container.clone())]);
    let (sender, reader) = tokio::sync::watch::channel(inventory(&first));
    let events = EventBus::new(at(0));
    let mut told = events.subscribe(None).receiver;
    let mut supervisor = Supervisor::default();
    let second = Duration::from_secs(1);
    supervisor.follow(Backoff::new(second, second), Watch::new(reader, events));
    tokio::time::sleep(second).await;
    assert!(told.try_recv().is_err(), "it was told before the restart");
    sender.send_replace(inventory(&later(&first, 60, &json!({}), &json!({}))));
    assert_eq!(told.recv().await.unwrap().name, "security.insights_resolved");
}
