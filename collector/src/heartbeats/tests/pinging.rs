//! The public ping routes, without sockets.

use axum::body::Body;
use http::{Method, Request};
use maintenant_serve::guard::Peer;
use serde_json::{Value, json};

use super::super::clients::{Limit, Limits};
use super::routes::{Api, has};
use crate::net::testing::stand_still;

struct Pinged {
    api: Api,
    id: i64,
    address: String,
}

impl Pinged {
    async fn new() -> Self {
        Self::with(Limits::default()).await
    }

    async fn with(limits: Limits) -> Self {
        let mut api = Api::with(limits).await;
        let created = api.create("backup").await;
        api.take_told();
        let address = format!("/ping/{}", created["uuid"].as_str().unwrap());
        Self { api, id: created["id"].as_i64().unwrap(), address }
    }

    async fn state(&self) -> Value {
        self.api.get(&format!("/api/v1/heartbeats/{}", self.id)).await.body["heartbeat"].clone()
    }

    async fn last_ping(&self) -> Value {
        let path = format!("/api/v1/heartbeats/{}/pings", self.id);
        self.api.get(&path).await.body["pings"][0].clone()
    }
}

#[tokio::test]
async fn get_head_and_post_count_alike() {
    let pinged = Pinged::new().await;
    for method in [Method::GET, Method::HEAD, Method::POST] {
        let answer = pinged.api.ask(method.clone(), &pinged.address, Value::Null).await;
        assert_eq!(answer.status, 200, "{method}");
        let expected = if method == Method::HEAD { Value::Null } else { json!({"ok": true}) };
        assert_eq!(answer.body, expected);
        assert_eq!(pinged.last_ping().await["http_method"], method.as_str());
    }
    has(&pinged.state().await, &json!({"status": "up", "consecutive_successes": 3}));
    let other = pinged.api.ask(Method::DELETE, &pinged.address, Value::Null).await;
    assert_eq!(other.status, 405);
}

#[tokio::test]
async fn each_signal_does_what_it_says() {
    let mut pinged = Pinged::new().await;
    for (signal, answer, status) in [
        ("/start?rid=a.1", json!({"ok": true}), "started"),
        ("/log", json!({"ok": true}), "started"),
        ("/0?rid=a.1", json!({"ok": true, "exit_code": 0}), "up"),
        ("/137", json!({"ok": true, "exit_code": 137}), "down"),
        ("/fail", json!({"ok": true}), "down"),
        ("", json!({"ok": true}), "up"),
    ] {
        let path = format!("{}{signal}", pinged.address);
        assert_eq!(pinged.api.get(&path).await.body, answer, "{signal}");
        assert_eq!(pinged.state().await["status"], status, "{signal}");
    }
    let told = pinged.api.take_told();
    let names: Vec<_> =
        told.iter().map(|(name, _)| name.trim_start_matches("heartbeat.")).collect();
    let expected = [
        "ping_received",
        "status_changed", // start
        "ping_received",  // log
        "ping_received",
        "status_changed", // 0
        "ping_received",
        "status_changed",
        "alert", // 137
        "ping_received",
        "alert", // fail
        "ping_received",
        "status_changed",
        "recovery",
    ];
    assert_eq!(names, expected);
    assert_eq!(
        told[0].1,
        json!({"heartbeat_id": pinged.id, "ping_type": "start", "status": "started"})
    );
    let alert = json!({
        "heartbeat_id": pinged.id, "name": "backup", "alert_type": "exit_code_failure",
        "details": "the run ended with exit code 137",
    });
    assert_eq!(told[7].1, alert);
    let runs = pinged.api.get(&format!("/api/v1/heartbeats/{}/executions", pinged.id)).await.body;
    has(&runs["executions"][3], &json!({"outcome": "success", "run_id": "a.1", "exit_code": 0}));
}

