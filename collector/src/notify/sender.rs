//! The job that delivers what is in the outbox.
//!
//! Each channel and subscription is a lane of its own. A lane that hangs or fails holds up itself
//! alone: it has few places, and one while it fails.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use maintenant_serve::clock;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, broadcast};
use tokio::task::{Id, JoinError, JoinSet};

use super::channels::Channel;
use super::kinds;
use super::outbox::Lane;
use super::post::{Parcel, Post};
use super::retry::{Failure, Why, next};
use super::routes::Notifications;
use super::sql::{self, Due, Outcome};
use super::subscriptions::Webhook;
use super::write_at_last;
use crate::http::events::{Event, EventBus};
use crate::store::Store;
use crate::tasks::Job;

/// Tries under way, of all lanes and of one.
const MOST: usize = 32;
const MOST_OF_LANE: usize = 4;
/// Messages read of a lane: those under way are among them.
const READ: u32 = 8;
/// Longest time without a look at the outbox.
const LONGEST: Duration = Duration::from_secs(5);
const SHORTEST: Duration = Duration::from_millis(10);
/// A lane is left alone for no longer, whatever its receiver asks for.
const LONGEST_HOLD: Duration = Duration::from_hours(1);

pub struct Sender {
    store: Store,
    events: EventBus,
    post: Arc<Post>,
    bell: Arc<Notify>,
    lanes: Lanes,
    /// Where lanes led to when they were last looked at.
    led: BTreeMap<Lane, Target>,
    flights: JoinSet<Result<u16, Failure>>,
    under_way: HashMap<Id, (Lane, Due)>,
}

/// What a lane leads to.
#[derive(Clone)]
enum Target {
    Channel(Channel),
    Webhook(Webhook),
}

impl Target {
    fn lane(&self) -> Lane {
        match self {
            Self::Channel(channel) => Lane::Channel(channel.id),
            Self::Webhook(webhook) => Lane::Webhook(webhook.id.clone()),
        }
    }

    /// Whether what is sent goes the same way.
    fn leads_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Channel(one), Self::Channel(other)) => {
                one.leads_as(other.kind, &other.url, &other.headers)
            }
            (Self::Webhook(one), Self::Webhook(other)) => one.url == other.url,
            _ => false,
        }
    }

    fn parcel(&self, due: &Due) -> Result<Parcel, String> {
        match self {
            Self::Channel(channel) => channel.parcel(&due.event, &due.key, &due.payload),
            Self::Webhook(webhook) => webhook.parcel(&due.event, &due.key, &due.payload),
        }
    }
}

impl Channel {
    /// A payload to be sent.
    pub fn parcel(&self, event: &str, key: &str, payload: &str) -> Result<Parcel, String> {
        Ok(Parcel {
            request: kinds::render(self.kind, &self.url, &self.headers, payload)?,
            key: key.to_owned(),
            event: event.to_owned(),
            signature: None,
        })
    }
}

/// Who has how many tries under way, and who has to wait.
#[derive(Debug, Default)]
pub struct Lanes {
    busy: BTreeMap<Lane, BTreeSet<i64>>,
    failing: BTreeSet<Lane>,
    held: BTreeMap<Lane, Timestamp>,
    turn: usize,
}

impl Lanes {
    /// Tries that a lane may begin.
    pub fn room(&self, lane: &Lane, now: Timestamp) -> usize {
        // A longer one comes of a clock that was set back.
        let longest = now + LONGEST_HOLD;
        let is_hold = |until: &Timestamp| *until > now && *until <= longest;
        if self.held.get(lane).is_some_and(is_hold) {
            return 0;
        }
        let most = if self.failing.contains(lane) { 1 } else { MOST_OF_LANE };
        most.saturating_sub(self.busy.get(lane).map_or(0, BTreeSet::len))
    }

    pub fn is_busy(&self, lane: &Lane, id: i64) -> bool {
        self.busy.get(lane).is_some_and(|ids| ids.contains(&id))
    }

    fn count(&self) -> usize {
        self.busy.values().map(BTreeSet::len).sum()
    }

