//! GET `/api/v1/traces/export`: LLM requests as a file.

use api_types::traces::TraceBody;
use axum::extract::State;
use axum::response::Response;
use persistence::{TraceCursor, TraceFilter};

use super::shape::{body, filter};
use crate::export::{self, Format, Row, Source};
use crate::{ApiError, ApiState, Caller, Query};

/// Rows that are read at a time.
const STRETCH: u32 = 1_000;

impl Row for TraceBody {
    const COLUMNS: &'static [&'static str] = &[
        "id",
        "event_id",
        "request_id",
        "lease_id",
        "agent_id",
        "agent_name",
        "owner_id",
        "project_id",
        "provider",
        "provider_key_id",
        "model",
        "status",
        "error_code",
        "input_tokens",
        "output_tokens",
        "total_tokens",
        "cost_micros",
        "latency_ms",
        "timestamp",
        "received_at",
        "source",
        "cost_nanos",
        "error_message",
        "cached_tokens",
        "reasoning_tokens",
        "trace_id",
        "span_id",
        "tags",
    ];
}

/// LLM requests as a file
///
/// All that the filters leave, youngest first; requests that are told of while the file is written are not in it.
#[utoipa::path(
    get,
    path = "/api/v1/traces/export",
    tag = "traces",
    security(("bearer" = [])),
    params(
        ("format" = Option<String>, Query, description = "`json` (default) or `csv`"),
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
    ),
    responses(
        (status = 200, description = "The file", body = Vec<TraceBody>),
        (status = 400, description = "`UNSUPPORTED_FORMAT`"),
    ),
)]
pub(crate) async fn export_traces(
    State(api): State<ApiState>,
    caller: Caller,
    query: Query,
) -> Result<Response, ApiError> {
    let format = Format::wanted(&query)?.unwrap_or(Format::Json);
    let mut q = query.reader();
    let wanted = filter(&caller, &mut q);
    let wanted = q.finish(wanted)?;
    api.limits.export(&caller.user)?;
    export::stream(format, "traces", Traces { api: api.clone(), wanted, place: Place::Start }).await
}

/// How far a file is.
enum Place {
    Start,
    After(TraceCursor),
    End,
}

struct Traces {
    api: ApiState,
    wanted: TraceFilter,
    place: Place,
}

impl Source for Traces {
    type Row = TraceBody;

    async fn next(&mut self) -> Result<Vec<TraceBody>, ApiError> {
        let after = match self.place {
            Place::Start => None,
            Place::After(cursor) => Some(cursor),
            Place::End => return Ok(Vec::new()),
        };
        let slice = self.api.store.traces(&self.wanted, after, STRETCH).await?;
        self.place = slice.next.map_or(Place::End, Place::After);
        Ok(slice.rows.into_iter().map(body).collect())
    }
}
