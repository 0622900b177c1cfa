//! DELETE `/api/v1/settings/user`.

use api_types::settings::UserSettingsReset;
use axum::Json;
use axum::extract::State;

use super::change;
use super::shape::{asked_project, of_caller, shown_to};
use crate::{ApiError, ApiState, Caller, Query};

/// Takes away everything that the caller has set
#[utoipa::path(
    delete,
    path = "/api/v1/settings/user",
    tag = "settings",
    security(("bearer" = [])),
    params(("project_id" = Option<String>, Query, description = "Shown as to somebody in this project")),
    responses(
        (status = 200, description = "The settings as they are now", body = UserSettingsReset),
        (status = 404, description = "`PROJECT_NOT_FOUND`"),
    ),
)]
pub async fn reset_user_settings(
    State(api): State<ApiState>,
    caller: Caller,
    query: Query,
) -> Result<Json<UserSettingsReset>, ApiError> {
    let project = asked_project(&api, &caller, &query).await?;
    change::clear(&api, &caller).await?;
    let settings = of_caller(&api, &caller, project).await?.tree(shown_to(&caller));
    Ok(Json(UserSettingsReset { message: "All own settings were taken away".to_owned(), settings }))
}
