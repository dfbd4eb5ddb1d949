//! All that the public sees, at one moment.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use maintenant_api::status::{
    ComponentStatus, Incident, PublicComponent, PublicIncident, PublicMaintenance, PublicStatus,
    PublicUpdate,
};
use rusqlite::Connection;

use super::components::{Standing, standings};
use super::maintenance::{Phase, Window};
use super::model::{DAYS, Day, day, summary, window_ms};
use super::monitors::Watched;
use super::sql;
use crate::uptime::Uptime;

/// Windows to come that are shown.
const MOST_UPCOMING: i64 = 20;
/// Past incidents that are shown and are in the feed, and for how many days.
pub const MOST_PAST: i64 = 30;
pub const PAST_DAYS: i64 = 30;
const PAST: SignedDuration = SignedDuration::from_hours(24 * PAST_DAYS);

/// A component as the public sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Shown {
    pub id: i64,
    pub name: String,
    pub status: ComponentStatus,
    /// The last [`DAYS`] days, oldest first.
    pub days: Vec<Day>,
    pub uptime: Uptime,
}

/// What the page is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Overview {
    pub now: Timestamp,
    pub status: ComponentStatus,
    pub message: &'static str,
    pub components: Vec<Shown>,
    /// Open ones, newest first.
    pub incidents: Vec<Incident>,
    /// Windows under way.
    pub maintenance: Vec<Window>,
    /// Windows to come, the next first.
    pub upcoming: Vec<Window>,
    /// Resolved of late, newest first.
    pub past: Vec<Incident>,
}

/// Reads what the public sees now.
pub fn read(db: &Connection, watched: &dyn Watched, now: Timestamp) -> rusqlite::Result<Overview> {
    let standings = standings(db, watched, now)?;
    let public = standings.iter().filter(|standing| standing.is_public());
    let mut days = sql::days::since(db, day(now) - DAYS + 1)?;
    let components: Vec<_> = public.map(|standing| shown(standing, &mut days, now)).collect();
    let (status, message) = summary(components.iter().map(|component| component.status));
    let since = now.saturating_sub(PAST).unwrap_or(Timestamp::MIN);
    Ok(Overview {
        now,
        status,
        message,
        components,
        incidents: sql::incidents::open_public(db)?,
        maintenance: sql::maintenance::list(db, Some(Phase::Active), 100, now)?,
        upcoming: sql::maintenance::upcoming_public(db, MOST_UPCOMING, now)?,
        past: sql::incidents::resolved_public(db, since, MOST_PAST)?,
    })
}

fn shown(standing: &Standing, all: &mut HashMap<i64, Vec<(i64, Day)>>, now: Timestamp) -> Shown {
    let component = &standing.component;
    let first = day(now) - DAYS + 1;
    let mut days = vec![Day::default(); usize::try_from(DAYS).unwrap_or_default()];
    let mut sum = Day::default();
    for (day, known) in all.remove(&component.id).unwrap_or_default() {
        let place = usize::try_from(day - first).ok().and_then(|place| days.get_mut(place));
        if let Some(place) = place {
            *place = known;
            sum.merge(known);
        }
    }
    Shown {
        id: component.id,
        name: component.display_name.clone(),
        status: standing.effective,
        days,
        uptime: sum.uptime(window_ms(now)),
    }
}

impl Overview {
    pub fn to_wire(&self) -> PublicStatus {
        let components = self.components.iter().map(|component| PublicComponent {
            id: component.id,
            name: component.name.clone(),
            status: component.status,
            uptime_percent: component.uptime.percent,
            coverage_percent: component.uptime.coverage,
        });
        let incidents = self.incidents.iter().map(|incident| PublicIncident {
            id: incident.id,
            title: incident.title.clone(),
            severity: incident.severity,
            status: incident.status,
            components: incident.components.iter().map(|one| one.name.clone()).collect(),
            created_at: incident.created_at,
            latest_update: incident.updates.first().map(|update| PublicUpdate {
                status: update.status,
                message: update.message.clone(),
                created_at: update.created_at,
            }),
        });
        let upcoming = self.upcoming.iter().map(|window| PublicMaintenance {
            id: window.id,
            title: window.title.clone(),
            starts_at: window.starts_at,
            ends_at: window.ends_at,
            components: window.public.clone().unwrap_or_default(),
        });
        PublicStatus {
            global_status: self.status,
            global_message: self.message.to_owned(),
            updated_at: self.now,
            components: components.collect(),
            active_incidents: incidents.collect(),
            upcoming_maintenance: upcoming.collect(),
        }
    }
}
