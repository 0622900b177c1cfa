//! Logging in, staying logged in and logging out.
//!
//! Below `/api/v1/auth/` every error has an object under `error`; the outermost service sees to that.

mod attempt;
pub mod change_password;
pub mod end_session;
pub mod end_sessions;
pub mod list_sessions;
pub mod login;
pub mod logout;
pub mod refresh;
mod session;
pub mod validate;

#[cfg(test)]
mod tests;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::state::ApiState;

/// The routes of this module.
pub(crate) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(login::login))
        .routes(routes!(refresh::refresh_session))
        .routes(routes!(logout::logout))
        .routes(routes!(validate::validate_token))
        .routes(routes!(change_password::change_password))
        .routes(routes!(list_sessions::list_sessions, end_sessions::end_other_sessions))
        .routes(routes!(end_session::end_session))
}
