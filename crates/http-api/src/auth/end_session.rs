//! DELETE `/api/v1/auth/sessions/{id}`.

use axum::extract::State;
use axum::http::StatusCode;
use kernel::{ErrorCode, SessionId};
use persistence::AuditRecord;

use crate::transact::transact;
use crate::{ApiError, ApiState, Caller, Params};

/// Ends one of one's own logins
///
/// All its tokens die at once. Needs a login, which may be the one that ends.
#[utoipa::path(
    delete,
    path = "/api/v1/auth/sessions/{id}",
    tag = "auth",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "The login")),
    responses(
        (status = 204, description = "Ended"),
        (status = 403, description = "`AUTH_SESSION_REQUIRED`: not with an API token"),
        (status = 404, description = "`TOKEN_NOT_FOUND`: no login of one's own, or it has ended"),
    ),
)]
pub async fn end_session(State(api): State<ApiState>, caller: Caller, params: Params) -> Result<StatusCode, ApiError> {
    caller.require_session()?;
    let id = params.id("id", SessionId::new)?;
    let ended = transact!(api, async |work| {
        if !work.end_session_of(&caller.user, &id, "revoked").await? {
            return Err(ApiError::new(ErrorCode::TokenNotFound, "login not found").into());
        }
        work.audit(AuditRecord::new("SESSION_REVOKED", "session", &id, caller.audit_actor()));
        Ok(())
    });
    ended.await?;
    Ok(StatusCode::NO_CONTENT)
}
