//! The job that asks every source what is wrong, decides, and commits alerts together with what is
//! told of them.
//!
//! Events only make it quick: it looks whenever anything was published that may matter, and every
//! few seconds for what time changes. What it misses it finds the next time.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use maintenant_api::alerts::{Alert, AlertStatus, Severity};
use maintenant_serve::clock;
use maintenant_serve::logging::foreign;
use rusqlite::Connection;
use serde_json::{Value, json};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::time::Instant;

use super::engine::{self, Change, Decision, Found, What, Withheld};
use super::model::{Course, Ending, KINDS, OpenAlert, add_opening, key_of, to_event, whole};
use super::{mutes, sql};
use crate::http::events::{Event, EventBus};
use crate::notify::outbox::{self, Notice};
use crate::runtime::{Runtime, RuntimeState};
use crate::signals::{Findings, Signal, Source};
use crate::spine::Spine;
use crate::store::{Store, StoreError};
use crate::tasks::Job;

/// Longest time without a look.
const LONGEST: Duration = Duration::from_secs(5);
/// Shortest time from one look to the next, so that a burst of events is one.
const SHORTEST: Duration = Duration::from_millis(200);
/// From the beginning of one look to the next at least so many times what it took: alerts leave most
/// of the time to what they are about.
const PACE: u32 = 4;

pub struct Watch {
    store: Store,
    events: EventBus,
    runtime: RuntimeState,
    sources: Sources,
    /// `None`: nothing was looked at since the start.
    withheld: Option<Withheld>,
    /// When changes without a word were last written.
    noted_at: Option<Timestamp>,
    /// What was said in the log of sources that fail.
    failed: BTreeMap<&'static str, String>,
}

type Sources = Arc<[Box<dyn Source>]>;

/// What one look came to.
struct Looked {
    decision: Decision,
    failed: BTreeMap<&'static str, String>,
    told: Vec<(&'static str, Value)>,
}

impl Watch {
    pub fn new(spine: &Spine, sources: Vec<Box<dyn Source>>) -> Self {
        Self {
            store: spine.store.clone(),
            events: spine.events.clone(),
            runtime: spine.runtime.clone(),
            sources: sources.into(),
            withheld: None,
            noted_at: None,
            failed: BTreeMap::new(),
        }
    }

    /// Looks once, and says when time alone changes something. Only where something changes is
    /// anything written, and then it is decided anew within the transaction. What is only to be noted
    /// waits for what is told, and for [`LONGEST`] at most.
    pub async fn look(&mut self, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        let now = whole(now);
        let (sources, withheld) = (self.sources.clone(), self.withheld.clone());
        let mut looked =
            self.store.read(move |db| look(db, &sources, withheld.as_ref(), now)).await?;
        let changes = &looked.decision.changes;
        let is_told = changes.iter().any(|change| change.what != What::Noted);
        let since_noted = self.noted_at.map(|at| now.duration_since(at).unsigned_abs());
        if is_told || (!changes.is_empty() && since_noted.is_none_or(|since| since >= LONGEST)) {
            self.noted_at = Some(now);
            let (sources, withheld) = (self.sources.clone(), self.withheld.clone());
            let work = move |tx: &Connection| {
                let mut looked = look(tx, &sources, withheld.as_ref(), now)?;
                for change in std::mem::take(&mut looked.decision.changes) {
                    looked.told.extend(commit(tx, change, now)?);
                }
                Ok(looked)
            };
            let events = self.events.clone();
            let tell = move |looked: &Looked| {
                for (name, data) in &looked.told {
                    events.publish(name, data);
                }
            };
            looked = self.store.write_then(work, tell).await?;
        }
        for (source, error) in &looked.failed {
            if self.failed.get(source) != Some(error) {
                tracing::warn!("alerts of `{source}` stay as they are: {}", foreign(error));
            }
        }
        self.failed = looked.failed;
        self.withheld = Some(looked.decision.withheld);
        Ok(looked.decision.next)
    }
}

impl Job for Watch {
    const NAME: &'static str = "alerts";

