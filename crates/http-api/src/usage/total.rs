//! GET `/api/v1/usage`: what was used in all.

use api_types::usage::UsageBody;
use axum::Json;
use axum::extract::State;

use super::shape::asked;
use crate::{ApiError, ApiState, Caller, Query};

/// What was used in all
#[utoipa::path(
    get,
    path = "/api/v1/usage",
    tag = "usage",
    security(("bearer" = [])),
    params(
        ("from" = Option<String>, Query, description = "At or after: milliseconds, RFC 3339 or a date; also `start_date`"),
        ("to" = Option<String>, Query, description = "Before; a date includes that day; also `end_date`"),
        ("time_zone" = Option<String>, Query, description = "IANA zone of dates, default UTC"),
        ("project_id" = Option<String>, Query, description = "Agents that were in this project then"),
    ),
    responses((status = 200, description = "By own agents; an admin sees all", body = UsageBody)),
)]
pub(crate) async fn usage_total(
    State(api): State<ApiState>,
    caller: Caller,
    query: Query,
) -> Result<Json<UsageBody>, ApiError> {
    Ok(Json(asked(&api, &caller, &query)?.usage(&api).await?))
}
