//! Redirects, and addresses that are not probed.

use super::*;

#[tokio::test]
async fn redirects_are_followed_up_to_their_limit() {
    let server = Server::http(|head| match path(head).as_str() {
        "/3" => body("end"),
        "/loop" => redirect(302, "/loop"),
        path => redirect(302, &format!("/{}", path[1..].parse::<u8>().unwrap() + 1)),
    })
    .await;
    let spec = |path: &str, most: i64| {
        http_with(&format!("http://{}{path}", server.address), |config| {
            config.max_redirects = Some(most);
        })
    };
    let outcome = succeeds(&net(), &spec("/0", 3)).await;
    assert_eq!(outcome.http_status, Some(200));
    let too_many = FailureCause::Redirect;
    let outcome = fails(&net(), &spec("/0", 2), too_many, "more than 2 redirects").await;
    assert_eq!(outcome.http_status, Some(302));
    fails(&net(), &spec("/loop", 20), too_many, "more than 20 redirects").await;
    fails(&net(), &spec("/0", 0), FailureCause::Status, "status 302, expected 2xx").await;
    let expected = http_with(&format!("http://{}/loop", server.address), |config| {
        config.expected_status = Some("302".into());
    });
    server.seen.lock().unwrap().clear();
    succeeds(&net(), &expected).await;
    assert!(server.only().starts_with("GET /loop "));
}

#[tokio::test]
async fn a_turn_waited_for_is_no_time_of_the_target() {
    let server = Server::http(|head| match path(head).as_str() {
        "/" => redirect(302, "/end"),
        _ => body("end"),
    })
    .await;
    let mut slow = Net::with_rate(Guard::default(), Trust::of(RootCertStore::empty()).unwrap(), 1);
    slow.resolver = net().resolver;
    let _still = stand_still();
    slow.turn().await;
    let spec = hurried(http(&format!("http://{}/", server.address)));
    let turn = async {
        while slow.rate_metrics().delayed == 0 {
            tokio::task::yield_now().await;
        }
        // More than the timeout.
        tokio::time::advance(Duration::from_secs(1)).await;
    };
    let (outcome, ()) = tokio::join!(succeeds(&slow, &spec), turn);
    assert_eq!(outcome.response_time_ms, 0, "{outcome:?}");
}

