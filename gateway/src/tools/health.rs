//! `get_health`: does the monitoring itself work?

use std::sync::Arc;

use maintenant_api::alerts::AlertQuery;
use maintenant_api::health::{HealthStatus, RuntimeStatus};
use rmcp::{tool, tool_router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::alerts::{self, AlertCounts};
use super::containers::Summary;
use super::{counted, hint};
use crate::arguments::Parameters;
use crate::budget::{self, Json};
use crate::collector::{ClientError, Collector};
use crate::collectors::{ask, error_of_source, fewest, names_of};
use crate::error::ToolError;
use crate::listed::{AlertPage, Listed};
use crate::server::Gateway;
use crate::time::show;
use crate::untrusted::{self, name};

/// Bytes that the refused calls of one collector may take.
const LIMITATIONS: usize = 1500;
/// Characters of a collector's reason; ours name what to do at their end.
const WORDS: usize = 300;

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct GetHealth {}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct HealthAnswer {
    /// ok, degraded: something is missing or old, down: no collector answers.
    status: &'static str,
    /// Of the first collector that answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    runtime: Option<String>,
    /// Whether that collector reaches its container engine.
    #[serde(skip_serializing_if = "Option::is_none")]
    connected: Option<bool>,
    /// When that last changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
    /// Why it is not connected, in the collector's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    /// Calls the engine refuses, and what does not work for it; with several, see sources.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    degraded: Vec<Limitation>,
    /// Over all collectors that answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    containers: Option<Summary>,
    /// Active ones of all that answer, by severity.
    #[serde(skip_serializing_if = "Option::is_none")]
    alerts: Option<AlertCounts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sources: Option<Vec<CollectorHealth>>,
    gateway_version: &'static str,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Limitation {
    feature: String,
    call: String,
    error: String,
}

#[derive(Debug, Serialize, JsonSchema)]
struct CollectorHealth {
    name: String,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connected: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// As above; the schema is spelled out only once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<std::collections::BTreeMap<String, String>>")]
    degraded: Vec<Limitation>,
}

#[tool_router(router = health, vis = "pub(super)")]
impl Gateway {
    /// Tells whether the monitoring itself works: collectors, their connection to Docker; counts containers and active alerts.
    /// Call it when data looks old, states are `unknown` or a collector does not answer; for what is wrong use list_alerts.
    #[tool(
        title = "Get health of the monitoring",
        annotations(
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = false
        )
    )]
    async fn get_health(
        &self,
        Parameters(GetHealth {}): Parameters<GetHealth>,
    ) -> Result<Json<HealthAnswer>, ToolError> {
        let answers = ask(self.collectors().live(), examine).await;
        Ok(Json(shape(&answers.0, self.collectors().several())))
    }
}

/// What one collector says of itself. Alive is enough; the rest may be missing.
struct Examined {
    health: HealthStatus,
    runtime: Result<RuntimeStatus, ClientError>,
    containers: Result<Vec<Listed>, ClientError>,
    alerts: Result<AlertPage, ClientError>,
}

async fn examine(collector: Arc<Collector>) -> Result<Examined, ClientError> {
    let active = AlertQuery {
        status: Some("active".to_owned()),
        limit: Some("200".to_owned()),
        ..AlertQuery::default()
    };
    let (health, runtime, containers, alerts) = tokio::join!(
        collector.health(),
        collector.runtime_status(),
        collector.containers(),
        collector.alerts(&active)
    );
    Ok(Examined { health: health?, runtime, containers, alerts })
}

impl Examined {
    fn version(&self) -> Option<String> {
        (!self.health.version.is_empty()).then(|| name(&self.health.version))
    }

    /// It is heard, reaches its engine and lists its containers.
    fn works(&self) -> bool {
        let runtime = self.runtime.as_ref();
        runtime.is_ok_and(|runtime| runtime.connected || runtime.runtime == "none")
            && self.containers.is_ok()
    }

    /// It was asked for alerts and did not tell them. One too old to have any has none to tell.
    fn hides_alerts(&self) -> bool {
        self.alerts.as_ref().is_err_and(|error| !matches!(error, ClientError::RouteMissing))
    }

    /// And its engine refuses it nothing, and it tells its alerts.
    fn is_well(&self) -> bool {
        !self.hides_alerts()
            && self.works()
            && self.runtime.as_ref().is_ok_and(|runtime| runtime.degraded.is_empty())
    }

    fn error(&self, name: &str) -> Option<String> {
        let failed = self.runtime.as_ref().err().or(self.containers.as_ref().err());
        failed.map(|error| error_of_source(name, error)).or_else(|| {
            let runtime = self.runtime.as_ref().ok()?;
            runtime.error.as_deref().map(|error| untrusted::message(error, WORDS))
        })
    }
}

