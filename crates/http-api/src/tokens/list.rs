//! GET `/api/v1/api-tokens`.

use api_types::tokens::ApiToken as ApiTokenBody;
use axum::extract::State;
use kernel::UserId;
use persistence::{ApiTokenFilter, ApiTokenSort, Page};

use super::shape::token_body;
use crate::list::ArrayList;
use crate::query::{Direction, QueryReader};
use crate::{ApiError, ApiState, Caller, Query};

/// What the list may be ordered by.
#[derive(Clone, Copy)]
enum SortKey {
    Name,
    CreatedAt,
    LastUsed,
}

const SORT_KEYS: [(&str, SortKey); 4] = [
    ("name", SortKey::Name),
    ("created_at", SortKey::CreatedAt),
    ("last_used", SortKey::LastUsed),
    ("last_used_at", SortKey::LastUsed),
];

/// Lists API tokens
///
/// One's own, ended ones included; an administrator may ask for those of somebody else or of everybody.
#[utoipa::path(
    get,
    path = "/api/v1/api-tokens",
    tag = "api tokens",
    security(("bearer" = [])),
    params(
        ("all" = Option<bool>, Query, description = "Everybody's; for administrators, others' is ignored"),
        ("user_id" = Option<String>, Query, description = "Of this owner"),
        ("active" = Option<bool>, Query, description = "Neither revoked nor run out; or either"),
        ("sort" = Option<String>, Query, description = "`name`, `created_at` or `last_used`, with `-` in front for \
            descending; `-created_at` unless given"),
        ("page" = Option<u32>, Query, description = "From 1; without it and `per_page` all are listed, at most 10 000"),
        ("per_page" = Option<u32>, Query, description = "1 to 100; also taken as `page_size` and `limit`"),
    ),
    responses((status = 200, description = "An array; `x-total-count` says how many there are in all",
        body = Vec<ApiTokenBody>)),
)]
pub async fn list_api_tokens(
    State(api): State<ApiState>,
    caller: Caller,
    query: Query,
) -> Result<ArrayList<ApiTokenBody>, ApiError> {
    let mut q = query.reader();
    let read = (q.flag("all").unwrap_or(false), q.text("user_id", 255).map(UserId::new), q.flag("active"));
    let (sort, request) = (sort(&q), q.array());
    let ((all, user, active), sort, request) = q.finish((read, sort, request))?;
    let user = match user {
        Some(user) if !caller.sees(&user) => return Ok(ArrayList::new(Vec::new(), 0, request)),
        Some(user) => Some(user),
        None if all && caller.is_admin() => None,
        None => Some(caller.user.clone()),
    };
    let filter = ApiTokenFilter { user, active, ..ApiTokenFilter::default() };
    let page = Page { offset: request.offset(), limit: request.limit().into() };
    let now = api.clock.now();
    let listed = api.store.api_tokens(&filter, sort, page, now).await?;
    let rows = listed.rows.into_iter().map(|token| token_body(token, now)).collect();
    Ok(ArrayList::new(rows, listed.total, request))
}

fn sort(q: &QueryReader<'_>) -> ApiTokenSort {
    match q.sort(&SORT_KEYS) {
        None => ApiTokenSort::default(),
        Some((SortKey::Name, Direction::Ascending)) => ApiTokenSort::NameAscending,
        Some((SortKey::Name, Direction::Descending)) => ApiTokenSort::NameDescending,
        Some((SortKey::CreatedAt, Direction::Ascending)) => ApiTokenSort::CreatedAscending,
        Some((SortKey::CreatedAt, Direction::Descending)) => ApiTokenSort::CreatedDescending,
        Some((SortKey::LastUsed, Direction::Ascending)) => ApiTokenSort::LastUsedAscending,
        Some((SortKey::LastUsed, Direction::Descending)) => ApiTokenSort::LastUsedDescending,
    }
}
