//! Provider keys, who has them, and the projects that lend them.
//!
//! A secret comes in with `POST` or `PUT`, is sealed before a transaction begins, and never goes out here.

pub mod add_agents;
pub mod assign_to_project;
pub mod create;
pub mod delete;
pub mod get;
pub mod list;
pub mod list_agents;
pub mod remove_agent;
mod seal;
pub mod set_agents;
mod shape;
pub mod unassign_from_project;
pub mod update;

#[cfg(test)]
mod tests;

use kernel::{ErrorCode, ProviderKeyId};
use persistence::{Page, ProviderKey, ProviderKeyFilter, Visibility};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::state::ApiState;
use crate::{ApiError, Params};

/// The routes of this module.
pub(crate) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list::list_providers, create::create_provider))
        .routes(routes!(get::get_provider, update::update_provider, delete::delete_provider))
        .routes(routes!(
            list_agents::list_provider_agents,
            add_agents::add_provider_agents,
            set_agents::set_provider_agents
        ))
        .routes(routes!(remove_agent::remove_provider_agent))
        .routes(routes!(assign_to_project::assign_project_provider, unassign_from_project::unassign_project_provider))
}

/// The key of the path.
fn key_id(params: &Params) -> Result<ProviderKeyId, ApiError> {
    params.int("id").map(ProviderKeyId)
}

/// The key, if there is one that these eyes may see: 404 otherwise.
async fn visible(api: &ApiState, id: ProviderKeyId, visible_to: Visibility) -> Result<ProviderKey, ApiError> {
    let filter = ProviderKeyFilter { visible_to, id: Some(id), ..ProviderKeyFilter::default() };
    let found = api.store.provider_keys(&filter, Page::first(1)).await?.rows.pop();
    found.ok_or_else(|| ErrorCode::ProviderNotFound.into())
}
