//! The job: keeps the list of servers as it is asked for, and checks each when it is due.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use maintenant_api::certificates::CertificateSource;
use maintenant_serve::clock;
use serde_json::Value;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, broadcast, watch};
use tokio::task::{self, JoinSet};
use tokio::time::Instant;

use super::model::{Event, Monitor};
use super::sources::{self, Asked, Server};
use super::verdict::Finding;
use super::{probe, sql};
use crate::http::events as bus;
use crate::net::TlsTarget;
use crate::spine::Spine;
use crate::tasks::Job;

/// Checks at once; one host is asked by one of them at a time.
const AT_ONCE: usize = 10;
/// The list is compared with what is asked for at least this often: a label's monitor that was
/// deleted comes back then.
const COMPARE: Duration = Duration::from_mins(1);
/// Pause after a check that this machine could not make.
const OURS: SignedDuration = SignedDuration::from_secs(30);
/// Time that endpoints have to be read after a start before what they asked for is given up.
const PATIENCE: Duration = Duration::from_mins(1);
/// What the problems of labels are known by.
const DIMENSION: &str = "certificates";

/// Between the job and the routes; clones share it.
#[derive(Debug, Clone)]
pub struct Bell {
    wake: Arc<Notify>,
    done: broadcast::Sender<i64>,
}

impl Default for Bell {
    fn default() -> Self {
        Self { wake: Arc::default(), done: broadcast::channel(256).0 }
    }
}

impl Bell {
    /// Has the job look for what is due now.
    pub fn ring(&self) {
        self.wake.notify_one();
    }

    /// Ids of monitors whose check is over and stored, from now on.
    pub fn done(&self) -> broadcast::Receiver<i64> {
        self.done.subscribe()
    }
}

pub struct Watch {
    spine: Spine,
    endpoints: watch::Receiver<Arc<[TlsTarget]>>,
    bell: Bell,
    /// Until then, an empty list of endpoints may be one that is not read yet.
    patient_until: Instant,
}

/// Checks under way.
#[derive(Default)]
struct Probes {
    tasks: JoinSet<(Monitor, Option<(Finding, Timestamp)>)>,
    /// Monitor and host of each.
    busy: BTreeMap<task::Id, (i64, String)>,
}

impl Job for Watch {
    const NAME: &'static str = "certificates";

