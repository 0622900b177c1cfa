//! Budgets: opening, changing, ending and reading them.

use std::collections::{BTreeSet, HashMap};

use kernel::{AgentId, BudgetId, BudgetNo, ErrorCode, Money, Timestamp, UserId, Window, Zone};
use ledger::{Account, AccountKey, Actor, Budget, Command, Outcome, Rejection, Scope, ScopeKind};

use crate::db::{Row, Value, args, statements};
use crate::engine::budget_from_row;
use crate::filter::Filter;
use crate::listing::{Listed, Page};
use crate::rows::Rows;
use crate::work::SYSTEM_CHAIN;
use crate::{Backend, Item, Refused, Store, StoreError, Work};

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
/// another budget's.
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
    INSERT = "INSERT INTO budgets (id, scope_key, scope_kind, name, cap, budget_window, time_zone, thresholds, enabled, \
        source, opened_window, created_at, updated_at, created_by) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $12, $13) \
        ON CONFLICT (scope_key, budget_window) WHERE deleted_at IS NULL DO NOTHING RETURNING no";
    /// Keeps everybody away who would change a lease or bring an agent into the scope; readers go on.
    LOCK_ALL_BOOKS = "SELECT 1" | "LOCK TABLE agent_books IN EXCLUSIVE MODE";
    NUMBER = "SELECT no, cap, enabled FROM budgets WHERE id = $1 AND deleted_at IS NULL {for_change}";
    DESCRIBE = "UPDATE budgets SET name = CASE WHEN $2 = 1 THEN $3 ELSE name END, thresholds = COALESCE($4, thresholds), \
        updated_at = $5 WHERE no = $1";
    DELETE = "UPDATE budgets SET deleted_at = $2, updated_at = $2 WHERE id = $1 AND deleted_at IS NULL";
    ACCOUNTS = "SELECT budget_no, window_start, spent, leased, suspense, overrun FROM accounts \
        WHERE (budget_no, window_start) IN (SELECT {int 0}, {int 1} FROM {rows})";
    ALLOCATION = "SELECT no FROM budgets WHERE scope_key = $1 AND budget_window = 'none' AND deleted_at IS NULL";
}

impl Work {
    /// Opens a budget. It starts from what the leases of its scope have brought into the current window, so nobody may
    /// change one meanwhile: the books of every agent of the scope are locked until the commit.
    ///
    /// To be called before anything else in this work locks books, or two such works wait for each other and one of them
    /// fails as [`StoreError::Collision`].
    pub async fn insert_budget(
        &mut self,
        new: &NewBudget,
        actor: &Actor,
        reason: Option<&str>,
    ) -> Result<Result<BudgetView, BudgetRefusal>, StoreError> {
        self.lock_scope(&new.scope).await?;
        let (window_start, _) = new.window.bounds(&new.zone, self.now);
        let row = args![
            new.id.as_str(),
            new.scope.key(),
            new.scope.kind().as_str(),
            new.name.as_deref(),
            new.cap,
            new.window.as_str(),
            new.zone.name(),
            thresholds_to_text(&new.thresholds),
            new.enabled,
            new.source.as_str(),
            window_start,
            self.now,
            new.created_by.as_ref().map(UserId::as_str),
        ];
        let Some(row) = self.tx.row(&INSERT, row).await? else {
            return Ok(Err(BudgetRefusal::Exists));
        };
        let budget = Budget {
            no: BudgetNo(row.int(0)?),
            scope: new.scope.clone(),
            cap: new.cap,
            window: new.window,
            zone: new.zone.clone(),
            enabled: new.enabled,
            opened_window: window_start,
        };
        let opening = match self.opening_balance(&budget).await? {
            Ok(opening) => opening,
            Err(overflow) => return self.take_back(budget.no, overflow.into()).await,
        };
        let reason = reason.map(str::to_owned);
        let no = budget.no;
        let command = Command::Open { budget, opening, actor: actor.clone(), reason };
        match self.run_budget_command(command).await? {
            Ok(()) => Ok(Ok(self.budget_view(no).await?)),
            Err(rejection) => self.take_back(no, rejection).await,
        }
    }

    /// A refused command leaves no row behind, whatever else this work goes on to do.
    async fn take_back<T>(
        &mut self,
        no: BudgetNo,
        rejection: Rejection,
    ) -> Result<Result<T, BudgetRefusal>, StoreError> {
        statements! {
            ACCOUNTS_OF = "DELETE FROM accounts WHERE budget_no = $1";
            BUDGET = "DELETE FROM budgets WHERE no = $1";
        }
        self.tx.run(&ACCOUNTS_OF, args![no.0]).await?;
        self.tx.run(&BUDGET, args![no.0]).await?;
        Ok(Err(rejection.into()))
    }

