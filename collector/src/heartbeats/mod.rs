//! Heartbeats: jobs that report by pinging a URL, and are missed when they do not.

pub mod changes;
pub mod clients;
pub mod input;
pub mod model;
pub mod pings;
pub mod records;
pub mod routes;
pub mod rules;
pub mod schedule;
pub mod sql;
pub mod watch;

use std::time::Duration;

use ipnet::IpNet;
use jiff::Timestamp;

use crate::http::events::EventBus;
use crate::spine::Spine;
use crate::store::Store;
use crate::store::retention::Keep;
use crate::tasks::{Backoff, Supervisor};
use changes::Listening;
use clients::Limits;
use routes::Heartbeats;
use watch::Watch;

/// What the operator decides.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Public URL without a final slash; ping addresses begin with it.
    pub base_url: String,
}

/// How long what is kept.
pub const KEEPS: [Keep; 8] = [
    Keep { what: "pings older than 30 days", days: 30, delete: records::delete_old_pings },
    Keep {
        what: "pings beyond the newest of a heartbeat",
        days: 0,
        delete: records::delete_excess_pings,
    },
    Keep {
        what: "bodies of pings beyond the newest of a heartbeat",
        days: 0,
        delete: records::delete_excess_payloads,
    },
    Keep { what: "runs older than 30 days", days: 30, delete: records::delete_old_runs },
    Keep {
        what: "runs beyond the newest of a heartbeat",
        days: 0,
        delete: records::delete_excess_runs,
    },
    Keep {
        what: "heartbeat availability older than 400 days",
        days: 400,
        delete: sql::delete_old_spans,
    },
    Keep {
        what: "heartbeat availability beyond the newest of a heartbeat",
        days: 0,
        delete: sql::delete_excess_spans,
    },
    Keep { what: "heartbeats deleted for 30 days", days: 30, delete: sql::delete_old_deleted },
];

/// Starts the jobs of this dimension.
pub async fn start(
    spine: &Spine,
    supervisor: &mut Supervisor,
    settings: Settings,
    now: Timestamp,
) -> anyhow::Result<Heartbeats> {
    let heartbeats = open(&spine.store, &spine.events, settings, Limits::default(), now).await?;
    let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
    supervisor.follow(backoff, Watch::new(heartbeats.clone()));
    Ok(heartbeats)
}

/// What [`start`] serves, without the job: nothing is missed, everything is answered.
pub async fn open(
    store: &Store,
    events: &EventBus,
    settings: Settings,
    limits: Limits,
    now: Timestamp,
) -> anyhow::Result<Heartbeats> {
    // Nobody listened since the last sign of life of an earlier process.
    let uuids = store
        .write(move |tx| {
            let until = sql::listened_until(tx)?.unwrap_or(now);
            sql::interrupt_spans(tx, until.min(now), now)?;
            sql::save_listened_until(tx, now)?;
            if (Listening { since: now, until }).is_set_back(now) {
                changes::recount(tx, now)?;
            }
            sql::list_uuids(tx)
        })
        .await?;
    let listening = Listening { since: now, until: now };
    let heartbeats = Heartbeats::new(store.clone(), events.clone(), settings, limits, listening);
    for (uuid, id) in uuids {
        heartbeats.0.known.add(&uuid, id);
    }
    Ok(heartbeats)
}

#[cfg(test)]
mod tests;
