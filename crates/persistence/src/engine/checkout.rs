//! Loading what a batch touches, under lock.

use std::collections::{BTreeSet, HashMap, HashSet};

use kernel::{
    AgentId, BudgetId, BudgetNo, EndedBy, LeaseId, LeaseState, ProjectId, ProviderKeyId, Timestamp, UserId, Window,
};
use ledger::{
    Account, AccountKey, AgentBook, Book, Budget, ChainHead, Command, GrantRecord, IdempotencyKey, Lease, Scope,
    Settlement,
};

use super::{BudgetTerms, Checkout, Item, LeaseTerms, StateRow, Warm};
use crate::balance::granted_in;
use crate::budgets::book_of;
use crate::db::{Row, Value, args, statements};
use crate::filter::Filter;
use crate::rows::Rows;
use crate::work::{BookRow, SYSTEM_CHAIN};
use crate::{Backend, StoreError, Work};

/// The columns [`lease_from_row`] reads, from `leases AS l`.
pub(crate) const LEASE_COLUMNS: &str = "l.id, l.agent_id, l.owner_id, l.project_id, l.epoch, l.granted, l.state, \
    l.reported, l.stated, l.events, l.claimed, l.report_count, l.highest_seq, l.created_at, l.seen_at, l.expires_at, \
    l.ended_at, l.ended_by, l.reason, l.supersedes, l.superseded_by, l.settled_presumed_spent, l.settled_spent, \
    l.settled_reason, l.settled_by, l.settled_at, l.provider, l.provider_key_id, l.runtime_id, l.runtime_version";

statements! {
    /// Agents named, and the agents of leases named.
    LOCK_BOOKS = "SELECT b.agent_id, b.owner_id, b.project_id, b.epoch, b.alive_since, b.alive_until, b.chain_length, \
        b.chain_hash, b.state, b.frozen, b.usable_until, b.open_leases, b.fact_at, b.look_at FROM agent_books AS b WHERE b.agent_id IN (SELECT {int 0} FROM {rows} UNION \
        SELECT l.agent_id FROM leases AS l WHERE l.id IN (SELECT {text 1} FROM {rows})) \
        ORDER BY b.agent_id {for_update}";
    /// Said in the words of the index over open leases.
    ACTIVE_OF = "SELECT l.id FROM leases AS l WHERE l.state <> 'closed' AND l.state = 'active' \
        AND l.agent_id IN (SELECT {int 0} FROM {rows})";
    REQUESTS = "SELECT q.agent_id, q.request_key, q.body_hash, q.lease_id FROM grant_requests AS q \
        WHERE (q.agent_id, q.request_key) IN (SELECT {int 0}, {text 1} FROM {rows})";
    LEASES = "SELECT l.id, l.agent_id, l.owner_id, l.project_id, l.epoch, l.granted, l.state, \
        l.reported, l.stated, l.events, l.claimed, l.report_count, l.highest_seq, l.created_at, l.seen_at, l.expires_at, \
        l.ended_at, l.ended_by, l.reason, l.supersedes, l.superseded_by, l.settled_presumed_spent, l.settled_spent, \
        l.settled_reason, l.settled_by, l.settled_at, l.provider, l.provider_key_id, l.runtime_id, l.runtime_version \
        FROM leases AS l WHERE l.id IN (SELECT {text 0} FROM {rows})";
    BUDGETS = "SELECT no, scope_key, cap, budget_window, time_zone, enabled, opened_window, id, thresholds \
        FROM budgets WHERE deleted_at IS NULL AND scope_key IN (SELECT {text 0} FROM {rows}) ORDER BY no";
    BUDGETS_HELD = "SELECT no, scope_key, cap, budget_window, time_zone, enabled, opened_window, id, thresholds \
        FROM budgets WHERE deleted_at IS NULL AND scope_key IN (SELECT {text 0} FROM {rows}) ORDER BY no {for_share}";
    BUDGETS_CHANGED = "SELECT no, scope_key, cap, budget_window, time_zone, enabled, opened_window, id, thresholds \
        FROM budgets WHERE deleted_at IS NULL AND scope_key IN (SELECT {text 0} FROM {rows}) ORDER BY no {for_change}";
    ACCOUNTS = "SELECT budget_no, window_start, spent, leased, suspense, overrun FROM accounts \
        WHERE (budget_no, window_start) IN (SELECT {int 0}, {int 1} FROM {rows}) \
        ORDER BY budget_no, window_start {for_update}";
    ACCOUNTS_THERE = "SELECT budget_no, window_start FROM accounts \
        WHERE (budget_no, window_start) IN (SELECT {int 0}, {int 1} FROM {rows})";
    OPEN_ACCOUNTS = "INSERT INTO accounts (budget_no, window_start, spent, leased, suspense, overrun) \
        SELECT {int 0}, {int 1}, 0, 0, 0, 0 FROM {rows} WHERE true ORDER BY 1, 2 ON CONFLICT DO NOTHING";
    REPORTS = "SELECT p.lease_id, p.request_id, p.cost FROM reports AS p \
        WHERE (p.lease_id, p.request_id) IN (SELECT {text 0}, {text 1} FROM {rows})";
    /// The leases of an agent that were created until one time and were active after another.
    ACTIVE_AFTER = "SELECT l.id FROM {rows} CROSS JOIN leases AS l WHERE l.agent_id = {int 0} AND l.state <> 'closed' \
        AND l.created_at <= {int 2} UNION SELECT l.id FROM {rows} CROSS JOIN leases AS l WHERE l.agent_id = {int 0} \
        AND l.ended_at > {int 1} AND l.ended_at IS NOT NULL AND l.created_at <= {int 2}";
    DIRECTORY_VERSION = "SELECT directory_version FROM heads WHERE id = 1";
}

