//! The audit log: reading it, taking it away as a file, checking that nobody has touched it.

pub mod list;
pub mod mine;
mod shape;
pub mod verify;

#[cfg(test)]
mod tests;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::state::ApiState;

/// The routes of this module.
pub(crate) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list::audit_logs))
        .routes(routes!(mine::my_audit_logs))
        .routes(routes!(verify::verify_audit_logs))
}
