//! `list_alerts`.

use std::collections::BTreeMap;

use maintenant_api::Timestamp;
use maintenant_api::alerts::{AlertQuery, AlertStatus, Severity};
use maintenant_serve::clock;
use rmcp::{tool, tool_router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::read::{self, Read, Told};
use super::row::{AlertRow, entity, row, shown_name};
use super::{AlertCounts, counts};
use crate::arguments::{Parameters, whole_number};
use crate::budget::Json;
use crate::collectors::{Source, ask};
use crate::cursor;
use crate::error::ToolError;
use crate::server::Gateway;
use crate::time;
use crate::tools::paging::{self, Key, Listing, Ranked, word};
use crate::tools::{counted, hint};

const SEVERITIES: [&str; 3] = ["critical", "warning", "info"];
/// Types of entities that have an id in `type:id`; whatever else holds a colon is a name.
const ENTITIES: [&str; 8] = [
    "container",
    "endpoint",
    "heartbeat",
    "certificate",
    "host",
    "runtime",
    "infrastructure",
    "update",
];

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ListAlerts {
    /// Default true; false adds those that ended.
    active_only: Option<bool>,
    /// How bad it is.
    #[schemars(extend("enum" = SEVERITIES))]
    severity: Option<String>,
    /// Such as container, endpoint, heartbeat, certificate, resource.
    source: Option<String>,
    /// Part of a name in any case, or type and id: container:5.
    entity: Option<String>,
    /// Fired then or later: RFC 3339, or an age such as 2h, 7d.
    since: Option<String>,
    /// Default 20.
    #[serde(deserialize_with = "whole_number")]
    #[schemars(range(min = 1, max = 100))]
    limit: Option<i64>,
    /// `next_cursor` of the page before, filters unchanged.
    cursor: Option<String>,
    /// Only this one of several.
    collector: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct AlertsAnswer {
    /// Of all that match. Active ones by severity; acknowledged are active too.
    summary: AlertCounts,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    /// Worst first, then newest; ended ones last.
    alerts: Vec<AlertRow>,
    /// They last, and nobody is told.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<BTreeMap<String, serde_json::Value>>")]
    silenced: Vec<AlertRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sources: Option<Vec<Source>>,
}

#[tool_router(router = list_of_alerts, vis = "pub(super)")]
impl Gateway {
    /// Lists alerts, worst and newest first: what is wrong, since when, why, what else it affects, who acknowledged it; counts first.
    /// Start here for "is anything wrong"; active_only = false also shows what ended, with since for a span of time.
    #[tool(
        title = "List alerts",
        annotations(
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = false
        )
    )]
    async fn list_alerts(
        &self,
        Parameters(arguments): Parameters<ListAlerts>,
    ) -> Result<Json<AlertsAnswer>, ToolError> {
        let now = clock::now();
        let (filter, limit) = (Filter::new(&arguments, now)?, paging::limit(arguments.limit)?);
        let after: Option<Key> =
            arguments.cursor.as_deref().map(|text| cursor::decode(text, &filter)).transpose()?;
        let collectors = self.collectors().choose(arguments.collector.as_deref())?;
        let query = &filter.query();
        let answers = ask(collectors, |collector| async move {
            match query {
                None => read::lasting(&collector).await,
                Some((query, oldest)) => read::read(&collector, query.clone(), *oldest).await,
            }
        })
        .await;
        let sources = answers.sources();
        let (mut entries, mut is_cut) = (Vec::new(), false);
        for (collector, Read { alerts, is_cut: cut }) in answers.successes()? {
            is_cut |= cut;
            entries.extend(alerts.into_iter().map(|told| ranked(&collector.name, told)));
        }
        let listing =
            Listing::new("alert", entries, |entry| filter.matches(&entry.item), after.as_ref());
        let several = self.collectors().several();
        Ok(Json(page(&listing, &filter, limit, Shown { now, several, is_cut }, sources)))
    }
}

/// Which alerts were asked for. Its JSON is what a cursor is bound to.
#[derive(Debug, Default, Serialize)]
struct Filter {
    history: bool,
    severity: Option<Severity>,
    source: Option<String>,
    entity: Option<String>,
    since: Option<String>,
    collector: Option<String>,
    /// An age is another moment in each call.
    #[serde(skip)]
    oldest: Option<Timestamp>,
}

