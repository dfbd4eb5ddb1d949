//! HTTP towards one collector: attempts, their deadline, and their place in a bounded queue.
//!
//! Credentials of whoever called the gateway never travel on; the gateway has its own token.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use http::HeaderValue;
use maintenant_serve::logging::foreign;
use maintenant_serve::settings::{Secret, is_loopback};
use reqwest::{Client, Method, Response, Url, redirect};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout, timeout_at};

use super::failure::{ClientError, Failure};
use super::settings::{CollectorSettings, Target};
use super::trust::{TlsFiles, Trust};
use crate::calls::metrics::Metrics;
use crate::calls::upstream::RestCall;

/// From the call to the last byte, the wait for a place and a second attempt included.
const DEADLINE: Duration = Duration::from_secs(10);
const CONNECT: Duration = Duration::from_secs(3);
/// The server cuts an idle connection at 10 s; ours must be gone before.
const IDLE: Duration = Duration::from_secs(8);
/// A little time for a restarting server between two attempts.
const PAUSE: Duration = Duration::from_millis(100);
const LARGEST_ANSWER: usize = 32 * 1024 * 1024;

#[derive(Debug)]
pub(super) struct Upstream {
    name: String,
    base: Url,
    target: Target,
    /// It may be replaced while the process runs.
    token: watch::Sender<Option<Secret>>,
    metrics: Metrics,
    /// It may be replaced as well.
    trust: watch::Sender<Arc<Trust>>,
    places: Semaphore,
}

/// What is asked for: a route with its query.
#[derive(Debug, Clone)]
pub(super) struct Address {
    pub(super) url: Url,
    /// For the log.
    route: String,
}

impl Upstream {
    /// Reads the TLS files; nothing is connected yet.
    pub(super) fn new(
        name: String,
        target: Target,
        settings: &CollectorSettings,
    ) -> anyhow::Result<Self> {
        let files = TlsFiles::read(settings)?;
        let base = match &target {
            Target::Http(url) => url.clone(),
            Target::Unix(_) => Url::parse("http://localhost")?,
        };
        Ok(Self {
            name,
            base,
            target,
            token: watch::Sender::new(settings.token.clone()),
            metrics: settings.metrics.clone(),
            trust: watch::Sender::new(Arc::new(Trust::of(files))),
            places: Semaphore::new(settings.load.calls),
        })
    }

    /// Trust and identity of all calls from now on. Connections stay where they did not change.
    pub(super) fn set_tls(&self, files: TlsFiles) {
        self.trust.send_if_modified(|trust| {
            let differs = trust.files != files;
            if differs {
                *trust = Arc::new(Trust::of(files));
            }
            differs
        });
    }

