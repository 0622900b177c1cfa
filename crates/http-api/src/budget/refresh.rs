//! POST `/api/v1/budget/refresh`: a runtime exchanges a lease for a new one.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use budget_protocol::refresh::RefreshBody;
use budget_protocol::{
    ClosedLease, RefreshApproved, RefreshDenied, RefreshRequest, RefreshResponse, idempotency_key, requested_budget,
};
use kernel::{ErrorCode, LeaseId, LeaseState, Money};
use ledger::{Command, IdempotencyKey, Lease, Outcome};
use persistence::{AgentPicture, Extra, Item, LeaseTerms};

use super::agent_caller::{Checks, SignedToken};
use super::handshake::check_repetition;
use super::{key, quota, shape};
use crate::{ApiError, ApiState, Body, RequestContext};

/// Exchanges a lease
///
/// Settles the old lease at its known spend, closes it, and lends anew, in one step. Denied (also 200) when nothing is
/// available beside the old lease's rest: then nothing changes and the old lease stays usable.
#[utoipa::path(
    post,
    path = "/api/v1/budget/refresh",
    tag = "budget protocol",
    request_body = RefreshRequest,
    params(("Idempotency-Key" = Option<String>, Header, description = "As `request_id` in the body")),
    responses(
        (status = 200, description = "Approved or denied", body = RefreshBody),
        (status = 401, description = "`INVALID_IC_TOKEN`"),
        (status = 403, description = "`LEASE_AGENT_MISMATCH`, `LEASE_REVOKED`, `AGENT_FROZEN`, `STALE_EPOCH`, \
            `QUOTA_EXCEEDED`"),
        (status = 404, description = "`LEASE_NOT_FOUND`, `NO_PROVIDER_KEY`"),
        (status = 409, description = "`LEASE_CLOSED`, `IDEMPOTENCY_CONFLICT`"),
    ),
)]
pub async fn refresh(
    State(api): State<ApiState>,
    context: RequestContext,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<RefreshResponse>, ApiError> {
    let request: RefreshRequest = body.read()?;
    let header = headers.get("idempotency-key").map(axum::http::HeaderValue::as_bytes);
    let idempotency = idempotency_key(request.request_id.as_deref(), header)?
        .map(|key| IdempotencyKey { key, body_hash: request.body_hash() });
    let requested = requested_budget(request.requested_budget, api.lending.default_grant, api.lending.max_refresh)?;
    let token = SignedToken::verify(&api, &request.ic_token, api.clock.now())?;
    let mut checks = Checks::new(&api, &token, &context);
    loop {
        let agent = checks.picture().await?;
        let attempt = attempt(&api, &agent, &request, requested, idempotency.as_ref()).await;
        if let Some(answer) = checks.accept(attempt)? {
            return Ok(Json(answer));
        }
    }
}

async fn attempt(
    api: &ApiState,
    agent: &AgentPicture,
    request: &RefreshRequest,
    requested: Money,
    idempotency: Option<&IdempotencyKey>,
) -> Result<Option<RefreshResponse>, ApiError> {
    let (lease, terms) = check_lease(api, agent, &request.current_lease_id).await?;
    key::refuse_frozen(agent)?;
    let repeated = check_repetition(api, agent, idempotency).await?;
    // Only what may be lent anew: of everything else the ledger says what is wrong with it, or repeats its answer
    if !repeated && lease.state != LeaseState::Closed && lease.epoch == agent.epoch {
        quota::refuse_full(api, agent).await?;
    }
    exchange(api, agent, request, &terms, requested, idempotency.cloned()).await
}

/// What is wrong with the lease itself is told before what is wrong with the agent.
async fn check_lease(api: &ApiState, agent: &AgentPicture, id: &LeaseId) -> Result<(Lease, LeaseTerms), ApiError> {
    let found = api.store.lease(id).await?.ok_or(ErrorCode::LeaseNotFound)?;
    let lease = found.lease;
    if lease.agent != agent.id {
        return Err(ApiError::new(ErrorCode::LeaseAgentMismatch, "the lease belongs to another agent"));
    }
    if lease.state == LeaseState::Revoked {
        return Err(ApiError::new(ErrorCode::LeaseRevoked, "the lease was revoked"));
    }
    Ok((lease, found.terms))
}

async fn exchange(
    api: &ApiState,
    agent: &AgentPicture,
    request: &RefreshRequest,
    terms: &LeaseTerms,
    requested: Money,
    idempotency: Option<IdempotencyKey>,
) -> Result<Option<RefreshResponse>, ApiError> {
    let chosen = key::choose(agent, None, None, ErrorCode::NoProviderKey)?;
    let item = Item {
        command: Command::Refresh {
            agent: agent.id,
            old: request.current_lease_id.clone(),
            new: LeaseId::random(&*api.entropy),
            requested,
            total: request.total_spent,
            request: idempotency,
        },
        extra: Extra::Terms(LeaseTerms {
            provider: chosen.key.provider.clone(),
            provider_key: chosen.key.id,
            runtime_id: terms.runtime_id.clone(),
            runtime_version: terms.runtime_version.clone(),
        }),
        directory_version: Some(agent.version),
        audit: None,
    };
    let done = match api.pipeline.run_one(item).await? {
        Ok(done) => done,
        Err(refused) => return shape::refusal(refused)?.map_or(Ok(None), Err),
    };
    match done.outcome {
        Outcome::Granted { lease, closed, figures, duplicate } => {
            let closed = closed.ok_or_else(|| ApiError::internal("a refresh closed nothing"))?;
            Ok(Some(RefreshResponse::Approved(RefreshApproved {
                budget_granted: lease.granted,
                budget_remaining: figures.remaining(),
                lease_id: lease.id,
                expires_at: lease.expires_at,
                ttl_ms: api.lending.ttl_ms,
                epoch: lease.epoch,
                provider: chosen.key.provider.clone(),
                provider_key_id: chosen.key.id,
                closed_lease: ClosedLease { spent: closed.known(), returned: closed.returned(), lease_id: closed.id },
                total_allocated: figures.allocated,
                total_spent: figures.committed(),
                duplicate,
            })))
        }
        Outcome::Denied { figures, binding } => Ok(Some(RefreshResponse::Denied(RefreshDenied {
            budget_remaining: figures.remaining(),
            binding_scope: shape::scope_body(&binding.budget.scope),
            total_allocated: figures.allocated,
            total_spent: figures.committed(),
            resets_at: binding.window_end,
        }))),
        _ => Err(ApiError::internal("a refresh was answered with something else")),
    }
}
