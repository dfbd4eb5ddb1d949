//! Thresholds and standings in the tables, and judging a round of samples against them, within the
//! transaction that stores it: what is configured meanwhile is neither missed nor overwritten.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row};
use serde_json::json;

use super::model::{Filesystem, HostSample};
use super::sampler::Batch;
use super::sql::{self, HOST};
use super::thresholds::{Measured, Metric, Standing, Turn, judge, percent, rejudge};
use crate::http::events::EventBus;

/// Samples in a row beyond a threshold that make an alert.
const NEEDED: u32 = 2;
/// The host's processors are judged by their mean over this long.
const SUSTAINED_MS: i64 = 5 * 60_000;
/// Samples of that while which must be there: four of five.
const SUSTAINED_SAMPLES: usize = 24;

/// Thresholds of a container, percent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Thresholds {
    /// Of a core.
    pub cpu: f64,
    /// Of its limit, or of the host's memory.
    pub mem: f64,
    pub enabled: bool,
    pub last_alerted_at: Option<Timestamp>,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { cpu: 90.0, mem: 90.0, enabled: false, last_alerted_at: None }
    }
}

/// Thresholds of the host and its filesystems, percent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HostThresholds {
    pub cpu: f64,
    pub mem: f64,
    pub disk: f64,
    pub inode: f64,
    pub enabled: bool,
}

impl Default for HostThresholds {
    fn default() -> Self {
        Self { cpu: 95.0, mem: 95.0, disk: 90.0, inode: 90.0, enabled: true }
    }
}

impl HostThresholds {
    fn of(&self, metric: Metric) -> f64 {
        match metric {
            Metric::Cpu => self.cpu,
            Metric::Memory => self.mem,
            Metric::Disk => self.disk,
            Metric::Inode => self.inode,
        }
    }
}

/// Whose metric it is: a container, the host as 0, or a filesystem for `disk` and `inode`.
pub type Key = (Metric, i64);

/// Something to tell after the commit.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    pub key: Key,
    /// The container's name, or where the filesystem is mounted.
    pub name: String,
    pub turn: Turn,
    pub value: f64,
    pub threshold: f64,
    pub at: Timestamp,
}

impl Told {
    /// Of a container as the contract has it; of the host under names of its own.
    fn publish(&self, events: &EventBus) {
        let Self { key: (metric, id), name, turn, value, threshold, at } = self;
        let is_container = is_container(self.key);
        let word = metric.as_str();
        let event = match (is_container, turn) {
            (true, Turn::Fired) => "resource.alert",
            (true, Turn::Recovered) => "resource.recovery",
            (false, Turn::Fired) => "resource.host_alert",
            (false, Turn::Recovered) => "resource.host_recovery",
        };
        let which = if *turn == Turn::Fired { "alert_type" } else { "recovered_type" };
        let mut data = json!({ "current_value": value, "threshold": threshold, "timestamp": at });
        if let Some(data) = data.as_object_mut() {
            data.insert(which.to_owned(), word.into());
            if is_container {
                data.insert("container_id".to_owned(), (*id).into());
                data.insert("container_name".to_owned(), name.as_str().into());
            } else {
                let mount = (*id != HOST).then_some(name.as_str());
                data.insert("mount".to_owned(), mount.into());
            }
        }
        events.publish(event, &data);
    }
}

pub fn publish_all(told: &[Told], events: &EventBus) {
    for told in told {
        told.publish(events);
    }
}

fn is_container((metric, id): Key) -> bool {
    matches!(metric, Metric::Cpu | Metric::Memory) && id != HOST
}

/// Judges a round. `running` are the containers that run, where that is known: the alerts of others
/// end, also if they were measured before they stopped. A container that runs and was not measured
/// stays as it is.
pub fn judge_batch(
    tx: &Connection,
    batch: &Batch,
    mem_total: Option<u64>,
    running: Option<&BTreeSet<i64>>,
) -> rusqlite::Result<Vec<Told>> {
    let mut round = Round { tx, at: batch.at, before: load(tx, None)?, told: Vec::new() };
    round.containers(batch, mem_total, running)?;
    if let Some(host) = &batch.host {
        round.host(host)?;
    }
    Ok(round.told)
}

struct Round<'a> {
    tx: &'a Connection,
    at: Timestamp,
    before: BTreeMap<Key, Standing>,
    told: Vec<Told>,
}

