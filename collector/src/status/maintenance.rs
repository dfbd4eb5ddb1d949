//! Maintenance windows: they hold by time alone, and are announced when they begin and end.

use jiff::Timestamp;
use maintenant_api::status::{
    ComponentRef, Incident, IncidentSeverity, IncidentStatus, Maintenance, MaintenanceInput,
};
use rusqlite::Connection;
use serde_json::json;

use super::incidents::{self, MOST_MESSAGE, MOST_TITLE, Told, Voice, ids};
use super::input::{Invalid, line, moment, text};
use super::sql;
use super::sql::incidents::{New, Said};

pub use sql::maintenance::mutes;

/// A window as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    pub id: i64,
    pub title: String,
    pub description: String,
    pub starts_at: Timestamp,
    pub ends_at: Timestamp,
    pub incident_id: Option<i64>,
    /// When its beginning was announced.
    pub started_at: Option<Timestamp>,
    /// When its end was announced, or it was found to be over.
    pub ended_at: Option<Timestamp>,
    pub components: Vec<ComponentRef>,
    /// Names of the components that are shown; `None` where it concerns only others.
    pub public: Option<Vec<String>>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// Where a window has got to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Upcoming,
    Active,
    Completed,
}

impl Phase {
    /// The phase of that name, if there is one.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "upcoming" => Some(Self::Upcoming),
            "active" => Some(Self::Active),
            "completed" => Some(Self::Completed),
            _ => None,
        }
    }
}

impl Window {
    pub fn phase(&self, now: Timestamp) -> Phase {
        match self {
            _ if self.ended_at.is_some() || now >= self.ends_at => Phase::Completed,
            _ if now >= self.starts_at => Phase::Active,
            _ => Phase::Upcoming,
        }
    }

    /// Whether its beginning was announced, and its end was not.
    pub fn is_under_way(&self) -> bool {
        self.started_at.is_some() && self.ended_at.is_none()
    }

    pub fn to_wire(&self, voice: &Voice, now: Timestamp) -> Maintenance {
        Maintenance {
            id: self.id,
            title: self.title.clone(),
            description: self.description.clone(),
            starts_at: self.starts_at,
            ends_at: self.ends_at,
            active: self.phase(now) == Phase::Active,
            incident_id: self.incident_id,
            components: self.components.clone(),
            created_at: self.created_at,
            updated_at: self.updated_at,
            url: Some(voice.maintenance_url(self.id)),
        }
    }
}

/// A window as a user describes it, anew or changed from `before`, with the components it concerns
/// where those are given. What is wrong is named.
pub fn parse(
    before: Option<&Window>,
    input: MaintenanceInput,
    now: Timestamp,
) -> Result<(Maintenance, Option<Vec<i64>>), Invalid> {
    let title = match (before, input.title) {
        (Some(before), None) => before.title.clone(),
        (_, given) => line("title", given, MOST_TITLE)?,
    };
    let description = match (before, input.description) {
        (Some(before), None) => before.description.clone(),
        (_, given) => text("description", given, MOST_MESSAGE)?,
    };
    let time = |field, given: Option<&str>, before: Option<Timestamp>| {
        moment(field, given)?.map(super::model::whole).or(before).ok_or_else(|| {
            Invalid(format!("{field} is missing; use RFC 3339 such as 2026-05-05T10:00:00Z"))
        })
    };
    let starts_at = time("starts_at", input.starts_at.as_deref(), before.map(|b| b.starts_at))?;
    let ends_at = time("ends_at", input.ends_at.as_deref(), before.map(|b| b.ends_at))?;
    if ends_at <= starts_at {
        let fault = format!("ends_at is {ends_at}, and starts_at {starts_at}; end after the start");
        return Err(Invalid(fault));
    }
    if ends_at <= now {
        let fault = format!("ends_at is {ends_at}, which has passed; it is {now:.0}");
        return Err(Invalid(fault));
    }
    let window = Maintenance {
        id: before.map_or(0, |before| before.id),
        title,
        description,
        starts_at,
        ends_at,
        active: false,
        incident_id: None,
        components: Vec::new(),
        created_at: before.map_or(now, |before| before.created_at),
        updated_at: now,
        url: None,
    };
    Ok((window, input.component_ids.map(ids).transpose()?))
}

