//! A container's use as the kernel counts it, read from files.
//!
//! Which files are a container's is told by `/proc/<pid>/cgroup` of its main process, not guessed:
//! engines, drivers and slices name them differently. What is read counts only if that process is in
//! a group of the container's id afterwards too: a pid is used again, and then is somebody else's.

mod files;
pub(super) mod parse;

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use tokio::time::Instant;

use self::files::{Files, V1, V2};
use self::parse::net_dev;
use super::model::Reading;

/// Longer than any of these files; more of one is not read.
const FILE_BYTES: u64 = 256 << 10;
/// Groups looked at to find our own.
const GROUPS: usize = 20_000;
/// Shorter ids are in too many names.
const ID_LENGTH: usize = 12;

/// Where the host's processes and control groups are seen. The host's are mounted under `/host`, or
/// the collector runs on the host itself.
#[derive(Debug, Clone)]
pub struct Roots {
    pub proc: PathBuf,
    pub cgroup: PathBuf,
    /// Version 2: the group that our namespace takes for the root, in the hierarchy above. Paths of
    /// processes outside of it begin with `/..`.
    namespace: Option<PathBuf>,
}

impl Roots {
    /// Looks what is mounted.
    pub fn find() -> Self {
        let mounted = |path: &str, proof: &str| Path::new(path).join(proof).exists();
        let proc = if mounted("/host/proc", "stat") { "/host/proc" } else { "/proc" };
        let own = Path::new("/sys/fs/cgroup");
        let is_mounted = std::fs::read_dir("/host/sys/fs/cgroup")
            .is_ok_and(|mut entries| entries.next().is_some());
        let cgroup = if is_mounted { Path::new("/host/sys/fs/cgroup") } else { own };
        Self::new(Path::new(proc), cgroup, own)
    }

    /// `own` is the control group file system as our own namespace mounts it.
    pub fn new(proc: &Path, cgroup: &Path, own: &Path) -> Self {
        let is_v2 = cgroup.join("cgroup.controllers").exists();
        let namespace = (is_v2 && cgroup != own).then(|| same_folder(cgroup, own)).flatten();
        Self { proc: proc.to_owned(), cgroup: cgroup.to_owned(), namespace }
    }

    /// The folder of a path that has `up` times `..` before it.
    fn folder(&self, up: usize, path: &Path) -> Option<PathBuf> {
        if up == 0 {
            return Some(self.cgroup.join(path));
        }
        let folder = self.namespace.as_deref()?.ancestors().nth(up)?;
        folder.starts_with(&self.cgroup).then(|| folder.join(path))
    }
}

/// The folder below `root` that is `wanted`, mounted elsewhere: one file system, so one inode.
fn same_folder(root: &Path, wanted: &Path) -> Option<PathBuf> {
    let inode = |path: &Path| std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()));
    let wanted = inode(wanted)?;
    let mut waiting = std::collections::VecDeque::from([root.to_owned()]);
    for _ in 0..GROUPS {
        let folder = waiting.pop_front()?;
        if inode(&folder)? == wanted {
            return Some(folder);
        }
        let below = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        waiting.extend(
            below
                .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                .map(|entry| entry.path()),
        );
    }
    None
}

/// One running container in the files of the kernel.
#[derive(Debug, Clone)]
pub struct Cgroup {
    external_id: String,
    membership: PathBuf,
    /// Unless the network is somebody else's.
    net: Option<PathBuf>,
    files: Files,
}

/// A reading, and when it was asked for and taken by a clock that nobody sets. It is dated between.
#[derive(Debug, Clone)]
pub struct Taken {
    pub reading: Reading,
    pub asked: Instant,
    pub instant: Instant,
}

