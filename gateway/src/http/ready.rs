//! `/readyz`: whether calls can be answered.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use http::StatusCode;
use jiff::Timestamp;
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::messages::uncached;
use crate::auth::IssuerState;
use crate::auth::admission::Admission;
use crate::collectors::{Collectors, ask, error_of_source};

/// How long a collector is waited for.
const WITHIN: Duration = Duration::from_secs(2);

/// How long an answer serves. Whoever asks is not known, and must not make us ask collectors more
/// often than this.
const KEPT: Duration = Duration::from_secs(2);
/// Failing collectors that are named; the rest is counted.
const NAMED: usize = 10;

/// What `/readyz` asks, and the look of which it tells.
#[derive(Clone)]
pub(super) struct Probe(Arc<Inner>);

struct Inner {
    collectors: Collectors,
    admission: Admission,
    looks: Looks<Readiness>,
}

impl Probe {
    pub(super) fn new(collectors: Collectors, admission: Admission) -> Self {
        Self(Arc::new(Inner { collectors, admission, looks: Looks::default() }))
    }

    fn seen(&self) -> Seen<Readiness> {
        self.0.looks.seen(|| {
            let (collectors, admission) = (self.0.collectors.clone(), self.0.admission.clone());
            async move { look(&collectors, &admission).await }
        })
    }
}

/// Looks at something, of which one serves all who ask meanwhile and for [`KEPT`] after its end.
struct Looks<T>(Mutex<Option<Look<T>>>);

struct Look<T> {
    seen: Seen<T>,
    /// It goes on when those who asked have left: whoever asks and leaves, again and again, would
    /// make us ask collectors without a bound. It ends with the routes.
    _task: JoinSet<()>,
}

/// What was seen, and when.
type Seen<T> = Shared<BoxFuture<'static, (Instant, Arc<T>)>>;

impl<T> Default for Looks<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<T: Send + Sync + 'static> Looks<T> {
    /// The present look, or else a new one.
    fn seen<F>(&self, look: impl FnOnce() -> F) -> Seen<T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let holds = |look: &Look<T>| look.seen.peek().is_none_or(|(end, _)| end.elapsed() < KEPT);
        let present = last.take().filter(holds).unwrap_or_else(|| {
            let seen = look().map(|seen| (Instant::now(), Arc::new(seen))).boxed().shared();
            let mut task = JoinSet::new();
            task.spawn(seen.clone().map(drop));
            Look { seen, _task: task }
        });
        last.insert(present).seen.clone()
    }
}

/// Ready when every collector answers and takes the token, and keys of every issuer are there and
/// not too old. The process itself may well be fine: `/healthz` says so.
pub(super) async fn readyz(State(probe): State<Probe>) -> Response {
    let (_, body) = probe.seen().await;
    let ready = body.status == READY;
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    uncached((status, Json(&*body)).into_response())
}

async fn look(collectors: &Collectors, admission: &Admission) -> Readiness {
    let answers = ask(collectors.all().to_vec(), |collector| async move {
        // Not its health, which it tells everyone: a wrong token must show.
        tokio::time::timeout(WITHIN, collector.runtime_status())
            .await
            .unwrap_or(Err(crate::collector::ClientError::Timeout))
    })
    .await;
    let mut failing: Vec<Failing> = answers
        .0
        .iter()
        .filter_map(|(collector, answer)| {
            let error = answer.as_ref().err()?.without_words();
            let error = error_of_source(&collector.name, &error);
            Some(Failing { name: collector.name.clone(), error })
        })
        .collect();
    let issuers = admission.state();
    let ready = failing.is_empty() && issuers.iter().all(|issuer| issuer.usable);
    let more_failing = failing.len().saturating_sub(NAMED);
    failing.truncate(NAMED);
    Readiness {
        status: if ready { READY } else { "not ready" },
        failing,
        more_failing,
        issuers: issuers.into_iter().map(IssuersKeys::from).collect(),
    }
}

const READY: &str = "ready";

#[derive(Serialize)]
struct Readiness {
    status: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failing: Vec<Failing>,
    #[serde(skip_serializing_if = "is_none")]
    more_failing: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    issuers: Vec<IssuersKeys>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it")]
fn is_none(count: &usize) -> bool {
    *count == 0
}

/// A collector that does not answer.
#[derive(Serialize)]
struct Failing {
    name: String,
    error: String,
}

/// Whoever reads this is not known, so why an issuer fails is for the log.
#[derive(Serialize)]
struct IssuersKeys {
    issuer: String,
    keys: usize,
    usable: bool,
    fetched_at: Option<Timestamp>,
}

impl From<IssuerState> for IssuersKeys {
    fn from(state: IssuerState) -> Self {
        let IssuerState { issuer, keys, usable, fetched_at, error: _ } = state;
        Self { issuer, keys, usable, fetched_at }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::time::{sleep, timeout};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn one_look_serves_all_who_ask_and_goes_on_when_they_leave() {
        let (looks, count) = (Looks::default(), Arc::new(AtomicUsize::new(0)));
        let seen = || {
            looks.seen(|| {
                let number = count.fetch_add(1, Ordering::Relaxed) + 1;
                async move {
                    sleep(SECOND).await;
                    number
                }
            })
        };
        for _ in 0..10 {
            assert!(timeout(SECOND / 20, seen()).await.is_err(), "it takes a second");
        }
        let ((_, one), (_, other)) = tokio::join!(seen(), seen());
        assert_eq!((*one, *other), (1, 1));

        sleep(KEPT).await;
        assert!(timeout(SECOND / 2, seen()).await.is_err(), "too old, so it is looked again");
        sleep(SECOND).await;
        let (end, again) = seen().now_or_never().expect("nobody waited, and it ended");
        assert_eq!((*again, end.elapsed()), (2, SECOND / 2));
    }
}
