use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use maintenant_api::containers::State;
use maintenant_serve::clock::now;
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::containers::inventory::Inventory;
use crate::containers::labels::Labels;
use crate::containers::model::{Container, Facts, RestartPolicy, Seen, adopt};
use crate::containers::tests::fake_docker::FakeDocker;
use crate::docker::{Docker, Host};
use crate::net::testing::stand_still;
use crate::resources::cgroup::Roots;
use crate::resources::model::Sample;
use crate::resources::sampler::{Batch, PERIOD, STATS_FEATURE, Sampler, Sink};
use crate::runtime::{Runtime, RuntimeState};
use crate::tasks::Job;

const ID: &str = "4f1c9b0d7e2a5c8833b6d1e0f9a27c45d86b3e10f7a9c2d4e5b8061f3a7c9d2e";
const PID: i64 = 4711;

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<Batch>>>);

impl Sink for Kept {
    async fn take(&mut self, batch: Batch) -> anyhow::Result<()> {
        self.0.lock().unwrap().push(batch);
        Ok(())
    }
}

/// A sampler over a fake engine and a fake kernel.
///
/// Two clocks tell how far two readings are apart, and only one of them can be stopped: that is done
/// where a test dates the readings itself, or where they are compared with nothing.
struct Bench {
    folder: tempfile::TempDir,
    fake: FakeDocker,
    _tasks: JoinSet<()>,
    inventory: watch::Sender<Inventory>,
    docker: watch::Sender<Option<Docker>>,
    runtime: RuntimeState,
    sampler: Sampler<Kept>,
    kept: Kept,
}

impl Bench {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("docker.sock");
        let (fake, tasks) = FakeDocker::serve(&socket);
        let docker = Docker::connect(&Host::Unix(socket.to_str().unwrap().to_owned())).await;
        let docker = watch::Sender::new(Some(docker.unwrap()));
        let inventory = watch::Sender::new(Inventory::default());
        let runtime = RuntimeState::new(Runtime::new("docker", now()));
        let kept = Kept::default();
        let cgroup = folder.path().join("cgroup");
        let proc = folder.path().join("proc");
        std::fs::create_dir_all(&cgroup).unwrap();
        std::fs::write(cgroup.join("cgroup.controllers"), "cpu").unwrap();
        let sampler = Sampler::of(
            inventory.subscribe(),
            runtime.clone(),
            docker.subscribe(),
            kept.clone(),
            Roots::new(&proc, &cgroup, &cgroup),
        );
        Self { folder, fake, _tasks: tasks, inventory, docker, runtime, sampler, kept }
    }

    /// A container that the kernel does not show.
    fn add(&self, id: i64, external_id: &str) {
        self.fake.put(external_id, &format!("c{id}"), "running");
        let mut containers = self.inventory.borrow().containers.to_vec();
        containers.push(Arc::new(container(id, external_id)));
        self.inventory.send_replace(Inventory::new(containers));
    }

    fn change(&self, id: i64, change: impl Fn(&mut Container)) {
        let mut containers = self.inventory.borrow().containers.to_vec();
        for container in containers.iter_mut().filter(|container| container.id == id) {
            change(Arc::make_mut(container));
        }
        self.inventory.send_replace(Inventory::new(containers));
    }

    /// Shows it in the files of the kernel.
    fn show(&self, external_id: &str, pid: i64) {
        self.fake.set(external_id, "/State/Pid", &json!(pid));
        self.write(&format!("proc/{pid}/cgroup"), &format!("0::/docker/{external_id}\n"));
        self.write(
            &format!("proc/{pid}/net/dev"),
            "x\ny\n eth0: 100 0 0 0 0 0 0 0 200 0 0 0 0 0 0 0\n",
        );
        self.use_cpu(external_id, 1_000);
    }

    fn use_cpu(&self, external_id: &str, usec: u64) {
        self.write(
            &format!("cgroup/docker/{external_id}/cpu.stat"),
            &format!("usage_usec {usec}\n"),
        );
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.folder.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// What one round found, by container.
    async fn round(&mut self) -> BTreeMap<i64, Sample> {
        // Instants are whole milliseconds; no two rounds are within one.
        let before = now();
        while now() == before {
            tokio::task::yield_now().await;
        }
        self.sampler.run(now()).await.unwrap();
        let batch = self.kept.0.lock().unwrap().pop().unwrap();
        batch.samples.into_iter().map(|sample| (sample.container_id, sample)).collect()
    }

    /// What a round finds in which no inspection is late; after it one that the next can be compared
    /// with.
    async fn meet(&mut self) -> BTreeMap<i64, Sample> {
        let still = stand_still();
        let found = self.round().await;
        drop(still);
        tokio::time::resume();
        self.round().await;
        found
    }

    /// As [`Bench::meet`], but that what is asked for at this path is late.
    async fn hang(&mut self, path: &str) {
        let still = stand_still();
        let (fake, before) = (self.fake.clone(), self.fake.calls(path));
        let late = async {
            while fake.calls(path) == before {
                tokio::task::yield_now().await;
            }
            tokio::time::advance(Duration::from_millis(1600)).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            _ = self.round() => {}
            () = late => {}
        }
        drop(still);
        tokio::time::resume();
        self.round().await;
    }
}

