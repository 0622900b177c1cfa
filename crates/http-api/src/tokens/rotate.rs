//! POST and PUT `/api/v1/api-tokens/{id}/rotate`.

use api_types::tokens::RotatedApiToken;
use auth::api_token::{NewApiToken, Scope};
use axum::Json;
use axum::extract::State;
use kernel::{ApiTokenId, ErrorCode, Timestamp};
use persistence::{ApiToken, AuditRecord, NewApiTokenRow, Work};
use serde_json::json;

use super::issue::{capped, outlives};
use super::shape::{audited, issued_body};
use crate::transact::{Stop, transact};
use crate::{ApiError, ApiState, Caller, Params};

/// Replaces an API token
///
/// By a new one with the same rights, name and end; the old one is refused from now on. Only its owner does it, since only
/// its owner is to have it. Also with PUT.
#[utoipa::path(
    post,
    path = "/api/v1/api-tokens/{id}/rotate",
    tag = "api tokens",
    security(("bearer" = [])),
    params(("id" = i64, Path, description = "The token")),
    responses(
        (status = 200, description = "The new token, in the clear this once", body = RotatedApiToken),
        (status = 403, description = "`ACCESS_DENIED` for an administrator, if it is somebody else's; \
            `INSUFFICIENT_SCOPE`, `AGENT_TOKEN_NOT_ALLOWED`: it can do more, or lasts longer, than the calling token"),
        (status = 404, description = "`TOKEN_NOT_FOUND`, also for somebody else's"),
        (status = 409, description = "`TOKEN_ALREADY_REVOKED`, or run out"),
        (status = 429, description = "`RATE_LIMIT_EXCEEDED`"),
    ),
)]
pub async fn rotate_api_token(
    State(api): State<ApiState>,
    caller: Caller,
    params: Params,
) -> Result<Json<RotatedApiToken>, ApiError> {
    let id = super::token_id(&params)?;
    let known = api.store.api_token(id).await?.ok_or(ErrorCode::TokenNotFound)?;
    caller.require_sight_of(&known.user, ErrorCode::TokenNotFound)?;
    if !caller.owns(&known.user) {
        return Err(ErrorCode::AccessDenied.into());
    }
    let scopes: Option<Vec<Scope>> = known.scopes.iter().map(|text| Scope::parse(text)).collect();
    let scopes = scopes.ok_or_else(|| ApiError::internal("the scopes of an API token cannot be read"))?;
    caller.require_no_less_than(&scopes, known.agent)?;
    refuse_ended(&known, api.clock.now())?;
    api.limits.token_change(&caller.user)?;
    let end = capped(&api, known.expires_at, known.project.as_ref()).await?;
    if outlives(end, caller.latest_end()) {
        let text = "a token replaces none that lasts longer than itself";
        return Err(ApiError::new(ErrorCode::InsufficientScope, text));
    }
    let new = NewApiToken::random(&*api.entropy);
    let rotated = transact!(api, async |work| {
        let before = held(work, &known).await?;
        refuse_ended(&before, work.now())?;
        let after = replace(work, &before, &new, end).await?;
        let mut record = AuditRecord::new("API_TOKEN_ROTATED", "api_token", after.id, caller.audit_actor());
        record.metadata = json!({ "rotated_from": before.id });
        work.audit(record.changed(audited(&before), audited(&after)));
        Ok(RotatedApiToken { issued: issued_body(after, &new.token, work.now()), rotated_from: before.id })
    });
    Ok(Json(rotated.await?))
}

/// The token, which nobody else changes, whose owner and agent stay what they are until this work ends: what ends their
/// tokens must not miss the new one.
async fn held(work: &mut Work, known: &ApiToken) -> Result<ApiToken, Stop> {
    work.hold_user(&known.user).await?;
    if let Some(agent) = known.agent {
        work.agent_for_update(agent).await?;
    }
    work.api_token_for_update(known.id).await?.ok_or_else(|| ErrorCode::TokenNotFound.into())
}

/// The old one ends as the new one begins.
async fn replace(
    work: &mut Work,
    before: &ApiToken,
    new: &NewApiToken,
    end: Option<Timestamp>,
) -> Result<ApiToken, Stop> {
    work.revoke_api_token(before.id).await?;
    let row = NewApiTokenRow {
        hash: new.hash.clone(),
        token_prefix: new.token_prefix.clone(),
        user: before.user.clone(),
        project: before.project.clone(),
        agent: before.agent,
        name: before.name.clone(),
        description: before.description.clone(),
        provider: before.provider.clone(),
        scopes: before.scopes.clone(),
        created_by: before.created_by.clone(),
        expires_at: end,
    };
    let id: ApiTokenId = work.create_api_token(&row).await?;
    work.api_token_for_update(id).await?.ok_or_else(|| ErrorCode::TokenNotFound.into())
}

/// Only what can be used can be replaced by its like.
fn refuse_ended(token: &ApiToken, now: Timestamp) -> Result<(), ApiError> {
    super::refuse_revoked(token)?;
    if token.is_active(now) {
        return Ok(());
    }
    let details = json!({ "expired_at": token.expires_at.map(Timestamp::millis) });
    Err(ApiError::new(ErrorCode::TokenAlreadyRevoked, "the token has run out; make another one").details(details))
}
