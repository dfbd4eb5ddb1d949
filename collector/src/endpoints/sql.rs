//! The tables of this dimension, apart from uptime (`history.rs`).

use std::collections::BTreeMap;

use jiff::Timestamp;
use maintenant_api::endpoints::{
    Check, Endpoint, EndpointConfig, EndpointInput, EndpointSource, EndpointStatus, EndpointType,
    Phases,
};
use maintenant_api::monitors::AlertState;
use rusqlite::types::Type;
use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, named_params};

use super::code::Coded;
use super::history;
use super::model::{OpenSpan, Span, SpanState, State};
use super::probe::Outcome;
use crate::store::retention::Keep;

/// Up to here states that need no check to hold were seen to hold.
const OBSERVED_UNTIL: &str = "endpoints_observed_until";
/// Checks in a sparkline.
const SPARKS: u32 = 20;

pub const KEEPS: [Keep; 5] = [
    Keep { what: "checks of endpoints older than 30 days", days: 30, delete: delete_old_checks },
    Keep { what: "errors of checks older than 30 days", days: 30, delete: delete_old_failures },
    Keep { what: "spans of endpoints older than 100 days", days: 100, delete: delete_old_spans },
    Keep { what: "days of endpoints older than 400 days", days: 400, delete: delete_old_days },
    Keep { what: "endpoints not declared for 30 days", days: 30, delete: delete_old_inactive },
];

/// An endpoint as it is declared.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Declaration {
    /// 0: no container declares it.
    pub container_id: i64,
    pub label_key: String,
    pub source: EndpointSource,
    pub container_name: String,
    pub external_id: String,
    pub compose_project: String,
    pub compose_service: String,
    pub name: String,
    pub kind: EndpointType,
    pub target: String,
    pub config: EndpointConfig,
    /// What the creator of a standalone one said.
    pub own: Option<EndpointInput>,
}

/// One thing to store.
#[derive(Debug, Clone)]
pub enum Write {
    /// A check, and the state after it.
    Check {
        id: i64,
        at: Timestamp,
        coded: Coded,
        error: Option<String>,
        state: State,
        /// As [`State::is_again`] says.
        is_again: bool,
    },
    /// With the last outcome, where it is another than before and none of a check.
    State {
        id: i64,
        state: State,
        last: Option<(Coded, Option<String>)>,
    },
    Span {
        id: i64,
        span: Span,
    },
    /// The last check was one of something else.
    NoLast {
        id: i64,
    },
    /// What is later than this was dated by a wrong clock.
    Rewind {
        id: i64,
        to: Timestamp,
    },
    /// Up to here all was observed.
    Mark {
        at: Timestamp,
    },
}

impl Write {
    pub fn check(id: i64, at: Timestamp, outcome: &Outcome, before: &State, after: &State) -> Self {
        Self::Check {
            id,
            at,
            coded: Coded::of(outcome),
            error: outcome.failure.as_ref().map(|failure| failure.error.clone()),
            state: *after,
            is_again: after.is_again(before),
        }
    }

    /// 0: it belongs to none.
    pub fn endpoint(&self) -> i64 {
        match self {
            Self::Check { id, .. }
            | Self::State { id, .. }
            | Self::Span { id, .. }
            | Self::NoLast { id }
            | Self::Rewind { id, .. } => *id,
            Self::Mark { .. } => 0,
        }
    }
}