fn container(id: i64, external_id: &str) -> Container {
    let seen = Seen {
        external_id: external_id.to_owned(),
        created_at: None,
        facts: Facts {
            name: format!("c{id}"),
            image: "busybox:1".to_owned(),
            labels: Labels::default(),
            has_health_check: false,
            restart_policy: RestartPolicy::No,
            stop_signal: 15,
            restart_count: 0,
            error_detail: String::new(),
            exposure: None,
        },
        state: State::Running,
        health: None,
        exit_code: None,
        oom_killed: false,
        started_at: Some(at(0)),
        finished_at: None,
    };
    adopt(id, &seen, now())
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + second).unwrap()
}

fn used(read: Timestamp, cpu_ns: u64) -> serde_json::Value {
    json!({"read": read.to_string(), "cpu_stats": {"cpu_usage": {"total_usage": cpu_ns}}})
}

#[tokio::test]
async fn the_kernel_is_asked_before_the_engine() {
    let mut bench = Bench::new().await;
    bench.add(1, ID);
    bench.show(ID, PID);
    assert!(bench.meet().await.is_empty(), "one reading is no rate");
    bench.use_cpu(ID, 2_000);
    let samples = bench.round().await;
    let sample = &samples[&1];
    assert!(!sample.is_from_api && sample.cpu_percent > 0.0, "{sample:?}");
    assert_eq!(sample.net.unwrap().sent, 200);
    assert_eq!(bench.fake.calls("/stats"), 0);
    assert_eq!(bench.fake.calls("/json"), 1, "one inspection suffices");
}

#[tokio::test]
async fn where_the_kernel_shows_nothing_the_engine_tells() {
    let _still = stand_still();
    let mut bench = Bench::new().await;
    bench.add(1, ID);
    let base = now() - Duration::from_secs(3);
    let read = |millis, cpu_ns| used(base + Duration::from_millis(millis), cpu_ns);
    bench.fake.set_stats(ID, read(0, 5_000_000_000));
    assert!(bench.round().await.is_empty());
    tokio::time::advance(Duration::from_millis(400)).await;
    bench.fake.set_stats(ID, read(400, 5_080_000_000));
    let sample = bench.round().await.remove(&1).unwrap();
    assert!(sample.is_from_api);
    assert!((sample.cpu_percent - 20.0).abs() < 1e-9, "{sample:?}");
    assert_eq!(sample.at, base + Duration::from_millis(400), "the engine's own time");
    assert_eq!((sample.mem_is_limited, sample.started_at), (Some(false), Some(at(0))));
    // The same answer again is no new sample, and one without a time is none.
    assert!(bench.round().await.is_empty());
    bench.fake.set_stats(ID, json!({"read": "0001-01-01T00:00:00Z"}));
    assert!(bench.round().await.is_empty());
}

#[tokio::test]
async fn an_engine_with_a_wrong_clock_dates_no_sample_in_our_future_or_past() {
    let _still = stand_still();
    for wrong in [SignedDuration::from_hours(1), SignedDuration::from_hours(-1)] {
        let mut bench = Bench::new().await;
        bench.add(1, ID);
        let base = now() + wrong;
        bench.fake.set_stats(ID, used(base, 0));
        bench.round().await;
        tokio::time::advance(Duration::from_millis(400)).await;
        bench.fake.set_stats(ID, used(base + Duration::from_millis(400), 200_000_000));
        let before = now();
        let sample = bench.round().await.remove(&1).unwrap();
        assert!((sample.cpu_percent - 50.0).abs() < 1e-9, "{sample:?}");
        assert!(sample.at <= now() && sample.at >= before - PERIOD, "{sample:?}");
    }
}

