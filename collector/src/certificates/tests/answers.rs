use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::Request;
use http_body_util::BodyExt;
use maintenant_serve::guard::AllowedHosts;
use rustls::RootCertStore;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::config::{Access, Edition};
use crate::containers::deletions::Deletions;
use crate::containers::inventory::Inventory;
use crate::containers::model::{Facts, RestartPolicy, Seen, adopt};
use crate::containers::routes::Containers;
use crate::containers::watch::Watched;
use crate::http::events::{Event, EventBus};
use crate::http::{AppState, router};
use crate::net::guard::Guard;
use crate::net::testing::stand_still;
use crate::net::tls::Trust;
use crate::net::{Net, TlsTarget};
use crate::problems::Problems;
use crate::runtime::{Runtime, RuntimeState};
use crate::spine::Spine;
use crate::store::Store;
use crate::tasks::{JobStatuses, Supervisor};
use crate::{certificates, endpoints, heartbeats, notify};

/// A collector without a socket, and the hands on what it watches.
struct Api {
    router: Router,
    problems: Problems,
    inventory: watch::Sender<Inventory>,
    endpoints: watch::Sender<Arc<[TlsTarget]>>,
    told: tokio::sync::broadcast::Receiver<Arc<Event>>,
    spine: Spine,
    supervisor: Supervisor,
    _folder: tempfile::TempDir,
}

async fn api() -> Api {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(&folder.path().join("m.db")).unwrap();
    let now = jiff::Timestamp::from_second(1_000_000).unwrap();
    let runtime = RuntimeState::new(Runtime::new("docker", now));
    let events = EventBus::new(now);
    let (inventory, reader) = watch::channel(Inventory::default());
    let watched = Watched {
        inventory: reader.clone(),
        docker: watch::channel(None).1,
        deletions: Deletions::default(),
    };
    let spine = Spine {
        store: store.clone(),
        events: events.clone(),
        runtime: runtime.clone(),
        inventory: reader,
        net: Net::new(Guard::default(), Trust::of(RootCertStore::empty()).unwrap()),
        problems: Problems::new(events.clone()),
    };
    let mut supervisor = Supervisor::default();
    let (targets, reader) = watch::channel(Arc::default());
    let certificates = certificates::start(&spine, &mut supervisor, reader, now).await.unwrap();
    let (endpoints, _) =
        endpoints::start(&spine, &mut supervisor, endpoints::file::Declarations::default(), now)
            .await
            .unwrap();
    let settings = heartbeats::Settings::default();
    let heartbeats = heartbeats::start(&spine, &mut supervisor, settings, now).await.unwrap();
    let alerts = crate::alerts::start(&spine, &mut supervisor, Vec::new());
    let edition = Edition::Community;
    let settings = notify::Settings::default();
    let heard = spine.events.subscribe(None).receiver;
    let notifications = notify::start(&spine, &mut supervisor, &settings, edition, heard).unwrap();
    let docker = watched.docker.clone();
    let settings = crate::updates::Settings::default();
    let updates =
        crate::updates::start(&spine, &mut supervisor, docker, settings, now).await.unwrap();
    let status = crate::status::tests::idle(&store, &runtime, now);
    let state = AppState {
        store,
        events: events.clone(),
        runtime,
        containers: Containers::new(watched),
        endpoints,
        heartbeats,
        certificates,
        alerts,
        usage: crate::resources::usage::Usage::new(spine.clone()),
        notifications,
        status,
        updates,
        problems: spine.problems.clone(),
        jobs: JobStatuses::default(),
        edition,
        organisation_name: "Maintenant".into(),
        drain: CancellationToken::new(),
    };
    let access =
        Access { token: None, allowed_hosts: AllowedHosts::new([]), cors_origins: Arc::default() };
    Api {
        router: router(state, access),
        problems: spine.problems.clone(),
        inventory,
        endpoints: targets,
        told: events.subscribe(None).receiver,
        spine,
        supervisor,
        _folder: folder,
    }
}

impl Api {
    async fn send(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let request = Request::builder().method(method).header("host", "localhost");
        let request = request.uri(format!("/api/v1/certificates{path}")).body(body).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        (parts.status.as_u16(), serde_json::from_slice(&bytes).unwrap_or_default())
    }