/// For the test of plans.
#[cfg(test)]
pub(super) fn checkout_statements() -> Vec<(&'static str, &'static crate::db::Sql)> {
    vec![
        ("LOCK_BOOKS", &*LOCK_BOOKS),
        ("ACTIVE_OF", &*ACTIVE_OF),
        ("REQUESTS", &*REQUESTS),
        ("LEASES", &*LEASES),
        ("BUDGETS", &*BUDGETS),
        ("BUDGETS_HELD", &*BUDGETS_HELD),
        ("BUDGETS_CHANGED", &*BUDGETS_CHANGED),
        ("ACCOUNTS", &*ACCOUNTS),
        ("ACCOUNTS_THERE", &*ACCOUNTS_THERE),
        ("OPEN_ACCOUNTS", &*OPEN_ACCOUNTS),
        ("REPORTS", &*REPORTS),
        ("ACTIVE_AFTER", &*ACTIVE_AFTER),
    ]
}

/// What the commands name.
#[derive(Default)]
struct Named<'a> {
    agents: BTreeSet<AgentId>,
    leases: BTreeSet<&'a LeaseId>,
    requests: BTreeSet<(AgentId, &'a str)>,
    reports: BTreeSet<(&'a LeaseId, &'a str)>,
    scopes: BTreeSet<String>,
    /// Whether money may be lent, so that budgets must stand still.
    decides: bool,
    /// Whether budgets are changed. They are then locked for that from the start: two who hold a row in common and both
    /// want to go on, one to change it, the other to the accounts that the first has locked, wait for each other.
    changes: bool,
    /// Budgets that are opened.
    opened: Vec<&'a Budget>,
}

impl<'a> Named<'a> {
    fn by(items: &'a [Item]) -> Self {
        let mut named = Self::default();
        for item in items {
            named.add(&item.command);
        }
        named
    }

