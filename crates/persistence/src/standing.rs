//! What agents could borrow at this moment: their books, the budgets of their scopes, and the accounts of the windows now.
//!
//! The same figures that [`Work::run`](crate::Work::run) decides by, loaded without locks and for any number of agents
//! with three queries. For showing, not for deciding: a moment later they may differ.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use kernel::{AgentId, BudgetId, BudgetNo, ProjectId, Timestamp, UserId, Window};
use ledger::{Account, AccountKey, AgentBook, AgentFigures, Book, Scope, ScopeFigures};

use crate::budgets::BudgetSource;
use crate::db::{Tx, args, statements};
use crate::engine::budget_from_row;
use crate::listing::number_rows;
use crate::rows::Rows;
use crate::{Store, StoreError};

/// What is stored of a budget beside what the ledger knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetInfo {
    /// Its id.
    pub id: BudgetId,
    /// Where it comes from.
    pub source: BudgetSource,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// Books, budgets and accounts of some agents at one instant.
#[derive(Clone, Debug)]
pub struct Standing {
    book: Book,
    infos: HashMap<BudgetNo, BudgetInfo>,
    now: Timestamp,
}

statements! {
    BOOKS = "SELECT agent_id, owner_id, project_id, epoch, alive_since, alive_until FROM agent_books \
        WHERE agent_id IN (SELECT {int 0} FROM {rows})";
    BUDGETS = "SELECT no, scope_key, cap, budget_window, time_zone, enabled, opened_window, id, source, updated_at \
        FROM budgets WHERE deleted_at IS NULL AND scope_key IN (SELECT {text 0} FROM {rows})";
    ACCOUNTS = "SELECT budget_no, window_start, spent, leased, suspense, overrun FROM accounts \
        WHERE (budget_no, window_start) IN (SELECT {int 0}, {int 1} FROM {rows})";
}

impl Store {
    /// The books of these agents, the budgets of their scopes, and the accounts of the windows that contain `now`.
    pub async fn book_of(&self, agents: &[AgentId], now: Timestamp) -> Result<Book, StoreError> {
        Ok(self.standing_of(agents, now).await?.book)
    }

    /// The same, arranged so that many agents can be looked at.
    pub async fn standing_of(&self, agents: &[AgentId], now: Timestamp) -> Result<Standing, StoreError> {
        if agents.is_empty() {
            return Ok(Standing { book: Book::default(), infos: HashMap::new(), now });
        }
        // One snapshot: a cap and what is spent under it belong together
        let mut tx = self.db.begin_read().await?;
        let (book, infos) = book_in(&mut tx, agents, now).await?;
        Ok(Standing { book, infos, now })
    }
}

/// As [`Store::standing_of`], in a transaction.
pub(crate) async fn book_in(
    tx: &mut Tx,
    agents: &[AgentId],
    now: Timestamp,
) -> Result<(Book, HashMap<BudgetNo, BudgetInfo>), StoreError> {
    let mut book = Book::default();
    load_books(tx, agents, &mut book).await?;
    let infos = load_budgets(tx, &mut book).await?;
    load_accounts(tx, &mut book, now).await?;
    Ok((book, infos))
}

async fn load_books(tx: &mut Tx, agents: &[AgentId], book: &mut Book) -> Result<(), StoreError> {
    for row in tx.rows(&BOOKS, args![number_rows(agents.iter().map(|id| id.0))]).await? {
        let id = AgentId(row.int(0)?);
        let agent = AgentBook {
            id,
            owner: UserId::new(row.text(1)?),
            project: row.opt_text(2)?.map(ProjectId::new),
            epoch: row.int(3)?,
            alive_since: row.time(4)?,
            alive_until: row.time(5)?,
        };
        book.agents.insert(id, agent);
    }
    Ok(())
}

async fn load_budgets(tx: &mut Tx, book: &mut Book) -> Result<HashMap<BudgetNo, BudgetInfo>, StoreError> {
    let scopes = book.agents.values().flat_map(scopes_of);
    let keys: BTreeSet<String> = scopes.map(|scope| scope.key()).collect();
    let mut rows = Rows::new();
    for key in &keys {
        rows.row().text(key);
    }
    let mut infos = HashMap::new();
    for row in tx.rows(&BUDGETS, args![rows.finish()]).await? {
        let budget = budget_from_row(&row)?;
        let source = BudgetSource::parse(&row.text(8)?);
        let source = source.ok_or_else(|| StoreError::Corrupt("a budget of unknown source".to_owned()))?;
        let info = BudgetInfo { id: BudgetId::new(row.text(7)?), source, updated_at: row.time(9)? };
        infos.insert(budget.no, info);
        book.budgets.insert(budget.no, budget);
    }
    Ok(infos)
}

async fn load_accounts(tx: &mut Tx, book: &mut Book, now: Timestamp) -> Result<(), StoreError> {
    let mut rows = Rows::new();
    for key in book.budgets.values().map(|budget| budget.account_at(now)) {
        rows.row().int(key.budget.0).int(key.window_start.millis());
    }
    for row in tx.rows(&ACCOUNTS, args![rows.finish()]).await? {
        let key = AccountKey { budget: BudgetNo(row.int(0)?), window_start: row.time(1)? };
        let account =
            Account { spent: row.money(2)?, leased: row.money(3)?, suspense: row.money(4)?, overrun: row.money(5)? };
        book.accounts.insert(key, account);
    }
    Ok(())
}

impl Standing {
    /// Everything that was loaded.
    pub fn book(&self) -> &Book {
        &self.book
    }

    /// An agent's book.
    pub fn agent(&self, id: AgentId) -> Option<&AgentBook> {
        self.book.agents.get(&id)
    }

    /// What is stored of a budget beside what the ledger knows.
    pub fn info(&self, budget: BudgetNo) -> Option<&BudgetInfo> {
        self.infos.get(&budget)
    }

    /// The figures of every budget that money lent to the agent now would count in, widest scope first; none if there is
    /// no such agent.
    pub fn figures(&self, agent: AgentId) -> Result<Vec<ScopeFigures>, StoreError> {
        let Some(agent) = self.agent(agent) else { return Ok(Vec::new()) };
        self.book.figures(agent, self.now).map_err(|_| StoreError::Corrupt("an account is out of range".to_owned()))
    }

    /// Whether nothing can be lent to the agent: some enabled budget of its scopes has less than a micro-dollar
    /// available, or it has none at all.
    pub fn is_exhausted(&self, agent: AgentId) -> Result<bool, StoreError> {
        let figures = self.figures(agent)?;
        let mut enabled = figures.iter().filter(|figures| figures.budget.enabled).peekable();
        Ok(enabled.peek().is_none() || enabled.any(|figures| figures.available.micros_floor() <= 0))
    }

    /// The agent's allocation and the amounts of its account; `None` if it has none.
    pub fn allocation(&self, agent: AgentId) -> Option<(BudgetInfo, AgentFigures)> {
        let scope = Scope::Agent(agent);
        let budget = self.book.budgets_of(&scope).find(|budget| budget.window == Window::None)?;
        let account = self.book.account(budget.account_at(self.now));
        let figures = AgentFigures { allocated: budget.cap, account };
        Some((self.info(budget.no)?.clone(), figures))
    }

    /// Every budget that was loaded, by number.
    pub fn budgets(&self) -> &BTreeMap<BudgetNo, ledger::Budget> {
        &self.book.budgets
    }
}

fn scopes_of(agent: &AgentBook) -> Vec<Scope> {
    Scope::of_agent(agent.id, &agent.owner, agent.project.as_ref())
}
