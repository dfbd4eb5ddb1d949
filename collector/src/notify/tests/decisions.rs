use std::net::IpAddr;
use std::time::Duration;

use maintenant_api::channels::RoutingRuleInput;

use super::super::channels::{Headers, Rule};
use super::super::outbox::Lane;
use super::super::reach::Reach;
use super::super::retry::{Failure, Why, after, next, of_status};
use super::super::routing::{parse, route};
use super::super::sender::Lanes;
use super::super::subscriptions::sign;
use super::*;
use crate::net::Net;
use crate::net::guard::Guard;
use crate::net::tls::Trust;
use crate::notify::kinds::Kind;

/// Rules as `sources severities`, `-` for all, divided by `;`.
fn with_rules(id: i64, name: &str, enabled: bool, rules: &str) -> Channel {
    let read = |text: &str| {
        let (sources, severities) = text.trim().split_once(' ').unwrap();
        let given = |text: &str| Some(text.to_owned()).filter(|text| text != "-");
        let input =
            RoutingRuleInput { source_filter: given(sources), severity_filter: given(severities) };
        let (sources, severities) = parse(&input).unwrap();
        Rule { id: 0, sources, severities, created_at: at(0) }
    };
    Channel {
        id,
        name: name.into(),
        kind: Kind::Webhook,
        url: "https://example.org/".into(),
        headers: Headers::new(),
        enabled,
        rules: rules.split(';').filter(|rule| !rule.trim().is_empty()).map(read).collect(),
        failing_since: None,
        last_error: None,
        created_at: at(0),
        updated_at: at(0),
    }
}

#[test]
fn an_alert_goes_to_whom_any_rule_sends_it_or_whom_it_names() {
    let channels = [
        with_rules(1, "All", true, ""),
        with_rules(2, "Off", false, ""),
        with_rules(3, "Critical", true, "- critical"),
        with_rules(4, "Sites", true, "endpoint,certificate -; container critical,warning"),
    ];
    let check = |source, severity, names: &[&str], told: &[i64], unheard: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let routed = route(&channels, source, severity, &names);
        assert_eq!(routed.channels, told, "{source} {severity:?} {names:?}");
        assert_eq!(routed.unheard, unheard, "{source} {severity:?} {names:?}");
    };
    check("container", Severity::Critical, &[], &[1, 3, 4], &[]);
    check("container", Severity::Warning, &[], &[1, 4], &[]);
    check("container", Severity::Info, &[], &[1], &[]);
    check("endpoint", Severity::Info, &[], &[1, 4], &[]);
    // Named: whatever the rules say, but not one that is off, unless that costs the alert.
    check("container", Severity::Info, &["critical"], &[3], &[]);
    check("container", Severity::Info, &[" SITES ", "Critical"], &[3, 4], &[]);
    check("container", Severity::Info, &["off", "critical"], &[3], &[]);
    check("container", Severity::Info, &["off"], &[1], &["off"]);
    check("container", Severity::Info, &["off", "nobody"], &[1], &["off", "nobody"]);
    // A name nobody has does not cost the alert.
    check("container", Severity::Info, &["nobody"], &[1], &["nobody"]);
    check("container", Severity::Info, &["critical", "nobody"], &[1, 3], &["nobody"]);
}

#[test]
fn rules_are_lists_of_words() {
    let check = |sources: &str, severities: &str, fault: &str| {
        let input = RoutingRuleInput {
            source_filter: Some(sources.into()),
            severity_filter: Some(severities.into()),
        };
        let said = parse(&input).err().map_or(String::new(), |fault| fault.to_string());
        assert!(said.starts_with(fault) && said.is_empty() == fault.is_empty(), "{said}");
    };
    check("", "", "");
    check("container, Endpoint", " CRITICAL ,info", "");
    check("a b", "", "source_filter");
    check("container", "fatal", "severity_filter: `fatal`");
}

