//! Every real filesystem of the host, each once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::resources::model::{Filesystem, number};

/// A filesystem that does not tell its size within this time is left out until it does.
const DEADLINE: Duration = Duration::from_secs(2);
const MOST: usize = 256;
/// Kinds that keep files on a disk of this machine. Others are made up by the kernel, lie over one of
/// these, never fill, or are elsewhere and may hang.
const REAL: [&str; 17] = [
    "ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "bcachefs", "jfs", "reiserfs", "nilfs2",
    "vfat", "exfat", "ntfs", "ntfs3", "fuseblk", "hfsplus",
];
/// Engines mount this into containers from their own folder.
const ENGINES: &str = "/etc/hosts";
/// Where the host's root may be mounted.
const HOST_ROOTS: [&str; 2] = ["/host/rootfs", "/host"];

/// What is mounted, and what was measured of it.
#[derive(Debug, Default)]
pub(in crate::resources) struct Found {
    /// `None` if a table of mounts could not be read.
    pub mounts: Option<BTreeSet<String>>,
    pub measured: Vec<Filesystem>,
}

/// Asks filesystems for their sizes. One that hangs holds up its own thread, and no other is put to it.
#[derive(Debug)]
pub(in crate::resources) struct Filesystems {
    own: PathBuf,
    /// The host's table, if it is another.
    host: Option<PathBuf>,
    tasks: JoinSet<(String, Option<Filesystem>)>,
    under_way: BTreeSet<String>,
}

impl Filesystems {
    pub(in crate::resources) fn new(proc: &Path) -> Self {
        Self {
            own: PathBuf::from("/proc/self/mountinfo"),
            host: (proc != Path::new("/proc")).then(|| proc.join("1/mountinfo")),
            tasks: JoinSet::new(),
            under_way: BTreeSet::new(),
        }
    }

    pub(in crate::resources) async fn read(&mut self) -> Found {
        let (own, host) = (self.own.clone(), self.host.clone());
        let tables = tokio::task::spawn_blocking(move || {
            let read = |path: &Path| std::fs::read_to_string(path).map(|text| mounts(&text));
            let host = host.map(|host| read(&host)).transpose()?.unwrap_or_default();
            Ok::<_, std::io::Error>(choose(&read(&own)?, &host))
        });
        let deadline = Instant::now() + DEADLINE;
        let Ok(Ok(Ok(chosen))) = tokio::time::timeout_at(deadline, tables).await else {
            return Found::default();
        };
        let mounts: BTreeSet<String> = chosen.iter().map(|(mount, ..)| mount.clone()).collect();
        for (mount, path, kind) in chosen {
            if self.under_way.insert(mount.clone()) {
                self.tasks.spawn_blocking(move || (mount.clone(), size(mount, &path, kind)));
            }
        }
        let mut measured = Vec::new();
        while let Ok(Some(ended)) = tokio::time::timeout_at(deadline, self.tasks.join_next()).await
        {
            let Ok((mount, filesystem)) = ended else { continue };
            self.under_way.remove(&mount);
            // An answer to an earlier round may be of one that is not there any more.
            measured.extend(filesystem.filter(|_| mounts.contains(&mount)));
        }
        measured.sort_by(|a, b| a.mount.cmp(&b.mount));
        Found { mounts: Some(mounts), measured }
    }
}

fn size(mount: String, path: &Path, kind: String) -> Option<Filesystem> {
    let stat = rustix::fs::statvfs(path).ok()?;
    let bytes = |blocks: u64| blocks.checked_mul(stat.f_frsize);
    let total = bytes(stat.f_blocks).filter(|total| *total > 0)?;
    Some(Filesystem {
        mount,
        kind,
        total,
        used: total.checked_sub(bytes(stat.f_bfree)?)?,
        available: bytes(stat.f_bavail)?,
        inodes_percent: percent_used(stat.f_files, stat.f_ffree),
    })
}

