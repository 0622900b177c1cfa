//! The money column of a limit: the budget of the limit's scope with a window of a calendar month.

use kernel::{BudgetId, Money, Window, Zone};
use ledger::Actor;
use persistence::{BudgetChange, BudgetRefusal, BudgetSource, BudgetView, Limit, NewBudget, Work};

use crate::budgets::shape::{exists, refused};
use crate::transact::Stop;
use crate::{ApiError, Caller};

/// Over which time the money counts. Months are those of UTC.
pub(super) const WINDOW: Window = Window::Month;

/// Opens the budget of a limit that has none; people are told at these percentages of it. Locks books, so nothing else in
/// this work has before. 409 `MANAGED_ELSEWHERE` where a policy caps the scope's month already.
pub(super) async fn open(
    work: &mut Work,
    caller: &Caller,
    limit: &Limit,
    id: &BudgetId,
    cap: Money,
    thresholds: &[i64],
) -> Result<BudgetView, Stop> {
    let new = NewBudget {
        id: id.clone(),
        scope: limit.scope(),
        name: None,
        cap,
        window: WINDOW,
        zone: Zone::UTC,
        thresholds: thresholds.to_vec(),
        enabled: true,
        source: BudgetSource::Limit,
        created_by: Some(caller.user.clone()),
    };
    match work.insert_budget(&new, &Actor::User(caller.user.clone()), None).await? {
        Ok(view) => Ok(view),
        Err(BudgetRefusal::Exists) => Err(exists(work, &new.scope, WINDOW, BudgetSource::Limit).await?.into()),
        Err(refusal) => Err(refused(refusal).into()),
    }
}

/// Gives the budget another cap.
pub(super) async fn change(work: &mut Work, caller: &Caller, id: &BudgetId, cap: Money) -> Result<BudgetView, Stop> {
    let change = BudgetChange { cap: Some(cap), ..BudgetChange::default() };
    let changed = work.adjust_budget(id, &change, &Actor::User(caller.user.clone()), None).await?;
    Ok(changed.map_err(refused)?)
}

/// Ends the budget.
pub(super) async fn end(work: &mut Work, limit: &Limit) -> Result<(), Stop> {
    let Some(id) = &limit.budget else { return Ok(()) };
    if work.delete_budget(id).await? { Ok(()) } else { Err(without_budget(limit)) }
}

/// The cap, as this work sees it; `None` without one.
pub(super) async fn cap(work: &mut Work, limit: &Limit) -> Result<Option<Money>, Stop> {
    let Some(id) = &limit.budget else { return Ok(None) };
    let no = work.budget_no(id).await?.ok_or_else(|| without_budget(limit))?;
    Ok(Some(work.budget_view(no).await?.budget.cap))
}

fn without_budget(limit: &Limit) -> Stop {
    ApiError::internal(format!("the budget of limit {} is gone", limit.id)).into()
}
