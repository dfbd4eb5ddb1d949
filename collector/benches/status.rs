//! The status page, cold: 100 components of an endpoint each, 90 days, from the database to HTML, JSON
//! and feed; and its size.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "no part of the product: a failure here should stop at once"
)]

use std::sync::Arc;

use divan::Bencher;
use jiff::Timestamp;
use maintenant_api::endpoints::{EndpointSource, EndpointStatus, EndpointType, Phases};
use maintenant_collector::config::Edition;
use maintenant_collector::endpoints::model::State;
use maintenant_collector::endpoints::probe::Outcome;
use maintenant_collector::endpoints::sql::{Declaration, Write};
use maintenant_collector::endpoints::{self, spec};
use maintenant_collector::monitored::Monitored;
use maintenant_collector::runtime::{NOTHING, Runtime as Engine, RuntimeState};
use maintenant_collector::status::components::{Component, Composition};
use maintenant_collector::status::model::{DAY_MS, DAYS, Day, day};
use maintenant_collector::status::monitors::Kind;
use maintenant_collector::status::{Settings, Status, sql};
use maintenant_collector::store::{Store, Writer};
use rusqlite::Connection;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

const COMPONENTS: i64 = 100;

struct Site {
    runtime: Runtime,
    status: Status,
    now: Timestamp,
    _writer: Writer,
    _folder: tempfile::TempDir,
}

impl Site {
    fn new() -> Self {
        let runtime = Runtime::new().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (store, writer) = Store::open(&folder.path().join("m.db")).unwrap();
        let now: Timestamp = "2026-06-01T12:00:00Z".parse().unwrap();
        runtime.block_on(store.write(move |tx| fill(tx, now))).unwrap();
        let settings = Settings {
            base_url: "https://status.example.org".to_owned(),
            organisation_name: "Example".to_owned(),
            trusted_proxies: Vec::new(),
            edition: Edition::Extended,
        };
        let drain = CancellationToken::new();
        let watched = Monitored { runtime: RuntimeState::new(Engine::new(NOTHING, now)) };
        let status = Status::new(store, Arc::new(watched), settings, true, drain, now);
        Self { runtime, status, now, _writer: writer, _folder: folder }
    }
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

fn well() -> Outcome {
    Outcome {
        failure: None,
        response_time_ms: 20,
        http_status: Some(200),
        phases: Phases::default(),
    }
}

fn fill(tx: &Connection, now: Timestamp) -> rusqlite::Result<()> {
    for number in 1..=COMPONENTS {
        let endpoint = endpoints::sql::declare(tx, &declaration(number), now)?;
        let up = State { status: EndpointStatus::Up, ..State::default() };
        let check = Write::check(endpoint, now, &well(), &State::default(), &up);
        endpoints::sql::save(tx, &[check], now)?;
        let component = Component {
            id: 0,
            composition: Composition::Explicit(vec![(Kind::Endpoint, endpoint)]),
            display_name: format!("Component {number}"),
            display_order: number,
            visible: true,
            auto_incident: true,
            set: None,
            created_at: now,
            updated_at: now,
        };
        let id = sql::components::insert(tx, &component)?;
        let today = day(now);
        let known = (today - DAYS + 1..=today).map(|day| {
            let out = if (day + number) % 17 == 0 { 600_000 } else { 0 };
            let known = Day { operational: DAY_MS - out, major_outage: out, ..Day::default() };
            ((id, day), known)
        });
        sql::days::add(tx, &known.collect())?;
    }
    Ok(())
}

#[divan::bench]
fn page_of_100_components_with_90_days(bencher: Bencher<'_, '_>) {
    let site = Site::new();
    bencher.bench_local(|| site.runtime.block_on(site.status.render(site.now)).unwrap());
}

fn main() {
    let site = Site::new();
    let rendered = site.runtime.block_on(site.status.render(site.now)).unwrap();
    let (html, json) = (rendered.html.len() / 1024, rendered.json.len() / 1024);
    println!("{COMPONENTS} components, {DAYS} days: {html} KiB of HTML, {json} KiB of JSON");
    drop(site);
    divan::main();
}