impl Round<'_> {
    fn containers(
        &mut self,
        batch: &Batch,
        mem_total: Option<u64>,
        running: Option<&BTreeSet<i64>>,
    ) -> rusqlite::Result<()> {
        let enabled = enabled(self.tx)?;
        for sample in &batch.samples {
            let id = sample.container_id;
            if running.is_some_and(|running| !running.contains(&id)) {
                continue;
            }
            let Some(thresholds) = enabled.get(&id) else { continue };
            let memory = percent(sample.mem_working_set, sample.mem_bound(mem_total));
            self.see((Metric::Cpu, id), Some(sample.cpu_percent), thresholds.cpu, NEEDED)?;
            self.see((Metric::Memory, id), memory, thresholds.mem, NEEDED)?;
        }
        let Some(running) = running else { return Ok(()) };
        let stopped = self.before.keys().copied();
        let stopped = stopped.filter(|key| is_container(*key) && !running.contains(&key.1));
        for key in stopped.collect::<Vec<_>>() {
            self.end(key)?;
        }
        Ok(())
    }

    fn host(&mut self, host: &HostSample) -> rusqlite::Result<()> {
        let mounted = match &host.mounts {
            Some(mounts) => self.mounted(mounts)?,
            None => BTreeMap::new(),
        };
        let thresholds = host_thresholds(self.tx)?;
        if !thresholds.enabled {
            return Ok(());
        }
        let cpu = sustained_cpu(self.tx, host.at)?;
        self.see((Metric::Cpu, HOST), cpu, thresholds.cpu, 1)?;
        let memory = percent(Some(host.mem_used), Some(host.mem_total));
        self.see((Metric::Memory, HOST), memory, thresholds.mem, NEEDED)?;
        for filesystem in &host.filesystems {
            let Some(id) = mounted.get(&filesystem.mount).copied() else { continue };
            self.see((Metric::Disk, id), disk_percent(filesystem), thresholds.disk, NEEDED)?;
            let inodes = filesystem.inodes_percent;
            self.see((Metric::Inode, id), inodes, thresholds.inode, NEEDED)?;
        }
        Ok(())
    }

    /// Filesystems by their ids. What is measured of one that is not there any more ends; one that did
    /// not tell its size stays as it is.
    fn mounted(&mut self, mounts: &BTreeSet<String>) -> rusqlite::Result<BTreeMap<String, i64>> {
        let mounted = mounted(self.tx, mounts, self.at)?;
        let ids: BTreeSet<i64> = mounted.values().copied().collect();
        let gone = self.before.keys().copied().filter(|(metric, id)| {
            matches!(metric, Metric::Disk | Metric::Inode) && !ids.contains(id)
        });
        for key in gone.collect::<Vec<_>>() {
            self.end(key)?;
        }
        Ok(mounted)
    }

    fn see(
        &mut self,
        key: Key,
        value: Option<f64>,
        threshold: f64,
        needed: u32,
    ) -> rusqlite::Result<()> {
        let Some(value) = value.filter(|value| value.is_finite()) else { return Ok(()) };
        let before = self.before.get(&key).copied();
        let (after, turn) = judge(before, Measured { value, threshold, needed, at: self.at });
        if after != before {
            save(self.tx, key, after.as_ref())?;
        }
        if let Some(turn) = turn {
            if turn == Turn::Fired && is_container(key) {
                self.tx
                    .prepare_cached(
                        "UPDATE resource_thresholds SET last_alerted_at = ?2 WHERE container_id = ?1",
                    )?
                    .execute((key.1, self.at.as_millisecond()))?;
            }
            self.told.push(told(self.tx, key, turn, (value, threshold), self.at)?);
        }
        Ok(())
    }

    /// Its subject is not there to be measured.
    fn end(&mut self, key: Key) -> rusqlite::Result<()> {
        save(self.tx, key, None)?;
        if let Some(Standing { fired_at: Some(_), value, threshold, .. }) = self.before.remove(&key)
        {
            self.told.push(told(self.tx, key, Turn::Recovered, (value, threshold), self.at)?);
        }
        Ok(())
    }
}

fn told(
    db: &Connection,
    key: Key,
    turn: Turn,
    (value, threshold): (f64, f64),
    at: Timestamp,
) -> rusqlite::Result<Told> {
    let name = match key {
        _ if is_container(key) => sql::name(db, key.1)?,
        (_, HOST) => None,
        (_, id) => mount(db, id)?,
    };
    Ok(Told { key, name: name.unwrap_or_default(), turn, value, threshold, at })
}

/// Used of what everybody may use, in percent, as `df` rounds nothing.
pub fn disk_percent(filesystem: &Filesystem) -> Option<f64> {
    let usable = filesystem.used.saturating_add(filesystem.available);
    percent(Some(filesystem.used), Some(usable))
}

