//! GET `/api/v1/budget/freezes`.

use api_types::control::FreezeBody;
use axum::Json;
use axum::extract::State;
use ledger::ScopeKind;
use persistence::{FreezeFilter, Page as Rows};

use super::shape::{freeze_body, visible_to};
use crate::list::Page;
use crate::{ApiError, ApiState, Caller, Query};

const KINDS: [(&str, ScopeKind); 4] = [
    ("agent", ScopeKind::Agent),
    ("project", ScopeKind::Project),
    ("owner", ScopeKind::Owner),
    ("organization", ScopeKind::Organization),
];

/// Freezes, youngest first
#[utoipa::path(
    get,
    path = "/api/v1/budget/freezes",
    tag = "budget control",
    security(("bearer" = [])),
    params(
        ("active" = Option<bool>, Query, description = "Default: true"),
        ("scope_kind" = Option<String>, Query, description = "`agent`, `project`, `owner` or `organization`"),
        ("scope_id" = Option<String>, Query, description = "Id of the scope"),
        ("page" = Option<u32>, Query, description = "From 1"),
        ("per_page" = Option<u32>, Query, description = "1 to 100, default 50"),
    ),
    responses((status = 200, description = "Those that cover own agents; an admin sees all", body = Page<FreezeBody>)),
)]
pub async fn freezes(
    State(api): State<ApiState>,
    caller: Caller,
    query: Query,
) -> Result<Json<Page<FreezeBody>>, ApiError> {
    let mut q = query.reader();
    let active = Some(q.flag("active").unwrap_or(true));
    let kind = q.word("scope_kind", &KINDS);
    let scope_id = q.text("scope_id", 100);
    let page = q.page(50);
    q.finish(())?;
    let filter = FreezeFilter { visible_to: visible_to(&caller), active, kind, scope_id };
    let listed = api.store.freezes(&filter, Rows { offset: page.offset(), limit: page.per_page.into() }).await?;
    Ok(Json(Page::new(listed.rows.into_iter().map(freeze_body).collect(), page, listed.total)))
}
