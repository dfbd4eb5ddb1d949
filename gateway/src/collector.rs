//! The REST client of one collector: one method per route.
//!
//! Every call has a deadline, a bound on the answer's size and a place in a bounded queue. What
//! goes wrong is told apart by what the caller can do about it. Credentials of whoever called the
//! gateway never travel on; the gateway has its own token.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures_util::StreamExt;
use http::StatusCode;
use maintenant_api::alerts::{Acknowledgement, AlertQuery, Silence, SilenceList, SilenceQuery};
use maintenant_api::certificates::{CertificateList, ListedCertificate};
use maintenant_api::containers::{
    ContainerDetail, ContainerLogs, LogQuery, TransitionList, TransitionQuery,
};
use maintenant_api::endpoints::{
    CheckList, CheckQuery, EndpointListQuery, EndpointStatistics, StatisticsQuery,
};
use maintenant_api::error::ErrorBody;
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
use maintenant_serve::logging::foreign;
use maintenant_serve::settings::{Secret, is_loopback};
use reqwest::{Certificate, Client, Identity, Method, Response, Url, redirect};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::{OnceCell, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::config::{CollectorSettings, Target};
use crate::listed::{
    AlertPage, EndpointList, FoundEndpoint, List, Listed, ListedAlert, ListedEndpoint,
    StatusComponent,
};
use crate::log_stream;

/// From the call to the last byte, a second attempt included.
const DEADLINE: Duration = Duration::from_secs(10);
/// Logs may take a second call, of a stream; both together end within this.
const LOGS_DEADLINE: Duration = Duration::from_secs(15);
const CONNECT: Duration = Duration::from_secs(3);
/// The server cuts an idle connection at 10 s; ours must be gone before.
const IDLE: Duration = Duration::from_secs(8);
/// A little time for a restarting server between two attempts.
const PAUSE: Duration = Duration::from_millis(100);
const LARGEST_ANSWER: usize = 32 * 1024 * 1024;
const CONCURRENT_CALLS: usize = 64;

/// One collector, known by a name of the operator's choice.
#[derive(Debug)]
pub struct Collector {
    pub name: String,
    base: Url,
    target: Target,
    token: Option<Secret>,
    tls: TlsFiles,
    /// Built at the first call: loading the system's trusted certificates takes longer than the
    /// rest of the start.
    client: OnceCell<Client>,
    calls: Semaphore,
}

#[derive(Debug, Clone)]
struct TlsFiles {
    ca: Option<Arc<[u8]>>,
    identity: Option<Arc<[u8]>>,
}

/// Why a call failed, by what can be done about it.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No connection, or it broke. The cause is for the log.
    #[error("cannot reach the collector: {0}")]
    Unreachable(String),
    #[error("no answer in time")]
    Timeout,
    #[error("the collector refused the token")]
    Unauthorized,
    /// A 404 without the contract's envelope: whatever answers there does not have this route.
    #[error("the server does not have this route")]
    RouteMissing,
    #[error("not found: {code}")]
    NotFound { code: String, message: String },
    #[error("refused with status {status} {code}")]
    Refused { status: u16, code: String, message: String },
    #[error("unreadable answer: {0}")]
    Unreadable(String),
    /// TLS failed: it, or we, are not who the other side trusts. The cause is for the log.
    #[error("no trusted connection: {0}")]
    Untrusted(String),
    #[error("the server cannot tell stdout from stderr")]
    StreamsMixed,
}

impl ClientError {
    /// maintenant 1.2 refuses `/logs` always in this way. Our collector does so only while Docker
    /// is away, and then refuses the stream as well.
    fn may_have_a_stream(&self) -> bool {
        matches!(self, Self::Refused { status: 502, code, .. }
            if code.is_empty() || code == "RUNTIME_UNAVAILABLE")
    }
}

