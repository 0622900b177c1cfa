//! PATCH `/api/v1/budget/requests/{id}/approve`.

use api_types::budget_requests::{ApproveBudgetRequest, ApprovedBudgetRequest, ApprovedTotal};
use api_types::figures::Usd;
use axum::Json;
use axum::extract::State;
use kernel::{ErrorCode, Timestamp};
use persistence::{BudgetRequest, BudgetRequestEnd, StoreError, Visibility, Work};
use serde_json::json;

use super::shape::{audited, event, record, refuse_ended, request_body};
use crate::agents::total::grant_request;
use crate::transact::{Stop, transact};
use crate::{ApiError, ApiState, Body, Caller, Params};

/// Approves a budget request
///
/// The agent's total becomes what was asked for, or what the reviewer says instead, in one step with the request's status
/// and the agent's history. Nobody approves a request of their own, unless they are the only administrator or the
/// installation allows it.
#[utoipa::path(
    patch,
    path = "/api/v1/budget/requests/{id}/approve",
    tag = "budget requests",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "The request")),
    request_body(content = ApproveBudgetRequest, example = json!({"approved_budget_usd": 200.0,
        "review_notes": "Until the end of the quarter"})),
    responses(
        (status = 200, description = "The request, approved", body = ApprovedBudgetRequest),
        (status = 400, description = "`BUDGET_BELOW_COMMITTED` with `details.total_spent` and `details.requested`, \
            unless `force`"),
        (status = 403, description = "`SELF_APPROVAL`"),
        (status = 404, description = "`REQUEST_NOT_FOUND`"),
        (status = 409, description = "`REQUEST_ALREADY_REVIEWED` with what became of it in `details`"),
    ),
)]
pub async fn approve_budget_request(
    State(api): State<ApiState>,
    caller: Caller,
    params: Params,
    body: Body,
) -> Result<Json<ApprovedBudgetRequest>, ApiError> {
    caller.require_admin()?;
    let review: ApproveBudgetRequest = body.read()?;
    let found = super::visible(&api, &params, &Visibility::All).await?;
    let approved = transact!(api, async |work| {
        let may = may_approve(&api, work, &caller, &found).await?;
        work.agent_for_update(found.agent).await?;
        let pending = work.budget_request_for_update(&found.id).await?.ok_or(ErrorCode::RequestNotFound)?;
        refuse_ended(&pending)?;
        if !may {
            return Err(ErrorCode::SelfApproval.into());
        }
        let total = review.approved_budget_usd.unwrap_or(pending.requested);
        let reason = (&pending.id, pending.justification.as_str());
        let (change, entry) = grant_request(&api, work, &caller, pending.agent, total, reason, review.force).await?;
        let end = BudgetRequestEnd::Approved(total);
        let after = work.end_budget_request(&pending.id, end, &caller.user, review.review_notes.as_deref()).await?;
        // Under its lock it was pending
        let after = after.ok_or(StoreError::Collision)?;
        let (mut old, mut new) = (audited(&pending), audited(&after));
        old["total_allocated_microdollars"] = change.before.allocated.micros_floor().into();
        new["total_allocated_microdollars"] = change.after.allocated.micros_floor().into();
        let mut record = record("BUDGET_REQUEST_APPROVED", Some(&pending), &after, &caller).changed(old, new);
        record.metadata = json!({ "agent_id": after.agent, "history_entry_id": entry });
        work.audit(record);
        work.emit(event("request_reviewed", &after));
        Ok(ApprovedBudgetRequest {
            approved_at: after.reviewed_at.map_or(0, Timestamp::millis),
            request: request_body(after),
            budget_updated: true,
            agent: ApprovedTotal {
                old_budget: Usd::left(change.before.allocated),
                new_budget: Usd::left(change.after.allocated),
            },
            history_entry_id: entry,
        })
    });
    Ok(Json(approved.await?))
}

/// Whether somebody else asked for it, or nobody else could say yes. Locks users, so it comes before everything else.
async fn may_approve(api: &ApiState, work: &mut Work, caller: &Caller, request: &BudgetRequest) -> Result<bool, Stop> {
    if api.policy.allow_self_approval || !caller.owns(&request.requester) {
        return Ok(true);
    }
    Ok(work.lock_active_admins().await?.iter().all(|admin| caller.owns(admin)))
}
