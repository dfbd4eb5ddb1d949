//! Measures the containers of the engine at `DOCKER_HOST`, as the collector does, for benchmarks and by
//! hand: `measure files|api SECONDS ROUNDS`. One JSON object a round: what the process spent on it, and
//! what it found.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "no part of the product: a failure here should stop at once"
)]

use std::path::Path;
use std::time::Duration;

use maintenant_collector::containers::inventory::Inventory;
use maintenant_collector::containers::watch::{Periods, Watch};
use maintenant_collector::docker::{DEFAULT_HOST, Host};
use maintenant_collector::http::events::EventBus;
use maintenant_collector::resources::cgroup::Roots;
use maintenant_collector::resources::sampler::{Batch, Sampler, Sink};
use maintenant_collector::runtime::{Runtime, RuntimeState};
use maintenant_collector::store::Store;
use maintenant_collector::tasks::Job;
use maintenant_serve::clock::now;
use serde_json::{Value, json};

#[derive(Clone, Default)]
struct Last(std::sync::Arc<std::sync::Mutex<Option<Batch>>>);

impl Sink for Last {
    async fn take(&mut self, batch: Batch) -> anyhow::Result<()> {
        *self.0.lock().unwrap() = Some(batch);
        Ok(())
    }
}

/// Processor time of all threads, in microseconds.
fn spent() -> f64 {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let of = |text: String| text.split(' ').next().unwrap().parse::<f64>().unwrap();
    tasks
        .filter_map(|task| std::fs::read_to_string(task.path().join("schedstat")).ok())
        .map(of)
        .sum::<f64>()
        / 1e3
}

fn told(batch: &Batch, inventory: &Inventory) -> Value {
    let samples = batch.samples.iter().map(|sample| {
        let container = inventory.find(sample.container_id).unwrap();
        json!({
            "name": container.facts.name, "from_api": sample.is_from_api,
            "cpu_percent": sample.cpu_percent, "cpu_limit_cores": sample.cpu_limit_cores,
            "throttled_percent": sample.cpu_throttled_percent,
            "mem_working_set": sample.mem_working_set, "mem_anon": sample.mem_anon,
            "mem_limit": sample.mem_limit, "pids": sample.pids,
            "net": sample.net.map(|net| (net.received, net.sent)),
            "block": sample.block.map(|block| (block.received, block.sent)),
            "net_rate": sample.net_rate.map(|rate| (rate.received, rate.sent)),
            "cpu_pressure": sample.pressure.cpu, "shares_network_of": sample.shares_network_of,
        })
    });
    samples.collect()
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, way, seconds, rounds] = arguments.as_slice() else {
        panic!("usage: measure files|api SECONDS ROUNDS")
    };
    let roots = match way.as_str() {
        "files" => Roots::find(),
        "api" => Roots::new(Path::new("/none"), Path::new("/none"), Path::new("/none")),
        _ => panic!("`files` or `api`"),
    };
    let period = Duration::from_secs_f64(seconds.parse().expect("SECONDS is a number"));
    let rounds: usize = rounds.parse().expect("ROUNDS is a number");
    let folder = tempfile::tempdir().unwrap();
    let (store, _writer) = Store::open(&folder.path().join("m.db")).unwrap();
    let runtime = RuntimeState::new(Runtime::new("docker", now()));
    let address = std::env::var("DOCKER_HOST").unwrap_or_else(|_| DEFAULT_HOST.to_owned());
    let host = Host::parse(&address, false, None).unwrap();
    let (mut watch, watched) =
        Watch::new(host, Periods::default(), store, EventBus::new(now()), runtime.clone())
            .await
            .unwrap();
    let last = Last::default();
    let mut sampler = Sampler::of(
        watched.inventory.clone(),
        runtime.clone(),
        watched.docker.clone(),
        last.clone(),
        roots,
    );
    let measure = async {
        let mut state = runtime.subscribe();
        state.wait_for(|runtime| runtime.connected).await.unwrap();
        // The first round has nothing to compare with.
        for round in 0..=rounds {
            let before = spent();
            sampler.run(now()).await.unwrap();
            let spent_us = spent() - before;
            let batch = last.0.lock().unwrap().take().unwrap();
            if round > 0 {
                let samples = told(&batch, &watched.inventory.borrow());
                println!("{}", json!({"spent_us": spent_us, "samples": samples}));
            }
            tokio::time::sleep(period).await;
        }
    };
    tokio::select! {
        ended = watch.run(now()) => panic!("{ended:?}"),
        () = measure => {}
    }
}
