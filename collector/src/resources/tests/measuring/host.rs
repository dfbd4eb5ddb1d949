use std::path::PathBuf;

use crate::resources::cgroup::parse::net_dev;
use crate::resources::host::Host;
use crate::resources::host::filesystems::{Filesystems, choose, mounts, percent_used};
use crate::resources::host::kernel::{busy, diskstats, is_outward, meminfo};
use crate::resources::model::Traffic;

fn chosen(own: &str, host: &str) -> Vec<(String, String)> {
    let mut found: Vec<_> = choose(&mounts(own), &mounts(host))
        .into_iter()
        .map(|(name, path, _)| (name, path.to_str().unwrap().to_owned()))
        .collect();
    found.sort();
    found
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(name, path)| ((*name).to_owned(), (*path).to_owned())).collect()
}

const ON_THE_HOST: &str = "\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
42 27 254:0 /var/lib/docker /var/lib/docker rw,relatime shared:1 - ext4 /dev/vda rw
47 42 0:39 / /var/lib/docker/overlay2/ab/merged rw shared:3 - overlay overlay rw,lowerdir=/a
50 27 8:1 / /srv/my\\040data rw master:1 - xfs /dev/sda1 rw
51 27 0:44 /@home /home rw - btrfs /dev/sdb rw,subvol=/@home
52 27 0:45 /@log /var/log rw - btrfs /dev/sdb rw,subvol=/@log
53 27 0:50 / /tank rw - zfs tank rw
54 27 0:51 / /tank/a rw - zfs tank/a rw
55 27 0:60 / /mnt/nfs rw - nfs4 server:/export rw
56 27 0:61 / /run rw - tmpfs tmpfs rw
57 27 7:1 / /snap/core/1 ro - squashfs /dev/loop1 ro
no mount at all
";

#[test]
fn every_real_filesystem_is_chosen_once() {
    let expected = pairs(&[
        ("/", "/"),
        ("/home", "/home"),
        ("/srv/my data", "/srv/my data"),
        ("/tank", "/tank"),
        ("/tank/a", "/tank/a"),
    ]);
    assert_eq!(chosen(ON_THE_HOST, ""), expected);
    assert_eq!(chosen("", ""), []);
}

#[test]
fn in_a_container_the_mounted_root_is_the_host() {
    let own = "\
1 0 0:99 / / rw - overlay overlay rw
2 1 254:0 /var/lib/docker/containers/x/hosts /etc/hosts rw - ext4 /dev/vda rw
3 1 254:0 / /host/rootfs ro,rslave - ext4 /dev/vda rw
4 3 8:1 / /host/rootfs/srv ro - xfs /dev/sda1 rw
5 1 8:2 /volumes/x /data rw - ext4 /dev/sdb1 rw
";
    assert_eq!(
        chosen(own, ON_THE_HOST),
        pairs(&[("/", "/host/rootfs"), ("/srv", "/host/rootfs/srv")])
    );
    let at_host = own.replace("/host/rootfs", "/host");
    assert_eq!(chosen(&at_host, ""), pairs(&[("/", "/host"), ("/srv", "/host/srv")]));
}

#[test]
fn in_a_container_any_visible_part_tells_its_disk_under_the_hosts_name() {
    let own = "\
1 0 0:99 / / rw - overlay overlay rw
2 1 254:0 /var/lib/docker/containers/x/hostname /etc/hostname rw - ext4 /dev/vda rw
3 1 254:0 /var/lib/docker/containers/x/hosts /etc/hosts rw - ext4 /dev/vda rw
5 1 8:2 /volumes/x /data rw - ext4 /dev/sdb1 rw
";
    assert_eq!(chosen(own, ON_THE_HOST), pairs(&[("/", "/etc/hosts"), ("/data", "/data")]));
    // Nothing tells the names of the host: the engine's own filesystem is its root.
    assert_eq!(chosen(own, ""), pairs(&[("/", "/etc/hosts"), ("/data", "/data")]));
    let same = own.replace("8:2", "254:0");
    assert_eq!(chosen(&same, ""), pairs(&[("/", "/data")]));
    let with_root = format!("{own}6 0 8:9 / / rw - ext4 /dev/sdc rw\n");
    let expected = pairs(&[("/", "/"), ("/data", "/data"), ("/etc/hosts", "/etc/hosts")]);
    assert_eq!(chosen(&with_root, ""), expected);
}

#[test]
fn inodes_are_a_share_where_they_are_counted() {
    assert_eq!(percent_used(1000, 250), Some(75.0));
    assert_eq!(percent_used(0, 0), None);
    assert_eq!(percent_used(1, 2), None);
}