#[tokio::test]
async fn a_signal_that_is_none_is_refused_before_the_address_is_looked_up() {
    let pinged = Pinged::new().await;
    let unknown = "/ping/00000000-0000-4000-8000-000000000000";
    for address in [unknown, &pinged.address] {
        for signal in ["256", "-1", "+1", "1.0", "stop", "Start", "%20", "%ff"] {
            let answer = pinged.api.get(&format!("{address}/{signal}")).await;
            assert_eq!(answer.status, 400, "{signal}");
            assert_eq!(answer.body["error"]["code"], "INVALID_EXIT_CODE", "{signal}");
        }
        for rid in ["a%20b", "%3Cscript%3E", &"x".repeat(65)] {
            let answer = pinged.api.get(&format!("{address}?rid={rid}")).await;
            assert_eq!(answer.body["error"]["code"], "INVALID_PARAM", "{rid}");
        }
    }
    assert_eq!(pinged.state().await["status"], "new");
}

#[tokio::test]
async fn unknown_and_deleted_addresses_get_the_same_answer() {
    let pinged = Pinged::new().await;
    let path = format!("/api/v1/heartbeats/{}", pinged.id);
    let before = pinged.api.get("/ping/00000000-0000-4000-8000-000000000000").await;
    assert_eq!(before.status, 404);
    assert_eq!(before.body["error"]["code"], "HEARTBEAT_NOT_FOUND");
    pinged.api.ask(Method::DELETE, &path, Value::Null).await;
    for address in [pinged.address.as_str(), "/ping/nobody", "/ping/%ff", "/ping/x/start"] {
        let answer = pinged.api.get(address).await;
        assert_eq!((answer.status, &answer.body), (before.status, &before.body), "{address}");
    }
}

#[tokio::test]
async fn answers_are_neither_kept_nor_passed_on_nor_indexed() {
    let pinged = Pinged::new().await;
    for path in [pinged.address.as_str(), "/ping/nobody", "/ping/nobody/999"] {
        let headers = pinged.api.get(path).await.headers;
        assert_eq!(headers["cache-control"], "no-store", "{path}");
        assert_eq!(headers["referrer-policy"], "no-referrer", "{path}");
        assert_eq!(headers["x-robots-tag"], "noindex", "{path}");
    }
}

