//! The REST routes of this dimension.

use utoipa_axum::router::OpenApiRouter;

use crate::http::AppState;

/// What these routes read from.
#[derive(Clone, Default)]
pub struct Certificates {}

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
}
