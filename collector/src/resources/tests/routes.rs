//! The REST routes, without sockets and in real time.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use maintenant_api::containers::State;
use maintenant_serve::clock;
use serde_json::{Value, json};
use tokio::sync::{broadcast, watch};
use tower::ServiceExt;
use utoipa_axum::router::OpenApiRouter;

use super::*;
use crate::containers::inventory::Inventory;
use crate::containers::labels::Labels;
use crate::containers::model::{Container, Facts, Pending, RestartPolicy};
use crate::http::events::{Event, EventBus};
use crate::net::Net;
use crate::net::guard::Guard;
use crate::net::tls::Trust;
use crate::problems::Problems;
use crate::resources::routes::routes;
use crate::resources::sampler::Sink;
use crate::resources::usage::Usage;
use crate::runtime::{Runtime, RuntimeState};
use crate::spine::Spine;
use crate::store::{Store, Writer};

/// The dimension on a store of its own. Containers 1 and 2 are known; both run.
struct Api {
    router: Router,
    usage: Usage,
    store: Store,
    inventory: watch::Sender<Inventory>,
    told: broadcast::Receiver<Arc<Event>>,
    now: Timestamp,
    _writer: Writer,
    _folder: tempfile::TempDir,
}

fn container(id: i64, state: State) -> Arc<Container> {
    let facts = Facts {
        name: format!("c{id}"),
        image: "i".into(),
        labels: Labels::default(),
        has_health_check: false,
        restart_policy: RestartPolicy::No,
        stop_signal: 15,
        restart_count: 0,
        error_detail: String::new(),
        exposure: None,
    };
    Arc::new(Container {
        id,
        identity: facts.identity(),
        external_id: "x".into(),
        facts,
        state,
        health: None,
        exit: None,
        started_at: None,
        finished_at: None,
        first_seen_at: at(0),
        last_state_change_at: at(0),
        archived_at: None,
        pending: Pending::default(),
    })
}

impl Api {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (store, writer) = Store::open(&folder.path().join("m.db")).unwrap();
        let fill = |tx: &Connection| {
            add_container(tx, 1, "warning");
            add_container(tx, 2, "warning");
            Ok(())
        };
        store.write(fill).await.unwrap();
        let now = clock::now();
        let events = EventBus::new(now);
        let told = events.subscribe(None).receiver;
        let all = [1, 2].map(|id| container(id, State::Running));
        let (inventory, reader) = watch::channel(Inventory::new(all.to_vec()));
        let runtime = RuntimeState::new(Runtime::new("docker", now));
        runtime.connected(None, now);
        let usage = Usage::new(Spine {
            store: store.clone(),
            events: events.clone(),
            runtime,
            inventory: reader,
            net: Net::new(Guard::default(), Trust::of(rustls::RootCertStore::empty()).unwrap()),
            problems: Problems::new(events),
        });
        let all: OpenApiRouter<Usage> = OpenApiRouter::new().nest("/api/v1", routes());
        let router = all.split_for_parts().0.with_state(usage.clone());
        Self { router, usage, store, inventory, told, now, _writer: writer, _folder: folder }
    }

    /// A round so many seconds ago: percent of a core by container, and the host.
    async fn round(&self, ago: i64, cpu: &[(i64, f64)], host_cpu: Option<f64>) {
        let at = self.now - SignedDuration::from_secs(ago);
        let samples = cpu.iter().map(|(id, cpu)| sample(*id, at, *cpu)).collect();
        let host = host_cpu.map(|cpu| host(at, cpu));
        self.usage.clone().take(Batch { at, samples, host }).await.unwrap();
    }

    async fn ask(&self, method: Method, path: &str, body: Value) -> (StatusCode, Value) {
        let request = Request::builder().method(method).uri(format!("/api/v1{path}"));
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let response = self.router.clone().oneshot(request.body(body).unwrap()).await.unwrap();
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    async fn get(&self, path: &str) -> Value {
        let (status, body) = self.ask(Method::GET, path, Value::Null).await;
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
        body
    }

    async fn put(&self, path: &str, body: Value) -> Value {
        let (status, body) = self.ask(Method::PUT, path, body).await;
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
        body
    }

    /// Refused with this code; the message names all of these.
    async fn refused(&self, method: Method, path: &str, body: Value, code: &str, words: &[&str]) {
        let (status, body) = self.ask(method, path, body).await;
        let status_of_code = if code.contains("NOT_FOUND") { 404 } else { 400 };
        assert_eq!((status.as_u16(), &body["error"]["code"]), (status_of_code, &json!(code)));
        let message = body["error"]["message"].as_str().unwrap();
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
    }

    /// Names and data of what was told since the last look.
    fn told(&mut self) -> Vec<(&'static str, Value)> {
        std::iter::from_fn(|| self.told.try_recv().ok())
            .map(|event| (event.name, serde_json::from_str(&event.data).unwrap()))
            .collect()
    }
}

