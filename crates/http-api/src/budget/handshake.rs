//! POST `/api/v1/budget/handshake`: a runtime borrows.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use budget_protocol::{
    HandshakeRequest, HandshakeResponse, VersionDetails, idempotency_key, ip_token, requested_budget,
};
use kernel::{ErrorCode, LeaseId, LeaseState, Money, Secret};
use ledger::{Command, IdempotencyKey, Outcome};
use persistence::{AgentPicture, Extra, Item, LeaseTerms, PictureKey};

use super::agent_caller::{Checks, SignedToken};
use super::{key, quota, shape};
use crate::{ApiError, ApiState, Body, RequestContext};

/// Borrows money
///
/// Lends the agent `min(requested, what every scope has available)` as a lease, with its provider key sealed for the
/// holder of the IC token. Repeating a request with the same `request_id` (or `Idempotency-Key`) answers with the same
/// lease and lends nothing more.
#[utoipa::path(
    post,
    path = "/api/v1/budget/handshake",
    tag = "budget protocol",
    request_body = HandshakeRequest,
    params(("Idempotency-Key" = Option<String>, Header, description = "As `request_id` in the body")),
    responses(
        (status = 200, description = "A lease; a partial grant is normal", body = HandshakeResponse),
        (status = 401, description = "`INVALID_IC_TOKEN`"),
        (status = 403, description = "`AGENT_FROZEN`, `PROVIDER_KEY_NOT_ASSIGNED`, `QUOTA_EXCEEDED`, `BUDGET_EXHAUSTED`"),
        (status = 404, description = "`NO_PROVIDER_KEY`"),
        (status = 409, description = "`IDEMPOTENCY_CONFLICT`, `LEASE_CLOSED`"),
    ),
)]
pub async fn handshake(
    State(api): State<ApiState>,
    context: RequestContext,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<HandshakeResponse>, ApiError> {
    let request: HandshakeRequest = body.read()?;
    let header = headers.get("idempotency-key").map(axum::http::HeaderValue::as_bytes);
    let idempotency = idempotency_key(request.request_id.as_deref(), header)?
        .map(|key| IdempotencyKey { key, body_hash: request.body_hash() });
    let requested = requested_budget(request.requested_budget, api.lending.default_grant, api.lending.max_handshake)?;
    let token = SignedToken::verify(&api, &request.ic_token, api.clock.now())?;
    let mut checks = Checks::new(&api, &token, &context);
    loop {
        let agent = checks.picture().await?;
        let attempt = attempt(&api, &token, &agent, &request, requested, idempotency.as_ref()).await;
        if let Some(answer) = checks.accept(attempt)? {
            return Ok(Json(answer));
        }
    }
}

async fn attempt(
    api: &ApiState,
    token: &SignedToken,
    agent: &AgentPicture,
    request: &HandshakeRequest,
    requested: Money,
    idempotency: Option<&IdempotencyKey>,
) -> Result<Option<HandshakeResponse>, ApiError> {
    let repeated = check_repetition(api, agent, idempotency).await?;
    check_version(request)?;
    key::refuse_frozen(agent)?;
    let wish = request.provider.as_deref();
    let chosen = key::choose(agent, request.provider_key_id, wish, ErrorCode::NoProviderKey)?;
    // Opened before anything is written: a key that cannot be opened must leave the books untouched
    let secret = key::open(api, &chosen.key)?;
    if !repeated {
        quota::refuse_full(api, agent).await?;
    }
    borrow(api, token, agent, chosen, &secret, request, requested, idempotency.cloned()).await
}

/// An idempotency key that cannot be repeated is told before anything else that may be wrong. Whether it is repeated: then
/// nothing more is lent, and no quota counts.
pub(super) async fn check_repetition(
    api: &ApiState,
    agent: &AgentPicture,
    key: Option<&IdempotencyKey>,
) -> Result<bool, ApiError> {
    let Some(key) = key else { return Ok(false) };
    let Some((hash, state)) = api.store.granted_before(agent.id, &key.key, api.clock.now()).await? else {
        return Ok(false);
    };
    if hash != key.body_hash {
        return Err(ApiError::new(ErrorCode::IdempotencyConflict, "the same request id was used with another body"));
    }
    if state != LeaseState::Active {
        return Err(ApiError::new(ErrorCode::LeaseClosed, "the lease of this request is no longer active"));
    }
    Ok(true)
}

fn check_version(request: &HandshakeRequest) -> Result<(), ApiError> {
    match &request.runtime_version {
        Some(version) if !version.is_compatible() => {
            let details = serde_json::to_value(VersionDetails::refused(version)).map_err(ApiError::internal)?;
            let text = "this version of the runtime is not supported";
            Err(ApiError::new(ErrorCode::IncompatibleVersion, text).details(details))
        }
        _ => Ok(()),
    }
}

async fn borrow(
    api: &ApiState,
    token: &SignedToken,
    agent: &AgentPicture,
    chosen: &PictureKey,
    secret: &Secret<String>,
    request: &HandshakeRequest,
    requested: Money,
    idempotency: Option<IdempotencyKey>,
) -> Result<Option<HandshakeResponse>, ApiError> {
    let item = Item {
        command: Command::Grant {
            agent: agent.id,
            lease: LeaseId::random(&*api.entropy),
            requested,
            request: idempotency,
        },
        extra: Extra::Terms(LeaseTerms {
            provider: chosen.key.provider.clone(),
            provider_key: chosen.key.id,
            runtime_id: request.runtime_id.clone(),
            runtime_version: request.runtime_version.as_ref().map(|v| v.as_str().to_owned()),
        }),
        directory_version: Some(agent.version),
        audit: None,
    };
    let done = match api.pipeline.run_one(item).await? {
        Ok(done) => done,
        Err(refused) => return shape::refusal(refused)?.map_or(Ok(None), Err),
    };
    let Outcome::Granted { lease, figures, duplicate, .. } = done.outcome else {
        return Err(ApiError::internal("a grant was answered with something else"));
    };
    let ip_token = ip_token::seal(token.secret(), &lease.id, &chosen.key.provider, secret, &*api.entropy);
    Ok(Some(HandshakeResponse {
        ip_token: ip_token.map_err(|e| ApiError::from(ErrorCode::CryptoUnavailable).cause(e))?,
        lease_id: lease.id,
        budget_granted: lease.granted,
        budget_remaining: figures.remaining(),
        expires_at: lease.expires_at,
        ttl_ms: api.lending.ttl_ms,
        provider: chosen.key.provider.clone(),
        provider_key_id: chosen.key.id,
        base_url: key::base_url(&chosen.key),
        epoch: lease.epoch,
        duplicate,
    }))
}
