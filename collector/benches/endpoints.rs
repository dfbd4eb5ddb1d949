//! What endpoints cost: bytes of a stored check, the time that 90 days of uptime take, memory of a
//! scheduled endpoint. Prints numbers; a debug build stores and schedules a twentieth.
//! `cargo bench -p maintenant-collector --bench endpoints`

#![allow(
    clippy::cast_precision_loss,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "no part of the product: a failure here should stop at once"
)]

use std::path::Path;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use maintenant_api::endpoints::{
    EndpointInput, EndpointSource, EndpointType, FailureCause, Phases,
};
use maintenant_collector::endpoints::history::History;
use maintenant_collector::endpoints::model::{Span, SpanState, State};
use maintenant_collector::endpoints::options::Own;
use maintenant_collector::endpoints::probe::{Failure, Outcome};
use maintenant_collector::endpoints::schedule::Schedule;
use maintenant_collector::endpoints::sql::{self, Declaration, Write};
use maintenant_collector::endpoints::{history, spec};
use maintenant_collector::store::{Store, Writer};
use maintenant_serve::clock;
use tokio::time::Instant;

const SCALE: i64 = if cfg!(debug_assertions) { 20 } else { 1 };
const DAY: i64 = 86_400;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        memory();
        bytes_per_check().await;
        uptime().await;
    });
}

fn open(folder: &Path) -> (Store, Writer) {
    Store::open(&folder.join("m.db")).unwrap()
}

fn declaration(number: i64) -> Declaration {
    Declaration {
        container_id: 0,
        label_key: format!("file:{number}"),
        source: EndpointSource::File,
        container_name: String::new(),
        external_id: String::new(),
        compose_project: String::new(),
        compose_service: String::new(),
        name: number.to_string(),
        kind: EndpointType::Http,
        target: "https://shop.example/health".to_owned(),
        config: spec::defaults(EndpointType::Http),
        own: None,
    }
}

async fn declare(store: &Store, count: i64, now: Timestamp) -> Vec<i64> {
    let all = move |tx: &rusqlite::Connection| {
        (0..count).map(|number| sql::declare(tx, &declaration(number), now)).collect()
    };
    store.write(all).await.unwrap()
}

/// A check of a web page nearby; one in a hundred fails.
fn outcome(number: i64) -> Outcome {
    // Some spread without a source of chance.
    let noise = (number * 7919) % 97;
    let fails = number % 100 == 99;
    let phases = Phases {
        dns_ms: Some(noise % 3),
        connect_ms: Some(noise % 5),
        tls_ms: (number % 2 == 0).then_some(5 + noise % 11),
        first_byte_ms: Some(20 + noise * 2),
        body_ms: Some(noise % 2),
    };
    let sum: i64 = [phases.dns_ms, phases.connect_ms, phases.tls_ms, phases.first_byte_ms]
        .iter()
        .flatten()
        .sum();
    Outcome {
        failure: fails.then(|| Failure {
            cause: FailureCause::Status,
            error: "the answer is 503, which is not among 2xx".to_owned(),
        }),
        // The body, and what rounding leaves over in one of ten.
        response_time_ms: sum + noise % 2 + i64::from(noise % 10 == 0),
        http_status: Some(if fails { 503 } else { 200 }),
        phases,
    }
}

async fn bytes_per_check() {
    let (endpoints, rounds) = (100, 20_000 / SCALE);
    let folder = tempfile::tempdir().unwrap();
    let (store, writer) = open(folder.path());
    let begin = clock::now();
    let ids = declare(&store, endpoints, begin).await;
    writer.end().await;
    let size = || std::fs::metadata(folder.path().join("m.db")).unwrap().len();
    let empty = size();
    let (store, writer) = open(folder.path());
    for round in 0..rounds {
        let writes: Vec<Write> = ids
            .iter()
            .map(|id| {
                let outcome = outcome(round * endpoints + id);
                let ms = round * 30_000 + id * 300 + (round * 31 + id * 17) % 9;
                let at = begin.checked_add(SignedDuration::from_millis(ms)).unwrap();
                Write::check(*id, at, &outcome, &State::default(), &State::default())
            })
            .collect();
        store.write(move |tx| sql::save(tx, &writes, begin)).await.unwrap();
    }
    writer.end().await;
    let rows = endpoints * rounds;
    let bytes = (size() - empty) as f64 / rows as f64;
    println!(
        "bytes per stored check: {bytes:.1} ({rows} checks, 1 % failures with their messages)"
    );
}

async fn uptime() {
    let count = 1_000;
    let folder = tempfile::tempdir().unwrap();
    let (store, _writer) = open(folder.path());
    let now = clock::now();
    let ids = declare(&store, count, now).await;
    let ago = move |seconds: i64| now.checked_sub(SignedDuration::from_secs(seconds)).unwrap();
    // Down for five minutes every day, and known ever since.
    for id in ids.clone() {
        let fill = move |tx: &rusqlite::Connection| {
            let mut spans = Vec::new();
            for day in (0..99).rev() {
                let down = ago(day * DAY + 7_000 + id);
                let up = ago(day * DAY + 6_700 + id);
                let end = (day > 0).then(|| ago((day - 1) * DAY + 7_000 + id));
                spans.push(Span { from: down, to: Some(up), state: SpanState::Down });
                spans.push(Span { from: up, to: end, state: SpanState::Up });
            }
            let writes: Vec<_> = spans.into_iter().map(|span| Write::Span { id, span }).collect();
            // As if each had been written in its time; then every day at once.
            sql::save(tx, &writes, ago(100 * DAY))?;
            history::save_rolled_until(tx, ago(100 * DAY))?;
            history::roll_up_days(tx, &[id], now)?;
            history::save_rolled_until(tx, now)
        };
        store.write(fill).await.unwrap();
    }
    let window = [history::WINDOWS[4]];
    // Often enough for the kernel's count, which goes by ticks.
    let rounds = 20;
    let ask = move |db: &rusqlite::Connection| {
        let begin = cpu_ms();
        for _ in 0..rounds {
            let history = History::new(db, now)?;
            for id in &ids {
                let (percents, _) = history.by_window(*id, &window)?;
                assert!(percents["90d"].is_some_and(|percent| percent > 99.0 && percent < 100.0));
            }
        }
        Ok((cpu_ms() - begin) / f64::from(rounds))
    };
    let each = store.read(ask).await.unwrap();
    println!("90-day uptime of {count} endpoints: {each:.1} ms of CPU (mean of {rounds})");
}

/// What the scheduler holds of each: the compiled configuration, its place in heap and table. Nothing
/// else is allocated meanwhile that would stay.
fn memory() {
    let count = 100_000 / SCALE;
    let defaults = EndpointInput::default();
    let before = resident_bytes();
    let mut schedule = Schedule::new(Instant::now());
    for id in 0..count {
        let input = EndpointInput {
            name: Some(format!("shop {id}")),
            target: Some(format!("https://shop-{id}.example.org/health")),
            endpoint_type: Some("http".to_owned()),
            ..EndpointInput::default()
        };
        let spec = Own::read(&defaults, &input).unwrap().spec;
        schedule.put(id, Arc::new(spec), 10_000, Instant::now());
    }
    let each = (resident_bytes() - before) / count as f64;
    println!("memory of a scheduled endpoint: {each:.0} bytes ({count} endpoints)");
}

/// Time of CPU this thread has had, from the kernel's own count in nanoseconds.
fn cpu_ms() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1e6
}

fn resident_bytes() -> f64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() * 4096.0
}
