//! GET `/api/v1/budgets/{id}`.

use api_types::budgets::Budget as BudgetBody;
use axum::Json;
use axum::extract::State;

use super::shape::budget_body;
use crate::{ApiError, ApiState, Caller, Params};

/// Shows a budget
///
/// With the figures of its current window.
#[utoipa::path(
    get,
    path = "/api/v1/budgets/{id}",
    tag = "budgets",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "The budget")),
    responses(
        (status = 200, description = "The budget", body = BudgetBody),
        (status = 404, description = "`BUDGET_NOT_FOUND`"),
    ),
)]
pub async fn get_budget(
    State(api): State<ApiState>,
    caller: Caller,
    params: Params,
) -> Result<Json<BudgetBody>, ApiError> {
    caller.require_admin()?;
    Ok(Json(budget_body(super::existing(&api, &params).await?)))
}