    fn add(&mut self, command: &'a Command) {
        match command {
            Command::Grant { agent, request, .. } => {
                self.agents.insert(*agent);
                self.request(*agent, request.as_ref());
            }
            Command::Refresh { agent, old, request, .. } => {
                self.agents.insert(*agent);
                self.leases.insert(old);
                self.request(*agent, request.as_ref());
            }
            Command::Report { lease, item, .. } => {
                self.leases.insert(lease);
                self.reports.extend(item.iter().map(|item| (lease, item.id.as_str())));
            }
            Command::Event { agent, lease, .. } => {
                self.agents.insert(*agent);
                self.leases.extend(lease);
            }
            Command::Return { lease, .. }
            | Command::Expire { lease }
            | Command::Revoke { lease, .. }
            | Command::Settle { lease, .. } => {
                self.leases.insert(lease);
            }
            Command::Open { budget, .. } => {
                self.agents.insert(book_of(&budget.scope));
                self.scopes.insert(budget.scope.key());
                self.opened.push(budget);
                self.changes = true;
            }
            Command::Adjust { .. } => self.changes = true,
            Command::Touch { agent } => {
                self.agents.insert(*agent);
            }
        }
    }

    fn request(&mut self, agent: AgentId, request: Option<&'a IdempotencyKey>) {
        self.decides = true;
        self.requests.extend(request.map(|r| (agent, r.key.as_str())));
    }
}

/// The scopes whose budgets the batch posts on or decides by.
fn scopes_about(named: &Named<'_>, touched: &BTreeSet<LeaseId>, book: &Book) -> BTreeSet<Scope> {
    let leases: Vec<&Lease> = touched.iter().filter_map(|id| book.leases.get(id)).collect();
    let mut agents = named.agents.clone();
    agents.extend(leases.iter().map(|lease| lease.agent));
    agents.remove(&SYSTEM_CHAIN);
    let mut about: BTreeSet<Scope> = named.scopes.iter().filter_map(|key| Scope::from_key(key)).collect();
    for agent in agents.iter().filter_map(|id| book.agents.get(id)) {
        about.extend(Scope::of_agent(agent.id, &agent.owner, agent.project.as_ref()));
    }
    about.extend(leases.iter().flat_map(|lease| lease.scopes()));
    about
}

impl Work {
    pub(super) async fn check_out(&mut self, items: &[Item]) -> Result<Checkout, StoreError> {
        let mut named = Named::by(items);
        self.name_budgets_of_adjustments(items, &mut named).await?;
        let Warm {
            books,
            mut book,
            mut terms,
            mut budget_terms,
            mut scopes,
            mut directory_version,
            mut whole,
            open_leases,
            ..
        } = self.warm.take().unwrap_or_default();
        self.books.extend(books);
        book.reports.clear();
        book.events.clear();
        book.requests.clear();

        let unknown = named.agents.iter().filter(|id| !self.books.contains_key(id)).copied().collect();
        let strange = named.leases.iter().copied().filter(|id| !book.leases.contains_key(*id));
        self.lock_books(&unknown, strange).await?;
        if book.agents.len() < self.books.len() {
            let missing = self.books.iter().filter(|(id, _)| !book.agents.contains_key(id));
            let missing: Vec<AgentBook> = missing.map(|(_, row)| row.book.clone()).collect();
            book.agents.extend(missing.into_iter().map(|agent| (agent.id, agent)));
        }

        let mut wanted: BTreeSet<LeaseId> = named.leases.iter().map(|id| (*id).clone()).collect();
        for budget in &named.opened {
            self.name_leases_ahead(budget, &mut wanted).await?;
        }
        self.name_leases_of_the_silent(&named.agents, &mut wanted).await?;
        let wanted = self.load_requests(&named, &mut book, wanted).await?;
        let mut touched = self.load_leases(wanted, &mut book, &mut terms).await?;
        self.load_reports(&named, &mut book).await?;
        let calls = self.load_calls(items, &mut book).await?;
        let attributed = self.name_leases_of_events(items, &book, &mut whole).await?;
        touched.extend(self.load_leases(attributed, &mut book, &mut terms).await?);
        let about = scopes_about(&named, &touched, &book);
        self.load_budgets(&named, &about, &mut scopes, &mut book, &mut budget_terms).await?;
        self.load_accounts(&about, &touched, &mut book).await?;
        if directory_version.is_none() && items.iter().any(|item| item.directory_version.is_some()) {
            let row = self.tx.row(&DIRECTORY_VERSION, args![]).await?;
            directory_version = row.map(|row| row.int(0)).transpose()?;
        }
        Ok(Checkout { book, terms, budget_terms, scopes, directory_version, whole, open_leases, calls })
    }

