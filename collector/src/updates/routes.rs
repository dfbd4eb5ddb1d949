//! The REST routes of this dimension.

use std::cmp::Reverse;

use axum::Json;
use axum::extract::{FromRef, Path, State as Shared};
use bytes::Bytes;
use http::StatusCode;
use maintenant_api::error::ErrorBody;
use maintenant_api::updates::{
    Exclusion, ExclusionInput, ExclusionList, Pin, PinInput, Scan, ScanStarted, Update,
    UpdateCounts, UpdateDetail, UpdateDryRun, UpdateList, UpdateListQuery, UpdateProblem,
    UpdateSummary, WouldUpdate,
};
use maintenant_serve::clock;
use maintenant_serve::logging::foreign;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::model::{Status, UpdateType};
use super::policy::{Subject, glob};
use super::sql::{self, Stored};
use super::{Inner, Updates};
use crate::http::AppState;
use crate::http::error::ApiError;
use crate::http::extract::{Body, Id, Query};

const MOST_EXCLUSIONS: usize = 200;
const LONGEST_PATTERN: usize = 256;
const LONGEST_REASON: usize = 500;

impl FromRef<AppState> for Updates {
    fn from_ref(app: &AppState) -> Self {
        app.updates.clone()
    }
}

pub fn routes<S: Clone + Send + Sync + 'static>() -> OpenApiRouter<S>
where
    Updates: FromRef<S>,
{
    OpenApiRouter::new()
        .routes(routes!(list_updates))
        .routes(routes!(get_update_summary))
        .routes(routes!(get_update))
        .routes(routes!(start_scan))
        .routes(routes!(get_scan))
        .routes(routes!(dry_run_updates))
        .routes(routes!(pin_update, unpin_update))
        .routes(routes!(list_exclusions, create_exclusion))
        .routes(routes!(delete_exclusion))
}

fn status_of(stored: &Stored) -> &'static str {
    match stored.check.verdict.status {
        status if stored.pin.is_none() => status.as_str(),
        Status::Untracked => Status::Untracked.as_str(),
        _ => "pinned",
    }
}

fn to_wire(stored: &Stored) -> Update {
    let (check, verdict) = (&stored.check, &stored.check.verdict);
    let is_available = verdict.status == Status::Available;
    let latest = |text: &String| if is_available { text.clone() } else { String::new() };
    Update {
        id: stored.id,
        container_id: stored.external_id.clone(),
        container_name: stored.container_name.clone(),
        image: check.image.clone(),
        current_tag: check.current_tag.clone(),
        current_digest: check.current_digest.clone(),
        latest_tag: latest(&verdict.latest_tag),
        latest_digest: latest(&verdict.latest_digest),
        update_type: verdict.update_type.map_or("", UpdateType::as_str).to_owned(),
        risk_score: verdict.update_type.map_or(0, UpdateType::risk),
        status: status_of(stored).to_owned(),
        detected_at: Some(check.detected_at),
        published_at: None,
        pin_reason: stored.pin.clone(),
        registry: Some(check.registry.clone()).filter(|registry| !registry.is_empty()),
        scan_id: stored.scan_id,
        why: Some(verdict.why.clone()),
        stale: check.stale,
        error: check.error.clone(),
        checked_at: check.checked_at,
        container_row_id: Some(stored.container_id),
    }
}

/// List updates
///
/// Highest risk first. By default what is available or pinned; `status=all` also says why the others
/// are up to date, or not compared. Verdicts whose newest check failed are kept and `stale`;
/// `problems` names every container whose check failed or was limited.
#[utoipa::path(
    get, path = "/updates", tag = "updates", params(UpdateListQuery),
    responses(
        (status = 200, description = "Updates", body = UpdateList),
        (status = 400, description = "`INVALID_PARAM`", body = ErrorBody),
    )
)]
async fn list_updates(
    Shared(updates): Shared<Updates>,
    Query(query): Query<UpdateListQuery>,
) -> Result<Json<UpdateList>, ApiError> {
    let status = query.status.filter(|status| !status.is_empty());
    let statuses = ["available", "pinned", "up_to_date", "untracked", "unknown", "all"];
    one_of("status", status.as_deref(), &statuses)?;
    let kind = query.update_type.filter(|kind| !kind.is_empty());
    let kinds = ["major", "minor", "patch", "digest_only", "unknown"];
    one_of("update_type", kind.as_deref(), &kinds)?;
    let (all, last_scan) =
        updates.0.store.read(|db| Ok((sql::list(db)?, sql::last_completed(db)?))).await?;
    let is_wanted = |update: &Update| {
        let by_status = match status.as_deref() {
            Some("all") => true,
            Some(status) => update.status == status,
            None => matches!(&*update.status, "available" | "pinned"),
        };
        by_status && kind.as_ref().is_none_or(|kind| update.update_type == *kind)
    };
    let mut listed: Vec<Update> = all.iter().map(to_wire).filter(is_wanted).collect();
    listed.sort_by_key(|update| Reverse(update.risk_score));
    let problems = all.iter().filter_map(|stored| {
        Some(UpdateProblem {
            container_id: stored.external_id.clone(),
            container_name: stored.container_name.clone(),
            image: stored.check.image.clone(),
            error: stored.check.error.clone()?,
            stale: stored.check.stale,
        })
    });
    let problems = problems.collect();
    Ok(Json(UpdateList { updates: listed, last_scan, next_scan: updates.0.next(), problems }))
}

