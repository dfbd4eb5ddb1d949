//! Errors of the REST API: a closed list, each with its status and the contract's code.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use maintenant_serve::guard;

use crate::store::StoreError;

#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    #[error("`{given}` is no id; ids are whole numbers, as `id` in lists")]
    InvalidId { given: String },
    /// A query parameter; says what is accepted.
    #[error("{name}: {fault}")]
    InvalidParameter { name: &'static str, fault: String },
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

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, code) = match &self {
            Self::InvalidId { .. } => (StatusCode::BAD_REQUEST, "INVALID_ID"),
            Self::InvalidParameter { .. } => (StatusCode::BAD_REQUEST, "INVALID_PARAM"),
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
