//! POST `/api/v1/agents/{id}/ic-token`.

use api_types::agents::{IssueIcToken, IssuedIcToken};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use kernel::ErrorCode;
use persistence::{AuditRecord, IcTokenSet};

use super::issue;
use crate::transact::transact;
use crate::{ApiError, ApiState, Body, Caller, Params};

/// Creates an agent's IC token
///
/// For an agent that has none. The token is shown once. For administrators and the owner.
#[utoipa::path(
    post,
    path = "/api/v1/agents/{id}/ic-token",
    tag = "agents",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "`12` or `agent_12`")),
    request_body = IssueIcToken,
    responses(
        (status = 201, description = "The token", body = IssuedIcToken),
        (status = 403, description = "`ACCESS_DENIED`: the agent belongs to somebody else"),
        (status = 404, description = "`AGENT_NOT_FOUND`"),
        (status = 409, description = "`IC_TOKEN_EXISTS`"),
    ),
)]
pub async fn create_ic_token(
    State(api): State<ApiState>,
    caller: Caller,
    params: Params,
    body: Body,
) -> Result<(StatusCode, Json<IssuedIcToken>), ApiError> {
    caller.require_writer()?;
    let request: IssueIcToken = body.read()?;
    let view = super::visible(&api, &caller, params.agent_id("id")?).await?;
    let id = view.agent.id;
    let token = issue::issue(&api, &view, request)?;
    let row = issue::row(&token);
    let stored = transact!(api, async |work| {
        super::locked_visible(work, &caller, id).await?;
        match work.set_ic_token(id, &row).await? {
            IcTokenSet::Set => {}
            IcTokenSet::Exists => return Err(ErrorCode::IcTokenExists.into()),
            IcTokenSet::NoAgent => return Err(ErrorCode::AgentNotFound.into()),
        }
        let record = AuditRecord::new("IC_TOKEN_CREATED", "agent", id, caller.audit_actor());
        work.audit(record.changed(None, issue::audited(&token)));
        Ok(())
    });
    stored.await?;
    api.directory.forget(id);
    Ok((StatusCode::CREATED, Json(issue::body(id, &token))))
}
