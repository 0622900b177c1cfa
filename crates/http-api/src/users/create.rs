//! POST `/api/v1/users`.

use api_types::users::{CreateUser, User as UserBody};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use kernel::{ErrorCode, FieldErrors, UserId};
use persistence::{AuditRecord, NewUser, UserTaken};

use super::shape::{audited, role_of, user_body};
use crate::settings::refuse_short_password;
use crate::transact::transact;
use crate::{ApiError, ApiState, Body, Caller, passwords};

/// Creates a user
///
/// Names and e-mails are compared without case and stay taken also after a user is deleted.
#[utoipa::path(
    post,
    path = "/api/v1/users",
    tag = "users",
    security(("bearer" = [])),
    request_body(
        content = CreateUser,
        example = json!({"username": "ada", "password": "correct horse", "email": "ada@example.com", "role": "user"}),
    ),
    responses(
        (status = 201, description = "Created", body = UserBody),
        (status = 409, description = "`USER_EXISTS`; `fields` names `username`, `email` or both"),
    ),
)]
pub async fn create_user(
    State(api): State<ApiState>,
    caller: Caller,
    body: Body,
) -> Result<(StatusCode, Json<UserBody>), ApiError> {
    caller.require_admin()?;
    let request: CreateUser = body.read()?;
    refuse_short_password(&api, &request.password, "password").await?;
    let new = NewUser {
        id: UserId::random(&*api.entropy),
        username: request.username,
        email: Some(request.email),
        password_hash: passwords::hash(&api, &request.password).await?,
        role: role_of(request.role),
        must_change_password: false,
    };
    let created = transact!(api, async |work| {
        work.create_user(&new).await?.map_err(taken)?;
        let user = super::locked(work, &new.id).await?;
        let mut after = audited(&user);
        after["password"] = "[REDACTED]".into();
        work.audit(AuditRecord::new("USER_CREATED", "user", &user.id, caller.audit_actor()).changed(None, after));
        Ok(user_body(user, work.now()))
    });
    Ok((StatusCode::CREATED, Json(created.await?)))
}

/// 409, naming what is taken.
pub(super) fn taken(taken: UserTaken) -> ApiError {
    let mut fields = FieldErrors::default();
    for (name, is_taken) in [("username", taken.username), ("email", taken.email)] {
        if is_taken {
            fields.add(name, "is taken");
        }
    }
    ApiError::from(ErrorCode::UserExists).fields(fields)
}
