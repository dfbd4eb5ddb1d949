//! Certificates: what TLS servers present, and whether clients will accept it.
//!
//! `verdict`, `path`, `thresholds`, `model`, `sources` decide and are pure; `probe`, `starttls` and
//! `watch` act.

pub mod der;
pub mod facts;
pub mod input;
pub mod model;
pub mod ocsp;
pub mod path;
pub mod probe;
pub mod routes;
pub mod rules;
pub mod sources;
pub mod sql;
pub mod starttls;
pub mod thresholds;
pub mod verdict;
pub mod watch;
pub mod wire;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::net::TlsTarget;
use crate::spine::Spine;
use crate::tasks::{Backoff, Supervisor};
use routes::Certificates;
use watch::{Bell, Watch};

/// Starts the jobs of this dimension. `endpoints` are the servers that endpoints speak TLS to.
#[expect(clippy::unused_async, reason = "every dimension starts alike")]
pub async fn start(
    spine: &Spine,
    supervisor: &mut Supervisor,
    endpoints: tokio::sync::watch::Receiver<Arc<[TlsTarget]>>,
    _now: Timestamp,
) -> anyhow::Result<Certificates> {
    let bell = Bell::default();
    let watch = Watch::new(spine.clone(), endpoints, bell.clone());
    supervisor.follow(Backoff::new(Duration::from_secs(1), Duration::from_secs(30)), watch);
    Ok(Certificates { bell })
}

#[cfg(test)]
mod tests;
