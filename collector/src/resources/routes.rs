//! The REST routes of this dimension.

use axum::Json;
use axum::extract::{FromRef, State as Shared};
use http::StatusCode;
use maintenant_api::error::ErrorBody;
use maintenant_api::resources::{
    Consumer, Filesystem, HistoryQuery, Host, HostAlerts, HostAlertsInput, HostHistory,
    ResourceAlerts, ResourceAlertsInput, ResourceHistory, ResourceSample, ResourceSummary,
    TopConsumers, TopQuery,
};
use maintenant_serve::clock;
use maintenant_serve::logging::foreign;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::history::{self, PERIODS, RANGES, Range, two_places};
use super::model::HostSample;
use super::sql::{self, HOST};
use super::standings::{self, HostThresholds, Told, disk_percent, publish_all};
use super::thresholds::{Metric, percent};
use super::usage::{Usage, root, rounded, to_wire, whole};
use crate::http::AppState;
use crate::http::error::ApiError;
use crate::http::extract::{Body, Id, Query, number};

impl FromRef<AppState> for Usage {
    fn from_ref(app: &AppState) -> Self {
        app.usage.clone()
    }
}

/// The routes, for any state that has [`Usage`].
pub fn routes<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Usage: FromRef<S>,
{
    OpenApiRouter::new()
        .routes(routes!(get_current))
        .routes(routes!(get_history))
        .routes(routes!(get_alerts, set_alerts))
        .routes(routes!(get_summary))
        .routes(routes!(get_top))
        .routes(routes!(get_host_history))
        .routes(routes!(get_host_alerts, set_host_alerts))
}

/// Get what a container uses now
#[utoipa::path(
    get, path = "/containers/{id}/resources/current", tag = "resources",
    params(("id" = i64, Path, description = "Row id")),
    responses(
        (status = 200, description = "Its last sample, at most 30 seconds old",
         body = ResourceSample),
        (status = 400, description = "`INVALID_ID`", body = ErrorBody),
        (status = 404, description = "`NOT_FOUND`: it does not run, or was not sampled",
         body = ErrorBody),
    )
)]
async fn get_current(
    Shared(usage): Shared<Usage>,
    Id(id): Id,
) -> Result<Json<ResourceSample>, ApiError> {
    let sample = usage.sample(id, clock::now()).ok_or_else(|| ApiError::NotPossible {
        status: StatusCode::NOT_FOUND,
        code: "NOT_FOUND",
        message: format!(
            "nothing was measured of container {id} in the last 30 seconds: it does not run, or has \
             only just started"
        ),
    })?;
    Ok(Json(to_wire(&sample, usage.mem_total())))
}

/// Get what a container used
///
/// `1h` in samples, `6h` by the minute, `24h` by five minutes, `7d` and `30d` by the hour. Steps in
/// which nothing was measured are absent.
#[utoipa::path(
    get, path = "/containers/{id}/resources/history", tag = "resources",
    params(("id" = i64, Path, description = "Row id"), HistoryQuery),
    responses(
        (status = 200, description = "Oldest first", body = ResourceHistory),
        (status = 400, description = "`INVALID_ID` or `INVALID_RANGE`", body = ErrorBody),
    )
)]
async fn get_history(
    Shared(usage): Shared<Usage>,
    Id(id): Id,
    Query(query): Query<HistoryQuery>,
) -> Result<Json<ResourceHistory>, ApiError> {
    let (range, now) = (range(&query)?, clock::now());
    let mem_total = usage.mem_total();
    // The host is no container.
    let points = match id {
        HOST => Vec::new(),
        _ => usage.spine.store.read(move |db| history::points(db, id, range, now)).await?,
    };
    Ok(Json(ResourceHistory {
        container_id: id,
        range: range.word.to_owned(),
        granularity: range.granularity().to_owned(),
        points: points.iter().map(|point| history::to_wire(point, range, mem_total)).collect(),
    }))
}

