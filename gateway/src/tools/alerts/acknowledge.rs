//! `acknowledge_alert`.

use maintenant_api::alerts::AlertStatus;
use maintenant_serve::clock;
use rmcp::service::RequestContext;
use rmcp::{RoleServer, tool, tool_router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::read::Told;
use super::row::{AlertRow, acknowledged_by, entity, row, shown_name};
use crate::arguments::{Parameters, required_whole_number};
use crate::budget::Json;
use crate::caller::{Caller, Scope};
use crate::collector::{ClientError, Collector};
use crate::error::{ToolError, explain_change};
use crate::listed::ListedAlert;
use crate::server::Gateway;
use crate::time::show;
use crate::tools::change::{before_a_change, require_extended_edition};
use crate::untrusted::{quoted, text};

const LENGTH_OF_A_CLIENT: usize = 64;
const LENGTH_OF_A_PERSON: usize = 254;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Named {
    /// Its id in list_alerts.
    #[serde(deserialize_with = "required_whole_number")]
    alert_id: i64,
    /// As list_alerts shows it.
    #[serde(default, alias = "source")]
    collector: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Acknowledged {
    message: String,
    /// As in list_alerts.
    #[schemars(with = "Map<String, Value>")]
    alert: AlertRow,
}

#[tool_router(router = acknowledging, vis = "pub(super)")]
impl Gateway {
    /// Acknowledges an active alert: others see that somebody knows of it and who; it stays active until its cause ends. Do it only when asked to. Needs the extended edition.
    #[tool(
        title = "Acknowledge alert",
        annotations(
            read_only_hint = false,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = false
        )
    )]
    async fn acknowledge_alert(
        &self,
        Parameters(Named { alert_id: id, collector }): Parameters<Named>,
        context: RequestContext<RoleServer>,
    ) -> Result<Json<Acknowledged>, ToolError> {
        let collector = self.collectors().only(collector.as_deref(), "list_alerts")?;
        let before = before_a_change(&collector, async {
            let (edition, before) =
                tokio::join!(require_extended_edition(&collector), collector.alert(id));
            edition?;
            before.map_err(|error| not_found(&collector.name, id, &error))
        })
        .await?;
        let by = caller(&context);
        match collector.acknowledge(id, by.clone()).await {
            Ok(alert) => {
                let alert = Told::new(alert);
                let logs = Caller::of(&context).is_none_or(|caller| caller.may(Scope::LogsRead));
                let several = self.collectors().several().then(|| collector.name.clone());
                Ok(Json(Acknowledged {
                    message: format!("Alert {id} acknowledged by {}", quoted(&by)),
                    alert: row(&alert, clock::now(), several, logs),
                }))
            }
            Err(ClientError::Refused { status: 409, .. }) => {
                let alert = collector.alert(id).await.unwrap_or(before);
                Err(conflict(&collector, &alert))
            }
            Err(error) => {
                Err(ToolError::new(explain_change(&collector.name, &error, "list_alerts")))
            }
        }
    }
}

/// Who acknowledges: whoever was proven to call, else the client, as it names itself. Only what
/// nobody has proven begins with `mcp`, so that no client can pass for a person. Without a session, clients before
/// 2026-07-28 do so only in `initialize`, which is forgotten by then.
fn caller(context: &RequestContext<RoleServer>) -> String {
    if let Some(name) = Caller::of(context).and_then(Caller::name) {
        return text(name, LENGTH_OF_A_PERSON);
    }
    let has_session = context.extensions.get::<http::request::Parts>().is_none();
    let session = has_session.then(|| context.client_info()).flatten();
    let client = context.meta.client_info().or(session);
    let client = client.map(|client| text(client.name.trim(), LENGTH_OF_A_CLIENT));
    match client.as_deref() {
        None | Some("") => "mcp".to_owned(),
        Some(client) => format!("mcp:{client}"),
    }
}

/// maintenant 1 answers with a fault of its own for alerts it does not have.
fn not_found(name: &str, id: i64, error: &ClientError) -> ToolError {
    let next = "list_alerts shows the alerts that are active with their ids; nothing was changed.";
    match error {
        ClientError::NotFound { .. } => {
            ToolError::new(format!("There is no alert with id {id} on collector `{name}`. {next}"))
        }
        ClientError::Refused { status: 500, .. } => ToolError::new(format!(
            "There is no alert with id {id} on collector `{name}`, or it cannot be read: the \
             answer was status 500, which says no more. {next}"
        )),
        error => ToolError::from_client(name, error),
    }
}

/// Why an alert could not be acknowledged, which only the alert itself tells.
fn conflict(collector: &Collector, alert: &ListedAlert) -> ToolError {
    let called = Some(shown_name(alert)).filter(|called| !called.is_empty());
    let called = quoted(&called.unwrap_or_else(|| entity(alert)));
    let alert_of = format!("Alert {} ({called}) on collector `{}`", alert.id, collector.name);
    let at = |at: Option<maintenant_api::Timestamp>| {
        at.map_or(String::new(), |at| format!(" at {}", show(at)))
    };
    let why = match (acknowledged_by(alert), alert.status) {
        _ if alert.is_recovery() => "only tells that another one ended".to_owned(),
        (_, AlertStatus::Resolved) => format!("is over: it ended{}", at(alert.resolved_at)),
        (Some(by), _) => {
            format!("was already acknowledged by {}{}", quoted(&by), at(alert.acknowledged_at))
        }
        (None, AlertStatus::Silenced) => {
            "is silenced, so nobody is told of it and there is nothing to acknowledge".to_owned()
        }
        (None, _) => "cannot be acknowledged as it is now".to_owned(),
    };
    ToolError::new(format!(
        "{alert_of} {why}; nothing was changed. list_alerts shows what is active."
    ))
}