fn one_of(name: &'static str, given: Option<&str>, words: &[&str]) -> Result<(), ApiError> {
    match given {
        Some(given) if !words.contains(&given) => {
            let fault = format!("`{}` is none of {}", foreign(given), words.join(", "));
            Err(ApiError::InvalidParameter { name, fault })
        }
        _ => Ok(()),
    }
}

/// Count updates
#[utoipa::path(
    get, path = "/updates/summary", tag = "updates",
    responses((status = 200, description = "Containers by what was found", body = UpdateSummary))
)]
async fn get_update_summary(
    Shared(updates): Shared<Updates>,
) -> Result<Json<UpdateSummary>, ApiError> {
    let read = |db: &rusqlite::Connection| {
        Ok((sql::list(db)?, sql::newest_scan(db)?, sql::last_completed(db)?))
    };
    let (all, newest, last_scan) = updates.0.store.read(read).await?;
    let mut counts = UpdateCounts::default();
    for stored in &all {
        let risk = stored.check.verdict.update_type.map_or(0, UpdateType::risk);
        *match (status_of(stored), risk) {
            ("available", 81..) => &mut counts.critical,
            ("available", 31..) => &mut counts.recommended,
            ("available", _) => &mut counts.available,
            ("pinned", _) => &mut counts.pinned,
            ("up_to_date", _) => &mut counts.up_to_date,
            ("untracked", _) => &mut counts.untracked,
            _ => &mut counts.unknown,
        } += 1;
    }
    let scan_status = newest.map_or_else(|| "idle".to_owned(), |scan| scan.status);
    Ok(Json(UpdateSummary { last_scan, next_scan: updates.0.next(), scan_status, counts }))
}

/// Get what was found for a container
///
/// With the commands that would make the update and go back; nothing here runs them.
#[utoipa::path(
    get, path = "/updates/container/{external_id}", tag = "updates",
    params(("external_id" = String, Path, description = "Docker's id, or its beginning")),
    responses(
        (status = 200, description = "What was found", body = UpdateDetail),
        (status = 400, description = "`INVALID_ID`", body = ErrorBody),
        (status = 404, description = "`NOT_FOUND`", body = ErrorBody),
    )
)]
async fn get_update(
    Shared(updates): Shared<Updates>,
    Path(external_id): Path<String>,
) -> Result<Json<UpdateDetail>, ApiError> {
    let stored = find(&updates.0, external_id).await?;
    Ok(Json(UpdateDetail {
        update: to_wire(&stored),
        pinned: stored.pin.is_some(),
        update_command: stored.commands.0,
        rollback_command: stored.commands.1,
        tag_include: stored.settings.include,
        tag_exclude: stored.settings.exclude,
    }))
}

async fn find(inner: &Inner, external_id: String) -> Result<Stored, ApiError> {
    let external_id = checked(external_id)?;
    let wanted = external_id.clone();
    let stored = inner.store.read(move |db| sql::find_external(db, &wanted)).await?;
    stored.ok_or_else(|| ApiError::NotPossible {
        status: StatusCode::NOT_FOUND,
        code: "NOT_FOUND",
        message: format!(
            "nothing is known of updates for a container {}; GET /api/v1/updates?status=all lists \
             them by `container_id`",
            foreign(&external_id)
        ),
    })
}