    /// Locks the books of everybody whose leases count in the scope, and keeps out who might come to.
    async fn lock_scope(&mut self, scope: &Scope) -> Result<(), StoreError> {
        let mut books = BTreeSet::from([SYSTEM_CHAIN]);
        if let Scope::Agent(agent) = scope {
            books.insert(*agent);
        } else if self.tx.backend() == Backend::Postgres {
            // Locking the agents that are in the scope would not do: another may move into it, or be created in it, and
            // be lent money by somebody who does not see this budget yet
            self.tx.run(&LOCK_ALL_BOOKS, args![]).await?;
        }
        self.lock_books(&books, std::iter::empty()).await
    }

    /// Changes a budget; money already lent or spent stays where it is, also above a lowered cap.
    pub async fn adjust_budget(
        &mut self,
        id: &BudgetId,
        change: &BudgetChange,
        actor: &Actor,
        reason: Option<&str>,
    ) -> Result<Result<BudgetView, BudgetRefusal>, StoreError> {
        let Some(no) = self.budget_no(id).await? else {
            return Ok(Err(BudgetRefusal::NotFound));
        };
        let command = |cap, enabled| Command::Adjust {
            budget: no,
            cap,
            enabled,
            actor: actor.clone(),
            reason: reason.map(str::to_owned),
        };
        if change.cap.is_some() || change.enabled.is_some() {
            // The books are locked before the budget is; what the change leaves as it is, is read under the lock
            self.lock_budget_books(no).await?;
            let Some(row) = self.tx.row(&NUMBER, args![id.as_str()]).await? else {
                return Ok(Err(BudgetRefusal::NotFound));
            };
            let (cap, enabled) = (row.money(1)?, row.flag(2)?);
            let command = command(change.cap.unwrap_or(cap), change.enabled.unwrap_or(enabled));
            if let Err(rejection) = self.run_budget_command(command).await? {
                return Ok(Err(rejection.into()));
            }
        }
        if change.name.is_some() || change.thresholds.is_some() {
            let name = change.name.clone().flatten();
            let thresholds = change.thresholds.as_deref().map(thresholds_to_text);
            self.tx.run(&DESCRIBE, args![no.0, change.name.is_some(), name, thresholds, self.now]).await?;
        }
        Ok(Ok(self.budget_view(no).await?))
    }

    async fn lock_budget_books(&mut self, no: BudgetNo) -> Result<(), StoreError> {
        statements! { SCOPE = "SELECT scope_key FROM budgets WHERE no = $1"; }
        let mut books = BTreeSet::from([SYSTEM_CHAIN]);
        if let Some(row) = self.tx.row(&SCOPE, args![no.0]).await?
            && let Some(Scope::Agent(agent)) = Scope::from_key(&row.text(0)?)
        {
            books.insert(agent);
        }
        self.lock_books(&books, std::iter::empty()).await
    }

    async fn run_budget_command(&mut self, command: Command) -> Result<Result<(), Rejection>, StoreError> {
        // No lease is touched, so how long one lives does not matter
        let answers = self.run(&[Item::new(command)], 0).await?;
        match answers.into_iter().next() {
            Some(Ok(done)) if matches!(done.outcome, Outcome::Budgeted { .. }) => Ok(Ok(())),
            Some(Err(Refused::Ledger(rejection))) => Ok(Err(rejection)),
            _ => Err(StoreError::Corrupt("a budget command was answered as something else".to_owned())),
        }
    }

    /// Ends a budget: it limits nothing any more, and its books stay as they are. `false` if there is none.
    pub async fn delete_budget(&mut self, id: &BudgetId) -> Result<bool, StoreError> {
        Ok(self.tx.run(&DELETE, args![id.as_str(), self.now]).await? > 0)
    }

    /// The number of a budget that has not been deleted.
    pub async fn budget_no(&mut self, id: &BudgetId) -> Result<Option<BudgetNo>, StoreError> {
        statements! { NO = "SELECT no FROM budgets WHERE id = $1 AND deleted_at IS NULL"; }
        let row = self.tx.row(&NO, args![id.as_str()]).await?;
        row.map(|row| row.int(0).map(BudgetNo)).transpose()
    }

    /// The number of the agent's allocation, for [`Command::Adjust`].
    pub async fn allocation_no(&mut self, agent: AgentId) -> Result<Option<BudgetNo>, StoreError> {
        let row = self.tx.row(&ALLOCATION, args![Scope::Agent(agent).key()]).await?;
        row.map(|row| row.int(0).map(BudgetNo)).transpose()
    }

    /// The budget as this work leaves it, with the figures of the current window.
    pub async fn budget_view(&mut self, no: BudgetNo) -> Result<BudgetView, StoreError> {
        let mut filter = Filter::default();
        filter.and("no = ?", [no.0.into()]);
        let (sql, args) = filter.statement(&format!("SELECT {COLUMNS} FROM budgets"), "", []);
        let rows = self.tx.rows_of(sql, args).await?;
        let row = rows.first().ok_or_else(|| StoreError::Corrupt(format!("there is no budget {no}")))?;
        let mut view = view_from_row(row, self.now)?;
        let keys = keys_of(std::slice::from_ref(&view));
        for row in self.tx.rows(&ACCOUNTS, args![keys]).await? {
            view.account = account_from_row(&row)?.1;
        }
        Ok(view)
    }
}

