//! The Docker Engine, and everything this program asks of it.
//!
//! | call                         | for                                                    |
//! |------------------------------|--------------------------------------------------------|
//! | `GET /version`               | the API version both sides speak                       |
//! | `GET /_ping`                 | liveness: a hung engine keeps its streams open         |
//! | `GET /events`                | changes as they happen; without it, frequent listing   |
//! | `GET /containers/json`       | which containers exist                                 |
//! | `GET /containers/{id}/json`  | exit code, health, restarts; without it, what lists say |
//! | `GET /containers/{id}/logs`  | logs, and the last lines before an end                 |
//! | `GET /containers/{id}/stats` | what it uses, where its control group cannot be read   |
//! | `GET /images/{id}/json`      | what registries call the image that runs               |
//!
//! All are reads, so the program works behind a proxy that lets exactly these pass.
//!
//! bollard carries the connection (unix socket, TCP, TLS) and negotiates the version. Answers are
//! decoded here, leniently: bollard's models refuse a whole list for one word that they do not
//! know, as other engines of this API send it.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bollard::API_DEFAULT_VERSION;
use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt};
use jiff::Timestamp;
use maintenant_api::containers::Health;
use maintenant_api::wire::null_as_default;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::socket;

pub const DEFAULT_HOST: &str = "unix:///var/run/docker.sock";

/// An engine that does not answer a ping within this time counts as hung.
pub const PING_DEADLINE: Duration = Duration::from_secs(3);
const CALL_DEADLINE: Duration = Duration::from_secs(10);
/// One wedged container must not hold up the others for long.
const INSPECT_DEADLINE: Duration = Duration::from_secs(5);
/// Engines up to 20.10 wait for their collector's next round, one or two seconds.
pub const STATS_DEADLINE: Duration = Duration::from_secs(5);
/// Largest answer that is not a stream; 5,000 containers list in about 10 MB.
const ANSWER_BYTES: usize = 64 << 20;
/// Largest line of the event stream.
const EVENT_BYTES: usize = 1 << 20;

/// Where the engine is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    Unix(String),
    Tcp(String),
    /// Client certificates and CA are `cert.pem`, `key.pem` and `ca.pem` in the folder.
    Tls(String, PathBuf),
}

impl Host {
    /// Reads `DOCKER_HOST` as Docker's own client does.
    pub fn parse(text: &str, tls: bool, cert_path: Option<&Path>) -> Result<Self, String> {
        let fault = || {
            format!("`{text}` is no engine; use unix:///path, tcp://host:port or https://host:port")
        };
        let (scheme, rest) = text.split_once("://").ok_or_else(fault)?;
        if rest.is_empty() {
            return Err(fault());
        }
        match scheme {
            "unix" => Ok(Self::Unix(rest.to_owned())),
            "tcp" | "http" if !tls => Ok(Self::Tcp(rest.to_owned())),
            "tcp" | "https" => match cert_path {
                Some(folder) => Ok(Self::Tls(rest.to_owned(), folder.to_owned())),
                None => Err("TLS needs DOCKER_CERT_PATH, the folder of its certificates".into()),
            },
            _ => Err(fault()),
        }
    }

    /// How much the engine's clock may differ from ours.
    pub fn clock_skew(&self) -> Duration {
        match self {
            Self::Unix(_) => Duration::from_secs(2),
            Self::Tcp(_) | Self::Tls(..) => Duration::from_mins(1),
        }
    }

    /// The error with the group that would help, where it is one of permission.
    fn with_advice(&self, error: DockerError) -> DockerError {
        match (self, error) {
            (Self::Unix(path), DockerError::PermissionDenied) => {
                DockerError::SocketRefuses(socket::refused(path))
            }
            // bollard takes a folder that cannot be entered for a missing socket.
            (Self::Unix(path), DockerError::Unreachable(_)) if is_hidden(path) => {
                DockerError::SocketRefuses(socket::refused(path))
            }
            (_, error) => error,
        }
    }

