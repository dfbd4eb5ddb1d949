//! Requests, and what may be wrong with an answer.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

#[tokio::test]
async fn a_request_is_plain_and_asks_for_an_end() {
    let server = Server::http(|_| body("fine")).await;
    let url = format!("http://{}/health?deep=1#part", server.address);
    let outcome = succeeds(&net(), &http(&url)).await;
    assert_eq!(outcome.http_status, Some(200));
    let expected = format!(
        "GET /health?deep=1 HTTP/1.1\r\nhost: {}\r\nuser-agent: maintenant/{}\r\naccept: */*\r\n\
         accept-encoding: identity\r\nconnection: close\r\n\r\n",
        server.address,
        env!("CARGO_PKG_VERSION"),
    );
    assert_eq!(server.only(), expected);
}

#[tokio::test]
async fn method_and_headers_are_those_configured() {
    let server = Server::http(|_| status("204 No Content")).await;
    let spec = http_with(&format!("http://{}", server.address), |config| {
        config.method = Some("post".into());
        config.headers.insert("User-Agent".into(), "custom".into());
        config.headers.insert("X-Token".into(), SECRET.into());
        config.headers.insert("Host".into(), "shop.example:81".into());
    });
    succeeds(&net(), &spec).await;
    let head = server.only();
    assert!(head.starts_with("POST / HTTP/1.1\r\n"), "{head}");
    for line in ["host: shop.example:81", "user-agent: custom", "x-token: hunter2"] {
        assert_eq!(head.lines().filter(|other| *other == line).count(), 1, "{line} in {head}");
    }
    assert!(head.contains("content-length: 0\r\n"), "{head}");
}

#[tokio::test]
async fn user_and_password_become_basic_authorisation() {
    let server = Server::http(|_| status("401 Unauthorized")).await;
    let url = format!("http://us%3Fer:hunter2%20@{}/?token=hunter2", server.address);
    fails(&net(), &http(&url), FailureCause::Status, "status 401, expected 2xx").await;
    // `us?er:hunter2 `
    assert!(server.only().contains("authorization: Basic dXM/ZXI6aHVudGVyMiA=\r\n"));
}

#[tokio::test]
async fn phases_add_up_and_those_not_reached_are_absent() {
    let server = Server::http(|_| body("fine")).await;
    let outcome = succeeds(&net(), &http(&format!("http://{}", server.address))).await;
    let Phases { dns_ms, connect_ms, tls_ms, first_byte_ms, body_ms } = outcome.phases;
    let all = [dns_ms, connect_ms, first_byte_ms, body_ms].map(Option::unwrap);
    assert!(all.iter().sum::<i64>() <= outcome.response_time_ms, "{outcome:?}");
    assert_eq!(tls_ms, None);
    let head = http_with(&format!("http://{}", server.address), |config| {
        config.method = Some("HEAD".into());
    });
    assert_eq!(succeeds(&net(), &head).await.phases.body_ms, None);
}

#[tokio::test]
async fn ipv6_targets_are_spoken_to_as_such() {
    let ipv6: IpAddr = Ipv6Addr::LOCALHOST.into();
    let server = Server::start(ipv6, None, true, |_| body("fine")).await;
    let port = server.port();
    succeeds(&net(), &http(&format!("http://[::1]:{port}/"))).await;
    assert!(server.only().contains(&format!("host: [::1]:{port}\r\n")));
    succeeds(&net(), &tcp(&format!("[::1]:{port}"), None, None)).await;
}

