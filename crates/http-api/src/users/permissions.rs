//! GET `/api/v1/users/{id}/permissions`.

use api_types::users::UserPermissions;
use axum::Json;
use axum::extract::State;
use kernel::ErrorCode;

use super::shape::role_body;
use crate::{ApiError, ApiState, Caller, Params};

/// Says what a user may do
///
/// What follows from the role; to which objects is another question. Admins ask about everybody, others about themselves.
#[utoipa::path(
    get,
    path = "/api/v1/users/{id}/permissions",
    tag = "users",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "The user")),
    responses(
        (status = 200, description = "Role and permissions", body = UserPermissions),
        (status = 403, description = "`INSUFFICIENT_PERMISSIONS`: somebody else, asked by a non-admin"),
        (status = 404, description = "`USER_NOT_FOUND`"),
    ),
)]
pub async fn user_permissions(
    State(api): State<ApiState>,
    caller: Caller,
    params: Params,
) -> Result<Json<UserPermissions>, ApiError> {
    let id = super::visible_user_id(&caller, &params)?;
    let user = api.store.user(&id).await?.ok_or(ErrorCode::UserNotFound)?;
    Ok(Json(UserPermissions {
        user_id: user.id,
        role: role_body(user.role),
        permissions: user.role.permissions().map(|permission| permission.as_str().to_owned()).collect(),
    }))
}
