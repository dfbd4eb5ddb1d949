//! One collector per database: an advisory lock on a file beside it, held as long as the process
//! lives. The kernel releases it when the process ends, however it ends.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

/// Holds the database of this process.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

/// Why the database is not ours.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error(
        "{} is in use by {holder}; stop that process, or give this one another MAINTENANT_DB",
        path.display()
    )]
    Held { path: PathBuf, holder: String },
    #[error("cannot lock {}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
}

impl Lock {
    /// Takes the lock or says who has it.
    pub fn try_take(database: &Path) -> Result<Self, LockError> {
        let io = |source| LockError::Io { path: database.to_owned(), source };
        let mut file = open(database).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = file.read_to_string(&mut holder);
                let holder = match holder.trim() {
                    "" => "another process".to_owned(),
                    holder => holder.chars().filter(|c| !c.is_control()).take(200).collect(),
                };
                return Err(LockError::Held { path: database.to_owned(), holder });
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        let mut lock = Self { file };
        lock.describe("starting").map_err(io)?;
        Ok(lock)
    }

    /// Waits, blocking the thread, until the present holder is gone.
    pub fn take(database: &Path) -> Result<Self, LockError> {
        let io = |source| LockError::Io { path: database.to_owned(), source };
        let file = open(database).map_err(io)?;
        file.lock().map_err(io)?;
        let mut lock = Self { file };
        lock.describe("starting").map_err(io)?;
        Ok(lock)
    }

    /// Writes who holds it, for the one who is refused.
    pub fn describe(&mut self, what: &str) -> std::io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        write!(self.file, "process {} ({what})", std::process::id())
    }
}

fn open(database: &Path) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut path = database.as_os_str().to_owned();
    path.push(".lock");
    File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}
