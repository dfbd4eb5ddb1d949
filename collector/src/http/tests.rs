//! The API without a socket: every route, its errors, its layers, and its document. Time is paused,
//! so that a wait for a runtime that never speaks costs nothing.

use axum::body::Body;
use http::Request;
use http_body_util::BodyExt;
use maintenant_serve::guard::AllowedHosts;
use maintenant_serve::settings::Secret;
use serde_json::Value;
use tower::ServiceExt;

use super::*;
use crate::containers::deletions::Deletions;
use crate::containers::inventory::Inventory;
use crate::containers::model::Container;
use crate::containers::watch::Watched;
use crate::net::Net;
use crate::net::guard::Guard;
use crate::net::resolve::{ResolveError, Resolver};
use crate::net::tls::Trust;
use crate::runtime::Runtime;
use crate::spine::Spine;
use crate::tasks::Supervisor;
use crate::{alerts, certificates, endpoints, heartbeats, notify, updates};

pub(crate) struct Api {
    router: Router,
    pub(crate) store: Store,
    pub(crate) runtime: RuntimeState,
    events: EventBus,
    _folder: tempfile::TempDir,
    _supervisor: Supervisor,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    headers: HeaderMap,
    pub(crate) body: Value,
}

pub(crate) async fn api(token: Option<&str>, origins: &[&str]) -> Api {
    api_with(token, origins, Vec::new()).await
}

/// With these containers watched.
pub(crate) async fn api_of(containers: Vec<Arc<Container>>) -> Api {
    api_with(None, &[], containers).await
}

async fn api_with(token: Option<&str>, origins: &[&str], containers: Vec<Arc<Container>>) -> Api {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(&folder.path().join("m.db")).unwrap();
    let now = jiff::Timestamp::from_second(1_000_000).unwrap();
    let runtime = RuntimeState::new(Runtime::new("docker", now));
    let events = EventBus::new(now);
    let watched = Watched {
        inventory: tokio::sync::watch::channel(Inventory::new(containers)).1,
        docker: tokio::sync::watch::channel(None).1,
        deletions: Deletions::default(),
    };
    let mut net = Net::new(Guard::default(), Trust::of(rustls::RootCertStore::empty()).unwrap());
    // What is checked by name is never found to be anything.
    net.resolver = Resolver::asking(|_| Err(ResolveError::Busy));
    let spine = Spine {
        store: store.clone(),
        events: events.clone(),
        runtime: runtime.clone(),
        inventory: watched.inventory.clone(),
        net,
        problems: Problems::new(events.clone()),
    };
    let mut supervisor = Supervisor::default();
    let nothing = endpoints::file::Declarations::default();
    let (endpoints, tls_targets) =
        endpoints::start(&spine, &mut supervisor, nothing, now).await.unwrap();
    let certificates =
        certificates::start(&spine, &mut supervisor, tls_targets, now).await.unwrap();
    let settings = heartbeats::Settings::default();
    let heartbeats = heartbeats::start(&spine, &mut supervisor, settings, now).await.unwrap();
    let alerts = alerts::start(&spine, &mut supervisor, Vec::new());
    let edition = Edition::Community;
    let settings = notify::Settings::default();
    let heard = spine.events.subscribe(None).receiver;
    let notifications = notify::start(&spine, &mut supervisor, &settings, edition, heard).unwrap();
    let docker = watched.docker.clone();
    let settings = updates::Settings::default();
    let updates = updates::start(&spine, &mut supervisor, docker, settings, now).await.unwrap();
    let state = AppState {
        store: store.clone(),
        events: events.clone(),
        runtime: runtime.clone(),
        containers: Containers::new(watched),
        endpoints,
        heartbeats,
        certificates,
        alerts,
        usage: Usage::new(spine.clone()),
        notifications,
        status: crate::status::tests::idle(&store, &runtime, now),
        updates,
        problems: spine.problems,
        jobs: JobStatuses::default(),
        edition,
        organisation_name: "Maintenant".into(),
        drain: CancellationToken::new(),
    };
    let access = Access {
        token: token.map(Secret::new),
        allowed_hosts: AllowedHosts::new([]),
        cors_origins: origins.iter().map(|origin| (*origin).to_owned()).collect(),
    };
    let router = router(state, access);
    Api { router, store, runtime, events, _folder: folder, _supervisor: supervisor }
}

impl Api {
    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Answer { status: parts.status, headers: parts.headers, body }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(request("GET", path).body(Body::empty()).unwrap()).await
    }
}

pub(crate) fn request(method: &str, path: &str) -> http::request::Builder {
    Request::builder().method(method).uri(path).header("host", "localhost")
}

