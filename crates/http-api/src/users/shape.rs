//! Users as they are shown and as the audit log keeps them.

use api_types::shared::Role as RoleBody;
use api_types::users::User as UserBody;
use auth::Role;
use kernel::Timestamp;
use persistence::User;
use serde_json::{Value, json};

/// A role as it stands in a body.
pub(crate) const fn role_body(role: Role) -> RoleBody {
    match role {
        Role::Admin => RoleBody::Admin,
        Role::User => RoleBody::User,
        Role::Viewer => RoleBody::Viewer,
    }
}

/// A role that stood in a body.
pub(crate) const fn role_of(body: RoleBody) -> Role {
    match body {
        RoleBody::Admin => Role::Admin,
        RoleBody::User => Role::User,
        RoleBody::Viewer => Role::Viewer,
    }
}

/// A user as it is shown. A lock that has passed is none.
pub(crate) fn user_body(user: User, now: Timestamp) -> UserBody {
    UserBody {
        id: user.id,
        username: user.username,
        email: user.email,
        role: role_body(user.role),
        is_active: user.is_active,
        created_at: user.created_at.millis(),
        updated_at: user.updated_at.millis(),
        last_login: user.last_login.map(Timestamp::millis),
        suspended_at: user.suspended_at.map(Timestamp::millis),
        deleted_at: user.deleted_at.map(Timestamp::millis),
        locked_until: user.locked_until.filter(|until| now < *until).map(Timestamp::millis),
    }
}

/// A user as the audit log keeps it: what somebody decided about it, not what happened by itself.
pub(super) fn audited(user: &User) -> Value {
    json!({
        "username": user.username,
        "email": user.email,
        "role": user.role.as_str(),
        "is_active": user.is_active,
        "suspended_at": user.suspended_at.map(Timestamp::millis),
        "deleted_at": user.deleted_at.map(Timestamp::millis),
    })
}
