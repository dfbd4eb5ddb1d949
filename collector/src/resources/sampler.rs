//! The job that measures: every period all running containers, and the host.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::time::Duration;

use futures_util::StreamExt;
use jiff::Timestamp;
use maintenant_api::containers::State;
use maintenant_serve::clock;
use tokio::sync::watch;
use tokio::time::Instant;

use super::api;
use super::cgroup::{Buffer, Cgroup, Roots, Taken};
use super::host::Host;
use super::model::{HostSample, Origin, Sample, elapsed};
use crate::containers::inventory::{Inventory, InventoryReader};
use crate::containers::model::Container;
use crate::docker::{self, Docker, DockerError, Inspected, InspectedHostConfig, STATS_DEADLINE};
use crate::runtime::RuntimeState;
use crate::spine::Spine;
use crate::tasks::Job;

pub const PERIOD: Duration = Duration::from_secs(10);
/// What the runtime status calls the loss of a call.
pub const STATS_FEATURE: &str = "what containers use cannot be read";
/// Inspections under way at once, how long one may take, and how long all of them in one round: others
/// wait to be measured. What was not asked by then is asked in the next round.
const INSPECTIONS: usize = 16;
const INSPECTION: Duration = Duration::from_millis(1500);
const INSPECTING: Duration = Duration::from_secs(2);
/// A run whose inspection hung is left alone this long.
const HUNG: Duration = Duration::from_mins(1);
/// Calls for statistics under way at once. Older engines answer all of them together after a second or
/// two, so that many at once are no slower than one.
const CALLS: usize = 128;
/// Limits change without a restart.
const INSPECT_AGAIN: Duration = Duration::from_mins(5);
/// How much two clocks may differ over a period before one was set. An engine may date its answers at
/// any time of the call; that comes on top.
const SLACK: Duration = Duration::from_millis(500);
/// Containers that share a network of one that shares another's, and so on.
const CHAIN: usize = 8;

/// What one round measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    pub at: Timestamp,
    pub samples: Vec<Sample>,
    /// `None` in the first round, and where the host cannot be read.
    pub host: Option<HostSample>,
}

/// Takes what is measured.
pub trait Sink: Send + 'static {
    fn take(&mut self, batch: Batch) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// Measures all running containers and the host.
pub struct Sampler<S> {
    inventory: InventoryReader,
    runtime: RuntimeState,
    docker: watch::Receiver<Option<Docker>>,
    sink: S,
    roots: Roots,
    host: Option<Host>,
    runs: HashMap<i64, Run>,
    /// Runs whose inspection hung, and when.
    hung: HashMap<(String, Option<Timestamp>), Instant>,
}

/// A run of a container: from its start until it ends.
#[derive(Debug)]
struct Run {
    external_id: String,
    /// As the inventory had it when this run was inspected: another one asks for an inspection.
    started_at: Option<Timestamp>,
    /// Whether inspections are answered: its limits are known.
    is_inspected: bool,
    /// Pid and start, as the engine tells them: they tell runs apart.
    identity: (i64, Option<Timestamp>),
    inspected: Instant,
    host_config: InspectedHostConfig,
    /// `None` if its files cannot be seen from here.
    cgroup: Option<Cgroup>,
    previous: Option<Taken>,
}

impl<S: Sink> Sampler<S> {
    pub fn new(spine: &Spine, docker: watch::Receiver<Option<Docker>>, sink: S) -> Self {
        let roots = Roots::find();
        let host = Host::new(roots.proc.clone());
        Self {
            inventory: spine.inventory.clone(),
            runtime: spine.runtime.clone(),
            docker,
            sink,
            roots,
            host: Some(host),
            runs: HashMap::new(),
            hung: HashMap::new(),
        }
    }

    /// A sampler of containers alone, which reads them in `roots`.
    pub fn of(
        inventory: InventoryReader,
        runtime: RuntimeState,
        docker: watch::Receiver<Option<Docker>>,
        sink: S,
        roots: Roots,
    ) -> Self {
        let (runs, hung) = (HashMap::new(), HashMap::new());
        Self { inventory, runtime, docker, sink, roots, host: None, runs, hung }
    }

