//! Agents: what they may spend, which keys they have, and the token by which their runtimes are known.

pub mod add_keys;
pub mod budget_history;
pub mod create;
pub mod create_ic_token;
pub mod delete;
pub mod get;
pub mod get_budget;
pub mod get_ic_token;
pub mod get_usd_budget;
mod issue;
pub mod list;
pub mod list_keys;
mod quota;
mod references;
pub mod regenerate_ic_token;
pub mod remove_key;
pub mod revoke_ic_token;
pub mod set_budget;
pub mod set_keys;
pub mod set_usd_budget;
pub(crate) mod shape;
pub mod status;
pub(crate) mod total;
pub mod update;

#[cfg(test)]
pub(crate) mod tests;

use kernel::{AgentId, ErrorCode};
use persistence::{Agent, AgentView, Visibility, Work};
pub(crate) use shape::status_body;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::state::ApiState;
use crate::transact::Stop;
use crate::{ApiError, Caller};

/// The routes of this module.
pub(crate) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list::list_agents, create::create_agent))
        .routes(routes!(get::get_agent, update::update_agent, delete::delete_agent))
        .routes(routes!(get_budget::get_agent_budget, set_budget::set_agent_budget))
        .routes(routes!(status::agent_status))
        .routes(routes!(list_keys::list_agent_keys, add_keys::add_agent_keys, set_keys::set_agent_keys))
        .routes(routes!(remove_key::remove_agent_key))
        .routes(routes!(get_ic_token::get_ic_token, create_ic_token::create_ic_token, revoke_ic_token::revoke_ic_token))
        .routes(routes!(regenerate_ic_token::regenerate_ic_token))
        .routes(routes!(get_usd_budget::get_agent_budget_usd, set_usd_budget::set_agent_budget_usd))
        .routes(routes!(budget_history::agent_budget_history))
}

/// Whose agents the caller sees, and what belongs to those.
pub(crate) fn visible_to(caller: &Caller) -> Visibility {
    if caller.is_admin() { Visibility::All } else { Visibility::Of(caller.user.clone()) }
}

/// The agent as it is shown, if there is one (404) and the caller may see it (403).
async fn visible(api: &ApiState, caller: &Caller, id: AgentId) -> Result<AgentView, ApiError> {
    let view = api.store.agent(id, api.clock.now()).await?.ok_or(ErrorCode::AgentNotFound)?;
    caller.require_sight_of(&view.agent.owner, ErrorCode::AccessDenied)?;
    Ok(view)
}

/// The same for whoever needs no more than the agent's row.
async fn visible_row(api: &ApiState, caller: &Caller, id: AgentId) -> Result<Agent, ApiError> {
    let row = api.store.agent_row(id).await?.filter(|agent| agent.deleted_at.is_none());
    let agent = row.ok_or(ErrorCode::AgentNotFound)?;
    caller.require_sight_of(&agent.owner, ErrorCode::AccessDenied)?;
    Ok(agent)
}

/// The agent, which nobody else changes and no money moves for until this work ends.
pub(crate) async fn locked(work: &mut Work, id: AgentId) -> Result<Agent, Stop> {
    let agent = work.agent_for_update(id).await?.filter(|agent| agent.deleted_at.is_none());
    agent.ok_or_else(|| ErrorCode::AgentNotFound.into())
}

/// The same, if the caller may see it: it may have been given away a moment ago.
async fn locked_visible(work: &mut Work, caller: &Caller, id: AgentId) -> Result<Agent, Stop> {
    let agent = locked(work, id).await?;
    caller.require_sight_of(&agent.owner, ErrorCode::AccessDenied)?;
    Ok(agent)
}
