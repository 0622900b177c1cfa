//! Settings of users, projects and the system.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The settings that hold for a user.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UserSettings {
    /// The user.
    pub user_id: String,
    /// The values, in their sections.
    #[cfg_attr(feature = "openapi", schema(value_type = Object, example = json!({"display": {"theme": "dark"}})))]
    pub settings: Value,
    /// Whose each value is: `system`, `project` or `user`.
    #[cfg_attr(feature = "openapi", schema(value_type = Object, example = json!({"display.theme": "user"})))]
    pub inheritance: Value,
    /// After a change: when they were changed last, milliseconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<i64>,
}

/// A user's settings after everything the user had set was taken away.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UserSettingsReset {
    /// For people.
    pub message: String,
    /// The values that hold now, in their sections.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub settings: Value,
}

/// The settings that hold for a project.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProjectSettings {
    /// The project.
    pub project_id: String,
    /// The values, in their sections.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub settings: Value,
    /// Whose each value is: `system` or `project`.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub inheritance: Value,
    /// After a change: when they were changed last, milliseconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<i64>,
    /// After a change: by whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_by: Option<String>,
}

/// The settings of the whole installation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SystemSettings {
    /// The values, in their sections.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub settings: Value,
    /// After a change: when they were changed last, milliseconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<i64>,
    /// After a change: by whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_by: Option<String>,
}