    /// Inspects runs that are not known yet, and forgets those that ended.
    async fn follow(&mut self, docker: &Docker, inventory: &Inventory) {
        let running: HashMap<i64, &Container> = inventory
            .containers
            .iter()
            .filter(|container| is_measured(container))
            .map(|container| (container.id, &**container))
            .collect();
        self.runs.retain(|id, run| {
            running.get(id).is_some_and(|container| container.external_id == run.external_id)
        });
        let unknown = running.values().filter(|container| {
            self.runs.get(&container.id).is_none_or(|run| {
                run.started_at != container.started_at || run.inspected.elapsed() >= INSPECT_AGAIN
            })
        });
        self.hung.retain(|_, since| since.elapsed() < HUNG);
        let wanted: Vec<_> = unknown
            .map(|container| (container.id, (container.external_id.clone(), container.started_at)))
            .filter(|(_, run)| !self.hung.contains_key(run))
            .collect();
        let inspections: Vec<_> = futures_util::stream::iter(wanted)
            .map(|(id, run)| async move {
                let inspected = tokio::time::timeout(INSPECTION, docker.inspect(&run.0)).await;
                (id, run, inspected.unwrap_or(Err(DockerError::Hung)))
            })
            .buffer_unordered(INSPECTIONS)
            .take_until(tokio::time::sleep(INSPECTING))
            .collect()
            .await;
        for (id, (external_id, started_at), inspected) in inspections {
            let inspected = match inspected {
                Ok(inspected) => Some(inspected),
                // Its id alone suffices to ask for statistics.
                Err(DockerError::Refused(_)) => None,
                Err(DockerError::Hung) => {
                    self.hung.insert((external_id, started_at), Instant::now());
                    continue;
                }
                Err(DockerError::NotFound) => {
                    self.runs.remove(&id);
                    continue;
                }
                // What is known is checked at each reading anyhow.
                Err(_) => continue,
            };
            let run = self.run(id, external_id, started_at, inspected).await;
            self.runs.insert(id, run);
        }
    }

    async fn run(
        &mut self,
        id: i64,
        external_id: String,
        started_at: Option<Timestamp>,
        inspected: Option<Inspected>,
    ) -> Run {
        let is_inspected = inspected.is_some();
        let inspected = inspected.unwrap_or_default();
        let host_config = inspected.host_config;
        let pid = inspected.state.pid;
        let own_network = host_config.has_own_network();
        let (roots, of) = (self.roots.clone(), external_id.clone());
        let find = move || Cgroup::find(&roots, &of, pid, own_network);
        let cgroup = tokio::task::spawn_blocking(find).await.ok().flatten();
        let identity = (pid, docker::time(&inspected.state.started_at).or(started_at));
        let known = self.runs.remove(&id).filter(|known| {
            known.identity == identity && known.cgroup.is_some() == cgroup.is_some()
        });
        let previous = known.and_then(|known| known.previous);
        let inspected = Instant::now();
        Run {
            external_id,
            started_at,
            is_inspected,
            identity,
            inspected,
            host_config,
            cgroup,
            previous,
        }
    }

    /// What the kernel's files tell, all at once. Runs that are over are forgotten.
    async fn read_files(&mut self) -> Vec<(i64, Taken)> {
        let cgroups: Vec<_> =
            self.runs.iter().filter_map(|(id, run)| Some((*id, run.cgroup.clone()?))).collect();
        let read = move || {
            let mut buffer = Buffer::default();
            let read = |(id, cgroup): (i64, Cgroup)| (id, cgroup.read(&mut buffer, clock::now));
            cgroups.into_iter().map(read).collect::<Vec<_>>()
        };
        let read = tokio::task::spawn_blocking(read).await.unwrap_or_default();
        let mut taken = Vec::with_capacity(read.len());
        for (id, reading) in read {
            match reading {
                Some(reading) => taken.push((id, reading)),
                None => drop(self.runs.remove(&id)),
            }
        }
        taken
    }

