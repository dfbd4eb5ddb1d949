//! The tables of this dimension.

use jiff::Timestamp;
use maintenant_api::containers as wire;
use maintenant_api::containers::{ExitReason, Health, ObservedBy, State};
use rusqlite::types::Type;
use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, named_params};

use super::exposure::Exposure;
use super::labels::{self, Compose, Labels};
use super::model::{Container, Exit, Facts, Pending, RestartPolicy, Transition, is_up};
use crate::store::retention::Keep;
use crate::uptime::Span;

/// Up to here the stored states were seen to hold.
const OBSERVED_UNTIL: &str = "docker_observed_until";
/// Ends of a container that keep their last log lines (10 KiB each).
const SNIPPETS: u32 = 50;
/// Rows kept of one container, whatever their age: a restart loop writes many.
const MOST_TRANSITIONS: u32 = 10_000;
const MOST_SPANS: u32 = 20_000;
/// Archived containers in one list: a host of short-lived jobs has very many.
const MOST_ARCHIVED: u32 = 2_000;

/// What is kept of containers, and for how long.
pub const KEEPS: [Keep; 5] = [
    Keep {
        what: "container transitions older than 90 days",
        days: 90,
        delete: delete_old_transitions,
    },
    Keep {
        what: "container transitions beyond the newest of a container",
        days: 0,
        delete: delete_excess_transitions,
    },
    Keep {
        what: "container availability older than 400 days",
        days: 400,
        delete: delete_old_spans,
    },
    Keep {
        what: "container availability beyond the newest of a container",
        days: 0,
        delete: delete_excess_spans,
    },
    Keep { what: "containers archived for 30 days", days: 30, delete: delete_old_archived },
];

/// A container as it now is, and what brought it there.
#[derive(Debug, Clone)]
pub struct Change {
    pub container: std::sync::Arc<Container>,
    pub transition: Option<Transition>,
    /// From when its present availability counts.
    pub available_from: Timestamp,
    /// Seen for the first time.
    pub is_new: bool,
}