pub(crate) async fn check_error(api: &Api, path: &str, status: u16, code: &str, says: &str) {
    let answer = api.get(path).await;
    assert_eq!(answer.status, status, "{path}: {}", answer.body);
    assert_eq!(answer.body["error"]["code"], code, "{path}");
    let message = answer.body["error"]["message"].as_str().unwrap();
    assert!(message.contains(says), "{path}: {message}");
}

#[tokio::test(start_paused = true)]
async fn an_empty_collector_answers_every_list_with_an_empty_list() {
    let api = api(None, &[]).await;
    let list = api.get("/api/v1/containers").await;
    assert_eq!(list.body, serde_json::json!({"groups": [], "total": 0, "archived_count": 0}));
    let transitions = api.get("/api/v1/containers/7/transitions").await;
    assert_eq!(transitions.body["transitions"], serde_json::json!([]));
    assert_eq!(transitions.body["has_more"], false);
}

#[tokio::test(start_paused = true)]
async fn faults_say_what_is_accepted() {
    let api = api(None, &[]).await;
    check_error(&api, "/api/v1/containers/seven", 400, "INVALID_ID", "whole numbers").await;
    check_error(&api, "/api/v1/containers/7", 404, "CONTAINER_NOT_FOUND", "id 7").await;
    let logs = "/api/v1/containers/7/logs";
    check_error(&api, &format!("{logs}?lines=0"), 400, "INVALID_PARAM", "1 to 1000").await;
    check_error(&api, &format!("{logs}?lines=5000"), 400, "INVALID_PARAM", "1 to 1000").await;
    check_error(&api, &format!("{logs}?stream=x"), 400, "INVALID_PARAM", "stdout").await;
    check_error(&api, &format!("{logs}?since=noon"), 400, "INVALID_PARAM", "RFC 3339").await;
    check_error(&api, &format!("{logs}?since=1h&until=2h"), 400, "INVALID_PARAM", "later").await;
    let transitions = "/api/v1/containers/7/transitions";
    check_error(&api, &format!("{transitions}?limit=x"), 400, "INVALID_PARAM", "limit").await;
    check_error(&api, "/api/v1/nothing", 404, "NOT_FOUND", "openapi.json").await;
    check_error(&api, "/", 404, "NOT_FOUND", "nothing at /").await;
}

#[tokio::test(start_paused = true)]
async fn a_wrong_method_is_405_in_the_envelope_and_names_the_right_ones() {
    let api = api(None, &[]).await;
    let answer = api.send(request("POST", "/api/v1/health").body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, 405);
    assert_eq!(answer.body["error"]["code"], "METHOD_NOT_ALLOWED");
    assert!(answer.headers["allow"].to_str().unwrap().contains("GET"));
}

