//! GET `/api/v1/limits/agents/{id}/budget`.

use api_types::agents::AgentBudgetUsd;
use api_types::figures::Usd;
use axum::Json;
use axum::extract::State;

use super::shape::{budget_body, status_body};
use crate::{ApiError, ApiState, Caller, Params};

/// Shows an agent's budget in US dollars
#[utoipa::path(
    get,
    path = "/api/v1/limits/agents/{id}/budget",
    tag = "limits",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "`12` or `agent_12`")),
    responses(
        (status = 200, description = "The budget", body = AgentBudgetUsd),
        (status = 403, description = "`ACCESS_DENIED`: the agent belongs to somebody else"),
        (status = 404, description = "`AGENT_NOT_FOUND`"),
    ),
)]
pub async fn get_agent_budget_usd(
    State(api): State<ApiState>,
    caller: Caller,
    params: Params,
) -> Result<Json<AgentBudgetUsd>, ApiError> {
    let view = super::visible(&api, &caller, params.agent_id("id")?).await?;
    let budget = budget_body(view.agent.id, &view.figures, view.budget_updated_at);
    Ok(Json(AgentBudgetUsd {
        agent_id: budget.agent_id,
        budget: Usd::left(budget.total_allocated),
        spent: Usd::spent(budget.total_spent),
        remaining: Usd::left(budget.budget_remaining),
        percent_used: budget.percent_used,
        status: status_body(view.status),
        total_allocated: budget.total_allocated,
        total_spent: budget.total_spent,
        budget_remaining: budget.budget_remaining,
        total_reserved: budget.total_reserved,
        leased: budget.leased,
        suspense: budget.suspense,
        overrun: budget.overrun,
        updated_at: budget.updated_at,
    }))
}
