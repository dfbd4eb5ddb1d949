//! The job that scans: every interval, when somebody asks, and soon after a container was made.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use jiff::{SignedDuration, Timestamp};
use maintenant_api::containers::State;
use maintenant_serve::clock;
use rusqlite::Connection;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::commands::commands;
use super::credentials::Credentials;
use super::inspect::{Watched, inspect};
use super::look::{Indexes, Known, Misses, Subject, look};
use super::model::{Check, Outcome, Status, UpdateType, Verdict, after};
use super::policy::{self, Exclusions, Policy};
use super::reference::{Place, Reference};
use super::registry::{Memory, Registries};
use super::sql::{self, Saved};
use super::{Begun, Inner, policy::Subject as ExcludedBy};
use crate::containers::inventory::Inventory;
use crate::containers::labels;
use crate::containers::model::Container;
use crate::docker::Docker;
use crate::problems::Fault;
use crate::spine::Spine;
use crate::tasks::Job;

/// After the start, the first scan waits so long for what starts with us.
pub const FIRST: SignedDuration = SignedDuration::from_secs(30);
/// A new container is looked at after so long: others may follow it.
const SETTLE: Duration = Duration::from_secs(20);
/// And no sooner after the last time.
const BETWEEN: Duration = Duration::from_mins(5);
/// A whole scan.
const DEADLINE: Duration = Duration::from_mins(30);
/// Of what it did not come to.
const LATE: &str = "its registry was not asked: the scan took longer than 30 minutes";
/// Repositories looked at together.
const REPOSITORIES: usize = 32;
/// Longest sleep: the wall clock may be set.
const NAP: Duration = Duration::from_mins(1);
/// What the runtime status calls the loss of a call.
const IMAGES_FEATURE: &str = "what containers run cannot be compared with registries";
/// As the board of problems knows it.
const DIMENSION: &str = "updates";

pub struct Scanner {
    spine: Spine,
    docker: watch::Receiver<Option<Docker>>,
    inner: Arc<Inner>,
    requests: mpsc::Receiver<Begun>,
    /// Docker's `config.json`.
    docker_config: Option<PathBuf>,
    memory: Memory,
    misses: Misses,
    /// The scan under way.
    current: Option<Begun>,
    /// When new containers are looked at.
    soon: Option<Instant>,
    looked: Option<Instant>,
}

/// What a scan came to.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Counts {
    scanned: usize,
    found: usize,
    errors: usize,
}

impl Scanner {
    pub(super) fn new(
        spine: Spine,
        docker: watch::Receiver<Option<Docker>>,
        inner: Arc<Inner>,
        requests: mpsc::Receiver<Begun>,
        docker_config: Option<PathBuf>,
    ) -> Self {
        Self {
            spine,
            docker,
            inner,
            requests,
            docker_config,
            memory: Memory::default(),
            misses: Misses::default(),
            current: None,
            soon: None,
            looked: None,
        }
    }

    /// A whole scan.
    async fn scan(&mut self, begun: Begun) -> anyhow::Result<()> {
        let id = begun.id;
        self.current = Some(begun);
        let outcome = self.look_at(None, Some(id)).await;
        self.end(outcome).await
    }

    async fn end(&mut self, outcome: anyhow::Result<Counts>) -> anyhow::Result<()> {
        let Some(Begun { id, turn }) = self.current.take() else { return outcome.map(drop) };
        let now = clock::now();
        let counts = outcome.as_ref().ok().cloned();
        let told = counts.clone();
        let end = move |tx: &Connection| {
            // Whoever reads that it has ended may ask for the next one at once.
            drop(turn);
            let counts = counts.map(|counts| (counts.scanned, counts.found, counts.errors));
            sql::end_scan(tx, id, now, counts)
        };
        let ended = self.spine.store.write(end).await;
        let told = told.unwrap_or_else(|| Counts { errors: 1, ..Counts::default() });
        let data = json!({"scan_id": id, "updates_found": told.found, "errors": told.errors});
        self.spine.events.publish("update.scan_completed", &data);
        self.inner.plan(now);
        if outcome.is_err() {
            self.inner.retry(now);
        }
        ended?;
        outcome.map(drop)
    }

