//! GET `/api/v1/agents`.

use api_types::agents::Agent as AgentBody;
use axum::extract::State;
use kernel::{ProjectId, UserId};
use persistence::{AgentFilter, AgentSort, AgentStatus, Page};

use super::shape::agent_body;
use crate::list::ArrayList;
use crate::query::{Direction, QueryReader};
use crate::{ApiError, ApiState, Caller, Query};

/// What the list may be ordered by.
#[derive(Clone, Copy)]
enum SortKey {
    Name,
    Budget,
    CreatedAt,
}

const SORT_KEYS: [(&str, SortKey); 3] =
    [("name", SortKey::Name), ("budget", SortKey::Budget), ("created_at", SortKey::CreatedAt)];

/// Lists agents
///
/// A user sees their own, an administrator all of them.
#[utoipa::path(
    get,
    path = "/api/v1/agents",
    tag = "agents",
    security(("bearer" = [])),
    params(
        ("name" = Option<String>, Query, description = "The name contains this, without case"),
        ("status" = Option<String>, Query, description = "`active`, `exhausted`, `inactive` or `frozen`"),
        ("project_id" = Option<String>, Query, description = "In this project"),
        ("owner_id" = Option<String>, Query, description = "Of this owner"),
        ("tag" = Option<String>, Query, description = "With this label"),
        ("include_deleted" = Option<bool>, Query, description = "Deleted ones too; for administrators, others' is ignored"),
        ("sort" = Option<String>, Query, description = "`name`, `budget` or `created_at`, with `-` in front for \
            descending; `-created_at` unless given"),
        ("page" = Option<u32>, Query, description = "From 1; without it and `per_page` all are listed, at most 10 000"),
        ("per_page" = Option<u32>, Query, description = "1 to 100; also taken as `page_size` and `limit`"),
    ),
    responses((status = 200, description = "An array; `x-total-count` says how many there are in all", body = Vec<AgentBody>)),
)]
pub async fn list_agents(
    State(api): State<ApiState>,
    caller: Caller,
    query: Query,
) -> Result<ArrayList<AgentBody>, ApiError> {
    let mut q = query.reader();
    let (filter, sort, request) = (filter(&mut q, &caller), sort(&q), q.array());
    let (filter, sort, request) = q.finish((filter, sort, request))?;
    let page = Page { offset: request.offset(), limit: request.limit().into() };
    let listed = api.store.agents(&filter, sort, page, api.clock.now()).await?;
    let rows = listed.rows.into_iter().map(agent_body).collect();
    Ok(ArrayList::new(rows, listed.total, request))
}

fn filter(q: &mut QueryReader<'_>, caller: &Caller) -> AgentFilter {
    let statuses = AgentStatus::ALL.map(|status| (status.as_str(), status));
    AgentFilter {
        visible_to: super::visible_to(caller),
        name: q.text("name", 200),
        status: q.word("status", &statuses),
        project: q.text("project_id", 100).map(ProjectId::new),
        owner: q.text("owner_id", 255).map(UserId::new),
        tag: q.text("tag", 50),
        include_deleted: q.flag("include_deleted").unwrap_or(false) && caller.is_admin(),
        id: None,
    }
}

fn sort(q: &QueryReader<'_>) -> AgentSort {
    match q.sort(&SORT_KEYS) {
        None => AgentSort::default(),
        Some((SortKey::Name, Direction::Ascending)) => AgentSort::NameAscending,
        Some((SortKey::Name, Direction::Descending)) => AgentSort::NameDescending,
        Some((SortKey::Budget, Direction::Ascending)) => AgentSort::BudgetAscending,
        Some((SortKey::Budget, Direction::Descending)) => AgentSort::BudgetDescending,
        Some((SortKey::CreatedAt, Direction::Ascending)) => AgentSort::CreatedAscending,
        Some((SortKey::CreatedAt, Direction::Descending)) => AgentSort::CreatedDescending,
    }
}
