//! One method per route. What is read to be shown may be a moment old; what a change is decided by,
//! logs and the health of the collector itself are always asked for anew.

use std::time::Duration;

use maintenant_api::alerts::{Acknowledgement, AlertQuery, Silence, SilenceList, SilenceQuery};
use maintenant_api::certificates::{CertificateList, ListedCertificate};
use maintenant_api::containers::{
    ContainerDetail, ContainerLogs, LogQuery, TransitionList, TransitionQuery,
};
use maintenant_api::endpoints::{
    CheckList, CheckQuery, EndpointListQuery, EndpointStatistics, StatisticsQuery,
};
use maintenant_api::health::{Edition, HealthStatus, RuntimeStatus};
use maintenant_api::heartbeats::{Heartbeat, HeartbeatDetail, HeartbeatList};
use maintenant_api::insights::ContainerInsights;
use maintenant_api::resources::{ResourceSummary, TopConsumers, TopQuery};
use maintenant_api::status::{
    Incident, IncidentInput, IncidentList, IncidentQuery, IncidentUpdate, IncidentUpdateInput,
    Maintenance, MaintenanceInput,
};
use maintenant_api::updates::{UpdateDetail, UpdateList, UpdateListQuery, UpdateSummary};
use maintenant_serve::clock;
use reqwest::Response;
use tokio::time::Instant;

use super::{ClientError, Collector};
use crate::listed::{
    AlertPage, EndpointList, FoundEndpoint, List, Listed, ListedAlert, ListedEndpoint,
    StatusComponent,
};
use crate::log_stream::{self, Logs};

/// Logs may take a second call, of a stream; both together end within this.
const LOGS_DEADLINE: Duration = Duration::from_secs(15);

impl Collector {
    pub async fn health(&self) -> Result<HealthStatus, ClientError> {
        self.get_now("health", &()).await
    }

    pub async fn runtime_status(&self) -> Result<RuntimeStatus, ClientError> {
        self.get_now("runtime/status", &()).await
    }

    pub async fn edition(&self) -> Result<Edition, ClientError> {
        self.get_now("edition", &()).await
    }

    pub async fn containers(&self) -> Result<Vec<Listed>, ClientError> {
        self.get::<List>("containers", &()).await.map(List::containers)
    }

    pub async fn container(&self, id: i64) -> Result<ContainerDetail, ClientError> {
        self.get(&format!("containers/{id}"), &()).await
    }

    /// What is dangerous about its configuration.
    pub async fn insights(&self, id: i64) -> Result<ContainerInsights, ClientError> {
        self.get(&format!("security/insights/{id}"), &()).await
    }

    pub async fn transitions(
        &self,
        id: i64,
        query: &TransitionQuery,
    ) -> Result<TransitionList, ClientError> {
        self.get(&format!("containers/{id}/transitions"), query).await
    }

    /// Servers that read logs only live are asked for the beginning of that stream.
    pub async fn logs(&self, id: i64, query: &LogQuery) -> Result<Logs, ClientError> {
        let end = Instant::now() + LOGS_DEADLINE;
        let answer = self.get_now::<ContainerLogs>(&format!("containers/{id}/logs"), query).await;
        let refused = match answer {
            Err(refused) if refused.may_have_a_stream() => refused,
            other => return other.map(|answer| Logs { answer, read: None }),
        };
        let lines = [("lines", log_stream::lines(query))];
        let stream = self.upstream.address(&format!("containers/{id}/logs/stream"), &lines)?;
        match self.upstream.open(&stream, end.min(Instant::now() + log_stream::FIRST_LINE)).await {
            // Such servers call every line stdout.
            Ok(_) if query.stream.is_some() => Err(ClientError::StreamsMixed),
            Ok(response) => log_stream::read(id, response, query, end).await.ok_or(refused),
            // They send not even the head of the answer before there is a line.
            Err(ClientError::Timeout) => Err(ClientError::NoLine),
            Err(_) => Err(refused),
        }
    }

    /// All endpoints, with the uptime of two windows where the server lists it.
    pub async fn endpoints(&self) -> Result<Vec<ListedEndpoint>, ClientError> {
        let query = EndpointListQuery {
            uptime: Some("24h,30d".to_owned()),
            ..EndpointListQuery::default()
        };
        self.get::<EndpointList>("endpoints", &query).await.map(|list| list.endpoints)
    }

    /// One endpoint, with the uptime of all windows.
    pub async fn endpoint(&self, id: i64) -> Result<ListedEndpoint, ClientError> {
        let found: FoundEndpoint = self.get(&format!("endpoints/{id}"), &()).await?;
        Ok(found.endpoint(clock::now()))
    }