#[test]
fn busy_time_is_without_idle_and_waiting() {
    let text = "cpu  10 20 30 400 50 6 7 8 9 1\ncpu0 1 1 1 1\ncpu1 1 1 1 1\nintr 5 0\ncpu9 x\n";
    assert_eq!(busy(text), Some((81, 531, 2)));
    for bad in ["", "cpu", "cpu  1 2 3", "cpu0 1 2 3 4 5 6 7 8", "cpu  x 2 3 4 5"] {
        assert_eq!(busy(bad), None, "{bad}");
    }
    assert_eq!(busy(&format!("cpu  {0} {0} 0 0 0\n", u64::MAX)), None);
}

#[test]
fn memory_is_in_bytes() {
    let text = "MemTotal:       24684084 kB\nMemFree: 12 kB\nHugePages_Total:  3\nBad: x kB\n";
    assert_eq!(meminfo(text, "MemTotal"), Some(24_684_084 * 1024));
    assert_eq!(meminfo(text, "MemAvailable"), None);
    assert_eq!(meminfo(text, "Mem"), None);
    assert_eq!(meminfo(text, "Bad"), None);
}

#[test]
fn disks_are_counted_in_sectors() {
    let text =
        "   7 0 loop0 1 1 1 1 1 1 1 1\n 254 0 vda 46 2 100 68 45 11 200 32 0 7\n 254 1 vda1 9\n";
    let expected = Some(Traffic { received: 51_200, sent: 102_400 });
    assert_eq!(diskstats(text, |name| name == "vda"), expected);
    assert_eq!(diskstats(text, |_| false), None);
    assert_eq!(diskstats("", |_| true), None);
}

#[test]
fn only_interfaces_to_the_outside_count() {
    for outward in ["eth0", "enp3s0", "eno1", "wlan0", "ens18", "wwan0", "ib0", "bridge-port"] {
        assert!(is_outward(outward), "{outward}");
    }
    for inner in
        ["lo", "veth12ab", "docker0", "br-1f2e3d", "br0", "vmbr0", "eth0.10", "wg0", "bond0"]
    {
        assert!(!is_outward(inner), "{inner}");
    }
    let text = "x\ny\n  eth0: 5 0 0 0 0 0 0 0 6 0\n docker0: 7 0 0 0 0 0 0 0 8 0\n";
    assert_eq!(net_dev(text, is_outward), Some(Traffic { received: 5, sent: 6 }));
}

/// This machine itself, by both ways: they must agree on what does not move.
#[tokio::test]
async fn this_machine_is_read_through_its_own_and_a_mounted_procfs() {
    let folder = tempfile::tempdir().unwrap();
    let mounted = folder.path().join("proc");
    std::os::unix::fs::symlink("/proc", &mounted).unwrap();
    let (mut own, mut other) = (Host::new(PathBuf::from("/proc")), Host::new(mounted));
    assert!(own.sample().await.is_none(), "no rate yet");
    assert!(other.sample().await.is_none());
    // The kernel counts in hundredths of a second, and sysinfo looks five times a second.
    let first_ticks = busy(&std::fs::read_to_string("/proc/stat").unwrap()).unwrap().1;
    while busy(&std::fs::read_to_string("/proc/stat").unwrap()).unwrap().1 < first_ticks + 100 {
        tokio::task::yield_now().await;
    }
    let (own, other) = (own.sample().await.unwrap(), other.sample().await.unwrap());
    for sample in [&own, &other] {
        assert!((0.0..=100.0).contains(&sample.cpu_percent), "{sample:?}");
        assert!(sample.mem_used > 0 && sample.mem_used < sample.mem_total, "{sample:?}");
        assert!(sample.load.is_some() && sample.uptime_seconds.is_some(), "{sample:?}");
    }
    assert_eq!(own.cpu_count, other.cpu_count);
    assert_eq!(own.mem_total, other.mem_total);
    assert_eq!(own.swap_total, other.swap_total);
    let names = |sample: &crate::resources::model::HostSample| {
        sample.filesystems.iter().map(|filesystem| filesystem.mount.clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(&own), names(&other));
    assert!(own.mounts.is_some() && own.mounts == other.mounts);
    for filesystem in &own.filesystems {
        assert!(filesystem.used + filesystem.available <= filesystem.total, "{filesystem:?}");
    }
}

#[tokio::test]
async fn a_table_of_mounts_that_cannot_be_read_does_not_say_that_nothing_is_mounted() {
    let folder = tempfile::tempdir().unwrap();
    let found = Filesystems::new(folder.path()).read().await;
    assert!(found.mounts.is_none() && found.measured.is_empty(), "{found:?}");
}
