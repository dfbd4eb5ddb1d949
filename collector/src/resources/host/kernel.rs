//! The host's counters and gauges.

use std::path::{Path, PathBuf};

use sysinfo::System;

use crate::resources::cgroup::Buffer;
use crate::resources::cgroup::parse::{net_dev, sum};
use crate::resources::model::{Traffic, number};

/// The kernel counts in these whatever the device's are.
const SECTOR: u64 = 512;

/// The host at one moment; networks and disks count since its start.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Gauges {
    /// Since the reading before.
    pub cpu_percent: Option<f64>,
    pub cpu_count: u32,
    pub load: Option<[f64; 3]>,
    pub mem_used: Option<u64>,
    pub mem_total: Option<u64>,
    pub swap_used: u64,
    pub swap_total: u64,
    pub net: Option<Traffic>,
    pub disk: Option<Traffic>,
    pub uptime_seconds: Option<u64>,
}

#[derive(Debug)]
pub(super) struct Kernel {
    proc: PathBuf,
    cpu: Cpu,
    /// The host's network, if it can be seen.
    net: Option<PathBuf>,
    buffer: Buffer,
}

#[derive(Debug)]
enum Cpu {
    Sysinfo {
        system: Box<System>,
        is_warm: bool,
    },
    /// Busy and whole time of all processors at the reading before.
    Files {
        previous: Option<(u64, u64)>,
    },
}

impl Kernel {
    pub(super) fn new(proc: PathBuf) -> Self {
        let is_own = proc == Path::new("/proc");
        let cpu = match System::new() {
            Ok(system) if is_own => Cpu::Sysinfo { system: Box::new(system), is_warm: false },
            _ => Cpu::Files { previous: None },
        };
        let sees_network = !is_own || !in_container() || has_device();
        let net = sees_network.then(|| proc.join("1/net/dev"));
        Self { proc, cpu, net, buffer: Buffer::default() }
    }

    /// Blocks.
    pub(super) fn read(&mut self) -> Gauges {
        let mut gauges = match &mut self.cpu {
            Cpu::Sysinfo { system, is_warm } => {
                let gauges = of_sysinfo(system, *is_warm);
                *is_warm = true;
                gauges
            }
            Cpu::Files { previous } => of_files(&self.proc, previous, &mut self.buffer),
        };
        gauges.net = self.net.as_ref().and_then(|net| net_dev(self.buffer.read(net)?, is_outward));
        let disks = self.buffer.read(&self.proc.join("diskstats"));
        gauges.disk = disks.and_then(|text| diskstats(text, is_whole_disk));
        gauges
    }
}

fn of_sysinfo(system: &mut System, is_warm: bool) -> Gauges {
    system.refresh_cpu_usage();
    system.refresh_memory();
    let known = system.total_memory() > 0;
    let cpu_percent = f64::from(system.global_cpu_usage());
    let load = System::load_average().ok();
    Gauges {
        // Its first answer is since nothing.
        cpu_percent: is_warm.then_some(cpu_percent.clamp(0.0, 100.0)),
        cpu_count: u32::try_from(system.cpus().len()).unwrap_or_default(),
        load: load.map(|load| [load.one, load.five, load.fifteen]),
        mem_used: known.then(|| system.total_memory().saturating_sub(system.available_memory())),
        mem_total: known.then(|| system.total_memory()),
        swap_used: system.used_swap(),
        swap_total: system.total_swap(),
        uptime_seconds: System::uptime().ok(),
        ..Gauges::default()
    }
}

