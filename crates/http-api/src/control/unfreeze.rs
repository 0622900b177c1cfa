//! POST `/api/v1/budget/unfreeze`.

use api_types::control::{FreezeBody, FreezeRequest, FreezeRequestSchema};
use axum::Json;
use axum::extract::State;
use kernel::ErrorCode;
use persistence::AuditRecord;
use serde_json::json;

use super::shape::{freeze_body, scope_meant};
use crate::transact::transact;
use crate::{ApiError, ApiState, Body, Caller};

/// Lifts a freeze
///
/// Leases granted before it may report and return, but are not refreshed: their agents take a new handshake.
#[utoipa::path(
    post,
    path = "/api/v1/budget/unfreeze",
    operation_id = "unfreeze_scope",
    tag = "budget control",
    security(("bearer" = [])),
    request_body = FreezeRequestSchema,
    responses(
        (status = 200, description = "The freeze, lifted", body = FreezeBody),
        (status = 404, description = "`FREEZE_NOT_FOUND`: the scope is not frozen"),
    ),
)]
pub async fn unfreeze(State(api): State<ApiState>, caller: Caller, body: Body) -> Result<Json<FreezeBody>, ApiError> {
    caller.require_admin()?;
    let request: FreezeRequest = body.read()?;
    // Whatever has become of what was frozen
    let scope = scope_meant(request.scope);
    let lifted = transact!(api, async |work| {
        let freeze = work.lift_freeze(&scope, Some(&request.reason), &caller.user).await?;
        let freeze = freeze.ok_or(ErrorCode::FreezeNotFound)?;
        let mut record = AuditRecord::new("FREEZE_LIFTED", "freeze", &freeze.id, caller.audit_actor());
        record.before = Some(json!({ "scope": scope.key(), "reason": freeze.reason }));
        record.metadata = json!({ "reason": request.reason });
        work.audit(record);
        Ok(freeze)
    });
    let freeze = lifted.await?;
    api.directory.clear();
    Ok(Json(freeze_body(freeze)))
}
