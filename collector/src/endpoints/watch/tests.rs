//! The job taken apart: one thing at a time, and a store that does not take what it is given.

use futures_util::FutureExt;
use maintenant_api::endpoints::{EndpointStatus, FailureCause};
use rusqlite::Connection;

use super::*;
use crate::endpoints::tests::watching::{own, spine};
use crate::endpoints::tests::{at, failure, success};
use crate::store::Store;

/// A job that does not run, with one endpoint that is up.
struct Still {
    watch: Watch,
    id: i64,
    store: Store,
    _folder: tempfile::TempDir,
}

impl Still {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (spine, _) = spine(folder.path());
        let store = spine.store.clone();
        let declared = own("a", "http://a");
        let (mut watch, ..) = Watch::new(spine, declared, now()).await.unwrap();
        let id = *watch.entries.keys().next().unwrap();
        watch.record(id, success(1), now());
        let mut still = Self { watch, id, store, _folder: folder };
        still.save().await.unwrap();
        still
    }

    /// One round of what the loop does for the store.
    async fn save(&mut self) -> Result<(), StoreError> {
        let (unsaved, saved) = self.watch.save().await;
        self.watch.saved(unsaved, saved.clone());
        saved
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> T {
        self.store.read(read).await.unwrap()
    }

    /// What is stored; the same as in memory.
    async fn state(&self) -> State {
        let id = self.id;
        let stored = self.read(move |db| sql::find_state(db, id)).await;
        assert_eq!(stored, self.watch.entries[&id].state);
        stored
    }

    async fn rename(&self, from: &str, to: &str) {
        let sql = format!("ALTER TABLE {from} RENAME TO {to}");
        self.store.write(move |tx| tx.execute_batch(&sql)).await.unwrap();
    }
}

#[tokio::test]
async fn a_store_that_takes_nothing_loses_nothing_and_days_wait_for_it() {
    let mut still = Still::new().await;
    still.rename("marks", "away").await;
    let noted = now() - SignedDuration::from_hours(48);
    (still.watch.marked_at, still.watch.rolled_until) = (noted, noted);
    still.watch.record(still.id, failure(FailureCause::Connect, "refused"), now());
    still.watch.tick(now());
    assert!(still.save().await.is_err());
    still.watch.tick(now());
    still.watch.begin_rolling();
    assert!(still.watch.rolling.is_none());
    still.rename("away", "marks").await;
    still.save().await.unwrap();
    assert_eq!(still.state().await.status, EndpointStatus::Down);
    assert!(still.read(sql::observed_until).await.is_some());
    still.watch.tick(now());
    still.watch.begin_rolling();
    assert!(still.watch.rolling.is_some());
}

#[tokio::test]
async fn what_was_lost_is_made_up_for_by_what_is_known() {
    let mut still = Still::new().await;
    still.rename("endpoint_states", "away").await;
    for _ in 0..2 {
        still.watch.record(still.id, failure(FailureCause::Connect, "refused"), now());
    }
    // With the first of them what changes with it is lost.
    for _ in 0..20_001 {
        still.watch.record(still.id, success(1), now());
    }
    assert!(still.save().await.is_err());
    still.rename("away", "endpoint_states").await;
    still.save().await.unwrap();
    still.save().await.unwrap();
    assert_eq!(still.state().await.successes, 20_001);
}

#[tokio::test]
async fn days_are_rolled_up_between_saves_also_after_the_clock_was_set_back() {
    let mut still = Still::new().await;
    for days in [-2, 2] {
        still.watch.rolled_until = now() + SignedDuration::from_hours(24 * days);
        still.watch.saving = Some(still.watch.save());
        still.watch.tick(now());
        still.watch.begin_rolling();
        assert!(still.watch.rolling.is_none(), "a save is under way");
        still.watch.saving = None;
        still.watch.begin_rolling();
        let rolling = still.watch.rolling.take().unwrap();
        still.watch.rolling = Some(std::future::pending().boxed());
        still.watch.record(still.id, success(1), now());
        still.watch.unsaved.since = Some(still.watch.unsaved.since.unwrap() - GATHER);
        still.watch.begin_saving();
        assert!(still.watch.saving.is_none(), "days are rolled up");
        still.watch.rolling = None;
        let (until, rolled) = rolling.await;
        rolled.unwrap();
        still.watch.rolled(until, Ok(()));
        still.watch.tick(now());
        assert!(!still.watch.is_day_over);
    }
}

#[tokio::test(start_paused = true)]
async fn waiting_for_the_store_is_no_standing_still() {
    let mut still = Still::new().await;
    let status = |still: &Still| still.watch.entries[&still.id].state.status;
    let began = Instant::now();
    tokio::time::advance(Duration::from_secs(100)).await;
    still.watch.excuse(began.elapsed());
    still.watch.look_at_clocks();
    assert_eq!(status(&still), EndpointStatus::Up);
    tokio::time::advance(Duration::from_secs(100)).await;
    still.watch.look_at_clocks();
    assert_eq!(status(&still), EndpointStatus::Unknown);
}

#[tokio::test(start_paused = true)]
async fn one_whose_check_is_due_or_under_way_does_not_lapse() {
    let mut still = Still::new().await;
    tokio::time::advance(Duration::from_secs(30)).await;
    let start = still.watch.schedule.due(Instant::now()).remove(0);
    let later = now() + SignedDuration::from_hours(1);
    still.watch.tick(later);
    assert_eq!(still.watch.entries[&still.id].state.status, EndpointStatus::Up);
    still.watch.schedule.done(&start);
    still.watch.tick(later);
    assert_eq!(still.watch.entries[&still.id].state.status, EndpointStatus::Unknown);
}

#[tokio::test]
async fn what_was_found_out_before_a_stop_is_stored() {
    let mut still = Still::new().await;
    let id = still.id;
    still.watch.record(id, failure(FailureCause::Connect, "refused"), now());
    still.watch.saving = Some(still.watch.save());
    still.watch.record(id, failure(FailureCause::Connect, "refused"), now());
    let (Still { watch, store, _folder, .. }, seen) = (still, now());
    drop(watch);
    // Writes come one after the other.
    store.write(|_| Ok(())).await.unwrap();
    let state = store.read(move |db| sql::find_state(db, id)).await.unwrap();
    assert_eq!(state.failures, 2);
    let noted = store.read(sql::observed_until).await.unwrap().unwrap();
    assert!(at(0) < noted && noted <= seen);
}
