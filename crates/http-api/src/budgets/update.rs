//! PUT and PATCH `/api/v1/budgets/{id}`: the same under both.

use api_types::budgets::{Budget as BudgetBody, UpdateBudget};
use axum::Json;
use axum::extract::State;
use kernel::{ErrorCode, Window};
use ledger::{Actor, Scope};
use persistence::{AuditRecord, BudgetChange, BudgetRefusal, BudgetView, NewBudget, StoreError, Work};

use super::shape::{at_agent, audited, budget_body, exists, refuse_managed_elsewhere, refused, scope_of};
use crate::transact::{Stop, transact};
use crate::{ApiError, ApiState, Body, Caller, Params};

/// Changes a budget
///
/// What is not given stays. A cap below what is committed takes nothing back: nothing more is lent until it fits. Under
/// another window or time zone the budget starts from what that window has seen. The scope cannot change.
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
        (status = 409, description = "`BUDGET_EXISTS` (the scope has one with this window), `MANAGED_ELSEWHERE` with \
            `details.path`"),
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
        (status = 409, description = "`BUDGET_EXISTS` (the scope has one with this window), `MANAGED_ELSEWHERE` with \
            `details.path`"),
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
    refuse_managed_elsewhere(api, &found).await?;
    if request.scope.as_ref().is_some_and(|scope| scope_of(scope) != found.budget.scope) {
        return Err(ApiError::field("scope", "cannot be changed; open a budget of that scope"));
    }
    let actor = Actor::User(caller.user.clone());
    let changed = transact!(api, async |work| {
        let no = work.budget_no(&found.id).await?.ok_or(ErrorCode::BudgetNotFound)?;
        let before = work.budget_view(no).await?;
        let (before, after) = if keeps_window(&before, &request) {
            let after = work.adjust_budget(&found.id, &change(&request), &actor, None).await?.map_err(refused)?;
            (before, after)
        } else {
            reopen(work, &before, &request, &actor).await?
        };
        if audited(&before) != audited(&after) {
            let record = AuditRecord::new("BUDGET_POLICY_UPDATED", "budget", &after.id, caller.audit_actor());
            work.audit(record.changed(audited(&before), audited(&after)));
        }
        Ok(after)
    });
    Ok(Json(budget_body(changed.await?)))
}

fn change(request: &UpdateBudget) -> BudgetChange {
    BudgetChange {
        cap: request.cap_microdollars,
        enabled: request.enabled,
        name: new_name(request),
        thresholds: request.thresholds.clone(),
    }
}

/// The name to be given: an empty one takes it away.
fn new_name(request: &UpdateBudget) -> Option<Option<String>> {
    request.name.clone().map(|name| Some(name).filter(|name| !name.is_empty()))
}

fn keeps_window(view: &BudgetView, request: &UpdateBudget) -> bool {
    request.window.is_none_or(|window| window == view.budget.window)
        && request.time_zone.as_ref().is_none_or(|zone| zone.name() == view.budget.zone.name())
}

/// Other windows need other books: the budget ends and goes on under its id with those, which start from what the leases
/// of the scope have brought into the window. The budget before and after.
async fn reopen(
    work: &mut Work,
    found: &BudgetView,
    request: &UpdateBudget,
    actor: &Actor,
) -> Result<(BudgetView, BudgetView), Stop> {
    let window = request.window.unwrap_or(found.budget.window);
    if let (Scope::Agent(_), Window::None) = (&found.budget.scope, window) {
        return Err(at_agent(&found.budget.scope).into());
    }
    if !work.delete_budget(&found.id).await? {
        // Somebody else was faster: look again at what there is now
        return Err(StoreError::Collision.into());
    }
    // Under the lock: nobody changes it any more
    let before = work.budget_view(found.budget.no).await?;
    let new = NewBudget {
        id: before.id.clone(),
        scope: before.budget.scope.clone(),
        name: new_name(request).unwrap_or_else(|| before.name.clone()),
        cap: request.cap_microdollars.unwrap_or(before.budget.cap),
        window,
        zone: request.time_zone.clone().unwrap_or_else(|| before.budget.zone.clone()),
        thresholds: request.thresholds.clone().unwrap_or_else(|| before.thresholds.clone()),
        enabled: request.enabled.unwrap_or(before.budget.enabled),
        source: before.source,
        created_by: before.created_by.clone(),
    };
    match work.insert_budget(&new, actor, None).await? {
        Err(BudgetRefusal::Exists) => Err(exists(work, &new.scope, window, new.source).await?.into()),
        opened => Ok((before, opened.map_err(refused)?)),
    }
}
