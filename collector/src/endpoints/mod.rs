//! Endpoints: HTTP and TCP addresses probed on a period.

pub mod file;
pub mod probe;
pub mod routes;
pub mod spec;

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::watch;

use crate::net::TlsTarget;
use crate::spine::Spine;
use crate::tasks::Supervisor;
use file::FileEndpoint;
use routes::Endpoints;

/// Servers that endpoints speak TLS to, as they change.
pub type TlsTargets = watch::Receiver<Arc<[TlsTarget]>>;

/// Starts the jobs of this dimension.
pub async fn start(
    _spine: &Spine,
    _supervisor: &mut Supervisor,
    _declared: Vec<FileEndpoint>,
    _now: Timestamp,
) -> anyhow::Result<(Endpoints, TlsTargets)> {
    Ok((Endpoints::default(), watch::channel(Arc::default()).1))
}
