//! GET `/api/v1/settings/system`.

use ::settings::Settings;
use api_types::settings::SystemSettings;
use axum::Json;
use axum::extract::State;
use persistence::SettingsOf;

use crate::{ApiError, ApiState, Caller};

/// Shows the settings of the whole installation
#[utoipa::path(
    get,
    path = "/api/v1/settings/system",
    tag = "settings",
    security(("bearer" = [])),
    responses((status = 200, description = "The settings", body = SystemSettings)),
)]
pub async fn system_settings(State(api): State<ApiState>, caller: Caller) -> Result<Json<SystemSettings>, ApiError> {
    caller.require_admin()?;
    let settings = Settings::of_system(api.store.settings_of(&SettingsOf::System).await?);
    Ok(Json(SystemSettings { settings: settings.tree(|_| true), updated_at: None, updated_by: None }))
}
