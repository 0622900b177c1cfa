//! PUT `/api/v1/providers/{id}/agents`.

use api_types::providers::{KeyAgents, SetKeyAgents};
use axum::Json;
use axum::extract::State;
use persistence::{AuditRecord, Visibility};
use serde_json::json;

use super::add_agents::{hold, refuse_foreign_kind, refuse_missing};
use super::shape::agents_body;
use crate::transact::transact;
use crate::{ApiError, ApiState, Body, Caller, Params};

/// Replaces the agents that have a provider key
#[utoipa::path(
    put,
    path = "/api/v1/providers/{id}/agents",
    tag = "providers",
    security(("bearer" = [])),
    params(("id" = i64, Path, description = "The key")),
    request_body(content = SetKeyAgents, example = json!({"agent_ids": [12]})),
    responses(
        (status = 200, description = "The agents that have it now", body = KeyAgents),
        (status = 404, description = "`PROVIDER_NOT_FOUND`, `AGENT_NOT_FOUND` with `details.agent_ids`"),
    ),
)]
pub async fn set_provider_agents(
    State(api): State<ApiState>,
    caller: Caller,
    params: Params,
    body: Body,
) -> Result<Json<KeyAgents>, ApiError> {
    caller.require_admin()?;
    let request: SetKeyAgents = body.read()?;
    let id = super::key_id(&params)?;
    let changed = transact!(api, async |work| {
        let key = hold(work, id).await?;
        let before = work.live_agents_with_key(id).await?;
        let kept = work.set_agents_of_key(id, &request.agent_ids).await?;
        refuse_missing(&request.agent_ids, &kept)?;
        refuse_foreign_kind(work, &key, &kept).await?;
        let record = AuditRecord::new("AGENT_PROVIDERS_UPDATED", "provider", id, caller.audit_actor());
        work.audit(record.changed(json!({ "agent_ids": before }), json!({ "agent_ids": kept })));
        Ok(())
    });
    changed.await?;
    api.directory.clear();
    Ok(Json(agents_body(&api, id, &Visibility::All).await?))
}
