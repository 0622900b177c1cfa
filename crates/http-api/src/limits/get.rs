//! GET `/api/v1/limits/{id}`.

use api_types::limits::Limit as LimitBody;
use axum::Json;
use axum::extract::State;
use kernel::{ErrorCode, LimitId};

use super::shape::shown;
use crate::agents::visible_to;
use crate::{ApiError, ApiState, Caller, Params};

/// Shows a limit
#[utoipa::path(
    get,
    path = "/api/v1/limits/{id}",
    tag = "limits",
    security(("bearer" = [])),
    params(("id" = i64, Path, description = "The limit")),
    responses(
        (status = 200, description = "The limit", body = LimitBody),
        (status = 404, description = "`LIMIT_NOT_FOUND`"),
    ),
)]
pub async fn get_limit(
    State(api): State<ApiState>,
    caller: Caller,
    params: Params,
) -> Result<Json<LimitBody>, ApiError> {
    let id = params.int("id").map(LimitId)?;
    let found = api.store.limit(id, &visible_to(&caller)).await?.ok_or(ErrorCode::LimitNotFound)?;
    Ok(Json(shown(&api, found).await?))
}
