//! Usage of containers: taking a round of 200, ranking 50 over 30 days beside a bare scan of the same
//! rows, and the size of everything that is kept of 50 containers.

#![allow(
    clippy::cast_precision_loss,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "no part of the product: a failure here should stop at once"
)]

use std::sync::LazyLock;

use divan::Bencher;
use jiff::Timestamp;
use maintenant_collector::resources::history::{PERIODS, ranking};
use maintenant_collector::resources::model::{HostSample, Pressure, Rate, Sample, Traffic};
use maintenant_collector::resources::rollup::{HOUR_MS, MINUTE_MS, Spread, Summary, Tier};
use maintenant_collector::resources::sampler::Batch;
use maintenant_collector::resources::sql;
use maintenant_collector::resources::thresholds::Metric;
use maintenant_collector::resources::usage::store;
use maintenant_collector::store::{Store, Writer};

const CONTAINERS: i64 = 50;
/// Whole hours after the epoch; everything ends here.
const END_MS: i64 = 490_000 * HOUR_MS;

/// Numbers that vary as usage does, and are the same in each run.
struct Varied(u64);

impl Varied {
    fn up_to(&mut self, most: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }

    fn sample(&mut self, container_id: i64, at: Timestamp) -> Sample {
        let counted = u64::try_from(at.as_second() % 10_000_000).unwrap() * 1000;
        let traffic = Traffic { received: counted + self.up_to(9999), sent: counted / 3 };
        let rate = Rate { received: self.up_to(50_000) as f64, sent: self.up_to(20_000) as f64 };
        Sample {
            container_id,
            at,
            cpu_percent: self.up_to(10_000) as f64 / 100.0,
            cpu_limit_cores: None,
            cpu_throttled_percent: None,
            mem_working_set: Some((20_000 + self.up_to(400_000)) * 4096),
            mem_anon: None,
            mem_limit: (container_id % 2 == 0).then_some(2 << 30),
            mem_ceiling: None,
            mem_is_limited: Some(container_id % 2 == 0),
            net: Some(traffic),
            block: Some(traffic),
            net_rate: Some(rate),
            block_rate: Some(rate),
            pids: Some(10),
            pressure: Pressure::default(),
            shares_network_of: None,
            is_from_api: false,
            started_at: None,
        }
    }

    fn batch(&mut self, containers: i64, at: Timestamp) -> Batch {
        let samples = (1..=containers).map(|id| self.sample(id, at)).collect();
        let host = HostSample {
            at,
            cpu_percent: self.up_to(10_000) as f64 / 100.0,
            cpu_count: 4,
            load: Some([1.0, 1.0, 1.0]),
            mem_used: 4 << 30,
            mem_total: 16 << 30,
            swap_used: 0,
            swap_total: 0,
            net_rate: Some(Rate { received: 12345.0, sent: 2345.0 }),
            disk_rate: Some(Rate { received: 12345.0, sent: 2345.0 }),
            uptime_seconds: None,
            mounts: None,
            filesystems: Vec::new(),
        };
        Batch { at, samples, host: Some(host) }
    }

    fn summary(&mut self, tier: Tier, begin: i64) -> Summary {
        let mut spread = |most: u64| {
            let mut values = [0; 4].map(|_| i64::try_from(self.up_to(most)).unwrap());
            values.sort_unstable();
            let [min, mean, p95, max] = values;
            // Of six samples the 95th percentile is the maximum.
            Spread { mean, min, max, p95: if tier == Tier::Minute { max } else { p95 } }
        };
        let (cpu, mem) = (spread(10_000), spread(1_600_000));
        let counted = begin / 1000 % 10_000_000 * 1000;
        let rate = Some(i64::try_from(self.up_to(50_000)).unwrap());
        Summary {
            samples: tier.ms() / 10_000,
            cpu,
            mem: Some(mem),
            last: [None, Some(counted), Some(counted / 3), Some(counted), Some(counted / 3)],
            means: [rate, rate, rate, rate, None, None, None],
        }
    }
}

struct World {
    store: Store,
    _writer: Writer,
    folder: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
}

fn time(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap()
}