/// Get what the host used
///
/// Ranges and steps as of a container.
#[utoipa::path(
    get, path = "/resources/host/history", tag = "resources", params(HistoryQuery),
    responses(
        (status = 200, description = "Oldest first", body = HostHistory),
        (status = 400, description = "`INVALID_RANGE`", body = ErrorBody),
    )
)]
async fn get_host_history(
    Shared(usage): Shared<Usage>,
    Query(query): Query<HistoryQuery>,
) -> Result<Json<HostHistory>, ApiError> {
    let (range, now) = (range(&query)?, clock::now());
    let points = usage.spine.store.read(move |db| history::points(db, HOST, range, now)).await?;
    Ok(Json(HostHistory {
        range: range.word.to_owned(),
        granularity: range.granularity().to_owned(),
        points: points.iter().map(|point| history::to_host_wire(point, range)).collect(),
    }))
}

fn range(query: &HistoryQuery) -> Result<Range, ApiError> {
    let wanted = query.range.as_deref().filter(|range| !range.is_empty()).unwrap_or("1h");
    RANGES.into_iter().find(|range| range.word == wanted).ok_or_else(|| {
        let given = foreign(wanted);
        refused("INVALID_RANGE", format!("range: `{given}`: use 1h, 6h, 24h, 7d or 30d"))
    })
}

/// Get what the host uses now
///
/// Numbers of the whole host, not sums over containers. -1 is not known.
#[utoipa::path(
    get, path = "/resources/summary", tag = "resources",
    responses((status = 200, description = "The host", body = ResourceSummary))
)]
async fn get_summary(Shared(usage): Shared<Usage>) -> Result<Json<ResourceSummary>, ApiError> {
    let now = clock::now();
    let samples = usage.samples(now);
    let container_count = i64::try_from(samples.len()).unwrap_or(i64::MAX);
    let Some(host) = usage.host(now) else {
        return Ok(Json(ResourceSummary { container_count, ..nothing_known() }));
    };
    let before = usage.spine.store.read(move |db| history::before(db, now)).await?;
    let mut summary = summary(&host, container_count);
    if let Some(host) = &mut summary.host {
        host.before = before;
        let cpu: f64 = samples.values().map(|sample| sample.cpu_percent).sum();
        let mem: u64 = samples.values().filter_map(|sample| sample.mem_working_set).sum();
        host.containers_cpu_percent = (container_count > 0).then(|| two_places(cpu));
        host.containers_mem_used = (container_count > 0).then(|| whole(mem));
    }
    Ok(Json(summary))
}

fn nothing_known() -> ResourceSummary {
    ResourceSummary {
        total_cpu_percent: -1.0,
        cpu_count: -1,
        total_mem_used: -1,
        total_mem_limit: -1,
        total_mem_percent: -1.0,
        total_net_rx_rate: -1,
        total_net_tx_rate: -1,
        container_count: 0,
        disk_total: -1,
        disk_used: -1,
        disk_percent: -1.0,
        timestamp: None,
        host: None,
    }
}

fn summary(host: &HostSample, container_count: i64) -> ResourceSummary {
    let mut filesystems: Vec<Filesystem> = host
        .filesystems
        .iter()
        .map(|filesystem| Filesystem {
            mount: filesystem.mount.clone(),
            kind: filesystem.kind.clone(),
            total: whole(filesystem.total),
            used: whole(filesystem.used),
            percent: disk_percent(filesystem).map_or(-1.0, two_places),
            inodes_percent: filesystem.inodes_percent.map(two_places),
        })
        .collect();
    filesystems.sort_by(|a, b| b.percent.total_cmp(&a.percent).then(a.mount.cmp(&b.mount)));
    let root = root(host);
    let memory = percent(Some(host.mem_used), Some(host.mem_total));
    let (net, disk) = (host.net_rate, host.disk_rate);
    ResourceSummary {
        total_cpu_percent: two_places(host.cpu_percent),
        cpu_count: host.cpu_count.into(),
        total_mem_used: whole(host.mem_used),
        total_mem_limit: whole(host.mem_total),
        total_mem_percent: memory.map_or(-1.0, two_places),
        total_net_rx_rate: net.map_or(-1, |rate| rounded(rate.received)),
        total_net_tx_rate: net.map_or(-1, |rate| rounded(rate.sent)),
        container_count,
        disk_total: root.map_or(-1, |root| whole(root.total)),
        disk_used: root.map_or(-1, |root| whole(root.used)),
        disk_percent: root.and_then(disk_percent).map_or(-1.0, two_places),
        timestamp: Some(host.at),
        host: Some(Host {
            load: host.load,
            swap_used: whole(host.swap_used),
            swap_total: whole(host.swap_total),
            uptime_seconds: host.uptime_seconds.map(whole),
            disk_read_rate: disk.map(|rate| rounded(rate.received)),
            disk_write_rate: disk.map(|rate| rounded(rate.sent)),
            filesystems,
            ..Host::default()
        }),
    }
}

