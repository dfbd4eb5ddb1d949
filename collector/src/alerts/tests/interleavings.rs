//! Everything that can happen to an alert and to what explains it, in every order. What comes to the
//! same is followed once, and counted as often as it is reached.

use std::collections::{BTreeMap, HashMap};

use jiff::{SignedDuration, Timestamp};
use maintenant_api::alerts::{AlertStatus, Severity};

use super::super::engine::{Decision, Found, What, Withheld, decide, withheld_at_start};
use super::super::model::{Ending, Key, OpenAlert, add_opening, key_of};
use super::super::mutes::Mute;
use super::{CONTAINER, ENDPOINT, at, signal};
use crate::notify::outbox::Event;
use crate::signals::Signal;

/// Steps of one interleaving.
const DEPTH: usize = 7;
const SHORT: i64 = 20;
const LONG: i64 = 31 * 60;
const SILENCE: i64 = 20 * 60;

#[derive(Debug, Clone, Copy)]
enum Action {
    /// The endpoint fails, or no longer.
    Trouble,
    Worse,
    /// Its container is down, or no longer; it is due after a while.
    Explanation,
    Acknowledge,
    /// All is silenced, or no longer.
    Silence,
    Unknown,
    Remove,
    Restart,
    Pass(i64),
}

const ACTIONS: [Action; 11] = [
    Action::Trouble,
    Action::Worse,
    Action::Explanation,
    Action::Acknowledge,
    Action::Silence,
    Action::Unknown,
    Action::Remove,
    Action::Restart,
    Action::Pass(SHORT),
    Action::Pass(LONG),
    Action::Pass(-5 * 60),
];

#[derive(Debug, Clone)]
struct World {
    now: Timestamp,
    trouble: Option<(Severity, Timestamp)>,
    explanation: Option<Timestamp>,
    silence: Option<Timestamp>,
    is_unknown: bool,
    is_removed: bool,
    open: Vec<OpenAlert>,
    /// Openings of alerts that ended, by whether it is that of the endpoint.
    openings: [Vec<Timestamp>; 2],
    withheld: Withheld,
    /// Somebody was told, and not yet of the end.
    is_told: [bool; 2],
    ids: i64,
}

fn place(key: Key<'_>) -> usize {
    usize::from(key.2 == ENDPOINT.kind)
}

impl World {
    fn new() -> Self {
        Self {
            now: at(0),
            trouble: None,
            explanation: None,
            silence: None,
            is_unknown: false,
            is_removed: false,
            open: Vec::new(),
            openings: [Vec::new(), Vec::new()],
            withheld: Withheld::new(),
            is_told: [false; 2],
            ids: 0,
        }
    }

    /// Does it, where it is possible, and has it judged.
    fn act(&mut self, action: Action) -> bool {
        let now = self.now;
        match action {
            Action::Trouble => {
                self.trouble = match self.trouble {
                    Some(_) => None,
                    None => Some((Severity::Warning, now)),
                };
                self.is_removed = false;
            }
            Action::Worse => match &mut self.trouble {
                Some((severity, _)) if *severity == Severity::Warning => {
                    *severity = Severity::Critical;
                }
                Some((severity, _)) => *severity = Severity::Warning,
                None => return false,
            },
            Action::Explanation => {
                self.explanation = self.explanation.is_none().then_some(now);
            }
            Action::Acknowledge => {
                let is_it = |open: &&mut OpenAlert| {
                    open.alert.status == AlertStatus::Active && open.alert.acknowledged_at.is_none()
                };
                let Some(open) = self.open.iter_mut().find(is_it) else { return false };
                open.alert.acknowledged_by = Some("someone".into());
                open.alert.acknowledged_at = Some(now);
            }
            Action::Silence => {
                let is_over = self.silence.is_none_or(|until| until <= now);
                self.silence = is_over.then(|| now + SignedDuration::from_secs(SILENCE));
            }
            Action::Unknown => self.is_unknown = !self.is_unknown,
            Action::Remove => {
                if self.is_removed {
                    return false;
                }
                (self.trouble, self.is_removed) = (None, true);
            }
            Action::Restart => {
                // What is stored is all there is.
                self.withheld = withheld_at_start(&self.open, &self.found());
                for open in &mut self.open {
                    let alert = serde_json::to_string(&open.alert).unwrap();
                    let course = serde_json::to_string(&open.course).unwrap();
                    let alert = serde_json::from_str(&alert).unwrap();
                    let read = OpenAlert { alert, course: serde_json::from_str(&course).unwrap() };
                    assert_eq!(*open, read);
                    *open = read;
                }
            }
            Action::Pass(seconds) => self.now = now + SignedDuration::from_secs(seconds),
        }
        self.judge();
        true
    }

