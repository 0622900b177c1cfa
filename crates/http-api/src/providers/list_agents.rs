//! GET `/api/v1/providers/{id}/agents`.

use api_types::providers::KeyAgents;
use axum::Json;
use axum::extract::State;

use super::shape::agents_body;
use crate::agents::visible_to;
use crate::{ApiError, ApiState, Caller, Params};

/// Lists the agents that have a provider key
///
/// As their own: agents that only their project lends it to are not among them. A user sees their own agents.
#[utoipa::path(
    get,
    path = "/api/v1/providers/{id}/agents",
    tag = "providers",
    security(("bearer" = [])),
    params(("id" = i64, Path, description = "The key")),
    responses(
        (status = 200, description = "The agents, by id", body = KeyAgents),
        (status = 404, description = "`PROVIDER_NOT_FOUND`"),
    ),
)]
pub async fn list_provider_agents(
    State(api): State<ApiState>,
    caller: Caller,
    params: Params,
) -> Result<Json<KeyAgents>, ApiError> {
    let key = super::visible(&api, super::key_id(&params)?, visible_to(&caller)).await?;
    Ok(Json(agents_body(&api, key.id, &visible_to(&caller)).await?))
}
