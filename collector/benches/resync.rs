//! A full resync of 1,000 containers, beside its floor: the same list and inspections, decoded and
//! dropped. `cargo bench -p maintenant-collector`

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "no part of the product: a failure here should stop at once"
)]

use std::path::{Path, PathBuf};

use divan::Bencher;
use futures_util::StreamExt;
use maintenant_collector::containers::watch::{Periods, Watch};
use maintenant_collector::docker::{Docker, Host};
use maintenant_collector::http::events::EventBus;
use maintenant_collector::runtime::{Runtime, RuntimeState};
use maintenant_collector::store::Store;
use maintenant_collector::tasks::Job;
use maintenant_serve::clock::now;
use tokio::runtime::Runtime as Tokio;

#[path = "../src/containers/tests/fake_docker.rs"]
#[expect(dead_code, reason = "shared with the tests, which use more of it")]
mod fake_docker;

const CONTAINERS: usize = 1000;

fn main() {
    divan::main();
}

/// An engine on a thread of its own, so that its work does not share the measured runtime.
struct Engine {
    folder: tempfile::TempDir,
}

impl Engine {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("docker.sock");
        std::thread::spawn({
            let socket = socket.clone();
            move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.unwrap().block_on(async {
                    let (fake, mut tasks) = fake_docker::FakeDocker::serve(&socket);
                    fake.fill(CONTAINERS);
                    tasks.join_next().await;
                });
            }
        });
        while !socket.exists() {
            std::thread::yield_now();
        }
        Self { folder }
    }

    fn host(&self) -> Host {
        Host::Unix(self.folder.path().join("docker.sock").to_str().unwrap().to_owned())
    }

    fn database(&self) -> PathBuf {
        self.folder.path().join("m.db")
    }
}

fn runtime() -> Tokio {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[divan::bench(sample_count = 10, sample_size = 1)]
fn floor_list_and_inspect(bencher: Bencher<'_, '_>) {
    let engine = Engine::start();
    let runtime = runtime();
    bencher.bench_local(|| {
        runtime.block_on(async {
            let docker = Docker::connect(&engine.host()).await.unwrap();
            let listed = docker.list().await.unwrap();
            futures_util::stream::iter(listed)
                .map(|listed| {
                    let docker = docker.clone();
                    async move { docker.inspect(&listed.id).await }
                })
                .buffer_unordered(16)
                .for_each(|inspected| async { drop(inspected.unwrap()) })
                .await;
        });
    });
}

/// From connecting to every container known and stored.
async fn resync(host: Host, database: &Path) {
    let (store, writer) = Store::open(database).unwrap();
    let runtime = RuntimeState::new(Runtime::new("docker", now()));
    let events = EventBus::new(now());
    let (mut watch, watched) =
        Watch::new(host, Periods::default(), store, events, runtime.clone()).await.unwrap();
    let mut state = runtime.subscribe();
    tokio::select! {
        error = watch.run(now()) => panic!("{error:?}"),
        connected = state.wait_for(|runtime| runtime.connected) => drop(connected.unwrap()),
    }
    assert_eq!(watched.inventory.borrow().containers.len(), CONTAINERS);
    drop(watch);
    writer.end().await;
}

#[divan::bench(sample_count = 10, sample_size = 1)]
fn resync_into_an_empty_database(bencher: Bencher<'_, '_>) {
    let engine = Engine::start();
    let runtime = runtime();
    bencher
        .with_inputs(|| std::fs::remove_file(engine.database()))
        .bench_local_values(|_| runtime.block_on(resync(engine.host(), &engine.database())));
}

#[divan::bench(sample_count = 10, sample_size = 1)]
fn resync_with_nothing_changed(bencher: Bencher<'_, '_>) {
    let engine = Engine::start();
    let runtime = runtime();
    runtime.block_on(resync(engine.host(), &engine.database()));
    bencher.bench_local(|| runtime.block_on(resync(engine.host(), &engine.database())));
}
