//! GET `/api/v1/analytics/spending/by-period`.

use analytics::buckets::{buckets_before, short_label};
use analytics::{BucketSize, CallStatus, Measures, buckets};
use api_types::analytics::PeriodSpending;
use axum::Json;
use axum::extract::State;
use kernel::Timestamp;

use super::asked::{Asked, until};
use super::shape::usd;
use crate::{ApiError, ApiState, Caller, Query};

/// How many there are where no range is given.
const DEFAULT_BUCKETS: i64 = 30;

const SIZES: [(&str, BucketSize); 4] =
    [("day", BucketSize::Day), ("week", BucketSize::Week), ("month", BucketSize::Month), ("year", BucketSize::Year)];

/// What was spent day by day, or in larger stretches
#[utoipa::path(
    get,
    path = "/api/v1/analytics/spending/by-period",
    tag = "analytics",
    security(("bearer" = [])),
    params(
        ("period" = Option<String>, Query, description = "`day` (default), `week`, `month` or `year`"),
        ("from" = Option<String>, Query, description = "The first instant: milliseconds, RFC 3339 or a date"),
        ("to" = Option<String>, Query, description = "The first instant after the range"),
        ("time_zone" = Option<String>, Query, description = "Whose days they are; `UTC` unless given"),
        ("agent_id" = Option<String>, Query, description = "`12` or `agent_12`"),
        ("provider_id" = Option<String>, Query, description = "Digits: a provider key; else a kind of provider"),
        ("project_id" = Option<String>, Query, description = "One project"),
    ),
    responses((status = 200, description = "Every stretch of the range, oldest first; the last 30 where no range is given", body = Vec<PeriodSpending>)),
)]
pub async fn spending_by_period(
    State(api): State<ApiState>,
    caller: Caller,
    query: Query,
) -> Result<Json<Vec<PeriodSpending>>, ApiError> {
    let mut q = query.reader();
    let size = q.word("period", &SIZES).unwrap_or(BucketSize::Day);
    let (range, now) = (q.time_range(), api.clock.now());
    let (filter, _) = Asked::filter(&mut q, &caller);
    let zone = range.zone;
    let to = range.to.unwrap_or_else(|| until(now).max(range.from.unwrap_or(Timestamp::EPOCH)));
    let last = to.plus_millis(-1);
    let from = range.from.unwrap_or_else(|| buckets_before(size, &zone, last, DEFAULT_BUCKETS - 1).min(to));
    let buckets = buckets(size, &zone, from, to).unwrap_or_else(|too_many| {
        q.error("period", too_many.to_string());
        Vec::new()
    });
    q.finish(())?;
    let ranges: Vec<_> = buckets.iter().map(|bucket| (bucket.from, bucket.to)).collect();
    let completed = filter.with_status(CallStatus::Completed);
    let groups = api.store.inquire(now).await?.sums(&completed, &[], &ranges).await?;
    let mut sums = vec![Measures::default(); buckets.len()];
    for group in groups {
        if let Some(sum) = sums.get_mut(group.bucket) {
            *sum = group.measures;
        }
    }
    let rows = buckets.iter().zip(sums).map(|(bucket, measures)| PeriodSpending {
        period_start: bucket.start.to_rfc3339(),
        label: short_label(size, &zone, bucket.start),
        spending: usd(&measures),
        request_count: measures.completed,
        total_tokens: measures.total_tokens(),
    });
    Ok(Json(rows.collect()))
}
