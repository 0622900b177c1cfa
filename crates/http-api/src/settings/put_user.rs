//! PUT `/api/v1/settings/user`.

use api_types::settings::UserSettings;
use axum::Json;
use axum::extract::State;
use persistence::SettingsOf;

use super::change;
use super::shape::{asked_project, of_caller, read, shown_to};
use crate::{ApiError, ApiState, Body, Caller, Query};

/// Changes the caller's settings
///
/// What is not mentioned stays; `null` takes away what the caller has set. All of it happens or nothing.
#[utoipa::path(
    put,
    path = "/api/v1/settings/user",
    tag = "settings",
    security(("bearer" = [])),
    params(("project_id" = Option<String>, Query, description = "Shown as to somebody in this project")),
    request_body(content = Object, example = json!({"display": {"theme": "dark", "timezone": null}})),
    responses(
        (status = 200, description = "The settings as they are now", body = UserSettings),
        (status = 400, description = "`INVALID_SETTING_VALUE`; `field` and `fields` name what will not do, or may not be \
            written by a user"),
        (status = 404, description = "`PROJECT_NOT_FOUND`"),
    ),
)]
pub async fn set_user_settings(
    State(api): State<ApiState>,
    caller: Caller,
    query: Query,
    body: Body,
) -> Result<Json<UserSettings>, ApiError> {
    let whose = SettingsOf::User(caller.user.clone());
    let change = read(&body, &whose)?;
    let project = asked_project(&api, &caller, &query).await?;
    let stamp = change::make(&api, &caller, &whose, &change).await?;
    let (settings, shown) = (of_caller(&api, &caller, project).await?, shown_to(&caller));
    Ok(Json(UserSettings {
        user_id: caller.user.to_string(),
        settings: settings.tree(shown),
        inheritance: settings.inheritance(shown),
        updated_at: Some(stamp.updated_at.millis()),
    }))
}