#[tokio::test(start_paused = true)]
async fn head_works_on_every_get_route() {
    let api = api(None, &[]).await;
    let answer = api.send(request("HEAD", "/api/v1/containers").body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test(start_paused = true)]
async fn only_health_is_public_where_a_token_is_set() {
    let api = api(Some("s3cret"), &[]).await;
    assert_eq!(api.get("/api/v1/health").await.status, 200);
    let closed =
        ["/api/v1/containers", "/api/v1/openapi.json", "/api/v1/nothing", "/api/v1/health/"];
    for path in closed {
        let answer = api.get(path).await;
        assert_eq!(answer.status, 401, "{path}");
        assert_eq!(answer.headers["www-authenticate"], "Bearer", "{path}");
    }
    let with = |token: &str| {
        let request = request("GET", "/api/v1/containers").header("authorization", token);
        api.send(request.body(Body::empty()).unwrap())
    };
    assert_eq!(with("Bearer s3cret").await.status, 200);
    let wrong = with("Bearer guess").await;
    assert_eq!(wrong.status, 401);
    assert!(wrong.headers["www-authenticate"].to_str().unwrap().contains("invalid_token"));
    assert!(!wrong.body.to_string().contains("guess"), "a token is not echoed");
}

#[tokio::test(start_paused = true)]
async fn the_owner_of_the_socket_file_needs_no_token() {
    let api = api(Some("s3cret"), &[]).await;
    let request = request("GET", "/api/v1/containers").extension(Peer::Unix);
    assert_eq!(api.send(request.body(Body::empty()).unwrap()).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn without_a_token_a_rebound_host_name_is_refused() {
    let api = api(None, &[]).await;
    let request = Request::builder().uri("/api/v1/containers").header("host", "evil.example");
    let answer = api.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, 403);
    let message = answer.body["error"]["message"].as_str().unwrap();
    assert!(message.contains("MAINTENANT_ALLOWED_HOSTS"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn cors_headers_are_sent_only_to_configured_origins() {
    let ask = |origins: &'static [&'static str], origin: &'static str| async move {
        let request = request("GET", "/api/v1/health").header("origin", origin);
        let api = api(None, origins).await;
        let answer = api.send(request.body(Body::empty()).unwrap()).await;
        answer.headers.get("access-control-allow-origin").map(|v| v.to_str().unwrap().to_owned())
    };
    assert_eq!(ask(&[], "https://a.example").await, None);
    assert_eq!(ask(&["*"], "https://a.example").await.as_deref(), Some("*"));
    let listed = &["https://a.example"];
    assert_eq!(ask(listed, "https://a.example").await.as_deref(), Some("https://a.example"));
    assert_eq!(ask(listed, "https://b.example").await, None);
}

#[tokio::test(start_paused = true)]
async fn a_request_id_is_echoed_or_made() {
    let api = api(None, &[]).await;
    let request = request("GET", "/api/v1/health").header("x-request-id", "abc-1");
    let answer = api.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.headers["x-request-id"], "abc-1");
    assert_eq!(api.get("/api/v1/health").await.headers["x-request-id"].len(), 8);
}

#[tokio::test(start_paused = true)]
async fn a_lost_runtime_is_visible() {
    let api = api(None, &[]).await;
    let now = jiff::Timestamp::from_second(1_000_001).unwrap();
    api.runtime.connected(Some("1.41"), now);
    assert_eq!(api.get("/api/v1/runtime/status").await.body["connected"], true);
    api.runtime.lost("Docker does not answer".to_owned(), now);
    let lost = api.get("/api/v1/runtime/status").await.body;
    assert_eq!(lost["connected"], false);
    assert_eq!(lost["error"], "Docker does not answer");
}

#[tokio::test(start_paused = true)]
async fn a_question_in_the_first_moments_waits_for_the_first_word() {
    let api = api(None, &[]).await;
    let runtime = api.runtime.clone();
    let asked = api.get("/api/v1/runtime/status");
    let heard = async {
        tokio::task::yield_now().await;
        runtime.connected(None, jiff::Timestamp::from_second(1_000_001).unwrap());
    };
    let (answer, ()) = tokio::join!(asked, heard);
    assert_eq!(answer.body["connected"], true);
}

#[tokio::test(start_paused = true)]
async fn the_event_stream_starts_at_once_and_replays_what_was_missed() {
    let api = api(None, &[]).await;
    api.events.publish("first", &1);
    api.events.publish("second", &2);
    let router = &api.router;
    let read = |last: Option<&'static str>| async move {
        let mut request = request("GET", "/api/v1/containers/events");
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let request = request.body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut body = response.into_body();
        let mut text = String::new();
        while let Ok(Some(frame)) =
            tokio::time::timeout(Duration::from_millis(100), body.frame()).await
        {
            text.push_str(std::str::from_utf8(&frame.unwrap().into_data().unwrap()).unwrap());
        }
        text
    };
    assert_eq!(read(None).await, ": connected\n\n");
    // The bus is named after its start, 1,000,000,000 ms, in hexadecimal.
    let boot = "3b9aca00";
    let missed = read(Some("3b9aca00-1")).await;
    assert!(missed.ends_with(&format!("id: {boot}-2\nevent: second\ndata: 2\n\n")), "{missed}");
    let gap = read(Some("1234-1")).await;
    assert!(gap.contains("event: stream.gap"), "{gap}");
}

#[tokio::test(start_paused = true)]
async fn answers_fit_the_document() {
    let api = api(None, &[]).await;
    let document = api.get("/api/v1/openapi.json").await.body;
    let paths = ["/health", "/runtime/status", "/edition", "/jobs", "/containers"];
    for path in paths {
        let answer = api.get(&format!("/api/v1{path}")).await.body;
        let operation = format!("/paths/{}/get", format!("/api/v1{path}").replace('/', "~1"));
        let operation = document.pointer(&operation).unwrap_or_else(|| panic!("no {path}"));
        let mut schema =
            operation["responses"]["200"]["content"]["application/json"]["schema"].clone();
        schema["components"] = document["components"].clone();
        let validator = jsonschema::validator_for(&schema).unwrap();
        let faults: Vec<_> = validator.iter_errors(&answer).map(|e| e.to_string()).collect();
        assert!(faults.is_empty(), "{path}: {faults:?}");
    }
}

/// The committed document is the one the routes make. A difference is written and fails.
#[test]
fn the_committed_document_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../openapi/openapi.json");
    let made = openapi::text(&document());
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    if made != committed {
        std::fs::write(path, made).unwrap();
        panic!("openapi/openapi.json was out of date and has been rewritten; commit it");
    }
}

#[test]
fn every_answer_in_the_document_is_described() {
    let document = serde_json::to_value(document()).unwrap();
    let mut answers = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            assert!(operation["operationId"].is_string(), "{method} {path}");
            for (status, response) in operation["responses"].as_object().unwrap() {
                let description = response["description"].as_str().unwrap_or_default();
                assert!(!description.is_empty(), "{method} {path} {status}");
                answers += 1;
            }
        }
    }
    assert!(answers > 20, "{answers}");
}
