//! TLS, TCP without HTTP, and words.

use super::*;

#[tokio::test]
async fn a_certificate_is_judged_before_anything_is_sent() {
    let (pki, stranger) = (Pki::named("our"), Pki::named("their"));
    let check = async |identity, verify: bool, words: Option<&str>| {
        let server = Server::https(identity, |_| body("fine")).await;
        let spec = http_with(&format!("https://{}/", server.address), |config| {
            config.tls_verify = verify;
            config.headers.insert("Authorization".into(), SECRET.into());
        });
        let net = trusting(pki.trust());
        let outcome = match words {
            None => succeeds(&net, &spec).await,
            Some(words) => fails(&net, &spec, FailureCause::Tls, words).await,
        };
        assert!(outcome.phases.tls_ms.is_some());
        let sent = server.seen.lock().unwrap().iter().any(|head| !head.is_empty());
        assert_eq!(sent, words.is_none());
    };
    check(pki.issue(&["127.0.0.1"], NOW), true, None).await;
    let past = "the certificate is not trusted: expired on 2024-01-01";
    check(pki.issue(&["127.0.0.1"], PAST), true, Some(past)).await;
    check(pki.issue(&["127.0.0.1"], FUTURE), true, Some("not valid before 2090-01-01")).await;
    check(pki.issue(&["a.example"], NOW), true, Some("not valid for 127.0.0.1")).await;
    check(self_signed(&["127.0.0.1"]), true, Some("signed by an unknown authority")).await;
    check(stranger.issue(&["127.0.0.1"], NOW), true, Some("signed by an unknown authority")).await;
    check(pki.issue(&["127.0.0.1"], PAST), false, None).await;
    check(self_signed(&["a.example"]), false, None).await;
}

#[tokio::test]
async fn a_host_header_names_the_server_in_tls_too() {
    let pki = Pki::named("our");
    let server = Server::https(pki.issue(&["shop.example"], NOW), |_| body("fine")).await;
    let spec = http_with(&format!("https://{}/", server.address), |config| {
        config.headers.insert("Host".into(), "shop.example:8443".into());
    });
    succeeds(&trusting(pki.trust()), &spec).await;
    assert_eq!(*server.names.lock().unwrap(), [Some("shop.example".to_owned())]);
    assert!(server.only().contains("host: shop.example:8443\r\n"));
}

#[tokio::test]
async fn a_handshake_that_does_not_complete_is_a_tls_failure() {
    let check = async |answer: Reply, words: &str| {
        let server = Server::greeting(answer).await;
        let spec = hurried_for(words, http(&format!("https://{}/", server.address)));
        let outcome = fails(&net(), &spec, FailureCause::Tls, words).await;
        assert!(outcome.phases.tls_ms.is_some() && outcome.phases.first_byte_ms.is_none());
    };
    check(hold(""), "no TLS handshake within 0.5 s").await;
    check(hold("HTTP/1.1 400 Bad Request\r\n\r\n"), "the server does not speak TLS").await;
    check(reply(""), "the server closed the connection during the TLS handshake").await;
    // An alert: fatal, protocol version.
    check(hold([21, 3, 3, 0, 2, 2, 70]), "the server does not speak TLS 1.2 or 1.3").await;
}

#[tokio::test]
async fn a_tcp_check_connects_and_leaves_by_a_reset() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let outcome = succeeds(&net(), &tcp(&address, None, None)).await;
    assert_eq!((outcome.http_status, outcome.phases.first_byte_ms), (None, None));
    let (mut stream, _) = listener.accept().await.unwrap();
    let end = tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 1]).await;
    assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn what_is_expected_over_tcp_must_come() {
    let check = async |greeting: Reply, expect: &str, words: Option<&str>| {
        let server = Server::greeting(greeting).await;
        let spec = tcp(&server.address.to_string(), None, Some(expect));
        let spec = hurried_for(words.unwrap_or_default(), spec);
        match words {
            None => {
                let outcome = succeeds(&net(), &spec).await;
                assert!(outcome.phases.first_byte_ms.is_some());
            }
            Some(words) => drop(fails(&net(), &spec, FailureCause::Condition, words).await),
        }
    };
    check(hold("220 mail.example ESMTP\r\n"), "ESMTP", None).await;
    check(reply("220 mail.example ESMTP\r\n"), "220 ", None).await;
    let long = |before: usize| hold(format!("{}+OK", "x".repeat(before)));
    check(long(4093), "+OK", None).await;
    check(long(4094), "+OK", Some("`+OK` is not in the first 4096 bytes")).await;
    check(hold("hunter2"), "+OK", Some("`+OK` did not come within 0.5 s")).await;
    check(hold(""), "+OK", Some("`+OK` did not come within 0.5 s")).await;
    check(reply("hunter2"), "+OK", Some("the connection was closed before `+OK` came")).await;
}

#[tokio::test]
async fn what_is_sent_over_tcp_arrives_whole() {
    let server =
        Server::http(|head| reply(if head == "PING\r\n\r\n" { "+PONG" } else { "-" })).await;
    let address = server.address.to_string();
    succeeds(&net(), &tcp(&address, Some("PING\r\n\r\n"), Some("+PONG"))).await;
    assert_eq!(server.only(), "PING\r\n\r\n");
}

#[test]
fn foreign_words_are_printable_and_bounded() {
    let check = |text: &str, shown: &str| assert_eq!(words::bounded(text), shown);
    check("fine", "fine");
    check("a\nb\u{1b}[2J\u{202e}", "a\\nb\\u{1b}[2J\\u{202e}");
    check(&"é".repeat(300), &"é".repeat(300));
    check(&"é".repeat(301), &format!("{}…", "é".repeat(299)));
    check(&"\n".repeat(301), &format!("{}\\…", "\\n".repeat(149)));
}

#[test]
fn a_check_under_way_takes_little_memory() {
    let (net, spec) = (net(), http("https://a.example/"));
    let size = size_of_val(&probe(&net, &spec));
    assert!(size <= 8 * 1024, "{size} bytes");
}

#[tokio::test]
async fn this_process_is_sent_nothing() {
    let own = Server::http(|_| body("deleted")).await;
    let net = net().of_listener([own.address]);
    let spec = http_with(&format!("http://localhost:{}/api/v1/x", own.port()), |config| {
        config.method = Some("DELETE".into());
        config.headers.insert("Host".into(), "permitted.example".into());
    });
    fails(&net, &spec, FailureCause::Refused, "the collector itself").await;
    let to = format!("http://{}/", own.address);
    let other = Server::http(move |_| redirect(302, &to)).await;
    let spec = http(&format!("http://{}/", other.address));
    fails(&net, &spec, FailureCause::Refused, "the collector itself").await;
    assert_eq!(own.seen.lock().unwrap().len(), 0);
}
