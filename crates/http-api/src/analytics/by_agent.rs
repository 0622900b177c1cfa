//! GET `/api/v1/analytics/spending/by-agent`.

use analytics::Measures;
use api_types::analytics::{AgentSpending, AgentSpendingPage, AgentSpendingSummary};
use api_types::figures::{Percent, Usd};
use api_types::paging::PageInfo;
use axum::Json;
use axum::extract::State;
use kernel::Money;

use super::asked::{Asked, Common, Paged};
use super::shape::{mean, name_of, page_of, ranked_agents, usd};
use crate::{ApiError, ApiState, Caller, Query};

/// What agents spent, the largest first
#[utoipa::path(
    get,
    path = "/api/v1/analytics/spending/by-agent",
    tag = "analytics",
    security(("bearer" = [])),
    params(Common, Paged),
    responses((status = 200, description = "Agents with a completed call in the range", body = AgentSpendingPage)),
)]
pub async fn spending_by_agent(
    State(api): State<ApiState>,
    caller: Caller,
    query: Query,
) -> Result<Json<AgentSpendingPage>, ApiError> {
    let (asked, request) = Asked::paged(&query, &api, &caller, 50)?;
    let mut inquiry = asked.inquire(&api).await?;
    let agents = ranked_agents(&mut inquiry, &asked, |measures| measures.cost_nanos).await?;
    let budgets = inquiry.allocated(agents.iter().map(|(agent, _)| *agent)).await?;
    let total: Measures = agents.iter().map(|(_, measures)| *measures).sum();
    let count = agents.len();
    let budget_of = |agent| budgets.get(&agent).copied().unwrap_or(Money::ZERO);
    let summary = AgentSpendingSummary {
        total_spend: usd(&total),
        total_budget: Usd::left(budgets.values().copied().sum()),
        total_agents: i64::try_from(count).unwrap_or(i64::MAX),
        average_percent_used: mean(
            agents.iter().map(|(agent, measures)| Percent::of(measures.cost(), budget_of(*agent))),
        ),
    };
    let agents = page_of(agents, request);
    let names = inquiry.agent_names(agents.iter().map(|(agent, _)| *agent)).await?;
    let rows = agents.into_iter().map(|(agent, measures)| AgentSpending {
        agent_id: agent.0,
        agent_name: name_of(&names, agent),
        spending: usd(&measures),
        budget: Usd::left(budget_of(agent)),
        percent_used: Percent::of(measures.cost(), budget_of(agent)),
        request_count: measures.completed,
    });
    Ok(Json(AgentSpendingPage {
        data: rows.collect(),
        summary,
        period: asked.period(),
        calculated_at: asked.calculated_at(),
        filters: asked.filters,
        pagination: PageInfo::new(request.page, request.per_page, count as u64),
    }))
}