#[tokio::test]
async fn a_name_without_an_address_is_a_dns_failure() {
    static ASKED: AtomicBool = AtomicBool::new(false);
    let unknown = net_with(|_| Err(ResolveError::Failed("Name\n does not resolve".into())));
    let outcome = fails(
        &unknown,
        &http("http://user:hunter2@gone.example/?t=hunter2"),
        FailureCause::Dns,
        "the name was not resolved: Name\\n does not resolve",
    )
    .await;
    assert!(outcome.phases.dns_ms.is_some() && outcome.phases.connect_ms.is_none());
    fails(&unknown, &tcp("gone.example:1", None, None), FailureCause::Dns, "not resolved").await;
    let silent = net_with(|_| {
        ASKED.store(true, Ordering::SeqCst);
        std::thread::sleep(Duration::from_hours(1));
        Err(ResolveError::Empty)
    });
    let slow = hurried(http("http://slow.example/"));
    let words = "the name was not resolved within 0.5 s";
    // Its time goes on once somebody asks.
    let still = stand_still();
    let asked = async {
        while !ASKED.load(Ordering::SeqCst) {
            tokio::task::yield_now().await;
        }
        drop(still);
    };
    tokio::join!(fails(&silent, &slow, FailureCause::Dns, words), asked);
}

#[tokio::test]
async fn what_says_nothing_about_the_target_is_no_outcome() {
    let busy = net_with(|_| Err(ResolveError::Busy));
    assert_eq!(probe(&busy, &http("http://a.example/")).await, None);
    assert_eq!(probe(&busy, &tcp("a.example:80", None, None)).await, None);
}

#[tokio::test]
async fn a_connection_refused_or_never_made_is_a_connect_failure() {
    let hole = BlackHole::at("127.0.0.1:0".parse().unwrap()).await;
    let (silent, refusing) =
        (hole.address, SocketAddr::from(([127, 0, 0, 8], hole.address.port())));
    for spec in [http(&format!("http://{refusing}/")), tcp(&refusing.to_string(), None, None)] {
        let outcome = fails(&net(), &spec, FailureCause::Connect, "connection refused").await;
        assert!(outcome.phases.connect_ms.is_some() && outcome.phases.first_byte_ms.is_none());
    }
    for spec in [http(&format!("http://{silent}/")), tcp(&silent.to_string(), None, None)] {
        let words = "no connection within 0.5 s";
        let outcome = fails(&net(), &hurried(spec), FailureCause::Connect, words).await;
        assert!(outcome.response_time_ms >= 500 && outcome.http_status.is_none());
    }
}

#[tokio::test]
async fn families_are_raced() {
    let server = Server::http(|_| body("fine")).await;
    let silent = SocketAddr::from((Ipv6Addr::LOCALHOST, server.port()));
    let _hole = BlackHole::at(silent).await;
    let both = net_with(|_| Ok(vec!["::1".parse().unwrap(), "127.0.0.1".parse().unwrap()]));
    let url = format!("http://both.example:{}/", server.port());
    let outcome = succeeds(&both, &http(&url)).await;
    assert!(outcome.phases.connect_ms.unwrap() >= 250, "{outcome:?}");
}

async fn first_byte(answer: Reply, words: &str) {
    let server = Server::greeting(answer).await;
    let spec = http(&format!("http://user:hunter2@{}/?hunter2", server.address));
    let spec = hurried_for(words, spec);
    let outcome = fails(&net(), &spec, FailureCause::FirstByte, words).await;
    assert!(outcome.phases.first_byte_ms.is_some() && outcome.http_status.is_none());
}

#[tokio::test]
async fn an_answer_that_does_not_begin_as_http_is_a_first_byte_failure() {
    let cookies = "Set-Cookie: a=b\r\n";
    let padding = "x".repeat(100_000);
    first_byte(hold(""), "no answer within 0.5 s").await;
    first_byte(hold("HTTP/1.1 200 OK\r\n"), "no answer within 0.5 s").await;
    first_byte(reply(""), "closed the connection without an answer").await;
    first_byte(reply("HTTP/1.1 200 OK\r\n"), "closed the connection without an answer").await;
    first_byte(hold("SSH-2.0-OpenSSH\r\n\u{1b}]0;x\u{7}"), "the answer is not HTTP").await;
    first_byte(hold(format!("HTTP/1.1 200 OK\r\nA: {padding}\r\n\r\n")), "larger than 64 KiB")
        .await;
    let many = cookies.repeat(101);
    first_byte(hold(format!("HTTP/1.1 200 OK\r\n{many}\r\n")), "more than 100 headers").await;
}

