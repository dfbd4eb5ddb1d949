//! Facts about checks, against servers on loopback.

mod answers;
mod redirects;
mod transport;

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use http::{HeaderMap, Method, StatusCode};
use maintenant_api::endpoints::{EndpointConfig, EndpointType, FailureCause, Phases};
use rustls::RootCertStore;
use url::Url;

use super::hop::{Hop, Refusal};
use super::{Failure, Outcome, probe, words};
use crate::endpoints::spec::{Spec, defaults};
use crate::net::Net;
use crate::net::guard::Guard;
use crate::net::resolve::{LookUp, ResolveError, Resolver};
use crate::net::testing::{
    BlackHole, FUTURE, NOW, PAST, Pki, Reply, Server, hold, reply, self_signed, stand_still,
};
use crate::net::tls::Trust;

const SECRET: &str = "hunter2";

fn net() -> Net {
    net_with(|_| Ok(vec!["127.0.0.1".parse().unwrap()]))
}

/// With names of its own.
fn net_with(look_up: LookUp) -> Net {
    let mut net = Net::new(Guard::default(), Trust::of(RootCertStore::empty()).unwrap());
    net.resolver = Resolver::asking(look_up);
    net
}

fn trusting(trust: Trust) -> Net {
    let mut net = net();
    net.trust = trust.into();
    net
}

fn http(url: &str) -> Spec {
    http_with(url, |_| {})
}

fn http_with(url: &str, change: impl FnOnce(&mut EndpointConfig)) -> Spec {
    let mut config = defaults(EndpointType::Http);
    change(&mut config);
    Spec::parse(EndpointType::Http, url, &config).unwrap()
}

fn tcp(address: &str, send: Option<&str>, expect: Option<&str>) -> Spec {
    let mut config = defaults(EndpointType::Tcp);
    config.conditions.send = send.map(str::to_owned);
    config.conditions.expect = expect.map(str::to_owned);
    Spec::parse(EndpointType::Tcp, address, &config).unwrap()
}

fn hurried(spec: Spec) -> Spec {
    Spec { timeout: Duration::from_millis(500), ..spec }
}

/// Hurried where its time is to run out. What comes before that may come late.
fn hurried_for(words: &str, spec: Spec) -> Spec {
    if words.ends_with("within 0.5 s") { hurried(spec) } else { spec }
}

/// With time for what comes before the rest fails to come.
fn patient(spec: Spec) -> Spec {
    Spec { timeout: Duration::from_secs(5), ..spec }
}

/// What a check found. Nothing secret is ever in it.
async fn checked(net: &Net, spec: &Spec) -> Outcome {
    let outcome = probe(net, spec).await.unwrap();
    if let Some(Failure { error, .. }) = &outcome.failure {
        assert!(!error.contains(SECRET), "{error}");
        assert!(!error.is_empty() && error.chars().count() <= 300, "{error}");
        assert!(!error.chars().any(char::is_control), "{error}");
    }
    outcome
}

async fn succeeds(net: &Net, spec: &Spec) -> Outcome {
    let outcome = checked(net, spec).await;
    assert_eq!(outcome.failure, None);
    outcome
}

async fn fails(net: &Net, spec: &Spec, cause: FailureCause, words: &str) -> Outcome {
    let outcome = checked(net, spec).await;
    let failure = outcome.failure.clone().unwrap();
    assert!(failure.cause == cause && failure.error.contains(words), "{failure:?}");
    outcome
}

fn status(line: &str) -> Reply {
    reply(format!("HTTP/1.1 {line}\r\nContent-Length: 0\r\n\r\n"))
}

fn redirect(code: u16, location: &str) -> Reply {
    reply(format!("HTTP/1.1 {code} Moved\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"))
}

fn body(text: &str) -> Reply {
    reply(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()))
}

fn path(head: &str) -> String {
    head.split(' ').nth(1).unwrap_or_default().to_owned()
}
