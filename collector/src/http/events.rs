//! Server-sent events: one bus, a bounded memory for those who reconnect.
//!
//! Event ids are `<start of this process>-<number>`. A client that comes back with `Last-Event-ID`
//! gets what it missed; if that is no longer known, or it was too slow, it gets `stream.gap` and
//! reads the state anew by REST.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt};
use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use super::error::ApiError;

/// Events kept for those who reconnect, and the most a slow client may lag behind.
const RING: usize = 1024;
/// Clients at once.
const STREAMS: usize = 256;
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// An event as sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub id: String,
    pub name: &'static str,
    /// One line of JSON.
    pub data: String,
}

/// The bus; clones share it.
#[derive(Debug, Clone)]
pub struct EventBus(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    boot: String,
    ring: Mutex<Ring>,
    sender: broadcast::Sender<Arc<Event>>,
    streams: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Ring {
    last: u64,
    events: VecDeque<Arc<Event>>,
}

/// What a client gets when it subscribes.
#[derive(Debug)]
pub struct Subscription {
    /// Its last event is not known here: events may have been missed.
    pub gap: bool,
    pub missed: Vec<Arc<Event>>,
    pub receiver: broadcast::Receiver<Arc<Event>>,
}

impl EventBus {
    pub fn new(started: Timestamp) -> Self {
        let boot = format!("{:x}", started.as_millisecond());
        let (sender, _) = broadcast::channel(RING);
        let streams = Arc::new(Semaphore::new(STREAMS));
        Self(Arc::new(Shared { boot, ring: Mutex::default(), sender, streams }))
    }

    /// Sends to all who listen and keeps it for those who come back.
    pub fn publish(&self, name: &'static str, data: &impl Serialize) {
        let data = match serde_json::to_string(data) {
            Ok(data) => data,
            Err(error) => return tracing::error!("event {name} cannot be written: {error}"),
        };
        let mut ring = self.0.ring.lock().unwrap_or_else(PoisonError::into_inner);
        ring.last += 1;
        let event = Arc::new(Event { id: format!("{}-{}", self.0.boot, ring.last), name, data });
        if ring.events.len() == RING {
            ring.events.pop_front();
        }
        ring.events.push_back(event.clone());
        // Under the lock, so that a subscriber sees each event once: replayed or received.
        let _ = self.0.sender.send(event);
    }

    /// Sends to all who listen now and is not kept: what is told anew every few seconds must not
    /// push out what those who come back have missed.
    pub fn show(&self, name: &'static str, data: &impl Serialize) {
        if self.0.sender.receiver_count() == 0 {
            return;
        }
        let data = match serde_json::to_string(data) {
            Ok(data) => data,
            Err(error) => return tracing::error!("event {name} cannot be written: {error}"),
        };
        // The id of the newest that is kept: who comes back with it has missed nothing before.
        let ring = self.0.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let id = format!("{}-{}", self.0.boot, ring.last);
        let _ = self.0.sender.send(Arc::new(Event { id, name, data }));
    }

    pub fn subscribe(&self, last_event_id: Option<&str>) -> Subscription {
        let ring = self.0.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let receiver = self.0.sender.subscribe();
        let Some(id) = last_event_id.filter(|id| !id.is_empty()) else {
            return Subscription { gap: false, missed: Vec::new(), receiver };
        };
        let last = id
            .split_once('-')
            .filter(|(boot, _)| *boot == self.0.boot)
            .and_then(|(_, number)| number.parse::<u64>().ok())
            .filter(|number| *number <= ring.last);
        let oldest = ring.last - ring.events.len() as u64;
        match last {
            Some(last) if last >= oldest => {
                let skip = usize::try_from(last - oldest).unwrap_or(usize::MAX);
                let missed = ring.events.iter().skip(skip).cloned().collect();
                Subscription { gap: false, missed, receiver }
            }
            _ => Subscription { gap: true, missed: Vec::new(), receiver },
        }
    }

    /// Id of the newest event: a client that reads the state by REST now continues from here.
    fn last_id(&self) -> String {
        let ring = self.0.ring.lock().unwrap_or_else(PoisonError::into_inner);
        format!("{}-{}", self.0.boot, ring.last)
    }

    /// The stream of an SSE answer. It ends when `end` says so.
    pub fn respond(&self, last_event_id: Option<&str>, end: CancellationToken) -> Response {
        self.respond_with(last_event_id, (), async move { end.cancelled().await })
    }

    /// As [`EventBus::respond`]. The stream ends with `end`, and holds `held` as long as it lasts.
    pub fn respond_with(
        &self,
        last_event_id: Option<&str>,
        held: impl Send + Sync + 'static,
        end: impl Future<Output = ()> + Send + 'static,
    ) -> Response {
        let Ok(permit) = self.0.streams.clone().try_acquire_owned() else {
            return ApiError::TooManyStreams.into_response();
        };
        let Subscription { gap, missed, receiver } = self.subscribe(last_event_id);
        let first = gap.then(|| self.gap_event());
        let missed = futures_util::stream::iter(first.into_iter().chain(missed));
        let bus = self.clone();
        let live = futures_util::stream::unfold(receiver, move |mut receiver| {
            let _held_as_long_as_the_stream = (&permit, &held);
            let bus = bus.clone();
            async move {
                match receiver.recv().await {
                    Ok(event) => Some((event, receiver)),
                    Err(RecvError::Lagged(_)) => Some((bus.gap_event(), receiver)),
                    Err(RecvError::Closed) => None,
                }
            }
        });
        let events = missed
            .chain(live)
            .map(|event| sse::Event::default().id(&event.id).event(event.name).data(&event.data));
        stream_until(events, end)
    }

    fn gap_event(&self) -> Arc<Event> {
        let data = r#"{"message":"events were missed; read the state again by REST"}"#.to_owned();
        Arc::new(Event { id: self.last_id(), name: "stream.gap", data })
    }
}

/// An SSE answer: headers at once, a comment whenever nothing else is sent for a while.
pub fn stream(
    events: impl Stream<Item = sse::Event> + Send + 'static,
    end: CancellationToken,
) -> Response {
    stream_until(events, async move { end.cancelled().await })
}

fn stream_until(
    events: impl Stream<Item = sse::Event> + Send + 'static,
    end: impl Future<Output = ()> + Send + 'static,
) -> Response {
    let hello = futures_util::stream::iter([sse::Event::default().comment("connected")]);
    let events = hello.chain(events).take_until(end);
    let sse = Sse::new(events.map(Ok::<_, Infallible>))
        .keep_alive(KeepAlive::new().interval(KEEP_ALIVE).text("ping"));
    // Some proxies hold a stream back until it ends.
    ([("x-accel-buffering", "no")], sse).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bus() -> EventBus {
        EventBus::new(Timestamp::from_millisecond(0x10).unwrap())
    }

    fn publish(bus: &EventBus, count: usize) {
        for number in 0..count {
            bus.publish("test", &number);
        }
    }

    fn ids(subscription: &Subscription) -> Vec<&str> {
        subscription.missed.iter().map(|event| event.id.as_str()).collect()
    }

    #[test]
    fn a_new_client_gets_no_past() {
        let bus = bus();
        publish(&bus, 3);
        let subscription = bus.subscribe(None);
        assert!(!subscription.gap && subscription.missed.is_empty());
    }

    #[tokio::test]
    async fn a_returning_client_gets_exactly_what_it_missed() {
        let bus = bus();
        publish(&bus, 3);
        let mut subscription = bus.subscribe(Some("10-1"));
        assert_eq!(ids(&subscription), ["10-2", "10-3"]);
        publish(&bus, 1);
        assert_eq!(subscription.receiver.recv().await.unwrap().id, "10-4");
        let subscription = bus.subscribe(Some("10-4"));
        assert!(!subscription.gap && subscription.missed.is_empty());
    }

    #[tokio::test]
    async fn what_is_shown_reaches_who_listens_and_is_not_kept() {
        let bus = bus();
        publish(&bus, 1);
        let mut listening = bus.subscribe(None);
        bus.show("passing", &7);
        publish(&bus, 1);
        let shown = listening.receiver.recv().await.unwrap();
        assert_eq!((shown.name, shown.id.as_str()), ("passing", "10-1"));
        assert_eq!(listening.receiver.recv().await.unwrap().id, "10-2");
        assert_eq!(ids(&bus.subscribe(Some(&shown.id))), ["10-2"]);
    }

    #[test]
    fn an_id_too_old_foreign_or_from_the_future_is_a_gap() {
        let bus = bus();
        publish(&bus, RING + 2);
        assert!(bus.subscribe(Some("10-1")).gap);
        assert!(!bus.subscribe(Some("10-2")).gap);
        for id in ["11-5", "10-99999", "nonsense", "10-x"] {
            assert!(bus.subscribe(Some(id)).gap, "{id}");
        }
    }
}
