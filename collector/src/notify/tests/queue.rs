use super::super::outbox::{Lane, enqueue, publish};
use super::super::sql::{Outcome, list_due, list_messages};
use super::super::subscriptions::Webhook;
use super::*;
use maintenant_api::channels::{RoutingRuleInput, WebhookInput};
use serde_json::{Map, json};

/// Ids of what is due in a lane.
fn due(db: &Connection, lane: &Lane, seconds: i64) -> Vec<i64> {
    list_due(db, lane, at(seconds), 100).unwrap().iter().map(|row| row.id).collect()
}

fn again(seconds: i64) -> Outcome {
    Outcome::Again { at: at(seconds), error: "refused".into() }
}

fn subscribe(db: &Connection, event_types: &[&str]) -> Lane {
    let input = WebhookInput {
        name: Some("all".into()),
        url: Some("https://h.example/".into()),
        secret: None,
        event_types: Some(event_types.iter().map(|one| (*one).to_owned()).collect()),
    };
    let webhook = Webhook::create(input, false, at(0)).unwrap();
    sql::insert_webhook(db, &webhook).unwrap();
    Lane::Webhook(webhook.id)
}

/// Status and entity of every message of a lane, oldest first.
fn told(db: &Connection, lane: &Lane) -> Vec<String> {
    let all = list_messages(db, None, Some(lane), i64::MAX, 1000).unwrap();
    let entity = |id| {
        db.query_row("SELECT entity FROM notifications WHERE id = ?1", [id], |row| {
            row.get::<_, String>(0)
        })
    };
    let line = |one: &maintenant_api::channels::Notification| {
        format!("{} {} {}", one.status, one.event, entity(one.id).unwrap())
    };
    all.iter().rev().map(line).collect()
}

#[test]
fn a_message_waits_for_the_one_before_it_of_the_same_entity_alone() {
    let db = database();
    let lane = Lane::Channel(channel(&db, "ops", "https://h.example/").id);
    for notice in [fired(1), resolved(1), fired(1), fired(2)] {
        assert_eq!(enqueue(&db, &notice, at(0)).unwrap(), 1);
    }
    assert_eq!(due(&db, &lane, 0), [1, 4]);
    sql::finish(&db, 1, &again(60), at(1)).unwrap();
    assert_eq!(due(&db, &lane, 59), [4], "the next of entity 1 still waits");
    assert_eq!(due(&db, &lane, 60), [4, 1]);
    sql::finish(&db, 1, &Outcome::Delivered, at(60)).unwrap();
    assert_eq!(due(&db, &lane, 60), [4, 2]);
    sql::finish(&db, 2, &Outcome::Dead { error: "gone".into() }, at(61)).unwrap();
    sql::finish(&db, 4, &Outcome::Delivered, at(61)).unwrap();
    assert_eq!(due(&db, &lane, 61), [3]);
}

#[test]
fn lanes_do_not_wait_for_each_other() {
    let db = database();
    let one = Lane::Channel(channel(&db, "one", "https://h.example/").id);
    let two = Lane::Channel(channel(&db, "two", "https://h.example/").id);
    enqueue(&db, &fired(1), at(0)).unwrap();
    enqueue(&db, &resolved(1), at(0)).unwrap();
    sql::finish(&db, 2, &Outcome::Delivered, at(0)).unwrap();
    assert_eq!((due(&db, &one, 0), due(&db, &two, 0)), (vec![1], vec![4]));
}

