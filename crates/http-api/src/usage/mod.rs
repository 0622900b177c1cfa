//! Usage (§14): tokens, requests and cents, by provider, project and token. The same facts as everywhere in analytics,
//! failed requests included.
//!
//! Every figure is rounded once, from the exact one: a total comes from the exact sum and not from rounded parts.

mod by_project;
mod by_provider;
mod export;
mod of_token;
mod shape;
#[cfg(test)]
mod tests;
mod total;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::ApiState;

/// The routes of this module.
pub fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(total::usage_total))
        .routes(routes!(by_project::usage_by_project))
        .routes(routes!(by_project::usage_of_project))
        .routes(routes!(by_provider::usage_of_providers))
        .routes(routes!(by_provider::usage_of_provider))
        .routes(routes!(of_token::usage_of_token))
        .routes(routes!(export::usage_export))
}
