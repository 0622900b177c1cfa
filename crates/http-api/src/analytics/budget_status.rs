//! GET `/api/v1/analytics/budget/status`.

use std::cmp::Reverse;

use api_types::agents::AgentStatus as StatusBody;
use api_types::analytics::{BudgetStanding, BudgetStandingSummary, BudgetStandings, RiskLevel};
use api_types::figures::Percent;
use api_types::paging::PageInfo;
use axum::Json;
use axum::extract::State;
use kernel::Money;
use persistence::{AgentFilter, AgentSort, AgentStatus, AgentView, Page};

use super::asked::Paged;
use super::shape::page_of;
use crate::agents::{status_body, visible_to};
use crate::{ApiError, ApiState, Caller, Query};

/// How agents' budgets stand, the most used first
#[utoipa::path(
    get,
    path = "/api/v1/analytics/budget/status",
    tag = "analytics",
    security(("bearer" = [])),
    params(
        ("threshold" = Option<f64>, Query, description = "Only agents that have used more than so many percent"),
        ("status" = Option<String>, Query, description = "`active`, `exhausted`, `inactive` or `frozen`"),
        ("agent_id" = Option<String>, Query, description = "`12` or `agent_12`"),
        Paged,
    ),
    responses((status = 200, description = "Every agent of one's own; an administrator sees all. 100 on a page unless said otherwise", body = BudgetStandings)),
)]
pub async fn budget_status(
    State(api): State<ApiState>,
    caller: Caller,
    query: Query,
) -> Result<Json<BudgetStandings>, ApiError> {
    let mut q = query.reader();
    let statuses = AgentStatus::ALL.map(|status| (status.as_str(), status));
    let (status, agent) = (q.word("status", &statuses), q.agent_id("agent_id"));
    let threshold = q.raw(&["threshold"]).map(|(_, text)| hundredths(text));
    if matches!(threshold, Some(None)) {
        q.error("threshold", "must be a number from 0 with at most two decimals");
    }
    let request = q.page(100);
    q.finish(())?;
    let now = api.clock.now();
    let filter = AgentFilter { visible_to: visible_to(&caller), status, id: agent, ..AgentFilter::default() };
    let agents = api.store.agents(&filter, AgentSort::default(), Page::first(u64::MAX), now).await?;
    let mut rows: Vec<BudgetStanding> = agents.rows.into_iter().map(row).collect();
    rows.retain(|row| threshold.flatten().is_none_or(|least| row.percent_used.hundredths() > least));
    rows.sort_by_key(|row| (Reverse(row.percent_used), row.agent_id));
    let summary = summary(&rows);
    let pagination = PageInfo::new(request.page, request.per_page, rows.len() as u64);
    let calculated_at = now.to_rfc3339();
    Ok(Json(BudgetStandings { data: page_of(rows, request), summary, calculated_at, pagination }))
}

/// Hundredths of a percent.
fn hundredths(text: &str) -> Option<i64> {
    // The digits of an amount; a hundredth of a percent stands where ten million nano-dollars would
    let nanos = Money::from_usd_decimal(text)?.nanos();
    (nanos >= 0 && nanos % 10_000_000 == 0).then_some(nanos / 10_000_000)
}

fn row(view: AgentView) -> BudgetStanding {
    let (allocated, committed) = (view.figures.allocated, view.figures.committed());
    let percent_used = Percent::of(committed, allocated);
    BudgetStanding {
        agent_id: view.agent.id.0,
        budget: allocated,
        spent: committed,
        remaining: view.figures.remaining(),
        percent_used,
        status: status_body(view.status),
        risk_level: RiskLevel::of(percent_used),
        actual_spent: view.figures.account.spent,
        leased: view.figures.account.leased,
        suspense: view.figures.account.suspense,
        overrun: view.figures.account.overrun,
        agent_name: view.agent.name,
    }
}

fn summary(rows: &[BudgetStanding]) -> BudgetStandingSummary {
    let mut summary = BudgetStandingSummary::default();
    for row in rows {
        summary.total_agents += 1;
        *match row.status {
            StatusBody::Active => &mut summary.active,
            StatusBody::Exhausted => &mut summary.exhausted,
            StatusBody::Inactive => &mut summary.inactive,
            StatusBody::Frozen => &mut summary.frozen,
        } += 1;
        match row.risk_level {
            RiskLevel::Low => summary.low += 1,
            RiskLevel::Medium => summary.medium += 1,
            RiskLevel::High => summary.high += 1,
            RiskLevel::Critical => summary.critical += 1,
            RiskLevel::Exhausted => {}
        }
    }
    summary
}
