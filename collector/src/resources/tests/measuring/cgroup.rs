use std::path::{Path, PathBuf};

use super::at;
use crate::resources::cgroup::{Buffer, Cgroup, Roots};
use crate::resources::model::{Pressure, Reading, Traffic};

const LIMITED: &str = "4f1c9b0d7e2a5c8833b6d1e0f9a27c45d86b3e10f7a9c2d4e5b8061f3a7c9d2e";
const PODMAN: &str = "9a0b1c2d3e4f5061728394a5b6c7d8e9f00112233445566778899aabbccddeef";
const OURSELVES: &str = "0c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee0";
const OLD: &str = "6bd70ef9c0a13f5518a2b64c7d9e0f12a3b4c5d6e7f8091a2b3c4d5e6f708192";

fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/resources/tests/fixtures").join(path)
}

fn v2() -> Roots {
    let cgroup = fixture("v2/sys/fs/cgroup");
    Roots::new(&fixture("v2/proc"), &cgroup, &cgroup)
}

fn read(roots: &Roots, id: &str, pid: i64) -> Option<Reading> {
    let cgroup = Cgroup::find(roots, id, pid, true)?;
    Some(cgroup.read(&mut Buffer::default(), || at(0))?.reading)
}

fn limited() -> Reading {
    Reading {
        at: at(0),
        cpu_ns: 752_147_361_000,
        cpu_limit_cores: Some(0.2),
        cpu_periods: Some((37_421, 36_002)),
        mem_working_set: Some(90_800_128 - 62_914_560),
        mem_anon: Some(6_291_456),
        mem_limit: Some(134_217_728),
        mem_ceiling: None,
        net: Some(Traffic { received: 1_381_129, sent: 3_545_197 }),
        block: Some(Traffic { received: 1_049_576, sent: 4_194_328 }),
        pids: Some(7),
        pressure: Pressure { cpu: Some(42.10), mem: Some(0.15), io: Some(0.0) },
    }
}

#[test]
fn version_2_is_read_whole() {
    assert_eq!(read(&v2(), LIMITED, 4711), Some(limited()));
}

#[test]
fn without_limits_and_accounts_nothing_is_made_up() {
    let reading = read(&v2(), PODMAN, 4800).unwrap();
    assert_eq!(reading.cpu_ns, 5_000_000, "of the whole container, not of its inner group");
    assert_eq!(reading.cpu_limit_cores, None);
    assert_eq!(reading.cpu_periods, None);
    assert_eq!(reading.mem_limit, None);
    assert_eq!(reading.mem_working_set, Some(4096), "a cache larger than the usage is left in");
    assert_eq!(reading.net, None, "no interface but its own loop");
    assert_eq!(reading.block, None);
    assert_eq!(reading.pids, None);
    assert_eq!(reading.pressure, Pressure::default());
}

#[test]
fn version_1_is_read_whole() {
    let roots = Roots::new(&fixture("v1/proc"), &fixture("v1/cgroup"), &fixture("v1/cgroup"));
    let expected = Reading {
        cpu_ns: 752_147_361,
        cpu_periods: Some((39, 36)),
        mem_working_set: Some(2_502_656 - 1_978_368),
        mem_anon: Some(65_536),
        mem_limit: Some(67_108_864),
        block: Some(Traffic { received: 4096, sent: 512 }),
        pids: Some(1),
        pressure: Pressure { cpu: Some(16.96), ..Pressure::default() },
        ..limited()
    };
    assert_eq!(read(&roots, OLD, 3615), Some(expected));
}

#[test]
fn a_process_that_is_somebody_elses_tells_nothing() {
    let check = |id: &str, pid| assert_eq!(read(&v2(), id, pid), None, "{id} {pid}");
    check(LIMITED, 4800);
    check(PODMAN, 4711);
    check(LIMITED, 1);
    check(LIMITED, 0);
    check(LIMITED, -1);
    check("4f1c", 4711);
    check("", 4711);
    check("docker", 4711);
}

#[test]
fn a_pid_used_again_between_two_rounds_tells_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let proc = folder.path().join("4711");
    std::fs::create_dir_all(&proc).unwrap();
    let write = |text: &str| std::fs::write(proc.join("cgroup"), text).unwrap();
    write(&format!("0::/system.slice/docker-{LIMITED}.scope\n"));
    let cgroup = fixture("v2/sys/fs/cgroup");
    let roots = Roots::new(folder.path(), &cgroup, &cgroup);
    let found = Cgroup::find(&roots, LIMITED, 4711, true).unwrap();
    let mut buffer = Buffer::default();
    assert!(found.read(&mut buffer, || at(0)).is_some());
    write("0::/system.slice/ssh.service\n");
    assert!(found.read(&mut buffer, || at(0)).is_none());
    std::fs::remove_file(proc.join("cgroup")).unwrap();
    assert!(found.read(&mut buffer, || at(0)).is_none());
}

#[test]
fn a_network_that_is_somebody_elses_is_not_read() {
    let cgroup = Cgroup::find(&v2(), LIMITED, 4711, false).unwrap();
    let taken = cgroup.read(&mut Buffer::default(), || at(0)).unwrap();
    assert_eq!(taken.reading, Reading { net: None, ..limited() });
}

#[test]
fn paths_of_a_private_namespace_are_followed_from_its_root() {
    let cgroup = fixture("v2/sys/fs/cgroup");
    let own = cgroup.join(format!("system.slice/docker-{OURSELVES}.scope"));
    // A collector in a container: the host's hierarchy is mounted, its own is what it takes for `/`.
    let roots = Roots::new(&fixture("v2/namespaced"), &cgroup, &own);
    assert_eq!(read(&roots, LIMITED, 4711), Some(limited()));
    // Without the host's hierarchy there is nothing above its own root.
    let alone = Roots::new(&fixture("v2/namespaced"), &own, &own);
    assert_eq!(read(&alone, LIMITED, 4711), None);
    let elsewhere = Roots::new(&fixture("v2/namespaced"), &cgroup, &fixture("v1"));
    assert_eq!(read(&elsewhere, LIMITED, 4711), None);
}

