//! `create_incident` and `update_incident`.

use maintenant_api::status::{
    Incident, IncidentInput, IncidentQuery, IncidentSeverity, IncidentStatus, IncidentUpdateInput,
};
use rmcp::{tool, tool_router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::components::{self, names_or_ids};
use super::{
    DRY_RUN, before_a_change, link, message, refused, require_extended_edition, shown, title,
};
use crate::arguments::{Parameters, required_whole_number};
use crate::budget::Json;
use crate::collector::Collector;
use crate::error::ToolError;
use crate::server::Gateway;
use crate::time::show;
use crate::tools::paging::word;
use crate::untrusted::{name, quoted};

const STATUSES: [&str; 4] = ["investigating", "identified", "monitoring", "resolved"];
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
    components: Vec<String>,
    /// Check and show it only.
    #[serde(default)]
    dry_run: Option<bool>,
    /// Whose status page.
    #[serde(default)]
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
    #[serde(default)]
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
        let dry_run = (asked.dry_run == Some(true)).then_some(true);
        let (said, url) = if dry_run.is_some() {
            (format!("{DRY_RUN} published."), None)
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
            row.id = Some(created.id);
            row.created_at = Some(show(created.created_at));
            (format!("Incident {} is published.", created.id), created.url)
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
        let before = before_a_change(&collector, async {
            require_extended_edition(&collector).await?;
            find(&collector, id).await
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
            components: before.components.iter().map(|one| name(&one.name)).collect(),
            created_at: None,
        };
        let (from, to) = (before.status.as_str(), status.as_str());
        let change = if from == to {
            format!("Incident {id} stays {to}")
        } else {
            format!("Incident {id} goes from {from} to {to}")
        };
        let dry_run = (asked.dry_run == Some(true)).then_some(true);
        let said = if dry_run.is_some() {
            format!("{DRY_RUN} added. {change}.")
        } else {
            let update = IncidentUpdateInput {
                status: Some(status.as_str().to_owned()),
                message: Some(message),
            };
            let created = collector.update_incident(id, &update).await;
            let created = created.map_err(|error| refused(&collector, &error))?;
            row.update_id = Some(created.id);
            row.created_at = Some(show(created.created_at));
            format!("The update is published. {change}.")
        };
        Ok(Json(IncidentAnswer {
            message: said,
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

/// The incident to be changed, as it is before; no route answers for a single one.
async fn find(collector: &Collector, id: i64) -> Result<Incident, ToolError> {
    let mut read: Vec<Incident> = Vec::new();
    for page in 0..PAGES {
        let query = IncidentQuery {
            limit: Some(PAGE.to_string()),
            offset: (page > 0).then(|| (page.saturating_mul(PAGE)).to_string()),
            ..IncidentQuery::default()
        };
        let list = collector.incidents(&query).await;
        let list = list.map_err(|error| ToolError::from_client(&collector.name, &error))?;
        let count = list.incidents.len();
        for incident in list.incidents {
            if incident.id == id {
                return Ok(incident);
            }
            read.push(incident);
        }
        if count < PAGE {
            break;
        }
    }
    Err(unknown(collector, id, &read))
}

/// No tool lists incidents, so the sentence names those that are not over.
fn unknown(collector: &Collector, id: i64, known: &[Incident]) -> ToolError {
    let open = known.iter().filter(|incident| incident.status != IncidentStatus::Resolved);
    let count = open.clone().count();
    let mut open: Vec<String> = open
        .take(NAMED)
        .map(|incident| {
            let (id, status) = (incident.id, incident.status.as_str());
            format!("{id} {} ({status})", quoted(&incident.title))
        })
        .collect();
    if count > open.len() {
        open.push(format!("{} more", count.saturating_sub(open.len())));
    }
    let open = match open.as_slice() {
        [] => "No incident is open".to_owned(),
        open => format!("Open are: {}", open.join(", ")),
    };
    ToolError::new(format!(
        "There is no incident with id {id} on the status page of collector `{}`. {open}; nothing \
         was changed.",
        collector.name
    ))
}
