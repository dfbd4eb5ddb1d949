//! What the host and its containers use, as the tools tell it: in front of a collector, and of an
//! existing server of the contract.

use serde_json::{Value, json};

use crate::fake::{Answer, Client, Fake, contract, error, nobody, object};

const GIB: i64 = 1 << 30;

fn host() -> Value {
    let filesystem = |mount: &str, percent: f64| {
        json!({"mount": mount, "kind": "ext4", "total": 100 * GIB, "used": 90 * GIB,
               "percent": percent, "inodes_percent": 3.04})
    };
    let before = |window: &str, cpu: f64, coverage: f64| {
        json!({"window": window, "cpu_percent": cpu, "mem_percent": 40.0, "cpu_max": 99.0,
               "mem_max": 60.5, "disk_percent": 89.5, "coverage_percent": coverage})
    };
    json!({
        "load": [1.234, 0.5, 0.25], "swap_used": GIB, "swap_total": 2 * GIB,
        "uptime_seconds": 90_061, "disk_read_rate": 1000, "disk_write_rate": 2000,
        "filesystems": [filesystem("/var\u{202e}", 97.26), filesystem("/", 90.0)],
        "before": [before("last_hour", 12.0, 100.0), before("last_24_hours", 30.04, 80.0),
                   before("same_hour_yesterday", 5.0, 100.0)],
        "containers_cpu_percent": 55.55, "containers_mem_used": 3 * GIB
    })
}

fn summary() -> Value {
    json!({
        "total_cpu_percent": 17.26, "cpu_count": 4, "total_mem_used": 4 * GIB,
        "total_mem_limit": 8 * GIB, "total_mem_percent": 50.0, "total_net_rx_rate": 123_456,
        "total_net_tx_rate": 654, "container_count": 3, "disk_total": 100 * GIB,
        "disk_used": 90 * GIB, "disk_percent": 90.0, "timestamp": "2026-05-05T12:00:00.5+02:00"
    })
}

fn consumer(id: i64, value: i64, percent: i64) -> Value {
    json!({"container_id": id, "container_name": format!("shop-{id}"), "value": value,
           "percent": percent, "rank": id})
}

fn top(metric: &str, period: Option<&str>, consumers: &[Value]) -> Answer {
    let mut answer = json!({"metric": metric, "consumers": consumers});
    if let Some(period) = period {
        answer["period"] = json!(period);
    }
    (200, answer)
}

/// An existing server: rates that are none, and no history by whole days yet.
pub(crate) fn v1(path: &str, nth: usize) -> Answer {
    let cpu = [consumer(1, 120, 120), consumer(2, 20, 20), consumer(3, -1, -1)];
    let memory = [consumer(2, GIB, 12), consumer(1, 1 << 20, 0), consumer(3, -1, -1)];
    match path {
        "resources/summary" => (200, summary()),
        "resources/top?metric=cpu&limit=5" | "resources/top?metric=cpu&limit=10" => {
            top("cpu", None, &cpu)
        }
        "resources/top?metric=memory&limit=5" => top("memory", None, &memory),
        "resources/top?metric=cpu&limit=10&period=1h" => top("cpu", Some("1h"), &cpu[..2]),
        "resources/top?metric=cpu&limit=10&period=7d" => {
            (200, json!({"metric": "cpu", "period": "7d", "consumers": null}))
        }
        _ => contract(path, nth),
    }
}

fn ours(path: &str, nth: usize) -> Answer {
    match path {
        "resources/summary" => {
            let mut summary = summary();
            summary["host"] = host();
            (200, summary)
        }
        "resources/top?metric=memory&limit=3&period=24h" => {
            let mut grown = consumer(2, GIB, 12);
            grown["max"] = json!(2 * GIB);
            grown["before"] = json!(GIB / 2);
            grown["coverage_percent"] = json!(100.0);
            grown["container_name"] = json!("db\u{202e}");
            let mut young = consumer(1, 1 << 20, 0);
            young["coverage_percent"] = json!(12.34);
            young["before"] = json!(0);
            top("memory", Some("24h"), &[grown, young])
        }
        _ => v1(path, nth),
    }
}

async fn client(answers: fn(&str, usize) -> Answer) -> (Client, Fake) {
    let fake = Fake::tcp(answers).await;
    (Client::new(&fake.url).await, fake)
}

