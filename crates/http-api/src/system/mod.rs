//! Endpoints about the service itself. The pattern for every module of endpoints: one file per endpoint, in each the
//! response type, the handler with its description, and what only that endpoint needs; the routes are listed here.

pub mod docs;
pub mod health;
pub mod livez;
pub mod metrics;
pub mod openapi_json;
pub mod readyz;
pub mod version;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::state::ApiState;

/// The routes of this module.
pub(crate) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(health::health))
        .routes(routes!(version::version))
        .routes(routes!(livez::livez))
        .routes(routes!(readyz::readyz))
        .routes(routes!(metrics::metrics))
        .routes(routes!(openapi_json::openapi_json))
        .routes(routes!(docs::docs))
        .route("/docs/docs.js", axum::routing::get(docs::script))
        .route("/docs/docs.css", axum::routing::get(docs::style))
}
