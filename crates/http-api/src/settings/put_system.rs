//! PUT `/api/v1/settings/system`.

use ::settings::Settings;
use api_types::settings::SystemSettings;
use axum::Json;
use axum::extract::State;
use persistence::SettingsOf;

use super::change;
use super::shape::read;
use crate::{ApiError, ApiState, Body, Caller};

/// Changes the settings of the whole installation
///
/// What is not mentioned stays; `null` takes away what was set. All of it happens or nothing.
#[utoipa::path(
    put,
    path = "/api/v1/settings/system",
    tag = "settings",
    security(("bearer" = [])),
    request_body(content = Object, example = json!({"security": {"password_min_length": 12}})),
    responses(
        (status = 200, description = "The settings as they are now", body = SystemSettings),
        (status = 400, description = "`INVALID_SETTING_VALUE`; `field` and `fields` name what will not do, or may not be \
            written for the system"),
    ),
)]
pub async fn set_system_settings(
    State(api): State<ApiState>,
    caller: Caller,
    body: Body,
) -> Result<Json<SystemSettings>, ApiError> {
    caller.require_admin()?;
    let whose = SettingsOf::System;
    let stamp = change::make(&api, &caller, &whose, &read(&body, &whose)?).await?;
    let settings = Settings::of_system(api.store.settings_of(&whose).await?);
    Ok(Json(SystemSettings {
        settings: settings.tree(|_| true),
        updated_at: Some(stamp.updated_at.millis()),
        updated_by: Some(stamp.updated_by.to_string()),
    }))
}
