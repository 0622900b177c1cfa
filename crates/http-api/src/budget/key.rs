//! Choosing the provider key an agent spends with, and opening it.

use budget_protocol::FrozenDetails;
use kernel::{ErrorCode, ProviderKeyId, Secret};
use persistence::{AgentPicture, KeyWish, NoKey, PictureKey, SealedProviderKey};
use serde_json::json;
use vault::Binding;

use super::shape::scope_body;
use crate::{ApiError, ApiState};

/// The kind that provider secrets are bound to in the vault.
pub(crate) const SECRET_KIND: &str = "provider_key";

/// Refuses while a freeze covers the agent.
pub(super) fn refuse_frozen(agent: &AgentPicture) -> Result<(), ApiError> {
    let Some(freeze) = &agent.freeze else { return Ok(()) };
    let details =
        FrozenDetails { scope: scope_body(&freeze.scope), reason: freeze.reason.clone(), frozen_at: freeze.frozen_at };
    let details = serde_json::to_value(details).map_err(ApiError::internal)?;
    Err(ApiError::new(ErrorCode::AgentFrozen, format!("frozen: {}", freeze.reason)).details(details))
}

/// The key to hand out. `none` is the code for an agent without a usable key.
pub(super) fn choose<'a>(
    agent: &'a AgentPicture,
    explicit: Option<ProviderKeyId>,
    wish: Option<&str>,
    none: ErrorCode,
) -> Result<&'a PictureKey, ApiError> {
    let refused = |reason: &str| {
        let text = match reason {
            "disabled" => "the agent's provider key is disabled",
            _ => "the agent has no provider key",
        };
        Err(ApiError::new(none, text).details(json!({ "reason": reason })))
    };
    match agent.choose_key(KeyWish { key: explicit, provider: wish }) {
        Ok(key) => Ok(key),
        Err(NoKey::Disabled) => refused("disabled"),
        Err(NoKey::Unassigned) => refused("unassigned"),
        Err(NoKey::NotAssigned) => {
            Err(ApiError::new(ErrorCode::ProviderKeyNotAssigned, "that provider key is not one of the agent's"))
        }
    }
}

/// Opens the stored secret; it is CPU work of a few microseconds.
pub(crate) fn open(api: &ApiState, key: &SealedProviderKey) -> Result<Secret<String>, ApiError> {
    let binding = Binding { kind: SECRET_KIND, id: &key.secret_ref };
    api.vault.open(binding, &key.secret).map_err(|e| ApiError::from(ErrorCode::CryptoUnavailable).cause(e))
}

/// A provider's address as runtimes want it: they append `/v1/…` themselves.
pub(crate) fn base_url(key: &SealedProviderKey) -> Option<String> {
    let url = key.base_url.as_deref()?.trim_end_matches('/');
    let url = url.strip_suffix("/v1").unwrap_or(url).trim_end_matches('/');
    (!url.is_empty()).then(|| url.to_owned())
}
