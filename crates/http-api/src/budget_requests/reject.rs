//! PATCH `/api/v1/budget/requests/{id}/reject`.

use api_types::budget_requests::{BudgetRequest as RequestBody, RejectBudgetRequest};
use axum::Json;
use axum::extract::State;
use kernel::ErrorCode;
use persistence::{BudgetRequestEnd, StoreError, Visibility};

use super::shape::{event, record, refuse_ended, request_body};
use crate::transact::transact;
use crate::{ApiError, ApiState, Body, Caller, Params};

/// Rejects a budget request
///
/// Also at `…/deny`.
#[utoipa::path(
    patch,
    path = "/api/v1/budget/requests/{id}/reject",
    tag = "budget requests",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "The request")),
    request_body(content = RejectBudgetRequest, example = json!({"rejection_reason": "Not this quarter"})),
    responses(
        (status = 200, description = "The request, rejected", body = RequestBody),
        (status = 404, description = "`REQUEST_NOT_FOUND`"),
        (status = 409, description = "`REQUEST_ALREADY_REVIEWED` with what became of it in `details`"),
    ),
)]
pub async fn reject_budget_request(
    State(api): State<ApiState>,
    caller: Caller,
    params: Params,
    body: Body,
) -> Result<Json<RequestBody>, ApiError> {
    caller.require_admin()?;
    let review: RejectBudgetRequest = body.read()?;
    let found = super::visible(&api, &params, &Visibility::All).await?;
    let rejected = transact!(api, async |work| {
        let pending = work.budget_request_for_update(&found.id).await?.ok_or(ErrorCode::RequestNotFound)?;
        refuse_ended(&pending)?;
        let (end, why) = (BudgetRequestEnd::Rejected, review.rejection_reason.as_deref());
        let after = work.end_budget_request(&found.id, end, &caller.user, why).await?;
        // Under its lock it was pending
        let after = after.ok_or(StoreError::Collision)?;
        work.audit(record("BUDGET_REQUEST_REJECTED", Some(&pending), &after, &caller));
        work.emit(event("request_reviewed", &after));
        Ok(after)
    });
    Ok(Json(request_body(rejected.await?)))
}