/// What is to be done of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Start,
    End,
    /// Nobody was there while it lasted.
    Miss,
}

/// What is to be done now, and when something will be next.
pub fn step(window: &Window, now: Timestamp) -> (Option<Step>, Option<Timestamp>) {
    let Window { starts_at, ends_at, started_at, ended_at, .. } = window;
    match (started_at, ended_at) {
        (_, Some(_)) => (None, None),
        (None, _) if now >= *ends_at => (Some(Step::Miss), None),
        (None, _) if now >= *starts_at => (Some(Step::Start), Some(*ends_at)),
        (None, _) => (None, Some(*starts_at)),
        (Some(_), _) if now >= *ends_at => (Some(Step::End), None),
        (Some(_), _) => (None, Some(*ends_at)),
    }
}

/// Does it, and tells of it.
pub fn apply(
    tx: &Connection,
    window: &Window,
    step: Step,
    voice: &Voice,
    now: Timestamp,
) -> rusqlite::Result<Vec<Told>> {
    match step {
        Step::Miss => sql::maintenance::ended(tx, window.id, now).map(|()| Vec::new()),
        Step::Start => start(tx, window, voice, now),
        Step::End => end(tx, window, "The maintenance has ended.", voice, now),
    }
}

fn start(
    tx: &Connection,
    window: &Window,
    voice: &Voice,
    now: Timestamp,
) -> rusqlite::Result<Vec<Told>> {
    let new = New {
        title: format!("Scheduled Maintenance: {}", window.title),
        severity: IncidentSeverity::Minor,
        status: IncidentStatus::Identified,
        components: window.components.iter().map(|component| component.id).collect(),
        is_maintenance: true,
        auto: None,
    };
    let message = match window.description.as_str() {
        "" => "The maintenance has begun.",
        description => description,
    };
    let said = Said { status: new.status, message, is_auto: true, alert_id: None };
    let (incident, mut told) = incidents::open(tx, &new, Some(said), voice, now)?;
    sql::maintenance::started(tx, window.id, incident, now)?;
    told.extend(announced(window, "status.maintenance_started"));
    tracing::info!(id = window.id, "maintenance begins");
    Ok(told)
}

/// Ends a window, with these words on its incident unless that was resolved or deleted.
pub fn end(
    tx: &Connection,
    window: &Window,
    message: &str,
    voice: &Voice,
    now: Timestamp,
) -> rusqlite::Result<Vec<Told>> {
    let mut told = Vec::new();
    let incident = window.incident_id.map(|id| sql::incidents::find(tx, id)).transpose()?.flatten();
    if let Some(incident) = incident.filter(|incident| incident.resolved_at.is_none()) {
        let status = IncidentStatus::Resolved;
        let said = Said { status, message, is_auto: true, alert_id: None };
        told.extend(incidents::say(tx, incident.id, said, voice, now)?);
    }
    sql::maintenance::ended(tx, window.id, now)?;
    told.extend(announced(window, "status.maintenance_ended"));
    tracing::info!(id = window.id, "maintenance ends");
    Ok(told)
}

/// Ends the window whose incident this was, if it is under way: who says that it is over means both.
pub fn end_with(
    tx: &Connection,
    incident: &Incident,
    voice: &Voice,
    now: Timestamp,
) -> rusqlite::Result<Vec<Told>> {
    let window = incident.maintenance_window_id;
    let window = window.map(|id| sql::maintenance::find(tx, id)).transpose()?.flatten();
    match window.filter(Window::is_under_way) {
        Some(window) => end(tx, &window, "", voice, now),
        None => Ok(Vec::new()),
    }
}

fn announced(window: &Window, event: &'static str) -> Option<Told> {
    let names = window.public.as_ref()?;
    Some((event, json!({ "id": window.id, "title": window.title, "components": names })))
}
