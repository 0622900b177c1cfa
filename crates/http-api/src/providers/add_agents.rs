//! POST `/api/v1/providers/{id}/agents`.

use api_types::providers::{AddKeyAgents, KeyAgents};
use axum::Json;
use axum::extract::State;
use kernel::{AgentId, ErrorCode, ProviderKeyId};
use persistence::{AuditRecord, HeldKey, Visibility, Work};
use serde_json::json;

use super::shape::agents_body;
use crate::settings::{current, refuse_provider};
use crate::transact::{Stop, transact};
use crate::{ApiError, ApiState, Body, Caller, Params};

/// Assigns a provider key to agents
///
/// Beside those that have it.
#[utoipa::path(
    post,
    path = "/api/v1/providers/{id}/agents",
    tag = "providers",
    security(("bearer" = [])),
    params(("id" = i64, Path, description = "The key")),
    request_body(content = AddKeyAgents, example = json!({"agent_ids": [12, 13]})),
    responses(
        (status = 200, description = "The agents that have it now", body = KeyAgents),
        (status = 404, description = "`PROVIDER_NOT_FOUND`, `AGENT_NOT_FOUND` with `details.agent_ids`"),
    ),
)]
pub async fn add_provider_agents(
    State(api): State<ApiState>,
    caller: Caller,
    params: Params,
    body: Body,
) -> Result<Json<KeyAgents>, ApiError> {
    caller.require_admin()?;
    let request: AddKeyAgents = body.read()?;
    let id = super::key_id(&params)?;
    let changed = transact!(api, async |work| {
        let key = hold(work, id).await?;
        let found = work.add_agents_to_key(id, &request.agent_ids).await?;
        refuse_missing(&request.agent_ids, &found)?;
        refuse_foreign_kind(work, &key, &found).await?;
        let mut record = AuditRecord::new("AGENT_PROVIDERS_UPDATED", "provider", id, caller.audit_actor());
        record.metadata = json!({ "added_to_agents": found });
        work.audit(record);
        Ok(())
    });
    changed.await?;
    api.directory.clear();
    Ok(Json(agents_body(&api, id, &Visibility::All).await?))
}

/// The key, which stays until the work ends: 404 otherwise.
pub(super) async fn hold(work: &mut Work, id: ProviderKeyId) -> Result<HeldKey, Stop> {
    work.hold_provider_keys(&[id]).await?.pop().ok_or_else(|| ErrorCode::ProviderNotFound.into())
}

/// 400 about `agent_ids` unless the projects of all of them allow keys of this kind.
pub(super) async fn refuse_foreign_kind(work: &mut Work, key: &HeldKey, agents: &[AgentId]) -> Result<(), Stop> {
    for project in work.projects_of_agents(agents).await? {
        refuse_provider(&current(work, project.as_ref()).await?, &key.provider, "agent_ids")?;
    }
    Ok(())
}

/// 404 naming those of the agents that are not there.
pub(super) fn refuse_missing(wanted: &[AgentId], found: &[AgentId]) -> Result<(), Stop> {
    let missing: Vec<_> = wanted.iter().filter(|id| !found.contains(id)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(ApiError::from(ErrorCode::AgentNotFound).details(json!({ "agent_ids": missing })).into())
}
