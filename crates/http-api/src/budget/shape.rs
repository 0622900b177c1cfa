//! Turning what the ledger says into what the protocol says.

use budget_protocol::{ExhaustedDetails, Scope as ScopeBody};
use kernel::{ErrorCode, Timestamp};
use ledger::{AgentFigures, Rejection, Scope, ScopeFigures};
use persistence::Refused;

use crate::ApiError;

/// A scope as it stands in a body.
pub(crate) fn scope_body(scope: &Scope) -> ScopeBody {
    match scope {
        Scope::Organization => ScopeBody::organization(),
        Scope::Project(project) => ScopeBody::project(project),
        Scope::Owner(owner) => ScopeBody::owner(owner),
        Scope::OwnerProject(owner, project) => ScopeBody::owner_project(owner, project),
        Scope::Agent(agent) => ScopeBody::agent(*agent),
    }
}

/// 403 `BUDGET_EXHAUSTED`, with everything one needs to understand it.
pub(super) fn exhausted(figures: &AgentFigures, binding: &ScopeFigures) -> Result<ApiError, ApiError> {
    let details = ExhaustedDetails {
        total_allocated: figures.allocated,
        total_spent: figures.committed(),
        budget_remaining: figures.remaining(),
        binding_scope: scope_body(&binding.budget.scope),
        cap: binding.budget.cap,
        spent: binding.account.spent,
        leased: binding.account.leased,
        suspense: binding.account.suspense,
        available: binding.available,
        window: binding.budget.window,
        resets_at: binding.window_end,
    };
    let text = format!("the budget of {} is exhausted", details.binding_scope);
    let mut error = ApiError::new(ErrorCode::BudgetExhausted, text);
    let all = serde_json::to_value(&details).map_err(ApiError::internal)?;
    for name in ["total_allocated", "total_spent", "budget_remaining", "binding_scope"] {
        error = error.with(name, all[name].clone());
    }
    Ok(error.details(all))
}

/// What a refused grant means to the client; `None` if the caller should look again.
pub(super) fn refusal(refused: Refused) -> Result<Option<ApiError>, ApiError> {
    match refused {
        Refused::StaleDirectory => Ok(None),
        Refused::Ledger(Rejection::BudgetExhausted { figures, binding }) => exhausted(&figures, &binding).map(Some),
        Refused::Ledger(rejection) => Ok(Some(rejection.into())),
    }
}

/// When a report says its call was made: now where it does not say.
pub(super) fn occurred(stated: Option<Timestamp>, now: Timestamp) -> Timestamp {
    stated.unwrap_or(now)
}
