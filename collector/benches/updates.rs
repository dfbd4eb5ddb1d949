//! Image updates: choosing among the tags of a large repository, and a scan of 200 references at a
//! registry whose every answer takes 50 ms.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "no part of the product: a failure here should stop at once"
)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use divan::{Bencher, black_box};
use futures_util::StreamExt;
use maintenant_collector::net::Net;
use maintenant_collector::net::guard::Guard;
use maintenant_collector::net::tls::Trust;
use maintenant_collector::store::Store;
use maintenant_collector::updates::credentials::Credentials;
use maintenant_collector::updates::look::{Indexes, Misses, Subject, look};
use maintenant_collector::updates::model::{Outcome, Running, Status};
use maintenant_collector::updates::policy::{Exclusions, Policy};
use maintenant_collector::updates::reference::{Place, Reference};
use maintenant_collector::updates::registry::{Memory, Registries};
use maintenant_collector::updates::tags::{Shape, Step, choose};

const REFERENCES: usize = 200;
const LATENCY: Duration = Duration::from_millis(50);

fn main() {
    divan::main();
}

/// Ten lines of a thousand tags each.
fn tags() -> Vec<String> {
    let forms = ["", "-alpine", "-alpine3.20", "-slim-bookworm", "-rc1", "-ls7", "-fpm", "-apache"];
    (0..10_000)
        .map(|number| {
            let (minor, patch) = (number / 100 % 100, number % 100);
            match forms.get(number % 10) {
                Some(suffix) => format!("1.{minor}.{patch}{suffix}"),
                None if number % 2 == 0 => format!("sha-{number:040x}"),
                None => format!("{}{:02}{:02}", 2000 + number % 30, 1 + minor % 12, 1 + patch % 28),
            }
        })
        .collect()
}

#[divan::bench]
fn choose_among_10_000_tags(bencher: Bencher<'_, '_>) {
    let tags = tags();
    let current = Shape::parse("1.27.3-alpine").unwrap();
    bencher.bench(|| {
        let tags = black_box(&tags).iter().map(String::as_str);
        choose(&current, tags, Some(Step::Major), |_| true)
    });
}

fn digest() -> String {
    format!("sha256:{}", "a".repeat(64))
}

async fn answer(State(asked): State<Arc<AtomicUsize>>, request: Request) -> Response {
    asked.fetch_add(1, Ordering::Relaxed);
    tokio::time::sleep(LATENCY).await;
    if request.uri().path().ends_with("/tags/list") {
        return "{\"tags\":[\"1.0.0\"]}".into_response();
    }
    [("docker-content-digest", digest())].into_response()
}

async fn serve(asked: Arc<AtomicUsize>) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().fallback(answer).with_state(asked);
    let mut serving = tokio::task::JoinSet::new();
    serving.spawn(async move { axum::serve(listener, app).await });
    serving.detach_all();
    address
}

/// Each reference is of another repository; `tag` decides whether its tags are listed.
#[divan::bench(args = ["latest", "1.0.0"], sample_count = 5, sample_size = 1)]
fn scan_200_references_at_50_ms(bencher: Bencher<'_, '_>, tag: &str) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (store, writer) = Store::open(&folder.path().join("m.db")).unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let address = runtime.block_on(serve(asked.clone()));
    let net = Net::new(Guard::default(), Trust::of(rustls::RootCertStore::empty()).unwrap());
    let subjects: Vec<(Place, Subject)> = (0..REFERENCES)
        .map(|number| {
            let reference = Reference::parse(&format!("{address}/lab/app{number}:{tag}")).unwrap();
            let running = Running {
                digests: vec![digest()],
                own_digest: Some(digest()),
                ..Running::default()
            };
            let policy = Policy::default();
            (reference.place(None), Subject { reference, policy, running, known: None })
        })
        .collect();
    let before = asked.load(Ordering::Relaxed);
    let mut scans = 0;
    bencher.bench_local(|| {
        scans += 1;
        runtime.block_on(async {
            let registries =
                Registries::new(&net, Credentials::default(), Memory::default()).unwrap();
            let (indexes, exclusions) =
                (Indexes::new(store.clone(), Misses::default()), Exclusions::default());
            let outcomes: Vec<_> = futures_util::stream::iter(subjects.clone())
                .map(|(place, subject)| {
                    let (registries, indexes, exclusions) = (&registries, &indexes, &exclusions);
                    async move {
                        look(registries, indexes, exclusions, &place, &[Arc::new(subject)]).await
                    }
                })
                .buffer_unordered(32)
                .collect()
                .await;
            let is_current = |outcome: &Outcome| {
                matches!(outcome, Outcome::Found(verdict, None)
                    if verdict.status == Status::UpToDate)
            };
            assert!(outcomes.iter().flatten().all(is_current));
        });
    });
    let all = asked.load(Ordering::Relaxed) - before;
    // One HEAD; where tags are compared, a list for each repository.
    let each = if tag == "latest" { 1 } else { 2 };
    assert_eq!(all, scans * REFERENCES * each);
    println!("{tag}: {each} requests for each unchanged reference");
    runtime.block_on(writer.end());
}
