//! `pause_monitor` and `resume_monitor`: the tools that change something.

use std::sync::Arc;

use maintenant_api::heartbeats::{Heartbeat, HeartbeatStatus};
use rmcp::{tool, tool_router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::heartbeats::shown_name;
use crate::arguments::{Parameters, required_whole_number};
use crate::budget::Json;
use crate::collector::{ClientError, Collector};
use crate::error::{ToolError, explain_change};
use crate::server::Gateway;
use crate::time::show;
use crate::untrusted::{quoted, without_ids};

const TYPES: [&str; 1] = ["heartbeat"];

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Named {
    /// Nothing else can be paused.
    #[schemars(extend("enum" = TYPES))]
    monitor_type: String,
    /// Its id in list_heartbeats.
    #[serde(deserialize_with = "required_whole_number")]
    monitor_id: i64,
    /// As list_heartbeats shows it.
    #[serde(default, alias = "source")]
    collector: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Changed {
    message: String,
    name: String,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_deadline: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    collector: Option<String>,
}

#[tool_router(router = monitors, vis = "pub(super)")]
impl Gateway {
    /// Pauses a heartbeat: missed pings raise no alert until resume_monitor. Do it only when asked to.
    #[tool(
        title = "Pause monitor",
        annotations(
            read_only_hint = false,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = false
        )
    )]
    async fn pause_monitor(
        &self,
        Parameters(monitor): Parameters<Named>,
    ) -> Result<Json<Changed>, ToolError> {
        let (collector, before) = self.heartbeat(&monitor).await?;
        let answer = collector.pause_heartbeat(monitor.monitor_id).await;
        let after = answer.map_err(|error| refused(&collector, &error, &before))?;
        let done = match before.status {
            HeartbeatStatus::Paused => "was already paused",
            _ => "paused",
        };
        Ok(Json(self.changed(&collector, &after, done)))
    }

    /// Resumes a paused heartbeat: the next ping is expected within its interval or at its next scheduled time. One that is not paused is refused.
    #[tool(
        title = "Resume monitor",
        annotations(
            read_only_hint = false,
            destructive_hint = false,
            idempotent_hint = false,
            open_world_hint = false
        )
    )]
    async fn resume_monitor(
        &self,
        Parameters(monitor): Parameters<Named>,
    ) -> Result<Json<Changed>, ToolError> {
        let (collector, before) = self.heartbeat(&monitor).await?;
        let answer = collector.resume_heartbeat(monitor.monitor_id).await;
        let after = answer.map_err(|error| refused(&collector, &error, &before))?;
        Ok(Json(self.changed(&collector, &after, "resumed")))
    }
}

impl Gateway {
    /// The heartbeat to be changed, as it is before. Other servers still answer for deleted ones.
    async fn heartbeat(&self, monitor: &Named) -> Result<(Arc<Collector>, Heartbeat), ToolError> {
        let (kind, id) = (monitor.monitor_type.trim().to_lowercase(), monitor.monitor_id);
        if !TYPES.contains(&kind.as_str()) {
            return Err(ToolError::new(format!(
                "`monitor_type` cannot be {}: only a `heartbeat` can be paused and resumed. \
                 Endpoints and certificates are checked as long as they are declared; nothing was \
                 changed.",
                quoted(&kind)
            )));
        }
        let collector = self.collectors().only(monitor.collector.as_deref(), "list_heartbeats")?;
        let unknown = || {
            ToolError::new(format!(
                "There is no heartbeat with id {id} on collector `{}`. list_heartbeats shows all \
                 heartbeats with their ids; nothing was changed.",
                collector.name
            ))
        };
        match collector.heartbeat(id).await {
            Ok(heartbeat) if heartbeat.active => Ok((collector, heartbeat)),
            Ok(_) | Err(ClientError::NotFound { .. }) => Err(unknown()),
            Err(error) => Err(ToolError::from_client(&collector.name, &error)),
        }
    }

    fn changed(&self, collector: &Collector, after: &Heartbeat, done: &str) -> Changed {
        let name = shown_name(after);
        Changed {
            message: format!("Heartbeat '{name}' {done}"),
            name,
            status: after.status.as_str(),
            next_deadline: after.next_deadline_at.map(show),
            collector: self.collectors().several().then(|| collector.name.clone()),
        }
    }
}

/// Why a change was not made, or that nobody knows whether it was.
fn refused(collector: &Collector, error: &ClientError, before: &Heartbeat) -> ToolError {
    let paused = before.status == HeartbeatStatus::Paused;
    let sentence = match error {
        ClientError::Refused { status: 400, code, .. } if code == "INVALID_INPUT" && !paused => {
            format!(
                "Heartbeat '{}' is not paused, its status is {}; there is nothing to resume and \
             nothing was changed.",
                shown_name(before),
                before.status.as_str()
            )
        }
        error => explain_change(&collector.name, error, "list_heartbeats"),
    };
    ToolError::new(without_ids(&sentence))
}