fn checked(external_id: String) -> Result<String, ApiError> {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    if (1..=128).contains(&external_id.len()) && external_id.bytes().all(fine) {
        return Ok(external_id);
    }
    Err(ApiError::NotPossible {
        status: StatusCode::BAD_REQUEST,
        code: "INVALID_ID",
        message: format!(
            "`{}` is no id of a container; use Docker's, as `container_id` in GET /api/v1/updates",
            foreign(&external_id)
        ),
    })
}

/// Start a scan
///
/// At once, beside those of the interval. Events `update.scan_started`, `update.scan_progress`,
/// `update.detected` and `update.scan_completed` tell how it goes.
#[utoipa::path(
    post, path = "/updates/scan", tag = "updates",
    responses(
        (status = 202, description = "It runs", body = ScanStarted),
        (status = 409, description = "`SCAN_IN_PROGRESS`", body = ErrorBody),
    )
)]
async fn start_scan(
    Shared(updates): Shared<Updates>,
) -> Result<(StatusCode, Json<ScanStarted>), ApiError> {
    let now = clock::now();
    let Some(scan_id) = updates.0.begin(now).await? else {
        return Err(ApiError::NotPossible {
            status: StatusCode::CONFLICT,
            code: "SCAN_IN_PROGRESS",
            message:
                "a scan is already running; GET /api/v1/updates/summary says when it has ended"
                    .to_owned(),
        });
    };
    let started =
        ScanStarted { scan_id: Some(scan_id), status: "running".into(), started_at: Some(now) };
    Ok((StatusCode::ACCEPTED, Json(started)))
}

/// Get a scan
#[utoipa::path(
    get, path = "/updates/scan/{scan_id}", tag = "updates",
    params(("scan_id" = i64, Path, description = "As `POST /updates/scan` tells it")),
    responses(
        (status = 200, description = "The scan", body = Scan),
        (status = 400, description = "`INVALID_ID`", body = ErrorBody),
        (status = 404, description = "`NOT_FOUND`", body = ErrorBody),
    )
)]
async fn get_scan(Shared(updates): Shared<Updates>, Id(id): Id) -> Result<Json<Scan>, ApiError> {
    let scan = updates.0.store.read(move |db| sql::find_scan(db, id)).await?;
    scan.map(Json).ok_or_else(|| ApiError::NotPossible {
        status: StatusCode::NOT_FOUND,
        code: "NOT_FOUND",
        message: format!("there is no scan {id}; scans are kept for 30 days"),
    })
}

/// List what would be updated
///
/// What is available and not pinned. Nothing is run.
#[utoipa::path(
    get, path = "/updates/dry-run", tag = "updates",
    responses((status = 200, description = "What would be updated", body = UpdateDryRun))
)]
async fn dry_run_updates(Shared(updates): Shared<Updates>) -> Result<Json<UpdateDryRun>, ApiError> {
    let all = updates.0.store.read(sql::list).await?;
    let would_update = all
        .iter()
        .filter(|stored| status_of(stored) == "available")
        .map(to_wire)
        .map(|update| WouldUpdate {
            container_id: update.container_id,
            container_name: update.container_name,
            image: update.image,
            current_tag: update.current_tag,
            latest_tag: update.latest_tag,
            update_type: update.update_type,
        })
        .collect();
    Ok(Json(UpdateDryRun { would_update }))
}

/// Pin a container
///
/// Holds it at what it runs: its updates are listed as pinned and are no alerts. A pin stays until it
/// is taken away, also when the container is made anew.
#[utoipa::path(
    post, path = "/updates/pin/{external_id}", tag = "updates",
    params(("external_id" = String, Path, description = "Docker's id, or its beginning")),
    request_body(content = PinInput, description = "May be missing"),
    responses(
        (status = 200, description = "The pin", body = Pin),
        (status = 400, description = "`INVALID_ID`", body = ErrorBody),
        (status = 404, description = "`NOT_FOUND`", body = ErrorBody),
    )
)]
async fn pin_update(
    Shared(updates): Shared<Updates>,
    Path(external_id): Path<String>,
    body: Bytes,
) -> Result<Json<Pin>, ApiError> {
    let input: PinInput = serde_json::from_slice(&body).unwrap_or_default();
    let reason: String = input.reason.chars().take(LONGEST_REASON).collect();
    let stored = find(&updates.0, external_id).await?;
    let now = clock::now();
    let pin = Pin {
        container_id: stored.external_id,
        pinned_tag: stored.check.current_tag,
        pinned_digest: stored.check.current_digest,
        reason,
        pinned_at: Some(now),
    };
    let (id, kept) = (stored.container_id, pin.clone());
    let write = move |tx: &rusqlite::Connection| {
        sql::pin(tx, id, (&kept.pinned_tag, &kept.pinned_digest), &kept.reason, now)
    };
    updates.0.store.write(write).await?;
    Ok(Json(pin))
}

