//! The host: how much of its processors, memory, disks and networks is used.
//!
//! Processors, memory, load and uptime come from `sysinfo`. It reads the `/proc` and `/sys` of its own
//! namespaces and cannot be pointed elsewhere, so where `/host/proc` is mounted its files are read
//! here. Networks, disks and filesystems are read here always: those of `sysinfo` are its own network
//! namespace's; it asks every mount, a hung one too, and knows neither inodes nor what root reserves.

pub(super) mod filesystems;
pub(super) mod kernel;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use maintenant_serve::clock;
use tokio::time::Instant;

use self::filesystems::Filesystems;
use self::kernel::{Gauges, Kernel};
use super::model::{HostSample, Rate, elapsed};

/// How long the files of the kernel may take: they are in memory.
const DEADLINE: Duration = Duration::from_secs(5);
/// More between two clocks means that one was set.
const SLACK: Duration = Duration::from_millis(500);

/// Reads the host again and again.
#[derive(Debug)]
pub struct Host {
    kernel: Arc<Mutex<Kernel>>,
    filesystems: Filesystems,
    previous: Option<(Gauges, Timestamp, Instant)>,
}

impl Host {
    /// `proc` is the host's procfs: `/proc`, or where it is mounted.
    pub fn new(proc: PathBuf) -> Self {
        Self {
            filesystems: Filesystems::new(&proc),
            kernel: Arc::new(Mutex::new(Kernel::new(proc))),
            previous: None,
        }
    }

    /// The host since the sample before; `None` the first time, and after a clock was set.
    pub async fn sample(&mut self) -> Option<HostSample> {
        let kernel = self.kernel.clone();
        let reading = tokio::task::spawn_blocking(move || {
            let mut kernel = kernel.lock().unwrap_or_else(PoisonError::into_inner);
            (kernel.read(), clock::now(), Instant::now())
        });
        let (found, reading) =
            tokio::join!(self.filesystems.read(), tokio::time::timeout(DEADLINE, reading));
        let (gauges, at, instant) = reading.ok()?.ok()?;
        let (before, dated, then) = self.previous.replace((gauges.clone(), at, instant))?;
        let elapsed = elapsed(at.duration_since(dated), instant.duration_since(then), SLACK)?;
        Some(HostSample {
            at,
            cpu_percent: gauges.cpu_percent?,
            cpu_count: gauges.cpu_count,
            load: gauges.load,
            mem_used: gauges.mem_used?,
            mem_total: gauges.mem_total?,
            swap_used: gauges.swap_used,
            swap_total: gauges.swap_total,
            net_rate: Rate::between(before.net, gauges.net, elapsed),
            disk_rate: Rate::between(before.disk, gauges.disk, elapsed),
            uptime_seconds: gauges.uptime_seconds,
            mounts: found.mounts,
            filesystems: found.measured,
        })
    }
}
