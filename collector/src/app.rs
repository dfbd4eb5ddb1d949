//! Wiring: the only file that knows every dimension. Opens the store, starts the jobs, serves,
//! and takes all of it down again in order.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use jiff::Timestamp;
use maintenant_serve::guard::{BodyLimits, guarded};
use maintenant_serve::listener::{Drain, Listener, serve_all};
use maintenant_serve::process::Signals;
use maintenant_serve::settings::Address;
use maintenant_serve::tls::Tls;
use tokio_util::sync::CancellationToken;

use crate::config::{Access, Config, local_socket};
use crate::containers::deletions::Deletions;
use crate::containers::inventory::Inventory;
use crate::containers::routes::Containers;
use crate::containers::watch::{Periods, Watch, Watched};
use crate::http::events::EventBus;
use crate::http::{AppState, router};
use crate::monitored::Monitored;
use crate::net::Net;
use crate::net::guard::Guard;
use crate::net::tls::Trust;
use crate::problems::Problems;
use crate::runtime::{self, Runtime, RuntimeState};
use crate::spine::Spine;
use crate::store::retention::{Keep, Retention};
use crate::store::{Lock, Store, Writer};
use crate::tasks::{Backoff, Supervisor};
use crate::{
    alerts, certificates, containers, endpoints, heartbeats, insights, notify, resources,
    runtime_rules, signals, status, updates,
};

const JOB_GRACE: Duration = Duration::from_secs(5);

/// A collector at work: its jobs run, its routes can be served.
pub struct Collector {
    state: AppState,
    supervisor: Supervisor,
    writer: Writer,
}

impl Collector {
    /// Opens the database and starts the jobs. It needs no Docker to start. The lock must be held
    /// until the collector has stopped and its listeners are gone. The endpoints of the file are
    /// taken out of the configuration. What listens on `own` is this process itself, and not probed.
    pub async fn start(
        config: &mut Config,
        lock: &mut Lock,
        drain: CancellationToken,
        own: Option<SocketAddr>,
        now: Timestamp,
    ) -> anyhow::Result<Self> {
        let _ = lock.describe(&format!("collector on {}", config.address));
        let (store, writer) = open(&config.db).await?;
        let events = EventBus::new(now);
        let heard = events.subscribe(None).receiver;
        let mut supervisor = Supervisor::default();
        let name = if config.docker.is_some() { "docker" } else { runtime::NOTHING };
        let runtime = RuntimeState::new(Runtime::new(name, now));
        let watched = match &config.docker {
            Some(host) => {
                let (watch, watched) = Watch::new(
                    host.clone(),
                    Periods::default(),
                    store.clone(),
                    events.clone(),
                    runtime.clone(),
                )
                .await?;
                let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
                supervisor.follow(backoff, watch);
                watched
            }
            None => nothing_watched(),
        };
        let retention = Retention { store: store.clone(), keeps: keeps() };
        supervisor.every(Duration::from_hours(1), retention);
        let spine = Spine {
            store: store.clone(),
            events: events.clone(),
            runtime: runtime.clone(),
            inventory: watched.inventory.clone(),
            net: Net::new(
                Guard::new(config.probes.allowed.clone()),
                Trust::load(config.probes.ca_cert.as_deref())
                    .context("MAINTENANT_PROBE_CA_CERT")?,
            )
            .of_listener(own),
            problems: Problems::new(events.clone()),
        };
        let (endpoints, tls_targets) =
            endpoints::start(&spine, &mut supervisor, std::mem::take(&mut config.endpoints), now)
                .await?;
        let certificates = certificates::start(&spine, &mut supervisor, tls_targets, now).await?;
        let settings = heartbeats::Settings {
            trusted_proxies: config.trusted_proxies.clone(),
            base_url: config.base_url.clone(),
        };
        let heartbeats = heartbeats::start(&spine, &mut supervisor, settings, now).await?;
        let usage = resources::start(&spine, &mut supervisor, watched.docker.clone());
        let docker = watched.docker.clone();
        let updates =
            updates::start(&spine, &mut supervisor, docker, config.updates.clone(), now).await?;
        let sources: Vec<Box<dyn signals::Source>> = vec![
            Box::new(containers::rules::Rules {
                runtime: runtime.clone(),
                down_after: config.container_down_after,
            }),
            Box::new(runtime_rules::Rules { runtime: runtime.clone() }),
            Box::new(endpoints::rules::Rules { inventory: spine.inventory.clone() }),
            Box::new(heartbeats::rules::Rules { heartbeats: heartbeats.clone() }),
            Box::new(certificates::rules::Rules),
            Box::new(resources::rules::Rules),
            Box::new(insights::rules::Rules { runtime: runtime.clone() }),
            Box::new(updates::rules::Rules),
        ];
        insights::start(&spine, &mut supervisor);
        let alerts = alerts::start(&spine, &mut supervisor, sources);
        let notifications =
            notify::start(&spine, &mut supervisor, &config.notify, config.edition, heard)?;
        let monitored = Arc::new(Monitored { runtime: runtime.clone() });
        let settings = status::Settings {
            base_url: config.base_url.clone(),
            organisation_name: config.organisation_name.clone(),
            trusted_proxies: config.trusted_proxies.clone(),
            edition: config.edition,
        };
        let post = notifications.post();
        let status =
            status::start(&spine, &mut supervisor, monitored, post, settings, drain.clone(), now);
        let state = AppState {
            store,
            events,
            runtime,
            containers: Containers::new(watched),
            endpoints,
            heartbeats,
            certificates,
            alerts,
            usage,
            notifications,
            status,
            updates,
            problems: spine.problems,
            jobs: supervisor.statuses(),
            edition: config.edition,
            organisation_name: config.organisation_name.as_str().into(),
            drain,
        };
        Ok(Self { state, supervisor, writer })
    }

