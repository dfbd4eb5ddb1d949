//! Components: what is declared of them, and how they fare at a moment.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use maintenant_api::alerts::Severity;
use maintenant_api::status::{
    Component as Wire, ComponentInput, ComponentStatus, CompositionMode, MonitorInput, MonitorRef,
};
use maintenant_serve::logging::foreign;
use rusqlite::Connection;

use super::input::{Invalid, line};
use super::model::{derive, effective, with_alarm};
use super::monitors::{Alarm, Kind, Monitor, Ref, Watched};
use super::sql;

/// Monitors of one component.
const MOST_MONITORS: usize = 200;
const MOST_NAME: usize = 100;

/// A component. Stored as one row and one for each monitor it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Component {
    pub id: i64,
    pub composition: Composition,
    pub display_name: String,
    pub display_order: i64,
    pub visible: bool,
    pub auto_incident: bool,
    /// What a user set instead of what its monitors say.
    pub set: Option<ComponentStatus>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// What a component is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Composition {
    Explicit(Vec<Ref>),
    /// All monitors of one type.
    MatchAll(Kind),
}

impl Component {
    /// A new component, not stored yet. What is wrong is named with what is accepted.
    pub fn parse(input: ComponentInput, now: Timestamp) -> Result<Self, Invalid> {
        let given = input.composition_mode.as_deref().filter(|mode| !mode.is_empty());
        let mode = given.map_or(Some(CompositionMode::Explicit), CompositionMode::parse);
        let kind = input.match_all_type.as_deref().filter(|kind| !kind.is_empty());
        let composition = match (mode, kind) {
            (None, _) => {
                let given = foreign(given.unwrap_or_default());
                let fault = format!("composition_mode is `{given}`; use explicit or match-all");
                return Err(Invalid(fault));
            }
            (Some(CompositionMode::Explicit), Some(_)) => {
                return Err(Invalid("match_all_type is for composition_mode match-all".into()));
            }
            (Some(CompositionMode::Explicit), None) => {
                Composition::Explicit(monitors(&input.monitors.unwrap_or_default())?)
            }
            (Some(CompositionMode::MatchAll), _)
                if input.monitors.is_some_and(|m| !m.is_empty()) =>
            {
                return Err(Invalid("monitors are for composition_mode explicit".into()));
            }
            (Some(CompositionMode::MatchAll), kind) => {
                Composition::MatchAll(parse_kind("match_all_type", kind.unwrap_or_default())?)
            }
        };
        Ok(Self {
            id: 0,
            composition,
            display_name: line("display_name", input.display_name, MOST_NAME)?,
            display_order: input.display_order.unwrap_or_default(),
            visible: input.visible.unwrap_or(true),
            auto_incident: input.auto_incident.unwrap_or_default(),
            set: input.status_override.as_deref().map_or(Ok(None), parse_override)?,
            created_at: now,
            updated_at: now,
        })
    }

    /// With what is given changed; what it is composed of in principle stays.
    pub fn edit(mut self, input: ComponentInput, now: Timestamp) -> Result<Self, Invalid> {
        let mode = match self.composition {
            Composition::Explicit(_) => CompositionMode::Explicit,
            Composition::MatchAll(_) => CompositionMode::MatchAll,
        };
        let is_other = |given: Option<&str>, now: &str| {
            given.is_some_and(|given| !given.is_empty() && given != now)
        };
        let kind = match self.composition {
            Composition::MatchAll(kind) => kind.as_str(),
            Composition::Explicit(_) => "",
        };
        if is_other(input.composition_mode.as_deref(), mode.as_str())
            || is_other(input.match_all_type.as_deref(), kind)
        {
            let fault =
                "composition_mode and match_all_type cannot be changed; make another component";
            return Err(Invalid(fault.into()));
        }
        match (&mut self.composition, input.monitors) {
            (_, None) => {}
            (Composition::Explicit(named), Some(given)) => *named = monitors(&given)?,
            (Composition::MatchAll(_), Some(given)) if given.is_empty() => {}
            (Composition::MatchAll(_), Some(_)) => {
                return Err(Invalid("monitors are for composition_mode explicit".into()));
            }
        }
        if input.display_name.is_some() {
            self.display_name = line("display_name", input.display_name, MOST_NAME)?;
        }
        if let Some(given) = input.status_override {
            self.set = parse_override(&given)?;
        }
        self.display_order = input.display_order.unwrap_or(self.display_order);
        self.visible = input.visible.unwrap_or(self.visible);
        self.auto_incident = input.auto_incident.unwrap_or(self.auto_incident);
        self.updated_at = now;
        Ok(self)
    }
}

fn monitors(given: &[MonitorInput]) -> Result<Vec<Ref>, Invalid> {
    let one = |given: &MonitorInput| {
        Ok((parse_kind("type of a monitor", &given.monitor_type)?, given.id))
    };
    let all = given.iter().map(one).collect::<Result<BTreeSet<_>, _>>()?;
    match all.len() {
        0 => {
            Err(Invalid("monitors: name at least one, as {\"type\":\"endpoint\",\"id\":1}".into()))
        }
        count if count > MOST_MONITORS => {
            Err(Invalid(format!("monitors: {count} are too many; name at most {MOST_MONITORS}")))
        }
        _ => Ok(all.into_iter().collect()),
    }
}