    /// Looks at all containers, or at some.
    async fn look_at(
        &self,
        only: Option<&BTreeSet<i64>>,
        scan_id: Option<i64>,
    ) -> anyhow::Result<Counts> {
        let deadline = Instant::now() + DEADLINE;
        let docker = self.docker.borrow().clone();
        let docker = docker.ok_or_else(|| anyhow::anyhow!("Docker is not connected"))?;
        let inventory = self.spine.inventory.borrow().clone();
        let containers: Vec<_> = inventory
            .containers
            .iter()
            .filter(|container| is_looked_at(container))
            .filter(|container| only.is_none_or(|only| only.contains(&container.id)))
            .cloned()
            .collect();
        let (stored, excluded) =
            self.spine.store.read(|db| Ok((sql::list(db)?, sql::list_exclusions(db)?))).await?;
        let exclusions = Exclusions::new(excluded.into_iter().filter_map(|exclusion| {
            Some((ExcludedBy::parse(&exclusion.pattern_type)?, exclusion.pattern))
        }));
        let known: HashMap<i64, Known> = stored
            .into_iter()
            .map(|row| {
                let Check { image, registry, verdict, .. } = row.check;
                let (tag, digest) = (verdict.latest_tag, verdict.latest_digest);
                (row.container_id, Known { image, registry, tag, digest })
            })
            .collect();
        let credentials = match self.docker_config.clone() {
            Some(path) => tokio::task::spawn_blocking(move || Credentials::read(&path)).await?,
            None => Credentials::default(),
        };
        let registries = Registries::new(&self.spine.net, credentials, self.memory.clone())?;
        let (watched, refused) =
            tokio::time::timeout_at(deadline, inspect(&docker, &containers, &exclusions, &known))
                .await
                .map_err(|_| anyhow::anyhow!("the engine took longer than 30 minutes"))?;
        let refused = refused.map(|why| ("GET /images/{id}/json", why));
        self.spine.runtime.set_degraded(IMAGES_FEATURE, refused);
        let indexes = Indexes::new(self.spine.store.clone(), self.misses.clone());

        let mut places: BTreeMap<Place, Vec<(usize, Arc<Subject>)>> = BTreeMap::new();
        for (at, watched) in watched.iter().enumerate() {
            if let Some((place, subject)) = &watched.subject {
                places.entry(place.clone()).or_default().push((at, subject.clone()));
            }
        }
        let total = watched.len();
        // What is not compared needs no more looking at.
        let compared: usize = places.values().map(Vec::len).sum();
        let done = AtomicUsize::new(total - compared);
        let outcomes: HashMap<usize, Outcome> = futures_util::stream::iter(spread(places))
            .map(|(place, subjects)| {
                let (registries, indexes, exclusions) = (&registries, &indexes, &exclusions);
                let (done, events) = (&done, &self.spine.events);
                async move {
                    let only: Vec<_> =
                        subjects.iter().map(|(_, subject)| subject.clone()).collect();
                    let outcomes = look(registries, indexes, exclusions, &place, &only).await;
                    let before = done.fetch_add(subjects.len(), Ordering::Relaxed);
                    if let Some(scan_id) = scan_id {
                        let checked = before + subjects.len();
                        let data = json!({"scan_id": scan_id, "checked": checked, "total": total});
                        events.show("update.scan_progress", &data);
                    }
                    let places = subjects.iter().map(|(at, _)| *at);
                    places.zip(outcomes).collect::<Vec<_>>()
                }
            })
            .buffer_unordered(REPOSITORIES)
            .take_until(tokio::time::sleep_until(deadline))
            .flat_map(futures_util::stream::iter)
            .collect()
            .await;
        self.save(watched, outcomes, indexes.take_learnt(), scan_id).await
    }

    /// Keeps what was found, all of it in one transaction, and tells what is new.
    async fn save(
        &self,
        watched: Vec<Watched>,
        mut outcomes: HashMap<usize, Outcome>,
        indexes: Vec<(String, Vec<super::model::Child>)>,
        scan_id: Option<i64>,
    ) -> anyhow::Result<Counts> {
        let now = clock::now();
        let found: Vec<(Watched, Outcome)> = watched
            .into_iter()
            .enumerate()
            .map(|(at, mut watched)| {
                let outcome = watched.verdict.take().or_else(|| outcomes.remove(&at));
                let outcome = outcome.unwrap_or_else(|| Outcome::Failed(LATE.to_owned()));
                (watched, outcome)
            })
            .collect();
        let write = move |tx: &Connection| {
            for (digest, children) in &indexes {
                sql::save_index(tx, digest, children, now)?;
            }
            let mut counts = Counts { scanned: found.len(), ..Counts::default() };
            let mut told = Vec::new();
            for (watched, outcome) in found {
                counts.errors += usize::from(matches!(outcome, Outcome::Failed(_)));
                let check = keep(tx, &watched, outcome, scan_id, now)?;
                counts.found += usize::from(check.0.verdict.status == Status::Available);
                told.extend(check.1);
            }
            Ok((counts, told))
        };
        let events = self.spine.events.clone();
        let tell = move |(_, told): &(Counts, Vec<Value>)| {
            for data in told {
                events.publish("update.detected", data);
            }
        };
        let (counts, _) = self.spine.store.write_then(write, tell).await?;
        Ok(counts)
    }

