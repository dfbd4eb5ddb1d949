//! The decision over 1,000 open alerts and 10,000 signals, where nothing changes and where everything
//! is new; and a whole look at as many open alerts. `cargo bench -p maintenant-collector --bench alerts`

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "no part of the product: a failure here should stop at once"
)]

use divan::Bencher;
use divan::counter::ItemsCount;
use jiff::{SignedDuration, Timestamp};
use maintenant_api::alerts::Severity;
use maintenant_collector::alerts::engine::{Found, Withheld, decide};
use maintenant_collector::alerts::model::OpenAlert;
use maintenant_collector::alerts::sql;
use maintenant_collector::signals::{Entity, Signal};
use maintenant_collector::store::Store;

const OPEN: i64 = 1_000;
const SIGNALS: i64 = 10_000;

fn main() {
    divan::main();
}

fn begin() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

/// A tenth is due; of the rest every second is explained by a container that is down.
fn found(due: i64) -> Found {
    let signal = |id: i64| {
        let is_due = id < due;
        Signal {
            source: if is_due { "container" } else { "endpoint" },
            alert_type: if is_due { "container_down" } else { "consecutive_failure" },
            entity: Entity { kind: if is_due { "container" } else { "endpoint" }, id },
            entity_name: format!("service-{id}"),
            severity: Severity::Warning,
            message: format!("service-{id} does not answer"),
            details: [("attempts".to_owned(), id.into())].into_iter().collect(),
            since: begin(),
            due: if is_due { begin() } else { begin() + SignedDuration::from_hours(1) },
            explained_by: (!is_due && id % 2 == 0)
                .then_some(Entity { kind: "container", id: id % OPEN }),
            channels: Vec::new(),
        }
    };
    Found { signals: (0..SIGNALS).map(signal).collect(), ..Found::default() }
}

fn open() -> Vec<OpenAlert> {
    let decision = decide(&[], &found(OPEN), &[], &Withheld::new(), begin());
    decision.changes.into_iter().map(|change| change.after).collect()
}

#[divan::bench]
fn nothing_changes(bencher: Bencher<'_, '_>) {
    let (open, found) = (open(), found(OPEN));
    let withheld = decide(&open, &found, &[], &Withheld::new(), begin()).withheld;
    assert_eq!(open.len(), 1_000);
    bencher.counter(ItemsCount::new(found.signals.len())).bench_local(|| {
        let decision = decide(&open, &found, &[], &withheld, begin());
        assert!(decision.changes.is_empty());
    });
}

#[divan::bench]
fn everything_is_new(bencher: Bencher<'_, '_>) {
    let found = found(SIGNALS);
    bencher
        .counter(ItemsCount::new(found.signals.len()))
        .bench_local(|| decide(&[], &found, &[], &Withheld::new(), begin()).changes.len());
}

#[divan::bench]
fn everything_ends(bencher: Bencher<'_, '_>) {
    let open = open();
    bencher
        .counter(ItemsCount::new(open.len()))
        .bench_local(|| decide(&open, &Found::default(), &[], &Withheld::new(), begin()).changes);
}

#[divan::bench]
fn reading_what_is_open(bencher: Bencher<'_, '_>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (store, _writer) = Store::open(&folder.path().join("m.db")).unwrap();
    let insert = |tx: &rusqlite::Connection| {
        open().iter().try_for_each(|open| sql::insert(tx, &open.alert, &open.course).map(drop))
    };
    runtime.block_on(store.write(insert)).unwrap();
    bencher
        .counter(ItemsCount::new(OPEN.unsigned_abs()))
        .bench_local(|| runtime.block_on(store.read(sql::list_open)).unwrap().len());
}
