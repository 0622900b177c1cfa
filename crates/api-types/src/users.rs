//! Users, as administrators see them.

use kernel::validate::{Fields, FromFields};
use kernel::{AgentId, ProjectId, Secret, UserId};
use serde::{Deserialize, Serialize};

use crate::shared::Role;

/// The fewest characters of a new password.
pub const NEW_PASSWORD_MIN: usize = 8;
/// The most characters of a password.
pub const NEW_PASSWORD_MAX: usize = 1_000;

/// A user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct User {
    /// The id, `user_<uuid>` unless it came from an import.
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "user_0b4a5c5e-6b1f-4f7e-9d67-1a9d1f6f2c11"))]
    pub id: UserId,
    /// The name.
    pub username: String,
    /// The e-mail; by it they log in.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub email: Option<String>,
    /// What they are.
    pub role: Role,
    /// Neither suspended nor deleted.
    pub is_active: bool,
    /// Milliseconds since the epoch.
    pub created_at: i64,
    /// Milliseconds since the epoch.
    pub updated_at: i64,
    /// The last successful login, milliseconds since the epoch.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub last_login: Option<i64>,
    /// Since when they are suspended, milliseconds since the epoch.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub suspended_at: Option<i64>,
    /// When they were deleted, milliseconds since the epoch.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub deleted_at: Option<i64>,
    /// Until when failed logins keep them out, milliseconds since the epoch.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub locked_until: Option<i64>,
}

/// One page of users.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UserList {
    /// The users of this page.
    pub users: Vec<User>,
    /// How many there are in all.
    pub total: u64,
    /// From 1.
    pub page: u32,
    /// Users per page.
    pub page_size: u32,
}

/// A deleted user, and what went with them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeletedUser {
    /// The user as kept.
    #[serde(flatten)]
    pub user: User,
    /// Always `true`.
    pub success: bool,
    /// How many agents got another owner.
    pub agents_count: u64,
    /// Which.
    pub agents_affected: Vec<ReassignedAgent>,
    /// Budget requests that were pending.
    pub budget_requests_cancelled: u64,
    /// API tokens that were active.
    pub api_tokens_revoked: u64,
}

/// An agent that got another owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReassignedAgent {
    /// The agent.
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub agent_id: AgentId,
    /// Its name.
    pub name: String,
    /// Its owner from now on.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub new_owner_id: UserId,
    /// Its project from now on.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, required))]
    pub new_project_id: Option<ProjectId>,
}

/// What a user may do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UserPermissions {
    /// The user.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub user_id: UserId,
    /// What they are.
    pub role: Role,
    /// What follows from it, such as `agents:read`.
    #[cfg_attr(feature = "openapi", schema(example = json!(["agents:read", "budget:read"])))]
    pub permissions: Vec<String>,
}

/// A user to be created.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreateUser {
    /// Unique without regard to case.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 255))]
    pub username: String,
    /// Taken as it is, not trimmed.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = Password, min_length = 8, max_length = 1000))]
    pub password: Secret<String>,
    /// Unique without regard to case; has exactly one `@`.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 255, example = "ada@example.com"))]
    pub email: String,
    /// `user` unless given.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Role>))]
    pub role: Role,
}

impl FromFields for CreateUser {
    fn from_fields(f: &mut Fields<'_>) -> Option<Self> {
        let username = f.required_str("username", 1, 255);
        let password = f.required_verbatim("password", NEW_PASSWORD_MIN, NEW_PASSWORD_MAX);
        let email = f.required_str("email", 1, 255);
        check_email(f, email.as_deref());
        let role = f.optional_word("role", &Role::WORDS).unwrap_or(Role::User);
        Some(Self { username: username?, password: Secret::new(password?), email: email?, role })
    }
}

/// What is to change of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UpdateUser {
    /// Another name.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 255))]
    pub username: Option<String>,
    /// Another e-mail, with exactly one `@`.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 255))]
    pub email: Option<String>,
}

impl FromFields for UpdateUser {
    fn from_fields(f: &mut Fields<'_>) -> Option<Self> {
        let username = f.optional_str("username", 1, 255);
        let email = f.optional_str("email", 1, 255);
        check_email(f, email.as_deref());
        Some(Self { username, email })
    }
}

fn check_email(f: &mut Fields<'_>, email: Option<&str>) {
    if email.is_some_and(|email| email.matches('@').count() != 1) {
        f.error("email", "must have exactly one @");
    }
}

