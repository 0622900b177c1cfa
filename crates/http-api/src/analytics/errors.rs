//! GET `/api/v1/analytics/errors`.

use api_types::analytics::FailureRow;
use axum::extract::State;
use persistence::Failure;

use super::asked::{Asked, Common, Paged};
use crate::list::ArrayList;
use crate::{ApiError, ApiState, Caller, Query};

/// Calls that failed, the most frequent failure first
#[utoipa::path(
    get,
    path = "/api/v1/analytics/errors",
    tag = "analytics",
    security(("bearer" = [])),
    params(Common, Paged),
    responses((status = 200, description = "Failures by code, provider and model", body = Vec<FailureRow>)),
)]
pub async fn call_errors(
    State(api): State<ApiState>,
    caller: Caller,
    query: Query,
) -> Result<ArrayList<FailureRow>, ApiError> {
    let (asked, request) = Asked::listed(&query, &api, &caller)?;
    let failures = asked.inquire(&api).await?.failures(&asked.filter, asked.range()).await?;
    let total = failures.len() as u64;
    let rows = request.of(failures).into_iter().map(row).collect();
    Ok(ArrayList::new(rows, total, request))
}

fn row(failure: Failure) -> FailureRow {
    FailureRow {
        error_code: failure.error_code.unwrap_or_else(|| "unknown".to_owned()),
        provider: failure.provider,
        model: failure.model,
        count: failure.count,
        last_seen: failure.last_seen.millis(),
    }
}