/// Rank containers by what they use
///
/// Without `period`, or with `current`, by the last sample; else by all they used within the period, up
/// to now: `value` is the mean while they ran. Containers that do not run any more are ranked by what
/// they used, until they are deleted.
#[utoipa::path(
    get, path = "/resources/top", tag = "resources", params(TopQuery),
    responses(
        (status = 200, description = "Most first", body = TopConsumers),
        (status = 400, description = "`INVALID_METRIC`, `INVALID_PERIOD` or `INVALID_PARAM`",
         body = ErrorBody),
    )
)]
async fn get_top(
    Shared(usage): Shared<Usage>,
    Query(query): Query<TopQuery>,
) -> Result<Json<TopConsumers>, ApiError> {
    let given = query.metric.as_deref().unwrap_or_default();
    let metric = Metric::parse(given)
        .filter(|metric| matches!(metric, Metric::Cpu | Metric::Memory))
        .ok_or_else(|| {
            let given = foreign(given);
            refused("INVALID_METRIC", format!("metric: `{given}`: use cpu or memory"))
        })?;
    let limit = number("limit", query.limit.as_deref(), 1..=i64::MAX, 5)?.min(20);
    let limit = usize::try_from(limit).unwrap_or(20);
    let wanted = query.period.as_deref().filter(|period| !matches!(*period, "" | "current"));
    let now = clock::now();
    let (samples, mem_total) = (usage.samples(now), usage.mem_total());
    let answer = |period: Option<&str>, consumers| TopConsumers {
        metric: metric.as_str().to_owned(),
        period: period.map(str::to_owned),
        consumers,
    };
    let Some(wanted) = wanted else {
        let mut live: Vec<Consumer> = samples
            .values()
            .filter_map(|sample| {
                let of_limit = percent(sample.mem_working_set, sample.mem_bound(mem_total));
                let (value, percent) = match metric {
                    Metric::Cpu => (two_places(sample.cpu_percent), Some(sample.cpu_percent)),
                    _ => (history::number(whole(sample.mem_working_set?)), of_limit),
                };
                Some(Consumer {
                    container_id: sample.container_id,
                    value,
                    percent: percent.map_or(-1.0, two_places),
                    ..Consumer::default()
                })
            })
            .collect();
        live.sort_by(|a, b| b.value.total_cmp(&a.value).then(a.container_id.cmp(&b.container_id)));
        live.truncate(limit);
        let consumers = usage.spine.store.read(move |db| {
            for (rank, consumer) in (1..).zip(&mut live) {
                consumer.rank = rank;
                let name = sql::name(db, consumer.container_id)?;
                consumer.container_name = name.unwrap_or_default();
            }
            Ok(live)
        });
        return Ok(Json(answer(None, consumers.await?)));
    };
    let period = PERIODS.into_iter().find(|period| period.word == wanted).ok_or_else(|| {
        let given = foreign(wanted);
        refused("INVALID_PERIOD", format!("period: `{given}`: use current, 1h, 24h, 7d or 30d"))
    })?;
    let work = move |db: &rusqlite::Connection| {
        let limits = |id| samples.get(&id).map(|sample| sample.mem_bound(None));
        history::ranking(db, metric, period, limit, now, limits, mem_total)
    };
    let consumers = usage.spine.store.read(work).await?;
    Ok(Json(answer(Some(period.word), consumers)))
}

