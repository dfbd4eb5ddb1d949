//! What was measured of a container and of the host, and how counters become rates.
//!
//! No I/O and no clock here.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// What was read of a container at one moment, wherever it was read. Counters count since its start;
/// `None` was not to be read, which is not 0.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// When it was read: the engine's own `read` time for its API.
    pub at: Timestamp,
    /// Nanoseconds of processor time.
    pub cpu_ns: u64,
    /// Cores its quota allows.
    pub cpu_limit_cores: Option<f64>,
    /// Periods of the quota, and those in which it was held back.
    pub cpu_periods: Option<(u64, u64)>,
    /// Usage without the inactive page cache.
    pub mem_working_set: Option<u64>,
    pub mem_anon: Option<u64>,
    /// Its own limit; `None` without one.
    pub mem_limit: Option<u64>,
    /// What an engine tells without an own limit: the memory of its host, which may not be ours.
    pub mem_ceiling: Option<u64>,
    pub net: Option<Traffic>,
    pub block: Option<Traffic>,
    pub pids: Option<u64>,
    pub pressure: Pressure,
}

/// Bytes in and out: received and sent, or read and written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    pub received: u64,
    pub sent: u64,
}

/// `some avg10` of pressure stall information, percent of time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Pressure {
    pub cpu: Option<f64>,
    pub mem: Option<f64>,
    pub io: Option<f64>,
}

/// A container between two readings. Stored as one row.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    pub container_id: i64,
    pub at: Timestamp,
    /// 100 is one core.
    pub cpu_percent: f64,
    pub cpu_limit_cores: Option<f64>,
    /// Share of quota periods in which it was held back, percent.
    pub cpu_throttled_percent: Option<f64>,
    pub mem_working_set: Option<u64>,
    pub mem_anon: Option<u64>,
    pub mem_limit: Option<u64>,
    /// Memory of its host as its engine tells it.
    pub mem_ceiling: Option<u64>,
    /// `None` if its limits are not known.
    pub mem_is_limited: Option<bool>,
    /// Counters since its start, as the contract has them.
    pub net: Option<Traffic>,
    pub block: Option<Traffic>,
    /// Bytes per second. `None` right after a counter began anew.
    pub net_rate: Option<Rate>,
    pub block_rate: Option<Rate>,
    pub pids: Option<u64>,
    pub pressure: Pressure,
    /// Container whose network it shares: its own `net` is `None` then.
    pub shares_network_of: Option<i64>,
    pub is_from_api: bool,
    /// Start of its run, as it was known then: tells its runs apart.
    pub started_at: Option<Timestamp>,
}

/// Bytes per second in and out.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Rate {
    pub received: f64,
    pub sent: f64,
}

/// The host at one moment; rates since the sample before.
#[derive(Debug, Clone, PartialEq)]
pub struct HostSample {
    pub at: Timestamp,
    /// 0 to 100, of all cores together.
    pub cpu_percent: f64,
    pub cpu_count: u32,
    /// Averages of 1, 5 and 15 minutes.
    pub load: Option<[f64; 3]>,
    pub mem_used: u64,
    pub mem_total: u64,
    pub swap_used: u64,
    pub swap_total: u64,
    pub net_rate: Option<Rate>,
    pub disk_rate: Option<Rate>,
    pub uptime_seconds: Option<u64>,
    /// Where every real filesystem is mounted, each once. `None` if that could not be read.
    pub mounts: Option<BTreeSet<String>>,
    /// Those of them that told their size in time.
    pub filesystems: Vec<Filesystem>,
}

/// A filesystem as `statvfs` tells it.
#[derive(Debug, Clone, PartialEq)]
pub struct Filesystem {
    /// Where it is mounted on the host.
    pub mount: String,
    pub kind: String,
    pub total: u64,
    /// Total without what is free.
    pub used: u64,
    /// For everybody, not for root alone.
    pub available: u64,
    pub inodes_percent: Option<f64>,
}

/// Whose readings they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    pub container_id: i64,
    pub shares_network_of: Option<i64>,
    pub is_from_api: bool,
    /// Whether its limits are known.
    pub is_inspected: bool,
    pub started_at: Option<Timestamp>,
}