/// Stores results. What belongs to an endpoint that is gone meanwhile is dropped.
pub fn save(tx: &Connection, writes: &[Write], now: Timestamp) -> rusqlite::Result<()> {
    // Nearly all that is ever stored are checks.
    let mut insert = tx.prepare_cached("INSERT INTO endpoint_checks VALUES (?1, ?2, ?3, ?4)")?;
    let mut update = tx.prepare_cached(
        "UPDATE endpoint_states SET successes = ?2, last_check_at = ?3, holds_until = ?4,
             outcome = ?5, phases = ?6 WHERE endpoint_id = ?1",
    )?;
    let mut save_check = |write: &Write| -> rusqlite::Result<()> {
        let Write::Check { id, at, coded, error, state, is_again } = write else { return Ok(()) };
        let at = at.as_millisecond();
        insert.execute((id, at, coded.outcome, &coded.phases))?;
        if let Some(error) = error {
            tx.prepare_cached("INSERT INTO endpoint_failures VALUES (?1, ?2, ?3)")?
                .execute((id, at, error))?;
        }
        if *is_again {
            let holds_until = state.holds_until.map(Timestamp::as_millisecond);
            let values = (id, state.successes, at, holds_until, coded.outcome, &coded.phases);
            update.execute(values).map(drop)
        } else {
            save_state(tx, *id, state, Some((coded, error.as_deref())))
        }
    };
    for write in writes {
        let saved = match write {
            Write::Check { .. } => save_check(write),
            Write::State { id, state, last } => {
                let last = last.as_ref().map(|(coded, error)| (coded, error.as_deref()));
                save_state(tx, *id, state, last)
            }
            Write::Span { id, span } => history::save_span(tx, *id, span, now),
            Write::NoLast { id } => clear_last(tx, *id),
            Write::Rewind { id, to } => rewind(tx, *id, *to),
            Write::Mark { at } => save_observed_until(tx, *at),
        };
        match saved {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
                tracing::debug!(endpoint.id = write.endpoint(), "a result was dropped: {error}");
            }
            other => other?,
        }
    }
    Ok(())
}

fn clear_last(tx: &Connection, id: i64) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "UPDATE endpoint_states SET outcome = NULL, phases = NULL, error = NULL
         WHERE endpoint_id = ?1",
    )?
    .execute([id])
    .map(drop)
}

/// Rare, so its statements are not kept.
fn rewind(tx: &Connection, id: i64, to: Timestamp) -> rusqlite::Result<()> {
    let ms = to.as_millisecond();
    for sql in [
        "DELETE FROM endpoint_checks WHERE endpoint_id = ?1 AND at > ?2",
        "DELETE FROM endpoint_failures WHERE endpoint_id = ?1 AND at > ?2",
        "DELETE FROM endpoint_spans WHERE endpoint_id = ?1 AND from_at >= ?2",
        "UPDATE endpoint_spans SET to_at = ?2
         WHERE endpoint_id = ?1 AND coalesce(to_at, ?2 + 1) > ?2",
    ] {
        tx.execute(sql, (id, ms))?;
    }
    let today = ms.div_euclid(history::DAY_MS);
    tx.execute("DELETE FROM endpoint_days WHERE endpoint_id = ?1 AND day >= ?2", (id, today))
        .map(drop)
}

fn save_state(
    tx: &Connection,
    id: i64,
    state: &State,
    last: Option<(&Coded, Option<&str>)>,
) -> rusqlite::Result<()> {
    let ms = |at: Option<Timestamp>| at.map(Timestamp::as_millisecond);
    tx.prepare_cached(
        "INSERT INTO endpoint_states VALUES (:id, :status, :since, :alert, :failures, :successes,
             :failing_since, :last_check_at, :holds_until, :outcome, :phases, :error)
         ON CONFLICT (endpoint_id) DO UPDATE SET
             status = excluded.status, since = excluded.since, alert_state = excluded.alert_state,
             failures = excluded.failures, successes = excluded.successes,
             failing_since = excluded.failing_since, last_check_at = excluded.last_check_at,
             holds_until = excluded.holds_until,
             outcome = iif(:is_new, excluded.outcome, outcome),
             phases = iif(:is_new, excluded.phases, phases),
             error = iif(:is_new, excluded.error, error)",
    )?
    .execute(named_params! {
        ":id": id,
        ":status": state.status.as_str(),
        ":since": ms(state.since),
        ":alert": state.alert.as_str(),
        ":failures": state.failures,
        ":successes": state.successes,
        ":failing_since": ms(state.failing_since),
        ":last_check_at": ms(state.last_check_at),
        ":holds_until": ms(state.holds_until),
        ":outcome": last.map(|(coded, _)| coded.outcome),
        ":phases": last.map(|(coded, _)| &coded.phases),
        ":error": last.and_then(|(_, error)| error),
        ":is_new": last.is_some(),
    })
    .map(drop)
}

