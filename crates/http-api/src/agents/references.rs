//! What an agent refers to: it must exist, and stays until the work that relies on it ends.

use kernel::{ErrorCode, ProjectId, ProviderKeyId, UserId};
use persistence::{HeldKey, Work};

use crate::ApiError;
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
pub(super) async fn hold_primary_key(work: &mut Work, key: ProviderKeyId) -> Result<(), Stop> {
    match work.hold_provider_keys(&[key]).await?.as_slice() {
        [HeldKey { is_enabled: true, .. }] => Ok(()),
        [] => Err(ErrorCode::ProviderNotFound.into()),
        _ => Err(ApiError::new(ErrorCode::ProviderNotFound, "the provider key is disabled").into()),
    }
}

/// All of these keys, enabled or not: 404 otherwise, naming those that do not exist.
pub(super) async fn hold_keys(work: &mut Work, keys: &[ProviderKeyId]) -> Result<(), Stop> {
    let held = work.hold_provider_keys(keys).await?;
    let missing: Vec<_> = keys.iter().filter(|id| held.iter().all(|key| key.id != **id)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let details = serde_json::json!({ "provider_ids": missing });
    Err(ApiError::from(ErrorCode::ProviderNotFound).details(details).into())
}