    /// Chooses which tries begin: one of each lane in turn, another lane first every time.
    pub fn pick<T>(
        &mut self,
        mut due: Vec<(Lane, Vec<(i64, T)>)>,
        now: Timestamp,
    ) -> Vec<(Lane, i64, T)> {
        let mut picked = Vec::new();
        if due.is_empty() {
            return picked;
        }
        self.turn = self.turn.wrapping_add(1);
        let first = self.turn % due.len();
        due.rotate_left(first);
        for (_, waiting) in &mut due {
            waiting.reverse();
        }
        let mut found = true;
        while found {
            found = false;
            for (lane, waiting) in &mut due {
                if self.count() >= MOST {
                    return picked;
                }
                if self.room(lane, now) == 0 {
                    continue;
                }
                let Some((id, one)) = waiting.pop() else { continue };
                if self.busy.entry(lane.clone()).or_default().insert(id) {
                    picked.push((lane.clone(), id, one));
                }
                found = true;
            }
        }
        picked
    }

    /// A lane leads elsewhere now: what was learnt of it is void.
    pub fn mended(&mut self, lane: &Lane) {
        self.failing.remove(lane);
        self.held.remove(lane);
    }

    /// A try has ended.
    pub fn ended(&mut self, lane: &Lane, id: i64, failure: Option<&Failure>, now: Timestamp) {
        if let Some(ids) = self.busy.get_mut(lane) {
            ids.remove(&id);
            if ids.is_empty() {
                self.busy.remove(lane);
            }
        }
        self.held.retain(|_, until| *until > now);
        let Some(failure) = failure else {
            self.failing.remove(lane);
            return;
        };
        self.failing.insert(lane.clone());
        let asked = failure.retry_after.map(|asked| asked.min(LONGEST_HOLD));
        if let Some(asked) = asked.and_then(|asked| SignedDuration::try_from(asked).ok()) {
            let until = now.saturating_add(asked).unwrap_or(now);
            self.held.insert(lane.clone(), until);
        }
    }
}

impl Sender {
    pub fn new(notifications: &Notifications) -> Self {
        let inner = &notifications.0;
        Self {
            store: inner.store.clone(),
            events: inner.events.clone(),
            post: inner.post.clone(),
            bell: inner.bell.clone(),
            lanes: Lanes::default(),
            led: BTreeMap::new(),
            flights: JoinSet::new(),
            under_way: HashMap::new(),
        }
    }

    /// Begins what is due, and says how long nothing else will be.
    pub(super) async fn launch(&mut self, now: Timestamp) -> Duration {
        let read = move |db: &rusqlite::Connection| {
            let channels = sql::channels(db)?.into_iter().filter(|channel| channel.enabled);
            let webhooks = sql::webhooks(db)?.into_iter().map(Target::Webhook);
            let (mut all, mut found) = (BTreeMap::new(), Vec::new());
            let mut first: Option<Timestamp> = None;
            for target in channels.map(Target::Channel).chain(webhooks) {
                let lane = target.lane();
                let due = sql::list_due(db, &lane, now, READ)?;
                let later = sql::next_try(db, &lane)?.filter(|at| *at > now);
                first = first.into_iter().chain(later).min();
                if !due.is_empty() {
                    found.push((lane.clone(), due));
                }
                all.insert(lane, target);
            }
            Ok((all, found, first))
        };
        let (targets, found, first) = match self.store.read(read).await {
            Ok(read) => read,
            Err(error) => {
                tracing::error!("messages to be delivered cannot be read: {error}");
                return LONGEST;
            }
        };
        for (lane, target) in &targets {
            if self.led.get(lane).is_some_and(|before| !before.leads_as(target)) {
                self.lanes.mended(lane);
            }
        }
        self.led = targets;
        let mut due = Vec::new();
        for (lane, rows) in found {
            let rows = rows.into_iter().filter(|row| !self.lanes.is_busy(&lane, row.id));
            due.push((lane.clone(), rows.map(|row| (row.id, row)).collect()));
        }
        for (lane, _, row) in self.lanes.pick(due, now) {
            let Some(target) = self.led.get(&lane) else { continue };
            let (parcel, post) = (target.parcel(&row), self.post.clone());
            let flight = self.flights.spawn(async move {
                let parcel = parcel.map_err(|text| Failure::new(Why::Refused, text))?;
                post.send(&parcel, now).await
            });
            self.under_way.insert(flight.id(), (lane, row));
        }
        let left = first.and_then(|at| Duration::try_from(at.duration_since(now)).ok());
        left.unwrap_or(LONGEST).clamp(SHORTEST, LONGEST)
    }