/// Declares an endpoint, or changes one of the same container and label; answers with its id.
pub fn declare(tx: &Connection, new: &Declaration, now: Timestamp) -> rusqlite::Result<i64> {
    tx.prepare_cached(
        "INSERT INTO endpoints (container_id, label_key, source, container_name, external_id,
             compose_project, compose_service, name, endpoint_type, target, config, own,
             first_seen_at, last_seen_at, active)
         VALUES (:container_id, :label_key, :source, :container_name, :external_id,
             :compose_project, :compose_service, :name, :endpoint_type, :target, :config, :own,
             :now, :now, TRUE)
         ON CONFLICT (container_id, label_key) DO UPDATE SET
             source = excluded.source, container_name = excluded.container_name,
             external_id = excluded.external_id, compose_project = excluded.compose_project,
             compose_service = excluded.compose_service, name = excluded.name,
             endpoint_type = excluded.endpoint_type, target = excluded.target,
             config = excluded.config, own = excluded.own, last_seen_at = excluded.last_seen_at,
             active = TRUE
         RETURNING id",
    )?
    .query_row(
        named_params! {
            ":container_id": new.container_id,
            ":label_key": new.label_key,
            ":source": new.source.as_str(),
            ":container_name": new.container_name,
            ":external_id": new.external_id,
            ":compose_project": new.compose_project,
            ":compose_service": new.compose_service,
            ":name": new.name,
            ":endpoint_type": new.kind.as_str(),
            ":target": new.target,
            ":config": json(&new.config)?,
            ":own": new.own.as_ref().map(json).transpose()?,
            ":now": now.as_millisecond(),
        },
        |row| row.get(0),
    )
}

/// It is declared no more; its history is kept for a while.
pub fn deactivate(tx: &Connection, id: i64, now: Timestamp) -> rusqlite::Result<()> {
    tx.prepare_cached("UPDATE endpoints SET active = FALSE, last_seen_at = ?2 WHERE id = ?1")?
        .execute((id, now.as_millisecond()))
        .map(drop)
}

pub fn delete(tx: &Connection, id: i64) -> rusqlite::Result<()> {
    tx.execute("DELETE FROM endpoints WHERE id = ?1", [id]).map(drop)
}

/// Notes up to when open spans are known to hold.
fn save_observed_until(tx: &Connection, at: Timestamp) -> rusqlite::Result<()> {
    tx.prepare_cached("INSERT OR REPLACE INTO marks (name, at) VALUES (?1, ?2)")?
        .execute((OBSERVED_UNTIL, at.as_millisecond()))
        .map(drop)
}

pub fn observed_until(db: &Connection) -> rusqlite::Result<Option<Timestamp>> {
    db.prepare_cached("SELECT at FROM marks WHERE name = ?1")?
        .query_row([OBSERVED_UNTIL], |row| time(row, "at"))
        .optional()
        .map(Option::flatten)
}

/// Every active endpoint with its state.
pub fn load(db: &Connection) -> rusqlite::Result<Vec<(i64, Declaration, State)>> {
    db.prepare(&format!("{SELECT} WHERE active ORDER BY id"))?
        .query_map([], |row| Ok((row.get("id")?, declaration(row)?, state(row)?)))?
        .collect()
}

/// The state of one, active or not.
pub fn find_state(db: &Connection, id: i64) -> rusqlite::Result<State> {
    let found =
        db.prepare_cached(&format!("{SELECT} WHERE id = ?1"))?.query_row([id], state).optional()?;
    Ok(found.unwrap_or_default())
}

/// What the creator of a standalone endpoint said; `None`: there is no such endpoint.
pub fn find_own(
    db: &Connection,
    id: i64,
) -> rusqlite::Result<Option<(EndpointSource, String, Option<EndpointInput>)>> {
    db.prepare_cached(&format!("{SELECT} WHERE id = ?1"))?
        .query_row([id], |row| {
            let found = declaration(row)?;
            Ok((found.source, found.label_key, found.own))
        })
        .optional()
}

