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
use maintenant_api::status::ComponentStatus;
use maintenant_collector::config::Edition;
use maintenant_collector::status::components::{Component, Composition};
use maintenant_collector::status::model::{DAY_MS, DAYS, Day, day};
use maintenant_collector::status::monitors::{Alarm, Kind, Monitor, PastDay, Ref, Watched};
use maintenant_collector::status::{Settings, Status, sql};
use maintenant_collector::store::{Store, Writer};
use rusqlite::Connection;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

const COMPONENTS: i64 = 100;

struct Endpoints;

impl Watched for Endpoints {
    fn monitors(&self, _: &Connection, _: Kind) -> rusqlite::Result<Vec<Monitor>> {
        let status = ComponentStatus::Operational;
        Ok((1..=COMPONENTS)
            .map(|id| Monitor { id, name: format!("endpoint {id}"), status })
            .collect())
    }

    fn alarms(&self, _: &Connection) -> rusqlite::Result<Vec<Alarm>> {
        Ok(Vec::new())
    }

    fn past(&self, _: &Connection, _: Ref, _: i64, _: Timestamp) -> rusqlite::Result<Vec<PastDay>> {
        Ok(Vec::new())
    }
}

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
        let status = Status::new(store, Arc::new(Endpoints), settings, true, drain, now);
        Self { runtime, status, now, _writer: writer, _folder: folder }
    }
}

fn fill(tx: &Connection, now: Timestamp) -> rusqlite::Result<()> {
    for number in 1..=COMPONENTS {
        let component = Component {
            id: 0,
            composition: Composition::Explicit(vec![(Kind::Endpoint, number)]),
            display_name: format!("Component {number}"),
            display_order: number,
            visible: true,
            auto_incident: true,
            set: None,
            last_alert_id: 0,
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
