//! The decision: which alerts open, change and end, from what is open, what is wrong now and what is
//! muted. Pure, under any clock.
//!
//! It is asked again and again with the same things and then changes nothing, so it does not matter
//! how often, or how late, it is asked: nothing has to be delivered to it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};
use maintenant_api::alerts::{Alert, AlertStatus, Severity};
use serde_json::{Map, Value, json};

use super::model::{Course, Ending, Key, OpenAlert, add_opening, hold_down, key_of, whole};
use super::mutes::Mute;
use crate::notify::outbox::Event;
use crate::signals::{Entity, Signal};

/// What explains may itself be explained, so often.
const MOST_HOPS: usize = 3;
/// What was explained has this long to end by itself after its explanation: a server that runs again
/// is found to answer only by the next check of it.
pub const GRACE: SignedDuration = SignedDuration::from_mins(1);
/// Affected entities named in an alert; all are counted.
const MOST_AFFECTED: usize = 20;
/// Keys of details that are the engine's.
const OWN_DETAILS: [&str; 7] = [
    "since",
    "flapping",
    "flaps",
    "acknowledged_before",
    "affected",
    "affected_count",
    "resolution",
];

/// What all sources found at one moment.
#[derive(Debug, Clone, Default)]
pub struct Found {
    pub signals: Vec<Signal>,
    /// By source: entities of which nothing is known at present.
    pub unknown: BTreeSet<(&'static str, Entity)>,
    /// Sources that could not be asked.
    pub failed: BTreeSet<&'static str>,
    /// Alerts of which it is known that nothing can recover, by id.
    pub gone: BTreeMap<i64, Ending>,
}

/// Signals that are or were explained and have no alert, and since when nothing explains them.
pub type Withheld = BTreeMap<Key<'static>, Option<Timestamp>>;

/// One alert that is not as it was.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Its id is 0 when it has just opened.
    pub after: OpenAlert,
    pub what: What,
    /// What somebody is told.
    pub tells: Option<Event>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    Opened,
    /// It became worse, or turned quiet, or is quiet no longer.
    Turned,
    /// Stored without a word.
    Noted,
    /// With the sentence that says so.
    Ended(Ending, String),
}

#[derive(Debug, Default)]
pub struct Decision {
    /// In the order in which they are told.
    pub changes: Vec<Change>,
    /// To be handed in the next time.
    pub withheld: Withheld,
    /// When time alone changes something.
    pub next: Option<Timestamp>,
}

/// Whether it is time for an alert. A clock that was set back must not put it off.
pub fn is_due(signal: &Signal, now: Timestamp) -> bool {
    signal.due <= now || signal.since > now + GRACE
}

/// What is taken to be withheld after a start: how long it was explained is not stored.
pub fn withheld_at_start(open: &[OpenAlert], found: &Found) -> Withheld {
    let open: HashSet<_> = open.iter().map(OpenAlert::key).collect();
    let explained = found.signals.iter().filter(|signal| signal.explained_by.is_some());
    explained.map(key_of).filter(|key| !open.contains(key)).map(|key| (key, None)).collect()
}

/// Whether its source finds at most one trouble of an entity at a time, so that another takes its
/// place.
fn is_exclusive(source: &str, alert_type: &str) -> bool {
    source != "resource" && (source, alert_type) != ("certificate", "unreachable")
}

/// Decides what changes at `now`.
pub fn decide(
    open: &[OpenAlert],
    found: &Found,
    mutes: &[Mute],
    withheld: &Withheld,
    now: Timestamp,
) -> Decision {
    let now = whole(now);
    let situation = Situation::new(open, found, mutes, now);
    let mut decision = Decision::default();
    let mut next = Next { now, at: None };
    for before in open {
        decision.changes.extend(situation.follow(before, &mut next));
    }
    let mut seen = HashSet::with_capacity(found.signals.len());
    for signal in &found.signals {
        let key = key_of(signal);
        if situation.open.contains(&key) || !seen.insert(key) {
            continue;
        }
        let explained = withheld.get(&key).copied();
        // A clock that was set back must not make it wait any longer.
        let free_since = explained.map(|since| since.unwrap_or(now)).filter(|since| *since <= now);
        if !situation.knows(key) {
            decision.withheld.extend(explained.map(|since| (key, since)));
        } else if situation.roots.contains_key(&key) {
            decision.withheld.insert(key, None);
        } else if let Some(since) = free_since.filter(|since| now < *since + GRACE) {
            decision.withheld.insert(key, Some(since));
            next.consider(since + GRACE);
        } else if !is_due(signal, now) {
            next.consider(signal.due);
        } else {
            decision.changes.push(situation.fire(signal));
        }
    }
    for mute in mutes {
        next.consider(mute.until);
    }
    decision.next = next.at;
    decision
}

