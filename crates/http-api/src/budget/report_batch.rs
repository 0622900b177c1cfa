//! POST `/api/v1/budget/report/batch`: what many calls on one lease cost.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use budget_protocol::batch::BatchReportSchema;
use budget_protocol::{BatchError, BatchReport, BatchReportResponse, BatchResult};
use kernel::ErrorCode;
use ledger::{AgentFigures, Command, Lease, Outcome, Rejection};
use persistence::{Answer, Item, Refused};

use super::report;
use crate::{ApiError, ApiState, Body, RequestContext};

/// Reports many calls
///
/// One transaction; items that are invalid or in conflict do not spoil the others.
#[utoipa::path(
    post,
    path = "/api/v1/budget/report/batch",
    tag = "budget protocol",
    request_body = BatchReportSchema,
    responses(
        (status = 200, description = "What became of each item", body = BatchReportResponse),
        (status = 400, description = "`BATCH_TOO_LARGE`, or the fields around the items"),
        (status = 404, description = "`LEASE_NOT_FOUND`"),
    ),
)]
pub async fn report_batch(
    State(api): State<ApiState>,
    context: RequestContext,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<BatchReportResponse>, ApiError> {
    let batch = BatchReport::read(&body.value()?).map_err(refused)?;
    report::check_holder(&api, &headers, &batch.lease_id).await?;
    let now = api.clock.now();
    // The total comes first, so that a lease that does not exist is found even if no item is valid
    let total = Command::Report { lease: batch.lease_id.clone(), item: None, total: batch.spent_total, seq: None };
    let mut commands = vec![Item::new(total)];
    let mut results: Vec<Option<BatchResult>> = Vec::with_capacity(batch.items.len());
    let mut pending = Vec::new();
    for (index, item) in batch.items.into_iter().enumerate() {
        match item {
            Ok(item) => {
                pending.push((index, item.request_id.clone()));
                commands.push(report::item(&batch.lease_id, item, now));
                results.push(None);
            }
            Err((id, errors)) => results.push(Some(BatchResult::invalid(index, id, &errors))),
        }
    }
    let mut answers = api.pipeline.run(commands).await?.into_iter();
    let mut last = last_picture(answers.next())?;
    for ((index, id), answer) in pending.into_iter().zip(answers) {
        results[index] = Some(match answer {
            Ok(done) => {
                let Outcome::Reported { lease, figures, duplicate } = done.outcome else {
                    return Err(ApiError::internal("a report was answered with something else"));
                };
                last = (lease, figures);
                BatchResult::booked(index, id, duplicate)
            }
            Err(Refused::Ledger(Rejection::IdempotencyConflict { recorded: Some(recorded) })) => {
                BatchResult::conflict(index, id, recorded)
            }
            Err(Refused::Ledger(Rejection::AmountOverflow)) => {
                let errors = kernel::FieldErrors::one("cost_microdollars", "leaves the range of balances");
                BatchResult::invalid(index, Some(id), &errors)
            }
            Err(other) => return Err(other.into()),
        });
    }
    let (lease, figures) = last;
    context.set_actor(lease.agent.prefixed());
    let results: Vec<BatchResult> = results.into_iter().flatten().collect();
    let (success, recorded, duplicates, failed) = BatchReportResponse::count(&results);
    Ok(Json(BatchReportResponse {
        success,
        recorded,
        duplicates,
        failed,
        results,
        budget_remaining: figures.remaining(),
        budget_limit: figures.allocated,
        lease_spent: lease.known(),
        lease_remaining: lease.leased(),
        lease_status: lease.state,
        overrun: !lease.overrun().is_zero(),
    }))
}

fn refused(error: BatchError) -> ApiError {
    match error {
        BatchError::TooLarge { .. } => ApiError::new(ErrorCode::BatchTooLarge, error.to_string()),
        BatchError::Fields(fields) => fields.into(),
    }
}

fn last_picture(answer: Option<Answer>) -> Result<(Lease, AgentFigures), ApiError> {
    match answer {
        Some(Ok(done)) => match done.outcome {
            Outcome::Reported { lease, figures, .. } => Ok((lease, figures)),
            _ => Err(ApiError::internal("a total was answered with something else")),
        },
        Some(Err(refused)) => Err(refused.into()),
        None => Err(ApiError::internal("a total was not answered")),
    }
}
