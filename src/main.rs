//! `maintenant`: collector and gateway in one process, for one machine.
//!
//! The first process on a database owns it: it runs the collector and serves REST, and `/mcp` where
//! that is asked for, on one port, and always on a unix socket beside the database. A second one
//! that speaks MCP on stdio attaches to that socket, and takes over when the owner goes away.

#[cfg(test)]
mod documentation;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use axum::Extension;
use clap::Parser;
use maintenant_collector::app::{Collector, bind, own_address};
use maintenant_collector::config::{self, CollectorArgs, Config, local_socket};
use maintenant_collector::heartbeats::pings::is_ping;
use maintenant_collector::store::{Lock, LockError};
use maintenant_gateway::auth::admission::Admission;
use maintenant_gateway::calls::Calls;
use maintenant_gateway::client_config::{self, Options, Server, Value, absolute};
use maintenant_gateway::config::{CollectorSettings, McpArgs, McpSettings, Target, base_url};
use maintenant_gateway::subscriptions::EndOfStreams;
use maintenant_gateway::{Collectors, Gateway, http, stdio, unready_while_draining};
use maintenant_serve::args::{ListenArgs, LogArgs, Logging, TokenArgs};
use maintenant_serve::clock;
use maintenant_serve::guard::{BodyLimits, guarded};
use maintenant_serve::listener::{Drain, Listener, serve_all};
use maintenant_serve::process::{self, Hangups, Signals, install_crypto};
use maintenant_serve::settings::{Address, Faults, SettingsError};
use tokio_util::sync::CancellationToken;

/// What the kernel takes as the path of a unix socket (`sun_path`, without its end).
const LONGEST_SOCKET_PATH: usize = 107;

/// Watches Docker and answers AI assistants: collector and MCP gateway in one process.
#[derive(Debug, Parser)]
#[command(name = "maintenant", version)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    listen: ListenArgs,
    #[command(flatten)]
    token: TokenArgs,
    #[command(flatten)]
    mcp: McpArgs,
    // A client configuration of the gateway must not silently watch the wrong machine.
    #[arg(long, env = "MAINTENANT_URL", hide = true)]
    url: Option<String>,
    #[command(flatten)]
    collector: CollectorArgs,
    #[command(flatten)]
    log: LogArgs,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    #[command(flatten)]
    Collector(config::Command),
    /// Write the configuration with which a client starts this program, or over HTTP reaches it
    /// where MAINTENANT_MCP=true, to stdout, and to stderr where it belongs
    ClientConfig(Options),
}

fn main() -> ExitCode {
    process::main(run)
}

fn run(args: &Args) -> anyhow::Result<()> {
    if let Some(Command::Collector(command)) = &args.command {
        return command.run(&args.listen, &args.collector, &args.log, "127.0.0.1:8080");
    }
    let (config, mcp, logging) = args.check()?;
    if let Some(Command::ClientConfig(options)) = &args.command {
        return client_config::write(options, &server(options, &config, &mcp)?);
    }
    // REST keeps the token of the start, so `/mcp` does where it has the same.
    let shared = config.access.token.as_ref().filter(|rest| {
        mcp.auth.token.as_ref().is_some_and(|token| token.expose() == rest.expose())
    });
    let shared = shared.cloned();
    let reload = || {
        let (_, mut mcp, _) = args.check()?;
        if shared.is_some() {
            mcp.auth.token.clone_from(&shared);
        }
        Ok(mcp)
    };
    logging.init();
    install_crypto();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(serve(config, mcp, reload));
    // A thread may still be reading stdin.
    runtime.shutdown_background();
    result
}

/// What a client connects to: `/mcp` where it is served, else this program on this database.
fn server(options: &Options, config: &Config, mcp: &McpSettings) -> anyhow::Result<Server> {
    if options.ssh.is_some() {
        let fault = "--ssh: it is for maintenant-gateway, which asks a collector over there";
        return Err(SettingsError(vec![fault.to_owned()]).into());
    }
    if mcp.http && !mcp.stdio {
        let (url, bearer) = (mcp.resource().parse()?, options.bearer(mcp.auth.token.is_some()));
        return Ok(Server::Http { url, bearer, ca: None });
    }
    Ok(Server::Program {
        command: std::env::current_exe()?.display().to_string(),
        arguments: vec!["--mcp-stdio".to_owned()],
        settings: vec![("MAINTENANT_DB", Value::Known(absolute(&config.db)))],
    })
}

impl Args {
    fn check(&self) -> Result<(Config, McpSettings, Logging), SettingsError> {
        let mut faults = Faults::default();
        let logging = self.log.check(&mut faults);
        // The collector's check below reports what is wrong with the listener.
        let listen = self.listen.check("127.0.0.1:8080", &mut Faults::default());
        let (text, proxies) = (self.listen.base_url.as_deref(), listen.trusted_proxies);
        let url = base_url(text, &listen.address, &mut Faults::default());
        let mut mcp = self.mcp.settings(url, proxies, &mut faults);
        mcp.check_audience(text, &listen.address, &mut faults);
        if self.url.as_deref().is_some_and(|url| !url.is_empty()) {
            let fault = "maintenant watches this machine itself; unset it, or run \
                         maintenant-gateway to ask the collector at that URL";
            faults.add("MAINTENANT_URL", fault);
        }
        let parts = (&self.listen, &self.token, mcp.hosts.as_slice());
        let config = self.collector.check(parts, "127.0.0.1:8080", &mut faults);
        if mcp.auth.is_open() {
            // `/mcp` reads what the REST API reads, so on the same port it asks for the same token.
            mcp.auth.token.clone_from(&config.access.token);
        }
        let socket = local_socket(&config.db);
        if socket.as_os_str().len() > LONGEST_SOCKET_PATH {
            let fault = format!(
                "`{}` is too long for a socket beside it; {LONGEST_SOCKET_PATH} bytes are possible",
                socket.display()
            );
            faults.add("MAINTENANT_DB", &fault);
        }
        faults.finish()?;
        Ok((config, mcp, logging))
    }
}

