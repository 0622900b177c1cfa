//! GET `/api/v1/analytics/spending`.

use analytics::CallStatus;
use api_types::analytics::SpendingTotals;
use axum::Json;
use axum::extract::State;

use super::asked::{Asked, Common};
use super::shape::{usd, usd_per_call};
use crate::{ApiError, ApiState, Caller, Query};

/// What completed calls cost, in one flat object
#[utoipa::path(
    get,
    path = "/api/v1/analytics/spending",
    tag = "analytics",
    security(("bearer" = [])),
    params(Common),
    responses((status = 200, description = "The figures", body = SpendingTotals)),
)]
pub async fn spending_totals(
    State(api): State<ApiState>,
    caller: Caller,
    query: Query,
) -> Result<Json<SpendingTotals>, ApiError> {
    let asked = Asked::alone(&query, &api, &caller)?;
    let completed = asked.filter.with_status(CallStatus::Completed);
    let total = asked.inquire(&api).await?.total(&completed, asked.range()).await?;
    Ok(Json(SpendingTotals {
        from: asked.span.from.millis(),
        to: asked.span.to.millis(),
        total_spend: usd(&total),
        currency: "USD".to_owned(),
        total_requests: total.completed,
        average_cost_per_request: usd_per_call(&total),
        period: asked.period(),
        calculated_at: asked.calculated_at(),
    }))
}
