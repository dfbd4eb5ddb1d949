//! Certificates: what TLS servers present, and whether clients will accept it.

pub mod routes;

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::watch;

use crate::net::TlsTarget;
use crate::spine::Spine;
use crate::tasks::Supervisor;
use routes::Certificates;

/// Starts the jobs of this dimension. `endpoints` are the servers that endpoints speak TLS to.
pub async fn start(
    _spine: &Spine,
    _supervisor: &mut Supervisor,
    _endpoints: watch::Receiver<Arc<[TlsTarget]>>,
    _now: Timestamp,
) -> anyhow::Result<Certificates> {
    Ok(Certificates::default())
}
