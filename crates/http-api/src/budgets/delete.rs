//! DELETE `/api/v1/budgets/{id}`.

use api_types::budgets::DeletedBudget;
use axum::Json;
use axum::extract::State;
use kernel::ErrorCode;
use persistence::AuditRecord;

use super::shape::{audited, refuse_managed_elsewhere};
use crate::transact::transact;
use crate::{ApiError, ApiState, Caller, Params};

/// Deletes a budget
///
/// It limits nothing any more. What was posted on it stays on record.
#[utoipa::path(
    delete,
    path = "/api/v1/budgets/{id}",
    tag = "budgets",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "The budget")),
    responses(
        (status = 200, description = "Deleted", body = DeletedBudget),
        (status = 404, description = "`BUDGET_NOT_FOUND`"),
        (status = 409, description = "`MANAGED_ELSEWHERE` with `details.path`"),
    ),
)]
pub async fn delete_budget(
    State(api): State<ApiState>,
    caller: Caller,
    params: Params,
) -> Result<Json<DeletedBudget>, ApiError> {
    caller.require_admin()?;
    let found = super::existing(&api, &params).await?;
    refuse_managed_elsewhere(&api, &found).await?;
    let deleted = transact!(api, async |work| {
        let no = work.budget_no(&found.id).await?.ok_or(ErrorCode::BudgetNotFound)?;
        let before = work.budget_view(no).await?;
        if !work.delete_budget(&found.id).await? {
            return Err(ErrorCode::BudgetNotFound.into());
        }
        let record = AuditRecord::new("BUDGET_POLICY_DELETED", "budget", &found.id, caller.audit_actor());
        work.audit(record.changed(audited(&before), None));
        Ok(())
    });
    deleted.await?;
    Ok(Json(DeletedBudget { id: found.id, deleted: true }))
}
