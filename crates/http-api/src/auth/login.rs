//! POST `/api/v1/auth/login`.

use api_types::auth::{Login, Session};
use auth::TokenHash;
use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use kernel::{ErrorCode, Secret, SessionId};
use persistence::{LoginRecord, SessionOrigin};
use serde_json::json;

use super::{attempt, session};
use crate::caller::{audit_actor, session_origin};
use crate::transact::transact;
use crate::{ApiError, ApiState, Body, RequestContext, passwords};

/// Logs in
///
/// Starts a login with an access token and a refresh token. Ten failures in a row for an e-mail lock it for half an hour,
/// whether or not somebody has it; under a lock the right password is refused too.
#[utoipa::path(
    post,
    path = "/api/v1/auth/login",
    tag = "auth",
    request_body(content = Login, example = json!({"email": "admin@example.com", "password": "correct horse"})),
    responses(
        (status = 200, description = "Logged in", body = Session),
        (status = 401, description = "`AUTH_INVALID_CREDENTIALS`: unknown e-mail or wrong password"),
        (status = 403, description = "`AUTH_ACCOUNT_LOCKED` with `details.retry_after` (s) and `details.locked_until` \
            (ms), or `AUTH_ACCOUNT_DISABLED` (right password, user suspended or deleted) with `details.user_id`"),
        (status = 429, description = "`RATE_LIMIT_EXCEEDED`: too many failures from this address"),
    ),
)]
pub async fn login(
    State(api): State<ApiState>,
    context: RequestContext,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Session>, ApiError> {
    let request: Login = body.read()?;
    attempt::admit(&api, &request.email, &context).await?;
    for _ in 0..attempt::ATTEMPTS {
        let record = api.store.login_record(&request.email).await?;
        let stored = record.as_ref().map(|record| &record.password_hash);
        let right = passwords::verify(&api, &request.password, stored).await?;
        let Some(record) = record.as_ref().filter(|_| right) else {
            let user = record.map(|record| record.user.id);
            let actor = audit_actor(&context, &headers);
            return Err(attempt::failed(&api, &request.email, user.as_ref(), &context, &actor).await?);
        };
        let origin = session_origin(&context, &headers);
        if let Some(session) = open(&api, &request, record, &origin).await? {
            context.set_actor(record.user.id.as_str());
            return Ok(Json(session));
        }
    }
    Err(ApiError::unavailable("the password keeps changing"))
}

/// Begins the session; `None` if the password was changed while it was being checked.
async fn open(
    api: &ApiState,
    request: &Login,
    checked: &LoginRecord,
    origin: &SessionOrigin,
) -> Result<Option<Session>, ApiError> {
    let rehashed = rehash(api, request, checked).await?;
    let id = SessionId::random(&*api.entropy);
    transact!(api, async |work| {
        let Some(found) = work.login_record_for_update(&checked.user.id).await? else { return Ok(None) };
        if found.password_hash.expose() != checked.password_hash.expose() {
            return Ok(None);
        }
        attempt::succeeded(api, work, &request.email).await?;
        let user = found.user;
        if !user.is_active {
            let error = ApiError::from(ErrorCode::AuthAccountDisabled).details(json!({ "user_id": user.id }));
            return Err(error.into());
        }
        if let Some(hash) = &rehashed {
            work.set_user_password(&user.id, hash, user.must_change_password).await?;
        }
        let now = work.now();
        let pair = session::pair(api, work, &user, &id).await?;
        let hash: &TokenHash = &pair.refresh_hash;
        work.create_session(&id, &user.id, origin, hash, pair.refresh_expires_at).await?;
        work.touch_last_login(&user.id).await?;
        Ok(Some(session::body(&pair, &user, now)))
    })
    .await
}

/// The password hashed anew, if it was hashed at another cost than is now asked for.
async fn rehash(api: &ApiState, request: &Login, checked: &LoginRecord) -> Result<Option<Secret<String>>, ApiError> {
    if checked.user.is_active && api.hasher.needs_rehash(checked.password_hash.expose()) {
        return passwords::hash(api, &request.password).await.map(Some);
    }
    Ok(None)
}
