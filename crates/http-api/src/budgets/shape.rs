//! Budgets as they are shown and as the audit log keeps them.

use api_types::budgets::{Budget as BudgetBody, BudgetSource as SourceBody, ScopeRequest};
use kernel::{ErrorCode, Timestamp, Window};
use ledger::Scope;
use persistence::{BudgetRefusal, BudgetSource, BudgetView, StoreError};
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

/// Refuses what is no policy, with the place where it is edited instead of here.
pub(super) async fn refuse_managed_elsewhere(api: &ApiState, view: &BudgetView) -> Result<(), ApiError> {
    match view.source {
        BudgetSource::Policy => Ok(()),
        source => Err(managed_elsewhere(api, source, &view.budget.scope).await?),
    }
}

/// 409 with the place where a budget of this source and scope is edited.
pub(super) async fn managed_elsewhere(
    api: &ApiState,
    source: BudgetSource,
    scope: &Scope,
) -> Result<ApiError, StoreError> {
    let path = match (source, scope) {
        (BudgetSource::AgentAllocation, Scope::Agent(agent)) => format!("/api/v1/agents/{agent}/budget"),
        (BudgetSource::Limit, scope) => match api.store.limit_of(scope).await? {
            Some(limit) => format!("/api/v1/limits/{limit}"),
            None => "/api/v1/limits".to_owned(),
        },
        (BudgetSource::Policy | BudgetSource::AgentAllocation, _) => "/api/v1/budgets".to_owned(),
    };
    Ok(elsewhere(&path))
}

/// 409 for a second budget of a scope and window: `BUDGET_EXISTS` where the first one comes from the same source,
/// otherwise `MANAGED_ELSEWHERE` with its place.
pub(crate) async fn exists(
    api: &ApiState,
    scope: &Scope,
    window: Window,
    source: BudgetSource,
) -> Result<ApiError, StoreError> {
    let budgets = api.store.budgets_of(std::slice::from_ref(scope), api.clock.now()).await?;
    let first = budgets.into_iter().find(|view| view.budget.window == window && view.source != source);
    Ok(match first {
        None => refused(BudgetRefusal::Exists),
        Some(view) if view.source == BudgetSource::Policy => elsewhere(&format!("/api/v1/budgets/{}", view.id)),
        Some(view) => managed_elsewhere(api, view.source, scope).await?,
    })
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
