//! Settings: reading and changing them, and what the rest of the server asks them.
//!
//! Who decides in a transaction asks [`current`], which sees what is set at that moment. Who only needs to know soon asks
//! [`ApiState::settings_of`](crate::ApiState::settings_of), which remembers answers for a moment.

mod cache;
mod change;
pub mod get_project;
pub mod get_system;
pub mod get_user;
pub mod put_project;
pub mod put_system;
pub mod put_user;
pub mod reset_user;
mod shape;

#[cfg(test)]
mod tests;

use ::settings::Settings;
use kernel::ProjectId;
use persistence::{SettingsOf, StoreError, Work};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::ApiError;
use crate::state::ApiState;
use crate::transact::Stop;

pub(crate) use cache::SettingsCache;

/// The routes of this module.
pub(crate) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(get_user::user_settings, put_user::set_user_settings, reset_user::reset_user_settings))
        .routes(routes!(get_project::project_settings, put_project::set_project_settings))
        .routes(routes!(get_system::system_settings, put_system::set_system_settings))
}

/// The project whose settings count where there is none: the one for the whole installation.
pub(crate) fn or_master(project: Option<&ProjectId>) -> ProjectId {
    project.cloned().unwrap_or_else(|| ProjectId::new(ProjectId::MASTER))
}

/// The settings of a project, or where there is none, as they are set at this moment.
pub(crate) async fn current(work: &mut Work, project: Option<&ProjectId>) -> Result<Settings, StoreError> {
    let system = work.settings_of(&SettingsOf::System).await?;
    let project = work.settings_of(&SettingsOf::Project(or_master(project))).await?;
    Ok(Settings::of_project(system, project))
}

/// 400 about the field that named a key of this kind, where the project, or the installation, does not allow such keys.
pub(crate) fn refuse_provider(settings: &Settings, provider: &str, field: &str) -> Result<(), Stop> {
    if settings.allows_provider(provider) {
        return Ok(());
    }
    Err(ApiError::field(field, format!("{provider} is not an allowed provider here")).into())
}

/// 400 about the field of a new password that is shorter than the installation wants it.
pub(crate) async fn refuse_short_password(
    api: &ApiState,
    password: &kernel::Secret<String>,
    field: &str,
) -> Result<(), ApiError> {
    let least = api.settings_of(None).await?.password_min_length();
    if password.expose().chars().count() < least {
        return Err(ApiError::field(field, format!("must have at least {least} characters")));
    }
    Ok(())
}
