//! A consistent copy of a database that may be in use.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use rusqlite::backup::Backup;
use rusqlite::{Connection, OpenFlags};

/// Copies `database` to `target`, which must not exist. The copy is complete or absent.
pub fn backup(database: &Path, target: &Path) -> anyhow::Result<()> {
    anyhow::ensure!(
        !target.exists(),
        "{} exists; a backup overwrites nothing, choose another name",
        target.display()
    );
    let source = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .with_context(|| format!("cannot open {}", database.display()))?;
    source.busy_timeout(Duration::from_secs(5))?;
    let mut draft = target.as_os_str().to_owned();
    draft.push(".partial");
    let draft = Path::new(&draft);
    let written = write(&source, draft);
    if let Err(error) = written {
        let _ = std::fs::remove_file(draft);
        return Err(error).with_context(|| format!("cannot write {}", target.display()));
    }
    std::fs::rename(draft, target).with_context(|| format!("cannot write {}", target.display()))
}

fn write(source: &Connection, draft: &Path) -> anyhow::Result<()> {
    super::create_private(draft)?;
    let mut copy = Connection::open(draft)?;
    // In one step: a backup in steps starts over whenever somebody writes between them, and in WAL
    // mode a reader keeps no writer waiting.
    Backup::new(source, &mut copy)?.step(-1)?;
    let verdict: String = copy.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    anyhow::ensure!(verdict == "ok", "the copy is damaged: {verdict}");
    copy.close().map_err(|(_, error)| error)?;
    std::fs::File::open(draft)?.sync_all()?;
    Ok(())
}
