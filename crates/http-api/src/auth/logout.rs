//! POST `/api/v1/auth/logout`.

use api_types::auth::RefreshTokenBody;
use auth::{TokenHash, api_token, session};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use kernel::{ErrorCode, Secret, SessionId};

use crate::bearer::bearer;
use crate::transact::transact;
use crate::{ApiError, ApiState, Body, RequestContext};

/// Logs out
///
/// Ends the login that an access token, a refresh token or both belong to: all its tokens die at once. Expired and unknown
/// tokens are taken too, since whoever shows them is logged out either way.
#[utoipa::path(
    post,
    path = "/api/v1/auth/logout",
    tag = "auth",
    params(("Authorization" = Option<String>, Header, description = "`Bearer <access token or refresh token>`")),
    request_body = Option<RefreshTokenBody>,
    responses(
        (status = 204, description = "Logged out, now or before"),
        (status = 401, description = "`AUTH_MISSING_TOKEN`: nothing was presented"),
        (status = 403, description = "`AUTH_SESSION_REQUIRED`: an API token has no login; revoke it instead"),
    ),
)]
pub async fn logout(
    State(api): State<ApiState>,
    context: RequestContext,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, ApiError> {
    let request: RefreshTokenBody = body.read()?;
    let in_header = bearer(&headers);
    let in_body = request.refresh_token.as_ref().map(Secret::expose).map(String::as_str);
    if in_header.is_some_and(api_token::looks_like) {
        return Err(ErrorCode::AuthSessionRequired.into());
    }
    if in_header.or(in_body).is_none() {
        return Err(ErrorCode::AuthMissingToken.into());
    }
    let mut sessions = Vec::new();
    for token in [in_header, in_body].into_iter().flatten() {
        sessions.extend(session_of(&api, &context, token).await?);
    }
    if !sessions.is_empty() {
        transact!(api, async |work| {
            for session in &sessions {
                work.end_session(session, "logout").await?;
            }
            Ok(())
        })
        .await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// The login a token belongs to, be it an access or a refresh token.
async fn session_of(api: &ApiState, context: &RequestContext, token: &str) -> Result<Option<SessionId>, ApiError> {
    if let Some(access) = session::verify_signed(&api.keys.sessions, token) {
        context.set_actor(access.user.as_str());
        return Ok(Some(access.session));
    }
    let stored = api.store.refresh_token(&TokenHash::of(token)).await?;
    Ok(stored.map(|stored| {
        context.set_actor(stored.user.as_str());
        stored.session
    }))
}