/// Stores changes in the order they happened. One that contradicts what is stored is dropped, so
/// that it does not keep the others out.
pub fn save(tx: &Connection, changes: &[Change]) -> rusqlite::Result<()> {
    for change in changes {
        tx.execute_batch("SAVEPOINT change")?;
        match save_change(tx, change) {
            Ok(()) => tx.execute_batch("RELEASE change")?,
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
                tx.execute_batch("ROLLBACK TO change; RELEASE change")?;
                let id = change.container.id;
                tracing::error!(container.id = id, "a change was dropped: {error}");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn save_change(tx: &Connection, change: &Change) -> rusqlite::Result<()> {
    save_container(tx, &change.container)?;
    save_availability(tx, &change.container, change.available_from)?;
    match &change.transition {
        Some(transition) => save_transition(tx, transition),
        None => Ok(()),
    }
}

fn save_container(tx: &Connection, container: &Container) -> rusqlite::Result<()> {
    let facts = &container.facts;
    let labels = &facts.labels;
    let compose = labels.compose.as_ref();
    let (policy, limit) = match facts.restart_policy {
        RestartPolicy::Unknown => ("", 0),
        RestartPolicy::No => ("no", 0),
        RestartPolicy::Always => ("always", 0),
        RestartPolicy::UnlessStopped => ("unless-stopped", 0),
        RestartPolicy::OnFailure(limit) => ("on-failure", limit),
    };
    tx.prepare_cached(
        "INSERT INTO containers (
             id, identity, external_id, name, image, state, health, has_health_check,
             compose_project, compose_service, compose_working_dir, custom_group, is_ignored,
             alert_severity, restart_threshold, alert_channels, watched_labels, restart_policy,
             restart_limit, stop_signal, restart_count, exit_code, exit_signal, exit_reason, oom_killed,
             error_detail, started_at, finished_at, first_seen_at, last_state_change_at, archived_at,
             exposure
         ) VALUES (
             :id, :identity, :external_id, :name, :image, :state, :health, :has_health_check,
             :compose_project, :compose_service, :compose_working_dir, :custom_group, :is_ignored,
             :alert_severity, :restart_threshold, :alert_channels, :watched_labels, :restart_policy,
             :restart_limit, :stop_signal, :restart_count, :exit_code, :exit_signal, :exit_reason, :oom_killed,
             :error_detail, :started_at, :finished_at, :first_seen_at, :last_state_change_at,
             :archived_at, :exposure
         ) ON CONFLICT (id) DO UPDATE SET
             identity = excluded.identity, external_id = excluded.external_id,
             name = excluded.name, image = excluded.image, state = excluded.state,
             health = excluded.health, has_health_check = excluded.has_health_check,
             compose_project = excluded.compose_project,
             compose_service = excluded.compose_service,
             compose_working_dir = excluded.compose_working_dir,
             custom_group = excluded.custom_group, is_ignored = excluded.is_ignored,
             alert_severity = excluded.alert_severity,
             restart_threshold = excluded.restart_threshold,
             alert_channels = excluded.alert_channels,
             watched_labels = excluded.watched_labels,
             restart_policy = excluded.restart_policy,
             restart_limit = excluded.restart_limit, stop_signal = excluded.stop_signal,
             restart_count = excluded.restart_count, exit_code = excluded.exit_code,
             exit_signal = excluded.exit_signal, exit_reason = excluded.exit_reason,
             oom_killed = excluded.oom_killed, error_detail = excluded.error_detail,
             started_at = excluded.started_at, finished_at = excluded.finished_at,
             last_state_change_at = excluded.last_state_change_at,
             archived_at = excluded.archived_at, exposure = excluded.exposure",
    )?
    .execute(named_params! {
        ":id": container.id,
        ":identity": container.identity,
        ":external_id": container.external_id,
        ":name": facts.name,
        ":image": facts.image,
        ":state": container.state.as_str(),
        ":health": container.health.map(Health::as_str),
        ":has_health_check": facts.has_health_check,
        ":compose_project": compose.map_or("", |compose| &compose.project),
        ":compose_service": compose.map_or("", |compose| &compose.service),
        ":compose_working_dir": compose.map_or("", |compose| &compose.working_dir),
        ":custom_group": labels.custom_group,
        ":is_ignored": labels.is_ignored,
        ":alert_severity": labels.alert_severity,
        ":restart_threshold": labels.restart_threshold,
        ":alert_channels": labels.alert_channels,
        ":watched_labels": labels::watched_to_json(labels),
        ":restart_policy": policy,
        ":restart_limit": limit,
        ":stop_signal": facts.stop_signal,
        ":restart_count": facts.restart_count,
        ":exit_code": container.exit.map(|exit| exit.code),
        ":exit_signal": container.exit.and_then(|exit| exit.signal),
        ":exit_reason": container.exit.map(|exit| exit.reason.as_str()),
        ":oom_killed": container.exit.is_some_and(|exit| exit.oom_killed),
        ":error_detail": facts.error_detail,
        ":started_at": container.started_at.map(Timestamp::as_millisecond),
        ":finished_at": container.finished_at.map(Timestamp::as_millisecond),
        ":first_seen_at": container.first_seen_at.as_millisecond(),
        ":last_state_change_at": container.last_state_change_at.as_millisecond(),
        ":archived_at": container.archived_at.map(Timestamp::as_millisecond),
        ":exposure": facts.exposure.as_ref().map(Exposure::to_json),
    })
    .map(drop)
}

/// Ends the open span and begins another where availability changed.
fn save_availability(
    tx: &Connection,
    container: &Container,
    at: Timestamp,
) -> rusqlite::Result<()> {
    let open: Option<(i64, bool)> = tx
        .prepare_cached(
            "SELECT from_at, is_up FROM container_availability
             WHERE container_id = ?1 AND to_at IS NULL ORDER BY from_at DESC LIMIT 1",
        )?
        .query_row([container.id], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let wanted = is_up(container);
    if open.map(|(_, is_up)| is_up) == wanted {
        return Ok(());
    }
    let mut at = at.as_millisecond();
    if let Some((from, _)) = open {
        at = at.max(from);
        tx.prepare_cached(
            "UPDATE container_availability SET to_at = ?3
             WHERE container_id = ?1 AND from_at = ?2",
        )?
        .execute((container.id, from, at))?;
    }
    if let Some(is_up) = wanted {
        // Replaces a span of no length that began in the same millisecond.
        tx.prepare_cached(
            "INSERT OR REPLACE INTO container_availability (container_id, from_at, is_up)
             VALUES (?1, ?2, ?3)",
        )?
        .execute((container.id, at, is_up))?;
    }
    Ok(())
}

/// Inserts a transition, or corrects the end that it told before.
fn save_transition(tx: &Connection, transition: &Transition) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT INTO container_transitions (
             id, container_id, at, previous_state, new_state, previous_health, new_health,
             exit_code, exit_signal, exit_reason, oom_killed, observed_by
         ) VALUES (
             :id, :container_id, :at, :previous_state, :new_state, :previous_health, :new_health,
             :exit_code, :exit_signal, :exit_reason, :oom_killed, :observed_by
         ) ON CONFLICT (id) DO UPDATE SET
             new_state = excluded.new_state, exit_code = excluded.exit_code,
             exit_signal = excluded.exit_signal, exit_reason = excluded.exit_reason,
             oom_killed = excluded.oom_killed",
    )?
    .execute(named_params! {
        ":id": transition.id,
        ":container_id": transition.container_id,
        ":at": transition.at.as_millisecond(),
        ":previous_state": transition.previous_state.as_str(),
        ":new_state": transition.new_state.as_str(),
        ":previous_health": transition.previous_health.map(Health::as_str),
        ":new_health": transition.new_health.map(Health::as_str),
        ":exit_code": transition.exit.map(|exit| exit.code),
        ":exit_signal": transition.exit.and_then(|exit| exit.signal),
        ":exit_reason": transition.exit.map(|exit| exit.reason.as_str()),
        ":oom_killed": transition.exit.is_some_and(|exit| exit.oom_killed),
        ":observed_by": match transition.observed_by {
            ObservedBy::Event => "event",
            ObservedBy::Resync => "resync",
        },
    })
    .map(drop)
}

/// Adds the last lines a container wrote before the end that a transition tells. Only the newest
/// [`SNIPPETS`] ends of a container keep theirs: a restart loop ends thousands of times a day.
pub fn save_log_snippet(tx: &Connection, transition: i64, snippet: &str) -> rusqlite::Result<()> {
    tx.prepare_cached("UPDATE container_transitions SET log_snippet = ?2 WHERE id = ?1")?
        .execute((transition, snippet))?;
    tx.prepare_cached(
        "UPDATE container_transitions SET log_snippet = '' WHERE log_snippet <> '' AND id IN
             (SELECT id FROM container_transitions
              WHERE container_id =
                    (SELECT container_id FROM container_transitions WHERE id = ?1)
                AND exit_code IS NOT NULL
              ORDER BY at DESC, id DESC LIMIT 20 OFFSET ?2)",
    )?
    .execute((transition, SNIPPETS))
    .map(drop)
}

/// Notes up to when the stored states are known to hold.
pub fn save_observed_until(tx: &Connection, at: Timestamp) -> rusqlite::Result<()> {
    tx.prepare_cached("INSERT OR REPLACE INTO marks (name, at) VALUES (?1, ?2)")?
        .execute((OBSERVED_UNTIL, at.as_millisecond()))
        .map(drop)
}

/// Ends all open spans where the last observation ended: what came after it is not known.
pub fn close_spans(tx: &Connection, observed_until: Timestamp) -> rusqlite::Result<()> {
    tx.execute(
        "UPDATE container_availability SET to_at = max(from_at, ?1) WHERE to_at IS NULL",
        [observed_until.as_millisecond()],
    )
    .map(drop)
}

/// Everything the watch needs to go on where an earlier process stopped.
#[derive(Debug, Default)]
pub struct Loaded {
    pub containers: Vec<Container>,
    pub observed_until: Option<Timestamp>,
    pub last_container_id: i64,
    pub last_transition_id: i64,
}

pub fn load(connection: &Connection) -> rusqlite::Result<Loaded> {
    let containers = connection
        .prepare(
            "SELECT *, (SELECT max(at) FROM container_transitions
                        WHERE container_id = containers.id AND observed_by = 'event') AS last_event_at
             FROM containers WHERE archived_at IS NULL ORDER BY name, id",
        )?
        .query_map([], |row| {
            let mut container = container(row)?;
            container.pending.last_event_at = time(row, "last_event_at")?;
            Ok(container)
        })?
        .collect::<rusqlite::Result<_>>()?;
    let observed_until = connection
        .query_row("SELECT at FROM marks WHERE name = ?1", [OBSERVED_UNTIL], |row| time(row, "at"))
        .optional()?
        .flatten();
    let last_id = |table: &str| {
        connection
            .query_row("SELECT seq FROM sqlite_sequence WHERE name = ?1", [table], |row| row.get(0))
            .optional()
            .map(Option::unwrap_or_default)
    };
    Ok(Loaded {
        containers,
        observed_until,
        last_container_id: last_id("containers")?,
        last_transition_id: last_id("container_transitions")?,
    })
}