const SELECT: &str = "SELECT endpoints.*, endpoint_states.*, newest.from_at AS span_from,
        newest.to_at AS span_to, newest.state AS span_state
    FROM endpoints
    LEFT JOIN endpoint_states ON endpoint_states.endpoint_id = endpoints.id
    LEFT JOIN endpoint_spans AS newest ON newest.endpoint_id = endpoints.id AND newest.from_at =
        (SELECT max(from_at) FROM endpoint_spans WHERE endpoint_id = endpoints.id)";

const SELECT_WIRE: &str = "SELECT * FROM endpoints
    LEFT JOIN endpoint_states ON endpoint_states.endpoint_id = endpoints.id";

/// As the wire carries them, by container and label.
pub fn list(db: &Connection, inactive: bool) -> rusqlite::Result<Vec<Endpoint>> {
    db.prepare_cached(&format!(
        "{SELECT_WIRE} WHERE active OR ?1 ORDER BY container_name, label_key, id"
    ))?
    .query_map([inactive], wire)?
    .collect()
}

pub fn of_container(db: &Connection, container_id: i64) -> rusqlite::Result<Vec<Endpoint>> {
    db.prepare_cached(&format!(
        "{SELECT_WIRE} WHERE active AND container_id = ?1 ORDER BY label_key"
    ))?
    .query_map([container_id], wire)?
    .collect()
}

pub fn find(db: &Connection, id: i64) -> rusqlite::Result<Option<Endpoint>> {
    db.prepare_cached(&format!("{SELECT_WIRE} WHERE id = ?1"))?.query_row([id], wire).optional()
}

/// Checks in `[since, until]`, newest first, and how many there are in all.
pub fn checks(
    db: &Connection,
    id: i64,
    (since, until): (Timestamp, Timestamp),
    (limit, offset): (i64, i64),
) -> rusqlite::Result<(Vec<Check>, i64)> {
    let (since, until) = (since.as_millisecond(), until.as_millisecond());
    let total = db
        .prepare_cached(
            "SELECT count(*) FROM endpoint_checks WHERE endpoint_id = ?1 AND at BETWEEN ?2 AND ?3",
        )?
        .query_row((id, since, until), |row| row.get(0))?;
    let checks = db
        .prepare_cached(
            "SELECT at, outcome, phases,
                 (SELECT error FROM endpoint_failures AS f
                  WHERE f.endpoint_id = c.endpoint_id AND f.at = c.at) AS error
             FROM endpoint_checks AS c WHERE endpoint_id = ?1 AND at BETWEEN ?2 AND ?3
             ORDER BY at DESC LIMIT ?4 OFFSET ?5",
        )?
        .query_map((id, since, until, limit, offset), |row| {
            let check = coded(row)?.check(row.get("error")?);
            let (cause, error) = check.failure.map(|f| (f.cause, f.error)).unzip();
            Ok(Check {
                id: row.get("at")?,
                endpoint_id: id,
                success: cause.is_none(),
                response_time_ms: check.response_time_ms,
                http_status: check.http_status.map(i64::from),
                error_message: error,
                cause,
                phases: Some(check.phases),
                timestamp: time(row, "at")?.unwrap_or_default(),
            })
        })?
        .collect::<rusqlite::Result<_>>()?;
    Ok((checks, total))
}

/// Every check in `[since, until]`, oldest first, without messages.
pub fn each_check(
    db: &Connection,
    id: i64,
    (since, until): (Timestamp, Timestamp),
    mut see: impl FnMut(Timestamp, &Outcome),
) -> rusqlite::Result<()> {
    let mut statement = db.prepare_cached(
        "SELECT at, outcome, phases FROM endpoint_checks
         WHERE endpoint_id = ?1 AND at BETWEEN ?2 AND ?3 ORDER BY at",
    )?;
    let mut rows = statement.query((id, since.as_millisecond(), until.as_millisecond()))?;
    while let Some(row) = rows.next()? {
        see(time(row, "at")?.unwrap_or_default(), &coded(row)?.check(None));
    }
    Ok(())
}

/// The message of the failed check at that time.
pub fn error_at(db: &Connection, id: i64, at: Timestamp) -> rusqlite::Result<Option<String>> {
    db.prepare_cached("SELECT error FROM endpoint_failures WHERE endpoint_id = ?1 AND at = ?2")?
        .query_row((id, at.as_millisecond()), |row| row.get(0))
        .optional()
}

