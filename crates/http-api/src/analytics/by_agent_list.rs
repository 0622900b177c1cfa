//! GET `/api/v1/analytics/usage/by-agent`.

use analytics::Measures;
use api_types::analytics::AgentCalls;
use axum::extract::State;

use super::asked::{Asked, Common, Paged};
use super::shape::{name_of, ranked_agents, usd};
use crate::list::ArrayList;
use crate::{ApiError, ApiState, Caller, Query};

/// Use of agents, the most tokens first
#[utoipa::path(
    get,
    path = "/api/v1/analytics/usage/by-agent",
    tag = "analytics",
    security(("bearer" = [])),
    params(Common, Paged),
    responses((status = 200, description = "Agents with a completed call in the range", body = Vec<AgentCalls>)),
)]
pub async fn usage_by_agent(
    State(api): State<ApiState>,
    caller: Caller,
    query: Query,
) -> Result<ArrayList<AgentCalls>, ApiError> {
    let (asked, request) = Asked::listed(&query, &api, &caller)?;
    let mut inquiry = asked.inquire(&api).await?;
    let agents = ranked_agents(&mut inquiry, &asked, Measures::total_tokens).await?;
    let total = agents.len() as u64;
    let agents = request.of(agents);
    let names = inquiry.agent_names(agents.iter().map(|(agent, _)| *agent)).await?;
    let rows = agents.into_iter().map(|(agent, measures)| AgentCalls {
        agent_id: agent.0,
        agent_name: name_of(&names, agent),
        request_count: measures.completed,
        input_tokens: measures.input_tokens,
        output_tokens: measures.output_tokens,
        total_tokens: measures.total_tokens(),
        spending: usd(&measures),
    });
    Ok(ArrayList::new(rows.collect(), total, request))
}
