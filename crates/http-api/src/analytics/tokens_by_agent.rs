//! GET `/api/v1/analytics/usage/tokens/by-agent`.

use analytics::Measures;
use api_types::analytics::{AgentTokens, AgentTokensPage, AgentTokensSummary};
use api_types::paging::PageInfo;
use axum::Json;
use axum::extract::State;

use super::asked::{Asked, Common, Paged};
use super::shape::{average, name_of, page_of, ranked_agents};
use crate::{ApiError, ApiState, Caller, Query};

/// Tokens of agents, the most first
#[utoipa::path(
    get,
    path = "/api/v1/analytics/usage/tokens/by-agent",
    tag = "analytics",
    security(("bearer" = [])),
    params(Common, Paged),
    responses((status = 200, description = "Agents with a completed call in the range", body = AgentTokensPage)),
)]
pub async fn tokens_by_agent(
    State(api): State<ApiState>,
    caller: Caller,
    query: Query,
) -> Result<Json<AgentTokensPage>, ApiError> {
    let (asked, request) = Asked::paged(&query, &api, &caller, 50)?;
    let mut inquiry = asked.inquire(&api).await?;
    let agents = ranked_agents(&mut inquiry, &asked, Measures::total_tokens).await?;
    let total: Measures = agents.iter().map(|(_, measures)| *measures).sum();
    let count = agents.len() as u64;
    let agents = page_of(agents, request);
    let names = inquiry.agent_names(agents.iter().map(|(agent, _)| *agent)).await?;
    let rows = agents.into_iter().map(|(agent, measures)| AgentTokens {
        agent_id: agent.0,
        agent_name: name_of(&names, agent),
        input_tokens: measures.input_tokens,
        output_tokens: measures.output_tokens,
        total_tokens: measures.total_tokens(),
        request_count: measures.completed,
        avg_tokens_per_request: average(measures.total_tokens(), measures.completed),
    });
    Ok(Json(AgentTokensPage {
        data: rows.collect(),
        summary: AgentTokensSummary {
            total_input_tokens: total.input_tokens,
            total_output_tokens: total.output_tokens,
            total_tokens: total.total_tokens(),
            total_requests: total.completed,
            average_tokens_per_request: average(total.total_tokens(), total.completed),
        },
        period: asked.period(),
        calculated_at: asked.calculated_at(),
        filters: asked.filters,
        pagination: PageInfo::new(request.page, request.per_page, count),
    }))
}
