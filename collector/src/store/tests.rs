use super::*;

fn open() -> (tempfile::TempDir, Store, Writer) {
    let folder = tempfile::tempdir().unwrap();
    let (store, writer) = Store::open(&folder.path().join("m.db")).unwrap();
    (folder, store, writer)
}

fn put(name: &'static str, at: i64) -> impl FnOnce(&Connection) -> rusqlite::Result<()> + Send {
    move |tx| tx.execute("INSERT INTO marks VALUES (?1, ?2)", (name, at)).map(drop)
}

/// What is sent at once while the writer is held up: one commit takes all of it.
async fn in_one_commit<T>(store: &Store, writes: impl Future<Output = T>) -> T {
    let (begun, begins) = oneshot::channel();
    let (release, wait) = std::sync::mpsc::channel();
    let hold = store.write(move |_| {
        let _ = begun.send(());
        Ok(wait.recv().is_ok())
    });
    let meanwhile = async {
        // Before, they could be taken together with what holds the writer up.
        begins.await.unwrap();
        tokio::join!(writes, async { release.send(()).unwrap() }).0
    };
    tokio::join!(hold, meanwhile).1
}

async fn marks(store: &Store) -> Vec<String> {
    let read = store.read(|c| {
        c.prepare("SELECT name FROM marks ORDER BY name")?
            .query_map([], |row| row.get(0))?
            .collect::<rusqlite::Result<Vec<String>>>()
    });
    read.await.unwrap()
}

#[tokio::test]
async fn an_answered_write_is_read_back() {
    let (_folder, store, _writer) = open();
    store.write(put("a", 1)).await.unwrap();
    assert_eq!(marks(&store).await, ["a"]);
}

#[tokio::test]
async fn a_failed_write_rolls_back_itself_and_not_its_neighbours() {
    let (_folder, store, _writer) = open();
    let both = |tx: &Connection| {
        put("half", 1)(tx)?;
        tx.execute("INSERT INTO no_such_table VALUES (1)", []).map(drop)
    };
    let writes = async {
        tokio::join!(store.write(put("a", 1)), store.write(both), store.write(put("b", 2)))
    };
    let (first, failed, last) = in_one_commit(&store, writes).await;
    assert!(first.is_ok() && last.is_ok());
    assert!(matches!(failed, Err(StoreError::Sqlite(_))));
    assert_eq!(marks(&store).await, ["a", "b"]);
}

#[tokio::test]
async fn when_sqlite_gives_up_the_transaction_no_write_of_it_is_said_to_be_kept() {
    let (_folder, store, _writer) = open();
    // As SQLite does by itself when the disk is full.
    let gives_up = |tx: &Connection| {
        tx.execute_batch("ROLLBACK")?;
        tx.execute("INSERT INTO no_such_table VALUES (1)", []).map(drop)
    };
    let writes = async {
        tokio::join!(store.write(put("a", 1)), store.write(gives_up), store.write(put("b", 2)))
    };
    let (before, failed, after) = in_one_commit(&store, writes).await;
    assert!(before.is_err() && failed.is_err() && after.is_err());
    assert_eq!(marks(&store).await, [""; 0]);
    store.write(put("later", 3)).await.unwrap();
}

#[tokio::test]
async fn a_panic_in_a_write_costs_only_its_own_answer() {
    let (_folder, store, _writer) = open();
    let panicked = store.write(|_| -> rusqlite::Result<()> { panic!("on purpose") }).await;
    assert!(matches!(panicked, Err(StoreError::Closed)));
    store.write(put("after", 1)).await.unwrap();
    assert_eq!(marks(&store).await, ["after"]);
}

#[tokio::test]
async fn what_follows_a_write_follows_its_commit_in_order_and_never_a_failure() {
    let (_folder, store, _writer) = open();
    let (tell, told) = std::sync::mpsc::channel();
    let follow = |name: &'static str| {
        let tell = tell.clone();
        move |(): &()| tell.send(name).unwrap()
    };
    let gone = store.write_then(put("gone", 1), follow("gone"));
    drop(tokio::time::timeout(Duration::ZERO, gone).await);
    let again = store.write_then(put("gone", 1), follow("again"));
    let panics = store.write_then(put("panics", 1), |()| panic!("on purpose"));
    let last = store.write_then(put("last", 1), follow("last"));
    let (again, panics, last) = tokio::join!(again, panics, last);
    assert!(again.is_err() && panics.is_ok() && last.is_ok());
    assert_eq!(told.try_iter().collect::<Vec<_>>(), ["gone", "last"]);
}

