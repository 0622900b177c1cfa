//! GET `/api/v1/analytics/usage/by-provider`.

use std::cmp::Reverse;

use analytics::{CallStatus, Dimension};
use api_types::analytics::ProviderCalls;
use axum::extract::State;

use super::asked::{Asked, Common, Paged};
use super::shape::{text_of, usd};
use crate::list::ArrayList;
use crate::{ApiError, ApiState, Caller, Query};

/// Use of providers, the most tokens first
#[utoipa::path(
    get,
    path = "/api/v1/analytics/usage/by-provider",
    tag = "analytics",
    security(("bearer" = [])),
    params(Common, Paged),
    responses((status = 200, description = "Providers with a completed call in the range", body = Vec<ProviderCalls>)),
)]
pub async fn usage_by_provider(
    State(api): State<ApiState>,
    caller: Caller,
    query: Query,
) -> Result<ArrayList<ProviderCalls>, ApiError> {
    let (asked, request) = Asked::listed(&query, &api, &caller)?;
    let completed = asked.filter.with_status(CallStatus::Completed);
    let mut inquiry = asked.inquire(&api).await?;
    let mut groups = inquiry.sums(&completed, &[Dimension::Provider], &[asked.range()]).await?;
    // By name already
    groups.sort_by_key(|group| Reverse(group.measures.total_tokens()));
    let total = groups.len() as u64;
    let rows = request.of(groups).into_iter().map(|group| ProviderCalls {
        provider: text_of(&group, 0),
        request_count: group.measures.completed,
        input_tokens: group.measures.input_tokens,
        output_tokens: group.measures.output_tokens,
        total_tokens: group.measures.total_tokens(),
        spending: usd(&group.measures),
    });
    Ok(ArrayList::new(rows.collect(), total, request))
}
