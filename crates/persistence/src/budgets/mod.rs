//! Budgets: opening, changing, ending and reading them.

mod read;
mod write;

use kernel::{BudgetId, BudgetNo, ErrorCode, Money, Timestamp, UserId, Window, Zone};
use ledger::{Account, AccountKey, Budget, Rejection, Scope, ScopeKind};

use crate::StoreError;
use crate::db::{Row, Value, statements};
use crate::engine::budget_from_row;
use crate::rows::Rows;

pub(crate) use write::book_of;

/// Where a budget comes from, and so where it is edited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BudgetSource {
    /// A policy that an admin set.
    Policy,
    /// The allocation of an agent.
    AgentAllocation,
    /// The money column of a quota.
    Limit,
}

impl BudgetSource {
    const ALL: [Self; 3] = [Self::Policy, Self::AgentAllocation, Self::Limit];

    /// The name in the contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::AgentAllocation => "agent_allocation",
            Self::Limit => "limit",
        }
    }

    /// Reads the name of the contract.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == text)
    }
}

/// A budget to be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewBudget {
    /// Its id.
    pub id: BudgetId,
    /// Whose money.
    pub scope: Scope,
    /// What people call it.
    pub name: Option<String>,
    /// The most that may be spent in one window, at most [`Money::MAX_CAP`].
    pub cap: Money,
    /// Over which time the cap counts.
    pub window: Window,
    /// Whose midnight starts a window.
    pub zone: Zone,
    /// Percent of the cap at which people are told, ascending.
    pub thresholds: Vec<i64>,
    /// Whether it limits grants.
    pub enabled: bool,
    /// Where it comes from.
    pub source: BudgetSource,
    /// Who made it.
    pub created_by: Option<UserId>,
}

/// A change of a budget. What is `None` stays. Scope, window and time zone never change: books under another window are
/// another budget's, see [`crate::Work::delete_budget`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BudgetChange {
    /// The cap, at most [`Money::MAX_CAP`].
    pub cap: Option<Money>,
    /// Whether it limits grants.
    pub enabled: Option<bool>,
    /// What people call it; the inner `None` takes the name away.
    pub name: Option<Option<String>>,
    /// Percent of the cap at which people are told, ascending.
    pub thresholds: Option<Vec<i64>>,
}

/// A budget as it is shown, with the figures of the window that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetView {
    /// Its id.
    pub id: BudgetId,
    /// What decides.
    pub budget: Budget,
    /// What people call it.
    pub name: Option<String>,
    /// Percent of the cap at which people are told.
    pub thresholds: Vec<i64>,
    /// Where it comes from.
    pub source: BudgetSource,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// Who made it.
    pub created_by: Option<UserId>,
    /// First instant of the window; the epoch without one.
    pub window_start: Timestamp,
    /// First instant after the window; `None` without one.
    pub window_end: Option<Timestamp>,
    /// The amounts of the window.
    pub account: Account,
}

impl BudgetView {
    /// What may still be lent, negative after an overrun or when the cap was lowered.
    pub fn available(&self) -> Money {
        self.account.available(self.budget.cap).unwrap_or(Money::MAX_BALANCE.negated())
    }
}

/// Why a budget was not opened or changed. Nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BudgetRefusal {
    /// The scope has a budget with this window.
    #[error("the scope has a budget with this window")]
    Exists,
    /// There is no such budget.
    #[error("no such budget")]
    NotFound,
    /// The ledger said no.
    #[error(transparent)]
    Ledger(#[from] Rejection),
}

impl BudgetRefusal {
    /// The code of the contract.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Exists => ErrorCode::BudgetExists,
            Self::NotFound => ErrorCode::BudgetNotFound,
            Self::Ledger(rejection) => rejection.code(),
        }
    }
}

/// Which budgets. Conditions that are not given do not narrow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BudgetFilter {
    /// Of scopes of this kind.
    pub scope_kind: Option<ScopeKind>,
    /// Of this scope.
    pub scope: Option<Scope>,
    /// With this window.
    pub window: Option<Window>,
    /// From there.
    pub source: Option<BudgetSource>,
    /// Whether it limits grants.
    pub enabled: Option<bool>,
}

const COLUMNS: &str = "no, scope_key, cap, budget_window, time_zone, enabled, opened_window, id, name, thresholds, source, \
    created_at, updated_at, created_by";

statements! {
    ACCOUNTS = "SELECT budget_no, window_start, spent, leased, suspense, overrun FROM accounts \
        WHERE (budget_no, window_start) IN (SELECT {int 0}, {int 1} FROM {rows})";
}

fn keys_of(views: &[BudgetView]) -> Value {
    let mut rows = Rows::new();
    for view in views {
        rows.row().int(view.budget.no.0).int(view.window_start.millis());
    }
    rows.finish()
}

/// Reads [`COLUMNS`]; the amounts are still to come.
fn view_from_row(row: &Row, now: Timestamp) -> Result<BudgetView, StoreError> {
    let corrupt = |what: &str| StoreError::Corrupt(format!("a budget has unreadable {what}"));
    let budget = budget_from_row(row)?;
    let (window_start, window_end) = budget.window.bounds(&budget.zone, now);
    Ok(BudgetView {
        id: BudgetId::new(row.text(7)?),
        name: row.opt_text(8)?,
        thresholds: serde_json::from_str(&row.text(9)?).map_err(|_| corrupt("thresholds"))?,
        source: BudgetSource::parse(&row.text(10)?).ok_or_else(|| corrupt("source"))?,
        created_at: row.time(11)?,
        updated_at: row.time(12)?,
        created_by: row.opt_text(13)?.map(UserId::new),
        window_start,
        window_end,
        account: Account::default(),
        budget,
    })
}

/// Reads `budget_no, window_start, spent, leased, suspense, overrun`.
pub(crate) fn account_from_row(row: &Row) -> Result<(AccountKey, Account), StoreError> {
    let key = AccountKey { budget: BudgetNo(row.int(0)?), window_start: row.time(1)? };
    let account =
        Account { spent: row.money(2)?, leased: row.money(3)?, suspense: row.money(4)?, overrun: row.money(5)? };
    Ok((key, account))
}
