//! Heartbeats: jobs that report by pinging a URL, and are missed when they do not.

pub mod routes;

use ipnet::IpNet;
use jiff::Timestamp;

use crate::spine::Spine;
use crate::tasks::Supervisor;
use routes::Heartbeats;

/// What the operator decides.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Public URL without a final slash; ping addresses begin with it.
    pub base_url: String,
}

/// Starts the jobs of this dimension.
pub async fn start(
    _spine: &Spine,
    _supervisor: &mut Supervisor,
    _settings: Settings,
    _now: Timestamp,
) -> anyhow::Result<Heartbeats> {
    Ok(Heartbeats::default())
}
