//! GET `/api/v1/limits`.

use api_types::limits::Limit as LimitBody;
use axum::extract::State;
use kernel::{ProjectId, UserId};
use persistence::{LimitFilter, Page};

use super::shape::limit_bodies;
use crate::agents::visible_to;
use crate::list::ArrayList;
use crate::{ApiError, ApiState, Caller, Query};

/// Lists limits
///
/// One's own; all of them, for administrators. Youngest first, each with what is used.
#[utoipa::path(
    get,
    path = "/api/v1/limits",
    tag = "limits",
    security(("bearer" = [])),
    params(
        ("user_id" = Option<String>, Query, description = "Of this owner"),
        ("project_id" = Option<String>, Query, description = "For this project"),
        ("page" = Option<u32>, Query, description = "From 1; without it and `per_page` all rows, at most 10 000"),
        ("per_page" = Option<u32>, Query, description = "1 to 100; also taken as `page_size` and `limit`"),
    ),
    responses((status = 200, description = "The limits; how many there are is in `x-total-count`", body = [LimitBody])),
)]
pub async fn list_limits(
    State(api): State<ApiState>,
    caller: Caller,
    query: Query,
) -> Result<ArrayList<LimitBody>, ApiError> {
    let mut q = query.reader();
    let filter = LimitFilter {
        visible_to: visible_to(&caller),
        id: None,
        user: q.text("user_id", 255).map(UserId::new),
        project: q.text("project_id", 100).map(ProjectId::new),
    };
    let request = q.array();
    let (filter, request) = q.finish((filter, request))?;
    let page = Page { offset: request.offset(), limit: request.limit().into() };
    let listed = api.store.limits(&filter, page).await?;
    Ok(ArrayList::new(limit_bodies(&api, listed.rows).await?, listed.total, request))
}