    /// What the engine tells of the others.
    async fn call(&mut self, docker: &Docker) -> Vec<(i64, Taken)> {
        let wanted: Vec<_> = self
            .runs
            .iter()
            .filter(|(_, run)| run.cgroup.is_none())
            .map(|(id, run)| (*id, run.external_id.clone()))
            .collect();
        let answers: Vec<_> = futures_util::stream::iter(wanted)
            .map(|(id, external_id)| async move {
                let asked = Instant::now();
                (id, docker.stats(&external_id).await, asked, Instant::now())
            })
            .buffer_unordered(CALLS)
            .take_until(tokio::time::sleep(STATS_DEADLINE))
            .collect()
            .await;
        let mut refused = None;
        let mut taken = Vec::new();
        for (id, answer, asked, instant) in answers {
            match answer {
                Ok(stats) => {
                    let run = self.runs.get(&id);
                    let reading = run.and_then(|run| api::reading(&stats, &run.host_config));
                    taken.extend(reading.map(|reading| (id, Taken { reading, asked, instant })));
                }
                Err(DockerError::Refused(why)) => {
                    refused = Some(("GET /containers/{id}/stats", why));
                }
                Err(error) => tracing::debug!(container.id = id, "no statistics: {error}"),
            }
        }
        self.runtime.set_degraded(STATS_FEATURE, refused);
        taken
    }

    fn sample(
        &mut self,
        id: i64,
        taken: Taken,
        inventory: &Inventory,
        started_at: Option<Timestamp>,
    ) -> Option<Sample> {
        let shares_network_of = owner_of_network(&self.runs, id, inventory);
        let run = self.runs.get_mut(&id)?;
        let is_from_api = run.cgroup.is_none();
        let is_inspected = run.is_inspected;
        let call = |taken: &Taken| taken.instant.duration_since(taken.asked);
        let sample = run.previous.as_ref().and_then(|previous| {
            let elapsed = elapsed(
                taken.reading.at.duration_since(previous.reading.at),
                taken.instant.duration_since(previous.instant),
                SLACK + call(previous) + call(&taken),
            )?;
            let origin = Origin {
                container_id: id,
                shares_network_of,
                is_from_api,
                is_inspected,
                started_at,
            };
            Sample::between(&previous.reading, &taken.reading, elapsed, origin)
        });
        run.previous = Some(taken);
        sample
    }
}

impl<S: Sink> Job for Sampler<S> {
    const NAME: &'static str = "resources";

    async fn run(&mut self, now: Timestamp) -> anyhow::Result<()> {
        let docker = self.docker.borrow().clone();
        let inventory = self.inventory.borrow().clone();
        if let Some(docker) = &docker {
            self.follow(docker, &inventory).await;
        }
        // While the engine is not heard, the kernel goes on telling of what is known to run.
        let mut taken = self.read_files().await;
        if let Some(docker) = &docker {
            taken.extend(self.call(docker).await);
        }
        // Engines elsewhere have clocks of their own: good for rates, not for what is compared with
        // others.
        let latest = clock::now();
        let earliest = latest - PERIOD;
        let starts = starts(&inventory);
        let mut samples: Vec<_> = taken
            .into_iter()
            .filter_map(|(id, taken)| {
                let started_at = starts.get(&id).copied().flatten();
                self.sample(id, taken, &inventory, started_at)
            })
            .map(|sample| Sample { at: sample.at.clamp(earliest, latest), ..sample })
            .collect();
        samples.sort_by_key(|sample| sample.container_id);
        let host = match &mut self.host {
            Some(host) => host.sample().await,
            None => None,
        };
        self.sink.take(Batch { at: now, samples, host }).await
    }
}

/// Starts of the present runs, by container.
pub(super) fn starts(inventory: &Inventory) -> HashMap<i64, Option<Timestamp>> {
    inventory.containers.iter().map(|container| (container.id, container.started_at)).collect()
}

/// A paused container holds its memory.
fn is_measured(container: &Container) -> bool {
    matches!(container.state, State::Running | State::Paused)
        && container.archived_at.is_none()
        && !container.facts.labels.is_ignored
}

/// The container whose network `id` is part of: sandboxes are counted once.
fn owner_of_network(runs: &HashMap<i64, Run>, id: i64, inventory: &Inventory) -> Option<i64> {
    let mut owner = None;
    let mut next = id;
    let mut seen = HashSet::new();
    while seen.len() < CHAIN && seen.insert(next) {
        let Some(of) = runs.get(&next).and_then(|run| run.host_config.network_of()) else { break };
        let shared = inventory
            .containers
            .iter()
            .find(|container| container.external_id == of || container.facts.name == of)?;
        next = shared.id;
        owner = Some(next);
    }
    owner.filter(|owner| *owner != id)
}
