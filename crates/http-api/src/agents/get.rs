//! GET `/api/v1/agents/{id}`.

use api_types::agents::Agent as AgentBody;
use axum::Json;
use axum::extract::State;

use super::shape::agent_body;
use crate::{ApiError, ApiState, Caller, Params};

/// Shows an agent
#[utoipa::path(
    get,
    path = "/api/v1/agents/{id}",
    tag = "agents",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "`12` or `agent_12`")),
    responses(
        (status = 200, description = "The agent", body = AgentBody),
        (status = 403, description = "`ACCESS_DENIED`: it belongs to somebody else"),
        (status = 404, description = "`AGENT_NOT_FOUND`"),
    ),
)]
pub async fn get_agent(
    State(api): State<ApiState>,
    caller: Caller,
    params: Params,
) -> Result<Json<AgentBody>, ApiError> {
    let view = super::visible(&api, &caller, params.agent_id("id")?).await?;
    Ok(Json(agent_body(view)))
}