/// Mean of the host's processors, in percent, once there are samples enough.
#[expect(clippy::cast_precision_loss, reason = "a mean of hundredths of a percent")]
fn sustained_cpu(db: &Connection, at: Timestamp) -> rusqlite::Result<Option<f64>> {
    let until = at.as_millisecond();
    let from = until - SUSTAINED_MS;
    let minute = |ms: i64| ms - ms.rem_euclid(60_000);
    let samples = sql::samples_of(db, HOST, minute(from), minute(until) + 60_000)?;
    let within = samples.iter().filter(|(at, _)| *at > from && *at <= until);
    let cpu: Vec<i64> = within.map(|(_, used)| used.cpu).collect();
    let sum: i64 = cpu.iter().sum();
    Ok((cpu.len() >= SUSTAINED_SAMPLES).then(|| sum as f64 / cpu.len() as f64 / 100.0))
}

/// The filesystems that are there, by their id; new ones get one, and one that comes back its own.
fn mounted(
    tx: &Connection,
    mounts: &BTreeSet<String>,
    now: Timestamp,
) -> rusqlite::Result<BTreeMap<String, i64>> {
    let mut known: BTreeMap<String, (i64, bool)> = tx
        .prepare_cached("SELECT mount, id, gone_at IS NOT NULL FROM filesystems")?
        .query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?))))?
        .collect::<rusqlite::Result<_>>()?;
    let mut mounted = BTreeMap::new();
    for mount in mounts {
        let id = match known.remove(mount) {
            Some((id, false)) => id,
            Some((id, true)) => {
                set_gone(tx, id, None)?;
                id
            }
            None => tx
                .prepare_cached(
                    "INSERT INTO filesystems (mount) VALUES (?1)
                     ON CONFLICT DO UPDATE SET gone_at = NULL RETURNING id",
                )?
                .query_row([mount], |row| row.get(0))?,
        };
        mounted.insert(mount.clone(), id);
    }
    for (id, _) in known.into_values().filter(|(_, is_gone)| !is_gone) {
        set_gone(tx, id, Some(now.as_millisecond()))?;
    }
    Ok(mounted)
}

fn set_gone(tx: &Connection, id: i64, at: Option<i64>) -> rusqlite::Result<()> {
    tx.prepare_cached("UPDATE filesystems SET gone_at = ?2 WHERE id = ?1")?
        .execute((id, at))
        .map(drop)
}

pub fn mount(db: &Connection, filesystem_id: i64) -> rusqlite::Result<Option<String>> {
    db.prepare_cached("SELECT mount FROM filesystems WHERE id = ?1")?
        .query_row([filesystem_id], |row| row.get(0))
        .optional()
}

/// All standings, or those of one container.
pub fn load(db: &Connection, container: Option<i64>) -> rusqlite::Result<BTreeMap<Key, Standing>> {
    let mut all: BTreeMap<Key, Standing> = db
        .prepare_cached(
            "SELECT metric, subject_id, since_at, fired_at, streak, value, threshold
             FROM resource_standings",
        )?
        .query_map([], |row| {
            let word: String = row.get(0)?;
            let metric = Metric::parse(&word).ok_or_else(|| {
                let fault = format!("`{word}` is no metric").into();
                rusqlite::Error::FromSqlConversionFailure(0, Type::Text, fault)
            })?;
            let standing = Standing {
                since: time(row, 2)?.unwrap_or_default(),
                fired_at: time(row, 3)?,
                streak: row.get(4)?,
                value: row.get(5)?,
                threshold: row.get(6)?,
            };
            Ok(((metric, row.get(1)?), standing))
        })?
        .collect::<rusqlite::Result<_>>()?;
    if let Some(id) = container {
        all.retain(|key, _| is_container(*key) && key.1 == id);
    }
    Ok(all)
}

