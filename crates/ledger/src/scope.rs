//! Whose money it is.

use kernel::{AgentId, ProjectId, UserId};

/// The kinds of scope, in the order in which figures are shown: from the widest to the narrowest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ScopeKind {
    /// The whole installation.
    Organization,
    /// A project.
    Project,
    /// A user who owns agents.
    Owner,
    /// A user within one project.
    OwnerProject,
    /// One agent.
    Agent,
}

impl ScopeKind {
    /// Every kind, widest first.
    pub const ALL: [Self; 5] = [Self::Organization, Self::Project, Self::Owner, Self::OwnerProject, Self::Agent];

    /// The name in the contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Organization => "organization",
            Self::Project => "project",
            Self::Owner => "owner",
            Self::OwnerProject => "owner_project",
            Self::Agent => "agent",
        }
    }

    /// Reads the name of the contract.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|k| k.as_str() == text)
    }
}

/// A scope that may have budgets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// The whole installation.
    Organization,
    /// A project.
    Project(ProjectId),
    /// A user who owns agents.
    Owner(UserId),
    /// A user within one project.
    OwnerProject(UserId, ProjectId),
    /// One agent.
    Agent(AgentId),
}

impl Scope {
    /// The scopes that money lent to an agent of this owner and project counts in, widest first.
    pub fn of_agent(agent: AgentId, owner: &UserId, project: Option<&ProjectId>) -> Vec<Self> {
        let mut scopes = vec![Self::Organization];
        if let Some(project) = project {
            scopes.push(Self::Project(project.clone()));
        }
        scopes.push(Self::Owner(owner.clone()));
        if let Some(project) = project {
            scopes.push(Self::OwnerProject(owner.clone(), project.clone()));
        }
        scopes.push(Self::Agent(agent));
        scopes
    }

    /// Which kind it is.
    pub const fn kind(&self) -> ScopeKind {
        match self {
            Self::Organization => ScopeKind::Organization,
            Self::Project(_) => ScopeKind::Project,
            Self::Owner(_) => ScopeKind::Owner,
            Self::OwnerProject(..) => ScopeKind::OwnerProject,
            Self::Agent(_) => ScopeKind::Agent,
        }
    }

    /// One text for look-ups: `organization`, `project:<id>`, `owner:<id>`, `owner_project:<owner>/<project>`,
    /// `agent:<id>`. The project of an `owner_project` has no `/` in it, so the text is unambiguous.
    pub fn key(&self) -> String {
        match self {
            Self::Organization => "organization".to_owned(),
            Self::Project(project) => format!("project:{project}"),
            Self::Owner(owner) => format!("owner:{owner}"),
            Self::OwnerProject(owner, project) => format!("owner_project:{owner}/{project}"),
            Self::Agent(agent) => format!("agent:{agent}"),
        }
    }

    /// Reads what [`Scope::key`] wrote.
    pub fn from_key(key: &str) -> Option<Self> {
        if key == "organization" {
            return Some(Self::Organization);
        }
        let (kind, id) = key.split_once(':')?;
        match kind {
            "project" => Some(Self::Project(ProjectId::new(id))),
            "owner" => Some(Self::Owner(UserId::new(id))),
            "owner_project" => {
                let (owner, project) = id.rsplit_once('/')?;
                Some(Self::OwnerProject(UserId::new(owner), ProjectId::new(project)))
            }
            "agent" => id.parse().ok().map(|n| Self::Agent(AgentId(n))),
            _ => None,
        }
    }
}
