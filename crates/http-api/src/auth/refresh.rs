//! POST `/api/v1/auth/refresh`.

use api_types::auth::{RefreshTokenBody, Session};
use auth::TokenHash;
use auth::refresh::RefreshDecision;
use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use kernel::{ErrorCode, Secret};
use persistence::SessionOrigin;
use serde_json::json;

use super::session;
use crate::bearer::bearer;
use crate::caller::{disabled, session_origin};
use crate::transact::transact;
use crate::{ApiError, ApiState, Body, RequestContext};

/// Exchanges a refresh token
///
/// For a new pair of the same login; the old refresh token is then spent. Shown again within ten seconds it gets a further
/// pair (two tabs, a broken connection). Shown again later it must have been copied, and the whole login ends.
#[utoipa::path(
    post,
    path = "/api/v1/auth/refresh",
    tag = "auth",
    params(("Authorization" = Option<String>, Header, description = "`Bearer <refresh token>`, unless in the body")),
    request_body = Option<RefreshTokenBody>,
    responses(
        (status = 200, description = "Both tokens are new", body = Session),
        (status = 401, description = "`AUTH_MISSING_TOKEN`, `AUTH_INVALID_TOKEN`, `AUTH_TOKEN_EXPIRED` with \
            `details.expired_at`, `AUTH_TOKEN_REVOKED` (the login ended), `AUTH_REFRESH_REUSED`, `AUTH_ACCOUNT_DISABLED`"),
    ),
)]
pub async fn refresh_session(
    State(api): State<ApiState>,
    context: RequestContext,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Session>, ApiError> {
    let request: RefreshTokenBody = body.read()?;
    let hash = presented(&request, &headers).ok_or(ErrorCode::AuthMissingToken)?;
    exchange(&api, &context, &session_origin(&context, &headers), &hash).await?.map(Json)
}

/// The hash of the refresh token in the body or, failing that, in the header.
fn presented(request: &RefreshTokenBody, headers: &HeaderMap) -> Option<TokenHash> {
    let in_body = request.refresh_token.as_ref().map(Secret::expose).map(String::as_str);
    in_body.or_else(|| bearer(headers)).map(TokenHash::of)
}

async fn exchange(
    api: &ApiState,
    context: &RequestContext,
    origin: &SessionOrigin,
    hash: &TokenHash,
) -> Result<Result<Session, ApiError>, ApiError> {
    let known = api.store.refresh_token(hash).await?.ok_or(ErrorCode::AuthInvalidToken)?;
    context.set_actor(known.user.as_str());
    transact!(api, async |work| {
        // The user before the session, as everywhere: suspending somebody takes them in this order
        let user = work.hold_user(&known.user).await?.ok_or(ErrorCode::AuthInvalidToken)?;
        let stored = work.refresh_token_for_update(hash).await?.ok_or(ErrorCode::AuthInvalidToken)?;
        let now = work.now();
        let decision = stored.record.decide(now);
        if let RefreshDecision::Expired { at } = decision {
            let details = json!({ "expired_at": at.to_rfc3339() });
            return Err(ApiError::from(ErrorCode::AuthTokenExpired).details(details).into());
        }
        if !user.is_active {
            return Err(disabled().into());
        }
        match decision {
            RefreshDecision::Rotate => {
                work.spend_refresh_token(hash).await?;
            }
            RefreshDecision::GraceRotate => {}
            RefreshDecision::Reused => {
                work.end_session(&stored.session, "refresh_token_reused").await?;
                tracing::warn!(user = %user.id, session = %stored.session, "a spent refresh token was shown again");
                // A value, not a refusal: that the login ended must stay
                return Ok(Err(ErrorCode::AuthRefreshReused.into()));
            }
            RefreshDecision::Ended { .. } | RefreshDecision::Expired { .. } => {
                return Err(ErrorCode::AuthTokenRevoked.into());
            }
        }
        let pair = session::pair(api, work, &user, &stored.session).await?;
        work.continue_session(&stored.session, origin).await?;
        work.add_refresh_token(&stored.session, &pair.refresh_hash, pair.refresh_expires_at).await?;
        Ok(Ok(session::body(&pair, &user, now)))
    })
    .await
}
