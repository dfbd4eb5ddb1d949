//! A container's use as its engine tells it, where the kernel's files cannot be seen: a remote engine,
//! or a collector in a container without `/host`.
//!
//! Engines give the processor time of a container beside that of the whole host, which Podman makes up:
//! the share of wall time, by the engine's own clock, is right for all of them.

use super::cgroup::parse::sum;
use super::model::{Pressure, Reading, Traffic, cores, memory_limit, working_set};
use crate::docker::{self, InspectedHostConfig, Stats};

/// `None` if the answer holds no sample: a container that does not run is answered with the year 1.
pub fn reading(stats: &Stats, host_config: &InspectedHostConfig) -> Option<Reading> {
    let at = docker::time(&stats.read)?;
    let cpu = stats.cpu_stats.as_ref()?;
    let memory = stats.memory_stats.as_ref();
    let detail = memory.map(|memory| &memory.stats);
    let of_memory = |names: [&str; 2]| {
        let detail = detail?;
        names.iter().find_map(|name| detail.get(*name)?.as_u64())
    };
    let cpu_limit_cores = cpu_limit(host_config);
    // Without a limit, engines tell the memory of their host.
    let limit = memory.and_then(|memory| memory.limit).and_then(memory_limit);
    let is_limited = host_config.memory > 0;
    let throttling = cpu.throttling_data.as_ref();
    Some(Reading {
        at,
        cpu_ns: cpu.cpu_usage.as_ref()?.total_usage?,
        cpu_limit_cores,
        cpu_periods: throttling
            .filter(|_| cpu_limit_cores.is_some())
            .and_then(|data| Some((data.periods?, data.throttled_periods?))),
        // Version 1 counts the groups below under `total_`; version 2 always does.
        mem_working_set: working_set(
            memory.and_then(|memory| memory.usage),
            of_memory(["total_inactive_file", "inactive_file"]),
        ),
        mem_anon: of_memory(["total_rss", "anon"]),
        mem_limit: limit.filter(|_| is_limited),
        mem_ceiling: limit.filter(|_| !is_limited),
        net: network(stats, host_config),
        block: block(stats),
        pids: stats.pids_stats.as_ref().and_then(|pids| pids.current),
        pressure: Pressure::default(),
    })
}

/// `--cpus`, or the quota that it stands for.
fn cpu_limit(host_config: &InspectedHostConfig) -> Option<f64> {
    let by_quota = || {
        // The kernel's own period unless another is asked for.
        let period = if host_config.cpu_period > 0 { host_config.cpu_period } else { 100_000 };
        cores(host_config.cpu_quota, period)
    };
    cores(host_config.nano_cpus, 1_000_000_000).or_else(by_quota)
}

/// The host's network, and another container's, are not its own.
fn network(stats: &Stats, host_config: &InspectedHostConfig) -> Option<Traffic> {
    if !host_config.has_own_network() {
        return None;
    }
    sum(stats.networks.as_ref()?.iter().filter(|(name, _)| *name != "lo").filter_map(
        |(_, network)| Some(Traffic { received: network.rx_bytes?, sent: network.tx_bytes? }),
    ))
}

fn block(stats: &Stats) -> Option<Traffic> {
    let entries = stats.blkio_stats.as_ref()?.io_service_bytes_recursive.as_ref()?;
    sum(entries.iter().filter_map(|entry| {
        let (received, sent) = match entry.op.to_ascii_lowercase().as_str() {
            "read" => (entry.value, 0),
            "write" => (0, entry.value),
            _ => return None,
        };
        Some(Traffic { received, sent })
    }))
}
