//! API tokens as they are shown and as the audit log keeps them.

use api_types::tokens::{AgentToken, ApiToken as ApiTokenBody, IssuedApiToken};
use kernel::{Secret, Timestamp};
use persistence::ApiToken;
use serde_json::{Value, json};

const MESSAGE: &str = "Store this token now: it is not shown again. Whoever has it acts as its owner.";

/// A token as it is shown.
pub(crate) fn token_body(token: ApiToken, now: Timestamp) -> ApiTokenBody {
    ApiTokenBody {
        is_active: token.is_active(now),
        id: token.id,
        user_id: token.user,
        project_id: token.project,
        name: token.name,
        description: token.description,
        agent_id: token.agent,
        provider: token.provider,
        scopes: token.scopes,
        token_prefix: token.token_prefix,
        created_at: token.created_at.millis(),
        last_used_at: token.last_used_at.map(Timestamp::millis),
        expires_at: token.expires_at.map(Timestamp::millis),
        revoked_at: token.revoked_at.map(Timestamp::millis),
    }
}

/// A new token as its owner gets it, once.
pub(super) fn issued_body(token: ApiToken, secret: &Secret<String>, now: Timestamp) -> IssuedApiToken {
    IssuedApiToken { shown: token_body(token, now), token: secret.expose().clone(), message: MESSAGE.to_owned() }
}

/// A token in the list of an agent.
pub(crate) fn agent_token_body(token: ApiToken, now: Timestamp) -> AgentToken {
    AgentToken {
        is_active: token.is_active(now),
        id: token.id,
        user_id: token.user,
        provider: token.provider,
        name: token.name,
        created_at: token.created_at.millis(),
        last_used_at: token.last_used_at.map(Timestamp::millis),
    }
}

/// A token as the audit log keeps it: what somebody decided about it.
pub(super) fn audited(token: &ApiToken) -> Value {
    json!({
        "token": "[REDACTED]",
        "user_id": token.user,
        "project_id": token.project,
        "agent_id": token.agent,
        "name": token.name,
        "description": token.description,
        "provider": token.provider,
        "scopes": token.scopes,
        "expires_at": token.expires_at.map(Timestamp::millis),
        "revoked_at": token.revoked_at.map(Timestamp::millis),
    })
}