/// How a user is to be suspended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SuspendUser {
    /// Why, for the audit log.
    #[cfg_attr(feature = "openapi", schema(max_length = 1000))]
    pub reason: Option<String>,
    /// Whether their agents get no more money and no keys until the freeze is lifted; `false` unless given.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<bool>))]
    pub freeze_agents: bool,
}

impl FromFields for SuspendUser {
    fn from_fields(f: &mut Fields<'_>) -> Option<Self> {
        let reason = f.optional_str("reason", 0, 1_000).filter(|reason| !reason.is_empty());
        let freeze_agents = f.optional_bool("freeze_agents").unwrap_or(false);
        Some(Self { reason, freeze_agents })
    }
}

/// Another role for a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SetRole {
    /// The role from now on.
    pub role: Role,
}

impl FromFields for SetRole {
    fn from_fields(f: &mut Fields<'_>) -> Option<Self> {
        if !f.has("role") {
            f.error("role", "is required");
        }
        Some(Self { role: f.optional_word("role", &Role::WORDS)? })
    }
}

/// Another password for a user, set by an administrator.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ResetPassword {
    /// Taken as it is, not trimmed.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = Password, min_length = 8, max_length = 1000))]
    pub new_password: Secret<String>,
    /// Whether the user is asked to choose another one; `true` unless given.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<bool>))]
    pub force_change: bool,
}

impl FromFields for ResetPassword {
    fn from_fields(f: &mut Fields<'_>) -> Option<Self> {
        let new_password = f.required_verbatim("new_password", NEW_PASSWORD_MIN, NEW_PASSWORD_MAX);
        let force_change = f.optional_bool("force_change").unwrap_or(true);
        Some(Self { new_password: Secret::new(new_password?), force_change })
    }
}

#[cfg(test)]
mod tests {
    use kernel::validate::{FromFields, read};
    use serde_json::{Value, json};

    use super::{CreateUser, ResetPassword, SetRole, SuspendUser, UpdateUser};
    use crate::shared::Role;

    fn failing<T: FromFields>(body: Value) -> Vec<String> {
        let errors = read::<T>(&body).err().unwrap_or_default();
        errors.iter().map(|(path, _)| path.to_owned()).collect()
    }

    #[test]
    fn a_new_user_names_every_field_that_fails() {
        assert_eq!(failing::<CreateUser>(json!({})), ["email", "password", "username"]);
        let bad = json!({"username": "a", "password": "12345678", "email": "a@b@c", "role": "root"});
        assert_eq!(failing::<CreateUser>(bad), ["email", "role"]);
    }

    #[test]
    fn a_new_user_is_a_user_unless_said_otherwise() {
        let user = read::<CreateUser>(&json!({"username": "a", "password": "12345678", "email": "a@b", "role": null}));
        assert_eq!(user.ok().map(|user| user.role), Some(Role::User));
    }

    #[test]
    fn a_change_of_a_user_may_be_empty_but_not_blank() {
        assert!(failing::<UpdateUser>(json!({})).is_empty());
        assert_eq!(failing::<UpdateUser>(json!({"username": " ", "email": "none"})), ["email", "username"]);
    }

    #[test]
    fn a_suspension_needs_no_body() {
        let expected = SuspendUser { reason: None, freeze_agents: false };
        assert_eq!(read::<SuspendUser>(&json!({"reason": ""})), Ok(expected));
        assert_eq!(failing::<SuspendUser>(json!({"reason": "x".repeat(1_001), "freeze_agents": 1})).len(), 2);
    }

    #[test]
    fn a_role_is_one_of_three_words() {
        assert_eq!(read::<SetRole>(&json!({"role": "viewer"})), Ok(SetRole { role: Role::Viewer }));
        for bad in [json!({}), json!({"role": null}), json!({"role": "Admin"}), json!({"role": 1})] {
            assert_eq!(failing::<SetRole>(bad), ["role"]);
        }
    }

    #[test]
    fn a_reset_asks_for_a_change_unless_said_otherwise() {
        let force = |body: Value| read::<ResetPassword>(&body).ok().map(|reset| reset.force_change);
        assert_eq!(force(json!({"new_password": "12345678"})), Some(true));
        assert_eq!(force(json!({"new_password": "12345678", "force_change": false})), Some(false));
        assert_eq!(failing::<ResetPassword>(json!({"force_change": "no"})), ["force_change", "new_password"]);
    }
}
