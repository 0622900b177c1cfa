//! DELETE `/api/v1/providers/{id}/agents/{agent_id}`.

use api_types::providers::KeyAgentRemoved;
use axum::Json;
use axum::extract::State;
use kernel::ErrorCode;
use persistence::{AuditRecord, Visibility};
use serde_json::json;

use super::add_agents::hold;
use super::shape::agents_body;
use crate::transact::transact;
use crate::{ApiError, ApiState, Caller, Params};

/// Takes a provider key from an agent
///
/// The same as taking it at the agent.
#[utoipa::path(
    delete,
    path = "/api/v1/providers/{id}/agents/{agent_id}",
    tag = "providers",
    security(("bearer" = [])),
    params(
        ("id" = i64, Path, description = "The key"),
        ("agent_id" = String, Path, description = "`12` or `agent_12`"),
    ),
    responses(
        (status = 200, description = "Taken", body = KeyAgentRemoved),
        (status = 404, description = "`PROVIDER_NOT_FOUND`, `PROVIDER_NOT_ASSIGNED`"),
    ),
)]
pub async fn remove_provider_agent(
    State(api): State<ApiState>,
    caller: Caller,
    params: Params,
) -> Result<Json<KeyAgentRemoved>, ApiError> {
    caller.require_admin()?;
    let (id, agent) = (super::key_id(&params)?, params.agent_id("agent_id")?);
    let removed = transact!(api, async |work| {
        hold(work, id).await?;
        if !work.remove_key_from_agent(agent, id).await? {
            return Err(ErrorCode::ProviderNotAssigned.into());
        }
        let mut record = AuditRecord::new("AGENT_PROVIDER_REMOVED", "agent", agent, caller.audit_actor());
        record.metadata = json!({ "provider_id": id });
        work.audit(record);
        Ok(())
    });
    removed.await?;
    api.directory.forget(agent);
    let left = agents_body(&api, id, &Visibility::All).await?;
    Ok(Json(KeyAgentRemoved { provider_id: id, agent_id: agent, removed: true, count: left.count }))
}
