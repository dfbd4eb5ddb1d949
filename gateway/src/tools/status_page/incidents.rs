//! `create_incident` and `update_incident`.

use std::collections::BTreeMap;

use maintenant_api::status::{
    Incident, IncidentInput, IncidentQuery, IncidentSeverity, IncidentStatus, IncidentUpdateInput,
};
use rmcp::{tool, tool_router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::components::{self, Wanted, names_or_ids};
use super::{link, message, outcome, refused, shown, title};
use crate::arguments::{Parameters, required_whole_number};
use crate::budget::Json;
use crate::collector::Collector;
use crate::error::ToolError;
use crate::server::Gateway;
use crate::time::show;
use crate::tools::change::{before_a_change, require_extended_edition};
use crate::tools::paging::word;
use crate::untrusted::{name, quoted};

const STATUSES: [&str; 4] = ["investigating", "identified", "monitoring", "resolved"];
const OPEN: [IncidentStatus; 3] =
    [IncidentStatus::Investigating, IncidentStatus::Identified, IncidentStatus::Monitoring];
const SEVERITIES: [&str; 3] = ["minor", "major", "critical"];
/// Incidents a server lists at once, and how many lists are read to find one.
const PAGE: usize = 100;
const PAGES: usize = 5;
/// Incidents named in one sentence.
const NAMED: usize = 10;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateIncident {
    /// At most 200 characters.
    title: String,
    /// How far it is understood.
    #[schemars(extend("enum" = STATUSES))]
    status: String,
    /// What visitors read.
    message: String,
    /// Default minor.
    #[serde(default)]
    #[schemars(extend("enum" = SEVERITIES))]
    severity: Option<String>,
    /// Names or ids of those it affects.
    #[serde(default, deserialize_with = "names_or_ids")]
    #[schemars(with = "Vec<String>")]
    components: Vec<Wanted>,
    /// Check and show it only.
    #[serde(default)]
    dry_run: Option<bool>,
    /// Whose status page.
    #[serde(default, alias = "source")]
    collector: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpdateIncident {
    /// As create_incident tells it.
    #[serde(deserialize_with = "required_whole_number")]
    incident_id: i64,
    /// Its new status.
    #[schemars(extend("enum" = STATUSES))]
    status: String,
    /// What visitors read.
    message: String,
    /// Check and show it only.
    #[serde(default)]
    dry_run: Option<bool>,
    /// Whose status page.
    #[serde(default, alias = "source")]
    collector: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct IncidentAnswer {
    message: String,
    #[schemars(with = "Map<String, Value>")]
    incident: IncidentRow,
    link: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    dry_run: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    collector: Option<String>,
}

/// As it is on the page now, or would be.
#[derive(Debug, Serialize)]
struct IncidentRow {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<i64>,
    title: String,
    severity: &'static str,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_status: Option<&'static str>,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    update_id: Option<i64>,
    components: Vec<String>,
    /// Of the incident, or of the update to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<String>,
}

#[tool_router(router = incidents, vis = "pub(in crate::tools)")]
impl Gateway {
    /// Publishes an incident on the public status page; subscribers are told. Do it only when asked to; dry_run shows it first. Needs the extended edition.
    #[tool(
        title = "Create incident",
        annotations(
            read_only_hint = false,
            destructive_hint = false,
            idempotent_hint = false,
            open_world_hint = true
        )
    )]
    async fn create_incident(
        &self,
        Parameters(asked): Parameters<CreateIncident>,
    ) -> Result<Json<IncidentAnswer>, ToolError> {
        let title = title(&asked.title)?;
        let message = message(&asked.message)?;
        let status = status(&asked.status)?;
        let severity = asked.severity.as_deref();
        let severity = word("severity", severity, IncidentSeverity::parse, &SEVERITIES)?;
        let severity = severity.unwrap_or_default();
        let collector = self.collectors().where_to(asked.collector.as_deref())?;
        let components = before_a_change(&collector, async {
            require_extended_edition(&collector).await?;
            components::choose(&collector, &asked.components).await
        })
        .await?;
        let mut row = IncidentRow {
            id: None,
            title: name(&title),
            severity: severity.as_str(),
            status: status.as_str(),
            previous_status: None,
            message: shown(&message),
            update_id: None,
            components: components.names,
            created_at: None,
        };
        let is_hidden = components.are_hidden;
        let dry_run = (asked.dry_run == Some(true)).then_some(true);
        let (said, url) = if dry_run.is_some() {
            (outcome("It", "published", true, is_hidden), None)
        } else {
            let incident = IncidentInput {
                title: Some(title),
                severity: Some(severity.as_str().to_owned()),
                status: Some(status.as_str().to_owned()),
                component_ids: Some(components.ids),
                message: Some(message),
            };
            let created = collector.create_incident(&incident).await;
            let created = created.map_err(|error| refused(&collector, &error))?;
            let what = format!("Incident {}", created.id);
            let mut said = outcome(&what, "published", false, is_hidden);
            if created.status == IncidentStatus::Resolved && created.resolved_at.is_none() {
                said.push_str(
                    " The server does not count it as ended: send update_incident with `resolved`.",
                );
            }
            row.id = Some(created.id);
            row.severity = created.severity.as_str();
            row.status = created.status.as_str();
            if !created.components.is_empty() {
                row.components = components::names(&created.components);
            }
            row.created_at = Some(show(created.created_at));
            (said, created.url)
        };
        Ok(Json(IncidentAnswer {
            message: said,
            incident: row,
            link: link(&collector, url.as_deref()),
            dry_run,
            collector: self.name_of(&collector),
        }))
    }

    /// Adds an update to an incident of the public status page and sets its status; `resolved` ends it. Do it only when asked to. Needs the extended edition.
    #[tool(
        title = "Update incident",
        annotations(
            read_only_hint = false,
            destructive_hint = false,
            idempotent_hint = false,
            open_world_hint = true
        )
    )]
    async fn update_incident(
        &self,
        Parameters(asked): Parameters<UpdateIncident>,
    ) -> Result<Json<IncidentAnswer>, ToolError> {
        let message = message(&asked.message)?;
        let (id, status) = (asked.incident_id, status(&asked.status)?);
        let collector = self.collectors().where_to(asked.collector.as_deref())?;
        let (before, is_hidden) = before_a_change(&collector, async {
            require_extended_edition(&collector).await?;
            let before = find(&collector, id).await?;
            let ids: Vec<i64> = before.components.iter().map(|one| one.id).collect();
            let is_hidden = components::are_hidden(&collector, &ids).await?;
            Ok((before, is_hidden))
        })
        .await?;
        let mut row = IncidentRow {
            id: Some(id),
            title: name(&before.title),
            severity: before.severity.as_str(),
            status: status.as_str(),
            previous_status: Some(before.status.as_str()),
            message: shown(&message),
            update_id: None,
            components: components::names(&before.components),
            created_at: None,
        };
        let (from, to) = (before.status.as_str(), status.as_str());
        let change = if from == to {
            format!("Incident {id} stays {to}.")
        } else {
            format!("Incident {id} goes from {from} to {to}.")
        };
        let window = of_its_window(&before, status);
        let dry_run = (asked.dry_run == Some(true)).then_some(true);
        if dry_run.is_none() {
            let update = IncidentUpdateInput {
                status: Some(status.as_str().to_owned()),
                message: Some(message),
            };
            let created = collector.update_incident(id, &update).await;
            let created = created.map_err(|error| refused(&collector, &error))?;
            row.status = created.status.as_str();
            row.update_id = Some(created.id);
            row.created_at = Some(show(created.created_at));
        }
        let said = outcome("The update", "published", dry_run.is_some(), is_hidden);
        Ok(Json(IncidentAnswer {
            message: format!("{said} {change}{window}"),
            incident: row,
            link: link(&collector, before.url.as_deref()),
            dry_run,
            collector: self.name_of(&collector),
        }))
    }
}

