//! GET `/api/v1/keys`: a project's provider key, in the clear, for a person who works on the project.
//!
//! Only for API tokens that were made for the project. An agent spends borrowed money and has a way of its own to its
//! key, so its tokens are refused here.

#[cfg(test)]
mod tests;

use api_types::tokens::FetchedKey;
use axum::Json;
use axum::extract::State;
use kernel::{ErrorCode, ProjectId, ProviderKeyId};
use persistence::{ApiToken, AuditRecord, Freeze, ProjectKey, SealedProviderKey, Work};
use serde_json::json;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::agents::visible_to;
use crate::budget::key::{base_url, open};
use crate::budget::scope_body;
use crate::transact::{Stop, transact};
use crate::{ApiError, ApiState, Caller, Query};

/// How agents get their keys; what a refused agent token is told.
const AGENT_PROTOCOL: &str = "005";

/// The routes of this module.
pub(crate) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(fetch_key))
}

/// Fetches a project's provider key
///
/// The key in the clear, recorded in the audit log. Needs an API token that was made for the project.
#[utoipa::path(
    get,
    path = "/api/v1/keys",
    tag = "providers",
    security(("bearer" = [])),
    params(("provider" = Option<String>, Query, description = "The kind of key; the first one assigned unless given")),
    responses(
        (status = 200, description = "The secret", body = FetchedKey),
        (status = 400, description = "`TOKEN_HAS_NO_PROJECT`"),
        (status = 403, description = "In this order: `API_TOKEN_REQUIRED` (a login was used), `AGENT_TOKEN_NOT_ALLOWED` \
            (the token is an agent's) with `protocol`; after 429 and 400 `SCOPE_FROZEN`, `PROVIDER_KEY_DISABLED`"),
        (status = 404, description = "`NO_PROVIDER_KEY`"),
        (status = 429, description = "`RATE_LIMIT_EXCEEDED`, by token"),
        (status = 503, description = "`CRYPTO_UNAVAILABLE`: the secret cannot be opened"),
    ),
)]
pub async fn fetch_key(
    State(api): State<ApiState>,
    caller: Caller,
    query: Query,
) -> Result<Json<FetchedKey>, ApiError> {
    let token = caller.require_api_token()?;
    if token.agent.is_some() {
        return Err(ApiError::from(ErrorCode::AgentTokenNotAllowed).with("protocol", AGENT_PROTOCOL));
    }
    api.limits.keys_read(token.id)?;
    let project = token.project.as_ref().ok_or(ErrorCode::TokenHasNoProject)?;
    let mut q = query.reader();
    let provider = q.text("provider", 50);
    let provider = q.finish(provider)?;
    refuse_frozen(api.store.freeze_over_owner(&token.user, project).await?)?;
    refuse_stranger(&api, &caller, token, project).await?;
    // Opened before it is recorded that it was handed out, and again where it was replaced meanwhile
    for _ in 0..3 {
        let key = choose(&api.store.project_keys(project).await?, provider.as_deref())?;
        let Some(sealed) = api.store.sealed_provider_key(key).await? else { continue };
        refuse_disabled(&sealed)?;
        let secret = open(&api, &sealed)?;
        if record(&api, &caller, token, project, provider.as_deref(), &sealed).await? {
            let base_url = base_url(&sealed);
            return Ok(Json(FetchedKey { provider: sealed.provider, api_key: secret.expose().clone(), base_url }));
        }
    }
    Err(ApiError::unavailable("the project's keys keep changing"))
}

/// A token has the rights that its owner has now: who is no longer in the project has no business with its key, unless an
/// admin made the token for them.
async fn refuse_stranger(
    api: &ApiState,
    caller: &Caller,
    token: &ApiToken,
    project: &ProjectId,
) -> Result<(), ApiError> {
    let granted = token.created_by != token.user;
    if granted || api.store.project_is_visible(project, &visible_to(caller)).await? {
        return Ok(());
    }
    Err(ErrorCode::NoProviderKey.into())
}

/// The project's key of this kind, or the first one that was assigned to it.
fn choose(keys: &[ProjectKey], provider: Option<&str>) -> Result<ProviderKeyId, ApiError> {
    let key = keys.iter().find(|key| provider.is_none_or(|kind| kind == key.provider));
    key.map(|key| key.key).ok_or_else(|| ErrorCode::NoProviderKey.into())
}

/// Notes that the key is handed out; false if it is no longer the one to hand out.
async fn record(
    api: &ApiState,
    caller: &Caller,
    token: &ApiToken,
    project: &ProjectId,
    provider: Option<&str>,
    opened: &SealedProviderKey,
) -> Result<bool, ApiError> {
    transact!(api, async |work| {
        let current = work.sealed_provider_key_for_update(opened.id).await?;
        work.touch_provider_keys(&[(opened.id, work.now())]).await?;
        check_again(work, token, project).await?;
        if current.as_ref() != Some(opened) || choose(&work.project_keys(project).await?, provider)? != opened.id {
            return Ok(false);
        }
        let mut record = AuditRecord::new("KEY_FETCHED", "provider_key", opened.id, caller.audit_actor());
        record.metadata = json!({ "token_id": token.id, "project_id": project, "provider": opened.provider });
        work.audit(record);
        Ok(true)
    })
    .await
}

/// From the answer to a freeze on nobody in it gets a key, so what was seen before the key was opened is looked at again
/// with the door closed.
async fn check_again(work: &mut Work, token: &ApiToken, project: &ProjectId) -> Result<(), Stop> {
    work.hold_directory().await?;
    refuse_frozen(work.freeze_over_owner(&token.user, project).await?)?;
    Ok(())
}

fn refuse_frozen(freeze: Option<Freeze>) -> Result<(), ApiError> {
    let Some(freeze) = freeze else { return Ok(()) };
    let details = json!({
        "scope": scope_body(&freeze.scope),
        "reason": freeze.reason,
        "frozen_at": freeze.frozen_at.millis(),
    });
    Err(ApiError::new(ErrorCode::ScopeFrozen, format!("frozen: {}", freeze.reason)).details(details))
}

fn refuse_disabled(key: &SealedProviderKey) -> Result<(), ApiError> {
    if key.is_enabled { Ok(()) } else { Err(ErrorCode::ProviderKeyDisabled.into()) }
}
