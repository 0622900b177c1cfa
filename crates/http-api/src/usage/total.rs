//! GET `/api/v1/usage`: what was used in all.

use api_types::usage::UsageBody;
use axum::Json;
use axum::extract::State;

use super::shape::{OfProject, Range, asked};
use crate::{ApiError, ApiState, Caller, Query};

/// What was used in all
#[utoipa::path(
    get,
    path = "/api/v1/usage",
    tag = "usage",
    security(("bearer" = [])),
    params(Range, OfProject),
    responses((status = 200, description = "By own agents; an admin sees all", body = UsageBody)),
)]
pub(crate) async fn usage_total(
    State(api): State<ApiState>,
    caller: Caller,
    query: Query,
) -> Result<Json<UsageBody>, ApiError> {
    Ok(Json(asked(&api, &caller, &query)?.usage(&api).await?))
}
