//! `get_updates`.

use std::collections::BTreeMap;
use std::sync::Arc;

use maintenant_api::Timestamp;
use maintenant_api::updates::Update;
use rmcp::{tool, tool_router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::commands::{self, Commands};
use super::row::{UpdateRow, is_newer, row};
use super::scans::{self, Scan};
use super::{Extent, Read, read};
use crate::arguments::{Parameters, whole_number};
use crate::budget::Json;
use crate::collector::Collector;
use crate::collectors::{Source, ask};
use crate::cursor;
use crate::error::ToolError;
use crate::server::Gateway;
use crate::time::show;
use crate::tools::paging::{self, Counts, Key, Listing, Ranked, word};
use crate::tools::{counted, hint};
use crate::untrusted::name;

const STATUSES: [&str; 7] =
    ["available", "pinned", "up_to_date", "untracked", "unknown", "stale", "all"];
/// Statuses that are counted, and listed only when asked for.
const UNLISTED: [&str; 3] = ["up_to_date", "untracked", "unknown"];
const TYPES: [&str; 5] = ["major", "minor", "patch", "digest_only", "unknown"];
/// Shorter beginnings of a Docker id are more likely a name.
const SHORTEST_PREFIX: usize = 6;

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct GetUpdates {
    /// Name, part of it, or id. Of a single one, commands are shown too.
    container: Option<String>,
    /// Default available and pinned; all for a container. `stale`: not checked of late, or not fully.
    #[schemars(extend("enum" = STATUSES))]
    status: Option<String>,
    /// `digest_only`: same tag, newer image.
    #[schemars(extend("enum" = TYPES))]
    update_type: Option<String>,
    #[serde(deserialize_with = "whole_number")]
    #[schemars(range(min = 0, max = 100))]
    /// Patch 15, minor 50, major 85.
    min_risk: Option<i64>,
    /// Default 20.
    #[serde(deserialize_with = "whole_number")]
    #[schemars(range(min = 1, max = 100))]
    limit: Option<i64>,
    /// `next_cursor` of the page before, filters unchanged.
    cursor: Option<String>,
    /// Only this one of several.
    #[serde(alias = "source")]
    collector: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct UpdatesAnswer {
    summary: Counts,
    /// Of several collectors the oldest.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_scan: Option<String>,
    /// Of several collectors the next.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_scan: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    /// Highest risk first.
    updates: Vec<UpdateRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "std::collections::BTreeMap<String, String>")]
    commands: Option<Commands>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sources: Option<Vec<Source>>,
}

