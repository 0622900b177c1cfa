//! GET `/api/v1/analytics/usage/export`.

use api_types::analytics::UsageExportRow;
use axum::extract::State;
use axum::response::Response;

use super::asked::Common;
use super::daily::{self, Line};
use super::shape::usd;
use crate::export::Row;
use crate::{ApiError, ApiState, Caller, Query};

/// Use of models by agents, day by day, as a file
#[utoipa::path(
    get,
    path = "/api/v1/analytics/usage/export",
    tag = "analytics",
    security(("bearer" = [])),
    params(Common, ("format" = Option<String>, Query, description = "`json` (default) or `csv`")),
    responses(
        (status = 200, description = "Completed calls by day, agent, provider and model", body = Vec<UsageExportRow>),
        (status = 400, description = "`UNSUPPORTED_FORMAT`"),
    ),
)]
pub async fn export_usage(State(api): State<ApiState>, caller: Caller, query: Query) -> Result<Response, ApiError> {
    daily::file(api, &caller, &query, "usage", row).await
}

impl Row for UsageExportRow {
    const COLUMNS: &'static [&'static str] = &[
        "date",
        "agent_id",
        "agent_name",
        "provider",
        "model",
        "request_count",
        "input_tokens",
        "output_tokens",
        "total_tokens",
        "spending",
    ];
}

fn row(line: Line) -> UsageExportRow {
    UsageExportRow {
        request_count: line.measures.completed,
        input_tokens: line.measures.input_tokens,
        output_tokens: line.measures.output_tokens,
        total_tokens: line.measures.total_tokens(),
        spending: usd(&line.measures),
        date: line.date,
        agent_id: line.agent_id,
        agent_name: line.agent_name,
        provider: line.provider,
        model: line.model,
    }
}
