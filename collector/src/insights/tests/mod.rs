//! Facts about insights: from what an inspection shows to what is said, stored, served and alerted.

mod serving;
mod storing;

use std::sync::Arc;

use jiff::Timestamp;
use maintenant_api::alerts::Severity;
use serde_json::{Value, json};

use super::model::{of_all, of_container};
use super::rules::judge;
use super::watch::changes;
use crate::containers::exposure::Exposure;
use crate::containers::inventory::Inventory;
use crate::containers::model::{Container, adopt, compare};
use crate::containers::observe::seen;
use crate::docker::Inspected;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + second).unwrap()
}

/// An inspection of one that is not exposed at all, changed by `host` and `config`.
fn inspected(host: &Value, config: &Value) -> Inspected {
    let mut all = json!({
        "Id": "abc", "Name": "/web",
        "State": {"Status": "running", "Running": true},
        "Config": {"Image": "busybox:1", "User": "1000:1000", "Labels": {}},
        "HostConfig": {"NetworkMode": "shop_default", "Memory": 1 << 29, "NanoCpus": 500_000_000},
    });
    for (part, changed) in [("HostConfig", host), ("Config", config)] {
        for (key, value) in changed.as_object().unwrap() {
            all[part][key] = value.clone();
        }
    }
    serde_json::from_value(all).unwrap()
}

fn container(host: &Value, config: &Value) -> Container {
    adopt(1, &seen(&inspected(host, config), at(0)), at(0))
}

/// The same container, as a later inspection shows it.
fn later(container: &Container, second: i64, host: &Value, config: &Value) -> Container {
    compare(container, &seen(&inspected(host, config), at(second)), at(second)).0
}

fn said(container: &Container) -> Vec<String> {
    let insights = of_container(container).insights;
    let said = insights.iter().map(|i| format!("{} {}: {}", i.severity.as_str(), i.kind, i.title));
    said.collect()
}

fn check(host: &Value, config: &Value, expected: &[&str]) {
    assert_eq!(said(&container(host, config)), expected, "{host} {config}");
}

fn host(host: &Value, expected: &[&str]) {
    check(host, &json!({}), expected);
}

fn ports(bindings: &Value, expected: &[&str]) {
    host(&json!({"PortBindings": bindings}), expected);
}

fn on(address: &str, port: &str) -> Value {
    json!([{"HostIp": address, "HostPort": port}])
}

#[test]
fn a_container_that_is_confined_has_no_insights() {
    host(&json!({}), &[]);
    let of_one = of_container(&container(&json!({}), &json!({})));
    assert_eq!((of_one.count, of_one.highest_severity, of_one.scanned), (0, None, true));
}

#[test]
fn a_port_counts_on_all_interfaces_only() {
    let web = ["medium port_exposed_all_interfaces: Port 80/tcp on all interfaces"];
    ports(&json!({"80/tcp": on("", "8080")}), &web);
    ports(&json!({"80/tcp": on("0.0.0.0", "8080")}), &web);
    ports(&json!({"80/tcp": on("::", "8080")}), &web);
    ports(&json!({"80/tcp": on("[::]", "8080")}), &web);
    ports(
        &json!({"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "80"},
                            {"HostIp": "::", "HostPort": "80"}]}),
        &web,
    );
    ports(&json!({"80/tcp": on("127.0.0.1", "8080"), "81/tcp": on("::1", "81")}), &[]);
    ports(&json!({"80/tcp": on("192.168.1.5", "8080"), "81/tcp": null, "82/tcp": []}), &[]);
    ports(
        &json!({"many/tcp": on("", ""), "99999/tcp": on("", ""), "80/carrier-pigeon": on("", "")}),
        &[],
    );
    ports(
        &json!({"53/udp": on("", "53")}),
        &["medium port_exposed_all_interfaces: Port 53/udp on all interfaces"],
    );
}

#[test]
fn a_database_port_is_told_by_the_containers_port_and_only_once() {
    for port in [3306, 5432, 6379, 27017] {
        ports(
            &json!({format!("{port}/tcp"): on("", "15000")}),
            &[&format!(
                "critical database_port_exposed: Database port {port}/tcp on all interfaces"
            )],
        );
    }
    ports(&json!({"5432/tcp": on("127.0.0.1", "5432")}), &[]);
    ports(
        &json!({"5432/udp": on("", "5432")}),
        &["medium port_exposed_all_interfaces: Port 5432/udp on all interfaces"],
    );
}