fn status(given: &str) -> Result<IncidentStatus, ToolError> {
    let status = word("status", Some(given), IncidentStatus::parse, &STATUSES)?;
    Ok(status.unwrap_or_default())
}

/// What the end of an incident does to the maintenance it tells of. Our collector ends that too; it
/// is the one that says where the incident is read.
fn of_its_window(before: &Incident, status: IncidentStatus) -> &'static str {
    let ends = status == IncidentStatus::Resolved && before.status != status;
    match (before.is_maintenance && ends, &before.url) {
        (false, _) => "",
        (true, Some(_)) => " It tells of a maintenance window, which ends with it.",
        (true, None) => " It tells of a maintenance window, which goes on until its end.",
    }
}

/// The incident to be changed, as it is before; no route answers for a single one.
async fn find(collector: &Collector, id: i64) -> Result<Incident, ToolError> {
    let mut search = Search { collector, id, read: BTreeMap::new(), total: 0, count: 0, newest: 0 };
    for page in 0..PAGES {
        if let Some(found) = search.read(None, page).await? {
            return Ok(found);
        }
        if search.count < PAGE {
            break;
        }
    }
    search.newest = search.read.len();
    if search.left() > 0 {
        for status in OPEN {
            if let Some(found) = search.read(Some(status), 0).await? {
                return Ok(found);
            }
        }
    }
    // One that changed meanwhile went from a page not yet read to the first.
    match search.read(None, 0).await? {
        Some(found) => Ok(found),
        None => Err(search.unknown()),
    }
}

