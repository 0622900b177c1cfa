//! POST `/api/v1/users/{id}/reset-password` (also PUT `…/password`).

use api_types::users::{ResetPassword, User as UserBody};
use axum::Json;
use axum::extract::State;
use persistence::AuditRecord;
use serde_json::json;

use super::shape::user_body;
use super::unlock::forget_failures;
use crate::settings::refuse_short_password;
use crate::transact::transact;
use crate::{ApiError, ApiState, Body, Caller, Params, passwords};

/// Gives a user another password
///
/// Their logins end, and failed logins and a lock are cleared.
#[utoipa::path(
    post,
    path = "/api/v1/users/{id}/reset-password",
    tag = "users",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "The user")),
    request_body = ResetPassword,
    responses(
        (status = 200, description = "The user as it is now", body = UserBody),
        (status = 404, description = "`USER_NOT_FOUND`"),
        (status = 409, description = "`USER_DELETED`"),
    ),
)]
pub async fn reset_user_password(
    State(api): State<ApiState>,
    caller: Caller,
    params: Params,
    body: Body,
) -> Result<Json<UserBody>, ApiError> {
    caller.require_admin()?;
    let id = super::user_id(&params)?;
    let request: ResetPassword = body.read()?;
    refuse_short_password(&api, &request.new_password, "new_password").await?;
    let hash = passwords::hash(&api, &request.new_password).await?;
    let reset = transact!(api, async |work| {
        let before = super::locked_living(work, &id).await?;
        work.set_user_password(&id, &hash, request.force_change).await?;
        work.end_sessions_of(&id, None, "password_reset").await?;
        forget_failures(work, &before).await?;
        let state = |must_change| json!({ "password": "[REDACTED]", "must_change_password": must_change });
        let record = AuditRecord::new("USER_PASSWORD_RESET", "user", &id, caller.audit_actor());
        work.audit(record.changed(state(before.must_change_password), state(request.force_change)));
        Ok(user_body(super::locked(work, &id).await?, work.now()))
    });
    Ok(Json(reset.await?))
}