#[tokio::test]
async fn the_host_is_told_with_what_was_before() {
    let (client, fake) = client(ours).await;
    let answer = client.call("get_resources", json!({})).await;
    insta::assert_json_snapshot!(answer);
    let mut paths = fake.paths();
    paths.sort();
    let asked = [
        "resources/summary",
        "resources/top?metric=cpu&limit=5",
        "resources/top?metric=memory&limit=5",
    ];
    assert_eq!(paths, asked);
}

#[tokio::test]
async fn a_large_host_stays_small() {
    let fake = Fake::tcp(|path, nth| {
        let (status, mut answer) = ours(path, nth);
        let long = "\u{202e}x".repeat(300);
        if path == "resources/summary" {
            let row = &answer["host"]["filesystems"][0];
            let row = object(row.clone(), json!({"mount": "/var/lib/docker/overlay2"}));
            answer["host"]["filesystems"] = json!(vec![row; 40]);
            answer["host"]["filesystems"][0]["mount"] = json!(long);
        } else {
            let row = object(consumer(1, 5 * GIB, 5), json!({"container_name": "shop-api-1"}));
            answer["consumers"] = json!(vec![row; 5]);
        }
        (status, answer)
    })
    .await;
    let client = Client::new(&fake.url).await;
    let answer = client.call("get_resources", json!({})).await;
    let (bytes, wire) = (answer.to_string().len(), client.result("get_resources", json!({})).await);
    let wire = serde_json::to_string(&wire).unwrap().len();
    println!("get_resources: {bytes} bytes, {wire} on the wire");
    assert!(bytes <= 3000, "{bytes} bytes");
    assert!(answer["hint"].as_str().unwrap().contains("less full filesystems left out"));
}

#[tokio::test]
async fn counters_of_another_server_are_not_called_rates() {
    let (client, _fake) = client(v1).await;
    let answer = client.call("get_resources", json!({})).await;
    assert_eq!((&answer["cpu_percent"], &answer["mem_limit"]), (&json!(17.3), &json!(8 * GIB)));
    assert_eq!((&answer["disk_percent"], &answer["container_count"]), (&json!(90.0), &json!(3)));
    for unknown in ["net_rx_rate", "net_tx_rate", "load", "swap_total", "before", "filesystems"] {
        assert!(answer.get(unknown).is_none(), "{unknown}");
    }
    let hint = answer["hint"].as_str().unwrap();
    assert!(hint.contains("does not tell load, swap, filesystems, true rates"), "{hint}");
    let names: Vec<&Value> = answer["top_by_memory"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| &row["container_name"])
        .collect();
    assert_eq!(names, ["shop-2", "shop-1"], "what is -1 is not known");
}

#[tokio::test]
async fn what_a_server_does_not_know_is_not_zero() {
    let unknown = json!({"total_cpu_percent": -1, "cpu_count": 2, "total_mem_used": -1,
        "total_mem_limit": -1, "total_mem_percent": -1, "total_net_rx_rate": -3,
        "total_net_tx_rate": -3, "container_count": 3, "disk_total": 0, "disk_used": 0,
        "disk_percent": 0});
    let nothing = json!({"total_cpu_percent": 0, "cpu_count": 0, "total_mem_limit": 0});
    for (summary, keys, part) in [
        (unknown, vec!["hint", "cpu_count", "container_count"], "does not tell load"),
        (nothing, vec!["hint", "container_count"], "has not measured its host yet"),
    ] {
        let fake = Fake::tcp(move |path, _| match path {
            "resources/summary" => (200, summary.clone()),
            _ => (200, json!({"consumers": null})),
        })
        .await;
        let answer = Client::new(&fake.url).await.call("get_resources", json!({})).await;
        let expected: Vec<&str> = keys.into_iter().chain(["top_by_cpu", "top_by_memory"]).collect();
        let found: Vec<&String> = answer.as_object().unwrap().keys().collect();
        assert_eq!(found, expected);
        assert!(answer["hint"].as_str().unwrap().contains(part), "{answer}");
    }
}

