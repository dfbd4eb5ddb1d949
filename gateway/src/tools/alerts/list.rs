//! `list_alerts`.

use std::collections::{BTreeMap, BTreeSet};

use maintenant_api::Timestamp;
use maintenant_api::alerts::{AlertQuery, AlertStatus, Severity};
use maintenant_serve::clock;
use rmcp::service::RequestContext;
use rmcp::{RoleServer, tool, tool_router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::read::{self, Read, Told};
use super::row::{AlertRow, entity, has_log_lines, row, shown_name};
use super::{AlertCounts, affected, counts};
use crate::arguments::{Parameters, whole_number};
use crate::budget::Json;
use crate::caller::{Caller, Scope};
use crate::collectors::{Source, ask};
use crate::cursor;
use crate::error::ToolError;
use crate::listed::ListedAlert;
use crate::server::Gateway;
use crate::time;
use crate::tools::paging::{self, Key, Listing, Ranked, word};
use crate::tools::{NO_LOGS, counted, hint};
use crate::untrusted::quoted;

/// Sources named where none matched.
const SOURCES: usize = 8;
const SEVERITIES: [&str; 3] = ["critical", "warning", "info"];
/// Types of entities that have an id in `type:id`; whatever else holds a colon is a name.
const ENTITIES: [&str; 9] = [
    "container",
    "endpoint",
    "heartbeat",
    "certificate",
    "host",
    "filesystem",
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
    /// Fired then or later; with active_only = false also what lasted or ended then: RFC 3339, or an age such as 2h, 7d.
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
        context: RequestContext<RoleServer>,
    ) -> Result<Json<AlertsAnswer>, ToolError> {
        let now = time::whole(clock::now());
        let (filter, limit) = (Filter::new(&arguments, now)?, paging::limit(arguments.limit)?);
        let after: Option<Key> =
            arguments.cursor.as_deref().map(|text| cursor::decode(text, &filter)).transpose()?;
        let collectors = self.collectors().choose(arguments.collector.as_deref())?;
        let query = filter.query();
        let query = &query.map(|query| (query, filter.own_query()));
        let answers = ask(collectors, |collector| async move {
            match query {
                None => read::lasting(&collector).await,
                Some((query, own)) => {
                    read::history(&collector, query, own.as_ref(), filter.oldest).await
                }
            }
        })
        .await;
        let sources = answers.sources();
        let (mut entries, mut is_cut) = (Vec::new(), false);
        for (collector, Read { mut alerts, is_cut: cut }) in answers.successes()? {
            is_cut |= cut;
            affected::explain(&mut alerts);
            entries.extend(alerts.into_iter().map(|told| ranked(&collector.name, told)));
        }
        let seen = filter.sources_seen(&entries);
        let listing =
            Listing::new("alert", entries, |entry| filter.matches(&entry.item), after.as_ref())
                .of_a_part(filter.history);
        let several = self.collectors().several();
        let logs = Caller::of(&context).is_none_or(|caller| caller.may(Scope::LogsRead));
        let shown = Shown { now, several, is_cut, seen, logs };
        Ok(Json(page(&listing, &filter, limit, &shown, sources)))
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

    /// Whatever their time.
    fn is_unfiltered(&self) -> bool {
        self.severity.is_none() && self.source.is_none() && self.entity.is_none()
    }

    /// Type and id of one entity, if it was named so.
    fn named(&self) -> Option<(&str, i64)> {
        let (kind, id) = self.entity.as_deref()?.split_once(':')?;
        Some((kind, id.trim().parse().ok()?)).filter(|(kind, _)| ENTITIES.contains(kind))
    }

    /// What is asked of a server when its history is wanted, which is long: all filters it may
    /// know but the entity, which alerts of others may name. `None`: what lasts.
    fn query(&self) -> Option<AlertQuery> {
        self.history.then(|| AlertQuery {
            source: self.source.clone(),
            severity: self.severity.map(|severity| severity.as_str().to_owned()),
            lasting_since: self.oldest.map(time::show),
            ..AlertQuery::default()
        })
    }

    /// The same for alerts of the entity itself, if it was named by its id.
    fn own_query(&self) -> Option<AlertQuery> {
        let (kind, id) = self.named()?;
        Some(AlertQuery {
            entity_type: Some(kind.to_owned()),
            entity_id: Some(id.to_string()),
            ..self.query()?
        })
    }

    /// The sources of all that was read, where a source was asked for.
    fn sources_seen(&self, entries: &[Ranked<Told>]) -> Vec<String> {
        let all = entries.iter().filter(|_| self.source.is_some());
        let seen: BTreeSet<&str> = all.map(|entry| entry.item.alert.source.as_str()).collect();
        seen.into_iter().take(SOURCES).map(quoted).collect()
    }

    /// Names are searched as they are shown, so that nobody can guess at what is not.
    fn matches(&self, Told { alert, .. }: &Told) -> bool {
        self.severity.is_none_or(|severity| alert.severity == severity)
            && self.source.as_deref().is_none_or(|source| alert.source.to_lowercase() == source)
            && self.oldest.is_none_or(|oldest| {
                if self.history {
                    return read::lasted_since(alert, oldest);
                }
                alert.fired_at.is_none_or(|at| at >= oldest)
            })
            && self.entity.as_deref().is_none_or(|wanted| self.concerns(alert, wanted))
    }

    /// It is about that entity, or says that it affects it.
    fn concerns(&self, alert: &ListedAlert, wanted: &str) -> bool {
        let place = self.named().map(|(kind, id)| format!("{kind}:{id}"));
        let is_called = |name: &str| place.is_none() && name.to_lowercase().contains(wanted);
        let is_at = |shown: &str| shown == place.as_deref().unwrap_or(wanted);
        is_at(&entity(alert))
            || is_called(&shown_name(alert))
            || affected::affected(&alert.details).flatten().any(|one| {
                one.place.as_deref().is_some_and(is_at)
                    || one.name.as_deref().is_some_and(is_called)
            })
    }

    /// What was asked for when nothing matches.
    fn nothing(&self, total: usize, seen: &[String]) -> String {
        let sources = if seen.is_empty() {
            String::new()
        } else {
            format!(" Sources seen: {}.", seen.join(", "))
        };
        let what = if self.is_unfiltered() { "No alert" } else { "No alert that matches" };
        if !self.history {
            // How many there are without filters was said.
            let none = if total == 0 { "No alert is active: " } else { "Perhaps it ended: " };
            return format!("{none}active_only = false shows those that ended.{sources}");
        }
        match self.oldest {
            Some(oldest) => {
                let since = time::show(oldest);
                format!("{what} fired, ended or lasted since {since}.{sources}")
            }
            None if self.is_unfiltered() => {
                "There never was an alert, as far as it is kept.".into()
            }
            None => {
                format!("{what} is there, neither active nor ended, as far as it is kept.{sources}")
            }
        }
    }

    /// Filters that would let a longer history be read, and were not used.
    fn narrower(&self) -> Option<String> {
        let unused: Vec<&str> = [
            ("source", self.source.is_none()),
            ("severity", self.severity.is_none()),
            ("entity such as container:5", self.entity.is_none()),
        ]
        .into_iter()
        .filter_map(|(name, is_unused)| is_unused.then_some(name))
        .collect();
        let is_of_use = self.history && !unused.is_empty();
        is_of_use.then(|| format!(" Name {} to reach back further.", unused.join(" or ")))
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

struct Shown {
    now: Timestamp,
    several: bool,
    is_cut: bool,
    /// Sources of what was read, if one was asked for.
    seen: Vec<String>,
    /// The caller may read logs.
    logs: bool,
}

fn page(
    listing: &Listing<Told>,
    filter: &Filter,
    limit: Option<usize>,
    shown: &Shown,
    (sources, rest_of_sources): (Option<Vec<Source>>, Option<String>),
) -> AlertsAnswer {
    let summary = counts(listing.matching.iter().map(|entry| &entry.item.alert));
    let page = listing.page(limit, filter, sources.as_deref(), |Ranked { key, item }| {
        row(item, shown.now, shown.several.then(|| key.collector.clone()), shown.logs)
    });
    let may_be_over = listing.matching.iter().filter(|entry| entry.item.may_be_over()).count();
    let withheld =
        !shown.logs && listing.matching.iter().any(|entry| has_log_lines(&entry.item.alert));
    let hint = hint([
        shown.is_cut.then(|| {
            let alerts = counted(listing.total, "alert");
            let narrow = filter.narrower().unwrap_or_default();
            format!("There are more: only the newest {alerts} were read and counted.{narrow}")
        }),
        page.rest,
        listing.matching.is_empty().then(|| filter.nothing(listing.total, &shown.seen)),
        (may_be_over > 0).then(|| {
            let alerts = counted(may_be_over, "silenced alert");
            format!("{alerts} may be over: their server does not end what is silenced.")
        }),
        withheld.then(|| NO_LOGS.to_owned()),
        rest_of_sources,
    ]);
    let (silenced, alerts) =
        page.rows.into_iter().partition(|row| row.status == AlertStatus::Silenced.as_str());
    AlertsAnswer { summary, hint, alerts, silenced, next_cursor: page.next_cursor, sources }
}
