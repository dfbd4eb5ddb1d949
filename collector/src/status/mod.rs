//! The status page: components over monitors, incidents, maintenance windows, subscribers, and the
//! public pages.
//!
//! How a component fares is asked of the dimensions through [`monitors::Watched`] and decided in
//! [`model`]; the job in [`watch`] does what time and alerts call for.

pub mod components;
pub mod feed;
pub mod incidents;
pub mod input;
pub mod maintenance;
pub mod model;
pub mod monitors;
pub mod overview;
pub mod page;
pub mod public;
pub mod routes;
pub mod sql;
pub mod subscribers;
pub mod watch;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ipnet::IpNet;
use jiff::Timestamp;
use serde_json::json;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::config::Edition;
use crate::http::events::EventBus;
use crate::notify::post::Post;
use crate::spine::Spine;
use crate::store::Store;
use crate::store::retention::Keep;
use crate::tasks::{Backoff, Supervisor};
use incidents::{Told, Voice};
use maintenant_serve::clients::{Buckets, Seats};
use monitors::Watched;
use subscribers::Mailer;
use watch::Watch;

/// How long what is kept.
pub const KEEPS: [Keep; 4] = [
    Keep {
        what: "days of the status page older than 400 days",
        days: 400,
        delete: sql::days::delete_old,
    },
    Keep { what: "incidents resolved 400 days ago", days: 400, delete: sql::incidents::delete_old },
    Keep { what: "maintenance over for 400 days", days: 400, delete: sql::maintenance::delete_old },
    Keep {
        what: "subscriptions never confirmed",
        days: 0,
        delete: sql::subscribers::delete_unconfirmed,
    },
];

/// What the operator decides.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the public reaches this server, without a final slash.
    pub base_url: String,
    pub organisation_name: String,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    pub edition: Edition,
}

/// What the routes and jobs of the page work with; clones share it.
#[derive(Clone)]
pub struct Status(Arc<Inner>);

struct Inner {
    store: Store,
    /// The public's events, apart from those of the API.
    events: EventBus,
    watched: Arc<dyn Watched>,
    voice: Voice,
    edition: Edition,
    trusted_proxies: Vec<IpNet>,
    /// Rung when the watch has to look.
    bell: Arc<Notify>,
    /// Rung when there is mail.
    mail: Arc<Notify>,
    /// Counts the changes of what the public sees.
    generation: AtomicU64,
    cache: public::Cache,
    visitors: Buckets,
    subscribing: Buckets,
    /// Streams of events by client.
    seats: Seats,
    drain: CancellationToken,
}

impl Status {
    /// Without jobs: [`start`] starts them. Streams end when `drain` says so.
    pub fn new(
        store: Store,
        watched: Arc<dyn Watched>,
        settings: Settings,
        has_mail: bool,
        drain: CancellationToken,
        now: Timestamp,
    ) -> Self {
        let name = settings.organisation_name.trim();
        let organisation = if name.is_empty() { "maintenant" } else { name };
        // It is a part of subjects: one line.
        let organisation: String = organisation.chars().filter(|one| !one.is_control()).collect();
        Self(Arc::new(Inner {
            store,
            events: EventBus::new(now),
            watched,
            voice: Voice {
                base_url: settings.base_url.into(),
                organisation: organisation.into(),
                has_mail,
            },
            edition: settings.edition,
            trusted_proxies: settings.trusted_proxies,
            bell: Arc::default(),
            mail: Arc::default(),
            generation: AtomicU64::default(),
            cache: public::Cache::default(),
            visitors: Buckets::default(),
            subscribing: Buckets::default(),
            seats: Seats::default(),
            drain,
        }))
    }
}

impl Inner {
    /// Tells the public and the jobs that something is not as it was.
    fn changed(&self, told: &[Told]) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        for (name, data) in told {
            self.events.publish(name, data);
        }
        if told.is_empty() {
            self.events.publish("status.page_changed", &json!({}));
        }
        self.bell.notify_one();
        self.mail.notify_one();
    }
}

/// Starts the jobs of the page.
pub fn start(
    spine: &Spine,
    supervisor: &mut Supervisor,
    watched: Arc<dyn Watched>,
    post: Arc<Post>,
    settings: Settings,
    drain: CancellationToken,
    now: Timestamp,
) -> Status {
    let has_mail = post.has_mail();
    let status = Status::new(spine.store.clone(), watched, settings, has_mail, drain, now);
    let backoff = || Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
    supervisor.follow(backoff(), Watch::new(status.clone(), spine.events.clone()));
    if has_mail {
        let (store, bell) = (spine.store.clone(), status.0.mail.clone());
        let voice = status.0.voice.clone();
        supervisor.follow(backoff(), Mailer { store, post, voice, bell });
    }
    status
}

#[cfg(test)]
pub(crate) mod tests;
