//! Questions about spending and usage (§12).
//!
//! Every question is read by [`asked::Asked`]: which time, whose facts. Whoever is not an admin is answered from the facts
//! of agents they own now; what a filter names beyond that is not there. Sums are exact until they are written down.

mod asked;
pub mod avg_per_request;
pub mod budget_status;
pub mod by_agent;
pub mod by_agent_list;
pub mod by_model;
pub mod by_period;
pub mod by_provider;
pub mod by_provider_list;
mod daily;
pub mod errors;
pub mod events;
pub mod forecast;
pub mod metrics;
pub mod query;
pub mod requests;
mod shape;
pub mod spending;
pub mod spending_export;
#[cfg(test)]
mod tests;
pub mod tokens_by_agent;
pub mod total;
pub mod usage;
pub mod usage_export;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::ApiState;

/// The routes of this module.
pub(crate) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(total::total_spending))
        .routes(routes!(by_agent::spending_by_agent))
        .routes(routes!(by_provider::spending_by_provider))
        .routes(routes!(avg_per_request::cost_per_request))
        .routes(routes!(by_period::spending_by_period))
        .routes(routes!(budget_status::budget_status))
        .routes(routes!(requests::request_outcomes))
        .routes(routes!(tokens_by_agent::tokens_by_agent))
        .routes(routes!(by_model::usage_by_model))
        .routes(routes!(events::list_events))
        .routes(routes!(usage::usage_totals))
        .routes(routes!(spending::spending_totals))
        .routes(routes!(metrics::call_metrics))
        .routes(routes!(by_agent_list::usage_by_agent))
        .routes(routes!(by_provider_list::usage_by_provider))
        .routes(routes!(errors::call_errors))
        .routes(routes!(usage_export::export_usage))
        .routes(routes!(spending_export::export_spending))
        .routes(routes!(query::query))
        .routes(routes!(forecast::forecast))
}
