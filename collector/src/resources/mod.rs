//! Resources: what containers and their host use.

pub mod api;
pub mod cgroup;
pub mod history;
pub mod host;
pub mod model;
pub mod rollup;
pub mod routes;
pub mod rules;
pub mod sampler;
pub mod sql;
pub mod standings;
pub mod thresholds;
pub mod usage;

use tokio::sync::watch;

use crate::docker::Docker;
use crate::spine::Spine;
use crate::tasks::Supervisor;
use sampler::{PERIOD, Sampler};
use usage::Usage;

/// Starts the jobs of this dimension.
pub fn start(
    spine: &Spine,
    supervisor: &mut Supervisor,
    docker: watch::Receiver<Option<Docker>>,
) -> Usage {
    let usage = Usage::new(spine.clone());
    supervisor.every(PERIOD, Sampler::new(spine, docker, usage.clone()));
    usage
}

#[cfg(test)]
mod tests;