#[test]
fn a_path_cannot_lead_out_of_the_hierarchy() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("4711")).unwrap();
    let cgroup = fixture("v2/sys/fs/cgroup");
    let check = |line: &str| {
        std::fs::write(folder.path().join("4711/cgroup"), line.replace("ID", LIMITED)).unwrap();
        let roots = Roots::new(folder.path(), &cgroup, &cgroup.join("system.slice"));
        assert_eq!(read(&roots, LIMITED, 4711), None, "{line}");
    };
    check("0::/system.slice/../system.slice/docker-ID.scope");
    check("0::/../../../../../docker-ID.scope");
    check("0::/../../etc/docker-ID.scope");
    check("0::system.slice/docker-ID.scope");
    check("0:://system.slice/docker-ID.scope");
    check("0::");
    check("4:memory:/system.slice/docker-ID.scope");
    check("");
    check("\0\n::\n:::\n");
}

/// The reading of version 2 with one file's contents replaced; `None` removes it.
fn with(file: &str, contents: Option<&[u8]>) -> Option<Reading> {
    let folder = tempfile::tempdir().unwrap();
    let group = folder.path().join(format!("cgroup/system.slice/docker-{LIMITED}.scope"));
    let process = folder.path().join("proc/4711/net");
    std::fs::create_dir_all(&group).unwrap();
    std::fs::create_dir_all(&process).unwrap();
    let copy = |from: &str, to: &Path| std::fs::copy(fixture(from), to).unwrap();
    copy("v2/sys/fs/cgroup/cgroup.controllers", &folder.path().join("cgroup/cgroup.controllers"));
    copy("v2/proc/4711/cgroup", &folder.path().join("proc/4711/cgroup"));
    copy("v2/proc/4711/net/dev", &process.join("dev"));
    let from = fixture(&format!("v2/sys/fs/cgroup/system.slice/docker-{LIMITED}.scope"));
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), group.join(entry.file_name())).unwrap();
    }
    let path = if file == "net/dev" { process.join("dev") } else { group.join(file) };
    match contents {
        Some(contents) => std::fs::write(path, contents).unwrap(),
        None => std::fs::remove_file(path).unwrap(),
    }
    let roots = Roots::new(
        &folder.path().join("proc"),
        &folder.path().join("cgroup"),
        &folder.path().join("cgroup"),
    );
    read(&roots, LIMITED, 4711)
}

#[test]
fn odd_contents_are_not_known_rather_than_zero() {
    let odd: [&[u8]; 12] = [
        b"",
        b"\n",
        b"max",
        b"-1",
        b"99999999999999999999999999",
        b"\xff\xfe\0",
        b"anon\ninactive_file \nusage_usec",
        b"anon -5\ninactive_file max\nusage_usec -5\nnr_periods x\nnr_throttled y",
        b"some avg10=\nsome\nfull avg10=1",
        b"some avg10=NaN\nsome avg10=-1",
        b"8:0 rbytes= wbytes=1\n8:1\n: :",
        b"a\nb\n lo: 1 2\n eth0: 1\n eth1 5 5 5\n eth2: x 0 0 0 0 0 0 0 y\n",
    ];
    let whole = limited();
    let check =
        |file: &str, part: &dyn Fn(&Reading) -> bool, others: &dyn Fn(Reading) -> Reading| {
            for contents in odd.iter().map(|contents| Some(*contents)).chain([None]) {
                let reading = with(file, contents).unwrap();
                assert!(part(&reading), "{file} {contents:?} {reading:?}");
                assert_eq!(others(reading), others(whole.clone()), "{file} {contents:?}");
            }
        };
    check("cpu.max", &|reading| reading.cpu_limit_cores.is_none(), &|reading| Reading {
        cpu_limit_cores: None,
        cpu_periods: None,
        ..reading
    });
    check("memory.current", &|reading| reading.mem_working_set.is_none(), &|reading| Reading {
        mem_working_set: None,
        ..reading
    });
    check("memory.stat", &|reading| reading.mem_anon.is_none(), &|reading| Reading {
        mem_working_set: None,
        mem_anon: None,
        ..reading
    });
    check("memory.max", &|reading| reading.mem_limit.is_none(), &|reading| Reading {
        mem_limit: None,
        ..reading
    });
    check("io.stat", &|reading| reading.block.is_none(), &|reading| Reading {
        block: None,
        ..reading
    });
    check("pids.current", &|reading| reading.pids.is_none(), &|reading| Reading {
        pids: None,
        ..reading
    });
    check("net/dev", &|reading| reading.net.is_none(), &|reading| Reading { net: None, ..reading });
    let without = |reading| Reading { pressure: Pressure::default(), ..reading };
    check("memory.pressure", &|reading| reading.pressure.mem.is_none(), &without);
    for contents in odd.iter().map(|contents| Some(*contents)).chain([None]) {
        assert_eq!(with("cpu.stat", contents), None, "without processor time there is no reading");
    }
}

#[test]
fn sums_that_are_too_large_are_not_known() {
    let large = format!("8:0 rbytes={0} wbytes=1\n8:1 rbytes={0} wbytes=1\n", u64::MAX);
    assert_eq!(with("io.stat", Some(large.as_bytes())).unwrap().block, None);
    let large = format!("usage_usec {}", u64::MAX);
    assert_eq!(with("cpu.stat", Some(large.as_bytes())), None);
}