    fn connect(&self) -> Result<bollard::Docker, DockerError> {
        // Covers the wait for an answer's head; whole calls have their own deadlines.
        let deadline = CALL_DEADLINE.as_secs();
        if let Self::Tls(_, folder) = self {
            // bollard goes on without a client certificate that it cannot read.
            for file in ["ca.pem", "cert.pem", "key.pem"].map(|name| folder.join(name)) {
                std::fs::read(&file).map_err(|error| {
                    DockerError::Unreachable(format!("cannot read {}: {error}", file.display()))
                })?;
            }
        }
        let client = match self {
            Self::Unix(path) => {
                bollard::Docker::connect_with_unix(path, deadline, API_DEFAULT_VERSION)
            }
            Self::Tcp(address) => {
                bollard::Docker::connect_with_http(address, deadline, API_DEFAULT_VERSION)
            }
            Self::Tls(address, folder) => bollard::Docker::connect_with_ssl(
                address,
                &folder.join("key.pem"),
                &folder.join("cert.pem"),
                &folder.join("ca.pem"),
                deadline,
                API_DEFAULT_VERSION,
            ),
        };
        Ok(client?)
    }
}

/// Why a call failed, by what can be done about it.
#[derive(Debug, thiserror::Error)]
pub enum DockerError {
    #[error("Docker cannot be reached: {0}")]
    Unreachable(String),
    #[error("the Docker socket refuses this user")]
    PermissionDenied,
    /// The same of a socket that could be looked at.
    #[error("{0}")]
    SocketRefuses(String),
    #[error("Docker does not answer")]
    Hung,
    /// No call failed: this process did not run.
    #[error("the collector itself was stopped for a while; everything is read anew")]
    Interrupted,
    #[error("no such container")]
    NotFound,
    /// A proxy or an authorization plugin said no.
    #[error("the call is refused ({0})")]
    Refused(String),
    /// The engine cannot do it, for example read the logs of this logging driver.
    #[error("Docker cannot do this: {0}")]
    Unsupported(String),
    #[error("Docker answered with an error: {0}")]
    Failed(String),
    #[error("Docker's answer could not be read: {0}")]
    Unreadable(String),
}

impl From<bollard::errors::Error> for DockerError {
    fn from(error: bollard::errors::Error) -> Self {
        use bollard::errors::Error;
        match &error {
            Error::DockerResponseServerError { status_code, message } => {
                let message = message.trim().to_owned();
                match status_code {
                    401 | 403 | 405 => Self::Refused(message),
                    404 | 409 => Self::NotFound,
                    501 => Self::Unsupported(message),
                    _ => Self::Failed(message),
                }
            }
            Error::RequestTimeoutError => Self::Hung,
            Error::SocketNotFoundError(path) => Self::Unreachable(format!(
                "{path} does not exist; start Docker, mount its socket, or correct DOCKER_HOST"
            )),
            _ => match io_kind(&error) {
                Some(ErrorKind::PermissionDenied) => Self::PermissionDenied,
                Some(ErrorKind::NotFound) => Self::Unreachable("the socket is gone".into()),
                Some(ErrorKind::ConnectionRefused) => Self::Unreachable(
                    "connection refused; start Docker, or correct DOCKER_HOST".into(),
                ),
                _ => Self::Unreachable(chain(&error)),
            },
        }
    }
}

fn is_hidden(path: &str) -> bool {
    std::fs::metadata(path).is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
}

fn io_kind(error: &(dyn std::error::Error + 'static)) -> Option<ErrorKind> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return Some(io.kind());
        }
        next = error.source();
    }
    None
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    // bollard's and hyper's own words for "it failed" say nothing to anybody.
    let plain = |text: String| {
        text.replace("Error in the hyper legacy client: ", "").replace("client error ", "")
    };
    let mut text = plain(error.to_string());
    let mut next = error.source();
    while let Some(error) = next {
        let part = error.to_string();
        if !text.contains(&part) {
            text = format!("{text}: {part}");
        }
        next = error.source();
    }
    text
}

/// A connection to an engine that has answered. Clones share it.
#[derive(Debug, Clone)]
pub struct Docker {
    client: bollard::Docker,
    /// Path prefix such as `/v1.41`; empty where the engine does not tell its version.
    version: String,
}

