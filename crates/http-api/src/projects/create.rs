//! POST `/api/v1/projects`.

use api_types::projects::{CreateProject, ProjectDetail};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use kernel::{ErrorCode, FieldErrors, ProjectId};
use persistence::{AuditRecord, NewProject};

use super::shape::{audited, detail};
use crate::transact::transact;
use crate::{ApiError, ApiState, Body, Caller};

/// Creates a project
#[utoipa::path(
    post,
    path = "/api/v1/projects",
    tag = "projects",
    security(("bearer" = [])),
    request_body(content = CreateProject, example = json!({"name": "Research"})),
    responses(
        (status = 201, description = "The project", body = ProjectDetail),
        (status = 409, description = "`PROJECT_EXISTS`: the id is taken"),
    ),
)]
pub async fn create_project(
    State(api): State<ApiState>,
    caller: Caller,
    body: Body,
) -> Result<(StatusCode, Json<ProjectDetail>), ApiError> {
    caller.require_admin()?;
    let request: CreateProject = body.read()?;
    let id = request.id.unwrap_or_else(|| ProjectId::random(&*api.entropy));
    let new = NewProject { id, name: request.name, description: request.description };
    let created = transact!(api, async |work| {
        if !work.create_project(&new).await? {
            let taken = ApiError::from(ErrorCode::ProjectExists).fields(FieldErrors::one("id", "is taken"));
            return Err(taken.into());
        }
        let record = AuditRecord::new("PROJECT_CREATED", "project", &new.id, caller.audit_actor());
        work.audit(record.changed(None, audited(&new.name, new.description.as_deref())));
        Ok(())
    });
    created.await?;
    Ok((StatusCode::CREATED, Json(detail(&api, &new.id).await?)))
}
