//! A scope as a request names it.

use budget_protocol::ScopeKind;
use kernel::validate::{Fields, FromFields, numeric_id};
use kernel::{AgentId, ProjectId, UserId};

/// The words of a request.
const KINDS: [(&str, ScopeKind); 5] = [
    ("agent", ScopeKind::Agent),
    ("project", ScopeKind::Project),
    ("owner", ScopeKind::Owner),
    ("owner_project", ScopeKind::OwnerProject),
    ("organization", ScopeKind::Organization),
];

/// Whose money: `{"kind": "owner", "id": "user_…"}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScopeRequest {
    /// The whole installation; needs no id.
    Organization,
    /// A project.
    Project(ProjectId),
    /// A user who owns agents.
    Owner(UserId),
    /// A user within one project, named by `project_id`.
    OwnerProject(UserId, ProjectId),
    /// One agent, a number or a numeric string.
    Agent(AgentId),
}

/// How a scope stands in a request.
#[cfg(feature = "openapi")]
#[derive(utoipa::ToSchema)]
#[schema(as = ScopeRequest)]
#[expect(dead_code, reason = "describes what the type above reads")]
struct ScopeRequestBody {
    /// Which kind it is.
    kind: ScopeKind,
    /// An agent's number, or the id of a project or user; not for the organization.
    id: Option<budget_protocol::ScopeId>,
    /// The project, for an owner within a project.
    project_id: Option<String>,
}

#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for ScopeRequest {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        ScopeRequestBody::schema()
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for ScopeRequest {
    fn name() -> std::borrow::Cow<'static, str> {
        ScopeRequestBody::name()
    }

    fn schemas(schemas: &mut Vec<(String, utoipa::openapi::RefOr<utoipa::openapi::schema::Schema>)>) {
        ScopeRequestBody::schemas(schemas);
    }
}

impl FromFields for ScopeRequest {
    fn from_fields(f: &mut Fields<'_>) -> Option<Self> {
        if !f.has("kind") {
            f.error("kind", "is required");
        }
        match f.optional_word("kind", &KINDS)? {
            ScopeKind::Organization => Some(Self::Organization),
            ScopeKind::Project => f.required_str("id", 1, 100).map(|id| Self::Project(ProjectId::new(id))),
            ScopeKind::Owner => f.required_str("id", 1, 255).map(|id| Self::Owner(UserId::new(id))),
            ScopeKind::OwnerProject => {
                let owner = f.required_str("id", 1, 255).map(UserId::new);
                let project = f.required_str("project_id", 1, 100).map(ProjectId::new);
                Some(Self::OwnerProject(owner?, project?))
            }
            ScopeKind::Agent => agent(f).map(Self::Agent),
        }
    }
}

fn agent(f: &mut Fields<'_>) -> Option<AgentId> {
    let Some(value) = f.value("id") else {
        f.error("id", "is required");
        return None;
    };
    match numeric_id(value) {
        Ok(id) => Some(AgentId(id)),
        Err(why) => {
            f.error("id", why);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use kernel::validate::read;
    use kernel::{AgentId, ProjectId, UserId};
    use serde_json::{Value, json};

    use super::ScopeRequest;

    fn failing(body: Value) -> Vec<String> {
        let errors = read::<ScopeRequest>(&body).err().unwrap_or_default();
        errors.iter().map(|(path, _)| path.to_owned()).collect()
    }

    #[test]
    fn each_kind_has_its_id() {
        let (owner, project) = (UserId::new("u"), ProjectId::new("p"));
        for (body, expected) in [
            (json!({"kind": "organization"}), ScopeRequest::Organization),
            (json!({"kind": "organization", "id": null}), ScopeRequest::Organization),
            (json!({"kind": "project", "id": "p"}), ScopeRequest::Project(project.clone())),
            (json!({"kind": "owner", "id": "u"}), ScopeRequest::Owner(owner.clone())),
            (
                json!({"kind": "owner_project", "id": "u", "project_id": "p"}),
                ScopeRequest::OwnerProject(owner, project),
            ),
            (json!({"kind": "agent", "id": 7}), ScopeRequest::Agent(AgentId(7))),
            (json!({"kind": "agent", "id": "7"}), ScopeRequest::Agent(AgentId(7))),
        ] {
            assert_eq!(read::<ScopeRequest>(&body), Ok(expected), "{body}");
        }
    }

    #[test]
    fn what_is_missing_or_mistyped_is_named() {
        assert_eq!(failing(json!({})), ["kind"]);
        assert_eq!(failing(json!({"kind": "team"})), ["kind"]);
        assert_eq!(failing(json!({"kind": "owner_project"})), ["id", "project_id"]);
        for bad in [json!({"kind": "agent"}), json!({"kind": "agent", "id": "x"}), json!({"kind": "project", "id": 1})]
        {
            assert_eq!(failing(bad.clone()), ["id"], "{bad}");
        }
    }
}
