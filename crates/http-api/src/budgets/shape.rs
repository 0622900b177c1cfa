//! Budgets as they are shown and as the audit log keeps them.

use api_types::budgets::{Budget as BudgetBody, BudgetSource as SourceBody, ScopeRequest};
use kernel::{ErrorCode, Timestamp, Window};
use ledger::Scope;
use persistence::{BudgetRefusal, BudgetSource, BudgetView};
use serde_json::{Value, json};

use crate::ApiError;
use crate::budget::scope_body;

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
pub(super) fn audited(view: &BudgetView) -> Value {
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

/// 409 with the place where such a budget is edited instead of here; nothing for policies.
pub(super) fn refuse_managed_elsewhere(source: BudgetSource, scope: &Scope) -> Result<(), ApiError> {
    let path = match (source, scope) {
        (BudgetSource::Policy, _) => return Ok(()),
        (BudgetSource::AgentAllocation, Scope::Agent(agent)) => format!("/api/v1/agents/{agent}/budget"),
        (BudgetSource::AgentAllocation, _) => "/api/v1/agents".to_owned(),
        (BudgetSource::Limit, _) => "/api/v1/limits".to_owned(),
    };
    Err(ApiError::from(ErrorCode::ManagedElsewhere).details(json!({ "path": path })))
}

/// What a refusal of the store means to a client.
pub(super) fn refused(refusal: BudgetRefusal) -> ApiError {
    match refusal {
        BudgetRefusal::Ledger(rejection) => rejection.into(),
        refusal => ApiError::new(refusal.code(), refusal.to_string()),
    }
}
