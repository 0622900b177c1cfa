//! POST `/api/v1/limits`.

use api_types::limits::{CreateLimit, Limit as LimitBody};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use kernel::{BudgetId, ErrorCode};
use persistence::{AuditRecord, NewLimit, limit_scope};

use super::money;
use super::shape::{audited, shown};
use crate::budgets::create::{alert_levels, hold_owner, hold_project};
use crate::transact::transact;
use crate::{ApiError, ApiState, Body, Caller};

/// Sets a limit
///
/// For an owner, or for an owner within a project; one each. The money is a budget of that scope, over calendar months of
/// UTC, and starts from what the month has seen.
#[utoipa::path(
    post,
    path = "/api/v1/limits",
    tag = "limits",
    security(("bearer" = [])),
    request_body(content = CreateLimit, example = json!({"user_id": "user_1", "max_tokens_per_day": 2_000_000,
        "max_cost_per_month_microdollars": 500_000_000})),
    responses(
        (status = 201, description = "The limit", body = LimitBody),
        (status = 404, description = "`USER_NOT_FOUND`, `PROJECT_NOT_FOUND`"),
        (status = 409, description = "`LIMIT_EXISTS`; `MANAGED_ELSEWHERE` with `details.path`: a budget policy caps the \
            month of that scope"),
    ),
)]
pub async fn create_limit(
    State(api): State<ApiState>,
    caller: Caller,
    body: Body,
) -> Result<(StatusCode, Json<LimitBody>), ApiError> {
    caller.require_admin()?;
    let request: CreateLimit = body.read()?;
    let cap = request.max_cost_per_month_microdollars;
    let new = NewLimit {
        user: request.user_id,
        project: request.project_id,
        tokens_per_day: request.max_tokens_per_day,
        requests_per_minute: request.max_requests_per_minute,
        budget: cap.map(|_| BudgetId::random(&*api.entropy)),
    };
    let thresholds = alert_levels(&api, &limit_scope(&new.user, new.project.as_ref())).await?;
    let created = transact!(api, async |work| {
        hold_owner(work, &new.user).await?;
        if let Some(project) = &new.project {
            hold_project(work, project).await?;
        }
        let limit = work.create_limit(&new).await?.ok_or(ErrorCode::LimitExists)?;
        if let (Some(id), Some(cap)) = (&new.budget, cap) {
            money::open(work, &caller, &limit, id, cap, &thresholds).await?;
        }
        let record = AuditRecord::new("LIMIT_CREATED", "limit", limit.id, caller.audit_actor());
        work.audit(record.changed(None, audited(&limit, cap)));
        Ok(limit)
    });
    let limit = created.await?;
    api.directory.clear();
    Ok((StatusCode::CREATED, Json(shown(&api, limit).await?)))
}
