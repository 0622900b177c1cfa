//! What these endpoints share: bodies made from rows, and leases that are expired before they are shown.

use api_types::control::{FreezeBody, FreezeScope, LeaseBody, LeaseSettlement};
use kernel::{ErrorCode, LeaseId, Timestamp};
use ledger::{Command, Scope};
use persistence::{Freeze, Item, LeaseView, Visibility};

use crate::budget::scope_body;
use crate::{ApiError, ApiState, Caller};

/// Whose objects the caller sees.
pub(super) fn visible_to(caller: &Caller) -> Visibility {
    if caller.is_admin() { Visibility::All } else { Visibility::Of(caller.user.clone()) }
}

/// Expires those of the leases that have run out, as the sweep would have done; true if there were any, so that what was
/// read is out of date.
pub(super) async fn expire_run_out(api: &ApiState, views: &[LeaseView], now: Timestamp) -> Result<bool, ApiError> {
    let run_out = views.iter().filter(|view| view.has_run_out(now));
    let commands: Vec<Item> = run_out.map(|view| Item::new(Command::Expire { lease: view.lease.id.clone() })).collect();
    if commands.is_empty() {
        return Ok(false);
    }
    api.pipeline.run(commands).await?;
    Ok(true)
}

/// The lease as it is now, if the caller may see it: 404 otherwise.
pub(super) async fn visible_lease(api: &ApiState, caller: &Caller, id: &LeaseId) -> Result<LeaseView, ApiError> {
    let view = api.store.lease(id).await?.ok_or(ErrorCode::LeaseNotFound)?;
    caller.require_sight_of(&view.agent_owner, ErrorCode::LeaseNotFound)?;
    if expire_run_out(api, std::slice::from_ref(&view), api.clock.now()).await? {
        return Ok(api.store.lease(id).await?.ok_or(ErrorCode::LeaseNotFound)?);
    }
    Ok(view)
}

/// The lease as a body.
pub(super) fn lease_body(view: LeaseView) -> LeaseBody {
    let LeaseView { lease, terms, agent_name, expires_at, .. } = view;
    LeaseBody {
        spent: lease.known(),
        remaining: lease.leased(),
        suspense: lease.suspense(),
        returned: lease.returned(),
        overrun: lease.overrun(),
        missing_reports: lease.missing_reports(),
        lease_id: lease.id.as_str().to_owned(),
        agent_id: lease.agent.0,
        agent_name,
        owner_id: lease.owner.as_str().to_owned(),
        project_id: lease.project.map(|id| id.as_str().to_owned()),
        state: lease.state,
        granted: lease.granted,
        claimed_spent: lease.claimed,
        reports_spent: lease.reported,
        reports_total_stated: lease.stated,
        events_spent: lease.events,
        report_count: lease.report_count,
        highest_seq: lease.highest_seq,
        provider: terms.provider,
        provider_key_id: terms.provider_key.0,
        epoch: lease.epoch,
        runtime_id: terms.runtime_id,
        runtime_version: terms.runtime_version,
        created_at: lease.created_at,
        last_seen_at: lease.seen_at,
        expires_at,
        ended_at: lease.ended_at,
        ended_by: LeaseBody::ended_by_word(lease.ended_by),
        reason: lease.reason,
        supersedes: lease.supersedes.map(|id| id.as_str().to_owned()),
        superseded_by: lease.superseded_by.map(|id| id.as_str().to_owned()),
        settlement: lease.settlement.map(|s| LeaseSettlement {
            outcome: if s.presumed_spent { "spent" } else { "unspent" }.to_owned(),
            spent: s.spent,
            reason: s.reason,
            by: s.by,
            at: s.at,
        }),
    }
}

/// The freeze as a body.
pub(super) fn freeze_body(freeze: Freeze) -> FreezeBody {
    FreezeBody {
        active: freeze.is_active(),
        id: freeze.id.as_str().to_owned(),
        scope: scope_body(&freeze.scope),
        reason: freeze.reason,
        frozen_at: freeze.frozen_at,
        frozen_by: freeze.frozen_by.as_str().to_owned(),
        unfrozen_at: freeze.unfrozen_at,
        unfrozen_by: freeze.unfrozen_by.map(|user| user.as_str().to_owned()),
        unfreeze_reason: freeze.unfreeze_reason,
    }
}

/// The scope meant.
pub(super) fn scope_meant(scope: FreezeScope) -> Scope {
    match scope {
        FreezeScope::Organization => Scope::Organization,
        FreezeScope::Agent(agent) => Scope::Agent(agent),
        FreezeScope::Project(project) => Scope::Project(project),
        FreezeScope::Owner(user) => Scope::Owner(user),
    }
}

/// The scope meant, which must exist: 404 of its kind.
pub(super) async fn existing_scope(api: &ApiState, scope: FreezeScope) -> Result<Scope, ApiError> {
    match &scope {
        FreezeScope::Organization => {}
        FreezeScope::Agent(agent) => {
            let row = api.store.agent_row(*agent).await?.filter(|row| row.deleted_at.is_none());
            row.ok_or(ErrorCode::AgentNotFound)?;
        }
        FreezeScope::Project(project) => {
            api.store.project(project).await?.ok_or(ErrorCode::ProjectNotFound)?;
        }
        FreezeScope::Owner(user) => {
            api.store.user(user).await?.ok_or(ErrorCode::UserNotFound)?;
        }
    }
    Ok(scope_meant(scope))
}
