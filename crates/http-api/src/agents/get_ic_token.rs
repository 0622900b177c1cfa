//! GET `/api/v1/agents/{id}/ic-token`.

use api_types::agents::IcTokenInfo;
use axum::Json;
use axum::extract::State;
use kernel::Timestamp;

use crate::{ApiError, ApiState, Caller, Params};

/// Shows whether an agent has an IC token
///
/// Never the token itself.
#[utoipa::path(
    get,
    path = "/api/v1/agents/{id}/ic-token",
    tag = "agents",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "`12` or `agent_12`")),
    responses(
        (status = 200, description = "What is known of it", body = IcTokenInfo),
        (status = 403, description = "`ACCESS_DENIED`: the agent belongs to somebody else"),
        (status = 404, description = "`AGENT_NOT_FOUND`"),
    ),
)]
pub async fn get_ic_token(
    State(api): State<ApiState>,
    caller: Caller,
    params: Params,
) -> Result<Json<IcTokenInfo>, ApiError> {
    let id = params.agent_id("id")?;
    super::visible_row(&api, &caller, id).await?;
    let token = api.store.ic_token(id, api.lending.ttl_ms).await?;
    Ok(Json(IcTokenInfo {
        agent_id: id,
        has_ic_token: token.is_some(),
        created_at: token.map(|token| token.created_at.secs()),
        expires_at: token.and_then(|token| token.expires_at).map(Timestamp::secs),
        last_used_at: token.and_then(|token| token.last_used_at).map(Timestamp::millis),
    }))
}
