//! POST `/api/v1/api-tokens/validate`.

use api_types::tokens::{ApiTokenVerdict, ValidateApiToken};
use auth::api_token;
use axum::Json;
use axum::extract::State;

use crate::caller::token::examine;
use crate::{ApiError, ApiState, Body, RequestContext};

/// Says whether an API token is taken
///
/// For services that are shown one. Needs no credential, and does not count as a use of the token.
#[utoipa::path(
    post,
    path = "/api/v1/api-tokens/validate",
    tag = "api tokens",
    request_body = ValidateApiToken,
    responses(
        (status = 200, description = "Whether it is taken, and whose it is", body = ApiTokenVerdict),
        (status = 429, description = "`RATE_LIMIT_EXCEEDED`, by client address"),
    ),
)]
pub async fn validate_api_token(
    State(api): State<ApiState>,
    context: RequestContext,
    body: Body,
) -> Result<Json<ApiTokenVerdict>, ApiError> {
    let request: ValidateApiToken = body.read()?;
    api.limits.token_validation(context.client_ip())?;
    let token = request.token.expose();
    // The access token of a login is none
    let holder = match api_token::looks_like(token) {
        true => examine(&api, token, api.clock.now()).await?.ok(),
        false => None,
    };
    let row = holder.and_then(|holder| holder.token).map(|token| token.row);
    Ok(Json(match row {
        Some(row) => {
            ApiTokenVerdict { valid: true, user_id: Some(row.user), project_id: row.project, token_id: Some(row.id) }
        }
        None => ApiTokenVerdict { valid: false, user_id: None, project_id: None, token_id: None },
    }))
}
