//! Provider keys as they are shown and as the audit log keeps them.

use api_types::providers::{BaseUrl, KeyAgent, KeyAgents, ProviderKey as KeyBody};
use kernel::{ProviderKeyId, Timestamp};
use persistence::{KeyHolder, ProviderKey, Visibility};
use serde_json::{Value, json};

use crate::{ApiError, ApiState};

/// What the audit log has in place of a secret.
pub(super) const REDACTED: &str = "[REDACTED]";

/// A key as it is shown.
pub(super) fn key_body(key: ProviderKey) -> KeyBody {
    KeyBody {
        id: key.id,
        provider: key.provider,
        base_url: key.base_url,
        description: key.description,
        is_enabled: key.is_enabled,
        created_at: key.created_at.millis(),
        updated_at: key.updated_at.millis(),
        last_used_at: key.last_used_at.map(Timestamp::millis),
        rotated_at: key.rotated_at.map(Timestamp::millis),
        masked_key: key.masked_key,
        assigned_projects: key.assigned_projects,
        models: key.models,
        agent_count: key.agent_count,
    }
}

/// A key as the audit log keeps it.
pub(super) fn audited(key: &ProviderKey) -> Value {
    json!({
        "provider": key.provider,
        "base_url": key.base_url,
        "description": key.description,
        "models": key.models,
        "is_enabled": key.is_enabled,
        "api_key": REDACTED,
    })
}

/// The agents that have a key, as these eyes see them.
pub(super) async fn agents_body(
    api: &ApiState,
    key: ProviderKeyId,
    seen_by: &Visibility,
) -> Result<KeyAgents, ApiError> {
    let holders = api.store.holders_of_key(key, seen_by).await?;
    let agent = |holder: KeyHolder| KeyAgent {
        id: holder.id,
        name: holder.name,
        owner_id: holder.owner,
        is_primary: holder.is_primary,
    };
    let agents: Vec<KeyAgent> = holders.into_iter().map(agent).collect();
    Ok(KeyAgents { provider_id: key, count: agents.len() as u64, agents })
}

/// Refuses what [`BaseUrl`] leaves to the installation: plain `http` to another machine.
pub(super) fn check_url(api: &ApiState, url: Option<&BaseUrl>) -> Result<(), ApiError> {
    if api.policy.allow_http_providers || !url.is_some_and(BaseUrl::is_plain_remote) {
        return Ok(());
    }
    Err(ApiError::field("base_url", "must be https; plain http is for this machine only"))
}