/// Response times of the successes among each active endpoint's newest checks, oldest first.
pub fn sparklines(db: &Connection) -> rusqlite::Result<BTreeMap<i64, Vec<i64>>> {
    let mut lines = BTreeMap::<i64, Vec<i64>>::new();
    let mut statement = db.prepare_cached(
        "SELECT c.endpoint_id, c.outcome, c.phases FROM endpoints AS e
         JOIN endpoint_checks AS c ON c.endpoint_id = e.id AND c.at IN
             (SELECT at FROM endpoint_checks WHERE endpoint_id = e.id ORDER BY at DESC LIMIT ?1)
         WHERE e.active ORDER BY c.endpoint_id, c.at",
    )?;
    let mut rows = statement.query([SPARKS])?;
    while let Some(row) = rows.next()? {
        let check = coded(row)?.check(None);
        if check.failure.is_none() {
            lines.entry(row.get("endpoint_id")?).or_default().push(check.response_time_ms);
        }
    }
    Ok(lines)
}

/// Rows are looked for endpoint by endpoint: none is read that stays.
fn delete_old_checks(tx: &Connection, before_ms: i64, limit: u32) -> rusqlite::Result<usize> {
    tx.execute(
        "DELETE FROM endpoint_checks WHERE (endpoint_id, at) IN
             (SELECT c.endpoint_id, c.at FROM endpoints AS e
              CROSS JOIN endpoint_checks AS c ON c.endpoint_id = e.id AND c.at < ?1 LIMIT ?2)",
        (before_ms, limit),
    )
}

fn delete_old_failures(tx: &Connection, before_ms: i64, limit: u32) -> rusqlite::Result<usize> {
    tx.execute(
        "DELETE FROM endpoint_failures WHERE (endpoint_id, at) IN
             (SELECT f.endpoint_id, f.at FROM endpoints AS e
              CROSS JOIN endpoint_failures AS f ON f.endpoint_id = e.id AND f.at < ?1 LIMIT ?2)",
        (before_ms, limit),
    )
}

fn delete_old_spans(tx: &Connection, before_ms: i64, limit: u32) -> rusqlite::Result<usize> {
    tx.execute(
        "DELETE FROM endpoint_spans WHERE (endpoint_id, from_at) IN
             (SELECT s.endpoint_id, s.from_at FROM endpoints AS e
              CROSS JOIN endpoint_spans AS s ON s.endpoint_id = e.id AND s.from_at < ?1
              WHERE s.to_at < ?1 LIMIT ?2)",
        (before_ms, limit),
    )
}

fn delete_old_days(tx: &Connection, before_ms: i64, limit: u32) -> rusqlite::Result<usize> {
    tx.execute(
        "DELETE FROM endpoint_days WHERE (endpoint_id, day) IN
             (SELECT d.endpoint_id, d.day FROM endpoints AS e
              CROSS JOIN endpoint_days AS d ON d.endpoint_id = e.id AND d.day < ?1 LIMIT ?2)",
        (before_ms.div_euclid(history::DAY_MS), limit),
    )
}

fn delete_old_inactive(tx: &Connection, before_ms: i64, limit: u32) -> rusqlite::Result<usize> {
    tx.execute(
        "DELETE FROM endpoints WHERE id IN
             (SELECT id FROM endpoints WHERE NOT active AND last_seen_at < ?1 LIMIT ?2)",
        (before_ms, limit),
    )
}

fn json<T: serde::Serialize>(value: &T) -> rusqlite::Result<String> {
    serde_json::to_string(value)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

fn from_json<T: serde::de::DeserializeOwned>(text: &str) -> rusqlite::Result<T> {
    serde_json::from_str(text)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, Type::Text, Box::new(error)))
}

fn declaration(row: &Row<'_>) -> rusqlite::Result<Declaration> {
    let text = |column: &str| row.get::<_, String>(column);
    let own: Option<String> = row.get("own")?;
    Ok(Declaration {
        container_id: row.get("container_id")?,
        label_key: text("label_key")?,
        source: EndpointSource::parse(&text("source")?).unwrap_or(EndpointSource::Standalone),
        container_name: text("container_name")?,
        external_id: text("external_id")?,
        compose_project: text("compose_project")?,
        compose_service: text("compose_service")?,
        name: text("name")?,
        kind: EndpointType::parse(&text("endpoint_type")?).unwrap_or(EndpointType::Tcp),
        target: text("target")?,
        config: from_json(&text("config")?)?,
        own: own.as_deref().map(from_json).transpose()?,
    })
}