impl Collector {
    /// Reads the TLS files; nothing is connected yet.
    pub fn new(name: String, target: Target, settings: &CollectorSettings) -> anyhow::Result<Self> {
        let read = |path: &std::path::Path| {
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
        };
        let ca = settings.ca_certificate.as_deref().map(read).transpose()?;
        let identity = match &settings.client_certificate {
            None => None,
            Some((certificate, key)) => {
                let mut pem = read(certificate)?;
                pem.push(b'\n');
                pem.extend(read(key)?);
                Some(pem)
            }
        };
        let tls = TlsFiles { ca: ca.map(Into::into), identity: identity.map(Into::into) };
        let base = match &target {
            Target::Http(url) => url.clone(),
            Target::Unix(_) => Url::parse("http://localhost")?,
        };
        let collector = Self {
            name,
            base,
            target,
            token: settings.token.clone(),
            tls,
            client: OnceCell::new(),
            calls: Semaphore::new(CONCURRENT_CALLS),
        };
        if collector.tls.ca.is_some() || collector.tls.identity.is_some() {
            // A certificate that does not parse stops the start, not the first call.
            collector.build_client().context("TLS towards the collector")?;
        }
        Ok(collector)
    }

    /// The token would cross a network readable by all.
    pub fn sends_token_in_the_clear(&self) -> bool {
        let plain = match &self.target {
            Target::Unix(_) => false,
            Target::Http(url) => url.scheme() == "http" && !url.host_str().is_some_and(is_loopback),
        };
        plain && self.token.is_some()
    }

    pub async fn health(&self) -> Result<HealthStatus, ClientError> {
        self.get("health", &()).await
    }

    pub async fn runtime_status(&self) -> Result<RuntimeStatus, ClientError> {
        self.get("runtime/status", &()).await
    }