    /// An adjustment names its budget by number; the scope's key is needed to load it, and its agent to lock it.
    async fn name_budgets_of_adjustments(&mut self, items: &[Item], named: &mut Named<'_>) -> Result<(), StoreError> {
        statements! { SCOPE = "SELECT scope_key FROM budgets WHERE no = $1"; }
        for item in items {
            if let Command::Adjust { budget, .. } = &item.command
                && let Some(row) = self.tx.row(&SCOPE, args![budget.0]).await?
            {
                let key = row.text(0)?;
                named.agents.extend(Scope::from_key(&key).as_ref().map(book_of));
                named.scopes.insert(key);
            }
        }
        Ok(())
    }

    /// Active leases of agents whose last stretch of life is over: what ran out then is expired by the ledger before a new
    /// stretch begins.
    async fn name_leases_of_the_silent(
        &mut self,
        agents: &BTreeSet<AgentId>,
        wanted: &mut BTreeSet<LeaseId>,
    ) -> Result<(), StoreError> {
        let mut rows = Rows::new();
        for agent in agents.iter().filter(|id| **id != SYSTEM_CHAIN) {
            if self.books.get(agent).is_some_and(|row| row.book.is_over(self.now)) {
                rows.row().int(agent.0);
            }
        }
        if rows.is_empty() {
            return Ok(());
        }
        for row in self.tx.rows(&ACTIVE_OF, args![rows.finish()]).await? {
            wanted.insert(LeaseId::new(row.text(0)?));
        }
        Ok(())
    }

    /// The leases that events which name none of their agent's may be attributed to. Events of the present are usual:
    /// where rows are kept between batches, the leases of an agent are asked for once.
    async fn name_leases_of_events(
        &mut self,
        items: &[Item],
        book: &Book,
        whole: &mut HashMap<AgentId, Timestamp>,
    ) -> Result<BTreeSet<LeaseId>, StoreError> {
        const RECENT_MS: i64 = 15 * 60_000;
        let recent = self.now.plus_millis(-RECENT_MS);
        let mut asked = BTreeSet::new();
        let mut attributed = BTreeSet::new();
        for item in items {
            let Command::Event { agent, lease, item: spending } = &item.command else { continue };
            let names_own = lease.as_ref().and_then(|id| book.leases.get(id)).is_some_and(|l| l.agent == *agent);
            if names_own || book.events.contains_key(&(*agent, spending.id.clone())) {
                continue;
            }
            let at = spending.occurred_at;
            if whole.get(agent).is_some_and(|since| *since <= at) {
                attributed.extend(self.active_at(*agent, at, book));
            } else if at >= recent {
                asked.insert((agent.0, recent.millis(), i64::MAX));
                whole.insert(*agent, recent);
            } else {
                asked.insert((agent.0, at.millis(), at.millis()));
            }
        }
        let mut rows = Rows::new();
        for (agent, ended_after, created_until) in asked {
            rows.row().int(agent).int(ended_after).int(created_until);
        }
        if !rows.is_empty() {
            for row in self.tx.rows(&ACTIVE_AFTER, args![rows.finish()]).await? {
                attributed.insert(LeaseId::new(row.text(0)?));
            }
        }
        Ok(attributed)
    }

    /// The leases of the agent, all of which are in the book, that may have been active at `at`; none where two certainly
    /// were, so that the event is nobody's.
    fn active_at(&self, agent: AgentId, at: Timestamp, book: &Book) -> Vec<LeaseId> {
        let mut active = Vec::new();
        let mut certain = 0;
        let owner = book.agents.get(&agent);
        for lease in book.leases.of(agent) {
            if lease.created_at > at || lease.ended_at.is_some_and(|ended| ended <= at) {
                continue;
            }
            active.push(lease.id.clone());
            // One that the batch returns was active at any time before now all the same
            let lives = lease.ended_at.is_some() || owner.is_some_and(|agent| lease.expiry(agent) > self.now);
            certain += usize::from(lives && at < self.now);
            if certain == 2 {
                return Vec::new();
            }
        }
        active
    }

