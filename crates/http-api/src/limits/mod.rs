//! Limits of owners: tokens in a day, calls in a minute, money in a month; and the token ceiling of the whole installation.
//!
//! Money is a budget of the owner scope, kept in step with the limit in the limit's own transactions ([`money`]). Tokens and
//! calls are checked before money is lent (`crate::budget::quota`).

pub mod create;
pub mod delete;
pub mod get;
pub mod get_ceiling;
pub mod list;
mod money;
pub mod set_ceiling;
mod shape;
pub mod update;

#[cfg(test)]
mod tests;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::state::ApiState;

pub(crate) use delete::end_limits_of_project;

/// The routes of this module.
pub(crate) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list::list_limits, create::create_limit))
        .routes(routes!(get::get_limit, update::update_limit, delete::delete_limit))
        .routes(routes!(get_ceiling::get_token_ceiling, set_ceiling::set_token_ceiling))
}
