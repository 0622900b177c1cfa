//! Budgets and their accounts.

use kernel::{BudgetNo, Money, MoneyOverflow, Timestamp, Window, Zone};

use crate::Scope;

/// A policy on a scope: how much may be spent in each window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Its internal number.
    pub no: BudgetNo,
    /// Whose money.
    pub scope: Scope,
    /// The most that may be spent, lent and in suspense in one window.
    pub cap: Money,
    /// Over which time the cap counts.
    pub window: Window,
    /// Whose midnight starts a window.
    pub zone: Zone,
    /// A budget that is not enabled keeps its books but limits nothing, so that enabling it never starts blind.
    pub enabled: bool,
    /// The first window this budget has an account for: money that was granted before belongs to nobody's books here.
    pub opened_window: Timestamp,
}

impl Budget {
    /// The account of the window that contains `at`.
    pub fn account_at(&self, at: Timestamp) -> AccountKey {
        AccountKey { budget: self.no, window_start: self.window.bounds(&self.zone, at).0 }
    }

    /// When the window that contains `at` ends; `None` without a window.
    pub fn resets_at(&self, at: Timestamp) -> Option<Timestamp> {
        self.window.bounds(&self.zone, at).1
    }
}

/// Names an account: a budget in one instance of its window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountKey {
    /// The budget.
    pub budget: BudgetNo,
    /// The first instant of the window; the epoch for budgets without one.
    pub window_start: Timestamp,
}

/// The stored amounts of one budget in one window. None of them is ever negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Account {
    /// Known to be spent, overrun included.
    pub spent: Money,
    /// Lent to open leases and not yet reported.
    pub leased: Money,
    /// Was lent to leases whose holder fell silent; not lent again.
    pub suspense: Money,
    /// The part of `spent` that went beyond what was lent.
    pub overrun: Money,
}

impl Account {
    /// The sum, amount by amount.
    pub(crate) fn plus(&self, other: &Self) -> Result<Self, MoneyOverflow> {
        Ok(Self {
            spent: self.spent.plus(other.spent)?,
            leased: self.leased.plus(other.leased)?,
            suspense: self.suspense.plus(other.suspense)?,
            overrun: self.overrun.plus(other.overrun)?,
        })
    }

    /// Spent, leased and in suspense: what the cap must cover.
    pub fn committed(&self) -> Result<Money, MoneyOverflow> {
        self.spent.plus(self.leased)?.plus(self.suspense)
    }

    /// What may still be lent under `cap`; negative after an overrun or when the cap was lowered.
    pub fn available(&self, cap: Money) -> Result<Money, MoneyOverflow> {
        cap.minus(self.committed()?)
    }

    /// The most that can still be lost: leased and suspense.
    pub fn exposure(&self) -> Result<Money, MoneyOverflow> {
        self.leased.plus(self.suspense)
    }
}