impl Cgroup {
    /// Finds the files of the container whose main process is `pid`. `None` if they are not to be seen
    /// from here: a remote engine, another pid namespace, no permission. Blocks.
    pub fn find(roots: &Roots, external_id: &str, pid: i64, own_network: bool) -> Option<Self> {
        if pid <= 0 || external_id.len() < ID_LENGTH {
            return None;
        }
        let process = roots.proc.join(pid.to_string());
        let membership = process.join("cgroup");
        let mut buffer = Buffer::default();
        let text = buffer.read(&membership)?;
        let files = if roots.cgroup.join("cgroup.controllers").exists() {
            let (up, path) = group(hierarchy(text, "")?, external_id)?;
            Files::V2(V2::new(&roots.folder(up, &path)?))
        } else {
            let folder = |controller: &str| {
                let (up, path) = group(hierarchy(text, controller)?, external_id)?;
                (up == 0).then(|| roots.cgroup.join(controller).join(path))
            };
            let unified = hierarchy(text, "").and_then(|path| group(path, external_id));
            let unified = unified.map(|(_, path)| roots.cgroup.join("unified").join(path));
            Files::V1(V1::new(folder, unified.as_deref())?)
        };
        let external_id = external_id.to_owned();
        let net = own_network.then(|| process.join("net/dev"));
        let found = Self { external_id, membership, net, files };
        found.files.read(&mut buffer).map(|_| found)
    }

    /// `None` if it does not run as that process any more. Blocks, for some ten microseconds.
    pub fn read(&self, buffer: &mut Buffer, now: impl Fn() -> Timestamp) -> Option<Taken> {
        let (at, instant) = (now(), Instant::now());
        let accounts = self.files.read(buffer)?;
        let is_sent = |name: &str| name != "lo";
        let net = self.net.as_ref().and_then(|file| net_dev(buffer.read(file)?, is_sent));
        if !self.is_alive(buffer) {
            return None;
        }
        let reading = Reading {
            at,
            cpu_ns: accounts.cpu_ns,
            cpu_limit_cores: accounts.cpu_limit_cores,
            cpu_periods: accounts.cpu_periods,
            mem_working_set: accounts.mem_working_set,
            mem_anon: accounts.mem_anon,
            mem_limit: accounts.mem_limit,
            mem_ceiling: None,
            net,
            block: accounts.block,
            pids: accounts.pids,
            pressure: accounts.pressure,
        };
        Some(Taken { reading, asked: instant, instant })
    }

    /// Whether its process is still in a group of its id.
    fn is_alive(&self, buffer: &mut Buffer) -> bool {
        let text = buffer.read(&self.membership);
        text.is_some_and(|text| text.contains(&self.external_id))
    }
}

/// The path in the hierarchy of a controller, from lines such as `4:cpu,cpuacct:/docker/…`; the
/// unified hierarchy, `0::/…`, has no controller in its line.
fn hierarchy<'a>(text: &'a str, controller: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let controllers = fields.next()?;
        let path = fields.next()?;
        controllers.split(',').any(|name| name == controller).then_some(path)
    })
}

/// How far up, and the path down to the group of the container: processes may be in groups below it,
/// as where systemd or Podman divide it further.
fn group(path: &str, external_id: &str) -> Option<(usize, PathBuf)> {
    let mut up = 0;
    let mut down = PathBuf::new();
    for name in path.strip_prefix('/')?.split('/') {
        match name {
            ".." if down.as_os_str().is_empty() => up += 1,
            "" | "." | ".." => return None,
            name => down.push(name),
        }
        if name.contains(external_id) {
            return Some((up, down));
        }
    }
    None
}

/// Room for one file after the other.
#[derive(Debug, Default)]
pub struct Buffer(Vec<u8>);

impl Buffer {
    /// The text of a file; `None` if it is missing, refused or no text.
    pub fn read(&mut self, path: &Path) -> Option<&str> {
        self.0.clear();
        let file = File::open(path).ok()?;
        file.take(FILE_BYTES).read_to_end(&mut self.0).ok()?;
        std::str::from_utf8(&self.0).ok()
    }
}
