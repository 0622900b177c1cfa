//! The HTTP surface of the control plane.
//!
//! Handlers are translation: they read input, ask who the caller is, call one function of the layer below, and shape its
//! result. The rules about money, rights and storage are not here, and no driver type is seen here.
//!
//! # A request's way
//!
//! [`service::App`] (id, clean-up of the path, CORS, time limit, error shape, log, metrics) → the router → [`guard`]
//! (media type and size of the body, 415 and 413) → extractors in the order they are written (the caller: 401) → the
//! handler (role: 403; then body, query and path parts: 400; then objects and states).
//!
//! # Adding an endpoint
//!
//! One file per endpoint under the module of its resource, with the response type, the handler and its description
//! ([`system::version`] is a small one to copy); one line in that module's `routes()`; a new module is merged in
//! [`openapi::routes`]. Extractors never fail on their own account, so the order of checks is the order of the lines:
//!
//! ```ignore
//! /// Changes an agent's total
//! #[utoipa::path(put, path = "/api/v1/agents/{id}/budget", tag = "agents", security(("bearer" = [])),
//!     params(("id" = String, Path, description = "`12` or `agent_12`")),
//!     request_body = SetBudget, responses((status = 200, body = AgentBudget)))]
//! pub async fn set_budget(
//!     State(api): State<ApiState>, caller: Caller, params: Params, body: Body,
//! ) -> Result<Json<AgentBudget>, ApiError> {
//!     caller.require_admin()?;                    // 403
//!     let request: SetBudget = body.read()?;      // 400, every failing field named
//!     let id = params.agent_id("id")?;            // 400 INVALID_PARAMETER
//!     ...
//!     Err(ErrorCode::AgentNotFound.into())        // 404
//! }
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`error`] | [`ApiError`], the one shape of failures |
//! | [`body`], [`query`], [`path`] | reading input, every mistake named |
//! | [`list`] | the envelopes of lists |
//! | [`export`] | lists as files |
//! | [`bearer`] | the credential of the `Authorization` header |
//! | [`caller`] | who calls with a user's token, and what they may do |
//! | `transact` | one transaction with its decision, its consequences and its audit record |
//! | `passwords` | hashing, off the async threads and bounded |
//! | [`context`] | id, client address and actor of the request |
//! | [`service`], [`guard`], [`normalize`], [`alias`], [`cors`], [`client_ip`] | what happens to every request |
//! | [`limit`] | rate limits |
//! | [`metrics`], [`health`] | what is measured, and whether the parts work |
//! | [`openapi`] | the list of all routes and their description |
//! | [`system`] | endpoints about the service itself |
//! | [`stream`] | the live stream: WebSockets and server-sent events |
//! | [`auth`](mod@auth), [`users`] | logins; the people behind them |
//! | [`mod@audit`] | who did what |
//! | [`events`], `otlp`, [`traces`] | what agents tell of their LLM requests, and what is known of each |
//! | [`mod@settings`] | what users, projects and the installation have set |
//! | [`usage`] | tokens, requests and cents |
//! | [`tokens`], [`keys`] | API tokens; the provider keys that people get by them |
//! | [`analytics`](mod@analytics) | questions about spending and usage |

pub mod agents;
mod alias;
pub mod analytics;
pub mod audit;
pub mod auth;
pub mod bearer;
pub mod body;
pub mod budget;
pub mod budget_requests;
pub mod budgets;
pub mod caller;
pub mod client_ip;
pub mod context;
pub mod control;
pub mod cors;
pub mod error;
pub mod events;
pub mod export;
mod failure;
pub mod guard;
pub mod health;
pub mod keys;
pub mod limit;
pub mod limits;
pub mod list;
pub mod metrics;
mod normalize;
pub mod openapi;
mod otlp;
mod passwords;
pub mod path;
pub mod projects;
pub mod providers;
pub mod query;
pub mod service;
pub mod settings;
pub mod state;
pub mod stream;
pub mod system;
pub mod tokens;
pub mod traces;
mod transact;
pub mod usage;
pub mod users;

#[cfg(test)]
mod doors;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use body::Body;
pub use caller::Caller;
pub use context::RequestContext;
pub use error::ApiError;
pub use path::Params;
pub use query::Query;
pub use service::{App, HttpSettings};
pub use state::{ApiState, BuildInfo, Services};

/// The whole surface: every route with its state, and what happens to every request.
pub fn app(api: ApiState, settings: HttpSettings) -> App {
    let (router, _) = openapi::routes().split_for_parts();
    App::new(router.with_state(api.clone()), api, settings)
}
