//! PUT `/api/v1/agents/{id}/providers`.

use api_types::agents::{AgentKeyIds, SetAgentKeys};
use axum::Json;
use axum::extract::State;
use persistence::AuditRecord;

use super::references::{hold_keys, refuse_foreign_kinds};
use super::shape::{audited_keys, key_ids_body};
use crate::transact::transact;
use crate::{ApiError, ApiState, Body, Caller, Params};

/// Replaces the provider keys of an agent
///
/// If the primary key is not among them, the first becomes primary.
#[utoipa::path(
    put,
    path = "/api/v1/agents/{id}/providers",
    tag = "agents",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "`12` or `agent_12`")),
    request_body(content = SetAgentKeys, example = json!({"provider_ids": [5]})),
    responses(
        (status = 200, description = "The keys it has now", body = AgentKeyIds),
        (status = 404, description = "`AGENT_NOT_FOUND`, `PROVIDER_NOT_FOUND` with `details.provider_ids`"),
    ),
)]
pub async fn set_agent_keys(
    State(api): State<ApiState>,
    caller: Caller,
    params: Params,
    body: Body,
) -> Result<Json<AgentKeyIds>, ApiError> {
    caller.require_admin()?;
    let request: SetAgentKeys = body.read()?;
    let id = params.agent_id("id")?;
    super::visible_row(&api, &caller, id).await?;
    let changed = transact!(api, async |work| {
        let held = hold_keys(work, &request.provider_ids).await?;
        let agent = super::locked(work, id).await?;
        refuse_foreign_kinds(work, &agent, &held).await?;
        let before = work.keys_of_agent(id).await?;
        work.set_keys_of_agent(id, &request.provider_ids).await?;
        let after = work.keys_of_agent(id).await?;
        let record = AuditRecord::new("AGENT_PROVIDERS_UPDATED", "agent", id, caller.audit_actor());
        work.audit(record.changed(audited_keys(&before), audited_keys(&after)));
        Ok(key_ids_body(id, &after, work.now()))
    });
    let changed = changed.await?;
    api.directory.forget(id);
    Ok(Json(changed))
}