fn save(tx: &Connection, (metric, id): Key, standing: Option<&Standing>) -> rusqlite::Result<()> {
    let Some(standing) = standing else {
        return tx
            .prepare_cached("DELETE FROM resource_standings WHERE metric = ?1 AND subject_id = ?2")?
            .execute((metric.as_str(), id))
            .map(drop);
    };
    let Standing { since, fired_at, streak, value, threshold } = standing;
    let fired_at = fired_at.map(Timestamp::as_millisecond);
    tx.prepare_cached(
        "INSERT OR REPLACE INTO resource_standings
             (metric, subject_id, since_at, fired_at, streak, value, threshold)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute((metric.as_str(), id, since.as_millisecond(), fired_at, streak, value, threshold))
    .map(drop)
}

pub fn thresholds(db: &Connection, id: i64) -> rusqlite::Result<Thresholds> {
    db.prepare_cached(
        "SELECT container_id, cpu, mem, enabled, last_alerted_at
         FROM resource_thresholds WHERE container_id = ?1",
    )?
    .query_row([id], |row| Ok(read(row)?.1))
    .optional()
    .map(Option::unwrap_or_default)
}

fn enabled(db: &Connection) -> rusqlite::Result<BTreeMap<i64, Thresholds>> {
    db.prepare_cached(
        "SELECT container_id, cpu, mem, enabled, last_alerted_at
         FROM resource_thresholds WHERE enabled",
    )?
    .query_map([], read)?
    .collect()
}

fn read(row: &Row<'_>) -> rusqlite::Result<(i64, Thresholds)> {
    let thresholds = Thresholds {
        cpu: row.get(1)?,
        mem: row.get(2)?,
        enabled: row.get(3)?,
        last_alerted_at: time(row, 4)?,
    };
    Ok((row.get(0)?, thresholds))
}

fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Timestamp>> {
    let ms: Option<i64> = row.get(column)?;
    Ok(ms.and_then(|ms| Timestamp::from_millisecond(ms).ok()))
}

pub fn host_thresholds(db: &Connection) -> rusqlite::Result<HostThresholds> {
    db.prepare_cached("SELECT cpu, mem, disk, inode, enabled FROM host_thresholds")?
        .query_row([], |row| {
            Ok(HostThresholds {
                cpu: row.get(0)?,
                mem: row.get(1)?,
                disk: row.get(2)?,
                inode: row.get(3)?,
                enabled: row.get(4)?,
            })
        })
        .optional()
        .map(Option::unwrap_or_default)
}

/// Changes what is watched of a container. `values` are its last percentages. `None` if there is no
/// such container.
pub fn configure(
    tx: &Connection,
    id: i64,
    change: impl FnOnce(&mut Thresholds),
    values: &BTreeMap<Key, f64>,
    now: Timestamp,
) -> rusqlite::Result<Option<Vec<Told>>> {
    if sql::name(tx, id)?.is_none() {
        return Ok(None);
    }
    let before = thresholds(tx, id)?;
    let mut after = before;
    change(&mut after);
    let last = after.last_alerted_at.map(Timestamp::as_millisecond);
    tx.prepare_cached("INSERT OR REPLACE INTO resource_thresholds VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute((id, after.cpu, after.mem, after.enabled, last))?;
    let of = |metric, thresholds: &Thresholds| {
        let threshold = if metric == Metric::Cpu { thresholds.cpu } else { thresholds.mem };
        thresholds.enabled.then_some(threshold)
    };
    let standings = load(tx, Some(id))?;
    rejudge_all(tx, standings, values, now, |(metric, _)| (of(metric, &before), of(metric, &after)))
        .map(Some)
}

/// Changes what is watched of the host.
pub fn configure_host(
    tx: &Connection,
    change: impl FnOnce(&mut HostThresholds),
    values: &BTreeMap<Key, f64>,
    now: Timestamp,
) -> rusqlite::Result<Vec<Told>> {
    let before = host_thresholds(tx)?;
    let mut after = before;
    change(&mut after);
    tx.prepare_cached("INSERT OR REPLACE INTO host_thresholds VALUES (0, ?1, ?2, ?3, ?4, ?5)")?
        .execute((after.cpu, after.mem, after.disk, after.inode, after.enabled))?;
    let mut standings = load(tx, None)?;
    standings.retain(|key, _| !is_container(*key));
    let of =
        |metric, thresholds: &HostThresholds| thresholds.enabled.then(|| thresholds.of(metric));
    rejudge_all(tx, standings, values, now, |(metric, _)| (of(metric, &before), of(metric, &after)))
}

fn rejudge_all(
    tx: &Connection,
    standings: BTreeMap<Key, Standing>,
    values: &BTreeMap<Key, f64>,
    now: Timestamp,
    thresholds: impl Fn(Key) -> (Option<f64>, Option<f64>),
) -> rusqlite::Result<Vec<Told>> {
    let mut all = Vec::new();
    for (key, before) in standings {
        let (old, new) = thresholds(key);
        if old == new {
            continue;
        }
        let value = values.get(&key).copied();
        let (after, turn) = rejudge(before, value, new);
        save(tx, key, after.as_ref())?;
        if let Some(turn) = turn {
            let numbers = (value.unwrap_or(before.value), new.unwrap_or(before.threshold));
            all.push(told(tx, key, turn, numbers, now)?);
        }
    }
    Ok(all)
}
