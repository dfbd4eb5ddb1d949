//! Which labels declare what, and what is wrong with the others.

use maintenant_api::endpoints::EndpointInput;
use serde_json::{Value, json};

use super::super::labels::{PREFIX, read};
use super::texts;
use crate::containers::labels::{Labels, MOST_WATCHED, watched_from_json, watched_to_json};

/// Labels without their prefix, the labels that declare an endpoint, and pieces of the faults.
fn check(labels: &[(&str, &str)], declared: &[&str], faults: &[(&str, &str)]) -> Vec<Value> {
    let labels: Vec<_> =
        labels.iter().map(|(key, value)| (format!("{PREFIX}{key}"), *value)).collect();
    let labels: Vec<_> = labels.iter().map(|(key, value)| (key.as_str(), *value)).collect();
    let (found, told) = read(&texts(&labels), &[], &EndpointInput::default());
    let keys: Vec<_> = found.iter().map(|d| d.label_key.trim_start_matches(PREFIX)).collect();
    assert_eq!(keys, declared, "{labels:?}: {told:?}");
    assert_eq!(told.len(), faults.len(), "{labels:?}: {told:?}");
    for (fault, (key, says)) in told.iter().zip(faults) {
        assert_eq!(fault.label_key, format!("{PREFIX}{key}"), "{fault:?}");
        assert!(fault.error.contains(says), "{fault:?}, not {says}");
    }
    let config = |d: &super::super::labels::Declared| {
        let mut config = serde_json::to_value(&d.config).unwrap();
        config["target"] = d.target.clone().into();
        config["name"] = d.name.clone().into();
        config
    };
    found.iter().map(config).collect()
}

fn one(labels: &[(&str, &str)], key: &str) -> Value {
    check(labels, &[key], &[]).remove(0)
}

fn faulty(key: &str, value: &str, says: &str) {
    let base = if key.starts_with("tcp") { ("tcp", "db:5432") } else { ("http", "http://web") };
    check(&[base, (key, value)], &[], &[(key, says)]);
}

#[test]
fn simple_and_indexed_labels_declare_endpoints() {
    check(&[("http", "http://web")], &["http"], &[]);
    check(&[("tcp", "[::1]:5432")], &["tcp"], &[]);
    check(&[("http", "http://web"), ("tcp", "db:1")], &["http", "tcp"], &[]);
    let indexed = [("0.http", "http://a"), ("2.tcp", "b:1"), ("10.http", "http://c")];
    check(&indexed, &["0.http", "2.tcp", "10.http"], &[]);
    check(&[("0.http", "http://a"), ("0.tcp", "a:1")], &["0.http", "0.tcp"], &[]);
}

#[test]
fn a_simple_label_wins_over_index_0() {
    let labels = [("http", "http://simple"), ("0.http", "http://indexed")];
    assert_eq!(one(&labels, "http")["target"], "http://simple");
    let labels = [("http", "http://a"), ("0.interval", "7s"), ("1.http", "http://b")];
    let both = check(&labels, &["http", "1.http"], &[]);
    assert_eq!([&both[0]["interval"], &both[1]["interval"]], ["7s", "30s"]);
}

