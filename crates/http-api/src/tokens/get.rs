//! GET `/api/v1/api-tokens/{id}`.

use api_types::tokens::{ApiTokenDetail, ApiTokenUsageStats};
use axum::Json;
use axum::extract::State;
use kernel::{ErrorCode, Window, Zone};

use super::shape::token_body;
use crate::{ApiError, ApiState, Caller, Params};

const HOUR_MS: i64 = 3_600_000;

/// Shows an API token
///
/// With how often it was used; never the token itself.
#[utoipa::path(
    get,
    path = "/api/v1/api-tokens/{id}",
    tag = "api tokens",
    security(("bearer" = [])),
    params(("id" = i64, Path, description = "The token")),
    responses(
        (status = 200, description = "The token", body = ApiTokenDetail),
        (status = 404, description = "`TOKEN_NOT_FOUND`, also for somebody else's"),
    ),
)]
pub async fn get_api_token(
    State(api): State<ApiState>,
    caller: Caller,
    params: Params,
) -> Result<Json<ApiTokenDetail>, ApiError> {
    let id = super::token_id(&params)?;
    let token = api.store.api_token(id).await?.ok_or(ErrorCode::TokenNotFound)?;
    caller.require_sight_of(&token.user, ErrorCode::TokenNotFound)?;
    let now = api.clock.now();
    let (midnight, _) = Window::Day.bounds(&Zone::UTC, now);
    let usage = api.store.api_token_usage(id, midnight, now.plus_millis(-HOUR_MS)).await?.unwrap_or_default();
    Ok(Json(ApiTokenDetail {
        token: token_body(token, now),
        usage_stats: ApiTokenUsageStats {
            total_requests: usage.total,
            requests_today: usage.today,
            requests_last_hour: usage.last_hour,
        },
    }))
}