    pub async fn checks(&self, id: i64, query: &CheckQuery) -> Result<CheckList, ClientError> {
        self.get(&format!("endpoints/{id}/checks"), query).await
    }

    pub async fn statistics(
        &self,
        id: i64,
        query: &StatisticsQuery,
    ) -> Result<EndpointStatistics, ClientError> {
        self.get(&format!("endpoints/{id}/statistics"), query).await
    }

    pub async fn heartbeats(&self) -> Result<Vec<Heartbeat>, ClientError> {
        self.get::<HeartbeatList>("heartbeats", &()).await.map(|list| list.heartbeats)
    }

    pub async fn heartbeat(&self, id: i64) -> Result<Heartbeat, ClientError> {
        self.get_now::<HeartbeatDetail>(&format!("heartbeats/{id}"), &())
            .await
            .map(|detail| detail.heartbeat)
    }

    pub async fn pause_heartbeat(&self, id: i64) -> Result<Heartbeat, ClientError> {
        self.post(&format!("heartbeats/{id}/pause"), None).await
    }

    pub async fn resume_heartbeat(&self, id: i64) -> Result<Heartbeat, ClientError> {
        self.post(&format!("heartbeats/{id}/resume"), None).await
    }

    pub async fn certificates(&self) -> Result<Vec<ListedCertificate>, ClientError> {
        self.get::<CertificateList>("certificates", &()).await.map(|list| list.certificates)
    }

    /// Other servers know no filter but source, severity, status, before and limit.
    pub(crate) async fn alerts(&self, query: &AlertQuery) -> Result<AlertPage, ClientError> {
        self.get("alerts", query).await
    }

    pub(crate) async fn alert(&self, id: i64) -> Result<ListedAlert, ClientError> {
        self.get_now(&format!("alerts/{id}"), &()).await
    }

    /// Those in force.
    pub(crate) async fn silences(&self) -> Result<Vec<Silence>, ClientError> {
        let query = SilenceQuery { active: Some("true".to_owned()) };
        self.get::<SilenceList>("silence", &query).await.map(|list| list.rules)
    }

    /// The stream of what happens. Other servers send no head before the first event.
    pub(crate) async fn events(&self) -> Result<Response, ClientError> {
        let address = self.upstream.address("containers/events", &())?;
        self.upstream.follow(&address).await
    }

    pub(crate) async fn acknowledge(
        &self,
        id: i64,
        by: String,
    ) -> Result<ListedAlert, ClientError> {
        let body = Acknowledgement { acknowledged_by: by };
        self.send_body(&format!("alerts/{id}/acknowledge"), &body).await
    }

    pub async fn resource_summary(&self) -> Result<ResourceSummary, ClientError> {
        self.get("resources/summary", &()).await
    }

    pub async fn top_consumers(&self, query: &TopQuery) -> Result<TopConsumers, ClientError> {
        self.get("resources/top", query).await
    }

    pub async fn updates(&self, query: &UpdateListQuery) -> Result<UpdateList, ClientError> {
        self.get("updates", query).await
    }

    pub async fn update_summary(&self) -> Result<UpdateSummary, ClientError> {
        self.get("updates/summary", &()).await
    }

    /// By the id that the engine gave the container.
    pub async fn update(&self, external_id: &str) -> Result<UpdateDetail, ClientError> {
        self.get(&format!("updates/container/{external_id}"), &()).await
    }

    /// Other servers write `null` for none.
    pub(crate) async fn status_components(&self) -> Result<Vec<StatusComponent>, ClientError> {
        self.get_now::<Option<_>>("status/components", &()).await.map(Option::unwrap_or_default)
    }

    pub async fn incidents(&self, query: &IncidentQuery) -> Result<IncidentList, ClientError> {
        self.get_now("status/incidents", query).await
    }

    pub async fn create_incident(&self, incident: &IncidentInput) -> Result<Incident, ClientError> {
        self.send_body("status/incidents", incident).await
    }

    pub async fn update_incident(
        &self,
        id: i64,
        update: &IncidentUpdateInput,
    ) -> Result<IncidentUpdate, ClientError> {
        self.send_body(&format!("status/incidents/{id}/updates"), update).await
    }

    pub async fn create_maintenance(
        &self,
        window: &MaintenanceInput,
    ) -> Result<Maintenance, ClientError> {
        self.send_body("status/maintenance", window).await
    }
}
