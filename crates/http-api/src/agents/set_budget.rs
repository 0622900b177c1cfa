//! PUT `/api/v1/agents/{id}/budget`.

use api_types::agents::{AgentBudget, SetAgentBudget};
use axum::Json;
use axum::extract::State;

use super::shape::budget_body;
use super::total::{covers_committed, set_total};
use crate::transact::transact;
use crate::{ApiError, ApiState, Body, Caller, Params};

/// Sets an agent's total
///
/// In micro-dollars. It takes back nothing that is lent: below what is committed (which needs `force`) nothing more is
/// lent until it fits.
#[utoipa::path(
    put,
    path = "/api/v1/agents/{id}/budget",
    tag = "agents",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "`12` or `agent_12`")),
    request_body(content = SetAgentBudget, example = json!({"total_allocated_microdollars": 100_000_000})),
    responses(
        (status = 200, description = "The budget as it is now", body = AgentBudget),
        (status = 400, description = "`BUDGET_BELOW_COMMITTED` with `details.total_spent` and `details.requested`, \
            unless `force`"),
        (status = 404, description = "`AGENT_NOT_FOUND`"),
    ),
)]
pub async fn set_agent_budget(
    State(api): State<ApiState>,
    caller: Caller,
    params: Params,
    body: Body,
) -> Result<Json<AgentBudget>, ApiError> {
    caller.require_admin()?;
    let request: SetAgentBudget = body.read()?;
    let id = params.agent_id("id")?;
    let total = request.total_allocated_microdollars;
    let changed = transact!(api, async |work| {
        super::locked(work, id).await?;
        let allows = covers_committed(total, request.force);
        set_total(&api, work, &caller, id, total, request.reason.as_deref(), allows).await?;
        Ok(())
    });
    changed.await?;
    let view = super::visible(&api, &caller, id).await?;
    Ok(Json(budget_body(id, &view.figures, view.budget_updated_at)))
}
