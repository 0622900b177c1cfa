//! GET `/api/v1/projects/{id}`.

use api_types::projects::ProjectDetail;
use axum::Json;
use axum::extract::State;
use kernel::ErrorCode;

use super::shape::detail;
use crate::agents::visible_to;
use crate::{ApiError, ApiState, Caller, Params};

/// Shows a project
///
/// With its money, its keys and its settings. A user sees the one for the whole installation and those of own agents.
#[utoipa::path(
    get,
    path = "/api/v1/projects/{id}",
    tag = "projects",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "The project")),
    responses(
        (status = 200, description = "The project", body = ProjectDetail),
        (status = 404, description = "`PROJECT_NOT_FOUND`"),
    ),
)]
pub async fn get_project(
    State(api): State<ApiState>,
    caller: Caller,
    params: Params,
) -> Result<Json<ProjectDetail>, ApiError> {
    let id = params.project_id("id")?;
    if !api.store.project_is_visible(&id, &visible_to(&caller)).await? {
        return Err(ErrorCode::ProjectNotFound.into());
    }
    Ok(Json(detail(&api, &id).await?))
}
