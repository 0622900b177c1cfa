//! Budgets as they are shown and as the audit log keeps them.

use api_types::budgets::{Budget as BudgetBody, BudgetSource as SourceBody, ScopeRequest};
use kernel::{ErrorCode, LimitId, Timestamp, Window};
use ledger::Scope;
use persistence::{BudgetRefusal, BudgetSource, BudgetView, StoreError, Work};
use serde_json::{Value, json};

use crate::budget::scope_body;
use crate::{ApiError, ApiState};

/// A budget as it is shown.
pub(super) fn budget_body(view: BudgetView) -> BudgetBody {
    let has_window = view.budget.window != Window::None;
    BudgetBody {
        available: view.available(),
        id: view.id,
        name: view.name,
        scope: scope_body(&view.budget.scope),
        cap_microdollars: view.budget.cap,
        window: view.budget.window,
        time_zone: view.budget.zone.name().to_owned(),
        thresholds: view.thresholds,
        enabled: view.budget.enabled,
        source: source_body(view.source),
        window_start: has_window.then(|| view.window_start.millis()),
        window_end: view.window_end.map(Timestamp::millis),
        spent: view.account.spent,
        leased: view.account.leased,
        suspense: view.account.suspense,
        overrun: view.account.overrun,
        created_at: view.created_at.millis(),
        updated_at: view.updated_at.millis(),
        created_by: view.created_by,
    }
}

const fn source_body(source: BudgetSource) -> SourceBody {
    match source {
        BudgetSource::Policy => SourceBody::Policy,
        BudgetSource::AgentAllocation => SourceBody::AgentAllocation,
        BudgetSource::Limit => SourceBody::Limit,
    }
}

/// A budget as the audit log keeps it.
pub(crate) fn audited(view: &BudgetView) -> Value {
    json!({
        "name": view.name,
        "scope": scope_body(&view.budget.scope),
        "cap_microdollars": view.budget.cap.micros_floor(),
        "window": view.budget.window.as_str(),
        "time_zone": view.budget.zone.name(),
        "thresholds": view.thresholds,
        "enabled": view.budget.enabled,
    })
}

/// The scope that a request names.
pub(super) fn scope_of(request: &ScopeRequest) -> Scope {
    match request.clone() {
        ScopeRequest::Organization => Scope::Organization,
        ScopeRequest::Project(project) => Scope::Project(project),
        ScopeRequest::Owner(owner) => Scope::Owner(owner),
        ScopeRequest::OwnerProject(owner, project) => Scope::OwnerProject(owner, project),
        ScopeRequest::Agent(agent) => Scope::Agent(agent),
    }
}

/// Refuses what is no policy, with the place where it is edited instead of here. Not within a transaction.
pub(super) async fn refuse_managed_elsewhere(api: &ApiState, view: &BudgetView) -> Result<(), ApiError> {
    let scope = &view.budget.scope;
    match view.source {
        BudgetSource::Policy => Ok(()),
        BudgetSource::AgentAllocation => Err(at_agent(scope)),
        BudgetSource::Limit => Err(at_limit(api.store.limit_of(scope).await?)),
    }
}

/// 409 for a second budget of a scope and window: `BUDGET_EXISTS` where the first one comes from the same source,
/// otherwise `MANAGED_ELSEWHERE` with its place.
pub(crate) async fn exists(
    work: &mut Work,
    scope: &Scope,
    window: Window,
    source: BudgetSource,
) -> Result<ApiError, StoreError> {
    Ok(match work.budget_in_place(scope, window).await? {
        Some((_, first)) if first == source => refused(BudgetRefusal::Exists),
        Some((id, BudgetSource::Policy)) => elsewhere(&format!("/api/v1/budgets/{id}")),
        Some((_, BudgetSource::Limit)) => at_limit(work.limit_of(scope).await?),
        Some((_, BudgetSource::AgentAllocation)) => at_agent(scope),
        // It has just ended
        None => refused(BudgetRefusal::Exists),
    })
}

/// 409 with the place where the total of an agent is edited.
pub(super) fn at_agent(scope: &Scope) -> ApiError {
    match scope {
        Scope::Agent(agent) => elsewhere(&format!("/api/v1/agents/{agent}/budget")),
        _ => elsewhere("/api/v1/agents"),
    }
}

fn at_limit(limit: Option<LimitId>) -> ApiError {
    limit.map_or_else(|| elsewhere("/api/v1/limits"), |id| elsewhere(&format!("/api/v1/limits/{id}")))
}

fn elsewhere(path: &str) -> ApiError {
    ApiError::from(ErrorCode::ManagedElsewhere).details(json!({ "path": path }))
}

/// What a refusal of the store means to a client.
pub(crate) fn refused(refusal: BudgetRefusal) -> ApiError {
    match refusal {
        BudgetRefusal::Ledger(rejection) => rejection.into(),
        refusal => ApiError::new(refusal.code(), refusal.to_string()),
    }
}