#[tokio::test]
async fn an_engine_that_answers_a_hundred_calls_at_once_is_asked_so() {
    let _still = stand_still();
    let mut bench = Bench::new().await;
    let ids: Vec<_> = (1..=100).map(|id: i64| format!("{id:064x}")).collect();
    for (id, external_id) in (1..).zip(&ids) {
        bench.add(id, external_id);
        bench.fake.set_stats(external_id, used(at(0), 0));
    }
    bench.fake.answer_stats_together(100);
    bench.round().await;
    tokio::time::advance(Duration::from_millis(400)).await;
    for external_id in &ids {
        bench.fake.set_stats(external_id, used(at(0) + Duration::from_millis(400), 1));
    }
    assert_eq!(bench.round().await.len(), 100);
}

#[tokio::test]
async fn a_refused_call_is_named_until_it_is_answered() {
    let mut bench = Bench::new().await;
    bench.add(1, ID);
    bench.fake.refuse("/stats");
    assert!(bench.meet().await.is_empty());
    let degraded = bench.runtime.get().degraded;
    assert_eq!(degraded[0].feature, STATS_FEATURE);
    assert_eq!(degraded[0].call, "GET /containers/{id}/stats");
    // The kernel needs no such call.
    bench.show(ID, PID);
    bench.change(1, |container| container.started_at = Some(at(1)));
    bench.meet().await;
    assert!(bench.runtime.get().degraded.is_empty());
}

#[tokio::test]
async fn without_inspections_statistics_are_still_asked_for() {
    let _still = stand_still();
    let mut bench = Bench::new().await;
    bench.add(1, ID);
    bench.fake.refuse(&format!("/containers/{ID}/json").leak()[..]);
    bench.fake.set_stats(ID, used(at(0), 0));
    bench.round().await;
    tokio::time::advance(Duration::from_millis(400)).await;
    bench.fake.set_stats(ID, used(at(0) + Duration::from_millis(400), 200_000_000));
    let sample = bench.round().await.remove(&1).unwrap();
    assert_eq!(sample.mem_is_limited, None, "its limits are not known");
}

#[tokio::test]
async fn an_engines_clock_that_was_set_by_seconds_makes_no_rate() {
    let _still = stand_still();
    let mut bench = Bench::new().await;
    bench.add(1, ID);
    bench.fake.set_stats(ID, used(at(0), 0));
    bench.round().await;
    bench.fake.set_stats(ID, used(at(3), 300_000_000));
    assert!(bench.round().await.is_empty());
    tokio::time::advance(Duration::from_millis(400)).await;
    bench.fake.set_stats(ID, used(at(3) + Duration::from_millis(400), 500_000_000));
    assert_eq!(bench.round().await.len(), 1);
}

#[tokio::test]
async fn many_inspections_that_hang_are_not_waited_for_in_one_round() {
    let mut bench = Bench::new().await;
    for id in 1..=40 {
        let external_id = format!("{id:064x}");
        bench.add(id, &external_id);
        bench.fake.hang_at(&format!("/containers/{external_id}/json").leak()[..]);
    }
    let still = stand_still();
    let began = Instant::now();
    let fake = bench.fake.clone();
    // None is answered, so that from the first one on time may leap.
    let leap = async {
        while fake.calls("/json") == 0 {
            tokio::task::yield_now().await;
        }
        drop(still);
    };
    tokio::join!(bench.round(), leap);
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    let asked = fake.calls("/json");
    assert!((1..40).contains(&asked), "{asked}");
}

