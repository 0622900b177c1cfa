//! Who calls with an IC token.

use std::sync::Arc;

use auth::ic_token;
use axum::http::HeaderMap;
use kernel::{AgentId, ErrorCode, Secret, Timestamp};
use persistence::AgentPicture;

use crate::bearer::bearer;
use crate::{ApiError, ApiState, RequestContext};

/// How often a request is checked again because agents or keys changed under it. Any change to any of them counts, so
/// where many agents are set up at once a few rounds are not enough, and runtimes take a failure for an empty budget.
pub(crate) const ATTEMPTS: usize = 16;

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
        picture.is_some_and(|agent| !agent.is_deleted && self.claims.is_current(agent.ic_token_hash.as_deref()))
    }
}

const fn is_failure(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::ServiceUnavailable | ErrorCode::Overloaded | ErrorCode::InternalError)
}

fn invalid() -> ApiError {
    ApiError::new(ErrorCode::InvalidIcToken, "the IC token is not valid")
}

/// Checking a request against pictures of its agent, until none is out of date.
///
/// The first picture may come from the cache: then a refusal proves nothing and is checked against a fresh one, and a
/// success is one only because the pipeline has compared the picture's version in its transaction.
///
/// ```ignore
/// let mut checks = Checks::new(&api, &token, &context);
/// loop {
///     let agent = checks.picture().await?;
///     if let Some(answer) = checks.accept(attempt(&agent).await)? {
///         return Ok(Json(answer));
///     }
/// }
/// ```
pub struct Checks<'a> {
    api: &'a ApiState,
    token: &'a SignedToken,
    context: &'a RequestContext,
    round: usize,
}

impl<'a> Checks<'a> {
    /// Nothing has been checked yet.
    pub const fn new(api: &'a ApiState, token: &'a SignedToken, context: &'a RequestContext) -> Self {
        Self { api, token, context, round: 0 }
    }

    /// The agent, if the token is its current one.
    pub async fn picture(&mut self) -> Result<Arc<AgentPicture>, ApiError> {
        let id = self.token.agent();
        while self.round < ATTEMPTS {
            let first = self.round == 0;
            let picture = if first { self.api.directory.get(id).await? } else { self.api.directory.fresh(id).await? };
            self.round += 1;
            match picture {
                Some(picture) if self.token.is_current(Some(&picture)) => {
                    self.context.set_actor(id.prefixed());
                    return Ok(picture);
                }
                _ if first => {}
                _ => return Err(invalid()),
            }
        }
        Err(ApiError::unavailable("agents and keys keep changing"))
    }

    /// What the attempt came to: an answer; `None` if it must be made again; or a refusal that is sure. A failure of the
    /// store is for the client to repeat: a write whose outcome is not known may have happened.
    pub fn accept<T>(&self, attempt: Result<Option<T>, ApiError>) -> Result<Option<T>, ApiError> {
        match attempt {
            Err(refusal) if self.round == 1 && !is_failure(refusal.code()) => Ok(None),
            other => other,
        }
    }
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
