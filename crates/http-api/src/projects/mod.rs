//! Projects: groups of agents with keys in common.

pub mod create;
pub mod delete;
pub mod get;
pub mod list;
mod shape;
pub mod update;

#[cfg(test)]
mod tests;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::state::ApiState;

/// The routes of this module.
pub(crate) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(list::list_projects, create::create_project)).routes(routes!(
        get::get_project,
        update::update_project,
        delete::delete_project
    ))
}
