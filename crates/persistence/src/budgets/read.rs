//! Reading budgets.

use std::collections::HashMap;

use kernel::{AgentId, BudgetId, Timestamp, Window};
use ledger::{Account, AccountKey, Scope, ScopeKind};

use super::{ACCOUNTS, BudgetFilter, BudgetSource, BudgetView, COLUMNS, account_from_row, keys_of, view_from_row};
use crate::db::{Value, args};
use crate::filter::Filter;
use crate::listing::{Listed, Page};
use crate::{Store, StoreError};

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