    async fn get(&self, path: &str) -> Value {
        let (status, body) = self.send("GET", path, &Value::Null).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    /// Waits for the next event of that name and returns its data.
    async fn event(&mut self, name: &str) -> Value {
        loop {
            let event = tokio::time::timeout(Duration::from_mins(1), self.told.recv()).await;
            let event = event.unwrap_or_else(|_| panic!("no {name}")).unwrap();
            if event.name == name {
                return serde_json::from_str(&event.data).unwrap();
            }
        }
    }

    async fn check_error(&self, method: &str, path: &str, body: &Value, error: (u16, &str, &str)) {
        let (status, answer) = self.send(method, path, body).await;
        let (expected, code, says) = error;
        assert_eq!(status, expected, "{body}: {answer}");
        assert_eq!(answer["error"]["code"], code, "{body}");
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.contains(says), "{body}: {message}");
    }
}

/// A TLS server with a certificate of its own for `localhost`; its port and that certificate.
async fn serve(tasks: &mut JoinSet<()>) -> (u16, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tasks.spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let _ = acceptor.accept(stream).await;
        }
    });
    (port, made.cert.pem())
}

#[tokio::test]
async fn a_certificate_is_watched_from_the_request_on() {
    let (mut api, mut tasks) = (api().await, JoinSet::new());
    let (port, pem) = serve(&mut tasks).await;
    assert_eq!(api.get("").await, json!({"certificates": [], "total": 0}));
    let body = json!({"hostname": "127.0.0.1", "port": port, "server_name": "LocalHost."});
    // The answer waits for the first check, however long that takes.
    let still = stand_still();
    let (status, made) = api.send("POST", "", &body).await;
    drop(still);
    tokio::time::resume();
    assert_eq!(status, 201, "{made}");
    let check = &made["latest_check"];
    assert_eq!(check["verdict"], "self_signed", "{made}");
    assert_eq!((&check["chain_valid"], &check["hostname_match"]), (&json!(false), &json!(true)));
    assert_eq!(made["certificate"]["server_name"], "localhost");
    assert_eq!(made["certificate"]["status"], "error");
    assert_eq!(api.event("certificate.created").await["source"], "standalone");
    assert_eq!(api.event("certificate.check_completed").await["status"], "error");
    assert_eq!(api.event("certificate.status_changed").await["new_status"], "error");
    assert_eq!(api.event("certificate.alert").await["alert_type"], "chain_invalid");

    let (status, changed) = api.send("PUT", "/1", &json!({"ca_certificates": pem})).await;
    assert_eq!((status, &changed["certificate"]["server_name"]), (200, &json!("localhost")));
    assert_eq!(api.event("certificate.status_changed").await["new_status"], "valid");
    assert_eq!(api.event("certificate.recovery").await["previous_alert_type"], "chain_invalid");
    let one = api.get("/1").await;
    let detail = &one["latest_check"];
    assert_eq!(detail["chain"][0]["position"], 0);
    assert_eq!(detail["issuer_org"], "");
    assert!(detail["days_remaining"].as_i64().unwrap() > 100_000);
    let list = api.get("?status=valid&source=standalone").await;
    assert_eq!(list["total"], 1);
    assert_eq!(list["certificates"][0]["latest_check"]["days_remaining"], detail["days_remaining"]);
    assert_eq!(api.get("?status=expired").await["total"], 0);
    let checks = api.get("/1/checks?limit=1").await;
    assert_eq!((&checks["total"], &checks["has_more"]), (&json!(2), &json!(true)));
    assert_eq!(checks["checks"][0]["verdict"], "ok");

    let delete = || async { api.send("DELETE", "/1", &Value::Null).await.0 };
    let answers = tokio::join!(delete(), delete());
    assert!(matches!(answers, (204, 404) | (404, 204)), "{answers:?}");
    assert_eq!(api.event("certificate.deleted").await["hostname"], "127.0.0.1");
    assert!(api.told.try_recv().is_err(), "told once");
    api.check_error("GET", "/1", &Value::Null, (404, "NOT_FOUND", "no certificate with id 1"))
        .await;
}