#[tokio::test]
async fn an_inspection_that_hung_is_left_alone_for_a_while() {
    let mut bench = Bench::new().await;
    let healthy = ID.replace('4', "5");
    bench.add(2, &healthy);
    bench.meet().await;
    bench.add(1, ID);
    let path = format!("/containers/{ID}/json");
    bench.fake.hang_at(&path.clone().leak()[..]);
    bench.hang(&path).await;
    assert_eq!(bench.round().await.keys().collect::<Vec<_>>(), [&2]);
    assert_eq!(bench.fake.calls(&path), 1);
    // Another run is.
    bench.change(1, |container| container.started_at = Some(at(1)));
    bench.hang(&path).await;
    assert_eq!(bench.fake.calls(&path), 2);
}

#[tokio::test]
async fn another_run_is_not_compared_with_the_one_before() {
    let mut bench = Bench::new().await;
    bench.add(1, ID);
    bench.show(ID, PID);
    bench.meet().await;
    assert_eq!(bench.round().await.len(), 1);
    // It was restarted, and has used more than before already.
    bench.show(ID, PID + 1);
    bench.use_cpu(ID, 900_000_000);
    bench.fake.set(ID, "/State/StartedAt", &json!("2026-02-02T00:00:00Z"));
    bench.change(1, |container| container.started_at = Some(at(60)));
    assert!(bench.meet().await.is_empty());
    assert_eq!(bench.round().await.len(), 1);
    // Only its start is known more exactly: it is the same run.
    bench.change(1, |container| container.started_at = Some(at(61)));
    assert_eq!(bench.round().await.len(), 1);
    // The counter went back although nobody told of another run.
    bench.use_cpu(ID, 1);
    assert!(bench.round().await.is_empty());
    assert_eq!(bench.round().await.len(), 1);
}

#[tokio::test]
async fn while_the_engine_is_lost_the_kernel_tells_of_what_still_runs() {
    let mut bench = Bench::new().await;
    bench.add(1, ID);
    bench.add(2, &ID.replace('4', "5"));
    bench.show(ID, PID);
    bench.meet().await;
    assert_eq!(bench.round().await.keys().collect::<Vec<_>>(), [&1, &2]);
    let docker = bench.docker.send_replace(None);
    assert_eq!(
        bench.round().await.keys().collect::<Vec<_>>(),
        [&1],
        "the engine told of the other"
    );
    // Its pid is somebody else's now.
    bench.write(&format!("proc/{PID}/cgroup"), "0::/system.slice/cron.service\n");
    assert!(bench.round().await.is_empty());
    bench.show(ID, PID);
    assert!(bench.round().await.is_empty(), "it may be another run");
    bench.docker.send_replace(docker);
    bench.meet().await;
    assert_eq!(bench.round().await.len(), 2);
}

#[tokio::test]
async fn a_network_is_counted_once_where_it_is() {
    let mut bench = Bench::new().await;
    let ids: Vec<_> = (1..=5).map(|id: i64| format!("{id:064x}")).collect();
    for (id, external_id) in (1..).zip(&ids) {
        bench.add(id, external_id);
        bench.show(external_id, PID + id);
    }
    let mode = |of: usize, mode: String| {
        bench.fake.set(&ids[of], "/HostConfig/NetworkMode", &json!(mode));
    };
    mode(1, format!("container:{}", ids[0]));
    mode(2, format!("container:{}", ids[1]));
    mode(3, "host".to_owned());
    mode(4, format!("container:{}", "f".repeat(64)));
    bench.meet().await;
    let samples = bench.round().await;
    let found: Vec<_> =
        samples.values().map(|sample| (sample.net.is_some(), sample.shares_network_of)).collect();
    let expected = [(true, None), (false, Some(1)), (false, Some(1)), (false, None), (false, None)];
    assert_eq!(found, expected);
}

#[tokio::test]
async fn only_what_runs_and_is_not_ignored_is_measured() {
    let mut bench = Bench::new().await;
    for id in 1..=5 {
        bench.add(id, &format!("{id:064x}"));
    }
    bench.change(2, |container| container.state = State::Exited);
    bench.change(3, |container| container.archived_at = Some(at(0)));
    bench.change(4, |container| container.facts.labels.is_ignored = true);
    bench.change(5, |container| container.state = State::Paused);
    bench.meet().await;
    assert_eq!(bench.round().await.keys().collect::<Vec<_>>(), [&1, &5]);
    bench.change(1, |container| container.state = State::Exited);
    assert_eq!(bench.round().await.keys().collect::<Vec<_>>(), [&5]);
}
