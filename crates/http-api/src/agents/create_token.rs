//! POST `/api/v1/agents/{id}/tokens`.

use api_types::tokens::{CreateApiToken, CreateApiTokenSchema, IssuedApiToken};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use crate::tokens::issue::issue;
use crate::{ApiError, ApiState, Body, Caller, Params};

/// Creates an API token for an agent
///
/// As at `/api/v1/api-tokens`, with this agent whatever `agent_id` says. It ends with the agent, and fetches no project's
/// key.
#[utoipa::path(
    post,
    path = "/api/v1/agents/{id}/tokens",
    tag = "agents",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "`12` or `agent_12`")),
    request_body(content = CreateApiTokenSchema, example = json!({"name": "nightly"})),
    responses(
        (status = 201, description = "The token, in the clear this once", body = IssuedApiToken),
        (status = 403, description = "`ACCESS_DENIED`: the agent belongs to somebody else; `user_id` of somebody else"),
        (status = 404, description = "`AGENT_NOT_FOUND`, `USER_NOT_FOUND`, `PROJECT_NOT_FOUND`"),
        (status = 409, description = "`TOKEN_LIMIT_EXCEEDED` with `details.limit`"),
        (status = 429, description = "`RATE_LIMIT_EXCEEDED`"),
    ),
)]
pub async fn create_agent_token(
    State(api): State<ApiState>,
    caller: Caller,
    params: Params,
    body: Body,
) -> Result<(StatusCode, Json<IssuedApiToken>), ApiError> {
    caller.require_writer()?;
    let mut request: CreateApiToken = body.read()?;
    let agent = super::visible_row(&api, &caller, params.agent_id("id")?).await?;
    request.agent_id = Some(agent.id);
    Ok((StatusCode::CREATED, Json(issue(&api, &caller, request).await?)))
}
