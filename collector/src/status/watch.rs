//! The job of the page: windows begin and end on time, alerts open and resolve incidents, time in
//! each status is counted, and the public is told what changed.
//!
//! As with alerts, everything follows from what is stored and the time: what it misses while it does
//! not run it finds the next time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use maintenant_api::status::ComponentStatus;
use maintenant_serve::clock;
use rusqlite::Connection;
use serde_json::json;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::time::Instant;

use super::Status;
use super::components::{Standing, standings};
use super::incidents::{self, Auto, Told, Voice};
use super::maintenance::{self, Step, Window};
use super::model::{split, summary, whole};
use super::monitors::Watched;
use super::sql;
use super::sql::days::Known;
use crate::http::events::{Event, EventBus};
use crate::store::StoreError;
use crate::tasks::Job;

/// Longest time without a look: the wall clock may have been set.
const LONGEST: Duration = Duration::from_secs(5);
/// Shortest time from one look to the next, so that a burst of events is one; and at least so many
/// times what the last one took, so that the page leaves most of the time to others.
const SHORTEST: Duration = Duration::from_millis(200);
const PACE: u32 = 4;
/// How often counted time is written.
const WRITE_EVERY: SignedDuration = SignedDuration::from_mins(1);

pub struct Watch {
    status: Status,
    events: EventBus,
    last: Option<Last>,
    /// Counted and not written yet.
    known: Known,
    written_at: Timestamp,
}

/// What the last look saw.
struct Last {
    at: Timestamp,
    /// Of every component.
    statuses: BTreeMap<i64, ComponentStatus>,
    /// Of those the public sees.
    public: BTreeMap<i64, (String, ComponentStatus)>,
}

/// What one look comes to.
struct Look {
    standings: Vec<Standing>,
    steps: Vec<(Window, Step)>,
    /// By place in `standings`.
    autos: Vec<(usize, Auto)>,
    /// When time alone changes something.
    next: Option<Timestamp>,
}

impl Watch {
    /// It looks whenever something happens on this bus that may matter.
    pub fn new(status: Status, events: EventBus) -> Self {
        let (last, known) = (None, Known::default());
        Self { status, events, last, known, written_at: Timestamp::MIN }
    }

    /// Looks once, and says when time alone changes something. What is to be done is decided anew
    /// within the transaction that does it.
    pub async fn look(&mut self, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        let now = whole(now);
        let inner = self.status.0.clone();
        let watched = inner.watched.clone();
        let seen = inner.store.read(move |db| look(db, &*watched, now)).await?;
        if !seen.steps.is_empty() || !seen.autos.is_empty() {
            let (watched, voice) = (inner.watched.clone(), inner.voice.clone());
            let work = move |tx: &Connection| act(tx, &look(tx, &*watched, now)?, &voice, now);
            let status = inner.clone();
            inner.store.write_then(work, move |told: &Vec<Told>| status.changed(told)).await?;
        }
        self.count(now);
        self.tell(&seen.standings, now);
        if now.duration_since(self.written_at).abs() >= WRITE_EVERY && !self.known.is_empty() {
            let known = self.known.clone();
            inner.store.write(move |tx| sql::days::add(tx, &known)).await?;
            self.known.clear();
            self.written_at = now;
        }
        Ok(seen.next)
    }

    /// Counts the time since the last look for what was seen then.
    fn count(&mut self, now: Timestamp) {
        let Some(last) = &self.last else { return };
        for (day, ms) in split(last.at, now) {
            for (id, status) in &last.statuses {
                if *status != ComponentStatus::Unknown {
                    self.known.entry((*id, day)).or_default().add(*status, ms);
                }
            }
        }
    }

    /// Publishes what the public sees otherwise than at the last look.
    fn tell(&mut self, standings: &[Standing], now: Timestamp) {
        let statuses = standings.iter().map(|one| (one.component.id, one.effective)).collect();
        let shown = standings.iter().filter(|standing| standing.is_public());
        let public: BTreeMap<_, _> = shown
            .map(|one| (one.component.id, (one.component.display_name.clone(), one.effective)))
            .collect();
        if let Some(last) = &self.last
            && last.public != public
        {
            let changed = public.iter().filter(|(id, shown)| last.public.get(id) != Some(shown));
            let mut told: Vec<Told> = changed
                .map(|(id, (name, status))| {
                    let data = json!({
                        "component_id": id, "name": name, "status": status, "monitors": [],
                    });
                    ("status.component_changed", data)
                })
                .collect();
            let (status, message) = summary(public.values().map(|(_, status)| *status));
            told.push(("status.global_changed", json!({ "status": status, "message": message })));
            self.status.0.changed(&told);
        }
        self.last = Some(Last { at: now, statuses, public });
    }
}

impl Job for Watch {
    const NAME: &'static str = "status";

    async fn run(&mut self, _now: Timestamp) -> anyhow::Result<()> {
        let mut events = self.events.subscribe(None).receiver;
        let bell = self.status.0.bell.clone();
        loop {
            while !matches!(events.try_recv(), Err(TryRecvError::Empty | TryRecvError::Closed)) {}
            let (started, now) = (Instant::now(), clock::now());
            let next = self.look(now).await?;
            let pause = SHORTEST.max(started.elapsed().saturating_mul(PACE));
            let left = next.and_then(|next| Duration::try_from(next.duration_since(now)).ok());
            let wait = left.unwrap_or(LONGEST).min(LONGEST);
            tokio::select! {
                () = something(&mut events) => {}
                () = bell.notified() => {}
                () = tokio::time::sleep_until(started + wait) => {}
            }
            tokio::time::sleep_until(started + pause).await;
        }
    }
}

/// Waits for an event after which a component may fare otherwise.
async fn something(events: &mut broadcast::Receiver<Arc<Event>>) {
    loop {
        match events.recv().await {
            Ok(event) if matches!(event.name, "resource.snapshot" | "heartbeat.ping_received") => {}
            Ok(_) | Err(RecvError::Lagged(_)) => return,
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

fn look(db: &Connection, watched: &dyn Watched, now: Timestamp) -> rusqlite::Result<Look> {
    let standings = standings(db, watched, now)?;
    let open = sql::incidents::open_autos(db)?;
    let autos = standings.iter().enumerate().filter_map(|(place, standing)| {
        let open = open.get(&standing.component.id).copied();
        incidents::decide(standing, open).map(|auto| (place, auto))
    });
    let autos = autos.collect();
    let (mut steps, mut next) = (Vec::new(), None::<Timestamp>);
    for window in sql::maintenance::ahead(db)? {
        let (step, then) = maintenance::step(&window, now);
        next = next.into_iter().chain(then).min();
        steps.extend(step.map(|step| (window, step)));
    }
    Ok(Look { standings, steps, autos, next })
}

fn act(tx: &Connection, seen: &Look, voice: &Voice, now: Timestamp) -> rusqlite::Result<Vec<Told>> {
    let mut told = Vec::new();
    for (window, step) in &seen.steps {
        told.extend(maintenance::apply(tx, window, *step, voice, now)?);
    }
    for (place, auto) in &seen.autos {
        if let Some(standing) = seen.standings.get(*place) {
            told.extend(incidents::apply(tx, standing, *auto, voice, now)?);
        }
    }
    Ok(told)
}
