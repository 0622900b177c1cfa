//! Whose money it is, as the scope stands in answers.

use kernel::{AgentId, ProjectId, UserId};
use serde::{Deserialize, Serialize};

/// The kinds of scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ScopeKind {
    /// One agent; the id is a number.
    Agent,
    /// A project.
    Project,
    /// A user who owns agents.
    Owner,
    /// A user within one project.
    OwnerProject,
    /// The whole installation; the id is `null`.
    Organization,
}

/// The id of a scope: a number for an agent, text for the others.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum ScopeId {
    /// An agent's.
    Number(i64),
    /// A project's or user's.
    Text(String),
}

/// A scope, as in `binding_scope`: `{"kind":"owner","id":"user_…"}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Scope {
    /// Which kind it is.
    pub kind: ScopeKind,
    /// Its id; `null` for the organization.
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub id: Option<ScopeId>,
    /// The project, for an owner within a project only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project_id: Option<String>,
}

impl Scope {
    /// The whole installation.
    pub const fn organization() -> Self {
        Self { kind: ScopeKind::Organization, id: None, project_id: None }
    }

    /// One agent.
    pub const fn agent(id: AgentId) -> Self {
        Self { kind: ScopeKind::Agent, id: Some(ScopeId::Number(id.0)), project_id: None }
    }

    /// A project.
    pub fn project(id: &ProjectId) -> Self {
        Self { kind: ScopeKind::Project, id: Some(ScopeId::Text(id.as_str().to_owned())), project_id: None }
    }

    /// A user who owns agents.
    pub fn owner(id: &UserId) -> Self {
        Self { kind: ScopeKind::Owner, id: Some(ScopeId::Text(id.as_str().to_owned())), project_id: None }
    }

    /// A user within one project.
    pub fn owner_project(owner: &UserId, project: &ProjectId) -> Self {
        Self {
            kind: ScopeKind::OwnerProject,
            id: Some(ScopeId::Text(owner.as_str().to_owned())),
            project_id: Some(project.as_str().to_owned()),
        }
    }
}

impl std::fmt::Display for Scope {
    /// For people: `agent 12`, `owner_project user_a/proj_b`, `organization`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.kind {
            ScopeKind::Agent => "agent",
            ScopeKind::Project => "project",
            ScopeKind::Owner => "owner",
            ScopeKind::OwnerProject => "owner_project",
            ScopeKind::Organization => "organization",
        })?;
        match &self.id {
            Some(ScopeId::Number(id)) => write!(f, " {id}")?,
            Some(ScopeId::Text(id)) => write!(f, " {id}")?,
            None => {}
        }
        match &self.project_id {
            Some(project) => write!(f, "/{project}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use kernel::{AgentId, ProjectId, UserId};
    use serde_json::json;

    use super::Scope;

    #[test]
    fn each_kind_has_its_json_form_and_reads_back() {
        let (owner, project) = (UserId::new("user_a"), ProjectId::new("proj_b"));
        for (scope, expected) in [
            (Scope::agent(AgentId(12)), json!({"kind": "agent", "id": 12})),
            (Scope::owner(&owner), json!({"kind": "owner", "id": "user_a"})),
            (Scope::project(&project), json!({"kind": "project", "id": "proj_b"})),
            (
                Scope::owner_project(&owner, &project),
                json!({"kind": "owner_project", "id": "user_a", "project_id": "proj_b"}),
            ),
            (Scope::organization(), json!({"kind": "organization", "id": null})),
        ] {
            let written = serde_json::to_value(&scope).expect("a scope is JSON");
            assert_eq!(written, expected);
            assert_eq!(serde_json::from_value::<Scope>(written).expect("its own form"), scope);
        }
    }
}
