//! GET `/api/v1/providers/{id}`.

use api_types::providers::ProviderKey as KeyBody;
use axum::Json;
use axum::extract::State;

use super::shape::key_body;
use crate::agents::visible_to;
use crate::{ApiError, ApiState, Caller, Params};

/// Shows a provider key
///
/// Never its secret. A user sees those that own agents, or the projects of own agents, have.
#[utoipa::path(
    get,
    path = "/api/v1/providers/{id}",
    tag = "providers",
    security(("bearer" = [])),
    params(("id" = i64, Path, description = "The key")),
    responses(
        (status = 200, description = "The key", body = KeyBody),
        (status = 404, description = "`PROVIDER_NOT_FOUND`"),
    ),
)]
pub async fn get_provider(
    State(api): State<ApiState>,
    caller: Caller,
    params: Params,
) -> Result<Json<KeyBody>, ApiError> {
    let key = super::visible(&api, super::key_id(&params)?, visible_to(&caller)).await?;
    Ok(Json(key_body(key)))
}
