//! What a status follows from, and what a day comes to. Pure.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use maintenant_api::alerts::Severity;
use maintenant_api::status::{ComponentStatus, IncidentSeverity};

use crate::uptime::Uptime;

/// Days on the page.
pub const DAYS: i64 = 90;
pub const DAY_MS: i64 = 86_400_000;
/// A longer silence of the watch is unknown time: the machine slept, or its clock was set.
const LONGEST_STEP: SignedDuration = SignedDuration::from_mins(2);
/// Trouble that is shorter does not colour a day.
const NOTICED_MS: i64 = 60_000;

/// A monitor's status by its state and the worst of its alerts: an alert makes it degraded at least,
/// and what is merely worth knowing does not count.
pub fn with_alarm(status: ComponentStatus, alarm: Option<Severity>) -> ComponentStatus {
    use ComponentStatus::{Degraded, Operational, Unknown};
    match (status, alarm) {
        (Operational | Unknown, Some(Severity::Warning | Severity::Critical)) => Degraded,
        _ => status,
    }
}

/// The status of a component by those of its monitors: all out is a major outage, some out a partial
/// one. Monitors of which nothing is known do not count, and without any other nothing is known.
pub fn derive(monitors: impl IntoIterator<Item = ComponentStatus>) -> ComponentStatus {
    use ComponentStatus::{Degraded, MajorOutage, Operational, PartialOutage, Unknown};
    let (mut known, mut out, mut partial, mut degraded) = (0, 0, false, false);
    for status in monitors.into_iter().filter(|status| *status != Unknown) {
        known += 1;
        out += usize::from(status == MajorOutage);
        partial |= status == PartialOutage;
        degraded |= status != Operational;
    }
    match (known, out) {
        (0, _) => Unknown,
        (known, out) if known == out => MajorOutage,
        (_, 1..) => PartialOutage,
        _ if partial => PartialOutage,
        _ if degraded => Degraded,
        _ => Operational,
    }
}

/// What is shown of a component: a maintenance window while it lasts, else what a user set, else what
/// its monitors say.
pub fn effective(
    derived: ComponentStatus,
    set: Option<ComponentStatus>,
    is_maintained: bool,
) -> ComponentStatus {
    if is_maintained { ComponentStatus::UnderMaintenance } else { set.unwrap_or(derived) }
}

/// How urgent a status is on the page as a whole: major outage before maintenance, before partial
/// outage, before degraded.
pub fn urgency(status: ComponentStatus) -> u8 {
    match status {
        ComponentStatus::Unknown => 0,
        ComponentStatus::Operational => 1,
        ComponentStatus::Degraded => 2,
        ComponentStatus::PartialOutage => 3,
        ComponentStatus::UnderMaintenance => 4,
        ComponentStatus::MajorOutage => 5,
    }
}

/// The status of the page: that of its worst component.
pub fn global(components: impl IntoIterator<Item = ComponentStatus>) -> ComponentStatus {
    components.into_iter().max_by_key(|status| urgency(*status)).unwrap_or_default()
}

/// The page in one sentence.
pub fn message(global: ComponentStatus, unknown: usize) -> &'static str {
    match (global, unknown) {
        (ComponentStatus::Operational, 0) => "All systems operational",
        (ComponentStatus::Operational, _) => {
            "All systems of which something is known are operational"
        }
        (ComponentStatus::Degraded, _) => "Some systems are degraded",
        (ComponentStatus::PartialOutage, _) => "Some systems are partly out of service",
        (ComponentStatus::MajorOutage, _) => "Some systems are out of service",
        (ComponentStatus::UnderMaintenance, _) => "Maintenance is under way",
        (ComponentStatus::Unknown, _) => "Nothing is known at present",
    }
}

/// The severity of an incident that alerts open, by the status they make.
pub fn severity(derived: ComponentStatus) -> IncidentSeverity {
    match derived {
        ComponentStatus::MajorOutage => IncidentSeverity::Critical,
        ComponentStatus::PartialOutage => IncidentSeverity::Major,
        _ => IncidentSeverity::Minor,
    }
}

/// Milliseconds of one day in each status; the rest of it is unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Day {
    pub operational: i64,
    pub degraded: i64,
    pub partial_outage: i64,
    pub major_outage: i64,
    pub under_maintenance: i64,
}

