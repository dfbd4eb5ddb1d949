//! A tool answered from what is kept, beside the REST route that it stands for, both from the
//! request's bytes to those of the answer. `cargo bench -p maintenant-gateway --bench kept`

#![allow(clippy::unwrap_used, reason = "a bench that meets the unexpected has failed")]

mod list;

use std::sync::Arc;

use axum::body::Body;
use axum::routing::get;
use axum::{Json, Router};
use clap::Parser;
use divan::Bencher;
use http::Request;
use maintenant_gateway::auth::admission::Admission;
use maintenant_gateway::config::Args;
use maintenant_gateway::{Collectors, Gateway, http as mcp};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

const CONTAINERS: usize = 50;

fn main() {
    divan::main();
}

fn rest() -> Router {
    let list = Arc::new(list::of(CONTAINERS));
    let containers = move || {
        let list = list.clone();
        async move { axum::response::IntoResponse::into_response(Json(&*list)) }
    };
    Router::new().route("/api/v1/containers", get(containers))
}

async fn answer(routes: &Router, request: Request<Body>) -> usize {
    let response = routes.clone().oneshot(request).await.unwrap();
    assert!(response.status().is_success(), "{}", response.status());
    axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap().len()
}

#[divan::bench]
fn floor_route(bencher: Bencher<'_, '_>) {
    let (runtime, routes) = (Runtime::new().unwrap(), rest());
    bencher.bench_local(|| {
        let request = Request::get("/api/v1/containers").body(Body::empty()).unwrap();
        runtime.block_on(answer(&routes, request))
    });
}

#[divan::bench]
fn tool_from_the_cache(bencher: Bencher<'_, '_>) {
    tool(bencher, 1);
}

/// More questions in turn than whole answers are kept: made anew, mostly, of what the collector said.
#[divan::bench]
fn tool_made_of_what_is_kept(bencher: Bencher<'_, '_>) {
    tool(bencher, 8);
}

fn tool(bencher: Bencher<'_, '_>, filters: usize) {
    let runtime = Runtime::new().unwrap();
    let routes = runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("--url=http://{}", listener.local_addr().unwrap());
        runtime.handle().spawn(async move { axum::serve(listener, rest()).await.unwrap() });
        let arguments = ["maintenant-gateway", "--mcp", "--mcp-rate=0", "--mcp-cache=1m", &url];
        let config = Args::try_parse_from(arguments).unwrap().check().unwrap().0;
        let collectors = Collectors::new(config.collectors).unwrap();
        let admission = Admission::new(&config.mcp).unwrap();
        let gateway = Gateway::new(collectors.clone(), false);
        mcp::router(gateway, collectors, &config.mcp, &admission, &CancellationToken::new())
    });
    // All of them ask for all containers.
    let call = |limit: usize, part: &str| {
        let arguments = json!({"limit": limit, "name": part});
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
               "params": {"name": "list_containers", "arguments": arguments}})
        .to_string()
    };
    let parts =
        ["shop-web-", "hop-web-", "op-web-", "p-web-", "shop-web", "hop-web", "op-web", "web"];
    let limits = if filters == 1 { 50..=50 } else { 50..=100 };
    let calls: Vec<String> = limits
        .flat_map(|limit| parts.into_iter().take(filters).map(move |part| call(limit, part)))
        .collect();
    let mut calls = calls.iter().cycle();
    bencher.bench_local(|| {
        let call = calls.next().unwrap();
        let request = Request::post("/mcp")
            .header("host", "localhost")
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", "2025-06-18")
            .body(Body::from(call.clone()))
            .unwrap();
        runtime.block_on(answer(&routes, request))
    });
}
