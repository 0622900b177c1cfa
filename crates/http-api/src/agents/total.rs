//! Changing what an agent may spend in all; the one function behind every endpoint that does.

use kernel::{AgentId, BudgetRequestId, ErrorCode, Money};
use ledger::{Actor, AgentFigures, Command};
use persistence::{AllocationChangeKind, AuditRecord, BudgetView, Item, NewAllocationChange, Work};
use serde_json::{Value, json};

use crate::transact::Stop;
use crate::{ApiError, ApiState, Caller};

/// A total, before and after.
pub(crate) struct TotalChange {
    /// What the agent had.
    pub(crate) before: AgentFigures,
    /// What it has: the same account under another total.
    pub(crate) after: AgentFigures,
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
    let change = post_total(api, work, caller, agent, total, reason, allows).await?;
    if change.after != change.before {
        keep_history(api, work, caller, agent, &change, None, reason).await?;
        let mut record = AuditRecord::new("BUDGET_UPDATED", "agent", agent, caller.audit_actor());
        record.metadata = json!({ "reason": reason });
        work.audit(record.changed(audited_total(&change.before), audited_total(&change.after)));
    }
    Ok(change)
}

/// Gives the agent the total that a request for it is granted, and returns the id of the entry in its history, which has
/// one even where the total was the same before. The audit record is the request's.
pub(crate) async fn grant_request(
    api: &ApiState,
    work: &mut Work,
    caller: &Caller,
    agent: AgentId,
    total: Money,
    request: (&BudgetRequestId, &str),
    force: bool,
) -> Result<(TotalChange, String), Stop> {
    let (id, reason) = (request.0, Some(request.1));
    let change = post_total(api, work, caller, agent, total, reason, covers_committed(total, force)).await?;
    let entry = keep_history(api, work, caller, agent, &change, Some(id), reason).await?;
    Ok((change, entry))
}

/// The rule of totals in micro-dollars: not below what is committed, unless forced.
pub(super) fn covers_committed(total: Money, force: bool) -> impl FnOnce(&AgentFigures) -> Result<(), ApiError> {
    move |figures| {
        let committed = figures.committed();
        if force || total >= committed {
            return Ok(());
        }
        let details = json!({ "total_spent": committed.micros_ceil(), "requested": total.micros_floor() });
        Err(ApiError::from(ErrorCode::BudgetBelowCommitted).details(details))
    }
}

/// The budget that is the agent's total. Under the agent's lock it stays as it is until the work ends.
pub(crate) async fn allocation(work: &mut Work, agent: AgentId) -> Result<BudgetView, Stop> {
    let no = work.allocation_no(agent).await?;
    let no = no.ok_or_else(|| ApiError::internal(format!("agent {agent} has no allocation")))?;
    Ok(work.budget_view(no).await?)
}

/// A total as the audit log keeps it.
fn audited_total(figures: &AgentFigures) -> Value {
    json!({ "total_allocated_microdollars": figures.allocated.micros_floor() })
}

async fn post_total(
    api: &ApiState,
    work: &mut Work,
    caller: &Caller,
    agent: AgentId,
    total: Money,
    reason: Option<&str>,
    allows: impl FnOnce(&AgentFigures) -> Result<(), ApiError>,
) -> Result<TotalChange, Stop> {
    let budget = allocation(work, agent).await?;
    let before = AgentFigures { allocated: budget.budget.cap, account: budget.account };
    allows(&before)?;
    let after = AgentFigures { allocated: total, ..before };
    if total == before.allocated {
        return Ok(TotalChange { before, after });
    }
    let command = Command::Adjust {
        budget: budget.budget.no,
        cap: total,
        enabled: budget.budget.enabled,
        actor: Actor::User(caller.user.clone()),
        reason: reason.map(str::to_owned),
    };
    for answer in work.run(&[Item::new(command)], api.lending.ttl_ms).await? {
        answer.map_err(ApiError::from)?;
    }
    Ok(TotalChange { before, after })
}

async fn keep_history(
    api: &ApiState,
    work: &mut Work,
    caller: &Caller,
    agent: AgentId,
    change: &TotalChange,
    request: Option<&BudgetRequestId>,
    reason: Option<&str>,
) -> Result<String, Stop> {
    let change = NewAllocationChange {
        agent,
        previous: change.before.allocated,
        new: change.after.allocated,
        kind: if request.is_some() { AllocationChangeKind::Request } else { AllocationChangeKind::Edit },
        request_id: request.map(|id| id.as_str().to_owned()),
        reason: reason.map(str::to_owned),
        by: caller.user.clone(),
    };
    Ok(work.keep_allocation_change(&change, &*api.entropy).await?)
}
