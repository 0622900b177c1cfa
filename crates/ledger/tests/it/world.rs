//! A small world to tell scenarios in: a book, a clock, and verbs with short names.

use kernel::{AgentId, BudgetNo, EndedBy, LeaseId, Money, ProjectId, Timestamp, UserId, Window, Zone};
use ledger::{
    Account, Actor, AgentBook, AgentFigures, Book, Budget, Command, Entry, Figure, IdempotencyKey, Lease, Outcome,
    Rejection, Scope, ScopeFigures, SettleOutcome, Spending,
};

/// How long a sign of life lasts in these tests.
pub(crate) const TTL_MS: i64 = 6 * HOUR_MS;
pub(crate) const HOUR_MS: i64 = 3_600_000;
pub(crate) const DAY_MS: i64 = 24 * HOUR_MS;

/// The agent most scenarios speak of: owner `ann`, project `apollo`.
pub(crate) const AGENT: AgentId = AgentId(1);

pub(crate) fn usd(dollars: i64) -> Money {
    micros(dollars * 1_000_000)
}

pub(crate) fn micros(n: i64) -> Money {
    Money::from_micros(n).expect("an amount in range")
}

pub(crate) fn nanos(n: i64) -> Money {
    Money::from_nanos(n)
}

pub(crate) fn at(rfc3339: &str) -> Timestamp {
    Timestamp::from_rfc3339(rfc3339).expect("an instant")
}

pub(crate) fn zone(name: &str) -> Zone {
    name.parse().expect("a time zone")
}

pub(crate) fn admin() -> Actor {
    Actor::User(UserId::new("user_admin"))
}

pub(crate) fn owner_scope(owner: &str) -> Scope {
    Scope::Owner(UserId::new(owner))
}

pub(crate) fn project_scope(project: &str) -> Scope {
    Scope::Project(ProjectId::new(project))
}

pub(crate) fn key(name: &str, meaning: u8) -> Option<IdempotencyKey> {
    Some(IdempotencyKey { key: name.to_owned(), body_hash: [meaning; 32] })
}

pub(crate) type Answer = Result<Outcome, Rejection>;

pub(crate) struct World {
    pub(crate) book: Book,
    pub(crate) now: Timestamp,
    pub(crate) entries: Vec<Entry>,
    leases: u32,
    budgets: i64,
}

impl World {
    /// A Friday noon, no agents, no budgets.
    pub(crate) fn new() -> Self {
        Self { book: Book::default(), now: at("2026-11-20T12:00:00Z"), entries: Vec::new(), leases: 0, budgets: 0 }
    }

    /// One agent of `ann` and `apollo` with an allocation.
    pub(crate) fn with_allocation(cap: Money) -> Self {
        let mut world = Self::new();
        world.hire(AGENT, "ann", Some("apollo"), cap);
        world
    }

    pub(crate) fn hire(&mut self, id: AgentId, owner: &str, project: Option<&str>, cap: Money) -> BudgetNo {
        let agent = AgentBook {
            id,
            owner: UserId::new(owner),
            project: project.map(ProjectId::new),
            epoch: 1,
            alive_since: Timestamp::EPOCH,
            alive_until: Timestamp::EPOCH,
        };
        self.book.agents.insert(id, agent);
        self.open(Scope::Agent(id), cap, Window::None, Zone::UTC)
    }

    pub(crate) fn agent_mut(&mut self, id: AgentId) -> &mut AgentBook {
        self.book.agents.get_mut(&id).expect("an agent")
    }

    /// Runs a command and keeps what it changed.
    pub(crate) fn run(&mut self, command: &Command) -> Answer {
        let applied = ledger::apply(&self.book, command, self.now, TTL_MS)?;
        self.book.absorb(&applied);
        self.entries.extend(applied.entries);
        Ok(applied.outcome)
    }

    pub(crate) fn pass(&mut self, ms: i64) {
        self.now = self.now.plus_millis(ms);
    }

    pub(crate) fn new_lease_id(&mut self) -> LeaseId {
        self.leases += 1;
        LeaseId::new(format!("lease_{}", self.leases))
    }

    // ---- budgets

    pub(crate) fn open(&mut self, scope: Scope, cap: Money, window: Window, zone: Zone) -> BudgetNo {
        self.budgets += 1;
        let no = BudgetNo(self.budgets);
        let budget = Budget { no, scope, cap, window, zone, enabled: true, opened_window: Timestamp::EPOCH };
        let opening = self.book.opening_balance(&budget, self.now).expect("a balance in range");
        self.run(&Command::Open { budget, opening, actor: admin(), reason: None }).expect("a budget");
        no
    }

    pub(crate) fn adjust(&mut self, budget: BudgetNo, cap: Money, enabled: bool) {
        let command = Command::Adjust { budget, cap, enabled, actor: admin(), reason: Some("review".to_owned()) };
        self.run(&command).expect("an adjustment");
    }

    /// The amounts of a budget in its window of now.
    pub(crate) fn account(&self, budget: BudgetNo) -> Account {
        self.account_at(budget, self.now)
    }

    pub(crate) fn account_at(&self, budget: BudgetNo, at: Timestamp) -> Account {
        self.book.account(self.book.budgets[&budget].account_at(at))
    }

    pub(crate) fn allocation(&self) -> Account {
        self.figures().account
    }

