//! GET `/api/v1/settings/project/{id}`.

use api_types::settings::ProjectSettings;
use axum::Json;
use axum::extract::State;
use kernel::{ErrorCode, ProjectId};
use persistence::{AgentFilter, AgentSort, Page};

use super::shape::of_project;
use crate::agents::visible_to;
use crate::{ApiError, ApiState, Caller, Params};

/// Shows the settings of a project
///
/// To administrators, and without the section `security` to whoever owns an agent in it.
#[utoipa::path(
    get,
    path = "/api/v1/settings/project/{id}",
    tag = "settings",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "The project")),
    responses(
        (status = 200, description = "The settings", body = ProjectSettings),
        (status = 403, description = "`ACCESS_DENIED`: no agent of yours is in it"),
        (status = 404, description = "`PROJECT_NOT_FOUND`"),
    ),
)]
pub async fn project_settings(
    State(api): State<ApiState>,
    caller: Caller,
    params: Params,
) -> Result<Json<ProjectSettings>, ApiError> {
    let id = params.project_id("id")?;
    if !api.store.project_is_visible(&id, &visible_to(&caller)).await? {
        return Err(ErrorCode::ProjectNotFound.into());
    }
    // Everybody sees the project for the whole installation, which every agent is in
    if !caller.is_admin() && id.as_str() == ProjectId::MASTER && !owns_an_agent(&api, &caller).await? {
        return Err(ErrorCode::AccessDenied.into());
    }
    let settings = of_project(&api, &id).await?;
    let is_admin = caller.is_admin();
    let shown = move |key: &::settings::Key| is_admin || key.section() != "security";
    Ok(Json(ProjectSettings {
        project_id: id.to_string(),
        settings: settings.tree(shown),
        inheritance: settings.inheritance(shown),
        updated_at: None,
        updated_by: None,
    }))
}

async fn owns_an_agent(api: &ApiState, caller: &Caller) -> Result<bool, ApiError> {
    let own = AgentFilter { owner: Some(caller.user.clone()), ..AgentFilter::default() };
    let agents = api.store.agents(&own, AgentSort::default(), Page::first(1), api.clock.now()).await?;
    Ok(agents.total > 0)
}
