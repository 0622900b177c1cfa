//! GET `/api/v1/users`.

use api_types::users::UserList;
use auth::Role;
use axum::Json;
use axum::extract::State;
use persistence::{Page, UserFilter};

use super::shape::user_body;
use crate::list::PageRequest;
use crate::query::QueryReader;
use crate::{ApiError, ApiState, Caller, Query};

/// The default and the most of users per page: pickers of an owner ask for none and want all.
const MAX_PAGE_SIZE: u32 = 100;
const ROLES: [(&str, Role); 3] = [("admin", Role::Admin), ("user", Role::User), ("viewer", Role::Viewer)];

/// Lists users
///
/// Youngest first.
#[utoipa::path(
    get,
    path = "/api/v1/users",
    tag = "users",
    security(("bearer" = [])),
    params(
        ("role" = Option<String>, Query, description = "`admin`, `user` or `viewer`"),
        ("is_active" = Option<bool>, Query, description = "Active, or not"),
        ("search" = Option<String>, Query, description = "Name or e-mail contains this, without case"),
        ("include_deleted" = Option<bool>, Query, description = "Deleted ones too"),
        ("page" = Option<u32>, Query, description = "From 1"),
        ("page_size" = Option<u32>, Query, description = "1 to 100, also the default; more counts as 100"),
    ),
    responses((status = 200, description = "One page", body = UserList)),
)]
pub async fn list_users(State(api): State<ApiState>, caller: Caller, query: Query) -> Result<Json<UserList>, ApiError> {
    caller.require_admin()?;
    let mut q = query.reader();
    let filter = UserFilter {
        role: q.word("role", &ROLES),
        is_active: q.flag("is_active"),
        search: q.text("search", 255),
        include_deleted: q.flag("include_deleted").unwrap_or(false),
    };
    let page = page(&mut q);
    let (filter, page) = q.finish((filter, page))?;
    let bounds = Page { offset: page.offset(), limit: page.per_page.into() };
    let listed = api.store.users(&filter, bounds).await?;
    let now = api.clock.now();
    Ok(Json(UserList {
        users: listed.rows.into_iter().map(|user| user_body(user, now)).collect(),
        total: listed.total,
        page: page.page,
        page_size: page.per_page,
    }))
}

/// Unlike elsewhere a size above the limit counts as the limit.
fn page(q: &mut QueryReader<'_>) -> PageRequest {
    let page = q.int(&["page"], 1, u32::MAX.into());
    let size = q.int(&["page_size", "per_page", "limit"], 1, i64::MAX).map(|n| n.min(MAX_PAGE_SIZE.into()));
    let small = |n: Option<i64>, default| n.and_then(|n| u32::try_from(n).ok()).unwrap_or(default);
    PageRequest { page: small(page, 1), per_page: small(size, MAX_PAGE_SIZE) }
}