    pub async fn edition(&self) -> Result<Edition, ClientError> {
        self.get("edition", &()).await
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
    pub async fn logs(&self, id: i64, query: &LogQuery) -> Result<ContainerLogs, ClientError> {
        let end = Instant::now() + LOGS_DEADLINE;
        let refused = match self.get(&format!("containers/{id}/logs"), query).await {
            Err(refused) if refused.may_have_a_stream() => refused,
            other => return other,
        };
        let response = async {
            let place = self.calls.acquire().await;
            let lines = [("lines", query.lines.clone())];
            let stream = format!("containers/{id}/logs/stream");
            let response = self.send(Method::GET, &stream, &lines, None).await;
            (response, place)
        };
        match timeout_at(end, response).await {
            Ok((Ok(response), _place)) if response.status().is_success() => {
                if query.stream.is_some() {
                    // Such servers call every line stdout.
                    return Err(ClientError::StreamsMixed);
                }
                log_stream::read(id, response, query, end).await.ok_or(refused)
            }
            _ => Err(refused),
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
        self.get::<HeartbeatDetail>(&format!("heartbeats/{id}"), &())
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
        self.get(&format!("alerts/{id}"), &()).await
    }

    /// Those in force.
    pub(crate) async fn silences(&self) -> Result<Vec<Silence>, ClientError> {
        let query = SilenceQuery { active: Some("true".to_owned()) };
        self.get::<SilenceList>("silence", &query).await.map(|list| list.rules)
    }

    /// The stream of what happens. Other servers send no head before the first event, so nothing
    /// but the connection has a deadline, and no place in the queue is held.
    pub(crate) async fn events(&self) -> Result<Response, ClientError> {
        let response = self.send(Method::GET, "containers/events", &(), None).await;
        let response = response.map_err(|failure| failure.error)?;
        match response.status() {
            status if status.is_success() => Ok(response),
            status => Err(Failure::answered(status, &[]).error),
        }
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
        self.get::<Option<_>>("status/components", &()).await.map(Option::unwrap_or_default)
    }

    pub async fn incidents(&self, query: &IncidentQuery) -> Result<IncidentList, ClientError> {
        self.get("status/incidents", query).await
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

    /// Where the public reads, as far as it is known here.
    pub fn status_page(&self) -> String {
        let path = format!("{}/status/", self.base.path().trim_end_matches('/'));
        match &self.target {
            Target::Unix(_) => path,
            Target::Http(url) => {
                let mut url = url.clone();
                url.set_path(&path);
                url.to_string()
            }
        }
    }

    async fn get<T: DeserializeOwned>(
        &self,
        route: &str,
        query: &(impl Serialize + Sync),
    ) -> Result<T, ClientError> {
        self.call(Method::GET, route, query, None).await
    }

    async fn post<T: DeserializeOwned>(
        &self,
        route: &str,
        body: Option<Value>,
    ) -> Result<T, ClientError> {
        self.call(Method::POST, route, &(), body.as_ref()).await
    }

    async fn send_body<T: DeserializeOwned>(
        &self,
        route: &str,
        body: &(impl Serialize + Sync),
    ) -> Result<T, ClientError> {
        let body = serde_json::to_value(body)
            .map_err(|error| ClientError::Unreadable(error.to_string()))?;
        self.post(route, Some(body)).await
    }

    /// Reads are tried again when that may help; whatever changes something only when the first
    /// attempt did not leave this process.
    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        route: &str,
        query: &(impl Serialize + Sync),
        body: Option<&Value>,
    ) -> Result<T, ClientError> {
        let started = Instant::now();
        let call = async {
            let _place = self.calls.acquire().await;
            let answer = match self.attempt(method.clone(), route, query, body).await {
                Err(failure) if failure.unsent || (failure.may_pass && method.is_safe()) => {
                    tokio::time::sleep(PAUSE).await;
                    self.attempt(method, route, query, body).await
                }
                other => other,
            };
            answer.map_err(|failure| failure.error)
        };
        let result = tokio::time::timeout(DEADLINE, call)
            .await
            .unwrap_or(Err(ClientError::Timeout))
            .and_then(|body| {
                serde_json::from_slice(&body)
                    .map_err(|error| ClientError::Unreadable(error.to_string()))
            });
        let milliseconds = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        match &result {
            Ok(_) => tracing::debug!(collector = self.name, route, milliseconds, "answered"),
            Err(error) => {
                let error = foreign(&error.to_string());
                tracing::warn!(collector = self.name, route, milliseconds, "{error}");
            }
        }
        result
    }

    async fn attempt(
        &self,
        method: Method,
        route: &str,
        query: &(impl Serialize + Sync),
        body: Option<&Value>,
    ) -> Result<Vec<u8>, Failure> {
        let response = self.send(method, route, query, body).await?;
        let status = response.status();
        let body = bounded_body(response).await?;
        if status.is_success() { Ok(body) } else { Err(Failure::answered(status, &body)) }
    }

    async fn send(
        &self,
        method: Method,
        route: &str,
        query: &(impl Serialize + Sync),
        body: Option<&Value>,
    ) -> Result<Response, Failure> {
        let client =
            self.client.get_or_try_init(async || self.build_client()).await.map_err(|error| {
                Failure::lasting(ClientError::Unreachable(format!("{error:#}")))
            })?;
        let mut url = self.base.clone();
        url.set_path(&format!("{}/api/v1/{route}", self.base.path().trim_end_matches('/')));
        let mut request = client.request(method, url).query(query);
        if let Some(body) = body {
            request = request.json(body);
        }
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose());
        }
        request.send().await.map_err(Failure::sending)
    }

    fn build_client(&self) -> anyhow::Result<Client> {
        let mut builder = Client::builder()
            .no_proxy()
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT)
            .pool_idle_timeout(IDLE)
            .user_agent(concat!("maintenant-gateway/", env!("CARGO_PKG_VERSION")));
        let speaks_tls = self.base.scheme() == "https";
        builder = match &self.tls.ca {
            Some(pem) => {
                let certificates = Certificate::from_pem_bundle(pem)?;
                anyhow::ensure!(!certificates.is_empty(), "no certificate in MAINTENANT_CA_CERT");
                builder.tls_certs_only(certificates)
            }
            None if speaks_tls => builder,
            None => builder.tls_certs_only([]),
        };
        if let Some(pem) = &self.tls.identity {
            builder = builder.identity(Identity::from_pem(pem)?);
        }
        if let Target::Unix(path) = &self.target {
            builder = builder.unix_socket(path.as_path());
        }
        Ok(builder.build()?)
    }
}

