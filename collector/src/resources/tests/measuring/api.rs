use super::reading;
use crate::docker::{InspectedHostConfig, Stats};
use crate::resources::api;
use crate::resources::model::{Reading, Traffic};

/// As Docker 20.10 answers, on version 1 of control groups.
const V1: &str = r#"{"read":"2026-11-21T06:07:49.742378023Z","preread":"0001-01-01T00:00:00Z",
 "pids_stats":{"current":1},
 "blkio_stats":{"io_service_bytes_recursive":[{"major":254,"minor":0,"op":"Read","value":4096},
   {"major":254,"minor":0,"op":"Write","value":512},{"major":254,"minor":0,"op":"Total","value":4608}]},
 "num_procs":0,"storage_stats":{},
 "cpu_stats":{"cpu_usage":{"total_usage":772142617,"percpu_usage":[617921120,154221497]},
   "system_cpu_usage":46041180000000,"online_cpus":2,
   "throttling_data":{"periods":39,"throttled_periods":36,"throttled_time":2797698747}},
 "memory_stats":{"usage":2502656,"max_usage":3551232,"limit":67108864,
   "stats":{"rss":1,"inactive_file":5,"total_rss":65536,"total_inactive_file":1978368}},
 "name":"/q","networks":{"eth0":{"rx_bytes":736,"tx_bytes":10},"eth1":{"rx_bytes":4,"tx_bytes":5}}}"#;

fn stats(text: &str) -> Stats {
    serde_json::from_str(text).unwrap()
}

fn limited() -> InspectedHostConfig {
    InspectedHostConfig { nano_cpus: 200_000_000, memory: 67_108_864, ..Default::default() }
}

#[test]
fn version_1_is_read_whole() {
    let expected = Reading {
        at: "2026-11-21T06:07:49.742Z".parse().unwrap(),
        cpu_limit_cores: Some(0.2),
        cpu_periods: Some((39, 36)),
        mem_working_set: Some(2_502_656 - 1_978_368),
        mem_anon: Some(65_536),
        mem_limit: Some(67_108_864),
        net: Some(Traffic { received: 740, sent: 15 }),
        block: Some(Traffic { received: 4096, sent: 512 }),
        pids: Some(1),
        ..reading(772_142_617)
    };
    assert_eq!(api::reading(&stats(V1), &limited()), Some(expected));
}

#[test]
fn version_2_and_podman_are_read() {
    let v2 = stats(
        r#"{"Id":"x","read":"2026-11-21T06:07:49Z","cpu_stats":{"cpu_usage":{"total_usage":5}},
        "memory_stats":{"usage":100,"limit":24684083200,"stats":{"anon":7,"inactive_file":40}},
        "blkio_stats":{"io_service_bytes_recursive":[{"op":"read","value":3},{"op":"write","value":4}]}}"#,
    );
    let found = api::reading(&v2, &InspectedHostConfig::default()).unwrap();
    assert_eq!((found.mem_working_set, found.mem_anon), (Some(60), Some(7)));
    assert_eq!(found.mem_limit, None, "the host's memory is no limit");
    assert_eq!(found.mem_ceiling, Some(24_684_083_200));
    assert_eq!(found.block, Some(Traffic { received: 3, sent: 4 }));
    let podman = stats(
        r#"{"read":"2026-11-21T06:07:49Z","cpu_stats":{"cpu_usage":{"total_usage":5}},
        "memory_stats":{"usage":100,"stats":null},"networks":null,"blkio_stats":null,"pids_stats":{}}"#,
    );
    let found = api::reading(&podman, &limited()).unwrap();
    let at = found.at;
    assert_eq!(
        found,
        Reading { at, cpu_limit_cores: Some(0.2), mem_working_set: Some(100), ..reading(5) }
    );
}

#[test]
fn an_answer_without_a_sample_is_none() {
    let check = |text: &str| {
        assert_eq!(api::reading(&stats(text), &limited()), None, "{text}");
    };
    check("{}");
    check(r#"{"id":"x","name":"/x"}"#);
    check(r#"{"read":"0001-01-01T00:00:00Z","cpu_stats":{"cpu_usage":{"total_usage":0}}}"#);
    check(r#"{"read":"soon","cpu_stats":{"cpu_usage":{"total_usage":1}}}"#);
    check(r#"{"read":"2026-11-21T06:07:49Z"}"#);
    check(r#"{"read":"2026-11-21T06:07:49Z","cpu_stats":null}"#);
    check(r#"{"read":"2026-11-21T06:07:49Z","cpu_stats":{"cpu_usage":{}}}"#);
}

#[test]
fn what_is_absent_is_not_zero() {
    let check = |text: &str| {
        let whole = format!(
            r#"{{"read":"2026-11-21T06:07:49Z","cpu_stats":{{"cpu_usage":{{"total_usage":1}}}},{text}}}"#
        );
        let found = api::reading(&stats(&whole), &limited()).unwrap();
        let (at, cpu_limit_cores) = (found.at, Some(0.2));
        assert_eq!(found, Reading { at, cpu_limit_cores, ..reading(1) }, "{text}");
    };
    check(r#""networks":{}"#);
    check(r#""networks":null"#);
    check(r#""networks":{"eth0":{}}"#);
    check(r#""blkio_stats":{"io_service_bytes_recursive":[]}"#);
    check(r#""blkio_stats":{"io_service_bytes_recursive":null}"#);
    check(r#""pids_stats":{"current":null},"memory_stats":{}"#);
    check(r#""memory_stats":{"stats":{"anon":"many","inactive_file":-1}}"#);
}

#[test]
fn a_network_that_is_somebody_elses_is_left_to_its_owner() {
    let check = |mode: &str, own: bool| {
        let host_config =
            InspectedHostConfig { network_mode: mode.to_owned(), ..Default::default() };
        let found = api::reading(&stats(V1), &host_config).unwrap();
        assert_eq!(found.net.is_some(), own, "{mode}");
    };
    check("default", true);
    check("my_net", true);
    check("host", false);
    check("container:4f1c9b0d7e2a", false);
}

#[test]
fn limits_of_the_processor_are_cores() {
    let check = |nano_cpus, cpu_quota, cpu_period, cores| {
        let host_config =
            InspectedHostConfig { nano_cpus, cpu_quota, cpu_period, ..Default::default() };
        let found = api::reading(&stats(V1), &host_config).unwrap();
        assert_eq!(found.cpu_limit_cores, cores);
        assert_eq!(found.cpu_periods.is_some(), cores.is_some());
    };
    check(1_500_000_000, 0, 0, Some(1.5));
    check(0, 50_000, 0, Some(0.5));
    check(0, 50_000, 200_000, Some(0.25));
    check(0, 0, 0, None);
    check(0, -1, 100_000, None);
}
