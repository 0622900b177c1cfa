//! POST `/api/v1/api-tokens`.

use api_types::tokens::{CreateApiToken, CreateApiTokenSchema, IssuedApiToken};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::issue::issue;
use crate::{ApiError, ApiState, Body, Caller};

/// Creates an API token
///
/// It acts with the rights its owner has at each request, narrowed by its scopes. A token that is itself narrowed creates
/// none that can do more, and one that ends none that ends later: 400 about `expires_at`. The token is shown once.
#[utoipa::path(
    post,
    path = "/api/v1/api-tokens",
    tag = "api tokens",
    security(("bearer" = [])),
    request_body(content = CreateApiTokenSchema, example = json!({"name": "deploy", "scopes": ["read:agents"],
        "expires_in_days": 90})),
    responses(
        (status = 201, description = "The token, in the clear this once", body = IssuedApiToken),
        (status = 403, description = "`user_id` of somebody else; `ACCESS_DENIED`: the agent belongs to somebody else; \
            `INSUFFICIENT_SCOPE`, `AGENT_TOKEN_NOT_ALLOWED`: more than the calling token has"),
        (status = 404, description = "`USER_NOT_FOUND`, `PROJECT_NOT_FOUND`, `AGENT_NOT_FOUND`"),
        (status = 409, description = "`TOKEN_LIMIT_EXCEEDED` with `details.limit`"),
        (status = 429, description = "`RATE_LIMIT_EXCEEDED`"),
    ),
)]
pub async fn create_api_token(
    State(api): State<ApiState>,
    caller: Caller,
    body: Body,
) -> Result<(StatusCode, Json<IssuedApiToken>), ApiError> {
    caller.require_writer()?;
    let request: CreateApiToken = body.read()?;
    Ok((StatusCode::CREATED, Json(issue(&api, &caller, request).await?)))
}
