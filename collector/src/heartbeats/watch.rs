//! The job that finds pings that did not come.
//!
//! It sleeps until the next deadline, and never long: the clock may be moved and the machine may
//! sleep. A time in which it did not look is a time in which pings could not be heard: it is unknown
//! in uptime, and deadlines within it are judged only after a pause.

use std::time::Duration;

use jiff::Timestamp;
use maintenant_serve::clock;
use tokio::time::Instant;

use super::changes::{self, Changed, Listening};
use super::routes::Heartbeats;
use super::sql;
use crate::store::StoreError;
use crate::tasks::Job;

/// Longest sleep.
const LONGEST: Duration = Duration::from_secs(2);
/// A deadline is looked at this long after it at the earliest, so that many become one commit.
const SHORTEST: Duration = Duration::from_millis(100);
/// How often it is noted on disk that pings are listened for.
const MARK: Duration = Duration::from_secs(10);

pub struct Watch {
    heartbeats: Heartbeats,
    marked: Option<Instant>,
}

impl Watch {
    pub fn new(heartbeats: Heartbeats) -> Self {
        Self { heartbeats, marked: None }
    }

    /// Looks once, and says when the next deadline is.
    pub async fn look(&mut self, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        let inner = &self.heartbeats.0;
        let listening = inner.listening();
        if listening.is_interrupted(now) {
            let from = listening.until;
            tracing::warn!("pings could not be heard from {from:.0} to {now:.0}");
            inner.store.write(move |tx| sql::interrupt_spans(tx, from, now)).await?;
        }
        if listening.is_set_back(now) {
            tracing::warn!("the clock was set back from {:.0} to {now:.0}", listening.until);
            inner.store.write(move |tx| changes::recount(tx, now)).await?;
        }
        let since = listening.since_at(now);
        inner.set_listening(Listening { since, until: now });
        if self.marked.is_none_or(|marked| marked.elapsed() >= MARK) {
            inner.store.write(move |tx| sql::save_listened_until(tx, now)).await?;
            self.marked = Some(Instant::now());
        }
        let next = inner.store.read(sql::next_deadline).await?;
        if next.is_none_or(|next| next > now) {
            return Ok(next);
        }
        let events = inner.events.clone();
        let tell = move |all: &Vec<Changed>| {
            for changed in all {
                changed.publish(&events);
            }
        };
        let sweep = move |tx: &rusqlite::Connection| changes::sweep(tx, now, since);
        let changed = inner.store.write_then(sweep, tell).await?;
        if !changed.is_empty() {
            tracing::info!(heartbeats = changed.len(), "deadlines were missed");
        }
        Ok(None)
    }
}

impl Job for Watch {
    const NAME: &'static str = "heartbeats";

    async fn run(&mut self, _now: Timestamp) -> anyhow::Result<()> {
        loop {
            let now = clock::now();
            let next = self.look(now).await?;
            let left = next.and_then(|next| Duration::try_from(next.duration_since(now)).ok());
            tokio::time::sleep(left.unwrap_or(LONGEST).clamp(SHORTEST, LONGEST)).await;
        }
    }
}
