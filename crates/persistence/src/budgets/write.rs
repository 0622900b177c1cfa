//! Opening, changing and ending budgets.

use std::collections::BTreeSet;

use kernel::{AgentId, BudgetId, BudgetNo, ProjectId, UserId, Window};
use ledger::{Actor, Budget, Command, Outcome, Rejection, Scope};

use super::{
    ACCOUNTS, BudgetChange, BudgetRefusal, BudgetSource, BudgetView, COLUMNS, NewBudget, account_from_row, keys_of,
    view_from_row,
};
use crate::db::{args, statements};
use crate::filter::Filter;
use crate::work::SYSTEM_CHAIN;
use crate::{Backend, Item, Refused, StoreError, Work, engine};

statements! {
    INSERT = "INSERT INTO budgets (id, scope_key, scope_kind, name, cap, budget_window, time_zone, thresholds, enabled, \
        source, opened_window, created_at, updated_at, created_by) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $12, $13) \
        ON CONFLICT (scope_key, budget_window) WHERE deleted_at IS NULL DO NOTHING RETURNING no";
    /// Keeps everybody away who would change a lease or bring an agent into the scope; readers go on.
    LOCK_ALL_BOOKS = "SELECT 1" | "LOCK TABLE agent_books IN EXCLUSIVE MODE";
    NOW = "SELECT cap, enabled FROM budgets WHERE no = $1 AND deleted_at IS NULL";
    DESCRIBE = "UPDATE budgets SET name = CASE WHEN $2 = 1 THEN $3 ELSE name END, thresholds = COALESCE($4, thresholds), \
        updated_at = $5 WHERE no = $1";
    DELETE = "UPDATE budgets SET deleted_at = $2, updated_at = $2 WHERE no = $1 AND deleted_at IS NULL \
        AND source <> 'agent_allocation'";
    ALLOCATION = "SELECT no FROM budgets WHERE scope_key = $1 AND budget_window = 'none' AND deleted_at IS NULL";
}

impl Work {
    /// Opens a budget. It starts from what the leases of its scope have brought into the current window, so nobody may
    /// change one meanwhile: the books of every agent of the scope are locked until the commit.
    ///
    /// To be called before anything else in this work locks books or budgets, or two such works wait for each other and one
    /// of them fails as [`StoreError::Collision`].
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
    pub(crate) async fn lock_scope(&mut self, scope: &Scope) -> Result<(), StoreError> {
        if !matches!(scope, Scope::Agent(_)) && self.tx.backend() == Backend::Postgres {
            // Locking the agents that are in the scope would not do: another may move into it, or be created in it, and
            // be lent money by somebody who does not see this budget yet
            self.tx.run(&LOCK_ALL_BOOKS, args![]).await?;
        }
        self.lock_books(&BTreeSet::from([book_of(scope)]), std::iter::empty()).await
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
        let mut told = false;
        if change.cap.is_some() || change.enabled.is_some() {
            // Whoever changes or ends a budget holds the book of its scope: what this change leaves as it is, is read under
            // that lock. The budget itself is locked by the command, in the order of the numbers
            self.lock_budget_books(no).await?;
            let Some(row) = self.tx.row(&NOW, args![no.0]).await? else {
                return Ok(Err(BudgetRefusal::NotFound));
            };
            let (cap, enabled) = (row.money(0)?, row.flag(1)?);
            let wanted = (change.cap.unwrap_or(cap), change.enabled.unwrap_or(enabled));
            told = wanted != (cap, enabled);
            if told && let Err(rejection) = self.run_budget_command(command(wanted.0, wanted.1)).await? {
                return Ok(Err(rejection.into()));
            }
        }
        if change.name.is_some() || change.thresholds.is_some() {
            let name = change.name.clone().flatten();
            let thresholds = change.thresholds.as_deref().map(thresholds_to_text);
            self.tx.run(&DESCRIBE, args![no.0, change.name.is_some(), name, thresholds, self.now]).await?;
        }
        let view = self.budget_view(no).await?;
        let described = change.name.is_some() || change.thresholds.is_some();
        if described && !told {
            self.emit(engine::budget_changed(&view.id, &view.budget, &view.account, self.now));
        }
        Ok(Ok(view))
    }

