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

use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::broadcast;

use crate::config::Edition;
use crate::http::events::Event;
use crate::spine::Spine;
use crate::store::retention::Keep;
use crate::store::{Store, StoreError};
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

/// Starts the jobs of this dimension. `heard` is what is told to clients of the event stream, from the
/// first event on.
pub fn start(
    spine: &Spine,
    supervisor: &mut Supervisor,
    settings: &Settings,
    edition: Edition,
    heard: broadcast::Receiver<Arc<Event>>,
) -> anyhow::Result<Notifications> {
    let post = Post::new(spine.net.clone(), settings)?;
    let (store, events) = (spine.store.clone(), spine.events.clone());
    let notifications = Notifications::new(store, events, post, edition);
    let backoff = || Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
    supervisor.follow(backoff(), Sender::new(&notifications));
    supervisor.follow(backoff(), States::new(&notifications, heard));
    Ok(notifications)
}

/// Writes until it is written, with pauses of 1 to 30 seconds; an error says that the store is closed.
async fn write_at_last<T: Send + 'static>(
    store: &Store,
    work: impl Fn(&Connection) -> rusqlite::Result<T> + Send + Sync + 'static,
) -> Result<T, StoreError> {
    let work = Arc::new(work);
    let mut pause = Duration::from_secs(1);
    loop {
        let again = work.clone();
        match store.write(move |tx| again(tx)).await {
            Err(error @ StoreError::Sqlite(_)) => {
                tracing::error!("notifications cannot be stored, and will be tried again: {error}");
            }
            done => return done,
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(30));
    }
}

#[cfg(test)]
mod tests;
