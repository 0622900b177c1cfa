//! GET `/api/v1/analytics/usage/models`.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use analytics::{CallStatus, Dimension, Measures};
use api_types::analytics::{ModelUsage, ModelUsagePage, ModelUsageSummary};
use api_types::paging::PageInfo;
use axum::Json;
use axum::extract::State;

use super::asked::{Asked, Common, Paged};
use super::shape::{page_of, text_of, usd, usd_per_call};
use crate::{ApiError, ApiState, Caller, Query};

/// Use of models, the most called first
#[utoipa::path(
    get,
    path = "/api/v1/analytics/usage/models",
    tag = "analytics",
    security(("bearer" = [])),
    params(Common, Paged),
    responses((status = 200, description = "Models with a completed call in the range", body = ModelUsagePage)),
)]
pub async fn usage_by_model(
    State(api): State<ApiState>,
    caller: Caller,
    query: Query,
) -> Result<Json<ModelUsagePage>, ApiError> {
    let (asked, request) = Asked::paged(&query, &api, &caller, 100)?;
    let completed = asked.filter.with_status(CallStatus::Completed);
    let mut inquiry = asked.inquire(&api).await?;
    let mut groups = inquiry.sums(&completed, &[Dimension::Model, Dimension::Provider], &[asked.range()]).await?;
    // By model and provider already
    groups.sort_by_key(|group| Reverse(group.measures.completed));
    let total: Measures = groups.iter().map(|group| group.measures).sum();
    let models: BTreeSet<_> = groups.iter().map(|group| group.key.first().cloned()).collect();
    let (unique, count) = (models.len(), groups.len() as u64);
    let rows = page_of(groups, request).into_iter().map(|group| {
        let (provider, measures) = (text_of(&group, 1), group.measures);
        ModelUsage {
            model: text_of(&group, 0),
            provider_id: provider.clone(),
            provider_name: provider.clone(),
            provider,
            request_count: measures.completed,
            spending: usd(&measures),
            input_tokens: measures.input_tokens,
            output_tokens: measures.output_tokens,
            total_tokens: measures.total_tokens(),
            avg_cost_per_request: usd_per_call(&measures),
        }
    });
    Ok(Json(ModelUsagePage {
        data: rows.collect(),
        summary: ModelUsageSummary {
            unique_models: i64::try_from(unique).unwrap_or(i64::MAX),
            total_requests: total.completed,
            total_tokens: total.total_tokens(),
            total_spend: usd(&total),
        },
        period: asked.period(),
        calculated_at: asked.calculated_at(),
        filters: asked.filters,
        pagination: PageInfo::new(request.page, request.per_page, count),
    }))
}