    /// The REST API.
    pub fn routes(&self, access: Access) -> Router {
        router(self.state.clone(), access)
    }

    /// Ends the jobs, then closes the store. Call it when nothing is served any more.
    pub async fn stop(self) {
        tracing::info!("stopping: jobs");
        self.supervisor.stop(JOB_GRACE).await;
        tracing::info!("stopping: closing the store");
        if tokio::time::timeout(JOB_GRACE, self.writer.end()).await.is_err() {
            tracing::warn!("the last commit did not end in time and is left to the next start");
        }
        tracing::info!("stopped");
    }
}

/// What every dimension keeps, and for how long.
pub fn keeps() -> Vec<Keep> {
    containers::sql::KEEPS
        .into_iter()
        .chain(endpoints::KEEPS)
        .chain(heartbeats::KEEPS)
        .chain(certificates::sql::KEEPS)
        .chain(alerts::KEEPS)
        .chain(resources::sql::KEEPS)
        .chain(notify::KEEPS)
        .chain(status::KEEPS)
        .chain(updates::sql::KEEPS)
        .collect()
}

async fn open(path: &Path) -> anyhow::Result<(Store, Writer)> {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || Store::open(&path)).await?
}

fn nothing_watched() -> Watched {
    Watched {
        inventory: tokio::sync::watch::channel(Inventory::default()).1,
        docker: tokio::sync::watch::channel(None).1,
        deletions: Deletions::default(),
    }
}

/// The program `maintenant-collector`, from lock to last commit.
pub async fn run(mut config: Config, now: Timestamp) -> anyhow::Result<()> {
    let mut lock = Lock::try_take(&config.db)?;
    let signals = Signals::listen()?;
    let drain = Drain::default();
    let listener = bind(&config).await?;
    let local = Listener::bind(&Address::Unix(local_socket(&config.db)), None).await;
    let own = own_address(&listener);
    let collector = Collector::start(&mut config, &mut lock, drain.begin.clone(), own, now).await?;
    let bodies = BodyLimits { any_length: heartbeats::pings::is_ping, ..BodyLimits::default() };
    let app = guarded(collector.routes(config.access.clone()), bodies);
    tracing::info!(address = listener.address(), "listening");
    let mut listeners = vec![(listener, app.clone())];
    match local {
        Ok(local) => listeners.push((local, app)),
        Err(error) => tracing::warn!("no local client can attach: {error:#}"),
    }
    signals.drain(&drain, serve_all(listeners, &config.connections, &drain)).await;
    collector.stop().await;
    Ok(())
}

/// Where a listener is reached over the network.
pub fn own_address(listener: &Listener) -> Option<SocketAddr> {
    match listener {
        Listener::Tcp(listener, _) => listener.local_addr().ok(),
        Listener::Unix(..) => None,
    }
}

/// Binds the configured address, with TLS where it is configured.
pub async fn bind(config: &Config) -> anyhow::Result<Listener> {
    let tls = config.tls.clone().map(Tls::load).transpose().context("TLS")?.map(Arc::new);
    if config.access.token.is_none() && !matches!(config.address, Address::Unix(_)) {
        tracing::warn!("no MAINTENANT_API_TOKEN is set: whoever reaches the address may read");
    }
    Listener::bind(&config.address, tls).await
}
