//! Thresholds against rounds of samples, and what is wrong then.

use std::collections::{BTreeMap, BTreeSet};

use maintenant_api::alerts::Severity;

use super::*;
use crate::resources::rules::Rules;
use crate::resources::standings::{self, Thresholds, configure, configure_host, judge_batch};
use crate::resources::thresholds::{Metric, Turn};
use crate::resources::usage::store;
use crate::signals::{Entity, Source};

struct World {
    db: Connection,
    second: i64,
    told: Vec<String>,
}

impl World {
    fn new() -> Self {
        let db = database();
        add_container(&db, 1, "critical");
        Self { db, second: 0, told: Vec::new() }
    }

    fn watch(&mut self, cpu: f64, mem: f64) {
        let change = |thresholds: &mut Thresholds| {
            *thresholds = Thresholds { cpu, mem, enabled: true, ..*thresholds };
        };
        let now = at(self.second);
        let told = configure(&self.db, 1, change, &BTreeMap::new(), now).unwrap().unwrap();
        self.told.extend(told.iter().map(words));
    }

    /// A round ten seconds after the last one; which containers run.
    fn round(&mut self, batch: impl FnOnce(Timestamp) -> Batch, running: &[i64]) {
        let running: BTreeSet<i64> = running.iter().copied().collect();
        self.round_of(batch, Some(&running));
    }

    fn round_of(
        &mut self,
        batch: impl FnOnce(Timestamp) -> Batch,
        running: Option<&BTreeSet<i64>>,
    ) {
        let batch = batch(at(self.second));
        store(&self.db, &batch).unwrap();
        let told = judge_batch(&self.db, &batch, Some(GIB), running).unwrap();
        self.told.extend(told.iter().map(words));
        self.second += 10;
    }

    /// Container 1 uses so many percent and so many of its 200 MiB.
    fn uses(&mut self, cpu: f64, mem: u64) {
        let batch = |at| {
            let sample = Sample { mem_working_set: Some(mem * MIB), ..sample(1, at, cpu) };
            Batch { at, samples: vec![sample], host: None }
        };
        self.round(batch, &[1]);
    }

    fn host(&mut self, cpu: f64, var: u64) {
        let batch = |at| {
            let host = host_of(at, cpu, vec![filesystem("/var", var)]);
            Batch { at, samples: Vec::new(), host: Some(host) }
        };
        self.round(batch, &[1]);
    }

    /// What was told since the last look.
    fn told(&mut self) -> String {
        std::mem::take(&mut self.told).join(" ")
    }

    /// What is wrong now: `type@entity`.
    fn wrong(&self) -> String {
        let found = Rules.find(&self.db, at(self.second)).unwrap();
        assert!(found.unknown.is_empty());
        let told = found.signals.iter().map(|signal| {
            format!("{}@{}{}", signal.alert_type, signal.entity.kind, signal.entity.id)
        });
        told.collect::<Vec<_>>().join(" ")
    }
}

fn words(told: &standings::Told) -> String {
    let sign = if told.turn == Turn::Fired { '+' } else { '-' };
    format!("{sign}{}:{}", told.key.0.as_str(), told.name)
}

#[test]
fn nothing_is_judged_of_a_container_unless_it_is_asked_for() {
    let mut world = World::new();
    world.uses(500.0, 200);
    world.uses(500.0, 200);
    assert_eq!((world.told().as_str(), world.wrong().as_str()), ("", ""));
}

#[test]
fn each_metric_fires_and_recovers_on_its_own() {
    let mut world = World::new();
    world.watch(90.0, 90.0);
    world.uses(95.0, 10);
    assert_eq!(world.wrong(), "");
    world.uses(95.0, 10);
    assert_eq!(
        (world.told().as_str(), world.wrong().as_str()),
        ("+cpu:c1", "cpu_threshold@container1")
    );
    world.uses(95.0, 190);
    world.uses(95.0, 190);
    assert_eq!(world.told(), "+memory:c1");
    assert_eq!(world.wrong(), "cpu_threshold@container1 memory_threshold@container1");
    world.uses(1.0, 190);
    world.uses(1.0, 190);
    assert_eq!(
        (world.told().as_str(), world.wrong().as_str()),
        ("-cpu:c1", "memory_threshold@container1")
    );
    world.uses(1.0, 1);
    world.uses(1.0, 1);
    assert_eq!((world.told().as_str(), world.wrong().as_str()), ("-memory:c1", ""));
    let thresholds = standings::thresholds(&world.db, 1).unwrap();
    assert_eq!(thresholds.last_alerted_at, Some(at(30)));
}

