//! What somebody without a token can make a gateway do: little, however often it is asked.

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::clock::{TURN, by_turns};
use crate::fake::{Fake, contract};
use crate::log::Log;
use crate::wire::Server;

/// Bound on waiting for something that must happen.
const BOUND: Duration = Duration::from_secs(20);

#[tokio::test]
async fn foreign_hosts_and_origins_do_not_fill_the_log() {
    let (log, _guard) = Log::begin();
    let fake = Fake::tcp(contract).await;
    let server = Server::gateway(&fake.url, &[]).await;
    for name in ["host", "origin"] {
        for number in 0..50 {
            let value = format!("http://evil{number}.example");
            let value = value.strip_prefix(if name == "host" { "http://" } else { "" }).unwrap();
            let answer = server.post("{}").header(name, value).send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::FORBIDDEN);
            assert!(answer.text().await.unwrap().contains(value), "each is told what it sent");
        }
    }
    let log = log.text();
    let lines = |part: &str| log.lines().filter(|line| line.contains(part)).count();
    assert_eq!((lines("host `evil"), lines("origin `http://evil")), (1, 1), "{log}");
    assert!(log.contains("host `evil0.example` is not allowed"), "{log}");
}

#[tokio::test]
async fn whoever_asks_for_readiness_and_leaves_makes_collectors_no_work() {
    let _clock = by_turns(TURN);
    let gate = Arc::new(Semaphore::new(0));
    let fake = Fake::held(contract, gate.clone()).await;
    let server = Server::gateway(&fake.url, &[]).await;
    let address = server.url.strip_prefix("http://").unwrap();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        let asked = async {
            while fake.paths().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(BOUND, asked).await.expect("nobody was asked");
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let left = stream.read_to_end(&mut answer);
        let left = tokio::time::timeout(BOUND, left).await.expect("the gateway did not notice");
        assert_eq!(left.unwrap(), 0);
    }
    gate.add_permits(1);
    let ready = server.request(Method::GET, "/readyz").send().await.unwrap();
    assert_eq!(ready.status(), StatusCode::OK);
    assert_eq!(fake.paths(), ["runtime/status"], "one look for all of them");
}
