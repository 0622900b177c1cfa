//! DELETE `/api/v1/agents/{id}/providers/{key_id}`.

use api_types::agents::AgentKeyRemoved;
use axum::Json;
use axum::extract::State;
use kernel::{ErrorCode, ProviderKeyId};
use persistence::AuditRecord;

use super::shape::{audited_keys, key_ids};
use crate::transact::transact;
use crate::{ApiError, ApiState, Caller, Params};

/// Takes a provider key from an agent
#[utoipa::path(
    delete,
    path = "/api/v1/agents/{id}/providers/{key_id}",
    tag = "agents",
    security(("bearer" = [])),
    params(
        ("id" = String, Path, description = "`12` or `agent_12`"),
        ("key_id" = i64, Path, description = "The key"),
    ),
    responses(
        (status = 200, description = "Taken", body = AgentKeyRemoved),
        (status = 404, description = "`AGENT_NOT_FOUND`, `PROVIDER_NOT_ASSIGNED`"),
    ),
)]
pub async fn remove_agent_key(
    State(api): State<ApiState>,
    caller: Caller,
    params: Params,
) -> Result<Json<AgentKeyRemoved>, ApiError> {
    caller.require_admin()?;
    let (id, key) = (params.agent_id("id")?, ProviderKeyId(params.int("key_id")?));
    let removed = transact!(api, async |work| {
        super::locked(work, id).await?;
        let before = work.keys_of_agent(id).await?;
        if !work.remove_key_from_agent(id, key).await? {
            return Err(ErrorCode::ProviderNotAssigned.into());
        }
        let after = work.keys_of_agent(id).await?;
        let record = AuditRecord::new("AGENT_PROVIDER_REMOVED", "agent", id, caller.audit_actor());
        work.audit(record.changed(audited_keys(&before), audited_keys(&after)));
        Ok(after)
    });
    let left = removed.await?;
    api.directory.forget(id);
    let warning = left.is_empty().then(|| "the agent has no provider key of its own left".to_owned());
    Ok(Json(AgentKeyRemoved {
        agent_id: id,
        provider_id: key,
        removed: true,
        remaining_providers: key_ids(&left),
        count: left.len() as u64,
        warning,
    }))
}