/// Get the thresholds of a container
#[utoipa::path(
    get, path = "/containers/{id}/resources/alerts", tag = "resources",
    params(("id" = i64, Path, description = "Row id")),
    responses(
        (status = 200, description = "Its thresholds, or the defaults", body = ResourceAlerts),
        (status = 400, description = "`INVALID_ID`", body = ErrorBody),
    )
)]
async fn get_alerts(
    Shared(usage): Shared<Usage>,
    Id(id): Id,
) -> Result<Json<ResourceAlerts>, ApiError> {
    Ok(Json(usage.spine.store.read(move |db| alerts(db, id)).await?))
}

fn alerts(db: &rusqlite::Connection, id: i64) -> rusqlite::Result<ResourceAlerts> {
    let thresholds = standings::thresholds(db, id)?;
    let standings = standings::load(db, Some(id))?;
    let alerts =
        |metric| standings.get(&(metric, id)).is_some_and(|standing| standing.fired_at.is_some());
    let alert_state = match (alerts(Metric::Cpu), alerts(Metric::Memory)) {
        (false, false) => "normal",
        (true, false) => "cpu_alert",
        (false, true) => "mem_alert",
        (true, true) => "both_alert",
    };
    Ok(ResourceAlerts {
        container_id: id,
        cpu_threshold: thresholds.cpu,
        mem_threshold: thresholds.mem,
        enabled: thresholds.enabled,
        alert_state: alert_state.to_owned(),
        last_alerted_at: thresholds.last_alerted_at,
    })
}

/// Set the thresholds of a container
///
/// What is absent or null stays as it is. Two samples in a row at or beyond a threshold make an alert;
/// two that are 5 % below it end it.
#[utoipa::path(
    put, path = "/containers/{id}/resources/alerts", tag = "resources",
    request_body = ResourceAlertsInput,
    params(("id" = i64, Path, description = "Row id")),
    responses(
        (status = 200, description = "Its thresholds", body = ResourceAlerts),
        (status = 400, description = "`INVALID_ID`, `INVALID_JSON` or `INVALID_THRESHOLD`",
         body = ErrorBody),
        (status = 404, description = "`CONTAINER_NOT_FOUND`", body = ErrorBody),
    )
)]
async fn set_alerts(
    Shared(usage): Shared<Usage>,
    Id(id): Id,
    Body(input): Body<Option<ResourceAlertsInput>>,
) -> Result<Json<ResourceAlerts>, ApiError> {
    let ResourceAlertsInput { cpu_threshold, mem_threshold, enabled } = input.unwrap_or_default();
    let cpu = threshold("cpu_threshold", cpu_threshold, 1000.0)?;
    let mem = threshold("mem_threshold", mem_threshold, 100.0)?;
    let now = clock::now();
    let values = usage.percentages(id, now);
    let events = usage.spine.events.clone();
    let work = move |tx: &rusqlite::Connection| {
        let change = |thresholds: &mut standings::Thresholds| {
            thresholds.cpu = cpu.unwrap_or(thresholds.cpu);
            thresholds.mem = mem.unwrap_or(thresholds.mem);
            thresholds.enabled = enabled.unwrap_or(thresholds.enabled);
        };
        let told = standings::configure(tx, id, change, &values, now)?;
        told.map(|told| Ok((told, alerts(tx, id)?))).transpose()
    };
    let tell = move |done: &Option<(Vec<Told>, ResourceAlerts)>| {
        if let Some((told, _)) = done {
            publish_all(told, &events);
        }
    };
    let done = usage.spine.store.write_then(work, tell).await?;
    let (_, alerts) = done.ok_or(ApiError::ContainerNotFound(id))?;
    Ok(Json(alerts))
}