#[test]
fn a_failure_is_tried_again_for_two_days_a_refusal_for_an_hour_and_a_half() {
    // Seconds after the first try at which a message of that failure is tried, up to its end.
    let tries = |why| {
        let failure = Failure::new(why, "x");
        let (mut now, mut attempts, mut all) = (at(0), 0, vec![0]);
        loop {
            attempts += 1;
            let Some(again) = next(&failure, attempts, at(0), 7, now) else { return all };
            assert!(again > now);
            now = again;
            all.push(now.duration_since(at(0)).as_secs());
        }
    };
    let passing = tries(Why::Passing);
    for (place, range) in [(1, 1..=1), (2, 6..=7), (3, 36..=43), (4, 156..=187)] {
        assert!(range.contains(&passing[place]), "{passing:?}");
    }
    let last = *passing.last().unwrap();
    assert!((24 * 3600..53 * 3600).contains(&last), "{last}");
    let refused = tries(Why::Refused);
    assert_eq!(refused.len(), 8);
    assert!((5400..10_000).contains(refused.last().unwrap()), "{refused:?}");
    assert_eq!(tries(Why::Gone), [0]);
}

#[test]
fn pauses_differ_between_messages_and_grow_by_no_more_than_a_fifth() {
    let failure = Failure::new(Why::Passing, "x");
    let pauses: Vec<i64> = (1..50)
        .map(|id| next(&failure, 5, at(0), id, at(100)).unwrap().duration_since(at(100)).as_secs())
        .collect();
    assert!(pauses.iter().all(|pause| (600..=720).contains(pause)), "{pauses:?}");
    assert!(pauses.iter().min() != pauses.iter().max());
}

#[test]
fn a_receiver_may_ask_for_a_longer_pause_up_to_an_hour() {
    let check = |asked: &str, expected: Option<u64>| {
        assert_eq!(after(asked, at(0)).map(|pause| pause.as_secs()), expected, "{asked}");
    };
    check("120", Some(120));
    check("Thu, 01 Jan 2026 00:02:00 GMT", Some(120));
    check("Thu, 01 Jan 2025 00:02:00 GMT", None);
    check("soon", None);
    let pause = |seconds| {
        let failure = Failure {
            retry_after: Some(Duration::from_secs(seconds)),
            ..Failure::new(Why::Passing, "x")
        };
        next(&failure, 1, at(0), 1, at(0)).unwrap().duration_since(at(0)).as_secs()
    };
    assert_eq!([pause(0), pause(90), pause(1_000_000)], [1, 90, 3600]);
}

#[test]
fn an_old_message_still_has_its_fair_number_of_tries() {
    let failure = Failure::new(Why::Passing, "x");
    let week = 7 * 86_400;
    assert!(next(&failure, 1, at(0), 1, at(week)).is_some());
    assert!(next(&failure, 4, at(0), 1, at(week)).is_some());
    assert!(next(&failure, 5, at(0), 1, at(week)).is_none());
}

#[test]
fn answers_are_delivered_refused_gone_or_passing() {
    let check = |statuses: &[u16], why| {
        for status in statuses {
            assert_eq!(of_status(*status), why, "{status}");
        }
    };
    check(&[200, 202, 204], None);
    check(&[400, 405, 413, 415, 422], Some(Why::Refused));
    check(&[410], Some(Why::Gone));
    check(&[408, 425, 429, 500, 502, 503, 504], Some(Why::Passing));
    // While a proxy or a service is being deployed.
    check(&[301, 302, 307, 401, 403, 404], Some(Why::Passing));
}