#[tokio::test]
async fn a_part_that_failed_is_named_and_the_rest_is_answered() {
    let cases = [
        ("resources/summary", "What the host itself uses is missing", "cpu_percent"),
        ("resources/top?metric=cpu&limit=5", "largest containers by CPU are missing", "top_by_cpu"),
        ("resources/top?metric=memory&limit=5", "by memory are missing", "top_by_memory"),
    ];
    for (route, part, field) in cases {
        let fake = Fake::tcp(move |path, nth| {
            if path == route { error(500, "INTERNAL_ERROR", "locked") } else { ours(path, nth) }
        })
        .await;
        let answer = Client::new(&fake.url).await.call("get_resources", json!({})).await;
        let hint = answer["hint"].as_str().unwrap();
        assert!(hint.contains(part) && hint.contains("status 500"), "{hint}");
        for known in ["cpu_percent", "top_by_cpu", "top_by_memory"] {
            let is_there = answer.get(known).is_some_and(|value| *value != json!([]));
            assert_eq!(is_there, known != field, "{known} without {route}");
        }
    }
    let fake = Fake::tcp(contract).await;
    let sentence = Client::new(&fake.url).await.error("get_resources", json!({})).await;
    assert!(sentence.contains("does not offer this function"), "{sentence}");
}

#[tokio::test]
async fn of_several_hosts_the_busiest_is_first() {
    let (one, two) = (Fake::tcp(v1).await, Fake::tcp(ours).await);
    let url = format!("prod={},lab={},off={}", one.url, two.url, nobody());
    let client = Client::new(&url).await;
    let answer = client.call("get_resources", json!({})).await;
    assert!(answer.get("cpu_percent").is_none());
    assert_eq!(
        answer["hosts"][1],
        json!({"collector": "lab", "cpu_percent": 17.3, "cpu_count": 4, "load": [1.23, 0.5, 0.25],
               "mem_limit": 8 * GIB, "mem_percent": 50.0, "disk_percent": 90.0,
               "container_count": 3})
    );
    assert_eq!(answer["top_by_cpu"].as_array().unwrap().len(), 4);
    assert_eq!(answer["top_by_cpu"][0]["collector"], "prod");
    assert_eq!(answer["sources"][2]["ok"], false);
    let named = client.call("get_resources", json!({"collector": "lab"})).await;
    assert_eq!((&named["load"], named.get("hosts")), (&json!([1.23, 0.5, 0.25]), None));
}

#[tokio::test]
async fn the_largest_containers_are_ranked_with_units() {
    let (client, fake) = client(ours).await;
    let answer = client.call("get_top_consumers", json!({"metric": "CPU"})).await;
    assert_eq!(
        answer,
        json!({"metric": "cpu", "period": "current", "unit": "cores", "percent_of": "one core",
               "hint": "Left out, because they cannot be measured: 1 container.",
               "consumers": [
                   {"rank": 1, "container_id": "1", "container_name": "shop-1",
                    "value": "1.20 cores", "percent": 120.0, "absolute": 1.2},
                   {"rank": 2, "container_id": "2", "container_name": "shop-2",
                    "value": "0.20 cores", "percent": 20.0, "absolute": 0.2}]})
    );
    let asked = json!({"metric": "memory", "period": "24h", "limit": 3});
    let answer = client.call("get_top_consumers", asked).await;
    assert_eq!(
        answer["consumers"],
        json!([
            {"rank": 1, "container_id": "2", "container_name": "db\\u{202e}", "value": "1.0 GiB",
             "percent": 12.0, "absolute": 1_073_741_824.0, "max": 2_147_483_648.0,
             "before": 536_870_912.0, "change": 536_870_912.0, "change_percent": 100.0},
            {"rank": 2, "container_id": "1", "container_name": "shop-1", "value": "1.0 MiB",
             "percent": 0.0, "absolute": 1_048_576.0, "before": 0.0, "coverage_percent": 12.3}
        ])
    );
    let hint = answer["hint"].as_str().unwrap();
    assert!(hint.contains("during the whole period: 1 container"), "{hint}");
    assert!(hint.contains("less than half of the period was measured: 1 container"), "{hint}");
    assert_eq!(
        fake.paths(),
        ["resources/top?metric=cpu&limit=10", "resources/top?metric=memory&limit=3&period=24h"]
    );
}

