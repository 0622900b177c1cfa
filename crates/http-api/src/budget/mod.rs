//! The budget protocol: the four verbs of agent runtimes, and the key they spend with.

pub mod agent_caller;
pub mod give_back;
pub mod handshake;
pub(crate) mod key;
pub mod provider_key;
pub(crate) mod quota;
pub mod refresh;
pub mod report;
pub mod report_batch;
mod shape;
#[cfg(test)]
mod tests;

pub(crate) use key::SECRET_KIND;
pub(crate) use shape::scope_body;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::ApiState;

/// The routes of this module.
pub fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(handshake::handshake))
        .routes(routes!(report::report))
        .routes(routes!(report_batch::report_batch))
        .routes(routes!(refresh::refresh))
        .routes(routes!(give_back::give_back))
        .routes(routes!(provider_key::provider_key))
}