struct Next {
    now: Timestamp,
    at: Option<Timestamp>,
}

impl Next {
    fn consider(&mut self, at: Timestamp) {
        if at > self.now && self.at.is_none_or(|next| at < next) {
            self.at = Some(at);
        }
    }
}

/// Everything about one moment, so arranged that each alert is decided for itself.
struct Situation<'a> {
    now: Timestamp,
    found: &'a Found,
    /// By source: kind and id of entities.
    unknown: HashSet<(&'a str, &'a str, i64)>,
    mutes: &'a [Mute],
    open: HashSet<Key<'a>>,
    signals: HashMap<Key<'a>, &'a Signal>,
    /// By source, kind and id: the trouble of an entity that has no other beside it.
    sole: HashMap<(&'a str, &'a str, i64), &'a Signal>,
    /// What explains a signal in the end.
    roots: HashMap<Key<'a>, Key<'a>>,
    /// What is explained by a trouble, due or not.
    affected: HashMap<Key<'a>, Vec<&'a Signal>>,
}

impl<'a> Situation<'a> {
    fn new(open: &'a [OpenAlert], found: &'a Found, mutes: &'a [Mute], now: Timestamp) -> Self {
        let open_keys: HashSet<_> = open.iter().map(OpenAlert::key).collect();
        let mut signals = HashMap::with_capacity(found.signals.len());
        let mut sole = HashMap::with_capacity(found.signals.len());
        for signal in &found.signals {
            signals.entry(key_of(signal)).or_insert(signal);
            if is_exclusive(signal.source, signal.alert_type) {
                let Signal { source, entity, .. } = signal;
                sole.entry((*source, entity.kind, entity.id)).or_insert(signal);
            }
        }
        let unknown = found.unknown.iter();
        let unknown = unknown.map(|(source, entity)| (*source, entity.kind, entity.id)).collect();
        let (roots, affected) = (HashMap::new(), HashMap::new());
        let mut situation =
            Self { now, found, unknown, mutes, open: open_keys, signals, sole, roots, affected };
        situation.explain(open);
        situation
    }

    /// Finds what explains what: troubles, and alerts of entities of which nothing is known. What is
    /// over explains nothing, also while its end is held back.
    fn explain(&mut self, open: &'a [OpenAlert]) {
        let explained = |signal: &&Signal| signal.explained_by.is_some();
        if !self.found.signals.iter().any(|signal| explained(&signal)) {
            return;
        }
        let is_lasting = |key: &Key<'_>| self.signals.contains_key(key) || !self.knows(*key);
        let lasting = open.iter().map(OpenAlert::key).filter(is_lasting).collect();
        let causes = Causes::new(&lasting, &self.signals);
        for signal in self.found.signals.iter().filter(explained) {
            if let Some(root) = causes.root(key_of(signal)) {
                self.roots.insert(key_of(signal), root);
                self.affected.entry(root).or_default().push(signal);
            }
        }
    }

    /// How an alert ends now, if it does, and when its trouble did.
    fn ending(&self, alert: &OpenAlert) -> Option<(Ending, Timestamp)> {
        if !self.knows(alert.key()) || self.signals.contains_key(&alert.key()) {
            return None;
        }
        let clear_since = alert.course.clear_since.unwrap_or(self.now);
        if let Some(ending) = self.found.gone.get(&alert.alert.id) {
            return Some((*ending, clear_since));
        }
        if let Some(other) = self.successor(alert) {
            let is_told = self.open.contains(&key_of(other)) || is_due(other, self.now);
            return is_told.then_some((Ending::Replaced(other.alert_type), clear_since));
        }
        // A clock that was set back must not hold it any longer.
        let is_held = self.now >= clear_since && self.now < self.held_until(alert);
        (!is_held).then_some((Ending::Recovered, clear_since))
    }

