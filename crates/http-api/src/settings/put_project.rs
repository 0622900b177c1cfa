//! PUT `/api/v1/settings/project/{id}`.

use api_types::settings::ProjectSettings;
use axum::Json;
use axum::extract::State;
use persistence::SettingsOf;

use super::change;
use super::shape::{of_project, read};
use crate::{ApiError, ApiState, Body, Caller, Params};

/// Changes the settings of a project
///
/// What is not mentioned stays; `null` takes away what was set. All of it happens or nothing.
#[utoipa::path(
    put,
    path = "/api/v1/settings/project/{id}",
    tag = "settings",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "The project")),
    request_body(content = Object, example = json!({"operational": {"max_agents_per_user": 5}})),
    responses(
        (status = 200, description = "The settings as they are now", body = ProjectSettings),
        (status = 400, description = "`INVALID_SETTING_VALUE`; `field` and `fields` name what will not do, or may not be \
            written for a project"),
        (status = 404, description = "`PROJECT_NOT_FOUND`"),
    ),
)]
pub async fn set_project_settings(
    State(api): State<ApiState>,
    caller: Caller,
    params: Params,
    body: Body,
) -> Result<Json<ProjectSettings>, ApiError> {
    caller.require_admin()?;
    let id = params.project_id("id")?;
    let whose = SettingsOf::Project(id.clone());
    let stamp = change::make(&api, &caller, &whose, &read(&body, &whose)?).await?;
    let settings = of_project(&api, &id).await?;
    Ok(Json(ProjectSettings {
        project_id: id.to_string(),
        settings: settings.tree(|_| true),
        inheritance: settings.inheritance(|_| true),
        updated_at: Some(stamp.updated_at.millis()),
        updated_by: Some(stamp.updated_by.to_string()),
    }))
}
