//! GET `/api/v1/usage/token/{id}`: what was used by the agent that an API token is bound to.

use api_types::usage::UsageBody;
use axum::Json;
use axum::extract::State;
use kernel::{ApiTokenId, ErrorCode};

use super::shape::{OfProject, Range, asked, nothing};
use crate::{ApiError, ApiState, Caller, Params, Query};

/// What was used by the agent of an API token
///
/// Zeros where the token is bound to no agent.
#[utoipa::path(
    get,
    path = "/api/v1/usage/token/{id}",
    tag = "usage",
    security(("bearer" = [])),
    params(
        ("id" = i64, Path, description = "The token's id"),
        Range,
        OfProject,
    ),
    responses(
        (status = 200, description = "With `token_id`", body = UsageBody),
        (status = 404, description = "`TOKEN_NOT_FOUND`"),
    ),
)]
pub(crate) async fn usage_of_token(
    State(api): State<ApiState>,
    caller: Caller,
    params: Params,
    query: Query,
) -> Result<Json<UsageBody>, ApiError> {
    let mut asked = asked(&api, &caller, &query)?;
    let id = params.int("id")?;
    let token = api.store.api_token(ApiTokenId(id)).await?.ok_or(ErrorCode::TokenNotFound)?;
    caller.require_sight_of(&token.user, ErrorCode::TokenNotFound)?;
    let usage = match token.agent {
        Some(agent) => {
            asked.filter.agents = vec![agent];
            asked.usage(&api).await?
        }
        None => nothing(),
    };
    Ok(Json(UsageBody { token_id: Some(id), ..usage }))
}
