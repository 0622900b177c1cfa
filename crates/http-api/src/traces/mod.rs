//! Traces (§15): one record for each LLM request. Metadata only: there is nothing else in the store.

mod export;
mod get;
mod list;
mod shape;
#[cfg(test)]
mod tests;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::ApiState;

/// The routes of this module.
pub fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        // One address, so one entry: spans arrive where traces are listed
        .routes(routes!(list::list_traces, crate::otlp::receive::receive_spans))
        .routes(routes!(export::export_traces))
        .routes(routes!(get::get_trace))
}
