//! `get_top_consumers`.

use maintenant_api::resources::{Consumer, TopConsumers, TopQuery};
use rmcp::{tool, tool_router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{LEAST_COVERAGE, known, measured, rounded};
use crate::arguments::{Parameters, whole_number};
use crate::budget::Json;
use crate::collectors::{Source, ask};
use crate::error::ToolError;
use crate::server::Gateway;
use crate::tools::paging::word;
use crate::tools::{counted, hint};
use crate::untrusted::name;

const METRICS: [&str; 2] = ["cpu", "memory"];
const PERIODS: [&str; 5] = ["current", "1h", "24h", "7d", "30d"];
/// What servers send at most.
const MOST: i64 = 20;
const DEFAULT: i64 = 10;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GetTopConsumers {
    /// What to rank by.
    #[schemars(extend("enum" = METRICS))]
    metric: String,
    /// Default `current`: the last sample. Others: the mean while it ran.
    #[serde(default)]
    #[schemars(extend("enum" = PERIODS))]
    period: Option<String>,
    /// Default 10.
    #[serde(default, deserialize_with = "whole_number")]
    #[schemars(range(min = 1, max = 20))]
    limit: Option<i64>,
    /// Only this one of several.
    #[serde(default, alias = "source")]
    collector: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct TopAnswer {
    metric: &'static str,
    period: &'static str,
    /// Of `absolute`, `max`, `before` and `change`.
    unit: &'static str,
    percent_of: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    consumers: Vec<ConsumerRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sources: Option<Vec<Source>>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct ConsumerRow {
    rank: usize,
    container_id: String,
    container_name: String,
    /// `absolute` in words.
    value: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    percent: Option<f64>,
    absolute: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    max: Option<f64>,
    /// Its mean in the period before this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    change: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    change_percent: Option<f64>,
    /// How much of the period it was measured, if not all.
    #[serde(skip_serializing_if = "Option::is_none")]
    coverage_percent: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    collector: Option<String>,
}

#[tool_router(router = top_consumers, vis = "pub(super)")]
impl Gateway {
    /// Ranks containers by the CPU or memory they use now, or the mean while it ran in 1h, 24h, 7d or 30d; with maximum and the change against the period before.
    /// Use it for "what uses the most CPU" and "what grew since yesterday"; get_resources tells of the host.
    #[tool(
        title = "Get top consumers",
        annotations(
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = false
        )
    )]
    async fn get_top_consumers(
        &self,
        Parameters(arguments): Parameters<GetTopConsumers>,
    ) -> Result<Json<TopAnswer>, ToolError> {
        let asked = Asked::new(&arguments)?;
        let collectors = self.collectors().choose(arguments.collector.as_deref())?;
        let query = &asked.query();
        let answers =
            ask(collectors, |collector| async move { collector.top_consumers(query).await }).await;
        let sources = answers.sources();
        let answers = answers.successes()?.into_iter();
        let answers = answers.map(|(collector, top)| (collector.name.clone(), top)).collect();
        Ok(Json(shape(answers, &asked, self.collectors().several(), sources)))
    }
}

struct Asked {
    metric: Metric,
    period: &'static str,
    limit: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Metric {
    Cpu,
    Memory,
}

impl Metric {
    fn parse(word: &str) -> Option<Self> {
        match word {
            "cpu" => Some(Self::Cpu),
            "memory" => Some(Self::Memory),
            _ => None,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
        }
    }

    fn unit(self) -> &'static str {
        match self {
            Self::Cpu => "cores",
            Self::Memory => "bytes",
        }
    }

    fn percent_of(self) -> &'static str {
        match self {
            Self::Cpu => "one core",
            Self::Memory => "its limit, or the host's memory",
        }
    }

    /// Servers send percent of a core, and bytes.
    fn absolute(self, value: f64) -> f64 {
        match self {
            Self::Cpu => (value * 10.0).round() / 1000.0,
            Self::Memory => value.round(),
        }
    }

    fn in_words(self, absolute: f64) -> String {
        match self {
            Self::Cpu => format!("{absolute:.2} cores"),
            Self::Memory => bytes(absolute),
        }
    }
}

fn bytes(count: f64) -> String {
    let (mut count, mut unit) = (count, "bytes");
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if count < 1024.0 {
            break;
        }
        (count, unit) = (count / 1024.0, larger);
    }
    if unit == "bytes" { format!("{count} {unit}") } else { format!("{count:.1} {unit}") }
}

impl Asked {
    fn new(arguments: &GetTopConsumers) -> Result<Self, ToolError> {
        let limit = arguments.limit.unwrap_or(DEFAULT);
        if !(1..=MOST).contains(&limit) {
            return Err(ToolError::out_of_range("limit", limit, 1..=MOST));
        }
        let known = |word: &str| PERIODS.into_iter().find(|period| *period == word);
        Ok(Self {
            metric: word("metric", Some(&arguments.metric), Metric::parse, &METRICS)?
                .ok_or_else(|| ToolError::unknown_word("metric", &arguments.metric, &METRICS))?,
            period: word("period", arguments.period.as_deref(), known, &PERIODS)?
                .unwrap_or("current"),
            limit,
        })
    }