/// The archived container of this identity that was there last.
pub fn find_archived(
    connection: &Connection,
    identity: &str,
) -> rusqlite::Result<Option<Container>> {
    connection
        .prepare_cached(
            "SELECT * FROM containers WHERE identity = ?1 AND archived_at IS NOT NULL
             ORDER BY archived_at DESC LIMIT 1",
        )?
        .query_row([identity], container)
        .optional()
}

pub fn find(connection: &Connection, id: i64) -> rusqlite::Result<Option<Container>> {
    connection
        .prepare_cached("SELECT * FROM containers WHERE id = ?1")?
        .query_row([id], container)
        .optional()
}

/// Archived containers that are not ignored, by name: the newest [`MOST_ARCHIVED`].
pub fn list_archived(connection: &Connection) -> rusqlite::Result<Vec<Container>> {
    connection
        .prepare_cached(
            "SELECT * FROM
                 (SELECT * FROM containers WHERE archived_at IS NOT NULL AND NOT is_ignored
                  ORDER BY archived_at DESC LIMIT ?1)
             ORDER BY name, id",
        )?
        .query_map([MOST_ARCHIVED], container)?
        .collect()
}

pub fn delete(tx: &Connection, id: i64) -> rusqlite::Result<()> {
    tx.execute("DELETE FROM containers WHERE id = ?1", [id]).map(drop)
}