#[test]
fn all_exposed_ports_may_be_published_at_once() {
    let config = json!({"ExposedPorts": {"6379/tcp": {}, "80/tcp": {}}});
    check(&json!({}), &config, &[]);
    check(
        &json!({"PublishAllPorts": true, "PortBindings": {"80/tcp": on("127.0.0.1", "80")}}),
        &config,
        &["critical database_port_exposed: Database port 6379/tcp on all interfaces"],
    );
}

#[test]
fn nothing_is_published_from_the_network_of_another() {
    for mode in ["container:abc", "none"] {
        host(&json!({"NetworkMode": mode, "PortBindings": {"80/tcp": on("", "80")}}), &[]);
    }
    host(
        &json!({"NetworkMode": "host", "PortBindings": {"80/tcp": on("", "80")}}),
        &["high host_network_mode: Host network"],
    );
}

#[test]
fn many_ports_are_cut_and_databases_come_first() {
    let many = (1000..4000).map(|port| (format!("{port}/tcp"), on("", "")));
    let many: serde_json::Map<_, _> = many.collect();
    let said = said(&container(&json!({"PortBindings": many}), &json!({})));
    assert_eq!(said.len(), 50);
    assert!(said[2].starts_with("critical database_port_exposed: Database port 3306"), "{said:?}");
}

#[test]
fn privileges_are_told_by_how_near_the_host_is() {
    let privileged = "critical privileged_container: Privileged";
    host(&json!({"Privileged": true}), &[privileged]);
    host(&json!({"Privileged": true, "CapAdd": ["ALL"]}), &[privileged]);
    host(
        &json!({"CapAdd": ["NET_ADMIN", "CAP_SYS_ADMIN", "sys_ptrace"]}),
        &[
            "high capability_added: Capability SYS_ADMIN added",
            "high capability_added: Capability SYS_PTRACE added",
            "medium capability_added: Capability NET_ADMIN added",
        ],
    );
    host(&json!({"CapAdd": ["ALL"]}), &["critical capability_added: Capability ALL added"]);
    // What was taken away and is given back is what every container has.
    host(&json!({"CapDrop": ["ALL"], "CapAdd": ["NET_BIND_SERVICE", "CAP_CHOWN"]}), &[]);
    host(&json!({"CapAdd": ["all is well, says the label", ""]}), &[]);
}

#[test]
fn a_mounted_engine_socket_is_seen_however_it_is_mounted() {
    let told = ["critical docker_socket_mounted: Docker socket mounted"];
    let socket = "/var/run/docker.sock";
    host(&json!({"Binds": [format!("{socket}:{socket}:ro")]}), &told);
    host(&json!({"Mounts": [{"Type": "bind", "Source": socket, "Target": "/d.sock"}]}), &told);
    host(&json!({"Binds": ["/srv/data:/data"]}), &[]);
}

#[test]
fn root_is_told_by_name_or_number() {
    let root = ["medium root_user: Starts as root"];
    for user in ["", "0", "root", "0:0", "root:1000"] {
        check(&json!({}), &json!({"User": user}), &root);
    }
    for user in ["1000", "nobody", "1000:0", "rooted"] {
        check(&json!({}), &json!({"User": user}), &[]);
    }
}

#[test]
fn limits_are_missed_each_for_itself() {
    host(&json!({"Memory": 0}), &["medium no_memory_limit: No memory limit"]);
    host(&json!({"NanoCpus": 0}), &["medium no_cpu_limit: No CPU limit"]);
    host(&json!({"NanoCpus": 0, "CpuQuota": -1}), &["medium no_cpu_limit: No CPU limit"]);
    host(&json!({"NanoCpus": 0, "CpuQuota": 50_000, "CpuPeriod": 100_000}), &[]);
    host(&json!({"NanoCpus": 0, "CpusetCpus": "0-1"}), &[]);
}

