//! Measuring; storing, judging and serving on real SQLite databases, at chosen times.

mod growing;
mod judging;
mod measuring;
mod routes;
mod storing;

use jiff::{SignedDuration, Timestamp};
use rusqlite::Connection;

use super::model::{Filesystem, HostSample, Pressure, Rate, Sample, Traffic};
use super::sampler::Batch;

const MIB: u64 = 1024 * 1024;
const GIB: u64 = 1024 * MIB;

/// 2026-01-01T00:00:00Z and so many seconds.
fn at(seconds: i64) -> Timestamp {
    let begin: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    begin + SignedDuration::from_secs(seconds)
}

fn database() -> Connection {
    let db = Connection::open_in_memory().unwrap();
    db.execute_batch("PRAGMA foreign_keys = ON;").unwrap();
    for migration in [
        include_str!("../../store/migrations/0001_containers.sql"),
        include_str!("../../store/migrations/0002_watched_labels.sql"),
        include_str!("../../store/migrations/0008_resources.sql"),
    ] {
        db.execute_batch(migration).unwrap();
    }
    db
}

fn add_container(db: &Connection, id: i64, severity: &str) {
    db.execute(
        "INSERT INTO containers (
             id, identity, external_id, name, image, state, has_health_check, compose_project,
             compose_service, compose_working_dir, custom_group, is_ignored, alert_severity,
             restart_threshold, alert_channels, restart_policy, restart_limit, stop_signal,
             restart_count, oom_killed, error_detail, first_seen_at, last_state_change_at)
         VALUES (?1, 'name:c' || ?1, 'x', 'c' || ?1, 'i', 'running', 0, '', '', '', '', 0, ?2, 3,
             'ops', '', 0, 15, 0, 0, '', 0, 0)",
        (id, severity),
    )
    .unwrap();
}

/// Uses `cpu` percent of a core, and as many MiB.
fn sample(id: i64, at: Timestamp, cpu: f64) -> Sample {
    Sample {
        container_id: id,
        at,
        cpu_percent: cpu,
        cpu_limit_cores: None,
        cpu_throttled_percent: None,
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few MiB")]
        mem_working_set: Some(cpu as u64 * MIB),
        mem_anon: None,
        mem_limit: Some(200 * MIB),
        mem_ceiling: None,
        mem_is_limited: Some(true),
        net: Some(Traffic { received: 1000, sent: 2000 }),
        block: None,
        net_rate: Some(Rate { received: 10.0, sent: 20.0 }),
        block_rate: None,
        pids: None,
        pressure: Pressure::default(),
        shares_network_of: None,
        is_from_api: false,
        started_at: None,
    }
}

fn host(at: Timestamp, cpu: f64) -> HostSample {
    HostSample {
        at,
        cpu_percent: cpu,
        cpu_count: 2,
        load: Some([1.5, 1.0, 0.5]),
        mem_used: 2 * GIB,
        mem_total: 8 * GIB,
        swap_used: 0,
        swap_total: GIB,
        net_rate: Some(Rate { received: 100.0, sent: 200.0 }),
        disk_rate: None,
        uptime_seconds: Some(60),
        mounts: Some(["/", "/var"].map(str::to_owned).into()),
        filesystems: vec![filesystem("/", 50), filesystem("/var", 80)],
    }
}

/// A host on which these are mounted, and measured.
fn host_of(at: Timestamp, cpu: f64, filesystems: Vec<Filesystem>) -> HostSample {
    let mounts = filesystems.iter().map(|filesystem| filesystem.mount.clone()).collect();
    HostSample { mounts: Some(mounts), filesystems, ..host(at, cpu) }
}

fn filesystem(mount: &str, percent: u64) -> Filesystem {
    Filesystem {
        mount: mount.to_owned(),
        kind: "ext4".to_owned(),
        total: 100 * GIB,
        used: percent * GIB,
        available: (100 - percent) * GIB,
        inodes_percent: Some(10.0),
    }
}

/// Container 1 alone.
fn one(at: Timestamp, cpu: f64) -> Batch {
    Batch { at, samples: vec![sample(1, at, cpu)], host: None }
}
