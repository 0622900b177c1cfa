//! POST `/api/v1/users/{id}/unlock`.

use api_types::users::User as UserBody;
use axum::Json;
use axum::extract::State;
use kernel::Timestamp;
use persistence::{AuditRecord, User, Work};
use serde_json::json;

use super::shape::user_body;
use crate::transact::{Stop, transact};
use crate::{ApiError, ApiState, Caller, Params};

/// Lets a user log in again
///
/// Clears failed logins and the lock they set. May be repeated.
#[utoipa::path(
    post,
    path = "/api/v1/users/{id}/unlock",
    tag = "users",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "The user")),
    responses(
        (status = 200, description = "Not locked", body = UserBody),
        (status = 404, description = "`USER_NOT_FOUND`"),
    ),
)]
pub async fn unlock_user(
    State(api): State<ApiState>,
    caller: Caller,
    params: Params,
) -> Result<Json<UserBody>, ApiError> {
    caller.require_admin()?;
    let id = super::user_id(&params)?;
    let unlocked = transact!(api, async |work| {
        let before = super::locked(work, &id).await?;
        forget_failures(work, &before).await?;
        let after = super::locked(work, &id).await?;
        let state = |user: &User| json!({ "locked_until": user.locked_until.map(Timestamp::millis) });
        let record = AuditRecord::new("USER_UNLOCKED", "user", &id, caller.audit_actor());
        work.audit(record.changed(state(&before), state(&after)));
        Ok(user_body(after, work.now()))
    });
    Ok(Json(unlocked.await?))
}

/// Failures are counted by e-mail, or by id for the few without one.
pub(super) async fn forget_failures(work: &mut Work, user: &User) -> Result<(), Stop> {
    work.clear_login_failures(user.email.as_deref().unwrap_or_else(|| user.id.as_str())).await?;
    Ok(())
}
