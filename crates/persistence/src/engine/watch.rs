//! What the commands of a batch change, as it was before: what states and alerts are told from when they have all run.

use std::collections::{BTreeMap, BTreeSet};

use kernel::{AgentId, BudgetNo, LeaseState};
use ledger::{Account, AccountKey, AgentFigures, Applied, Book, Outcome, Scope};

/// The pictures taken before each command.
#[derive(Default)]
pub(super) struct Watch {
    /// Accounts that were posted on.
    pub(super) accounts: BTreeMap<AccountKey, Account>,
    /// Budgets that were opened or changed.
    pub(super) budgets: BTreeSet<BudgetNo>,
    /// Agents that commands were about.
    pub(super) agents: BTreeMap<AgentId, Watched>,
}

/// An agent that commands were about.
pub(super) struct Watched {
    /// Its figures before the first.
    pub(super) figures: AgentFigures,
    /// How many more of its leases are active.
    pub(super) opened: i64,
    /// Whether an LLM request was told of.
    pub(super) worked: bool,
}

impl Watch {
    /// To be called before the book takes over what the command changed.
    pub(super) fn before(&mut self, book: &Book, applied: &Applied) {
        for (key, _) in &applied.accounts {
            self.accounts.entry(*key).or_insert_with(|| book.account(*key));
        }
        self.budgets.extend(applied.budget.as_ref().map(|budget| budget.no));
        let Some(agent) = &applied.agent else { return };
        let watched = self.agents.entry(agent.id).or_insert_with(|| Watched {
            figures: figures_of(book, agent.id),
            opened: 0,
            worked: false,
        });
        for lease in &applied.leases {
            let was_active = book.leases.get(&lease.id).is_some_and(|before| before.state == LeaseState::Active);
            watched.opened += i64::from(lease.state == LeaseState::Active) - i64::from(was_active);
        }
        let counted = matches!(applied.outcome, Outcome::Counted { duplicate: false, .. });
        watched.worked |= counted || applied.report.is_some();
    }
}

/// The agent's allocation and its account, as they stand in the book.
pub(super) fn figures_of(book: &Book, agent: AgentId) -> AgentFigures {
    let allocation = book.budgets_of(&Scope::Agent(agent)).find(|budget| budget.window == kernel::Window::None);
    allocation.map_or_else(AgentFigures::default, |budget| AgentFigures {
        allocated: budget.cap,
        // Without a window every instant is in the same one
        account: book.account(budget.account_at(kernel::Timestamp::EPOCH)),
    })
}