/// A failed attempt, and whether another one may do better.
struct Failure {
    error: ClientError,
    may_pass: bool,
    /// There was no connection, so nothing of the request reached anybody.
    unsent: bool,
}

impl Failure {
    fn lasting(error: ClientError) -> Self {
        Self { error, may_pass: false, unsent: false }
    }

    fn sending(error: reqwest::Error) -> Self {
        if error.is_timeout() && !error.is_connect() {
            return Self::lasting(ClientError::Timeout);
        }
        let unsent = error.is_connect();
        let cause = causes(error);
        if is_tls_fault(&cause) {
            return Self::lasting(ClientError::Untrusted(cause));
        }
        Self { error: ClientError::Unreachable(cause), may_pass: true, unsent }
    }

    /// An answer other than success. A gateway error without the contract's envelope comes from a
    /// proxy or a server that is just starting; with it, it is the collector's considered answer.
    fn answered(status: StatusCode, body: &[u8]) -> Self {
        let detail = serde_json::from_slice::<ErrorBody>(body).ok().map(|body| body.error);
        let passing =
            [StatusCode::BAD_GATEWAY, StatusCode::SERVICE_UNAVAILABLE, StatusCode::GATEWAY_TIMEOUT];
        let may_pass = detail.is_none() && passing.contains(&status);
        let error = match (status, detail) {
            (StatusCode::UNAUTHORIZED, _) => ClientError::Unauthorized,
            (StatusCode::NOT_FOUND, None) => ClientError::RouteMissing,
            (StatusCode::NOT_FOUND, Some(detail)) => {
                ClientError::NotFound { code: detail.code, message: detail.message }
            }
            (status, detail) => {
                let (code, message) =
                    detail.map_or_else(Default::default, |detail| (detail.code, detail.message));
                ClientError::Refused { status: status.as_u16(), code, message }
            }
        };
        Self { error, may_pass, unsent: false }
    }
}

async fn bounded_body(response: Response) -> Result<Vec<u8>, Failure> {
    let announced = response.content_length().and_then(|bytes| usize::try_from(bytes).ok());
    let mut body = Vec::with_capacity(announced.unwrap_or_default().min(LARGEST_ANSWER));
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(Failure::sending)?;
        if body.len().saturating_add(chunk.len()) > LARGEST_ANSWER {
            let fault = format!("more than {LARGEST_ANSWER} bytes");
            return Err(Failure::lasting(ClientError::Unreadable(fault)));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// rustls's words; its error lies too deep inside reqwest's to be asked for.
fn is_tls_fault(cause: &str) -> bool {
    ["invalid peer certificate", "received fatal alert", "received corrupt message"]
        .iter()
        .any(|fault| cause.contains(fault))
}

/// An error with its sources, without the URL.
fn causes(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        let _ = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn failure_at(address: std::net::SocketAddr) -> Failure {
        let url = Url::parse(&format!("http://{address}")).unwrap();
        let settings = CollectorSettings::default();
        let collector =
            Collector::new("x".to_owned(), Target::Http(url.clone()), &settings).unwrap();
        collector.attempt(Method::POST, "heartbeats/1/pause", &(), None).await.unwrap_err()
    }

    #[tokio::test]
    async fn what_met_no_connection_was_not_sent_and_what_broke_may_have_been() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let close = async {
            let (stream, _) = listener.accept().await.unwrap();
            drop(stream);
        };
        let (broken, ()) = tokio::join!(failure_at(address), close);
        assert!(broken.may_pass && !broken.unsent, "{}", broken.error);
        drop(listener);
        let refused = failure_at(address).await;
        assert!(refused.may_pass && refused.unsent, "{}", refused.error);
    }
}
