//! POST `/api/v1/agents/{id}/ic-token/regenerate`.

use api_types::agents::{IssueIcToken, RegeneratedIcToken};
use auth::{Need, Permission};
use axum::Json;
use axum::extract::State;
use kernel::ErrorCode;
use persistence::AuditRecord;
use serde_json::json;

use super::issue;
use crate::transact::transact;
use crate::{ApiError, ApiState, Body, Caller, Params};

/// Replaces an agent's IC token
///
/// The old one, if there is one, is refused from now on, and leases taken with it can report and return but not be
/// refreshed. The token is shown once. For administrators and the owner, viewers included.
#[utoipa::path(
    post,
    path = "/api/v1/agents/{id}/ic-token/regenerate",
    tag = "agents",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "`12` or `agent_12`")),
    request_body = IssueIcToken,
    responses(
        (status = 200, description = "The token", body = RegeneratedIcToken),
        (status = 403, description = "`ACCESS_DENIED`: the agent belongs to somebody else"),
        (status = 404, description = "`AGENT_NOT_FOUND`"),
    ),
)]
pub async fn regenerate_ic_token(
    State(api): State<ApiState>,
    caller: Caller,
    params: Params,
    body: Body,
) -> Result<Json<RegeneratedIcToken>, ApiError> {
    caller.require(Need::Permission(Permission::IcTokensRegenerate))?;
    let request: IssueIcToken = body.read()?;
    let view = super::visible(&api, &caller, params.agent_id("id")?).await?;
    let id = view.agent.id;
    let token = issue::issue(&api, &view, request)?;
    let row = issue::row(&token);
    let replaced = transact!(api, async |work| {
        super::locked_visible(work, &caller, id).await?;
        let had_one = work.replace_ic_token(id, &row).await?.ok_or(ErrorCode::AgentNotFound)?;
        let before = had_one.then(|| json!({ "ic_token": "[REDACTED]" }));
        let record = AuditRecord::new("IC_TOKEN_REGENERATED", "agent", id, caller.audit_actor());
        work.audit(record.changed(before, issue::audited(&token)));
        Ok(had_one)
    });
    let old_token_invalidated = replaced.await?;
    api.directory.forget(id);
    Ok(Json(RegeneratedIcToken { issued: issue::body(id, &token), old_token_invalidated }))
}
