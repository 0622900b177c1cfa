//! GET `/api/v1/analytics/usage/requests`.

use api_types::analytics::RequestOutcomes;
use axum::Json;
use axum::extract::State;

use super::asked::{Asked, Common};
use super::shape::share;
use crate::{ApiError, ApiState, Caller, Query};

/// How calls ended
#[utoipa::path(
    get,
    path = "/api/v1/analytics/usage/requests",
    tag = "analytics",
    security(("bearer" = [])),
    params(Common),
    responses((status = 200, description = "The figures", body = RequestOutcomes)),
)]
pub async fn request_outcomes(
    State(api): State<ApiState>,
    caller: Caller,
    query: Query,
) -> Result<Json<RequestOutcomes>, ApiError> {
    let asked = Asked::alone(&query, &api, &caller)?;
    let total = asked.inquire(&api).await?.total(&asked.filter, asked.range()).await?;
    Ok(Json(RequestOutcomes {
        total_requests: total.requests(),
        successful_requests: total.completed,
        failed_requests: total.failed,
        success_rate: share(total.completed, total.requests()),
        period: asked.period(),
        calculated_at: asked.calculated_at(),
        filters: asked.filters,
    }))
}