#[tokio::test]
async fn an_answer_that_does_not_end_is_a_body_failure() {
    let check = async |answer: &'static str, ends: bool, words: &str| {
        let give = move |_: &str| if ends { reply(answer) } else { hold(answer) };
        let server = Server::http(give).await;
        let spec = patient(http(&format!("http://{}/", server.address)));
        let outcome = fails(&net(), &spec, FailureCause::Body, words).await;
        assert!(outcome.phases.body_ms.is_some() && outcome.http_status == Some(200));
    };
    let ten = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfine";
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n";
    let nonsense = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense";
    tokio::join!(
        check(ten, false, "the answer did not end within 5 s"),
        check(ten, true, "the answer broke off"),
        check(chunked, false, "did not end"),
        check(chunked, true, "broke off"),
        check(nonsense, false, "broke off"),
    );
}

#[tokio::test]
async fn a_body_is_read_to_its_bound_and_no_further() {
    // It would never end.
    let long = format!("HTTP/1.1 200 OK\r\n\r\n{}late", "x".repeat(64 * 1024 - 2));
    let server = Server::http(move |_| hold(&long)).await;
    let url = format!("http://{}/", server.address);
    succeeds(&net(), &http(&url)).await;
    let contains = |part: &'static str| {
        http_with(&url, |config| config.conditions.body_contains = Some(part.into()))
    };
    succeeds(&net(), &contains("xla")).await;
    fails(&net(), &contains("late"), FailureCause::Condition, "do not contain `late`").await;
}

#[tokio::test]
async fn the_status_is_one_of_those_expected() {
    let server = Server::http(|head| status(&format!("{} Word", &path(head)[1..]))).await;
    let check = async |code: u16, expected: &str, words: Option<&str>| {
        let spec = http_with(&format!("http://{}/{code}", server.address), |config| {
            config.expected_status = Some(expected.into());
        });
        let outcome = match words {
            None => succeeds(&net(), &spec).await,
            Some(words) => fails(&net(), &spec, FailureCause::Status, words).await,
        };
        assert_eq!(outcome.http_status, Some(code));
    };
    check(200, "2xx", None).await;
    check(404, "2xx,404", None).await;
    check(301, "301", None).await;
    check(503, "2xx", Some("status 503, expected 2xx")).await;
    check(200, "404,500-503", Some("status 200, expected 404,500-503")).await;
    // Of these there is nothing to follow.
    check(300, "2xx", Some("status 300")).await;
    check(304, "2xx", Some("status 304")).await;
}

async fn condition(change: impl FnOnce(&mut EndpointConfig), words: Option<&str>) {
    let answer = "HTTP/1.1 200 OK\r\nX-Version: v1 hunter2\r\nX-Version: v2 \u{e9}\r\n\
                  Content-Length: 21\r\n\r\nstatus: fine\n\0 hunter2";
    let server = Server::http(move |_| reply(answer)).await;
    let spec = http_with(&format!("http://{}/", server.address), change);
    match words {
        None => succeeds(&net(), &spec).await,
        Some(words) => fails(&net(), &spec, FailureCause::Condition, words).await,
    };
}