fn of_files(proc: &Path, previous: &mut Option<(u64, u64)>, buffer: &mut Buffer) -> Gauges {
    let mut gauges = Gauges::default();
    if let Some((busy, whole, count)) = buffer.read(&proc.join("stat")).and_then(busy) {
        gauges.cpu_count = count;
        gauges.cpu_percent = previous.and_then(|(busy_before, whole_before)| {
            let (busy, whole) = (busy.checked_sub(busy_before)?, whole.checked_sub(whole_before)?);
            (whole > 0).then(|| (number(busy) / number(whole) * 100.0).min(100.0))
        });
        *previous = Some((busy, whole));
    }
    if let Some(text) = buffer.read(&proc.join("meminfo")) {
        let get = |name| meminfo(text, name);
        gauges.mem_total = get("MemTotal");
        let available = get("MemAvailable");
        gauges.mem_used =
            gauges.mem_total.zip(available).and_then(|(total, free)| total.checked_sub(free));
        gauges.swap_total = get("SwapTotal").unwrap_or_default();
        gauges.swap_used =
            gauges.swap_total.saturating_sub(get("SwapFree").unwrap_or(gauges.swap_total));
    }
    let floats = |text: &str| -> Vec<f64> {
        text.split_ascii_whitespace().map_while(|word| word.parse().ok()).collect()
    };
    gauges.load = buffer.read(&proc.join("loadavg")).map(floats).and_then(|load| {
        let [one, five, fifteen, ..] = load.as_slice() else { return None };
        Some([*one, *five, *fifteen])
    });
    gauges.uptime_seconds =
        buffer.read(&proc.join("uptime")).and_then(|text| text.split_once('.')?.0.parse().ok());
    gauges
}

/// Busy and whole time of all processors, and how many there are, of `/proc/stat`. Waiting for a disk
/// is not busy; the time of guests is in the user time already.
pub(in crate::resources) fn busy(text: &str) -> Option<(u64, u64, u32)> {
    let line = text.lines().next()?.strip_prefix("cpu ")?;
    let times: Vec<u64> =
        line.split_ascii_whitespace().take(8).map_while(|word| word.parse().ok()).collect();
    let [_, _, _, idle, iowait, ..] = times.as_slice() else { return None };
    let whole = times.iter().try_fold(0_u64, |sum, time| sum.checked_add(*time))?;
    let count = text.lines().skip(1).take_while(|line| line.starts_with("cpu")).count();
    Some((whole.checked_sub(idle.checked_add(*iowait)?)?, whole, u32::try_from(count).ok()?))
}

/// Bytes of a line of `/proc/meminfo`.
pub(in crate::resources) fn meminfo(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_ascii_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// Bytes read and written of the disks of `/proc/diskstats` that `counts` takes.
pub(in crate::resources) fn diskstats(
    text: &str,
    counts: impl Fn(&str) -> bool,
) -> Option<Traffic> {
    sum(text.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace().skip(2);
        let name = words.next()?;
        let read: u64 = words.nth(2)?.parse().ok()?;
        let written: u64 = words.nth(3)?.parse().ok()?;
        counts(name).then_some(Traffic {
            received: read.checked_mul(SECTOR)?,
            sent: written.checked_mul(SECTOR)?,
        })
    }))
}

/// A disk itself: not a part of one, not made of others (then its bytes would count twice), and not
/// memory.
fn is_whole_disk(name: &str) -> bool {
    let made = ["loop", "ram", "zram", "dm-", "md", "sr", "fd", "drbd", "bcache", "nbd"];
    !made.iter().any(|prefix| name.starts_with(prefix))
        && !name.contains('/')
        && Path::new("/sys/block").join(name).exists()
}

/// An interface to the outside: not one that passes on what another one counts.
pub(in crate::resources) fn is_outward(name: &str) -> bool {
    let inner = [
        "veth",
        "docker",
        "br-",
        "virbr",
        "vmbr",
        "lxcbr",
        "lxdbr",
        "incusbr",
        "podman",
        "cni",
        "flannel",
        "cali",
        "cilium",
        "lxc",
        "kube-",
        "vxlan",
        "vnet",
        "tap",
        "tun",
        "wg",
        "tailscale",
        "zt",
        "ifb",
        "dummy",
        "bond",
        "team",
        "sit",
        "gre",
        "ip6",
        "erspan",
        "fwbr",
        "fwpr",
        "fwln",
    ];
    let bridge = name.strip_prefix("br").is_some_and(|rest| rest.parse::<u32>().is_ok());
    // `eth0.10` is a VLAN on `eth0`.
    let is_part = name.contains('.');
    !(name == "lo" || bridge || is_part || inner.iter().any(|prefix| name.starts_with(prefix)))
}

fn in_container() -> bool {
    ["/.dockerenv", "/run/.containerenv"].iter().any(|file| Path::new(file).exists())
}

/// Only the host's network has interfaces of devices.
fn has_device() -> bool {
    let interfaces = std::fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    interfaces.map(|interface| interface.path().join("device")).any(|device| device.exists())
}
