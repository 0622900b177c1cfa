//! Users, for administrators; and oneself, for everybody.

pub mod activate;
pub mod create;
pub mod delete;
pub mod get;
pub mod list;
pub mod permissions;
pub mod reset_password;
pub mod set_role;
pub(crate) mod shape;
pub mod suspend;
pub mod unlock;
pub mod update;

#[cfg(test)]
mod tests;

use kernel::{ErrorCode, UserId};
use persistence::{User, Work};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::state::ApiState;
use crate::transact::Stop;
use crate::{ApiError, Caller, Params};

/// The routes of this module.
pub(crate) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(create::create_user, list::list_users))
        .routes(routes!(get::get_user, update::update_user, delete::delete_user))
        .routes(routes!(suspend::suspend_user))
        .routes(routes!(activate::activate_user))
        .routes(routes!(unlock::unlock_user))
        .routes(routes!(set_role::set_user_role))
        .routes(routes!(reset_password::reset_user_password))
        .routes(routes!(permissions::user_permissions))
}

/// The user of the path.
fn user_id(params: &Params) -> Result<UserId, ApiError> {
    params.id("id", UserId::new)
}

/// The user of the path, whom only they themselves and admins may ask about.
fn visible_user_id(caller: &Caller, params: &Params) -> Result<UserId, ApiError> {
    let id = user_id(params);
    // Before the form of the id: to others every id is equally none of their business
    if !caller.is_admin() && !id.as_ref().is_ok_and(|id| caller.owns(id)) {
        return Err(ErrorCode::InsufficientPermissions.into());
    }
    id
}

/// The user, whom nobody else changes until this work ends.
async fn locked(work: &mut Work, id: &UserId) -> Result<User, Stop> {
    work.user_for_update(id).await?.ok_or_else(|| ErrorCode::UserNotFound.into())
}

/// The same; deleted users are not changed any more.
async fn locked_living(work: &mut Work, id: &UserId) -> Result<User, Stop> {
    let user = locked(work, id).await?;
    if user.deleted_at.is_some() { Err(ErrorCode::UserDeleted.into()) } else { Ok(user) }
}

/// Refuses to touch oneself where that could lock everybody out.
fn refuse_self(caller: &Caller, id: &UserId) -> Result<(), Stop> {
    if caller.owns(id) { Err(ErrorCode::SelfModificationForbidden.into()) } else { Ok(()) }
}

/// Refuses an admin who was one a moment ago: of three who remove each other in a circle at once, the removed remove
/// nobody. `admins` must have been locked before; ask [`refuse_last_admin`] first, which says more.
fn refuse_fallen(caller: &Caller, admins: &[UserId]) -> Result<(), Stop> {
    if admins.contains(&caller.user) { Ok(()) } else { Err(ErrorCode::InsufficientPermissions.into()) }
}

/// Refuses to take its rights from the only active admin. `admins` must have been locked before the user was.
fn refuse_last_admin(admins: &[UserId], id: &UserId) -> Result<(), Stop> {
    if matches!(admins, [only] if only == id) { Err(ErrorCode::LastAdmin.into()) } else { Ok(()) }
}