/// `None` where inodes are not counted, as in btrfs.
pub(in crate::resources) fn percent_used(all: u64, free: u64) -> Option<f64> {
    let used = all.checked_sub(free)?;
    (all > 0).then(|| number(used) / number(all) * 100.0)
}

/// A line of `mountinfo`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::resources) struct Mount {
    /// `major:minor`
    device: String,
    /// Which part of the filesystem is mounted.
    root: String,
    point: String,
    kind: String,
    source: String,
}

/// The mounts of real filesystems; proc_pid_mountinfo(5).
pub(in crate::resources) fn mounts(text: &str) -> Vec<Mount> {
    let mount = |line: &str| {
        let (before, after) = line.split_once(" - ")?;
        let mut before = before.split(' ').skip(2);
        let mut after = after.split(' ');
        let mount = Mount {
            device: before.next()?.to_owned(),
            root: plain(before.next()?),
            point: plain(before.next()?),
            kind: after.next()?.to_owned(),
            source: plain(after.next()?),
        };
        REAL.contains(&mount.kind.as_str()).then_some(mount)
    };
    text.lines().filter_map(mount).collect()
}

/// Spaces and the like are written as three octal digits.
fn plain(field: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(field.to_owned(), |field, (code, text)| field.replace(code, text))
}

impl Mount {
    /// What is one filesystem: subvolumes have numbers of their own. Each dataset may have a quota.
    fn filesystem(&self) -> &str {
        match self.kind.as_str() {
            "zfs" | "btrfs" => &self.source,
            _ => &self.device,
        }
    }

    /// Whole filesystems before parts of them, short paths before long ones.
    fn rank(&self) -> (bool, usize, &str) {
        (self.root != "/", self.point.len(), &self.point)
    }
}

/// Name on the host, path to ask and kind of each filesystem once. Below a mounted host root only what
/// is there is the host's; otherwise everything that can be seen is some disk of it, under the name
/// that the host's own table has. Where nothing tells the host's root, it is what holds the engine's
/// files, of which `/etc/hosts` is one.
pub(in crate::resources) fn choose(
    own: &[Mount],
    host: &[Mount],
) -> Vec<(String, PathBuf, String)> {
    let root = HOST_ROOTS.into_iter().find(|root| own.iter().any(|mount| mount.point == *root));
    let below = |mount: &Mount| match root {
        None => Some(mount.point.clone()),
        Some(root) => match mount.point.strip_prefix(root)? {
            "" => Some("/".to_owned()),
            rest => rest.starts_with('/').then(|| rest.to_owned()),
        },
    };
    let mut best: BTreeMap<&str, (&Mount, String)> = BTreeMap::new();
    for mount in own {
        let Some(name) = below(mount) else { continue };
        let known = best.entry(mount.filesystem()).or_insert_with(|| (mount, name.clone()));
        if mount.rank() < known.0.rank() {
            *known = (mount, name);
        }
    }
    let named = |(mount, name): (&Mount, String)| {
        let hosts = host.iter().filter(|hosts| hosts.filesystem() == mount.filesystem());
        let name = match hosts.min_by_key(|hosts| hosts.rank()) {
            Some(hosts) if root.is_none() => hosts.point.clone(),
            _ => name,
        };
        (name, PathBuf::from(&mount.point), mount.kind.clone())
    };
    let engines = own.iter().find(|mount| mount.point == ENGINES).map(Mount::filesystem);
    let mut chosen: Vec<_> = best
        .into_iter()
        .take(MOST)
        .map(|(filesystem, mount)| (Some(filesystem) == engines, named(mount)))
        .collect();
    if root.is_none() && !chosen.iter().any(|(_, (name, ..))| name == "/") {
        for (_, (name, ..)) in chosen.iter_mut().filter(|(is_engines, _)| *is_engines) {
            "/".clone_into(name);
        }
    }
    chosen.into_iter().map(|(_, chosen)| chosen).collect()
}
