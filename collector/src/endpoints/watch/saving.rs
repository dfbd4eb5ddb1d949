//! What the job found out, on its way to the store.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use jiff::Timestamp;
use serde_json::Value;
use tokio::time::Instant;

use super::{TICK, Watch, now};
use crate::endpoints::code::Coded;
use crate::endpoints::history;
use crate::endpoints::model::Step;
use crate::endpoints::probe::Outcome;
use crate::endpoints::sql::{self, Write};
use crate::store::StoreError;

/// Results that come within this time are stored together.
pub(super) const GATHER: Duration = Duration::from_millis(50);
/// Results kept for a store that does not take them.
const UNSAVED: usize = 20_000;
/// Endpoints whose days are rolled up in one transaction.
const ROLL: usize = 200;

/// Results that the store has not taken yet, and what is told once it has.
#[derive(Default)]
pub(super) struct Unsaved {
    pub(super) writes: Vec<Write>,
    pub(super) events: Vec<(&'static str, Value)>,
    pub(super) since: Option<Instant>,
}

pub(super) type Rolling = BoxFuture<'static, (Timestamp, Result<(), StoreError>)>;
pub(super) type Saving = BoxFuture<'static, (Unsaved, Result<(), StoreError>)>;

impl Watch {
    /// As [`Self::note`], for a step without a check.
    pub(super) fn take(&mut self, id: i64, step: Step, last: Option<&Outcome>) {
        let Some(entry) = self.entries.get(&id) else { return };
        let coded = last.map(|outcome| {
            let error = outcome.failure.as_ref().map(|failure| failure.error.clone());
            (Coded::of(outcome), error)
        });
        self.note(id, Write::State { id, state: entry.state, last: coded }, step, last);
    }

    /// Notes what a step changed: to be stored, then told.
    pub(super) fn note(&mut self, id: i64, write: Write, step: Step, last: Option<&Outcome>) {
        let Some(entry) = self.entries.get(&id) else { return };
        let unsaved = &mut self.unsaved;
        unsaved.writes.extend(step.rewound_to.map(|to| Write::Rewind { id, to }));
        unsaved.writes.push(write);
        unsaved.writes.extend(step.spans.into_iter().map(|span| Write::Span { id, span }));
        unsaved.events.extend(step.told.iter().map(|told| entry.event(id, *told, last)));
        unsaved.since.get_or_insert_with(Instant::now);
    }

    pub(super) fn begin_saving(&mut self) {
        let ready = self.unsaved.since.is_some_and(|since| since.elapsed() >= GATHER);
        if ready && self.saving.is_none() && self.rolling.is_none() {
            self.saving = Some(self.save());
        }
    }

    pub(super) fn save(&mut self) -> Saving {
        let unsaved = std::mem::take(&mut self.unsaved);
        let (store, now) = (self.spine.store.clone(), now());
        let save = async move {
            let writes: Arc<[Write]> = unsaved.writes.into();
            let shared = writes.clone();
            let saved = store.write(move |tx| sql::save(tx, &shared, now)).await;
            let writes = if saved.is_ok() { Vec::new() } else { writes.to_vec() };
            (Unsaved { writes, events: unsaved.events, since: unsaved.since }, saved)
        };
        save.boxed()
    }

    /// Events are told even if the disk is full: somebody should hear of an outage.
    pub(super) fn saved(&mut self, mut before: Unsaved, saved: Result<(), StoreError>) {
        for (name, data) in before.events.drain(..) {
            self.spine.events.publish(name, &data);
        }
        self.is_behind = saved.is_err();
        if let Err(error) = saved {
            let dropped = (before.writes.len() + self.unsaved.writes.len()).saturating_sub(UNSAVED);
            tracing::error!(dropped, "results of checks are not stored yet: {error}");
            before.writes.append(&mut self.unsaved.writes);
            self.unsaved.writes = before.writes.split_off(dropped.min(before.writes.len()));
            // Not at once again.
            self.unsaved.since = Some(Instant::now() + TICK);
            self.has_lost |= dropped > 0;
            return;
        }
        if std::mem::take(&mut self.has_lost) {
            // Checks that say the same again rely on what is stored.
            let all = self.entries.iter();
            let all =
                all.map(|(id, entry)| Write::State { id: *id, state: entry.state, last: None });
            self.unsaved.writes.extend(all);
            self.unsaved.since.get_or_insert_with(Instant::now);
        }
        if !self.ended.is_empty() {
            let unsaved: HashSet<_> = self.unsaved.writes.iter().map(Write::endpoint).collect();
            self.ended.retain(|id, _| unsaved.contains(id));
        }
    }

    /// Rolls up days that are over, between two saves: what is saved later corrects a day that is
    /// rolled up, and would miss one that is about to be.
    pub(super) fn begin_rolling(&mut self) {
        if self.saving.is_some() || self.rolling.is_some() || !std::mem::take(&mut self.is_day_over)
        {
            return;
        }
        let now = now();
        let store = self.spine.store.clone();
        let roll = async move {
            for ids in store.read(history::all).await?.chunks(ROLL).map(<[i64]>::to_vec) {
                store.write(move |tx| history::roll_up_days(tx, &ids, now)).await?;
            }
            store.write(move |tx| history::save_rolled_until(tx, now)).await
        };
        self.rolling = Some(roll.map(move |rolled| (now, rolled)).boxed());
    }

    pub(super) fn rolled(&mut self, until: Timestamp, rolled: Result<(), StoreError>) {
        match rolled {
            Ok(()) => self.rolled_until = until,
            Err(error) => tracing::error!("days could not be rolled up yet: {error}"),
        }
    }
}

/// A stop cuts the job. What it has found out by then goes to the store, which ends after it.
impl Drop for Watch {
    fn drop(&mut self) {
        self.unsaved.writes.push(Write::Mark { at: self.clocks.1 });
        let last = self.save();
        for saving in self.saving.take().into_iter().chain([last]) {
            // The first poll hands it over; nobody waits for the answer.
            let _ = tokio::task::coop::unconstrained(saving).now_or_never();
        }
    }
}
