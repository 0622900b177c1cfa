//! GET `/api/v1/settings/user`.

use api_types::settings::UserSettings;
use axum::Json;
use axum::extract::State;

use super::shape::{asked_project, of_caller, shown_to};
use crate::{ApiError, ApiState, Caller, Query};

/// Shows the caller's settings
///
/// Each is the user's own, else the project's, else the system's, else the built-in one.
#[utoipa::path(
    get,
    path = "/api/v1/settings/user",
    tag = "settings",
    security(("bearer" = [])),
    params(("project_id" = Option<String>, Query, description = "As somebody in this project; `proj_master_001` unless given")),
    responses(
        (status = 200, description = "The settings", body = UserSettings),
        (status = 404, description = "`PROJECT_NOT_FOUND`"),
    ),
)]
pub async fn user_settings(
    State(api): State<ApiState>,
    caller: Caller,
    query: Query,
) -> Result<Json<UserSettings>, ApiError> {
    let project = asked_project(&api, &caller, &query).await?;
    let (settings, shown) = (of_caller(&api, &caller, project).await?, shown_to(&caller));
    Ok(Json(UserSettings {
        user_id: caller.user.to_string(),
        settings: settings.tree(shown),
        inheritance: settings.inheritance(shown),
        updated_at: None,
    }))
}
