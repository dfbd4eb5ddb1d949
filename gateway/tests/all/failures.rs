//! A collector that cannot be asked: the log of the start, `/readyz`, `get_health` and `check` say
//! the same sentence, which says what to do.

use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Redirect};
use futures_util::future::join_all;
use maintenant_gateway::check::{Outcome, examine};
use maintenant_serve::listener::{ConnectionLimits, Drain, Listener, serve};
use maintenant_serve::process::install_crypto;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::check::{Tlsed, over_tls};
use crate::clock::{TURN, by_turns};
use crate::fake::{Client, Fake, config, error, gateway_with, nameless, nobody};
use crate::reload::Process;

const CANARY: &str = "canary-words-of-the-other-side";
const LATE: &str = "did not answer in time";

struct Case {
    settings: Vec<String>,
    part: &'static str,
}

/// As strangers read it: the others are told the words of the other side as well.
fn own(text: &str) -> String {
    text.replace(&format!("`{CANARY}`"), "no reason given")
}

/// What `/readyz` of a process says of the collector, as its log of the start does.
async fn ready(case: &Case) -> String {
    let mut process = Process::start_with(&case.settings).await;
    let logged = process.logged("ollector `collector`").await;
    assert_eq!(logged["level"], "WARN", "{logged}");
    let logged = logged["message"].as_str().unwrap();
    assert!(logged.contains(case.part), "{}: {logged}", case.part);
    loop {
        let answer = process.client.get(format!("http://{}/readyz", process.address));
        let answer = answer.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE, "{}", case.part);
        let ready: Value = answer.json().await.unwrap();
        let ready = ready["failing"][0]["error"].as_str().unwrap().to_owned();
        assert!(!ready.contains(CANARY), "strangers read this: {ready}");
        // It waits for two seconds, which are few on a slow machine.
        if case.part == LATE || !ready.contains(LATE) {
            assert_eq!(own(logged), ready, "start");
            return ready;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// `get_health` and `check` say the same.
async fn says(case: &Case, ready: &str) {
    let arguments: Vec<&str> = case.settings.iter().map(String::as_str).collect();
    let client = Client::of(gateway_with(arguments[1], &arguments[2..])).await;
    let health = client.call("get_health", json!({})).await;
    let health = health["sources"][0]["error"].as_str().unwrap().to_owned();

    let report = Box::pin(examine(config(&arguments), None)).await.unwrap();
    let finding = &report.parts[0].findings;
    let finding = finding.iter().find(|one| one.result == Outcome::Fails).unwrap();

    for (place, text) in [("get_health", &health), ("check", &finding.text)] {
        assert_eq!(own(text), ready, "{place}");
    }
}

/// Something that answers every path in this way.
async fn answering(
    answer: impl IntoResponse + Clone + Send + Sync + 'static,
) -> (String, JoinSet<()>) {
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap(), None).await.unwrap();
    let url = format!("http://{}", listener.address());
    let routes = Router::new().fallback(move || std::future::ready(answer.clone()));
    let mut task = JoinSet::new();
    task.spawn(serve(listener, routes, ConnectionLimits::default(), Drain::default()));
    (url, task)
}

fn case(url: &str, part: &'static str) -> Case {
    Case { settings: vec!["--url".to_owned(), url.to_owned()], part }
}

fn over(server: &Tlsed, ca: &Tlsed, part: &'static str) -> Case {
    let mut case = case(&format!("https://{}", server.address), part);
    case.settings.extend(["--ca-cert".to_owned(), ca.certificate.clone()]);
    case
}

#[tokio::test]
async fn every_failure_has_one_sentence_in_all_places() {
    install_crypto();
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = (silent.local_addr().unwrap(), silent);
    let (page, _page) = answering(Html("<html>log in</html>")).await;
    let (login, _login) = answering(Redirect::temporary("https://id.example/")).await;
    let (nothing, _nothing) = answering((StatusCode::NOT_FOUND, "nothing")).await;
    let (forbidden, _forbidden) = answering((StatusCode::FORBIDDEN, "no")).await;
    let stranger = Fake::tcp(|_, _| error(401, "UNAUTHORIZED", CANARY)).await;
    let unlisted = Fake::tcp(|_, _| error(403, "FORBIDDEN", CANARY)).await;
    let broken = Fake::tcp(|_, _| error(500, "", CANARY)).await;
    let folders: Vec<_> = (0..4).map(|_| tempfile::tempdir().unwrap()).collect();
    let good = over_tls(folders[0].path(), "localhost", 2096, false).await;
    let other = over_tls(folders[1].path(), "other.example", 2096, false).await;
    let expired = over_tls(folders[2].path(), "localhost", 2020, false).await;
    let closed = over_tls(folders[3].path(), "localhost", 2096, true).await;
    let plain = Fake::tcp(|_, _| error(404, "NOT_FOUND", "x")).await;
    let at_plain = plain.url.replace("http://", "https://");
    let at_tls = format!("http://{}", good.address);

    let cases = vec![
        case(&nobody(), "nobody listens"),
        case(&nameless(), "does not resolve"),
        case("unix:/nowhere/m.sock", "socket does not exist"),
        case(&format!("http://{}", silent.0), LATE),
        over(&good, &other, "set MAINTENANT_CA_CERT"),
        over(&other, &other, "for another name"),
        over(&expired, &expired, "has expired (on 2020-01-01)"),
        over(&closed, &closed, "set MAINTENANT_CLIENT_CERT"),
        Case {
            settings: vec![
                "--url".to_owned(),
                at_plain,
                "--ca-cert".to_owned(),
                good.certificate.clone(),
            ],
            part: "it speaks no TLS",
        },
        case(&at_tls, "write https://"),
        case(&stranger.url, "set MAINTENANT_API_TOKEN"),
        case(&unlisted.url, "MAINTENANT_API_TOKEN to a token that may"),
        case(&forbidden, "MAINTENANT_API_TOKEN to a token that may"),
        case(&nothing, "does not point at a collector"),
        case(&page, "is no maintenant"),
        case(&login, "login page"),
        case(&broken.url, "status 500"),
    ];
    // First the processes: what they ask is answered by this thread, which `says` keeps busy.
    let ready = join_all(cases.iter().map(ready)).await;
    let _clock = by_turns(TURN);
    join_all(cases.iter().zip(&ready).map(|(case, ready)| says(case, ready))).await;
}

#[tokio::test]
async fn a_collector_that_answers_is_told_once_and_one_without_docker_with_its_reason() {
    let status = |error: Option<&str>| {
        let status = json!({"runtime": "docker", "connected": error.is_none(), "error": error});
        move |_: &str, _: usize| (200, status.clone())
    };
    let good = Fake::tcp(status(None)).await;
    let mut process = Process::start_with(&["--url".to_owned(), good.url.clone()]).await;
    let line = process.logged("the collector answers").await;
    assert_eq!((&line["level"], &line["collector"]), (&json!("INFO"), &json!("collector")));

    let why = "the Docker socket /var/run/docker.sock refuses user 1000; add the collector to group \
               105 (docker): `group_add: [\"105\"]` in compose";
    let apart = Fake::tcp(status(Some(why))).await;
    let mut process = Process::start_with(&["--url".to_owned(), apart.url.clone()]).await;
    let line = process.logged("not connected to docker").await;
    assert_eq!(line["level"], "WARN");
    let told = line["message"].as_str().unwrap();
    assert!(told.contains("group_add: [\"105\"]"), "{told}");
}
