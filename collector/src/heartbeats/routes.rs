//! The REST routes of this dimension.

use utoipa_axum::router::OpenApiRouter;

use crate::http::AppState;

/// What these routes read from.
#[derive(Clone, Default)]
pub struct Heartbeats {}

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
}

/// Public pings, outside `/api/v1`.
pub fn pings() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
}
