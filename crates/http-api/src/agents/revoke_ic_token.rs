//! DELETE `/api/v1/agents/{id}/ic-token`.

use axum::extract::State;
use axum::http::StatusCode;
use kernel::ErrorCode;
use persistence::AuditRecord;
use serde_json::json;

use crate::transact::transact;
use crate::{ApiError, ApiState, Caller, Params};

/// Removes an agent's IC token
///
/// It is refused from now on. Without one nothing happens. For administrators and the owner.
#[utoipa::path(
    delete,
    path = "/api/v1/agents/{id}/ic-token",
    tag = "agents",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "`12` or `agent_12`")),
    responses(
        (status = 204, description = "The agent has no token"),
        (status = 403, description = "`ACCESS_DENIED`: the agent belongs to somebody else"),
        (status = 404, description = "`AGENT_NOT_FOUND`"),
    ),
)]
pub async fn revoke_ic_token(
    State(api): State<ApiState>,
    caller: Caller,
    params: Params,
) -> Result<StatusCode, ApiError> {
    caller.require_writer()?;
    let id = params.agent_id("id")?;
    let revoked = transact!(api, async |work| {
        super::locked_visible(work, &caller, id).await?;
        if work.clear_ic_token(id).await?.ok_or(ErrorCode::AgentNotFound)? {
            let record = AuditRecord::new("IC_TOKEN_REVOKED", "agent", id, caller.audit_actor());
            work.audit(record.changed(json!({ "ic_token": "[REDACTED]" }), None));
        }
        Ok(())
    });
    revoked.await?;
    api.directory.forget(id);
    Ok(StatusCode::NO_CONTENT)
}