    /// What labels say that cannot be read, and whether there is a container to look at.
    async fn follow(&mut self) -> anyhow::Result<()> {
        let inventory = self.spine.inventory.borrow_and_update().clone();
        let now = clock::now();
        for container in inventory.containers.iter() {
            let whose = (container.id, container.facts.name.as_str());
            self.spine.problems.set(DIMENSION, whose, faults(container), now);
        }
        let present: BTreeSet<i64> = inventory.containers.iter().map(|one| one.id).collect();
        self.spine.problems.retain(DIMENSION, |id| present.contains(&id));
        // The first scan looks at all of them.
        if self.inner.interval.is_some()
            && self.soon.is_none()
            && !self.unseen(&inventory).await?.is_empty()
        {
            let earliest = self.looked.map(|looked| looked + BETWEEN);
            let soon = Instant::now() + SETTLE;
            self.soon = Some(earliest.map_or(soon, |earliest| earliest.max(soon)));
        }
        Ok(())
    }

    /// Containers that are not the ones that were looked at; none before anything was.
    async fn unseen(&self, inventory: &Inventory) -> anyhow::Result<BTreeSet<i64>> {
        let read = |db: &Connection| {
            let seen = sql::list(db)?.into_iter();
            let seen = seen.map(|row| (row.container_id, row.checked_external_id));
            Ok((sql::last_completed(db)?, seen.collect::<HashMap<_, _>>()))
        };
        let (last, seen) = self.spine.store.read(read).await?;
        if last.is_none() {
            return Ok(BTreeSet::new());
        }
        let unseen = inventory.containers.iter().filter(|container| {
            is_looked_at(container) && seen.get(&container.id) != Some(&container.external_id)
        });
        Ok(unseen.map(|container| container.id).collect())
    }

    /// Until something is due, or something happens.
    async fn wait(&mut self) -> Due {
        let now = clock::now();
        let next = *self.inner.next.lock().unwrap_or_else(PoisonError::into_inner);
        let left =
            next.map(|next| Duration::try_from(next.duration_since(now)).unwrap_or_default());
        let nap = left.unwrap_or(NAP).min(NAP);
        let soon = self.soon;
        tokio::select! {
            biased;
            Some(begun) = self.requests.recv() => Due::Scan(begun),
            Ok(()) = self.spine.inventory.changed() => Due::Change,
            () = tokio::time::sleep_until(soon.unwrap_or_else(Instant::now)), if soon.is_some() => {
                Due::Unseen
            }
            () = tokio::time::sleep(nap) => match left {
                Some(left) if left <= nap => Due::Interval,
                _ => Due::Nothing,
            },
        }
    }
}

enum Due {
    Scan(Begun),
    Interval,
    Change,
    Unseen,
    Nothing,
}

impl Job for Scanner {
    const NAME: &'static str = "updates";

    async fn run(&mut self, _now: Timestamp) -> anyhow::Result<()> {
        if self.current.is_some() {
            // The last run ended within a scan.
            self.end(Err(anyhow::anyhow!("the scan was cut"))).await.ok();
        }
        self.follow().await?;
        loop {
            match self.wait().await {
                Due::Scan(begun) => self.scan(begun).await?,
                Due::Interval => {
                    // Before it ends, so that one that fails is not begun again at once.
                    self.inner.plan(clock::now());
                    self.inner.begin(clock::now()).await?;
                }
                Due::Change => self.follow().await?,
                Due::Unseen => {
                    self.soon = None;
                    self.looked = Some(Instant::now());
                    let inventory = self.spine.inventory.borrow().clone();
                    let unseen = self.unseen(&inventory).await?;
                    if !unseen.is_empty() && self.docker.borrow().is_some() {
                        self.look_at(Some(&unseen), None).await?;
                    }
                }
                Due::Nothing => {}
            }
        }
    }
}