#[tokio::test]
async fn what_a_container_uses_now_is_its_last_sample_while_it_runs() {
    let mut api = Api::new().await;
    let path = "/containers/1/resources/current";
    api.refused(Method::GET, path, Value::Null, "NOT_FOUND", &["30 seconds"]).await;
    api.round(60, &[(1, 50.0)], Some(1.0)).await;
    api.refused(Method::GET, path, Value::Null, "NOT_FOUND", &[]).await;
    api.round(5, &[(1, 50.0), (2, 10.0)], Some(1.0)).await;
    let current = api.get(path).await;
    assert_eq!(current["cpu_percent"], 50.0);
    assert_eq!(current["mem_used"], 50 * MIB);
    assert_eq!((&current["mem_limit"], &current["mem_percent"]), (&json!(200 * MIB), &json!(25.0)));
    assert_eq!((&current["net_rx_bytes"], &current["net_rx_rate"]), (&json!(1000), &json!(10.0)));
    assert_eq!(current["block_read_bytes"], -1);
    assert_eq!(current["read_from"], "cgroup");
    let (name, snapshot) = api.told().pop().unwrap();
    assert_eq!((name, &snapshot["container_id"]), ("resource.snapshot", &json!(2)));
    let keys: Vec<_> = snapshot.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = [
        "container_id",
        "cpu_percent",
        "mem_used",
        "mem_limit",
        "mem_percent",
        "net_rx_bytes",
        "net_tx_bytes",
        "block_read_bytes",
        "block_write_bytes",
        "timestamp",
    ];
    assert_eq!(keys, expected);
    api.inventory.send_replace(Inventory::new(vec![
        container(1, State::Exited),
        container(2, State::Running),
    ]));
    api.refused(Method::GET, path, Value::Null, "NOT_FOUND", &[]).await;
    api.refused(Method::GET, "/containers/x/resources/current", Value::Null, "INVALID_ID", &[])
        .await;
}

#[tokio::test]
async fn a_sample_of_the_run_before_is_not_what_a_container_uses_now() {
    let api = Api::new().await;
    let path = "/containers/1/resources/current";
    api.round(5, &[(1, 50.0)], None).await;
    let restarted =
        Container { started_at: Some(api.now), ..Container::clone(&container(1, State::Running)) };
    api.inventory.send_replace(Inventory::new(vec![Arc::new(restarted)]));
    api.refused(Method::GET, path, Value::Null, "NOT_FOUND", &[]).await;
    let at = api.now;
    let sample = Sample { started_at: Some(at), ..sample(1, at, 10.0) };
    api.usage.clone().take(Batch { at, samples: vec![sample], host: None }).await.unwrap();
    assert_eq!(api.get(path).await["cpu_percent"], 10.0);
}

