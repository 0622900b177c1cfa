//! PUT `/api/v1/users/{id}/suspend`.

use api_types::users::{SuspendUser, User as UserBody};
use axum::Json;
use axum::extract::State;
use kernel::{ErrorCode, UserId};
use ledger::Scope;
use persistence::{AuditRecord, Work};
use serde_json::json;

use super::shape::{audited, user_body};
use crate::control::freeze;
use crate::transact::{Stop, transact};
use crate::{ApiError, ApiState, Body, Caller, Params};

/// The longest reason of a freeze; that of a suspension may be longer.
const MAX_FREEZE_REASON_CHARS: usize = 500;

/// Suspends a user
///
/// Their logins end and their API tokens are refused while it lasts. With `freeze_agents` their agents get no more money
/// and no keys either, until that freeze is lifted for itself.
#[utoipa::path(
    put,
    path = "/api/v1/users/{id}/suspend",
    tag = "users",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "The user")),
    request_body(content = Option<SuspendUser>, example = json!({"reason": "left the company", "freeze_agents": true})),
    responses(
        (status = 200, description = "Suspended", body = UserBody),
        (status = 404, description = "`USER_NOT_FOUND`"),
        (status = 409, description = "`USER_ALREADY_SUSPENDED`, `SELF_MODIFICATION_FORBIDDEN`, `LAST_ADMIN`, \
            `USER_DELETED`"),
    ),
)]
pub async fn suspend_user(
    State(api): State<ApiState>,
    caller: Caller,
    params: Params,
    body: Body,
) -> Result<Json<UserBody>, ApiError> {
    caller.require_admin()?;
    let id = super::user_id(&params)?;
    let request: SuspendUser = body.read()?;
    let suspended = transact!(api, async |work| {
        let admins = work.lock_active_admins().await?;
        let before = super::locked_living(work, &id).await?;
        super::refuse_self(&caller, &id)?;
        if !before.is_active {
            return Err(ErrorCode::UserAlreadySuspended.into());
        }
        super::refuse_last_admin(&admins, &id)?;
        super::refuse_fallen(&caller, &admins)?;
        work.suspend_user(&id).await?;
        work.end_sessions_of(&id, None, "user_suspended").await?;
        if request.freeze_agents {
            freeze_agents(&api, work, &caller, &id, request.reason.as_deref()).await?;
        }
        let after = super::locked(work, &id).await?;
        let mut record = AuditRecord::new("USER_SUSPENDED", "user", &id, caller.audit_actor())
            .changed(audited(&before), audited(&after));
        record.metadata = json!({ "reason": request.reason, "freeze_agents": request.freeze_agents });
        work.audit(record);
        Ok(user_body(after, work.now()))
    });
    let user = suspended.await?;
    if request.freeze_agents {
        api.directory.clear();
    }
    Ok(Json(user))
}

/// Freezes whatever the user owns. A freeze that is in force already stays as it is.
async fn freeze_agents(
    api: &ApiState,
    work: &mut Work,
    caller: &Caller,
    owner: &UserId,
    reason: Option<&str>,
) -> Result<(), Stop> {
    let reason = reason.unwrap_or("the owner was suspended");
    let reason: String = reason.chars().take(MAX_FREEZE_REASON_CHARS).collect();
    freeze::set(api, work, caller, &Scope::Owner(owner.clone()), &reason).await?;
    Ok(())
}
