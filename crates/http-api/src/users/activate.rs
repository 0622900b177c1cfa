//! PUT `/api/v1/users/{id}/activate`.

use api_types::users::User as UserBody;
use axum::Json;
use axum::extract::State;
use kernel::ErrorCode;
use persistence::AuditRecord;

use super::shape::{audited, user_body};
use super::unlock::forget_failures;
use crate::transact::transact;
use crate::{ApiError, ApiState, Caller, Params};

/// Makes a suspended user active again
///
/// Clears failed logins and a lock. Logins that ended stay ended, and a freeze of their agents stays until it is lifted.
#[utoipa::path(
    put,
    path = "/api/v1/users/{id}/activate",
    tag = "users",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "The user")),
    responses(
        (status = 200, description = "Active", body = UserBody),
        (status = 404, description = "`USER_NOT_FOUND`"),
        (status = 409, description = "`USER_ALREADY_ACTIVE`, `USER_DELETED`"),
    ),
)]
pub async fn activate_user(
    State(api): State<ApiState>,
    caller: Caller,
    params: Params,
) -> Result<Json<UserBody>, ApiError> {
    caller.require_admin()?;
    let id = super::user_id(&params)?;
    let activated = transact!(api, async |work| {
        let before = super::locked_living(work, &id).await?;
        if before.is_active {
            return Err(ErrorCode::UserAlreadyActive.into());
        }
        work.activate_user(&id).await?;
        forget_failures(work, &before).await?;
        let after = super::locked(work, &id).await?;
        let record = AuditRecord::new("USER_ACTIVATED", "user", &id, caller.audit_actor());
        work.audit(record.changed(audited(&before), audited(&after)));
        Ok(user_body(after, work.now()))
    });
    Ok(Json(activated.await?))
}
