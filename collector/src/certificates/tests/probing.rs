use std::time::Duration;

use maintenant_api::certificates::Verdict;
use maintenant_serve::clock;
use rustls::RootCertStore;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::changes::monitor;
use crate::certificates::probe;
use crate::certificates::verdict::Finding;
use crate::net::Net;
use crate::net::guard::Guard;
use crate::net::testing::closed_port;
use crate::net::tls::Trust;

fn net() -> Net {
    Net::new(Guard::default(), Trust::of(RootCertStore::empty()).unwrap())
}

/// What is found of a server that answers the first thing it hears with these bytes, and then ends.
async fn find(answer: &[u8]) -> Finding {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut target = monitor().target;
    target.host = "127.0.0.1".to_owned();
    target.port = listener.local_addr().unwrap().port();
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut hello = [0; 4096];
        let _ = stream.read(&mut hello).await;
        let _ = stream.write_all(answer).await;
        let _ = stream.shutdown().await;
        // Ends when the client has read all of it.
        let _ = stream.read_to_end(&mut Vec::new()).await;
    };
    let net = net();
    let (finding, ()) = tokio::join!(probe::check(&net, &target, clock::now), serve);
    finding.unwrap()
}

async fn check(answer: &[u8], verdict: Verdict, says: &str) {
    let finding = find(answer).await;
    assert_eq!(finding.verdict, verdict, "{answer:?}: {finding:?}");
    let error = finding.error.unwrap();
    assert!(error.contains(says), "{answer:?}: {error}");
    assert!(finding.hint.is_some() && finding.chain_valid.is_none() && finding.facts.is_none());
}

/// A fatal alert in a TLS 1.2 record.
fn alert(description: u8) -> [u8; 7] {
    [0x15, 3, 3, 0, 2, 2, description]
}

#[tokio::test]
async fn an_answer_that_is_no_tls_is_told() {
    check(b"HTTP/1.1 400 Bad Request\r\n\r\n", Verdict::NoTls, "other than TLS").await;
    check(b"220 mail.test ESMTP\r\n", Verdict::NoTls, "other than TLS").await;
    check(b"", Verdict::NoTls, "ended the connection").await;
    check(&[0; 300], Verdict::NoTls, "other than TLS").await;
}

#[tokio::test]
async fn a_server_of_old_protocols_is_told() {
    check(&alert(70), Verdict::ProtocolTooOld, "TLS 1.1").await;
    // One so old that it ignores what we offer and answers in TLS 1.0.
    let mut hello = vec![0x16, 3, 1, 0, 42, 2, 0, 0, 38, 3, 1];
    hello.extend([7; 32]);
    hello.extend([0, 0xc0, 0x13, 0]);
    check(&hello, Verdict::ProtocolTooOld, "TLS 1.1").await;
}

#[tokio::test]
async fn a_server_that_refuses_us_is_told() {
    check(&alert(40), Verdict::Unacceptable, "no TLS could be agreed on").await;
    check(&alert(112), Verdict::Unacceptable, "knows no `127.0.0.1`").await;
}

#[tokio::test]
async fn nobody_there_is_told() {
    let (_held, closed) = closed_port();
    let mut target = monitor().target;
    target.host = "127.0.0.1".to_owned();
    target.port = closed;
    let finding = probe::check(&net(), &target, clock::now).await.unwrap();
    assert_eq!(finding.verdict, Verdict::Unreachable);
    assert!(finding.error.unwrap().ends_with("connection refused"));
    target.host = "169.254.169.254".to_owned();
    let finding = probe::check(&net(), &target, clock::now).await.unwrap();
    assert_eq!(finding.verdict, Verdict::Unreachable);
    assert!(finding.error.unwrap().contains("not probed"));
}

#[tokio::test]
async fn one_deadline_holds_for_everything_together() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut target = monitor().target;
    target.host = "127.0.0.1".to_owned();
    target.port = listener.local_addr().unwrap().port();
    let net = net();
    let waited = tokio::time::Instant::now();
    // Connected first: a paused clock runs ahead while the system connects.
    let serve = async {
        let (stream, _) = listener.accept().await.unwrap();
        tokio::time::pause();
        tokio::time::sleep(Duration::from_mins(1)).await;
        drop(stream);
    };
    tokio::select! {
        finding = probe::check(&net, &target, clock::now) => {
            let finding = finding.unwrap();
            assert_eq!(finding.verdict, Verdict::Unreachable);
            assert!(finding.error.unwrap().contains("no TLS handshake in time"));
        }
        () = serve => panic!("the deadline did not hold"),
    }
    assert!(waited.elapsed() < Duration::from_secs(30));
}
