//! Projects.

use kernel::validate::{Fields, FromFields, Patch};
use kernel::{Money, ProjectId, ProviderKeyId};
use serde::{Deserialize, Serialize};

use crate::fields::{optional_note, patch_note};
use crate::figures::Usd;

/// The most characters of a project's name.
const MAX_NAME: usize = 100;
/// The most characters of a description.
const MAX_DESCRIPTION: usize = 500;

/// A project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Project {
    /// Its id.
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "proj_master_001"))]
    pub id: ProjectId,
    /// Its name; others may have the same.
    pub name: String,
    /// What it is for.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub description: Option<String>,
    /// How many users own agents in it; all users, for the project that stands for the whole installation.
    pub user_count: i64,
    /// How many agents are in it; all agents, for the project that stands for the whole installation.
    pub agent_count: i64,
    /// Milliseconds since the epoch.
    pub created_at: i64,
    /// Milliseconds since the epoch.
    pub updated_at: i64,
}

/// A project with its money, its keys and its settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProjectDetail {
    /// The project.
    #[serde(flatten)]
    pub project: Project,
    /// How many keys it lends to its agents.
    pub provider_count: u64,
    /// What its agents may spend in all, US dollars.
    pub total_budget: Usd,
    /// What its agents have committed of it (spent, lent or in suspense), deleted agents included; US dollars.
    pub total_spent: Usd,
    /// `total_budget` in micro-dollars.
    #[serde(with = "budget_protocol::wire::left")]
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub total_budget_microdollars: Money,
    /// `total_spent` in micro-dollars.
    #[serde(with = "budget_protocol::wire::spent")]
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub total_spent_microdollars: Money,
    /// The keys it lends to its agents, one for each kind.
    pub providers: Vec<ProjectKey>,
    /// What holds for its agents.
    pub settings: ProjectSettings,
}

/// A key that a project lends to its agents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProjectKey {
    /// The key.
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub provider_key_id: ProviderKeyId,
    /// Its kind.
    pub provider: String,
}

/// What holds for the agents of a project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProjectSettings {
    /// What a new agent is proposed to get, US dollars.
    pub default_agent_budget: Usd,
    /// How many agents one user may have in it; `null`: any number.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub max_agents_per_user: Option<i64>,
    /// The kinds of provider that may be used; empty: all.
    pub allowed_providers: Vec<String>,
}

/// One page of projects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProjectList {
    /// The projects: the one for the whole installation first, then the youngest.
    pub data: Vec<Project>,
    /// Where the page stands.
    pub pagination: ProjectPageInfo,
}

/// Where a page of projects stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProjectPageInfo {
    /// From 1.
    pub page: u32,
    /// Projects per page.
    pub per_page: u32,
    /// Projects in all.
    pub total: u64,
    /// The same under another name.
    pub total_items: u64,
    /// Pages in all.
    pub total_pages: u64,
}

/// A project that is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeletedProject {
    /// The project.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub id: ProjectId,
    /// Always `true`.
    pub deleted: bool,
    /// How many agents are in no project now.
    pub agents_moved: u64,
}

/// A project to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreateProject {
    /// Others may have the same.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 100))]
    pub name: String,
    /// `[A-Za-z0-9_.-]{1,100}`; made up unless given.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub id: Option<ProjectId>,
    /// What it is for.
    #[cfg_attr(feature = "openapi", schema(max_length = 500))]
    pub description: Option<String>,
}

impl FromFields for CreateProject {
    fn from_fields(f: &mut Fields<'_>) -> Option<Self> {
        let name = f.required_str("name", 1, MAX_NAME);
        let id = f.optional_str("id", 1, 100);
        // Alone these would be a part of a path that means something else
        if id.as_deref().is_some_and(|id| !ProjectId::is_well_formed(id) || matches!(id, "." | "..")) {
            f.error("id", "must consist of letters, digits, _, . and -");
        }
        let description = optional_note(f, "description", MAX_DESCRIPTION);
        Some(Self { name: name?, id: id.map(ProjectId::new), description })
    }
}

/// What is to change of a project; what is not given stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UpdateProject {
    /// Another name.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 100))]
    pub name: Option<String>,
    /// What it is for; `null` clears.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, max_length = 500))]
    pub description: Patch<String>,
}

impl FromFields for UpdateProject {
    fn from_fields(f: &mut Fields<'_>) -> Option<Self> {
        let name = f.optional_str("name", 1, MAX_NAME);
        let description = patch_note(f, &["description"], MAX_DESCRIPTION);
        Some(Self { name, description })
    }
}

#[cfg(test)]
mod tests {
    use kernel::validate::{FromFields, Patch, read};
    use serde_json::{Value, json};

    use super::{CreateProject, UpdateProject};

    fn failing<T: FromFields>(body: Value) -> Vec<String> {
        let errors = read::<T>(&body).err().unwrap_or_default();
        errors.iter().map(|(path, _)| path.to_owned()).collect()
    }

    #[test]
    fn a_new_project_names_every_field_that_fails() {
        assert_eq!(failing::<CreateProject>(json!({})), ["name"]);
        let bad = json!({"name": "x".repeat(101), "id": "a/b", "description": "x".repeat(501)});
        assert_eq!(failing::<CreateProject>(bad), ["description", "id", "name"]);
        for bad in ["", "ä", "a b", "..", "."] {
            assert_eq!(failing::<CreateProject>(json!({"name": "n", "id": bad})), ["id"], "{bad:?}");
        }
        assert!(failing::<CreateProject>(json!({"name": "n", "id": "Team_1.x-y"})).is_empty());
    }

    #[test]
    fn null_clears_the_description_and_keeps_the_name() {
        let update = read::<UpdateProject>(&json!({"name": null, "description": null}));
        assert_eq!(update, Ok(UpdateProject { name: None, description: Patch::Clear }));
        assert_eq!(failing::<UpdateProject>(json!({"name": "", "description": 1})), ["description", "name"]);
    }
}
