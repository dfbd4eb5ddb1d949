//! The REST routes of this dimension.

use axum::Json;
use axum::extract::State as Shared;
use maintenant_api::error::ErrorBody;
use maintenant_api::insights::{ContainerInsights, InsightList, InsightSummary};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::model::{of_all, of_container};
use crate::http::AppState;
use crate::http::error::ApiError;
use crate::http::extract::Id;

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_insights))
        .routes(routes!(get_container_insights))
        .routes(routes!(get_insight_summary))
}

/// List security insights
///
/// What is dangerous about how containers are configured, by container, worst first. Ignored
/// containers have none.
#[utoipa::path(
    get, path = "/security/insights", tag = "security",
    responses((status = 200, description = "Containers with insights", body = InsightList))
)]
async fn list_insights(Shared(app): Shared<AppState>) -> Json<InsightList> {
    Json(app.all_insights().await)
}

/// List security insights of a container
///
/// None of one that is ignored or archived. `scanned` is false while it could not be inspected.
#[utoipa::path(
    get, path = "/security/insights/{container_id}", tag = "security",
    params(("container_id" = i64, Path, description = "Row id")),
    responses(
        (status = 200, description = "Its insights, worst first", body = ContainerInsights),
        (status = 400, description = "`INVALID_ID`", body = ErrorBody),
        (status = 404, description = "`CONTAINER_NOT_FOUND`", body = ErrorBody),
    )
)]
async fn get_container_insights(
    Shared(app): Shared<AppState>,
    Id(id): Id,
) -> Result<Json<ContainerInsights>, ApiError> {
    app.runtime.first_word().await;
    let container = app.find_container(id).await?;
    Ok(Json(of_container(&container)))
}

/// Count security insights
#[utoipa::path(
    get, path = "/security/summary", tag = "security",
    responses((status = 200, description = "Counts by severity and type", body = InsightSummary))
)]
async fn get_insight_summary(Shared(app): Shared<AppState>) -> Json<InsightSummary> {
    Json(app.all_insights().await.summary)
}

impl AppState {
    async fn all_insights(&self) -> InsightList {
        self.runtime.first_word().await;
        let live = self.live_containers();
        of_all(live.iter().map(AsRef::as_ref))
    }
}
