//! What was measured of a container and of the host, and how counters become rates.
//!
//! No I/O and no clock here.

use jiff::Timestamp;

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
    /// Every real filesystem, each once.
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