/// Get the thresholds of the host
#[utoipa::path(
    get, path = "/resources/host/alerts", tag = "resources",
    responses((status = 200, description = "Thresholds, percent", body = HostAlerts))
)]
async fn get_host_alerts(Shared(usage): Shared<Usage>) -> Result<Json<HostAlerts>, ApiError> {
    Ok(Json(usage.spine.store.read(host_alerts).await?))
}

fn host_alerts(db: &rusqlite::Connection) -> rusqlite::Result<HostAlerts> {
    let HostThresholds { cpu, mem, disk, inode, enabled } = standings::host_thresholds(db)?;
    let mut alerting = Vec::new();
    for ((metric, id), standing) in standings::load(db, None)? {
        if standing.fired_at.is_none() {
            continue;
        }
        let word = metric.as_str();
        match metric {
            Metric::Cpu | Metric::Memory if id == HOST => alerting.push(word.to_owned()),
            Metric::Cpu | Metric::Memory => {}
            Metric::Disk | Metric::Inode => {
                let mount = standings::mount(db, id)?.unwrap_or_default();
                alerting.push(format!("{word}:{mount}"));
            }
        }
    }
    Ok(HostAlerts {
        cpu_threshold: cpu,
        mem_threshold: mem,
        disk_threshold: disk,
        inode_threshold: inode,
        enabled,
        alerting,
    })
}

/// Set the thresholds of the host
///
/// What is absent or null stays as it is. CPU is judged by its mean of five minutes; disks and inodes
/// for each filesystem.
#[utoipa::path(
    put, path = "/resources/host/alerts", tag = "resources", request_body = HostAlertsInput,
    responses(
        (status = 200, description = "Thresholds, percent", body = HostAlerts),
        (status = 400, description = "`INVALID_JSON` or `INVALID_THRESHOLD`", body = ErrorBody),
    )
)]
async fn set_host_alerts(
    Shared(usage): Shared<Usage>,
    Body(input): Body<Option<HostAlertsInput>>,
) -> Result<Json<HostAlerts>, ApiError> {
    let input = input.unwrap_or_default();
    let cpu = threshold("cpu_threshold", input.cpu_threshold, 100.0)?;
    let mem = threshold("mem_threshold", input.mem_threshold, 100.0)?;
    let disk = threshold("disk_threshold", input.disk_threshold, 100.0)?;
    let inode = threshold("inode_threshold", input.inode_threshold, 100.0)?;
    let now = clock::now();
    let values = usage.percentages(HOST, now);
    let events = usage.spine.events.clone();
    let work = move |tx: &rusqlite::Connection| {
        let change = |thresholds: &mut HostThresholds| {
            thresholds.cpu = cpu.unwrap_or(thresholds.cpu);
            thresholds.mem = mem.unwrap_or(thresholds.mem);
            thresholds.disk = disk.unwrap_or(thresholds.disk);
            thresholds.inode = inode.unwrap_or(thresholds.inode);
            thresholds.enabled = input.enabled.unwrap_or(thresholds.enabled);
        };
        let told = standings::configure_host(tx, change, &values, now)?;
        Ok((told, host_alerts(tx)?))
    };
    let tell = move |(told, _): &(Vec<Told>, HostAlerts)| {
        publish_all(told, &events);
    };
    Ok(Json(usage.spine.store.write_then(work, tell).await?.1))
}

fn threshold(field: &'static str, given: Option<f64>, most: f64) -> Result<Option<f64>, ApiError> {
    match given {
        Some(given) if !(1.0..=most).contains(&given) => {
            let message = format!("{field}: {given} is not a percentage from 1 to {most}");
            Err(refused("INVALID_THRESHOLD", message))
        }
        given => Ok(given),
    }
}

fn refused(code: &'static str, message: String) -> ApiError {
    ApiError::NotPossible { status: StatusCode::BAD_REQUEST, code, message }
}
