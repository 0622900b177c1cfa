//! GET `/api/v1/analytics/spending/by-provider`.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use analytics::{CallStatus, Dimension, Measures};
use api_types::analytics::{ProviderSpending, ProviderSpendingPage, ProviderSpendingSummary};
use api_types::paging::PageInfo;
use axum::Json;
use axum::extract::State;

use super::asked::{Asked, Common, Paged};
use super::shape::{page_of, text_of, usd, usd_per_call};
use crate::{ApiError, ApiState, Caller, Query};

/// What was spent at providers, the largest first
#[utoipa::path(
    get,
    path = "/api/v1/analytics/spending/by-provider",
    tag = "analytics",
    security(("bearer" = [])),
    params(Common, Paged),
    responses((status = 200, description = "Providers with a completed call in the range", body = ProviderSpendingPage)),
)]
pub async fn spending_by_provider(
    State(api): State<ApiState>,
    caller: Caller,
    query: Query,
) -> Result<Json<ProviderSpendingPage>, ApiError> {
    let (asked, request) = Asked::paged(&query, &api, &caller, 50)?;
    let completed = asked.filter.with_status(CallStatus::Completed);
    let mut inquiry = asked.inquire(&api).await?;
    let by = [Dimension::Provider, Dimension::Agent];
    let groups = inquiry.sums(&completed, &by, &[asked.range()]).await?;
    let total: Measures = groups.iter().map(|group| group.measures).sum();
    // Each group is one agent at one provider
    let mut providers: BTreeMap<String, (Measures, i64)> = BTreeMap::new();
    for group in &groups {
        let (measures, agents) = providers.entry(text_of(group, 0)).or_default();
        measures.add(&group.measures);
        *agents += 1;
    }
    let mut providers: Vec<_> = providers.into_iter().collect();
    // By name already
    providers.sort_by_key(|(_, (sums, _))| Reverse(sums.cost_nanos));
    let count = providers.len() as u64;
    let rows = page_of(providers, request).into_iter().map(|(provider, (measures, agents))| ProviderSpending {
        provider_id: provider.clone(),
        provider_name: provider.clone(),
        provider,
        spending: usd(&measures),
        request_count: measures.completed,
        avg_cost_per_request: usd_per_call(&measures),
        agent_count: agents,
    });
    Ok(Json(ProviderSpendingPage {
        data: rows.collect(),
        summary: ProviderSpendingSummary {
            total_spend: usd(&total),
            total_requests: total.completed,
            providers_count: i64::try_from(count).unwrap_or(i64::MAX),
            average_cost_per_request: usd_per_call(&total),
        },
        period: asked.period(),
        calculated_at: asked.calculated_at(),
        filters: asked.filters,
        pagination: PageInfo::new(request.page, request.per_page, count),
    }))
}
