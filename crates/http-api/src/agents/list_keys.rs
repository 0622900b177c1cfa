//! GET `/api/v1/agents/{id}/providers`.

use api_types::agents::{AgentKey, AgentKeys, KeyStatus};
use axum::Json;
use axum::extract::State;
use persistence::AssignedKey;

use crate::{ApiError, ApiState, Caller, Params};

/// Lists the provider keys of an agent
///
/// Its own ones; those that its project lends are listed with the project.
#[utoipa::path(
    get,
    path = "/api/v1/agents/{id}/providers",
    tag = "agents",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "`12` or `agent_12`")),
    responses(
        (status = 200, description = "The keys, the primary one first", body = AgentKeys),
        (status = 403, description = "`ACCESS_DENIED`: the agent belongs to somebody else"),
        (status = 404, description = "`AGENT_NOT_FOUND`"),
    ),
)]
pub async fn list_agent_keys(
    State(api): State<ApiState>,
    caller: Caller,
    params: Params,
) -> Result<Json<AgentKeys>, ApiError> {
    let id = params.agent_id("id")?;
    super::visible_row(&api, &caller, id).await?;
    let keys = api.store.keys_of_agent(id).await?;
    Ok(Json(AgentKeys { agent_id: id, count: keys.len() as u64, providers: keys.into_iter().map(key_body).collect() }))
}

fn key_body(key: AssignedKey) -> AgentKey {
    AgentKey {
        id: key.id,
        name: key.description.unwrap_or_else(|| key.provider.clone()),
        provider: key.provider,
        endpoint: key.base_url,
        models: key.models,
        status: if key.is_enabled { KeyStatus::Enabled } else { KeyStatus::Disabled },
        is_primary: key.is_primary,
    }
}
