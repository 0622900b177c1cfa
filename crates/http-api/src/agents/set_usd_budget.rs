//! PUT `/api/v1/limits/agents/{id}/budget`, also known as PATCH `/api/v1/agents/{id}/budget`.

use api_types::agents::{ChangeAgentBudget, ChangedBudget};
use api_types::figures::{Percent, Usd};
use axum::Json;
use axum::extract::State;
use kernel::{AgentId, ErrorCode, Money, Timestamp, UserId};
use ledger::AgentFigures;
use serde_json::json;

use super::total::{TotalChange, set_total};
use crate::transact::transact;
use crate::{ApiError, ApiState, Body, Caller, Params};

/// Sets an agent's total in US dollars
///
/// Every decrease needs `force`.
#[utoipa::path(
    put,
    path = "/api/v1/limits/agents/{id}/budget",
    tag = "limits",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "`12` or `agent_12`")),
    request_body(content = ChangeAgentBudget, example = json!({"budget": 150.0, "reason": "Quarter end"})),
    responses(
        (status = 200, description = "What changed", body = ChangedBudget),
        (status = 400, description = "`BUDGET_UNCHANGED`; `BUDGET_DECREASE_REQUIRES_CONFIRMATION` with what would be \
            in `details`, unless `force`"),
        (status = 404, description = "`AGENT_NOT_FOUND`"),
    ),
)]
pub async fn set_agent_budget_usd(
    State(api): State<ApiState>,
    caller: Caller,
    params: Params,
    body: Body,
) -> Result<Json<ChangedBudget>, ApiError> {
    caller.require_admin()?;
    let request: ChangeAgentBudget = body.read()?;
    let id = params.agent_id("id")?;
    let changed = transact!(api, async |work| {
        super::locked(work, id).await?;
        let allows = |figures: &AgentFigures| check(figures, request.budget, request.force);
        let change = set_total(&api, work, &caller, id, request.budget, request.reason.as_deref(), allows).await?;
        Ok(changed_body(id, &change, request.reason.clone(), caller.user.clone(), work.now()))
    });
    Ok(Json(changed.await?))
}

/// The rule of totals in dollars: another one than before, and not a lower one unless forced.
fn check(figures: &AgentFigures, total: Money, force: bool) -> Result<(), ApiError> {
    let before = figures.allocated;
    if total == before {
        return Err(ErrorCode::BudgetUnchanged.into());
    }
    if force || total > before {
        return Ok(());
    }
    let committed = figures.committed();
    let details = json!({
        "current_budget": Usd::left(before),
        "requested_budget": Usd::left(total),
        "decrease_amount": Usd::left(before.minus_or_zero(total)),
        "current_spent": Usd::spent(committed),
        "new_remaining_if_applied": Usd::left(total.minus_or_zero(committed)),
    });
    Err(ApiError::from(ErrorCode::BudgetDecreaseRequiresConfirmation).details(details))
}

fn changed_body(
    agent: AgentId,
    change: &TotalChange,
    reason: Option<String>,
    modified_by: UserId,
    modified_at: Timestamp,
) -> ChangedBudget {
    let (before, after) = (change.before.allocated, change.after.allocated);
    ChangedBudget {
        agent_id: agent,
        previous_budget: Usd::left(before),
        new_budget: Usd::left(after),
        increase_amount: increase(before, after),
        increase_percent: Percent::growth(before, after),
        current_spent: Usd::spent(change.after.committed()),
        new_remaining: Usd::left(change.after.remaining()),
        reason,
        modified_by,
        modified_at: modified_at.millis(),
    }
}

/// The difference of two totals, which are both within [`Money::MAX_CAP`].
pub(super) fn increase(before: Money, after: Money) -> Usd {
    Usd::left(after.minus(before).unwrap_or(Money::ZERO))
}