    async fn run(&mut self, _now: Timestamp) -> anyhow::Result<()> {
        let mut events = self.events.subscribe(None).receiver;
        let mut runtime = self.runtime.subscribe();
        loop {
            while !matches!(events.try_recv(), Err(TryRecvError::Empty | TryRecvError::Closed)) {}
            let heard = is_heard(&runtime.borrow_and_update());
            let (started, now) = (Instant::now(), clock::now());
            let next = self.look(now).await?;
            let pause = pause_after(started.elapsed());
            let left = next.and_then(|next| Duration::try_from(next.duration_since(now)).ok());
            let wait = left.unwrap_or(LONGEST).clamp(SHORTEST, LONGEST);
            let wait = wait.max(pause);
            tokio::select! {
                () = something(&mut events) => {}
                _ = runtime.wait_for(|runtime| is_heard(runtime) != heard) => {}
                () = tokio::time::sleep_until(started + wait) => {}
            }
            tokio::time::sleep_until(started + pause).await;
        }
    }
}

/// From the beginning of a look that took so long to the beginning of the next, at least.
pub(super) fn pause_after(took: Duration) -> Duration {
    SHORTEST.max(took.saturating_mul(PACE))
}

fn is_heard(runtime: &Runtime) -> (bool, Timestamp) {
    (runtime.connected, runtime.since)
}

/// Waits for an event after which other things may be wrong than before.
async fn something(events: &mut broadcast::Receiver<Arc<Event>>) {
    loop {
        match events.recv().await {
            Ok(event) if !matters(event.name) => {}
            Ok(_) | Err(RecvError::Lagged(_)) => return,
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// Not what alerts themselves, or nothing but measurements and signs of life, publish.
fn matters(event: &str) -> bool {
    let is_left_out = event.starts_with("alert.")
        || event.starts_with("channel.")
        || matches!(event, "resource.snapshot" | "heartbeat.ping_received");
    !is_left_out
}

/// Asks every source and decides. Reads alone.
fn look(
    db: &Connection,
    sources: &Sources,
    withheld: Option<&Withheld>,
    now: Timestamp,
) -> rusqlite::Result<Looked> {
    let open = sql::list_open(db)?;
    let (found, failed) = ask(db, sources, &open, now);
    let mutes = mutes::in_force(db, now)?;
    let at_start = || engine::withheld_at_start(&open, &found);
    let withheld = withheld.cloned().unwrap_or_else(at_start);
    let decision = engine::decide(&open, &found, &mutes, &withheld, now);
    Ok(Looked { decision, failed, told: Vec::new() })
}

/// What all sources find, and the errors of those that cannot say. One that fails leaves the others
/// as they are.
fn ask(
    db: &Connection,
    sources: &Sources,
    open: &[OpenAlert],
    now: Timestamp,
) -> (Found, BTreeMap<&'static str, String>) {
    let mut found = Found::default();
    let mut failed = BTreeMap::new();
    for source in sources.iter() {
        let findings = guarded(|| source.find(db, now));
        match findings.and_then(|findings| own(findings, source.name())) {
            Ok(findings) => {
                found.signals.extend(findings.signals);
                let unknown = findings.unknown.into_iter().map(|entity| (source.name(), entity));
                found.unknown.extend(unknown);
            }
            Err(error) => drop(failed.insert(source.name(), error)),
        }
    }
    let present: BTreeSet<_> = found.signals.iter().map(key_of).collect();
    for alert in open.iter().filter(|alert| !present.contains(&alert.key())) {
        match ending(db, sources, alert) {
            Ok(None) => {}
            Ok(Some(ending)) => drop(found.gone.insert(alert.alert.id, ending)),
            Err((source, error)) => drop(failed.insert(source, error)),
        }
    }
    found.failed = failed.keys().copied().collect();
    (found, failed)
}

/// Refuses what a source cannot know: nobody would end it.
fn own(findings: Findings, name: &str) -> Result<Findings, String> {
    let is_own = |signal: &Signal| signal.source == name && KINDS.contains(&signal.entity.kind);
    match findings.signals.iter().find(|signal| !is_own(signal)) {
        Some(Signal { source, alert_type, entity, .. }) => {
            Err(format!("it finds `{alert_type}` of `{source}` with a `{}`", entity.kind))
        }
        None => Ok(findings),
    }
}

/// How an alert ends without a recovery, if it does.
fn ending(
    db: &Connection,
    sources: &Sources,
    alert: &OpenAlert,
) -> Result<Option<Ending>, (&'static str, String)> {
    let mut asked = sources.iter().filter(|source| source.name() == alert.alert.source).peekable();
    if asked.peek().is_none() {
        return Ok(Some(Ending::Unwatched));
    }
    let Some(entity) = alert.entity() else { return Ok(Some(Ending::Unwatched)) };
    for source in asked {
        let exists = guarded(|| source.exists(db, &entity));
        if exists.map_err(|error| (source.name(), error))? {
            return Ok(None);
        }
    }
    Ok(Some(Ending::Removed))
}

/// A panic of one source is its failure alone.
fn guarded<T>(ask: impl FnOnce() -> rusqlite::Result<T>) -> Result<T, String> {
    match std::panic::catch_unwind(AssertUnwindSafe(ask)) {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err("panicked; the log says more".to_owned()),
    }
}

/// Writes a change with what is told of it, and returns what is published after the commit.
fn commit(
    tx: &Connection,
    change: Change,
    now: Timestamp,
) -> rusqlite::Result<Option<(&'static str, Value)>> {
    let Change { after: OpenAlert { mut alert, mut course }, what, tells } = change;
    // What people read of an end is the end, not the trouble.
    let mut said = None;
    match &what {
        What::Opened => {
            let key = (&*alert.source, &*alert.alert_type, &*alert.entity_type, alert.entity_id);
            course.openings = add_opening(&sql::last_openings(tx, key)?, now);
            alert.id = sql::insert(tx, &alert, &course)?;
        }
        What::Turned | What::Noted => sql::save(tx, &alert, &course)?,
        What::Ended(ending, sentence) => {
            // First the original, since only one alert of an identity may be open.
            sql::save(tx, &alert, &course)?;
            if *ending == Ending::Recovered {
                let recovery = recovery(&alert, course.since, sentence, now);
                alert.resolved_by_id = Some(sql::insert(tx, &recovery, &Course::default())?);
                sql::save(tx, &alert, &course)?;
            }
            said = Some(sentence.clone());
        }
    }
    if let Some(event) = tells {
        let mut alert = alert.clone();
        alert.message = said.unwrap_or(alert.message);
        outbox::enqueue(tx, &Notice { event, alert, channels: course.channels }, now)?;
    }
    let name = match (what, alert.status) {
        (What::Noted, _) => return Ok(None),
        (What::Ended(..), _) => "alert.resolved",
        (_, AlertStatus::Silenced) => "alert.silenced",
        _ => "alert.fired",
    };
    tracing::info!(
        id = alert.id,
        severity = alert.severity.as_str(),
        "{name}: {} of {} {} `{}`",
        alert.alert_type,
        alert.entity_type,
        alert.entity_id,
        foreign(&alert.entity_name)
    );
    Ok(Some((name, to_event(&alert))))
}

/// The second row of the contract, which says what ended.
fn recovery(alert: &Alert, since: Timestamp, sentence: &str, now: Timestamp) -> Alert {
    let details = json!({ "alert_id": alert.id, "since": since });
    Alert {
        id: 0,
        severity: Severity::Info,
        status: AlertStatus::Resolved,
        message: sentence.to_owned(),
        details: details.to_string(),
        resolved_by_id: None,
        fired_at: now,
        resolved_at: None,
        acknowledged_at: None,
        acknowledged_by: None,
        escalated_at: None,
        created_at: Some(now),
        ..alert.clone()
    }
}
