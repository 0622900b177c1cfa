//! GET `/api/v1/budget/limit`.

use api_types::limits::TokenCeiling;
use axum::Json;
use axum::extract::State;

use super::shape::ceiling_body;
use crate::{ApiError, ApiState, Caller};

/// Shows the token ceiling
///
/// How many tokens the whole installation may use in a day of UTC, and has.
#[utoipa::path(
    get,
    path = "/api/v1/budget/limit",
    tag = "limits",
    security(("bearer" = [])),
    responses((status = 200, description = "The ceiling", body = TokenCeiling)),
)]
pub async fn get_token_ceiling(State(api): State<ApiState>, _caller: Caller) -> Result<Json<TokenCeiling>, ApiError> {
    let ceiling = api.store.token_ceiling().await?;
    Ok(Json(ceiling_body(&api, ceiling).await?))
}
