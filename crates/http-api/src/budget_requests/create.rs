//! POST `/api/v1/budget/requests`.

use api_types::budget_requests::{BudgetRequest as RequestBody, CreateBudgetRequest};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use kernel::{BudgetRequestId, ErrorCode, Money};
use persistence::NewBudgetRequest;

use super::shape::{event, record, request_body};
use crate::agents;
use crate::transact::transact;
use crate::{ApiError, ApiState, Body, Caller};

/// Asks for another total
///
/// For an agent of one's own; administrators for any. The amount is the whole total that the agent is to have, not what is
/// to be added. Also at `budget-requests`.
#[utoipa::path(
    post,
    path = "/api/v1/budget/requests",
    tag = "budget requests",
    security(("bearer" = [])),
    request_body(content = CreateBudgetRequest, example = json!({"agent_id": 12, "requested_budget_usd": 250.0,
        "justification": "The quarterly report needs twice the usual number of runs."})),
    responses(
        (status = 201, description = "The request, pending", body = RequestBody),
        (status = 400, description = "`VALIDATION_ERROR`; `BUDGET_UNCHANGED`: the agent has this total"),
        (status = 403, description = "`ACCESS_DENIED`: the agent belongs to somebody else"),
        (status = 404, description = "`AGENT_NOT_FOUND`"),
    ),
)]
pub async fn create_budget_request(
    State(api): State<ApiState>,
    caller: Caller,
    body: Body,
) -> Result<(StatusCode, Json<RequestBody>), ApiError> {
    caller.require_writer()?;
    let request: CreateBudgetRequest = body.read()?;
    check_amount(request.requested_budget_usd, api.lending.max_requested_total)?;
    let id = BudgetRequestId::random(&*api.entropy);
    let made = transact!(api, async |work| {
        // Held before the agent, so that whoever deletes the caller finds the request or is found
        let requester = work.hold_user(&caller.user).await?;
        if !requester.is_some_and(|user| user.is_active) {
            return Err(crate::caller::disabled().into());
        }
        let agent = agents::locked(work, request.agent_id).await?;
        caller.require_sight_of(&agent.owner, ErrorCode::AccessDenied)?;
        let current = agents::total::allocation(work, agent.id).await?.budget.cap;
        if current == request.requested_budget_usd {
            return Err(ErrorCode::BudgetUnchanged.into());
        }
        let new = NewBudgetRequest {
            id: id.clone(),
            agent: agent.id,
            requester: caller.user.clone(),
            current,
            requested: request.requested_budget_usd,
            justification: request.justification.clone(),
        };
        let made = work.create_budget_request(&new).await?;
        work.audit(record("BUDGET_REQUEST_CREATED", None, &made, &caller));
        work.emit(event("request_created", &made));
        Ok(made)
    });
    Ok((StatusCode::CREATED, Json(request_body(made.await?))))
}

/// The largest total that may be asked for is a setting.
fn check_amount(amount: Money, most: Money) -> Result<(), ApiError> {
    if amount <= most {
        return Ok(());
    }
    let most = Money::usd_decimal_of_micros(most.micros_floor());
    Err(ApiError::field("requested_budget_usd", format!("must be at most {most} US dollars")))
}
