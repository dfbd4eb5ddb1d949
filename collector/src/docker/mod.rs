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

mod answers;
mod error;
mod host;

use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt};
use jiff::Timestamp;
use serde::de::DeserializeOwned;

pub use self::answers::*;
pub use self::error::DockerError;
pub use self::host::{DEFAULT_HOST, Host};

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_cannot_leave_its_place_in_the_path() {
        assert!(checked("web_1.a-b").is_ok());
        for bad in ["", "..", "../x", "a/b", "a?b", "a%2fb", "a b"] {
            assert!(checked(bad).is_err(), "{bad}");
        }
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
