//! How a database grows in 400 days, and that it stops: a fiftieth of a host with 50 containers and 200
//! endpoints, at default intervals, with the real retention. Takes a few minutes.

#![allow(
    clippy::cast_precision_loss,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "no part of the product: a failure here should stop at once"
)]

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use maintenant_api::endpoints::{EndpointSource, EndpointType, Phases};
use maintenant_collector::app;
use maintenant_collector::endpoints::model::{Policy, State};
use maintenant_collector::endpoints::probe::Outcome;
use maintenant_collector::endpoints::sql::{Declaration, Write};
use maintenant_collector::endpoints::{history, spec, sql};
use maintenant_collector::resources::model::{HostSample, Pressure, Rate, Sample, Traffic};
use maintenant_collector::resources::sampler::Batch;
use maintenant_collector::resources::usage;
use maintenant_collector::store::Store;
use rusqlite::Connection;

const PART: f64 = 50.0;
const ENDPOINTS: i64 = 4;
const DAYS: i64 = 400;
const TOLD: [i64; 8] = [1, 2, 7, 30, 60, 100, 365, 400];

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.db");
    let (store, writer) = Store::open(&path).unwrap();
    drop((store, writer));
    let mut db = Connection::open(&path).unwrap();
    db.execute_batch("PRAGMA synchronous = OFF; PRAGMA foreign_keys = OFF").unwrap();
    let begin = "2026-01-01T00:00:00Z".parse::<Timestamp>().unwrap();
    let mut endpoints: Vec<(i64, State)> = (0..ENDPOINTS)
        .map(|number| (sql::declare(&db, &declaration(number), begin).unwrap(), State::default()))
        .collect();
    let empty = used(&db);
    println!("50 containers and 200 endpoints at default intervals:");
    let mut before = 0.0;
    for day in 1..=DAYS {
        for hour in 0..24 {
            let start = begin + SignedDuration::from_hours((day - 1) * 24 + hour);
            let tx = db.transaction().unwrap();
            an_hour(&tx, start, &mut endpoints);
            tx.commit().unwrap();
        }
        let end = begin + SignedDuration::from_hours(day * 24);
        let ids: Vec<i64> = endpoints.iter().map(|(id, _)| *id).collect();
        history::roll_up_days(&db, &ids, end).unwrap();
        history::save_rolled_until(&db, end).unwrap();
        for keep in app::keeps() {
            let oldest = (end - SignedDuration::from_hours(keep.days * 24)).as_millisecond();
            while (keep.delete)(&db, oldest, 2000).unwrap() == 2000 {}
        }
        if TOLD.contains(&day) {
            let size = (used(&db) - empty) * PART / 1e6;
            println!("day {day:3}: {size:6.1} MB, {:5.2} MB since the line before", size - before);
            before = size;
        }
    }
}

fn an_hour(db: &Connection, start: Timestamp, endpoints: &mut [(i64, State)]) {
    for second in (0..3600).step_by(10) {
        let at = start + SignedDuration::from_secs(second);
        // The host is one for all containers: it counts as its part of one.
        let host = (second % 500 == 0).then(|| host(at));
        usage::store(db, &Batch { at, samples: vec![sample(at)], host }).unwrap();
        if second % 30 == 0 {
            check(db, at, endpoints);
        }
    }
}

fn check(db: &Connection, at: Timestamp, endpoints: &mut [(i64, State)]) {
    let policy = Policy {
        interval: Duration::from_secs(30),
        timeout: Duration::from_secs(10),
        failure_threshold: 3,
        recovery_threshold: 2,
    };
    let mut writes = Vec::new();
    for (id, state) in endpoints {
        let noise = (at.as_second() / 30 + *id * 7) % 97;
        let phases = Phases {
            dns_ms: Some(noise % 3),
            connect_ms: Some(noise % 5),
            tls_ms: Some(5 + noise % 11),
            first_byte_ms: Some(20 + noise * 2),
            body_ms: Some(noise % 2),
        };
        let outcome = Outcome {
            failure: None,
            response_time_ms: 30 + noise * 2,
            http_status: Some(200),
            phases,
        };
        let before = *state;
        let (checked_at, step) = state.after_check(true, at, &policy);
        writes.push(Write::check(*id, checked_at, &outcome, &before, state));
        writes.extend(step.spans.into_iter().map(|span| Write::Span { id: *id, span }));
    }
    sql::save(db, &writes, at).unwrap();
}

fn sample(at: Timestamp) -> Sample {
    let counted = u64::try_from(at.as_second() % 10_000_000).unwrap() * 1000;
    let traffic = Traffic { received: counted, sent: counted / 3 };
    let rate = Rate { received: (counted % 50_000) as f64, sent: (counted % 20_000) as f64 };
    Sample {
        container_id: 1,
        at,
        cpu_percent: (at.as_second() * 7919 % 10_000) as f64 / 100.0,
        cpu_limit_cores: None,
        cpu_throttled_percent: None,
        mem_working_set: Some((20_000 + counted % 400_000) * 4096),
        mem_anon: None,
        mem_limit: Some(2 << 30),
        mem_ceiling: None,
        mem_is_limited: Some(true),
        started_at: None,
        net: Some(traffic),
        block: Some(traffic),
        net_rate: Some(rate),
        block_rate: Some(rate),
        pids: Some(10),
        pressure: Pressure::default(),
        shares_network_of: None,
        is_from_api: false,
    }
}

fn host(at: Timestamp) -> HostSample {
    HostSample {
        at,
        cpu_percent: (at.as_second() * 7919 % 10_000) as f64 / 100.0,
        cpu_count: 4,
        load: Some([1.0, 1.0, 1.0]),
        mem_used: 4 << 30,
        mem_total: 16 << 30,
        swap_used: 0,
        swap_total: 0,
        net_rate: Some(Rate { received: 12345.0, sent: 2345.0 }),
        disk_rate: Some(Rate { received: 12345.0, sent: 2345.0 }),
        uptime_seconds: None,
        filesystems: Vec::new(),
        mounts: None,
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
        target: format!("https://endpoint-{number}.test/"),
        config: spec::defaults(EndpointType::Http),
        own: None,
    }
}

/// Bytes of the pages in use.
fn used(db: &Connection) -> f64 {
    let sql = "SELECT (page_count - freelist_count) * page_size
               FROM pragma_page_count, pragma_freelist_count, pragma_page_size";
    db.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap() as f64
}