#[tokio::test]
async fn headers_and_body_meet_all_conditions_or_one_is_named() {
    condition(|config| config.conditions.body_contains = Some("fine".into()), None).await;
    condition(|config| config.conditions.body_matches = Some("(?m)^status: f.*$".into()), None)
        .await;
    let wrong = Some("the body does not contain `Fine`");
    condition(|config| config.conditions.body_contains = Some("Fine".into()), wrong).await;
    let wrong = Some("the body does not match `^fine`");
    condition(|config| config.conditions.body_matches = Some("^fine".into()), wrong).await;
    let long = Some("the body does not contain `yyyy");
    condition(|config| config.conditions.body_contains = Some("y".repeat(4000)), long).await;
    let header = |name: &'static str, part: &'static str| {
        move |config: &mut EndpointConfig| {
            config.conditions.header_contains.insert(name.into(), part.into());
        }
    };
    condition(header("X-Version", "v2"), None).await;
    condition(header("x-version", "v3"), Some("header x-version does not contain `v3`")).await;
    condition(header("X-Other", "v"), Some("header x-other is missing")).await;
    let matches = |name: &'static str, text: &'static str| {
        move |config: &mut EndpointConfig| {
            config.conditions.header_matches.insert(name.into(), text.into());
        }
    };
    condition(matches("X-Version", r"^v\d "), None).await;
    condition(matches("X-Version", "^v3"), Some("header x-version does not match `^v3`")).await;
    let both = |config: &mut EndpointConfig| {
        header("X-Version", "v2")(config);
        config.conditions.body_contains = Some("down".into());
    };
    condition(both, Some("the body does not contain `down`")).await;
}

#[tokio::test]
async fn an_expression_is_looked_for_in_long_bodies_too() {
    let text = format!("{}needle", "x".repeat(20_000));
    let server = Server::http(move |_| body(&text)).await;
    let matches = |text: &str| {
        http_with(&format!("http://{}/", server.address), |config| {
            config.conditions.body_matches = Some(text.into());
        })
    };
    succeeds(&net(), &matches("x{5}need.e$")).await;
    fails(&net(), &matches("^needle"), FailureCause::Condition, "does not match `^needle`").await;
}

#[tokio::test]
async fn a_condition_on_no_body_is_not_met() {
    let server = Server::http(|_| status("200 OK")).await;
    let spec = http_with(&format!("http://{}/", server.address), |config| {
        config.conditions.body_contains = Some("fine".into());
    });
    fails(&net(), &spec, FailureCause::Condition, "the body does not contain `fine`").await;
}

#[tokio::test]
async fn a_body_longer_than_what_is_searched_is_told() {
    let text = format!("{}needle", "x".repeat(64 * 1024));
    let server = Server::http(move |_| body(&text)).await;
    let spec = http_with(&format!("http://{}/", server.address), |config| {
        config.conditions.body_contains = Some("needle".into());
    });
    let words = "the first 64 KiB of the body do not contain `needle`";
    fails(&net(), &spec, FailureCause::Condition, words).await;
}

/// Threads that searching took, and what was found.
fn searched(value: &str, part: &str) -> (usize, Outcome) {
    let threads = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = threads.clone();
    // Of this kind of runtime only work that may block starts threads.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .on_thread_start(move || {
            count.fetch_add(1, Ordering::SeqCst);
        })
        .build()
        .unwrap();
    let outcome = runtime.block_on(async {
        let header = format!("X-Long: {value}\r\n").repeat(3);
        let text = format!("HTTP/1.1 200 OK\r\n{header}Content-Length: 0\r\n\r\n");
        let server = Server::http(move |_| reply(&text)).await;
        let spec = http_with(&format!("http://{}/", server.address), |config| {
            config.conditions.header_matches.insert("x-long".into(), part.into());
        });
        checked(&net(), &spec).await
    });
    (threads.load(Ordering::SeqCst), outcome)
}

#[test]
fn long_headers_are_searched_where_that_holds_up_nobody() {
    let long = "x".repeat(2000);
    let (threads, outcome) = searched(&long, "^x{5}");
    assert_eq!((threads, outcome.failure), (1, None));
    let (threads, outcome) = searched(&long, "y");
    let words = "header x-long does not match `y`";
    assert_eq!((threads, outcome.failure.unwrap().error.as_str()), (1, words));
    assert_eq!(searched("short", "^s").0, 0);
}
