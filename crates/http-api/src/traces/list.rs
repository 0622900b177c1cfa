//! GET `/api/v1/traces`: LLM requests one by one.

use api_types::traces::TraceBody;
use axum::Json;
use axum::extract::State;
use persistence::TraceCursor;

use super::shape::{body, filter};
use crate::list::CursorPage;
use crate::{ApiError, ApiState, Caller, Query};

/// LLM requests one by one
///
/// Youngest first. Filters combine; each may be repeated or hold a list separated by commas.
#[utoipa::path(
    get,
    path = "/api/v1/traces",
    tag = "traces",
    security(("bearer" = [])),
    params(
        ("agent_id" = Option<String>, Query, description = "`12` or `agent_12`"),
        ("project_id" = Option<String>, Query, description = "The project the agent was in then"),
        ("provider" = Option<String>, Query, description = "A kind of provider"),
        ("model" = Option<String>, Query, description = "A model"),
        ("status" = Option<String>, Query, description = "`completed`, `failed`"),
        ("lease_id" = Option<String>, Query, description = "The lease it was paid from"),
        ("request_id" = Option<String>, Query, description = "The id under which it was reported"),
        ("from" = Option<String>, Query, description = "At or after: milliseconds, RFC 3339 or a date; also `start_date`"),
        ("to" = Option<String>, Query, description = "Before; a date includes that day; also `end_date`"),
        ("time_zone" = Option<String>, Query, description = "IANA zone of dates, default UTC"),
        ("min_cost_micros" = Option<i64>, Query, description = "That cost at least so many micro-dollars"),
        ("limit" = Option<u32>, Query, description = "1 to 1000, default 20"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
    ),
    responses((status = 200, description = "Requests of own agents; an admin sees all", body = CursorPage<TraceBody>)),
)]
pub(crate) async fn list_traces(
    State(api): State<ApiState>,
    caller: Caller,
    query: Query,
) -> Result<Json<CursorPage<TraceBody>>, ApiError> {
    let mut q = query.reader();
    let wanted = filter(&caller, &mut q);
    let place = q.cursor(20);
    let cursor = place.cursor.as_deref().map(str::parse::<TraceCursor>);
    if matches!(cursor, Some(Err(_))) {
        q.error("cursor", "is not one of this list");
    }
    q.finish(())?;
    let slice = api.store.traces(&wanted, cursor.and_then(Result::ok), place.limit).await?;
    let next_cursor = slice.next.map(|cursor| cursor.to_string());
    Ok(Json(CursorPage { data: slice.rows.into_iter().map(body).collect(), next_cursor }))
}
