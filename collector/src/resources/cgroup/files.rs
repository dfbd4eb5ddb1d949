//! The files of one control group, in both versions of the kernel's interface.

use std::path::{Path, PathBuf};

use super::Buffer;
use super::parse::{blkio, cpu_max, io_stat, keyed, pressure, signed, single};
use crate::resources::model::{Pressure, Traffic, cores, memory_limit, working_set};

/// Where the accounts of one container are.
#[derive(Debug, Clone)]
pub(super) enum Files {
    V1(V1),
    V2(V2),
}

/// Version 1: a hierarchy per controller.
#[derive(Debug, Clone)]
pub(super) struct V1 {
    usage: PathBuf,
    quota: PathBuf,
    period: PathBuf,
    throttling: PathBuf,
    memory: PathBuf,
    memory_stat: PathBuf,
    block: PathBuf,
    pids: PathBuf,
    /// Of the unified hierarchy beside them.
    pressure: Option<PressureFiles>,
}

/// Version 2: one hierarchy.
#[derive(Debug, Clone)]
pub(super) struct V2 {
    stat: PathBuf,
    max: PathBuf,
    memory: PathBuf,
    memory_stat: PathBuf,
    memory_max: PathBuf,
    io: PathBuf,
    pids: PathBuf,
    pressure: Option<PressureFiles>,
}

#[derive(Debug, Clone)]
struct PressureFiles {
    cpu: PathBuf,
    mem: PathBuf,
    io: PathBuf,
}

/// What control groups tell; the network is not theirs.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Accounts {
    pub cpu_ns: u64,
    pub cpu_limit_cores: Option<f64>,
    pub cpu_periods: Option<(u64, u64)>,
    pub mem_working_set: Option<u64>,
    pub mem_anon: Option<u64>,
    pub mem_limit: Option<u64>,
    pub block: Option<Traffic>,
    pub pids: Option<u64>,
    pub pressure: Pressure,
}

impl Files {
    /// `None` if processor time cannot be read. Reads that first, so that the caller's clock is near.
    pub(super) fn read(&self, buffer: &mut Buffer) -> Option<Accounts> {
        match self {
            Self::V1(files) => files.read(buffer),
            Self::V2(files) => files.read(buffer),
        }
    }
}

impl V1 {
    /// The folder of a container in each hierarchy, by its controller; `None` without processor time.
    pub(super) fn new(
        folder: impl Fn(&str) -> Option<PathBuf>,
        unified: Option<&Path>,
    ) -> Option<Self> {
        let file = |controller: &str, name: &str| {
            folder(controller).map(|folder| folder.join(name)).unwrap_or_default()
        };
        Some(Self {
            usage: folder("cpuacct")?.join("cpuacct.usage"),
            quota: file("cpu", "cpu.cfs_quota_us"),
            period: file("cpu", "cpu.cfs_period_us"),
            throttling: file("cpu", "cpu.stat"),
            memory: file("memory", "memory.usage_in_bytes"),
            memory_stat: file("memory", "memory.stat"),
            block: file("blkio", "blkio.throttle.io_service_bytes_recursive"),
            pids: file("pids", "pids.current"),
            pressure: unified.and_then(PressureFiles::find),
        })
    }

    fn read(&self, buffer: &mut Buffer) -> Option<Accounts> {
        let cpu_ns = buffer.read(&self.usage).and_then(single)?;
        let quota = buffer.read(&self.quota).and_then(signed).filter(|quota| *quota > 0);
        let cpu_limit_cores =
            quota.and_then(|quota| cores(quota, buffer.read(&self.period).and_then(signed)?));
        let usage = buffer.read(&self.memory).and_then(single);
        // `total_` is with the groups below; its limit is the tightest of those above.
        let (cache, mem_anon, limit) = match buffer.read(&self.memory_stat) {
            Some(stat) => (
                keyed(stat, "total_inactive_file"),
                keyed(stat, "total_rss"),
                keyed(stat, "hierarchical_memory_limit"),
            ),
            None => (None, None, None),
        };
        Some(Accounts {
            cpu_ns,
            cpu_limit_cores,
            cpu_periods: cpu_limit_cores.and_then(|_| periods(buffer.read(&self.throttling)?)),
            mem_working_set: working_set(usage, cache),
            mem_anon,
            mem_limit: limit.and_then(memory_limit),
            block: buffer.read(&self.block).and_then(blkio),
            pids: buffer.read(&self.pids).and_then(single),
            pressure: PressureFiles::read(self.pressure.as_ref(), buffer),
        })
    }
}

impl V2 {
    pub(super) fn new(folder: &Path) -> Self {
        Self {
            stat: folder.join("cpu.stat"),
            max: folder.join("cpu.max"),
            memory: folder.join("memory.current"),
            memory_stat: folder.join("memory.stat"),
            memory_max: folder.join("memory.max"),
            io: folder.join("io.stat"),
            pids: folder.join("pids.current"),
            pressure: PressureFiles::find(folder),
        }
    }

    fn read(&self, buffer: &mut Buffer) -> Option<Accounts> {
        let stat = buffer.read(&self.stat)?;
        let cpu_ns = keyed(stat, "usage_usec")?.checked_mul(1000)?;
        let cpu_periods = periods(stat);
        let cpu_limit_cores = buffer
            .read(&self.max)
            .and_then(cpu_max)
            .and_then(|(quota, period)| cores(quota, period));
        let usage = buffer.read(&self.memory).and_then(single);
        let (cache, mem_anon) = match buffer.read(&self.memory_stat) {
            Some(stat) => (keyed(stat, "inactive_file"), keyed(stat, "anon")),
            None => (None, None),
        };
        Some(Accounts {
            cpu_ns,
            cpu_limit_cores,
            cpu_periods: cpu_periods.filter(|_| cpu_limit_cores.is_some()),
            mem_working_set: working_set(usage, cache),
            mem_anon,
            mem_limit: buffer.read(&self.memory_max).and_then(single).and_then(memory_limit),
            block: buffer.read(&self.io).and_then(io_stat),
            pids: buffer.read(&self.pids).and_then(single),
            pressure: PressureFiles::read(self.pressure.as_ref(), buffer),
        })
    }
}

/// `cpu.stat` has these names in both versions.
fn periods(stat: &str) -> Option<(u64, u64)> {
    Some((keyed(stat, "nr_periods")?, keyed(stat, "nr_throttled")?))
}

impl PressureFiles {
    /// Kernels without pressure stall information have no such files: they are not asked again.
    fn find(folder: &Path) -> Option<Self> {
        let cpu = folder.join("cpu.pressure");
        let found = Self {
            mem: folder.join("memory.pressure"),
            io: folder.join("io.pressure"),
            cpu: cpu.clone(),
        };
        cpu.exists().then_some(found)
    }

    fn read(files: Option<&Self>, buffer: &mut Buffer) -> Pressure {
        let Some(files) = files else { return Pressure::default() };
        Pressure {
            cpu: buffer.read(&files.cpu).and_then(pressure),
            mem: buffer.read(&files.mem).and_then(pressure),
            io: buffer.read(&files.io).and_then(pressure),
        }
    }
}
