//! One check of one endpoint.

use maintenant_api::endpoints::{FailureCause, Phases};

use super::spec::Spec;
use crate::net::Net;

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// `None`: success.
    pub failure: Option<Failure>,
    /// From the first look-up to the last byte read.
    pub response_time_ms: i64,
    /// Of the last answer.
    pub http_status: Option<u16>,
    pub phases: Phases,
}

/// Why a check failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub cause: FailureCause,
    /// One sentence without secrets.
    pub error: String,
}

/// Checks once, within the timeout of the spec.
///
/// `None`: this machine could not try, and nothing was learnt about the target. The caller takes a
/// turn of [`Net::turn`] first; further connections, after redirects, take theirs here.
pub async fn probe(_net: &Net, _spec: &Spec) -> Option<Outcome> {
    None
}
