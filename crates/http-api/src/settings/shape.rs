//! Settings as they are sent and shown.

use ::settings::{Audience, Change, KEYS, Key, Settings};
use kernel::validate::{Fields, FromFields};
use kernel::{ErrorCode, FieldErrors, ProjectId};
use persistence::SettingsOf;
use serde_json::{Map, Value};

use crate::agents::visible_to;
use crate::{ApiError, ApiState, Body, Caller, Query};

/// A change as it was sent: sections with settings.
pub(super) struct Sections(Map<String, Value>);

impl FromFields for Sections {
    fn from_fields(f: &mut Fields<'_>) -> Option<Self> {
        // What a GET answered may be edited and sent back
        if let Some(Value::Object(sections)) = f.value("settings") {
            return Some(Self(sections.clone()));
        }
        let mentioned = KEYS.iter().map(Key::section).filter(|section| f.mentions(section));
        let sections = mentioned.map(|name| (name.to_owned(), f.value(name).cloned().unwrap_or_default()));
        Some(Self(sections.collect()))
    }
}

/// Reads a change: 400 `INVALID_SETTING_VALUE` naming everything that will not do.
pub(super) fn read(body: &Body, whose: &SettingsOf) -> Result<Change, ApiError> {
    let Sections(sections) = body.read()?;
    Change::read(whose.level(), &sections).map_err(invalid)
}

/// 400 `INVALID_SETTING_VALUE`.
pub(super) fn invalid(errors: FieldErrors) -> ApiError {
    let first = errors.iter().next().map(|(name, _)| name.to_owned()).unwrap_or_default();
    ApiError::new(ErrorCode::InvalidSettingValue, errors.summary()).with("field", first).fields(errors)
}

/// The project that the caller asks about; the one for the whole installation unless another is named. 404 unless the
/// caller sees it.
pub(super) async fn asked_project(api: &ApiState, caller: &Caller, query: &Query) -> Result<ProjectId, ApiError> {
    let mut q = query.reader();
    let id = q.text("project_id", 100).map(ProjectId::new);
    let id = q.finish(id)?.unwrap_or_else(|| ProjectId::new(ProjectId::MASTER));
    if api.store.project_is_visible(&id, &visible_to(caller)).await? {
        Ok(id)
    } else {
        Err(ErrorCode::ProjectNotFound.into())
    }
}

/// The settings of the caller, as somebody in a project.
pub(super) async fn of_caller(api: &ApiState, caller: &Caller, project: ProjectId) -> Result<Settings, ApiError> {
    let system = api.store.settings_of(&SettingsOf::System).await?;
    let project = api.store.settings_of(&SettingsOf::Project(project)).await?;
    let user = api.store.settings_of(&SettingsOf::User(caller.user.clone())).await?;
    Ok(Settings::of_user(system, project, user))
}

/// The settings of a project.
pub(super) async fn of_project(api: &ApiState, project: &ProjectId) -> Result<Settings, ApiError> {
    let system = api.store.settings_of(&SettingsOf::System).await?;
    Ok(Settings::of_project(system, api.store.settings_of(&SettingsOf::Project(project.clone())).await?))
}

/// What the caller sees of their own settings: what is meant for operators only if they are one.
pub(super) fn shown_to(caller: &Caller) -> impl Fn(&Key) -> bool + Copy {
    let is_admin = caller.is_admin();
    move |key| is_admin || key.audience == Audience::Everyone
}