fn is_looked_at(container: &Container) -> bool {
    !container.facts.labels.is_ignored && matches!(container.state, State::Running | State::Paused)
}

fn faults(container: &Container) -> Vec<Fault> {
    let labels = &container.facts.labels;
    let (_, mut faults) = Policy::read(&labels.watched);
    let dropped = labels.watched_dropped.iter().filter(|key| key.starts_with(policy::PREFIX));
    faults.extend(dropped.map(|key| Fault { label_key: key.clone(), error: labels::not_read() }));
    faults
}

/// Repositories in an order that spreads each registry's over the scan.
fn spread<T>(places: BTreeMap<Place, T>) -> Vec<(Place, T)> {
    let mut turns: HashMap<String, usize> = HashMap::new();
    let mut ranked: Vec<_> = places
        .into_iter()
        .map(|(place, subjects)| {
            let turn = turns.entry(place.host.clone()).or_default();
            *turn += 1;
            (*turn, place, subjects)
        })
        .collect();
    ranked.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    ranked.into_iter().map(|(_, place, subjects)| (place, subjects)).collect()
}

/// Stores one check. What is to be told is an update that was not known before.
fn keep(
    tx: &Connection,
    watched: &Watched,
    outcome: Outcome,
    scan_id: Option<i64>,
    now: Timestamp,
) -> rusqlite::Result<(Check, Option<Value>)> {
    let before = sql::find(tx, watched.id)?;
    let reference = Reference::parse(&watched.image).ok();
    let tag = reference.as_ref().and_then(Reference::effective_tag).unwrap_or_default();
    let mirror = watched.subject.as_ref().and_then(|(_, subject)| subject.policy.registry.as_ref());
    let registry = mirror.or(reference.as_ref().map(|reference| &reference.registry));
    let digest = watched.running.own_digest.as_ref().or(watched.running.digests.first());
    let mut is_now = Check {
        image: watched.image.clone(),
        registry: registry.cloned().unwrap_or_default(),
        current_tag: tag.to_owned(),
        current_digest: digest.cloned().unwrap_or_default(),
        ..Check::default()
    };
    // Of the same container the image is the same, whether or not the engine tells of it this time.
    let is_failed = matches!(outcome, Outcome::Failed(_));
    let same = before
        .as_ref()
        .filter(|before| is_failed && before.checked_external_id == watched.external_id);
    if let Some(same) = same.filter(|_| digest.is_none()) {
        let Check { image, registry, current_tag, current_digest, .. } = same.check.clone();
        is_now = Check { image, registry, current_tag, current_digest, ..is_now };
    }
    let was = before.as_ref().map(|before| before.check.clone());
    let was_available = was
        .as_ref()
        .filter(|was| was.verdict.status == Status::Available)
        .map(|was| was.detected_at);
    let check = after(was, is_now, outcome, &watched.running, now);
    let is_available = check.verdict.status == Status::Available;
    let text = reference.as_ref().filter(|_| is_available).and_then(|reference| {
        let own = watched.running.own_digest.as_deref();
        let Verdict { latest_tag, latest_digest, .. } = &check.verdict;
        commands(&watched.target, &watched.image, reference, latest_tag, latest_digest, own)
    });
    let kept = same.filter(|_| is_available).map(|same| &same.commands);
    let update = text.as_ref().map(|text| &text.update).or(kept.and_then(|kept| kept.0.as_ref()));
    let rollback = text.as_ref().and_then(|text| text.rollback.as_ref());
    let rollback = rollback.or(kept.and_then(|kept| kept.1.as_ref()));
    let (update, rollback) = (update.map(String::as_str), rollback.map(String::as_str));
    let saved = Saved {
        container_id: watched.id,
        external_id: &watched.external_id,
        check: &check,
        commands: (update, rollback),
        settings: &watched.settings,
        scan_id,
    };
    sql::save(tx, &saved)?;
    let is_new = is_available && was_available != Some(check.detected_at);
    let told = is_new.then(|| {
        let kind = check.verdict.update_type;
        json!({
            "container_id": watched.external_id,
            "container_name": watched.name,
            "image": check.image,
            "current_tag": check.current_tag,
            "latest_tag": check.verdict.latest_tag,
            "update_type": kind.map_or("", UpdateType::as_str),
            "risk_score": kind.map_or(0, UpdateType::risk),
            "update_command": update,
            "rollback_command": rollback,
        })
    });
    Ok((check, told))
}