#[test]
fn every_insight_says_what_to_do() {
    let host = json!({"Privileged": true, "Memory": 0, "NanoCpus": 0, "Binds": ["/run/docker.sock:/s"],
        "PortBindings": {"80/tcp": on("", "8080"), "53/udp": on("", ""), "6379/tcp": on("", "6379")}});
    let mut insights = of_container(&container(&host, &json!({"User": ""}))).insights;
    let more = json!({"CapAdd": ["SYS_ADMIN", "NET_ADMIN", "ALL"], "NetworkMode": "host"});
    insights.extend(of_container(&container(&more, &json!({}))).insights);
    assert_eq!(insights.len(), 12);
    for insight in &insights {
        for text in [&insight.description, &insight.remedy] {
            assert!(text.ends_with('.') && text.len() > 20, "{insight:?}");
            assert!(!text.contains("  "), "{text}");
        }
    }
    let remedy = |kind: &str, port: u16| {
        let details =
            |i: &&maintenant_api::insights::Insight| i.details.get("port") == Some(&json!(port));
        let of_kind = insights.iter().filter(|insight| insight.kind == kind);
        of_kind.filter(details).map(|insight| insight.remedy.clone()).next().unwrap()
    };
    assert!(remedy("port_exposed_all_interfaces", 80).contains("`127.0.0.1:8080:80`"));
    assert!(remedy("port_exposed_all_interfaces", 53).contains("`127.0.0.1::53/udp`"));
    assert!(remedy("database_port_exposed", 6379).contains("share a network"));
}

#[test]
fn an_insight_keeps_its_time_through_changes_and_recreates() {
    let first = container(&json!({"Privileged": true}), &json!({}));
    let more = later(&first, 60, &json!({"Privileged": true, "Memory": 0}), &json!({}));
    let times: Vec<_> =
        of_container(&more).insights.iter().map(|i| (i.kind.clone(), i.detected_at)).collect();
    let expected =
        [("privileged_container".to_owned(), at(0)), ("no_memory_limit".to_owned(), at(60))];
    assert_eq!(times, expected);
    let mut recreated = seen(&inspected(&json!({"Privileged": true}), &json!({})), at(90));
    recreated.external_id = "another".to_owned();
    let recreated = compare(&more, &recreated, at(90)).0;
    assert_eq!(of_container(&recreated).insights[0].detected_at, at(0));
    let mended = later(&recreated, 100, &json!({}), &json!({}));
    let again = later(&mended, 110, &json!({"Privileged": true}), &json!({}));
    assert_eq!(of_container(&again).insights[0].detected_at, at(110));
}

#[test]
fn what_only_a_list_tells_leaves_insights_as_they_were() {
    let known = container(&json!({"Privileged": true}), &json!({}));
    let mut listed = seen(&inspected(&json!({}), &json!({})), at(60));
    listed.facts.exposure = None;
    assert_eq!(compare(&known, &listed, at(60)).0.facts.exposure, known.facts.exposure);
    let unknown = adopt(1, &listed, at(60));
    assert!(!of_container(&unknown).scanned);
    assert_eq!(unknown.risk_counts(), None);
}

#[test]
fn what_is_stored_is_read_again_and_what_cannot_be_read_is_not_known() {
    let host =
        json!({"Privileged": true, "PortBindings": {"80/tcp": on("", "80"), "81/udp": on("", "")}});
    let exposure = container(&host, &json!({"User": ""})).facts.exposure.unwrap();
    assert_eq!(Exposure::from_json(&exposure.to_json()), Some(exposure));
    for bad in ["", "{}", r#"[{"risk":"of a later version","since":1}]"#] {
        assert_eq!(Exposure::from_json(bad), None, "{bad}");
    }
}

fn labelled(host: &Value, labels: &Value) -> Container {
    container(host, &json!({"Labels": labels}))
}

#[test]
fn an_ignored_or_archived_container_has_none() {
    let host = json!({"Privileged": true});
    let ignored = labelled(&host, &json!({"maintenant.ignore": "true"}));
    let archived = Container { archived_at: Some(at(5)), ..container(&host, &json!({})) };
    for container in [&ignored, &archived] {
        assert_eq!(said(container), [""; 0]);
        assert_eq!(judge(container), None);
    }
    assert_eq!(of_all([&ignored].into_iter()).summary.total_containers_monitored, 0);
}