/// Unpin a container
#[utoipa::path(
    delete, path = "/updates/pin/{external_id}", tag = "updates",
    params(("external_id" = String, Path, description = "Docker's id, or its beginning")),
    responses(
        (status = 204, description = "It has no pin, whether it had one or not"),
        (status = 400, description = "`INVALID_ID`", body = ErrorBody),
    )
)]
async fn unpin_update(
    Shared(updates): Shared<Updates>,
    Path(external_id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let external_id = checked(external_id)?;
    updates.0.store.write(move |tx| sql::unpin(tx, &external_id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// List exclusions
#[utoipa::path(
    get, path = "/updates/exclusions", tag = "updates",
    responses((status = 200, description = "Exclusions", body = ExclusionList))
)]
async fn list_exclusions(
    Shared(updates): Shared<Updates>,
) -> Result<Json<ExclusionList>, ApiError> {
    let exclusions = updates.0.store.read(sql::list_exclusions).await?;
    Ok(Json(ExclusionList { exclusions }))
}

/// Exclude images or tags
///
/// From the next scan on. Containers whose image or tag matches are not compared, and tags that match
/// are not proposed.
#[utoipa::path(
    post, path = "/updates/exclusions", tag = "updates", request_body = ExclusionInput,
    responses(
        (status = 201, description = "The exclusion", body = Exclusion),
        (status = 400, description = "`INVALID_JSON`, `INVALID_PATTERN` or `INVALID_TYPE`",
         body = ErrorBody),
        (status = 409, description = "`DUPLICATE_EXCLUSION` or `TOO_MANY`", body = ErrorBody),
    )
)]
async fn create_exclusion(
    Shared(updates): Shared<Updates>,
    Body(input): Body<ExclusionInput>,
) -> Result<(StatusCode, Json<Exclusion>), ApiError> {
    let refused = |status, code, message: String| ApiError::NotPossible { status, code, message };
    let ExclusionInput { pattern, pattern_type } = input;
    let invalid = |code, message| refused(StatusCode::BAD_REQUEST, code, message);
    if !(1..=LONGEST_PATTERN).contains(&pattern.chars().count()) {
        let message = format!("pattern: use 1 to {LONGEST_PATTERN} characters");
        return Err(invalid("INVALID_PATTERN", message));
    }
    glob(&pattern).map_err(|fault| invalid("INVALID_PATTERN", format!("pattern: {fault}")))?;
    let subject = Subject::parse(&pattern_type).ok_or_else(|| {
        let given = foreign(&pattern_type);
        invalid("INVALID_TYPE", format!("pattern_type: `{given}` is neither image nor tag"))
    })?;
    let now = clock::now();
    let text = pattern.clone();
    let write = move |tx: &rusqlite::Connection| {
        if sql::count_exclusions(tx)? >= MOST_EXCLUSIONS {
            return Ok(Err(("TOO_MANY", format!("there may be {MOST_EXCLUSIONS} exclusions"))));
        }
        let added = sql::add_exclusion(tx, subject, &text, now)?;
        Ok(added.ok_or_else(|| {
            ("DUPLICATE_EXCLUSION", format!("`{}` is excluded already", foreign(&text)))
        }))
    };
    let added = updates.0.store.write(write).await?;
    let id = added.map_err(|(code, message)| refused(StatusCode::CONFLICT, code, message))?;
    let exclusion = Exclusion { id, pattern, pattern_type, created_at: Some(now) };
    Ok((StatusCode::CREATED, Json(exclusion)))
}

/// Take an exclusion away
#[utoipa::path(
    delete, path = "/updates/exclusions/{id}", tag = "updates",
    params(("id" = i64, Path, description = "Row id")),
    responses(
        (status = 204, description = "It is not there, whether it was or not"),
        (status = 400, description = "`INVALID_ID`", body = ErrorBody),
    )
)]
async fn delete_exclusion(
    Shared(updates): Shared<Updates>,
    Id(id): Id,
) -> Result<StatusCode, ApiError> {
    updates.0.store.write(move |tx| sql::delete_exclusion(tx, id)).await?;
    Ok(StatusCode::NO_CONTENT)
}
