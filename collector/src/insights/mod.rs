//! Security insights: what is dangerous about how containers are configured, in words.
//!
//! Each inspection notes the facts with the container ([`containers::exposure`]); all that is said of
//! them is a pure function of what is noted. So a change of one container is seen with its event,
//! nothing is scanned at large, and what is removed takes its insights along.
//!
//! [`containers::exposure`]: crate::containers::exposure

pub mod model;
pub mod routes;
pub mod rules;
pub mod watch;

use crate::spine::Spine;
use crate::tasks::{Backoff, Supervisor};

/// Starts to tell of changes.
pub fn start(spine: &Spine, supervisor: &mut Supervisor) {
    let second = std::time::Duration::from_secs(1);
    let watch = watch::Watch::new(spine.inventory.clone(), spine.events.clone());
    supervisor.follow(Backoff::new(second, second * 30), watch);
}

#[cfg(test)]
mod tests;
