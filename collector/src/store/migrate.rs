//! Schema versions: one file each, applied in order, never edited after a release.

use rusqlite::{Connection, TransactionBehavior};

const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001_containers.sql"),
    include_str!("migrations/0002_watched_labels.sql"),
    include_str!("migrations/0003_endpoints.sql"),
    include_str!("migrations/0004_heartbeats.sql"),
    include_str!("migrations/0005_certificates.sql"),
    include_str!("migrations/0006_alerts.sql"),
    include_str!("migrations/0007_notify.sql"),
    include_str!("migrations/0008_resources.sql"),
    include_str!("migrations/0009_updates.sql"),
    include_str!("migrations/0010_status.sql"),
    include_str!("migrations/0011_insights.sql"),
];

/// Why the schema cannot be brought up to date.
#[derive(Debug, thiserror::Error)]
pub(super) enum MigrateError {
    #[error(
        "the database has schema version {found} and this program knows {known}; use a program at \
         least as new as the one that wrote it"
    )]
    Newer { found: u32, known: u32 },
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
}

pub(super) fn migrate(connection: &mut Connection) -> Result<(), MigrateError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Exclusive)?;
    let found: u32 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let known = u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX);
    if found > known {
        return Err(MigrateError::Newer { found, known });
    }
    for sql in MIGRATIONS.iter().skip(found as usize) {
        transaction.execute_batch(sql)?;
    }
    transaction.pragma_update(None, "user_version", known)?;
    transaction.commit()?;
    Ok(())
}
