//! Requests that an agent's total becomes another one: asking, looking, answering.
//!
//! Both families of paths lead here (`crate::alias`); only the envelope of the lists differs. Locks are taken in the order
//! users, the agent's book, the request: as by whoever deletes a user or an agent.

pub mod approve;
pub mod cancel;
pub mod create;
pub mod get;
pub mod list;
pub mod reject;
mod shape;

#[cfg(test)]
mod tests;

use kernel::{BudgetRequestId, ErrorCode};
use persistence::{BudgetRequest, Visibility};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::state::ApiState;
use crate::{ApiError, Params};

pub(crate) use shape::note_cancelled;

/// The routes of this module.
pub(crate) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list::list_budget_requests, create::create_budget_request))
        .routes(routes!(list::list_own_budget_requests))
        .routes(routes!(list::page_budget_requests))
        .routes(routes!(list::page_own_budget_requests))
        .routes(routes!(get::get_budget_request, cancel::cancel_budget_request))
        .routes(routes!(approve::approve_budget_request))
        .routes(routes!(reject::reject_budget_request))
}

/// The request of the path, if somebody may see it: 404 otherwise.
async fn visible(api: &ApiState, params: &Params, visible_to: &Visibility) -> Result<BudgetRequest, ApiError> {
    let id = params.id("id", BudgetRequestId::new)?;
    api.store.budget_request(&id, visible_to).await?.ok_or_else(|| ErrorCode::RequestNotFound.into())
}
