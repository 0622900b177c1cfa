//! GET `/api/v1/analytics/usage`.

use analytics::{CallStatus, Dimension, Measures};
use api_types::analytics::UsageTotals;
use axum::Json;
use axum::extract::State;
use persistence::{Group, Key};

use super::asked::{Asked, Common};
use super::shape::{share, usd};
use crate::{ApiError, ApiState, Caller, Query};

/// Calls, tokens and what they cost
///
/// Both outcomes count, but for what was spent: completed calls.
#[utoipa::path(
    get,
    path = "/api/v1/analytics/usage",
    tag = "analytics",
    security(("bearer" = [])),
    params(Common),
    responses((status = 200, description = "The figures", body = UsageTotals)),
)]
pub async fn usage_totals(
    State(api): State<ApiState>,
    caller: Caller,
    query: Query,
) -> Result<Json<UsageTotals>, ApiError> {
    let asked = Asked::alone(&query, &api, &caller)?;
    let mut inquiry = asked.inquire(&api).await?;
    let groups = inquiry.sums(&asked.filter, &[Dimension::Status], &[asked.range()]).await?;
    let completed: Measures = groups.iter().filter(|group| is_completed(group)).map(|group| group.measures).sum();
    let total: Measures = groups.iter().map(|group| group.measures).sum();
    Ok(Json(UsageTotals {
        from: asked.span.from.millis(),
        to: asked.span.to.millis(),
        total_requests: total.requests(),
        successful_requests: total.completed,
        failed_requests: total.failed,
        success_rate: share(total.completed, total.requests()),
        input_tokens: total.input_tokens,
        output_tokens: total.output_tokens,
        total_tokens: total.total_tokens(),
        total_spend: usd(&completed),
        period: asked.period(),
        calculated_at: asked.calculated_at(),
    }))
}

fn is_completed(group: &Group) -> bool {
    group.key.first().and_then(Key::text) == Some(CallStatus::Completed.as_str())
}
