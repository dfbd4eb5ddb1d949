//! Errors of the REST API: a closed list, each with its status and the contract's code.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use maintenant_serve::guard::{self, BodyFault};

use crate::store::StoreError;

#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    #[error("`{given}` is no id; ids are whole numbers, as `id` in lists")]
    InvalidId { given: String },
    /// A query parameter; says what is accepted.
    #[error("{name}: {fault}")]
    InvalidParameter { name: &'static str, fault: String },
    /// A field of a body; says what is accepted.
    #[error("invalid input: {field}: {fault}")]
    InvalidInput { field: &'static str, fault: String },
    #[error("the body is no JSON object of this route: {0}")]
    InvalidJson(String),
    /// The body did not arrive whole.
    #[error("{0}")]
    Body(BodyFault),
    #[error("there is no {noun} with id {id}; GET /api/v1/{noun}s lists them")]
    NotFound { noun: &'static str, code: &'static str, id: i64 },
    /// It is possible, and not in the present state or for this kind; the code says which.
    #[error("{message}")]
    NotPossible { status: StatusCode, code: &'static str, message: String },
    #[error("there is no container with id {0}; GET /api/v1/containers lists them")]
    ContainerNotFound(i64),
    #[error("the container is running; stop it first")]
    ContainerRunning,
    #[error("Docker is not reachable, so there are no logs now: {0}")]
    RuntimeUnavailable(String),
    #[error("the logs cannot be read: {0}")]
    LogsUnavailable(String),
    #[error("too many streams are open; close one and try again")]
    TooManyStreams,
    #[error("internal error; the log says more")]
    Store(#[from] StoreError),
}

/// The answer of a route marked Pro where the edition does not open it.
pub fn pro_required(what: &str) -> ApiError {
    ApiError::NotPossible {
        status: StatusCode::FORBIDDEN,
        code: "PRO_REQUIRED",
        message: format!("{what} are not in this edition; MAINTENANT_EDITION=extended opens them"),
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, code) = match &self {
            Self::InvalidId { .. } => (StatusCode::BAD_REQUEST, "INVALID_ID"),
            Self::InvalidParameter { .. } => (StatusCode::BAD_REQUEST, "INVALID_PARAM"),
            Self::InvalidInput { .. } => (StatusCode::BAD_REQUEST, "INVALID_INPUT"),
            Self::InvalidJson(_) => (StatusCode::BAD_REQUEST, "INVALID_JSON"),
            Self::Body(fault) => return fault.response(),
            Self::NotFound { code, .. } => (StatusCode::NOT_FOUND, *code),
            Self::NotPossible { status, code, .. } => (*status, *code),
            Self::ContainerNotFound(_) => (StatusCode::NOT_FOUND, "CONTAINER_NOT_FOUND"),
            Self::ContainerRunning => (StatusCode::CONFLICT, "CONTAINER_RUNNING"),
            Self::RuntimeUnavailable(_) => (StatusCode::BAD_GATEWAY, "RUNTIME_UNAVAILABLE"),
            Self::LogsUnavailable(_) => (StatusCode::BAD_GATEWAY, "LOGS_UNAVAILABLE"),
            Self::TooManyStreams => (StatusCode::SERVICE_UNAVAILABLE, "TOO_MANY_STREAMS"),
            Self::Store(error) => {
                tracing::error!("a request failed: {error}");
                (StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR")
            }
        };
        guard::error(status, code, self.to_string())
    }
}