impl Store {
    /// One budget that has not been deleted, with the figures of the window that contains `now`.
    pub async fn budget(&self, id: &BudgetId, now: Timestamp) -> Result<Option<BudgetView>, StoreError> {
        let mut filter = Filter::default();
        filter.and("id = ?", [id.as_str().into()]);
        Ok(self.budget_views(filter, "", [], now).await?.into_iter().next())
    }

    /// A page of budgets, youngest first, with the figures of the window that contains `now`; and how many there are in
    /// all.
    pub async fn budgets(
        &self,
        wanted: &BudgetFilter,
        now: Timestamp,
        page: Page,
    ) -> Result<Listed<BudgetView>, StoreError> {
        let mut counted = wanted.conditions();
        counted.and("deleted_at IS NULL", []);
        let (sql, args) = counted.statement("SELECT COUNT(*) FROM budgets", "", []);
        let total = self.db.rows_of(sql, args).await?.first().map(|row| row.int(0)).transpose()?;
        let tail = " ORDER BY created_at DESC, id DESC LIMIT ? OFFSET ?";
        let rows = self.budget_views(wanted.conditions(), tail, page.bounds().map(Value::from), now).await?;
        Ok(Listed::new(rows, total.unwrap_or(0)))
    }

    /// The budgets of these scopes with the figures of the window that contains `now`, the widest scope first and within
    /// a scope by number: those that money lent to an agent counts in, where the scopes are
    /// [`Scope::of_agent`].
    pub async fn budgets_of(&self, scopes: &[Scope], now: Timestamp) -> Result<Vec<BudgetView>, StoreError> {
        if scopes.is_empty() {
            return Ok(Vec::new());
        }
        let mut filter = Filter::default();
        filter.and_one_of("scope_key", scopes.iter().map(Scope::key));
        let mut views = self.budget_views(filter, " ORDER BY no", [], now).await?;
        views.sort_by_key(|view| view.budget.scope.kind());
        Ok(views)
    }

    /// The allocations of these agents, with their figures.
    pub async fn allocations(
        &self,
        agents: &[AgentId],
        now: Timestamp,
    ) -> Result<HashMap<AgentId, BudgetView>, StoreError> {
        if agents.is_empty() {
            return Ok(HashMap::new());
        }
        let mut filter = Filter::default();
        filter.and_one_of("scope_key", agents.iter().map(|agent| Scope::Agent(*agent).key()));
        filter.and("budget_window = 'none'", []);
        let views = self.budget_views(filter, "", [], now).await?;
        let by_agent = views.into_iter().filter_map(|view| match view.budget.scope {
            Scope::Agent(agent) => Some((agent, view)),
            _ => None,
        });
        Ok(by_agent.collect())
    }

    async fn budget_views<const N: usize>(
        &self,
        mut filter: Filter,
        tail: &'static str,
        values: [Value; N],
        now: Timestamp,
    ) -> Result<Vec<BudgetView>, StoreError> {
        filter.and("deleted_at IS NULL", []);
        let (sql, args) = filter.statement(&format!("SELECT {COLUMNS} FROM budgets"), tail, values);
        let rows = self.db.rows_of(sql, args).await?;
        let mut views = rows.iter().map(|row| view_from_row(row, now)).collect::<Result<Vec<_>, StoreError>>()?;
        if views.is_empty() {
            return Ok(views);
        }
        let mut accounts: HashMap<AccountKey, Account> = HashMap::with_capacity(views.len());
        for row in self.db.rows(&ACCOUNTS, args![keys_of(&views)]).await? {
            let (key, account) = account_from_row(&row)?;
            accounts.insert(key, account);
        }
        for view in &mut views {
            let key = AccountKey { budget: view.budget.no, window_start: view.window_start };
            view.account = accounts.get(&key).copied().unwrap_or_default();
        }
        Ok(views)
    }
}

impl BudgetFilter {
    fn conditions(&self) -> Filter {
        let mut filter = Filter::default();
        filter.and_if("scope_kind = ?", self.scope_kind.map(ScopeKind::as_str));
        filter.and_if("scope_key = ?", self.scope.as_ref().map(Scope::key));
        filter.and_if("budget_window = ?", self.window.map(Window::as_str));
        filter.and_if("source = ?", self.source.map(BudgetSource::as_str));
        filter.and_if("enabled = ?", self.enabled);
        filter
    }
}

fn keys_of(views: &[BudgetView]) -> crate::db::Value {
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

fn thresholds_to_text(thresholds: &[i64]) -> String {
    serde_json::Value::from(thresholds.to_vec()).to_string()
}