#[tokio::test]
async fn an_engine_elsewhere_tells_the_memory_of_its_own_host() {
    let api = Api::new().await;
    let path = "/containers/1/resources/current";
    let take = async |mem_is_limited| {
        let (at, mem_limit, mem_ceiling) = (api.now, None, Some(100 * MIB));
        let sample = Sample { mem_limit, mem_ceiling, mem_is_limited, ..sample(1, at, 50.0) };
        let host = Some(host(at, 1.0));
        api.usage.clone().take(Batch { at, samples: vec![sample], host }).await.unwrap();
    };
    take(Some(false)).await;
    let current = api.get(path).await;
    assert_eq!((&current["mem_limit"], &current["mem_percent"]), (&json!(100 * MIB), &json!(50.0)));
    assert_eq!(current["mem_is_limited"], false);
    let top = api.get("/resources/top?metric=memory&period=1h").await;
    assert_eq!(top["consumers"][0]["percent"], 50.0);
    let history = api.get("/containers/1/resources/history").await;
    assert_eq!(history["points"][0]["mem_limit"], 100 * MIB);
    take(None).await;
    assert!(api.get(path).await.get("mem_is_limited").is_none());
}

#[tokio::test]
async fn histories_are_open_and_name_their_steps() {
    let api = Api::new().await;
    api.round(130, &[(1, 10.0)], Some(20.0)).await;
    api.round(5, &[(1, 50.0)], Some(40.0)).await;
    for (range, granularity, points) in
        [("1h", "raw", 2), ("6h", "1m", 2), ("24h", "5m", 1), ("7d", "1h", 1), ("30d", "1h", 1)]
    {
        let history = api.get(&format!("/containers/1/resources/history?range={range}")).await;
        assert_eq!(
            (&history["range"], &history["granularity"]),
            (&json!(range), &json!(granularity))
        );
        let list = history["points"].as_array().unwrap();
        // A step may end between the two.
        assert!((points..=2).contains(&list.len()), "{range}: {list:?}");
        assert_eq!(list.last().unwrap()["net_tx_bytes"], 2000);
        assert_eq!(list.last().unwrap()["mem_limit"], 200 * MIB);
        assert_eq!(list.last().unwrap().get("cpu").is_some(), range != "1h");
        let host = api.get(&format!("/resources/host/history?range={range}")).await;
        assert_eq!(host["points"].as_array().unwrap().len(), list.len());
        assert_eq!(host["points"][0]["mem_total"], 8 * GIB);
    }
    let history = api.get("/containers/1/resources/history").await;
    assert_eq!(history["range"], "1h");
    let cpu: Vec<_> =
        history["points"].as_array().unwrap().iter().map(|p| &p["cpu_percent"]).collect();
    assert_eq!(cpu, [10.0, 50.0]);
    for unknown in ["0", "77", "-1"] {
        let history = api.get(&format!("/containers/{unknown}/resources/history")).await;
        assert_eq!(history["points"], json!([]));
    }
    for path in ["/containers/1/resources/history?range=1y", "/resources/host/history?range=1y"] {
        api.refused(Method::GET, path, Value::Null, "INVALID_RANGE", &["1y", "30d"]).await;
    }
}

#[tokio::test]
async fn the_summary_is_the_hosts_truth_and_never_a_zero_for_what_is_unknown() {
    let api = Api::new().await;
    let summary = api.get("/resources/summary").await;
    assert_eq!((&summary["total_cpu_percent"], &summary["disk_total"]), (&json!(-1.0), &json!(-1)));
    assert!(summary.get("timestamp").is_none() && summary.get("host").is_none());
    api.round(3600, &[], Some(30.0)).await;
    api.round(5, &[(1, 150.0), (2, 30.5)], Some(80.0)).await;
    let summary = api.get("/resources/summary").await;
    assert_eq!(
        (&summary["total_cpu_percent"], &summary["container_count"]),
        (&json!(80.0), &json!(2))
    );
    assert_eq!(
        (&summary["total_mem_percent"], &summary["total_net_rx_rate"]),
        (&json!(25.0), &json!(100))
    );
    assert_eq!((&summary["disk_used"], &summary["disk_percent"]), (&json!(50 * GIB), &json!(50.0)));
    let host = &summary["host"];
    assert_eq!(
        (&host["filesystems"][0]["mount"], &host["filesystems"][0]["percent"]),
        (&json!("/var"), &json!(80.0))
    );
    assert_eq!((&host["containers_cpu_percent"], &host["load"][0]), (&json!(180.5), &json!(1.5)));
    assert!(host.get("disk_read_rate").is_none());
    let before = host["before"].as_array().unwrap();
    let words: Vec<_> = before.iter().map(|before| before["window"].as_str().unwrap()).collect();
    assert_eq!(words, ["last_hour", "last_24_hours"]);
}

