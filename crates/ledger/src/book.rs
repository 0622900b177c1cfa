//! The working set: what a batch of commands touches.

use std::collections::{BTreeMap, HashMap};

use kernel::{AgentId, BudgetNo, LeaseId, Money, MoneyOverflow, ProjectId, Timestamp, UserId};

use crate::{Account, AccountKey, Applied, Budget, Lease, Scope};

/// What the ledger keeps about an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentBook {
    /// The agent.
    pub id: AgentId,
    /// Its owner now.
    pub owner: UserId,
    /// Its project now.
    pub project: Option<ProjectId>,
    /// Rises when its IC token is replaced or removed and when a freeze covers it; at least 1.
    pub epoch: i64,
    /// Start of the current unbroken stretch of signs of life.
    pub alive_since: Timestamp,
    /// Until when the last sign of life keeps its leases active.
    pub alive_until: Timestamp,
}

impl AgentBook {
    /// Notes a sign of life that keeps leases active for `ttl_ms`.
    pub fn saw_life(&mut self, now: Timestamp, ttl_ms: i64) {
        if now > self.alive_until {
            self.alive_since = now;
        }
        self.alive_until = self.alive_until.max(now.plus_millis(ttl_ms));
    }
}

/// What an idempotency key was used for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantRecord {
    /// SHA-256 of the request's meaning.
    pub body_hash: [u8; 32],
    /// The lease it was answered with.
    pub lease: LeaseId,
}

/// The figures of one budget in the window of a given instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopeFigures {
    /// The budget.
    pub budget: Budget,
    /// Its account's amounts.
    pub account: Account,
    /// First instant of the window.
    pub window_start: Timestamp,
    /// First instant after the window, `None` without one.
    pub window_end: Option<Timestamp>,
    /// What may still be lent, negative after an overrun.
    pub available: Money,
}

/// Everything a batch of commands touches, checked out of the store.
///
/// An account that is not in the book counts as empty, so the loader must bring in every account that exists of the
/// budgets it loads. A lease, agent or report that is not in the book does not exist.
#[derive(Clone, Debug, Default)]
pub struct Book {
    /// The agents.
    pub agents: HashMap<AgentId, AgentBook>,
    /// The budgets of every scope touched, by number.
    pub budgets: BTreeMap<BudgetNo, Budget>,
    /// The accounts.
    pub accounts: HashMap<AccountKey, Account>,
    /// The leases.
    pub leases: HashMap<LeaseId, Lease>,
    /// The cost of reports that were booked, by lease and request id.
    pub reports: HashMap<(LeaseId, String), Money>,
    /// The events that were counted, by agent and event id.
    pub events: HashMap<(AgentId, String), ()>,
    /// Idempotency keys that were used, by agent and key.
    pub requests: HashMap<(AgentId, String), GrantRecord>,
}

impl Book {
    /// The budgets of one scope, in the order of their numbers.
    pub fn budgets_of<'a>(&'a self, scope: &'a Scope) -> impl Iterator<Item = &'a Budget> + 'a {
        self.budgets.values().filter(move |budget| budget.scope == *scope)
    }

    /// The account's amounts; an account nobody has posted on is empty.
    pub fn account(&self, key: AccountKey) -> Account {
        self.accounts.get(&key).copied().unwrap_or_default()
    }

    /// The figures of every budget that money lent to the agent at `now` would count in, widest scope first.
    pub fn figures(&self, agent: &AgentBook, now: Timestamp) -> Result<Vec<ScopeFigures>, MoneyOverflow> {
        self.figures_with(agent, now, |key| self.account(key))
    }

    pub(crate) fn figures_with(
        &self,
        agent: &AgentBook,
        now: Timestamp,
        account: impl Fn(AccountKey) -> Account,
    ) -> Result<Vec<ScopeFigures>, MoneyOverflow> {
        let mut figures = Vec::new();
        for scope in Scope::of_agent(agent.id, &agent.owner, agent.project.as_ref()) {
            for budget in self.budgets_of(&scope) {
                let (window_start, window_end) = budget.window.bounds(&budget.zone, now);
                let account = account(AccountKey { budget: budget.no, window_start });
                let available = account.available(budget.cap)?;
                figures.push(ScopeFigures { budget: budget.clone(), account, window_start, window_end, available });
            }
        }
        Ok(figures)
    }

    /// What the leases in this book have brought into the window of `budget` that contains `now`: what a budget that is
    /// created now starts from.
    pub fn opening_balance(&self, budget: &Budget, now: Timestamp) -> Result<Account, MoneyOverflow> {
        let window = budget.account_at(now);
        let mut total = Account::default();
        for lease in self.leases.values() {
            if lease.scopes().contains(&budget.scope) && budget.account_at(lease.created_at) == window {
                let part = lease.contribution()?;
                total = Account {
                    spent: total.spent.plus(part.spent)?,
                    leased: total.leased.plus(part.leased)?,
                    suspense: total.suspense.plus(part.suspense)?,
                    overrun: total.overrun.plus(part.overrun)?,
                };
            }
        }
        Ok(total)
    }

    /// Takes over what a command changed.
    pub fn absorb(&mut self, applied: &Applied) {
        self.accounts.extend(applied.accounts.iter().copied());
        self.leases.extend(applied.leases.iter().map(|lease| (lease.id.clone(), lease.clone())));
        self.agents.extend(applied.agent.iter().map(|agent| (agent.id, agent.clone())));
        self.budgets.extend(applied.budget.iter().map(|budget| (budget.no, budget.clone())));
        self.reports.extend(applied.report.iter().cloned());
        self.events.extend(applied.event.iter().map(|key| (key.clone(), ())));
        self.requests.extend(applied.request.iter().cloned());
    }
}
