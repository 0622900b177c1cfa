//! POST `/api/v1/agents/provider-key`: the key an agent spends with.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use kernel::validate::{Fields, FromFields};
use kernel::{ErrorCode, Money, Secret};
use ledger::{AgentFigures, Command, Scope};
use persistence::{AgentPicture, AuditActor, AuditRecord, Extra, FetchedKey, Item, Refused};
use serde::Serialize;

use super::agent_caller::{Checks, SignedToken};
use super::{key, quota, shape};
use crate::caller::audit_actor;
use crate::{ApiError, ApiState, Body, RequestContext};

/// Who asks.
#[derive(utoipa::ToSchema)]
#[schema(as = ProviderKeyRequest)]
pub struct KeyRequest {
    /// The agent's credential.
    #[schema(value_type = String, min_length = 1, max_length = 2000)]
    ic_token: Secret<String>,
}

impl FromFields for KeyRequest {
    fn from_fields(f: &mut Fields<'_>) -> Option<Self> {
        let ic_token = f.required_str("ic_token", 1, 2_000).map(Secret::new);
        Some(Self { ic_token: ic_token? })
    }
}

/// The key. The only answer for agents that holds a secret in the clear.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = ProviderKeySecret)]
pub struct KeyResponse {
    /// The secret.
    provider_key: String,
    /// The kind of the key.
    provider: String,
    /// Where the provider is reached, without a final `/v1`; absent for the provider's own address.
    #[serde(skip_serializing_if = "Option::is_none")]
    base_url: Option<String>,
    /// Which key it is.
    provider_key_id: i64,
    /// The agent's epoch.
    epoch: i64,
}

/// Fetches the provider key
///
/// Only for an agent that is not frozen and has an active lease or money available in every scope. Counts as a sign of
/// life, and is recorded in the audit log.
#[utoipa::path(
    post,
    path = "/api/v1/agents/provider-key",
    tag = "budget protocol",
    request_body = KeyRequest,
    responses(
        (status = 200, description = "The secret", body = KeyResponse),
        (status = 401, description = "`INVALID_IC_TOKEN`"),
        (status = 403, description = "`AGENT_FROZEN`, `NO_PROVIDER_ASSIGNED`, `QUOTA_EXCEEDED`, \
            `BUDGET_EXHAUSTED`"),
        (status = 503, description = "`CRYPTO_UNAVAILABLE`: the secret cannot be opened"),
    ),
)]
pub async fn provider_key(
    State(api): State<ApiState>,
    context: RequestContext,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<KeyResponse>, ApiError> {
    let request: KeyRequest = body.read()?;
    let token = SignedToken::verify(&api, &request.ic_token, api.clock.now())?;
    let actor = AuditActor { agent: Some(token.agent()), ..audit_actor(&context, &headers) };
    let mut checks = Checks::new(&api, &token, &context);
    loop {
        let agent = checks.picture().await?;
        if let Some(answer) = checks.accept(attempt(&api, &agent, &actor).await)? {
            return Ok(Json(answer));
        }
    }
}

async fn attempt(api: &ApiState, agent: &AgentPicture, actor: &AuditActor) -> Result<Option<KeyResponse>, ApiError> {
    key::refuse_frozen(agent)?;
    let chosen = key::choose(agent, None, None, ErrorCode::NoProviderAssigned)?;
    quota::refuse_full(api, agent).await?;
    refuse_without_money(api, agent).await?;
    let secret = key::open(api, &chosen.key)?;
    let record = AuditRecord::new("PROVIDER_KEY_FETCHED", "provider_key", chosen.key.id, actor);
    let item = Item {
        directory_version: Some(agent.version),
        audit: Some(record),
        extra: Extra::Key(FetchedKey { id: chosen.key.id, provider: chosen.key.provider.clone() }),
        ..Item::new(Command::Touch { agent: agent.id })
    };
    match api.pipeline.run_one(item).await? {
        Ok(_) => Ok(Some(KeyResponse {
            provider_key: secret.expose().clone(),
            provider: chosen.key.provider.clone(),
            base_url: key::base_url(&chosen.key),
            provider_key_id: chosen.key.id.0,
            epoch: agent.epoch,
        })),
        Err(Refused::StaleDirectory) => Ok(None),
        Err(refused) => Err(refused.into()),
    }
}

/// A runtime asks for its key before its first handshake, so money that could be lent is as good as a lease.
async fn refuse_without_money(api: &ApiState, agent: &AgentPicture) -> Result<(), ApiError> {
    let now = api.clock.now();
    let book = api.store.book_of(&[agent.id], now).await?;
    let Some(standing) = book.agents.get(&agent.id) else { return Err(ErrorCode::InvalidIcToken.into()) };
    let figures = book.figures(standing, now).map_err(ApiError::internal)?;
    let enabled = figures.iter().filter(|figure| figure.budget.enabled);
    let Some(binding) = enabled.min_by_key(|figure| figure.available) else {
        return Err(ApiError::internal("an agent has no allocation"));
    };
    if binding.available > Money::ZERO || api.store.has_active_lease(agent.id, now).await? {
        return Ok(());
    }
    let own = figures.iter().find(|f| f.budget.scope == Scope::Agent(agent.id) && f.window_end.is_none());
    let own = own.map_or_else(AgentFigures::default, |f| AgentFigures { allocated: f.budget.cap, account: f.account });
    Err(shape::exhausted(&own, binding)?)
}
