//! Telling listeners that alerts changed: `subscriptions/listen` of 2026-07-28.
//!
//! All listeners share one stream of events per collector. It is a future that every listener
//! drives along with its own work: the first one makes it, and with the last one it is dropped,
//! and its connections with it. Nothing has to be started or stopped.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, WeakShared, join_all};
use maintenant_serve::clock;
use rmcp::RoleServer;
use rmcp::model::SubscriptionFilter;
use rmcp::service::{RequestContext, SubscriptionContext, SubscriptionSink};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::caller::Caller;
use crate::collectors::Collectors;
use crate::event_stream::{Changes, POLL, follow};
use crate::resources;

/// Between two words on the same resource.
const PAUSE: Duration = Duration::from_secs(1);

/// When the transport that a request came by ends its streams, which would otherwise never end:
/// an extension of the request.
#[derive(Debug, Clone)]
pub struct EndOfStreams(pub CancellationToken);

impl EndOfStreams {
    /// Without one, a stream ends with its request.
    fn of(context: &RequestContext<RoleServer>) -> CancellationToken {
        let of_http = || context.extensions.get::<http::request::Parts>()?.extensions.get::<Self>();
        let end = context.extensions.get::<Self>().or_else(of_http);
        end.map_or_else(|| context.ct.clone(), |end| end.0.clone())
    }
}

/// Which of the wanted updates this server sends. `None`: it has no such kind of updates.
pub fn accepted(requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
    let wanted = requested.resource_subscriptions.as_ref()?;
    let mut uris: Vec<String> =
        wanted.iter().filter(|uri| resources::is_observed(uri)).cloned().collect();
    uris.sort();
    uris.dedup();
    let mut accepted = SubscriptionFilter::default();
    accepted.resource_subscriptions = Some(uris);
    Some(accepted)
}

type Feed = Shared<BoxFuture<'static, ()>>;
type WeakFeed = WeakShared<BoxFuture<'static, ()>>;

/// All listeners of a gateway.
pub struct Subscriptions {
    collectors: Collectors,
    feed: Mutex<Option<(WeakFeed, watch::Receiver<Changes>)>>,
}

impl Subscriptions {
    pub fn new(collectors: Collectors) -> Self {
        Self { collectors, feed: Mutex::default() }
    }

    /// Tells one listener of changes until it goes, its token ends, or its transport does.
    pub async fn serve(&self, context: SubscriptionContext) {
        let uris = context.accepted().resource_subscriptions.clone().unwrap_or_default();
        if uris.is_empty() {
            // Nothing would ever be said.
            return;
        }
        let request = context.request_context();
        let caller = Caller::of(request);
        let (feed, changes) = self.feed();
        let end = EndOfStreams::of(request);
        tokio::select! {
            () = context.cancelled() => {}
            () = end.cancelled() => {}
            () = expired(caller) => {}
            () = tell(context.sink(), &uris, changes) => {}
            () = feed => {}
        }
    }

    /// The one stream of events of all listeners, to be driven, and what it counts.
    fn feed(&self) -> (Feed, watch::Receiver<Changes>) {
        let mut running = lock(&self.feed);
        if let Some((feed, changes)) = running.as_ref()
            && let Some(feed) = feed.upgrade()
        {
            return (feed, changes.clone());
        }
        let (sender, changes) = watch::channel(Changes::default());
        let collectors = self.collectors.clone();
        let feed = async move {
            let all = collectors.all().iter();
            join_all(all.map(|collector| follow(collector.clone(), &sender, POLL))).await;
        };
        let feed = feed.boxed().shared();
        *running = feed.downgrade().map(|feed| (feed, changes.clone()));
        (feed, changes)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// When the caller's token is over.
async fn expired(caller: Option<&Caller>) {
    match caller.and_then(|caller| caller.expires_at) {
        None => std::future::pending().await,
        Some(end) => {
            let left = end.duration_since(clock::now());
            sleep(left.try_into().unwrap_or_default()).await;
        }
    }
}

/// Until nobody hears any more. Who joins is told at once: it may have read before it listened.
async fn tell(sink: &SubscriptionSink, uris: &[String], mut changes: watch::Receiver<Changes>) {
    let mut told = Changes::default();
    loop {
        let now = *changes.borrow_and_update();
        for uri in uris {
            let count = |changes: Changes| match uri.as_str() {
                resources::ALERTS => changes.alerts,
                _ => changes.overview,
            };
            if count(now) != count(told)
                && sink.notify_resource_updated(uri.as_str()).await.is_err()
            {
                return;
            }
        }
        if now != told {
            told = now;
            sleep(PAUSE).await;
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::CollectorSettings;

    #[test]
    fn only_what_is_observed_is_accepted() {
        let check = |wanted: Option<&[&str]>, accepted_: Option<&[&str]>| {
            let owned = |uris: &[&str]| uris.iter().map(|uri| (*uri).to_owned()).collect();
            let mut requested = SubscriptionFilter::default();
            requested.tools_list_changed = Some(true);
            requested.resource_subscriptions = wanted.map(owned);
            let filter = accepted(&requested);
            assert!(filter.iter().all(|filter| filter.tools_list_changed.is_none()));
            let uris = filter.map(|filter| filter.resource_subscriptions.unwrap());
            assert_eq!(uris, accepted_.map(owned));
        };
        check(None, None);
        check(Some(&["monitor://containers/a", "file:///etc/passwd"]), Some(&[]));
        let twice = ["monitor://overview", "monitor://alerts/active", "monitor://overview"];
        check(Some(&twice), Some(&["monitor://alerts/active", "monitor://overview"]));
    }

    #[tokio::test]
    async fn listeners_share_one_feed_which_ends_with_the_last() {
        let subscriptions =
            Subscriptions::new(Collectors::new(CollectorSettings::default()).unwrap());
        let ((first, _), (second, _)) = (subscriptions.feed(), subscriptions.feed());
        assert!(first.ptr_eq(&second));
        drop((first, second));
        let is_over = lock(&subscriptions.feed).as_ref().unwrap().0.upgrade().is_none();
        assert!(is_over);
    }
}