    /// Leases of the scope that were granted after the window a budget is opened in, by a clock that was ahead: they count
    /// in windows of it that are still to come.
    async fn name_leases_ahead(&mut self, budget: &Budget, wanted: &mut BTreeSet<LeaseId>) -> Result<(), StoreError> {
        let Some(end) = budget.resets_at(self.now) else { return Ok(()) };
        let mut filter = Filter::default();
        filter.and("l.created_at >= ?", [end.into()]);
        granted_in(&mut filter, &budget.scope);
        let (sql, args) = filter.statement("SELECT l.id FROM leases AS l", "", []);
        for row in self.tx.rows_of(sql, args).await? {
            wanted.insert(LeaseId::new(row.text(0)?));
        }
        Ok(())
    }

    /// Locks the books of these agents and of the agents of these leases, in the order of their ids.
    pub(crate) async fn lock_books<'a>(
        &mut self,
        agents: &BTreeSet<AgentId>,
        leases: impl Iterator<Item = &'a LeaseId>,
    ) -> Result<(), StoreError> {
        let mut rows = Rows::new();
        for agent in agents {
            rows.row().int(agent.0).opt_text(None);
        }
        for lease in leases {
            rows.row().opt_int(None).text(lease.as_str());
        }
        if rows.is_empty() {
            return Ok(());
        }
        for row in self.tx.rows(&LOCK_BOOKS, args![rows.finish()]).await? {
            let id = AgentId(row.int(0)?);
            let book = AgentBook {
                id,
                owner: UserId::new(row.text(1)?),
                project: row.opt_text(2)?.map(ProjectId::new),
                epoch: row.int(3)?,
                alive_since: row.time(4)?,
                alive_until: row.time(5)?,
            };
            let chain = ChainHead { length: row.int(6)?, hash: row.hash(7)? };
            // A book locked earlier in this work may have been changed by it
            let state = StateRow::read(&row, 8)?;
            self.books.entry(id).or_insert(BookRow { book, chain, state });
        }
        Ok(())
    }

    /// Loads idempotency records; returns the leases wanted, theirs included.
    async fn load_requests(
        &mut self,
        named: &Named<'_>,
        book: &mut Book,
        mut wanted: BTreeSet<LeaseId>,
    ) -> Result<BTreeSet<LeaseId>, StoreError> {
        if named.requests.is_empty() {
            return Ok(wanted);
        }
        let mut rows = Rows::new();
        for (agent, key) in &named.requests {
            rows.row().int(agent.0).text(key);
        }
        for row in self.tx.rows(&REQUESTS, args![rows.finish()]).await? {
            let lease = LeaseId::new(row.text(3)?);
            wanted.insert(lease.clone());
            let key = (AgentId(row.int(0)?), row.text(1)?);
            book.requests.insert(key, GrantRecord { body_hash: row.hash(2)?, lease });
        }
        Ok(wanted)
    }

    /// Loads leases, and the successors of those that were refreshed: a refresh is repeated from its predecessor. Returns
    /// all that the batch may touch.
    async fn load_leases(
        &mut self,
        wanted: BTreeSet<LeaseId>,
        book: &mut Book,
        terms: &mut HashMap<LeaseId, LeaseTerms>,
    ) -> Result<BTreeSet<LeaseId>, StoreError> {
        self.load_lease_rows(&wanted, book, terms).await?;
        let found = wanted.iter().filter_map(|id| book.leases.get(id));
        let successors: BTreeSet<LeaseId> = found.filter_map(|lease| lease.superseded_by.clone()).collect();
        self.load_lease_rows(&successors, book, terms).await?;
        let mut touched = wanted;
        touched.extend(successors);
        Ok(touched)
    }

    async fn load_lease_rows(
        &mut self,
        ids: &BTreeSet<LeaseId>,
        book: &mut Book,
        terms: &mut HashMap<LeaseId, LeaseTerms>,
    ) -> Result<(), StoreError> {
        let mut rows = Rows::new();
        for id in ids.iter().filter(|id| !book.leases.contains_key(*id)) {
            rows.row().text(id.as_str());
        }
        if rows.is_empty() {
            return Ok(());
        }
        for row in self.tx.rows(&LEASES, args![rows.finish()]).await? {
            let (lease, its_terms) = lease_from_row(&row)?;
            terms.insert(lease.id.clone(), its_terms);
            book.leases.insert(lease.id.clone(), lease);
        }
        Ok(())
    }

    async fn load_budgets(
        &mut self,
        named: &Named<'_>,
        about: &BTreeSet<Scope>,
        loaded: &mut HashSet<String>,
        book: &mut Book,
        terms: &mut HashMap<BudgetNo, BudgetTerms>,
    ) -> Result<(), StoreError> {
        let mut rows = Rows::new();
        for key in about.iter().map(Scope::key) {
            if !loaded.contains(&key) {
                rows.row().text(&key);
                loaded.insert(key);
            }
        }
        if rows.is_empty() {
            return Ok(());
        }
        let sql = match (named.changes, named.decides) {
            (true, _) => &BUDGETS_CHANGED,
            (false, true) => &BUDGETS_HELD,
            (false, false) => &BUDGETS,
        };
        for row in self.tx.rows(sql, args![rows.finish()]).await? {
            let budget = budget_from_row(&row)?;
            let thresholds = serde_json::from_str(&row.text(8)?);
            let thresholds =
                thresholds.map_err(|_| StoreError::Corrupt("a budget has unreadable thresholds".into()))?;
            terms.insert(budget.no, BudgetTerms { id: BudgetId::new(row.text(7)?), thresholds });
            book.budgets.insert(budget.no, budget);
        }
        Ok(())
    }

    /// Loads every account the batch can post on or decide by; creates those of windows that have just begun.
    async fn load_accounts(
        &mut self,
        about: &BTreeSet<Scope>,
        touched: &BTreeSet<LeaseId>,
        book: &mut Book,
    ) -> Result<(), StoreError> {
        let leases = touched.iter().filter_map(|id| book.leases.get(id));
        let mut keys: BTreeSet<AccountKey> = leases.flat_map(|lease| lease.accounts(book)).collect();
        // Figures of the agents now: every budget of theirs, in its current window
        let budgets = about.iter().flat_map(|scope| book.budgets_of(scope));
        keys.extend(budgets.map(|budget| budget.account_at(self.now)));
        keys.retain(|key| !book.accounts.contains_key(key));
        if self.tx.backend() == Backend::Postgres {
            self.open_windows(&keys).await?;
        }
        self.load_account_rows(book, &mut keys).await?;
        if !keys.is_empty() {
            self.tx.run(&OPEN_ACCOUNTS, args![key_rows(&keys)]).await?;
            self.load_account_rows(book, &mut keys).await?;
        }
        Ok(())
    }

    /// Creates the accounts of windows that have just begun before any account is locked. Two who find them missing after
    /// they have locked others would wait for each other: one for the new account, the other for a lock of the first.
    async fn open_windows(&mut self, keys: &BTreeSet<AccountKey>) -> Result<(), StoreError> {
        // An account without a window is as old as its budget
        let mut missing: BTreeSet<AccountKey> =
            keys.iter().filter(|key| key.window_start != Timestamp::EPOCH).copied().collect();
        if missing.is_empty() {
            return Ok(());
        }
        for row in self.tx.rows(&ACCOUNTS_THERE, args![key_rows(&missing)]).await? {
            missing.remove(&AccountKey { budget: BudgetNo(row.int(0)?), window_start: row.time(1)? });
        }
        if !missing.is_empty() {
            self.tx.run(&OPEN_ACCOUNTS, args![key_rows(&missing)]).await?;
        }
        Ok(())
    }

    /// Loads the rows of these keys and takes the keys that were found out of the set.
    async fn load_account_rows(&mut self, book: &mut Book, keys: &mut BTreeSet<AccountKey>) -> Result<(), StoreError> {
        if keys.is_empty() {
            return Ok(());
        }
        for row in self.tx.rows(&ACCOUNTS, args![key_rows(keys)]).await? {
            let key = AccountKey { budget: BudgetNo(row.int(0)?), window_start: row.time(1)? };
            let account = Account {
                spent: row.money(2)?,
                leased: row.money(3)?,
                suspense: row.money(4)?,
                overrun: row.money(5)?,
            };
            keys.remove(&key);
            book.accounts.insert(key, account);
        }
        Ok(())
    }

    async fn load_reports(&mut self, named: &Named<'_>, book: &mut Book) -> Result<(), StoreError> {
        if named.reports.is_empty() {
            return Ok(());
        }
        let mut rows = Rows::new();
        for (lease, request) in &named.reports {
            rows.row().text(lease.as_str()).text(request);
        }
        for row in self.tx.rows(&REPORTS, args![rows.finish()]).await? {
            book.reports.insert((LeaseId::new(row.text(0)?), row.text(1)?), row.money(2)?);
        }
        Ok(())
    }
}

