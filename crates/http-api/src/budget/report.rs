//! POST `/api/v1/budget/report`: what one call cost.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use budget_protocol::report::ReportRequestSchema;
use budget_protocol::{ReportItem, ReportRequest, ReportResponse};
use kernel::{LeaseId, Timestamp};
use ledger::{Command, Outcome, Spending};
use persistence::{CallFacts, Extra, Item};

use super::agent_caller::refuse_foreign_token;
use super::shape;
use crate::bearer::bearer;
use crate::{ApiError, ApiState, Body, RequestContext};

/// Reports a call
///
/// Whoever knows the lease may report on it. Never refused for lack of money, for a freeze, or for the state of the lease:
/// it is booked, and the answer says so. The same `request_id` again books nothing.
#[utoipa::path(
    post,
    path = "/api/v1/budget/report",
    tag = "budget protocol",
    request_body = ReportRequestSchema,
    responses(
        (status = 200, description = "Booked, or known already (`duplicate`)", body = ReportResponse),
        (status = 403, description = "`LEASE_AGENT_MISMATCH`"),
        (status = 404, description = "`LEASE_NOT_FOUND`"),
        (status = 409, description = "`IDEMPOTENCY_CONFLICT`: the same id with another cost"),
    ),
)]
pub async fn report(
    State(api): State<ApiState>,
    context: RequestContext,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<ReportResponse>, ApiError> {
    let request: ReportRequest = body.read()?;
    check_holder(&api, &headers, &request.lease_id).await?;
    let item = item(&request.lease_id, request.item, api.clock.now());
    let done = api.pipeline.run_one(item).await??;
    let Outcome::Reported { lease, figures, duplicate } = done.outcome else {
        return Err(ApiError::internal("a report was answered with something else"));
    };
    context.set_actor(lease.agent.prefixed());
    Ok(Json(ReportResponse {
        success: true,
        budget_remaining: figures.remaining(),
        budget_limit: figures.allocated,
        lease_spent: lease.known(),
        lease_remaining: lease.leased(),
        lease_status: lease.state,
        duplicate,
        overrun: !lease.overrun().is_zero(),
    }))
}

/// Looks the lease up only where the header could be a foreign token: the usual report costs no extra question.
pub(super) async fn check_holder(api: &ApiState, headers: &HeaderMap, lease: &LeaseId) -> Result<(), ApiError> {
    if bearer(headers).is_none_or(|token| auth::ic_token::verify_signed(&api.keys.ic_tokens, token).is_none()) {
        return Ok(());
    }
    match api.store.lease(lease).await? {
        Some(found) => refuse_foreign_token(api, headers, found.lease.agent),
        // The pipeline says that it does not exist
        None => Ok(()),
    }
}

/// A report as a command.
pub(super) fn item(lease: &LeaseId, item: ReportItem, now: Timestamp) -> Item {
    let occurred_at = shape::occurred(item.timestamp, now);
    Item {
        command: Command::Report {
            lease: lease.clone(),
            item: Some(Spending { id: item.request_id, cost: item.cost, occurred_at }),
            total: item.spent_total,
            seq: item.seq,
        },
        extra: Extra::Call(CallFacts { model: item.model, provider: item.provider, tokens: item.tokens }),
        directory_version: None,
        audit: None,
    }
}