    /// The token of all calls from now on.
    pub(super) fn set_token(&self, token: Option<Secret>) {
        self.token.send_replace(token);
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The token would cross a network readable by all.
    pub(super) fn sends_token_in_the_clear(&self) -> bool {
        let plain = match &self.target {
            Target::Unix(_) => false,
            Target::Http(url) => url.scheme() == "http" && !url.host_str().is_some_and(is_loopback),
        };
        plain && self.token.borrow().is_some()
    }

    /// Whether loopback is the collector's machine and ours alike, as far as it is known here. A name
    /// without a dot is a container's beside us; who reads an answer cannot resolve it.
    pub(super) fn is_at_loopback(&self) -> bool {
        let is_near = |host: &str| is_loopback(host) || !host.contains(['.', ':']);
        matches!(&self.target, Target::Http(url) if url.host_str().is_some_and(is_near))
    }

    /// The address of the public status page, as far as it is known here.
    pub(super) fn status_page(&self) -> String {
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

    pub(super) fn address(
        &self,
        route: &str,
        query: &impl Serialize,
    ) -> Result<Address, ClientError> {
        let query = serde_urlencoded::to_string(query)
            .map_err(|error| ClientError::Unreadable(error.to_string()))?;
        let mut url = self.base.clone();
        url.set_path(&format!("{}/api/v1/{route}", self.base.path().trim_end_matches('/')));
        url.set_query(Some(query.as_str()).filter(|query| !query.is_empty()));
        Ok(Address { url, route: route.to_owned() })
    }

    /// The answer, and how many bytes it was. Reads are tried again when that may help; whatever
    /// changes something only when the first attempt did not leave this process.
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        address: &Address,
        body: Option<&Value>,
    ) -> Result<(T, usize), ClientError> {
        let started = Instant::now();
        let rest = RestCall::begin(&self.metrics, &self.name, &method, &address.route);
        let traced = || rest.traceparent();
        let call = async {
            let _place = self.places.acquire().await;
            let answer = match self.attempt(method.clone(), address, body, traced()).await {
                Err(failure) if failure.unsent || (failure.may_pass && method.is_safe()) => {
                    tokio::time::sleep(PAUSE).await;
                    self.attempt(method, address, body, traced()).await
                }
                other => other,
            };
            answer.map_err(|failure| failure.error)
        };
        let result =
            timeout(DEADLINE, call).await.unwrap_or(Err(ClientError::Timeout)).and_then(|body| {
                match serde_json::from_slice(&body) {
                    Ok(answer) => Ok((answer, body.len())),
                    Err(error) => Err(ClientError::Unreadable(error.to_string())),
                }
            });
        rest.end(&result);
        let route = address.route.as_str();
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

    /// The head of an answer that goes on and on, if it comes until `end`. Reading it holds no
    /// place in the queue: whoever does ends soon.
    pub(super) async fn open(
        &self,
        address: &Address,
        end: Instant,
    ) -> Result<Response, ClientError> {
        let rest = RestCall::begin(&self.metrics, &self.name, &Method::GET, &address.route);
        let response = async {
            let _place = self.places.acquire().await;
            self.head(address, rest.traceparent()).await
        };
        let response = timeout_at(end, response).await.unwrap_or(Err(ClientError::Timeout));
        rest.end(&response);
        response
    }

    /// The head of an answer that has no end and may have no beginning either: nothing but the
    /// connection has a deadline, and no place in the queue is held.
    pub(super) async fn follow(&self, address: &Address) -> Result<Response, ClientError> {
        self.head(address, None).await
    }

    async fn head(
        &self,
        address: &Address,
        traceparent: Option<HeaderValue>,
    ) -> Result<Response, ClientError> {
        let response = self.send(Method::GET, address, None, traceparent).await;
        let response = response.map_err(|failure| failure.error)?;
        match response.status() {
            status if status.is_success() => Ok(response),
            status => Err(Failure::answered(status, b"").error),
        }
    }

    async fn attempt(
        &self,
        method: Method,
        address: &Address,
        body: Option<&Value>,
        traceparent: Option<HeaderValue>,
    ) -> Result<Vec<u8>, Failure> {
        let response = self.send(method, address, body, traceparent).await?;
        let status = response.status();
        let body = bounded_body(response).await?;
        if status.is_success() { Ok(body) } else { Err(Failure::answered(status, &body)) }
    }

    async fn send(
        &self,
        method: Method,
        address: &Address,
        body: Option<&Value>,
        traceparent: Option<HeaderValue>,
    ) -> Result<Response, Failure> {
        let trust = self.trust.borrow().clone();
        let build = async || self.build_client(&trust.files);
        let client =
            trust.client.get_or_try_init(build).await.map_err(|error| {
                Failure::lasting(ClientError::Unreachable(format!("{error:#}")))
            })?;
        let mut request = client.request(method, address.url.clone());
        if let Some(body) = body {
            request = request.json(body);
        }
        if let Some(token) = &*self.token.borrow() {
            request = request.bearer_auth(token.expose());
        }
        if let Some(traceparent) = traceparent {
            request = request.header("traceparent", traceparent);
        }
        request.send().await.map_err(Failure::sending)
    }

    fn build_client(&self, files: &TlsFiles) -> anyhow::Result<Client> {
        let builder = Client::builder()
            .no_proxy()
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT)
            .pool_idle_timeout(IDLE)
            .user_agent(concat!("maintenant-gateway/", env!("CARGO_PKG_VERSION")));
        let mut builder = files.applied(builder, self.base.scheme() == "https")?;
        if let Target::Unix(path) = &self.target {
            builder = builder.unix_socket(path.as_path());
        }
        Ok(builder.build()?)
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

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    async fn failure_at(address: std::net::SocketAddr) -> Failure {
        let url = Url::parse(&format!("http://{address}")).unwrap();
        let settings = CollectorSettings::default();
        let upstream = Upstream::new("x".to_owned(), Target::Http(url), &settings).unwrap();
        let address = upstream.address("heartbeats/1/pause", &()).unwrap();
        upstream.attempt(Method::POST, &address, None, None).await.unwrap_err()
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
        // Nobody listens at a port that is only taken.
        let taken = TcpSocket::new_v4().unwrap();
        taken.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let refused = failure_at(taken.local_addr().unwrap()).await;
        assert!(refused.may_pass && refused.unsent, "{}", refused.error);
    }

    #[test]
    fn equal_questions_have_equal_addresses() {
        let target = Target::Http(Url::parse("http://x.example/base/").unwrap());
        let settings = CollectorSettings::default();
        let upstream = Upstream::new("x".to_owned(), target, &settings).unwrap();
        let check = |route: &str, query: &[(&str, &str)], expected: &str| {
            assert_eq!(upstream.address(route, &query).unwrap().url.as_str(), expected);
        };
        check("containers", &[], "http://x.example/base/api/v1/containers");
        check("alerts", &[("a", "1 &")], "http://x.example/base/api/v1/alerts?a=1+%26");
    }
}
