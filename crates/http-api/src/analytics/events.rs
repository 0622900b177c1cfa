//! GET `/api/v1/analytics/events/list`.

use api_types::analytics::CallRow;
use axum::Json;
use axum::extract::State;
use persistence::{ListedFact, Page as Stretch};

use super::asked::{Asked, Common, Paged};
use crate::list::Page;
use crate::{ApiError, ApiState, Caller, Query};

/// Calls, the youngest first
#[utoipa::path(
    get,
    path = "/api/v1/analytics/events/list",
    tag = "analytics",
    security(("bearer" = [])),
    params(Common, Paged),
    responses((status = 200, description = "Completed and failed calls, 10 on a page unless said otherwise", body = Page<CallRow>)),
)]
pub async fn list_events(
    State(api): State<ApiState>,
    caller: Caller,
    query: Query,
) -> Result<Json<Page<CallRow>>, ApiError> {
    let (asked, request) = Asked::paged(&query, &api, &caller, 10)?;
    let mut inquiry = asked.inquire(&api).await?;
    let total = inquiry.total(&asked.filter, asked.range()).await?.requests();
    let stretch = Stretch { offset: request.offset(), limit: request.per_page.into() };
    let facts = inquiry.facts(&asked.filter, asked.range(), stretch).await?;
    let rows = facts.into_iter().map(row).collect();
    Ok(Json(Page::new(rows, request, u64::try_from(total).unwrap_or(0))))
}

fn row(fact: ListedFact) -> CallRow {
    CallRow {
        event_id: fact.event_id.unwrap_or_else(|| format!("fact_{}", fact.id)),
        timestamp_ms: fact.occurred_at.millis(),
        event_type: fact.status.event_type().to_owned(),
        model: fact.model,
        provider: fact.provider,
        input_tokens: fact.input_tokens,
        output_tokens: fact.output_tokens,
        cost_micros: fact.cost,
        agent_id: fact.agent.0,
        agent_name: fact.agent_name,
        error_code: fact.error_code,
        error_message: fact.error_message,
    }
}
