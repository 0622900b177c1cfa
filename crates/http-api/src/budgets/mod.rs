//! Budgets: policies on the scopes that agents spend in.

pub mod create;
pub mod delete;
pub mod get;
pub mod list;
pub(crate) mod shape;
pub mod update;

#[cfg(test)]
mod tests;

use kernel::{BudgetId, ErrorCode};
use persistence::BudgetView;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::state::ApiState;
use crate::{ApiError, Params};

/// The routes of this module.
pub(crate) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(list::list_budgets, create::create_budget)).routes(routes!(
        get::get_budget,
        update::update_budget,
        update::patch_budget,
        delete::delete_budget
    ))
}

/// The budget of the path: 404 if there is none.
async fn existing(api: &ApiState, params: &Params) -> Result<BudgetView, ApiError> {
    let id = params.id("id", BudgetId::new)?;
    let found = api.store.budget(&id, api.clock.now()).await?;
    found.ok_or_else(|| ErrorCode::BudgetNotFound.into())
}