#[tokio::test]
async fn a_server_that_stays_silent_does_not_hold_the_request() {
    let api = api().await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let body = json!({"hostname": "127.0.0.1", "port": port});
    let hold = async {
        let connection = silent.accept().await.unwrap();
        // From here on everything waits for the clock alone.
        tokio::time::pause();
        connection
    };
    let ((status, made), _connection) = tokio::join!(api.send("POST", "", &body), hold);
    assert_eq!((status, &made["latest_check"]), (201, &Value::Null), "{made}");
    assert_eq!(made["certificate"]["status"], "unknown");
}

#[tokio::test]
async fn bad_input_names_the_field_and_what_is_accepted() {
    let api = api().await;
    let bad = async |body: Value, says: &str| {
        api.check_error("POST", "", &body, (400, "INVALID_INPUT", says)).await;
    };
    bad(json!({}), "hostname: it is needed").await;
    bad(json!({"hostname": "a b"}), "hostname: `a b` is no host").await;
    bad(json!({"hostname": "https://a.test"}), "hostname").await;
    bad(json!({"hostname": "a.test", "port": 65536}), "port: 65536 is no number from 1").await;
    bad(json!({"hostname": "a.test", "port": -1}), "port").await;
    bad(json!({"hostname": "a.test", "check_interval_seconds": 60}), "from 3600 to 604800").await;
    bad(json!({"hostname": "a.test", "warning_thresholds": []}), "warning_thresholds").await;
    bad(json!({"hostname": "a.test", "warning_thresholds": [0]}), "from 1 to 3650").await;
    let many: Vec<i64> = (1..=11).collect();
    bad(json!({"hostname": "a.test", "warning_thresholds": many}), "11 are too many").await;
    bad(json!({"hostname": "a.test", "server_name": "a b"}), "server_name").await;
    bad(json!({"hostname": "a.test", "starttls": "ftp"}), "smtp, imap, postgres").await;
    bad(json!({"hostname": "a.test", "ca_certificates": "x"}), "ca_certificates: there is no")
        .await;
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    bad(json!({"hostname": "a.test", "ca_certificates": broken}), "certificate 1 cannot").await;
    let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    bad(json!({"hostname": "a.test", "ca_certificates": key}), "a private key in it").await;
    let none = Value::Null;
    api.check_error("POST", "", &json!([1]), (400, "INVALID_JSON", "JSON")).await;
    api.check_error("POST", "", &none, (400, "INVALID_JSON", "JSON")).await;
    api.check_error("GET", "/x", &none, (400, "INVALID_ID", "`x`")).await;
    api.check_error("GET", "?status=bad", &none, (400, "INVALID_PARAM", "expiring")).await;
    api.check_error("GET", "/7/checks", &none, (404, "NOT_FOUND", "7")).await;
    api.check_error("GET", "/7/checks?limit=501", &none, (400, "INVALID_PARAM", "500")).await;
    api.check_error("PUT", "/7", &json!({}), (404, "NOT_FOUND", "7")).await;
    api.check_error("DELETE", "/7", &none, (404, "NOT_FOUND", "7")).await;
}