fn state(row: &Row<'_>) -> rusqlite::Result<State> {
    let Some(status) = row.get::<_, Option<String>>("status")? else { return Ok(State::default()) };
    let alert: String = row.get("alert_state")?;
    let from = time(row, "span_from")?;
    let span_state = row.get::<_, Option<i64>>("span_state")?;
    let is_open = row.get::<_, Option<i64>>("span_to")?.is_none();
    let state = match span_state {
        Some(1) => SpanState::Down,
        Some(2) => SpanState::StillDown,
        _ => SpanState::Up,
    };
    Ok(State {
        status: EndpointStatus::parse(&status).unwrap_or(EndpointStatus::Unknown),
        since: time(row, "since")?,
        alert: AlertState::parse(&alert).unwrap_or_default(),
        failures: row.get("failures")?,
        successes: row.get("successes")?,
        failing_since: time(row, "failing_since")?,
        last_check_at: time(row, "last_check_at")?,
        holds_until: time(row, "holds_until")?,
        span: from.filter(|_| is_open).map(|from| OpenSpan { from, state }),
        was_down: matches!(span_state, Some(1 | 2)),
    })
}

fn wire(row: &Row<'_>) -> rusqlite::Result<Endpoint> {
    let declared = declaration(row)?;
    let outcome = row.get::<_, Option<i64>>("outcome")?;
    let last = outcome.is_some().then(|| coded(row)).transpose()?;
    let last = last.map(|coded| Ok::<_, rusqlite::Error>(coded.check(row.get("error")?)));
    let last = last.transpose()?;
    let word = |column: &str| row.get::<_, Option<String>>(column).map(Option::unwrap_or_default);
    let (response_time, http_status, phases) = match &last {
        Some(last) => (
            Some(last.response_time_ms),
            last.http_status.map(i64::from),
            Some(last.phases).filter(|phases| *phases != Phases::default()),
        ),
        None => (None, None, None),
    };
    let (cause, error) = last.and_then(|last| last.failure).map(|f| (f.cause, f.error)).unzip();
    Ok(Endpoint {
        id: row.get("id")?,
        container_name: declared.container_name,
        label_key: declared.label_key,
        external_id: declared.external_id,
        endpoint_type: declared.kind,
        target: declared.target,
        status: EndpointStatus::parse(&word("status")?).unwrap_or(EndpointStatus::Unknown),
        alert_state: AlertState::parse(&word("alert_state")?).unwrap_or_default(),
        consecutive_failures: row.get::<_, Option<i64>>("failures")?.unwrap_or_default(),
        consecutive_successes: row.get::<_, Option<i64>>("successes")?.unwrap_or_default(),
        last_check_at: time(row, "last_check_at")?,
        last_response_time_ms: response_time,
        last_http_status: http_status,
        last_error: error,
        last_cause: cause,
        last_phases: phases,
        status_since: time(row, "since")?,
        config: declared.config,
        active: row.get("active")?,
        first_seen_at: time(row, "first_seen_at")?.unwrap_or_default(),
        last_seen_at: time(row, "last_seen_at")?
            .max(time(row, "last_check_at")?)
            .unwrap_or_default(),
        orchestration_group: declared.compose_project,
        orchestration_unit: declared.compose_service,
        source: declared.source,
        name: declared.name,
        uptime: None,
        uptime_coverage: None,
    })
}

fn coded(row: &Row<'_>) -> rusqlite::Result<Coded> {
    Ok(Coded { outcome: row.get("outcome")?, phases: row.get("phases")? })
}

pub(super) fn time(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<Timestamp>> {
    let Some(milliseconds) = row.get::<_, Option<i64>>(column)? else { return Ok(None) };
    Timestamp::from_millisecond(milliseconds).map(Some).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(0, Type::Integer, Box::new(error))
    })
}
