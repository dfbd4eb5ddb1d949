//! `/readyz`: whether calls can be answered.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::Mutex;
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

/// What `/readyz` asks, and its last answer.
#[derive(Clone)]
pub(super) struct Probe(Arc<Inner>);

struct Inner {
    collectors: Collectors,
    admission: Admission,
    /// Locked while somebody asks, so that all others wait for that answer.
    last: Mutex<Option<(Instant, Readiness)>>,
}

impl Probe {
    pub(super) fn new(collectors: Collectors, admission: Admission) -> Self {
        Self(Arc::new(Inner { collectors, admission, last: Mutex::default() }))
    }
}

/// Ready when every collector answers and takes the token, and keys of every issuer are there and
/// not too old. The
/// process itself may well be fine: `/healthz` says so.
pub(super) async fn readyz(State(Probe(probe)): State<Probe>) -> Response {
    let mut last = probe.last.lock().await;
    let known = last.take().filter(|(at, _)| at.elapsed() < KEPT);
    let (at, body) = if let Some(known) = known {
        known
    } else {
        let body = look(&probe.collectors, &probe.admission).await;
        // Its end, for those who waited meanwhile.
        (Instant::now(), body)
    };
    let ready = body.status == READY;
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let response = uncached((status, Json(&body)).into_response());
    *last = Some((at, body));
    response
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
            let error = error_of_source(&collector.name, answer.as_ref().err()?);
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