#[tokio::test]
async fn ten_kibibytes_of_a_body_are_kept_and_the_rest_is_let_go() {
    let pinged = Pinged::new().await;
    let post = async |body: Vec<u8>| {
        let request = Request::builder().method("POST").uri(format!("{}/1", pinged.address));
        let request = request.header("content-length", body.len());
        assert_eq!(pinged.api.send(request, Body::from(body)).await.status, 200);
        let run = pinged.api.get(&format!("/api/v1/heartbeats/{}/executions", pinged.id)).await;
        let ping = pinged.last_ping().await["payload"].clone();
        assert_eq!(run.body["executions"][0]["payload"], ping);
        ping.as_str().map(str::to_owned)
    };
    assert_eq!(post(b"disk full".to_vec()).await.as_deref(), Some("disk full"));
    assert_eq!(post(Vec::new()).await, None);
    assert_eq!(post(vec![b'x'; 900_000]).await.unwrap().len(), 10_240);
    assert_eq!(post(vec![b'x'; 3_000_000]).await.unwrap().len(), 10_240, "a long report counts");
    assert_eq!(post(b"a\xffb".to_vec()).await.unwrap(), "a\u{fffd}b");
    assert!(post(vec![0xff; 20_000]).await.unwrap().len() <= 10_240);
    let cut = post("é".repeat(5_121).into_bytes()).await.unwrap();
    assert_eq!(cut, "é".repeat(5_120));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_ends_does_not_lose_the_ping() {
    let (sent, body) = tokio::io::duplex(64);
    let mut sent = sent;
    tokio::io::AsyncWriteExt::write_all(&mut sent, b"half a line").await.unwrap();
    let stream = futures_util::stream::unfold(body, |mut body| async {
        let mut bytes = vec![0; 64];
        let read = tokio::io::AsyncReadExt::read(&mut body, &mut bytes).await.ok()?;
        bytes.truncate(read);
        Some((Ok::<_, std::io::Error>(bytes), body))
    });
    let kept = super::super::pings::payload(Body::from_stream(stream)).await;
    assert_eq!(kept.as_deref(), Some("half a line"));
}

#[tokio::test]
async fn who_pinged_is_the_peer_or_what_a_trusted_proxy_says() {
    let mut pinged = Pinged::new().await;
    let ping = async |pinged: &Pinged, forwarded: &str| {
        let request = Request::builder().uri(&pinged.address).header("x-forwarded-for", forwarded);
        assert_eq!(pinged.api.send(request, Body::empty()).await.status, 200);
        pinged.last_ping().await["source_ip"].clone()
    };
    assert_eq!(ping(&pinged, "198.51.100.7").await, "192.0.2.1");
    pinged.api.peer = Peer::Tcp("10.1.2.3:99".parse().unwrap());
    assert_eq!(ping(&pinged, "1.1.1.1, 198.51.100.7").await, "198.51.100.7");
    pinged.api.peer = Peer::Unix;
    assert_eq!(ping(&pinged, "198.51.100.7").await, "local");
}

#[tokio::test]
async fn too_many_pings_are_told_when_to_come_again() {
    let limits = Limits {
        heartbeat: Limit { burst: 3, per_second: 1 },
        client: Limit { burst: 8, per_second: 1 },
        unknown: Limit { burst: 2, per_second: 1 },
    };
    let _still = stand_still();
    let mut pinged = Pinged::with(limits).await;
    let statuses = async |pinged: &Pinged, address: &str, count: usize| {
        let mut statuses = Vec::new();
        for _ in 0..count {
            statuses.push(pinged.api.get(address).await.status.as_u16());
        }
        statuses
    };
    assert_eq!(statuses(&pinged, "/ping/nobody", 3).await, [404, 404, 429]);
    let address = pinged.address.clone();
    assert_eq!(statuses(&pinged, &address, 4).await, [200, 200, 200, 429]);
    let other = pinged.api.create("other").await["uuid"].as_str().unwrap().to_owned();
    let other = format!("/ping/{other}");
    assert_eq!(statuses(&pinged, &other, 2).await, [200, 429], "the client's own limit");
    let answer = pinged.api.get(&other).await;
    assert_eq!(answer.headers["retry-after"], "1");
    assert_eq!(answer.body["error"]["code"], "RATE_LIMITED");
    pinged.api.peer = Peer::Tcp("198.51.100.7:1".parse().unwrap());
    assert_eq!(statuses(&pinged, &other, 1).await, [200], "another client is not held back");
}

#[tokio::test]
async fn pings_at_once_are_counted_one_by_one() {
    let pinged = Pinged::with(Limits::NONE).await;
    let all = (0..200).map(|_| pinged.api.get(&pinged.address));
    let answers = futures_util::future::join_all(all).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    has(&pinged.state().await, &json!({"consecutive_successes": 200}));
    let path = format!("/api/v1/heartbeats/{}/pings", pinged.id);
    assert_eq!(pinged.api.get(&path).await.body["total"], 200);
}

#[tokio::test]
async fn a_paused_one_takes_pings_and_stays_paused() {
    let pinged = Pinged::new().await;
    pinged.api.post(&format!("/api/v1/heartbeats/{}/pause", pinged.id), Value::Null).await;
    assert_eq!(pinged.api.get(&pinged.address).await.body, json!({"ok": true}));
    let state = pinged.state().await;
    assert_eq!(state["status"], "paused");
    assert!(state["last_ping_at"].is_string());
}

#[tokio::test]
async fn a_caller_that_goes_away_takes_nothing_back() {
    let mut pinged = Pinged::new().await;
    let request = pinged.api.get(&pinged.address);
    let gone = tokio::time::timeout(std::time::Duration::ZERO, request).await;
    drop(gone);
    // The next write is behind it.
    pinged.api.store.write(|_| Ok(())).await.unwrap();
    let names: Vec<_> = pinged.api.take_told().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["heartbeat.ping_received", "heartbeat.status_changed"]);
    assert_eq!(pinged.state().await["status"], "up");
}
