//! SQLite: one writer, a few readers.
//!
//! Every write goes through one thread that owns the only writing connection. What waits is
//! committed together (group commit), and a caller is answered after the commit, so an answered
//! write survives a kill -9 and, with `synchronous=FULL`, a power cut. Instants are integer
//! milliseconds since the Unix epoch.

pub mod backup;
mod lock;
mod migrate;
pub mod retention;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::{Semaphore, mpsc, oneshot};

pub use lock::{Lock, LockError};

/// Writes waiting for the writer; more make their callers wait.
const QUEUE: usize = 1024;
/// Writes in one commit.
const BATCH: usize = 500;
const READERS: usize = 4;
/// Prepared statements kept by the writer.
const STATEMENTS: usize = 256;

/// Handle on the database. Clones share it.
#[derive(Clone)]
pub struct Store {
    /// `None` asks the writer to end.
    writer: mpsc::Sender<Option<Work>>,
    readers: Arc<Readers>,
}

/// Why the store did not answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    #[error("the store is closed")]
    Closed,
    #[error("the database could not be read or written: {0}")]
    Sqlite(Arc<rusqlite::Error>),
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(Arc::new(error))
    }
}

/// Runs in the writer's transaction, or learns why there is none; says whether it succeeded and how
/// to answer the caller.
type Work = Box<dyn FnOnce(Result<&Connection, StoreError>) -> (bool, Ack) + Send>;
/// Called once the transaction has ended, with its outcome.
type Ack = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

struct Readers {
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
}

/// The thread that writes.
pub struct Writer {
    queue: mpsc::Sender<Option<Work>>,
    thread: std::thread::JoinHandle<()>,
}

impl Writer {
    /// Ends the store: waits until everything written so far is committed and the write-ahead log
    /// is folded back. Later writes are refused.
    pub async fn end(self) {
        let _ = self.queue.send(None).await;
        let _ = tokio::task::spawn_blocking(move || self.thread.join()).await;
    }
}

impl Store {
    /// Opens the database, checks it (`quick_check`) and brings its schema up to date.
    pub fn open(path: &Path) -> anyhow::Result<(Self, Writer)> {
        Self::open_with(path, BATCH)
    }

    /// As [`Store::open`], with another number of writes in one commit: 1 commits each alone.
    pub fn open_with(path: &Path, batch: usize) -> anyhow::Result<(Self, Writer)> {
        let writer = open_writer(path)?;
        let readers = (0..READERS)
            .map(|_| open_reader(path))
            .collect::<rusqlite::Result<Vec<_>>>()
            .context("cannot open the database for reading")?;
        let (sender, queue) = mpsc::channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || write_loop(writer, queue, batch))?;
        let readers = Arc::new(Readers {
            idle: Mutex::new(readers),
            permits: Arc::new(Semaphore::new(READERS)),
        });
        let writer = Writer { queue: sender.clone(), thread };
        Ok((Self { writer: sender, readers }, writer))
    }

    /// Runs `work` in the next transaction and returns after its commit. An error rolls back this
    /// work alone.
    pub async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.write_then(work, |_| ()).await
    }

    /// As [`Store::write`]. After the commit `then` is given the result on the writer's thread: in
    /// the order of the writes, and also when the caller has gone away meanwhile. It must not wait.
    pub async fn write_then<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
        then: impl FnOnce(&T) + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        let work: Work = Box::new(move |connection| {
            let result = connection.and_then(|connection| Ok(work(connection)?));
            let succeeded = result.is_ok();
            let ack: Ack = Box::new(move |commit| {
                let result = commit.and(result);
                if let Ok(result) = &result {
                    // A panic must not end the writer.
                    let then = std::panic::AssertUnwindSafe(|| then(result));
                    let _ = std::panic::catch_unwind(then);
                }
                let _ = answer.send(result);
            });
            (succeeded, ack)
        });
        self.writer.send(Some(work)).await.map_err(|_| StoreError::Closed)?;
        answered.await.map_err(|_| StoreError::Closed)?
    }

    /// Runs `work` on a read-only connection.
    pub async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let readers = self.readers.clone();
        let permit = self.readers.permits.clone().acquire_owned().await;
        let permit = permit.map_err(|_| StoreError::Closed)?;
        let task = tokio::task::spawn_blocking(move || {
            // Held by the work itself: a caller that goes away does not free its connection.
            let _permit = permit;
            let idle = || readers.idle.lock().unwrap_or_else(PoisonError::into_inner);
            let connection = idle().pop()?;
            // A panic must not cost a connection.
            let work = std::panic::AssertUnwindSafe(|| work(&connection));
            let result = std::panic::catch_unwind(work);
            idle().push(connection);
            Some(result)
        });
        match task.await {
            Ok(Some(Ok(result))) => Ok(result?),
            Ok(Some(Err(panic))) => std::panic::resume_unwind(panic),
            Ok(None) | Err(_) => Err(StoreError::Closed),
        }
    }
}