fn parse_kind(field: &str, given: &str) -> Result<Kind, Invalid> {
    Kind::parse(given).ok_or_else(|| {
        let given = foreign(given);
        Invalid(format!("{field} is `{given}`; use container, endpoint, heartbeat or certificate"))
    })
}

fn parse_override(given: &str) -> Result<Option<ComponentStatus>, Invalid> {
    if given.is_empty() {
        return Ok(None);
    }
    ComponentStatus::parse(given).map(Some).ok_or_else(|| {
        let words = ComponentStatus::ALL.map(ComponentStatus::as_str).join(", ");
        Invalid(format!("status_override is `{}`; use {words}, or \"\" for none", foreign(given)))
    })
}

/// A component at a moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    pub component: Component,
    /// Those it names, or all of its type; `None` is not there any more.
    pub monitors: Vec<(Ref, Option<Monitor>)>,
    pub derived: ComponentStatus,
    pub effective: ComponentStatus,
    pub is_maintained: bool,
    /// What is wrong with its monitors, by alert.
    pub alarms: Vec<Alarm>,
    /// Alerts that were told in incidents.
    pub told: BTreeSet<i64>,
}

impl Standing {
    /// Whether the public sees it: nothing can be said of one without monitors.
    pub fn is_public(&self) -> bool {
        let is_of_nothing =
            matches!(&self.component.composition, Composition::Explicit(named) if named.is_empty());
        self.component.visible && !is_of_nothing
    }

    pub fn to_wire(&self) -> Wire {
        let Component { composition, .. } = &self.component;
        let named = match composition {
            Composition::Explicit(_) => self.monitors.as_slice(),
            Composition::MatchAll(_) => &[],
        };
        let is_gone = named.iter().any(|(_, monitor)| monitor.is_none());
        let is_set_otherwise = self.component.set.is_some_and(|set| set != self.derived);
        let monitor = |((kind, id), monitor): &(Ref, Option<Monitor>)| MonitorRef {
            monitor_type: kind.as_str().to_owned(),
            id: *id,
            name: monitor.as_ref().map(|monitor| monitor.name.clone()),
            status: monitor.as_ref().map(|monitor| monitor.status),
        };
        Wire {
            id: self.component.id,
            composition_mode: match composition {
                Composition::Explicit(_) => CompositionMode::Explicit,
                Composition::MatchAll(_) => CompositionMode::MatchAll,
            },
            monitors: named.iter().map(monitor).collect(),
            match_all_type: match composition {
                Composition::Explicit(_) => None,
                Composition::MatchAll(kind) => Some(kind.as_str().to_owned()),
            },
            display_name: self.component.display_name.clone(),
            display_order: self.component.display_order,
            visible: self.component.visible,
            derived_status: Some(self.derived),
            status_override: self.component.set,
            effective_status: Some(self.effective),
            auto_incident: self.component.auto_incident,
            needs_attention: (is_gone || is_set_otherwise).then_some(true),
            created_at: self.component.created_at,
            updated_at: self.component.updated_at,
        }
    }
}

/// How all components fare now. Only those types of monitors are read that a component is made of.
pub fn standings(
    db: &Connection,
    watched: &dyn Watched,
    now: Timestamp,
) -> rusqlite::Result<Vec<Standing>> {
    let components = sql::components::list(db)?;
    let kinds: BTreeSet<Kind> = components
        .iter()
        .flat_map(|component| match &component.composition {
            Composition::Explicit(named) => named.iter().map(|(kind, _)| *kind).collect(),
            Composition::MatchAll(kind) => vec![*kind],
        })
        .collect();
    let mut known: HashMap<Ref, Monitor> = HashMap::new();
    let mut of_kind: BTreeMap<Kind, Vec<Ref>> = BTreeMap::new();
    for kind in kinds {
        for monitor in watched.monitors(db, kind)? {
            of_kind.entry(kind).or_default().push((kind, monitor.id));
            known.insert((kind, monitor.id), monitor);
        }
    }
    let mut alarms: HashMap<Ref, Vec<Alarm>> = HashMap::new();
    if !known.is_empty() {
        let affecting = watched.alarms(db)?.into_iter();
        for alarm in affecting.filter(|alarm| alarm.severity > Severity::Info) {
            alarms.entry(alarm.of).or_default().push(alarm);
        }
    }
    for (of, monitor) in &mut known {
        let worst = alarms.get(of).and_then(|of| of.iter().map(|alarm| alarm.severity).max());
        monitor.status = with_alarm(monitor.status, worst);
    }
    let maintained = sql::maintenance::maintained(db, now)?;
    let mut told = sql::components::told(db)?;
    let standing = |component: Component| {
        let named = match &component.composition {
            Composition::Explicit(named) => named.as_slice(),
            Composition::MatchAll(kind) => of_kind.get(kind).map(Vec::as_slice).unwrap_or_default(),
        };
        let monitors: Vec<_> = named.iter().map(|of| (*of, known.get(of).cloned())).collect();
        let statuses = monitors.iter().map(|(_, monitor)| monitor.as_ref().map(|one| one.status));
        let derived = derive(statuses);
        let is_maintained = maintained.contains(&component.id);
        let wrong = named.iter().filter_map(|of| alarms.get(of)).flatten().cloned();
        Standing {
            alarms: wrong.collect(),
            told: told.remove(&component.id).unwrap_or_default(),
            effective: effective(derived, component.set, is_maintained),
            component,
            monitors,
            derived,
            is_maintained,
        }
    };
    Ok(components.into_iter().map(standing).collect())
}
