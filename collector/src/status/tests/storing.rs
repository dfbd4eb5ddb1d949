//! The tables, and what keeps alerts quiet.

use std::collections::BTreeSet;

use http::Method;
use maintenant_api::status::ComponentStatus;
use serde_json::json;

use super::super::model::{DAY_MS, Day, day};
use super::super::monitors::PastDay;
use super::super::sql;
use super::{Site, at, endpoint};

#[tokio::test]
async fn time_is_added_up_by_days_and_forgotten_with_its_component() {
    let site = Site::new();
    let id = site.component("Web shop", &[1], json!({})).await;
    let known = |component, ms| {
        let mut day = Day::default();
        day.add(ComponentStatus::Operational, ms);
        day.add(ComponentStatus::UnderMaintenance, 2 * ms);
        [((component, 20_000), day)].into()
    };
    let (first, second, gone) = (known(id, 5), known(id, 7), known(99, 7));
    let work = move |tx: &rusqlite::Connection| {
        sql::days::add(tx, &first)?;
        sql::days::add(tx, &second)?;
        sql::days::add(tx, &gone)?;
        sql::days::since(tx, 20_000)
    };
    let days = site.store.write(work).await.unwrap();
    assert_eq!(days.len(), 1, "nothing is counted for what is gone");
    assert_eq!((days[&id][0].1.operational, days[&id][0].1.under_maintenance), (12, 24));
    site.done(Method::DELETE, &format!("/components/{id}"), json!(null)).await;
    assert!(site.store.read(|db| sql::days::since(db, 0)).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_new_component_has_the_past_of_its_monitors() {
    let site = Site::new();
    let today = day(maintenant_serve::clock::now());
    site.world.set(endpoint(1), "operational");
    let past = vec![PastDay { day: today - 3, up_ms: DAY_MS - 5, down_ms: 5 }];
    site.world.past.lock().unwrap().insert(endpoint(1), past);
    let id = site.component("Web shop", &[1], json!({})).await;
    let days = site.store.read(|db| sql::days::since(db, 0)).await.unwrap();
    assert_eq!(
        days[&id],
        [(today - 3, Day { operational: DAY_MS - 5, major_outage: 5, ..Day::default() })]
    );
}

#[tokio::test]
async fn a_window_keeps_exactly_its_monitors_quiet_while_it_lasts() {
    let site = Site::new();
    let shop = site.component("Web shop", &[1, 2], json!({})).await;
    let all = json!({ "display_name": "Hosts", "composition_mode": "match-all", "match_all_type": "container" });
    let hosts = site.done(Method::POST, "/components", all).await["id"].as_i64().unwrap();
    site.component("Other", &[3], json!({})).await;
    let window = json!({
        "title": "Upgrade", "starts_at": "2090-01-01T00:00:00Z", "ends_at": "2090-01-01T01:00:00Z",
        "component_ids": [shop, hosts],
    });
    site.done(Method::POST, "/maintenance", window).await;
    let begin: jiff::Timestamp = "2090-01-01T00:00:00Z".parse().unwrap();
    for (seconds, expected) in [(-1, 0), (0, 3), (3599, 3), (3600, 0)] {
        let now = begin + jiff::SignedDuration::from_secs(seconds);
        let mutes = site.store.read(move |db| sql::maintenance::mutes(db, now)).await.unwrap();
        assert_eq!(mutes.len(), expected, "after {seconds} s: {mutes:?}");
        let muted: BTreeSet<_> =
            mutes.iter().map(|mute| (mute.entity_type.clone().unwrap(), mute.entity_id)).collect();
        if expected > 0 {
            let endpoint = |id| ("endpoint".to_owned(), Some(id));
            assert_eq!(muted, [("container".to_owned(), None), endpoint(1), endpoint(2)].into());
        }
    }
}

#[tokio::test]
async fn what_never_was_confirmed_and_what_is_old_goes() {
    let site = Site::new();
    let wish = super::super::subscribers::wanted("ada@example.org".into(), at(0)).unwrap();
    let voice = site.status.0.voice.clone();
    let work = move |tx: &rusqlite::Connection| {
        super::super::subscribers::subscribe(tx, &wish, &voice, at(0))?;
        let too_early = sql::subscribers::delete_unconfirmed(tx, at(86_399).as_millisecond(), 10)?;
        let in_time = sql::subscribers::delete_unconfirmed(tx, at(86_401).as_millisecond(), 10)?;
        Ok((too_early, in_time, sql::subscribers::due(tx, 10, at(90_000))?.len()))
    };
    assert_eq!(site.store.write(work).await.unwrap(), (0, 1, 0));
    let id = site.component("Web shop", &[1], json!({})).await;
    let work = move |tx: &rusqlite::Connection| {
        let day = Day { operational: 1, ..Day::default() };
        sql::days::add(tx, &[((id, 5), day), ((id, 6), day)].into())?;
        let deleted = sql::days::delete_old(tx, 6 * DAY_MS, 10)?;
        Ok((deleted, sql::days::since(tx, 0)?[&id].len()))
    };
    assert_eq!(site.store.write(work).await.unwrap(), (1, 1));
}