#[tokio::test]
async fn readers_cannot_write() {
    let (_folder, store, _writer) = open();
    assert!(store.read(put("a", 1)).await.is_err());
}

#[tokio::test]
async fn ending_leaves_one_file_with_everything_even_while_others_hold_the_store() {
    let (folder, store, writer) = open();
    store.write(put("a", 1)).await.unwrap();
    writer.end().await;
    assert!(matches!(store.write(put("late", 2)).await, Err(StoreError::Closed)));
    let wal = folder.path().join("m.db-wal");
    assert!(std::fs::metadata(wal).map_or(true, |meta| meta.len() == 0));
    let (store, _writer) = Store::open(&folder.path().join("m.db")).unwrap();
    assert_eq!(marks(&store).await, ["a"]);
}

#[tokio::test]
async fn freed_pages_return_to_the_file_system() {
    let (_folder, store, _writer) = open();
    let pages = |store: &Store| {
        let store = store.clone();
        async move {
            let count = |c: &Connection| c.query_row("PRAGMA page_count", [], |row| row.get(0));
            store.read(count).await.unwrap()
        }
    };
    let fill = |tx: &Connection| {
        tx.execute_batch("CREATE TABLE ballast (x TEXT)")?;
        for _ in 0..3_000 {
            tx.execute("INSERT INTO ballast VALUES (?1)", ["x".repeat(3_000)])?;
        }
        Ok(())
    };
    store.write(fill).await.unwrap();
    let full: i64 = pages(&store).await;
    store.write(|tx| tx.execute("DELETE FROM ballast", []).map(drop)).await.unwrap();
    let mut retention = retention::Retention { store: store.clone(), keeps: Vec::new() };
    crate::tasks::Job::run(&mut retention, jiff::Timestamp::UNIX_EPOCH).await.unwrap();
    let left: i64 = pages(&store).await;
    assert!(full > 2_500 && left < 1_200, "{full} pages became {left}");
}

#[test]
fn a_second_owner_learns_who_holds_the_database() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("m.db");
    let mut lock = Lock::try_take(&database).unwrap();
    lock.describe("listening on 127.0.0.1:8081").unwrap();
    let refused = Lock::try_take(&database).unwrap_err().to_string();
    assert!(refused.contains(&std::process::id().to_string()), "{refused}");
    assert!(refused.contains("127.0.0.1:8081"), "{refused}");
    drop(lock);
    Lock::try_take(&database).unwrap();
}

#[test]
fn a_newer_schema_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("m.db");
    drop(Store::open(&database).unwrap());
    let connection = Connection::open(&database).unwrap();
    connection.pragma_update(None, "user_version", 999).unwrap();
    let error = format!("{:#}", Store::open(&database).map(drop).unwrap_err());
    assert!(error.contains("schema version 999"), "{error}");
}

#[test]
fn a_file_that_is_no_database_is_refused_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("m.db");
    std::fs::write(&database, "certainly not SQLite, and long enough to be looked at".repeat(99))
        .unwrap();
    assert!(Store::open(&database).is_err());
    assert!(std::fs::read(&database).unwrap().starts_with(b"certainly"));
}

#[tokio::test]
async fn a_backup_of_an_open_database_is_complete_and_overwrites_nothing() {
    let (folder, store, _writer) = open();
    store.write(put("a", 1)).await.unwrap();
    let target = folder.path().join("copy.db");
    backup::backup(&folder.path().join("m.db"), &target).unwrap();
    let (copy, _writer) = Store::open(&target).unwrap();
    assert_eq!(marks(&copy).await, ["a"]);
    let again = backup::backup(&folder.path().join("m.db"), &target).unwrap_err();
    assert!(again.to_string().contains("exists"), "{again}");
}

#[test]
fn the_database_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("m.db");
    drop(Store::open(&database).unwrap());
    assert_eq!(std::fs::metadata(&database).unwrap().permissions().mode() & 0o777, 0o600);
}
