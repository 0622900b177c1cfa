//! Who calls with an IC token.

use std::sync::Arc;

use auth::ic_token;
use axum::http::HeaderMap;
use kernel::{AgentId, ErrorCode, Secret, Timestamp};
use persistence::AgentPicture;

use crate::bearer::bearer;
use crate::{ApiError, ApiState, RequestContext};

/// How often a request is checked again because agents or keys changed under it.
const ATTEMPTS: usize = 4;

/// A token whose signature, issuer and time are right; whether it is the agent's current one is for the store to say.
pub struct SignedToken {
    token: Secret<String>,
    claims: ic_token::IcToken,
}

impl SignedToken {
    /// Checks what can be checked without the store; anything wrong is 401 `INVALID_IC_TOKEN`.
    pub fn verify(api: &ApiState, token: &Secret<String>, now: Timestamp) -> Result<Self, ApiError> {
        let claims = ic_token::verify(&api.keys.ic_tokens, token.expose(), now).map_err(|_| invalid())?;
        Ok(Self { token: token.clone(), claims })
    }

    /// The agent it names.
    pub const fn agent(&self) -> AgentId {
        self.claims.agent
    }

    /// The token itself, to seal a key for its holder.
    pub const fn secret(&self) -> &Secret<String> {
        &self.token
    }

    /// Whether it is the current token of an agent that exists.
    pub fn is_current(&self, picture: Option<&AgentPicture>) -> bool {
        picture.is_some_and(|agent| !agent.deleted && self.claims.is_current(agent.ic_token_hash.as_deref()))
    }
}

fn invalid() -> ApiError {
    ApiError::new(ErrorCode::InvalidIcToken, "the IC token is not valid")
}

/// Runs `attempt` with a picture of the agent until it neither refuses because of an old picture nor finds that the
/// directory moved under it.
///
/// The first picture may come from the cache: then a refusal proves nothing and is checked against a fresh one, and a
/// success is one only because the pipeline has compared the picture's version in its transaction.
pub async fn with_picture<T>(
    api: &ApiState,
    token: &SignedToken,
    context: &RequestContext,
    mut attempt: impl AsyncFnMut(&Arc<AgentPicture>) -> Result<Option<T>, ApiError>,
) -> Result<T, ApiError> {
    for round in 0..ATTEMPTS {
        let picture = match round {
            0 => api.directory.get(token.agent()).await?,
            _ => api.directory.fresh(token.agent()).await?,
        };
        let result = match picture {
            Some(picture) if token.is_current(Some(&picture)) => {
                context.set_actor(token.agent().prefixed());
                attempt(&picture).await
            }
            _ => Err(invalid()),
        };
        match result {
            Ok(Some(value)) => return Ok(value),
            Err(refusal) if round > 0 => return Err(refusal),
            Ok(None) | Err(_) => {}
        }
    }
    Err(ApiError::unavailable("agents and keys keep changing"))
}

/// Refuses a report or return whose `Authorization` is a correctly signed IC token of another agent, current or not; any
/// other header is ignored, because runtimes send all kinds of things there.
pub fn refuse_foreign_token(api: &ApiState, headers: &HeaderMap, agent: AgentId) -> Result<(), ApiError> {
    let signed = bearer(headers).and_then(|token| ic_token::verify_signed(&api.keys.ic_tokens, token));
    match signed {
        Some(claims) if claims.agent != agent => {
            Err(ApiError::new(ErrorCode::LeaseAgentMismatch, "the lease belongs to another agent"))
        }
        _ => Ok(()),
    }
}
