//! The working set: what a batch of commands touches.

use std::collections::{BTreeMap, HashMap};

use kernel::{AgentId, LeaseId, Money, MoneyOverflow, ProjectId, Timestamp, UserId};

use crate::{Account, AccountKey, Applied, Budget, Budgets, Leases, Scope};

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
    ///
    /// A stretch ends at `alive_until`: life at that very instant comes too late for the leases of the stretch.
    pub fn saw_life(&mut self, now: Timestamp, ttl_ms: i64) {
        if self.is_over(now) {
            self.alive_since = now;
        }
        self.alive_until = self.alive_until.max(now.plus_millis(ttl_ms));
    }

    /// Whether the current stretch of signs of life has ended at `now`.
    pub fn is_over(&self, now: Timestamp) -> bool {
        now >= self.alive_until
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
/// budgets it loads. A lease, agent or report that is not in the book does not exist. So, beside what commands name:
/// * an event that names no lease needs every lease of its agent that was active at the event's time;
/// * opening a budget with a window needs the leases of its scope whose grant lies after that window (a clock that was
///   ahead leaves such leases), on top of what went into the opening balance;
/// * a sign of life after a gap ([`AgentBook::is_over`]) expires the agent's leases that ran out, where they are loaded.
///   One that is not is expired just the same when it is next looked at, only the instant of its end is then known no
///   better than [`Lease::expires_at`].
#[derive(Clone, Debug, Default)]
pub struct Book {
    /// The agents.
    pub agents: HashMap<AgentId, AgentBook>,
    /// The budgets of every scope touched, by number.
    pub budgets: Budgets,
    /// The accounts.
    pub accounts: HashMap<AccountKey, Account>,
    /// The leases.
    pub leases: Leases,
    /// The cost of reports that were booked, by lease and request id.
    pub reports: HashMap<(LeaseId, String), Money>,
    /// The events that were counted, by agent and event id.
    pub events: HashMap<(AgentId, String), ()>,
    /// Idempotency keys that were used, by agent and key.
    pub requests: HashMap<(AgentId, String), GrantRecord>,
}

impl Book {
    /// The budgets of one scope, in the order of their numbers.
    pub fn budgets_of<'a>(&'a self, scope: &Scope) -> impl Iterator<Item = &'a Budget> + use<'a> {
        self.budgets.of(scope)
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
                let mut available = account.available(budget.cap)?;
                // A clock set back before the first window: what were lent now would be in none of its books
                if window_start < budget.opened_window {
                    available = available.min(Money::ZERO);
                }
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
                total = total.plus(&lease.contribution()?)?;
            }
        }
        Ok(total)
    }

    /// What the leases in this book have brought into windows of `budget` after the one that contains `now`.
    pub(crate) fn later_balances(
        &self,
        budget: &Budget,
        now: Timestamp,
    ) -> Result<BTreeMap<AccountKey, Account>, MoneyOverflow> {
        let window = budget.account_at(now);
        let mut later: BTreeMap<AccountKey, Account> = BTreeMap::new();
        for lease in self.leases.values().filter(|lease| lease.scopes().contains(&budget.scope)) {
            let key = budget.account_at(lease.created_at);
            if key.window_start > window.window_start {
                let total = later.entry(key).or_default();
                *total = total.plus(&lease.contribution()?)?;
            }
        }
        Ok(later)
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