fn shape(
    answers: &[(Arc<Collector>, Result<Examined, ClientError>)],
    several: bool,
) -> HealthAnswer {
    let answering: Vec<&Examined> =
        answers.iter().filter_map(|(_, answer)| answer.as_ref().ok()).collect();
    let silent = answers.len().saturating_sub(answering.len());
    let well = answering.iter().filter(|examined| examined.is_well()).count();
    let working = answering.iter().filter(|examined| examined.works()).count();
    let status = if answering.is_empty() {
        "down"
    } else if well < answers.len() {
        "degraded"
    } else {
        "ok"
    };
    let first = answering.first();
    let runtime = first.and_then(|examined| examined.runtime.as_ref().ok());
    let containers = answering.iter().any(|examined| examined.containers.is_ok()).then(|| {
        Summary::of(answering.iter().flat_map(|examined| examined.containers.iter().flatten()))
    });
    let pages: Vec<&AlertPage> =
        answering.iter().filter_map(|examined| examined.alerts.as_ref().ok()).collect();
    let alerts =
        (!pages.is_empty()).then(|| alerts::counts(pages.iter().flat_map(|page| &page.alerts)));
    let has_more = pages.iter().any(|page| page.has_more);
    let (sources, rest) = if several || working < answers.len() {
        let sources = answers.iter().map(|answer| source(answer, several)).collect();
        let (sources, rest) =
            fewest(sources, |source: &CollectorHealth| source.ok && source.degraded.is_empty());
        (Some(sources), rest)
    } else {
        (None, None)
    };
    let without_alerts: Vec<String> = answers
        .iter()
        .filter(|(_, answer)| answer.as_ref().is_ok_and(Examined::hides_alerts))
        .map(|(collector, _)| collector.name.clone())
        .collect();
    let unknown = containers.as_ref().map_or(0, Summary::unknown);
    let all_connected = answering
        .iter()
        .all(|examined| examined.runtime.as_ref().is_ok_and(|runtime| runtime.connected));
    let hint = hint([
        (silent > 0).then(|| {
            let collectors = counted(silent, "collector");
            format!("No answer from {collectors}: see sources. Their containers and alerts are not counted.")
        }),
        (unknown > 0).then(|| {
            let containers = counted(unknown, "container");
            let why = if all_connected {
                "the collector's word for it is not known here"
            } else {
                "because Docker cannot be asked"
            };
            format!("State unknown for {containers}, {why}.")
        }),
        (!without_alerts.is_empty()).then(|| {
            let names = names_of(&without_alerts);
            format!("Alerts are not known, because they could not be asked for, of: {names}.")
        }),
        has_more.then(|| "There are more alerts than are counted here.".to_owned()),
        rest,
    ]);
    HealthAnswer {
        status,
        version: first.and_then(|examined| examined.version()),
        runtime: runtime.map(|runtime| name(&runtime.runtime)),
        connected: runtime.map(|runtime| runtime.connected),
        since: runtime.and_then(|runtime| runtime.since).map(show),
        error: runtime
            .and_then(|runtime| runtime.error.as_deref())
            .map(|error| untrusted::message(error, WORDS)),
        hint,
        degraded: runtime.filter(|_| !several).map(limitations).unwrap_or_default(),
        containers,
        alerts,
        sources,
        gateway_version: env!("CARGO_PKG_VERSION"),
    }
}

fn limitations(runtime: &RuntimeStatus) -> Vec<Limitation> {
    let limitations = runtime
        .degraded
        .iter()
        .map(|limitation| Limitation {
            feature: name(&limitation.feature),
            call: name(&limitation.call),
            error: untrusted::message(&limitation.error, 200),
        })
        .collect();
    budget::fit(limitations, LIMITATIONS).0
}

fn source(
    (collector, answer): &(Arc<Collector>, Result<Examined, ClientError>),
    several: bool,
) -> CollectorHealth {
    let name = collector.name.clone();
    match answer {
        Err(error) => CollectorHealth {
            ok: false,
            version: None,
            connected: None,
            error: Some(error_of_source(&name, error)),
            degraded: Vec::new(),
            name,
        },
        Ok(examined) => {
            let runtime = examined.runtime.as_ref().ok();
            CollectorHealth {
                ok: examined.works(),
                version: examined.version(),
                connected: runtime.map(|runtime| runtime.connected),
                error: examined.error(&name),
                degraded: runtime.filter(|_| several).map(limitations).unwrap_or_default(),
                name,
            }
        }
    }
}
