//! What an agent refers to: it must exist, and stays until the work that relies on it ends.

use kernel::{ErrorCode, ProjectId, ProviderKeyId, UserId};
use persistence::{Agent, HeldKey, Work};

use crate::ApiError;
use crate::settings::{current, refuse_provider};
use crate::transact::Stop;

/// An active user: 400 about `owner_id` otherwise.
pub(super) async fn hold_owner(work: &mut Work, owner: &UserId) -> Result<(), Stop> {
    let user = work.hold_user(owner).await?;
    if user.is_some_and(|user| user.is_active) {
        return Ok(());
    }
    Err(ApiError::field("owner_id", "must be an active user").into())
}

/// A project: 404 otherwise.
pub(super) async fn hold_project(work: &mut Work, project: &ProjectId) -> Result<(), Stop> {
    if work.hold_project(project).await? { Ok(()) } else { Err(ErrorCode::ProjectNotFound.into()) }
}

/// An enabled key, fit to be the primary one: 404 otherwise.
pub(super) async fn hold_primary_key(work: &mut Work, key: ProviderKeyId) -> Result<HeldKey, Stop> {
    match work.hold_provider_keys(&[key]).await?.pop() {
        Some(key) if key.is_enabled => Ok(key),
        None => Err(ErrorCode::ProviderNotFound.into()),
        Some(_) => Err(ApiError::new(ErrorCode::ProviderNotFound, "the provider key is disabled").into()),
    }
}

/// All of these keys, enabled or not: 404 otherwise, naming those that do not exist.
pub(super) async fn hold_keys(work: &mut Work, keys: &[ProviderKeyId]) -> Result<Vec<HeldKey>, Stop> {
    let held = work.hold_provider_keys(keys).await?;
    let missing: Vec<_> = keys.iter().filter(|id| held.iter().all(|key| key.id != **id)).collect();
    if missing.is_empty() {
        return Ok(held);
    }
    let details = serde_json::json!({ "provider_ids": missing });
    Err(ApiError::from(ErrorCode::ProviderNotFound).details(details).into())
}

/// 400 about `provider_ids` unless the agent's project allows keys of these kinds.
pub(super) async fn refuse_foreign_kinds(work: &mut Work, agent: &Agent, keys: &[HeldKey]) -> Result<(), Stop> {
    let settings = current(work, agent.project.as_ref()).await?;
    keys.iter().try_for_each(|key| refuse_provider(&settings, &key.provider, "provider_ids"))
}
