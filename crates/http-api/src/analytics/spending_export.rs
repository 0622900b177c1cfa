//! GET `/api/v1/analytics/spending/export`.

use api_types::analytics::SpendingExportRow;
use axum::extract::State;
use axum::response::Response;

use super::asked::Common;
use super::daily::{self, Line};
use super::shape::usd;
use crate::export::Row;
use crate::{ApiError, ApiState, Caller, Query};

/// What agents spent, day by day, as a file
#[utoipa::path(
    get,
    path = "/api/v1/analytics/spending/export",
    tag = "analytics",
    security(("bearer" = [])),
    params(Common, ("format" = Option<String>, Query, description = "`json` (default) or `csv`")),
    responses(
        (status = 200, description = "Completed calls by day, agent, provider and model", body = Vec<SpendingExportRow>),
        (status = 400, description = "`UNSUPPORTED_FORMAT`"),
    ),
)]
pub async fn export_spending(State(api): State<ApiState>, caller: Caller, query: Query) -> Result<Response, ApiError> {
    daily::file(api, &caller, &query, "spending", row).await
}

impl Row for SpendingExportRow {
    const COLUMNS: &'static [&'static str] =
        &["date", "agent_id", "agent_name", "provider", "model", "request_count", "spending"];
}

fn row(line: Line) -> SpendingExportRow {
    SpendingExportRow {
        request_count: line.measures.completed,
        spending: usd(&line.measures),
        date: line.date,
        agent_id: line.agent_id,
        agent_name: line.agent_name,
        provider: line.provider,
        model: line.model,
    }
}
