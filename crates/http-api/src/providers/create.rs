//! POST `/api/v1/providers`.

use ::settings::Settings;
use api_types::providers::{CreateProviderKey, ProviderKey as KeyBody};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use kernel::entropy::random_uuid;
use persistence::{AuditRecord, NewProviderKey, SettingsOf, Visibility};
use serde_json::json;

use super::seal::seal;
use super::shape::{REDACTED, check_url, key_body};
use crate::settings::refuse_provider;
use crate::transact::transact;
use crate::{ApiError, ApiState, Body, Caller};

/// Stores a provider key
///
/// Always as a new one. Its secret is encrypted and not shown again.
#[utoipa::path(
    post,
    path = "/api/v1/providers",
    tag = "providers",
    security(("bearer" = [])),
    request_body(content = CreateProviderKey, example = json!({"provider": "openai", "api_key": "sk-proj-...",
        "description": "Team key", "models": ["gpt-5"]})),
    responses(
        (status = 201, description = "The key", body = KeyBody),
        (status = 503, description = "`CRYPTO_UNAVAILABLE`"),
    ),
)]
pub async fn create_provider(
    State(api): State<ApiState>,
    caller: Caller,
    body: Body,
) -> Result<(StatusCode, Json<KeyBody>), ApiError> {
    caller.require_admin()?;
    let request: CreateProviderKey = body.read()?;
    check_url(&api, request.base_url.as_ref())?;
    let secret_ref = format!("secret_{}", random_uuid(&*api.entropy));
    let (secret, masked_key) = seal(&api, &request.api_key, &secret_ref)?;
    let new = NewProviderKey {
        provider: request.provider,
        base_url: request.base_url.map(|url| url.as_str().to_owned()),
        description: request.description,
        models: request.models,
        is_enabled: request.is_enabled,
        masked_key,
        secret_ref,
        secret,
    };
    let created = transact!(api, async |work| {
        let settings = Settings::of_system(work.settings_of(&SettingsOf::System).await?);
        refuse_provider(&settings, &new.provider, "provider")?;
        let id = work.create_provider_key(&new).await?;
        let record = AuditRecord::new("PROVIDER_CREATED", "provider", id, caller.audit_actor());
        work.audit(record.changed(None, audited(&new)));
        Ok(id)
    });
    let id = created.await?;
    let key = super::visible(&api, id, Visibility::All).await?;
    Ok((StatusCode::CREATED, Json(key_body(key))))
}

fn audited(key: &NewProviderKey) -> serde_json::Value {
    json!({
        "provider": key.provider,
        "base_url": key.base_url,
        "description": key.description,
        "models": key.models,
        "is_enabled": key.is_enabled,
        "api_key": REDACTED,
    })
}
