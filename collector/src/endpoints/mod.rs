//! Endpoints: HTTP and TCP addresses probed on a period.
//!
//! They are declared by labels, by a file and over REST (`labels`, `file`, `routes`; `options` says
//! which wins, `spec` what is accepted). One job, `watch`, keeps them, asks `schedule` whom to `probe`
//! now, lets `model` decide what a result means, and stores it with `sql` and `history`.

mod code;
pub mod file;
pub mod history;
pub mod labels;
pub mod model;
pub mod options;
pub mod probe;
pub mod routes;
pub mod rules;
pub mod schedule;
pub mod spec;
pub mod sql;
pub mod statistics;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch as channel;

use crate::net::TlsTarget;
use crate::spine::Spine;
use crate::tasks::{Backoff, Supervisor};
use file::Declarations;
use routes::Endpoints;
use watch::Watch;

pub use sql::KEEPS;

/// Servers that endpoints speak TLS to, as they change.
pub type TlsTargets = channel::Receiver<Arc<[TlsTarget]>>;

/// Starts the jobs of this dimension.
pub async fn start(
    spine: &Spine,
    supervisor: &mut Supervisor,
    declared: Declarations,
    now: Timestamp,
) -> anyhow::Result<(Endpoints, TlsTargets)> {
    let (watch, endpoints, targets) = Watch::new(spine.clone(), declared, now).await?;
    supervisor.follow(Backoff::new(Duration::from_secs(1), Duration::from_secs(30)), watch);
    Ok((endpoints, targets))
}

#[cfg(test)]
mod tests;
