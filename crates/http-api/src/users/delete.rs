//! DELETE `/api/v1/users/{id}`.

use api_types::users::{DeletedUser, ReassignedAgent};
use axum::Json;
use axum::extract::State;
use kernel::UserId;
use persistence::{AuditRecord, Work};
use serde_json::json;

use super::shape::{audited, user_body};
use crate::budget_requests::note_cancelled;
use crate::transact::{Stop, transact};
use crate::{ApiError, ApiState, Caller, Params, Query};

/// What stands on budget requests.
const REASON: &str = "the requester was deleted";

/// Deletes a user
///
/// The user stays on record, inactive and under their names. Their logins and API tokens end, their pending budget
/// requests are cancelled, and their agents go to `reassign_to`. Deleting again changes nothing.
#[utoipa::path(
    delete,
    path = "/api/v1/users/{id}",
    tag = "users",
    security(("bearer" = [])),
    params(
        ("id" = String, Path, description = "The user"),
        ("reassign_to" = Option<String>, Query, description = "An active user who gets the agents; the caller if none"),
    ),
    responses(
        (status = 200, description = "Deleted, now or before", body = DeletedUser),
        (status = 400, description = "`VALIDATION_ERROR`: `reassign_to` is not another active user"),
        (status = 404, description = "`USER_NOT_FOUND`"),
        (status = 409, description = "`SELF_MODIFICATION_FORBIDDEN`, `LAST_ADMIN`"),
    ),
)]
pub async fn delete_user(
    State(api): State<ApiState>,
    caller: Caller,
    params: Params,
    query: Query,
) -> Result<Json<DeletedUser>, ApiError> {
    caller.require_admin()?;
    let id = super::user_id(&params)?;
    let mut q = query.reader();
    let heir = q.text("reassign_to", 255);
    let heir = q.finish(heir)?.map_or_else(|| caller.user.clone(), UserId::new);
    let deleted = transact!(api, async |work| {
        let admins = work.lock_active_admins().await?;
        let before = super::locked(work, &id).await?;
        super::refuse_self(&caller, &id)?;
        if before.deleted_at.is_some() {
            return Ok(body(user_body(before, work.now()), Vec::new(), 0, 0));
        }
        super::refuse_last_admin(&admins, &id)?;
        super::refuse_fallen(&caller, &admins)?;
        check_heir(work, &id, &heir).await?;
        let moved = work.reassign_agents(&id, &heir).await?;
        work.delete_user(&id).await?;
        // Tokens before sessions, as whoever notes their last uses takes them
        let tokens = work.revoke_api_tokens_of_user(&id).await?;
        work.end_sessions_of(&id, None, "user_deleted").await?;
        let cancelled = work.cancel_requests_of(&id, &caller.user, REASON).await?;
        let after = super::locked(work, &id).await?;
        let mut record = AuditRecord::new("USER_DELETED", "user", &id, caller.audit_actor())
            .changed(audited(&before), audited(&after));
        let agents: Vec<i64> = moved.iter().map(|agent| agent.id.0).collect();
        record.metadata = json!({ "reassigned_to": heir, "agents": agents, "api_tokens_revoked": tokens });
        work.audit(record);
        note_cancelled(work, &caller, &cancelled);
        let agents = moved.into_iter().map(|agent| ReassignedAgent {
            agent_id: agent.id,
            name: agent.name,
            new_owner_id: heir.clone(),
            new_project_id: agent.project,
        });
        Ok(body(user_body(after, work.now()), agents.collect(), cancelled.len(), tokens.len()))
    });
    let deleted = deleted.await?;
    for agent in &deleted.agents_affected {
        api.directory.forget(agent.agent_id);
    }
    Ok(Json(deleted))
}

/// Agents go to somebody who is there to look after them.
async fn check_heir(work: &mut Work, deleted: &UserId, heir: &UserId) -> Result<(), Stop> {
    let found = work.hold_user(heir).await?;
    if deleted != heir && found.is_some_and(|user| user.is_active) {
        return Ok(());
    }
    Err(ApiError::field("reassign_to", "must be another active user").into())
}

fn body(
    user: api_types::users::User,
    agents: Vec<ReassignedAgent>,
    requests_cancelled: usize,
    tokens_revoked: usize,
) -> DeletedUser {
    DeletedUser {
        user,
        success: true,
        agents_count: agents.len() as u64,
        agents_affected: agents,
        budget_requests_cancelled: requests_cancelled as u64,
        api_tokens_revoked: tokens_revoked as u64,
    }
}
