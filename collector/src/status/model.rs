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

/// A monitor's status by its state and the worst of its alerts: an alert makes one that seems well
/// degraded, and what is merely worth knowing does not count. Of what is not heard any more nothing is
/// known, whatever was wrong before.
pub fn with_alarm(status: ComponentStatus, alarm: Option<Severity>) -> ComponentStatus {
    use ComponentStatus::{Degraded, Operational};
    match (status, alarm) {
        (Operational, Some(Severity::Warning | Severity::Critical)) => Degraded,
        _ => status,
    }
}

/// The status of a component by those of its monitors: all out is a major outage, some out a partial
/// one. Monitors of which nothing is known do not count, and without any other nothing is known. `None`
/// is one that is gone: the others do not tell that all is well.
pub fn derive(monitors: impl IntoIterator<Item = Option<ComponentStatus>>) -> ComponentStatus {
    use ComponentStatus::{Degraded, MajorOutage, Operational, PartialOutage, Unknown};
    let (mut known, mut out, mut partial, mut degraded, mut gone) = (0, 0, false, false, false);
    for status in monitors {
        gone |= status.is_none();
        let Some(status) = status.filter(|status| *status != Unknown) else { continue };
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
        _ if gone => Unknown,
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

/// The status of the page, and it in one sentence: that of its worst component. That all is well is
/// not said while nothing is known of more than half of them.
pub fn summary(
    components: impl IntoIterator<Item = ComponentStatus>,
) -> (ComponentStatus, &'static str) {
    use ComponentStatus::{
        Degraded, MajorOutage, Operational, PartialOutage, UnderMaintenance, Unknown,
    };
    let (mut all, mut unknown, mut worst) = (0, 0, Unknown);
    for status in components {
        all += 1;
        unknown += usize::from(status == Unknown);
        worst = std::cmp::max_by_key(worst, status, |status| urgency(*status));
    }
    let message = match worst {
        Operational if unknown == 0 => "All systems operational",
        Operational if unknown * 2 > all => {
            return (Unknown, "Of most systems nothing is known at present");
        }
        Operational => "All systems of which something is known are operational",
        Degraded => "Some systems are degraded",
        PartialOutage => "Some systems are partly out of service",
        MajorOutage => "Some systems are out of service",
        UnderMaintenance => "Maintenance is under way",
        Unknown => "Nothing is known at present",
    };
    (worst, message)
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

    /// Time of which something is known, maintenance included.
    pub fn known(self) -> i64 {
        self.operational
            + self.degraded
            + self.partial_outage
            + self.major_outage
            + self.under_maintenance
    }

    /// The colour of a day: the worst that lasted a minute, or all there was. An outage of everything
    /// is a major one only if it took a twentieth of the known time, else a day with two bad minutes
    /// would look lost.
    pub fn shade(self) -> ComponentStatus {
        let out = self.partial_outage + self.major_outage;
        let known = self.known() - self.under_maintenance;
        let noticed = if out == known { 1 } else { NOTICED_MS };
        match self {
            _ if self.known() == 0 => ComponentStatus::Unknown,
            _ if self.major_outage >= noticed && self.major_outage * 20 >= known => {
                ComponentStatus::MajorOutage
            }
            _ if out >= noticed => ComponentStatus::PartialOutage,
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

/// The past of a component that is made now, from that of its monitors: each day the mean of those of
/// which something is known, and an outage of the only one is that of all.
pub fn seed(pasts: &[Vec<super::monitors::PastDay>]) -> BTreeMap<i64, Day> {
    let mut sums: BTreeMap<i64, (i64, i64, i64)> = BTreeMap::new();
    for past in pasts.iter().flatten().filter(|past| past.up_ms + past.down_ms > 0) {
        let sum = sums.entry(past.day).or_default();
        sum.0 += past.up_ms;
        sum.1 += past.down_ms;
        sum.2 += 1;
    }
    let one = |(day, (up, down, count)): (i64, (i64, i64, i64))| {
        let mut known = Day { operational: up / count, ..Day::default() };
        let outage =
            if count == 1 { ComponentStatus::MajorOutage } else { ComponentStatus::PartialOutage };
        known.add(outage, down / count);
        (day, known)
    };
    sums.into_iter().map(one).collect()
}
