//! PUT `/api/v1/users/{id}`.

use api_types::users::{UpdateUser, User as UserBody};
use axum::Json;
use axum::extract::State;
use kernel::ErrorCode;
use persistence::AuditRecord;

use super::create::taken;
use super::shape::{audited, user_body};
use crate::transact::transact;
use crate::{ApiError, ApiState, Body, Caller, Params};

/// Renames a user
///
/// What is not given stays. With another e-mail the user logs in by that one.
#[utoipa::path(
    put,
    path = "/api/v1/users/{id}",
    tag = "users",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "The user")),
    request_body(content = UpdateUser, example = json!({"email": "ada@example.com"})),
    responses(
        (status = 200, description = "The user as it is now", body = UserBody),
        (status = 404, description = "`USER_NOT_FOUND`"),
        (status = 409, description = "`USER_EXISTS`; `fields` names `username`, `email` or both; `USER_DELETED`"),
    ),
)]
pub async fn update_user(
    State(api): State<ApiState>,
    caller: Caller,
    params: Params,
    body: Body,
) -> Result<Json<UserBody>, ApiError> {
    caller.require_admin()?;
    let id = super::user_id(&params)?;
    let request: UpdateUser = body.read()?;
    let updated = transact!(api, async |work| {
        let before = super::locked_living(work, &id).await?;
        if audited(&before) == audited(&wished(&before, &request)) {
            return Ok(user_body(before, work.now()));
        }
        let renamed = work.rename_user(&id, request.username.as_deref(), request.email.as_deref()).await?;
        let after = renamed.map_err(taken)?.ok_or(ErrorCode::UserNotFound)?;
        let record = AuditRecord::new("USER_UPDATED", "user", &id, caller.audit_actor());
        work.audit(record.changed(audited(&before), audited(&after)));
        // Read back: failed logins count by e-mail, so another e-mail has other ones
        Ok(user_body(super::locked(work, &id).await?, work.now()))
    });
    Ok(Json(updated.await?))
}

fn wished(user: &persistence::User, request: &UpdateUser) -> persistence::User {
    let mut user = user.clone();
    user.username = request.username.clone().unwrap_or(user.username);
    user.email = request.email.clone().or(user.email);
    user
}