#[test]
fn what_is_found_says_whose_since_when_and_how_urgent() {
    let mut world = World::new();
    world.watch(90.0, 90.0);
    world.uses(95.129, 10);
    world.uses(97.5, 10);
    let found = Rules.find(&world.db, at(100)).unwrap().signals.remove(0);
    assert_eq!((found.source, found.entity_name.as_str()), ("resource", "c1"));
    assert_eq!((found.severity, found.channels), (Severity::Critical, vec!["ops".to_owned()]));
    assert_eq!((found.since, found.due), (at(0), at(10)));
    assert_eq!(found.message, "container c1 uses 90 % of a core or more");
    assert_eq!(found.details.get("value").unwrap(), 97.5);
    // The sentence stays the same while it lasts.
    world.uses(180.0, 10);
    let later = Rules.find(&world.db, at(200)).unwrap().signals.remove(0);
    assert_eq!(later.message, found.message);
}

#[test]
fn the_alert_of_a_container_that_is_ignored_ends() {
    let mut world = World::new();
    world.watch(90.0, 90.0);
    world.uses(95.0, 10);
    world.uses(95.0, 10);
    assert_eq!(world.wrong(), "cpu_threshold@container1");
    let entity = Entity { kind: "container", id: 1 };
    assert!(Rules.exists(&world.db, &entity).unwrap());
    world.db.execute("UPDATE containers SET is_ignored = 1", []).unwrap();
    assert_eq!(world.wrong(), "");
    assert!(!Rules.exists(&world.db, &entity).unwrap());
}

#[test]
fn the_alert_of_a_container_that_stops_ends() {
    let mut world = World::new();
    world.watch(90.0, 90.0);
    world.uses(95.0, 10);
    world.uses(95.0, 10);
    let nothing = |at| Batch { at, samples: Vec::new(), host: None };
    world.told();
    // Not measured, or the runtime not heard: nothing is known of it.
    world.round(nothing, &[1]);
    world.round_of(nothing, None);
    assert_eq!((world.told().as_str(), world.wrong().as_str()), ("", "cpu_threshold@container1"));
    world.round(nothing, &[]);
    assert_eq!((world.told().as_str(), world.wrong().as_str()), ("-cpu:c1", ""));
}

#[test]
fn a_changed_threshold_counts_at_once_and_loses_no_sample() {
    let mut world = World::new();
    world.watch(90.0, 90.0);
    world.uses(95.0, 10);
    world.uses(95.0, 10);
    world.told();
    world.watch(94.0, 90.0);
    assert_eq!((world.told().as_str(), world.wrong().as_str()), ("", "cpu_threshold@container1"));
    let message = Rules.find(&world.db, at(0)).unwrap().signals.remove(0).message;
    assert!(message.contains("94 %"), "{message}");
    world.watch(200.0, 90.0);
    assert_eq!((world.told().as_str(), world.wrong().as_str()), ("-cpu:c1", ""));
    world.uses(195.0, 10);
    world.watch(90.0, 90.0);
    world.uses(195.0, 10);
    world.uses(195.0, 10);
    assert_eq!(world.told(), "+cpu:c1");
    let disable = |thresholds: &mut Thresholds| thresholds.enabled = false;
    let told = configure(&world.db, 1, disable, &BTreeMap::new(), at(100)).unwrap().unwrap();
    assert_eq!(told.iter().map(words).collect::<Vec<_>>(), ["-cpu:c1"]);
    assert_eq!(world.wrong(), "");
    let unknown = configure(&world.db, 7, disable, &BTreeMap::new(), at(100)).unwrap();
    assert!(unknown.is_none());
}

#[test]
fn a_changed_threshold_is_held_against_the_newest_sample_of_a_disk() {
    let change = |disk| move |thresholds: &mut standings::HostThresholds| thresholds.disk = disk;
    let changed = |world: &mut World, disk| {
        let told = configure_host(&world.db, change(disk), &BTreeMap::new(), at(world.second));
        told.unwrap().iter().map(words).collect::<Vec<_>>().join(" ")
    };
    let mut world = World::new();
    for used in [99, 99, 92] {
        world.host(1.0, used);
    }
    assert_eq!(world.wrong(), "host_disk@filesystem1");
    let found = Rules.find(&world.db, at(0)).unwrap().signals.remove(0);
    assert_eq!(found.details.get("value").unwrap(), 92.0);
    assert_eq!(changed(&mut world, 91.0), "");
    assert_eq!(changed(&mut world, 95.0), "-disk:/var");
    assert_eq!(world.wrong(), "");
}

