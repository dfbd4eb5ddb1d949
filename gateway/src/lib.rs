//! Translates MCP tools into calls of the collector's REST API.
//!
//! A request goes `http` or `stdio` → `guarded` (panics, time-outs, one log line) → `server` (what
//! there is) → `tools`, `prompts` or `resources` → `collectors` (which collectors to ask) →
//! `collector` (one REST call) and back through `untrusted` (foreign text made safe) and `budget`
//! (the size of an answer).
//!
//! Who listens for changes is told by `subscriptions`, fed by `event_stream`.
//!
//! Nothing is kept between two calls, so any number of replicas behind any load balancer give the
//! same answers.

pub mod arguments;
pub mod auth;
pub mod budget;
pub mod caller;
pub mod collector;
pub mod collectors;
pub mod completions;
pub mod config;
pub mod cursor;
pub mod error;
pub mod event_stream;
pub mod guarded;
pub mod http;
pub mod jsonrpc;
pub mod listed;
pub mod log_stream;
pub mod progress;
pub mod prompts;
pub mod resources;
pub mod schema;
pub mod server;
pub mod stdio;
pub mod subscriptions;
pub mod time;
pub mod tools;
pub mod untrusted;

use std::sync::Arc;

use axum::Extension;
pub use collectors::Collectors;
use config::Config;
use maintenant_serve::guard::{BodyLimits, guarded};
use maintenant_serve::listener::{Drain, Listener, serve_all};
use maintenant_serve::process::Signals;
use maintenant_serve::tls::Tls;
pub use server::Gateway;
use subscriptions::EndOfStreams;

/// Serves until a signal, the end of stdin when that is a transport, or a failed start.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let signals = Signals::listen()?;
    let collectors = Collectors::new(config.collectors)?;
    collectors.warn_of_tokens_in_the_clear();
    let gateway = Gateway::new(collectors.clone(), config.mcp.read_only);
    let drain = Drain::default();

    let mut listeners = Vec::new();
    if config.mcp.http {
        let tls = config.tls.map(Tls::load).transpose()?.map(Arc::new);
        let listener = Listener::bind(&config.address, tls).await?;
        tracing::info!(address = listener.address(), mcp = true, "listening");
        http::warn_of_open_access();
        let routes = http::router(gateway.clone(), collectors, &config.mcp, &drain.cut)
            .layer(Extension(EndOfStreams(drain.begin.clone())));
        // `/mcp` bounds its own bodies, to answer in JSON-RPC; no other route reads one.
        let limits = BodyLimits { bytes: u64::MAX, ..BodyLimits::default() };
        listeners.push((listener, guarded(routes, limits)));
    }
    let listen = async {
        if !listeners.is_empty() {
            serve_all(listeners, &drain).await;
        }
    };
    let talk = async {
        if !config.mcp.stdio {
            return Ok(());
        }
        let result = tokio::select! {
            result = stdio::serve(gateway.clone(), drain.begin.clone()) => result,
            () = drain.cut.cancelled() => Ok(()),
        };
        // The client that started this process is gone.
        drain.begin.cancel();
        result
    };
    signals.drain(&drain, async { tokio::join!(listen, talk).1 }).await
}
