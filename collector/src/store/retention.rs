//! Deletes what is older than its keep, in slices that let other writes pass, and gives the freed
//! pages back to the file system.

use jiff::{SignedDuration, Timestamp};
use rusqlite::Connection;

use super::{Store, StoreError};
use crate::tasks::Job;

/// Rows deleted in one transaction.
const SLICE: u32 = 2_000;
/// Pages given back in one transaction.
const PAGES: u32 = 1_000;

/// One kind of row and how long it is kept. `delete` removes at most [`SLICE`] rows that are older
/// than the given millisecond and says how many.
pub struct Keep {
    /// For the log: `container transitions older than 90 days`.
    pub what: &'static str,
    /// What [`Keep::delete`] is given as its limit of age.
    pub days: i64,
    pub delete: fn(&Connection, before_ms: i64, limit: u32) -> rusqlite::Result<usize>,
}

/// The job that applies every [`Keep`].
pub struct Retention {
    pub store: Store,
    pub keeps: Vec<Keep>,
}

impl Job for Retention {
    const NAME: &'static str = "retention";

    async fn run(&mut self, now: Timestamp) -> anyhow::Result<()> {
        for keep in &self.keeps {
            let before = now.saturating_sub(SignedDuration::from_hours(24 * keep.days))?;
            let before = before.as_millisecond();
            let (delete, what) = (keep.delete, keep.what);
            let mut total = 0;
            loop {
                let deleted = self.store.write(move |tx| delete(tx, before, SLICE)).await?;
                total += deleted;
                if deleted < SLICE as usize {
                    break;
                }
            }
            if total > 0 {
                tracing::info!(rows = total, "deleted: {what}");
            }
        }
        Ok(vacuum(&self.store).await?)
    }
}

async fn vacuum(store: &Store) -> Result<(), StoreError> {
    let mut before = u32::MAX;
    loop {
        let free = store
            .read(|connection| {
                connection.query_row("PRAGMA freelist_count", [], |row| row.get::<_, u32>(0))
            })
            .await?;
        // Nothing is freed from a file that another tool rebuilt without `auto_vacuum`.
        if free < PAGES || free >= before {
            return Ok(());
        }
        before = free;
        store.write(|tx| free_pages(tx, PAGES)).await?;
    }
}

/// The pragma frees one page per row stepped, so every row must be stepped: `execute` would free
/// a single page.
fn free_pages(connection: &Connection, pages: u32) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    Ok(())
}