    /// Another trouble of its entity, which has not recovered then. Until that one is due, the alert
    /// goes on.
    fn successor(&self, alert: &OpenAlert) -> Option<&'a Signal> {
        let (source, alert_type, kind, id) = alert.key();
        self.sole.get(&(source, kind, id)).copied().filter(|_| is_exclusive(source, alert_type))
    }

    /// Until when an end is held back that would be now.
    fn held_until(&self, alert: &OpenAlert) -> Timestamp {
        let clear_since = alert.course.clear_since.unwrap_or(self.now);
        clear_since + hold_down(&alert.course.openings, clear_since)
    }

    /// Whether anything can be said about its entity.
    fn knows(&self, (source, _, kind, id): Key<'_>) -> bool {
        !self.found.failed.contains(source) && !self.unknown.contains(&(source, kind, id))
    }

    fn is_muted(&self, key: Key<'_>) -> bool {
        self.mutes.iter().any(|mute| mute.covers(key, self.now))
    }

    fn status(&self, key: Key<'_>) -> AlertStatus {
        if self.is_muted(key) { AlertStatus::Silenced } else { AlertStatus::Active }
    }

    /// Its own, or that of what it explains: an outage is no less severe for being told as one. What
    /// is muted makes it no worse.
    fn severity(&self, signal: &Signal) -> Severity {
        let affected = self.affected.get(&key_of(signal)).into_iter().flatten();
        let counts = |key| !self.open.contains(&key) && !self.is_muted(key);
        let untold = affected.filter(|affected| counts(key_of(affected)));
        untold.map(|affected| affected.severity).fold(signal.severity, Severity::max)
    }

    /// A new alert.
    fn fire(&self, signal: &Signal) -> Change {
        let now = self.now;
        let course = Course {
            since: whole(signal.since),
            channels: signal.channels.clone(),
            ..Course::default()
        };
        let alert = Alert {
            id: 0,
            source: signal.source.to_owned(),
            alert_type: signal.alert_type.to_owned(),
            severity: self.severity(signal),
            status: AlertStatus::Active,
            message: signal.message.clone(),
            entity_type: signal.entity.kind.to_owned(),
            entity_id: signal.entity.id,
            entity_name: signal.entity_name.clone(),
            details: String::new(),
            resolved_by_id: None,
            fired_at: now,
            resolved_at: None,
            acknowledged_at: None,
            acknowledged_by: None,
            escalated_at: None,
            created_at: Some(now),
        };
        let mut after = OpenAlert { alert, course };
        after.alert.status = self.status(after.key());
        after.course.is_told = after.alert.status == AlertStatus::Active;
        after.alert.details = self.details(&after, &signal.details);
        let tells = after.course.is_told.then_some(Event::Fired);
        Change { after, what: What::Opened, tells }
    }

    /// What becomes of an alert that is open.
    fn follow(&self, before: &OpenAlert, next: &mut Next) -> Option<Change> {
        let mut after = before.clone();
        if let Some((ending, at)) = self.ending(before) {
            return Some(self.end(after, ending, at));
        }
        let status = self.status(before.key());
        match self.signals.get(&before.key()) {
            Some(signal) if self.knows(before.key()) => self.lasts(&mut after, signal, status),
            // Nobody can be told that it lasts.
            _ if status == AlertStatus::Silenced => after.alert.status = status,
            _ => {}
        }
        let is_clear = !self.signals.contains_key(&before.key());
        let is_held = is_clear && self.knows(before.key()) && self.successor(before).is_none();
        if is_held {
            next.consider(self.held_until(before));
            after.course.clear_since = before.course.clear_since.or(Some(self.now));
            after.course.is_flapping = true;
            let details = serde_json::from_str(&after.alert.details).unwrap_or_default();
            after.alert.details = self.details(&after, &details);
        }
        if after == *before {
            return None;
        }
        let is_worse = after.alert.severity > before.alert.severity;
        let is_heard_again = before.alert.status != AlertStatus::Active;
        let is_news = is_worse || (is_heard_again && after.alert.acknowledged_at.is_none());
        let tells = after.alert.status == AlertStatus::Active && is_news;
        after.course.is_told |= tells;
        let is_turned = is_worse || after.alert.status != before.alert.status;
        let what = if is_turned { What::Turned } else { What::Noted };
        Some(Change { after, what, tells: tells.then_some(Event::Fired) })
    }

    /// The trouble is still there.
    fn lasts(&self, after: &mut OpenAlert, signal: &Signal, status: AlertStatus) {
        let OpenAlert { alert, course } = after;
        if course.clear_since.take().is_some() {
            course.flaps += 1;
            course.openings = add_opening(&course.openings, self.now);
        }
        let severity = self.severity(signal);
        if severity > alert.severity {
            alert.severity = severity;
            alert.escalated_at = Some(self.now);
            let by = alert.acknowledged_by.take();
            if let Some(acknowledged) = by.zip(alert.acknowledged_at.take()) {
                course.acknowledged_before = Some(acknowledged);
            }
        }
        if !course.is_told {
            course.channels.clone_from(&signal.channels);
        }
        course.since = course.since.min(whole(signal.since));
        alert.status = status;
        alert.message.clone_from(&signal.message);
        alert.entity_name.clone_from(&signal.entity_name);
        after.alert.details = self.details(after, &signal.details);
    }

    fn end(&self, mut after: OpenAlert, ending: Ending, at: Timestamp) -> Change {
        let lasted = at.min(self.now).duration_since(after.course.since);
        let sentence = ending.sentence(&after.alert, lasted);
        after.alert.status = AlertStatus::Resolved;
        after.alert.resolved_at = Some(self.now.max(after.alert.fired_at));
        let mut details: Map<String, Value> =
            serde_json::from_str(&after.alert.details).unwrap_or_default();
        details.insert("resolution".into(), sentence.clone().into());
        after.alert.details = Value::Object(details).to_string();
        let tells = after.course.is_told.then_some(Event::Resolved);
        Change { after, what: What::Ended(ending, sentence), tells }
    }

    /// What the source says, and what the engine knows besides, always in the same order.
    fn details(&self, alert: &OpenAlert, of_source: &Map<String, Value>) -> String {
        let course = &alert.course;
        let mut details = of_source.clone();
        details.retain(|name, _| !OWN_DETAILS.contains(&name.as_str()));
        details.insert("since".into(), json!(course.since));
        if course.is_flapping {
            details.insert("flapping".into(), true.into());
            details.insert("flaps".into(), course.flaps.into());
        }
        if let Some((by, at)) = &course.acknowledged_before {
            details.insert("acknowledged_before".into(), json!({ "by": by, "at": at }));
        }
        if let Some(affected) = self.affected.get(&alert.key()) {
            let named = affected.iter().take(MOST_AFFECTED).map(|signal| {
                json!({
                    "entity_type": signal.entity.kind,
                    "entity_id": signal.entity.id,
                    "name": signal.entity_name,
                    "alert_type": signal.alert_type,
                    "since": whole(signal.since),
                })
            });
            details.insert("affected".into(), named.collect());
            details.insert("affected_count".into(), affected.len().into());
        }
        Value::Object(details).to_string()
    }
}