#[test]
fn every_option_is_applied() {
    let labels = [
        ("http", "https://web"),
        ("name", "Shop"),
        ("interval", "1m30s"),
        ("timeout", "7s"),
        ("failure-threshold", "1"),
        ("recovery-threshold", "5"),
        ("http.method", "post"),
        ("http.expected-status", "201,3xx"),
        ("http.tls-verify", "False"),
        ("http.headers", r#"{"Host":"a,b","X-A":"="}"#),
        ("http.max-redirects", "0"),
        ("http.body-contains", "ok"),
        ("http.body-matches", "^ok$"),
        ("http.header-contains", "Server=nginx, X-B = c"),
        ("http.header-matches", r#"{"Server":"^n"}"#),
    ];
    let expected = json!({
        "interval": "1m30s", "timeout": "7s", "failure_threshold": 1, "recovery_threshold": 5,
        "method": "POST", "expected_status": "201,3xx", "tls_verify": false,
        "headers": {"Host": "a,b", "X-A": "="}, "max_redirects": 0, "body_contains": "ok",
        "body_matches": "^ok$", "header_contains": {"Server": "nginx", "X-B": "c"},
        "header_matches": {"Server": "^n"}, "target": "https://web", "name": "Shop",
    });
    assert_eq!(one(&labels, "http"), expected);
    let tcp = one(&[("tcp", "a:1"), ("tcp.send", "PING\n"), ("tcp.expect", "PONG")], "tcp");
    assert_eq!((&tcp["send"], &tcp["expect"]), (&json!("PING"), &json!("PONG")));
}

#[test]
fn an_indexed_option_overrides_one_for_all_and_kinds_do_not_mix() {
    let labels = [
        ("0.http", "http://a"),
        ("1.http", "http://b"),
        ("2.tcp", "c:1"),
        ("interval", "20s"),
        ("1.interval", "10s"),
        ("http.method", "HEAD"),
        ("tcp.expect", "+OK"),
    ];
    let all = check(&labels, &["0.http", "1.http", "2.tcp"], &[]);
    let of = |field: &str| all.iter().map(|c| c[field].clone()).collect::<Vec<_>>();
    assert_eq!(of("interval"), ["20s", "10s", "20s"]);
    assert_eq!(of("method"), [json!("HEAD"), json!("HEAD"), Value::Null]);
    assert_eq!(of("expect"), [Value::Null, Value::Null, json!("+OK")]);
}

#[test]
fn a_time_out_is_reduced_to_the_interval() {
    assert_eq!(one(&[("http", "http://a"), ("interval", "5s")], "http")["timeout"], "5s");
    let labels = [("http", "http://a"), ("interval", "5s"), ("timeout", "20s")];
    assert_eq!(one(&labels, "http")["timeout"], "5s");
}

#[test]
fn a_label_that_cannot_be_read_is_named_with_what_is_accepted() {
    faulty("interval", "soon", "use forms such as 30s");
    faulty("interval", "1s", "between 5s");
    faulty("interval", "", "it is empty");
    faulty("timeout", "500ms", "between 1s and 60s");
    faulty("failure-threshold", "0", "between 1 and 100");
    faulty("failure-threshold", "many", "no whole number");
    faulty("recovery-threshold", "1.5", "no whole number");
    faulty("http.method", "BREW", "none of GET");
    faulty("http.expected-status", "2xxx", "200,301-303,4xx");
    faulty("http.tls-verify", "maybe", "neither true nor false");
    faulty("http.headers", "nonsense", "name=value");
    faulty("http.headers", r#"{"a":1}"#, "name=value");
    faulty("http.headers", "a b=c", "no header name");
    faulty("http.max-redirects", "-1", "between 0 and 20");
    faulty("http.body-matches", "(", "no regular expression");
    faulty("http.header-matches", "a=(", "no regular expression");
    faulty("http.header-contains", "a b=(", "no header name");
    faulty("name", "two\nlines", "one line");
    faulty("intervall", "5s", "`interval` is the nearest");
    faulty("http.methode", "GET", "`http.method` is the nearest");
    check(&[("http", "web")], &[], &[("http", "https://example.org")]);
    check(&[("tcp", "db")], &[], &[("tcp", "host:port")]);
    check(&[("00.http", "http://a")], &[], &[("00.http", "count 0, 1, 2")]);
}

#[test]
fn every_fault_is_found_at_once_and_told_once() {
    let labels = [
        ("0.http", "http://a"),
        ("1.http", "http://b"),
        ("interval", "soon"),
        ("0.timeout", "never"),
    ];
    let faults = [("interval", "soon"), ("0.timeout", "never")];
    check(&labels, &[], &faults);
}

#[test]
fn a_fault_costs_only_the_endpoints_it_is_meant_for() {
    let labels = [("0.http", "http://a"), ("1.http", "http://b"), ("1.interval", "x")];
    check(&labels, &["0.http"], &[("1.interval", "x")]);
    let labels = [("0.http", "http://a"), ("1.tcp", "b:1"), ("http.method", "x")];
    check(&labels, &["1.tcp"], &[("http.method", "none of GET")]);
    let labels = [("0.http", "http://a"), ("1.http", "http://b"), ("1.colour", "red")];
    check(&labels, &["0.http"], &[("1.colour", "no option")]);
    // The wrong value is overridden for the one, and stands for the other.
    let labels = [("0.http", "http://a"), ("1.http", "http://b"), ("0.interval", "9s")];
    check(&[&labels[..], &[("interval", "1s")]].concat(), &["0.http"], &[("interval", "1s")]);
}

#[test]
fn an_option_for_nothing_is_a_fault() {
    check(&[("interval", "5s")], &[], &[("interval", "declare one with")]);
    let labels = [("tcp", "a:1"), ("http.method", "GET")];
    check(&labels, &["tcp"], &[("http.method", "maintenant.endpoint.http")]);
    let labels = [("0.tcp", "a:1"), ("0.http.method", "GET")];
    check(&labels, &["0.tcp"], &[("0.http.method", "maintenant.endpoint.0.http")]);
    let labels = [("tcp", "a:1"), ("3.interval", "5s")];
    check(&labels, &["tcp"], &[("3.interval", "maintenant.endpoint.3.http")]);
}

#[test]
fn a_header_value_is_in_no_fault() {
    for value in ["hunter2", "a=hunter2,hunter2", r#"{"a":"hunter2\u0001"}"#] {
        let labels =
            [(format!("{PREFIX}http"), "http://a"), (format!("{PREFIX}http.headers"), value)];
        let labels: Vec<_> = labels.iter().map(|(key, value)| (key.as_str(), *value)).collect();
        let (_, faults) = read(&texts(&labels), &[], &EndpointInput::default());
        assert_eq!(faults.len(), 1);
        assert!(!faults[0].error.contains("hunter2"), "{faults:?}");
    }
}

#[test]
fn defaults_of_the_file_come_before_labels() {
    let defaults = EndpointInput {
        interval: Some("1m".into()),
        failure_threshold: Some(9),
        ..EndpointInput::default()
    };
    let http = format!("{PREFIX}http");
    let interval = format!("{PREFIX}interval");
    let labels = texts(&[(&http, "http://a"), (&interval, "20s")]);
    let (declared, _) = read(&labels, &[], &defaults);
    let config = &declared[0].config;
    assert_eq!((config.interval.as_str(), config.failure_threshold), ("20s", 9));
}

#[test]
fn a_container_declares_at_most_thirty_two() {
    let labels: Vec<_> = (0..34).map(|n| (format!("{PREFIX}{n}.tcp"), "a:1")).collect();
    let labels: Vec<_> = labels.iter().map(|(key, value)| (key.as_str(), *value)).collect();
    let (declared, faults) = read(&texts(&labels), &[], &EndpointInput::default());
    assert_eq!((declared.len(), faults.len()), (32, 2));
    assert_eq!(faults[0].label_key, format!("{PREFIX}32.tcp"));
}

/// Labels of a container, which endpoints they declare, and which labels are faults: directly, and
/// after they were in the database.
fn check_kept(labels: &[(String, String)], declared: &[&str], faults: &[&str]) {
    let labels = Labels::read(&labels.iter().cloned().collect());
    let stored = watched_from_json(&watched_to_json(&labels));
    assert_eq!(stored, (labels.watched, labels.watched_dropped));
    let (found, told) = read(&stored.0, &stored.1, &EndpointInput::default());
    let found: Vec<_> = found.iter().map(|d| d.label_key.trim_start_matches(PREFIX)).collect();
    assert_eq!(found, declared, "{told:?}");
    let told: Vec<_> = told.iter().map(|f| f.label_key.trim_start_matches(PREFIX)).collect();
    assert_eq!(told, faults);
}

#[test]
fn a_label_that_is_too_large_is_a_fault_and_its_endpoint_is_not_declared() {
    let large = "x".repeat(5000);
    let with = |key: &str| {
        [("http", "http://a"), ("1.http", "http://b"), (key, &large)]
            .map(|(key, value)| (format!("{PREFIX}{key}"), value.to_owned()))
    };
    check_kept(&with("1.http.body-contains"), &["http"], &["1.http.body-contains"]);
    check_kept(&with("0.http.headers"), &["1.http"], &["0.http.headers"]);
    check_kept(&with("http.headers"), &[], &["http.headers"]);
    check_kept(&with("http"), &["1.http"], &["http"]);
    check_kept(&with("2.tcp"), &["http", "1.http"], &["2.tcp"]);
}

#[test]
fn of_too_many_labels_none_is_read_and_that_is_a_fault() {
    let target = |number| (format!("{PREFIX}{number}.tcp"), "a:1".to_owned());
    let mut labels: Vec<_> = (0..MOST_WATCHED).map(target).collect();
    let kept = Labels::read(&labels.iter().cloned().collect());
    assert_eq!((kept.watched.len(), kept.watched_dropped.len()), (MOST_WATCHED, 0));
    labels.push(target(MOST_WATCHED));
    check_kept(&labels, &[], &["0.tcp"]);
}