fn write_loop(mut connection: Connection, mut queue: mpsc::Receiver<Option<Work>>, most: usize) {
    let mut batch = Vec::new();
    let mut ended = false;
    while !ended && queue.blocking_recv_many(&mut batch, most) > 0 {
        ended = batch.iter().any(Option::is_none);
        commit(&mut connection, batch.drain(..).flatten());
    }
    drop(queue);
    let folded = connection.execute_batch("PRAGMA optimize; PRAGMA wal_checkpoint(TRUNCATE);");
    if let Err(error) = folded {
        tracing::warn!("the write-ahead log could not be folded back: {error}");
    }
}

/// One transaction for the whole batch; a savepoint for each piece of work.
fn commit(connection: &mut Connection, batch: impl Iterator<Item = Work>) {
    let mut batch = batch.into_iter();
    let mut acks: Vec<Ack> = Vec::new();
    let outcome = (|| {
        let mut transaction =
            connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        for work in &mut batch {
            let savepoint = transaction.savepoint()?;
            let work = std::panic::AssertUnwindSafe(|| work(Ok(&savepoint)));
            // A panic drops the work's answer, which its caller sees as a closed store.
            let done = std::panic::catch_unwind(work);
            if savepoint.is_autocommit() {
                // SQLite gave up the whole transaction (a full disk, say): nothing of the batch stays.
                acks.extend(done.ok().map(|(_, ack)| ack));
                return Err(rolled_back());
            }
            match done {
                Ok((true, ack)) => {
                    acks.push(ack);
                    savepoint.commit()?;
                }
                Ok((false, ack)) => {
                    drop(savepoint);
                    acks.push(ack);
                }
                Err(_) => drop(savepoint),
            }
        }
        transaction.commit()
    })();
    let outcome = outcome.map_err(StoreError::from);
    if let Err(error) = &outcome {
        tracing::error!("a commit failed: {error}");
        // Those that had no turn.
        acks.extend(batch.map(|work| work(Err(error.clone())).1));
    }
    for ack in acks {
        ack(outcome.clone());
    }
}

fn rolled_back() -> rusqlite::Error {
    let error = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_ABORT_ROLLBACK);
    let message = "the transaction was rolled back by an error in it";
    rusqlite::Error::SqliteFailure(error, Some(message.to_owned()))
}

fn open_writer(path: &Path) -> anyhow::Result<Connection> {
    quick_check(path)?;
    create_private(path).with_context(|| format!("cannot create {}", path.display()))?;
    let mut connection =
        Connection::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    keep_plans(&connection)?;
    // auto_vacuum takes effect only on a new file and only before WAL.
    connection
        .execute_batch(
            "PRAGMA auto_vacuum = INCREMENTAL;
             PRAGMA journal_mode = WAL;
             PRAGMA synchronous = FULL;
             PRAGMA foreign_keys = ON;
             PRAGMA trusted_schema = OFF;
             PRAGMA journal_size_limit = 16777216;",
        )
        .with_context(|| format!("{} is not a usable SQLite database", path.display()))?;
    migrate::migrate(&mut connection)
        .with_context(|| format!("cannot bring {} up to date", path.display()))?;
    Ok(connection)
}

/// Refuses a damaged database, and leaves it as it is.
fn quick_check(path: &Path) -> anyhow::Result<()> {
    if std::fs::metadata(path).map_or(0, |meta| meta.len()) == 0 {
        return Ok(());
    }
    let verdict = open_reader(path).and_then(|connection| {
        connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0))
    });
    let verdict = verdict.unwrap_or_else(|error| error.to_string());
    anyhow::ensure!(
        verdict == "ok",
        "{} is damaged ({verdict}); restore a backup, or move it away to start anew",
        path.display()
    );
    Ok(())
}

fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    keep_plans(&connection)?;
    connection.execute_batch("PRAGMA query_only = ON; PRAGMA trusted_schema = OFF;")?;
    Ok(connection)
}

/// A statement keeps its plan. Otherwise SQLite compiles a cached one anew whenever another value is
/// bound to a range, in case its statistics would suggest another plan: most of the time of a query.
fn keep_plans(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(drop)
}

/// What the collector knows of containers is for its owner alone: mode 0600 from the first byte.
fn create_private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map(drop)
}

#[cfg(test)]
mod tests;