    fn signals(&self) -> Vec<Signal> {
        let trouble = self.trouble.map(|(severity, since)| Signal {
            severity,
            explained_by: Some(CONTAINER),
            ..signal(&ENDPOINT, since)
        });
        let explanation = self.explanation.map(|since| Signal {
            due: since + SignedDuration::from_secs(SHORT + 10),
            ..signal(&CONTAINER, since)
        });
        trouble.into_iter().chain(explanation).collect()
    }

    fn is_muted(&self) -> bool {
        self.silence.is_some_and(|until| self.now < until)
    }

    fn find(&self, wanted: usize) -> Option<&OpenAlert> {
        self.open.iter().find(|open| place(open.key()) == wanted)
    }

    fn found(&self) -> Found {
        let mut found = Found { signals: self.signals(), ..Found::default() };
        if self.is_unknown {
            found.unknown.insert(("endpoint", ENDPOINT));
        }
        if let Some(open) = self.find(1).filter(|_| self.is_removed) {
            found.gone.insert(open.alert.id, Ending::Removed);
        }
        found
    }

    fn decide(&self) -> Decision {
        let found = self.found();
        let mute = self.silence.map(|until| Mute { until, ..Mute::default() });
        decide(&self.open, &found, mute.as_slice(), &self.withheld, self.now)
    }

    /// What the job does, and what must hold of it.
    fn judge(&mut self) {
        let decision = self.decide();
        assert!(decision.next.is_none_or(|next| next > self.now));
        self.withheld = decision.withheld;
        for change in decision.changes {
            let mut after = change.after;
            let key = key_of(&signal(&[CONTAINER, ENDPOINT][place(after.key())], self.now));
            let which = place(key);
            let before = self.find(which).cloned();
            let is_known = which == 0 || !self.is_unknown;
            match change.tells {
                Some(Event::Fired) => {
                    assert!(!self.is_muted() && is_known, "told in silence, or without knowing");
                    let was_quiet = before.as_ref().is_none_or(|before| {
                        before.alert.status == AlertStatus::Silenced
                            || before.alert.severity < after.alert.severity
                    });
                    assert!(was_quiet, "told twice");
                    assert_eq!(after.alert.acknowledged_at, None, "told although acknowledged");
                    self.is_told[which] = true;
                }
                Some(Event::Resolved) => {
                    assert!(matches!(change.what, What::Ended(..)));
                    assert!(self.is_told[which], "the end of what nobody was told of");
                    self.is_told[which] = false;
                }
                None => {}
            }
            match change.what {
                What::Opened => {
                    assert!(before.is_none(), "opened twice");
                    assert!(is_known, "opened without knowing");
                    assert!(which == 0 || self.explanation.is_none(), "opened although explained");
                    self.ids += 1;
                    after.alert.id = self.ids;
                    after.course.openings = add_opening(&self.openings[which], self.now);
                    self.open.push(after);
                }
                What::Ended(ending, _) => {
                    assert!(is_known, "ended without knowing");
                    assert!(!self.is_told[which], "ended, and nobody was told");
                    assert_eq!(ending == Ending::Removed, which == 1 && self.is_removed);
                    self.openings[which] = after.course.openings;
                    self.open.retain(|open| place(open.key()) != which);
                }
                What::Turned | What::Noted => {
                    let before = before.expect("changed, and was not open");
                    assert!(after.alert.severity >= before.alert.severity);
                    let is_worse = after.alert.severity > before.alert.severity;
                    assert!(is_known || !is_worse, "became worse without knowing");
                    *self.open.iter_mut().find(|open| place(open.key()) == which).unwrap() = after;
                }
            }
        }
        for open in &self.open {
            let which = place(open.key());
            assert_eq!(open.course.is_told, self.is_told[which]);
            assert!(!self.is_muted() || open.alert.status == AlertStatus::Silenced);
        }
        assert!(self.find(1).is_none() || !self.is_removed || self.is_unknown, "kept though gone");
    }

