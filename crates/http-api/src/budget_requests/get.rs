//! GET `/api/v1/budget/requests/{id}`.

use api_types::budget_requests::BudgetRequestDetail;
use api_types::figures::Usd;
use axum::Json;
use axum::extract::State;
use persistence::{AgentFilter, AgentSort, Page};

use super::shape::request_body;
use crate::agents::shape::status_body;
use crate::agents::visible_to;
use crate::{ApiError, ApiState, Caller, Params};

/// Shows a budget request
///
/// Beside what the agent has now, deleted or not.
#[utoipa::path(
    get,
    path = "/api/v1/budget/requests/{id}",
    tag = "budget requests",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "The request")),
    responses(
        (status = 200, description = "The request", body = BudgetRequestDetail),
        (status = 404, description = "`REQUEST_NOT_FOUND`"),
    ),
)]
pub async fn get_budget_request(
    State(api): State<ApiState>,
    caller: Caller,
    params: Params,
) -> Result<Json<BudgetRequestDetail>, ApiError> {
    let found = super::visible(&api, &params, &visible_to(&caller)).await?;
    let filter = AgentFilter { id: Some(found.agent), include_deleted: true, ..AgentFilter::default() };
    let agents = api.store.agents(&filter, AgentSort::default(), Page::first(1), api.clock.now()).await?;
    let Some(agent) = agents.rows.into_iter().next() else {
        return Err(ApiError::internal("the agent of a budget request has no row"));
    };
    Ok(Json(BudgetRequestDetail {
        request: request_body(found),
        agent_current_budget: Usd::left(agent.figures.allocated),
        agent_spent: Usd::spent(agent.figures.committed()),
        agent_remaining: Usd::left(agent.figures.remaining()),
        agent_status: status_body(agent.status),
    }))
}