impl Filter {
    fn new(arguments: &ListAlerts, now: Timestamp) -> Result<Self, ToolError> {
        let lower = |text: &Option<String>| text.as_deref().map(|text| text.trim().to_lowercase());
        let oldest = arguments
            .since
            .as_deref()
            .map(|text| time::parse(text, now))
            .transpose()
            .map_err(|fault| ToolError::bad_argument("since", &fault))?;
        Ok(Self {
            history: arguments.active_only == Some(false),
            severity: word(
                "severity",
                arguments.severity.as_deref(),
                Severity::parse,
                &SEVERITIES,
            )?,
            source: lower(&arguments.source),
            entity: lower(&arguments.entity),
            since: arguments.since.clone(),
            collector: arguments.collector.clone(),
            oldest,
        })
    }

    fn is_open(&self) -> bool {
        self.severity.is_none()
            && self.source.is_none()
            && self.entity.is_none()
            && self.since.is_none()
    }

    /// Type and id of one entity, if it was named so.
    fn named(&self) -> Option<(&str, i64)> {
        let (kind, id) = self.entity.as_deref()?.split_once(':')?;
        Some((kind, id.trim().parse().ok()?)).filter(|(kind, _)| ENTITIES.contains(kind))
    }

    /// What is asked of a server when its history is wanted, which is long: all filters it may
    /// know. `None`: what lasts.
    fn query(&self) -> Option<(AlertQuery, Option<Timestamp>)> {
        let (kind, id) = self.named().unzip();
        self.history.then(|| {
            let query = AlertQuery {
                source: self.source.clone(),
                severity: self.severity.map(|severity| severity.as_str().to_owned()),
                entity_type: kind.map(str::to_owned),
                entity_id: id.map(|id| id.to_string()),
                since: self.oldest.map(time::show),
                ..AlertQuery::default()
            };
            (query, self.oldest)
        })
    }

    /// Names are searched as they are shown, so that nobody can guess at what is not.
    fn matches(&self, Told { alert, .. }: &Told) -> bool {
        self.severity.is_none_or(|severity| alert.severity == severity)
            && self.source.as_deref().is_none_or(|source| alert.source.to_lowercase() == source)
            && self.oldest.is_none_or(|oldest| alert.fired_at.is_none_or(|at| at >= oldest))
            && self.entity.as_deref().is_none_or(|wanted| match self.named() {
                Some((kind, id)) => alert.entity_type == kind && alert.entity_id == id,
                None => {
                    shown_name(alert).to_lowercase().contains(wanted) || entity(alert) == wanted
                }
            })
    }
}

fn ranked(collector: &str, told: Told) -> Ranked<Told> {
    let alert = &told.alert;
    let rank = match (alert.status, alert.severity) {
        (AlertStatus::Resolved, _) => 4,
        (AlertStatus::Silenced, _) => 3,
        (_, Severity::Critical) => 0,
        (_, Severity::Warning) => 1,
        (_, Severity::Info) => 2,
    };
    let key = Key {
        rank,
        moment: alert.fired_at.map_or(0, |at| at.as_second().saturating_neg()),
        name: shown_name(alert),
        collector: collector.to_owned(),
        id: alert.id,
    };
    Ranked { key, item: told }
}

#[derive(Clone, Copy)]
struct Shown {
    now: Timestamp,
    several: bool,
    is_cut: bool,
}

fn page(
    listing: &Listing<Told>,
    filter: &Filter,
    limit: Option<usize>,
    shown: Shown,
    (sources, rest_of_sources): (Option<Vec<Source>>, Option<String>),
) -> AlertsAnswer {
    let summary = counts(listing.matching.iter().map(|entry| &entry.item.alert));
    let page = listing.page(limit, filter, sources.as_deref(), |Ranked { key, item }| {
        row(item, shown.now, shown.several.then(|| key.collector.clone()))
    });
    let hint = hint([
        shown.is_cut.then(|| {
            let alerts = counted(listing.total, "alert");
            let narrow = if filter.history {
                " Name a source or an entity to reach back further."
            } else {
                ""
            };
            format!("There are more: only the newest {alerts} were read and counted.{narrow}")
        }),
        page.rest,
        (listing.total == 0).then(|| match (filter.history, filter.is_open()) {
            (false, _) => {
                "No alert is active; active_only = false shows those that ended.".to_owned()
            }
            (true, true) => "There never was an alert, as far as it is kept.".to_owned(),
            (true, false) => "No alert matches, neither now nor before.".to_owned(),
        }),
        rest_of_sources,
    ]);
    let (silenced, alerts) =
        page.rows.into_iter().partition(|row| row.status == AlertStatus::Silenced.as_str());
    AlertsAnswer { summary, hint, alerts, silenced, next_cursor: page.next_cursor, sources }
}
