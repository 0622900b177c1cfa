//! PUT `/api/v1/projects/{id}`.

use api_types::projects::{ProjectDetail, UpdateProject};
use axum::Json;
use axum::extract::State;
use kernel::ErrorCode;
use kernel::validate::Patch;
use persistence::{AuditRecord, ProjectChange};

use super::shape::{audited, detail};
use crate::transact::transact;
use crate::{ApiError, ApiState, Body, Caller, Params};

/// Changes a project
///
/// What is not given stays.
#[utoipa::path(
    put,
    path = "/api/v1/projects/{id}",
    tag = "projects",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "The project")),
    request_body(content = UpdateProject, example = json!({"description": null})),
    responses(
        (status = 200, description = "The project as it is now", body = ProjectDetail),
        (status = 404, description = "`PROJECT_NOT_FOUND`"),
    ),
)]
pub async fn update_project(
    State(api): State<ApiState>,
    caller: Caller,
    params: Params,
    body: Body,
) -> Result<Json<ProjectDetail>, ApiError> {
    caller.require_admin()?;
    let request: UpdateProject = body.read()?;
    let id = params.project_id("id")?;
    let description = match request.description {
        Patch::Keep => None,
        Patch::Clear => Some(None),
        Patch::Set(text) => Some(Some(text)),
    };
    let change = ProjectChange { name: request.name, description };
    let changed = transact!(api, async |work| {
        let before = work.project_for_update(&id).await?.ok_or(ErrorCode::ProjectNotFound)?;
        let name = change.name.as_ref().unwrap_or(&before.name);
        let after = audited(name, change.description.as_ref().unwrap_or(&before.description).as_deref());
        let before = audited(&before.name, before.description.as_deref());
        if before != after {
            work.update_project(&id, &change).await?;
            let record = AuditRecord::new("PROJECT_UPDATED", "project", &id, caller.audit_actor());
            work.audit(record.changed(before, after));
        }
        Ok(())
    });
    changed.await?;
    Ok(Json(detail(&api, &id).await?))
}