impl Docker {
    /// Connects, pings and settles on the highest API version both sides speak.
    pub async fn connect(host: &Host) -> Result<Self, DockerError> {
        let client = host.connect().map_err(|error| host.with_advice(error))?;
        let mut docker = Self { client, version: String::new() };
        docker.ping().await.map_err(|error| host.with_advice(error))?;
        let negotiation = docker.client.clone().negotiate_version();
        match tokio::time::timeout(CALL_DEADLINE, negotiation).await {
            Err(_) => return Err(DockerError::Hung),
            Ok(Ok(client)) => {
                docker.version = format!("/v{}", client.client_version());
                docker.client = client;
            }
            // A path without a version means the engine's own.
            Ok(Err(error)) => match DockerError::from(error) {
                DockerError::Refused(_) | DockerError::NotFound | DockerError::Unreadable(_) => {}
                error => return Err(error),
            },
        }
        Ok(docker)
    }

    /// The API version in use, such as `1.41`, if the engine told it.
    pub fn api_version(&self) -> Option<&str> {
        self.version.strip_prefix("/v")
    }

    /// Whether the engine answers at all. A refusal is an answer.
    pub async fn ping(&self) -> Result<(), DockerError> {
        let ping = self.body("/_ping".to_owned()).try_for_each(|_| async { Ok(()) });
        match tokio::time::timeout(PING_DEADLINE, ping).await {
            Err(_) => Err(DockerError::Hung),
            Ok(Ok(()) | Err(DockerError::Refused(_))) => Ok(()),
            Ok(Err(error)) => Err(error),
        }
    }

    /// All containers, stopped ones included.
    pub async fn list(&self) -> Result<Vec<Listed>, DockerError> {
        self.json(format!("{}/containers/json?all=true", self.version)).await
    }

    /// One container, in full.
    pub async fn inspect(&self, id: &str) -> Result<Inspected, DockerError> {
        let path = format!("{}/containers/{}/json", self.version, checked(id)?);
        let inspection = self.json(path);
        tokio::time::timeout(INSPECT_DEADLINE, inspection).await.unwrap_or(Err(DockerError::Hung))
    }

    /// The image of that id.
    pub async fn image(&self, id: &str) -> Result<Image, DockerError> {
        let bare = checked(id.strip_prefix("sha256:").unwrap_or(id))?;
        let image = self.json(format!("{}/images/{bare}/json", self.version));
        tokio::time::timeout(INSPECT_DEADLINE, image).await.unwrap_or(Err(DockerError::Hung))
    }

    /// What one container has used so far. Engines that know no `one-shot` take two seconds to tell.
    pub async fn stats(&self, id: &str) -> Result<Stats, DockerError> {
        let (version, id) = (&self.version, checked(id)?);
        let path = format!("{version}/containers/{id}/stats?stream=false&one-shot=true");
        let stats = self.json(path);
        tokio::time::timeout(STATS_DEADLINE, stats).await.unwrap_or(Err(DockerError::Hung))
    }

    /// Container events from `since` on, filtered by the engine (`died` and `remove` are Podman's
    /// words): exec events, which health checks
    /// send by the thousand, stay away. What happened before the engine's short memory (256
    /// events) is not replayed; a list after subscribing is what makes it whole.
    pub fn events(
        &self,
        since: Timestamp,
    ) -> impl Stream<Item = Result<Event, DockerError>> + Send + Unpin + use<> {
        const FILTERS: &str = r#"{"type":["container"],"event":["create","start","restart","die","oom","stop","kill","pause","unpause","rename","update","health_status","destroy","died","remove"]}"#;
        let filters: String = FILTERS
            .bytes()
            .map(|byte| match byte {
                b'a'..=b'z' | b'_' => char::from(byte).to_string(),
                byte => format!("%{byte:02X}"),
            })
            .collect();
        let path = format!("{}/events?since={}&filters={filters}", self.version, since.as_second());
        let body = self.body(path);
        Box::pin(futures_util::stream::unfold((body, Vec::new()), next_event))
    }

