//! DELETE `/api/v1/projects/{id}`.

use api_types::projects::DeletedProject;
use axum::Json;
use axum::extract::State;
use kernel::{ErrorCode, ProjectId};
use persistence::AuditRecord;
use serde_json::json;

use super::shape::audited;
use crate::limits::end_limits_of_project;
use crate::transact::transact;
use crate::{ApiError, ApiState, Caller, Params, Query};

/// Deletes a project
///
/// One without agents, unless `force`: then its agents are in no project. Limits for it end. The one that stands for the whole installation
/// stays.
#[utoipa::path(
    delete,
    path = "/api/v1/projects/{id}",
    tag = "projects",
    security(("bearer" = [])),
    params(
        ("id" = String, Path, description = "The project"),
        ("force" = Option<bool>, Query, description = "Whether its agents may be moved to no project"),
    ),
    responses(
        (status = 200, description = "Deleted", body = DeletedProject),
        (status = 404, description = "`PROJECT_NOT_FOUND`"),
        (status = 409, description = "`PROJECT_IN_USE` with `details.agent_count`, `PROJECT_PROTECTED`"),
    ),
)]
pub async fn delete_project(
    State(api): State<ApiState>,
    caller: Caller,
    params: Params,
    query: Query,
) -> Result<Json<DeletedProject>, ApiError> {
    caller.require_admin()?;
    let mut q = query.reader();
    let force = q.flag("force").unwrap_or(false);
    let force = q.finish(force)?;
    let id = params.project_id("id")?;
    let before = api.store.project(&id).await?.ok_or(ErrorCode::ProjectNotFound)?;
    if id.as_str() == ProjectId::MASTER {
        return Err(ErrorCode::ProjectProtected.into());
    }
    let deleted = transact!(api, async |work| {
        // The project first, so that neither agents nor limits come into it while others are moved out
        if !work.lock_project(&id).await? {
            return Err(ErrorCode::ProjectNotFound.into());
        }
        end_limits_of_project(work, &caller, &id).await?;
        let mut agents_left = work.delete_project(&id).await?.ok_or(ErrorCode::ProjectNotFound)?;
        let mut agents_moved = 0;
        if agents_left > 0 && force {
            agents_moved = work.move_agents_out_of(&id).await?;
            agents_left = work.delete_project(&id).await?.ok_or(ErrorCode::ProjectNotFound)?;
        }
        if agents_left > 0 {
            let in_use = ApiError::from(ErrorCode::ProjectInUse).details(json!({ "agent_count": agents_left }));
            return Err(in_use.into());
        }
        let mut record = AuditRecord::new("PROJECT_DELETED", "project", &id, caller.audit_actor());
        record.metadata = json!({ "agents_moved": agents_moved });
        work.audit(record.changed(audited(&before.name, before.description.as_deref()), None));
        Ok(agents_moved)
    });
    let agents_moved = deleted.await?;
    api.directory.clear();
    Ok(Json(DeletedProject { id, deleted: true, agents_moved }))
}
