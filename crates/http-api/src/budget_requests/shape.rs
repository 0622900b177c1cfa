//! Requests as they are shown, as the audit log keeps them, and as the live stream tells of them.

use api_types::budget_requests::{BudgetRequest as RequestBody, BudgetRequestStatus as StatusBody};
use api_types::figures::Usd;
use kernel::{ErrorCode, Money, Timestamp};
use persistence::{AuditRecord, BudgetRequest, BudgetRequestStatus, OutboxEvent, Work};
use serde_json::{Value, json};

use crate::{ApiError, Caller};

/// A request as it is shown.
pub(super) fn request_body(request: BudgetRequest) -> RequestBody {
    let (current, requested) = (Usd::left(request.current), Usd::left(request.requested));
    RequestBody {
        request_id: request.id.clone(),
        id: request.id,
        agent_id: request.agent,
        agent_name: request.agent_name,
        requester_id: request.requester,
        requester_name: request.requester_name,
        current_budget_usd: current,
        requested_budget_usd: requested,
        current_budget: current,
        requested_budget: requested,
        justification: request.justification,
        status: status_body(request.status),
        created_at: request.created_at.millis(),
        updated_at: request.updated_at.millis(),
        reviewed_at: request.reviewed_at.map(Timestamp::millis),
        reviewed_by: request.reviewed_by,
        reviewed_by_name: request.reviewed_by_name,
        review_notes: request.notes,
        approved_budget_usd: request.approved.map(Usd::left),
        cancelled_at: request.cancelled_at.map(Timestamp::millis),
        cancelled_by: request.cancelled_by,
        cancelled_by_name: request.cancelled_by_name,
    }
}

const fn status_body(status: BudgetRequestStatus) -> StatusBody {
    match status {
        BudgetRequestStatus::Pending => StatusBody::Pending,
        BudgetRequestStatus::Approved => StatusBody::Approved,
        BudgetRequestStatus::Rejected => StatusBody::Rejected,
        BudgetRequestStatus::Cancelled => StatusBody::Cancelled,
    }
}

/// 409 with what became of it, unless the request is pending.
pub(super) fn refuse_ended(request: &BudgetRequest) -> Result<(), ApiError> {
    if request.status == BudgetRequestStatus::Pending {
        return Ok(());
    }
    let details = json!({
        "status": request.status.as_str(),
        "reviewed_by": request.reviewed_by,
        "reviewed_at": request.reviewed_at.map(Timestamp::millis),
    });
    let text = format!("the request is {} already", request.status.as_str());
    Err(ApiError::new(ErrorCode::RequestAlreadyReviewed, text).details(details))
}

/// A request as the audit log keeps it.
pub(super) fn audited(request: &BudgetRequest) -> Value {
    json!({
        "agent_id": request.agent,
        "requester_id": request.requester,
        "current_budget_microdollars": request.current.micros_floor(),
        "requested_budget_microdollars": request.requested.micros_floor(),
        "approved_budget_microdollars": request.approved.map(Money::micros_floor),
        "justification": request.justification,
        "status": request.status.as_str(),
        "review_notes": request.notes,
    })
}

/// A change of a request, for the audit log.
pub(super) fn record(
    operation: &'static str,
    before: Option<&BudgetRequest>,
    after: &BudgetRequest,
    caller: &Caller,
) -> AuditRecord {
    let record = AuditRecord::new(operation, "budget_request", &after.id, caller.audit_actor());
    record.changed(before.map(audited), audited(after))
}

/// What the live stream is told of a request.
pub(super) fn event(kind: &'static str, request: &BudgetRequest) -> OutboxEvent {
    let payload = json!({
        "request_id": request.id,
        "requester_id": request.requester,
        "status": request.status.as_str(),
        "current_budget_microdollars": request.current.micros_floor(),
        "requested_budget_microdollars": request.requested.micros_floor(),
        "approved_budget_microdollars": request.approved.map(Money::micros_floor),
        "reviewed_by": request.reviewed_by,
    });
    OutboxEvent { agent: Some(request.agent), kind, payload: payload.to_string() }
}

/// Tells the audit log and the live stream of requests that were pending until this work cancelled them.
pub(crate) fn note_cancelled(work: &mut Work, caller: &Caller, cancelled: &[BudgetRequest]) {
    for request in cancelled {
        let before = BudgetRequest { status: BudgetRequestStatus::Pending, notes: None, ..request.clone() };
        work.audit(record("BUDGET_REQUEST_CANCELLED", Some(&before), request, caller));
        work.emit(event("request_reviewed", request));
    }
}
