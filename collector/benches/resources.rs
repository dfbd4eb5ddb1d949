//! Measuring 200 containers through the kernel's files, beside its floor: the same files, read and
//! dropped. The files are a recorded tree on a disk; `benches/run` measures real control groups.
//! `cargo bench -p maintenant-collector --bench resources`

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "no part of the product: a failure here should stop at once"
)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use divan::Bencher;
use maintenant_collector::resources::cgroup::{Buffer, Cgroup, Roots};
use maintenant_collector::resources::model::{Origin, Sample};
use maintenant_serve::clock::now;

const CONTAINERS: i64 = 200;
const RECORDED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/resources/tests/fixtures/v2");
const ID: &str = "4f1c9b0d7e2a5c8833b6d1e0f9a27c45d86b3e10f7a9c2d4e5b8061f3a7c9d2e";

fn main() {
    divan::main();
}

struct Tree {
    _folder: tempfile::TempDir,
    files: Vec<PathBuf>,
    cgroups: Vec<Cgroup>,
}

impl Tree {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (proc, cgroup) = (folder.path().join("proc"), folder.path().join("cgroup"));
        let recorded = Path::new(RECORDED);
        let mut files = Vec::new();
        let mut copy = |from: &Path, to: PathBuf| {
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            std::fs::copy(from, &to).unwrap();
            files.push(to);
        };
        std::fs::create_dir_all(&cgroup).unwrap();
        std::fs::write(cgroup.join("cgroup.controllers"), "cpu").unwrap();
        let id = |number: i64| format!("{number:064x}");
        for number in 1..=CONTAINERS {
            let group = recorded.join(format!("sys/fs/cgroup/system.slice/docker-{ID}.scope"));
            for entry in std::fs::read_dir(group).unwrap() {
                let entry = entry.unwrap();
                copy(&entry.path(), cgroup.join(id(number)).join(entry.file_name()));
            }
            let process = proc.join(number.to_string());
            copy(&recorded.join("proc/4711/net/dev"), process.join("net/dev"));
            copy(&recorded.join("proc/4711/cgroup"), process.join("cgroup"));
            std::fs::write(process.join("cgroup"), format!("0::/{}\n", id(number))).unwrap();
        }
        let roots = Roots::new(&proc, &cgroup, &cgroup);
        let find = |number| Cgroup::find(&roots, &id(number), number, true).unwrap();
        let cgroups = (1..=CONTAINERS).map(find).collect();
        Self { _folder: folder, files, cgroups }
    }
}

#[divan::bench]
fn floor_read_the_files_of_200(bencher: Bencher<'_, '_>) {
    let tree = Tree::new();
    bencher.bench_local(|| {
        let read = tree.files.iter().map(|file| std::fs::read(file).unwrap().len());
        assert!(read.sum::<usize>() > 0);
    });
}

#[divan::bench]
fn sample_200(bencher: Bencher<'_, '_>) {
    let tree = Tree::new();
    let mut buffer = Buffer::default();
    let origin = Origin {
        container_id: 1,
        shares_network_of: None,
        is_from_api: false,
        is_inspected: true,
        started_at: None,
    };
    let read = |cgroup: &Cgroup, buffer: &mut Buffer| cgroup.read(buffer, now).unwrap().reading;
    let previous: Vec<_> = tree.cgroups.iter().map(|cgroup| read(cgroup, &mut buffer)).collect();
    bencher.bench_local(|| {
        let samples = tree.cgroups.iter().zip(&previous).filter_map(|(cgroup, previous)| {
            let current = read(cgroup, &mut buffer);
            Sample::between(previous, &current, Duration::from_secs(10), origin)
        });
        assert_eq!(samples.count(), tree.cgroups.len());
    });
}
