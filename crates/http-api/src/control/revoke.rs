//! POST `/api/v1/budget/leases/{id}/revoke`: a lease is ended from above.

use api_types::control::{LeaseBody, Reason};
use axum::Json;
use axum::extract::State;
use kernel::{EndedBy, LeaseId};
use ledger::{Actor, Command};
use persistence::{AuditRecord, Item};
use serde_json::json;

use super::shape::{lease_body, visible_lease};
use crate::{ApiError, ApiState, Body, Caller, Params};

/// Revokes an active lease
///
/// What its holder has not reported goes into suspense until it is settled. Repeating it changes nothing.
#[utoipa::path(
    post,
    path = "/api/v1/budget/leases/{id}/revoke",
    operation_id = "revoke_lease",
    tag = "budget control",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "The lease")),
    request_body = Reason,
    responses(
        (status = 200, description = "The lease, revoked", body = LeaseBody),
        (status = 404, description = "`LEASE_NOT_FOUND`"),
        (status = 409, description = "`LEASE_CLOSED`: it has ended otherwise"),
    ),
)]
pub async fn revoke(
    State(api): State<ApiState>,
    caller: Caller,
    params: Params,
    body: Body,
) -> Result<Json<LeaseBody>, ApiError> {
    caller.require_writer()?;
    let request: Reason = body.read()?;
    let id = params.id("id", LeaseId::new)?;
    visible_lease(&api, &caller, &id).await?;
    let mut record = AuditRecord::new("LEASE_REVOKED", "lease", &id, caller.audit_actor());
    record.metadata = json!({ "reason": request.reason });
    let actor = Actor::User(caller.user.clone());
    let command = Command::Revoke { lease: id.clone(), by: EndedBy::Revoke, actor, reason: request.reason };
    api.pipeline.run_one(Item { audit: Some(record), ..Item::new(command) }).await??;
    Ok(Json(lease_body(visible_lease(&api, &caller, &id).await?)))
}