/// What was read in search of an incident.
struct Search<'a> {
    collector: &'a Collector,
    id: i64,
    /// By id.
    read: BTreeMap<i64, Incident>,
    /// How many there are.
    total: i64,
    /// In the last list.
    count: usize,
    /// Read of all, what changed last first.
    newest: usize,
}

impl Search<'_> {
    /// Reads one list, what changed last first; the incident, if it is in it.
    async fn read(
        &mut self,
        status: Option<IncidentStatus>,
        page: usize,
    ) -> Result<Option<Incident>, ToolError> {
        let query = IncidentQuery {
            status: status.map(|status| status.as_str().to_owned()),
            limit: Some(PAGE.to_string()),
            offset: (page > 0).then(|| (page.saturating_mul(PAGE)).to_string()),
            ..IncidentQuery::default()
        };
        let list = self.collector.incidents(&query).await;
        let list = list.map_err(|error| ToolError::from_client(&self.collector.name, &error))?;
        if status.is_none() {
            self.total = list.total;
        }
        self.count = list.incidents.len();
        self.read.extend(list.incidents.into_iter().map(|incident| (incident.id, incident)));
        Ok(self.read.remove(&self.id))
    }

    /// How many were not read.
    fn left(&self) -> usize {
        usize::try_from(self.total).unwrap_or_default().saturating_sub(self.read.len())
    }

    /// No tool lists incidents, so the sentence names those that are not over.
    fn unknown(&self) -> ToolError {
        let (id, collector) = (self.id, &self.collector.name);
        let fault = if self.left() > 0 {
            format!(
                "Incident {id} on the status page of collector `{collector}` is not open, and not \
                 among the {} that changed last (of {}).",
                self.newest, self.total
            )
        } else {
            format!(
                "There is no incident with id {id} on the status page of collector `{collector}`."
            )
        };
        let open = open_ones(self.read.values().rev());
        ToolError::new(format!("{fault} {open}; nothing was changed."))
    }
}

/// The newest of those that are not over, in words.
fn open_ones<'a>(known: impl Iterator<Item = &'a Incident>) -> String {
    let open: Vec<_> =
        known.filter(|incident| incident.status != IncidentStatus::Resolved).collect();
    let count = open.len();
    let mut open: Vec<String> = open
        .into_iter()
        .take(NAMED)
        .map(|incident| {
            let (id, status) = (incident.id, incident.status.as_str());
            format!("{id} {} ({status})", quoted(&incident.title))
        })
        .collect();
    if count > open.len() {
        open.push(format!("{} more", count.saturating_sub(open.len())));
    }
    match open.as_slice() {
        [] => "No incident is open".to_owned(),
        open => format!("Open are: {}", open.join(", ")),
    }
}