impl Sample {
    /// What its memory is held against: its own limit, or its host's memory; ours if its engine does
    /// not tell.
    pub fn mem_bound(&self, mem_total: Option<u64>) -> Option<u64> {
        self.mem_limit.or(self.mem_ceiling).or(mem_total)
    }

    /// What a run used between two of its readings, `elapsed` apart. `None` if no time passed, or if
    /// its processor time went back: then it is another run, and nothing is known of either.
    pub fn between(
        previous: &Reading,
        current: &Reading,
        elapsed: Duration,
        origin: Origin,
    ) -> Option<Self> {
        let cpu_ns = current.cpu_ns.checked_sub(previous.cpu_ns)?;
        if elapsed.is_zero() {
            return None;
        }
        Some(Self {
            container_id: origin.container_id,
            at: current.at,
            cpu_percent: number(cpu_ns) / (elapsed.as_secs_f64() * 1e9) * 100.0,
            cpu_limit_cores: current.cpu_limit_cores,
            cpu_throttled_percent: throttled(previous, current),
            mem_working_set: current.mem_working_set,
            mem_anon: current.mem_anon,
            mem_limit: current.mem_limit,
            mem_ceiling: current.mem_ceiling,
            mem_is_limited: origin.is_inspected.then_some(current.mem_limit.is_some()),
            net: current.net,
            block: current.block,
            net_rate: Rate::between(previous.net, current.net, elapsed),
            block_rate: Rate::between(previous.block, current.block, elapsed),
            pids: current.pids,
            pressure: current.pressure,
            shares_network_of: origin.shares_network_of,
            is_from_api: origin.is_from_api,
            started_at: origin.started_at,
        })
    }
}

/// `None` without a quota. A quota of which no period began held nothing back.
fn throttled(previous: &Reading, current: &Reading) -> Option<f64> {
    current.cpu_limit_cores?;
    let (periods_before, held_before) = previous.cpu_periods?;
    let (periods, held) = current.cpu_periods?;
    let periods = periods.checked_sub(periods_before)?;
    let held = held.checked_sub(held_before)?;
    let share = if periods == 0 { 0.0 } else { number(held) / number(periods) * 100.0 };
    Some(share.min(100.0))
}

impl Rate {
    /// `None` unless both are known, time passed and neither counter went back.
    pub fn between(
        previous: Option<Traffic>,
        current: Option<Traffic>,
        elapsed: Duration,
    ) -> Option<Self> {
        let (previous, current) = (previous?, current?);
        let received = current.received.checked_sub(previous.received)?;
        let sent = current.sent.checked_sub(previous.sent)?;
        let seconds = elapsed.as_secs_f64();
        let rate = Self { received: number(received) / seconds, sent: number(sent) / seconds };
        (seconds > 0.0).then_some(rate)
    }
}

/// The time between two readings by the clock that dated them, if another clock, which nobody sets,
/// says the same but for `slack`. A clock that was set, or a machine that slept, makes no rate.
pub fn elapsed(dated: SignedDuration, monotonic: Duration, slack: Duration) -> Option<Duration> {
    let dated = Duration::try_from(dated).ok().filter(|dated| !dated.is_zero())?;
    (dated.abs_diff(monotonic) <= slack).then_some(dated)
}

/// Usage without the page cache that the kernel gives back first. A cache that is larger than what
/// is used was read at another moment, and is left in. A usage that no machine has is a counter that
/// went below 0, and not known.
pub fn working_set(usage: Option<u64>, inactive_file: Option<u64>) -> Option<u64> {
    let usage = usage.filter(|usage| *usage < 1 << 50)?;
    Some(inactive_file.and_then(|cache| usage.checked_sub(cache)).unwrap_or(usage))
}

/// A limit that limits: kernels write "none" as the largest number of whole pages.
pub fn memory_limit(bytes: u64) -> Option<u64> {
    (bytes > 0 && bytes < 1 << 60).then_some(bytes)
}

/// Cores that a quota of microseconds in each period allows.
pub fn cores(quota: i64, period: i64) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "microseconds of a period are few")]
    (quota > 0 && period > 0).then(|| quota as f64 / period as f64)
}

/// Counters of 2^53 and more lose their last digits, which no rate shows.
#[expect(clippy::cast_precision_loss, reason = "see above")]
pub fn number(counter: u64) -> f64 {
    counter as f64
}
