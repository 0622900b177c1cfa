//! POST `/api/v1/budget/return`: a runtime ends its lease.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use budget_protocol::giveback::ReturnRequestSchema;
use budget_protocol::{ReturnFigure, ReturnRequest, ReturnResponse};
use kernel::ErrorCode;
use ledger::{Command, Figure, Outcome};
use persistence::Item;

use super::report::check_holder;
use crate::{ApiError, ApiState, Body, RequestContext};

/// Returns a lease
///
/// Settles the lease at what is known to be spent, the stated figure included, and gives the rest back. Any number of
/// parallel returns credits once.
#[utoipa::path(
    post,
    path = "/api/v1/budget/return",
    operation_id = "return_lease",
    tag = "budget protocol",
    request_body = ReturnRequestSchema,
    responses(
        (status = 200, description = "Closed, now or before (`duplicate`)", body = ReturnResponse),
        (status = 400, description = "`LEASE_NOT_ACTIVE`: it was revoked; the figure is kept for the operator"),
        (status = 403, description = "`LEASE_AGENT_MISMATCH`"),
        (status = 404, description = "`LEASE_NOT_FOUND`"),
    ),
)]
pub async fn give_back(
    State(api): State<ApiState>,
    context: RequestContext,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<ReturnResponse>, ApiError> {
    let request: ReturnRequest = body.read()?;
    check_holder(&api, &headers, &request.lease_id).await?;
    let figure = request.figure.map(|figure| match figure {
        ReturnFigure::Spent(spent) => Figure::Spent(spent),
        ReturnFigure::Returning(rest) => Figure::Returning(rest),
    });
    let done = api.pipeline.run_one(Item::new(Command::Return { lease: request.lease_id, figure })).await??;
    match done.outcome {
        Outcome::Ended { lease, figures, duplicate } => {
            context.set_actor(lease.agent.prefixed());
            Ok(Json(ReturnResponse {
                success: true,
                returned: lease.returned(),
                spent: lease.known(),
                agent_budget_remaining: figures.remaining(),
                lease_status: lease.state,
                duplicate,
                overrun: !lease.overrun().is_zero(),
            }))
        }
        Outcome::ClaimNoted { lease } => {
            context.set_actor(lease.agent.prefixed());
            let text = "the lease was revoked; the stated figure is kept for the operator";
            Err(ApiError::new(ErrorCode::LeaseNotActive, text))
        }
        _ => Err(ApiError::internal("a return was answered with something else")),
    }
}
