//! GET `/api/v1/agents/{id}/tokens`.

use api_types::tokens::AgentToken;
use axum::extract::State;
use persistence::{ApiTokenFilter, ApiTokenSort, Page};

use crate::list::ArrayList;
use crate::tokens::shape::agent_token_body;
use crate::{ApiError, ApiState, Caller, Params, Query};

/// Lists the API tokens of an agent
///
/// Those that were made for it, ended ones included, youngest first; to others than administrators only their own.
#[utoipa::path(
    get,
    path = "/api/v1/agents/{id}/tokens",
    tag = "agents",
    security(("bearer" = [])),
    params(
        ("id" = String, Path, description = "`12` or `agent_12`"),
        ("page" = Option<u32>, Query, description = "From 1; without it and `per_page` all are listed, at most 10 000"),
        ("per_page" = Option<u32>, Query, description = "1 to 100; also taken as `page_size` and `limit`"),
    ),
    responses(
        (status = 200, description = "An array", body = Vec<AgentToken>),
        (status = 403, description = "`ACCESS_DENIED`: the agent belongs to somebody else"),
        (status = 404, description = "`AGENT_NOT_FOUND`"),
    ),
)]
pub async fn list_agent_tokens(
    State(api): State<ApiState>,
    caller: Caller,
    params: Params,
    query: Query,
) -> Result<ArrayList<AgentToken>, ApiError> {
    let mut q = query.reader();
    let request = q.array();
    let request = q.finish(request)?;
    let agent = super::visible_row(&api, &caller, params.agent_id("id")?).await?;
    let user = (!caller.is_admin()).then(|| caller.user.clone());
    let filter = ApiTokenFilter { user, agent: Some(agent.id), ..ApiTokenFilter::default() };
    let page = Page { offset: request.offset(), limit: request.limit().into() };
    let now = api.clock.now();
    let listed = api.store.api_tokens(&filter, ApiTokenSort::default(), page, now).await?;
    let rows = listed.rows.into_iter().map(|token| agent_token_body(token, now)).collect();
    Ok(ArrayList::new(rows, listed.total, request))
}
