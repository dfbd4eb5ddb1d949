//! Durable pings over loopback: the real routes with group commit, beside a floor that commits each
//! ping alone, in turns. `benches/pings` runs it, also with a slow disk.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "no part of the product: a failure here should stop at once"
)]

use std::sync::Arc;

use maintenant_api::heartbeats::HeartbeatInput;
use maintenant_collector::heartbeats::clients::Limits;
use maintenant_collector::heartbeats::model::Heartbeat;
use maintenant_collector::heartbeats::routes::{Heartbeats, pings};
use maintenant_collector::heartbeats::{Settings, input, open, sql};
use maintenant_collector::http::events::EventBus;
use maintenant_collector::store::{Store, Writer};
use maintenant_serve::clock::now;
use maintenant_serve::guard::{BodyLimits, guarded};
use maintenant_serve::listener::{ConnectionLimits, Drain, Listener, serve};
use maintenant_serve::settings::Address;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

const HEARTBEATS: usize = 1000;
const ROUNDS: usize = 7;
/// Writes in one commit: as many as wait, or one.
const GROUP: usize = 500;
const ALONE: usize = 1;

/// A server on a runtime of its own, and the addresses it is pinged at.
struct Server {
    address: String,
    uuids: Arc<[String]>,
    runtime: tokio::runtime::Runtime,
    drain: Drain,
    writer: Writer,
    _folder: tempfile::TempDir,
}

impl Server {
    fn start(batch: usize) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let (store, writer) = Store::open_with(&folder.path().join("m.db"), batch).unwrap();
        let drain = Drain::default();
        let (address, uuids) = runtime.block_on(async {
            let input = HeartbeatInput {
                name: Some("job".to_owned()),
                interval_seconds: Some(3600),
                ..HeartbeatInput::default()
            };
            let (name, timing) = input::create(&input, now()).unwrap();
            let fill = move |tx: &rusqlite::Connection| {
                let mut uuids = Vec::new();
                for _ in 0..HEARTBEATS {
                    let heartbeat = Heartbeat::new(name.clone(), timing.clone(), now());
                    sql::insert(tx, &heartbeat)?;
                    uuids.push(heartbeat.uuid);
                }
                Ok(uuids)
            };
            let uuids = store.write(fill).await.unwrap();
            let events = EventBus::new(now());
            let settings = Settings::default();
            let heartbeats = open(&store, &events, settings, Limits::NONE, now()).await.unwrap();
            let routes = pings::<Heartbeats>().split_for_parts().0.with_state(heartbeats);
            let loopback = Address::Tcp { host: "127.0.0.1".to_owned(), port: 0 };
            let listener = Listener::bind(&loopback, None).await.unwrap();
            let address = listener.address();
            let app = guarded(routes, BodyLimits::default());
            let served = serve(listener, app, ConnectionLimits::default(), drain.clone());
            runtime.spawn(served);
            (address, uuids.into())
        });
        Self { address, uuids, runtime, drain, writer, _folder: folder }
    }

    fn stop(self) {
        self.drain.begin.cancel();
        self.drain.cut.cancel();
        self.runtime.block_on(self.writer.end());
    }
}

/// One client that stays connected.
struct Client {
    connection: TcpStream,
    uuids: Arc<[String]>,
    next: usize,
}

impl Client {
    async fn ping(&mut self) {
        // A stride that reaches every heartbeat.
        self.next = (self.next + 379) % self.uuids.len();
        let uuid = &self.uuids[self.next];
        let request = format!("POST /ping/{uuid} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        self.connection.write_all(request.as_bytes()).await.unwrap();
        let mut answer = [0; 1024];
        let mut read = 0;
        // The body is the last of the answer.
        while !answer[..read].ends_with(b"{\"ok\":true}") {
            let more = self.connection.read(&mut answer[read..]).await.unwrap();
            assert!(more > 0, "{}", String::from_utf8_lossy(&answer[..read]));
            read += more;
        }
        assert!(answer.starts_with(b"HTTP/1.1 200 "));
    }
}

/// Pings per second of so many clients that send `count` in all.
fn measure(server: &Server, clients: usize, count: usize) -> f64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut connected = Vec::new();
        for number in 0..clients {
            let connection = TcpStream::connect(&server.address).await.unwrap();
            connection.set_nodelay(true).unwrap();
            let uuids = server.uuids.clone();
            let mut client = Client { connection, uuids, next: number * 17 };
            client.ping().await;
            connected.push(client);
        }
        let begin = Instant::now();
        let mut all = JoinSet::new();
        for mut client in connected {
            all.spawn(async move {
                for _ in 0..count.div_ceil(clients) {
                    client.ping().await;
                }
            });
        }
        all.join_all().await;
        let sent = u32::try_from(count.div_ceil(clients) * clients).unwrap();
        f64::from(sent) / begin.elapsed().as_secs_f64()
    })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let is_slow = std::env::var_os("SLOW_FSYNC_MS").is_some();
    println!("clients  group commit/s  commit per ping/s  ratio (least)");
    for clients in [1, 16, 64] {
        let most = clients * 150;
        let (group_count, alone_count) = if is_slow {
            (most.min(6400), most.min(640))
        } else {
            (most.max(1500), most.clamp(1500, 4800))
        };
        let (mut group, mut alone, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        let (grouped, single) = (Server::start(GROUP), Server::start(ALONE));
        for _ in 0..ROUNDS {
            let with = measure(&grouped, clients, group_count);
            let without = measure(&single, clients, alone_count);
            group.push(with);
            alone.push(without);
            ratios.push(with / without);
        }
        grouped.stop();
        single.stop();
        let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        println!(
            "{clients:>7}  {:>14.0}  {:>17.0}  {:>5.2} ({least:.2})",
            median(group),
            median(alone),
            median(ratios)
        );
    }
}