    /// The log stream as sent: frames of stdout and stderr, or the raw bytes of a terminal, each
    /// message preceded by its time.
    pub fn logs(
        &self,
        id: &str,
        query: &LogsQuery,
    ) -> Result<impl Stream<Item = Result<Bytes, DockerError>> + Send + Unpin + use<>, DockerError>
    {
        use std::fmt::Write as _;
        let mut path = format!(
            "{}/containers/{}/logs?timestamps=true&stdout={}&stderr={}&follow={}&tail={}",
            self.version,
            checked(id)?,
            query.stdout,
            query.stderr,
            query.follow,
            match query.tail {
                Tail::Lines(lines) => lines.to_string(),
                Tail::All => "all".to_owned(),
            }
        );
        for (name, time) in [("since", query.since), ("until", query.until)] {
            if let Some(time) = time {
                let nanos = time.as_nanosecond();
                let (seconds, nanos) =
                    (nanos.div_euclid(1_000_000_000), nanos.rem_euclid(1_000_000_000));
                let _ = write!(path, "&{name}={seconds}.{nanos:09}");
            }
        }
        Ok(self.body(path))
    }

    async fn json<T: DeserializeOwned>(&self, path: String) -> Result<T, DockerError> {
        let mut body = self.body(path);
        let read = async {
            let mut bytes = Vec::new();
            while let Some(chunk) = body.try_next().await? {
                if bytes.len() + chunk.len() > ANSWER_BYTES {
                    return Err(DockerError::Unreadable("it is too large".to_owned()));
                }
                bytes.extend_from_slice(&chunk);
            }
            serde_json::from_slice(&bytes)
                .map_err(|error| DockerError::Unreadable(error.to_string()))
        };
        tokio::time::timeout(CALL_DEADLINE, read).await.unwrap_or(Err(DockerError::Hung))
    }

    /// The body of `GET path` as it arrives. `export_container` is bollard's one call that hands
    /// a body over undecoded, so its request is pointed at `path`.
    fn body(
        &self,
        path: String,
    ) -> impl Stream<Item = Result<Bytes, DockerError>> + Send + Unpin + use<> {
        let client = self.client.clone().with_request_modifier(move |mut request| {
            let mut parts = request.uri().clone().into_parts();
            parts.path_and_query = path.parse().ok();
            if let Ok(uri) = http::Uri::from_parts(parts) {
                *request.uri_mut() = uri;
            }
            request
        });
        client.export_container("any").map_err(DockerError::from)
    }
}

/// An id or name that cannot leave its place in a path.
fn checked(id: &str) -> Result<&str, DockerError> {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    let plain = id.bytes().all(fine) && !id.is_empty() && !id.starts_with('.');
    if plain { Ok(id) } else { Err(DockerError::NotFound) }
}

async fn next_event<S>(
    (mut body, mut buffer): (S, Vec<u8>),
) -> Option<(Result<Event, DockerError>, (S, Vec<u8>))>
where
    S: Stream<Item = Result<Bytes, DockerError>> + Unpin,
{
    loop {
        if let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = buffer.drain(..=end).collect();
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let event = serde_json::from_slice(&line)
                .map_err(|error| DockerError::Unreadable(error.to_string()));
            return Some((event, (body, buffer)));
        }
        if buffer.len() > EVENT_BYTES {
            let error = DockerError::Unreadable("an event has no end".to_owned());
            return Some((Err(error), (body, Vec::new())));
        }
        match body.next().await? {
            Ok(chunk) => buffer.extend_from_slice(&chunk),
            Err(error) => return Some((Err(error), (body, buffer))),
        }
    }
}

/// Which part of a log to read.
#[derive(Debug, Clone)]
pub struct LogsQuery {
    pub stdout: bool,
    pub stderr: bool,
    pub follow: bool,
    pub tail: Tail,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
}

/// How far back to read, before anything is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tail {
    /// Messages, which are lines or pieces of long ones.
    Lines(usize),
    All,
}

