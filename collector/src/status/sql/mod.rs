//! The tables of the status page.

pub mod components;
pub mod days;
pub mod incidents;
pub mod maintenance;
pub mod subscribers;

use jiff::Timestamp;
use maintenant_api::status::ComponentRef;
use rusqlite::types::Type;
use rusqlite::{Connection, Row};

fn moment(row: &Row<'_>, column: &str) -> rusqlite::Result<Timestamp> {
    of_ms(row.get(column)?)
}

fn time(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<Timestamp>> {
    row.get::<_, Option<i64>>(column)?.map(of_ms).transpose()
}

fn of_ms(ms: i64) -> rusqlite::Result<Timestamp> {
    Timestamp::from_millisecond(ms)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, Type::Integer, error.into()))
}

/// A stored word; a CHECK keeps others out.
fn word<T: Default>(
    row: &Row<'_>,
    column: &str,
    parse: fn(&str) -> Option<T>,
) -> rusqlite::Result<T> {
    Ok(parse(&row.get::<_, String>(column)?).unwrap_or_default())
}

/// The components that an incident or a window (`of`, the column) concerns, in the order of the page.
fn concerned(
    db: &Connection,
    table: &str,
    of: &str,
    id: i64,
) -> rusqlite::Result<Vec<(ComponentRef, bool)>> {
    db.prepare_cached(&format!(
        "SELECT c.id, c.display_name, c.visible FROM {table} JOIN status_components c
             ON c.id = component_id
         WHERE {of} = ?1 ORDER BY c.display_order, c.display_name, c.id"
    ))?
    .query_map([id], |row| Ok((ComponentRef { id: row.get(0)?, name: row.get(1)? }, row.get(2)?)))?
    .collect()
}

/// Replaces what an incident or a window concerns.
fn concern(
    tx: &Connection,
    table: &str,
    of: &str,
    id: i64,
    components: &[i64],
) -> rusqlite::Result<()> {
    tx.execute(&format!("DELETE FROM {table} WHERE {of} = ?1"), [id])?;
    let mut insert = tx.prepare_cached(&format!(
        "INSERT OR IGNORE INTO {table} ({of}, component_id) VALUES (?1, ?2)"
    ))?;
    for component in components {
        insert.execute((id, component))?;
    }
    Ok(())
}
