//! PUT `/api/v1/providers/{id}`.

use api_types::providers::{ProviderKey as KeyBody, UpdateProviderKey};
use axum::Json;
use axum::extract::State;
use kernel::ErrorCode;
use kernel::validate::Patch;
use persistence::{AuditRecord, ProviderKey, ProviderKeyChange, Visibility};

use super::seal::seal;
use super::shape::{audited, check_url, key_body};
use crate::transact::transact;
use crate::{ApiError, ApiState, Body, Caller, Params};

/// Changes a provider key
///
/// What is not given stays. Another secret takes the place of the old one for every agent that has the key.
#[utoipa::path(
    put,
    path = "/api/v1/providers/{id}",
    tag = "providers",
    security(("bearer" = [])),
    params(("id" = i64, Path, description = "The key")),
    request_body(content = UpdateProviderKey, example = json!({"is_enabled": false})),
    responses(
        (status = 200, description = "The key as it is now", body = KeyBody),
        (status = 404, description = "`PROVIDER_NOT_FOUND`"),
        (status = 503, description = "`CRYPTO_UNAVAILABLE`"),
    ),
)]
pub async fn update_provider(
    State(api): State<ApiState>,
    caller: Caller,
    params: Params,
    body: Body,
) -> Result<Json<KeyBody>, ApiError> {
    caller.require_admin()?;
    let request: UpdateProviderKey = body.read()?;
    if let Patch::Set(url) = &request.base_url {
        check_url(&api, Some(url))?;
    }
    let id = super::key_id(&params)?;
    let before = super::visible(&api, id, Visibility::All).await?;
    if request.provider.as_ref().is_some_and(|provider| *provider != before.provider) {
        return Err(ApiError::field("provider", "cannot be changed"));
    }
    let change = change(&api, &before, &request).await?;
    let after = changed(&before, &change);
    if change.secret.is_none() && audited(&before) == audited(&after) {
        return Ok(Json(key_body(before)));
    }
    let operation = if change.secret.is_some() { "PROVIDER_ROTATED" } else { "PROVIDER_UPDATED" };
    let stored = transact!(api, async |work| {
        // As it is now: somebody else may have changed it meanwhile
        let before = work.provider_key_for_update(id).await?.ok_or(ErrorCode::ProviderNotFound)?;
        let after = changed(&before, &change);
        work.update_provider_key(id, &change).await?;
        let record = AuditRecord::new(operation, "provider", id, caller.audit_actor());
        work.audit(record.changed(audited(&before), audited(&after)));
        Ok(())
    });
    stored.await?;
    api.directory.clear();
    Ok(Json(key_body(super::visible(&api, id, Visibility::All).await?)))
}

/// The change as it is stored; a new secret is sealed here, before any transaction begins.
async fn change(
    api: &ApiState,
    before: &ProviderKey,
    request: &UpdateProviderKey,
) -> Result<ProviderKeyChange, ApiError> {
    let secret = match &request.api_key {
        // What a secret is bound to never changes, so it need not be read where the secret is written
        Some(secret) => {
            let stored = api.store.sealed_provider_key(before.id).await?.ok_or(ErrorCode::ProviderNotFound)?;
            Some(seal(api, secret, &stored.secret_ref)?)
        }
        None => None,
    };
    Ok(ProviderKeyChange {
        base_url: match &request.base_url {
            Patch::Keep => None,
            Patch::Clear => Some(None),
            Patch::Set(url) => Some(Some(url.as_str().to_owned())),
        },
        description: match &request.description {
            Patch::Keep => None,
            Patch::Clear => Some(None),
            Patch::Set(text) => Some(Some(text.clone())),
        },
        models: request.models.clone(),
        is_enabled: request.is_enabled,
        secret,
    })
}

/// The key as it will be.
fn changed(before: &ProviderKey, change: &ProviderKeyChange) -> ProviderKey {
    let (mut key, change) = (before.clone(), change.clone());
    key.base_url = change.base_url.unwrap_or(key.base_url);
    key.description = change.description.unwrap_or(key.description);
    key.models = change.models.unwrap_or(key.models);
    key.is_enabled = change.is_enabled.unwrap_or(key.is_enabled);
    key
}
