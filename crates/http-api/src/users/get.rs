//! GET `/api/v1/users/{id}`.

use api_types::users::User as UserBody;
use axum::Json;
use axum::extract::State;
use kernel::ErrorCode;

use super::shape::user_body;
use crate::{ApiError, ApiState, Caller, Params};

/// Shows a user
///
/// Admins see everybody, deleted ones too; others only themselves.
#[utoipa::path(
    get,
    path = "/api/v1/users/{id}",
    tag = "users",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "The user")),
    responses(
        (status = 200, description = "The user", body = UserBody),
        (status = 403, description = "`INSUFFICIENT_PERMISSIONS`: somebody else, asked by a non-admin"),
        (status = 404, description = "`USER_NOT_FOUND`"),
    ),
)]
pub async fn get_user(State(api): State<ApiState>, caller: Caller, params: Params) -> Result<Json<UserBody>, ApiError> {
    let id = super::visible_user_id(&caller, &params)?;
    let user = api.store.user(&id).await?.ok_or(ErrorCode::UserNotFound)?;
    Ok(Json(user_body(user, api.clock.now())))
}