    async fn lock_budget_books(&mut self, no: BudgetNo) -> Result<(), StoreError> {
        let book = self.scope_of(no).await?.as_ref().map_or(SYSTEM_CHAIN, book_of);
        self.lock_books(&BTreeSet::from([book]), std::iter::empty()).await
    }

    async fn scope_of(&mut self, no: BudgetNo) -> Result<Option<Scope>, StoreError> {
        statements! { SCOPE = "SELECT scope_key FROM budgets WHERE no = $1"; }
        let row = self.tx.row(&SCOPE, args![no.0]).await?;
        Ok(row.map(|row| row.text(0)).transpose()?.and_then(|key| Scope::from_key(&key)))
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

    /// Ends a budget: it limits nothing any more, and its books stay as they are. `false` if there is none, and for the
    /// allocation of an agent, which the agent always has.
    ///
    /// Another window or time zone is another budget: end the old one and open a new one under the same id in one work. It
    /// starts from what the leases of the scope say of its window.
    pub async fn delete_budget(&mut self, id: &BudgetId) -> Result<bool, StoreError> {
        let Some(no) = self.budget_no(id).await? else { return Ok(false) };
        // As for opening one, which may follow: the books before the budget
        if let Some(scope) = self.scope_of(no).await? {
            self.lock_scope(&scope).await?;
        }
        let ended = self.tx.run(&DELETE, args![no.0, self.now]).await? > 0;
        if ended {
            let view = self.budget_view(no).await?;
            self.emit(engine::budget_ended(&view.id, &view.budget, &view.account, self.now));
        }
        Ok(ended)
    }

    /// The policies on a project and on owners within it, in the order of their numbers.
    pub async fn policies_of_project(&mut self, project: &ProjectId) -> Result<Vec<BudgetId>, StoreError> {
        statements! {
            OF_PROJECT = "SELECT id FROM budgets WHERE (scope_key = $1 OR scope_key LIKE $2 ESCAPE '!') \
                AND source = 'policy' AND deleted_at IS NULL ORDER BY no";
        }
        let within = format!("owner_project:%/{}", project.as_str().replace('_', "!_"));
        let rows = self.tx.rows(&OF_PROJECT, args![Scope::Project(project.clone()).key(), within]).await?;
        rows.iter().map(|row| row.text(0).map(BudgetId::new)).collect()
    }

    /// The number of a budget that has not been deleted.
    pub async fn budget_no(&mut self, id: &BudgetId) -> Result<Option<BudgetNo>, StoreError> {
        statements! { NO = "SELECT no FROM budgets WHERE id = $1 AND deleted_at IS NULL"; }
        let row = self.tx.row(&NO, args![id.as_str()]).await?;
        row.map(|row| row.int(0).map(BudgetNo)).transpose()
    }

    /// The budget that the scope has with this window, and where it comes from: what stands in the way of another one.
    pub async fn budget_in_place(
        &mut self,
        scope: &Scope,
        window: Window,
    ) -> Result<Option<(BudgetId, BudgetSource)>, StoreError> {
        statements! {
            IN_PLACE = "SELECT id, source FROM budgets WHERE scope_key = $1 AND budget_window = $2 AND deleted_at IS NULL";
        }
        let Some(row) = self.tx.row(&IN_PLACE, args![scope.key(), window.as_str()]).await? else { return Ok(None) };
        let source = BudgetSource::parse(&row.text(1)?);
        let source = source.ok_or_else(|| StoreError::Corrupt("a budget of unknown source".to_owned()))?;
        Ok(Some((BudgetId::new(row.text(0)?), source)))
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

/// The book whose chain holds what happens to the budgets of the scope. An agent's is not the system's: who has locked an
/// agent may go on to its budgets.
pub(crate) const fn book_of(scope: &Scope) -> AgentId {
    if let Scope::Agent(agent) = scope { *agent } else { SYSTEM_CHAIN }
}

fn thresholds_to_text(thresholds: &[i64]) -> String {
    serde_json::Value::from(thresholds.to_vec()).to_string()
}
