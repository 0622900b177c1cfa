//! Changing what an agent may spend in all; the one function behind every endpoint that does.

use kernel::{AgentId, Money};
use ledger::{Actor, AgentFigures, Command};
use persistence::{AllocationChangeKind, AuditRecord, Item, NewAllocationChange, Work};
use serde_json::json;

use crate::transact::Stop;
use crate::{ApiError, ApiState, Caller};

/// A total, before and after.
pub(super) struct TotalChange {
    /// What the agent had.
    pub(super) before: AgentFigures,
    /// What it has: the same account under another total.
    pub(super) after: AgentFigures,
}

/// Gives the agent another total, with its history and its audit record. `allows` sees the figures that hold until the
/// work ends, because the agent is locked: `super::locked` comes first. The same total again changes nothing.
pub(super) async fn set_total(
    api: &ApiState,
    work: &mut Work,
    caller: &Caller,
    agent: AgentId,
    total: Money,
    reason: Option<&str>,
    allows: impl FnOnce(&AgentFigures) -> Result<(), ApiError>,
) -> Result<TotalChange, Stop> {
    let allocation = work.allocation_no(agent).await?;
    let no = allocation.ok_or_else(|| ApiError::internal(format!("agent {agent} has no allocation")))?;
    let budget = work.budget_view(no).await?;
    let before = AgentFigures { allocated: budget.budget.cap, account: budget.account };
    allows(&before)?;
    let after = AgentFigures { allocated: total, ..before };
    if total == before.allocated {
        return Ok(TotalChange { before, after });
    }
    let command = Command::Adjust {
        budget: no,
        cap: total,
        enabled: budget.budget.enabled,
        actor: Actor::User(caller.user.clone()),
        reason: reason.map(str::to_owned),
    };
    for answer in work.run(&[Item::new(command)], api.lending.ttl_ms).await? {
        answer.map_err(ApiError::from)?;
    }
    let change = NewAllocationChange {
        agent,
        previous: before.allocated,
        new: total,
        kind: AllocationChangeKind::Edit,
        request_id: None,
        reason: reason.map(str::to_owned),
        by: caller.user.clone(),
    };
    work.keep_allocation_change(&change, &*api.entropy).await?;
    let state = |figures: &AgentFigures| json!({ "total_allocated_microdollars": figures.allocated.micros_floor() });
    let mut record = AuditRecord::new("BUDGET_UPDATED", "agent", agent, caller.audit_actor());
    record.metadata = json!({ "reason": reason });
    work.audit(record.changed(state(&before), state(&after)));
    Ok(TotalChange { before, after })
}