    fn period(&self) -> Option<&'static str> {
        Some(self.period).filter(|period| *period != "current")
    }

    fn query(&self) -> TopQuery {
        TopQuery {
            metric: Some(self.metric.as_str().to_owned()),
            limit: Some(self.limit.to_string()),
            period: self.period().map(str::to_owned),
        }
    }
}

fn shape(
    answers: Vec<(String, TopConsumers)>,
    asked: &Asked,
    several: bool,
    (sources, rest_of_sources): (Option<Vec<Source>>, Option<String>),
) -> TopAnswer {
    // A server that does not know a period answers with the last sample.
    let (answers, others): (Vec<_>, Vec<_>) = answers
        .into_iter()
        .partition(|(_, top)| top.period.as_deref() == asked.period() || asked.period().is_none());
    let mut all = Vec::new();
    let mut unmeasured = 0_usize;
    for (collector, top) in answers {
        let told = top.consumers.len();
        let before = all.len();
        all.extend(measured(top.consumers).map(|one| (collector.clone(), one)));
        let kept = all.len().saturating_sub(before);
        unmeasured = unmeasured.saturating_add(told.saturating_sub(kept));
    }
    all.sort_by(|(_, a), (_, b)| b.value.total_cmp(&a.value));
    all.truncate(usize::try_from(asked.limit).unwrap_or_default());
    let consumers: Vec<ConsumerRow> = (1..)
        .zip(all)
        .map(|(rank, (collector, one))| row(rank, &one, asked.metric, several.then_some(collector)))
        .collect();
    let partly = consumers.iter().filter(|row| row.coverage_percent.is_some()).count();
    let incomparable = consumers
        .iter()
        .filter(|row| row.before.is_some() && !is_enough(row.coverage_percent))
        .count();
    let hint = hint([
        (!others.is_empty()).then(|| {
            let servers = counted(others.len(), "collector");
            format!("Left out, because they do not know the period {}: {servers}.", asked.period)
        }),
        (consumers.is_empty() && others.is_empty()).then(|| nothing(asked)),
        (unmeasured > 0).then(|| {
            format!(
                "Left out, because they cannot be measured: {}.",
                counted(unmeasured, "container")
            )
        }),
        (partly > 0).then(|| {
            format!(
                "Not measured during the whole period: {}; coverage_percent says how much, and \
                 means are of that.",
                counted(partly, "container")
            )
        }),
        (incomparable > 0).then(|| {
            format!(
                "Without change, because less than half of the period was measured: {}.",
                counted(incomparable, "container")
            )
        }),
        rest_of_sources,
    ]);
    TopAnswer {
        metric: asked.metric.as_str(),
        period: asked.period,
        unit: asked.metric.unit(),
        percent_of: asked.metric.percent_of(),
        hint,
        consumers,
        sources,
    }
}

fn nothing(asked: &Asked) -> String {
    match asked.period() {
        None => "No running container was measured yet; ask again in half a minute.".to_owned(),
        Some(period) => format!(
            "Nothing is known of {period}: no container was measured in it, or the server counts \
             completed hours or days only and is too young. Try 1h or current."
        ),
    }
}

/// A server that does not tell how much it measured tells nothing of before either.
fn is_enough(coverage: Option<f64>) -> bool {
    coverage.is_none_or(|share| share >= LEAST_COVERAGE)
}

fn row(rank: usize, one: &Consumer, metric: Metric, collector: Option<String>) -> ConsumerRow {
    let absolute = metric.absolute(one.value);
    let before = one.before.and_then(known);
    let change =
        before.filter(|_| is_enough(one.coverage_percent)).map(|before| one.value - before);
    ConsumerRow {
        rank,
        container_id: one.container_id.to_string(),
        container_name: name(&one.container_name),
        value: metric.in_words(absolute),
        percent: known(one.percent).map(rounded),
        absolute,
        max: one.max.and_then(known).map(|max| metric.absolute(max)),
        before: before.map(|before| metric.absolute(before)),
        change: change.map(|change| metric.absolute(change)),
        change_percent: before
            .zip(change)
            .filter(|(before, _)| *before > 0.0)
            .map(|(before, change)| rounded(change / before * 100.0)),
        coverage_percent: one
            .coverage_percent
            .and_then(known)
            .map(rounded)
            .filter(|share| *share < 100.0),
        collector,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_in_words() {
        let check = |metric: Metric, value: f64, words: &str| {
            assert_eq!(metric.in_words(metric.absolute(value)), words);
        };
        check(Metric::Cpu, 20.04, "0.20 cores");
        check(Metric::Cpu, 0.0, "0.00 cores");
        check(Metric::Cpu, 412.0, "4.12 cores");
        check(Metric::Memory, 0.0, "0 bytes");
        check(Metric::Memory, 1023.6, "1.0 KiB");
        check(Metric::Memory, 536_870_912.0, "512.0 MiB");
        check(Metric::Memory, 5e12, "4.5 TiB");
        check(Metric::Memory, 5e15, "4547.5 TiB");
    }
}
