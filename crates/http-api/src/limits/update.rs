//! PUT `/api/v1/limits/{id}`.

use api_types::limits::{Limit as LimitBody, UpdateLimit};
use axum::Json;
use axum::extract::State;
use kernel::validate::Patch;
use kernel::{BudgetId, ErrorCode, LimitId};
use persistence::{AuditRecord, Limit, Visibility};

use super::money;
use super::shape::{audited, shown};
use crate::budgets::create::alert_levels;
use crate::transact::transact;
use crate::{ApiError, ApiState, Body, Caller, Params};

/// Changes a limit
///
/// What is not given stays, `null` takes a number away; one must remain. Money that is taken away ends the budget; given
/// again, it is a new one that starts from what the month has seen.
#[utoipa::path(
    put,
    path = "/api/v1/limits/{id}",
    tag = "limits",
    security(("bearer" = [])),
    params(("id" = i64, Path, description = "The limit")),
    request_body(content = UpdateLimit, example = json!({"max_tokens_per_day": 3_000_000,
        "max_requests_per_minute": null})),
    responses(
        (status = 200, description = "The limit as it is now", body = LimitBody),
        (status = 404, description = "`LIMIT_NOT_FOUND`"),
        (status = 409, description = "`MANAGED_ELSEWHERE` with `details.path`: a budget policy caps the month of that \
            scope"),
    ),
)]
pub async fn update_limit(
    State(api): State<ApiState>,
    caller: Caller,
    params: Params,
    body: Body,
) -> Result<Json<LimitBody>, ApiError> {
    caller.require_admin()?;
    let request: UpdateLimit = body.read()?;
    let id = params.int("id").map(LimitId)?;
    let fresh = BudgetId::random(&*api.entropy);
    let thresholds = levels(&api, id, &request).await?;
    let changed = transact!(api, async |work| {
        let before = work.limit_for_update(id).await?.ok_or(ErrorCode::LimitNotFound)?;
        let old_cap = money::cap(work, &before).await?;
        let cap = request.max_cost_per_month_microdollars.clone().apply(old_cap);
        let wanted = Limit {
            tokens_per_day: request.max_tokens_per_day.clone().apply(before.tokens_per_day),
            requests_per_minute: request.max_requests_per_minute.clone().apply(before.requests_per_minute),
            budget: cap.map(|_| before.budget.clone().unwrap_or_else(|| fresh.clone())),
            ..before.clone()
        };
        if wanted.tokens_per_day.is_none() && wanted.requests_per_minute.is_none() && cap.is_none() {
            let why = "one of the three limits must remain; delete the limit to end it";
            return Err(ApiError::field(cleared(&request), why).into());
        }
        if wanted == before && cap == old_cap {
            return Ok(before);
        }
        match (&before.budget, &wanted.budget, cap) {
            (None, Some(new), Some(cap)) => drop(money::open(work, &caller, &wanted, new, cap, &thresholds).await?),
            (Some(old), Some(_), Some(cap)) if Some(cap) != old_cap => {
                drop(money::change(work, &caller, old, cap).await?);
            }
            (Some(_), None, _) => money::end(work, &before).await?,
            _ => {}
        }
        let after = work.update_limit(&wanted).await?;
        let record = AuditRecord::new("LIMIT_UPDATED", "limit", id, caller.audit_actor());
        work.audit(record.changed(audited(&before, old_cap), audited(&after, cap)));
        Ok(after)
    });
    let limit = changed.await?;
    api.directory.clear();
    Ok(Json(shown(&api, limit).await?))
}

/// At which percentages people are told of money that the request may give the limit.
async fn levels(api: &ApiState, id: LimitId, request: &UpdateLimit) -> Result<Vec<i64>, ApiError> {
    if !matches!(request.max_cost_per_month_microdollars, Patch::Set(_)) {
        return Ok(Vec::new());
    }
    let limit = api.store.limit(id, &Visibility::All).await?.ok_or(ErrorCode::LimitNotFound)?;
    alert_levels(api, &limit.scope()).await
}

/// The first column that the request takes away.
fn cleared(request: &UpdateLimit) -> &'static str {
    if request.max_tokens_per_day.is_clear() {
        "max_tokens_per_day"
    } else if request.max_requests_per_minute.is_clear() {
        "max_requests_per_minute"
    } else {
        "max_cost_per_month_microdollars"
    }
}
