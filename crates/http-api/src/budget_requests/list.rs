//! GET `/api/v1/budget/requests` and `/api/v1/budget-requests`, each also with `/me`: the same in two envelopes.

use api_types::budget_requests::{BudgetRequest as RequestBody, BudgetRequestList};
use api_types::paging::PageInfo;
use axum::Json;
use axum::extract::State;
use kernel::UserId;
use persistence::{BudgetRequestFilter, BudgetRequestSort, BudgetRequestStatus, Listed};

use super::shape::request_body;
use crate::agents::visible_to;
use crate::list::Page;
use crate::query::{Direction, QueryReader};
use crate::{ApiError, ApiState, Caller, Query};

const PER_PAGE: u32 = 50;
/// `denied` is another word for `rejected`.
const STATUSES: [(&str, BudgetRequestStatus); 5] = [
    ("pending", BudgetRequestStatus::Pending),
    ("approved", BudgetRequestStatus::Approved),
    ("rejected", BudgetRequestStatus::Rejected),
    ("cancelled", BudgetRequestStatus::Cancelled),
    ("denied", BudgetRequestStatus::Rejected),
];

#[derive(Clone, Copy)]
enum Key {
    Created,
    Requested,
}

/// Lists budget requests
///
/// Those of one's own and those for one's own agents; all of them, for administrators. Youngest first.
#[utoipa::path(
    get,
    path = "/api/v1/budget/requests",
    tag = "budget requests",
    security(("bearer" = [])),
    params(
        ("agent_id" = Option<String>, Query, description = "For this agent, `12` or `agent_12`"),
        ("requester_id" = Option<String>, Query, description = "Of this user"),
        ("status" = Option<String>, Query, description = "`pending`, `approved`, `rejected` (also `denied`), `cancelled`; \
            many"),
        ("from" = Option<String>, Query, description = "Made then or later; also `start_date`"),
        ("to" = Option<String>, Query, description = "Made before; also `end_date`"),
        ("time_zone" = Option<String>, Query, description = "Whose days `from` and `to` are"),
        ("sort" = Option<String>, Query, description = "`created_at` or `requested_budget`, with `-` in front for descending"),
        ("page" = Option<u32>, Query, description = "From 1; without it and `per_page` all rows, at most 10 000"),
        ("per_page" = Option<u32>, Query, description = "1 to 100; also taken as `page_size` and `limit`"),
    ),
    responses((status = 200, description = "The requests", body = BudgetRequestList)),
)]
pub async fn list_budget_requests(
    State(api): State<ApiState>,
    caller: Caller,
    query: Query,
) -> Result<Json<BudgetRequestList>, ApiError> {
    list(&api, &caller, &query, false).await
}

/// Lists one's own budget requests
///
/// As the other list, but only those that the caller has made.
#[utoipa::path(
    get,
    path = "/api/v1/budget/requests/me",
    tag = "budget requests",
    security(("bearer" = [])),
    responses((status = 200, description = "The requests", body = BudgetRequestList)),
)]
pub async fn list_own_budget_requests(
    State(api): State<ApiState>,
    caller: Caller,
    query: Query,
) -> Result<Json<BudgetRequestList>, ApiError> {
    list(&api, &caller, &query, true).await
}

/// Lists budget requests page by page
///
/// The same as at `budget/requests`, in the envelope of pages.
#[utoipa::path(
    get,
    path = "/api/v1/budget-requests",
    tag = "budget requests",
    security(("bearer" = [])),
    responses((status = 200, description = "One page", body = Page<RequestBody>)),
)]
pub async fn page_budget_requests(
    State(api): State<ApiState>,
    caller: Caller,
    query: Query,
) -> Result<Json<Page<RequestBody>>, ApiError> {
    page(&api, &caller, &query, false).await
}

/// Lists one's own budget requests page by page
///
/// The same as at `budget/requests/me`, in the envelope of pages.
#[utoipa::path(
    get,
    path = "/api/v1/budget-requests/me",
    tag = "budget requests",
    security(("bearer" = [])),
    responses((status = 200, description = "One page", body = Page<RequestBody>)),
)]
pub async fn page_own_budget_requests(
    State(api): State<ApiState>,
    caller: Caller,
    query: Query,
) -> Result<Json<Page<RequestBody>>, ApiError> {
    page(&api, &caller, &query, true).await
}

async fn list(api: &ApiState, caller: &Caller, query: &Query, own: bool) -> Result<Json<BudgetRequestList>, ApiError> {
    let mut q = query.reader();
    let (wanted, request) = (wanted(&mut q, caller, own), q.array());
    let ((filter, sort), request) = q.finish((wanted, request))?;
    let rows = persistence::Page { offset: request.offset(), limit: request.limit().into() };
    let listed = api.store.budget_requests(&filter, sort, rows).await?;
    let page = request.page.map_or(1, |page| page.page);
    let pagination = PageInfo::new(page, request.limit(), listed.total);
    Ok(Json(BudgetRequestList { requests: bodies(listed), pagination }))
}

async fn page(api: &ApiState, caller: &Caller, query: &Query, own: bool) -> Result<Json<Page<RequestBody>>, ApiError> {
    let mut q = query.reader();
    let (wanted, request) = (wanted(&mut q, caller, own), q.page(PER_PAGE));
    let ((filter, sort), request) = q.finish((wanted, request))?;
    let rows = persistence::Page { offset: request.offset(), limit: request.per_page.into() };
    let listed = api.store.budget_requests(&filter, sort, rows).await?;
    let total = listed.total;
    Ok(Json(Page::new(bodies(listed), request, total)))
}

fn bodies(listed: Listed<persistence::BudgetRequest>) -> Vec<RequestBody> {
    listed.rows.into_iter().map(request_body).collect()
}

/// What the query asks for; `own`: whatever it says, only what the caller has asked for.
fn wanted(q: &mut QueryReader<'_>, caller: &Caller, own: bool) -> (BudgetRequestFilter, BudgetRequestSort) {
    let range = q.time_range();
    let named = q.text("requester_id", 255).map(UserId::new);
    let filter = BudgetRequestFilter {
        visible_to: visible_to(caller),
        id: None,
        agent: q.agent_id("agent_id"),
        requester: if own { Some(caller.user.clone()) } else { named },
        statuses: q.words("status", &STATUSES),
        from: range.from,
        to: range.to,
    };
    let keys =
        [("created_at", Key::Created), ("requested_budget", Key::Requested), ("requested_budget_usd", Key::Requested)];
    let sort = match q.sort(&keys) {
        None | Some((Key::Created, Direction::Descending)) => BudgetRequestSort::CreatedDescending,
        Some((Key::Created, Direction::Ascending)) => BudgetRequestSort::CreatedAscending,
        Some((Key::Requested, Direction::Descending)) => BudgetRequestSort::RequestedDescending,
        Some((Key::Requested, Direction::Ascending)) => BudgetRequestSort::RequestedAscending,
    };
    (filter, sort)
}
