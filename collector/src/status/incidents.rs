//! Incidents: what opens, changes and ends them, and what the public and the subscribers are told.

use std::sync::Arc;

use jiff::Timestamp;
use maintenant_api::status::{
    Incident, IncidentInput, IncidentSeverity, IncidentStatus, IncidentUpdateInput,
};
use rusqlite::Connection;
use serde_json::{Value, json};

use super::components::Standing;
use super::input::{Invalid, line, text, word};
use super::model::severity;
use super::monitors::Alarm;
use super::sql::incidents::{self as sql, New, Said};
use super::subscribers;

pub const MOST_TITLE: usize = 200;
pub const MOST_MESSAGE: usize = 5_000;
/// Components of one incident or window.
const MOST_COMPONENTS: usize = 500;
pub const SEVERITIES: &str = "minor, major or critical";
pub const STATUSES: &str = "investigating, identified, monitoring or resolved";

/// How the page speaks to its readers; clones share it.
#[derive(Debug, Clone)]
pub struct Voice {
    /// Public URL without a final slash.
    pub base_url: Arc<str>,
    pub organisation: Arc<str>,
    /// Whether mail can be sent.
    pub has_mail: bool,
}

impl Voice {
    /// Where the public reads of an incident.
    pub fn incident_url(&self, id: i64) -> String {
        format!("{}/status/#incident-{id}", self.base_url)
    }

    /// Where the public reads of a maintenance window.
    pub fn maintenance_url(&self, id: i64) -> String {
        format!("{}/status/#maintenance-{id}", self.base_url)
    }
}

/// An event of the page, published once its transaction is committed.
pub type Told = (&'static str, Value);

/// A new incident as a user describes it, with its first message. What is wrong is named.
pub fn parse(input: IncidentInput) -> Result<(New, String), Invalid> {
    let given = input.status.as_deref().filter(|status| !status.is_empty());
    let status = given.map(|given| word("status", given, IncidentStatus::parse, STATUSES));
    let severity = input.severity.unwrap_or_default();
    let new = New {
        title: line("title", input.title, MOST_TITLE)?,
        severity: word("severity", &severity, IncidentSeverity::parse, SEVERITIES)?,
        status: status.transpose()?.unwrap_or_default(),
        components: ids(input.component_ids.unwrap_or_default())?,
        is_maintenance: false,
        auto: None,
    };
    Ok((new, text("message", input.message, MOST_MESSAGE)?))
}

/// An incident with what is given changed, and the components it concerns from now on.
pub fn edit(
    mut incident: Incident,
    input: IncidentInput,
) -> Result<(Incident, Option<Vec<i64>>), Invalid> {
    if input.title.is_some() {
        incident.title = line("title", input.title, MOST_TITLE)?;
    }
    if let Some(given) = input.severity.filter(|given| !given.is_empty()) {
        incident.severity = word("severity", &given, IncidentSeverity::parse, SEVERITIES)?;
    }
    Ok((incident, input.component_ids.map(ids).transpose()?))
}

/// What a user says of an incident.
pub fn parse_update(input: IncidentUpdateInput) -> Result<(IncidentStatus, String), Invalid> {
    let given = input.status.unwrap_or_default();
    let status = word("status", &given, IncidentStatus::parse, STATUSES)?;
    let message = text("message", input.message, MOST_MESSAGE)?;
    if message.is_empty() {
        let fault = format!("message is missing; give 1 to {MOST_MESSAGE} characters");
        return Err(Invalid(fault));
    }
    Ok((status, message))
}

/// Ids of components, each once.
pub fn ids(mut given: Vec<i64>) -> Result<Vec<i64>, Invalid> {
    given.sort_unstable();
    given.dedup();
    match given.len() {
        count if count > MOST_COMPONENTS => Err(Invalid(format!(
            "component_ids: {count} are too many; name at most {MOST_COMPONENTS}"
        ))),
        _ => Ok(given),
    }
}

/// What alerts of a component's monitors call for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Auto {
    Open {
        severity: IncidentSeverity,
        alert: i64,
    },
    /// Another alert came, and it is no worse than before.
    More {
        incident: i64,
        alert: i64,
    },
    /// Perhaps by another alert.
    Worse {
        incident: i64,
        severity: IncidentSeverity,
        alert: Option<i64>,
    },
    /// Nothing is wrong any more of which anything was told.
    Over {
        incident: i64,
    },
}

/// Decides what becomes of the incident that alerts open, if it is `open` with its severity.
///
/// Only an alert that is not kept quiet opens one, and each alert once: what a user closes stays
/// closed until something else goes wrong. An alert that was told holds its incident open when it is
/// kept quiet later; one that never was told does not.
pub fn decide(standing: &Standing, open: Option<(i64, IncidentSeverity)>) -> Option<Auto> {
    let Standing { alarms, told, .. } = standing;
    let new = alarms.iter().filter(|alarm| alarm.is_active && !told.contains(&alarm.alert_id));
    let new = new.map(|alarm| alarm.alert_id).max();
    let lasts = |alarm: &Alarm| alarm.is_active || told.contains(&alarm.alert_id);
    let now = severity(standing.derived);
    match (open, new) {
        (Some((incident, _)), _) if !alarms.iter().any(lasts) => Some(Auto::Over { incident }),
        (Some((incident, before)), alert) if now > before => {
            Some(Auto::Worse { incident, severity: now, alert })
        }
        (Some((incident, _)), Some(alert)) => Some(Auto::More { incident, alert }),
        (None, Some(alert)) if standing.component.auto_incident && !standing.is_maintained => {
            Some(Auto::Open { severity: now, alert })
        }
        _ => None,
    }
}

