//! Making IC tokens.

use api_types::agents::{IssueIcToken, IssuedIcToken};
use auth::ic_token::{self, NewIcToken};
use kernel::{AgentId, Timestamp};
use persistence::{AgentView, NewIcTokenRow};
use serde_json::{Value, json};

use crate::{ApiError, ApiState};

const DAY_MS: i64 = 86_400_000;
const WARNING: &str = "Store this token now: it is not shown again. Whoever has it spends the agent's budget.";

/// A new token for the agent; nobody takes it before it is stored.
pub(super) fn issue(api: &ApiState, view: &AgentView, request: IssueIcToken) -> Result<NewIcToken, ApiError> {
    let (agent, now) = (view.agent.id, api.clock.now());
    let budget = view.budget.as_ref();
    let budget = budget.ok_or_else(|| ApiError::internal(format!("agent {agent} has no allocation")))?;
    let expires_at = request.expires_in_days.map(|days| now.plus_millis(days.saturating_mul(DAY_MS)));
    Ok(ic_token::issue(&api.keys.ic_tokens, agent, budget, expires_at, now, &*api.entropy))
}

/// What is stored of it.
pub(super) fn row(token: &NewIcToken) -> NewIcTokenRow {
    NewIcTokenRow { hash: token.hash.clone(), created_at: token.created_at, expires_at: token.expires_at }
}

/// The token as it is shown, once.
pub(super) fn body(agent: AgentId, token: &NewIcToken) -> IssuedIcToken {
    IssuedIcToken {
        agent_id: agent,
        ic_token: token.token.expose().clone(),
        created_at: token.created_at.secs(),
        expires_at: token.expires_at.map(Timestamp::secs),
        warning: WARNING.to_owned(),
    }
}

/// The token as the audit log keeps it.
pub(super) fn audited(token: &NewIcToken) -> Value {
    json!({
        "ic_token": "[REDACTED]",
        "created_at": token.created_at.secs(),
        "expires_at": token.expires_at.map(Timestamp::secs),
    })
}