/// Transitions in `[since, until]`, newest first, and how many there are in all.
pub fn transitions(
    connection: &Connection,
    container_id: i64,
    since: Timestamp,
    until: Timestamp,
    limit: i64,
    offset: i64,
) -> rusqlite::Result<(Vec<wire::Transition>, i64)> {
    let (since, until) = (since.as_millisecond(), until.as_millisecond());
    let total = connection
        .prepare_cached(
            "SELECT count(*) FROM container_transitions
             WHERE container_id = ?1 AND at BETWEEN ?2 AND ?3",
        )?
        .query_row((container_id, since, until), |row| row.get(0))?;
    let rows = connection
        .prepare_cached(
            "SELECT * FROM container_transitions WHERE container_id = ?1 AND at BETWEEN ?2 AND ?3
             ORDER BY at DESC, id DESC LIMIT ?4 OFFSET ?5",
        )?
        .query_map((container_id, since, until, limit, offset), transition)?
        .collect::<rusqlite::Result<_>>()?;
    Ok((rows, total))
}

/// Spans that touch `[from, now]`; open ones hold until `open_until`.
pub fn spans(
    connection: &Connection,
    container_id: i64,
    from: Timestamp,
    open_until: Timestamp,
) -> rusqlite::Result<Vec<Span>> {
    connection
        .prepare_cached(
            "SELECT from_at, coalesce(to_at, ?3) AS to_at, is_up FROM container_availability
             WHERE container_id = ?1 AND coalesce(to_at, ?3) > ?2 ORDER BY from_at",
        )?
        .query_map((container_id, from.as_millisecond(), open_until.as_millisecond()), |row| {
            let at = |column| time(row, column).map(Option::unwrap_or_default);
            Ok(Span { from: at("from_at")?, to: at("to_at")?, is_up: row.get("is_up")? })
        })?
        .collect()
}

/// Containers that are there and not ignored.
pub fn list_watched(connection: &Connection) -> rusqlite::Result<Vec<Container>> {
    connection
        .prepare_cached("SELECT * FROM containers WHERE archived_at IS NULL AND NOT is_ignored")?
        .query_map([], container)?
        .collect()
}

/// What is dangerous about containers that are there and not ignored; `None` of one never inspected.
pub fn list_exposures(connection: &Connection) -> rusqlite::Result<Vec<(i64, Option<Exposure>)>> {
    connection
        .prepare_cached(
            "SELECT id, exposure FROM containers WHERE archived_at IS NULL AND NOT is_ignored",
        )?
        .query_map([], |row| Ok((row.get("id")?, exposure(row)?)))?
        .collect()
}

/// Whether it is there and not ignored.
pub fn is_watched(connection: &Connection, id: i64) -> rusqlite::Result<bool> {
    connection
        .prepare_cached(
            "SELECT 1 FROM containers WHERE id = ?1 AND archived_at IS NULL AND NOT is_ignored",
        )?
        .exists([id])
}

