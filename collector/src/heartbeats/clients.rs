//! How often who may ping.

pub use maintenant_serve::clients::{Bucket, Buckets, Client, Limit};

/// How often pings are taken.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Of one heartbeat.
    pub heartbeat: Limit,
    /// Of one client, whatever it pings.
    pub client: Limit,
    /// Of one client, to addresses that do not exist.
    pub unknown: Limit,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            heartbeat: Limit { burst: 60, per_second: 2 },
            client: Limit { burst: 2_000, per_second: 1_000 },
            unknown: Limit { burst: 20, per_second: 1 },
        }
    }
}

impl Limits {
    /// For measurements.
    pub const NONE: Self = {
        let none = Limit { burst: u32::MAX, per_second: 1_000_000_000 };
        Self { heartbeat: none, client: none, unknown: none }
    };
}
