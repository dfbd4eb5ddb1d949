//! A year and more of a small host: the database stops growing.

use super::*;
use crate::resources::sql::KEEPS;
use crate::resources::usage::store;

const DAY: i64 = 86400;

#[test]
fn after_its_keep_the_database_grows_no_more() {
    let db = database();
    add_container(&db, 1, "warning");
    let mut pages = Vec::new();
    for hour in 0..24 * 440 {
        // Two samples an hour stand for all of them.
        for second in [0, 1800] {
            let at = at(hour * 3600 + second);
            let samples = vec![sample(1, at, 10.0)];
            store(&db, &Batch { at, samples, host: Some(host(at, 1.0)) }).unwrap();
        }
        if hour % 24 == 23 {
            let now = at((hour + 1) * 3600).as_millisecond();
            for keep in &KEEPS {
                let before = now - keep.days * DAY * 1000;
                while (keep.delete)(&db, before, 2000).unwrap() == 2000 {}
            }
            let used: i64 = db
                .query_row(
                    "SELECT page_count - freelist_count
                     FROM pragma_page_count, pragma_freelist_count",
                    [],
                    |row| row.get(0),
                )
                .unwrap();
            pages.push(used);
        }
    }
    let (at_400, at_440) = (pages[402], *pages.last().unwrap());
    assert!(at_440 <= at_400 + at_400 / 50, "{at_400} pages became {at_440}");
    let rows = |table: &str| -> i64 {
        db.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    };
    assert!(rows("resource_samples") <= 2 * 2 * 7, "{}", rows("resource_samples"));
    assert!(rows("resource_minutes") <= 2 * 2 * 49, "{}", rows("resource_minutes"));
    assert!(rows("resource_hours") <= 2 * 24 * 401, "{}", rows("resource_hours"));
}