#[test]
fn a_filesystem_that_does_not_tell_its_size_stays_as_it_is() {
    let mut world = World::new();
    let silent = |mounts: Option<&[&str]>| {
        let mounts = mounts.map(|all| all.iter().map(|mount| (*mount).to_owned()).collect());
        move |at| {
            let host = HostSample { mounts, filesystems: Vec::new(), ..host(at, 1.0) };
            Batch { at, samples: Vec::new(), host: Some(host) }
        }
    };
    // One sample beyond is not forgotten.
    world.host(1.0, 95);
    world.round(silent(Some(&["/var"])), &[]);
    world.host(1.0, 95);
    assert_eq!(world.told(), "+disk:/var");
    for _ in 0..5 {
        world.round(silent(Some(&["/", "/var"])), &[]);
        world.round(silent(None), &[]);
    }
    assert_eq!((world.told().as_str(), world.wrong().as_str()), ("", "host_disk@filesystem1"));
    assert!(Rules.exists(&world.db, &Entity { kind: "filesystem", id: 1 }).unwrap());
    world.round(silent(Some(&["/"])), &[]);
    assert_eq!((world.told().as_str(), world.wrong().as_str()), ("-disk:/var", ""));
}

#[test]
fn what_a_container_used_before_it_stopped_is_not_judged() {
    let mut world = World::new();
    world.watch(90.0, 90.0);
    world.uses(95.0, 10);
    let batch = |at| Batch { samples: vec![sample(1, at, 95.0)], ..one(at, 95.0) };
    world.round(batch, &[]);
    assert_eq!((world.told().as_str(), world.wrong().as_str()), ("", ""));
    assert!(standings::load(&world.db, None).unwrap().is_empty());
}

#[test]
fn the_hosts_processors_are_judged_by_five_minutes() {
    let mut world = World::new();
    for _ in 0..23 {
        world.host(100.0, 10);
    }
    assert_eq!(world.wrong(), "");
    world.host(100.0, 10);
    assert_eq!((world.told().as_str(), world.wrong().as_str()), ("+cpu:", "host_cpu@host0"));
    // One calm sample of thirty is not calm yet.
    world.host(0.0, 10);
    world.host(0.0, 10);
    assert_eq!(world.wrong(), "host_cpu@host0");
    world.host(0.0, 10);
    world.host(0.0, 10);
    world.host(0.0, 10);
    assert_eq!((world.told().as_str(), world.wrong().as_str()), ("-cpu:", ""));
}

#[test]
fn each_filesystem_is_judged_and_keeps_its_id() {
    let mut world = World::new();
    world.host(1.0, 95);
    world.host(1.0, 95);
    assert_eq!(
        (world.told().as_str(), world.wrong().as_str()),
        ("+disk:/var", "host_disk@filesystem1")
    );
    let var = Entity { kind: "filesystem", id: 1 };
    assert!(Rules.exists(&world.db, &var).unwrap());
    // Unmounted.
    world.round(
        |at| {
            let host = host_of(at, 1.0, vec![filesystem("/", 50)]);
            Batch { at, samples: Vec::new(), host: Some(host) }
        },
        &[1],
    );
    assert_eq!((world.told().as_str(), world.wrong().as_str()), ("-disk:/var", ""));
    assert!(!Rules.exists(&world.db, &var).unwrap());
    world.host(1.0, 95);
    world.host(1.0, 95);
    assert_eq!(world.wrong(), "host_disk@filesystem1");
    let disable = |thresholds: &mut standings::HostThresholds| thresholds.enabled = false;
    configure_host(&world.db, disable, &BTreeMap::new(), at(0)).unwrap();
    assert_eq!(world.wrong(), "");
    world.host(1.0, 99);
    world.host(1.0, 99);
    assert_eq!(world.wrong(), "");
}

#[test]
fn inodes_run_out_on_their_own() {
    let mut world = World::new();
    for _ in 0..2 {
        world.round(
            |at| {
                let full = Filesystem { inodes_percent: Some(99.0), ..filesystem("/", 50) };
                let none = Filesystem { inodes_percent: None, ..filesystem("/boot", 50) };
                let host = host_of(at, 1.0, vec![none, full]);
                Batch { at, samples: Vec::new(), host: Some(host) }
            },
            &[],
        );
    }
    assert_eq!(world.wrong(), "host_inode@filesystem1");
}

#[test]
fn memory_without_a_limit_is_held_against_the_host() {
    let mut world = World::new();
    world.watch(90.0, 50.0);
    let half = |mem_ceiling| {
        move |at| {
            let mem_working_set = Some(GIB / 2);
            let sample =
                Sample { mem_limit: None, mem_ceiling, mem_working_set, ..sample(1, at, 1.0) };
            Batch { at, samples: vec![sample], host: None }
        }
    };
    // An engine elsewhere has a host of its own.
    world.round(half(Some(2 * GIB)), &[1]);
    world.round(half(Some(2 * GIB)), &[1]);
    assert_eq!(world.wrong(), "");
    world.round(half(None), &[1]);
    world.round(half(None), &[1]);
    assert_eq!(world.wrong(), "memory_threshold@container1");
    let keys: Vec<_> = standings::load(&world.db, None).unwrap().into_keys().collect();
    assert_eq!(keys, [(Metric::Memory, 1)]);
}
