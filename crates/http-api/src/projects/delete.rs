//! DELETE `/api/v1/projects/{id}`.

use api_types::projects::DeletedProject;
use axum::Json;
use axum::extract::State;
use kernel::{ErrorCode, ProjectId};
use ledger::Scope;
use persistence::{AuditRecord, Work};
use serde_json::json;

use super::shape::audited;
use crate::limits::end_limits_of_project;
use crate::transact::{Stop, transact};
use crate::{ApiError, ApiState, Caller, Params, Query, budgets};

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
    let deleted = transact!(api, async |work| {
        // Locked first, so that no agent comes into it while others are moved out
        let before = work.project_for_update(&id).await?.ok_or(ErrorCode::ProjectNotFound)?;
        if id.as_str() == ProjectId::MASTER {
            return Err(ErrorCode::ProjectProtected.into());
        }
        let agents = work.count_agents(None, Some(&id)).await?;
        if agents > 0 && !force {
            return Err(in_use(agents).into());
        }
        // Before any book of an agent is locked by itself
        end_limits_of_project(work, &caller, &id).await?;
        end_policies(work, &caller, &id).await?;
        let agents_moved = if agents > 0 { work.move_agents_out_of(&id).await? } else { 0 };
        match work.delete_project(&id).await? {
            Some(0) => {}
            Some(left) => return Err(in_use(left).into()),
            None => return Err(ErrorCode::ProjectNotFound.into()),
        }
        lift_freeze(work, &caller, &id).await?;
        let mut record = AuditRecord::new("PROJECT_DELETED", "project", &id, caller.audit_actor());
        record.metadata = json!({ "agents_moved": agents_moved });
        work.audit(record.changed(audited(&before.name, before.description.as_deref()), None));
        Ok(agents_moved)
    });
    let agents_moved = deleted.await?;
    api.directory.clear();
    Ok(Json(DeletedProject { id, deleted: true, agents_moved }))
}

fn in_use(agents: i64) -> ApiError {
    ApiError::from(ErrorCode::ProjectInUse).details(json!({ "agent_count": agents }))
}

/// A budget of what is gone would be a line that nobody can spend on or take away.
async fn end_policies(work: &mut Work, caller: &Caller, project: &ProjectId) -> Result<(), Stop> {
    for id in work.policies_of_project(project).await? {
        let Some(no) = work.budget_no(&id).await? else { continue };
        let before = work.budget_view(no).await?;
        work.delete_budget(&id).await?;
        let mut record = AuditRecord::new("BUDGET_POLICY_DELETED", "budget", &id, caller.audit_actor());
        record.metadata = json!({ "deleted_project": project });
        work.audit(record.changed(budgets::shape::audited(&before), None));
    }
    Ok(())
}

/// Another project may get the id one day, and is not to be frozen from the start.
async fn lift_freeze(work: &mut Work, caller: &Caller, project: &ProjectId) -> Result<(), Stop> {
    let (scope, reason) = (Scope::Project(project.clone()), "the project was deleted");
    if let Some(freeze) = work.lift_freeze(&scope, Some(reason), &caller.user).await? {
        let mut record = AuditRecord::new("FREEZE_LIFTED", "freeze", &freeze.id, caller.audit_actor());
        record.before = Some(json!({ "scope": scope.key(), "reason": freeze.reason }));
        record.metadata = json!({ "reason": reason });
        work.audit(record);
    }
    Ok(())
}
