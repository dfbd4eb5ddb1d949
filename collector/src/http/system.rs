//! Routes about the collector itself.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use maintenant_api::health::{self, HealthStatus, JobList, Quota, RuntimeStatus};
use maintenant_api::monitors::ConfigProblemList;
use maintenant_serve::clock;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::AppState;
use crate::config::Edition;

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(get_health))
        .routes(routes!(get_runtime_status))
        .routes(routes!(get_edition))
        .routes(routes!(list_jobs))
        .routes(routes!(list_problems))
}

/// Liveness
///
/// Needs no token and says nothing but that the process answers.
#[utoipa::path(
    get, path = "/health", tag = "system",
    responses((status = 200, description = "The process answers", body = HealthStatus))
)]
async fn get_health() -> Json<HealthStatus> {
    Json(HealthStatus { status: "ok".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() })
}

/// State of the container runtime
///
/// While `connected` is false, states of containers are `unknown`.
#[utoipa::path(
    get, path = "/runtime/status", tag = "system",
    responses((status = 200, description = "The runtime", body = RuntimeStatus))
)]
async fn get_runtime_status(State(app): State<AppState>) -> Json<RuntimeStatus> {
    app.runtime.first_word().await;
    Json(app.runtime.get().to_wire(clock::now()))
}

/// Edition and features
#[utoipa::path(
    get, path = "/edition", tag = "system",
    responses((status = 200, description = "The edition", body = health::Edition))
)]
async fn get_edition(State(app): State<AppState>) -> Json<health::Edition> {
    let extended = app.edition == Edition::Extended;
    // What this edition opens, as far as this program has it.
    let features = [
        ("alert_entity_routing", false),
        ("alert_escalation", false),
        ("alert_routing", extended),
        ("changelog", false),
        ("cve_enrichment", false),
        ("incidents", extended),
        ("k8s_cluster", false),
        ("maintenance_windows", extended),
        ("personalization", false),
        ("resource_history", true),
        ("risk_scoring", false),
        ("security_posture", false),
        ("slack", true),
        ("smtp", app.notifications.has_mail()),
        ("subscribers", extended),
        ("swarm_dashboard", false),
        ("teams", true),
    ];
    let kinds = ["endpoints", "heartbeats", "certificates", "status_components"];
    let unlimited = |kind: &str| (kind.to_owned(), Quota { used: 0, limit: -1 });
    Json(health::Edition {
        edition: if extended { "enterprise" } else { "community" }.to_owned(),
        organisation_name: app.organisation_name.to_string(),
        features: features.map(|(name, open)| (name.to_owned(), open)).into(),
        quotas: kinds.map(unlimited).into_iter().collect::<BTreeMap<_, _>>(),
    })
}

/// Background work and how it fares
#[utoipa::path(
    get, path = "/jobs", tag = "system",
    responses((status = 200, description = "Every job", body = JobList))
)]
async fn list_jobs(State(app): State<AppState>) -> Json<JobList> {
    Json(JobList { jobs: app.jobs.list() })
}

/// Labels that could not be read
///
/// Each has no effect until it is mended.
#[utoipa::path(
    get, path = "/problems", tag = "system",
    responses((status = 200, description = "Every problem", body = ConfigProblemList))
)]
async fn list_problems(State(app): State<AppState>) -> Json<ConfigProblemList> {
    let problems = app.problems.list();
    let total = i64::try_from(problems.len()).unwrap_or(i64::MAX);
    Json(ConfigProblemList { problems, total })
}
