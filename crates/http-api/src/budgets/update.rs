//! PUT and PATCH `/api/v1/budgets/{id}`: the same under both.

use api_types::budgets::{Budget as BudgetBody, UpdateBudget};
use axum::Json;
use axum::extract::State;
use kernel::{ErrorCode, FieldErrors};
use ledger::Actor;
use persistence::{AuditRecord, BudgetChange, BudgetView};

use super::shape::{audited, budget_body, refuse_managed_elsewhere, refused, scope_of};
use crate::transact::transact;
use crate::{ApiError, ApiState, Body, Caller, Params};

/// Changes a budget
///
/// What is not given stays. A cap below what is committed takes nothing back: nothing more is lent until it fits. Scope,
/// window and time zone cannot change, because what was spent was counted by them.
#[utoipa::path(
    put,
    path = "/api/v1/budgets/{id}",
    tag = "budgets",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "The budget")),
    request_body(content = UpdateBudget, example = json!({"cap_microdollars": 8_000_000_000_i64})),
    responses(
        (status = 200, description = "The budget as it is now", body = BudgetBody),
        (status = 404, description = "`BUDGET_NOT_FOUND`"),
        (status = 409, description = "`MANAGED_ELSEWHERE` with `details.path`"),
    ),
)]
pub async fn update_budget(
    State(api): State<ApiState>,
    caller: Caller,
    params: Params,
    body: Body,
) -> Result<Json<BudgetBody>, ApiError> {
    update(&api, &caller, &params, &body).await
}

/// Changes a budget
///
/// The same as with PUT.
#[utoipa::path(
    patch,
    path = "/api/v1/budgets/{id}",
    tag = "budgets",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "The budget")),
    request_body(content = UpdateBudget, example = json!({"enabled": false})),
    responses(
        (status = 200, description = "The budget as it is now", body = BudgetBody),
        (status = 404, description = "`BUDGET_NOT_FOUND`"),
        (status = 409, description = "`MANAGED_ELSEWHERE` with `details.path`"),
    ),
)]
pub async fn patch_budget(
    State(api): State<ApiState>,
    caller: Caller,
    params: Params,
    body: Body,
) -> Result<Json<BudgetBody>, ApiError> {
    update(&api, &caller, &params, &body).await
}

async fn update(api: &ApiState, caller: &Caller, params: &Params, body: &Body) -> Result<Json<BudgetBody>, ApiError> {
    caller.require_admin()?;
    let request: UpdateBudget = body.read()?;
    let found = super::existing(api, params).await?;
    refuse_managed_elsewhere(found.source, &found.budget.scope)?;
    refuse_other_books(&found, &request)?;
    let change = BudgetChange {
        cap: request.cap_microdollars,
        enabled: request.enabled,
        name: request.name.map(|name| Some(name).filter(|name| !name.is_empty())),
        thresholds: request.thresholds,
    };
    let actor = Actor::User(caller.user.clone());
    let changed = transact!(api, async |work| {
        let no = work.budget_no(&found.id).await?.ok_or(ErrorCode::BudgetNotFound)?;
        let before = work.budget_view(no).await?;
        let after = work.adjust_budget(&found.id, &change, &actor, None).await?.map_err(refused)?;
        if audited(&before) != audited(&after) {
            let record = AuditRecord::new("BUDGET_POLICY_UPDATED", "budget", &after.id, caller.audit_actor());
            work.audit(record.changed(audited(&before), audited(&after)));
        }
        Ok(after)
    });
    Ok(Json(budget_body(changed.await?)))
}

/// What a budget's books are about stays: other windows would need other books.
fn refuse_other_books(found: &BudgetView, request: &UpdateBudget) -> Result<(), ApiError> {
    let budget = &found.budget;
    let mut errors = FieldErrors::default();
    let why = "cannot be changed; delete this budget and open another one, which starts from what its window has seen";
    if request.scope.as_ref().is_some_and(|scope| scope_of(scope) != budget.scope) {
        errors.add("scope", why);
    }
    if request.window.is_some_and(|window| window != budget.window) {
        errors.add("window", why);
    }
    if request.time_zone.as_ref().is_some_and(|zone| zone.name() != budget.zone.name()) {
        errors.add("time_zone", why);
    }
    if errors.is_empty() { Ok(()) } else { Err(errors.into()) }
}