    pub(crate) fn figures(&self) -> AgentFigures {
        let budget = self.book.budgets.values().find(|b| b.scope == Scope::Agent(AGENT) && b.window == Window::None);
        let budget = budget.expect("an allocation");
        AgentFigures { allocated: budget.cap, account: self.account(budget.no) }
    }

    // ---- the verbs

    pub(crate) fn try_grant(&mut self, agent: AgentId, requested: Money) -> Answer {
        let lease = self.new_lease_id();
        self.run(&Command::Grant { agent, lease, requested, request: None })
    }

    /// A lease of the usual agent.
    pub(crate) fn grant(&mut self, requested: Money) -> LeaseId {
        self.grant_to(AGENT, requested)
    }

    pub(crate) fn grant_to(&mut self, agent: AgentId, requested: Money) -> LeaseId {
        granted(self.try_grant(agent, requested)).id
    }

    pub(crate) fn try_report(&mut self, lease: &LeaseId, id: &str, cost: Money) -> Answer {
        let item = Spending { id: id.to_owned(), cost, occurred_at: self.now };
        self.run(&Command::Report { lease: lease.clone(), item: Some(item), total: None, seq: None })
    }

    pub(crate) fn report(&mut self, lease: &LeaseId, id: &str, cost: Money) -> Lease {
        reported(self.try_report(lease, id, cost)).0
    }

    pub(crate) fn report_total(&mut self, lease: &LeaseId, total: Money) -> Lease {
        reported(self.run(&Command::Report { lease: lease.clone(), item: None, total: Some(total), seq: None })).0
    }

    pub(crate) fn event(&mut self, lease: Option<&LeaseId>, id: &str, cost: Money, at: Timestamp) -> Option<Lease> {
        let item = Spending { id: id.to_owned(), cost, occurred_at: at };
        match self.run(&Command::Event { agent: AGENT, lease: lease.cloned(), item }) {
            Ok(Outcome::Counted { lease, .. }) => lease,
            other => panic!("not counted: {other:?}"),
        }
    }

    pub(crate) fn try_refresh(&mut self, old: &LeaseId, requested: Money, total: Option<Money>) -> Answer {
        self.try_refresh_with(old, requested, total, None)
    }

    pub(crate) fn try_refresh_with(
        &mut self,
        old: &LeaseId,
        requested: Money,
        total: Option<Money>,
        request: Option<IdempotencyKey>,
    ) -> Answer {
        let new = self.new_lease_id();
        self.run(&Command::Refresh { agent: AGENT, old: old.clone(), new, requested, total, request })
    }

    pub(crate) fn refresh(&mut self, old: &LeaseId, requested: Money) -> Lease {
        granted(self.try_refresh(old, requested, None))
    }

    pub(crate) fn give_back(&mut self, lease: &LeaseId, figure: Option<Figure>) -> Answer {
        self.run(&Command::Return { lease: lease.clone(), figure })
    }

    pub(crate) fn expire(&mut self, lease: &LeaseId) -> Answer {
        self.run(&Command::Expire { lease: lease.clone() })
    }

    pub(crate) fn revoke(&mut self, lease: &LeaseId) -> Answer {
        let (actor, reason) = (admin(), "lost laptop".to_owned());
        self.run(&Command::Revoke { lease: lease.clone(), by: EndedBy::Revoke, actor, reason })
    }

    pub(crate) fn settle(&mut self, lease: &LeaseId, outcome: SettleOutcome, figure: Option<Money>) -> Answer {
        let (actor, reason) = (admin(), "asked the team".to_owned());
        self.run(&Command::Settle { lease: lease.clone(), outcome, figure, actor, reason })
    }

    pub(crate) fn touch(&mut self) {
        self.run(&Command::Touch { agent: AGENT }).expect("an agent");
    }

    pub(crate) fn lease(&self, id: &LeaseId) -> &Lease {
        &self.book.leases[id]
    }
}

// ---- reading answers

pub(crate) fn granted(answer: Answer) -> Lease {
    match answer {
        Ok(Outcome::Granted { lease, .. }) => lease,
        other => panic!("not granted: {other:?}"),
    }
}

/// The budget that refused a handshake.
pub(crate) fn exhausted(answer: Answer) -> ScopeFigures {
    match answer {
        Err(Rejection::BudgetExhausted { binding, .. }) => *binding,
        other => panic!("not refused for lack of money: {other:?}"),
    }
}

/// The budget that denied a refresh.
pub(crate) fn denied(answer: Answer) -> ScopeFigures {
    match answer {
        Ok(Outcome::Denied { binding, .. }) => binding,
        other => panic!("not denied: {other:?}"),
    }
}

/// The lease, and whether the report was a repetition.
pub(crate) fn reported(answer: Answer) -> (Lease, bool) {
    match answer {
        Ok(Outcome::Reported { lease, duplicate, .. }) => (lease, duplicate),
        other => panic!("not booked: {other:?}"),
    }
}

/// The lease, and whether nothing moved.
pub(crate) fn ended(answer: Answer) -> (Lease, bool) {
    match answer {
        Ok(Outcome::Ended { lease, duplicate, .. }) => (lease, duplicate),
        other => panic!("not ended: {other:?}"),
    }
}

/// `(spent, leased, suspense)` in micro-dollars, for short assertions.
pub(crate) fn in_micros(account: Account) -> (i64, i64, i64) {
    (account.spent.micros_ceil(), account.leased.micros_ceil(), account.suspense.micros_ceil())
}