/// What explains what.
struct Causes<'s, 'a> {
    signals: &'s HashMap<Key<'a>, &'a Signal>,
    /// What is wrong with an entity that explains something, what explains best first.
    at: HashMap<(&'a str, i64), Vec<Key<'a>>>,
}

impl<'s, 'a> Causes<'s, 'a> {
    fn new(lasting: &HashSet<Key<'a>>, signals: &'s HashMap<Key<'a>, &'a Signal>) -> Self {
        let explaining = signals.values().filter_map(|signal| signal.explained_by.as_ref());
        let mut at: HashMap<_, Vec<Key<'a>>> =
            explaining.map(|entity| ((entity.kind, entity.id), Vec::new())).collect();
        // Also what is open without a signal: its end is not known, or held back.
        let open_alone = lasting.iter().filter(|key| !signals.contains_key(key));
        for key @ (source, _, kind, id) in signals.keys().chain(open_alone).copied() {
            // Only who watches the entity itself knows that it fails: that its processor is busy, or
            // that there is an update of it, explains nothing.
            if let Some(keys) = at.get_mut(&(kind, id)).filter(|_| source == kind) {
                keys.push(key);
            }
        }
        let rank = |key: &Key<'a>| {
            let severity = signals.get(key).map(|signal| signal.severity);
            (Reverse((lasting.contains(key), severity)), *key)
        };
        for keys in at.values_mut() {
            keys.sort_by_key(rank);
        }
        Self { signals, at }
    }

    fn cause(&self, key: Key<'a>) -> Option<Key<'a>> {
        let entity = self.signals.get(&key)?.explained_by.as_ref()?;
        let there = self.at.get(&(entity.kind, entity.id))?;
        there.iter().copied().find(|other| *other != key)
    }

    /// What explains a signal in the end. Of a circle the first explains the others. A chain that is
    /// too long explains nothing: better one alert too many than none.
    fn root(&self, of: Key<'a>) -> Option<Key<'a>> {
        let mut path = vec![of];
        let mut last = of;
        let root = loop {
            let Some(cause) = self.cause(last) else { break last };
            if let Some(start) = path.iter().position(|key| *key == cause) {
                break path.iter().skip(start).copied().min()?;
            }
            if path.len() > MOST_HOPS {
                return None;
            }
            path.push(cause);
            last = cause;
        };
        (root != of).then_some(root)
    }
}
