//! Telling somebody: channels, routing rules, webhook subscriptions, and the outbox.
//!
//! A message is written in the transaction of the alert it tells ([`outbox`]) and sent by a job
//! ([`sender`]) until its receiver takes it, so that neither a crash nor an outage loses one.

pub mod channels;
pub mod kinds;
pub mod outbox;
pub mod post;
pub mod reach;
pub mod retry;
pub mod routes;
pub mod routing;
pub mod sender;
pub mod snapshot;
pub mod sql;
pub mod states;
pub mod subscriptions;
mod webhooks;

use std::time::Duration;

use crate::config::Edition;
use crate::spine::Spine;
use crate::store::retention::Keep;
use crate::tasks::{Backoff, Supervisor};
use post::{Post, Smtp};
use routes::Notifications;
use sender::Sender;
use states::States;

/// What the operator decides.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Loopback and private addresses, and http, are allowed.
    pub allow_private: bool,
    /// Where e-mail is handed over; without it there is none.
    pub smtp: Option<Smtp>,
}

/// How long what is kept.
pub const KEEPS: [Keep; 4] = [
    Keep { what: "messages delivered 7 days ago", days: 7, delete: sql::delete_old_delivered },
    Keep { what: "messages given up 30 days ago", days: 30, delete: sql::delete_old_dead },
    Keep {
        what: "messages beyond the newest that wait for a channel, given up",
        days: 0,
        delete: sql::give_up_excess,
    },
    Keep { what: "who was told of alerts 400 days ago", days: 400, delete: sql::delete_old_told },
];

/// Starts the jobs of this dimension.
pub fn start(
    spine: &Spine,
    supervisor: &mut Supervisor,
    settings: &Settings,
    edition: Edition,
) -> anyhow::Result<Notifications> {
    let post = Post::new(spine.net.clone(), settings)?;
    let (store, events) = (spine.store.clone(), spine.events.clone());
    let notifications = Notifications::new(store, events, post, edition);
    let backoff = || Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
    supervisor.follow(backoff(), Sender::new(&notifications));
    supervisor.follow(backoff(), States::new(&notifications));
    Ok(notifications)
}

#[cfg(test)]
mod tests;
