//! Agents as they are shown and as the audit log keeps them.

use api_types::agents::{Agent as AgentBody, AgentBudget, AgentKeyIds, AgentStatus as StatusBody};
use api_types::figures::Percent;
use kernel::{AgentId, ProviderKeyId, Timestamp};
use ledger::AgentFigures;
use persistence::{Agent, AgentStatus, AgentView, AssignedKey};
use serde_json::{Value, json};

/// A status as it stands in a body.
pub(crate) const fn status_body(status: AgentStatus) -> StatusBody {
    match status {
        AgentStatus::Active => StatusBody::Active,
        AgentStatus::Exhausted => StatusBody::Exhausted,
        AgentStatus::Inactive => StatusBody::Inactive,
        AgentStatus::Frozen => StatusBody::Frozen,
    }
}

/// An agent as it is shown.
pub(super) fn agent_body(view: AgentView) -> AgentBody {
    let providers = view.providers().into_iter().map(str::to_owned).collect();
    let budget = budget_body(view.agent.id, &view.figures, view.budget_updated_at);
    let AgentView { agent, status, .. } = view;
    AgentBody {
        id: agent.id,
        name: agent.name,
        providers,
        created_at: agent.created_at.millis(),
        updated_at: agent.updated_at.millis(),
        owner_id: agent.owner,
        provider_key_id: agent.primary_key,
        description: agent.description,
        tags: agent.tags,
        project_id: agent.project,
        status: status_body(status),
        has_ic_token: agent.ic_token_created_at.is_some(),
        ic_token_created_at: agent.ic_token_created_at.map(Timestamp::secs),
        budget,
    }
}

/// An agent's budget as it is shown.
pub(super) fn budget_body(agent: AgentId, figures: &AgentFigures, updated_at: Timestamp) -> AgentBudget {
    let (account, committed) = (&figures.account, figures.committed());
    AgentBudget {
        agent_id: agent,
        total_allocated: figures.allocated,
        total_spent: committed,
        budget_remaining: figures.remaining(),
        // The parts of a sum that stays in the range of balances
        total_reserved: account.exposure().unwrap_or(committed),
        spent: account.spent,
        leased: account.leased,
        suspense: account.suspense,
        overrun: account.overrun,
        percent_used: Percent::of(committed, figures.allocated),
        updated_at: updated_at.millis(),
    }
}

/// An agent's keys after a change.
pub(super) fn key_ids_body(agent: AgentId, keys: &[AssignedKey], updated_at: Timestamp) -> AgentKeyIds {
    AgentKeyIds {
        agent_id: agent,
        providers: key_ids(keys),
        provider_key_id: primary_of(keys),
        count: keys.len() as u64,
        updated_at: updated_at.millis(),
    }
}

/// The ids of an agent's keys, the primary one first.
pub(super) fn key_ids(keys: &[AssignedKey]) -> Vec<ProviderKeyId> {
    keys.iter().map(|key| key.id).collect()
}

fn primary_of(keys: &[AssignedKey]) -> Option<ProviderKeyId> {
    keys.iter().find(|key| key.is_primary).map(|key| key.id)
}

/// An agent as the audit log keeps it: what somebody decided about it.
pub(super) fn audited(agent: &Agent) -> Value {
    json!({
        "name": agent.name,
        "providers": agent.stated_providers,
        "description": agent.description,
        "tags": agent.tags,
        "owner_id": agent.owner,
        "project_id": agent.project,
        "provider_key_id": agent.primary_key,
    })
}

/// An agent's keys as the audit log keeps them.
pub(super) fn audited_keys(keys: &[AssignedKey]) -> Value {
    json!({ "provider_ids": key_ids(keys), "provider_key_id": primary_of(keys) })
}
