//! TLS towards a collector.

use std::path::Path;
use std::sync::Arc;

use axum::routing::get;
use axum::{Json, Router};
use maintenant_api::health::HealthStatus;
use maintenant_gateway::Collectors;
use maintenant_gateway::collector::{ClientError, TlsFiles as Trusted};
use maintenant_serve::listener::{ConnectionLimits, Drain, Listener, serve};
use maintenant_serve::process::install_crypto;
use maintenant_serve::tls::{Tls, TlsFiles};
use serde_json::json;
use tokio::task::JoinSet;

use crate::fake::config;

/// A self-signed certificate for `localhost`, which is its own CA.
pub(crate) fn certificate(folder: &Path, name: &str) -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let path = |kind: &str| folder.join(format!("{name}.{kind}"));
    std::fs::write(path("pem"), made.cert.pem()).unwrap();
    std::fs::write(path("key"), made.signing_key.serialize_pem()).unwrap();
    (path("pem").display().to_string(), path("key").display().to_string())
}

pub(crate) async fn collector(files: TlsFiles) -> (String, JoinSet<()>) {
    let tls = Arc::new(Tls::load(files).unwrap());
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap(), Some(tls)).await.unwrap();
    let port = listener.address().rsplit(':').next().unwrap().to_owned();
    let routes = Router::new().route("/api/v1/health", get(async || Json(json!({"status": "ok"}))));
    let mut task = JoinSet::new();
    task.spawn(serve(listener, routes, ConnectionLimits::default(), Drain::default()));
    (format!("https://localhost:{port}"), task)
}

async fn ask(arguments: &[&str]) -> Result<HealthStatus, ClientError> {
    let collectors = Collectors::new(config(arguments).collectors).unwrap();
    collectors.all()[0].health().await
}

#[tokio::test]
async fn only_the_given_ca_is_trusted_and_the_client_shows_its_certificate() {
    install_crypto();
    let folder = tempfile::tempdir().unwrap();
    let (server, server_key) = certificate(folder.path(), "server");
    let (client, client_key) = certificate(folder.path(), "client");
    let files = TlsFiles {
        certificate: server.clone().into(),
        key: server_key.into(),
        client_ca: Some(client.clone().into()),
    };
    let (url, _task) = collector(files).await;
    let identity = ["--client-cert", &client, "--client-key", &client_key];

    let trusting = [["--url", &url, "--ca-cert", &server], identity].concat();
    assert_eq!(ask(&trusting).await.unwrap().status, "ok");
    let suspicious = [["--url", &url, "--ca-cert", &client], identity].concat();
    assert!(matches!(ask(&suspicious).await, Err(ClientError::Untrusted(_))));
    let anonymous = ["--url", &url, "--ca-cert", &server];
    assert!(matches!(ask(&anonymous).await, Err(ClientError::Untrusted(_))));
}

#[test]
fn a_file_without_a_certificate_stops_the_start() {
    install_crypto();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, "nothing").unwrap();
    let file = file.display().to_string();
    let settings = config(&["--url", "https://localhost", "--ca-cert", &file]).collectors;
    let error = format!("{:#}", Collectors::new(settings).unwrap_err());
    assert!(error.contains("MAINTENANT_CA_CERT"), "{error}");
}

#[tokio::test]
async fn ca_and_client_certificate_are_read_again_and_a_fault_keeps_the_old() {
    install_crypto();
    let folder = tempfile::tempdir().unwrap();
    let (server, server_key) = certificate(folder.path(), "server");
    let (client, client_key) = certificate(folder.path(), "client");
    let (other, other_key) = certificate(folder.path(), "other");
    let files = TlsFiles {
        certificate: server.clone().into(),
        key: server_key.into(),
        client_ca: Some(client.clone().into()),
    };
    let (url, _task) = collector(files).await;
    let file = |name: &str| folder.path().join(name).display().to_string();
    let [ca, own, key] = ["ca", "own", "key"].map(file);
    let put = |from: &str, to: &str| {
        std::fs::copy(from, to).unwrap();
    };
    put(&other, &ca);
    put(&other, &own);
    put(&other_key, &key);
    let arguments = ["--url", &url, "--ca-cert", &ca, "--client-cert", &own, "--client-key", &key];
    let settings = config(&arguments).collectors;
    let collectors = Collectors::new(settings.clone()).unwrap();
    let ask = || collectors.all()[0].health();
    let reload = || Trusted::read(&settings).map(|read| collectors.set_credentials(None, &read));

    assert!(matches!(ask().await, Err(ClientError::Untrusted(_))));
    put(&server, &ca);
    reload().unwrap();
    assert!(matches!(ask().await, Err(ClientError::Untrusted(_))), "it wants another client");
    put(&client, &own);
    let fault = format!("{:#}", reload().unwrap_err());
    assert!(fault.contains("TLS towards collectors"), "certificate and key differ: {fault}");
    put(&client_key, &key);
    reload().unwrap();
    assert_eq!(ask().await.unwrap().status, "ok");
    std::fs::write(&ca, "nothing").unwrap();
    reload().unwrap_err();
    assert_eq!(ask().await.unwrap().status, "ok");
}
