//! Takes what was measured: stores it, judges it, tells it, and remembers the last of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use maintenant_api::containers::State;
use maintenant_api::resources as wire;
use rusqlite::Connection;

use super::model::{HostSample, Sample};
use super::rollup::{Used, advance};
use super::sampler::{Batch, Sink, starts};
use super::sql::{self, HOST};
use super::standings::{Key, Told, disk_percent, judge_batch, publish_all};
use super::thresholds::{Metric, percent};
use crate::containers::model::Container;
use crate::http::events::EventBus;
use crate::spine::Spine;

/// What is older is not told as if it were so now.
const FRESH: SignedDuration = SignedDuration::from_secs(30);
/// An engine's time further away from ours is of another clock.
const SKEW_MS: i64 = 60_000;

/// Clones share it.
#[derive(Clone)]
pub struct Usage {
    pub(super) spine: Spine,
    latest: Arc<Mutex<Latest>>,
}

/// The last samples, each with the time of its round.
#[derive(Debug, Default)]
struct Latest {
    containers: BTreeMap<i64, (Timestamp, Sample)>,
    host: Option<(Timestamp, HostSample)>,
}

impl Usage {
    pub fn new(spine: Spine) -> Self {
        Self { spine, latest: Arc::default() }
    }

    fn latest(&self) -> MutexGuard<'_, Latest> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Containers that run and are not ignored, as far as the runtime is heard.
    pub(super) fn running(&self) -> Option<BTreeSet<i64>> {
        self.spine.runtime.get().connected.then(|| {
            let inventory = self.spine.inventory.borrow();
            let up = |state| matches!(state, State::Running | State::Paused);
            let is_watched =
                |container: &Container| up(container.state) && !container.facts.labels.is_ignored;
            let running = inventory.containers.iter().filter(|container| is_watched(container));
            running.map(|container| container.id).collect()
        })
    }

    /// The last sample of a container that runs, unless it is old.
    pub(super) fn sample(&self, id: i64, now: Timestamp) -> Option<Sample> {
        self.samples(now).remove(&id)
    }

    /// The last samples of all that run, each of its present run.
    pub(super) fn samples(&self, now: Timestamp) -> BTreeMap<i64, Sample> {
        let running = self.running();
        let starts = starts(&self.spine.inventory.borrow());
        let latest = self.latest();
        let fresh = latest.containers.iter().filter(|(id, (at, sample))| {
            running.as_ref().is_none_or(|running| running.contains(id))
                && starts.get(id).is_none_or(|started_at| *started_at == sample.started_at)
                && is_fresh(*at, now)
        });
        fresh.map(|(id, (_, sample))| (*id, sample.clone())).collect()
    }

    pub(super) fn host(&self, now: Timestamp) -> Option<HostSample> {
        let latest = self.latest();
        latest.host.as_ref().filter(|(at, _)| is_fresh(*at, now)).map(|(_, host)| host.clone())
    }

    /// The host's memory; it does not age.
    pub(super) fn mem_total(&self) -> Option<u64> {
        self.latest().host.as_ref().map(|(_, host)| host.mem_total)
    }

    /// The percentages that thresholds are held against.
    pub(super) fn percentages(&self, id: i64, now: Timestamp) -> BTreeMap<Key, f64> {
        let mem_total = self.mem_total();
        let (cpu, memory) = if id == HOST {
            let host = self.host(now);
            let memory = host.and_then(|host| percent(Some(host.mem_used), Some(host.mem_total)));
            // The mean that counts is in the database alone.
            (None, memory)
        } else {
            let sample = self.sample(id, now);
            let memory = sample
                .as_ref()
                .and_then(|sample| percent(sample.mem_working_set, sample.mem_bound(mem_total)));
            (sample.map(|sample| sample.cpu_percent), memory)
        };
        [(Metric::Cpu, cpu), (Metric::Memory, memory)]
            .into_iter()
            .filter_map(|(metric, value)| Some(((metric, id), value?)))
            .collect()
    }

    fn remember(&self, batch: &Batch) {
        let mut latest = self.latest();
        if let Some(host) = &batch.host {
            latest.host = Some((batch.at, host.clone()));
        }
        for sample in &batch.samples {
            latest.containers.insert(sample.container_id, (batch.at, sample.clone()));
        }
        latest.containers.retain(|_, (at, _)| is_fresh(*at, batch.at));
    }
}

/// What was measured after `now` is of a clock that was set back since.
fn is_fresh(at: Timestamp, now: Timestamp) -> bool {
    now.duration_since(at).abs() <= FRESH
}

impl Sink for Usage {
    /// What was measured is remembered and told also when it cannot be stored.
    async fn take(&mut self, batch: Batch) -> anyhow::Result<()> {
        self.remember(&batch);
        let mem_total = self.mem_total();
        tell_snapshots(&self.spine.events, &batch, mem_total);
        let running = self.running();
        let events = self.spine.events.clone();
        let work = move |tx: &Connection| {
            store(tx, &batch)?;
            judge_batch(tx, &batch, mem_total, running.as_ref())
        };
        let tell = move |told: &Vec<Told>| publish_all(told, &events);
        self.spine.store.write_then(work, tell).await?;
        Ok(())
    }
}