    /// Stores how the tries that have ended went. Until that is done no other begins: what was
    /// delivered must not be sent again because the store is in trouble.
    async fn record(
        &mut self,
        ended: Result<(Id, Result<u16, Failure>), JoinError>,
    ) -> anyhow::Result<()> {
        let mut all = vec![ended];
        while let Some(more) = self.flights.try_join_next_with_id() {
            all.push(more);
        }
        let now = clock::now();
        let mut outcomes = Vec::new();
        for ended in all {
            let (task, result) = ended.unwrap_or_else(|error| {
                let failure = Failure::new(Why::Passing, "the try broke off; the log says more");
                (error.id(), Err(failure))
            });
            let Some((lane, due)) = self.under_way.remove(&task) else { continue };
            let failure = result.err();
            self.lanes.ended(&lane, due.id, failure.as_ref(), now);
            let outcome = outcome(failure.as_ref(), &due, now);
            log(&lane, &due, &outcome);
            outcomes.push((lane, due.id, outcome, failure.map(|failure| failure.text)));
        }
        let write = move |tx: &rusqlite::Connection| {
            for (lane, id, outcome, error) in &outcomes {
                sql::finish(tx, *id, outcome, now)?;
                if error.is_none() && sql::has_failed_long(tx, lane, now)? {
                    sql::hasten(tx, lane, now)?;
                }
                sql::save_health(tx, lane, error.as_deref(), now)?;
            }
            Ok(())
        };
        Ok(write_at_last(&self.store, write).await?)
    }
}

fn outcome(failure: Option<&Failure>, due: &Due, now: Timestamp) -> Outcome {
    let Some(failure) = failure else { return Outcome::Delivered };
    let error = failure.text.clone();
    match next(failure, due.attempts + 1, due.created_at, due.id, now) {
        Some(at) => Outcome::Again { at, error },
        None => Outcome::Dead { error },
    }
}

fn log(lane: &Lane, due: &Due, outcome: &Outcome) {
    let (id, attempts) = (due.id, due.attempts + 1);
    match outcome {
        Outcome::Delivered => tracing::debug!(%lane, id, attempts, "a message was delivered"),
        Outcome::Again { error, .. } => {
            tracing::warn!(%lane, id, attempts, "a message was not delivered yet: {error}");
        }
        Outcome::Dead { error } => {
            tracing::error!(%lane, id, attempts, "a message is given up: {error}");
        }
    }
}

impl Job for Sender {
    const NAME: &'static str = "notifications";

    async fn run(&mut self, _now: Timestamp) -> anyhow::Result<()> {
        let mut heard = self.events.subscribe(None).receiver;
        // What an earlier run left under way is still pending, and begins anew.
        self.flights.abort_all();
        self.flights = JoinSet::new();
        self.under_way.clear();
        self.lanes = Lanes::default();
        self.led.clear();
        loop {
            let pause = self.launch(clock::now()).await;
            tokio::select! {
                Some(ended) = self.flights.join_next_with_id() => self.record(ended).await?,
                () = self.bell.notified() => {}
                () = alert(&mut heard) => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }
}

/// Returns when an alert is told, or may have been.
async fn alert(heard: &mut broadcast::Receiver<Arc<Event>>) {
    loop {
        match heard.recv().await {
            Ok(event) if !event.name.starts_with("alert.") => {}
            Ok(_) | Err(RecvError::Lagged(_)) => return,
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}
