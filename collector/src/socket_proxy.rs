//! A door to the engine's socket for the collector's reads alone.
//!
//! Whoever can open the socket owns the machine. So a process that does nothing else holds it, and
//! gives the collector what [`is_asked`] names. Of a request nothing is passed on but its path and
//! query: no header, no body, no upgrade of the connection. Processes of the host reach every
//! container network, so it can be told whom to let in.

use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use http::header::{CONNECTION, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use maintenant_serve::guard::{BodyLimits, Peer, guarded};
use maintenant_serve::listener::{ConnectionLimits, Drain, Listener, serve_all};
use maintenant_serve::logging::foreign;
use maintenant_serve::process::Signals;
use maintenant_serve::settings::{Address, Faults};
use serde_json::json;

use crate::docker::{DEFAULT_HOST, Host};
use crate::socket;

const CONNECT_DEADLINE: Duration = Duration::from_secs(3);
/// Beside what is read: how clients of the engine learn its version from a ping.
const API_VERSION: HeaderName = HeaderName::from_static("api-version");

/// Whether the collector ever asks for this path: the calls of [`crate::docker`] and no others. What
/// is escaped or has empty parts is not looked into.
fn is_asked(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    let parts = match parts.split_first() {
        Some((first, rest)) if is_version(first) => rest,
        _ => parts.as_slice(),
    };
    match parts {
        ["_ping" | "version" | "events"] | ["containers", "json"] => true,
        ["containers", id, "json" | "logs" | "stats"] | ["images", id, "json"] => is_name(id),
        _ => false,
    }
}

fn is_version(part: &str) -> bool {
    part.strip_prefix("v1.").is_some_and(|minor| minor.bytes().all(|byte| byte.is_ascii_digit()))
}

/// What Docker allows as a name or id.
fn is_name(part: &str) -> bool {
    part.starts_with(|first: char| first.is_ascii_alphanumeric())
        && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

/// The unix socket that `DOCKER_HOST` names.
pub fn socket(docker_host: Option<&str>, faults: &mut Faults) -> PathBuf {
    let text = docker_host.filter(|text| !text.is_empty()).unwrap_or(DEFAULT_HOST);
    let parsed = match Host::parse(text, false, None) {
        Ok(Host::Unix(path)) => Ok(PathBuf::from(path)),
        _ => Err(format!("`{text}` is no unix socket; use unix:///path")),
    };
    faults.or(PathBuf::new(), "DOCKER_HOST", parsed)
}

/// Serves until a signal, those whom [`may_ask`] lets in.
pub async fn run(address: &Address, socket: &Path, only: &[String]) -> anyhow::Result<()> {
    let signals = Signals::listen()?;
    let listener = Listener::bind(address, None).await?;
    tracing::info!(address = listener.address(), socket = %socket.display(), "listening");
    let drain = Drain::default();
    let routes = guarded(routes(socket, only)?, BodyLimits::default());
    // It has one client, the collector.
    let limits = ConnectionLimits::default();
    let limits = ConnectionLimits { per_client: limits.connections, ..limits };
    let serve = serve_all(vec![(listener, routes)], &limits, &drain);
    // Streams of the engine do not end by themselves, and nobody waits for what is read.
    let cut = async {
        drain.begin.cancelled().await;
        drain.cut.cancel();
    };
    signals.drain(&drain, async { tokio::join!(serve, cut) }).await;
    Ok(())
}

#[derive(Clone)]
struct Door {
    engine: reqwest::Client,
    socket: PathBuf,
    only: Vec<String>,
}

fn routes(socket: &Path, only: &[String]) -> anyhow::Result<Router> {
    let engine = reqwest::Client::builder()
        .unix_socket(socket)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_DEADLINE)
        .pool_max_idle_per_host(0)
        .build()?;
    let door = Door { engine, socket: socket.to_owned(), only: only.to_vec() };
    Ok(Router::new().fallback(pass).with_state(door))
}

/// Whether this client has an address of one of the names `only`, which are looked up each time as
/// containers come and go. Where there are none, everybody may. Loopback is this container's own
/// health check; of a unix socket the file's mode has decided.
async fn may_ask(only: &[String], peer: Option<Peer>) -> bool {
    let address = match peer {
        _ if only.is_empty() => return true,
        Some(Peer::Unix) => return true,
        Some(Peer::Tcp(address)) => address.ip().to_canonical(),
        None => return false,
    };
    if address.is_loopback() {
        return true;
    }
    for name in only {
        if let Ok(mut found) = tokio::net::lookup_host((name.as_str(), 0)).await
            && found.any(|one| one.ip().to_canonical() == address)
        {
            return true;
        }
    }
    false
}

async fn pass(State(Door { engine, socket, only }): State<Door>, request: Request) -> Response {
    let peer = request.extensions().get::<Peer>().copied();
    if !may_ask(&only, peer).await {
        let who = only.join(", ");
        let from = match peer {
            Some(Peer::Tcp(address)) => address.ip().to_canonical().to_string(),
            _ => "somebody".to_owned(),
        };
        tracing::warn!("refused: {from} is none of {who}");
        return told(
            StatusCode::FORBIDDEN,
            &format!("maintenant's socket proxy is for {who} only"),
        );
    }
    let (method, uri) = (request.method(), request.uri());
    if method != Method::GET || !is_asked(uri.path()) {
        let call = foreign(&format!("{method} {}", uri.path()));
        tracing::warn!("refused: {call}");
        let why = format!("maintenant's socket proxy does not pass on {call}");
        return told(StatusCode::FORBIDDEN, &why);
    }
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut response = match engine.get(format!("http://docker{path}")).send().await {
        Ok(answer) => {
            let (status, headers) = (answer.status(), answer.headers().clone());
            let mut response = Body::from_stream(answer.bytes_stream()).into_response();
            *response.status_mut() = status;
            for name in [CONTENT_TYPE, API_VERSION] {
                if let Some(value) = headers.get(&name) {
                    response.headers_mut().insert(name, value.clone());
                }
            }
            response
        }
        Err(error) => {
            let why = why_not(&error, &socket);
            tracing::warn!("{why}");
            told(StatusCode::BAD_GATEWAY, &why)
        }
    };
    // A connection that waits for its next request is ended after a while, perhaps just as that
    // request comes.
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// An error as the engine tells them.
fn told(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({ "message": message }))).into_response()
}

