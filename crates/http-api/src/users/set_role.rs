//! PUT `/api/v1/users/{id}/role`.

use api_types::users::{SetRole, User as UserBody};
use auth::Role;
use axum::Json;
use axum::extract::State;
use persistence::AuditRecord;

use super::shape::{audited, role_of, user_body};
use crate::transact::transact;
use crate::{ApiError, ApiState, Body, Caller, Params};

/// Gives a user another role
///
/// It holds from the user's next request on.
#[utoipa::path(
    put,
    path = "/api/v1/users/{id}/role",
    tag = "users",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "The user")),
    request_body(content = SetRole, example = json!({"role": "viewer"})),
    responses(
        (status = 200, description = "The user as it is now", body = UserBody),
        (status = 404, description = "`USER_NOT_FOUND`"),
        (status = 409, description = "`SELF_MODIFICATION_FORBIDDEN`, `LAST_ADMIN`, `USER_DELETED`"),
    ),
)]
pub async fn set_user_role(
    State(api): State<ApiState>,
    caller: Caller,
    params: Params,
    body: Body,
) -> Result<Json<UserBody>, ApiError> {
    caller.require_admin()?;
    let id = super::user_id(&params)?;
    let role = role_of(body.read::<SetRole>()?.role);
    let changed = transact!(api, async |work| {
        let admins = work.lock_active_admins().await?;
        let before = super::locked_living(work, &id).await?;
        super::refuse_self(&caller, &id)?;
        if role != Role::Admin {
            super::refuse_last_admin(&admins, &id)?;
        }
        super::refuse_fallen(&caller, &admins)?;
        work.set_user_role(&id, role).await?;
        let after = super::locked(work, &id).await?;
        let record = AuditRecord::new("USER_ROLE_CHANGED", "user", &id, caller.audit_actor());
        work.audit(record.changed(audited(&before), audited(&after)));
        Ok(user_body(after, work.now()))
    });
    Ok(Json(changed.await?))
}
