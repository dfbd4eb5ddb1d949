//! `/readyz`: whether calls can be answered.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use jiff::Timestamp;
use serde::Serialize;

use super::messages::uncached;
use crate::auth::IssuerState;
use crate::auth::admission::Admission;
use crate::collectors::{Collectors, ask};
use crate::error::explain;

/// How long a collector is waited for.
const WITHIN: Duration = Duration::from_secs(2);

/// Ready when every collector answers and takes the token, and keys of every issuer were seen. The
/// process itself may well be fine: `/healthz` says so.
pub(super) async fn readyz(
    State((collectors, admission)): State<(Collectors, Admission)>,
) -> Response {
    let answers = ask(collectors.all().to_vec(), |collector| async move {
        // Not its health, which it tells everyone: a wrong token must show.
        tokio::time::timeout(WITHIN, collector.runtime_status())
            .await
            .unwrap_or(Err(crate::collector::ClientError::Timeout))
    })
    .await;
    let failing: Vec<Failing> = answers
        .0
        .iter()
        .filter_map(|(collector, answer)| {
            let error = explain(&collector.name, answer.as_ref().err()?);
            Some(Failing { name: collector.name.clone(), error })
        })
        .collect();
    let issuers = admission.state();
    let ready = failing.is_empty() && issuers.iter().all(|issuer| issuer.keys > 0);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = Readiness {
        status: if ready { "ready" } else { "not ready" },
        failing,
        issuers: issuers.into_iter().map(IssuersKeys::from).collect(),
    };
    uncached((status, Json(body)).into_response())
}

#[derive(Serialize)]
struct Readiness {
    status: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failing: Vec<Failing>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    issuers: Vec<IssuersKeys>,
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
    fetched_at: Option<Timestamp>,
}

impl From<IssuerState> for IssuersKeys {
    fn from(state: IssuerState) -> Self {
        Self { issuer: state.issuer, keys: state.keys, fetched_at: state.fetched_at }
    }
}
