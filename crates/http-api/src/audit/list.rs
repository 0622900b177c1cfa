//! GET `/api/v1/audit-logs`.

use api_types::audit::AuditEntry;
use axum::extract::State;
use axum::response::Response;

use super::shape::{answer, question};
use crate::list::CursorPage;
use crate::{ApiError, ApiState, Caller, Query};

/// Who did what
///
/// The youngest entries first. With `format` the entries as a file: all of them that the conditions leave, unless `limit`
/// is given.
#[utoipa::path(
    get,
    path = "/api/v1/audit-logs",
    tag = "audit",
    security(("bearer" = [])),
    params(
        ("user_id" = Option<String>, Query, description = "Who did it; one or more, separated by commas"),
        ("resource_type" = Option<String>, Query, description = "The kind of thing; one or more"),
        ("resource_id" = Option<String>, Query, description = "The thing; one or more"),
        ("operation" = Option<String>, Query, description = "What was done; one or more"),
        ("from" = Option<String>, Query, description = "At or after: milliseconds, RFC 3339 or a date; also `start_date`"),
        ("to" = Option<String>, Query, description = "Before; a date means the end of that day; also `end_date`"),
        ("time_zone" = Option<String>, Query, description = "That dates are read in; UTC unless given"),
        ("format" = Option<String>, Query, description = "`json` or `csv`: as a file"),
        ("limit" = Option<u32>, Query, description = "1 to 1000, default 100"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
    ),
    responses(
        (status = 200, description = "Entries", body = CursorPage<AuditEntry>),
        (status = 400, description = "`VALIDATION_ERROR`, `UNSUPPORTED_FORMAT`"),
    ),
)]
pub async fn audit_logs(State(api): State<ApiState>, caller: Caller, query: Query) -> Result<Response, ApiError> {
    caller.require_admin()?;
    answer(&api, &caller, question(&query, None)?).await
}