/// A container in `GET /containers/json`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Listed {
    pub id: String,
    #[serde(deserialize_with = "null_as_default")]
    pub names: Vec<String>,
    #[serde(deserialize_with = "null_as_default")]
    pub image: String,
    #[serde(deserialize_with = "null_as_default")]
    pub state: String,
    /// `Exited (137) 3 minutes ago`, `Up 2 hours (unhealthy)`
    #[serde(deserialize_with = "null_as_default")]
    pub status: String,
    #[serde(deserialize_with = "null_as_default")]
    pub labels: BTreeMap<String, String>,
}

/// A container in `GET /containers/{id}/json`. Environment and command are not read: they hold secrets
/// that must not get any further. Of mounts one answer is kept, see [`EngineSocket`].
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Inspected {
    pub id: String,
    #[serde(deserialize_with = "null_as_default")]
    pub name: String,
    #[serde(deserialize_with = "null_as_default")]
    pub created: String,
    /// Id of its image.
    #[serde(deserialize_with = "null_as_default")]
    pub image: String,
    #[serde(deserialize_with = "null_as_default")]
    pub restart_count: i64,
    #[serde(deserialize_with = "null_as_default")]
    pub state: InspectedState,
    #[serde(deserialize_with = "null_as_default")]
    pub config: InspectedConfig,
    #[serde(deserialize_with = "null_as_default")]
    pub host_config: InspectedHostConfig,
    #[serde(deserialize_with = "null_as_default")]
    pub mounts: EngineSocket,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct InspectedState {
    #[serde(deserialize_with = "null_as_default")]
    pub status: String,
    #[serde(deserialize_with = "null_as_default")]
    pub running: bool,
    #[serde(rename = "OOMKilled", deserialize_with = "null_as_default")]
    pub oom_killed: bool,
    #[serde(deserialize_with = "null_as_default")]
    pub exit_code: i64,
    /// Of its main process, in the engine's own namespace; 0 while it does not run.
    #[serde(deserialize_with = "null_as_default")]
    pub pid: i64,
    #[serde(deserialize_with = "null_as_default")]
    pub error: String,
    #[serde(deserialize_with = "null_as_default")]
    pub started_at: String,
    #[serde(deserialize_with = "null_as_default")]
    pub finished_at: String,
    #[serde(deserialize_with = "null_as_default")]
    pub health: InspectedHealth,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct InspectedHealth {
    #[serde(deserialize_with = "null_as_default")]
    pub status: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct InspectedConfig {
    #[serde(deserialize_with = "null_as_default")]
    pub image: String,
    #[serde(deserialize_with = "null_as_default")]
    pub labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "null_as_default")]
    pub stop_signal: String,
    #[serde(deserialize_with = "null_as_default")]
    pub healthcheck: InspectedHealthcheck,
    /// `name`, `uid`, either with `:group`; empty is root.
    #[serde(deserialize_with = "null_as_default")]
    pub user: String,
    /// By port, as `5432/tcp`.
    #[serde(deserialize_with = "null_as_default")]
    pub exposed_ports: BTreeMap<String, serde_json::Value>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct InspectedHealthcheck {
    #[serde(deserialize_with = "null_as_default")]
    pub test: Vec<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct InspectedHostConfig {
    #[serde(deserialize_with = "null_as_default")]
    pub restart_policy: InspectedRestartPolicy,
    /// `host`, `none`, `container:<id>`, or the name of a network.
    #[serde(deserialize_with = "null_as_default")]
    pub network_mode: String,
    /// Limit in bytes; 0 without one.
    #[serde(deserialize_with = "null_as_default")]
    pub memory: i64,
    /// Limit in billionths of a core, as `--cpus` sets it; 0 without one.
    #[serde(deserialize_with = "null_as_default")]
    pub nano_cpus: i64,
    /// Microseconds in each period; 0 or less without a limit.
    #[serde(deserialize_with = "null_as_default")]
    pub cpu_quota: i64,
    #[serde(deserialize_with = "null_as_default")]
    pub cpu_period: i64,
    /// The cores it may use, such as `0-2`; empty for all.
    #[serde(deserialize_with = "null_as_default")]
    pub cpuset_cpus: String,
    #[serde(deserialize_with = "null_as_default")]
    pub privileged: bool,
    /// `--rm`: it is removed as soon as it stops.
    #[serde(deserialize_with = "null_as_default")]
    pub auto_remove: bool,
    #[serde(deserialize_with = "null_as_default")]
    pub cap_add: Vec<String>,
    /// By the container's port, as `5432/tcp`.
    #[serde(deserialize_with = "null_as_default")]
    pub port_bindings: BTreeMap<String, Option<Vec<InspectedPortBinding>>>,
    /// All exposed ports, on all interfaces.
    #[serde(deserialize_with = "null_as_default")]
    pub publish_all_ports: bool,
    #[serde(deserialize_with = "null_as_default")]
    pub binds: EngineSocket,
    #[serde(deserialize_with = "null_as_default")]
    pub mounts: EngineSocket,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct InspectedPortBinding {
    /// Empty for all interfaces.
    #[serde(deserialize_with = "null_as_default")]
    pub host_ip: String,
    /// Empty for any free one.
    #[serde(deserialize_with = "null_as_default")]
    pub host_port: String,
}

/// Whether the socket of an engine is among what is mounted. Nothing else of mounts is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EngineSocket(pub bool);

impl<'de> Deserialize<'de> for EngineSocket {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Mounted {
            /// `source:target`, with or without `:options`
            Bind(String),
            Mount {
                #[serde(rename = "Source")]
                source: String,
            },
            Other(IgnoredAny),
        }
        let mounted = Vec::<Mounted>::deserialize(deserializer)?;
        Ok(Self(mounted.iter().any(|mounted| match mounted {
            Mounted::Bind(bind) => is_engine_socket(bind.split(':').next().unwrap_or_default()),
            Mounted::Mount { source } => is_engine_socket(source),
            Mounted::Other(_) => false,
        })))
    }
}

/// By the names that engines give it, or a folder in which it is: all of the host too, as `/`.
fn is_engine_socket(source: &str) -> bool {
    let path = source.trim_end_matches('/');
    let name = path.rsplit('/').next().unwrap_or_default();
    if matches!(name, "docker.sock" | "podman.sock" | "containerd.sock" | "crio.sock") {
        return true;
    }
    let Some(folder) = path.strip_prefix("/var/run").or_else(|| path.strip_prefix("/run")) else {
        return path.is_empty() && !source.is_empty();
    };
    // Rootless engines have theirs in the folder of their user.
    let of_user = folder.strip_prefix("/user/").unwrap_or_default();
    let of_user = of_user.strip_suffix("/podman").unwrap_or(of_user);
    matches!(folder, "" | "/podman" | "/containerd" | "/crio" | "/user")
        || !of_user.is_empty() && of_user.bytes().all(|digit| digit.is_ascii_digit())
}

impl InspectedHostConfig {
    /// Id of the container whose network it shares.
    pub fn network_of(&self) -> Option<&str> {
        self.network_mode.strip_prefix("container:")
    }

    pub fn has_own_network(&self) -> bool {
        self.network_mode != "host" && self.network_of().is_none()
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct InspectedRestartPolicy {
    #[serde(deserialize_with = "null_as_default")]
    pub name: String,
    #[serde(deserialize_with = "null_as_default")]
    pub maximum_retry_count: i64,
}

/// An image in `GET /images/{id}/json`. Its configuration is not read.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Image {
    /// `repository@digest`, for every repository that it was pulled from or pushed to.
    #[serde(deserialize_with = "null_as_default")]
    pub repo_digests: Vec<String>,
    #[serde(deserialize_with = "null_as_default")]
    pub os: String,
    #[serde(deserialize_with = "null_as_default")]
    pub architecture: String,
    #[serde(deserialize_with = "null_as_default")]
    pub variant: String,
}

/// What a container has used since its start: `GET /containers/{id}/stats`. What an engine does not
/// know is missing, `null` or an empty list.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Stats {
    /// When it was read; the year 1 of a container that does not run.
    #[serde(deserialize_with = "null_as_default")]
    pub read: String,
    pub cpu_stats: Option<CpuStats>,
    pub memory_stats: Option<MemoryStats>,
    /// By interface.
    pub networks: Option<BTreeMap<String, NetworkStats>>,
    pub blkio_stats: Option<BlockStats>,
    pub pids_stats: Option<PidsStats>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct CpuStats {
    pub cpu_usage: Option<CpuUsage>,
    pub throttling_data: Option<Throttling>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct CpuUsage {
    /// Nanoseconds.
    pub total_usage: Option<u64>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Throttling {
    pub periods: Option<u64>,
    pub throttled_periods: Option<u64>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct MemoryStats {
    pub usage: Option<u64>,
    pub limit: Option<u64>,
    /// The kernel's `memory.stat`.
    #[serde(deserialize_with = "null_as_default")]
    pub stats: BTreeMap<String, serde_json::Value>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct NetworkStats {
    pub rx_bytes: Option<u64>,
    pub tx_bytes: Option<u64>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct BlockStats {
    pub io_service_bytes_recursive: Option<Vec<BlockEntry>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct BlockEntry {
    /// `Read`, `Write` and others; of lower case with version 2 of control groups.
    #[serde(deserialize_with = "null_as_default")]
    pub op: String,
    #[serde(deserialize_with = "null_as_default")]
    pub value: u64,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct PidsStats {
    pub current: Option<u64>,
}

/// An event of `GET /events`, with `type=container`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Event {
    /// Carries its argument: `health_status: unhealthy`.
    #[serde(rename = "Action", deserialize_with = "null_as_default")]
    pub action: String,
    #[serde(rename = "Actor", deserialize_with = "null_as_default")]
    pub actor: EventActor,
    #[serde(rename = "time", deserialize_with = "null_as_default")]
    pub time: i64,
    #[serde(rename = "timeNano", deserialize_with = "null_as_default")]
    pub time_nano: i64,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct EventActor {
    #[serde(rename = "ID", deserialize_with = "null_as_default")]
    pub id: String,
    /// Name, image and labels of the container, `exitCode` of a `die`, `signal` of a `kill`.
    #[serde(rename = "Attributes", deserialize_with = "null_as_default")]
    pub attributes: BTreeMap<String, String>,
}

impl Event {
    /// The engine's time of the event.
    pub fn at(&self) -> Option<Timestamp> {
        match self.time_nano {
            0 => Timestamp::from_second(self.time).ok(),
            nano => Timestamp::from_millisecond(nano.div_euclid(1_000_000)).ok(),
        }
    }
}

/// The engine's health word; `none` and nothing mean there is no health check.
pub fn health(word: &str) -> Option<Health> {
    match word {
        "" | "none" => None,
        word => Health::parse(word),
    }
}

/// An engine timestamp in whole milliseconds; the year 1 means never.
pub fn time(text: &str) -> Option<Timestamp> {
    if text.is_empty() || text.starts_with("0001-") {
        return None;
    }
    let time: Timestamp = text.parse().ok()?;
    Timestamp::from_millisecond(time.as_millisecond()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_host_is_read_as_dockers_client_reads_it() {
        let certs = Path::new("/certs");
        assert_eq!(
            Host::parse(DEFAULT_HOST, false, None),
            Ok(Host::Unix("/var/run/docker.sock".into()))
        );
        assert_eq!(Host::parse("tcp://h:2375", false, None), Ok(Host::Tcp("h:2375".into())));
        let tls = Ok(Host::Tls("h:2376".into(), "/certs".into()));
        assert_eq!(Host::parse("tcp://h:2376", true, Some(certs)), tls);
        assert_eq!(Host::parse("https://h:2376", false, Some(certs)), tls);
        assert!(Host::parse("tcp://h:2376", true, None).unwrap_err().contains("DOCKER_CERT_PATH"));
        for bad in ["", "docker.sock", "unix://", "ssh://h", "npipe:////./pipe/x"] {
            assert!(Host::parse(bad, false, None).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_id_cannot_leave_its_place_in_the_path() {
        assert!(checked("web_1.a-b").is_ok());
        for bad in ["", "..", "../x", "a/b", "a?b", "a%2fb", "a b"] {
            assert!(checked(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn unknown_words_nulls_and_missing_keys_are_survived() {
        let body = r#"{"Id":"abc","Name":"/x","State":{"Status":"initialized","Health":null,"NewThing":1},
            "Config":{"Labels":null,"Healthcheck":null},"HostConfig":{"RestartPolicy":null},"RestartCount":null}"#;
        let inspected: Inspected = serde_json::from_str(body).unwrap();
        assert_eq!(inspected.state.status, "initialized");
        let list = r#"[{"Id":"abc","Names":null,"State":"stopping-soon","Labels":null,"Ports":[{"Type":"quic"}]}]"#;
        let listed: Vec<Listed> = serde_json::from_str(list).unwrap();
        assert_eq!(listed[0].state, "stopping-soon");
    }

    #[test]
    fn of_mounts_it_is_known_only_whether_an_engines_socket_is_among_them() {
        let check = |mounts: &str, expected: bool| {
            let read: EngineSocket = serde_json::from_str(mounts).unwrap();
            assert_eq!(read, EngineSocket(expected), "{mounts}");
        };
        check("[]", false);
        check(r#"["/srv/data:/data:ro","/var/run/docker.sock:/var/run/docker.sock:ro"]"#, true);
        check(r#"["/srv/docker.sock.d:/data"]"#, false);
        check(r#"["data:/var/run/docker.sock"]"#, false);
        check(r#"["/var/run:/var/run:ro"]"#, true);
        check(r#"["/:/rootfs:ro","/sys:/sys:ro"]"#, true);
        check(r#"[{"Type":"bind","Source":"//"}]"#, true);
        check(r#"[{"Type":"tmpfs","Source":"","Target":"/run"}]"#, false);
        check(r#"["/run/crio:/run/crio"]"#, true);
        check(r#"["/run/user/1000:/x"]"#, true);
        check(r#"["/run/user/1000/podman:/x"]"#, true);
        check(r#"["/run/user/:/x"]"#, true);
        check(r#"["/run/user/1000/bus:/x"]"#, false);
        check(r#"["/run/users:/x","/runs:/y","/var/lib:/z","/srv/run:/r"]"#, false);
        check(r#"[{"Type":"bind","Source":"/run/user/1000/podman/podman.sock"}]"#, true);
        check(r#"[{"Type":"bind","Source":"/run/docker.sock","Target":"/d"}]"#, true);
        check(r#"[{"Type":"volume","Name":"data"},7,null]"#, false);
        let body = r#"{"Mounts":null,"HostConfig":{"Binds":null,"Mounts":null,"CapAdd":null,
            "PortBindings":{"80/tcp":null}},"Config":{"User":null,"ExposedPorts":{"80/tcp":{}}}}"#;
        let read: Inspected = serde_json::from_str(body).unwrap();
        assert_eq!(read.mounts, EngineSocket(false));
    }

    #[test]
    fn times_are_milliseconds_and_year_one_is_never() {
        assert_eq!(time("0001-01-01T00:00:00Z"), None);
        let at = time("2026-05-05T10:00:00.123456789Z").unwrap();
        assert_eq!(at.subsec_nanosecond(), 123_000_000);
    }

    #[tokio::test]
    async fn events_are_cut_at_line_ends_wherever_the_chunks_end() {
        let text = "{\"Action\":\"start\",\"time\":1}\n\n{\"Action\":\"die\",\"time\":2}\n";
        for size in 1..text.len() {
            let chunks: Vec<_> =
                text.as_bytes().chunks(size).map(|c| Ok(Bytes::copy_from_slice(c))).collect();
            let body = futures_util::stream::iter(chunks);
            let events = futures_util::stream::unfold((body, Vec::new()), next_event);
            let actions: Vec<_> = events.map(|event| event.unwrap().action).collect().await;
            assert_eq!(actions, ["start", "die"], "chunks of {size}");
        }
    }
}