#[tokio::test]
async fn what_is_configured_stays_with_its_origin() {
    let other = Server::http(|_| body("end")).await;
    let there = format!("http://{}/there", other.address);
    let server = Server::http(move |head| match path(head).as_str() {
        "/" => redirect(307, "/same"),
        _ => redirect(307, &there),
    })
    .await;
    let spec = http_with(&format!("http://user:hunter2@{}/", server.address), |config| {
        config.method = Some("PUT".into());
        config.headers.insert("Cookie".into(), SECRET.into());
        config.headers.insert("X-Api-Key".into(), SECRET.into());
        config.headers.insert("Host".into(), "secret.example".into());
    });
    succeeds(&net(), &spec).await;
    let seen = server.seen.lock().unwrap().clone();
    assert_eq!(seen.len(), 2);
    for head in seen {
        assert!(head.contains("host: secret.example\r\n") && head.contains("authorization: Basic"));
        assert!(head.contains("cookie: hunter2\r\n") && head.contains("x-api-key: hunter2\r\n"));
    }
    let head = other.only();
    assert!(head.starts_with("PUT /there HTTP/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("host: {}\r\n", other.address)), "{head}");
    assert!(!head.contains(SECRET) && !head.contains("authorization") && !head.contains("secret"));
}

#[tokio::test]
async fn a_failure_after_a_redirect_says_where() {
    let hole = BlackHole::at("127.0.0.1:0".parse().unwrap()).await;
    let there = SocketAddr::from(([127, 0, 0, 8], hole.address.port()));
    let away = format!("http://user:hunter2@{there}/?hunter2");
    let server = Server::http(move |_| redirect(302, &away)).await;
    let words = format!("after a redirect to http://{there}: connection refused");
    let spec = http(&format!("http://{}/", server.address));
    let outcome = fails(&net(), &spec, FailureCause::Connect, &words).await;
    assert_eq!(outcome.http_status, Some(302));
    let silent = format!("http://{}/", hole.address);
    let server = Server::http(move |_| redirect(302, &silent)).await;
    let spec = patient(http(&format!("http://{}/", server.address)));
    let outcome = fails(&net(), &spec, FailureCause::Connect, "no connection within 5 s").await;
    assert!(outcome.response_time_ms >= 5000, "{outcome:?}");
}

fn next(
    from: &str,
    method: &Method,
    code: u16,
    location: &str,
) -> Result<(Method, String), Refusal> {
    let mut hop = Hop::first(&http(from), &Url::parse(from).unwrap());
    hop.method = method.clone();
    let mut answer = HeaderMap::new();
    if !location.is_empty() {
        answer.insert("location", location.parse().unwrap());
    }
    let next = hop.follow(StatusCode::from_u16(code).unwrap(), &answer)?;
    Ok((next.method, next.url.to_string()))
}

#[test]
fn a_redirect_keeps_or_changes_the_method_by_its_status() {
    let check = |method: Method, code: u16, then: Method| {
        let (changed, _) = next("http://a/", &method, code, "/b").unwrap();
        assert_eq!(changed, then, "{method} {code}");
    };
    for code in [301, 302, 303, 307, 308] {
        check(Method::GET, code, Method::GET);
        check(Method::HEAD, code, Method::HEAD);
    }
    for code in [301, 302, 303] {
        check(Method::POST, code, Method::GET);
    }
    check(Method::POST, 307, Method::POST);
    check(Method::POST, 308, Method::POST);
    check(Method::PUT, 302, Method::PUT);
    check(Method::PUT, 303, Method::GET);
}

#[test]
fn a_redirect_goes_to_http_and_https_and_never_back_from_https() {
    let check = |from: &str, location: &str, expected: Result<&str, Refusal>| {
        let found = next(from, &Method::GET, 302, location).map(|(_, url)| url);
        assert_eq!(found.as_deref().map_err(|refusal| *refusal), expected, "{location}");
    };
    check("http://a/b/c?d", "e", Ok("http://a/b/e"));
    check("http://a/b", "//c/d", Ok("http://c/d"));
    check("http://a/", "https://a/", Ok("https://a/"));
    check("https://a/", "https://b/", Ok("https://b/"));
    check("https://a/", "http://a/", Err(Refusal::Downgrade));
    check("http://a/", "", Err(Refusal::NoLocation));
    check("http://a/", "http://[", Err(Refusal::NoLocation));
    check("http://a/", "ftp://a/", Err(Refusal::Scheme));
    check("http://a/", "file:///etc/passwd", Err(Refusal::Scheme));
    check("https://a/", "javascript:alert(1)", Err(Refusal::Scheme));
}

#[tokio::test]
async fn a_redirect_that_cannot_be_followed_is_the_failure() {
    let server = Server::http(|_| redirect(302, "ftp://a/hunter2")).await;
    let spec = http(&format!("http://{}/", server.address));
    let outcome = fails(&net(), &spec, FailureCause::Redirect, "something other than http").await;
    assert_eq!(outcome.http_status, Some(302));
    let server = Server::http(|_| status("302 Found")).await;
    let spec = http(&format!("http://{}/", server.address));
    fails(&net(), &spec, FailureCause::Redirect, "does not say where to").await;
    let pki = Pki::named("our");
    let server =
        Server::https(pki.issue(&["127.0.0.1"], NOW), |_| redirect(302, "http://a/hunter2")).await;
    let spec = http(&format!("https://{}/", server.address));
    fails(&trusting(pki.trust()), &spec, FailureCause::Redirect, "from https to http").await;
}

#[tokio::test]
async fn metadata_addresses_are_refused_wherever_they_come_from() {
    let refused = FailureCause::Refused;
    let words = "a link-local address, which is not probed";
    fails(&net(), &http("http://169.254.169.254/latest"), refused, words).await;
    fails(&net(), &http("http://2852039166/latest"), refused, words).await;
    fails(&net(), &http("http://[::ffff:a9fe:a9fe]/"), refused, words).await;
    fails(&net(), &tcp("169.254.169.254:80", None, None), refused, words).await;
    let named = net_with(|_| Ok(vec!["169.254.169.254".parse().unwrap()]));
    fails(&named, &http("http://innocent.example/"), refused, words).await;
    let server = Server::http(|_| redirect(302, "http://169.254.169.254/latest")).await;
    let away = http(&format!("http://{}/", server.address));
    let outcome = fails(&net(), &away, refused, "after a redirect to http://169.254.169.254").await;
    assert_eq!(outcome.phases.tls_ms, None);
}

#[tokio::test]
async fn what_the_operator_allows_is_probed() {
    // Linux takes it for loopback.
    let server = Server::http(|_| body("fine")).await;
    let spec = http(&format!("http://0.0.0.0:{}/", server.port()));
    fails(&net(), &spec, FailureCause::Refused, "no address of a host").await;
    let mut net = net();
    net.guard = Guard::new(vec!["0.0.0.0/32".parse().unwrap()]).into();
    succeeds(&net, &spec).await;
}
