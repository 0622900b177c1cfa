//! PUT `/api/v1/agents/{id}`.

use api_types::agents::{Agent as AgentBody, UpdateAgent};
use axum::Json;
use axum::extract::State;
use kernel::AgentId;
use kernel::validate::Patch;
use persistence::{Agent, AgentChange, AuditRecord, HeldKey, Work};

use super::references::{hold_owner, hold_primary_key, hold_project};
use super::shape::{agent_body, audited};
use super::total::{covers_committed, set_total};
use crate::settings::{current, refuse_provider};
use crate::transact::{Stop, transact};
use crate::{ApiError, ApiState, Body, Caller, Params};

/// Changes an agent
///
/// What is not given stays; all of it happens or nothing. Another owner or project gets the agent's future leases, open
/// ones stay where they were granted.
#[utoipa::path(
    put,
    path = "/api/v1/agents/{id}",
    tag = "agents",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "`12` or `agent_12`")),
    request_body(content = UpdateAgent, example = json!({"description": "Answers invoices", "budget": 75_000_000})),
    responses(
        (status = 200, description = "The agent as it is now", body = AgentBody),
        (status = 400, description = "`VALIDATION_ERROR`; `BUDGET_BELOW_COMMITTED` with `details.total_spent` and \
            `details.requested`, unless `force`"),
        (status = 404, description = "`AGENT_NOT_FOUND`, `PROVIDER_NOT_FOUND` (unknown or disabled key), \
            `PROJECT_NOT_FOUND`"),
    ),
)]
pub async fn update_agent(
    State(api): State<ApiState>,
    caller: Caller,
    params: Params,
    body: Body,
) -> Result<Json<AgentBody>, ApiError> {
    caller.require_admin()?;
    let request: UpdateAgent = body.read()?;
    let id = params.agent_id("id")?;
    // That there is such an agent is asked before what it is to refer to
    super::visible_row(&api, &caller, id).await?;
    let change = change(&request);
    let changed = transact!(api, async |work| {
        let key = hold_references(work, &change).await?;
        let before = super::locked(work, id).await?;
        if let Some(key) = key {
            let settings = current(work, wished(&before, &change).project.as_ref()).await?;
            refuse_provider(&settings, &key.provider, "provider_key_id")?;
        }
        if audited(&before) != audited(&wished(&before, &change)) {
            change_row(work, &caller, id, &before, &change).await?;
        }
        if let Some(total) = request.budget {
            let allows = covers_committed(total, request.force);
            set_total(&api, work, &caller, id, total, request.reason.as_deref(), allows).await?;
        }
        Ok(())
    });
    changed.await?;
    api.directory.forget(id);
    Ok(Json(agent_body(super::visible(&api, &caller, id).await?)))
}

fn change(request: &UpdateAgent) -> AgentChange {
    AgentChange {
        name: request.name.clone(),
        providers: request.providers.clone(),
        description: replaced(&request.description),
        tags: request.tags.clone(),
        owner: request.owner_id.clone(),
        project: replaced(&request.project_id),
        primary_key: replaced(&request.provider_key_id),
    }
}

fn replaced<T: Clone>(patch: &Patch<T>) -> Option<Option<T>> {
    match patch {
        Patch::Keep => None,
        Patch::Clear => Some(None),
        Patch::Set(value) => Some(Some(value.clone())),
    }
}

/// The agent as it would be.
fn wished(before: &Agent, change: &AgentChange) -> Agent {
    let (mut agent, change) = (before.clone(), change.clone());
    agent.name = change.name.unwrap_or(agent.name);
    agent.stated_providers = change.providers.unwrap_or(agent.stated_providers);
    agent.description = change.description.unwrap_or(agent.description);
    agent.tags = change.tags.unwrap_or(agent.tags);
    agent.owner = change.owner.unwrap_or(agent.owner);
    agent.project = change.project.unwrap_or(agent.project);
    agent.primary_key = change.primary_key.unwrap_or(agent.primary_key);
    agent
}

/// In the order in which everybody takes them: users, projects, keys, and only then the agent. Returns the primary key, if
/// one is to be set.
async fn hold_references(work: &mut Work, change: &AgentChange) -> Result<Option<HeldKey>, Stop> {
    if let Some(owner) = &change.owner {
        hold_owner(work, owner).await?;
    }
    if let Some(Some(project)) = &change.project {
        hold_project(work, project).await?;
    }
    match change.primary_key {
        Some(Some(key)) => hold_primary_key(work, key).await.map(Some),
        _ => Ok(None),
    }
}

async fn change_row(
    work: &mut Work,
    caller: &Caller,
    id: AgentId,
    before: &Agent,
    change: &AgentChange,
) -> Result<(), Stop> {
    let after = work.update_agent(id, change).await?.ok_or(kernel::ErrorCode::AgentNotFound)?;
    let record = AuditRecord::new("AGENT_UPDATED", "agent", id, caller.audit_actor());
    work.audit(record.changed(audited(before), audited(&after)));
    Ok(())
}