#[tool_router(router = list_of_updates, vis = "pub(super)")]
impl Gateway {
    /// Lists newer images for what runs, highest risk first: what runs, what is newer, why, since when; counts and the last scan. Nothing is updated.
    /// Name one container for the commands a person would run to update it and to go back.
    #[tool(
        title = "Get updates",
        annotations(
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = false
        )
    )]
    async fn get_updates(
        &self,
        Parameters(arguments): Parameters<GetUpdates>,
    ) -> Result<Json<UpdatesAnswer>, ToolError> {
        let (filter, limit) = (Filter::new(&arguments)?, paging::limit(arguments.limit)?);
        let after: Option<Key> =
            arguments.cursor.as_deref().map(|text| cursor::decode(text, &filter)).transpose()?;
        let collectors = self.collectors().choose(arguments.collector.as_deref())?;
        let extent = filter.extent();
        let answers = ask(collectors, |collector| read(collector, extent, filter.has_id())).await;
        let (sources, rest_of_sources) = answers.sources();
        let (mut entries, mut scans) = (Vec::new(), Vec::new());
        for (collector, Read { updates, failed, last, next, summary }) in answers.successes()? {
            let (found, failed_checks) = (updates.iter().any(is_newer), failed.len());
            entries.extend(updates.into_iter().map(|update| ranked(&collector, update, &failed)));
            let collector = collector.name.clone();
            scans.push(Scan { collector, last, next, summary, found, failed_checks });
        }
        let exact = entries.iter().any(|entry| filter.names(&entry.item));
        let is_meant = |entry: &Ranked<Found>| filter.matches(&entry.item, exact);
        let noun = if extent == Extent::All { "container" } else { "update" };
        let listing = Listing::new(noun, entries, is_meant, after.as_ref());
        let several = self.collectors().several();
        let (commands, why_not) = commands_of_one(&filter, &listing.matching, several).await;
        let page = listing.page(limit, &filter, sources.as_deref(), |Ranked { key, item }| {
            row(&item.update, several.then(|| key.collector.clone()))
        });
        let summary = counts(&listing, &filter, &scans);
        let hint = hint([
            scans::in_words(&scans, several),
            page.rest,
            why_not,
            filter.unlisted(&listing, &scans),
            scans::failures_in_words(&scans, filter.status.as_deref())
                .filter(|_| filter.container.is_none()),
            rest_of_sources,
        ]);
        let last_scan = scans.iter().map(|scan| scan.last).min().flatten();
        let next_scan = scans.iter().filter_map(|scan| scan.next).min();
        Ok(Json(UpdatesAnswer {
            summary,
            last_scan: last_scan.map(show),
            next_scan: next_scan.map(show),
            hint,
            updates: page.rows,
            commands,
            next_cursor: page.next_cursor,
            sources,
        }))
    }
}

/// Whoever names one container may want to do something about it.
async fn commands_of_one(
    filter: &Filter,
    matching: &[Ranked<Found>],
    several: bool,
) -> (Option<Commands>, Option<String>) {
    if filter.container.is_none() {
        return (None, None);
    }
    match matching {
        [] => (None, Some(MISSING.to_owned())),
        [Ranked { item: Found { collector, update, .. }, .. }] if is_newer(update) => {
            match commands::commands(collector, update).await {
                Ok(commands) => (Some(commands), None),
                Err(why) => (None, why),
            }
        }
        [_] => (None, None),
        _ => {
            let place = if several { ", and its collector" } else { "" };
            let how = format!("Commands are shown for a single container; name it exactly{place}.");
            (None, Some(how))
        }
    }
}

const MISSING: &str = "list_containers shows all containers; one that does not run, or is \
                       excluded, is not looked at, and some servers list only what has an update.";

/// An update, and whom to ask for more of it.
#[derive(Debug, Clone)]
struct Found {
    collector: Arc<Collector>,
    update: Update,
    /// The newest check failed, or came to less than it should.
    failed: bool,
}

/// Which updates were asked for. Its JSON is what a cursor is bound to.
#[derive(Debug, Default, Serialize)]
struct Filter {
    container: Option<String>,
    status: Option<String>,
    update_type: Option<String>,
    min_risk: Option<i64>,
    collector: Option<String>,
}

impl Filter {
    fn new(arguments: &GetUpdates) -> Result<Self, ToolError> {
        let known = |argument: &str, given: &Option<String>, words: &[&str]| {
            word(argument, given.as_deref(), |word| Some(word.to_owned()), words)
        };
        let min_risk = arguments.min_risk;
        if let Some(risk) = min_risk.filter(|risk| !(0..=100).contains(risk)) {
            return Err(ToolError::out_of_range("min_risk", risk, 0..=100));
        }
        let container = arguments.container.as_deref().map(|part| part.trim().to_lowercase());
        Ok(Self {
            container: container.filter(|part| !part.is_empty()),
            status: known("status", &arguments.status, &STATUSES)?,
            update_type: known("update_type", &arguments.update_type, &TYPES)?,
            min_risk,
            collector: arguments.collector.clone(),
        })
    }

    fn is_open(&self) -> bool {
        self.container.is_none()
            && self.status.is_none()
            && self.update_type.is_none()
            && self.min_risk.is_none()
    }

