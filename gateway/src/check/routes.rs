//! Every route that tools read, asked once; routes of one thing for the first that is listed.

use std::collections::BTreeMap;

use maintenant_api::alerts::AlertQuery;
use maintenant_api::containers::{LogQuery, TransitionQuery};
use maintenant_api::endpoints::{CheckQuery, StatisticsQuery};
use maintenant_api::resources::TopQuery;
use maintenant_api::status::IncidentQuery;
use maintenant_api::updates::UpdateListQuery;

use crate::collector::{ClientError, Collector};
use crate::error::explain;

#[derive(Default)]
pub(super) struct Routes {
    pub(super) working: usize,
    pub(super) missing: Vec<&'static str>,
    /// Names by what is said of them.
    pub(super) failing: BTreeMap<String, Vec<&'static str>>,
}

pub(super) async fn ask(collector: &Collector) -> Routes {
    let one = || Some("1".to_owned());
    let alerts = AlertQuery { limit: one(), ..AlertQuery::default() };
    let incidents = IncidentQuery { limit: one(), ..IncidentQuery::default() };
    let top = TopQuery { metric: Some("cpu".to_owned()), limit: one(), period: None };
    let updates = UpdateListQuery::default();
    let (containers, endpoints, heartbeats, alerts) = tokio::join!(
        collector.containers(),
        collector.endpoints(),
        collector.heartbeats(),
        collector.alerts(&alerts),
    );
    let rest = tokio::join!(
        collector.certificates(),
        collector.silences(),
        collector.resource_summary(),
        collector.top_consumers(&top),
        collector.updates(&updates),
        collector.update_summary(),
        collector.status_components(),
        collector.incidents(&incidents),
    );
    let mut routes = Routes::default();
    let mut note = |route, error| routes.note(&collector.name, route, error);
    let container = containers.as_ref().ok().and_then(|list| list.first());
    if let Some(container) = container {
        let (transitions, lines) = (
            TransitionQuery { limit: one(), ..TransitionQuery::default() },
            LogQuery { lines: one(), ..LogQuery::default() },
        );
        let (id, external_id) = (container.id, container.external_id.as_str());
        let (detail, insights, transitions, logs, update) = tokio::join!(
            collector.container(id),
            collector.insights(id),
            collector.transitions(id, &transitions),
            collector.logs(id, &lines),
            collector.update(external_id),
        );
        note("containers/{id}", detail.err());
        note("security/insights/{id}", insights.err());
        note("containers/{id}/transitions", transitions.err());
        // An engine may have no logs of this one container.
        let logs = logs.err().filter(|error| !matches!(error, ClientError::Refused { .. }));
        note("containers/{id}/logs", logs);
        note("updates/container/{id}", update.err());
    }
    if let Some(endpoint) = endpoints.as_ref().ok().and_then(|list| list.first()) {
        let checks = CheckQuery { limit: one(), ..CheckQuery::default() };
        let statistics = StatisticsQuery::default();
        let (detail, checks, statistics) = tokio::join!(
            collector.endpoint(endpoint.id),
            collector.checks(endpoint.id, &checks),
            collector.statistics(endpoint.id, &statistics),
        );
        note("endpoints/{id}", detail.err());
        note("endpoints/{id}/checks", checks.err());
        note("endpoints/{id}/statistics", statistics.err());
    }
    if let Some(heartbeat) = heartbeats.as_ref().ok().and_then(|list| list.first()) {
        note("heartbeats/{id}", collector.heartbeat(heartbeat.id).await.err());
    }
    if let Some(alert) = alerts.as_ref().ok().and_then(|page| page.alerts.first()) {
        note("alerts/{id}", collector.alert(alert.id).await.err());
    }
    note("containers", containers.err());
    note("endpoints", endpoints.err());
    note("heartbeats", heartbeats.err());
    note("alerts", alerts.err());
    note("certificates", rest.0.err());
    note("silence", rest.1.err());
    note("resources/summary", rest.2.err());
    note("resources/top", rest.3.err());
    note("updates", rest.4.err());
    note("updates/summary", rest.5.err());
    note("status/components", rest.6.err());
    note("status/incidents", rest.7.err());
    routes
}

impl Routes {
    fn note(&mut self, collector: &str, route: &'static str, error: Option<ClientError>) {
        match error {
            // Gone in the meantime, nothing in the log, or of another edition: the route is there.
            None
            | Some(
                ClientError::NotFound { .. } | ClientError::NoLine | ClientError::StreamsMixed,
            ) => self.working += 1,
            Some(ClientError::Refused { code, .. }) if code == "PRO_REQUIRED" => self.working += 1,
            Some(ClientError::RouteMissing) => self.missing.push(route),
            Some(error) => {
                self.failing.entry(explain(collector, &error)).or_default().push(route);
            }
        }
    }
}
