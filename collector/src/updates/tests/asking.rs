//! What registries ask for and allow.

use std::time::Duration;

use http::HeaderMap;
use jiff::Timestamp;

use crate::updates::registry::auth::{Challenge, Token, challenges};
use crate::updates::registry::limits::{Allowance, pause};

fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
    Challenge::Bearer {
        realm: realm.to_owned(),
        service: service.map(str::to_owned),
        scope: scope.map(str::to_owned),
    }
}

#[test]
fn challenges_are_read_with_quotes_and_commas() {
    let check = |header: &str, expected: &[Challenge]| {
        assert_eq!(challenges(header), expected, "{header}");
    };
    let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/nginx:pull,push""#;
    check(
        hub,
        &[bearer(
            "https://auth.docker.io/token",
            Some("registry.docker.io"),
            Some("repository:library/nginx:pull,push"),
        )],
    );
    check(r#"Basic realm="Registry Realm""#, &[Challenge::Basic]);
    check("basic", &[Challenge::Basic]);
    check(
        r#"Basic realm="a, b", Bearer realm="https://x/t", service=s"#,
        &[Challenge::Basic, bearer("https://x/t", Some("s"), None)],
    );
    check(r#"Negotiate abc==, Basic realm="x""#, &[Challenge::Basic]);
    check(r#"Bearer realm="with \" quote""#, &[bearer("with \" quote", None, None)]);
    check(r#"Bearer service="no realm""#, &[]);
    for nonsense in ["", ",,,", "\"", "=", "Bearer realm=\"open", "a=b=c,=", "Bearer é"] {
        let _ = challenges(nonsense);
    }
}

#[test]
fn tokens_are_read_under_both_names_and_used_a_little_less_than_they_last() {
    let check = |json: &str, expected: Option<(&str, u64)>| {
        let token: Token = serde_json::from_str(json).unwrap();
        let expected = expected.map(|(token, life)| (token.to_owned(), Duration::from_secs(life)));
        assert_eq!(token.usable(), expected, "{json}");
    };
    check(r#"{"token":"a"}"#, Some(("a", 50)));
    check(r#"{"access_token":"b","expires_in":300}"#, Some(("b", 290)));
    check(r#"{"token":"c","expires_in":9999999}"#, Some(("c", 3590)));
    check(r#"{"token":"d","expires_in":3}"#, Some(("d", 0)));
    check(r#"{"token":""}"#, None);
    check("{}", None);
}

fn headers(all: &[(&'static str, &str)]) -> HeaderMap {
    all.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
}

#[test]
fn a_tenth_of_the_pulls_is_left_to_others() {
    let check = |limit: &str, remaining: &str, has_room: bool| {
        let headers = headers(&[("ratelimit-limit", limit), ("ratelimit-remaining", remaining)]);
        let allowance = Allowance::read(&headers).unwrap();
        assert_eq!(allowance.has_room(), has_room, "{remaining} of {limit}");
    };
    check("100;w=21600", "76;w=21600", true);
    check("100;w=21600", "11;w=21600", true);
    check("100;w=21600", "10;w=21600", false);
    check("200;w=21600", "20;w=21600", false);
    check("4;w=21600", "3;w=21600", true);
    check("100", "0", false);
    assert_eq!(Allowance::read(&headers(&[])), None);
    assert_eq!(Allowance::read(&headers(&[("ratelimit-remaining", "many")])), None);
}

#[test]
fn a_refusal_says_how_long() {
    let now: Timestamp = "2026-05-05T10:00:00Z".parse().unwrap();
    let check = |value: Option<&str>, seconds: u64| {
        let headers =
            headers(&value.map(|value| ("retry-after", value)).into_iter().collect::<Vec<_>>());
        assert_eq!(pause(&headers, now), Duration::from_secs(seconds), "{value:?}");
    };
    check(Some("7"), 7);
    check(Some("Tue, 05 May 2026 10:02:00 GMT"), 120);
    check(Some("Tue, 05 May 2026 09:00:00 GMT"), 0);
    check(Some("soon"), 300);
    check(None, 300);
    check(Some("999999999"), 6 * 3600);
}
