//! POST `/api/v1/projects/{id}/provider`.

use api_types::providers::{AssignProjectKey, ProjectKeyAssigned};
use axum::Json;
use axum::extract::State;
use kernel::ErrorCode;
use persistence::AuditRecord;
use serde_json::json;

use crate::settings::{current, refuse_provider};
use crate::transact::transact;
use crate::{ApiError, ApiState, Body, Caller, Params};

/// Lets a project lend a provider key to its agents
///
/// In place of the one of the same kind that it lent before.
#[utoipa::path(
    post,
    path = "/api/v1/projects/{id}/provider",
    tag = "providers",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "The project")),
    request_body(content = AssignProjectKey, example = json!({"provider_key_id": 3})),
    responses(
        (status = 200, description = "Assigned", body = ProjectKeyAssigned),
        (status = 404, description = "`PROJECT_NOT_FOUND`, `PROVIDER_NOT_FOUND`"),
    ),
)]
pub async fn assign_project_provider(
    State(api): State<ApiState>,
    caller: Caller,
    params: Params,
    body: Body,
) -> Result<Json<ProjectKeyAssigned>, ApiError> {
    caller.require_admin()?;
    let AssignProjectKey { provider_key_id } = body.read()?;
    let project = params.project_id("id")?;
    let assigned = transact!(api, async |work| {
        if !work.hold_project(&project).await? {
            return Err(ErrorCode::ProjectNotFound.into());
        }
        let key = work.hold_provider_keys(&[provider_key_id]).await?.pop().ok_or(ErrorCode::ProviderNotFound)?;
        refuse_provider(&current(work, Some(&project)).await?, &key.provider, "provider_key_id")?;
        work.assign_project_key(&project, provider_key_id).await?;
        let record = AuditRecord::new("PROJECT_PROVIDER_ASSIGNED", "project", &project, caller.audit_actor());
        work.audit(record.changed(None, json!({ "provider_key_id": key.id, "provider": key.provider })));
        Ok(key.provider)
    });
    let provider = assigned.await?;
    api.directory.clear();
    Ok(Json(ProjectKeyAssigned { project_id: project, provider_key_id, provider, assigned: true }))
}
