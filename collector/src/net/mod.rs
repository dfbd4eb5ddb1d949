//! Reaching what is watched: name, address, connection, TLS, each phase with its own time and its
//! own failure. Whoever probes goes through here, so that the same addresses are refused everywhere
//! and new connections stay under one limit.

pub mod connect;
pub mod guard;
mod own;
mod rate;
pub mod resolve;
pub mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use guard::Guard;
use rate::Rate;
use resolve::Resolver;
use tls::Trust;

/// New connections per second, of all probes together. Each leaves an entry in the machine's table
/// of tracked connections for two minutes, and a full table drops the packets of everybody.
pub const CONNECTIONS_PER_SECOND: u32 = 500;

/// What probes share; clones share it.
#[derive(Debug, Clone)]
pub struct Net {
    pub guard: Arc<Guard>,
    pub resolver: Resolver,
    pub trust: Arc<Trust>,
    /// Where this process itself listens.
    own: Arc<[SocketAddr]>,
    rate: Arc<Rate>,
}

/// A server that is spoken to over TLS, by the endpoint that does.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TlsTarget {
    pub host: String,
    pub port: u16,
    pub endpoint_id: i64,
    /// The name asked for and expected in place of `host`, where that is another.
    pub server_name: Option<String>,
}

/// How often new connections had to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateMetrics {
    pub limit_per_second: u32,
    pub granted: u64,
    /// Those that waited for their turn.
    pub delayed: u64,
}

impl Net {
    pub fn new(guard: Guard, trust: Trust) -> Self {
        Self::with_rate(guard, trust, CONNECTIONS_PER_SECOND)
    }

    /// With another limit of new connections per second.
    pub fn with_rate(guard: Guard, trust: Trust, per_second: u32) -> Self {
        Self {
            guard: Arc::new(guard),
            resolver: Resolver::default(),
            trust: Arc::new(trust),
            own: Arc::default(),
            rate: Arc::new(Rate::new(per_second)),
        }
    }

    /// The same, for a process that listens on these addresses. It does not connect to itself.
    #[must_use]
    pub fn of_listener(self, own: impl IntoIterator<Item = SocketAddr>) -> Self {
        Self { own: own.into_iter().collect(), ..self }
    }

    /// Waits for the right to open a connection, and says how long. Take it before the clock of a
    /// check starts: waiting here is our doing, not the target's.
    pub async fn turn(&self) -> Duration {
        self.rate.turn().await
    }

    pub fn rate_metrics(&self) -> RateMetrics {
        self.rate.metrics()
    }
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