/// Does what alerts call for. What is said names nothing but the component: names and errors of
/// monitors are not for the public. An incident stays in the status that somebody gave it, and
/// subscribers are not written to because of more of the same.
pub fn apply(
    tx: &Connection,
    standing: &Standing,
    auto: Auto,
    voice: &Voice,
    now: Timestamp,
) -> rusqlite::Result<Vec<Told>> {
    let component = &standing.component;
    remember(tx, standing)?;
    match auto {
        Auto::Open { severity, alert } => {
            let status = IncidentStatus::Investigating;
            let new = New {
                title: format!("{}: {}", component.display_name, trouble(severity)),
                severity,
                status,
                components: vec![component.id],
                is_maintenance: false,
                auto: Some(component.id),
            };
            let message = "Monitoring has detected a problem, and it is being looked into.";
            let said = Said { status, message, is_auto: true, alert_id: Some(alert) };
            open(tx, &new, Some(said), voice, now).map(|(_, told)| told)
        }
        Auto::More { incident, alert } => {
            let Some(before) = sql::find(tx, incident)? else { return Ok(Vec::new()) };
            let (status, message) = (before.status, "Monitoring has detected a further problem.");
            let said = Said { status, message, is_auto: true, alert_id: Some(alert) };
            sql::say(tx, incident, said, now)?;
            let incident = sql::find_public(tx, incident)?;
            Ok(incident.map(|incident| updated(&incident, said)).into_iter().collect())
        }
        Auto::Worse { incident, severity, alert } => {
            let Some(before) = sql::find(tx, incident)? else { return Ok(Vec::new()) };
            sql::save_severity(tx, incident, severity)?;
            let (status, message) = (before.status, "The problem has grown.");
            let said = Said { status, message, is_auto: true, alert_id: alert };
            say(tx, incident, said, voice, now)
        }
        Auto::Over { incident } => {
            let (status, message) =
                (IncidentStatus::Resolved, "Monitoring no longer detects a problem.");
            let said = Said { status, message, is_auto: true, alert_id: None };
            say(tx, incident, said, voice, now)
        }
    }
}

/// From now on the alerts that are active are told, beside those that were and still last.
fn remember(tx: &Connection, standing: &Standing) -> rusqlite::Result<()> {
    let Standing { component, alarms, told, .. } = standing;
    let lasts = |alarm: &&Alarm| alarm.is_active || told.contains(&alarm.alert_id);
    let lasting = alarms.iter().filter(lasts).map(|alarm| alarm.alert_id).collect();
    super::sql::components::save_told(tx, component.id, &lasting)
}

fn trouble(severity: IncidentSeverity) -> &'static str {
    match severity {
        IncidentSeverity::Minor => "degraded",
        IncidentSeverity::Major => "partial outage",
        IncidentSeverity::Critical => "outage",
    }
}

/// Stores a new incident with its first update, and tells of it.
pub fn open(
    tx: &Connection,
    new: &New,
    said: Option<Said<'_>>,
    voice: &Voice,
    now: Timestamp,
) -> rusqlite::Result<(i64, Vec<Told>)> {
    let id = sql::insert(tx, new, now)?;
    if let Some(said) = said {
        sql::say(tx, id, said, now)?;
    }
    let Some(incident) = sql::find_public(tx, id)? else { return Ok((id, Vec::new())) };
    subscribers::announce(tx, &incident, voice, now)?;
    let components: Vec<_> = incident.components.iter().map(|one| one.name.as_str()).collect();
    let created = json!({
        "id": id,
        "title": incident.title,
        "severity": incident.severity,
        "status": incident.status,
        "components": components,
    });
    Ok((id, vec![("status.incident_created", created)]))
}

/// Stores an update, and tells of it.
pub fn say(
    tx: &Connection,
    id: i64,
    said: Said<'_>,
    voice: &Voice,
    now: Timestamp,
) -> rusqlite::Result<Vec<Told>> {
    sql::say(tx, id, said, now)?;
    let Some(incident) = sql::find_public(tx, id)? else { return Ok(Vec::new()) };
    subscribers::announce(tx, &incident, voice, now)?;
    let mut told = vec![updated(&incident, said)];
    if said.status == IncidentStatus::Resolved {
        told.push(("status.incident_resolved", json!({ "id": id, "title": incident.title })));
    }
    Ok(told)
}

fn updated(incident: &Incident, said: Said<'_>) -> Told {
    let data = json!({ "id": incident.id, "status": said.status, "message": said.message });
    ("status.incident_updated", data)
}