fn why_not(error: &reqwest::Error, path: &Path) -> String {
    let mut last: &(dyn std::error::Error + 'static) = error;
    let mut denied = false;
    loop {
        let io = last.downcast_ref::<std::io::Error>();
        denied |= io.is_some_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied);
        match last.source() {
            Some(source) => last = source,
            None => break,
        }
    }
    let path = path.display();
    if denied {
        return socket::refused(&path.to_string());
    }
    format!("the socket proxy cannot ask {path}: {last}")
}

#[cfg(test)]
mod tests {
    use axum::routing::any;
    use maintenant_serve::listener::{ConnectionLimits, serve};
    use tokio::task::JoinSet;

    use super::*;

    #[test]
    fn the_collectors_calls_pass_and_no_others() {
        for path in [
            "/_ping",
            "/version",
            "/v1.41/events",
            "/v1.41/containers/json",
            "/containers/0a1b/json",
            "/v1.52/containers/my_shop-1.web/logs",
            "/v1.41/containers/0a1b/stats",
            "/v1.41/images/0a1b/json",
        ] {
            assert!(is_asked(path), "{path}");
        }
        for path in [
            "",
            "/",
            "/info",
            "//_ping",
            "/_ping/",
            "/v2.0/version",
            "/v1./../version",
            "/v1.41/v1.41/version",
            "/containers/create",
            "/containers/../json",
            "/containers/%2e%2e/json",
            "/containers//json",
            "/containers/a/archive",
            "/containers/a/attach/ws",
            "/containers/a/export",
            "/containers/a%2fb/json",
            "/containers/a/json/",
            "/images/json",
            "/images/a/get",
            "/secrets",
            "/exec/a/json",
        ] {
            assert!(!is_asked(path), "{path}");
        }
    }

