//! GET `/api/v1/usage/export`: usage day by day as a file.

use analytics::buckets::{buckets, short_label};
use analytics::{BucketSize, Dimension};
use api_types::usage::UsageRow;
use axum::extract::State;
use axum::response::Response;

use super::shape::{OfProject, Range, asked};
use crate::export::{self, Format, Row};
use crate::{ApiError, ApiState, Caller, Query};

impl Row for UsageRow {
    const COLUMNS: &'static [&'static str] =
        &["date", "project_id", "agent_id", "provider", "model", "requests", "tokens", "cost_cents"];
}

/// Usage day by day as a file
///
/// One row for each day (of `time_zone`), project, agent, provider and model.
#[utoipa::path(
    get,
    path = "/api/v1/usage/export",
    tag = "usage",
    security(("bearer" = [])),
    params(
        ("format" = Option<String>, Query, description = "`json` (default) or `csv`"),
        Range,
        OfProject,
    ),
    responses(
        (status = 200, description = "The file", body = Vec<UsageRow>),
        (status = 400, description = "`UNSUPPORTED_FORMAT`"),
    ),
)]
pub(crate) async fn usage_export(
    State(api): State<ApiState>,
    caller: Caller,
    query: Query,
) -> Result<Response, ApiError> {
    let format = Format::wanted(&query)?.unwrap_or(Format::Json);
    let asked = asked(&api, &caller, &query)?;
    api.limits.export(&caller.user)?;
    let mut inquiry = api.store.inquire(api.clock.now()).await?;
    let (from, to) = asked.range;
    // Days before the first fact are not counted through
    let from = inquiry.first_fact().await?.map_or(to, |first| first.max(from));
    let days = buckets(BucketSize::Day, &asked.zone, from, to)
        .map_err(|_| ApiError::field("from", "the range has too many days"))?;
    let ranges: Vec<_> = days.iter().map(|day| (day.from, day.to)).collect();
    let by = [Dimension::Project, Dimension::Agent, Dimension::Provider, Dimension::Model];
    let groups = inquiry.sums(&asked.filter, &by, &ranges).await?;
    let rows: Vec<UsageRow> = groups
        .iter()
        .filter_map(|group| {
            let [project, agent, provider, model] = group.key.as_slice() else { return None };
            let text = |key: &persistence::Key| key.text().unwrap_or_default().to_owned();
            Some(UsageRow {
                date: short_label(BucketSize::Day, &asked.zone, days.get(group.bucket)?.start),
                project_id: project.text().map(str::to_owned),
                agent_id: agent.int()?,
                provider: text(provider),
                model: text(model),
                requests: group.measures.requests(),
                tokens: group.measures.total_tokens(),
                cost_cents: group.measures.cost().cents_half_up(),
            })
        })
        .collect();
    export::file(format, "usage", &rows)
}
