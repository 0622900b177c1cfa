//! GET `/api/v1/projects`.

use api_types::paging::PageInfo;
use api_types::projects::{ProjectList, ProjectPageInfo};
use axum::Json;
use axum::extract::State;
use persistence::Page;

use super::shape::project_body;
use crate::agents::visible_to;
use crate::{ApiError, ApiState, Caller, Query};

const PER_PAGE: u32 = 50;

/// Lists projects
///
/// The one that stands for the whole installation first, then the youngest. A user sees that one and the projects of own
/// agents.
#[utoipa::path(
    get,
    path = "/api/v1/projects",
    tag = "projects",
    security(("bearer" = [])),
    params(
        ("search" = Option<String>, Query, description = "The name contains this, without case"),
        ("page" = Option<u32>, Query, description = "From 1"),
        ("per_page" = Option<u32>, Query, description = "1 to 100, 50 unless given; also taken as `page_size` and `limit`"),
    ),
    responses((status = 200, description = "One page", body = ProjectList)),
)]
pub async fn list_projects(
    State(api): State<ApiState>,
    caller: Caller,
    query: Query,
) -> Result<Json<ProjectList>, ApiError> {
    let mut q = query.reader();
    let (search, request) = (q.text("search", 100), q.page(PER_PAGE));
    let (search, request) = q.finish((search, request))?;
    let page = Page { offset: request.offset(), limit: request.per_page.into() };
    let listed = api.store.projects(&visible_to(&caller), search.as_deref(), page).await?;
    let PageInfo { page, per_page, total, total_pages } = PageInfo::new(request.page, request.per_page, listed.total);
    Ok(Json(ProjectList {
        data: listed.rows.into_iter().map(project_body).collect(),
        pagination: ProjectPageInfo { page, per_page, total, total_items: total, total_pages },
    }))
}
