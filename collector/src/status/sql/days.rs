//! How long each component was in which status, by days.

use std::collections::{BTreeMap, HashMap};

use rusqlite::{Connection, params};

use crate::status::model::Day;

/// Component and day.
pub type Known = BTreeMap<(i64, i64), Day>;

/// Adds to what is known. What is of a component that is gone by now is left out.
pub fn add(tx: &Connection, known: &Known) -> rusqlite::Result<()> {
    let mut add = tx.prepare_cached(
        "INSERT INTO status_days (component_id, day, operational, degraded, partial_outage,
             major_outage, under_maintenance)
         SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7
         WHERE EXISTS (SELECT 1 FROM status_components WHERE id = ?1)
         ON CONFLICT (component_id, day) DO UPDATE SET
             operational = operational + excluded.operational,
             degraded = degraded + excluded.degraded,
             partial_outage = partial_outage + excluded.partial_outage,
             major_outage = major_outage + excluded.major_outage,
             under_maintenance = under_maintenance + excluded.under_maintenance",
    )?;
    for ((component, day), known) in known {
        add.execute(params![
            component,
            day,
            known.operational,
            known.degraded,
            known.partial_outage,
            known.major_outage,
            known.under_maintenance,
        ])?;
    }
    Ok(())
}

/// What is known from `first` on, by component, oldest first.
pub fn since(db: &Connection, first: i64) -> rusqlite::Result<HashMap<i64, Vec<(i64, Day)>>> {
    let mut all: HashMap<i64, Vec<(i64, Day)>> = HashMap::new();
    let mut statement = db.prepare_cached(
        "SELECT component_id, day, operational, degraded, partial_outage, major_outage,
             under_maintenance
         FROM status_components JOIN status_days ON component_id = id
         WHERE day >= ?1 ORDER BY component_id, day",
    )?;
    let mut rows = statement.query([first])?;
    while let Some(row) = rows.next()? {
        let day = Day {
            operational: row.get(2)?,
            degraded: row.get(3)?,
            partial_outage: row.get(4)?,
            major_outage: row.get(5)?,
            under_maintenance: row.get(6)?,
        };
        all.entry(row.get(0)?).or_default().push((row.get(1)?, day));
    }
    Ok(all)
}

pub fn delete_old(tx: &Connection, before_ms: i64, limit: u32) -> rusqlite::Result<usize> {
    tx.execute(
        "DELETE FROM status_days WHERE (component_id, day) IN
             (SELECT component_id, day FROM status_days WHERE day < ?1 LIMIT ?2)",
        (before_ms.div_euclid(crate::status::model::DAY_MS), limit),
    )
}
