//! Deliveries over loopback: the outbox with its commits, beside a bare client that posts the same
//! bodies with as many requests under way, in turns.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "no part of the product: a failure here should stop at once"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use maintenant_api::alerts::{Alert, AlertStatus, Severity};
use maintenant_api::channels::ChannelInput;
use maintenant_collector::config::Edition;
use maintenant_collector::containers::inventory::Inventory;
use maintenant_collector::http::events::EventBus;
use maintenant_collector::net::Net;
use maintenant_collector::net::guard::Guard;
use maintenant_collector::net::tls::Trust;
use maintenant_collector::notify::outbox::{Event, Notice, enqueue};
use maintenant_collector::notify::{Settings, channels, snapshot, sql, start};
use maintenant_collector::problems::Problems;
use maintenant_collector::runtime::{Runtime, RuntimeState};
use maintenant_collector::spine::Spine;
use maintenant_collector::store::Store;
use maintenant_collector::tasks::Supervisor;
use maintenant_serve::clock::now;
use maintenant_serve::listener::{ConnectionLimits, Drain, Listener, serve};
use maintenant_serve::settings::Address;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;

const MESSAGES: usize = 2000;
const ROUNDS: usize = 5;
/// Tries that the sender has under way in one lane.
const AT_ONCE: usize = 4;

/// Counts posts.
struct Receiver {
    url: String,
    posts: Arc<AtomicUsize>,
    come: Arc<Notify>,
}

impl Receiver {
    async fn start(tasks: &mut JoinSet<()>) -> Self {
        let address = Address::Tcp { host: "127.0.0.1".to_owned(), port: 0 };
        let listener = Listener::bind(&address, None).await.unwrap();
        let url = format!("http://{}/hook", listener.address());
        let (posts, come) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let (count, bell) = (posts.clone(), come.clone());
        let app = Router::new().fallback(move |_: axum::body::Bytes| async move {
            if count.fetch_add(1, Ordering::Relaxed) + 1 == MESSAGES {
                bell.notify_one();
            }
        });
        tasks.spawn(async move {
            serve(listener, app, ConnectionLimits::default(), Drain::default()).await;
        });
        Self { url, posts, come }
    }

    /// Messages per second since `begin`, when all have come.
    async fn all(&self, begin: Instant) -> f64 {
        self.come.notified().await;
        assert_eq!(self.posts.swap(0, Ordering::Relaxed), MESSAGES);
        f64::from(u32::try_from(MESSAGES).unwrap()) / begin.elapsed().as_secs_f64()
    }
}

fn notice(entity_id: i64) -> Notice {
    let alert = Alert {
        id: entity_id,
        source: "container".to_owned(),
        alert_type: "container_down".to_owned(),
        severity: Severity::Critical,
        status: AlertStatus::Active,
        message: "it stopped with exit code 137".to_owned(),
        entity_type: "container".to_owned(),
        entity_id,
        entity_name: "web".to_owned(),
        details: r#"{"exit_code":137}"#.to_owned(),
        resolved_by_id: None,
        fired_at: now(),
        resolved_at: None,
        acknowledged_at: None,
        acknowledged_by: None,
        escalated_at: None,
        created_at: Some(now()),
    };
    Notice { event: Event::Fired, alert, channels: Vec::new() }
}

/// The floor: the same bodies, without a database.
async fn bare(receiver: &Receiver) -> f64 {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let map = snapshot::alert_map(&notice(1).alert);
    let body = snapshot::of_channel("alert.fired", &map, now());
    let begin = Instant::now();
    let mut all = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (client, body, url) = (client.clone(), body.clone(), receiver.url.clone());
        all.spawn(async move {
            for _ in 0..MESSAGES / AT_ONCE {
                client.post(&url).body(body.clone()).send().await.unwrap();
            }
        });
    }
    let rate = receiver.all(begin).await;
    all.join_all().await;
    rate
}

/// As many messages through the outbox to `lanes` channels.
async fn outbox(receiver: &Receiver, lanes: usize) -> f64 {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (store, writer) = Store::open(&folder.path().join("m.db")).unwrap();
    let events = EventBus::new(now());
    let trust = Trust::of(rustls::RootCertStore::empty()).unwrap();
    let spine = Spine {
        store: store.clone(),
        events: events.clone(),
        runtime: RuntimeState::new(Runtime::new("none", now())),
        inventory: tokio::sync::watch::channel(Inventory::default()).1,
        net: Net::new(Guard::default(), trust),
        problems: Problems::new(events.clone()),
    };
    let settings = Settings { allow_private: true, smtp: None };
    let url = receiver.url.clone();
    let fill = move |tx: &rusqlite::Connection| {
        for lane in 0..lanes {
            let input = ChannelInput {
                name: Some(format!("channel {lane}")),
                url: Some(url.clone()),
                enabled: Some(true),
                ..ChannelInput::default()
            };
            sql::insert_channel(tx, &channels::create(&input, true).unwrap(), now())?;
        }
        for entity in 0..MESSAGES / lanes {
            enqueue(tx, &notice(i64::try_from(entity).unwrap()), now())?;
        }
        Ok(())
    };
    store.write(fill).await.unwrap();
    let mut supervisor = Supervisor::default();
    let begin = Instant::now();
    let heard = spine.events.subscribe(None).receiver;
    start(&spine, &mut supervisor, &settings, Edition::Community, heard).unwrap();
    let rate = receiver.all(begin).await;
    supervisor.stop(Duration::from_secs(5)).await;
    writer.end().await;
    rate
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[tokio::main]
async fn main() {
    let mut tasks = JoinSet::new();
    let receiver = Receiver::start(&mut tasks).await;
    println!("channels  outbox/s  bare client/s  ratio");
    for lanes in [1, 8] {
        let (mut ours, mut floor) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            ours.push(outbox(&receiver, lanes).await);
            floor.push(bare(&receiver).await);
        }
        let (ours, floor) = (median(ours), median(floor));
        println!("{lanes:>8}  {ours:>8.0}  {floor:>13.0}  {:>5.2}", ours / floor);
    }
}