/// Stores a round and rolls up what is over.
pub fn store(tx: &Connection, batch: &Batch) -> rusqlite::Result<()> {
    let at = batch.at.as_millisecond();
    let mut earliest = at;
    for sample in &batch.samples {
        let measured = sample.at.as_millisecond();
        let measured = if (measured - at).abs() <= SKEW_MS { measured } else { at };
        earliest = earliest.min(measured);
        sql::insert_sample(tx, sample.container_id, measured, &used(sample))?;
    }
    if let Some(host) = &batch.host {
        let measured = host.at.as_millisecond();
        earliest = earliest.min(measured);
        sql::insert_sample(tx, HOST, measured, &used_by_host(host))?;
    }
    advance(tx, at, earliest)
}

fn used(sample: &Sample) -> Used {
    let (net, block) = (sample.net, sample.block);
    let (net_rate, block_rate) = (sample.net_rate, sample.block_rate);
    Used {
        cpu: hundredths(sample.cpu_percent),
        mem: sample.mem_working_set.map(kib),
        last: [
            sample.mem_bound(None).map(kib),
            net.map(|net| whole(net.received)),
            net.map(|net| whole(net.sent)),
            block.map(|block| whole(block.received)),
            block.map(|block| whole(block.sent)),
        ],
        means: [
            net_rate.map(|rate| rounded(rate.received)),
            net_rate.map(|rate| rounded(rate.sent)),
            block_rate.map(|rate| rounded(rate.received)),
            block_rate.map(|rate| rounded(rate.sent)),
            None,
            None,
            None,
        ],
    }
}

fn used_by_host(host: &HostSample) -> Used {
    let root = root(host).and_then(disk_percent);
    let (net, disk) = (host.net_rate, host.disk_rate);
    Used {
        cpu: hundredths(host.cpu_percent),
        mem: Some(kib(host.mem_used)),
        last: [Some(kib(host.mem_total)), None, None, None, None],
        means: [
            net.map(|rate| rounded(rate.received)),
            net.map(|rate| rounded(rate.sent)),
            disk.map(|rate| rounded(rate.received)),
            disk.map(|rate| rounded(rate.sent)),
            Some(kib(host.swap_used)),
            host.load.map(|[minute, ..]| hundredths(minute)),
            root.map(hundredths),
        ],
    }
}

/// The filesystem that holds `/`.
pub(super) fn root(host: &HostSample) -> Option<&super::model::Filesystem> {
    host.filesystems.iter().find(|filesystem| filesystem.mount == "/")
}

fn kib(bytes: u64) -> i64 {
    whole(bytes.saturating_add(512) / 1024)
}

pub(super) fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[expect(clippy::cast_possible_truncation, reason = "saturates, and NaN is 0")]
pub(super) fn rounded(number: f64) -> i64 {
    number.round() as i64
}

fn hundredths(number: f64) -> i64 {
    rounded(number * 100.0)
}

/// A sample as the wire carries it. Without a limit of its own the host's memory is its limit.
pub(super) fn to_wire(sample: &Sample, mem_total: Option<u64>) -> wire::ResourceSample {
    let limit = sample.mem_bound(mem_total);
    let count = |number: Option<u64>| number.map_or(-1, whole);
    let (net, block) = (sample.net, sample.block);
    wire::ResourceSample {
        container_id: sample.container_id,
        cpu_percent: sample.cpu_percent,
        mem_used: count(sample.mem_working_set),
        mem_limit: count(limit),
        mem_percent: percent(sample.mem_working_set, limit).unwrap_or(-1.0),
        net_rx_bytes: count(net.map(|net| net.received)),
        net_tx_bytes: count(net.map(|net| net.sent)),
        block_read_bytes: count(block.map(|block| block.received)),
        block_write_bytes: count(block.map(|block| block.sent)),
        timestamp: sample.at,
        more: wire::SampleMore {
            cpu_limit_cores: sample.cpu_limit_cores,
            cpu_throttled_percent: sample.cpu_throttled_percent,
            mem_anon: sample.mem_anon.map(whole),
            mem_is_limited: sample.mem_is_limited,
            net_rx_rate: sample.net_rate.map(|rate| rate.received),
            net_tx_rate: sample.net_rate.map(|rate| rate.sent),
            block_read_rate: sample.block_rate.map(|rate| rate.received),
            block_write_rate: sample.block_rate.map(|rate| rate.sent),
            pids: sample.pids.map(whole),
            cpu_pressure: sample.pressure.cpu,
            mem_pressure: sample.pressure.mem,
            io_pressure: sample.pressure.io,
            shares_network_of: sample.shares_network_of,
            read_from: Some(if sample.is_from_api { "api" } else { "cgroup" }.to_owned()),
        },
    }
}

/// The contract's keys alone, for whoever listens now: a client that comes back reads them by REST.
fn tell_snapshots(events: &EventBus, batch: &Batch, mem_total: Option<u64>) {
    for sample in &batch.samples {
        let snapshot = wire::ResourceSample {
            more: wire::SampleMore::default(),
            ..to_wire(sample, mem_total)
        };
        events.show("resource.snapshot", &snapshot);
    }
}
