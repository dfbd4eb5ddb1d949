//! Alerts: what the dimensions find wrong, opened once, told, and always ended.

pub mod engine;
pub mod model;
pub mod mutes;
pub mod routes;
pub mod silences;
pub mod sql;
pub mod watch;

use std::time::Duration;

use crate::signals::Source;
use crate::spine::Spine;
use crate::store::retention::Keep;
use crate::tasks::{Backoff, Supervisor};
use routes::Alerts;
use watch::Watch;

/// How long what is kept.
pub const KEEPS: [Keep; 2] = [
    Keep { what: "alerts older than 90 days", days: 90, delete: sql::delete_old },
    Keep { what: "silences over for 90 days", days: 90, delete: silences::delete_old },
];

/// Starts the job that asks these sources what is wrong. What an earlier process left open of other
/// sources ends.
pub fn start(spine: &Spine, supervisor: &mut Supervisor, sources: Vec<Box<dyn Source>>) -> Alerts {
    let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
    supervisor.follow(backoff, Watch::new(spine, sources));
    Alerts { store: spine.store.clone(), events: spine.events.clone() }
}

#[cfg(test)]
mod tests;
