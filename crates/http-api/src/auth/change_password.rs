//! POST `/api/v1/auth/change-password`.

use api_types::auth::ChangePassword;
use axum::extract::State;
use axum::http::StatusCode;
use kernel::{ErrorCode, Secret, SessionId};
use persistence::{AuditRecord, LoginRecord};
use serde_json::json;

use super::attempt;
use crate::settings::refuse_short_password;
use crate::transact::transact;
use crate::{ApiError, ApiState, Body, Caller, RequestContext, passwords};

/// Changes one's own password
///
/// All other logins of the user end. A wrong current password counts as a failed login.
#[utoipa::path(
    post,
    path = "/api/v1/auth/change-password",
    tag = "auth",
    security(("bearer" = [])),
    request_body = ChangePassword,
    responses(
        (status = 204, description = "Changed"),
        (status = 401, description = "`AUTH_INVALID_CREDENTIALS`: the current password is wrong"),
        (status = 403, description = "`AUTH_SESSION_REQUIRED` (not with an API token), `AUTH_ACCOUNT_LOCKED`"),
    ),
)]
pub async fn change_password(
    State(api): State<ApiState>,
    caller: Caller,
    context: RequestContext,
    body: Body,
) -> Result<StatusCode, ApiError> {
    let session = caller.require_session()?;
    let request: ChangePassword = body.read()?;
    refuse_short_password(&api, &request.new_password, "new_password").await?;
    // Failures count by e-mail; whoever has none cannot log in, but may have been given a session
    let email = caller.email.as_deref().unwrap_or_else(|| caller.user.as_str());
    attempt::admit(&api, email, &context).await?;
    for _ in 0..attempt::ATTEMPTS {
        let record = api.store.login_record_of(&caller.user).await?.ok_or(ErrorCode::AuthInvalidToken)?;
        if !passwords::verify(&api, &request.current_password, Some(&record.password_hash)).await? {
            let user = Some(&caller.user);
            return Err(attempt::failed(&api, email, user, &context, caller.audit_actor()).await?);
        }
        let new = passwords::hash(&api, &request.new_password).await?;
        if store(&api, &caller, session, email, &record, &new).await? {
            return Ok(StatusCode::NO_CONTENT);
        }
    }
    Err(ApiError::unavailable("the password keeps changing"))
}

/// Stores the new password; false if somebody else changed it while it was being checked.
async fn store(
    api: &ApiState,
    caller: &Caller,
    session: &SessionId,
    email: &str,
    checked: &LoginRecord,
    new: &Secret<String>,
) -> Result<bool, ApiError> {
    transact!(api, async |work| {
        let found = work.login_record_for_update(&caller.user).await?.ok_or(ErrorCode::AuthInvalidToken)?;
        if found.password_hash.expose() != checked.password_hash.expose() {
            return Ok(false);
        }
        attempt::succeeded(api, work, email).await?;
        work.set_user_password(&caller.user, new, false).await?;
        work.end_sessions_of(&caller.user, Some(session), "password_changed").await?;
        let redacted = || json!({ "password": "[REDACTED]" });
        let record = AuditRecord::new("USER_PASSWORD_CHANGED", "user", &caller.user, caller.audit_actor());
        work.audit(record.changed(redacted(), redacted()));
        Ok(true)
    })
    .await
}
