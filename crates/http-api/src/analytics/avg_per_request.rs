//! GET `/api/v1/analytics/spending/avg-per-request`.

use analytics::CallStatus;
use api_types::analytics::CostPerRequest;
use api_types::figures::Usd;
use axum::Json;
use axum::extract::State;

use super::asked::{Asked, Common};
use super::shape::{usd, usd_per_call};
use crate::{ApiError, ApiState, Caller, Query};

/// What a completed call costs
///
/// The least and the largest are exact; the median is within 1 percent.
#[utoipa::path(
    get,
    path = "/api/v1/analytics/spending/avg-per-request",
    tag = "analytics",
    security(("bearer" = [])),
    params(Common),
    responses((status = 200, description = "The figures", body = CostPerRequest)),
)]
pub async fn cost_per_request(
    State(api): State<ApiState>,
    caller: Caller,
    query: Query,
) -> Result<Json<CostPerRequest>, ApiError> {
    let asked = Asked::alone(&query, &api, &caller)?;
    let completed = asked.filter.with_status(CallStatus::Completed);
    let mut inquiry = asked.inquire(&api).await?;
    let total = inquiry.total(&completed, asked.range()).await?;
    let spread = inquiry.cost_spread(&completed, asked.range()).await?;
    Ok(Json(CostPerRequest {
        average_cost_per_request: usd_per_call(&total),
        median_cost_per_request: Usd::spent(spread.median),
        min_cost_per_request: Usd::spent(spread.min),
        max_cost_per_request: Usd::spent(spread.max),
        total_spend: usd(&total),
        total_requests: total.completed,
        period: asked.period(),
        calculated_at: asked.calculated_at(),
        filters: asked.filters,
    }))
}