async fn serve(
    config: Config,
    mcp: McpSettings,
    reload: impl Fn() -> Result<McpSettings, SettingsError>,
) -> anyhow::Result<()> {
    let (signals, mut hangups) = (Signals::listen()?, Hangups::listen()?);
    let socket = local_socket(&config.db);
    let lock = match Lock::try_take(&config.db) {
        Ok(lock) => Some(lock),
        Err(LockError::Held { holder, .. }) if mcp.stdio => {
            tracing::info!("attached to {holder}");
            if mcp.http {
                tracing::warn!("/mcp is the owner's to serve; here it will be after a takeover");
            }
            None
        }
        Err(error) => return Err(error.into()),
    };
    let settings = CollectorSettings {
        collectors: vec![("collector".to_owned(), Target::Unix(socket.clone()))],
        load: mcp.load,
        ..CollectorSettings::default()
    };
    let metrics = settings.metrics.clone();
    let (calls, work) = Calls::new(&mcp.calls, metrics.clone())?;
    let collectors = Collectors::new(settings)?;
    let choice = mcp.calls.tools.clone();
    let gateway = Gateway::with(collectors.clone(), mcp.read_only, choice, calls.clone());
    let admission = Admission::new(&mcp)?;
    metrics.watch_issuers({
        let admission = admission.clone();
        move || admission.state()
    });
    let drain = Drain::default();
    let scraped = metrics.listener(mcp.calls.metrics.as_ref(), mcp.stdio).await?;
    let connections = config.connections.clone();
    let scrape = async {
        if let Some(scraped) = scraped {
            serve_all(vec![scraped], &connections, &drain).await;
        }
    };

    let collect = async {
        let collected = async {
            let lock = if let Some(lock) = lock {
                lock
            } else {
                tokio::select! {
                    lock = lock_when_free(config.db.clone()) => lock?,
                    () = drain.begin.cancelled() => return Ok(()),
                }
            };
            let gateway = gateway.clone();
            let routes = mcp.http.then(|| {
                http::warn_of_open_doors(&mcp.auth);
                http::router(gateway, collectors, &mcp, &admission, &drain.cut)
                    .layer(Extension(EndOfStreams(drain.begin.clone())))
            });
            let owned = own(config, lock, socket, routes, mcp.stdio, &drain);
            tokio::select! {
                owned = owned => owned,
                never = admission.refresh(), if mcp.http => match never {},
            }
        };
        let result = collected.await;
        drain.begin.cancel();
        result
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
        let (collected, talked, ()) = tokio::join!(collect, talk, scrape);
        ended.cancel();
        (collected, talked)
    };
    let follow = async {
        loop {
            hangups.next().await;
            let reloaded = reload().map_err(anyhow::Error::from).and_then(|mcp| {
                admission.replace(&mcp.auth)?;
                gateway.choose(mcp.calls.tools);
                Ok(())
            });
            calls.reloaded(&reloaded);
        }
    };
    let beside = async {
        tokio::select! {
            () = work.run(ended.clone()) => {}
            () = follow => {}
        }
    };
    let work = async { tokio::join!(serve, beside).0 };
    let (collected, talked) = Box::pin(signals.drain(&drain, work)).await;
    collected.and(talked)
}

/// Runs the collector of this database until the drain.
async fn own(
    mut config: Config,
    mut lock: Lock,
    socket: PathBuf,
    mcp: Option<axum::Router>,
    stdio: bool,
    drain: &Drain,
) -> anyhow::Result<()> {
    let local = Listener::bind(&Address::Unix(socket), None).await?;
    let public = match bind(&config).await {
        Ok(listener) => Some(listener),
        // A client on stdio needs no port, and two databases may want the same one.
        Err(error) if stdio => {
            tracing::warn!("REST is served on the socket beside the database only: {error:#}");
            None
        }
        Err(error) => return Err(error),
    };
    let own = public.as_ref().and_then(own_address);
    let collector =
        Collector::start(&mut config, &mut lock, drain.begin.clone(), own, clock::now()).await?;
    let bodies = BodyLimits { any_length: is_ping, ..BodyLimits::default() };
    let rest = guarded(collector.routes(config.access.clone()), bodies);
    let mut listeners = vec![(local, rest.clone())];
    if let Some(listener) = public {
        tracing::info!(address = listener.address(), mcp = mcp.is_some(), "listening");
        let routes = match mcp {
            // `/mcp` bounds its own bodies, to answer in JSON-RPC.
            Some(mcp) => {
                let limits = BodyLimits { bytes: u64::MAX, ..BodyLimits::default() };
                guarded(unready_while_draining(mcp.fallback_service(rest), drain), limits)
            }
            None => rest,
        };
        listeners.push((listener, routes));
    }
    serve_all(listeners, &config.connections, drain).await;
    collector.stop().await;
    Ok(())
}

/// Waits for the owner to go, on a thread of its own: the kernel has no other way to wait.
async fn lock_when_free(database: PathBuf) -> anyhow::Result<Lock> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().name("lock".to_owned()).spawn(move || {
        let _ = sender.send(Lock::take(&database));
    })?;
    let lock = receiver.await.context("the wait for the database ended")??;
    tracing::info!("the owner of the database is gone; taking over");
    Ok(lock)
}
