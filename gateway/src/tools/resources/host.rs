//! `get_resources`.

use std::sync::Arc;

use maintenant_api::resources::{
    Consumer, Filesystem, HostAverage, ResourceSummary, TopConsumers, TopQuery,
};
use rmcp::{tool, tool_router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{LEAST_COVERAGE, known, known_count, measured, rounded, whole};
use crate::arguments::Parameters;
use crate::budget::{self, Json};
use crate::collector::{ClientError, Collector};
use crate::collectors::{Source, ask, error_of_source};
use crate::error::ToolError;
use crate::server::Gateway;
use crate::time::{length, show};
use crate::tools::{counted, hint};
use crate::untrusted::{name, text};

const TOP: usize = 5;
/// Bytes that the filesystems of one host may take.
const FILESYSTEMS: usize = 768;
/// Bytes that all hosts may take.
const HOSTS: usize = 8 * 1024;

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct GetResources {
    /// All of one host; without it, several are told in short.
    #[serde(alias = "source")]
    collector: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ResourcesAnswer {
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    /// Where one host was asked.
    #[serde(flatten)]
    host: Usage,
    /// Where several were: the busiest first, in short.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<Map<String, Value>>")]
    hosts: Vec<HostRow>,
    /// `cpu_percent`: 100 is one core.
    top_by_cpu: Vec<CpuRow>,
    top_by_memory: Vec<MemoryRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sources: Option<Vec<Source>>,
}

// Its doc comment would stand in the schema: what one host uses. Bytes are bytes, rates are bytes
// per second.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
struct Usage {
    #[serde(skip_serializing_if = "Option::is_none")]
    measured_at: Option<String>,
    /// Of all cores together.
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_percent: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_count: Option<i64>,
    /// Averages of 1, 5 and 15 minutes.
    #[serde(skip_serializing_if = "Option::is_none")]
    load: Option<Vec<f64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mem_used: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mem_limit: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mem_percent: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    swap_used: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    swap_total: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disk_used: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disk_total: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disk_percent: Option<f64>,
    /// Fullest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    filesystems: Vec<FilesystemRow>,
    /// Bytes per second, as all rates.
    #[serde(skip_serializing_if = "Option::is_none")]
    net_rx_rate: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    net_tx_rate: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disk_read_rate: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disk_write_rate: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uptime: Option<String>,
    /// Containers that were measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    container_count: Option<i64>,
    /// Sum; 100 is one core.
    #[serde(skip_serializing_if = "Option::is_none")]
    containers_cpu_percent: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    containers_mem_used: Option<i64>,
    /// Averages. `cpu_change` and the like: percentage points that it is more now.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    before: Vec<BeforeRow>,
}

#[derive(Debug, Serialize)]
struct HostRow {
    collector: String,
    #[serde(flatten)]
    usage: Usage,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
struct FilesystemRow {
    mount: String,
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    used: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    percent: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inodes_percent: Option<f64>,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
struct BeforeRow {
    window: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_percent: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_change: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_max: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mem_percent: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mem_change: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mem_max: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disk_percent: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disk_change: Option<f64>,
    /// How much of the window was measured, if not all.
    #[serde(skip_serializing_if = "Option::is_none")]
    coverage_percent: Option<f64>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct CpuRow {
    container_id: String,
    container_name: String,
    cpu_percent: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    collector: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct MemoryRow {
    container_id: String,
    container_name: String,
    mem_used: i64,
    /// Of its limit, or of the host's memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    mem_percent: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    collector: Option<String>,
}

#[tool_router(router = usage_of_hosts, vis = "pub(super)")]
impl Gateway {
    /// Tells what the host uses now: CPU, load, memory, swap, each filesystem, network and disk rates; how that differs from before; the five largest containers.
    /// Use it for "is the host busy", "is a disk full", "how does that compare with yesterday"; get_top_consumers ranks containers over time.
    #[tool(
        title = "Get resources",
        annotations(
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = false
        )
    )]
    async fn get_resources(
        &self,
        Parameters(arguments): Parameters<GetResources>,
    ) -> Result<Json<ResourcesAnswer>, ToolError> {
        let collectors = self.collectors().choose(arguments.collector.as_deref())?;
        let in_short = collectors.len() > 1;
        let answers = ask(collectors, measure).await;
        let sources = answers.sources();
        let several = self.collectors().several();
        Ok(Json(shape(answers.successes()?, in_short, several, sources)))
    }
}

/// What one collector tells; each part may be missing.
struct Measured {
    summary: Result<ResourceSummary, ClientError>,
    cpu: Result<TopConsumers, ClientError>,
    memory: Result<TopConsumers, ClientError>,
}

async fn measure(collector: Arc<Collector>) -> Result<Measured, ClientError> {
    let top = |metric: &str| TopQuery {
        metric: Some(metric.to_owned()),
        limit: Some(TOP.to_string()),
        period: None,
    };
    let (cpu, memory) = (top("cpu"), top("memory"));
    let (summary, cpu, memory) = tokio::join!(
        collector.resource_summary(),
        collector.top_consumers(&cpu),
        collector.top_consumers(&memory)
    );
    match summary {
        Err(error) if cpu.is_err() && memory.is_err() => Err(error),
        summary => Ok(Measured { summary, cpu, memory }),
    }
}

fn shape(
    answers: Vec<(Arc<Collector>, Measured)>,
    in_short: bool,
    several: bool,
    (sources, rest_of_sources): (Option<Vec<Source>>, Option<String>),
) -> ResourcesAnswer {
    let mut hints: Vec<Option<String>> = Vec::new();
    let (mut hosts, mut by_cpu, mut by_memory) = (Vec::new(), Vec::new(), Vec::new());
    for (collector, Measured { summary, cpu, memory }) in answers {
        let own = collector.name.as_str();
        let missing = |part: &str, error: &ClientError| {
            Some(format!("{part} missing: {}", error_of_source(own, error)))
        };
        for (metric, top, all) in [("CPU", cpu, &mut by_cpu), ("memory", memory, &mut by_memory)] {
            match top {
                Ok(top) => all.extend(measured(top.consumers).map(|one| (own.to_owned(), one))),
                Err(error) => {
                    hints.push(missing(&format!("The largest containers by {metric} are"), &error));
                }
            }
        }
        match summary {
            Ok(summary) => {
                hints.push(not_measured(own, &summary));
                hosts.push(HostRow { collector: own.to_owned(), usage: usage(&summary) });
            }
            Err(error) => hints.push(missing("What the host itself uses is", &error)),
        }
    }
    let host = match (in_short, hosts.as_mut_slice()) {
        (false, [HostRow { usage, .. }]) => {
            let (filesystems, left_out) =
                budget::fit(std::mem::take(&mut usage.filesystems), FILESYSTEMS);
            hints.push((left_out > 0).then(|| {
                format!("{} left out for size.", counted(left_out, "less full filesystem"))
            }));
            Usage { filesystems, ..usage.clone() }
        }
        _ => Usage::default(),
    };
    let hosts = if in_short {
        let (hosts, left_out) = in_order(hosts);
        hints.push(Some("Name one collector for filesystems, rates and what was before.".into()));
        hints.push(
            (left_out > 0)
                .then(|| format!("{} left out for size.", counted(left_out, "less busy host"))),
        );
        hosts
    } else {
        Vec::new()
    };
    hints.push(rest_of_sources);
    let place = |collector: String| several.then_some(collector);
    ResourcesAnswer {
        hint: hint(hints),
        host,
        hosts,
        top_by_cpu: largest(by_cpu)
            .map(|(collector, one)| CpuRow {
                container_id: one.container_id.to_string(),
                container_name: name(&one.container_name),
                cpu_percent: rounded(one.value),
                collector: place(collector),
            })
            .collect(),
        top_by_memory: largest(by_memory)
            .map(|(collector, one)| MemoryRow {
                container_id: one.container_id.to_string(),
                container_name: name(&one.container_name),
                mem_used: whole(one.value),
                mem_percent: known(one.percent).map(rounded),
                collector: place(collector),
            })
            .collect(),
        sources,
    }
}

/// The busiest hosts, each without what makes it long.
fn in_order(mut hosts: Vec<HostRow>) -> (Vec<HostRow>, usize) {
    let busy = |usage: &Usage| {
        let percents = [usage.cpu_percent, usage.mem_percent, usage.disk_percent];
        percents.into_iter().flatten().fold(0.0, f64::max)
    };
    hosts.sort_by(|a, b| busy(&b.usage).total_cmp(&busy(&a.usage)));
    let short = |HostRow { collector, usage }| HostRow {
        collector,
        usage: Usage {
            cpu_percent: usage.cpu_percent,
            cpu_count: usage.cpu_count,
            load: usage.load,
            mem_percent: usage.mem_percent,
            mem_limit: usage.mem_limit,
            disk_percent: usage.disk_percent,
            container_count: usage.container_count,
            ..Usage::default()
        },
    };
    let hosts: Vec<HostRow> = hosts.into_iter().map(short).collect();
    if hosts.is_empty() { (hosts, 0) } else { budget::fit(hosts, HOSTS) }
}

fn largest(mut consumers: Vec<(String, Consumer)>) -> impl Iterator<Item = (String, Consumer)> {
    consumers.sort_by(|(_, a), (_, b)| b.value.total_cmp(&a.value));
    consumers.into_iter().take(TOP)
}

/// Nothing, or a server that measures less.
fn not_measured(own: &str, summary: &ResourceSummary) -> Option<String> {
    if is_empty(summary) {
        return Some(format!(
            "Collector `{own}` has not measured its host yet; ask again in half a minute."
        ));
    }
    summary.host.is_none().then(|| {
        format!(
            "Collector `{own}` does not tell load, swap, filesystems, true rates, nor what was \
             before; get_top_consumers may compare containers with earlier."
        )
    })
}

fn is_empty(summary: &ResourceSummary) -> bool {
    summary.host.is_none() && summary.cpu_count <= 0 && summary.total_mem_limit <= 0
}

fn usage(summary: &ResourceSummary) -> Usage {
    if is_empty(summary) {
        return Usage { container_count: known_count(summary.container_count), ..Usage::default() };
    }
    let cpu_percent = known(summary.total_cpu_percent).map(rounded);
    let has_memory = summary.total_mem_limit > 0;
    let mem_percent = known(summary.total_mem_percent).filter(|_| has_memory).map(rounded);
    let has_disk = summary.disk_total > 0;
    let disk_percent = known(summary.disk_percent).filter(|_| has_disk).map(rounded);
    let host = summary.host.as_ref();
    let swap = host.filter(|host| host.swap_total > 0);
    // Without a host these are counters since the containers' start, whatever they are called.
    let rate = |rate: i64| host.and_then(|_| known_count(rate));
    Usage {
        measured_at: summary.timestamp.map(show),
        cpu_percent,
        cpu_count: Some(summary.cpu_count).filter(|cores| *cores > 0),
        load: host
            .and_then(|host| host.load)
            .filter(|load| load.iter().all(|average| known(*average).is_some()))
            .map(|load| load.iter().map(|average| (average * 100.0).round() / 100.0).collect()),
        mem_used: known_count(summary.total_mem_used).filter(|_| has_memory),
        mem_limit: Some(summary.total_mem_limit).filter(|_| has_memory),
        mem_percent,
        swap_used: swap.and_then(|host| known_count(host.swap_used)),
        swap_total: host.and_then(|host| known_count(host.swap_total)),
        disk_used: known_count(summary.disk_used).filter(|_| has_disk),
        disk_total: Some(summary.disk_total).filter(|_| has_disk),
        disk_percent,
        filesystems: host.into_iter().flat_map(|host| &host.filesystems).map(filesystem).collect(),
        net_rx_rate: rate(summary.total_net_rx_rate),
        net_tx_rate: rate(summary.total_net_tx_rate),
        disk_read_rate: host.and_then(|host| host.disk_read_rate).and_then(known_count),
        disk_write_rate: host.and_then(|host| host.disk_write_rate).and_then(known_count),
        uptime: host.and_then(|host| host.uptime_seconds).and_then(known_count).map(length),
        container_count: known_count(summary.container_count),
        containers_cpu_percent: host
            .and_then(|host| host.containers_cpu_percent)
            .and_then(known)
            .map(rounded),
        containers_mem_used: host.and_then(|host| host.containers_mem_used).and_then(known_count),
        before: host
            .into_iter()
            .flat_map(|host| host.before.iter().take(4))
            .map(|before| before_row(before, cpu_percent, mem_percent, disk_percent))
            .collect(),
    }
}

fn filesystem(filesystem: &Filesystem) -> FilesystemRow {
    FilesystemRow {
        mount: name(&filesystem.mount),
        kind: text(&filesystem.kind, 16),
        used: known_count(filesystem.used),
        total: known_count(filesystem.total),
        percent: known(filesystem.percent).map(rounded),
        inodes_percent: filesystem.inodes_percent.and_then(known).map(rounded),
    }
}

fn before_row(
    before: &HostAverage,
    cpu: Option<f64>,
    mem: Option<f64>,
    disk: Option<f64>,
) -> BeforeRow {
    let is_enough = before.coverage_percent >= LEAST_COVERAGE;
    let change =
        |now: Option<f64>, then: Option<f64>| Some(rounded(now? - then?)).filter(|_| is_enough);
    let (cpu_then, mem_then) = (known(before.cpu_percent), known(before.mem_percent));
    let disk_then = before.disk_percent.and_then(known);
    BeforeRow {
        window: text(&before.window, 32),
        cpu_percent: cpu_then.map(rounded),
        cpu_change: change(cpu, cpu_then),
        cpu_max: before.cpu_max.and_then(known).map(rounded),
        mem_percent: mem_then.map(rounded),
        mem_change: change(mem, mem_then),
        mem_max: before.mem_max.and_then(known).map(rounded),
        disk_percent: disk_then.map(rounded),
        disk_change: change(disk, disk_then),
        coverage_percent: known(before.coverage_percent)
            .map(rounded)
            .filter(|share| *share < 100.0),
    }
}