#[tokio::test]
async fn an_empty_period_and_an_unknown_one_are_explained() {
    let (client, _fake) = client(v1).await;
    let of = |period: &str| json!({"metric": "cpu", "period": period});
    assert_eq!(client.call("get_top_consumers", of("1h")).await["consumers"][0]["rank"], 1);
    let week = client.call("get_top_consumers", of("7d")).await;
    assert_eq!(week["consumers"], json!([]));
    let hint = week["hint"].as_str().unwrap();
    assert!(hint.contains("completed hours or days only and is too young"), "{hint}");
    // Some servers answer with the last sample when they do not know the period.
    let live = Fake::tcp(|_, _| top("cpu", None, &[consumer(1, 5, 5)])).await;
    let answer = Client::new(&live.url).await.call("get_top_consumers", of("30d")).await;
    assert_eq!(answer["consumers"], json!([]));
    assert!(answer["hint"].as_str().unwrap().contains("do not know the period 30d: 1 collector"));
    let none = Fake::tcp(|_, _| top("cpu", None, &[])).await;
    let answer = Client::new(&none.url).await.call("get_top_consumers", of("current")).await;
    assert!(answer["hint"].as_str().unwrap().contains("was measured yet"), "{answer}");
}

#[tokio::test]
async fn wrong_arguments_are_refused_with_what_is_accepted() {
    let (client, fake) = client(ours).await;
    let cases = [
        ("get_top_consumers", json!({}), "missing field `metric`"),
        ("get_top_consumers", json!({"metric": "disk"}), "one of: cpu, memory"),
        ("get_top_consumers", json!({"metric": "memroy"}), "Did you mean `memory`?"),
        (
            "get_top_consumers",
            json!({"metric": "cpu", "period": "2h"}),
            "current, 1h, 24h, 7d, 30d",
        ),
        ("get_top_consumers", json!({"metric": "cpu", "limit": 21}), "from 1 to 20"),
        ("get_top_consumers", json!({"metric": "cpu", "limit": 0}), "from 1 to 20"),
        ("get_resources", json!({"host": "x"}), "unknown field `host`"),
        ("get_resources", json!({"collector": "x"}), "this gateway asks: collector"),
    ];
    for (tool, arguments, part) in cases {
        let sentence = client.error(tool, arguments).await;
        assert!(sentence.contains(part), "{sentence}");
    }
    assert_eq!(fake.paths(), Vec::<String>::new(), "nothing was asked upstream");
}

#[tokio::test]
async fn what_is_minus_one_is_not_told_and_a_window_half_unmeasured_is_no_trend() {
    let unknown = json!({"load": [-1.0, -1.0, -1.0], "swap_used": -1, "swap_total": 5,
        "uptime_seconds": -1, "disk_read_rate": -1, "disk_write_rate": -1,
        "filesystems": [{"mount": "/", "kind": "ext4", "used": -1, "total": -1, "percent": -1}],
        "before": [{"window": "last_hour", "cpu_percent": -1, "mem_percent": 40.0, "cpu_max": -1,
                    "disk_percent": -1, "coverage_percent": 100.0},
                   {"window": "last_24_hours", "cpu_percent": 5.0, "mem_percent": 40.0,
                    "disk_percent": 80.0, "coverage_percent": 49.0}],
        "containers_cpu_percent": -1, "containers_mem_used": -1});
    let fake = Fake::tcp(move |path, nth| match path {
        "resources/summary" => (200, object(summary(), json!({"host": unknown}))),
        _ => v1(path, nth),
    })
    .await;
    let answer = Client::new(&fake.url).await.call("get_resources", json!({})).await;
    for unknown in [
        "load",
        "swap_used",
        "uptime",
        "disk_read_rate",
        "disk_write_rate",
        "containers_cpu_percent",
        "containers_mem_used",
    ] {
        assert!(answer.get(unknown).is_none(), "{unknown}");
    }
    assert_eq!(answer["filesystems"], json!([{"mount": "/", "kind": "ext4"}]));
    assert_eq!(
        answer["before"],
        json!([{"window": "last_hour", "mem_percent": 40.0, "mem_change": 10.0},
               {"window": "last_24_hours", "cpu_percent": 5.0, "mem_percent": 40.0,
                "disk_percent": 80.0, "coverage_percent": 49.0}])
    );
}
