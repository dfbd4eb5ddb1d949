//! `create_maintenance`.

use maintenant_api::Timestamp;
use maintenant_api::status::MaintenanceInput;
use maintenant_serve::clock;
use rmcp::{tool, tool_router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::components::{self, Wanted, names_or_ids};
use super::{link, message, outcome, refused, shown, title};
use crate::arguments::Parameters;
use crate::budget::Json;
use crate::error::ToolError;
use crate::server::Gateway;
use crate::time::{length, show};
use crate::tools::change::{before_a_change, require_extended_edition};
use crate::untrusted::{name, quoted};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateMaintenance {
    /// At most 200 characters.
    title: String,
    /// RFC 3339 with a time zone.
    start_time: String,
    /// After start_time and in the future.
    end_time: String,
    /// What visitors read.
    #[serde(default)]
    message: Option<String>,
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

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct MaintenanceAnswer {
    message: String,
    #[schemars(with = "Map<String, Value>")]
    maintenance: MaintenanceRow,
    link: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    dry_run: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    collector: Option<String>,
}

#[derive(Debug, Serialize)]
struct MaintenanceRow {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<i64>,
    title: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    message: String,
    starts_at: String,
    ends_at: String,
    duration: String,
    components: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<String>,
}

#[tool_router(router = maintenance, vis = "pub(in crate::tools)")]
impl Gateway {
    /// Announces maintenance on the public status page: from start_time to end_time its components are shown as under maintenance; our collector also keeps their alerts quiet. Do it only when asked to; dry_run shows it first. Needs the extended edition.
    #[tool(
        title = "Create maintenance",
        annotations(
            read_only_hint = false,
            destructive_hint = false,
            idempotent_hint = false,
            open_world_hint = true
        )
    )]
    async fn create_maintenance(
        &self,
        Parameters(asked): Parameters<CreateMaintenance>,
    ) -> Result<Json<MaintenanceAnswer>, ToolError> {
        let title = title(&asked.title)?;
        let message = asked.message.as_deref().map(message).transpose()?;
        let now = clock::now();
        let Window { start, end } = window(&asked.start_time, &asked.end_time, now)?;
        let collector = self.collectors().where_to(asked.collector.as_deref())?;
        let components = before_a_change(&collector, async {
            require_extended_edition(&collector).await?;
            components::choose(&collector, &asked.components).await
        })
        .await?;
        let mut row = MaintenanceRow {
            id: None,
            title: name(&title),
            message: message.as_deref().map(shown).unwrap_or_default(),
            starts_at: show(start),
            ends_at: show(end),
            duration: lasting(start, end),
            components: components.names,
            created_at: None,
        };
        let starts = if start <= now {
            "It starts at once.".to_owned()
        } else {
            format!("It starts in {}.", length(start.as_second().saturating_sub(now.as_second())))
        };
        let mut alerts = if components.ids.is_empty() {
            " It names no component, so nothing is kept quiet."
        } else {
            ""
        };
        let is_hidden = components.are_hidden;
        let dry_run = (asked.dry_run == Some(true)).then_some(true);
        let (said, url) = if dry_run.is_some() {
            (outcome("It", "announced", true, is_hidden), None)
        } else {
            let window = MaintenanceInput {
                title: Some(title),
                description: message,
                starts_at: Some(show(start)),
                ends_at: Some(show(end)),
                component_ids: Some(components.ids),
            };
            let created = collector.create_maintenance(&window).await;
            let created = created.map_err(|error| refused(&collector, &error))?;
            // Our collector alone says where it is read, and keeps alerts quiet.
            if created.url.is_none() && alerts.is_empty() {
                alerts = " This server only shows it: alerts are raised as always.";
            }
            row.id = Some(created.id);
            row.starts_at = show(created.starts_at);
            row.ends_at = show(created.ends_at);
            row.duration = lasting(created.starts_at, created.ends_at);
            if !created.components.is_empty() {
                row.components = components::names(&created.components);
            }
            row.created_at = Some(show(created.created_at));
            let what = format!("Maintenance {}", created.id);
            (outcome(&what, "announced", false, is_hidden), created.url)
        };
        Ok(Json(MaintenanceAnswer {
            message: format!("{said} {starts}{alerts}"),
            maintenance: row,
            link: link(&collector, url.as_deref()),
            dry_run,
            collector: self.name_of(&collector),
        }))
    }
}

fn lasting(start: Timestamp, end: Timestamp) -> String {
    length(end.as_second().saturating_sub(start.as_second()))
}

#[derive(Debug)]
struct Window {
    start: Timestamp,
    end: Timestamp,
}

/// A span with a beginning before its end, which is to come. Servers take whole seconds.
fn window(start: &str, end: &str, now: Timestamp) -> Result<Window, ToolError> {
    let read = |argument: &str, given: &str| {
        given.trim().parse::<Timestamp>().map_err(|_| {
            ToolError::bad_argument(
                argument,
                &format!(
                    "{} is not a time; use RFC 3339 with a time zone such as {}",
                    quoted(given),
                    show(now)
                ),
            )
        })
    };
    let (start, end) = (read("start_time", start)?, read("end_time", end)?);
    let fault = if end.as_second() <= start.as_second() {
        format!("{} is not after start_time, {}", show(end), show(start))
    } else if end.as_second() <= now.as_second() {
        format!("{} is over; it is {} now", show(end), show(now))
    } else {
        return Ok(Window { start, end });
    };
    Err(ToolError::bad_argument("end_time", &fault))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(start: &str, end: &str, expected: Result<&str, &str>) {
        let now = "2026-11-20T12:00:00.5Z".parse().unwrap();
        match (window(start, end, now), expected) {
            (Ok(window), Ok(span)) => {
                assert_eq!(format!("{} {}", show(window.start), show(window.end)), span);
            }
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
            (got, expected) => panic!("{start} {end}: {got:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn a_window_ends_after_it_begins_and_in_the_future() {
        let noon = "2026-11-20T12:00:00Z";
        check(
            "2026-11-20T14:00:00+01:00",
            " 2026-11-20T14:00:00.9Z",
            Ok("2026-11-20T13:00:00Z 2026-11-20T14:00:00Z"),
        );
        check(noon, "2026-11-20T12:00:01Z", Ok("2026-11-20T12:00:00Z 2026-11-20T12:00:01Z"));
        check(noon, "2026-11-20T12:00:00.9Z", Err("`end_time`: 2026-11-20T12:00:00Z is not after"));
        check("2026-11-20T13:00:00Z", noon, Err("not after start_time, 2026-11-20T13:00:00Z"));
        check("2026-11-20T10:00:00Z", noon, Err("is over; it is 2026-11-20T12:00:00Z now"));
        for bad in ["", "tomorrow", "2026-11-20", "2026-11-20T12:00:00", "14:00", "2h"] {
            check(bad, noon, Err("`start_time`: "));
            check(noon, bad, Err("with a time zone such as 2026-11-20T12:00:00Z"));
        }
    }
}
