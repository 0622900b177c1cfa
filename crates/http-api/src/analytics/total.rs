//! GET `/api/v1/analytics/spending/total`.

use analytics::CallStatus;
use api_types::analytics::TotalSpending;
use axum::Json;
use axum::extract::State;

use super::asked::{Asked, Common};
use super::shape::usd;
use crate::{ApiError, ApiState, Caller, Query};

/// What completed calls cost in all
#[utoipa::path(
    get,
    path = "/api/v1/analytics/spending/total",
    tag = "analytics",
    security(("bearer" = [])),
    params(Common),
    responses((status = 200, description = "The figures", body = TotalSpending)),
)]
pub async fn total_spending(
    State(api): State<ApiState>,
    caller: Caller,
    query: Query,
) -> Result<Json<TotalSpending>, ApiError> {
    let asked = Asked::alone(&query, &api, &caller)?;
    let completed = asked.filter.with_status(CallStatus::Completed);
    let total = asked.inquire(&api).await?.total(&completed, asked.range()).await?;
    Ok(Json(TotalSpending {
        total_spend: usd(&total),
        currency: "USD".to_owned(),
        period: asked.period(),
        calculated_at: asked.calculated_at(),
        filters: asked.filters,
    }))
}
