//! Roles, permissions, and the one function that decides what a role may do.
//!
//! Whose object it is, is another question, and is asked where the object is loaded: a permission says what kind of
//! thing somebody may do, ownership says to which objects. So `agents:read` lets a viewer read *their own* agents.

use serde::{Deserialize, Serialize};

/// What somebody is. Kept with the user and read from the store on each request; the copy in a token decides nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// May do everything, to everything.
    Admin,
    /// Reads and writes what is theirs.
    User,
    /// Reads what is theirs, and keeps their own credentials and settings.
    Viewer,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 3] = [Self::Admin, Self::User, Self::Viewer];

    /// `admin`, `user` or `viewer`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::User => "user",
            Self::Viewer => "viewer",
        }
    }

    /// Reads a role as it is written, in lower case.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }

    /// What the role may do, in the order of [`Permission::ALL`].
    pub fn permissions(self) -> impl Iterator<Item = Permission> {
        Permission::ALL.iter().copied().filter(move |permission| allows(self, Need::Permission(*permission)))
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

macro_rules! permissions {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $least:ident;)*) => {
        /// Something a role may or may not do.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Permission { $($(#[$doc])* $name,)* }

        impl Permission {
            /// Every permission.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The permission as it is shown.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The role with the fewest rights that holds it.
            const fn least(self) -> Role {
                match self { $(Self::$name => Role::$least,)* }
            }
        }
    };
}

permissions! {
    /// Read agents.
    AgentsRead = "agents:read", Viewer;
    /// Create, change and delete agents.
    AgentsWrite = "agents:write", Admin;
    /// Replace the IC token of an agent.
    IcTokensRegenerate = "ic_tokens:regenerate", Viewer;
    /// See which provider keys there are; never the keys themselves.
    ProvidersRead = "providers:read", Viewer;
    /// Store, change and delete provider keys.
    ProvidersWrite = "providers:write", Admin;
    /// Read projects.
    ProjectsRead = "projects:read", Viewer;
    /// Create, change and delete projects.
    ProjectsWrite = "projects:write", Admin;
    /// Make and revoke API tokens of one's own.
    TokensOwn = "tokens:own", User;
    /// Make and revoke API tokens of others.
    TokensManage = "tokens:manage", Admin;
    /// Read budgets.
    BudgetRead = "budget:read", Viewer;
    /// Change budgets.
    BudgetManage = "budget:manage", Admin;
    /// Ask for another budget.
    RequestsCreate = "requests:create", User;
    /// Decide about such requests.
    RequestsReview = "requests:review", Admin;
    /// Read quotas.
    LimitsRead = "limits:read", Viewer;
    /// Change quotas.
    LimitsManage = "limits:manage", Admin;
    /// Read what was spent.
    AnalyticsRead = "analytics:read", Viewer;
    /// Read traces of single calls.
    TracesRead = "traces:read", Viewer;
    /// Read the audit entries of one's own actions.
    AuditOwn = "audit:own", Viewer;
    /// Read audit entries. Like every `:read` it does not widen whose: the log of everybody needs [`Need::Admin`].
    AuditRead = "audit:read", Viewer;
    /// Change one's own settings.
    SettingsOwn = "settings:own", Viewer;
    /// Change settings of projects and of the installation.
    SettingsManage = "settings:manage", Admin;
    /// Create, change, suspend and delete users.
    UsersManage = "users:manage", Admin;
}

/// What a route asks of its caller's role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Any active user.
    Any,
    /// Somebody who may write at all: not a viewer.
    Writer,
    /// An admin.
    Admin,
    /// Whoever holds this permission.
    Permission(Permission),
}

/// Whether the role is enough. Every check of a role goes through here.
pub const fn allows(role: Role, need: Need) -> bool {
    let least = match need {
        Need::Any => Role::Viewer,
        Need::Writer => Role::User,
        Need::Admin => Role::Admin,
        Need::Permission(permission) => permission.least(),
    };
    // Each role may do all that the one below it may
    rank(role) >= rank(least)
}

const fn rank(role: Role) -> u8 {
    match role {
        Role::Viewer => 0,
        Role::User => 1,
        Role::Admin => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::{Need, Permission, Role, allows};

    fn names(role: Role) -> Vec<&'static str> {
        role.permissions().map(Permission::as_str).collect()
    }

    #[test]
    fn an_admin_may_do_everything() {
        let all = "agents:read agents:write ic_tokens:regenerate providers:read providers:write projects:read \
                   projects:write tokens:own tokens:manage budget:read budget:manage requests:create requests:review \
                   limits:read limits:manage analytics:read traces:read audit:own audit:read settings:own \
                   settings:manage users:manage";
        assert_eq!(names(Role::Admin).join(" "), all);
    }

    #[test]
    fn a_viewer_reads_and_keeps_what_is_theirs() {
        let besides = ["audit:own", "settings:own", "ic_tokens:regenerate"];
        for permission in Permission::ALL {
            let text = permission.as_str();
            let expected = text.ends_with(":read") || besides.contains(&text);
            assert_eq!(allows(Role::Viewer, Need::Permission(*permission)), expected, "{text}");
        }
    }

    #[test]
    fn a_user_may_besides_make_tokens_and_requests() {
        let viewer = names(Role::Viewer);
        let more: Vec<_> = names(Role::User).into_iter().filter(|name| !viewer.contains(name)).collect();
        assert_eq!(more, ["tokens:own", "requests:create"]);
    }

    #[test]
    fn the_levels_of_routes() {
        let table = [(Need::Any, [true; 3]), (Need::Writer, [true, true, false]), (Need::Admin, [true, false, false])];
        for (need, expected) in table {
            assert_eq!(Role::ALL.map(|role| allows(role, need)), expected, "{need:?}");
        }
    }

    #[test]
    fn roles_are_written_in_lower_case() {
        for role in Role::ALL {
            assert_eq!(Role::parse(role.as_str()), Some(role));
            assert_eq!(serde_json::to_value(role).ok(), Some(role.as_str().into()));
        }
        for bad in ["", "Admin", "root", " user"] {
            assert_eq!(Role::parse(bad), None, "{bad}");
        }
    }
}
