//! GET `/api/v1/traces/{id}`: one LLM request.

use api_types::traces::TraceBody;
use axum::Json;
use axum::extract::State;
use kernel::ErrorCode;

use super::shape::body;
use crate::{ApiError, ApiState, Caller, Params};

/// One LLM request
#[utoipa::path(
    get,
    path = "/api/v1/traces/{id}",
    tag = "traces",
    security(("bearer" = [])),
    params(("id" = i64, Path, description = "Its number")),
    responses(
        (status = 200, description = "The request", body = TraceBody),
        (status = 404, description = "`TRACE_NOT_FOUND`"),
    ),
)]
pub(crate) async fn get_trace(
    State(api): State<ApiState>,
    caller: Caller,
    params: Params,
) -> Result<Json<TraceBody>, ApiError> {
    let id = params.int("id")?;
    let trace = api.store.trace(id).await?.ok_or(ErrorCode::TraceNotFound)?;
    caller.require_sight_of(&trace.agent_owner, ErrorCode::TraceNotFound)?;
    Ok(Json(body(trace)))
}