#[tokio::test]
async fn rankings_name_what_they_accept() {
    let api = Api::new().await;
    api.round(5, &[(1, 20.0), (2, 150.0)], Some(80.0)).await;
    for path in ["/resources/top?metric=cpu", "/resources/top?metric=cpu&period=current"] {
        let top = api.get(path).await;
        assert!(top.get("period").is_none());
        assert_eq!(top["consumers"][0]["container_name"], "c2");
        assert_eq!(
            (&top["consumers"][0]["value"], &top["consumers"][1]["rank"]),
            (&json!(150.0), &json!(2))
        );
    }
    for period in ["1h", "24h", "7d", "30d"] {
        let top = api.get(&format!("/resources/top?metric=memory&period={period}&limit=1")).await;
        assert_eq!((&top["period"], &top["metric"]), (&json!(period), &json!("memory")));
        assert_eq!(top["consumers"].as_array().unwrap().len(), 1, "{period}");
        let first = &top["consumers"][0];
        assert_eq!(
            (&first["container_id"], &first["value"]),
            (&json!(2), &json!(150.0 * 1_048_576.0))
        );
        assert_eq!((&first["percent"], &first["max"]), (&json!(75.0), &first["value"]));
    }
    assert_eq!(
        api.get("/resources/top?metric=cpu&limit=1000").await["consumers"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    let get = Method::GET;
    api.refused(get.clone(), "/resources/top", Value::Null, "INVALID_METRIC", &["cpu or memory"])
        .await;
    api.refused(
        get.clone(),
        "/resources/top?metric=disk",
        Value::Null,
        "INVALID_METRIC",
        &["disk"],
    )
    .await;
    let path = "/resources/top?metric=cpu&period=1y";
    api.refused(get.clone(), path, Value::Null, "INVALID_PERIOD", &["1y", "30d"]).await;
    for limit in ["0", "-1", "x"] {
        let path = format!("/resources/top?metric=cpu&limit={limit}");
        api.refused(get.clone(), &path, Value::Null, "INVALID_PARAM", &["limit"]).await;
    }
}

#[tokio::test]
async fn thresholds_keep_what_is_not_given_and_refuse_what_is_out_of_range() {
    let api = Api::new().await;
    let path = "/containers/1/resources/alerts";
    let defaults = json!({
        "container_id": 1, "cpu_threshold": 90.0, "mem_threshold": 90.0, "enabled": false,
        "alert_state": "normal", "last_alerted_at": null,
    });
    assert_eq!(api.get(path).await, defaults);
    assert_eq!(api.get("/containers/77/resources/alerts").await["enabled"], false);
    let set = api.put(path, json!({ "cpu_threshold": 150.5, "enabled": true })).await;
    assert_eq!((&set["cpu_threshold"], &set["mem_threshold"]), (&json!(150.5), &json!(90.0)));
    let set = api.put(path, json!({ "mem_threshold": 50, "cpu_threshold": null })).await;
    assert_eq!((&set["cpu_threshold"], &set["enabled"]), (&json!(150.5), &json!(true)));
    assert_eq!(api.get(path).await, set);
    assert_eq!(api.put(path, json!({})).await, set);
    let put = Method::PUT;
    for (field, value) in [
        ("cpu_threshold", 0.5),
        ("cpu_threshold", 1000.5),
        ("cpu_threshold", -1.0),
        ("mem_threshold", 0.0),
        ("mem_threshold", 100.1),
    ] {
        let body = json!({ field: value, "enabled": false });
        api.refused(put.clone(), path, body, "INVALID_THRESHOLD", &[field, "from 1 to"]).await;
    }
    assert_eq!(api.get(path).await, set);
    let body = json!({ "enabled": true });
    api.refused(
        put.clone(),
        "/containers/77/resources/alerts",
        body.clone(),
        "CONTAINER_NOT_FOUND",
        &["77"],
    )
    .await;
    api.refused(put.clone(), "/containers/x/resources/alerts", body, "INVALID_ID", &[]).await;
    api.refused(put.clone(), path, json!({ "enabled": "yes" }), "INVALID_JSON", &[]).await;
    let host = "/resources/host/alerts";
    assert_eq!(
        api.get(host).await,
        json!({
            "cpu_threshold": 95.0, "mem_threshold": 95.0, "disk_threshold": 90.0,
            "inode_threshold": 90.0, "enabled": true, "alerting": [],
        })
    );
    assert_eq!(api.put(host, json!({ "disk_threshold": 70 })).await["disk_threshold"], 70.0);
    for field in ["cpu_threshold", "mem_threshold", "disk_threshold", "inode_threshold"] {
        api.refused(put.clone(), host, json!({ field: 101 }), "INVALID_THRESHOLD", &[field]).await;
    }
    // /var is at 80.
    api.round(15, &[], Some(1.0)).await;
    api.round(5, &[], Some(1.0)).await;
    assert_eq!(api.get(host).await["alerting"], json!(["disk:/var"]));
}

#[tokio::test]
async fn alerts_are_told_once_each_and_by_metric() {
    let mut api = Api::new().await;
    let path = "/containers/1/resources/alerts";
    api.put(path, json!({ "cpu_threshold": 80, "mem_threshold": 40, "enabled": true })).await;
    api.round(40, &[(1, 90.0)], None).await;
    api.round(30, &[(1, 90.0)], None).await;
    assert_eq!(api.get(path).await["alert_state"], "both_alert");
    api.round(20, &[(1, 1.0)], None).await;
    api.round(10, &[(1, 1.0)], None).await;
    let told: Vec<_> =
        api.told().into_iter().filter(|(name, _)| *name != "resource.snapshot").collect();
    let time = |ago| api.now - SignedDuration::from_secs(ago);
    let alert = |which: &str, metric: &str, value: f64, threshold: f64, ago| {
        json!({
            "container_id": 1, "container_name": "c1", which: metric, "current_value": value,
            "threshold": threshold, "timestamp": time(ago),
        })
    };
    assert_eq!(
        told,
        [
            ("resource.alert", alert("alert_type", "cpu", 90.0, 80.0, 30)),
            ("resource.alert", alert("alert_type", "memory", 45.0, 40.0, 30)),
            ("resource.recovery", alert("recovered_type", "cpu", 1.0, 80.0, 10)),
            ("resource.recovery", alert("recovered_type", "memory", 0.5, 40.0, 10)),
        ]
    );
    let alerts = api.get(path).await;
    assert_eq!(alerts["alert_state"], "normal");
    assert!(alerts["last_alerted_at"].is_string());
}

#[tokio::test]
async fn thresholds_set_while_samples_arrive_are_not_overwritten() {
    let api = Api::new().await;
    let path = "/containers/1/resources/alerts";
    let rounds = async {
        for ago in (2..42).rev() {
            api.round(ago, &[(1, 100.0)], Some(1.0)).await;
        }
    };
    let puts = async {
        for threshold in 1..=40 {
            let body = json!({ "cpu_threshold": threshold, "enabled": true });
            api.put(path, body).await;
        }
    };
    tokio::join!(rounds, puts);
    // Whichever came last: two samples beyond it decide.
    for ago in [1, 0] {
        api.round(ago, &[(1, 100.0)], Some(1.0)).await;
    }
    let alerts = api.get(path).await;
    assert_eq!(
        (&alerts["cpu_threshold"], &alerts["alert_state"]),
        (&json!(40.0), &json!("cpu_alert"))
    );
    // The standing is that of the last threshold.
    let standings =
        api.store.read(|db| crate::resources::standings::load(db, Some(1))).await.unwrap();
    let thresholds: Vec<_> = standings.values().map(|standing| standing.threshold).collect();
    assert_eq!(thresholds, [40.0]);
}
