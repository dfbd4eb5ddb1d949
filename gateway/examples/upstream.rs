//! An upstream for `benches/gateway.py`: `upstream <milliseconds to wait> <containers>`.
//!
//! It serves one list of containers, serialised per request, and `/requests`, which tells how many
//! of them there were. Where it listens it says as the programs do, as a line of JSON on stderr.

#![allow(clippy::print_stderr, reason = "it says where it listens as the programs do")]

#[path = "../benches/list/mod.rs"]
mod list;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let wait = Duration::from_millis(arguments.next().unwrap_or_default().parse()?);
    let count: usize = arguments.next().unwrap_or_default().parse()?;
    let list = list::of(count);
    let (list, requests) = (Arc::new(list), Arc::new(AtomicUsize::new(0)));
    let counted = requests.clone();
    let containers = move || {
        let (list, requests) = (list.clone(), requests.clone());
        async move {
            requests.fetch_add(1, Ordering::Relaxed);
            if !wait.is_zero() {
                tokio::time::sleep(wait).await;
            }
            Json(&*list).into_response()
        }
    };
    let app = Router::new().route("/api/v1/containers", get(containers)).route(
        "/requests",
        get(move || async move { counted.load(Ordering::Relaxed).to_string() }),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    eprintln!("{}", json!({"message": "listening", "address": listener.local_addr()?.to_string()}));
    Ok(axum::serve(listener, app).await?)
}