/// Ids of all containers that are there.
pub fn list_ids(connection: &Connection) -> rusqlite::Result<Vec<i64>> {
    connection
        .prepare_cached("SELECT id FROM containers WHERE archived_at IS NULL")?
        .query_map([], |row| row.get(0))?
        .collect()
}

/// The newest transitions of a container, oldest first.
pub fn newest_transitions(
    connection: &Connection,
    container_id: i64,
    limit: u32,
) -> rusqlite::Result<Vec<Transition>> {
    let mut newest: Vec<Transition> = connection
        .prepare_cached(
            "SELECT id, container_id, at, previous_state, new_state, previous_health, new_health,
                 exit_code, exit_signal, exit_reason, oom_killed, observed_by
             FROM container_transitions WHERE container_id = ?1 ORDER BY at DESC, id DESC LIMIT ?2",
        )?
        .query_map((container_id, limit), |row| {
            let state = |column| {
                word(row, column, State::parse).map(|state| state.unwrap_or(State::Unknown))
            };
            Ok(Transition {
                id: row.get("id")?,
                container_id,
                at: time(row, "at")?.unwrap_or_default(),
                previous_state: state("previous_state")?,
                new_state: state("new_state")?,
                previous_health: word(row, "previous_health", Health::parse)?,
                new_health: word(row, "new_health", Health::parse)?,
                exit: exit(row)?,
                observed_by: observed_by(row)?,
                amends: false,
            })
        })?
        .collect::<rusqlite::Result<_>>()?;
    newest.reverse();
    Ok(newest)
}

/// The last log lines before the end that a transition tells; empty where none are kept.
pub fn log_snippet(connection: &Connection, transition: i64) -> rusqlite::Result<String> {
    connection
        .prepare_cached("SELECT log_snippet FROM container_transitions WHERE id = ?1")?
        .query_row([transition], |row| row.get(0))
        .optional()
        .map(Option::unwrap_or_default)
}

pub fn delete_old_transitions(
    tx: &Connection,
    before_ms: i64,
    limit: u32,
) -> rusqlite::Result<usize> {
    tx.execute(
        "DELETE FROM container_transitions WHERE id IN
             (SELECT id FROM container_transitions WHERE at < ?1 ORDER BY at LIMIT ?2)",
        (before_ms, limit),
    )
}

pub fn delete_excess_transitions(
    tx: &Connection,
    _before_ms: i64,
    limit: u32,
) -> rusqlite::Result<usize> {
    tx.execute(
        "DELETE FROM container_transitions WHERE id IN
             (SELECT id FROM
                  (SELECT id, row_number() OVER
                       (PARTITION BY container_id ORDER BY at DESC, id DESC) AS place
                   FROM container_transitions WHERE container_id IN
                       (SELECT container_id FROM container_transitions
                        GROUP BY container_id HAVING count(*) > ?1))
              WHERE place > ?1 LIMIT ?2)",
        (MOST_TRANSITIONS, limit),
    )
}

pub fn delete_excess_spans(
    tx: &Connection,
    _before_ms: i64,
    limit: u32,
) -> rusqlite::Result<usize> {
    tx.execute(
        "DELETE FROM container_availability WHERE (container_id, from_at) IN
             (SELECT container_id, from_at FROM
                  (SELECT container_id, from_at, row_number() OVER
                       (PARTITION BY container_id ORDER BY from_at DESC) AS place
                   FROM container_availability WHERE container_id IN
                       (SELECT container_id FROM container_availability
                        GROUP BY container_id HAVING count(*) > ?1))
              WHERE place > ?1 LIMIT ?2)",
        (MOST_SPANS, limit),
    )
}

pub fn delete_old_spans(tx: &Connection, before_ms: i64, limit: u32) -> rusqlite::Result<usize> {
    tx.execute(
        "DELETE FROM container_availability WHERE (container_id, from_at) IN
             (SELECT container_id, from_at FROM container_availability
              WHERE to_at < ?1 LIMIT ?2)",
        (before_ms, limit),
    )
}

pub fn delete_old_archived(tx: &Connection, before_ms: i64, limit: u32) -> rusqlite::Result<usize> {
    tx.execute(
        "DELETE FROM containers WHERE id IN
             (SELECT id FROM containers WHERE archived_at < ?1 LIMIT ?2)",
        (before_ms, limit),
    )
}