    /// Whatever happened, an end is found, and what lasts is told.
    fn settle(&self) {
        let again = self.decide();
        assert!(again.changes.is_empty(), "the same once more changes something: {again:?}");
        let mut ending = self.clone();
        (ending.trouble, ending.explanation, ending.is_unknown) = (None, None, false);
        // A clock that was set back is where it was again, and then no hold is longer than its cap.
        for _ in 0..2 {
            ending.act(Action::Pass(LONG));
        }
        assert!(ending.open.is_empty(), "it cannot end: {ending:?}");
        assert_eq!(ending.is_told, [false; 2], "the end was not told: {ending:?}");
        let mut lasting = self.clone();
        (lasting.is_unknown, lasting.silence) = (false, None);
        for _ in 0..3 {
            lasting.act(Action::Pass(LONG));
        }
        if lasting.explanation.is_some() {
            assert!(lasting.find(0).is_some() && lasting.is_told[0], "it was lost: {lasting:?}");
        }
        if lasting.trouble.is_some() && lasting.explanation.is_none() {
            assert!(lasting.find(1).is_some() && lasting.is_told[1], "it was lost: {lasting:?}");
        }
    }

    /// What its future depends on.
    fn signature(&self) -> Vec<i64> {
        let ago = |moment: Timestamp| self.now.duration_since(moment).as_secs().min(3600);
        let recent = |openings: &[Timestamp]| {
            let ages = openings.iter().map(|opened| ago(*opened)).filter(|age| *age < 3600);
            ages.chain([-9000]).collect::<Vec<_>>()
        };
        let optional = |moment: Option<Timestamp>| moment.map_or(-9001, ago);
        let mut all = vec![
            self.trouble.map_or(-1, |(severity, _)| severity as i64),
            self.trouble.map_or(0, |(_, since)| i64::from(since > self.now) * ago(since)),
            self.explanation.map_or(-1, |since| ago(since).min(SHORT + 10)),
            self.silence.map_or(0, |until| until.duration_since(self.now).as_secs().max(0)),
            i64::from(self.is_unknown),
            i64::from(self.is_removed),
            self.open.first().map_or(-1, |open| i64::try_from(place(open.key())).unwrap()),
        ];
        for which in [0, 1] {
            all.extend(recent(&self.openings[which]));
            let Some(open) = self.find(which) else { continue };
            all.extend([
                open.alert.severity as i64,
                i64::from(open.alert.status == AlertStatus::Active),
                i64::from(open.alert.acknowledged_at.is_some()),
                i64::from(open.course.is_told),
                optional(open.course.clear_since),
            ]);
            all.extend(recent(&open.course.openings));
        }
        all.extend(self.withheld.values().map(|since| optional(*since)));
        all
    }
}

/// Follows every interleaving from a beginning; says how many there are.
fn walk(beginning: World) -> u64 {
    let mut known = HashMap::from([(beginning.signature(), 0)]);
    let mut worlds = vec![beginning];
    let mut after: Vec<Vec<usize>> = Vec::new();
    // How many interleavings lead to each.
    let mut level = BTreeMap::from([(0, 1_u64)]);
    for _ in 0..DEPTH {
        let mut reached = BTreeMap::new();
        for (state, count) in level {
            // Those of a level are reached in the order of their numbers.
            for state in after.len()..=state {
                let mut next = Vec::new();
                for action in ACTIONS {
                    let mut world = worlds[state].clone();
                    if !world.act(action) {
                        continue;
                    }
                    let number = *known.entry(world.signature()).or_insert(worlds.len());
                    if number == worlds.len() {
                        world.settle();
                        worlds.push(world);
                    }
                    next.push(number);
                }
                after.push(next);
            }
            for next in &after[state] {
                *reached.entry(*next).or_default() += count;
            }
        }
        level = reached;
    }
    let interleavings = level.values().sum();
    println!("{interleavings} interleavings of {DEPTH} steps, {} states", worlds.len());
    interleavings
}

#[test]
fn in_no_interleaving_is_an_alert_lost_doubled_or_left_open() {
    assert!(walk(World::new()) > 1_000_000);
}

#[test]
fn nor_in_any_after_it_has_opened_twice() {
    let mut world = World::new();
    for _ in 0..4 {
        assert!(world.act(Action::Trouble));
    }
    assert!(walk(world) > 1_000_000);
}
