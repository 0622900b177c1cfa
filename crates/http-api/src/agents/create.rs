//! POST `/api/v1/agents`.

use api_types::agents::{Agent as AgentBody, CreateAgent};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use kernel::{AgentId, BudgetId, ErrorCode, Money, UserId};
use ledger::Scope;
use persistence::{
    AllocationChangeKind, AuditRecord, BudgetView, NewAgent, NewAllocation, NewAllocationChange, ProviderKeyFilter,
};
use serde_json::json;

use super::quota::{hold_references, refuse_too_many};
use super::references::hold_primary_key;
use super::shape::{agent_body, audited};
use crate::budget::scope_body;
use crate::settings::refuse_provider;
use crate::transact::transact;
use crate::{ApiError, ApiState, Body, Caller};

/// Creates an agent
///
/// With its budget, and without an IC token. Where the installation allows it, users create agents of their own: with
/// keys they see, and within what their own budget has available.
#[utoipa::path(
    post,
    path = "/api/v1/agents",
    tag = "agents",
    security(("bearer" = [])),
    request_body(content = CreateAgent, example = json!({"name": "Billing bot", "provider_key_id": 3,
        "initial_budget_microdollars": 50_000_000})),
    responses(
        (status = 201, description = "The agent", body = AgentBody),
        (status = 400, description = "`VALIDATION_ERROR`; `fields.owner_id`: the owner is no active user, or not the \
            caller, who is no administrator"),
        (status = 403, description = "`QUOTA_EXCEEDED`: the settings allow no further agent of this owner or in this \
            project, see `details`. For users: `OWNER_BUDGET_REQUIRED` (the owner has no budget), `BUDGET_EXHAUSTED` \
            (it has less available than the initial budget)"),
        (status = 404, description = "`PROVIDER_NOT_FOUND` (unknown or disabled key), `PROJECT_NOT_FOUND`"),
    ),
)]
pub async fn create_agent(
    State(api): State<ApiState>,
    caller: Caller,
    body: Body,
) -> Result<(StatusCode, Json<AgentBody>), ApiError> {
    if api.policy.allow_user_agents { caller.require_writer() } else { caller.require_admin() }?;
    let request: CreateAgent = body.read()?;
    let owner = request.owner_id.clone().unwrap_or_else(|| caller.user.clone());
    if !caller.is_admin() {
        check_own(&api, &caller, &request, &owner).await?;
    }
    let id = create(&api, &caller, request, owner).await?;
    let view = api.store.agent(id, api.clock.now()).await?.ok_or(ErrorCode::AgentNotFound)?;
    Ok((StatusCode::CREATED, Json(agent_body(view))))
}

async fn create(api: &ApiState, caller: &Caller, request: CreateAgent, owner: UserId) -> Result<AgentId, ApiError> {
    let total = request.initial_budget_microdollars;
    let new = NewAgent {
        name: request.name,
        providers: request.providers,
        description: request.description,
        tags: request.tags,
        owner,
        project: request.project_id,
        primary_key: request.provider_key_id,
    };
    let budget = BudgetId::random(&*api.entropy);
    let created = transact!(api, async |work| {
        let settings = hold_references(work, &new).await?;
        if let Some(key) = new.primary_key {
            let key = hold_primary_key(work, key).await?;
            refuse_provider(&settings, &key.provider, "provider_key_id")?;
        }
        refuse_too_many(work, &new, &settings).await?;
        let id = work.create_agent(&new).await?;
        let allocation = NewAllocation {
            id: budget.clone(),
            cap: total,
            thresholds: settings.budget_alert_levels(),
            created_by: caller.user.clone(),
            reason: None,
        };
        work.open_agent_allocation(id, &allocation).await?;
        let change = NewAllocationChange {
            agent: id,
            previous: Money::ZERO,
            new: total,
            kind: AllocationChangeKind::Create,
            request_id: None,
            reason: None,
            by: caller.user.clone(),
        };
        work.keep_allocation_change(&change, &*api.entropy).await?;
        let agent = super::locked(work, id).await?;
        let mut after = audited(&agent);
        after["total_allocated_microdollars"] = total.micros_floor().into();
        let record = AuditRecord::new("AGENT_CREATED", "agent", id, caller.audit_actor());
        work.audit(record.changed(None, after));
        Ok(id)
    });
    created.await
}

/// What a user may create: an agent of their own, with a key and a project they see, within their own budget.
async fn check_own(api: &ApiState, caller: &Caller, request: &CreateAgent, owner: &UserId) -> Result<(), ApiError> {
    if !caller.owns(owner) {
        return Err(ApiError::field("owner_id", "must be yourself"));
    }
    let visible_to = super::visible_to(caller);
    if let Some(project) = &request.project_id
        && !api.store.project_is_visible(project, &visible_to).await?
    {
        return Err(ErrorCode::ProjectNotFound.into());
    }
    if let Some(key) = request.provider_key_id {
        let filter = ProviderKeyFilter { visible_to, id: Some(key), ..ProviderKeyFilter::default() };
        if api.store.provider_keys(&filter, persistence::Page::first(1)).await?.rows.is_empty() {
            return Err(ErrorCode::ProviderNotFound.into());
        }
    }
    check_owner_budget(api, owner, request.initial_budget_microdollars).await
}

/// An allocation is a promise, not a loan: what is lent is still checked against the owner's budget each time.
async fn check_owner_budget(api: &ApiState, owner: &UserId, total: Money) -> Result<(), ApiError> {
    let budgets = api.store.budgets_of(&[Scope::Owner(owner.clone())], api.clock.now()).await?;
    let enabled = budgets.iter().filter(|view| view.budget.enabled);
    let Some(binding) = enabled.min_by_key(|view| view.available()) else {
        return Err(ErrorCode::OwnerBudgetRequired.into());
    };
    if total <= binding.available() { Ok(()) } else { Err(owner_exhausted(binding, total)) }
}

fn owner_exhausted(binding: &BudgetView, total: Money) -> ApiError {
    let details = json!({
        "binding_scope": scope_body(&binding.budget.scope),
        "requested": total.micros_floor(),
        "cap": binding.budget.cap.micros_floor(),
        "spent": binding.account.spent.micros_ceil(),
        "leased": binding.account.leased.micros_ceil(),
        "suspense": binding.account.suspense.micros_ceil(),
        "available": binding.available().micros_floor().max(0),
        "window": binding.budget.window.as_str(),
        "resets_at": binding.window_end.map(kernel::Timestamp::millis),
    });
    let text = "the initial budget is more than the owner's budget has available";
    ApiError::new(ErrorCode::BudgetExhausted, text).details(details)
}
