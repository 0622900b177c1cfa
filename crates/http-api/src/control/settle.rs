//! POST `/api/v1/budget/leases/{id}/settle`: an operator decides about suspense.

use api_types::control::{LeaseBody, SettleLease};
use axum::Json;
use axum::extract::State;
use kernel::{LeaseId, Money};
use ledger::{Actor, Command, SettleOutcome};
use persistence::{AuditRecord, Item};
use serde_json::json;

use super::shape::{lease_body, visible_lease};
use crate::{ApiError, ApiState, Body, Caller, Params};

/// Settles an expired or revoked lease
///
/// `spent` charges the figure, by default the whole grant; `unspent` charges the figure, by default what is known to be
/// spent. What is left of the suspense becomes available.
#[utoipa::path(
    post,
    path = "/api/v1/budget/leases/{id}/settle",
    operation_id = "settle_lease",
    tag = "budget control",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "The lease")),
    request_body = SettleLease,
    responses(
        (status = 200, description = "The lease, closed", body = LeaseBody),
        (status = 400, description = "A figure below what is known to be spent"),
        (status = 404, description = "`LEASE_NOT_FOUND`"),
        (status = 409, description = "`LEASE_ACTIVE` (revoke it first), `LEASE_CLOSED`"),
    ),
)]
pub async fn settle(
    State(api): State<ApiState>,
    caller: Caller,
    params: Params,
    body: Body,
) -> Result<Json<LeaseBody>, ApiError> {
    caller.require_admin()?;
    let request: SettleLease = body.read()?;
    let id = params.id("id", LeaseId::new)?;
    visible_lease(&api, &caller, &id).await?;
    let outcome = if request.presumed_spent { SettleOutcome::Spent } else { SettleOutcome::Unspent };
    let mut record = AuditRecord::new("LEASE_SETTLED", "lease", &id, caller.audit_actor());
    record.metadata = json!({
        "outcome": if request.presumed_spent { "spent" } else { "unspent" },
        "spent_microdollars": request.spent_microdollars.map(Money::micros_ceil),
        "reason": request.reason,
    });
    let command = Command::Settle {
        lease: id.clone(),
        outcome,
        figure: request.spent_microdollars,
        actor: Actor::User(caller.user.clone()),
        reason: request.reason,
    };
    api.pipeline.run_one(Item { audit: Some(record), ..Item::new(command) }).await??;
    Ok(Json(lease_body(visible_lease(&api, &caller, &id).await?)))
}
