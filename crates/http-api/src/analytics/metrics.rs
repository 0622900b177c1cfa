//! GET `/api/v1/analytics/metrics`.

use analytics::Measures;
use api_types::analytics::Metrics;
use axum::Json;
use axum::extract::State;

use super::asked::{Asked, Common};
use super::shape::{by_agent, per_minute, share};
use crate::{ApiError, ApiState, Caller, Query};

/// How calls went
///
/// Percentiles are within 1 percent, over the calls that say how long they took.
#[utoipa::path(
    get,
    path = "/api/v1/analytics/metrics",
    tag = "analytics",
    security(("bearer" = [])),
    params(Common),
    responses((status = 200, description = "The figures", body = Metrics)),
)]
pub async fn call_metrics(
    State(api): State<ApiState>,
    caller: Caller,
    query: Query,
) -> Result<Json<Metrics>, ApiError> {
    let asked = Asked::alone(&query, &api, &caller)?;
    let mut inquiry = asked.inquire(&api).await?;
    let agents = by_agent(&mut inquiry, &asked.filter, asked.range()).await?;
    let total: Measures = agents.iter().map(|(_, measures)| *measures).sum();
    let latency = inquiry.latency_spread(&asked.filter, asked.range()).await?;
    let time = asked.range_with_facts(&mut inquiry).await?;
    Ok(Json(Metrics {
        total_requests: total.requests(),
        failed_requests: total.failed,
        error_rate: share(total.failed, total.requests()),
        latency_p50_ms: latency.p50,
        latency_p95_ms: latency.p95,
        latency_p99_ms: latency.p99,
        requests_per_minute: per_minute(total.requests(), time),
        tokens_per_minute: per_minute(total.total_tokens(), time),
        active_agents: i64::try_from(agents.len()).unwrap_or(i64::MAX),
        period: asked.period(),
        calculated_at: asked.calculated_at(),
    }))
}
