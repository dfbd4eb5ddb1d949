//! The tables: what is saved is what is loaded, and spans say what was known.

use std::sync::Arc;

use super::*;
use crate::containers::sql::{self, Change};
use crate::store::Store;
use crate::uptime::Span;

fn open() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(&folder.path().join("m.db")).unwrap();
    (folder, store)
}

fn change(container: &Container, from: i64) -> Change {
    Change {
        container: Arc::new(container.clone()),
        transition: None,
        available_from: at(from),
        is_new: false,
    }
}

async fn save(store: &Store, changes: Vec<Change>) {
    store.write(move |tx| sql::save(tx, &changes)).await.unwrap();
}

async fn spans(store: &Store, open_until: i64) -> Vec<Span> {
    store.read(move |db| sql::spans(db, 1, at(0), at(open_until))).await.unwrap()
}

fn span(from: i64, to: i64, is_up: bool) -> Span {
    Span { from: at(from), to: at(to), is_up }
}

#[tokio::test]
async fn a_container_is_loaded_as_it_was_saved() {
    let (_folder, store) = open();
    let (mut container, _) = play(running(RestartPolicy::OnFailure(4)), "oom die=137");
    let labels = [
        ("com.docker.compose.project", "shop"),
        ("com.docker.compose.service", "web"),
        ("com.docker.compose.container-number", "2"),
        ("com.docker.compose.project.working_dir", "/srv/shop"),
        ("maintenant.group", "front"),
        ("maintenant.alert.channels", "ops,mail"),
    ];
    let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
    container.facts.labels = Labels::read(&labels.into());
    container.identity = container.facts.identity();
    save(&store, vec![change(&container, 1)]).await;
    let loaded = store.read(sql::load).await.unwrap();
    assert_eq!(loaded.last_container_id, 1);
    container.pending = loaded.containers[0].pending.clone();
    assert_eq!(loaded.containers, [container]);
}

#[tokio::test]
async fn availability_is_kept_as_spans() {
    let (_folder, store) = open();
    let up = running(NO);
    let (down, _) = play(up.clone(), "die=3");
    save(&store, vec![change(&up, 0), change(&up, 5), change(&down, 10)]).await;
    assert_eq!(spans(&store, 30).await, [span(0, 10, true), span(10, 30, false)]);
}

#[tokio::test]
async fn what_followed_the_last_observation_is_in_no_span() {
    let (_folder, store) = open();
    let up = running(NO);
    save(&store, vec![change(&up, 0)]).await;
    store.write(|tx| sql::close_spans(tx, at(10))).await.unwrap();
    save(&store, vec![change(&up, 40)]).await;
    assert_eq!(spans(&store, 60).await, [span(0, 10, true), span(40, 60, true)]);
}

#[tokio::test]
async fn a_job_that_ended_well_and_a_removed_container_open_no_span() {
    let (_folder, store) = open();
    let (completed, _) = play(running(NO), "die=0");
    let (gone, _) = play(completed.clone(), "destroy");
    save(&store, vec![change(&running(NO), 0), change(&completed, 10), change(&gone, 20)]).await;
    assert_eq!(spans(&store, 30).await, [span(0, 10, true)]);
}

#[tokio::test]
async fn an_archived_name_is_found_again_and_its_live_namesake_is_one() {
    let (_folder, store) = open();
    let (archived, _) = play(running(NO), "destroy");
    save(&store, vec![change(&archived, 1)]).await;
    let found = store.read(|db| sql::find_archived(db, "name:web")).await.unwrap();
    assert_eq!(found.unwrap().id, 1);
    let second = Container { id: 2, ..running(NO) };
    let third = Container { id: 3, ..running(NO) };
    save(&store, vec![change(&second, 2)]).await;
    let twice = vec![change(&third, 3)];
    save(&store, twice).await;
    let third = store.read(|db| sql::find(db, 3)).await.unwrap();
    assert!(third.is_none(), "a live namesake was stored");
}

#[tokio::test]
async fn old_rows_go_and_take_their_history_with_them() {
    let (_folder, store) = open();
    let (gone, _) = play(running(NO), "die=3 destroy");
    let (_, transition) = apply(&running(NO), &Observation::Died { code: 3 }, at(1));
    let mut transition = transition.unwrap();
    transition.id = 1;
    let died = Change { transition: Some(transition), ..change(&gone, 2) };
    save(&store, vec![died]).await;
    let later = at(100).as_millisecond();
    let deleted = store.write(move |tx| sql::delete_old_archived(tx, later, 10)).await.unwrap();
    assert_eq!(deleted, 1);
    let all =
        |db: &rusqlite::Connection| sql::transitions(db, 1, Timestamp::MIN, Timestamp::MAX, 10, 0);
    assert_eq!(store.read(all).await.unwrap().1, 0);
}

#[tokio::test]
async fn a_restart_loop_keeps_a_bounded_history() {
    let (_folder, store) = open();
    let fill = |tx: &rusqlite::Connection| {
        sql::save(tx, &[change(&running(NO), 0)])?;
        let (_, transition) = apply(&running(NO), &Observation::Died { code: 3 }, at(1));
        for id in 1..=10_100 {
            let transition = Transition { id, at: at(id), ..transition.clone().unwrap() };
            let died = Change { transition: Some(transition), ..change(&running(NO), 0) };
            sql::save(tx, &[died])?;
            sql::save_log_snippet(tx, id, "last words")?;
        }
        Ok(())
    };
    store.write(fill).await.unwrap();
    let kept = store.read(|db| {
        db.query_row(
            "SELECT count(*), min(id) FROM container_transitions WHERE log_snippet <> ''",
            [],
            |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)),
        )
    });
    assert_eq!(kept.await.unwrap(), (50, 10_051));
    let deleted = store.write(|tx| sql::delete_excess_transitions(tx, 0, 1000)).await.unwrap();
    assert_eq!(deleted, 100);
    let all = |db: &rusqlite::Connection| {
        sql::transitions(db, 1, Timestamp::MIN, Timestamp::MAX, 1, 9_999)
    };
    let (oldest, total) = store.read(all).await.unwrap();
    assert_eq!((total, oldest[0].id), (10_000, 101));
}

#[tokio::test]
async fn a_corrected_end_keeps_its_place_and_its_last_lines() {
    let (_folder, store) = open();
    let (container, transition) = apply(&running(NO), &Observation::Died { code: 7 }, at(5));
    let transition = Transition { id: 1, ..transition.unwrap() };
    let corrected =
        Transition { new_state: State::Restarting, at: at(50), amends: true, ..transition.clone() };
    let change = |transition| Change { transition: Some(transition), ..change(&container, 5) };
    save(&store, vec![change(transition)]).await;
    store.write(|tx| sql::save_log_snippet(tx, 1, "last words")).await.unwrap();
    save(&store, vec![change(corrected)]).await;
    let all =
        |db: &rusqlite::Connection| sql::transitions(db, 1, Timestamp::MIN, Timestamp::MAX, 10, 0);
    let (transitions, total) = store.read(all).await.unwrap();
    assert_eq!(total, 1);
    assert_eq!((transitions[0].new_state, transitions[0].timestamp), (State::Restarting, at(5)));
    assert_eq!(transitions[0].log_snippet, "last words");
}
