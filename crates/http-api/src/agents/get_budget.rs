//! GET `/api/v1/agents/{id}/budget`.

use api_types::agents::AgentBudget;
use axum::Json;
use axum::extract::State;

use super::shape::budget_body;
use crate::{ApiError, ApiState, Caller, Params};

/// Shows an agent's budget
#[utoipa::path(
    get,
    path = "/api/v1/agents/{id}/budget",
    tag = "agents",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "`12` or `agent_12`")),
    responses(
        (status = 200, description = "The budget, micro-dollars", body = AgentBudget),
        (status = 403, description = "`ACCESS_DENIED`: the agent belongs to somebody else"),
        (status = 404, description = "`AGENT_NOT_FOUND`"),
    ),
)]
pub async fn get_agent_budget(
    State(api): State<ApiState>,
    caller: Caller,
    params: Params,
) -> Result<Json<AgentBudget>, ApiError> {
    let view = super::visible(&api, &caller, params.agent_id("id")?).await?;
    Ok(Json(budget_body(view.agent.id, &view.figures, view.budget_updated_at)))
}