fn key_rows(keys: &BTreeSet<AccountKey>) -> Value {
    let mut rows = Rows::new();
    for key in keys {
        rows.row().int(key.budget.0).int(key.window_start.millis());
    }
    rows.finish()
}

/// Reads `no, scope_key, cap, budget_window, time_zone, enabled, opened_window`.
pub(crate) fn budget_from_row(row: &Row) -> Result<Budget, StoreError> {
    let corrupt = |what: &str| StoreError::Corrupt(format!("a budget has an unreadable {what}"));
    Ok(Budget {
        no: BudgetNo(row.int(0)?),
        scope: Scope::from_key(&row.text(1)?).ok_or_else(|| corrupt("scope"))?,
        cap: row.money(2)?,
        window: Window::parse(&row.text(3)?).ok_or_else(|| corrupt("window"))?,
        zone: row.text(4)?.parse().map_err(|_| corrupt("time zone"))?,
        enabled: row.flag(5)?,
        opened_window: row.time(6)?,
    })
}

/// Reads [`LEASE_COLUMNS`].
pub(crate) fn lease_from_row(row: &Row) -> Result<(Lease, LeaseTerms), StoreError> {
    let corrupt = |what: &str| StoreError::Corrupt(format!("a lease has an unreadable {what}"));
    let settlement = match row.opt_money(22)? {
        Some(spent) => Some(Settlement {
            presumed_spent: row.opt_int(21)? == Some(1),
            spent,
            reason: row.opt_text(23)?.unwrap_or_default(),
            by: row.opt_text(24)?.unwrap_or_default(),
            at: row.opt_time(25)?.ok_or_else(|| corrupt("settlement"))?,
        }),
        None => None,
    };
    let ended_by = row.opt_text(17)?.map(|text| EndedBy::parse(&text).ok_or_else(|| corrupt("end"))).transpose()?;
    let lease = Lease {
        id: LeaseId::new(row.text(0)?),
        agent: AgentId(row.int(1)?),
        owner: UserId::new(row.text(2)?),
        project: row.opt_text(3)?.map(ProjectId::new),
        epoch: row.int(4)?,
        granted: row.money(5)?,
        state: LeaseState::parse(&row.text(6)?).ok_or_else(|| corrupt("state"))?,
        reported: row.money(7)?,
        stated: row.opt_money(8)?,
        events: row.money(9)?,
        settlement,
        claimed: row.opt_money(10)?,
        report_count: row.int(11)?,
        highest_seq: row.opt_int(12)?,
        created_at: row.time(13)?,
        seen_at: row.time(14)?,
        expires_at: row.time(15)?,
        ended_at: row.opt_time(16)?,
        ended_by,
        reason: row.opt_text(18)?,
        supersedes: row.opt_text(19)?.map(LeaseId::new),
        superseded_by: row.opt_text(20)?.map(LeaseId::new),
    };
    let terms = LeaseTerms {
        provider: row.text(26)?,
        provider_key: ProviderKeyId(row.int(27)?),
        runtime_id: row.opt_text(28)?,
        runtime_version: row.opt_text(29)?,
    };
    Ok((lease, terms))
}