impl Day {
    pub fn add(&mut self, status: ComponentStatus, ms: i64) {
        match status {
            ComponentStatus::Operational => self.operational += ms,
            ComponentStatus::Degraded => self.degraded += ms,
            ComponentStatus::PartialOutage => self.partial_outage += ms,
            ComponentStatus::MajorOutage => self.major_outage += ms,
            ComponentStatus::UnderMaintenance => self.under_maintenance += ms,
            ComponentStatus::Unknown => {}
        }
    }

    pub fn merge(&mut self, other: Self) {
        self.operational += other.operational;
        self.degraded += other.degraded;
        self.partial_outage += other.partial_outage;
        self.major_outage += other.major_outage;
        self.under_maintenance += other.under_maintenance;
    }

    /// Share of the known time without an outage, maintenance counting neither way, and share of the
    /// window that is known, maintenance included.
    pub fn uptime(self, window_ms: i64) -> Uptime {
        let up = self.operational + self.degraded;
        let known = up + self.partial_outage + self.major_outage;
        let seen = (known + self.under_maintenance).min(window_ms);
        Uptime {
            coverage: Uptime::of(0, seen.into(), window_ms.into()).coverage,
            ..Uptime::of(up.into(), known.into(), window_ms.into())
        }
    }

    /// The colour of a day: the worst that lasted a minute. An outage of everything is a major one
    /// only if it took a twentieth of the known time, else a day with two bad minutes would look lost.
    pub fn shade(self) -> ComponentStatus {
        let out = self.partial_outage + self.major_outage;
        let known = self.operational + self.degraded + out;
        match self {
            _ if known + self.under_maintenance == 0 => ComponentStatus::Unknown,
            _ if self.major_outage >= NOTICED_MS && self.major_outage * 20 >= known => {
                ComponentStatus::MajorOutage
            }
            _ if out >= NOTICED_MS => ComponentStatus::PartialOutage,
            _ if self.degraded >= NOTICED_MS => ComponentStatus::Degraded,
            _ if self.under_maintenance >= NOTICED_MS => ComponentStatus::UnderMaintenance,
            _ if out > 0 || self.degraded > 0 || self.operational > 0 => {
                ComponentStatus::Operational
            }
            _ => ComponentStatus::UnderMaintenance,
        }
    }
}

/// An instant as it is stored: whole milliseconds.
pub fn whole(at: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at)
}

/// The day of an instant, counted from 1970-01-01 in UTC.
pub fn day(at: Timestamp) -> i64 {
    at.as_millisecond().div_euclid(DAY_MS)
}

/// Milliseconds of the last [`DAYS`] days, of today up to `now`.
pub fn window_ms(now: Timestamp) -> i64 {
    now.as_millisecond() - (day(now) - DAYS + 1) * DAY_MS
}

/// How a span of time falls on days. Empty where time ran back, or too far ahead to tell what was.
pub fn split(from: Timestamp, to: Timestamp) -> Vec<(i64, i64)> {
    if to <= from || to.duration_since(from) > LONGEST_STEP {
        return Vec::new();
    }
    let (mut at, end) = (from.as_millisecond(), to.as_millisecond());
    let mut parts = Vec::new();
    while at < end {
        let day = at.div_euclid(DAY_MS);
        let until = end.min((day + 1) * DAY_MS);
        parts.push((day, until - at));
        at = until;
    }
    parts
}

/// The past of a component that is made now, from that of its monitors: the mean of them, and an
/// outage of a single monitor is that of all.
pub fn seed(pasts: &[Vec<super::monitors::PastDay>]) -> BTreeMap<i64, Day> {
    let count = i64::try_from(pasts.len()).unwrap_or(i64::MAX).max(1);
    let mut sums: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
    for past in pasts.iter().flatten() {
        let sum = sums.entry(past.day).or_default();
        sum.0 += past.up_ms;
        sum.1 += past.down_ms;
    }
    let one = |(day, (up, down)): (i64, (i64, i64))| {
        let mut known = Day { operational: up / count, ..Day::default() };
        let outage =
            if count == 1 { ComponentStatus::MajorOutage } else { ComponentStatus::PartialOutage };
        known.add(outage, down / count);
        (day, known)
    };
    sums.into_iter().map(one).collect()
}
