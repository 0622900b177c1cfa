//! GET `/api/v1/budgets`.

use api_types::budgets::{Budget as BudgetBody, WINDOWS};
use axum::Json;
use axum::extract::State;
use kernel::{AgentId, ProjectId, UserId};
use ledger::{Scope, ScopeKind};
use persistence::{BudgetFilter, BudgetSource};

use super::shape::budget_body;
use crate::list::Page;
use crate::query::QueryReader;
use crate::{ApiError, ApiState, Caller, Query};

const PER_PAGE: u32 = 50;
const SOURCES: [(&str, BudgetSource); 3] = [
    ("policy", BudgetSource::Policy),
    ("agent_allocation", BudgetSource::AgentAllocation),
    ("limit", BudgetSource::Limit),
];

/// Lists budgets
///
/// Youngest first: policies, and what is managed elsewhere (allocations of agents, money columns of quotas).
#[utoipa::path(
    get,
    path = "/api/v1/budgets",
    tag = "budgets",
    security(("bearer" = [])),
    params(
        ("scope_kind" = Option<String>, Query, description = "`agent`, `project`, `owner`, `owner_project` or \
            `organization`"),
        ("scope_id" = Option<String>, Query, description = "The scope's id; needs `scope_kind`"),
        ("project_id" = Option<String>, Query, description = "The project of an `owner_project`"),
        ("window" = Option<String>, Query, description = "`none`, `day`, `week` or `month`"),
        ("source" = Option<String>, Query, description = "`policy`, `agent_allocation` or `limit`"),
        ("enabled" = Option<bool>, Query, description = "Whether it limits grants"),
        ("page" = Option<u32>, Query, description = "From 1"),
        ("per_page" = Option<u32>, Query, description = "1 to 100, 50 unless given; also taken as `page_size` and `limit`"),
    ),
    responses((status = 200, description = "One page", body = Page<BudgetBody>)),
)]
pub async fn list_budgets(
    State(api): State<ApiState>,
    caller: Caller,
    query: Query,
) -> Result<Json<Page<BudgetBody>>, ApiError> {
    caller.require_admin()?;
    let mut q = query.reader();
    let scope_kind = q.word("scope_kind", &ScopeKind::ALL.map(|kind| (kind.as_str(), kind)));
    let filter = BudgetFilter {
        scope_kind,
        scope: scope(&mut q, scope_kind),
        window: q.word("window", &WINDOWS),
        source: q.word("source", &SOURCES),
        enabled: q.flag("enabled"),
    };
    let request = q.page(PER_PAGE);
    let (filter, request) = q.finish((filter, request))?;
    let page = persistence::Page { offset: request.offset(), limit: request.per_page.into() };
    let listed = api.store.budgets(&filter, api.clock.now(), page).await?;
    Ok(Json(Page::new(listed.rows.into_iter().map(budget_body).collect(), request, listed.total)))
}

/// One scope, if an id is given.
fn scope(q: &mut QueryReader<'_>, kind: Option<ScopeKind>) -> Option<Scope> {
    q.raw(&["scope_id"])?;
    match kind {
        None => {
            if q.raw(&["scope_kind"]).is_none() {
                q.error("scope_kind", "is required with scope_id");
            }
            None
        }
        Some(ScopeKind::Organization) => Some(Scope::Organization),
        Some(ScopeKind::Project) => q.text("scope_id", 100).map(|id| Scope::Project(ProjectId::new(id))),
        Some(ScopeKind::Owner) => q.text("scope_id", 255).map(|id| Scope::Owner(UserId::new(id))),
        Some(ScopeKind::OwnerProject) => {
            let owner = q.text("scope_id", 255).map(UserId::new);
            let project = q.text("project_id", 100).map(ProjectId::new);
            if q.raw(&["project_id"]).is_none() {
                q.error("project_id", "is required with an owner_project");
            }
            Some(Scope::OwnerProject(owner?, project?))
        }
        Some(ScopeKind::Agent) => q.agent_id("scope_id").map(|id: AgentId| Scope::Agent(id)),
    }
}