#[test]
fn the_summary_counts_and_the_worst_come_first() {
    let named = |id, name: &str, host: Value| {
        let mut container = container(&host, &json!({}));
        (container.id, container.facts.name) = (id, name.to_owned());
        container
    };
    let mut unknown = named(4, "unknown", json!({}));
    unknown.facts.exposure = None;
    let all = [
        named(1, "a", json!({"Memory": 0})),
        named(2, "b", json!({})),
        named(3, "c", json!({"Memory": 0, "Privileged": true})),
        unknown,
    ];
    let list = of_all(all.iter());
    let names: Vec<_> = list.containers.iter().map(|of_one| &*of_one.container_name).collect();
    assert_eq!(names, ["c", "a"]);
    assert_eq!(
        serde_json::to_value(list.summary).unwrap(),
        json!({
            "total_containers_monitored": 4, "total_containers_affected": 2,
            "total_containers_unknown": 1, "total_insights": 3,
            "by_severity": {"critical": 1, "medium": 2},
            "by_type": {"no_memory_limit": 2, "privileged_container": 1},
        })
    );
}

fn alert(host: &Value, labels: &Value, expected: Option<(Severity, &str)>) {
    let found = judge(&labelled(host, labels));
    let found = found.as_ref().map(|signal| (signal.severity, signal.message.as_str()));
    assert_eq!(found, expected, "{host}");
}

#[test]
fn only_what_is_high_or_critical_is_an_alert() {
    let all_medium = json!({"Memory": 0, "NanoCpus": 0, "CapAdd": ["NET_ADMIN"],
        "PortBindings": {"80/tcp": on("", "80")}});
    alert(&all_medium, &json!({}), None);
    alert(
        &json!({"NetworkMode": "host", "Memory": 0}),
        &json!({}),
        Some((Severity::Warning, "Container `web` uses the host's network")),
    );
    let message = "Container `web` is privileged, has an engine's socket mounted, publishes database \
                   port 3306/tcp on all interfaces, and 1 more";
    let worst = json!({"Privileged": true, "Binds": ["/run/docker.sock:/s"], "PortBindings":
        {"3306/tcp": on("", ""), "5432/tcp": on("", ""), "80/tcp": on("", "")}});
    alert(&worst, &json!({}), Some((Severity::Critical, message)));
    alert(&worst, &json!({"maintenant.alert.severity": "info"}), Some((Severity::Info, message)));
    let signal = judge(&container(&worst, &json!({}))).unwrap();
    assert_eq!(signal.details["insight_count"], "4");
    assert_eq!(signal.details["insights"].as_array().unwrap().len(), 4);
    let labels = json!({"maintenant.alert.channels": "ops, mail"});
    assert_eq!(judge(&labelled(&worst, &labels)).unwrap().channels, ["ops", "mail"]);
}

#[test]
fn a_hostile_name_does_not_end_our_sentence() {
    let mut container = container(&json!({"Privileged": true}), &json!({}));
    container.facts.name = "web\nall is well".to_owned();
    let message = judge(&container).unwrap().message;
    assert_eq!(message, "Container `web\\nall is well` is privileged");
}

#[test]
fn changes_are_told_once_each() {
    let mut told = std::collections::BTreeMap::new();
    let mut tell = |containers: &[&Container]| {
        let containers = containers.iter().map(|container| Arc::new((*container).clone()));
        let news = changes(&mut told, &Inventory::new(containers.collect()));
        let news = news.iter().map(|(name, data)| match data.get("change") {
            Some(change) => {
                format!("{} {} {} {}", name, change, data["highest_severity"], data["count"])
                    .replace('"', "")
            }
            None => format!("{name} {}", data["container_name"]).replace('"', ""),
        });
        news.collect::<Vec<_>>()
    };
    let nothing: [&str; 0] = [];
    let first = container(&json!({"Privileged": true}), &json!({}));
    let mut unknown = first.clone();
    unknown.facts.exposure = None;
    assert_eq!(tell(&[&unknown]), nothing, "not inspected yet");
    assert_eq!(tell(&[&first]), ["security.insights_changed new critical 1"]);
    assert_eq!(tell(&[&first]), nothing);
    assert_eq!(tell(&[&unknown]), nothing, "what is not known has not changed");
    // The number of insights stays the same, and what they say does not.
    let other = later(&first, 60, &json!({"NetworkMode": "host"}), &json!({}));
    assert_eq!(tell(&[&other]), ["security.insights_changed updated high 1"]);
    let mended = later(&other, 70, &json!({}), &json!({}));
    assert_eq!(tell(&[&mended]), ["security.insights_resolved web"]);
    assert_eq!(tell(&[&other]), ["security.insights_changed new high 1"]);
    assert_eq!(tell(&[]), ["security.insights_resolved web"], "it was removed");
    assert_eq!(tell(&[]), nothing);
}