fn container(row: &Row<'_>) -> rusqlite::Result<Container> {
    let text = |column: &str| row.get::<_, String>(column);
    let (project, service) = (text("compose_project")?, text("compose_service")?);
    let identity = text("identity")?;
    let compose = (!project.is_empty()).then(|| Compose {
        number: identity
            .strip_prefix("compose:")
            .and_then(|rest| rest.rsplit('/').next())
            .map(str::to_owned),
        working_dir: text("compose_working_dir").unwrap_or_default(),
        project,
        service,
    });
    let (watched, watched_dropped) = labels::watched_from_json(&text("watched_labels")?);
    Ok(Container {
        id: row.get("id")?,
        external_id: text("external_id")?,
        facts: Facts {
            name: text("name")?,
            image: text("image")?,
            labels: Labels {
                is_ignored: row.get("is_ignored")?,
                custom_group: text("custom_group")?,
                alert_severity: text("alert_severity")?,
                restart_threshold: row.get("restart_threshold")?,
                alert_channels: text("alert_channels")?,
                watched,
                watched_dropped,
                compose,
            },
            has_health_check: row.get("has_health_check")?,
            restart_policy: match text("restart_policy")?.as_str() {
                "always" => RestartPolicy::Always,
                "unless-stopped" => RestartPolicy::UnlessStopped,
                "on-failure" => RestartPolicy::OnFailure(row.get("restart_limit")?),
                "no" => RestartPolicy::No,
                _ => RestartPolicy::Unknown,
            },
            stop_signal: row.get("stop_signal")?,
            restart_count: row.get("restart_count")?,
            error_detail: text("error_detail")?,
            exposure: exposure(row)?,
        },
        state: word(row, "state", State::parse)?.unwrap_or(State::Exited),
        health: word(row, "health", Health::parse)?,
        exit: exit(row)?,
        started_at: time(row, "started_at")?,
        finished_at: time(row, "finished_at")?,
        first_seen_at: time(row, "first_seen_at")?.unwrap_or_default(),
        last_state_change_at: time(row, "last_state_change_at")?.unwrap_or_default(),
        archived_at: time(row, "archived_at")?,
        pending: Pending::default(),
        identity,
    })
}

fn transition(row: &Row<'_>) -> rusqlite::Result<wire::Transition> {
    let exit = exit(row)?;
    let state =
        |column| word(row, column, State::parse).map(|state| state.unwrap_or(State::Unknown));
    Ok(wire::Transition {
        id: row.get("id")?,
        container_id: row.get("container_id")?,
        previous_state: state("previous_state")?,
        new_state: state("new_state")?,
        previous_health: word(row, "previous_health", Health::parse)?,
        new_health: word(row, "new_health", Health::parse)?,
        exit_code: exit.map(|exit| exit.code),
        exit_reason: exit.map(|exit| exit.reason),
        exit_signal: exit.and_then(|exit| exit.signal),
        oom_killed: exit.is_some_and(|exit| exit.oom_killed),
        log_snippet: row.get("log_snippet")?,
        observed_by: Some(observed_by(row)?),
        timestamp: time(row, "at")?.unwrap_or_default(),
    })
}

fn observed_by(row: &Row<'_>) -> rusqlite::Result<ObservedBy> {
    Ok(match row.get::<_, String>("observed_by")?.as_str() {
        "event" => ObservedBy::Event,
        _ => ObservedBy::Resync,
    })
}

fn exposure(row: &Row<'_>) -> rusqlite::Result<Option<Exposure>> {
    let json: Option<String> = row.get("exposure")?;
    Ok(json.and_then(|json| Exposure::from_json(&json)))
}

fn exit(row: &Row<'_>) -> rusqlite::Result<Option<Exit>> {
    let Some(code) = row.get("exit_code")? else { return Ok(None) };
    Ok(Some(Exit {
        code,
        signal: row.get("exit_signal")?,
        oom_killed: row.get("oom_killed")?,
        reason: word(row, "exit_reason", ExitReason::parse)?.unwrap_or(ExitReason::Error),
    }))
}

fn time(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<Timestamp>> {
    let Some(milliseconds) = row.get::<_, Option<i64>>(column)? else { return Ok(None) };
    Timestamp::from_millisecond(milliseconds).map(Some).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(0, Type::Integer, Box::new(error))
    })
}

fn word<T>(
    row: &Row<'_>,
    column: &str,
    parse: fn(&str) -> Option<T>,
) -> rusqlite::Result<Option<T>> {
    Ok(row.get::<_, Option<String>>(column)?.as_deref().and_then(parse))
}