impl World {
    fn new(containers: i64) -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let (store, writer) = Store::open(&folder.path().join("m.db")).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let fill = move |tx: &rusqlite::Connection| {
            for id in 1..=containers {
                tx.execute(
                    "INSERT INTO containers VALUES (?1, 'name:c' || ?1, 'x', 'c' || ?1, 'i',
                         'running', NULL, 0, '', '', '', '', 0, 'warning', 3, '', '', 0, 15, 0,
                         NULL, NULL, NULL, 0, '', NULL, NULL, 0, 0, NULL, '{}')",
                    [id],
                )?;
            }
            Ok(())
        };
        runtime.block_on(store.write(fill)).unwrap();
        Self { store, _writer: writer, folder, runtime }
    }

    fn write(
        &self,
        work: impl FnOnce(&rusqlite::Connection) -> rusqlite::Result<()> + Send + 'static,
    ) {
        self.runtime.block_on(self.store.write(work)).unwrap();
    }

    /// As much of each tier as is kept of 50 containers and the host.
    fn full() -> Self {
        let world = Self::new(CONTAINERS);
        for (tier, units) in [(Tier::Hour, 400 * 24), (Tier::Minute, 2 * 24 * 60)] {
            // By time, as it comes.
            for slice in 0..20 {
                world.write(move |tx| {
                    let mut varied = Varied(7 + slice);
                    let steps = units / 20;
                    let first = i64::try_from(slice).unwrap() * steps;
                    for unit in first..first + steps {
                        let begin = END_MS - 6 * HOUR_MS - (units - unit) * tier.ms();
                        for id in 0..=CONTAINERS {
                            let summary = varied.summary(tier, begin);
                            sql::save_summary(tx, tier, id, begin, &summary)?;
                        }
                    }
                    Ok(())
                });
            }
        }
        let begin = END_MS - 6 * HOUR_MS;
        for minute in 0..6 * 60 {
            world.write(move |tx| {
                let mut varied = Varied(u64::try_from(minute).unwrap());
                for second in (0..60).step_by(10) {
                    let at = time(begin + minute * MINUTE_MS + second * 1000);
                    store(tx, &varied.batch(CONTAINERS, at))?;
                }
                Ok(())
            });
        }
        world
    }

    fn report(&self) {
        let sizes = |db: &rusqlite::Connection| {
            let mut all = Vec::new();
            for (name, table, per_day) in [
                ("resource_samples", "resource_samples", 8640),
                ("resource_minutes", "resource_minutes", 1440),
                ("resource_hours", "resource_hours", 24),
                ("resource_hours_ranked", "resource_hours", 24),
            ] {
                let bytes: i64 = db.query_row(
                    "SELECT sum(pgsize) FROM dbstat WHERE name = ?1",
                    [name],
                    |row| row.get(0),
                )?;
                let rows: i64 =
                    db.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))?;
                all.push((name, rows, bytes, per_day * (CONTAINERS + 1)));
            }
            let pages: i64 = db.query_row("PRAGMA page_count", [], |row| row.get(0))?;
            Ok((all, pages * 4096))
        };
        let (all, file) = self.runtime.block_on(self.store.read(sizes)).unwrap();
        for (name, rows, bytes, per_day) in all {
            let each = bytes as f64 / rows as f64;
            let (mib, daily) = (bytes as f64 / 1e6, each * per_day as f64 / 1e6);
            println!(
                "{name:24} {rows:7} rows {each:6.1} B each {mib:6.1} MB, {daily:5.2} MB a day"
            );
        }
        println!("{:24} {:.1} MB in {}", "all", file as f64 / 1e6, self.folder.path().display());
    }
}

static FULL: LazyLock<World> = LazyLock::new(World::full);

fn main() {
    FULL.report();
    divan::main();
}

#[divan::bench]
fn top_of_30_days(bencher: Bencher<'_, '_>) {
    let now = time(END_MS + 5_000);
    let world = &*FULL;
    bencher.bench_local(|| {
        let [.., month] = PERIODS;
        let work = move |db: &rusqlite::Connection| {
            ranking(db, Metric::Cpu, month, 20, now, |_| Some(None), Some(16 << 30))
        };
        let top = world.runtime.block_on(world.store.read(work)).unwrap();
        assert_eq!(top.len(), 20);
    });
}

/// The same sums over the hours of the same 60 days, by SQLite alone.
#[divan::bench]
fn bare_scan_of_the_same_hours(bencher: Bencher<'_, '_>) {
    let world = &*FULL;
    let path = world.folder.path().join("m.db");
    let db = rusqlite::Connection::open(path).unwrap();
    let (from, to) = (END_MS / HOUR_MS - 60 * 24, END_MS / HOUR_MS);
    let sql = "SELECT h.container_id, sum(samples), sum(cpu_mean * samples), max(cpu_max)
               FROM containers c CROSS JOIN resource_hours h
                   ON h.container_id = c.id AND hour >= ?1 AND hour < ?2
               GROUP BY c.id";
    let mut statement = db.prepare(sql).unwrap();
    bencher.bench_local(|| {
        let samples = statement.query_map((from, to), |row| row.get::<_, i64>(1)).unwrap();
        let samples: i64 = samples.map(Result::unwrap).sum();
        assert!(samples > 70_000 * 360);
    });
}

/// One round of 200 containers and the host, committed; every sixth closes a minute.
#[divan::bench(sample_count = 60, sample_size = 1)]
fn take_200(bencher: Bencher<'_, '_>) {
    let world = World::new(200);
    let mut varied = Varied(1);
    let mut at = END_MS;
    bencher.bench_local(|| {
        at += 10_000;
        let batch = varied.batch(200, time(at));
        world.write(move |tx| store(tx, &batch));
    });
}

/// The same, in one hour and its close.
#[divan::bench(sample_count = 3, sample_size = 1)]
fn take_200_for_an_hour(bencher: Bencher<'_, '_>) {
    let mut at = END_MS;
    let world = World::new(200);
    let mut varied = Varied(1);
    bencher.bench_local(|| {
        for _ in 0..361 {
            at += 10_000;
            let batch = varied.batch(200, time(at));
            world.write(move |tx| store(tx, &batch));
        }
    });
}
