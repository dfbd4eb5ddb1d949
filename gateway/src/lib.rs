//! Translates MCP tools into calls of the collector's REST API.
//!
//! A request goes `http` or `stdio` → `guarded` (panics, time-outs, one log line) → `server` (what
//! there is) → `tools`, `prompts` or `resources` → `collectors` (which collectors to ask) →
//! `collector` (one REST call) and back through `untrusted` (foreign text made safe) and `budget`
//! (the size of an answer).
//!
//! Who listens for changes is told by `subscriptions`, fed by `event_stream`.
//!
//! Nothing is kept between two calls but what a collector answered a moment ago, so any number of
//! replicas behind any load balancer give the same answers.

pub mod arguments;
pub mod as_of;
pub mod auth;
pub mod budget;
pub mod caller;
pub mod calls;
pub mod check;
pub mod client_config;
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
mod kept;
pub mod listed;
pub mod log_stream;
pub mod progress;
pub mod prompts;
mod reach;
pub mod resources;
pub mod schema;
pub mod server;
mod splice;
pub mod stdio;
pub mod subscriptions;
pub mod time;
pub mod tools;
pub mod untrusted;

use std::sync::Arc;

use auth::admission::Admission;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::{Extension, Router};
use calls::Calls;
use collector::TlsFiles;
pub use collectors::Collectors;
use config::{CollectorSettings, Config};
use maintenant_serve::guard::{BodyLimits, error, guarded};
use maintenant_serve::listener::{Drain, Listener, serve_all};
use maintenant_serve::process::{Hangups, Signals};
use maintenant_serve::settings::SettingsError;
use maintenant_serve::tls::Tls;
pub use server::Gateway;
use subscriptions::EndOfStreams;
use tokio_util::sync::CancellationToken;

/// Serves until a signal, the end of stdin when that is a transport, or a failed start. At SIGHUP
/// `reload` reads the settings again.
pub async fn run(
    config: Config,
    reload: impl Fn() -> Result<Config, SettingsError>,
) -> anyhow::Result<()> {
    let (signals, mut hangups) = (Signals::listen()?, Hangups::listen()?);
    let Config { address, tls, connections, mcp, collectors } = config;
    let metrics = collectors.metrics.clone();
    let (calls, work) = Calls::new(&mcp.calls, metrics.clone())?;
    let collectors = Collectors::new(collectors)?;
    collectors.warn_of_tokens_in_the_clear();
    let choice = mcp.calls.tools.clone();
    let gateway = Gateway::with(collectors.clone(), mcp.read_only, choice, calls.clone());
    let drain = Drain::default();
    let tls = tls.map(Tls::load).transpose()?.map(Arc::new);
    let admission = Admission::new(&mcp)?;
    metrics.watch_issuers({
        let admission = admission.clone();
        move || admission.state()
    });

    let mut listeners = Vec::new();
    if mcp.http {
        let listener = Listener::bind(&address, tls.clone()).await?;
        tracing::info!(address = listener.address(), mcp = true, "listening");
        http::warn_of_open_doors(&mcp.auth);
        let routes =
            http::router(gateway.clone(), collectors.clone(), &mcp, &admission, &drain.cut);
        let routes = routes.layer(Extension(EndOfStreams(drain.begin.clone())));
        let routes = unready_while_draining(routes, &drain);
        // `/mcp` bounds its own bodies, to answer in JSON-RPC; no other route reads one.
        let limits = BodyLimits { bytes: u64::MAX, ..BodyLimits::default() };
        listeners.push((listener, guarded(routes, limits)));
    }
    listeners.extend(metrics.listener(mcp.calls.metrics.as_ref(), mcp.stdio).await?);
    let listen = async {
        if !listeners.is_empty() {
            serve_all(listeners, &connections, &drain).await;
        }
    };
    let talk = async {
        if !mcp.stdio {
            return Ok(());
        }
        let result = tokio::select! {
            result = stdio::serve(gateway.clone().guarded(), drain.begin.clone()) => result,
            () = drain.cut.cancelled() => Ok(()),
        };
        // The client that started this process is gone.
        drain.begin.cancel();
        result
    };
    let ended = CancellationToken::new();
    let serve = async {
        let result = tokio::join!(listen, talk).1;
        ended.cancel();
        result
    };
    let reloads = async {
        loop {
            hangups.next().await;
            let reloaded = reload().map_err(anyhow::Error::from).and_then(|config| {
                let files = TlsFiles::read(&config.collectors)?;
                tls.as_ref().map_or(Ok(()), |tls| tls.reload())?;
                let Config { mcp, collectors: CollectorSettings { token, .. }, .. } = config;
                admission.replace(&mcp.auth)?;
                // From here on nothing fails.
                collectors.set_credentials(token.as_ref(), &files);
                gateway.choose(mcp.calls.tools);
                Ok(())
            });
            calls.reloaded(&reloaded);
        }
    };
    let follow = async { tokio::join!(check::look_once(&collectors), reloads).1 };
    let beside = async {
        tokio::select! {
            () = work.run(ended.clone()) => {}
            () = follow => {}
            never = admission.refresh(), if mcp.http => match never {},
        }
    };
    let work = async { tokio::join!(serve, beside).0 };
    Box::pin(signals.drain(&drain, work)).await
}

/// `/readyz` says no from the beginning of the drain on, on connections that are still there.
pub fn unready_while_draining(routes: Router, drain: &Drain) -> Router {
    routes.layer(from_fn_with_state(drain.begin.clone(), unready))
}

async fn unready(
    State(draining): State<CancellationToken>,
    request: Request,
    next: Next,
) -> Response {
    if draining.is_cancelled() && request.uri().path() == "/readyz" {
        return error(StatusCode::SERVICE_UNAVAILABLE, "DRAINING", "this process is stopping");
    }
    next.run(request).await
}
