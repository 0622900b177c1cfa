//! POST `/api/v1/budget/freeze`: a scope gets no more money and no keys.

use api_types::control::{FreezeRequest, FreezeRequestSchema, FreezeSet};
use axum::Json;
use axum::extract::State;
use kernel::FreezeId;
use ledger::Scope;
use persistence::{AuditRecord, SetFreeze, Work};
use serde_json::json;

use super::shape::{existing_scope, freeze_body};
use crate::transact::{Stop, transact};
use crate::{ApiError, ApiState, Body, Caller};

/// Freezes a scope
///
/// From the moment of the answer nothing in the scope gets a handshake, a refresh or a key; reports, returns and events
/// are still booked. A scope that is frozen stays as it is.
#[utoipa::path(
    post,
    path = "/api/v1/budget/freeze",
    operation_id = "freeze_scope",
    tag = "budget control",
    security(("bearer" = [])),
    request_body = FreezeRequestSchema,
    responses(
        (status = 200, description = "The freeze, new or there before (`created`)", body = FreezeSet),
        (status = 404, description = "`AGENT_NOT_FOUND`, `PROJECT_NOT_FOUND`, `USER_NOT_FOUND`"),
    ),
)]
pub async fn freeze(State(api): State<ApiState>, caller: Caller, body: Body) -> Result<Json<FreezeSet>, ApiError> {
    caller.require_admin()?;
    let request: FreezeRequest = body.read()?;
    let scope = existing_scope(&api, request.scope).await?;
    let set = transact!(api, async |work| { set(&api, work, &caller, &scope, &request.reason).await });
    let SetFreeze { freeze, created, agents_affected, open_leases, exposure } = set.await?;
    api.directory.clear();
    Ok(Json(FreezeSet { freeze: freeze_body(freeze), created, agents_affected, open_leases, exposure }))
}

/// Freezes a scope, and tells the audit log of it if that is new.
pub(crate) async fn set(
    api: &ApiState,
    work: &mut Work,
    caller: &Caller,
    scope: &Scope,
    reason: &str,
) -> Result<SetFreeze, Stop> {
    let id = FreezeId::random(&*api.entropy);
    let set = work.set_freeze(&id, scope, reason, &caller.user).await?;
    if set.created {
        let mut record = AuditRecord::new("FREEZE_SET", "freeze", &set.freeze.id, caller.audit_actor());
        record.after = Some(json!({ "scope": scope.key(), "reason": reason }));
        work.audit(record);
    }
    Ok(set)
}
