//! What a store has to bring in for one command, and no more: the promise in the documentation of [`Book`], tried out.

use kernel::{AgentId, LeaseId, LeaseState, Timestamp};
use ledger::{AgentBook, Book, Budget, Command, IdempotencyKey, Lease, Scope};

/// Runs the command on the least book that will do. `store` has everything.
pub(crate) fn book_for(store: &Book, command: &Command, now: Timestamp) -> Book {
    let mut book = Book::default();
    let mut lean = Lean { store, book: &mut book, now };
    match command {
        Command::Grant { agent, request, .. } => {
            lean.alive(*agent);
            lean.request(*agent, request.as_ref());
        }
        Command::Refresh { agent, old, request, .. } => {
            lean.alive(*agent);
            lean.lease(old);
            lean.request(*agent, request.as_ref());
        }
        Command::Event { agent, lease, item } => {
            lean.alive(*agent);
            lean.event(*agent, lease.as_ref(), &item.id, item.occurred_at);
        }
        Command::Touch { agent } => lean.alive(*agent),
        Command::Report { lease, item, .. } => {
            lean.lease(lease);
            let key = item.as_ref().map(|item| (lease.clone(), item.id.clone()));
            let found = key.and_then(|key| store.reports.get(&key).map(|cost| (key, *cost)));
            lean.book.reports.extend(found);
        }
        Command::Return { lease, .. }
        | Command::Expire { lease }
        | Command::Revoke { lease, .. }
        | Command::Settle { lease, .. } => lean.lease(lease),
        Command::Open { budget, .. } => lean.open(budget),
        Command::Adjust { budget, .. } => lean.open(&store.budgets[budget]),
    }
    lean.money();
    book
}

struct Lean<'a> {
    store: &'a Book,
    book: &'a mut Book,
    now: Timestamp,
}

impl Lean<'_> {
    fn agent(&mut self, id: AgentId) -> Option<&AgentBook> {
        let agent = self.store.agents.get(&id)?;
        Some(self.book.agents.entry(id).or_insert_with(|| agent.clone()))
    }

    /// An agent that shows life: after a gap, with what may have run out meanwhile.
    fn alive(&mut self, id: AgentId) {
        let now = self.now;
        if self.agent(id).is_some_and(|agent| agent.is_over(now)) {
            self.leases_where(|lease| lease.agent == id && lease.state == LeaseState::Active);
        }
    }

    fn leases_where(&mut self, wanted: impl Fn(&Lease) -> bool) {
        let found = self.store.leases.values().filter(|lease| wanted(lease));
        self.book.leases.extend(found.map(|lease| (lease.id.clone(), lease.clone())));
    }

    /// A lease, its agent, and its successor.
    fn lease(&mut self, id: &LeaseId) {
        let Some(lease) = self.store.leases.get(id) else { return };
        self.agent(lease.agent);
        self.book.leases.insert(id.clone(), lease.clone());
        let successor = lease.superseded_by.as_ref().and_then(|id| self.store.leases.get(id));
        self.book.leases.extend(successor.map(|lease| (lease.id.clone(), lease.clone())));
    }

    fn request(&mut self, agent: AgentId, request: Option<&IdempotencyKey>) {
        let key = request.map(|r| (agent, r.key.clone()));
        if let Some((key, record)) = key.and_then(|key| self.store.requests.get(&key).map(|record| (key, record))) {
            self.lease(&record.lease);
            self.book.requests.insert(key, record.clone());
        }
    }

    fn event(&mut self, agent: AgentId, named: Option<&LeaseId>, id: &str, at: Timestamp) {
        let key = (agent, id.to_owned());
        if self.store.events.contains_key(&key) {
            self.book.events.insert(key, ());
        }
        match named.filter(|id| self.store.leases.get(*id).is_some_and(|l| l.agent == agent)) {
            Some(own) => self.lease(own),
            None => self.leases_where(|lease| {
                lease.agent == agent && lease.created_at <= at && lease.ended_at.is_none_or(|ended| at < ended)
            }),
        }
    }

    fn open(&mut self, budget: &Budget) {
        self.book.budgets.insert(budget.no, budget.clone());
        if let Scope::Agent(agent) = &budget.scope {
            self.agent(*agent);
        }
        let end = budget.resets_at(self.now);
        self.leases_where(|lease| end.is_some_and(|end| lease.created_at >= end));
    }

    /// The budgets of every scope that was named, and their accounts.
    fn money(&mut self) {
        let agents = self.book.agents.values();
        let mut scopes: Vec<Scope> = agents.flat_map(|a| Scope::of_agent(a.id, &a.owner, a.project.as_ref())).collect();
        scopes.extend(self.book.leases.values().flat_map(Lease::scopes));
        let budgets = self.store.budgets.values().filter(|b| scopes.contains(&b.scope));
        self.book.budgets.extend(budgets.map(|b| (b.no, b.clone())));
        let mut keys: Vec<_> = self.book.budgets.values().map(|b| b.account_at(self.now)).collect();
        keys.extend(self.book.leases.values().flat_map(|lease| lease.accounts(self.book)));
        let accounts = keys.into_iter().filter_map(|key| self.store.accounts.get(&key).map(|account| (key, *account)));
        self.book.accounts.extend(accounts);
    }
}