#[tokio::test]
async fn labels_and_endpoints_are_watched_while_they_ask() {
    let (mut api, mut tasks) = (api().await, JoinSet::new());
    let (port, _) = serve(&mut tasks).await;
    let target =
        TlsTarget { host: "localhost".to_owned(), port, endpoint_id: 4, server_name: None };
    api.endpoints.send(Arc::new([target])).unwrap();
    let made = api.event("certificate.created").await;
    assert_eq!((&made["source"], &made["port"]), (&json!("auto"), &json!(port)));
    api.event("certificate.check_completed").await;
    let body = json!({"hostname": "localhost", "port": port});
    api.check_error("POST", "", &body, (409, "ALREADY_AUTO_DETECTED", "endpoint")).await;
    let none = Value::Null;
    api.check_error("DELETE", "/1", &none, (400, "CANNOT_DELETE_AUTO", "endpoint")).await;

    let mut container = labelled(&format!("https://localhost:{port}/x, bad entry"));
    api.inventory.send(Inventory::new(vec![Arc::new(container.clone())])).unwrap();
    let problem = api.event("endpoint.config_error").await;
    assert_eq!(problem["label_key"], "maintenant.tls.certificates");
    assert!(problem["error"].as_str().unwrap().contains("`bad entry`"));
    let label = async |api: &Api| {
        for _ in 0..2000 {
            let list = api.get("?source=label").await;
            if list["total"] == 1 {
                return list["certificates"][0].clone();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the label took nothing over");
    };
    let taken = label(&api).await;
    assert_eq!((&taken["id"], &taken["external_id"]), (&json!(1), &json!("id-of-web")));
    api.check_error("POST", "", &body, (409, "DUPLICATE_MONITOR", "watched already")).await;

    // An ignored container asks for nothing, and its labels are nobody's problem.
    container.facts.labels.is_ignored = true;
    api.endpoints.send(Arc::default()).unwrap();
    api.inventory.send(Inventory::new(vec![Arc::new(container)])).unwrap();
    assert_eq!(api.event("certificate.deleted").await["monitor_id"], 1);
    assert_eq!(api.problems.list(), []);
    api.check_error("GET", "/1/checks", &none, (404, "NOT_FOUND", "1")).await;

    // The container is made anew.
    let container = labelled(&format!("localhost:{port}"));
    api.inventory.send(Inventory::new(vec![Arc::new(container)])).unwrap();
    assert_eq!(api.event("certificate.created").await["monitor_id"], 1);
    assert!(api.get("/1/checks").await["total"].as_i64().unwrap() > 0);
}

#[tokio::test]
async fn a_server_is_checked_under_the_name_that_its_endpoint_sends() {
    let (mut api, mut tasks) = (api().await, JoinSet::new());
    let (port, _) = serve(&mut tasks).await;
    let host = "127.0.0.1".to_owned();
    let server_name = Some("localhost".to_owned());
    api.endpoints.send(Arc::new([TlsTarget { host, port, endpoint_id: 4, server_name }])).unwrap();
    assert_eq!(api.event("certificate.check_completed").await["hostname_match"], true);
    assert_eq!(api.get("/1").await["certificate"]["server_name"], "localhost");
}

#[tokio::test]
async fn what_endpoints_asked_for_outlives_a_restart_that_has_not_read_them_yet() {
    let mut api = api().await;
    let target =
        TlsTarget { host: "127.0.0.1".to_owned(), port: 1, endpoint_id: 4, server_name: None };
    api.endpoints.send(Arc::new([target])).unwrap();
    api.event("certificate.check_completed").await;
    std::mem::take(&mut api.supervisor).stop(Duration::from_secs(5)).await;
    api.inventory.send(Inventory::new(vec![Arc::new(labelled("127.0.0.1:2"))])).unwrap();
    let now = jiff::Timestamp::from_second(1_000_000).unwrap();
    let (later, reader) = watch::channel(Arc::default());
    certificates::start(&api.spine, &mut api.supervisor, reader, now).await.unwrap();
    assert_eq!(api.event("certificate.created").await["source"], "label");
    assert_eq!(api.get("?source=auto").await["certificates"][0]["id"], 1);
    // Read, and gone.
    later.send(Arc::default()).unwrap();
    assert_eq!(api.event("certificate.deleted").await["monitor_id"], 1);
}

fn labelled(value: &str) -> crate::containers::model::Container {
    let mut labels = crate::containers::labels::Labels::default();
    labels.watched.insert("maintenant.tls.certificates".to_owned(), value.to_owned());
    let facts = Facts {
        name: "web".to_owned(),
        image: "busybox:1".to_owned(),
        labels,
        has_health_check: false,
        restart_policy: RestartPolicy::No,
        stop_signal: 15,
        restart_count: 0,
        error_detail: String::new(),
        exposure: None,
    };
    let at = jiff::Timestamp::from_second(1_000_000).unwrap();
    let seen = Seen {
        external_id: "id-of-web".to_owned(),
        created_at: Some(at),
        facts,
        state: maintenant_api::containers::State::Running,
        health: None,
        exit_code: None,
        oom_killed: false,
        started_at: Some(at),
        finished_at: None,
    };
    adopt(1, &seen, at)
}