    async fn run(&mut self, _now: Timestamp) -> anyhow::Result<()> {
        let mut probes = Probes::default();
        let mut compare = tokio::time::interval(COMPARE);
        let mut events = self.spine.events.subscribe(None).receiver;
        loop {
            let pause = self.begin(&mut probes, clock::now()).await?;
            tokio::select! {
                Some(first) = probes.tasks.join_next_with_id() => {
                    self.end(&mut probes, first).await?;
                }
                Ok(()) = self.spine.inventory.changed() => self.declare().await?,
                Ok(()) = self.endpoints.changed() => {
                    self.patient_until = Instant::now();
                    self.declare().await?;
                }
                endpoint = recovered(&mut events) => self.hasten(endpoint).await?,
                _ = compare.tick() => self.declare().await?,
                () = self.bell.wake.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }
}

/// Waits for an endpoint that recovers. `None`: it may have been any.
async fn recovered(events: &mut broadcast::Receiver<Arc<bus::Event>>) -> Option<i64> {
    loop {
        match events.recv().await {
            Ok(event) if matches!(event.name, "endpoint.recovery" | "endpoint.status_changed") => {
                let data: Value = serde_json::from_str(&event.data).unwrap_or_default();
                let is_up = data.get("new_status").is_none_or(|status| status == "up");
                if is_up {
                    return data.get("endpoint_id").and_then(Value::as_i64);
                }
            }
            Ok(_) => {}
            Err(RecvError::Lagged(_)) => return None,
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

type Ended = Result<(task::Id, (Monitor, Option<(Finding, Timestamp)>)), task::JoinError>;

impl Watch {
    pub fn new(spine: Spine, endpoints: watch::Receiver<Arc<[TlsTarget]>>, bell: Bell) -> Self {
        Self { spine, endpoints, bell, patient_until: Instant::now() + PATIENCE }
    }

    /// Begins checks that are due, and says when to look again.
    async fn begin(&self, probes: &mut Probes, now: Timestamp) -> anyhow::Result<Duration> {
        if probes.tasks.len() >= AT_ONCE {
            return Ok(COMPARE);
        }
        let due =
            move |db: &rusqlite::Connection| Ok((sql::due(db, now)?, sql::next_due(db, now)?));
        let (due, next) = self.spine.store.read(due).await?;
        for monitor in due {
            let host = monitor.target.host.clone();
            let is_busy = probes.busy.values().any(|(id, busy)| *id == monitor.id || *busy == host);
            if is_busy {
                continue;
            }
            if probes.tasks.len() >= AT_ONCE {
                break;
            }
            let (net, id) = (self.spine.net.clone(), monitor.id);
            let task = probes.tasks.spawn(async move {
                let finding = probe::check(&net, &monitor.target, clock::now).await;
                (monitor, finding.map(|finding| (finding, clock::now())))
            });
            probes.busy.insert(task.id(), (id, host));
        }
        let pause = next.map_or(COMPARE, |next| {
            Duration::try_from(next.duration_since(now)).unwrap_or_default()
        });
        Ok(pause.min(COMPARE))
    }

    /// What was out of reach together with an endpoint is checked again as soon as that recovers.
    async fn hasten(&self, endpoint: Option<i64>) -> anyhow::Result<()> {
        let now = clock::now();
        if self.spine.store.read(move |db| sql::is_missed(db, endpoint)).await? {
            self.spine.store.write(move |tx| sql::hasten(tx, endpoint, now)).await?;
        }
        Ok(())
    }

    /// Stores what has ended, all of it in one write.
    async fn end(&self, probes: &mut Probes, first: Ended) -> anyhow::Result<()> {
        let mut ended = vec![first];
        while let Some(next) = probes.tasks.try_join_next_with_id() {
            ended.push(next);
        }
        let mut outcomes = Vec::new();
        for result in ended {
            match result {
                Ok((task, outcome)) => {
                    probes.busy.remove(&task);
                    outcomes.push(outcome);
                }
                Err(error) => {
                    tracing::error!("a certificate check failed: {error}");
                    let Some((id, _)) = probes.busy.remove(&error.id()) else { continue };
                    let monitor = self.spine.store.read(move |db| sql::find(db, id)).await?;
                    outcomes.extend(monitor.map(|monitor| (monitor, None)));
                }
            }
        }
        let ids: Vec<i64> = outcomes.iter().map(|(monitor, _)| monitor.id).collect();
        let again = clock::now().saturating_add(OURS)?;
        let write = move |tx: &rusqlite::Connection| {
            let mut events = Vec::new();
            for (monitor, outcome) in &outcomes {
                match outcome {
                    Some((finding, at)) => events.extend(sql::record(tx, monitor, finding, *at)?),
                    None => sql::defer(tx, monitor.id, again)?,
                }
            }
            Ok(events)
        };
        let events = self.spine.store.write(write).await?;
        self.tell(events);
        for id in ids {
            let _ = self.bell.done.send(id);
        }
        Ok(())
    }

    /// Reads labels and endpoints, and brings the list up to date.
    async fn declare(&mut self) -> anyhow::Result<()> {
        if self.endpoints.has_changed().unwrap_or(false) {
            self.patient_until = Instant::now();
        }
        let mut wanted = self.wanted();
        let known = self.spine.store.read(sql::sources).await?;
        if self.endpoints.borrow().is_empty() && Instant::now() < self.patient_until {
            let auto = known.iter().filter(|(_, (_, one))| one.source == CertificateSource::Auto);
            for (server, (_, asked)) in auto {
                wanted.entry(server.clone()).or_insert_with(|| asked.clone());
            }
        }
        if sources::differ(&known, &wanted) {
            let now = clock::now();
            let events = self.spine.store.write(move |tx| sql::declare(tx, &wanted, now)).await?;
            self.tell(events);
        }
        Ok(())
    }

    fn wanted(&mut self) -> BTreeMap<Server, Asked> {
        let inventory = self.spine.inventory.borrow_and_update().clone();
        let problems = &self.spine.problems;
        problems.retain(DIMENSION, |id| inventory.find(id).is_some());
        let mut labels = Vec::new();
        for container in inventory.containers.iter() {
            let facts = &container.facts;
            let (servers, faults) = if facts.labels.is_ignored {
                (Vec::new(), Vec::new())
            } else {
                sources::read_labels(&facts.labels.watched, &facts.labels.watched_dropped)
            };
            problems.set(DIMENSION, (container.id, &facts.name), faults, clock::now());
            labels.push((container.external_id.as_str(), servers));
        }
        sources::wanted(labels, &self.endpoints.borrow_and_update())
    }

    fn tell(&self, events: Vec<Event>) {
        for (name, data) in events {
            self.spine.events.publish(name, &data);
        }
    }
}
