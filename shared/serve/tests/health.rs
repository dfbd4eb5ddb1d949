//! The question of a container's health check, asked of real listeners.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a failure in a helper is a failure of the test"
)]

use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use http::StatusCode;
use maintenant_serve::args::{Listen, ListenArgs};
use maintenant_serve::health::probe;
use maintenant_serve::listener::{ConnectionLimits, Drain, Listener, serve};
use maintenant_serve::process::install_crypto;
use maintenant_serve::settings::Faults;
use maintenant_serve::tls::Tls;
use tokio::task::JoinSet;

/// The first line of what the probe says to a server with these settings, empty when it is well.
async fn said(mut args: ListenArgs, presented: Option<ListenArgs>, path: &'static str) -> String {
    install_crypto();
    let routes = Router::new()
        .route("/well", get(async || "yes"))
        .route("/ill", get(async || StatusCode::SERVICE_UNAVAILABLE));
    let listen = checked(&args);
    let tls = presented.map_or(listen.tls, |args| checked(&args).tls);
    let tls = tls.map(|files| Arc::new(Tls::load(files).unwrap()));
    let listener = Listener::bind(&listen.address, tls).await.unwrap();
    args.addr = Some(listener.address());
    let mut server = JoinSet::new();
    server.spawn(serve(listener, routes, ConnectionLimits::default(), Drain::default()));
    let asked = tokio::task::spawn_blocking(move || probe(&checked(&args), path)).await.unwrap();
    asked.err().map(|error| format!("{error:#}")).unwrap_or_default()
}

fn checked(args: &ListenArgs) -> Listen {
    let mut faults = Faults::default();
    let listen = args.check("", &mut faults);
    faults.finish().unwrap();
    listen
}

fn on(address: &str) -> ListenArgs {
    ListenArgs { addr: Some(address.to_owned()), ..ListenArgs::default() }
}

fn over_tls(folder: &Path, name: &str) -> ListenArgs {
    let made = rcgen::generate_simple_self_signed(["monitor.example".to_owned()]).unwrap();
    let (certificate, key) =
        (folder.join(format!("{name}.pem")), folder.join(format!("{name}.key")));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    ListenArgs { tls_cert: Some(certificate), tls_key: Some(key), ..on("127.0.0.1:0") }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_well_when_it_answers_200() {
    assert_eq!(said(on("127.0.0.1:0"), None, "/well").await, "");
    assert_eq!(said(on("0.0.0.0:0"), None, "/well").await, "");
    let text = said(on("127.0.0.1:0"), None, "/ill").await;
    assert!(text.contains("/ill is answered with `HTTP/1.1 503 Service Unavailable`"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unix_socket_is_asked_too() {
    let folder = tempfile::tempdir().unwrap();
    let address = format!("unix:{}", folder.path().join("m.sock").display());
    assert_eq!(said(on(&address), None, "/well").await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_it_must_be_the_certificate_of_the_settings() {
    let folder = tempfile::tempdir().unwrap();
    let own = over_tls(folder.path(), "own");
    assert_eq!(said(own.clone(), None, "/well").await, "");
    let text = said(own, Some(over_tls(folder.path(), "other")), "/well").await;
    assert!(text.contains("another certificate"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_demands_client_certificates_is_well_when_it_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let own = over_tls(folder.path(), "own");
    let demanding = ListenArgs { tls_client_ca: own.tls_cert.clone(), ..own };
    assert_eq!(said(demanding, None, "/well").await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_listens_nobody_is_well() {
    let folder = tempfile::tempdir().unwrap();
    let address = format!("unix:{}", folder.path().join("none").display());
    let asked = tokio::task::spawn_blocking(move || probe(&checked(&on(&address)), "/well"));
    let text = format!("{:#}", asked.await.unwrap().unwrap_err());
    assert!(text.contains("/none is not well") && text.contains("No such file"), "{text}");
}
