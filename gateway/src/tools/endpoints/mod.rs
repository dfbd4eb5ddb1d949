//! Endpoints: which are down and since when, and what happened to one.

mod history;
mod list;
mod statistics;

use std::sync::Arc;

use maintenant_api::endpoints::{EndpointStatus, FailureCause};
use maintenant_api::monitors::AlertState;
use rmcp::handler::server::tool::ToolRouter;

use crate::collector::{ClientError, Collector};
use crate::collectors::{Answers, ask, names_of};
use crate::error::ToolError;
use crate::listed::ListedEndpoint;
use crate::server::Gateway;
use crate::untrusted::{self, name_or_address};

const LENGTH_OF_AN_ERROR: usize = 200;

impl Gateway {
    pub(in crate::tools) fn endpoints() -> ToolRouter<Self> {
        Self::list_of_endpoints() + Self::history_of_an_endpoint()
    }

    /// Who has the endpoint of this id, and what it says of it. Other servers answer questions
    /// about endpoints that do not exist with empty lists, so this comes first. The text names the
    /// collectors that could not be asked.
    async fn endpoint(
        &self,
        id: i64,
        collector: Option<&str>,
    ) -> Result<(Arc<Collector>, ListedEndpoint, String), ToolError> {
        let collectors = self.collectors().choose(collector)?;
        let answers = ask(collectors, |collector| async move {
            match collector.endpoint(id).await {
                Ok(endpoint) => Ok(Some(endpoint)),
                Err(ClientError::NotFound { .. }) => Ok(None),
                Err(error) => Err(error),
            }
        })
        .await;
        let silent = silent(&answers);
        let mut found = answers
            .successes()?
            .into_iter()
            .filter_map(|(collector, endpoint)| Some((collector, endpoint?)));
        match (found.next(), found.next()) {
            (Some((collector, endpoint)), None) => Ok((collector, endpoint, silent)),
            (Some(_), Some(_)) => Err(ToolError::new(format!(
                "Several collectors have an endpoint with id {id}; repeat the call with \
                 `collector`, as list_endpoints shows it."
            ))),
            (None, _) => Err(ToolError::new(format!(
                "There is no endpoint with id {id}.{silent} list_endpoints shows all endpoints \
                 with their ids."
            ))),
        }
    }
}

fn silent<T>(answers: &Answers<T>) -> String {
    let failed = answers.0.iter().filter(|(_, answer)| answer.is_err());
    let names: Vec<String> = failed.map(|(collector, _)| collector.name.clone()).collect();
    if names.is_empty() {
        return String::new();
    }
    format!(" Not asked, because they do not answer: {}.", names_of(&names))
}

/// How much an endpoint needs attention; 0 most.
fn rank(endpoint: &ListedEndpoint) -> u8 {
    match (endpoint.status, endpoint.alert_state) {
        (EndpointStatus::Down, AlertState::Alerting) => 0,
        (EndpointStatus::Down, AlertState::Normal) => 1,
        (EndpointStatus::Unknown, _) => 2,
        (EndpointStatus::Up, AlertState::Alerting) => 3,
        (EndpointStatus::Up, AlertState::Normal) => 4,
    }
}

/// What it is called, or the container that declares it, or its address.
fn name_of(endpoint: &ListedEndpoint) -> String {
    let names = [&endpoint.name, &endpoint.container_name];
    match names.into_iter().find(|name| !name.is_empty()) {
        Some(given) => name_or_address(given),
        None => untrusted::address(&endpoint.target),
    }
}

/// Why a check failed, in the words of the server, without the secrets of the address checked.
fn words_of(error: Option<&str>, target: &str) -> Option<String> {
    let error = error.filter(|error| !error.is_empty())?;
    let error = if target.is_empty() {
        error.to_owned()
    } else {
        error.replace(target, &untrusted::address(target))
    };
    Some(untrusted::message(&error, LENGTH_OF_AN_ERROR))
}

/// Other servers send no cause; an answer that came and was no success had the wrong status.
fn cause_of(cause: Option<FailureCause>, http_status: Option<i64>) -> FailureCause {
    match (cause, http_status) {
        (Some(cause), _) => cause,
        (None, Some(_)) => FailureCause::Status,
        (None, None) => FailureCause::Other,
    }
}

/// Why it is down, if it is.
fn failure_of(endpoint: &ListedEndpoint) -> (Option<&'static str>, Option<String>) {
    if endpoint.status == EndpointStatus::Up {
        return (None, None);
    }
    let error = words_of(endpoint.last_error.as_deref(), &endpoint.target);
    (endpoint.last_cause.map(FailureCause::as_str), error)
}