    #[tokio::test]
    async fn only_those_who_are_named_may_ask() {
        maintenant_serve::process::install_crypto();
        let check = async |only: &[&str], from: &str, expected: bool| {
            let only: Vec<String> = only.iter().map(ToString::to_string).collect();
            let peer = match from {
                "unix" => Some(Peer::Unix),
                "unknown" => None,
                address => Some(Peer::Tcp(address.parse().unwrap())),
            };
            assert_eq!(may_ask(&only, peer).await, expected, "{only:?} {from}");
            let mut request = http::Request::new(Body::empty());
            peer.map(|peer| request.extensions_mut().insert(peer));
            *request.uri_mut() = http::Uri::from_static("/_ping");
            let routes = routes(Path::new("/nowhere"), &only).unwrap();
            let status = tower::ServiceExt::oneshot(routes, request).await.unwrap().status();
            // Nothing is at that socket: who may ask is told so.
            assert_eq!(status == StatusCode::BAD_GATEWAY, expected, "{only:?} {from}: {status}");
        };
        let two = ["192.0.2.9", "192.0.2.10"];
        check(&two, "192.0.2.9:1", true).await;
        check(&two, "[::ffff:192.0.2.10]:1", true).await;
        check(&two, "192.0.2.1:1", false).await;
        check(&two, "[2001:db8::9]:1", false).await;
        check(&two, "127.0.0.1:1", true).await;
        check(&two, "unix", true).await;
        check(&two, "unknown", false).await;
        check(&["name of nobody"], "192.0.2.9:1", false).await;
        check(&[], "192.0.2.1:1", true).await;
    }

    async fn served(path: &Path, app: Router, tasks: &mut JoinSet<()>) {
        let listener = Listener::bind(&Address::Unix(path.to_owned()), None).await.unwrap();
        tasks.spawn(serve(listener, app, ConnectionLimits::default(), Drain::default()));
    }

    #[tokio::test]
    async fn the_engine_gets_path_and_query_and_nothing_else() {
        maintenant_serve::process::install_crypto();
        let folder = tempfile::tempdir().unwrap();
        let (socket, door) = (folder.path().join("engine"), folder.path().join("door"));
        let echo = async |request: Request| {
            let named: Vec<_> = request.headers().keys().map(ToString::to_string).collect();
            format!("{} {} {}", request.method(), request.uri(), named.join(","))
        };
        let mut tasks = JoinSet::new();
        served(&socket, Router::new().fallback(any(echo)), &mut tasks).await;
        served(&door, routes(&socket, &[]).unwrap(), &mut tasks).await;
        let client = reqwest::Client::builder().unix_socket(door.as_path()).build().unwrap();
        let ask = async |method: Method, path: &str| {
            let url = format!("http://d{path}");
            let request = client.request(method, url).header("upgrade", "tcp").header("x-y", "z");
            let answer = request.body("hello").send().await.unwrap();
            (answer.status(), answer.text().await.unwrap())
        };
        let (status, text) = ask(Method::GET, "/v1.41/events?since=1&filters=%7B").await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(text, "GET /v1.41/events?since=1&filters=%7B accept,host");
        let (status, text) = ask(Method::POST, "/containers/a/json").await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{text}");
        assert!(text.contains("does not pass on POST /containers/a/json"), "{text}");
        std::fs::remove_file(&socket).unwrap();
        let (status, text) = ask(Method::GET, "/_ping").await;
        assert_eq!(status, StatusCode::BAD_GATEWAY);
        assert!(text.contains("cannot ask") && text.contains("No such file"), "{text}");
    }
}
