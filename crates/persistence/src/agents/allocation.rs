//! An agent's allocation: the budget without a window that every agent has.

use kernel::{AgentId, BudgetId, Money, UserId, Window, Zone};
use ledger::{Actor, Scope};

use crate::{BudgetRefusal, BudgetSource, BudgetView, NewBudget, StoreError, Work};

/// An allocation to be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAllocation {
    /// The id of the budget, told in the agent's IC token.
    pub id: BudgetId,
    /// How much the agent may spend in all.
    pub cap: Money,
    /// Percent of it at which people are told, ascending.
    pub thresholds: Vec<i64>,
    /// Who makes it.
    pub created_by: UserId,
    /// Why.
    pub reason: Option<String>,
}

impl Work {
    /// Opens the allocation of an agent that was made in this work, through the ledger, with nothing spent of it.
    pub async fn open_agent_allocation(
        &mut self,
        agent: AgentId,
        new: &NewAllocation,
    ) -> Result<BudgetView, StoreError> {
        let budget = NewBudget {
            id: new.id.clone(),
            scope: Scope::Agent(agent),
            name: None,
            cap: new.cap,
            window: Window::None,
            zone: Zone::UTC,
            thresholds: new.thresholds.clone(),
            enabled: true,
            source: BudgetSource::AgentAllocation,
            created_by: Some(new.created_by.clone()),
        };
        let actor = Actor::User(new.created_by.clone());
        let opened = self.insert_budget(&budget, &actor, new.reason.as_deref()).await?;
        // Nobody else knows the agent yet, and an empty account under a cap in range is never refused
        opened.map_err(|refusal: BudgetRefusal| StoreError::Corrupt(format!("an allocation was refused: {refusal}")))
    }
}
