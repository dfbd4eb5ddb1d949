//! A fake Docker Engine with N containers, for benchmarks: `fake_engine SOCKET N`.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "no part of the product: a failure here should stop at once"
)]

use std::path::Path;

#[path = "../src/containers/tests/fake_docker.rs"]
#[expect(dead_code, reason = "shared with the tests, which use more of it")]
mod fake_docker;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, socket, count] = arguments.as_slice() else { panic!("usage: fake_engine SOCKET N") };
    let (fake, mut tasks) = fake_docker::FakeDocker::serve(Path::new(socket));
    fake.fill(count.parse().expect("N is a number"));
    tasks.join_next().await;
}
