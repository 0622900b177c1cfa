//! GET `/api/v1/limits/agents/{id}/budget/history`, also known as `/api/v1/limits/agents/{id}/history` and
//! `/api/v1/agents/{id}/budget/history`.

use api_types::agents::{BudgetHistory, BudgetHistorySummary, BudgetModification, BudgetModificationKind};
use api_types::figures::{Percent, Usd};
use api_types::paging::PageInfo;
use axum::Json;
use axum::extract::State;
use kernel::Money;
use persistence::{AllocationChange, AllocationChangeKind, Page};

use super::set_usd_budget::increase;
use crate::{ApiError, ApiState, Caller, Params, Query};

const PER_PAGE: u32 = 50;

/// Shows how an agent's total came to be
///
/// Newest first.
#[utoipa::path(
    get,
    path = "/api/v1/limits/agents/{id}/budget/history",
    tag = "limits",
    security(("bearer" = [])),
    params(
        ("id" = String, Path, description = "`12` or `agent_12`"),
        ("page" = Option<u32>, Query, description = "From 1"),
        ("per_page" = Option<u32>, Query, description = "1 to 100, 50 unless given; also taken as `page_size` and `limit`"),
    ),
    responses(
        (status = 200, description = "One page of changes", body = BudgetHistory),
        (status = 403, description = "`ACCESS_DENIED`: the agent belongs to somebody else"),
        (status = 404, description = "`AGENT_NOT_FOUND`"),
    ),
)]
pub async fn agent_budget_history(
    State(api): State<ApiState>,
    caller: Caller,
    params: Params,
    query: Query,
) -> Result<Json<BudgetHistory>, ApiError> {
    let mut q = query.reader();
    let request = q.page(PER_PAGE);
    let request = q.finish(request)?;
    let id = params.agent_id("id")?;
    super::visible_row(&api, &caller, id).await?;
    let page = Page { offset: request.offset(), limit: request.per_page.into() };
    let (changes, summary) = api.store.allocation_history(id, page).await?;
    let allocations = api.store.allocations(&[id], api.clock.now()).await?;
    let current_budget = Usd::left(allocations.get(&id).map_or(Money::ZERO, |view| view.budget.cap));
    Ok(Json(BudgetHistory {
        agent_id: id,
        current_budget,
        modifications: changes.rows.into_iter().map(modification).collect(),
        summary: BudgetHistorySummary {
            initial_budget: Usd::left(summary.initial),
            current_budget,
            total_increases: Usd::left(summary.increases),
            modification_count: summary.modifications,
        },
        pagination: PageInfo::new(request.page, request.per_page, changes.total),
    }))
}

fn modification(change: AllocationChange) -> BudgetModification {
    let (previous, new) = (change.previous, change.new);
    BudgetModification {
        id: change.id,
        previous_budget: Usd::left(previous),
        new_budget: Usd::left(new),
        increase_amount: increase(previous, new),
        increase_percent: Percent::growth(previous, new),
        previous_budget_microdollars: previous,
        new_budget_microdollars: new,
        kind: match change.kind {
            AllocationChangeKind::Create => BudgetModificationKind::Create,
            AllocationChangeKind::Edit => BudgetModificationKind::Edit,
            AllocationChangeKind::Request => BudgetModificationKind::Request,
        },
        request_id: change.request_id,
        reason: change.reason,
        modified_by: change.by,
        modified_by_name: change.by_name,
        modified_at: change.at.millis(),
    }
}