    fn extent(&self) -> Extent {
        match self.status.as_deref() {
            Some("available" | "pinned") => Extent::Updates,
            None if self.container.is_none() => Extent::Updates,
            _ => Extent::All,
        }
    }

    /// The container is named by a number, which may be its id.
    fn has_id(&self) -> bool {
        self.container.as_deref().is_some_and(|wanted| wanted.parse::<i64>().is_ok())
    }

    /// What a server counts without listing it.
    fn unlisted(&self, listing: &Listing<Found>, scans: &[Scan]) -> Option<String> {
        let status = self.status.as_deref().filter(|_| listing.matching.is_empty())?;
        let count = scans::unlisted(scans, status);
        (count > 0 && self.container.is_none()).then(|| {
            let containers = counted(count, "container");
            format!("{containers} counted as {status} by a server that does not list them.")
        })
    }

    /// It is exactly the one that was named.
    fn names(&self, Found { update, .. }: &Found) -> bool {
        self.container.as_deref().is_some_and(|wanted| {
            let prefix =
                wanted.len() >= SHORTEST_PREFIX && wanted.bytes().all(|b| b.is_ascii_hexdigit());
            name(&update.container_name).to_lowercase() == wanted.trim_start_matches('/')
                || update.container_row_id.is_some_and(|id| id.to_string() == wanted)
                || (prefix && update.container_id.starts_with(wanted))
        })
    }

    /// Names are searched as they are shown. Of those that hold the part, the `exact` one is meant.
    fn matches(&self, found: &Found, exact: bool) -> bool {
        let update = &found.update;
        let is_named = self.container.as_deref().is_none_or(|part| {
            self.names(found)
                || (!exact && name(&update.container_name).to_lowercase().contains(part))
        });
        let has_status = match self.status.as_deref() {
            None | Some("all") => true,
            Some("stale") => found.failed,
            Some(status) => update.status == status,
        };
        is_named
            && has_status
            && self.update_type.as_deref().is_none_or(|kind| update.update_type == kind)
            && self.min_risk.is_none_or(|risk| is_newer(update) && update.risk_score >= risk)
    }
}

/// Highest risk first, then what is known longest; what needs nothing comes last.
fn ranked(
    collector: &Arc<Collector>,
    mut update: Update,
    failures: &BTreeMap<String, String>,
) -> Ranked<Found> {
    let failure = failures.get(&update.container_id);
    let failed = update.stale || failure.is_some();
    update.error = update.error.or_else(|| failure.cloned());
    let risk = u8::try_from(update.risk_score.clamp(0, 100)).unwrap_or_default();
    let rank = match update.status.as_str() {
        "pinned" => 120,
        "unknown" => 130,
        "untracked" => 140,
        "up_to_date" => 150,
        _ => 100_u8.saturating_sub(risk),
    };
    let key = Key {
        rank,
        moment: update.detected_at.map_or(0, Timestamp::as_second),
        name: name(&update.container_name),
        collector: collector.name.clone(),
        id: update.id,
    };
    Ranked { key, item: Found { collector: collector.clone(), update, failed } }
}

/// By status, and by type of what is available; what is not listed, as its server counts it.
fn counts(listing: &Listing<Found>, filter: &Filter, scans: &[Scan]) -> Counts {
    let known = |words: &[&'static str], given: &str| {
        words.iter().find(|word| **word == given && **word != "unknown").copied()
    };
    let mut counts = listing.counts(filter.is_open(), |Found { update, .. }| {
        let status = match update.status.as_str() {
            "unknown" => "unknown",
            status => known(&STATUSES, status).unwrap_or("other"),
        };
        let kind = known(&TYPES, &update.update_type).filter(|_| status == "available");
        [Some(status), kind, update.stale.then_some("stale")].into_iter().flatten().collect()
    });
    if filter.is_open() {
        for word in UNLISTED {
            let count = scans::unlisted(scans, word);
            if count > 0 {
                counts.set(word.to_owned(), count);
            }
        }
    }
    counts
}
