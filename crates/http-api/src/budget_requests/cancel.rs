//! DELETE `/api/v1/budget/requests/{id}`.

use api_types::budget_requests::BudgetRequest as RequestBody;
use axum::Json;
use axum::extract::State;
use kernel::ErrorCode;
use persistence::{BudgetRequestEnd, StoreError};

use super::shape::{note_cancelled, refuse_ended, request_body};
use crate::agents::visible_to;
use crate::transact::transact;
use crate::{ApiError, ApiState, Caller, Params};

/// Takes a budget request back
///
/// One's own; administrators any.
#[utoipa::path(
    delete,
    path = "/api/v1/budget/requests/{id}",
    tag = "budget requests",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "The request")),
    responses(
        (status = 200, description = "The request, cancelled", body = RequestBody),
        (status = 403, description = "`ACCESS_DENIED`: somebody else asked for it, for an agent of the caller"),
        (status = 404, description = "`REQUEST_NOT_FOUND`"),
        (status = 409, description = "`REQUEST_ALREADY_REVIEWED` with what became of it in `details`"),
    ),
)]
pub async fn cancel_budget_request(
    State(api): State<ApiState>,
    caller: Caller,
    params: Params,
) -> Result<Json<RequestBody>, ApiError> {
    caller.require_writer()?;
    let found = super::visible(&api, &params, &visible_to(&caller)).await?;
    caller.require_sight_of(&found.requester, ErrorCode::AccessDenied)?;
    let cancelled = transact!(api, async |work| {
        let pending = work.budget_request_for_update(&found.id).await?.ok_or(ErrorCode::RequestNotFound)?;
        refuse_ended(&pending)?;
        let after = work.end_budget_request(&found.id, BudgetRequestEnd::Cancelled, &caller.user, None).await?;
        // Under its lock it was pending
        let after = after.ok_or(StoreError::Collision)?;
        note_cancelled(work, &caller, std::slice::from_ref(&after));
        Ok(after)
    });
    Ok(Json(request_body(cancelled.await?)))
}