#[test]
fn a_lane_has_four_places_and_one_while_it_fails_and_every_lane_has_its_turn() {
    let lane = |id: i64| Lane::Channel(id);
    let due = |id: i64| (lane(id), (0..8).map(|n| (id * 100 + n, ())).collect::<Vec<_>>());
    let of = |picked: &[(Lane, i64, ())], id| picked.iter().filter(|one| one.0 == lane(id)).count();
    let mut lanes = Lanes::default();
    let first = lanes.pick(vec![due(1), due(2)], at(0));
    assert_eq!((of(&first, 1), of(&first, 2)), (4, 4));
    assert!(lanes.pick(vec![due(1)], at(0)).is_empty(), "no room");
    // The first of each lane is its first message.
    assert!(lanes.is_busy(&lane(1), 100) && lanes.is_busy(&lane(1), 103));
    let failure = Failure::new(Why::Passing, "x");
    for id in 100..104 {
        lanes.ended(&lane(1), id, Some(&failure), at(1));
    }
    assert_eq!(lanes.room(&lane(1), at(1)), 1);
    lanes.ended(&lane(1), 100, None, at(1));
    assert_eq!(lanes.room(&lane(1), at(1)), 4);
    // Ten lanes of eight share what is left; none has less than the others.
    let picked = lanes.pick((11..21).map(due).collect(), at(1));
    assert_eq!(picked.len(), 32 - 4);
    assert!((11..21).all(|id| (2..=3).contains(&of(&picked, id))));
}

#[test]
fn a_lane_that_asks_for_a_pause_is_left_alone() {
    let lane = Lane::Channel(1);
    let mut lanes = Lanes::default();
    let failure =
        Failure { retry_after: Some(Duration::from_mins(1)), ..Failure::new(Why::Passing, "429") };
    lanes.ended(&lane, 1, Some(&failure), at(0));
    assert_eq!((lanes.room(&lane, at(59)), lanes.room(&lane, at(60))), (0, 1));
    // A clock that is set back by days does not make it one of days.
    assert_eq!(lanes.room(&lane, at(-86_400)), 1);
    lanes.mended(&lane);
    assert_eq!(lanes.room(&lane, at(1)), 4, "it leads elsewhere");
}

fn reach(allowed: &[&str], allow_private: bool) -> Reach {
    let allowed = allowed.iter().map(|net| net.parse().unwrap()).collect();
    let trust = Trust::of(rustls::RootCertStore::empty()).unwrap();
    Reach::new(Net::new(Guard::new(allowed), trust), allow_private)
}

#[test]
fn what_only_this_machine_reaches_is_not_reached_through_a_channel() {
    let check = |reach: &Reach, addresses: &[&str], expected: bool| {
        for address in addresses {
            let found = reach.check(address.parse::<IpAddr>().unwrap());
            assert_eq!(found.is_ok(), expected, "{address}: {found:?}");
        }
    };
    let private = [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "198.18.0.1",
        "240.0.0.1",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::1",
        "fd00::1",
        "fec0::1",
    ];
    let never = [
        "169.254.169.254",
        "::ffff:169.254.169.254",
        "100.100.100.200",
        "fd00:ec2::254",
        "fe80::1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
    ];
    let public = ["8.8.8.8", "2001:4860:4860::8888", "::ffff:8.8.8.8"];
    check(&reach(&[], false), &private, false);
    check(&reach(&[], true), &private, true);
    for allow_private in [false, true] {
        check(&reach(&[], allow_private), &never, false);
        check(&reach(&[], allow_private), &public, true);
    }
    // The operator's exceptions hold without opening the rest.
    let excepted = reach(&["10.1.0.0/16", "169.254.169.254/32"], false);
    check(&excepted, &["10.1.2.3", "169.254.169.254"], true);
    check(&excepted, &["10.2.0.1", "127.0.0.1"], false);
}

#[test]
fn an_address_in_any_spelling_is_that_address() {
    let reach = reach(&[], false);
    for host in
        ["127.0.0.1", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "[::ffff:127.0.0.1]"]
    {
        let url = url::Url::parse(&format!("https://{host}/")).unwrap();
        assert!(reach.check_literal(&url).is_err(), "{host}");
    }
}

#[test]
fn a_signature_is_the_hmac_of_the_body() {
    // RFC 4231, test case 2.
    let expected = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
    assert_eq!(sign("Jefe", "what do ya want for nothing?"), expected);
}