#[test]
fn the_payload_and_the_key_are_those_of_the_moment() {
    let db = database();
    let lane = Lane::Channel(channel(&db, "ops", "https://h.example/").id);
    enqueue(&db, &fired(1), at(5)).unwrap();
    let first = list_due(&db, &lane, at(5), 1).unwrap().remove(0);
    sql::finish(&db, first.id, &again(6), at(5)).unwrap();
    let second = list_due(&db, &lane, at(6), 1).unwrap().remove(0);
    assert_eq!((&first.key, &first.payload), (&second.key, &second.payload));
    assert_eq!((first.attempts, second.attempts), (0, 1));
    assert!(first.payload.contains(r#""timestamp":"2026-01-01T00:00:05Z""#), "{}", first.payload);
}

#[test]
fn an_end_is_told_to_those_who_were_told_the_beginning() {
    let db = database();
    let critical = channel(&db, "critical", "https://h.example/").id;
    let input = RoutingRuleInput { source_filter: None, severity_filter: Some("critical".into()) };
    let rule = super::super::routing::parse(&input).unwrap();
    sql::insert_rule(&db, critical, &rule, at(0)).unwrap();
    // A warning is not for it, and neither is its end.
    let warning = Notice { alert: Alert { severity: Severity::Warning, ..alert() }, ..fired(12) };
    assert_eq!(enqueue(&db, &warning, at(0)).unwrap(), 0);
    assert_eq!(enqueue(&db, &resolved(12), at(1)).unwrap(), 0);
    // What escalates is, and its end, though that is of severity info.
    assert_eq!(enqueue(&db, &warning, at(2)).unwrap(), 0);
    assert_eq!(enqueue(&db, &fired(12), at(3)).unwrap(), 1);
    // One that came later does not hear the end of what it never heard of.
    channel(&db, "later", "https://h.example/");
    assert_eq!(enqueue(&db, &resolved(12), at(4)).unwrap(), 1);
    assert_eq!(enqueue(&db, &resolved(12), at(5)).unwrap(), 0, "told once");
    let told = told(&db, &Lane::Channel(critical));
    assert_eq!(told, ["pending alert.fired container/12", "pending alert.resolved container/12"]);
}

#[test]
fn an_end_is_not_told_to_those_who_never_heard_the_beginning() {
    let dead = || Outcome::Dead { error: "x".into() };
    // What becomes of the messages that an alert fired, and how many are told its end.
    let check = |outcomes: &[Outcome], expected: usize| {
        let db = database();
        channel(&db, "ops", "https://h.example/");
        for (id, outcome) in (1..).zip(outcomes) {
            enqueue(&db, &fired(1), at(id)).unwrap();
            sql::finish(&db, id, outcome, at(id)).unwrap();
        }
        assert_eq!(enqueue(&db, &resolved(1), at(9)).unwrap(), expected, "{outcomes:?}");
        assert_eq!(enqueue(&db, &resolved(1), at(9)).unwrap(), 0, "told once: {outcomes:?}");
    };
    check(&[dead()], 0);
    check(&[Outcome::Delivered], 1);
    check(&[again(60)], 1);
    check(&[Outcome::Delivered, dead()], 1);
    check(&[dead(), Outcome::Delivered], 1);
    check(&[dead(), again(60)], 1);
    check(&[dead(), dead()], 0);

    // Delivered when its end already waits behind it.
    let db = database();
    channel(&db, "ops", "https://h.example/");
    enqueue(&db, &fired(1), at(0)).unwrap();
    let other = Alert { alert_type: "restart_loop".into(), ..alert() };
    let other = Notice { alert: Alert { entity_id: 1, ..other }, ..fired(1) };
    enqueue(&db, &other, at(0)).unwrap();
    assert_eq!(enqueue(&db, &resolved(1), at(1)).unwrap(), 1);
    for id in 1..=3 {
        sql::finish(&db, id, &Outcome::Delivered, at(2)).unwrap();
    }
    assert_eq!(enqueue(&db, &resolved(1), at(3)).unwrap(), 0);
    let other = Notice { event: Event::Resolved, ..other };
    assert_eq!(enqueue(&db, &other, at(3)).unwrap(), 1, "another alert of that entity");
}

#[test]
fn a_channel_that_is_off_when_an_alert_ends_hears_the_next_end() {
    let db = database();
    let channel = channel(&db, "ops", "https://h.example/");
    let switch = |enabled: bool| {
        let input = ChannelInput { enabled: Some(enabled), ..ChannelInput::default() };
        let draft = channels::update(&input, &channel, true).unwrap();
        sql::update_channel(&db, channel.id, &draft, at(1)).unwrap();
    };
    enqueue(&db, &fired(1), at(0)).unwrap();
    sql::finish(&db, 1, &Outcome::Delivered, at(0)).unwrap();
    switch(false);
    assert_eq!(enqueue(&db, &resolved(1), at(2)).unwrap(), 0);
    assert_eq!(enqueue(&db, &fired(1), at(3)).unwrap(), 0);
    switch(true);
    assert_eq!(enqueue(&db, &resolved(1), at(4)).unwrap(), 1);
}

#[test]
fn what_pauses_is_due_at_once_when_its_channel_leads_elsewhere() {
    let check = |edit: serde_json::Value, expected: &[i64]| {
        let db = database();
        let old = channel(&db, "ops", "https://h.example/");
        let lane = Lane::Channel(old.id);
        for notice in [fired(1), resolved(1), fired(2)] {
            enqueue(&db, &notice, at(0)).unwrap();
        }
        for id in [1, 3] {
            sql::finish(&db, id, &again(7200), at(0)).unwrap();
        }
        let draft = channels::update(&serde_json::from_value(edit).unwrap(), &old, true).unwrap();
        sql::update_channel(&db, old.id, &draft, at(10)).unwrap();
        assert_eq!(due(&db, &lane, 10), expected, "{draft:?}");
    };
    check(json!({ "url": "https://h.example/other" }), &[1, 3]);
    check(json!({ "headers": r#"{"authorization":"x"}"# }), &[1, 3]);
    check(json!({ "type": "slack", "url": "https://h.example/x" }), &[1, 3]);
    check(json!({ "name": "other", "url": "https://h.example/" }), &[]);
    check(json!({ "url": "https://h.example/other", "enabled": false }), &[]);
}

#[test]
fn a_lane_has_failed_long_after_ten_minutes_or_five_tries() {
    let db = database();
    let lane = Lane::Channel(channel(&db, "ops", "https://h.example/").id);
    assert!(!sql::has_failed_long(&db, &lane, at(10_000)).unwrap());
    sql::save_health(&db, &lane, Some("x"), at(0)).unwrap();
    assert!(!sql::has_failed_long(&db, &lane, at(599)).unwrap());
    assert!(sql::has_failed_long(&db, &lane, at(600)).unwrap());
    let lane = subscribe(&db, &[]);
    for _ in 0..4 {
        sql::save_health(&db, &lane, Some("x"), at(0)).unwrap();
    }
    assert!(!sql::has_failed_long(&db, &lane, at(0)).unwrap());
    sql::save_health(&db, &lane, Some("x"), at(0)).unwrap();
    assert!(sql::has_failed_long(&db, &lane, at(0)).unwrap());
}

#[test]
fn what_was_deleted_meanwhile_is_no_error() {
    let db = database();
    sql::finish(&db, 99, &Outcome::Delivered, at(0)).unwrap();
}

#[test]
fn named_channels_are_the_only_ones_told() {
    let db = database();
    channel(&db, "one", "https://h.example/");
    channel(&db, "two", "https://h.example/");
    let to = |names: &[&str]| Notice {
        channels: names.iter().map(|name| (*name).to_owned()).collect(),
        ..fired(1)
    };
    assert_eq!(enqueue(&db, &to(&["TWO"]), at(0)).unwrap(), 1);
    assert_eq!(enqueue(&db, &resolved(1), at(0)).unwrap(), 1);
    assert_eq!(enqueue(&db, &to(&["nobody"]), at(0)).unwrap(), 2);
    assert_eq!(told(&db, &Lane::Channel(1)).len(), 1);
    assert_eq!(told(&db, &Lane::Channel(2)).len(), 3);
}

#[test]
fn subscriptions_get_the_events_they_name() {
    let db = database();
    let all = subscribe(&db, &[]);
    let fired_only = subscribe(&db, &["alert.fired"]);
    assert_eq!(enqueue(&db, &fired(1), at(0)).unwrap(), 2);
    assert_eq!(enqueue(&db, &resolved(1), at(0)).unwrap(), 1);
    let event = "container.state_changed";
    assert_eq!(publish(&db, event, "container/1", &Map::new(), at(0)).unwrap(), 1);
    assert_eq!(told(&db, &fired_only), ["pending alert.fired container/1"]);
    let waiting = [
        "pending alert.fired container/1",
        "pending alert.resolved container/1",
        "pending container.state_changed container/1",
    ];
    assert_eq!(told(&db, &all), waiting);
    let payload = &list_due(&db, &all, at(0), 1).unwrap()[0].payload;
    let payload: serde_json::Value = serde_json::from_str(payload).unwrap();
    assert_eq!(payload["type"], "alert.fired");
    assert_eq!(payload["data"]["details"]["exit_code"], 137);
    assert_eq!(payload["timestamp"], "2026-01-01T00:00:00Z");
}

#[test]
fn what_waits_for_a_channel_that_is_no_more_is_given_up_and_says_why() {
    let db = database();
    for (place, end) in ["off", "deleted"].into_iter().enumerate() {
        let channel = channel(&db, end, "https://h.example/");
        let lane = Lane::Channel(channel.id);
        enqueue(&db, &fired(1), at(0)).unwrap();
        enqueue(&db, &resolved(1), at(0)).unwrap();
        if place == 0 {
            let off = ChannelInput { enabled: Some(false), ..ChannelInput::default() };
            let draft = channels::update(&off, &channel, true).unwrap();
            sql::update_channel(&db, channel.id, &draft, at(1)).unwrap();
        } else {
            assert!(sql::delete_channel(&db, channel.id, at(1)).unwrap());
        }
        let all = list_messages(&db, Some("dead"), Some(&lane), i64::MAX, 10).unwrap();
        assert_eq!(all.len(), 2);
        assert!(all[0].last_error.as_ref().unwrap().contains("the channel was"));
        assert!(due(&db, &lane, 100).is_empty());
        // A try that was under way then and succeeded counts.
        let id = all[1].id;
        sql::finish(&db, id, &again(5), at(2)).unwrap();
        assert_eq!(sql::find_message(&db, id).unwrap().unwrap().status, "dead");
        sql::finish(&db, id, &Outcome::Delivered, at(2)).unwrap();
        assert_eq!(sql::find_message(&db, id).unwrap().unwrap().status, "delivered");
    }
}

#[test]
fn a_dead_message_that_is_revived_has_its_turn_among_the_others() {
    let db = database();
    let lane = Lane::Channel(channel(&db, "ops", "https://h.example/").id);
    for notice in [fired(1), resolved(1)] {
        enqueue(&db, &notice, at(0)).unwrap();
    }
    sql::finish(&db, 1, &Outcome::Dead { error: "x".into() }, at(1)).unwrap();
    assert_eq!(due(&db, &lane, 1), [2]);
    sql::revive(&db, 1, at(2)).unwrap();
    assert_eq!(due(&db, &lane, 2), [2], "one of an entity at a time");
    sql::finish(&db, 2, &Outcome::Delivered, at(3)).unwrap();
    assert_eq!(due(&db, &lane, 3), [1]);
    assert_eq!(sql::find_message(&db, 1).unwrap().unwrap().attempts, 0);
}

#[test]
fn a_clock_that_is_set_back_holds_no_message() {
    let db = database();
    let lane = Lane::Channel(channel(&db, "ops", "https://h.example/").id);
    enqueue(&db, &fired(1), at(100_000)).unwrap();
    assert_eq!(due(&db, &lane, 0), [1]);
    sql::finish(&db, 1, &again(7200), at(0)).unwrap();
    assert!(due(&db, &lane, 0).is_empty(), "a pause is a pause");
}

#[test]
fn what_has_ended_is_kept_for_a_while_and_what_waits_is_bounded() {
    let db = database();
    let lane = Lane::Channel(channel(&db, "ops", "https://h.example/").id);
    for entity in 1..=3 {
        enqueue(&db, &fired(entity), at(0)).unwrap();
    }
    sql::finish(&db, 1, &Outcome::Delivered, at(10)).unwrap();
    sql::finish(&db, 2, &Outcome::Dead { error: "x".into() }, at(10)).unwrap();
    let limit = at(10).as_millisecond();
    assert_eq!(sql::delete_old_delivered(&db, limit, 100).unwrap(), 0);
    assert_eq!(sql::delete_old_delivered(&db, limit + 1, 100).unwrap(), 1);
    assert_eq!(sql::delete_old_dead(&db, limit + 1, 100).unwrap(), 1);
    assert_eq!(told(&db, &lane), ["pending alert.fired container/3"]);

    let lane_text = lane.to_string();
    let fill = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10050)
        INSERT INTO notifications (lane, target, entity, event, key, payload, status, attempts,
            created_at) SELECT ?1, 'ops', 'container/3', 'alert.fired', i, '{}', 'pending', 0, 0 FROM n";
    db.execute(fill, [&lane_text]).unwrap();
    let now = at(20).as_millisecond();
    assert_eq!(sql::give_up_excess(&db, now, 30).unwrap(), 30);
    assert_eq!(sql::give_up_excess(&db, now, 2000).unwrap(), 21);
    assert_eq!(sql::give_up_excess(&db, now, 2000).unwrap(), 0);
    assert_eq!(sql::counts(&db).unwrap()[&lane_text], (10_000, 51));
    assert_eq!(due(&db, &lane, 20).len(), 1, "the next has its turn");
    assert_eq!(sql::delete_old_told(&db, at(10).as_millisecond(), 2).unwrap(), 0);
    assert_eq!(sql::delete_old_told(&db, at(11).as_millisecond(), 2).unwrap(), 1);
}
